#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""No branch and no address depends on a secret, but for declared verdicts.

usage: secrets.py PROGRAM [sanitized]

PROGRAM (secrets.c) tells memcheck that secrets are undefined memory. memcheck
reports each branch and each index that depends on a secret. VERDICTS below has
the number of reports that each step may have. The program is run a second time
with a branch that must be reported.
"""
import os
import re
import shutil
import subprocess
import sys

# Number of reports that a step may have. Other steps may have none.
VERDICTS = {
    # Whether the shared secret is all zero: the peer's key was of small order.
    "x25519_shared": 2,
    # Whether the tag is right.
    "open": 1,
    # Each of the key's 64 digits is read three times to find the end of the
    # line. Two more branches: is the line good, and were all of them digits?
    # valgrind's own memchr(3) and strlen(3) go byte by byte on all machines.
    "uapi private_key": 3 * 64 + 2,
}


def run(program, *arguments):
    """({step: reports}, all that memcheck has said)."""
    done = subprocess.run(
        ["valgrind", "--error-limit=no", "--track-origins=no", "--leak-check=no",
         program, *arguments], capture_output=True, text=True, check=False,
        timeout=100)
    if done.returncode:
        sys.exit(f"status {done.returncode}: {done.stdout}{done.stderr[-3000:]}")
    steps = re.findall(r"^(\d+) (.+)$", done.stdout, re.M)
    return {name: int(n) for n, name in steps}, done.stderr


def limit_of(name):
    return VERDICTS.get(name, VERDICTS.get(name.split()[0], 0))


def main():
    program = os.path.abspath(sys.argv[1])
    reason = None
    if not shutil.which("valgrind"):
        reason = "there is no valgrind here"
    elif "sanitized" in sys.argv[2:]:
        reason = "sanitizers and valgrind do not go together"
    if reason:
        print(f"1..0 # SKIP {reason}")
        return 0
    steps, said = run(program)
    print(f"1..{len(steps) + 1}")
    wrong = 0
    for number, (name, n) in enumerate(steps.items(), 1):
        is_ok = n <= limit_of(name)
        wrong += not is_ok
        if not is_ok:
            print(f"# {n} branches or addresses depend on a secret, "
                  f"{limit_of(name)} may")
        print(f"{'ok' if is_ok else 'not ok'} {number} - {name}: {n}")
    if wrong:
        for line in said.splitlines()[-60:]:
            print(f"# {line}")
    found = run(program, "plant")[0].get("planted", 0)
    print(f"{'ok' if found else 'not ok'} {len(steps) + 1} - "
          f"a planted branch is found: {found}")
    return 1 if wrong or not found else 0


sys.exit(main())
