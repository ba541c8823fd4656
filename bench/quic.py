#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measure the CPU time of QUIC, with three ways to move its packets.

    quic.py [--quick] BUILD DIRECTORY

examples/quic.c moves MEGABYTES each way between two namespaces that a veth pair of MTU
1500 joins: through the library ("library"), with a system call for each datagram
("single"), and with GSO and GRO written by hand ("manual"). The program is the same;
quic_io.h exchanges the calls that send and receive. The three take turns, and in each
round another one is the first.

The time is that of both processes, server and client, from start to end. User time is
TLS, QUIC, and what the program itself does to send and receive. Kernel time is nearly
all sending and receiving. DIRECTORY gets quic-runs.csv (a line for each run) and
quic.csv (a line for each way). Needs root, openssl(1), and the programs, which are
built if ngtcp2 and GnuTLS are there. The exit status tells whether everything was
measured.
"""

import argparse
import contextlib
import csv
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import time

import report
from testbed import OUTER

import lab
from lab import after_fork, run, wait_until

OURS, SINGLE, MANUAL = "library", "single", "manual"
WAYS = {OURS: "examples/quic", SINGLE: "bench/bench-quic-single",
        MANUAL: "bench/bench-quic-manual"}
PORT = 4433
MILLION = 10**6
# Rounds, and millions of bytes each way.
FULL = (9, 100)
QUICK = (1, 10)
# The CPU time of the library may be this part of that of another way.
LIMITS = {SINGLE: 1 / 3, MANUAL: 1.08}
LINE = re.compile(
    r": bytes sent (\d+), received (\d+);.*"
    r"datagrams sent (\d+) in (\d+), received (\d+) in (\d+)")


class Run:
    """What one run took: CPU seconds of both ends, and datagrams in messages."""

    def __init__(self, ends):
        self.user = sum(usage.ru_utime for usage, _ in ends)
        self.kernel = sum(usage.ru_stime for usage, _ in ends)
        numbers = [[int(n) for n in LINE.search(text).groups()]
                   for _, text in ends]
        self.bytes = [n[:2] for n in numbers]
        self.train_out, self.train_in = (
            sum(n[i] for n in numbers) / sum(n[i + 1] for n in numbers)
            for i in (2, 4))

    @property
    def cpu(self):
        return self.user + self.kernel


class World:
    """Two namespaces, and a certificate."""

    def __init__(self, laboratory, build):
        self.lab, self.build = laboratory, build
        self.nodes = [laboratory.node(name) for name in "ab"]
        laboratory.link(*self.nodes, "eth", "eth")
        for node, address in zip(self.nodes, OUTER):
            node.ip(f"addr add {address}/24 dev eth")
        self.cert, self.key = (f"{laboratory.directory}/{kind}"
                               for kind in ("crt", "key"))
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
            "/CN=quic", "-keyout", self.key, "-out", self.cert)
        self.cores = sorted(os.sched_getaffinity(0))

    def start(self, side, way, *words):
        """Start a program at one end, on a core of its own if there are two."""
        def prepare():
            after_fork()
            os.sched_setaffinity(0, {self.cores[-side]})

        log = open(f"{self.lab.directory}/log{side}", "w+", encoding="utf-8")
        with self.nodes[side].inside():
            # pylint: disable-next=consider-using-with
            process = subprocess.Popen(
                [self.build / WAYS[way], *words], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, preexec_fn=prepare)
        return process, log

    def listens(self):
        with self.nodes[1].inside():
            with open("/proc/thread-self/net/udp", encoding="ascii") as file:
                return f":{PORT:04X} " in file.read()

    def end(self, process, log):
        """Wait for a process; return what it used and what it said."""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        with log:
            return usage, log.read()

    def measure(self, way, size):
        server = self.start(1, way, "serve", str(PORT), self.cert, self.key,
                            str(size))
        try:
            wait_until(self.listens, "the server listens", 10)
            client = self.end(*self.start(
                0, way, "connect", f"{OUTER[1]}:{PORT}", self.cert, str(size)))
            # The server prints its line when the client has told it of the end.
            with contextlib.suppress(lab.Failure):
                wait_until(lambda: os.path.getsize(server[1].name) > 0,
                           "the server's line", 5)
        finally:
            server[0].send_signal(signal.SIGTERM)
            ended = self.end(*server)
        for _, text in client, ended:
            if not LINE.search(text):
                sys.exit(f"quic.py: {way}: {text.strip()}")
        found = Run((client, ended))
        if found.bytes != [[size, size]] * 2:
            sys.exit(f"quic.py: {way}: bytes sent and received: {found.bytes}")
        return found


def write_runs(runs, path):
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(("way", "round", "user_s", "kernel_s", "datagrams_out",
                      "datagrams_in"))
        for way, found in runs.items():
            for number, r in enumerate(found):
                out.writerow((way, number, f"{r.user:.4f}", f"{r.kernel:.4f}",
                              f"{r.train_out:.2f}", f"{r.train_in:.2f}"))


def ratios(runs, way, what):
    """The library's time for each second of another way, by round."""
    return [getattr(a, what) / getattr(b, what)
            for a, b in zip(runs[OURS], runs[way])]


def middle(found, what):
    return statistics.median(getattr(r, what) for r in found)


def lines_of(runs):
    for way, found in runs.items():
        line = {"way": way}
        for title, what in (("CPU, s", "cpu"), ("user, s", "user"),
                            ("kernel, s", "kernel")):
            line[title] = f"{middle(found, what):.3f}"
        line["datagrams in a message, sent"] = f"{middle(found, 'train_out'):.1f}"
        line["received"] = f"{middle(found, 'train_in'):.1f}"
        for title, what in (("CPU, library over this", "cpu"),
                            ("kernel, library over this", "kernel")):
            values = ratios(runs, way, what)
            line[title] = "" if way == OURS else report.with_range(
                (statistics.median(values), min(values), max(values)))
        yield line


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true",
                        help="one round; the figures mean nothing")
    parser.add_argument("build", metavar="BUILD", type=pathlib.Path)
    parser.add_argument("directory", metavar="DIRECTORY", type=pathlib.Path)
    args = parser.parse_args()
    args.build = args.build.resolve()
    missing = [p for p in WAYS.values() if not (args.build / p).exists()]
    if missing:
        print("skipped: ngtcp2 0.12 or GnuTLS is missing: not built: " +
              ", ".join(missing))
        return
    reason = lab.why_not()
    if reason:
        sys.exit(f"quic.py: {reason}")
    rounds, megabytes = QUICK if args.quick else FULL
    args.directory.mkdir(parents=True, exist_ok=True)
    directory = args.directory.resolve()
    laboratory = lab.Lab(args.build / WAYS[OURS])
    runs = {way: [] for way in WAYS}
    start = time.monotonic()
    try:
        world = World(laboratory, args.build)
        for number in range(rounds):
            order = list(WAYS)
            first = number % len(order)
            for way in order[first:] + order[:first]:
                runs[way].append(world.measure(way, megabytes * MILLION))
    finally:
        laboratory.close()
    write_runs(runs, directory / "quic-runs.csv")
    found = list(lines_of(runs))
    with open(directory / "quic.csv", "w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, list(found[0]))
        out.writeheader()
        out.writerows(found)
    print(report.table(list(found[0]), [list(f.values()) for f in found]))
    print(f"{rounds} rounds, {megabytes} MB each way, "
          f"{time.monotonic() - start:.0f} s\n")
    if not args.quick:
        for way, limit in LIMITS.items():
            ratio = statistics.median(ratios(runs, way, "cpu"))
            print(f"{'MET' if ratio <= limit else 'NOT MET':<8}{ratio:5.3f}  "
                  f"CPU: at most {limit:.3f} of {way}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
