#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Two hosts on one cable, and the traffic that every tunnel has to carry."""
import lab
from lab import INNER4, INNER6, Pair, case, check

MEGA = 1 << 20


def amount(pair, n_bytes):
    """n_bytes, or an eighth of them in a build with a sanitizer, which is slow."""
    return n_bytes // 8 if pair.lab.is_slow else n_bytes


def streams(pair, n_bytes):
    """TCP both ways, IPv4 and IPv6; returns the slowest rate."""
    n_bytes = amount(pair, n_bytes)
    return min(lab.send_stream(pair.a, pair.b, INNER4["b"], n_bytes),
               lab.send_stream(pair.b, pair.a, INNER4["a"], n_bytes),
               lab.send_stream(pair.a, pair.b, INNER6["b"], n_bytes),
               lab.send_stream(pair.b, pair.a, INNER6["a"], n_bytes))


@case("ping over IPv4")
def ping_over_4(l):
    Pair(l).both_ways()


@case("ping over IPv6")
def ping_over_6(l):
    Pair(l, outer=6).both_ways()


@case("TCP streams arrive whole, over IPv4")
def tcp_over_4(l):
    streams(Pair(l), 32 * MEGA)


@case("TCP streams arrive whole, over IPv6")
def tcp_over_6(l):
    streams(Pair(l, outer=6), 32 * MEGA)


@case("UDP datagrams of all sizes arrive as they were")
def udp(l):
    pair = Pair(l)
    lengths = [*range(0, 40), *range(1380, 1400), 1452, 2000, 4096, 9000,
               20000, 65507]
    lab.send_datagrams(pair.a, pair.b, INNER4["b"], lengths)
    lengths[-1] = 65487
    lab.send_datagrams(pair.b, pair.a, INNER6["a"], lengths)


@case("many equal datagrams, and trains with a shorter tail")
def udp_trains(l):
    pair = Pair(l)
    lab.send_datagrams(pair.a, pair.b, INNER4["b"], [1200] * 2000, window=100)
    lab.send_datagrams(pair.a, pair.b, INNER6["b"],
                       ([1200] * 9 + [1] + [100, 0, 100]) * 50, window=104)


@case("packets of exactly the tunnel's MTU, and beyond")
def big_packets(l):
    pair = Pair(l)
    for node, side in (pair.a, "b"), (pair.b, "a"):
        node.must_ping(INNER4[side], "-s", "1392", "-M", "do")
        node.must_ping(INNER6[side], "-s", "1372", "-M", "do")
        node.must_ping(INNER4[side], "-s", "20000")
        node.must_ping(INNER6[side], "-s", "20000")
        got, text = node.ping(INNER4[side], "-s", "1393", "-M", "do", count=1)
        check(not got and "1420" in text,
              f"a packet above the MTU with DF: {text}")


@case("streams both ways at once, several of them")
def both_ways(l):
    pair = Pair(l)
    n_bytes = amount(pair, 16 * MEGA)
    running = []
    for port in 7100, 7101:
        for x, y, to in (pair.a, pair.b, "b"), (pair.b, pair.a, "a"):
            running.append(lab.Stream(x, y, INNER4[to], n_bytes, port=port))
            running.append(lab.Stream(x, y, INNER6[to], n_bytes,
                                      port=port + 10))
    for stream in running:
        stream.finish()


@case("iperf3, eight streams both ways")
def iperf(l):
    lab.need("iperf3")
    pair = Pair(l)
    pair.both_ways(count=1)
    pair.b.start("iperf3", "-s", "-1", "-B", INNER4["b"])
    lab.wait_until(lambda: "5201" in pair.b.run("ss", "-ltn").stdout,
                   "iperf3 listens")
    text = pair.a.run("iperf3", "-c", INNER4["b"], "-t", "2", "-P", "8",
                      "--bidir", timeout=40).stdout
    check(text.count("receiver") >= 18, f"iperf3 says:\n{text}")


@case("tunnel MTU 9000 over a cable of 9200")
def mtu_9000(l):
    pair = Pair(l, mtu=9000, link_mtu=9200)
    pair.both_ways()
    pair.a.must_ping(INNER4["b"], "-s", "8972", "-M", "do")
    streams(pair, 16 * MEGA)


@case("tunnel MTU 9000 over a cable of 1500")
def mtu_9000_over_1500(l):
    pair = Pair(l, mtu=9000)
    pair.a.must_ping(INNER4["b"], "-s", "8972", "-M", "do")
    streams(pair, 8 * MEGA)


@case("tunnel MTU 65000 over a cable of 65535")
def mtu_65000(l):
    pair = Pair(l, mtu=65000, link_mtu=65535)
    pair.both_ways()
    pair.a.must_ping(INNER4["b"], "-s", "64972", "-M", "do")
    pair.b.must_ping(INNER6["a"], "-s", "64952", "-M", "do")
    streams(pair, 16 * MEGA)


def add_switch(option):
    """A case with an offload switched off, on both sides."""
    @case(f"with {option}")
    def _(l):
        pair = Pair(l, options=(option,))
        pair.both_ways()
        streams(pair, 8 * MEGA)
        lab.send_datagrams(pair.a, pair.b, INNER4["b"], [1200] * 300)


for switch in ("--no-gso", "--no-gro", "--no-tso", "--no-uso", "--no-overlay",
               "--no-vnet-hdr"):
    add_switch(switch)

def add_backend(word):
    """A case with one library for the AEAD here and another there."""
    @case(f"encrypted by {word}, and by libsodium's AEAD")
    def _(l):
        try:
            pair = Pair(l, options=("--aead=libsodium-aead",),
                        options_b=(f"--aead={word}",))
        except lab.Failure as failure:
            if "--aead: not built in, or not there" in str(failure):
                raise lab.Skip(f"{word} is not here") from failure
            raise
        pair.both_ways()
        streams(pair, 8 * MEGA)
        # A backend that replaced the chosen one would log its own name.
        pair.tb.stop()
        check(pair.tb.log().rstrip().lower().endswith(f"; {word}"),
              pair.tb.log())


for backend in "libsodium", "libcrypto", "boringssl":
    add_backend(backend)

lab.main()
