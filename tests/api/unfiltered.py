#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Meson chooses the architecture of the filter by cpu_family and byte order.
For an architecture that libseccomp does not know, Meson builds without a filter
and warns.

This test sets the project up for other architectures, with this machine's
compiler. It does not build.

usage: unfiltered.py SOURCE_DIRECTORY CC
"""
import pathlib
import subprocess
import sys
import tempfile

SOURCE, CC = sys.argv[1:]

CROSS_FILE = """\
[binaries]
c = '{cc}'
ar = 'ar'
strip = 'strip'
pkgconfig = 'pkg-config'
[host_machine]
system = 'linux'
cpu_family = '{family}'
cpu = '{family}'
endian = '{endian}'
"""
WARNING = "built without a filter of system calls: libseccomp does not know {}"

failures = []


def check(condition, text):
    if not condition:
        failures.append(text)


def set_up(directory, family, endian, *options):
    """Return status and output of Meson, and what would be built."""
    directory = pathlib.Path(directory)
    cross = directory / "cross.ini"
    build = directory / "build"
    cross.write_text(CROSS_FILE.format(cc=CC, family=family, endian=endian),
                     encoding="ascii")
    done = subprocess.run(
        ["meson", "setup", build, SOURCE, "--cross-file", cross,
         "-Dtunnel=enabled", "-Dtests=false", "-Dbench=false", *options],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False)
    plan = build / "build.ninja"
    return (done.returncode, done.stdout,
            plan.read_text(encoding="utf-8") if plan.exists() else "")


def check_known():
    """Little-endian ppc64 has another name in libseccomp: ppc64le."""
    with tempfile.TemporaryDirectory() as directory:
        status, output, plan = set_up(directory, "ppc64", "little")
    check(status == 0, f"ppc64, little: {output[-2000:]}")
    check("ISOLATE_HAS_FILTER" in plan, "ppc64, little: has no filter")
    check("filter_calls.o ppc64le" in plan, "ppc64, little: is not ppc64le")


def check_unknown():
    """libseccomp does not know SPARC."""
    with tempfile.TemporaryDirectory() as directory:
        status, output, plan = set_up(directory, "sparc64", "big")
    check(status == 0, f"sparc64: {output[-2000:]}")
    check(WARNING.format("sparc64") in output, f"sparc64: {output[-2000:]}")
    check("ISOLATE_HAS_FILTER" not in plan, "sparc64: has a filter")


def check_demanded():
    """If a filter is demanded and cannot be built, the set-up fails."""
    with tempfile.TemporaryDirectory() as directory:
        status, output, _ = set_up(directory, "sparc64", "big",
                                   "-Dseccomp=enabled")
    check(status != 0 and "libseccomp does not know sparc64" in output,
          f"sparc64, enabled: status {status}, {output[-2000:]}")


check_known()
check_unknown()
check_demanded()
print("1..1")
for failure in failures:
    print("\n".join(f"# {line}" for line in failure.strip().splitlines()))
print("not ok 1" if failures else "ok 1", "- architectures of filters")
sys.exit(bool(failures))
