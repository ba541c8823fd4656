#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Changes of the interface, its sockets and the cable below."""
import ctypes
import errno
import os
import platform
import signal
import socket
import struct
import time

import lab
from lab import INNER4, OUTER4, Capture, Pair, case, check, \
    check_equal

# A host accepts 50 initiations a second from a peer: pause before the next
# one.
PAUSE = 0.05


@case("the tunnel down: nothing is sent, no keepalive either; up: at once")
def flap(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    # Only a sends keepalives: a message from b would delay those of a.
    pair.ta.set("peer", pair.tb.public, "persistent-keepalive", "1")
    capture = Capture(pair.a, "eth")
    # A keepalive is due each second.
    time.sleep(1.5)
    check(capture.datagrams(sport=51001), "no keepalive while up")
    pair.a.ip("link set wga down")
    # Time until the daemon has noticed.
    time.sleep(0.2)
    capture.datagrams()
    pair.b.ping(INNER4["a"], count=3, wait=1)
    time.sleep(1.5)
    sent = capture.datagrams(sport=51001)
    check(not sent, f"sent while down: {sent}")
    pair.a.ip("link set wga up")
    pair.a.must_ping(INNER4["b"], count=1, wait=1)
    pair.both_ways(count=1)


@case("the tunnel down and up: it listens on the same port again")
def flap_port(l):
    pair = Pair(l)
    pair.ta.set("listen-port", "0")
    port = pair.ta.get("listen-port").stdout.strip()
    check(port not in ("0", "51001"), f"no free port was chosen: {port}")
    pair.a.must_ping(INNER4["b"], count=1)
    time.sleep(PAUSE)
    pair.ta.flap()
    pair.a.reach(INNER4["b"])
    check_equal(pair.ta.get("listen-port").stdout.strip(), port, "port")


@case("many flaps under a stream")
def many_flaps(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    stream = lab.Stream(pair.a, pair.b, INNER4["b"], 8 << 20)
    for _ in range(60):
        pair.a.ip("link set wga down", "link set wga up")
    stream.finish()
    pair.a.reach(INNER4["b"])
    pair.both_ways(count=1)


@case("the cable down and up, and a cable that is exchanged")
def cable(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    pair.a.ip("link set eth down")
    for _ in range(3):
        pair.a.ping(INNER4["b"], count=1, wait=0.2)
    pair.a.ip("link set eth up")
    pair.a.must_ping(INNER4["b"], count=1)
    pair.a.ip("link del eth")
    pair.a.ping(INNER4["b"], count=1, wait=0.2)
    l.link(pair.a, pair.b, "eth", "eth")
    pair.a.ip("addr add 192.0.2.1/24 dev eth")
    pair.b.ip("addr add 192.0.2.2/24 dev eth")
    pair.a.must_ping(INNER4["b"], count=1)
    pair.b.must_ping(INNER4["a"], count=1)


@case("renamed, given an MTU, moved to another namespace, deleted")
def life(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    time.sleep(PAUSE)
    pair.a.ip("link set wga down", "link set wga name tunnel0",
              "link set tunnel0 up")
    pair.a.reach(INNER4["b"])
    pair.a.ip("link set tunnel0 mtu 1300")
    pair.a.must_ping(INNER4["b"], "-s", "1272", "-M", "do", count=1)
    # Padding must not exceed the new MTU.
    capture = Capture(pair.a, "eth")
    pair.a.must_ping(INNER4["b"], "-s", "1272", "-M", "do", count=1)
    longest = max(len(p.payload) for p in capture.datagrams(sport=51001))
    check(longest <= 1300 + 32, f"a message of {longest} bytes")
    pair.a.ip("link set tunnel0 mtu 1420")
    pair.a.must_ping(INNER4["b"], "-s", "1392", "-M", "do", count=1)
    away = l.node("away")
    pair.a.ip("link set tunnel0 netns away")
    away.ip("addr add 10.9.0.1/24 dev tunnel0", "link set tunnel0 up")
    away.reach(INNER4["b"])
    away.must_ping(INNER4["b"], count=2)
    pair.b.must_ping(INNER4["a"], count=2)
    lab.send_stream(away, pair.b, INNER4["b"], 4 << 20)
    # The daemon sees the link go down and up in the other namespace, too.
    away.ip("link set tunnel0 down")
    capture = Capture(pair.a, "eth")
    pair.b.must_not_ping(INNER4["a"])
    check(not capture.datagrams(sport=51001), "sent while down")
    away.ip("link set tunnel0 mtu 1380", "link set tunnel0 up")
    away.reach(INNER4["b"])
    away.must_ping(INNER4["b"], "-s", "1352", "-M", "do", count=1)
    away.rename("tunnel0", "wgx")
    away.must_ping(INNER4["b"], count=1)
    check(os.path.exists(pair.ta.socket), "the socket file has gone early")
    away.ip("link del wgx")
    check_equal(pair.ta.wait(3), 0, "status after the deletion")
    check(not os.path.exists(pair.ta.socket), "the socket file is left")


@case("deleted where it was made")
def deleted(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    pair.a.ip("link del wga")
    check_equal(pair.ta.wait(3), 0, "status after the deletion")
    check(not os.path.exists(pair.ta.socket), "the socket file is left")


@case("its namespace is deleted")
def namespace_deleted(l):
    pair = Pair(l)
    away = l.node("away")
    pair.a.ip("link set wga netns away")
    away.ip("addr add 10.9.0.1/24 dev wga", "link set wga up")
    away.reach(INNER4["b"])
    away.must_ping(INNER4["b"], count=1)
    l.nodes.remove(away)
    away.close()
    check_equal(pair.ta.wait(5), 0, "status after the deletion")
    check(not os.path.exists(pair.ta.socket), "the socket file is left")


def add_busy_case(outer):
    """A case in which another process has the port, in one family."""
    @case(f"a port that is taken over IPv{outer}: refused, the old one stays")
    def _(l):
        pair = Pair(l)
        pair.both_ways(count=1)
        family = socket.AF_INET if outer == 4 else socket.AF_INET6
        taken = pair.b.socket(family)
        if outer == 6:
            taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        taken.bind(("", 55555))
        before = pair.ta.peer(pair.tb).handshake
        done = pair.tb.set("listen-port", "55555", check_status=False)
        check(done.returncode and "in use" in done.stdout,
              f"not refused as in use: {done.stdout}")
        check_equal(pair.tb.get("listen-port").stdout.strip(), "51002",
                    "port")
        pair.both_ways(count=1)
        check_equal(pair.ta.peer(pair.tb).handshake, before, "handshake")
        taken.close()
        pair.tb.set("listen-port", "55555")
        pair.b.must_ping(INNER4["a"], count=1)
        pair.both_ways(count=1)


for outer_family in 4, 6:
    add_busy_case(outer_family)


@case("a taken port when it goes up: it says so, and can be mended")
def busy_at_start(l):
    pair = Pair(l)
    pair.b.ip("link set wgb down")
    lab.wait_until(lambda: not pair.tb.has_port(51002), "b has closed its port")
    taken = pair.b.socket()
    taken.bind(("", 51002))
    pair.b.ip("link set wgb up", check_status=False)
    lab.wait_until(lambda: "in use" in pair.tb.log(), "a line in the log", 2)
    pair.tb.set("listen-port", "51003")
    pair.b.must_ping(INNER4["a"], count=1)
    pair.both_ways(count=1)


@case("fwmark: routing rules see it, also when it changes")
def fwmark(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    pair.a.ip("rule add fwmark 0x4242 prohibit")
    pair.ta.set("fwmark", "0x4242")
    check_equal(pair.ta.get("fwmark").stdout.strip(), "0x4242", "fwmark")
    pair.a.must_not_ping(INNER4["b"])
    pair.ta.set("fwmark", "0x4243")
    pair.a.must_ping(INNER4["b"], count=1)
    pair.ta.set("fwmark", "0x4242")
    pair.a.ip("rule del fwmark 0x4242 prohibit",
              "rule add fwmark 0x4242 lookup 77",
              "route add 192.0.2.0/24 dev eth table 77",
              "route del 192.0.2.0/24 dev eth table main")
    pair.a.must_ping(INNER4["b"], count=1)
    # A new socket has the mark, too.
    pair.ta.set("listen-port", "51005")
    pair.a.must_ping(INNER4["b"], count=1)
    pair.ta.flap()
    pair.a.reach(INNER4["b"])
    pair.ta.set("fwmark", "off")
    check_equal(pair.ta.get("fwmark").stdout.strip(), "off", "fwmark")
    pair.a.must_not_ping(INNER4["b"])


@case("IPv6 switched off by sysctl: works over IPv4, and tells its port")
def no_ipv6(l):
    a, b = l.node("a"), l.node("b")
    for node in a, b:
        for where in "all", "default":
            node.sysctl(f"net.ipv6.conf.{where}.disable_ipv6", 1)
    must_work_over_ipv4(l, a, b, {})


def must_work_over_ipv4(l, a, b, options):
    l.link(a, b, "eth", "eth")
    a.ip("addr add 192.0.2.1/24 dev eth")
    b.ip("addr add 192.0.2.2/24 dev eth")
    ta = l.tunnel(a, "wga", 51001).start(**options)
    tb = l.tunnel(b, "wgb", 51002).start(**options)
    tb.configure({"PublicKey": ta.public, "AllowedIPs": "10.9.0.1/32"})
    ta.configure({"PublicKey": tb.public, "AllowedIPs": "10.9.0.2/32",
                  "Endpoint": OUTER4["b"] + ":51002"})
    ta.port = 0
    ta.set("listen-port", "0")
    for tunnel, address in (tb, "10.9.0.2/24"), (ta, "10.9.0.1/24"):
        tunnel.up(address)
    a.must_ping(INNER4["b"])
    b.must_ping(INNER4["a"])
    lab.send_stream(a, b, INNER4["b"], 1 << 20)
    check_equal(tb.get("listen-port").stdout.strip(), "51002", "port")
    port = ta.get("listen-port").stdout.strip()
    check_equal(tb.peer(ta).endpoint, f"{OUTER4['a']}:{port}", "endpoint")
    return ta, tb


# For each machine: the architecture (linux/audit.h) and the number of socket(2).
SYSTEM_CALLS = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}


def refuse_family(family):
    """Make socket(2) refuse a family from now on, as a kernel without it
    does."""
    arch, number = SYSTEM_CALLS[platform.machine()]

    def op(code, yes, no, k):
        return struct.pack("=HBBI", code, yes, no, k)

    load, equal, answer = 0x20, 0x15, 0x06
    program = b"".join([
        op(load, 0, 0, 4), op(equal, 0, 5, arch),
        op(load, 0, 0, 0), op(equal, 0, 3, number),
        op(load, 0, 0, 16), op(equal, 0, 1, family),
        op(answer, 0, 0, 0x00050000 | errno.EAFNOSUPPORT),
        op(answer, 0, 0, 0x7fff0000)])
    text = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("HxxxxxxP", len(program) // 8,
                        ctypes.addressof(text))
    lab.call(lab.libc.prctl, 22, 2, ctypes.c_char_p(fprog), 0, 0)


@case("IPv6 sockets refused, as without IPv6 in the kernel")
def no_ipv6_sockets(l):
    if platform.machine() not in SYSTEM_CALLS:
        raise lab.Skip("its system calls are not known here")
    must_work_over_ipv4(l, l.node("a"), l.node("b"),
                        {"before": lambda: refuse_family(socket.AF_INET6)})


@case("the same with helpers: none takes it for a failure")
def no_ipv6_sockets_for_helpers(l):
    if platform.machine() not in SYSTEM_CALLS:
        raise lab.Skip("its system calls are not known here")
    options = {"before": lambda: refuse_family(socket.AF_INET6),
               "WIREGATHER_OPTIONS": "--workers 2 --eager"}
    for tunnel in must_work_over_ipv4(l, l.node("a"), l.node("b"), options):
        check("cannot read" not in tunnel.log(), tunnel.log())


@case("more link messages than it has room for: it looks again")
def overflow(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    lab.pause(pair.ta.keeper)
    try:
        for net in range(10):
            pair.a.ip(*(f"addr add 10.77.{net}.{i}/32 dev eth"
                        for i in range(1, 255)),
                      *(f"addr del 10.77.{net}.{i}/32 dev eth"
                        for i in range(1, 255)))
        pair.a.ip("link set wga mtu 1300", "link set wga down")
    finally:
        os.kill(pair.ta.keeper, signal.SIGCONT)
    lab.wait_until(lambda: not pair.ta.has_port(51001), "a has closed its port")
    pair.a.ip("link set wga up")
    pair.ta.wait_for_port()
    pair.a.must_ping(INNER4["b"], "-s", "1272", "-M", "do", count=1)
    pair.both_ways(count=1)


@case("flaps while it sleeps, more than one look has room for: the last counts")
def flaps_asleep(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    # Without IPv6 the kernel sends only a few netlink messages for each flap.
    pair.a.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
    for last in "up", "down":
        lab.pause(pair.ta.keeper)
        try:
            for _ in range(30):
                pair.a.ip("link set wga down", "link set wga up")
            pair.a.ip("link set wga mtu 1300", f"link set wga {last}")
        finally:
            os.kill(pair.ta.keeper, signal.SIGCONT)
        lab.wait_until(lambda: pair.ta.has_port(51001) == (last == "up"),
                       f"the daemon has seen that the link is {last}")
        if last == "up":
            # Wait, so that the test would see a state that does not last.
            time.sleep(1)
            pair.a.reach(INNER4["b"])
    pair.a.ip("link set wga up")
    pair.ta.wait_for_port()
    pair.a.reach(INNER4["b"])


@case("no network at all when it starts, and addresses that come later")
def late_addresses(l):
    a, b = l.node("a"), l.node("b")
    ta = l.tunnel(a, "wga", 51001).start()
    tb = l.tunnel(b, "wgb", 51002).start()
    tb.configure({"PublicKey": ta.public, "AllowedIPs": "10.9.0.1/32"})
    ta.configure({"PublicKey": tb.public, "AllowedIPs": "10.9.0.2/32",
                  "Endpoint": OUTER4["b"] + ":51002"})
    for tunnel, address in (ta, "10.9.0.1/24"), (tb, "10.9.0.2/24"):
        tunnel.up(address)
    ping = a.start("ping", "-n", "-i", "0.5", "-c", "20", INNER4["b"])
    # The first ping is sent while there is no network.
    time.sleep(0.3)
    l.link(a, b, "eth", "eth")
    a.ip("addr add 192.0.2.1/24 dev eth")
    b.ip("addr add 192.0.2.2/24 dev eth")

    def has_answer():
        with open(ping.log.name, encoding="ascii") as file:
            return "bytes from" in file.read()

    # A handshake is tried again every 5 s.
    lab.wait_until(has_answer, "an answer", 8)


lab.main()
