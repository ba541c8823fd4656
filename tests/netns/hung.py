#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An engine that hangs is ended by the keeper, and another one goes on, before the service
manager, which is this test, would end the daemon."""
import os
import re
import signal
import threading
import time

import lab
from dying import kept, starter_of
from lab import INNER4, Pair, Skip, case, check, check_equal, wait_until
from manager import WATCHDOG_US, Manager
from tracing import stopped, thread_named

PERIOD_S = WATCHDOG_US / 1e6
# What a busy machine may take, and the lateness of a timer that makes it one, in seconds.
# Choices.
BUSY_S = 60
LATE_S = 0.1
KILLED = "makes no progress: the engine is killed"
REPLACED = "another engine has taken its place"


class Lateness(threading.Thread):
    """The greatest delay of a timer of 10 ms, from now on."""

    def __init__(self, l):
        super().__init__(daemon=True)
        self.most = 0
        self.is_over = threading.Event()
        l.stack.callback(self.is_over.set)
        self.start()

    def run(self):
        while not self.is_over.is_set():
            begin = time.monotonic()
            time.sleep(0.01)
            self.most = max(self.most, time.monotonic() - begin - 0.01)


def watched_pair(l, **environment):
    manager = Manager(l.node("m"))
    manager.lateness = Lateness(l)
    pair = kept(Pair(l, how={**manager.environment(), **environment}))
    pair.both_ways(count=1)
    manager.wait_for_food()
    return manager, pair


def all_pids(tunnel):
    """Keeper, starter and engine, in this order."""
    return tunnel.keeper, starter_of(tunnel), tunnel.pid


def check_replaced(l, manager, pair, before, name):
    """Another engine has taken the place of `before`, in which `name` stood still."""
    tunnel = pair.ta
    wait_until(lambda: REPLACED in tunnel.log(), "another engine", 30)
    log = tunnel.log()
    check(re.search(f"the ({name}) {KILLED}", log), f"no line names the {name}: {log}")
    check(re.search(f"ended by signal 9 .*: the ({name}) has made no progress", log),
          f"no line says why it has ended: {log}")
    check_equal(log.count(REPLACED), 1, "engines that have taken the place")
    check(tunnel.pid not in (before, tunnel.keeper), "the engine is the same")
    pair.a.reach(INNER4["b"])
    pair.b.reach(INNER4["a"])
    manager.wait_for_food(3)
    check_equal(manager.count("STOPPING=1\nSTATUS=ending"), 0, "ends")
    check_equal(manager.count("READY=1"), 1, "starts")
    late, longest = manager.lateness.most, manager.longest_wait()
    bar = BUSY_S * lab.SLOWNESS if l.is_slow or late > LATE_S else PERIOD_S
    print(f"# longest time between two messages to the watchdog: {longest:.3f} s; timers "
          f"were up to {late:.3f} s late: the bar is {bar} s", flush=True)
    check(longest <= bar, f"{longest} s without a message to the watchdog")
    manager.wait_for_status("up, port 51001, 1 peer, 1 with a session")


@case("an engine that is stopped as a whole is replaced, and the watchdog is fed")
def whole(l):
    manager, pair = watched_pair(l)
    pid = pair.ta.pid
    route = pair.a.run("ip", "route", "show", "dev", "wga").stdout
    lab.pause(pid)
    check_replaced(l, manager, pair, pid, "control thread")
    check_equal(pair.a.run("ip", "route", "show", "dev", "wga").stdout, route, "routes")


@case("a control thread that is stopped: the same")
def control(l):
    manager, pair = watched_pair(l)
    pid = pair.ta.pid
    with stopped(pid):
        check_replaced(l, manager, pair, pid, "control thread")


@case("a worker that is stopped: the same, once there are packets for it")
def worker(l):
    manager, pair = watched_pair(l)
    pid = pair.ta.pid
    with stopped(thread_named(pid, "worker")):
        pair.b.ping(INNER4["a"], count=1, wait=1)
        check_replaced(l, manager, pair, pid, "worker")


@case("a handshaker that is stopped: the same, once there is a handshake for it")
def handshaker(l):
    manager, pair = watched_pair(l)
    pid = pair.ta.pid
    with stopped(thread_named(pid, "handshaker")):
        # The other end has forgotten its sessions, and begins another one.
        pair.tb.flap()
        pair.b.ping(INNER4["a"], count=1, wait=1)
        check_replaced(l, manager, pair, pid, "handshaker")


@case("a helper that is stopped at work: the same")
def helper(l):
    manager, pair = watched_pair(l, WIREGATHER_OPTIONS="--workers=2 --eager")
    pid = pair.ta.pid
    with stopped(thread_named(pid, "helper")):
        check_replaced(l, manager, pair, pid, "helper|worker")


@case("all processes are stopped, and go on one after the other: none is killed")
def tree(l):
    manager, pair = watched_pair(l)
    pids = all_pids(pair.ta)
    for _ in range(2):
        for pid in pids:
            lab.pause(pid)
        time.sleep(2 * PERIOD_S)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.1)
        manager.wait_for_food(3)
    check_equal(all_pids(pair.ta), pids, "processes")
    check(KILLED not in pair.ta.log(), f"log: {pair.ta.log()}")
    pair.both_ways(count=1)


@case("a hang counts as a death: the fifth one in a minute ends the daemon")
def too_many(l):
    manager, pair = watched_pair(l)
    tunnel = pair.ta
    begin = time.monotonic()
    for n in range(1, 5):
        os.kill(tunnel.pid, signal.SIGKILL)
        wait_until(lambda: tunnel.log().count(REPLACED) == n, "another engine", 20)
    lab.pause(tunnel.pid)
    status = tunnel.wait(40)
    if time.monotonic() - begin >= 60:
        raise Skip("this machine is too slow for five deaths in a minute")
    check_equal(status, 1, "status")
    manager.wait_for("STATUS=5 engines have died within 60 s")


def stop_at_start(tunnel):
    """Kill the engine, and stop the next one before it serves."""
    _, starter, before = all_pids(tunnel)
    os.kill(before, signal.SIGKILL)
    while True:
        found = [pid for pid in lab.children_of(starter) if pid != before]
        if found:
            os.kill(found[0], signal.SIGSTOP)
            return


@case("an engine that hangs while it starts is replaced, too")
def start(l):
    _, pair = watched_pair(l)
    stop_at_start(pair.ta)
    if REPLACED in pair.ta.log():
        raise Skip("this machine was too slow to stop an engine while it starts")
    wait_until(lambda: REPLACED in pair.ta.log(), "another engine", 40)
    check("the new engine " + KILLED in pair.ta.log(), f"log: {pair.ta.log()}")
    pair.a.reach(INNER4["b"])


@case("the interface is deleted while the engine hangs: the daemon ends with status 0")
def deleted(l):
    _, pair = watched_pair(l)
    lab.pause(pair.ta.pid)
    pair.a.ip("link del wga")
    check_equal(pair.ta.wait(40), 0, "status")


@case("without a watchdog's time nobody asks; with one, and no manager, the keeper does")
def alone(l):
    pair = kept(Pair(l))
    pid = pair.ta.pid
    lab.pause(pid)
    time.sleep(3 * PERIOD_S)
    check_equal(pair.ta.pid, pid, "engine")
    os.kill(pid, signal.SIGCONT)
    pair.both_ways(count=1)
    pair.ta.stop()
    pair.ta = l.tunnel(pair.a, "wgc", 51003).start(WATCHDOG_USEC=str(WATCHDOG_US))
    pid = pair.ta.pid
    lab.pause(pid)
    wait_until(lambda: REPLACED in pair.ta.log(), "another engine", 30)
    check("the control thread " + KILLED in pair.ta.log(), "no line names what hangs")


lab.main()
