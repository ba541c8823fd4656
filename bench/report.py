#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes tables and plots from the CSV files of a directory.

With --docs FILE it rewrites the parts of a Markdown document that stand
between <!-- bench: NAME --> and <!-- end -->, for each NAME that was measured,
and puts the plots into the directory beside it that has its name.
"""
import argparse
import csv
import pathlib
import re
import shutil
import statistics
import sys

import chart
import traffic_table
from programs import BASE, LIBSODIUM, OURS, PLAIN

# The title of each test, and its metrics, the most important first.
TESTS = {
    "tcp1": ("1 TCP stream", ("gbit_s", "core_s_gbit", "peak_kib")),
    "tcpr": ("1 TCP stream, backwards", ("gbit_s", "core_s_gbit")),
    "tcp4": ("4 TCP streams", ("gbit_s", "core_s_gbit", "peak_kib")),
    "tcp1n": ("1 TCP stream, segmented wire", ("gbit_s", "core_s_gbit")),
    "rr": ("Round trip, nothing else going on", ("median_us", "p99_us")),
    "rrload": ("Round trip beside a TCP stream",
               ("median_us", "p99_us", "load_gbit_s")),
    "udp64": ("UDP, a flood of 64 bytes", ("kpps", "lost")),
    "flows": ("UDP, 64 flows of 1,200 bytes, no GSO",
              ("kpps", "gbit_s", "core_s_gbit", "lost")),
    "flood": ("UDP, the same 64 flows as a flood", ("kpps", "lost")),
    "start": ("From its start until it can be configured", ("start_ms",)),
    "idle": ("Memory before any traffic", ("idle_kib",)),
}

# Title, factor from the value in the file, whether more is better.
METRICS = {
    "gbit_s": ("Gbit/s", 1, True),
    "core_s_gbit": ("core-seconds per Gbit, both ends", 1, False),
    "peak_kib": ("peak memory of an end, MiB", 1 / 1024, False),
    "idle_kib": ("resident memory, MiB", 1 / 1024, False),
    "load_gbit_s": ("the stream, Gbit/s", 1, True),
    "median_us": ("median, µs", 1, False),
    "p99_us": ("99th percentile, µs", 1, False),
    "kpps": ("thousand datagrams a second received", 1, True),
    "lost": ("lost, %", 100, False),
    "start_ms": ("ms", 1, False),
}

# The rows of the first table: test, metric, program, and the program to compare
# with (None: no comparison; "best": the best of the others). libsodium is the
# choice on processors without AVX-512.
SUMMARY = (
    ("tcp1", "gbit_s", OURS, BASE),
    ("tcpr", "gbit_s", OURS, BASE),
    ("tcp4", "gbit_s", OURS, BASE),
    ("tcp1n", "gbit_s", OURS, BASE),
    ("tcp1", "gbit_s", LIBSODIUM, BASE),
    ("tcp1", "core_s_gbit", OURS, BASE),
    ("rr", "median_us", OURS, "boringtun"),
    ("rrload", "median_us", OURS, BASE),
    ("udp64", "kpps", OURS, "boringtun"),
    ("flows", "kpps", OURS, "best"),
    ("tcp4", "peak_kib", OURS, None),
    ("tcp4", "peak_kib", LIBSODIUM, None),
    ("idle", "idle_kib", OURS, None),
    ("start", "start_ms", OURS, None),
)

# The title and the panels of each plot file.
PLOTS = {
    "throughput": ("Throughput", (
        ("tcp1", "gbit_s"), ("tcpr", "gbit_s"), ("tcp4", "gbit_s"),
        ("tcp1n", "gbit_s"), ("flows", "kpps"), ("udp64", "kpps"),
        ("flood", "kpps"))),
    "cost": ("Processor time and memory", (
        ("tcp1", "core_s_gbit"), ("tcp1n", "core_s_gbit"),
        ("tcp4", "peak_kib"), ("idle", "idle_kib"))),
    "latency": ("Latency", (
        ("rr", "median_us"), ("rr", "p99_us"), ("rrload", "median_us"),
        ("rrload", "p99_us"), ("start", "start_ms"))),
}


# CSV files that are no tables of their own.
NOT_TABLES = ("crypto", "tunnel", "udp", "udp-slices", "relay-slices",
              "quic-runs", "traffic")


def read(path):
    """The lines of a CSV file as dicts; an empty list if there is no such
    file."""
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Results:
    """The values of tunnel.csv by test, metric, program and round."""

    def __init__(self, directory):
        self.values = {}
        self.programs = []
        for line in read(directory / "tunnel.csv"):
            # start_ms_0, start_ms_1 are several values of one round.
            metric = re.sub(r"_\d+$", "", line["metric"])
            key = line["test"], metric, line["program"]
            self.values.setdefault(key, {}).setdefault(
                line["round"], []).append(float(line["value"]))
            if line["program"] not in self.programs:
                self.programs.append(line["program"])
        self.programs.sort(key=lambda name: (
            not name.startswith(OURS), name != OURS, name == PLAIN))

    def has(self, test, metric, program):
        return (test, metric, program) in self.values

    def measured(self, test, metric):
        return [p for p in self.programs if self.has(test, metric, p)]

    def rounds(self, test, metric, program):
        """The median of each round."""
        factor = METRICS[metric][1]
        return {number: statistics.median(values) * factor for number, values
                in self.values[test, metric, program].items()}

    def spread(self, test, metric, program):
        """The median, the minimum and the maximum of the rounds."""
        values = list(self.rounds(test, metric, program).values())
        return statistics.median(values), min(values), max(values)

    def ratio(self, test, metric, program, base):
        """The ratio to another program, paired by round: median, minimum,
        maximum; or None."""
        if not (self.has(test, metric, program) and
                self.has(test, metric, base)):
            return None
        mine = self.rounds(test, metric, program)
        other = self.rounds(test, metric, base)
        values = [mine[n] / other[n] for n in mine if other.get(n)]
        if not values:
            return None
        return statistics.median(values), min(values), max(values)

    def best_other(self, test, metric):
        """The best of the other programs."""
        others = [p for p in self.measured(test, metric)
                  if not p.startswith(OURS) and p != PLAIN]
        choose = max if METRICS[metric][2] else min
        return choose(others, default=None, key=lambda p: self.spread(
            test, metric, p)[0])


def table(head, rows):
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n"
                   for line in lines)


def with_range(values):
    middle, least, most = map(chart.number, values)
    return middle if least == most else f"{middle} ({least} to {most})"


def test_table(results, test):
    """A table of all programs for one test."""
    title, metrics = TESTS[test]
    metrics = [m for m in metrics if results.measured(test, m)]
    if not metrics:
        return ""
    compared = results.has(test, metrics[0], BASE)
    head = [f"**{title}**", *(METRICS[m][0] for m in metrics)]
    if compared:
        head.append(f"ratio to {BASE}")
    rows = []
    for program in results.measured(test, metrics[0]):
        row = [program]
        row += [with_range(results.spread(test, m, program))
                if results.has(test, m, program) else "" for m in metrics]
        if compared:
            ratio = results.ratio(test, metrics[0], program, BASE)
            row.append(with_range(ratio) if ratio and program != PLAIN
                       else "")
        rows.append(row)
    return table(head, rows) + "\n"


def summary_row(results, test, metric, program, base):
    """A row of the first table: metric, figure, program compared with."""
    title, unit = TESTS[test][0], METRICS[metric][0]
    if base == "best":
        base = results.best_other(test, metric) or "the best other"
    if base:
        values = results.ratio(test, metric, program, base)
        against = f"times that of {base}"
    else:
        values = results.has(test, metric, program) and results.spread(
            test, metric, program)
        against = ""
    what = f"{title}: {unit}"
    if program != OURS:
        what += f" ({program})"
    return [what, with_range(values) if values else "not measured", against]


def summary(results):
    return table(["", "wiregather", ""],
                 [summary_row(results, *line) for line in SUMMARY])


def tunnel(directory):
    """All tables of the tunnel."""
    results = Results(directory)
    rounds = {n for values in results.values.values() for n in values}
    return (f"{len(rounds)} rounds; medians of the rounds, in brackets the "
            "least and the most; ratios are of the same round.\n\n" +
            "".join(test_table(results, test) for test in TESTS).rstrip() +
            "\n")


def plot(directory):
    """Write the plots; returns their files."""
    results = Results(directory)
    written = []
    for name, (_, parts) in PLOTS.items():
        panels = []
        for test, metric in parts:
            bars = {p: results.spread(test, metric, p)
                    for p in results.measured(test, metric)}
            if bars:
                panels.append((TESTS[test][0], METRICS[metric][0], bars))
        if panels:
            path = directory / f"{name}.svg"
            path.write_text(chart.draw(panels), encoding="utf-8")
            written.append(path)
    return written


def plot_links(beside, plots):
    """The plots of the tunnel as images of a document."""
    return "".join(f"![{PLOTS[path.stem][0]}]({beside}/{path.name})\n\n"
                   for path in plots) + (
        "A bar is the median of the rounds; the line on it goes from the "
        "least to the most.\n")


def udp(directory):
    """A table of the ways to send, with a row for each path, memory, header,
    size and batch."""
    ways = ("sendto", "sendmmsg", "copied", "gathered", "fused", "chosen",
            "trains")
    rows = {}
    for line in read(directory / "udp.csv"):
        path = line["path"] + (" (fragmented)" if line["fragmented"] == "1"
                               else "")
        rows.setdefault((path, line["memory"], line["header"], line["size"],
                         line["batch"]), {})[
            line["way"]] = line
    return table(
        ["path", "memory", "header", "bytes", "batch", *ways,
         "gathered/copied", "chosen/copied"],
        [[*key, *(f"{float(row[w]['cpu_ns_per_datagram']):.0f}"
                  for w in ways),
          *(f"{float(row[w]['cpu_of_copied']):.3f}"
            for w in ("gathered", "chosen"))] for key, row in rows.items()])


def crypto(directory):
    """A table of nanoseconds a message, with a row for each backend and
    way."""
    rows, sizes = {}, []
    for line in read(directory / "crypto.csv"):
        key = line["name"], f"{line['what']}, {line['messages']}"
        rows.setdefault(key, {})[line["bytes"]] = line["ns"]
        if line["bytes"] not in sizes and line["what"] == "seal":
            sizes.append(line["bytes"])
    pieces = {key: row for key, row in rows.items()
              if key[1].startswith(("seal", "open"))}
    alone = [f"{key[0]} ({size} bytes) {ns} ns" for key, row in rows.items()
             if key not in pieces for size, ns in row.items()]
    text = table(["backend", "what, messages in a call",
                  *(f"{size} bytes" for size in sizes)],
                 [[*key, *(row.get(size, "") for size in sizes)]
                  for key, row in pieces.items()])
    return text + (f"\n{'; '.join(alone)}.\n" if alone else "")


def traffic(directory):
    """The table of traffic.py, with what is not met in bold, and its caption."""
    rows, caption = traffic_table.write(directory)
    if not rows:
        return "nothing was measured\n"
    for row in rows:
        if row["met"] == "no":
            row["met"] = "**no**"
    return table(traffic_table.COLUMNS, [row.values() for row in rows]) + \
        f"\n{caption}\n"


def plain_table(path):
    """A CSV file as it is."""
    lines = read(path)
    if not lines:
        return ""
    return table(list(lines[0]), [list(line.values()) for line in lines])


def sections(directory):
    """The Markdown of each part that was measured, by name."""
    found = {}
    machine = directory / "machine.md"
    if machine.exists():
        found["machine"] = machine.read_text(encoding="utf-8")
    if (directory / "tunnel.csv").exists():
        found["summary"] = summary(Results(directory))
        found["tunnel"] = tunnel(directory)
    if (directory / "udp.csv").exists():
        found["udp"] = udp(directory)
    if (directory / "crypto.csv").exists():
        found["crypto"] = crypto(directory)
    if any(directory.glob("traffic-*.json")):
        found["traffic"] = traffic(directory)
    for path in sorted(directory.glob("*.csv")):
        if path.stem not in NOT_TABLES:
            found[path.stem] = plain_table(path)
    return found


def rewrite(document, found, plots):
    """Write the figures into a document, and the plots beside it."""
    text = document.read_text(encoding="utf-8")
    for name, body in found.items():
        pattern = re.compile(rf"(<!-- bench: {re.escape(name)} -->\n).*?"
                             r"(<!-- end -->)", re.DOTALL)
        text, n = pattern.subn(
            lambda m, body=body: f"{m[1]}\n{body.rstrip()}\n\n{m[2]}", text)
        if not n:
            print(f"{document} has no place for {name}")
    document.write_text(text, encoding="utf-8")
    beside = document.with_suffix("")
    beside.mkdir(exist_ok=True)
    for path in plots:
        shutil.copy(path, beside / path.name)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--docs", type=pathlib.Path, metavar="FILE")
    parser.add_argument("directory", type=pathlib.Path, metavar="DIRECTORY")
    args = parser.parse_args()
    found = sections(args.directory)
    plots = plot(args.directory)
    if args.docs:
        beside = args.docs.with_suffix("").name
        if plots:
            found["plots"] = plot_links(beside, plots)
        udp_plot = args.directory / "udp.svg"
        if udp_plot.exists() and "udp" in found:
            found["udp"] += f"\n![Sending]({beside}/{udp_plot.name})\n"
            plots.append(udp_plot)
        rewrite(args.docs, found, plots)
        return
    for name, body in found.items():
        print(f"\n## {name}\n\n{body}")


if __name__ == "__main__":
    sys.exit(main())
