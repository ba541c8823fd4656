#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Cables and routers whose MTU is smaller than the tunnel's datagrams, or that
change it."""
import time

import lab
from lab import INNER4, INNER6, Pair, case, check
from routed import Routed

MEGA = 1 << 20
# Mbit/s. A choice; a tunnel that sends each packet in fragments reaches 500.
ENOUGH = 50


def must_stream(pair, n_bytes, **options):
    """TCP both ways must reach a minimum rate."""
    enough = 0 if pair.lab.no_rates else ENOUGH
    n_bytes = n_bytes // 4 if pair.lab.no_rates else n_bytes
    for source, sink, address in (
            (pair.a, pair.b, INNER4["b"]), (pair.b, pair.a, INNER4["a"]),
            (pair.a, pair.b, INNER6["b"]), (pair.b, pair.a, INNER6["a"])):
        rate = lab.send_stream(source, sink, address, n_bytes, **options)
        check(rate > enough, f"TCP {source.name} to {address}: only "
                             f"{rate:.1f} Mbit/s")


def add_cable(outer, mtu):
    """Add a case with a cable whose MTU is below the tunnel's datagrams."""
    @case(f"a cable of {mtu} under a tunnel of 1420, over IPv{outer}")
    def _(l):
        pair = Pair(l, outer=outer, link_mtu=mtu)
        pair.both_ways(count=1)
        must_stream(pair, 16 * MEGA)
        lab.send_datagrams(pair.a, pair.b, INNER4["b"], [1392] * 200)
        pair.a.must_ping(INNER4["b"], "-s", "1392", "-M", "do")


for outer_family, cable_mtu in (4, 1400), (6, 1400), (4, 1280), (6, 1280):
    add_cable(outer_family, cable_mtu)


def add_change(outer):
    """Add a case with a cable whose MTU changes."""
    @case(f"the cable shrinks and grows under a stream, over IPv{outer}")
    def _(l):
        pair = Pair(l, outer=outer)
        stream = lab.Stream(pair.a, pair.b, INNER4["b"],
                            (8 if l.no_rates else 200) * MEGA)
        for mtu in 1280, 1500:
            time.sleep(0.15)
            for node in pair.a, pair.b:
                node.ip(f"link set eth mtu {mtu}")
        rate = stream.finish()
        check(l.no_rates or rate > ENOUGH, f"only {rate:.1f} Mbit/s")


for outer_family in 4, 6:
    add_change(outer_family)


@case("a router with a cable of 1300 that keeps silent, over IPv4")
def silent_router(l):
    lab.need("nft")
    pair = Routed(l, 4, 1300)
    for router in pair.r, pair.s:
        router.nft("""table inet f {
            chain out {
                type filter hook output priority 0;
                icmp type destination-unreachable drop
            }
        }""")
    pair.a.must_ping(INNER4["b"], "-s", "1392")
    must_stream(pair, 8 * MEGA)


@case("a router with a cable of 1300 that tells, over IPv4")
def telling_router(l):
    pair = Routed(l, 4, 1300)
    pair.a.must_ping(INNER4["b"], "-s", "1392")
    must_stream(pair, 8 * MEGA)


@case("a router with a cable of 1300 that tells, over IPv6")
def telling_router6(l):
    pair = Routed(l, 6, 1300)
    # The first large packet each way is lost; the ICMP error to it tells the
    # MTU.
    pair.a.ping(INNER4["b"], "-s", "1392", count=1, wait=0.5)
    pair.a.ping(INNER4["b"], "-s", "1392", count=1, wait=0.5)
    pair.a.must_ping(INNER4["b"], "-s", "1392")
    must_stream(pair, 8 * MEGA)


def add_checksum_case(outer):
    """Add a case of a device without checksum offload, for which the kernel
    computes checksums."""
    @case(f"a device that cannot checksum refuses trains, over IPv{outer}")
    def _(l):
        lab.need("ethtool")
        pair = Pair(l, outer=outer)
        for node in pair.a, pair.b:
            node.run("ethtool", "-K", "eth", "tx", "off")
        pair.both_ways(count=1)
        must_stream(pair, 8 * MEGA)
        lab.send_datagrams(pair.a, pair.b, INNER4["b"], [1200] * 200)

    @case(f"a device that stops to checksum under a stream, over IPv{outer}")
    def _(l):
        lab.need("ethtool")
        pair = Pair(l, outer=outer)
        stream = lab.Stream(pair.a, pair.b, INNER4["b"],
                            (8 if l.no_rates else 100) * MEGA)
        for state in "off", "on", "off":
            time.sleep(0.1)
            for node in pair.a, pair.b:
                node.run("ethtool", "-K", "eth", "tx", state)
        stream.finish()
        must_stream(pair, 4 * MEGA)


for outer_family in 4, 6:
    add_checksum_case(outer_family)


@case("a slow cable: the sender waits, nothing is lost for long")
def slow_cable(l):
    pair = Pair(l)
    for node in pair.a, pair.b:
        node.run("tc", "qdisc", "add", "dev", "eth", "root", "tbf", "rate",
                 "100mbit", "burst", "200k", "latency", "30ms")
    streams = [lab.Stream(pair.a, pair.b, INNER4["b"], 4 * MEGA, port=port)
               for port in (7101, 7102)]
    pair.b.must_ping(INNER4["a"], count=1)
    for stream in streams:
        stream.finish()


@case("three of ten datagrams are lost: handshakes and streams get through")
def lossy(l):
    lab.need("nft")
    pair = Pair(l)
    for node in pair.a, pair.b:
        node.nft("""table inet f {
            chain in {
                type filter hook input priority 0
                udp dport { 51001, 51002 } numgen random mod 10 < 3 drop
            }
        }""")
    ping = pair.a.start("ping", "-n", "-i", "0.1", "-c", "300", INNER4["b"])

    def has_answers():
        with open(ping.log.name, encoding="ascii") as file:
            return file.read().count("bytes from") > 5

    # About one attempt in two succeeds; the next follows after 5 s.
    lab.wait_until(has_answers, "an answer", 45)
    ping.kill()
    for node in pair.a, pair.b:
        node.nft("delete table inet f")
    lab.send_stream(pair.a, pair.b, INNER4["b"], MEGA)


@case("a destination that a filter refuses does not stop the others")
def refused(l):
    lab.need("nft")
    pair = Pair(l)
    pair.both_ways(count=1)
    pair.a.nft("""table inet f {
        chain out {
            type filter hook output priority 0
            udp dport 9999 drop
        }
    }""")
    other = lab.run("wg", "genpsk").stdout.strip()
    pair.ta.set("peer", other, "endpoint", "192.0.2.2:9999", "allowed-ips",
                "10.9.9.0/24", "persistent-keepalive", "1")
    pair.a.ip("route add 10.9.9.0/24 dev wga")
    flood = pair.a.start("ping", "-n", "-q", "-f", "10.9.9.9")
    pair.both_ways(count=1)
    must_stream(pair, 8 * MEGA)
    flood.kill()


@case("inner IPv4 with DF and without, over a cable of 1400")
def inner_df(l):
    pair = Pair(l, link_mtu=1400)
    for source, to in (pair.a, INNER4["b"]), (pair.b, INNER4["a"]):
        source.must_ping(to, "-s", "1392", "-M", "do")
        source.must_ping(to, "-s", "1392", "-M", "dont")
        source.must_ping(to, "-s", "3000", "-M", "dont")
        got, text = source.ping(to, "-s", "1393", "-M", "do", count=1)
        check(not got and "1420" in text, f"above the MTU with DF: {text}")


lab.main()
