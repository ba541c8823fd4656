#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures what has a bar: VXLAN, AEADs without AVX-512, small datagrams, a wire
without segmentation offload, pings, and queues.

What is compared takes turns in one run, as in tunnel.py: within a round the two
sides of a ratio are measured within seconds, and from round to round another one
is first. Each part has tunnels of its own. A part writes traffic-PART.json; then
the table of all parts that were ever measured is written to traffic.csv. As root;
needs iperf3.
"""
import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import typing

sys.path.insert(0, str(pathlib.Path(__file__).parent))

# pylint: disable=wrong-import-position
import machine
import overlay
import programs
import report
import traffic_table
import tunnel
from programs import NO_OVERLAY, OURS, Program

import lab
from tap import Failure, interrupt

# Round trips of a ping in a round, and the seconds after which it gives up.
PINGS, PINGS_S = 20000, 20
# The variable with which libcrypto and BoringSSL use no AVX-512 (F, DQ, IFMA, CD,
# BW, VL). The other backends in the table have none.
MASK = "OPENSSL_ia32cap=:~0xd0230000"
AEADS = ("libsodium", "boringssl", "libcrypto", "ipsec-mb-avx2")


@dataclasses.dataclass(frozen=True)
class Part:
    """
    programs: what is compared, by the arguments of the command line
    groups: lists of tests; a test is its name, the wire, and a function. The
            tests of a group are measured one after the other of each program
    prepare: called with each pair of ends
    """
    programs: typing.Callable
    groups: tuple
    prepare: typing.Callable = None


def ours(args, name, *options):
    return Program(name, (str(args.daemon), "-f", *options))


def overlay_programs(args):
    return [ours(args, OURS), ours(args, NO_OVERLAY, NO_OVERLAY)]


def overlay_groups():
    known = {title: rest for title, *rest in overlay.TESTS}
    for group, (base, tests) in traffic_table.GROUPS.items():
        yield [(traffic_table.key_of(group, test), "gso",
                lambda bench, pair, test=test: measure_overlay(
                    bench, pair, *known[test])) for test in (base, *tests)]


def measure_overlay(bench, pair, address, options):
    rate, cpu = overlay.measure(pair, address, options, bench.seconds)
    return {"gbit_s": rate, "core_s_gbit": cpu}


def aead_programs(args):
    return [Program(name, ("env", MASK, str(args.daemon), "-f",
                           f"--aead={name}")) for name in AEADS]


def small_programs(args):
    return [ours(args, OURS), *programs.peers(args.peers, ("boringtun",))]


def wire_programs(args):
    return [ours(args, OURS), *programs.peers(args.peers)]


def queue_programs(args):
    return [ours(args, name, name) for name in ("--queues=1", "--queues=2")]


def by_name(*names):
    """A group for each of the tests of tunnel.py with these names."""
    return tuple([(name, *tunnel.TESTS[name])] for name in names)


PARTS = {
    "overlay": Part(overlay_programs, tuple(overlay_groups()),
                    overlay.add_devices),
    "aead": Part(aead_programs, by_name("tcp1")),
    "small": Part(small_programs, (
        *by_name("flows", "udp64"),
        [("rr", "gso", lambda bench, pair: bench.rtt(pair, PINGS_S, PINGS))])),
    "wire": Part(wire_programs, by_name("tcp1n")),
    "queues": Part(queue_programs, by_name("tcp1", "tcp4", "flows")),
}


def turned(items, turn):
    first = turn % len(items)
    return [*items[first:], *items[:first]]


def run_round(bench, part, pairs, turn):
    """Measure everything once; yield turn, test, program, metric and value."""
    for group in part.groups:
        for pair in turned(pairs, turn):
            for name, wire, function in turned(group, turn):
                found = tunnel.measure(bench, pair, name, wire, function)
                for metric, value in found.items():
                    yield turn, name, pair.program.name, metric, value


def run_part(args, name):
    """Measure a part, and write its file; nothing if there is nothing to compare."""
    part = PARTS[name]
    print(f"== {name}", flush=True)
    found = part.programs(args)
    if len(found) < 2:
        print(f"left out: {name}, which has nothing to compare with")
        return
    head = {"processor": machine.describe_processor(),
            "maker": machine.first_match("/proc/cpuinfo", r"vendor_id\s*: (.*)"),
            "kernel": machine.describe_kernel(),
            "commit": machine.describe_commit(),
            "date": datetime.date.today().isoformat(),
            "load": os.getloadavg()[0],
            "rounds": args.rounds, "seconds": args.seconds}
    begun = time.monotonic()
    bench = tunnel.Bench(args.seconds, args.daemon.parent / "bench")
    laboratory = lab.Lab(args.daemon)
    pairs, runs = [], []
    try:
        pairs = tunnel.start_pairs(laboratory, found)
        for pair in pairs if part.prepare else []:
            part.prepare(pair)
        for turn in range(args.rounds):
            runs += run_round(bench, part, pairs, turn)
    except (Failure, subprocess.TimeoutExpired) as err:
        print(f"FAILED: {name}: {err}")
    finally:
        for pair in pairs:
            pair.stop()
        laboratory.close()
    print(f"== {name}: {time.monotonic() - begun:.0f} s", flush=True)
    if runs:
        traffic_table.file_of(args.out, name).write_text(
            json.dumps({**head, "runs": runs}), encoding="utf-8")


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=1,
                        help="seconds of each measurement")
    parser.add_argument("--parts", default=",".join(PARTS),
                        help="some of: %(default)s")
    parser.add_argument("--peers", default=os.environ.get("PEERS"),
                        metavar="DIR", help="directory of the other programs")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR",
                        default="build/bench")
    parser.add_argument("daemon", metavar="DAEMON",
                        type=lambda p: pathlib.Path(p).resolve())
    args = parser.parse_args()
    args.parts = args.parts.split(",")
    for part in args.parts:
        if part not in PARTS:
            parser.error(f"no such part: {part}")
    return args


def main():
    args = options()
    reason = lab.why_not()
    if reason:
        sys.exit(f"traffic.py: {reason}")
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, interrupt)
    args.out.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    for part in args.parts:
        run_part(args, part)
    print(f"\n{report.traffic(args.out)}\n"
          f"{(time.monotonic() - begun) / 60:.1f} minutes; traffic.csv is in "
          f"{args.out}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
