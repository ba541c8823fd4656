#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An engine dies, and another one goes on for it."""
import os
import signal
import threading
import time

import lab
from lab import INNER4, Pair, Skip, case, check, check_equal, wait_until

# Five deaths in this time end the daemon, in seconds.
LOOP_S = 60
# How many deaths a case has at most: fewer than that.
DEATHS = 4


def kept(pair):
    if "WG_COVERAGE" in os.environ:
        raise Skip("a build that counts what is run is one process")
    return pair


def die(tunnel, number=signal.SIGSEGV):
    """Kill the engine, and wait until another one answers."""
    before = tunnel.pid
    check(before != tunnel.keeper, "there is no engine")
    os.kill(before, number)
    wait_until(lambda: tunnel.pid not in (before, tunnel.keeper, tunnel.process.pid),
               f"{tunnel.name} has another engine", 20)
    wait_until(lambda: tunnel.get(check_status=False).returncode == 0,
               f"{tunnel.name} answers", 20)


def state_of(tunnel):
    """What must stay: the interface, its addresses and routes, the configuration."""
    node = tunnel.node
    peers = {key: (peer.endpoint, peer.allowed)
             for key, peer in tunnel.peers().items()}
    text = [line for line in tunnel.get("dump").stdout.splitlines()]
    # Of a peer: without time of the handshake and counters.
    lines = [text[0]] + ["\t".join(line.split("\t")[i] for i in (0, 1, 2, 3, 7))
                         for line in text[1:]]
    links = node.run("ip", "-o", "link", "show", tunnel.name).stdout.split("qdisc")[0]
    return {"link": links, "addresses": node.run(
        "ip", "-o", "addr", "show", tunnel.name).stdout,
        "routes": node.run("ip", "route", "show", "dev", tunnel.name).stdout,
        "configuration": lines, "number of peers": len(peers)}


def check_same(before, after):
    for what, value in before.items():
        check_equal(after[what], value, what)


@case("an engine that dies is replaced: interface, addresses, routes, port and "
      "configuration stay, and packets pass")
def replaced(l):
    pair = kept(Pair(l))
    pair.both_ways()
    for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGSYS):
        before = state_of(pair.ta)
        die(pair.ta, number)
        check_same(before, state_of(pair.ta))
        pair.ta.wait_for_port()
        pair.both_ways()
    log = pair.ta.log()
    check_equal(log.count("another engine has taken its place"), DEATHS, "lines")
    check(f"signal {int(signal.SIGSEGV)}" in log, "no line names the signal")
    check("restored from" in log, "no line says what was restored")


@case("the other end is greeted: it reaches an engine that has nothing to send")
def greeted(l):
    pair = kept(Pair(l))
    pair.both_ways()

    def count_sessions():
        return pair.tb.log().count("established as responder")

    before = count_sessions()
    die(pair.ta)
    pair.ta.wait_for_port()
    # The other end uses the session from its first message on.
    wait_until(lambda: count_sessions() > before, "another session with b", 10)
    pair.b.must_ping(INNER4["a"])
    check(pair.ta.peer(pair.tb).handshake, "no handshake")


@case("counters, and an endpoint that was learnt, survive")
def learnt(l):
    pair = kept(Pair(l, learned=True))
    pair.a.must_ping(INNER4["b"], count=5)
    before = pair.tb.peer(pair.ta)
    # What has happened is noted when the timers are looked at.
    time.sleep(11)
    die(pair.tb)
    after = pair.tb.peer(pair.ta)
    check_equal(after.endpoint, before.endpoint, "endpoint")
    check(after.rx >= before.rx and after.tx >= before.tx,
          f"counters went back: {before.rx}, {before.tx}, now {after.rx}, {after.tx}")
    pair.b.must_ping(INNER4["a"])


@case("no set that was answered is lost, however often an engine dies")
def sets(l):
    tunnel = kept(l.tunnel(l.node("a"), "wga").start())
    keys = [lab.run("wg", "pubkey", stdin=lab.run("wg", "genkey").stdout
                    ).stdout.strip() for _ in range(20)]
    answered, running = [0], [True]
    failures = []

    def set_on():
        n = 0
        while running[0]:
            n += 1
            text = (f"set=1\nfwmark={n}\npublic_key={'%064x' % (n % 40 + 1)}\n"
                    f"allowed_ip=10.1.{n % 200}.0/24\n" +
                    ("remove=true\n" if n % 3 == 0 else "") + "\n")
            try:
                reply = tunnel.ask(text, timeout=20)
            except OSError:
                continue
            if reply == "errno=0\n\n":
                answered[0] = n
            elif reply:
                failures.append(reply)

    thread = threading.Thread(target=set_on)
    thread.start()
    try:
        for _ in range(DEATHS):
            time.sleep(0.5)
            before = answered[0]
            die(tunnel)
            after = int(tunnel.get("fwmark").stdout.strip() or "0", 0)
            check(after >= before, f"set {before} was answered, {after} is there")
    finally:
        running[0] = False
        thread.join()
    check_equal(failures, [], "refused sets")
    check(answered[0] > 10, f"only {answered[0]} sets, {len(keys)} keys")
    before = tunnel.ask("get=1\n\n")
    os.kill(tunnel.pid, 0)
    print(f"# {answered[0]} sets in {DEATHS} lives, {len(before)} bytes")


@case("five deaths in a minute end the daemon, with a line and status 1")
def loop(l):
    node = l.node("a")
    tunnel = kept(l.tunnel(node, "wga").start())
    begin = time.monotonic()
    for _ in range(DEATHS):
        die(tunnel)
    os.kill(tunnel.pid, signal.SIGSEGV)
    status = tunnel.wait(20)
    if time.monotonic() - begin >= LOOP_S:
        raise Skip("this machine is too slow for five deaths in a minute")
    check_equal(status, 1, "status")
    check("no other one is started" in tunnel.log(), "no line says why")
    check(node.run("ip", "link", "show", "wga", check_status=False).returncode,
          "the interface is still there")


@case("descriptors and memory of the keeper stay as they are")
def flat(l):
    tunnel = kept(l.tunnel(l.node("a"), "wga").start())

    def figures():
        pid = tunnel.keeper
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            rss = next(int(line.split()[1]) for line in file
                       if line.startswith("VmRSS"))
        return len(os.listdir(f"/proc/{pid}/fd")), rss

    die(tunnel)
    before = figures()
    for _ in range(DEATHS - 1):
        die(tunnel)
    after = figures()
    check_equal(after[0], before[0], "descriptors")
    check(after[1] <= before[1] + 64, f"KiB: {before[1]}, now {after[1]}")


if __name__ == "__main__":
    lab.main()
