#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The basic work of a tunnel, with all of its isolation: test.sh runs this for
i386 and with musl, too."""
import os

import lab
from lab import INNER4, INNER6, Pair, case, check, check_equal


@case("start, wg show, a second tunnel beside it, ping, TCP, end")
def all_of_it(l):
    pair = Pair(l)
    ta, tb = pair.ta, pair.tb
    # A build for an architecture or with sanitizers may have no filter.
    missing = [] if l.is_slow else ta.lost_layers()
    check(not missing, f"isolation: {missing}")
    shown = pair.a.run("wg", "show", "wga").stdout
    check(f"listening port: {ta.port}" in shown, f"wg show: {shown}")
    pair.both_ways(count=1)
    # The new daemon's socket file appears in the directory that the other
    # daemons watch for their own.
    other = l.tunnel(l.node("c"), "wgc").start()
    check("wgc" in other.node.run("wg", "show", "wgc").stdout, "wg show wgc")
    other.stop()
    for target in INNER4["b"], INNER6["b"]:
        pair.a.must_ping(target, count=1)
    lab.send_stream(pair.a, pair.b, INNER4["b"], 1_000_000)
    lab.send_stream(pair.b, pair.a, INNER4["a"], 1_000_000)
    ta.stop()
    pair.b.ip("link del wgb")
    check_equal(tb.wait(), 0, "status of the one whose interface went")
    for tunnel in ta, tb, other:
        check(not os.path.exists(tunnel.socket), f"{tunnel.socket} is left")


lab.main("a build that counts what is run does not isolate"
         if "WG_COVERAGE" in os.environ else None)
