#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Instructions that a packet costs, compared with what was recorded.

callgrind counts the instructions of the fixed work in workload.c, stage by
stage. Only code of this project is counted: libsodium and libc choose their
code by the processor. The code that a compiler makes of ours depends on its
version, so there are figures for some builds, and other builds skip.

Too few instructions are a failure, too: new figures must then be recorded, or a
later loss of the gain would not be seen.

Of the instructions of each scenario, those that the compiler made of the headers of
counters, which are what statistics cost while nobody reads them, may be 1 % at most. Code
of libraries does not count for the whole, so the true part is smaller.
usage: instructions.py WORKLOAD BUILD [--record]
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

RECORD = pathlib.Path(__file__).with_name("instructions.txt")
STAGES = "cut", "seal", "send_all", "open_all", "merge"
# Allowed difference from the record, as a fraction. A choice.
TOLERANCE = 0.05
# Where counters are added to, and the part of all instructions that this may be.
COUNTERS = "src/base/counter.h", "src/udpgather/stats.h"
COUNTERS_MOST = 0.01
HEAD = """\
# Instructions a packet of our own code: see instructions.py. Written by
# "make guard-record"; a line for each build, scenario and stage.
"""


def count_own(path, program):
    """Count the instructions of a program's own code in a file of callgrind. Return them,
    and those of COUNTERS among them."""
    names = {}
    is_own = is_call = is_counter = False
    total = counters = 0

    def name_of(kind, text):
        """callgrind writes a name once, as "(1) name", and then only "(1)"."""
        number, _, name = text.partition(" ")
        if name:
            names[kind, number] = name
        return names[kind, number]

    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            key, _, value = line.rstrip("\n").partition("=")
            if key == "ob":
                is_own = name_of("ob", value) == program
            elif key == "cob":
                name_of("ob", value)
            elif key in ("fl", "fi", "fe"):
                is_counter = name_of("fl", value).endswith(COUNTERS)
            elif key in ("cfi", "cfl"):
                name_of("fl", value)
            elif key == "calls":
                is_call = True
            elif re.match(r"[+*\-\d]", line):
                # The cost of a call belongs to the function that was called.
                if is_own and not is_call:
                    total += int(line.split()[1])
                    counters += is_counter and int(line.split()[1])
                is_call = False
    return total, counters


def run_workload(program, directory):
    """Run it; returns {(scenario, stage): instructions a packet}, and {scenario:
    instructions of counters a packet}."""
    out = pathlib.Path(directory, "out")
    # Only one pattern: callgrind 3.19 ignores all but the first.
    command = ["valgrind", "--tool=callgrind", "--collect-atstart=no",
               f"--callgrind-out-file={out}", "--toggle-collect=measured_*",
               *(f"--dump-after=measured_{stage}" for stage in STAGES)]
    done = subprocess.run([*command, program], capture_output=True, text=True,
                          check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}")
    scenarios = [line.split() for line in done.stdout.splitlines()]
    found, counters = {}, {}
    part = 0
    for scenario, packets in scenarios:
        for stage in STAGES:
            part += 1
            n, n_counters = count_own(f"{out}.{part}", program)
            if not n:
                sys.exit(f"callgrind has counted nothing: {scenario} {stage}")
            found[scenario, stage] = n / int(packets)
            counters[scenario] = counters.get(scenario, 0) + n_counters / int(packets)
    return found, counters


def read_record():
    """{build: {(scenario, stage): instructions a packet}}"""
    builds = {}
    for line in RECORD.read_text(encoding="ascii").splitlines():
        if line and not line.startswith("#"):
            build, scenario, stage, n = line.rsplit(" ", 3)
            builds.setdefault(build, {})[scenario, stage] = float(n)
    return builds


def write_record(build, found):
    builds = read_record() if RECORD.exists() else {}
    builds[build] = found
    lines = [f"{b} {scenario} {stage} {n:.1f}\n" for b in sorted(builds)
             for (scenario, stage), n in builds[b].items()]
    RECORD.write_text(HEAD + "".join(lines), encoding="ascii")
    print(f"{len(found)} figures of {build}: {RECORD}")


def judge_counters(found, counters, number):
    """Print a case for each scenario; returns how many cost too much."""
    wrong = 0
    for scenario in sorted(counters):
        number += 1
        n, whole = counters[scenario], sum(found[scenario, stage] for stage in STAGES)
        is_ok = 0 < n <= COUNTERS_MOST * whole
        wrong += not is_ok
        print(f"{'ok' if is_ok else 'not ok'} {number} - {scenario}: counters are {n:.2f} of "
              f"{whole:.0f} instructions a packet, {100 * n / whole:.2f} %")
    return wrong


def compare(found, counters, recorded):
    """Print a case for each figure; returns how many are wrong."""
    names = sorted(found.keys() | recorded.keys())
    wrong = 0
    print(f"1..{len(names) + len(counters)}")
    for i, key in enumerate(names, 1):
        n, wanted = found.get(key, 0), recorded.get(key, 0)
        is_ok = abs(n - wanted) <= TOLERANCE * wanted
        wrong += not is_ok
        print(f"{'ok' if is_ok else 'not ok'} {i} - {' '.join(key)}: "
              f"{n:.1f} instructions a packet, {wanted:.1f} recorded")
    if wrong:
        print("# If it is meant to be so: make guard-record")
    return wrong + judge_counters(found, counters, len(names))


def why_not(build, is_recorded):
    if not shutil.which("valgrind"):
        return "there is no valgrind here"
    if "sanitized" in build:
        return "a sanitizer's code would be counted"
    if not is_recorded:
        return f"nothing was recorded for {build}"
    return None


def main():
    program, build = sys.argv[1:3]
    program = str(pathlib.Path(program).resolve())
    record = "--record" in sys.argv[3:]
    recorded = {} if record else read_record().get(build, {})
    reason = why_not(build, record or recorded)
    if reason:
        print(f"1..0 # SKIP {reason}")
        sys.exit(record)
    with tempfile.TemporaryDirectory() as directory:
        found, counters = run_workload(program, directory)
    if record:
        write_record(build, found)
    elif compare(found, counters, recorded):
        sys.exit(1)


if __name__ == "__main__":
    main()
