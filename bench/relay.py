#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run bench-relay, and print what it found as a table.

    relay.py [--quick] BUILD DIRECTORY

BUILD has the compiled programs; DIRECTORY gets relay-slices.csv (a line for each
slice, as measured) and relay.csv (a line for each kind of traffic and relay). Needs
root for the network namespaces, and ip(8). System calls are counted if there is
strace, and the relay in Go is measured if there is Go and its modules can be had.

The relays are examples/relay.c, those of relay_way.c, and relay_go/. How they are
measured is explained in relay.c. The exit status tells whether everything was measured
and every datagram arrived, not whether the library was fast enough.
"""

import argparse
import csv
import itertools
import os
import pathlib
import shutil
import statistics
import subprocess
import sys

import report

HERE = pathlib.Path(__file__).parent
OURS, SINGLE, COPIED, GO = "library", "single", "copied", "Go"
# These do less than the others: see relay_way.c.
BARE, BARE_BATCH = "bare", "bare-batch"
# Rounds, and cycles in a slice: see relay.c. FULL takes about six minutes. With ten
# cycles the ratios of singles scattered by 8 %.
FULL = (7, 30)
QUICK = (1, 1)
# What is required of the library, as times the packets of "single" for the same CPU,
# by traffic and flows; and of "copied" in any case. The last one is a goal.
OF_SINGLE = {
    ("bursts", 1): 3, ("bursts", 32): 3, ("bursts", 1000): 2,
    ("singles", 1000): 1.15,
}
OF_COPIED = 0.97
GOAL_OF_COPIED = 1.2
# A module that has to be fetched, and compiled.
GO_TIMEOUT_S = 300


class Row:
    """The slices of one kind of traffic and number of flows."""

    def __init__(self, slices):
        self.ways = {}
        for s in slices:
            self.traffic, self.flows = s["traffic"], int(s["flows"])
            self.ways.setdefault(s["way"], []).append(s)

    def packets(self, way):
        """Packets for a second of CPU, for each slice."""
        return [int(s["arrived"]) * 1e9 / int(s["cpu_ns"])
                for s in self.ways[way]]

    def calls(self, way):
        return self.ways[way][0]["calls_per_datagram"]

    def lost(self, way):
        return sum(int(s["sent"]) - int(s["arrived"]) for s in self.ways[way])

    def ratios(self, other):
        """The packets of the library for each of another relay, by round."""
        mine, theirs = ({s["round"]: value for s, value in
                         zip(self.ways[way], self.packets(way))}
                        for way in (OURS, other))
        return [mine[r] / theirs[r] for r in mine]

    def ratio(self, other):
        return statistics.median(self.ratios(other))


def build_go(build):
    """The path of the relay in Go; None after a line that says why there is none."""
    if not shutil.which("go"):
        print("skipped: the relay in Go: there is no Go here")
        return None
    program = (build / "bench" / "bench-relay-go").resolve()
    try:
        done = subprocess.run(
            ["go", "build", "-o", str(program), "."], cwd=HERE / "relay_go",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False, timeout=GO_TIMEOUT_S,
            env={**os.environ, "GOFLAGS": "-mod=readonly"})
    except subprocess.TimeoutExpired:
        print("skipped: the relay in Go: its modules did not come in time")
        return None
    if done.returncode:
        lines = done.stdout.strip().splitlines() or ["no message"]
        print(f"skipped: the relay in Go: {lines[-1]}")
        return None
    return program


def relays(build):
    way = (build / "bench" / "bench-relay-way").resolve()
    found = [f"{OURS}={(build / 'examples' / 'relay').resolve()}",
             *(f"{name}={way} {name}"
               for name in (SINGLE, COPIED, BARE, BARE_BATCH))]
    go_relay = build_go(build)
    return found + ([f"{GO}={go_relay}"] if go_relay else [])


def measure(build, rounds, cycles, raw):
    """Run the program; yield each row when it is complete."""
    command = [build / "bench" / "bench-relay", rounds, cycles,
               *relays(build)]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE,
                          text=True) as child:
        def lines():
            for line in child.stdout:
                raw.write(line)
                yield line
        try:
            for _, slices in itertools.groupby(
                    csv.DictReader(lines()),
                    lambda s: (s["traffic"], s["flows"])):
                yield Row(slices)
        except BaseException:
            # The namespaces and the relays belong to the child and end with it.
            child.terminate()
            raise
    if child.returncode:
        sys.exit(f"relay.py: bench-relay: status {child.returncode}")


def lines_of(row):
    """The lines of a row, for the table and the CSV file."""
    for way in row.ways:
        packets = statistics.median(row.packets(way))
        yield {
            "traffic": row.traffic,
            "flows": row.flows,
            "relay": way,
            "thousand packets a second and core": f"{packets / 1e3:.0f}",
            "system calls a packet": row.calls(way)[:6] or "not counted",
            "library, times this":
                "" if way == OURS else report.with_range(
                    (row.ratio(way), min(row.ratios(way)),
                     max(row.ratios(way)))),
        }


def verdicts(row):
    """For each requirement: its text, what was measured, whether it is met."""
    name = f"{row.traffic}, {row.flows} flows"
    least = OF_SINGLE.get((row.traffic, row.flows))
    if least:
        ratio = row.ratio(SINGLE)
        yield (f"{name}: at least {least} times one datagram a call", ratio,
               ratio >= least)
    ratio = row.ratio(COPIED)
    yield f"{name}: at least {OF_COPIED} times copied", ratio, ratio >= OF_COPIED
    if row.traffic == "bursts":
        yield (f"{name}: goal, {GOAL_OF_COPIED} times copied", ratio,
               ratio >= GOAL_OF_COPIED)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true",
                        help="one round; the figures mean nothing")
    parser.add_argument("build", metavar="BUILD", type=pathlib.Path)
    parser.add_argument("directory", metavar="DIRECTORY", type=pathlib.Path)
    args = parser.parse_args()
    rounds, cycles = QUICK if args.quick else FULL
    args.directory.mkdir(parents=True, exist_ok=True)
    with open(args.directory / "relay-slices.csv", "w",
              encoding="utf-8") as raw:
        rows = list(measure(args.build, rounds, cycles, raw))
    found = [line for row in rows for line in lines_of(row)]
    with open(args.directory / "relay.csv", "w", newline="",
              encoding="utf-8") as file:
        out = csv.DictWriter(file, list(found[0]))
        out.writeheader()
        out.writerows(found)
    print(report.table(list(found[0]), [list(f.values()) for f in found]))
    if not args.quick:
        for row in rows:
            for text, ratio, met in verdicts(row):
                print(f"{'MET' if met else 'NOT MET':<8}{ratio:5.2f}  {text}")
    lost = sum(row.lost(way) for row in rows for way in row.ways)
    print(f"\nLost: {lost} datagrams" if lost else
          "\nEvery datagram arrived.")
    return 1 if lost else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
