#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""libudpgather is built without the tunnel. No compiled file includes a header of
the libraries that only the tunnel needs. Meson has not looked for those
libraries. The library needs the C library and no other.

usage: alone.py BUILD_DIRECTORY LIBRARY
"""
import pathlib
import re
import subprocess
import sys

BUILD, LIBRARY = sys.argv[1:]

# linux/seccomp.h belongs to the kernel, not to libseccomp.
HEADERS = re.compile(r"/(sodium|blake2|urcu|intel-ipsec-mb)[^/]*\.h$"
                     r"|/(sodium|urcu|openssl)/|(?<!/linux)/seccomp\.h$")
NAMES = "sodium", "libb2", "urcu", "seccomp", "libcrypto", "ipsec"
# Names of the C library and its loader, in glibc and in musl.
C_LIBRARY = re.compile(r"\[(libc\.so|ld-linux|ld-musl|ld64)")

failures = []


def check(condition, text):
    if not condition:
        failures.append(text)


def output_of(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True,
                          check=True).stdout


included = {line.strip() for line in
            output_of("ninja", "-C", BUILD, "-t", "deps").splitlines()}
check(any(line.endswith("udpgather.h") for line in included),
      f"no dependencies are known: {sorted(included)[:10]}")
check(not any(map(HEADERS.search, included)),
      f"included: {sorted(filter(HEADERS.search, included))}")

log = pathlib.Path(BUILD, "meson-logs/meson-log.txt").read_text(encoding="utf-8")
asked = [line for line in log.splitlines()
         if re.search(r"(dependency|header|Library) .* found|knows", line) and
         "skipped: feature" not in line and
         any(name in line for name in NAMES)]
check(not asked, f"Meson has looked for: {asked}")

needed = [line for line in output_of("readelf", "-d", LIBRARY).splitlines()
          if "(NEEDED)" in line]
check(needed and all(map(C_LIBRARY.search, needed)), f"needed: {needed}")

print("1..1")
for failure in failures:
    print(f"# {failure}")
print("not ok 1" if failures else "ok 1", "- the library alone")
sys.exit(bool(failures))
