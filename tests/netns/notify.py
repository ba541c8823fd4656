#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Messages to the service manager, which is this test: READY, STATUS, STOPPING,
MAINPID, and the watchdog. If the daemon is one process, the feeding of the watchdog ends
when a thread is stopped; otherwise see hung.py."""
import contextlib
import os
import re
import signal
import socket
import time

import lab
from detached import end_detached
from lab import INNER4, Pair, case, check, check_equal, wait_until
from manager import HALF_S, Manager
from tracing import stopped, thread_named

def watched_pair(l, options=(), **environment):
    """A pair of tunnels. The first one has a service manager with a watchdog."""
    manager = Manager(l.node("m"))
    return manager, Pair(l, options=options,
                         how={**manager.environment(), **environment})


# Nothing replaces the engine of such a daemon.
ONE_PROCESS = ("--no-isolation",)


@case("READY, RELOADING, STATUS on each change, STOPPING; by path and by abstract name")
def states(l):
    for address in None, "@wiregather-test":
        node = l.node("c" if address else "d")
        manager = Manager(node, address)
        tunnel = l.tunnel(node, "wgs").start(**manager.environment(False))
        manager.wait_for("READY=1")
        check_equal(manager.messages[0], "READY=1", "first message")
        manager.wait_for_status("down, no peers")
        missing = [] if l.is_slow else tunnel.lost_layers()
        check(not missing, f"isolation: {missing}")
        before = time.monotonic()
        tunnel.set("listen-port", "51007")
        match = manager.wait_for(r"RELOADING=1\nMONOTONIC_USEC=(\d+)\nREADY=1")
        check(before <= int(match[1]) / 1e6 <= time.monotonic(), f"time {match[1]}")
        node.ip("link set wgs up")
        manager.wait_for_status("up, port 51007, no peers")
        node.ip("link set wgs down")
        manager.wait_for_status("down, no peers")
        with node.inside(), socket.socket(socket.AF_INET,
                                          socket.SOCK_DGRAM) as other:
            other.bind(("0.0.0.0", 51007))
            node.ip("link set wgs up")
            manager.wait_for_status("up, cannot listen on port 51007: "
                                    "Address already in use, no peers")
        manager.wait_for_status("up, port 51007, no peers")
        tunnel.stop()
        manager.wait_for("STOPPING=1\nSTATUS=ending")
        check_equal(manager.count("WATCHDOG=1"), 0, "messages to the watchdog")


@case("STATUS counts peers and sessions, at most once a second")
def counts(l):
    manager, pair = watched_pair(l)
    manager.wait_for_status("up, port 51001, 1 peer, 0 with a session")
    pair.both_ways(count=1)
    manager.wait_for_status("up, port 51001, 1 peer, 1 with a session")
    before = len(manager.messages)
    start = time.monotonic()
    for i in range(60):
        pair.ta.set("peer", pair.tb.public.replace(pair.tb.public[:2], "AA"),
                    *(["remove"] if i % 2 else []))
        time.sleep(0.05)
    manager.wait_for_status("up, port 51001, 1 peer, 1 with a session")
    seconds = time.monotonic() - start
    texts = [m for m in manager.messages[before:] if m.startswith("STATUS=")]
    check(len(texts) <= seconds + 1, f"{texts} in {seconds} s")
    check(any("2 peers" in text for text in texts), f"statuses: {texts}")


@case("a daemon tells its process id before its parent ends")
def main_pid(l):
    a = l.node("a")
    manager = Manager(a)
    # The watchdog is for the process that was started: the parent.
    script = 'WATCHDOG_PID=$$ exec "$0" wga'
    process = a.start("sh", "-c", script, l.daemon,
                      env={**os.environ, **manager.environment()})
    check_equal(process.wait(20 * lab.SLOWNESS), 0, "status of the parent")
    pid = int(manager.wait_for(r"READY=1\nMAINPID=(\d+)").group(1))
    with open(f"/proc/{pid}/comm", encoding="ascii") as file:
        check(file.read().startswith("wiregather"), "not the daemon's process")
    check_equal(os.getsid(pid), pid, "session of the daemon")
    manager.wait_for_food()
    os.kill(pid, signal.SIGTERM)
    check_equal(end_detached(pid, 20), 0, "status of the daemon")
    manager.wait_for("STOPPING=1\nSTATUS=ending")


@case("a start that fails tells why; wrong variables are named, and have no effect")
def wrong(l):
    a = l.node("a")
    manager = Manager(a)
    a.ip("link add name bridge7 type bridge")
    done = a.run(l.daemon, "-f", "bridge7", check_status=False,
                 env={**os.environ, **manager.environment()})
    check_equal(done.returncode, 1, f"status: {done.stdout}")
    manager.wait_for(r"STATUS=[^\n]*bridge7[^\n]*exists[^\n]*\nERRNO=\d+")
    check_equal(len(manager.messages), 1, f"messages: {manager.messages}")
    for environment, word in (
            ({"NOTIFY_SOCKET": "run/notify"}, "run/notify"),
            ({"NOTIFY_SOCKET": f"{l.directory}/none"}, "/none: No such file"),
            ({**manager.environment(), "WATCHDOG_USEC": "30s"}, "30s"),
            ({**manager.environment(), "WATCHDOG_PID": "me"}, "me")):
        tunnel = l.tunnel(a, "wga").start(**environment)
        check(word in tunnel.log(), f"no {word!r} in {tunnel.log()}")
        tunnel.stop()
    # The watchdog is for another process.
    tunnel = l.tunnel(a, "wga").start(**manager.environment(WATCHDOG_PID="1"))
    manager.wait_for("READY=1")
    time.sleep(3 * HALF_S)
    check_equal(manager.count("WATCHDOG=1"), 0, "messages to the watchdog")


@case("a service manager that does not read, or goes, stops nothing")
def deaf(l):
    a = l.node("a")
    path = f"{l.directory}/deaf"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    sender.sendto(b"x", path)
        tunnel = l.tunnel(a, "wga").start(NOTIFY_SOCKET=path,
                                          WATCHDOG_USEC="100000")
        tunnel.set("listen-port", "51001")
        receiver.settimeout(20 * lab.SLOWNESS)
        while (text := receiver.recv(4096)) == b"x":
            pass
        # WATCHDOG=1 may have come first: READY=1 is tried again after a while.
        while text == b"WATCHDOG=1":
            text = receiver.recv(4096)
        check_equal(text, b"READY=1", "first message")
    tunnel.set("listen-port", "51002")
    time.sleep(0.3)
    tunnel.stop()


@case("the watchdog is fed while nothing moves, by few calls each half of its time")
def quiet(l):
    lab.need("strace")
    if l.is_slow:
        raise lab.Skip("a sanitizer has calls of its own")
    a = l.node("a")
    manager = Manager(a)
    path = f"{l.directory}/calls"
    tunnel = l.tunnel(a, "wga", 51001).start(
        wrap=("strace", "-f", "-qq", "-o", path), **manager.environment())
    tunnel.set("listen-port", "51001")
    a.ip("link set wga up")
    tunnel.wait_for_port()
    seen = []

    def is_quiet():
        with open(path, encoding="utf-8", errors="replace") as file:
            file.seek(0, os.SEEK_END)
            before = manager.count("WATCHDOG=1")
            time.sleep(6 * HALF_S)
            fed = manager.count("WATCHDOG=1") - before
            text = file.read()
        seen[:] = re.findall(r"^\d+ +(?:<\.\.\. )?(\w+)[( ]", text, re.MULTILINE)
        others = [name for name in seen
                  if name not in ("epoll_wait", "epoll_pwait", "sendmsg", "recvmsg")]
        # The keeper asks the engine, which tells its state, which the keeper answers;
        # and the manager is told. strace may write a call in two lines.
        return (not others and fed >= 2 and
                seen.count("sendmsg") <= 8 * (fed + 1))

    try:
        wait_until(is_quiet, "quiet", 60)
    except lab.Failure as failure:
        raise lab.Failure(f"{failure}: {seen}") from None
    os.kill(tunnel.keeper, signal.SIGTERM)
    check_equal(tunnel.wait(20), 0, "status")


@case("one process: a control thread that is stopped does not feed the watchdog")
def control_stopped(l):
    manager, pair = watched_pair(l, ONE_PROCESS)
    manager.wait_for_food()
    with stopped(pair.ta.pid):
        manager.wait_for_hunger()
    manager.wait_for_food()
    pair.both_ways(count=1)


@case("one process: a worker that is stopped: no food once there are packets for it")
def worker_stopped(l):
    # As long as there is no packet for the worker, it counts as alive. No packet comes
    # while the link is down.
    node = l.node("c")
    idle = Manager(node)
    tunnel = l.tunnel(node, "wgc").start(*ONE_PROCESS, **idle.environment())
    idle.wait_for_food()
    with stopped(thread_named(tunnel.pid, "worker")):
        idle.wait_for_food(4)
    tunnel.stop()
    manager, pair = watched_pair(l, ONE_PROCESS)
    manager.wait_for_food()
    with stopped(thread_named(pair.ta.pid, "worker")):
        pair.b.must_not_ping(INNER4["a"])
        manager.wait_for_hunger()
        wait_until(lambda: "the worker makes no progress" in pair.ta.log(),
                   "the line about the worker")
        manager.wait_for_status("the worker makes no progress")
    manager.wait_for_food()
    pair.both_ways(count=1)
    manager.wait_for_status("up, port 51001, 1 peer, 1 with a session")


@case("one process: a handshaker that is stopped: no food once there is a handshake for it")
def handshaker_stopped(l):
    manager, pair = watched_pair(l, ONE_PROCESS)
    tid = thread_named(pair.ta.pid, "handshaker")
    with stopped(tid):
        manager.wait_for_food(3)
        pair.b.must_not_ping(INNER4["a"])
        manager.wait_for_hunger()
        wait_until(lambda: "the handshaker makes no progress" in pair.ta.log(),
                   "the line about the handshaker")
    manager.wait_for_food()
    pair.both_ways(count=1)


@case("one process: a helper that is stopped at work: no food")
def helper_stopped(l):
    manager, pair = watched_pair(l, ONE_PROCESS, WIREGATHER_OPTIONS="--workers=2 --eager")
    manager.wait_for_food()
    with stopped(thread_named(pair.ta.pid, "helper")):
        manager.wait_for_hunger()
        wait_until(lambda: re.search("the (helper|worker) makes no progress",
                                     pair.ta.log()), "the line about it")
    manager.wait_for_food()
    pair.both_ways(count=1)


@case("the watchdog is fed beside traffic in all directions")
def busy(l):
    # More time than elsewhere: a thread that gets no processor seems to be stopped.
    manager, pair = watched_pair(l, WATCHDOG_USEC="8000000")
    for _ in range(2):
        before = manager.count("WATCHDOG=1")
        start = time.monotonic()
        while time.monotonic() < start + 4:
            lab.send_stream(pair.a, pair.b, INNER4["b"], 2_000_000)
            lab.send_stream(pair.b, pair.a, INNER4["a"], 2_000_000)
            pair.ta.set("listen-port", "51003", "fwmark", "7")
            pair.ta.set("listen-port", "51001", "fwmark", "0")
        wait_until(lambda n=before: manager.count("WATCHDOG=1") > n,
                   "food beside traffic", 20)
    check("makes no progress" not in pair.ta.log(), f"log: {pair.ta.log()}")


lab.main()
