#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Rules of the sender's own firewall that refuse trains (EPERM)."""
import re
import time

import lab
from lab import INNER4, Pair, case, check

MEGA = 1 << 20
ENOUGH = 20  # Mbit/s. A choice; if all trains are lost, TCP reaches 0.06.
ALONE = "sending without segmentation"
AGAIN = "pass again"


def filter_output(node, table, priority, rule):
    node.nft(f"""table inet {table} {{ chain out {{
                 type filter hook output priority {priority};
                 {rule}
             }}\n}}""")


def count_long(node):
    """The number of packets above the MTU, which are trains, that left."""
    text = node.run("nft", "list table inet long").stdout
    return int(re.search(r"packets (\d+)", text)[1])


def watch_long(node):
    """Add a counter of trains in front of the rules that drop them."""
    filter_output(node, "long", -10,
                  "udp dport 51002 meta length > 1500 counter")


def wait_for_trains(pair):
    """Send traffic until trains leave and are accepted again."""
    for _ in range(60):
        before = count_long(pair.a)
        lab.send_stream(pair.a, pair.b, INNER4["b"], MEGA)
        # More than five trains: trains are in general use, and not only tried.
        if count_long(pair.a) - before > 5:
            return
        time.sleep(0.5)
    check(False, f"trains are not back; the log: {pair.ta.log()}")


def add_length(outer):
    @case(f"a rule that refuses long packets, over IPv{outer}")
    def _(l):
        pair = Pair(l, outer=outer)
        pair.both_ways(count=1)
        watch_long(pair.a)
        filter_output(pair.a, "refuse", 0,
                      "udp dport 51002 meta length > 1500 drop")
        n_bytes = (4 if l.is_slow else 32) * MEGA
        rate = lab.send_stream(pair.a, pair.b, INNER4["b"], n_bytes)
        check(l.is_slow or rate > ENOUGH, f"only {rate:.1f} Mbit/s")
        check(ALONE in pair.ta.log(), f"no line says so: {pair.ta.log()}")
        # From here on only a few trains may be tried.
        before = count_long(pair.a)
        lab.send_stream(pair.a, pair.b, INNER4["b"], n_bytes)
        tried = count_long(pair.a) - before
        check(tried < 20, f"{tried} trains were tried")
        pair.a.run("nft", "delete table inet refuse")
        wait_for_trains(pair)
        check(AGAIN in pair.ta.log(), f"no line says so: {pair.ta.log()}")


def add_rate(outer):
    @case(f"a rule that limits the rate of packets, over IPv{outer}")
    def _(l):
        pair = Pair(l, outer=outer)
        pair.both_ways(count=1)
        watch_long(pair.a)
        filter_output(pair.a, "refuse", 0,
                      "udp dport 51002 limit rate over 300/second "
                      "burst 20 packets counter drop")
        lab.send_stream(pair.a, pair.b, INNER4["b"], 2 * MEGA)
        text = pair.a.run("nft", "list table inet refuse").stdout
        dropped = int(re.search(r"counter packets (\d+)", text)[1])
        check(dropped > 20, f"the rule has refused {dropped} packets only")
        check(ALONE not in pair.ta.log(),
              f"chance was taken for a rule on trains: {pair.ta.log()}")
        check(count_long(pair.a) > 5, "no trains have left")
        pair.a.run("nft", "delete table inet refuse")
        wait_for_trains(pair)


for outer_family in 4, 6:
    add_length(outer_family)
    add_rate(outer_family)

lab.main()
