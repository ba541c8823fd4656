#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures TCP in VXLAN inside the tunnel, in relation to TCP in the tunnel.

Each program runs at both ends of its own cable for the whole time. A round
goes through the programs, and with each program through the tests; from round
to round the first program changes. So a ratio is of figures that were measured
within seconds. As root; needs iperf3. Prints a table for
docs/performance.md.
"""
import argparse
import json
import os
import pathlib
import signal
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))

# pylint: disable=wrong-import-position
from machine import describe_kernel, describe_processor
from programs import NO_OVERLAY, OURS, Program
from testbed import INNER, Ends, spread
from traffic_table import FOUR, SINGLE

import lab
from tap import interrupt, wait_until

# The port of iperf3, the largest MTU of a VXLAN device that fits into the tunnel,
# over IPv4 and over IPv6, and addresses of the tunnel for IPv6.
IPERF_PORT = 5201
MTU, MTU6 = 1370, 1350
INNER6 = "fd09::1", "fd09::2"

# The VXLAN devices: name, whether over IPv6, options.
DEVICES = (
    ("vx0", False, "noudpcsum"),
    ("vx1", False, "udpcsum"),
    ("vx2", True, "udp6zerocsumtx udp6zerocsumrx"),
    ("vx3", True, "udpcsum"),
)

# The tests: title, address of the far end, options of iperf3. SINGLE and FOUR are
# what the others are compared with.
TESTS = (
    (SINGLE, INNER[1], ()),
    ("checksum 0", "10.10.0.2", ()),
    ("checksums", "10.10.1.2", ()),
    ("checksum 0, IPv6 inside", "fd10:0::2", ()),
    ("checksums, IPv6 inside", "fd10:1::2", ()),
    ("checksum 0, over IPv6", "10.10.2.2", ()),
    ("checksums, over IPv6", "10.10.3.2", ()),
    ("checksum 0, IPv6 inside, over IPv6", "fd10:2::2", ()),
    ("checksums, IPv6 inside, over IPv6", "fd10:3::2", ()),
    (FOUR, INNER[1], ("-P", "4")),
    ("four streams, checksum 0", "10.10.0.2", ("-P", "4")),
    ("four streams, checksums", "10.10.1.2", ("-P", "4")),
)


def add_devices(pair):
    """Make the VXLAN devices at both ends, and give them addresses."""
    for side, (node, daemon) in enumerate(zip(pair.nodes, pair.daemons)):
        node.sysctl("net.ipv6.conf.all.disable_ipv6", 0)
        node.sysctl("net.ipv6.conf.default.disable_ipv6", 0)
        node.sysctl(f"net.ipv6.conf.{daemon.name}.disable_ipv6", 0)
        node.ip(f"addr add {INNER6[side]}/64 dev {daemon.name} nodad")
        node.run("wg", "set", daemon.name, "peer",
                 pair.daemons[1 - side].public, "allowed-ips",
                 f"{INNER[1 - side]}/32,{INNER6[1 - side]}/128")
        for i, (name, is_v6, options) in enumerate(DEVICES):
            ends = INNER6 if is_v6 else INNER
            node.ip(f"link add {name} type vxlan id {i + 7} "
                    f"dstport {4789 + i} local {ends[side]} "
                    f"remote {ends[1 - side]} {options}",
                    f"link set {name} mtu {MTU6 if is_v6 else MTU} up",
                    f"addr add 10.10.{i}.{side + 1}/24 dev {name}",
                    f"addr add fd10:{i}::{side + 1}/64 dev {name} nodad")
            node.settle(name)


def measure(pair, address, options, seconds):
    """Send TCP; return Gbit/s that arrive, and core-seconds for a Gbit."""
    def listens():
        return str(IPERF_PORT) in pair.nodes[1].run("ss", "-ltn").stdout

    cpu = pair.cpu()
    with pair.running(1, "iperf3", "-s", "-1", "-B", address):
        wait_until(listens, "iperf3 listens")
        text = pair.run(0, "iperf3", "-C", "cubic", "-c", address, "-J", "-t",
                        seconds, *options, timeout=seconds + 20)
    cpu = pair.cpu() - cpu
    got = json.loads(text)["end"]["sum_received"]
    return got["bits_per_second"] / 1e9, cpu / (got["bytes"] * 8e-9)


def plain_of(test):
    """The test that a test is compared with."""
    return FOUR if test.startswith("four streams") else SINGLE


def print_table(found, programs):
    """A line for each test and program."""
    print("| TCP | program | Gbit/s | core-seconds for a Gbit, both ends | "
          "of plain |\n|---|---|---|---|---|")
    for title, _, _ in TESTS:
        for program in programs:
            rows = found.get((program.name, title))
            if not rows:
                continue
            plain = found[program.name, plain_of(title)]
            ratios = [row[0] / base[0] for row, base in zip(rows, plain)]
            print(f"| {title} | {program.name} | "
                  f"{spread([row[0] for row in rows])} | "
                  f"{statistics.median(row[1] for row in rows):.3f} | "
                  f"{spread(ratios)} |")


def main():
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--tests", type=int, default=len(TESTS),
                        help="only the first so many tests")
    parser.add_argument("--before", help="another build, to compare with")
    parser.add_argument("--only", help="the programs with these names, with "
                        "commas between")
    parser.add_argument("daemon", help="the program wiregather")
    args = parser.parse_args()
    daemon = os.path.abspath(args.daemon)
    programs = [Program(OURS, (daemon, "-f")),
                Program(NO_OVERLAY, (daemon, "-f", NO_OVERLAY))]
    if args.before:
        programs.append(Program("before", (os.path.abspath(args.before),
                                           "-f")))
    only = args.only.split(",") if args.only else None
    programs = [p for p in programs if not only or p.name in only]
    tests = TESTS[:args.tests]
    reason = lab.why_not()
    if reason:
        sys.exit(f"overlay.py: {reason}")
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, interrupt)
    laboratory = lab.Lab(daemon)
    found, pairs = {}, []
    try:
        pairs = [Ends(laboratory, program, i)
                 for i, program in enumerate(programs)]
        for pair in pairs:
            pair.start()
            add_devices(pair)
        for i in range(args.rounds):
            for k in range(len(pairs)):
                pair = pairs[(i + k) % len(pairs)]
                for title, address, options in tests:
                    found.setdefault((pair.program.name, title), []).append(
                        measure(pair, address, options, args.seconds))
    finally:
        for pair in pairs:
            pair.stop()
        laboratory.close()
    print(f"{args.rounds} rounds of {args.seconds:g} s on "
          f"{describe_processor()}, {describe_kernel()}:\n")
    print_table(found, programs)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
