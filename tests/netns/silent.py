#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Obstacles that drop trains and pass single datagrams, without any error at
the sender; and paths that lose datagrams by chance.

The rules are at the receiver's input, where a train arrives as one packet, as it
does at a router between virtual machines. For obstacles of two minutes, rates
compared with those of a tunnel with --no-gso, and pairs of runs over paths that
lose by chance, see silent_long.py.
"""
import time

import lab
from lab import INNER4, INNER6, Pair, Steady, case, check

MEGA = 1 << 20
ENOUGH = 20  # Mbit/s. A choice; if all trains are lost, TCP reaches 0.06.
STOPPED = "are lost on the way: sending without segmentation"
BACK = "arrive again"
LONG = "udp dport 51002 meta length > 1500"
OBSTACLES = {
    # If the sender's own rules refuse trains, the library reacts: refused.py.
    "drops": f"{LONG} drop",
    "rejects": f"{LONG} reject with icmpx type admin-prohibited",
}


def lateness():
    """The largest delay of 50 timers of 1 ms, in seconds."""
    worst = 0
    for _ in range(50):
        start = time.monotonic()
        time.sleep(0.001)
        worst = max(worst, time.monotonic() - start - 0.001)
    return worst


def seconds_until(stream, wanted, limit):
    """The time until a quarter of a second has the wanted rate."""
    start = time.monotonic()
    rates = []
    while time.monotonic() - start < limit:
        rates.append(stream.rate(0.25))
        if rates[-1] >= wanted:
            return time.monotonic() - start
    raise lab.Failure(f"no {wanted:.0f} Mbit/s in {limit} s, but "
                      f"{' '.join(f'{r:.1f}' for r in rates[-12:])}")


def pass_obstacle(l, outer, what):
    address = INNER4["b"] if outer == 4 else INNER6["b"]
    wanted = ENOUGH if not l.is_slow else 1
    pair = Pair(l, outer=outer)
    pair.both_ways(count=1)
    stream = Steady(pair, address)
    before = stream.rate(1)
    is_on_time = lateness() < 0.005
    # GRO would merge single datagrams in front of the rule.
    lab.need("ethtool")
    pair.b.run("ethtool", "-K", "eth", "gro", "off")
    pair.b.nft(f"""table inet obstacle {{ chain c {{
                   type filter hook input priority 0; {OBSTACLES[what]}
               }}\n}}""")
    # After this time the buffers are empty, so any later datagram has passed the
    # obstacle.
    time.sleep(0.3)
    took = 0.3 + seconds_until(stream, wanted, 30)
    print(f"# {before:.0f} Mbit/s before, {wanted:.0f} wanted, "
          f"after {took:.1f} s")
    check(not is_on_time or took < 5, f"the rate was back after {took:.1f} s only")
    told = [line for line in pair.ta.log().splitlines() if STOPPED in line]
    # The line is an error, so that it is seen at the default level of the log.
    check(told and told[0].startswith("ERROR: (wga) "),
          f"no line says so: {pair.ta.log()}")
    pair.b.run("nft", "delete table inet obstacle")
    start = time.monotonic()
    lab.wait_until(lambda: BACK in pair.ta.log(), "trains are back", 60)
    print(f"# trains back after {time.monotonic() - start:.1f} s")
    stream.stop()


def add_obstacle(outer, what):
    @case(f"an obstacle that {what}, over IPv{outer}")
    def _(l):
        pass_obstacle(l, outer, what)


for one in OBSTACLES:
    for family in 4, 6:
        add_obstacle(family, one)


def cut_early(node):
    """Make the kernel cut trains before they reach the cable."""
    lab.need("ethtool")
    node.run("ethtool", "-K", "eth", "gso", "off", "tx-udp-segmentation", "off",
             check_status=False)


def pass_chance(l, prepare, seconds):
    pair = Pair(l)
    pair.both_ways(count=1)
    cut_early(pair.a)
    prepare(pair)
    stream = Steady(pair, INNER4["b"])
    rate = stream.rate(seconds)
    resent = pair.a.tcp_counters().get("TCPFastRetrans", 0) + \
        pair.a.tcp_counters().get("TCPSlowStartRetrans", 0) + \
        pair.a.tcp_counters().get("TCPTimeouts", 0)
    stream.stop()
    print(f"# {rate:.0f} Mbit/s, {resent} segments sent again or timeouts")
    check(resent > 0, "no segment was lost, so the path is no test")
    check(STOPPED not in pair.ta.log(), "a false alarm")


def lose(per_cent):
    def prepare(pair):
        pair.b.nft(f"""table inet chance {{ chain c {{
                       type filter hook input priority 0;
                       udp dport 51002 numgen random mod 100 < {per_cent} drop
                   }}\n}}""")
    return prepare


def shape(pair):
    lab.need("tc")
    pair.a.run("tc", "qdisc", "add", "dev", "eth", "root", "tbf", "rate",
               "100mbit", "burst", "10k", "limit", "30k")


for name, how in (("a loss of 1 %", lose(1)), ("a loss of 5 %", lose(5)),
                  ("a shaper with a short queue", shape)):
    def add_chance(name=name, how=how):
        @case(f"{name} is no obstacle")
        def _(l):
            pass_chance(l, how, 4)
    add_chance()


if __name__ == "__main__":
    lab.main()
