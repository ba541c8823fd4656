#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures the memory of idle daemons, of several builds side by side, as root.

Each daemon has one configured peer, and its interface is up. A few seconds later the
proportional set sizes (PSS, /proc/PID/smaps_rollup) of all its processes are added up. The
programs take turns. With --mappings the part of each mapping is printed, too, of the last
start. Prints a table for docs/performance.md.
"""
import argparse
import collections
import os
import pathlib
import re
import statistics
import sys
import time

# bench/ has a traffic.py, too, so it comes last.
sys.path[:1] = [str(pathlib.Path(__file__).parents[1] / "tests/netns")]
sys.path.append(str(pathlib.Path(__file__).parent))

# pylint: disable=wrong-import-position
import lab as laboratory
from machine import describe_kernel, describe_processor

# Seconds from the configuration until a daemon is idle. A choice: threads of the start
# have ended by then, and memory that they have used is given back.
SETTLE_S = 3
PARTS = ("Pss", "Pss_Anon", "Pss_File", "Pss_Shmem")


def read_parts(pid):
    """KiB of a process, by name."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        found = dict(re.findall(r"^(\w+):\s+(\d+) kB$", file.read(), re.MULTILINE))
    return [int(found.get(name, 0)) for name in PARTS]


def read_mappings(pid):
    """KiB of PSS of a process, by the name and the rights of a mapping."""
    found, name = collections.Counter(), ""
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as file:
        for line in file:
            words = line.split()
            if re.fullmatch(r"[0-9a-f]+-[0-9a-f]+", words[0]):
                name = f"{words[1]} {' '.join(words[5:]) or 'anonymous'}"
            elif words[0] == "Pss:":
                found[name] += int(words[1])
    return found


def print_mappings(pids):
    for pid in pids:
        print(f"\n{laboratory.command_of(pid)}:")
        for name, kib in read_mappings(pid).most_common():
            if kib:
                print(f"{kib:6} {name}")


def measure(lab, program, has_mappings):
    """Start a program. Return its number of processes, and KiB by PARTS."""
    lab.daemon = program
    node = lab.node("a")
    tunnel = lab.tunnel(node, "wgidle").start(LOG_LEVEL="error")
    tunnel.configure({"PublicKey": laboratory.run(
        "wg", "pubkey", stdin=laboratory.run("wg", "genkey").stdout).stdout.strip(),
        "AllowedIPs": "10.9.0.2/32", "Endpoint": "192.0.2.2:51820"})
    tunnel.up("10.9.0.1/24")
    time.sleep(SETTLE_S)
    pids = [tunnel.process.pid, *laboratory.descendants_of(tunnel.process.pid)]
    parts = [sum(values) for values in zip(*map(read_parts, pids))]
    if has_mappings:
        print_mappings(pids)
    tunnel.stop()
    node.close()
    lab.nodes.remove(node)
    return len(pids), parts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--mappings", action="store_true")
    parser.add_argument("program", nargs="*", default=["build/wiregather"])
    args = parser.parse_args()
    programs = [os.path.abspath(program) for program in args.program]
    laboratory.isolate()
    lab = laboratory.Lab(programs[0])
    found = collections.defaultdict(list)
    try:
        for n in range(args.rounds):
            for program in programs:
                is_last = n == args.rounds - 1
                found[program].append(measure(lab, program, args.mappings and is_last))
    finally:
        lab.close()
    print(f"{describe_processor()}; {describe_kernel()}; {args.rounds} starts each\n")
    print("| program | processes | PSS, KiB | least | most | anonymous | of files | "
          "shared memory |\n|---|---|---|---|---|---|---|---|")
    medians = []
    for program, path in zip(programs, args.program):
        sums = [parts[0] for _, parts in found[program]]
        parts = [statistics.median(column) for column in
                 zip(*(parts for _, parts in found[program]))]
        medians.append(parts[0])
        print(f"| {path} | {found[program][0][0]} | {parts[0]:.0f} | {min(sums)} | "
              f"{max(sums)} | {parts[1]:.0f} | {parts[2]:.0f} | {parts[3]:.0f} |")
    for path, median in list(zip(args.program, medians))[1:]:
        print(f"\n{path} has {median - medians[0]:+.0f} KiB beside {args.program[0]}.")


if __name__ == "__main__":
    main()
