#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Upgrades to programs that speak another version of one of the three protocols: the
keeper's, that between two engines, and the form of the state. They are refused with a
line, and the tunnel goes on as it was. So it would be with an older and with a newer
release."""
import os

import upgrading
import lab
from lab import Pair, case, check, check_equal
from upgrading import Watch, ask, need_processes, traffic, upgrade

# The programs: OTHER_MESSAGES and so on.
KINDS = {"requests": "the keeper's protocol", "messages": "the engines' protocol",
         "state": "the form of the state"}


@case("a program of another version is refused, and the tunnel goes on")
def refused(l):
    need_processes()
    pair = Pair(l)
    with traffic(pair):
        watch = Watch(pair)
        for kind, what in KINDS.items():
            path = os.environ["OTHER_" + kind.upper()]
            line = ask(pair.ta, "--program", path, status=1)
            check(line.startswith("wiregatherctl: wga: ") and line.count("\n") == 1,
                  f"another version of {what}: {line!r}")
            print(f"# another version of {what}: {line.strip()}")
            watch.check(False)
        upgrade(pair.ta)
        watch.check(True)


@case("the other programs work by themselves: only their version is another one")
def controls(l):
    need_processes()
    for kind in "messages", "state":
        daemon, l.daemon = l.daemon, os.environ["OTHER_" + kind.upper()]
        pair = Pair(l)
        pair.both_ways(count=1)
        l.daemon = daemon
        check_equal(len(upgrading.engines_of(pair.ta)), 1, f"engines of {kind}")
        pair.close()


if __name__ == "__main__":
    lab.main()
