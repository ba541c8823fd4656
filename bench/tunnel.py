#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures tunnels: wiregather against the programs in a directory.

Each program runs at both ends of its own cable for the whole time. A round
goes through the tests, and each test through the programs; from round to round
the first program changes. So figures that are compared were measured within
seconds, and a slow phase of the machine affects all programs. As root; needs
iperf3.

Writes tunnel.csv: a line for each round, test, program and metric.
"""
import argparse
import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))

# pylint: disable=wrong-import-position
import programs
import report
import testbed
from testbed import Ends

import lab
from tap import Failure, interrupt, wait_until

# The default port of iperf3.
IPERF_PORT = 5201
# Starts that a round measures. A choice.
STARTS = 4
# The flows of bench-flows. 64 windows of 6 stay below the 500 packets that the
# queue of an interface holds. QUIC sends at least 1,200 bytes in its first datagram.
FLOWS, FLOW_LENGTH, FLOW_WINDOW = 64, 1200, 6
# Seconds that a load runs before the round trips begin and after they end. A choice.
LEAD_S = 0.5


def words(text):
    """Parse "NAME=NUMBER ..." into a dict."""
    return {name: float(value) for name, value in
            (word.split("=") for word in text.split())}


class Bench:
    """The tests, with their shared settings: duration and C programs."""

    def __init__(self, seconds, directory):
        self.seconds = seconds
        self.directory = pathlib.Path(directory).resolve()

    def iperf(self, pair, *options):
        """Send TCP from one end to the other; return iperf3's report."""
        with pair.running(1, "iperf3", "-s", "-1", "-B", pair.address):
            wait_until(lambda: pair.listens(1, IPERF_PORT), "iperf3 listens")
            text = pair.run(0, "iperf3", "-c", pair.address, "-J",
                            "-t", self.seconds, *options,
                            timeout=self.seconds + 20)
        return json.loads(text)["end"]

    def tcp(self, pair, *options):
        """Measure TCP: Gbit/s that arrive, CPU time, memory."""
        pair.reset_peaks()
        cpu = pair.cpu()
        end = self.iperf(pair, *options)
        cpu = pair.cpu() - cpu
        received = end["sum_received"]
        found = {"gbit_s": received["bits_per_second"] / 1e9,
                 "retransmits": end["sum_sent"].get("retransmits", 0)}
        if pair.daemons:
            found["core_s_gbit"] = cpu / (received["bytes"] * 8e-9)
            found["peak_kib"] = pair.peak()
        return found

    def flows(self, pair, n_flows, length, window):
        """Measure UDP: datagrams that arrive a second, CPU time, losses."""
        cpu = pair.cpu()
        got = words(pair.run(0, self.directory / "bench-flows",
                             pair.namespace(0), pair.namespace(1),
                             pair.address, n_flows, length, window,
                             int(self.seconds * 1000),
                             timeout=self.seconds + 20))
        cpu = pair.cpu() - cpu
        found = {"kpps": got["rate"] / 1e3,
                 "gbit_s": got["rate"] * length * 8e-9,
                 "lost": 1 - got["arrived"] / max(got["sent"], 1)}
        if pair.daemons and got["arrived"]:
            found["core_s_gbit"] = cpu / (got["arrived"] * length * 8e-9)
        return found

    def rtt(self, pair, seconds, *samples):
        """Measure round trips, for so many seconds or until there are so many."""
        got = words(pair.run(0, self.directory / "bench-rtt",
                             pair.namespace(0), pair.address,
                             int(seconds * 1000), *samples,
                             timeout=seconds + 20))
        return {"median_us": got["median"], "p99_us": got["p99"],
                "lost": got["lost"]}

    def rtt_loaded(self, pair):
        """Measure round trips while a TCP stream goes the same way."""
        with pair.running(1, "iperf3", "-s", "-1", "-B", pair.address):
            wait_until(lambda: pair.listens(1, IPERF_PORT), "iperf3 listens")
            with pair.running(0, "iperf3", "-c", pair.address, "-J", "-t",
                              self.seconds + 2 * LEAD_S) as client:
                time.sleep(LEAD_S)
                found = self.rtt(pair, self.seconds)
                text, _ = client.communicate(timeout=20)
        load = json.loads(text)["end"]["sum_received"]["bits_per_second"]
        return {**found, "load_gbit_s": load / 1e9}

    def starts(self, pair):
        """Measure several times from start until the daemon can be
        configured."""
        took = []
        for i in range(STARTS):
            daemon, seconds = pair.daemon(0, f"s{i}", is_timed=True)
            daemon.stop()
            took.append(seconds * 1e3)
        return {f"start_ms_{i}": ms for i, ms in enumerate(took)}

    def idle(self, pair):
        """Measure the memory of a daemon that is configured and has seen no
        packets."""
        daemon, _ = pair.daemon(0, "i")
        try:
            daemon.configure(0, pair.daemons[1].public, testbed.PORT + 1)
            time.sleep(0.2)
            return {"idle_kib": testbed.memory(daemon.pid, "VmRSS")}
        finally:
            daemon.stop()


def first_line(error):
    return (str(error).splitlines() or [repr(error)])[0]


# The wire and the function of each test. Titles are in report.py.
TESTS = {
    "tcp1": ("gso", lambda b, p: b.tcp(p)),
    "tcpr": ("gso", lambda b, p: b.tcp(p, "-R")),
    "tcp4": ("gso", lambda b, p: b.tcp(p, "-P", "4")),
    "tcp1n": ("nogso", lambda b, p: b.tcp(p)),
    "rr": ("gso", lambda b, p: b.rtt(p, b.seconds / 2)),
    "rrload": ("gso", Bench.rtt_loaded),
    "udp64": ("gso", lambda b, p: b.flows(p, 1, 64, 0)),
    "flows": ("gso", lambda b, p: b.flows(p, FLOWS, FLOW_LENGTH,
                                          FLOW_WINDOW)),
    "flood": ("gso", lambda b, p: b.flows(p, FLOWS, FLOW_LENGTH, 0)),
    "start": ("gso", Bench.starts),
    "idle": ("gso", Bench.idle),
}


def measure(bench, pair, test, wire, function):
    """Run a test of a program; return nothing if it fails, after a message."""
    try:
        pair.set_wire(wire)
        return function(bench, pair)
    except (Failure, subprocess.TimeoutExpired, KeyError, ValueError,
            OSError) as err:
        print(f"FAILED: {test}, {pair.program.name}: {first_line(err)}", flush=True)
        return {}


def run_round(bench, pairs, tests, number, out):
    start = time.monotonic()
    for test in tests:
        first = number % len(pairs)
        for pair in pairs[first:] + pairs[:first]:
            if not pair.program.takes(test):
                continue
            for metric, value in measure(bench, pair, test,
                                         *TESTS[test]).items():
                out.writerow((number, test, pair.program.name, metric,
                              f"{value:.6g}"))
    print(f"round {number + 1}: {time.monotonic() - start:.0f} s", flush=True)


def start_pairs(laboratory, found):
    """Start a pair of each program; return those that work, and say why others
    do not."""
    pairs = []
    for index, program in enumerate(found):
        pair = Ends(laboratory, program, index)
        try:
            pair.start()
            pairs.append(pair)
        except Failure as failure:
            pair.stop()
            print(f"left out: {program.name}: {first_line(failure)}")
    return pairs


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4,
                        help="seconds of each measurement")
    parser.add_argument("--tests", default=",".join(TESTS),
                        help="some of: %(default)s")
    parser.add_argument("--peers", default=os.environ.get("PEERS"),
                        metavar="DIR", help="directory of the other programs")
    parser.add_argument("--only", metavar="WORD[,WORD]",
                        help="only programs with one of these words in their names")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR",
                        default="build/bench")
    parser.add_argument("--no-tables", action="store_true",
                        help="write CSV only")
    parser.add_argument("daemon", metavar="DAEMON",
                        type=lambda p: pathlib.Path(p).resolve())
    args = parser.parse_args()
    args.tests = args.tests.split(",")
    for test in args.tests:
        if test not in TESTS:
            parser.error(f"no such test: {test}")
    return args


def main():
    args = options()
    reason = lab.why_not()
    if reason:
        sys.exit(f"tunnel.py: {reason}")
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, interrupt)
    args.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(args.seconds, args.daemon.parent / "bench")
    found = [p for p in programs.find(args.daemon, args.peers)
             if not args.only or
             any(word in p.name for word in args.only.split(","))]
    laboratory = lab.Lab(args.daemon)
    pairs = []
    try:
        pairs = start_pairs(laboratory, found)
        with open(args.out / "tunnel.csv", "w", newline="",
                  encoding="utf-8") as file:
            out = csv.writer(file)
            out.writerow(("round", "test", "program", "metric", "value"))
            for number in range(args.rounds):
                run_round(bench, pairs, args.tests, number, out)
                file.flush()
    finally:
        for pair in pairs:
            pair.stop()
        laboratory.close()
    if not args.no_tables:
        print(report.tunnel(args.out))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
