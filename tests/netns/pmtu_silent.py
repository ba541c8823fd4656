#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The option --pmtu=discover on paths that lose long packets and tell nothing."""
import base64

import lab
from lab import INNER4, INNER6, Pair, case, check, check_equal
from routed import Routed

MEGA = 1 << 20
# How exactly the limit is found (PMTU_FINE).
FINE = 16


def peer_numbers(tunnel):
    """The numbers of the only peer."""
    return dict(line.split("=", 1) for line in tunnel.ask_statistics().split("\n") if line)


def await_that(pair, condition, what, timeout):
    """Wait for a condition; a failure tells the numbers of a's daemon."""
    try:
        lab.wait_until(condition, what, timeout)
    except lab.Failure as failure:
        numbers = {key: value for key, value in peer_numbers(pair.ta).items()
                   if "mtu" in key}
        raise lab.Failure(f"{failure}; {numbers}") from None


def add_silent(outer, mtu, hosts=1500):
    """Add a case with routers that drop what is too long, and say nothing.

    hosts: MTU of the other cables."""
    between = "" if hosts == 1500 else f" between cables of {hosts:,}"
    @case(f"a path of {mtu}{between} that is not told, over IPv{outer}")
    def _(l):
        lab.need("nft")
        pair = Routed(l, outer, mtu, mtu_of_hosts=hosts, options=("--pmtu=discover",),
                      inner=hosts - 100 if hosts != 1500 else None)
        pair.silence()
        pair.both_ways(count=1)
        steady = lab.Steady(pair, INNER4["b"])

        def is_found():
            return mtu - FINE <= int(peer_numbers(pair.ta).get("path_mtu", 0)) <= mtu

        await_that(pair, is_found, f"the path MTU {mtu} is found", 30)
        before = steady.arrived
        await_that(pair, lambda: steady.arrived > before + 4 * MEGA,
                   "the stream goes on", 20)
        steady.stop()
        numbers = peer_numbers(pair.ta)
        check_equal(numbers["path_mtu_learnt"], "0", "messages that told it")
        check(int(numbers["path_mtu_lost"]) >= 1, f"{numbers}")
        # Now it is known also to what is not TCP.
        got, text = pair.a.ping(INNER4["b"], "-s", str(hosts - 108), "-M", "do", count=1)
        check(not got and "mtu" in text, f"ping: {text}")
        # 1,280 bytes pass in any case. The way back is not known: b sends no TCP data.
        lab.send_datagrams(pair.a, pair.b, INNER6["b"], [1232] * 5)


for family in 4, 6:
    add_silent(family, 1400)
add_silent(4, 1350)
add_silent(4, 1280)
add_silent(6, 1492)
add_silent(4, 1500, hosts=9000)


@case("an outage is not taken for a small MTU")
def outage(l):
    lab.need("nft")
    pair = Pair(l, options=("--pmtu=discover",))
    pair.both_ways(count=1)
    steady = lab.Steady(pair, INNER4["b"])
    lab.wait_until(lambda: steady.arrived > MEGA, "the stream has begun", 10)
    for _ in range(2):
        timeouts = pair.a.tcp_counters()["TCPTimeouts"]
        pair.b.nft("""table inet f {
            chain in {
                type filter hook input priority 0
                udp dport 51002 drop
            }
        }""")
        # TCP has sent a segment for the fourth time.
        lab.wait_until(
            lambda timeouts=timeouts:
            pair.a.tcp_counters()["TCPTimeouts"] >= timeouts + 3, "timeouts of TCP", 60)
        before = steady.arrived
        pair.b.nft("delete table inet f")
        await_that(pair, lambda before=before: steady.arrived > before + MEGA,
                   "the stream goes on", 60)
    steady.stop()
    numbers = peer_numbers(pair.ta)
    check_equal((numbers["path_mtu_lost"], numbers.get("path_mtu")), ("0", None),
                "lessons")


lab.main()
