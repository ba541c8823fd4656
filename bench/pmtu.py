#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures TCP through a tunnel over a path of 1,400 bytes.

Between the two hosts are two routers, whose cable takes 1,400 bytes. There are three
ways: an interface with the right MTU, set by hand; --pmtu=discover with the default
MTU; and the default MTU without it, whose outer packets the path cuts into fragments.
Each way has its own hosts and routers, and both daemons run for the whole time. A round
goes through the ways, over IPv4 and over IPv6; from round to round the first way
changes. So a ratio is of figures that were measured within seconds.

Fragments are those that the hosts and routers make, by their own counters. Those of
--pmtu=discover are counted apart in the first second of each stream; its first stream
is the one in which the path MTU is learnt. As root; needs iperf3. Prints a table for
docs/performance.md.
"""
import argparse
import json
import os
import pathlib
import signal
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))

# pylint: disable=wrong-import-position
from machine import describe_kernel, describe_processor
from testbed import cpu_seconds, spread

import lab
from lab import INNER4
from routed import Routed
from tap import Failure, interrupt, wait_until

PATH_MTU = 1400
# Bytes around an inner packet: IP, UDP, and a data message.
AROUND = {4: 20 + 8 + 32, 6: 40 + 8 + 32}
IPERF_PORT = 5201
HAND, DISCOVER, OFF = "the right MTU, by hand", "--pmtu=discover", "neither"


class Way(Routed):
    """A way over one family."""

    def __init__(self, laboratory, outer, name):
        tag = f"{'hdn'[(HAND, DISCOVER, OFF).index(name)]}{outer}"
        self.names = [f"{tag}{node}" for node in "arsb"]
        self.outer_family, self.name = outer, name
        super().__init__(
            laboratory, outer, PATH_MTU,
            inner=PATH_MTU - AROUND[outer] if name == HAND else None,
            options=("--pmtu=discover",) if name == DISCOVER else ())
        self.a.settle(self.ta.name)
        self.a.must_ping(INNER4["b"], count=1)

    def cpu(self):
        return sum(cpu_seconds(tunnel.pid) for tunnel in (self.ta, self.tb))

    def fragments(self):
        """How many fragments the hosts and routers have made."""
        total = 0
        for node in self.a, self.r, self.s, self.b:
            lines = node.run("cat", "/proc/net/snmp").stdout.splitlines()
            names, values = [line.split() for line in lines if line.startswith("Ip:")]
            total += int(values[names.index("FragCreates")])
            for line in node.run("cat", "/proc/net/snmp6").stdout.splitlines():
                if line.startswith("Ip6FragCreates"):
                    total += int(line.split()[1])
        return total

    def measure(self, seconds):
        """Send TCP. Return Gbit/s that arrive after the first second, core-seconds for
        a Gbit, and fragments in the first second and after it."""
        far = self.b.start("iperf3", "-s", "-1")
        wait_until(lambda: f":{IPERF_PORT}" in self.b.run("ss", "-ltn").stdout,
                   "iperf3 listens")
        cpu, before = self.cpu(), self.fragments()
        path = f"{self.lab.directory}/iperf3"
        near = self.a.start("sh", "-c", f"exec iperf3 -c {INNER4['b']} -C cubic -J "
                            f"-O 1 -t {seconds} >{path}")
        time.sleep(1)
        early = self.fragments()
        near.wait(seconds + 30)
        late = self.fragments()
        cpu = self.cpu() - cpu
        far.wait(20)
        text = pathlib.Path(path).read_text(encoding="utf-8")
        try:
            end = json.loads(text)["end"]
            got = end["sum_received"]
        except (KeyError, ValueError):
            raise Failure(f"{self.name}: {text[-500:]}") from None
        # The first second is left out of the bytes, and its share of the CPU time.
        return (got["bits_per_second"] / 1e9,
                cpu * seconds / (seconds + 1) / (got["bytes"] * 8e-9),
                early - before, late - early)


def print_table(found):
    """A line for each family and way."""
    print("| outer | way | Gbit/s | of the MTU by hand | core-seconds for a Gbit, both "
          "ends | fragments in the first second of the first stream | of the others | "
          "after the first seconds |\n|---|---|---|---|---|---|---|---|")
    for (outer, name), rows in found.items():
        ratios = [row[0] / base[0] for row, base in zip(rows, found[outer, HAND])]
        print(f"| IPv{outer} | {name} | {spread([row[0] for row in rows])} | "
              f"{spread(ratios)} | {statistics.median(row[1] for row in rows):.3f} | "
              f"{rows[0][2]:,} | {sum(row[2] for row in rows[1:]):,} | "
              f"{sum(row[3] for row in rows):,} |")


def main():
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("daemon", help="the program wiregather")
    args = parser.parse_args()
    reason = lab.why_not()
    if reason:
        sys.exit(f"pmtu.py: {reason}")
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, interrupt)
    laboratory = lab.Lab(os.path.abspath(args.daemon))
    found = {}
    try:
        ways = [Way(laboratory, outer, name) for outer in (4, 6)
                for name in (HAND, DISCOVER, OFF)]
        for i in range(args.rounds):
            for k in range(len(ways)):
                way = ways[(i + k) % len(ways)]
                found.setdefault((way.outer_family, way.name), []).append(
                    way.measure(args.seconds))
    except Failure as failure:
        print("\n".join(laboratory.logs()), file=sys.stderr)
        sys.exit(f"pmtu.py: {failure}")
    finally:
        laboratory.close()
    print(f"{args.rounds} rounds of {args.seconds} s on {describe_processor()}, "
          f"{describe_kernel()}:\n")
    print_table(found)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
