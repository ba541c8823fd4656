#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The log at level `verbose` says why something does not work, or has changed. Each
case causes one thing and waits for its line. docs/wiregather.md has the table of the
lines.
"""
import os
import re
import socket

import lab
from lab import INNER4, INNER6, OUTER4, OUTER6, Pair, case, check, check_equal

# A key that no tunnel here has.
NOBODY = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="


def name(tunnel):
    """A peer as log lines name it."""
    return tunnel.public[:8] + "..."


def await_line(tunnel, pattern, timeout=10):
    """Wait for a line that matches, and return it."""
    line = re.compile(f"^DEBUG: \\({tunnel.name}\\) [0-9/]+ [0-9:]+ {pattern}"
                      r"( \(\d+ suppressed\))?$", re.MULTILINE)
    lab.wait_until(lambda: line.search(tunnel.log()),
                   f"the line {pattern!r}; the log: {tunnel.log()[-3000:]}", timeout)
    return line.search(tunnel.log()).group(0)


@case("an inner source that is not the peer's")
def source(l):
    pair = Pair(l)
    pair.b.must_ping(INNER4["a"], count=1)
    pair.ta.set("peer", pair.tb.public, "allowed-ips", "10.99.0.0/16,fd99::/64")
    pair.b.must_not_ping(INNER4["a"])
    await_line(pair.ta, f"dropped 1 packet of {re.escape(name(pair.tb))}: source "
                        f"{INNER4['b']} is not its own")
    pair.b.must_not_ping(INNER6["a"])
    await_line(pair.ta, f"dropped 1 packet of {re.escape(name(pair.tb))}: source "
                        f"{INNER6['b']} is not its own")


def refuse(l, outer, prepare, pattern, timeout=10):
    """b begins a handshake after prepare(), and a refuses it for a reason."""
    pair = Pair(l, outer=outer)
    prepare(pair)
    pair.b.must_not_ping(INNER4["a"])
    at = {4: re.escape(f"{OUTER4['b']}:{pair.tb.port}"),
          6: re.escape(f"[{OUTER6['b']}]:{pair.tb.port}")}[outer]
    await_line(pair.ta, f"refused handshake initiation from {at}: {pattern}", timeout)


def forget_peer(pair):
    pair.ta.set("peer", pair.tb.public, "remove")


def take_another_key(pair):
    """a has another key than b believes."""
    key = lab.run("wg", "genkey").stdout
    pair.a.run("wg", "set", "wga", "private-key", "/dev/stdin", stdin=key)


for family in 4, 6:
    @case(f"a handshake of an unknown key, over IPv{family}")
    def _(l, family=family):
        refuse(l, family, forget_peer, "no peer has its public key")

    @case(f"a handshake made for another key than ours, over IPv{family}")
    def _(l, family=family):
        refuse(l, family, take_another_key,
               "it was not made for our public key, or is damaged")


@case("preshared keys that differ: both ends say so")
def preshared(l):
    pair = Pair(l)
    key = lab.run("wg", "genpsk").stdout
    pair.b.run("wg", "set", "wgb", "peer", pair.ta.public, "preshared-key",
               "/dev/stdin", stdin=key)
    pair.b.must_not_ping(INNER4["a"])
    await_line(pair.tb, "refused handshake response from "
                        f"{re.escape(pair.endpoint('a'))}: it does not decrypt; is the "
                        "preshared key the same\\?")
    await_line(pair.ta, f"{re.escape(name(pair.tb))} does not complete handshakes: 3 "
                        "initiations were answered, and no session began; is the "
                        "preshared key the same, and do answers arrive at "
                        f"{re.escape(pair.endpoint('b'))}\\?", 60)
    await_line(pair.tb, f"{re.escape(name(pair.ta))} does not answer: 3 handshake "
                        "initiations to "
                        f"{re.escape(pair.endpoint('a'))} had no response", 60)
    count = pair.ta.log().count("does not complete handshakes")
    check_equal(count, 1, "lines about the handshakes")


@case("a peer that moves")
def moved(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    before = pair.endpoint("b")
    pair.tb.set("listen-port", "51003")
    pair.b.must_ping(INNER4["a"], count=1)
    await_line(pair.ta, f"endpoint of {re.escape(name(pair.tb))} is now "
                        f"{re.escape(OUTER4['b'])}:51003, was {re.escape(before)}")


@case("peers that are added, changed and removed")
def configured(l):
    pair = Pair(l)
    await_line(pair.ta, f"peer {re.escape(name(pair.tb))} added")
    pair.ta.set("peer", pair.tb.public, "persistent-keepalive", "25")
    await_line(pair.ta, f"peer {re.escape(name(pair.tb))} changed")
    pair.ta.set("peer", NOBODY, "allowed-ips", "10.98.0.0/16")
    await_line(pair.ta, f"peer {NOBODY[:8]}\\.\\.\\. added")
    pair.ta.set("peer", NOBODY, "remove")
    await_line(pair.ta, f"peer {NOBODY[:8]}\\.\\.\\. removed")
    check(f"peer {name(pair.tb)} removed" not in pair.ta.log(), pair.ta.log())


@case("packets that no peer may get, and a peer without an endpoint")
def no_way(l):
    pair = Pair(l)
    pair.a.ip("route add 10.97.0.0/16 dev wga", "route add 10.98.0.0/16 dev wga")
    pair.ta.set("peer", NOBODY, "allowed-ips", "10.98.0.0/16")
    pair.a.must_not_ping("10.97.0.1")
    await_line(pair.ta,
               r"dropped a packet to 10\.97\.0\.1: no peer has it in its allowed IPs")
    pair.a.must_not_ping("10.98.0.1")
    await_line(pair.ta, r"dropped a packet to 10\.98\.0\.1: "
                        f"{NOBODY[:8]}\\.\\.\\. has no endpoint")


@case("datagrams of strangers, and of sessions that we do not have")
def strangers(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    sock = pair.b.socket(socket.AF_INET)
    sock.bind((OUTER4["b"], 4000))
    sock.sendto(b"GET / HTTP/1.1\r\n", (OUTER4["a"], pair.ta.port))
    await_line(pair.ta, f"dropped a datagram from {re.escape(OUTER4['b'])}:4000: it is "
                        "no message of WireGuard")
    # A data message: type 4, an index, a counter, and the tag of no text.
    sock.sendto(bytes([4, 0, 0, 0]) + bytes(range(1, 29)), (OUTER4["a"], pair.ta.port))
    await_line(pair.ta, f"dropped a datagram from {re.escape(OUTER4['b'])}:4000: it "
                        "belongs to no session or handshake here")


@case("on the journal lines have a priority, and no time")
def journal(l):
    path = f"{l.directory}/journal"
    with open(path, "w", encoding="utf-8") as stream:
        is_at = os.fstat(stream.fileno())
        pair = Pair(l, options=("--user", "0:0"), how={
            "output": stream.fileno(),
            "JOURNAL_STREAM": f"{is_at.st_dev}:{is_at.st_ino}"})
        pair.both_ways(count=1)
        pair.ta.ask("set=1\nnonsense=1\n\n")

        def text():
            with open(path, encoding="utf-8") as file:
                return file.read()

        lab.wait_until(lambda: "<3>" in text(), f"an error; {text()!r}", 10)
    lines = text().splitlines()
    check(all(re.match(r"<[346]>wga: \S", line) for line in lines), f"lines: {lines}")
    check([line for line in lines if line.startswith("<4>wga: not isolated in full: ")],
          f"no warning: {lines}")
    check([line for line in lines if line.startswith("<6>wga: session with ")],
          f"no event: {lines}")


lab.main()
