# SPDX-License-Identifier: MIT
"""The table of traffic.py: each comparison with its bar, and whether it is met.

A row compares two measurements of the same round. Its ratio is the median of the
rounds, with the least and the most. traffic.py writes a file for each of its parts,
so the parts can be measured one by one.
"""
import csv
import dataclasses
import json
import statistics
import textwrap

from chart import number
from programs import NO_OVERLAY, OURS

# The parts of traffic.py, in the order of the table.
PARTS = ("overlay", "aead", "small", "wire", "queues")
COLUMNS = ("what", "figure", "compared with", "ratio", "bar", "met")
NOT_MEASURED = "not measured"
# In the place of a program: of the others the one with the best median.
FASTEST = "fastest"
# Differences below 8 % are noise on virtual machines that share their hosts.
NOISE = 0.92
# The groups of the tests of VXLAN: the comparison, and what is compared with it.
SINGLE, FOUR = "plain", "four streams, plain"
GROUPS = {
    "": (SINGLE, ("checksum 0", "checksums")),
    "IPv6 inside": (SINGLE, ("checksum 0, IPv6 inside",
                             "checksums, IPv6 inside")),
    "over IPv6": (SINGLE, ("checksum 0, over IPv6", "checksums, over IPv6",
                           "checksum 0, IPv6 inside, over IPv6",
                           "checksums, IPv6 inside, over IPv6")),
    "four streams": (FOUR, ("four streams, checksum 0",
                            "four streams, checksums")),
}
UNITS = {"gbit_s": "Gbit/s", "core_s_gbit": "core-s/Gbit",
         "kpps": "thousand a second", "median_us": "µs"}


def file_of(directory, part):
    return directory / f"traffic-{part}.json"


def key_of(group, test):
    """The name of a test of VXLAN in the file: each group measures its own
    comparison."""
    return f"{test} ({group})" if test in (SINGLE, FOUR) else test


@dataclasses.dataclass(frozen=True)
class Row:
    """mine, base: program and test; bar, goal: of the ratio, None if there is no
    bar; is_most: the ratio may be at most that."""
    part: str
    what: str
    metric: str
    mine: tuple
    base: tuple
    against: str
    bar: float = None
    goal: float = None
    is_most: bool = False

    def words_of_bar(self):
        if self.bar is None:
            return "none"
        text = f"at {'most' if self.is_most else 'least'} {self.bar:.2f}"
        return text + (f", goal {self.goal:.2f}" if self.goal else "")

    def verdict(self, ratio):
        def reaches(bar):
            return ratio <= bar if self.is_most else ratio >= bar

        if self.bar is None:
            return "–"
        if not reaches(self.bar):
            return "no"
        return "yes, and the goal" if self.goal and reaches(self.goal) else "yes"


def overlay_rows():
    for program, bar, goal in (OURS, 0.85, 0.93), (NO_OVERLAY, 0.45, None):
        for group, (base, tests) in GROUPS.items():
            for test in tests:
                what = f"VXLAN, {test}" + (
                    "" if program == OURS else f", `{NO_OVERLAY}`")
                yield Row("overlay", what, "gbit_s", (program, test),
                          (program, key_of(group, base)), "plain TCP", bar, goal)
    for what, test in (("plain TCP", key_of("", SINGLE)),
                       ("plain TCP, four streams", key_of("four streams", FOUR))):
        yield Row("overlay", what, "gbit_s", (OURS, test), (NO_OVERLAY, test),
                  f"`{NO_OVERLAY}`", NOISE)


def aead_rows(maker):
    """The bar of the choice without AVX-512 depends on the processor's maker."""
    bar = {"AuthenticAMD": 0.80, "GenuineIntel": 0.95}.get(maker)
    for aead in "boringssl", "libcrypto", "ipsec-mb-avx2":
        yield Row("aead", f"CPU time without AVX-512, `--aead={aead}`",
                  "core_s_gbit", (aead, "tcp1"), ("libsodium", "tcp1"),
                  "`--aead=libsodium`", bar if aead == "boringssl" else None,
                  is_most=True)


def other_rows():
    yield Row("small", "64 flows of 1,200 bytes, no GSO", "kpps", (OURS, "flows"),
              ("boringtun", "flows"), "boringtun", 3)
    yield Row("small", "a flood of 64 bytes, received", "kpps", (OURS, "udp64"),
              ("boringtun", "udp64"), "boringtun", 4)
    yield Row("small", "ping while idle, median of 20,000", "median_us",
              (OURS, "rr"), ("boringtun", "rr"), "boringtun", 1.05, is_most=True)
    yield Row("wire", "1 TCP stream, segmented wire", "gbit_s", (OURS, "tcp1n"),
              (FASTEST, "tcp1n"), "the fastest other", 4)
    for what, test, metric in (("1 TCP stream", "tcp1", "gbit_s"),
                               ("4 TCP streams", "tcp4", "gbit_s"),
                               ("64 flows of 1,200 bytes", "flows", "kpps")):
        yield Row("queues", f"{what}, `--queues=2`", metric, ("--queues=2", test),
                  ("--queues=1", test), "`--queues=1`", NOISE)


class Measured:
    """What the parts have measured: values by test, metric and program."""

    def __init__(self, directory):
        self.parts, self.values = {}, {}
        for part in PARTS:
            path = file_of(directory, part)
            if not path.exists():
                continue
            self.parts[part] = json.loads(path.read_text(encoding="utf-8"))
            for turn, test, program, metric, value in self.parts[part]["runs"]:
                self.values.setdefault((part, test, metric, program), {})[
                    turn] = value

    def rounds(self, row, which):
        program, test = which
        return self.values.get((row.part, test, row.metric, program), {})

    def fastest(self, row):
        """The other program with the best median of a row's comparison."""
        medians = {program: statistics.median(values.values())
                   for (part, test, metric, program), values
                   in self.values.items() if program != row.mine[0] and
                   (part, test, metric) == (row.part, row.base[1], row.metric)}
        return max(medians, key=medians.get, default=None)

    def rows(self):
        maker = self.parts.get("aead", {}).get("maker")
        for row in (*overlay_rows(), *aead_rows(maker), *other_rows()):
            against = row.against
            if row.base[0] == FASTEST:
                fastest = self.fastest(row)
                against = fastest or against
                row = dataclasses.replace(row, base=(fastest, row.base[1]))
            yield dict(zip(COLUMNS, (row.what, *self.figures(row, against))))

    def figures(self, row, against):
        """The columns behind the first one."""
        mine, base = self.rounds(row, row.mine), self.rounds(row, row.base)
        ratios = [mine[n] / base[n] for n in mine if base.get(n)]
        if not ratios:
            return "", against, NOT_MEASURED, row.words_of_bar(), "–"
        middle = statistics.median(ratios)
        text = number(middle)
        if len(ratios) > 1:
            text += f" ({number(min(ratios))} to {number(max(ratios))})"
        return (f"{number(statistics.median(mine.values()))} {UNITS[row.metric]}",
                f"{against}: {number(statistics.median(base.values()))}",
                text, row.words_of_bar(), row.verdict(middle))

    def caption(self):
        """Where, when and how the parts were measured."""
        def of(name):
            return ", ".join(sorted({str(part[name])
                                     for part in self.parts.values()}))

        parts = "; ".join(f"`{name}` at commit {part['commit']}, load before "
                          f"{part['load']:.1f}"
                          for name, part in self.parts.items())
        return textwrap.fill(
            f"{of('processor')}, {of('kernel')}, {of('date')}; rounds: "
            f"{of('rounds')}, of {of('seconds')} s. Parts: {parts}.", 88)


def write(directory):
    """Write traffic.csv; return its lines as dicts, and the caption."""
    measured = Measured(directory)
    if not measured.parts:
        return [], ""
    rows = list(measured.rows())
    with open(directory / "traffic.csv", "w", newline="",
              encoding="utf-8") as file:
        out = csv.DictWriter(file, COLUMNS)
        out.writeheader()
        out.writerows(rows)
    return rows, measured.caption()
