#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A hundred upgrades of a tunnel in a row, over each family: see upgrade.py."""
import os
import time

import lab
import upgrading
from lab import case, check, check_equal

UPGRADES = 100
# KiB by which the keeper may grow. A choice.
GROWTH = 64


def figures(pid):
    """Descriptors and KiB of a process."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        rss = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    return len(os.listdir(f"/proc/{pid}/fd")), rss


def hundred(l, outer):
    pair = upgrading.many(l, 2, outer)
    fds, rss = figures(pair.ta.keeper)
    engine_fds, _ = figures(pair.ta.pid)
    with upgrading.traffic(pair):
        watch = upgrading.Watch(pair)
        for _ in range(UPGRADES):
            upgrading.upgrade(pair.ta)
            watch.check(True)
    new_fds, new_rss = figures(pair.ta.keeper)
    check_equal(new_fds, fds, "descriptors of the keeper")
    check_equal(figures(pair.ta.pid)[0], engine_fds, "descriptors of the engine")
    check(new_rss <= rss + GROWTH, f"KiB of the keeper: {rss}, now {new_rss}")


@case("a hundred upgrades over IPv4")
def over_ipv4(l):
    hundred(l, 4)


@case("a hundred upgrades over IPv6")
def over_ipv6(l):
    hundred(l, 6)


@case("a session is renewed in time after an upgrade, and none is lost by it")
def renewal(l):
    upgrading.need_processes()
    pair = lab.Pair(l)
    pair.both_ways(count=1)
    before = [tunnel.peer(other).handshake for tunnel, other in
              ((pair.ta, pair.tb), (pair.tb, pair.ta))]
    with upgrading.traffic(pair):
        begin = time.monotonic()
        time.sleep(30)
        upgrading.upgrade(pair.ta)
        time.sleep(30)
        upgrading.upgrade(pair.tb)
        time.sleep(upgrading.REKEY_S + 20 - (time.monotonic() - begin))
    after = [tunnel.peer(other).handshake for tunnel, other in
             ((pair.ta, pair.tb), (pair.tb, pair.ta))]
    for was, now in zip(before, after):
        check(upgrading.REKEY_S - 2 <= now - was <= upgrading.REKEY_S + 12,
              f"renewed after {now - was} s")


if __name__ == "__main__":
    lab.main()
