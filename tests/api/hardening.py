#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Programs are built with the protections that docs/security.md names.

usage: hardening.py READELF COMMANDS PROGRAM...

COMMANDS is Meson's compile_commands.json. Some protections can be seen in the
program. The others are looked for in the commands of all files of src/.
"""
import json
import os
import re
import subprocess
import sys

readelf, commands, *programs = sys.argv[1:]
problems = []


def read(program, *options):
    return subprocess.run([readelf, *options, program], check=True,
                          stdout=subprocess.PIPE, text=True).stdout


for program in programs:
    name = os.path.basename(program)
    headers, dynamic = read(program, "-lW"), read(program, "-d")
    symbols = read(program, "--dyn-syms", "-W")
    for what, is_so in (
            ("position-independent", "DYN " in read(program, "-h")),
            ("bound at the start", re.search(r"\bNOW\b", dynamic)),
            ("read-only relocations", "GNU_RELRO" in headers),
            ("no executable stack",
             re.search(r"GNU_STACK .* RW +0x", headers)),
            ("no relocations in code", "TEXTREL" not in dynamic),
            ("stack protectors", "__stack_chk_fail" in symbols),
            ("fortified calls", re.search(r"__\w+_chk@", symbols))):
        if not is_so:
            problems.append(f"{name}: not {what}")

wanted = ["-fstack-protector-strong", "-ftrivial-auto-var-init=zero",
          "-fstack-clash-protection"]
machine = os.uname().machine
wanted += {"x86_64": ["-fcf-protection"],
           "aarch64": ["-mbranch-protection=standard"]}.get(machine, [])
n_files = 0
with open(commands, encoding="utf-8") as file:
    for entry in json.load(file):
        if "/src/" not in entry["file"] or "make_filter" in entry["file"]:
            continue
        n_files += 1
        words = entry["command"].split()
        problems += [f"{entry['file']}: without {option}"
                     for option in wanted if option not in words]
        if not re.search(r"-D_FORTIFY_SOURCE=[23]", entry["command"]):
            problems.append(f"{entry['file']}: not fortified")
if n_files < 50:
    problems.append(f"only {n_files} files of src/ in {commands}")
for problem in problems[:20]:
    print(problem, file=sys.stderr)
sys.exit(1 if problems else 0)
