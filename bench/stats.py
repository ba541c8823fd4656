#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What reading the statistics of many peers costs, as root.

usage: bench/stats.py [--quick] [--csv FILE] BUILD

A daemon with 10,000 peers answers get=stats, and get=1 of the UAPI. bench-stats reads the
answers, and does nothing else with them.

Alone: the time from the request to the end of the answer, and the CPU time of the daemon
and of the reader for one answer.

Beside a TCP stream through one of the daemon's sessions: the stream's rate in slices of
100 ms, of three kinds in rounds of random order. At the start of a slice an answer is
asked for, or a loop takes the CPU time that the answer costs, or nothing happens. All
processes share the processors, which the stream keeps busy, so any work takes some of its
rate. "answer" and "spin" are the medians of the slices with an answer and with the loop,
in percent of the median of the others, with their 95 % intervals (bootstrap over rounds,
1,000 times). "noise" is how much slices in which nothing happens differ: the median
distance from their median, times 1.48 (the standard deviation, if they are distributed
normally), in percent.

A step is visible if the interval of "answer" ends below that of nothing, 100 % less
"noise", or below that of "spin": then an answer costs the stream more than slices differ
by themselves, or more than its CPU time.
"""
import argparse
import os
import random
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "tests", "netns"))
# pylint: disable=wrong-import-position
import lab as laboratory
from peers import cpu_s

COLUMNS = ("case", "peers", "bytes", "median_ms", "most_ms", "cpu_ms", "reader_cpu_ms",
           "stream_mbit_s", "noise", "answer", "answer_from", "answer_to", "spin",
           "spin_from", "spin_to", "visible")
TIMES = 1000


class Reader:
    """Runs bench-stats."""

    def __init__(self, build, pair):
        self.program, self.pair = os.path.join(build, "bench", "bench-stats"), pair

    def run(self, request, n_rounds, address="-", spin_us=0):
        """Rows of each kind of slice, in the order of the rounds."""
        path = self.pair.ta.socket
        if request != "get=1":
            path = path.replace(".sock", ".stats")
        names = [f"/run/netns/{node.name}" for node in (self.pair.a, self.pair.b)]
        done = subprocess.run(
            [self.program, path, request, str(n_rounds), *names, address, str(spin_us)],
            capture_output=True, text=True, check=True)
        rows = {"none": [], "answer": [], "spin": []}
        for line in done.stdout.splitlines():
            kind, *numbers = line.split()
            rows[kind].append([int(number) for number in numbers])
        return rows

    def alone(self, request, n_rounds):
        used = cpu_s(self.pair.ta)
        rows = self.run(request, n_rounds)["answer"]
        return {**times_of(rows),
                "cpu_ms": round(1000 * (cpu_s(self.pair.ta) - used) / n_rounds, 2),
                "reader_cpu_ms": round(statistics.mean(row[4] for row in rows) / 1000, 2)}

    def beside(self, request, n_rounds, cost):
        """cost: the row of the answers alone."""
        rows = self.run(request, n_rounds, laboratory.INNER4["b"],
                        round(1000 * (cost["cpu_ms"] + cost["reader_cpu_ms"])))
        return {**times_of(rows["answer"]), **compare(rows)}


def times_of(rows):
    times = [row[2] / 1000 for row in rows]
    return {"bytes": rows[0][3], "median_ms": round(statistics.median(times), 1),
            "most_ms": round(max(times), 1)}


def interval(kind, none, draw):
    """95 % of the ratios of the medians, over rounds that are drawn again and again."""
    ratios = []
    for _ in range(TIMES):
        drawn = [draw.randrange(len(none)) for _ in none]
        ratios.append(100 * statistics.median(kind[i] for i in drawn) /
                      statistics.median(none[i] for i in drawn))
    ratios.sort()
    return round(ratios[TIMES // 40], 1), round(ratios[-TIMES // 40 - 1], 1)


def compare(rows):
    rates = {kind: [row[1] * 8 / row[0] for row in lines] for kind, lines in rows.items()}
    middle = statistics.median(rates["none"])
    noise = round(148 * statistics.median(abs(rate - middle) for rate in rates["none"]) /
                  middle, 1)
    found = {"stream_mbit_s": round(middle), "noise": noise}
    draw = random.Random(1)
    for kind in "answer", "spin":
        found[kind] = round(100 * statistics.median(rates[kind]) / middle, 1)
        found[f"{kind}_from"], found[f"{kind}_to"] = interval(rates[kind], rates["none"],
                                                              draw)
    found["visible"] = "yes" if found["answer_to"] < max(
        100 - noise, found["spin_from"]) else "no"
    return found


def add_peers(tunnel, n):
    for first in range(0, n, 500):
        answer = tunnel.ask("set=1\n" + "".join(
            f"public_key={os.urandom(32).hex()}\n"
            f"allowed_ip=172.{16 + (i >> 16)}.{i >> 8 & 255}.{i & 255}/32\n"
            f"endpoint=192.0.2.2:{1 + i % 50000}\n"
            for i in range(first, min(first + 500, n))) + "\n")
        if answer != "errno=0\n\n":
            raise SystemExit(f"bench/stats.py: peers were refused: {answer}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--csv")
    parser.add_argument("build")
    args = parser.parse_args()
    n_peers, n_rounds = (1000, 20) if args.quick else (10000, 300)
    laboratory.isolate()
    build = os.path.abspath(args.build)
    lab = laboratory.Lab(f"{build}/wiregather")
    rows = []
    try:
        pair = laboratory.Pair(lab, how={"LOG_LEVEL": "error"})
        pair.both_ways(count=1)
        reader = Reader(build, pair)
        rows.append({"case": "get=stats: one peer", "peers": 1,
                     **reader.alone("get=stats", 100)})
        add_peers(pair.ta, n_peers)
        for request in "get=stats", "get=1":
            alone = reader.alone(request, 200)
            for case, figures in (("", alone),
                                  (" beside a stream",
                                   reader.beside(request, n_rounds, alone))):
                rows.append({"case": f"{request}: many peers{case}",
                             "peers": n_peers + 1, **figures})
    finally:
        lab.close()
    lines = [",".join(COLUMNS)] + [
        ",".join(str(row.get(name, "")) for name in COLUMNS) for row in rows]
    print("\n".join(lines))
    if args.csv:
        with open(args.csv, "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
