#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run bench-udp, print what it found as tables, and plot it.

    udp.py [--quick] PROGRAM DIRECTORY

PROGRAM is the compiled bench-udp; DIRECTORY gets udp-slices.csv (a line for
each slice, as measured), udp.csv (a line for each row and way) and udp.svg.
Needs root for the network namespaces, ip(8), and gnuplot for the plot.

The ways to send, the receiver and the way of measuring are explained in
udp_sender.h, udp_receiver.h and udp.c beside this file. The exit status tells
whether everything was measured and every datagram arrived, not whether the
library was fast enough.
"""

import argparse
import csv
import itertools
import math
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys

PATHS = ("loopback", "veth")
WAYS = ("sendto", "sendmmsg", "copied", "gathered", "fused", "chosen", "trains")
CONTROL = "control"
# Bytes of the IPv4 and the UDP header.
UDP_HEADERS = 28

# Milliseconds in a slice, and number of rounds, a multiple of eight: see udp.c.
# On an idle machine the 72 rows of eight ways take 240 s with FULL and 40 s with
# QUICK.
FULL = (25, 16)
QUICK = (8, 8)

# The second verdict: the CPU time of ug_send() may be this fraction of that of
# sendmmsg(2), on this path, with this size of datagram and of batch. A choice.
MAX_OF_SENDMMSG = 1 / 3
ASKED_PATH, ASKED_SIZE, ASKED_BATCH = "veth", 1452, 64


class Row:
    """The slices of one path, size of datagram and size of batch."""

    def __init__(self, slices):
        slices = list(slices)
        first = slices[0]
        self.path = first["path"]
        self.size = int(first["size"])
        self.batch = int(first["batch"])
        self.memory = first["memory"]
        self.header = int(first["header"])
        self.fragmented = self.size + UDP_HEADERS > int(first["mtu"])
        self.ways = {}
        for s in slices:
            numbers = {k: int(s[k]) for k in (
                "asked", "sent", "arrived", "calls", "messages", "cpu_ns",
                "wall_ns")}
            self.ways.setdefault(s["way"], []).append(numbers)

    def values(self, way, what):
        """A list with one number for each slice of a way."""
        formulas = {
            "cpu_ns": lambda s: s["cpu_ns"] / max(s["sent"], 1),
            "rate": lambda s: s["arrived"] * 1e9 / s["wall_ns"],
            "calls": lambda s: s["calls"] / max(s["sent"], 1),
            "train": lambda s: s["sent"] / max(s["messages"], 1),
        }
        return [formulas[what](s) for s in self.ways[way]]

    def median(self, way, what):
        return statistics.median(self.values(way, what))

    def spread(self, way):
        """Half the interquartile range of the CPU time, as a fraction of the
        median."""
        return half_range(self.values(way, "cpu_ns")) / self.median(
            way, "cpu_ns")

    def ratios(self, way, other):
        """The ratio of two ways' CPU times, for each round."""
        return [a / b for a, b in zip(self.values(way, "cpu_ns"),
                                      self.values(other, "cpu_ns"))]

    def ratio(self, way, other):
        return statistics.median(self.ratios(way, other))

    def name(self):
        return (f"{self.path:<8} {self.memory:<4} {self.header:>6} "
                f"{self.size:>5} {self.batch:>5}")

    def note(self):
        return "fragmented" if self.fragmented else ""


def half_range(values):
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / 2


def measure(program, path, slice_ms, n_rounds, raw):
    """Run the program on one path; yield each row when it is complete."""
    command = [program, path, str(slice_ms), str(n_rounds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE,
                          text=True) as child:
        def lines():
            for line in child.stdout:
                # Write the header only once to the file, which is for both
                # paths.
                if raw.tell() == 0 or not line.startswith("path,"):
                    raw.write(line)
                yield line
        try:
            reader = csv.DictReader(lines())
            for _, slices in itertools.groupby(
                    reader, lambda s: (s["path"], s["memory"], s["header"],
                                       s["size"], s["batch"])):
                yield Row(slices)
        except BaseException:
            # The namespaces belong to the child and vanish with it.
            child.terminate()
            raise
    if child.returncode != 0:
        sys.exit(f"udp.py: {' '.join(command)}: status {child.returncode}")


def heading(title):
    print(f"\n{title}\n")
    print(f"{'path':<8} {'':<4} {'header':>6} {'bytes':>5} {'batch':>5}",
          *(f"{w:>13}" for w in WAYS), flush=True)


def print_cells(row, cell_of):
    cells = (f"{cell_of(way):>13}" for way in WAYS)
    print(" ".join((row.name(), *cells, row.note())).rstrip(), flush=True)


def print_cpu(row):
    print_cells(row, lambda way: f"{row.median(way, 'cpu_ns'):.0f} "
                f"±{row.spread(way):>4.0%}")


def print_rest(rows):
    heading("Thousands of datagrams delivered in a second")
    for row in rows:
        print_cells(row, lambda way, row=row:
                    f"{row.median(way, 'rate') / 1e3:,.0f}")
    heading("System calls per datagram (in brackets: datagrams per message)")
    for row in rows:
        print_cells(row, lambda way, row=row:
                    f"{row.median(way, 'calls'):.4f} "
                    f"({row.median(way, 'train'):>4.1f})")


def print_missing(rows):
    """Print the datagrams that were not sent or did not arrive. Return True if
    there are any."""
    missing = False
    print()
    for row in rows:
        for way, slices in row.ways.items():
            asked, sent, arrived = (sum(s[k] for s in slices) for k in (
                "asked", "sent", "arrived"))
            if (asked, sent) != (sent, arrived):
                missing = True
                what = "SENT" if sent != asked else "ARRIVED"
                print(f"NOT ALL {what}: {row.name()} {way}: {asked} asked, "
                      f"{sent} sent ({sent / asked:.2%}), {arrived} arrived "
                      f"({arrived / asked:.2%})")
    if not missing:
        total = sum(s["arrived"] for row in rows
                    for slices in row.ways.values() for s in slices)
        print(f"Every datagram was sent and arrived: {total:,}.")
    return missing


def noise_of(rows):
    """The noise of the measurement: the ways "copied" and "control" are the same, and
    in 19 of 20 rows their figures differ by at most this fraction."""
    apart = sorted(abs(row.ratio(CONTROL, "copied") - 1) for row in rows)
    return apart[math.ceil(len(apart) * 19 / 20) - 1]


def limit_of(row):
    """The most CPU that the library's own choice may take, as a part of a copy
    by hand, in batches of 64."""
    if row.size <= 512:
        return 1.20
    if row.header and row.size <= 1472:
        return 1.25
    return 1.0 if row.size > 2048 else None


def print_verdict(rows):
    noise = noise_of(rows)
    broken = 0
    print("\nVerdict 1: what the library chooses (\"chosen\"), CPU per datagram. "
          "Required, in\nbatches of 64: within 20 % of copied up to 512 bytes, "
          "within 25 % for a header\nand a body of up to the MTU, not slower above "
          "2,048 bytes; and never more than\n3 % slower than gathered. Ratios are "
          "medians of the ratios within a round.\nNoise: copied, measured twice, "
          f"differs from itself by up to {noise:.1%} in 19 of\n20 rows.\n")
    print(f"{'path':<8} {'':<4} {'header':>6} {'bytes':>5} {'batch':>5} "
          f"{'/copied':>8} {'limit':>6} {'/gathered':>9} {'noise':>7}")
    for row in rows:
        copied = row.ratio("chosen", "copied")
        gathered = row.ratio("chosen", "gathered")
        limit = limit_of(row) if row.batch == 64 else None
        slow = ((limit is not None and copied > limit + noise) or
                gathered > 1.03 + noise)
        broken += slow
        print(f"{row.name()} {copied:>8.3f} "
              f"{'' if limit is None else f'{limit:.2f}':>6} {gathered:>9.3f} "
              f"{row.ratio(CONTROL, 'copied'):>7.3f}"
              f"{' slower' if slow else ''}"
              f" {row.note()}".rstrip())
    print(f"\n{'MET' if broken == 0 else 'NOT MET'}: beyond its limit and noise in "
          f"{broken} of {len(rows)} rows.")

    for row in rows:
        if (row.path, row.size, row.batch, row.memory, row.header) != (
                ASKED_PATH, ASKED_SIZE, ASKED_BATCH, "hot", 0):
            continue
        ratios = row.ratios("gathered", "sendmmsg")
        ratio = statistics.median(ratios)
        print(f"\nVerdict 2: gathered over sendmmsg, {ASKED_PATH}, "
              f"{ASKED_SIZE} bytes, batches of {ASKED_BATCH}.\nRequired: at "
              f"most {MAX_OF_SENDMMSG:.3f} of the CPU per datagram.\n\n"
              f"{'MET' if ratio <= MAX_OF_SENDMMSG else 'NOT MET'}: "
              f"{ratio:.3f} ± {half_range(ratios):.3f}")


def write_summary(rows, file_name):
    with open(file_name, "w", newline="", encoding="utf-8") as f:
        out = csv.writer(f)
        out.writerow(("path", "memory", "header", "size", "batch",
                      "fragmented", "way",
                      "cpu_ns_per_datagram", "cpu_spread",
                      "datagrams_per_second", "calls_per_datagram",
                      "datagrams_per_message", "cpu_of_copied",
                      "cpu_of_sendmmsg"))
        for row in rows:
            for way in WAYS + (CONTROL,):
                out.writerow((
                    row.path, row.memory, row.header, row.size, row.batch,
                    int(row.fragmented), way,
                    f"{row.median(way, 'cpu_ns'):.2f}",
                    f"{row.spread(way):.4f}",
                    f"{row.median(way, 'rate'):.0f}",
                    f"{row.median(way, 'calls'):.5f}",
                    f"{row.median(way, 'train'):.2f}",
                    f"{row.ratio(way, 'copied'):.4f}",
                    f"{row.ratio(way, 'sendmmsg'):.4f}"))


def panel(rows, title, label, x_of):
    """The gnuplot commands for one plot of a line for each way."""
    tics = ", ".join(f'"{x_of(r):,}" {i}' for i, r in enumerate(rows))
    data = "".join(
        "\n".join(f"{i} {r.median(way, 'cpu_ns'):.2f}"
                  for i, r in enumerate(rows)) + "\ne\n" for way in WAYS)
    curves = ", ".join(f'"-" using 1:2 with linespoints ls {i} title "{way}"'
                       for i, way in enumerate(WAYS, 1))
    return (f'set title "{title}"\nset xlabel "{label}"\n'
            f"set xtics ({tics})\n"
            f"set xrange [-0.2:{len(rows) - 1}.2]\nplot {curves}\n{data}")


def plot_script(rows, file_name):
    colours = ("#999999", "#e69f00", "#d55e00", "#0072b2", "#009e73",
               "#cc79a7", "#56b4e9")
    script = (f'set terminal svg size 1000,800 dynamic font "sans-serif,12" '
              f'background "white"\nset output "{file_name}"\n'
              "set multiplot layout 2,2 title "
              '"CPU of the sending thread per UDP datagram"\n'
              'set logscale y\nset yrange [10:20000]\nset grid y\n'
              'set ylabel "ns per datagram"\n'
              "set key bottom right\n")
    for i, colour in enumerate(colours, 1):
        script += f'set style line {i} lw 2 pt {i + 3} lc rgb "{colour}"\n'
    for path in PATHS:
        plain = [r for r in rows if r.path == path and r.memory == "hot" and
                 not r.header]
        by_size = [r for r in plain if r.batch == ASKED_BATCH]
        by_batch = [r for r in plain if r.size == ASKED_SIZE]
        script += panel(by_size, f"{path}, batches of {ASKED_BATCH}",
                        "payload, bytes", lambda r: r.size)
        script += panel(by_batch, f"{path}, {ASKED_SIZE:,} bytes",
                        "datagrams in a batch", lambda r: r.batch)
    return script + "unset multiplot\n"


def plot(rows, file_name):
    if not shutil.which("gnuplot"):
        print("No gnuplot here: no plot.")
        return
    subprocess.run(["gnuplot"], input=plot_script(rows, file_name),
                   text=True, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true",
                        help="takes less than half a minute; the noise is larger")
    parser.add_argument("program", metavar="PROGRAM")
    parser.add_argument("directory", metavar="DIRECTORY", type=pathlib.Path)
    args = parser.parse_args()
    slice_ms, n_rounds = QUICK if args.quick else FULL

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    args.directory.mkdir(parents=True, exist_ok=True)
    rows = []
    heading("CPU of the sending thread, ns per datagram: median of "
            f"{n_rounds} slices of {slice_ms} ms,\n± half the interquartile "
            "range")
    with open(args.directory / "udp-slices.csv", "w", encoding="utf-8") as raw:
        for path in PATHS:
            for row in measure(args.program, path, slice_ms, n_rounds, raw):
                print_cpu(row)
                rows.append(row)
    print_rest(rows)
    missing = print_missing(rows)
    print_verdict(rows)
    write_summary(rows, args.directory / "udp.csv")
    plot(rows, args.directory / "udp.svg")
    print(f"\nWritten: udp-slices.csv, udp.csv, udp.svg in {args.directory}")
    return 1 if missing else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
