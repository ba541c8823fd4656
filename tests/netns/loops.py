#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Routing loops: outer packets of a tunnel that are routed into the same
tunnel. BOUND is the number of bytes that ten flood pings may send in the
kernel's own test of its WireGuard
(tools/testing/selftests/wireguard/netns.sh).
"""
import socket
import struct
import time

import lab
from lab import (INNER4, OUTER4, Capture, Pair, case, check, check_equal,
                 wait_until)

BOUND = 70000
LINE = "come back through this interface"
UDP_SEGMENT = 103


def sent(tunnel):
    """Bytes sent to all peers."""
    return sum(peer.tx for peer in tunnel.peers().values())


def allow(tunnel, other, *prefixes):
    tunnel.set("peer", other.public, "allowed-ips", ",".join(prefixes))


def flood(node, target, *options):
    """Send ten pings at full speed; no answer is expected."""
    node.run("ping", "-n", "-q", "-f", "-c", "10", "-W", "1", *options, target,
             check_status=False)
    # A loop would send more bytes in this time.
    time.sleep(0.5)


def burst(node, target, size, segment=None):
    """Send a UDP payload by one call; segment: let the kernel cut it by
    UDP_SEGMENT."""
    sock = node.socket()
    if segment:
        sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, segment)
    sock.sendto(bytes(size), (target, 9))
    # A loop would send more bytes in this time.
    time.sleep(0.2)


class Lost:
    """A pair in which a can lose its route to b, so that only the tunnel leads
    there."""

    def __init__(self, l, outer):
        self.pair = Pair(l, outer=outer)
        self.net, self.all = ("192.0.2.0/24", "0.0.0.0/0") if outer == 4 \
            else ("2001:db8::/64", "::/0")
        allow(self.pair.ta, self.pair.tb, "0.0.0.0/0", "::/0")
        self.pair.both_ways(count=1)

    def lose(self):
        # The cable carries both families; only the outer one's route is
        # removed.
        self.pair.a.ip(f"route add {self.all} dev wga",
                       f"route del {self.net} dev eth")

    def find(self):
        self.pair.a.ip(f"route add {self.net} dev eth",
                       f"route del {self.all} dev wga")


def must_be_bounded(tunnel, work, what):
    before = sent(tunnel)
    work()
    grown = sent(tunnel) - before
    check(grown < BOUND, f"{what}: {grown} bytes were sent")
    # With fewer bytes nothing was tried.
    check(grown > 100, f"{what}: only {grown} bytes were sent")
    print(f"# {what}: {grown} bytes")


def lose_route(l, outer):
    lost = Lost(l, outer)
    a, ta = lost.pair.a, lost.pair.ta
    lost.lose()
    for size in 56, 1392, 8000:
        must_be_bounded(ta, lambda n=size: flood(a, INNER4["b"], "-s", str(n))
                        if n < 8000 else burst(a, INNER4["b"], n),
                        f"packets with {size} bytes")
    must_be_bounded(ta, lambda: burst(a, INNER4["b"], 30000, 1200),
                    "a super-packet")
    check_equal(ta.log().count(LINE), 1, "lines about it")
    check(f"packets to {lost.pair.endpoint('b')} {LINE}" in ta.log(),
          f"another line:\n{ta.log()}")
    lost.find()
    lost.pair.a.reach(INNER4["b"])
    lost.pair.both_ways(count=1)


@case("the route to the other end is lost, IPv4: bounded, one line, it heals")
def lose_route4(l):
    lose_route(l, 4)


@case("the route to the other end is lost, IPv6: bounded, one line, it heals")
def lose_route6(l):
    lose_route(l, 6)


@case("the handshakes' own messages do not loop")
def handshakes(l):
    pair = Pair(l)
    allow(pair.ta, pair.tb, "0.0.0.0/0", "::/0")
    pair.a.ip("route add default dev wga", "route del 192.0.2.0/24 dev eth")
    before = sent(pair.ta)
    flood(pair.a, INNER4["b"])
    # Only one initiation is sent. The daemon drops it when it comes back.
    check_equal(sent(pair.ta) - before, 148, "bytes sent")
    check_equal(pair.ta.log().count(LINE), 1, "lines about it")
    pair.a.ip("route add 192.0.2.0/24 dev eth")
    pair.a.reach(INNER4["b"])


class Behind:
    """c is a second peer of a; its endpoint is an address behind b, inside the
    tunnel."""

    def __init__(self, l):
        self.pair = Pair(l)
        self.tc = l.tunnel(self.pair.b, "wgc", 51003).start()
        self.pair.ta.set("peer", self.tc.public, "allowed-ips", "10.9.3.2/32",
                         "endpoint", f"{INNER4['b']}:51003")
        self.tc.configure({"PublicKey": self.pair.ta.public,
                           "AllowedIPs": "10.9.3.1/32"})
        self.tc.up("10.9.3.2/24")
        self.pair.a.ip("addr add 10.9.3.1/24 dev wga")
        self.pair.a.must_ping(INNER4["b"], count=1)


@case("a peer whose endpoint is behind another peer goes on working")
def onion(l):
    net = Behind(l)
    a = net.pair.a
    a.must_ping("10.9.3.2", count=2)
    a.must_ping("10.9.3.2", "-s", "1400", count=2)
    check_equal(net.pair.ta.log().count(LINE), 0, "lines about a loop")
    check_equal(net.pair.ta.peer(net.tc).endpoint, f"{INNER4['b']}:51003",
                "endpoint")


@case("an endpoint that is only behind the peer itself")
def inside_itself(l):
    net = Behind(l)
    a, ta = net.pair.a, net.pair.ta
    a.must_ping("10.9.3.2", count=1)
    ta.set("peer", net.tc.public, "endpoint", "10.9.3.2:51003")
    must_be_bounded(ta, lambda: flood(a, "10.9.3.2"), "ten pings")
    must_be_bounded(ta, lambda: burst(a, "10.9.3.2", 30000, 1200),
                    "a super-packet")
    check_equal(ta.log().count(LINE), 1, "lines about it")
    # Other peers are not affected.
    a.must_ping(INNER4["b"], count=2)


class Gateway:
    """c is a host behind a, with a tunnel of its own to the same server b.
    Packets from c to b travel through a's tunnel.
    """

    def __init__(self, l, outer):
        self.pair = Pair(l, outer=outer)
        a, b = self.pair.a, self.pair.b
        self.c = l.node("c")
        l.link(a, self.c, "lan", "eth")
        a.ip("addr add 10.50.0.1/24 dev lan",
             "addr add fd50::1/64 dev lan nodad")
        self.c.ip("addr add 10.50.0.2/24 dev eth",
                  "addr add fd50::2/64 dev eth nodad",
                  "route add default via 10.50.0.1",
                  "route add ::/0 via fd50::1")
        for node, device in (a, "lan"), (self.c, "eth"):
            node.settle(device)
        for node in a, b:
            node.sysctl("net.ipv4.ip_forward", 1)
            node.sysctl("net.ipv6.conf.all.forwarding", 1)
            for key in "all", "default", "wga", "wgb", "eth":
                if node is a and key == "wgb" or node is b and key == "wga":
                    continue
                node.sysctl(f"net.ipv4.conf.{key}.rp_filter", 0)
        allow(self.pair.ta, self.pair.tb, "0.0.0.0/0", "::/0")
        allow(self.pair.tb, self.pair.ta, "10.9.0.1/32", "fd09::1/128",
              "10.50.0.0/24", "fd50::/64")
        for family in "-4", "-6":
            a.run("ip", family, "rule", "add", "iif", "lan", "lookup", "77")
        a.ip("route add 0.0.0.0/0 dev wga table 77",
             "route add ::/0 dev wga table 77")
        b.ip("route add 10.50.0.0/24 dev wgb", "route add fd50::/64 dev wgb")
        # c uses the same port as a.
        self.tc = l.tunnel(self.c, "wgc", 51001).start()
        self.tc.configure({"PublicKey": self.pair.tb.public,
                           "AllowedIPs": "10.9.0.2/32, fd09::2/128",
                           "Endpoint": self.pair.endpoint("b")})
        self.pair.tb.set("peer", self.tc.public, "allowed-ips", "10.9.0.7/32")
        self.tc.up("10.9.0.7/24", mtu=1280)


def lan_host(l, outer):
    net = Gateway(l, outer)
    net.pair.both_ways(count=1)
    capture = Capture(net.pair.b, "wgb", has_ethernet=False)
    net.c.must_ping(INNER4["b"], count=3)
    # The messages of c came through the tunnel, to the port that the tunnel
    # itself uses.
    inner = [p for p in capture.datagrams(dport=51002) if p.payload[0] in (1, 4)]
    check(inner, "no message of c came through the tunnel")
    check_equal({p.sport for p in inner}, {51001}, "its port")
    lab.send_datagrams(net.c, net.pair.b, INNER4["b"], range(1, 1200, 300))
    check_equal(net.pair.ta.log().count(LINE), 0, "lines about a loop")


@case("a host behind us has its own WireGuard to the same server, IPv4")
def lan_host4(l):
    lan_host(l, 4)


@case("a host behind us has its own WireGuard to the same server, IPv6")
def lan_host6(l):
    lan_host(l, 6)


@case("what looks like ours and is not passes")
def look_alikes(l):
    # Without USO at b, the capture on its interface sees single packets. The rule
    # below is about packets of root, not about those of the daemon.
    pair = Pair(l, options=("--keeper-user", "4711:4711"),
                options_b=("--no-uso",))
    pair.both_ways(count=1)
    allow(pair.ta, pair.tb, "0.0.0.0/0", "::/0")
    capture = Capture(pair.b, "eth")
    pair.a.must_ping(INNER4["b"], count=1)
    ours = [p.payload for p in capture.datagrams(sport=51001)
            if p.payload[0] == 4][-1]
    receiver, counter = struct.unpack_from("<IQ", ours, 4)
    pair.a.ip(f"route add {OUTER4['b']}/32 dev wga table 77",
              "rule add uidrange 0-0 lookup 77")
    inner = Capture(pair.b, "wgb", has_ethernet=False)
    sock = pair.a.socket()
    strange = (
        # A message of another session, a counter that was not used yet, other
        # types and lengths.
        struct.pack("<IIQ", 4, receiver ^ 1, 0) + bytes(32),
        struct.pack("<IIQ", 4, receiver, counter + 100000) + bytes(32),
        struct.pack("<II", 1, receiver) + bytes(140),
        struct.pack("<II", 2, receiver) + bytes(84),
        struct.pack("<II", 3, receiver) + bytes(56),
        struct.pack("<IIQ", 4, receiver, 0), b"", b"\4", bytes(500))
    for message in strange:
        sock.sendto(message, (OUTER4["b"], 51002))
    # A real message of ours, but to another port of that address.
    sock.sendto(ours, (OUTER4["b"], 51009))
    seen = []

    def have_all():
        seen.extend(inner.datagrams())
        return len(seen) >= len(strange) + 1

    wait_until(have_all, "all of them come out", 10)
    check_equal(sorted(p.payload for p in seen), sorted((*strange, ours)),
                "messages that came out")
    check_equal(pair.ta.log().count(LINE), 0, "lines about a loop")
    # This message is a loop.
    sock.sendto(ours, (OUTER4["b"], 51002))
    wait_until(lambda: pair.ta.log().count(LINE) == 1, "a line about the loop", 10)


lab.main()
