#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A daemon without a filter of system calls, as for architectures that libseccomp
does not know. It works, and each start logs that the filter is missing."""
import os

import lab
from lab import Pair, case, check, check_equal, run

LINE = "not isolated in full: no filter of system calls"


def check_line(tunnel):
    """Only the filter is missing, no other layer. One log line says so."""
    lines = [line for line in tunnel.log().splitlines()
             if "not isolated" in line]
    check_equal(len(lines), 1, f"lines on isolation: {lines}")
    check(LINE in lines[0] and "," not in lines[0].split(LINE)[1],
          f"the line is: {lines[0]}")


@case("each start without a filter says so")
def says_so(l):
    pair = Pair(l)
    for tunnel in pair.ta, pair.tb:
        check_line(tunnel)
    pair.both_ways(count=1)
    pair.ta.stop()
    other = l.tunnel(pair.a, "wgc").start()
    check_line(other)
    version = run(l.daemon, "--version").stdout
    check("system call filter: not built in" in version, version)


lab.main("a build that counts what is run does not isolate"
         if "WG_COVERAGE" in os.environ else None)
