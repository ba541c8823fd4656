#!/usr/bin/env python3
"""All global symbols of the static library begin with ug_. Other symbols could
clash with symbols of the program that the library is linked into.

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
# Names with two underscores are the compiler's, for instance a sanitizer's.
others = sorted(n for n in names if not n.startswith(("ug_", "__")))
if others:
    sys.exit(f"globals without ug_: {' '.join(others)}")
print(f"{len(names)} symbols, {len(public)} of them public")
