#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Faults of the way to a peer, planted one by one: wiregatherctl names each of them in
one line. planted.py has those of the two ends.
"""
import json
import re

import lab
from lab import INNER4, OUTER4, OUTER6, Pair, case, check, check_equal
from planting import FINE, ask, cause, must_name, must_tell, title


def refuse_input(node, rule):
    node.nft(f"table inet planted {{ chain c {{ type filter hook input priority 0; "
             f"{rule}\n}}\n}}")


@case("a port that a firewall blocks, rejects, or does not let out")
def blocked(l):
    pair = Pair(l)
    there = re.escape(pair.endpoint("b"))
    refuse_input(pair.b, "udp dport 51002 drop")
    must_name(pair.a, ["wga", INNER4["b"]],
              rf"{title(pair.tb)} does not answer handshakes at {there}: that host "
              r"answers pings, so a firewall blocks UDP port 51002, .*")
    pair.b.run("nft", "delete table inet planted")
    refuse_input(pair.b, "udp dport 51002 reject")
    pair.ta.flap()
    must_name(pair.a, ["wga", INNER4["b"]],
              rf"{title(pair.tb)} does not answer handshakes at {there}: that host says "
              "that nobody listens on UDP port 51002, or its firewall rejects it")
    pair.b.run("nft", "delete table inet planted")
    pair.a.nft("table inet planted { chain c { type filter hook output priority 0; "
               "udp dport 51002 drop\n}\n}")
    pair.ta.flap()
    must_name(pair.a, ["wga", INNER4["b"]],
              rf"the kernel refuses to send to {there}: Operation not permitted; a rule "
              "of the firewall of this host forbids it")
    must_tell(pair.a, "wga", rf"the kernel refuses to send to {title(pair.tb)}: "
              r"Operation not permitted \(.*\)")


@case("a route to the endpoint that leads into the tunnel")
def loop(l):
    pair = Pair(l)
    pair.a.ip(f"route add {OUTER4['b']}/32 dev wga")
    must_name(pair.a, ["wga", INNER4["b"]],
              rf"a loop: the route to the endpoint {re.escape(OUTER4['b'])} leads into "
              "wga itself")
    pair.a.ip(f"route del {OUTER4['b']}/32 dev wga",
              f"route add unreachable {OUTER4['b']}/32")
    must_name(pair.a, ["wga", INNER4["b"]],
              rf"there is no route to the endpoint {re.escape(OUTER4['b'])}: .*")
    # The way into the tunnel.
    pair.a.ip(f"route del unreachable {OUTER4['b']}/32",
              f"route add {INNER4['b']}/32 via {OUTER4['b']} dev eth")
    must_name(pair.a, ["wga", INNER4["b"]],
              rf"packets to {re.escape(INNER4['b'])} leave by eth, and not by wga")


class Routed(Pair):
    """A router stands between a and b, and its cable to b is short of MTU."""

    def join(self, mtu):
        self.router = self.lab.node("r")
        self.lab.link(self.a, self.router, "eth", "eth0")
        self.lab.link(self.router, self.b, "eth1", "eth", 1300)
        self.router.sysctl("net.ipv6.conf.all.forwarding", 1)
        for node, device, address in (
                (self.a, "eth", "2001:db8:a::1"), (self.router, "eth0", "2001:db8:a::9"),
                (self.b, "eth", "2001:db8:b::2"), (self.router, "eth1", "2001:db8:b::9")):
            node.ip(f"addr add {address}/64 dev {device} nodad")
        for node, route in (self.a, "2001:db8:b::/64 via 2001:db8:a::9"), \
                (self.b, "2001:db8:a::/64 via 2001:db8:b::9"):
            node.ip(f"route add {route}")
        for node, device in ((self.a, "eth"), (self.b, "eth"), (self.router, "eth0"),
                             (self.router, "eth1")):
            node.settle(device)
        self.outer = {"a": "2001:db8:a::1", "b": "2001:db8:b::2"}


@case("an MTU that is too big for the path, whose ICMP messages are filtered")
def size(l):
    pair = Routed(l, outer=6)
    pair.router.nft("table inet planted { chain c { type filter hook output priority 0; "
                    "icmpv6 type packet-too-big drop\n}\n}")
    text = must_name(pair.a, ["wga", INNER4["b"]],
                     r"the MTU is too big: packets of 1420 bytes are lost without a word "
                     r"\(ICMP is filtered\), those of 12\d\d pass")
    # What it advises helps.
    advice = re.search(r"ip (link set wga mtu (\d+))", text)
    pair.a.ip(advice[1])
    pair.b.ip(f"link set wgb mtu {advice[2]}")
    check_equal(cause(pair.a, "wga", INNER4["b"], status=FINE)[0], "none was found",
                "cause with that MTU")


@case("a path that takes less than the interface, and is found out")
def found_out(l):
    pair = Routed(l, outer=6, options=("--pmtu=discover",))
    pair.both_ways(count=1)

    def is_known():
        pair.a.ping(INNER4["b"], "-s", "1392", "-M", "dont", count=1, wait=1)
        shown, = json.loads(ask(pair.a, "status", "--json", "wga"))
        return any(peer.get("path_mtu") for peer in shown["peers"])

    lab.wait_until(is_known, "the path MTU is known", 20)
    text = ask(pair.a, "why", "wga", INNER4["b"], status=FINE)
    check(re.search(rf"note +path MTU +the path to {title(pair.tb)} takes outer packets of "
                    r"1300 bytes, so inner packets of more than 1220 are cut, or their "
                    r"senders are told\n", text), text)
    check("fragments" not in text, text)


@case("a peer whose host has moved, with and without a word")
def roamed(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    before = pair.endpoint("b")
    # b moves, and a gets a packet from there; then the way is closed.
    pair.b.ip(f"addr del {OUTER4['b']}/24 dev eth", "addr add 192.0.2.22/24 dev eth")
    pair.b.reach(INNER4["a"])
    check_equal(pair.ta.peer(pair.tb).endpoint, "192.0.2.22:51002", "endpoint")
    text = ask(pair.a, "why", "wga", INNER4["b"], status=FINE)
    check(re.search(rf"note +endpoint +{title(pair.tb)} has roamed from "
                    rf"{re.escape(before)} to 192\.0\.2\.22:51002 ", text), text)
    refuse_input(pair.b, "udp dport 51002 drop")
    pair.ta.flap()
    must_name(pair.a, ["wga", INNER4["b"]],
              rf"{title(pair.tb)} has roamed from {re.escape(before)} to "
              r"192\.0\.2\.22:51002 \(.*\), and does not answer there")
    pair.b.run("nft", "delete table inet planted")


@case("a peer that moves without a word")
def moved(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    pair.b.ip(f"addr del {OUTER4['b']}/24 dev eth", "addr add 192.0.2.23/24 dev eth")
    pair.ta.flap()
    must_name(pair.a, ["wga", INNER4["b"]],
              rf"{title(pair.tb)} does not answer handshakes at "
              rf"{re.escape(pair.endpoint('b'))} \(the last answer was (now|.* ago)\): "
              "(that host does not answer pings either: it is off, has moved, or a "
              "firewall blocks all|on the way: No route to host)")


@case("IPv6 that is switched off, and an endpoint of the wrong family")
def families(l):
    pair = Pair(l, outer=6)
    pair.both_ways(count=1)
    pair.a.ip(f"addr del {OUTER6['a']}/64 dev eth")
    must_name(pair.a, ["wga", INNER4["b"]],
              rf"the endpoint of {title(pair.tb)} is of the wrong family: it is IPv6, and "
              "this host has no IPv6 address")
    pair.a.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
    must_name(pair.a, ["wga", INNER4["b"]],
              rf"the endpoint of {title(pair.tb)} is IPv6, and IPv6 is switched off on "
              "this host")


lab.main()
