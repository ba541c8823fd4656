#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The bindings for Rust build without network, their tests pass, and their structs have
the sizes and offsets of those in udpgather.h, with no field missing.

usage: rust.py SOURCE BUILD CC    BUILD has libudpgather.so

Skips (status 77) without cargo(1).
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SOURCE, BUILD, CC = sys.argv[1:]
HEADER = pathlib.Path(SOURCE) / "include/udpgather.h"


def fields_of(struct, text):
    """The names of a struct's fields, as the header declares them."""
    body = re.search(rf"^struct {struct} {{\n(.*?)^}}", text, re.S | re.M)[1]
    body = re.sub(r"union {.*?}", "", body, flags=re.S)
    body = re.sub(r"\(\*(\w+)\)\(.*?\)", r"\1", body, flags=re.S)
    return re.findall(r"(\w+)(?:\[[^]]*\])?;", body)


def main():
    if not shutil.which("cargo"):
        print("no cargo here")
        return 77
    with tempfile.TemporaryDirectory() as work:
        crate = pathlib.Path(work) / "crate"
        shutil.copytree(pathlib.Path(SOURCE) / "bindings/rust", crate)
        run = subprocess.run(
            ["cargo", "test", "--offline", "--quiet", "--", "--nocapture",
             "--test-threads=1"], cwd=crate, text=True, capture_output=True,
            env={**os.environ, "UDPGATHER_LIB_DIR": BUILD,
                 "LD_LIBRARY_PATH": BUILD, "RUSTFLAGS": "-D warnings"},
            check=False)
        if run.returncode:
            print(run.stdout, run.stderr)
            return 1
        text = HEADER.read_text()
        checks, named = [], {}
        for kind, struct, *rest in re.findall(
                r"^(?:\w+ \.\.\. )?(size|field) (\w+) (\w+)(?: (\d+))?$",
                run.stdout, re.M):
            if kind == "size":
                checks.append(f"sizeof(struct {struct}) == {rest[0]}")
            else:
                named.setdefault(struct, []).append(rest[0])
                checks.append(f"offsetof(struct {struct}, {rest[0]}) == {rest[1]}")
        for struct, fields in named.items():
            if fields != fields_of(struct, text):
                print(f"struct {struct}: the bindings have {fields}, the header "
                      f"has {fields_of(struct, text)}")
                return 1
        source = pathlib.Path(work) / "layout.c"
        source.write_text("#include <stddef.h>\n#include <udpgather.h>\n" + "".join(
            f'_Static_assert({check}, "{check}");\n' for check in checks))
        subprocess.run([CC, "-fsyntax-only", f"-I{HEADER.parent}", str(source)],
                       check=True)
    print(f"{len(checks)} sizes and offsets, {len(named)} structs")
    return 0 if len(named) >= 7 and len(checks) > 40 else 1


if __name__ == "__main__":
    sys.exit(main())
