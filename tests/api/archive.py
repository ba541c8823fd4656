#!/usr/bin/env python3
"""All global symbols of the static library begin with ug_. Others could clash
with those of the program that it is linked into, or be taken for them.

usage: archive.py NM ARCHIVE MAP
"""
import re
import subprocess
import sys

nm, archive, map_file = sys.argv[1:]
out = subprocess.run([nm, "-g", "--defined-only", archive], check=True,
                     capture_output=True, text=True).stdout
names = {line.split()[2] for line in out.splitlines()
         if len(line.split()) == 3}
with open(map_file) as f:
    public = set(re.findall(r"^\t(ug_\w+);", f.read(), re.M))
if public - names:
    sys.exit(f"{archive} lacks {sorted(public - names)}")
# Two underscores are the compiler's own, for instance those of a sanitizer.
others = sorted(n for n in names if not n.startswith(("ug_", "__")))
if others:
    sys.exit(f"globals without ug_: {' '.join(others)}")
print(f"{len(names)} symbols, {len(public)} of them public")
