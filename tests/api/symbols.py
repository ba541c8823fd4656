#!/usr/bin/env python3
"""The library exports exactly the symbols that are in its map, in its header and
in the list of the Debian package.

usage: symbols.py NM LIBRARY MAP HEADER LIST
"""
import re
import subprocess
import sys

nm, library, map_file, header, debian = sys.argv[1:]
out = subprocess.run([nm, "-D", "--defined-only", library], check=True,
                     capture_output=True, text=True).stdout
exported = set()
for line in out.splitlines():
    kind, name = line.split()[1:3]
    if kind == "A":
        continue
    base, _, version = name.partition("@@")
    if version != "LIBUDPGATHER_1":
        sys.exit(f"no version, or another one: {name}")
    exported.add(base)
with open(map_file) as f:
    mapped = set(re.findall(r"^\t(ug_\w+);", f.read(), re.M))
with open(header) as f:
    text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
declared = set(re.findall(r"\b(ug_\w+)\(", text))
with open(debian) as f:
    listed = set(re.findall(r"^ (ug_\w+)@", f.read(), re.M))
for what, names in (("map", mapped), ("header", declared),
                    ("Debian package's list", listed)):
    if names != exported:
        sys.exit(f"differs from the {what}: {sorted(names ^ exported)}")
needed = subprocess.run(["readelf", "-d", library], check=True,
                        capture_output=True, text=True).stdout
for lib in re.findall(r"\(NEEDED\).*\[(.*)\]", needed):
    if not lib.startswith(("libc.so", "ld-linux", "libasan", "libtsan",
                           "libubsan", "libm.so", "libgcc_s")):
        sys.exit(f"needs more than libc: {lib}")
print(f"{len(exported)} symbols")
if not exported:
    sys.exit("no symbols")
