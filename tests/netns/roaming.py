#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Endpoints: learned, changed, translated, and the addresses behind them."""
import time

import lab
from lab import INNER4, OUTER4, OUTER6, Pair, at, case, check, check_equal


def endpoint_of(tunnel, other):
    return tunnel.peer(other).endpoint


def must_learn(tunnel, other, endpoint):
    lab.wait_until(lambda: endpoint_of(tunnel, other) == endpoint,
                   f"{tunnel.name} has the endpoint {endpoint}, not "
                   f"{endpoint_of(tunnel, other)}", 3)


@case("a responder without an endpoint learns it, over IPv4")
def learned4(l):
    pair = Pair(l, learned=True)
    check_equal(endpoint_of(pair.tb, pair.ta), "(none)", "endpoint")
    pair.b.must_not_ping(INNER4["a"])
    pair.both_ways(count=1)
    check_equal(endpoint_of(pair.tb, pair.ta), pair.endpoint("a"), "endpoint")


@case("a responder without an endpoint learns it, over IPv6")
def learned6(l):
    pair = Pair(l, outer=6, learned=True)
    pair.both_ways(count=1)
    check_equal(endpoint_of(pair.tb, pair.ta), pair.endpoint("a"), "endpoint")


@case("a packet for a peer without an endpoint is answered at once")
def without_endpoint(l):
    pair = Pair(l, learned=True)
    for address in INNER4["a"], lab.INNER6["a"]:
        start = time.monotonic()
        _, text = pair.b.ping(address, count=1)
        took = time.monotonic() - start
        check("nreachable" in text, f"no ICMP message:\n{text}")
        lab.check_quick(l, took, 1, 7, f"a ping to {address}")


def must_not_shake_hands(pair, before):
    after = [pair.ta.peer(pair.tb).handshake, pair.tb.peer(pair.ta).handshake]
    check_equal(after, before, "times of the handshakes")


def handshakes(pair):
    return [pair.ta.peer(pair.tb).handshake, pair.tb.peer(pair.ta).handshake]


@case("a port that changes is followed on a data packet, both ways")
def port(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    before = handshakes(pair)
    pair.ta.set("listen-port", "51003")
    pair.a.must_ping(INNER4["b"], count=1)
    must_learn(pair.tb, pair.ta, at(OUTER4["a"], 51003))
    pair.tb.set("listen-port", "51004")
    pair.b.must_ping(INNER4["a"], count=1)
    must_learn(pair.ta, pair.tb, at(OUTER4["b"], 51004))
    must_not_shake_hands(pair, before)


def add_address_case(outer, first, second, length):
    """Add a case in which the address of either side changes."""
    @case(f"an address that changes is followed, both ways, over IPv{outer}")
    def _(l):
        pair = Pair(l, outer=outer)
        pair.both_ways(count=1)
        before = handshakes(pair)
        flag = " nodad" if outer == 6 else ""
        for node, tunnel, other, side, new in (
                (pair.a, pair.ta, pair.tb, "a", first),
                (pair.b, pair.tb, pair.ta, "b", second)):
            node.ip(f"addr del {pair.outer[side]}/{length} dev eth",
                    f"addr add {new}/{length} dev eth{flag}")
            node.must_ping(INNER4["b" if side == "a" else "a"], count=1)
            must_learn(other, tunnel, at(new, tunnel.port))
        pair.both_ways(count=1)
        must_not_shake_hands(pair, before)


add_address_case(4, "192.0.2.11", "192.0.2.12", 24)
add_address_case(6, "2001:db8::11", "2001:db8::12", 64)


@case("from IPv4 to IPv6 and back")
def families(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    pair.ta.set("peer", pair.tb.public, "endpoint", at(OUTER6["b"], 51002))
    pair.a.must_ping(INNER4["b"], count=1)
    must_learn(pair.tb, pair.ta, at(OUTER6["a"], 51001))
    pair.tb.set("peer", pair.ta.public, "endpoint", at(OUTER4["a"], 51001))
    pair.b.must_ping(INNER4["a"], count=1)
    must_learn(pair.ta, pair.tb, at(OUTER4["b"], 51002))


def add_sticky_case(outer, second, length):
    """Add a case of a host with two addresses."""
    @case(f"answers leave from the address that was asked, and go on when "
          f"it is removed, over IPv{outer}")
    def _(l):
        pair = Pair(l, outer=outer, learned=True)
        flag = " nodad" if outer == 6 else ""
        pair.b.ip(f"addr add {second}/{length} dev eth{flag}")
        for address in second, pair.outer["b"], second:
            pair.ta.set("peer", pair.tb.public, "endpoint",
                        at(address, 51002))
            pair.a.must_ping(INNER4["b"], count=1)
            capture = lab.Capture(pair.b, "eth")
            pair.a.must_ping(INNER4["b"])
            pair.b.must_ping(INNER4["a"])
            # The source must also hold if incoming datagrams are merged.
            lab.send_stream(pair.b, pair.a, INNER4["a"], 1 << 20)
            lab.send_stream(pair.a, pair.b, INNER4["b"], 1 << 20)
            sources = {p.src for p in capture.datagrams(sport=51002)}
            check_equal(sources, {address}, "source addresses")
            check_equal(endpoint_of(pair.ta, pair.tb), at(address, 51002),
                        "endpoint")
        pair.b.ip(f"addr del {second}/{length} dev eth")
        pair.b.must_ping(INNER4["a"])
        must_learn(pair.ta, pair.tb, at(pair.outer["b"], 51002))
        pair.a.must_ping(INNER4["b"])


add_sticky_case(4, "192.0.2.3", 24)
add_sticky_case(6, "2001:db8::3", 64)


@case("a second cable: answers take the one that routing names")
def second_cable(l):
    pair = Pair(l)
    l.link(pair.a, pair.b, "eth2", "eth2")
    pair.a.ip("addr add 198.51.100.1/24 dev eth2")
    pair.b.ip("addr add 198.51.100.2/24 dev eth2")
    pair.both_ways(count=1)
    # Reach the same peer by the other cable, as when a laptop changes
    # networks.
    pair.ta.set("peer", pair.tb.public, "endpoint", "198.51.100.2:51002")
    pair.a.must_ping(INNER4["b"])
    must_learn(pair.tb, pair.ta, "198.51.100.1:51001")
    pair.a.ip("link set eth2 down")
    pair.ta.set("peer", pair.tb.public, "endpoint", "192.0.2.2:51002")
    pair.a.must_ping(INNER4["b"])
    must_learn(pair.tb, pair.ta, "192.0.2.1:51001")


@case("a link-local endpoint with its zone")
def zone(l):
    pair = Pair(l, outer=6, learned=True)
    # With a second device, only the zone tells which device a link-local
    # address is on.
    l.link(pair.a, pair.b, "eth2", "eth2")
    here, there = (pair.a.link_address("eth"), pair.b.link_address("eth"))
    pair.ta.set("peer", pair.tb.public, "endpoint", f"[{there}%eth]:51002")
    check_equal(endpoint_of(pair.ta, pair.tb), f"[{there}%eth]:51002",
                "endpoint")
    pair.both_ways(count=1)
    lab.send_stream(pair.a, pair.b, INNER4["b"], 4 << 20)
    lab.send_stream(pair.b, pair.a, INNER4["a"], 4 << 20)
    check_equal(endpoint_of(pair.tb, pair.ta), f"[{here}%eth]:51001",
                "endpoint that was learned")


class Translated:
    """Node a is behind r, which translates addresses; b has a public
    address."""

    def __init__(self, l, keepalive=None):
        lab.need("nft")
        self.a, self.r, self.b = map(l.node, "arb")
        l.link(self.a, self.r, "eth", "inside")
        l.link(self.r, self.b, "outside", "eth")
        self.a.ip("addr add 192.168.1.100/24 dev eth",
                  "route add default via 192.168.1.1")
        self.r.ip("addr add 192.168.1.1/24 dev inside",
                  "addr add 203.0.113.1/24 dev outside")
        self.b.ip("addr add 203.0.113.2/24 dev eth")
        self.r.sysctl("net.ipv4.ip_forward", 1)
        self.use_ports("4000-4099")
        for what in "udp_timeout", "udp_timeout_stream":
            try:
                self.r.sysctl(f"net.netfilter.nf_conntrack_{what}", 2)
            except OSError as err:
                raise lab.Skip("no connection tracking") from err
        self.ta = l.tunnel(self.a, "wga", 51001).start()
        self.tb = l.tunnel(self.b, "wgb", 51002).start()
        self.ta.configure({"PublicKey": self.tb.public,
                           "AllowedIPs": lab.allowed("b"),
                           "Endpoint": "203.0.113.2:51002",
                           "PersistentKeepalive": keepalive})
        self.tb.configure({"PublicKey": self.ta.public,
                           "AllowedIPs": lab.allowed("a")})
        # b comes up first: if a's first attempt found no b, the next would
        # come after 5 s.
        self.tb.up(INNER4["b"] + "/24")
        self.ta.up(INNER4["a"] + "/24")

    def use_ports(self, ports):
        """Make r translate source ports to these from now on."""
        self.r.nft(f"""table ip nat
            delete table ip nat
            table ip nat {{
                chain post {{
                    type nat hook postrouting priority 100
                    oifname "outside" udp dport 51002 masquerade to :{ports}
                }}
            }}""")

    def port(self):
        return int(endpoint_of(self.tb, self.ta).rpartition(":")[2])


@case("behind a translator that forgets after 2 s: nothing gets in")
def forgets(l):
    net = Translated(l)
    net.a.must_ping(INNER4["b"], count=1)
    check(4000 <= net.port() <= 4099, f"the port is not translated: "
                                      f"{net.port()}")
    net.b.must_ping(INNER4["a"], count=1)
    # The translator forgets after 2 s.
    time.sleep(3)
    net.b.must_not_ping(INNER4["a"])


@case("behind a translator that forgets after 2 s: a keepalive of 1 s helps")
def keepalive(l):
    net = Translated(l, keepalive=1)
    lab.wait_until(lambda: net.tb.peer(net.ta).handshake,
                   "a shakes hands by itself", 3)
    # Without keepalives the translator would forget after 2 s.
    time.sleep(3.5)
    net.b.must_ping(INNER4["a"], count=1)


@case("behind a translator that gives another port: the next packet tells")
def other_port(l):
    net = Translated(l)
    net.a.must_ping(INNER4["b"], count=1)
    before = [net.ta.peer(net.tb).handshake, net.tb.peer(net.ta).handshake]
    net.use_ports("5000-5099")
    # The translator forgets the old port after 2 s.
    time.sleep(2.8)
    net.a.must_ping(INNER4["b"], count=1)
    check(5000 <= net.port() <= 5099, f"the new port is not followed: "
                                      f"{net.port()}")
    net.b.must_ping(INNER4["a"], count=1)
    lab.send_stream(net.a, net.b, INNER4["b"], 4 << 20)
    check_equal([net.ta.peer(net.tb).handshake, net.tb.peer(net.ta).handshake],
                before, "times of the handshakes")


lab.main()
