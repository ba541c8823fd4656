#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""make-filter makes a filter for each architecture. It refuses conditions that no
filter can check, and names that it does not know.

usage: filter.py MAKE_FILTER CALLS SEMOP SOCKETCALL UNKNOWN
"""
import re
import subprocess
import sys

MAKE_FILTER, CALLS, SEMOP, SOCKETCALL, UNKNOWN = sys.argv[1:]

ARCHITECTURES = ("x86", "x86_64", "arm", "aarch64", "mips", "mipsel", "mips64",
                 "mipsel64", "ppc", "ppc64", "ppc64le", "riscv64", "s390x")
# Architectures with socketcall(2) and ipc(2). On these ipc(2) cannot be avoided.
WITH_SOCKETCALL = ("x86", "s390x", "mips", "ppc", "ppc64le")
WITH_IPC_ALONE = ("x86", "s390x")
# control, worker, helper, handshaker, rcu, log, keeper and starter.
THREADS = 8
# linux/audit.h: the architecture that a filter asks for first.
TOKENS = {"x86": 0x40000003, "x86_64": 0xc000003e, "ppc64le": 0xc0000015,
          "s390x": 0x80000016, "mips": 0x8}

failures = []


def make(table, architecture):
    return subprocess.run([MAKE_FILTER, table, architecture], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False)


def check(condition, text):
    if not condition:
        failures.append(text)


def check_made(architecture):
    done = make(CALLS, architecture)
    check(done.returncode == 0, f"{architecture}: {done.stderr}")
    filters = done.stdout.count("static const struct sock_filter")
    check(filters == THREADS, f"{architecture}: {filters} filters")
    # The filter loads the architecture (offset 4) and compares it. This shows that
    # the filter has the right byte order.
    first = re.search(r"\{ 0x20, 0, 0, 0x4 \},\n\t\{ 0x15, \d+, \d+, (\w+)",
                      done.stdout)
    check(first, f"{architecture}: begins with {done.stdout[:200]}")
    if first and architecture in TOKENS:
        check(int(first.group(1), 16) == TOKENS[architecture],
              f"{architecture}: asks for {first.group(1)}")


def check_refused(table, architecture, words):
    done = make(table, architecture)
    check(done.returncode == 1 and words in done.stderr,
          f"{architecture}, {table}: status {done.returncode}, "
          f"{done.stderr!r}, must say {words!r}")


for name in ARCHITECTURES:
    check_made(name)
for name in WITH_IPC_ALONE:
    check_refused(SEMOP, name, "whatever its arguments are")
for name in WITH_SOCKETCALL:
    check_refused(SOCKETCALL, name, "socketcall")
check_refused(UNKNOWN, "x86_64", "unknown: Invalid argument")
check_refused(CALLS, "pdp11", "Invalid argument")
check_refused("/dev/null", "x86_64", "Exec format error")
# On x86_64 semop(2) has its own number, so the filter can check it.
check(make(SEMOP, "x86_64").returncode == 0, "semop on x86_64 is refused")

print("1..1")
for failure in failures:
    print(f"# {failure.strip()}")
print("not ok 1" if failures else "ok 1", "- filters")
sys.exit(bool(failures))
