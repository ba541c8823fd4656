#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""All sources compile with the kernel's headers of Linux 5.0, which lack the
numbers of newer system calls.

Sources that name a system call are compiled once more, with the commands of this
build and without the numbers of newer calls.

usage: old_headers.py SOURCE_DIRECTORY BUILD_DIRECTORY
"""
import json
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

SOURCE, BUILD = map(pathlib.Path, sys.argv[1:])

# The first number of Linux 5.1. From this number on, system calls have the same
# numbers on all architectures, plus an offset on MIPS and Alpha.
FIRST = 424

failures = []
n_compiled = 0


def newer_calls(compiler):
    """Names of the system calls that Linux 5.0 does not have."""
    done = subprocess.run([*compiler, "-E", "-dM", "-include",
                           "sys/syscall.h", "-xc", "/dev/null"],
                          stdout=subprocess.PIPE, text=True, check=True)
    number = re.compile(r"#define __NR_(\w+) (\d+)$")
    found = map(number.match, done.stdout.splitlines())
    return [m[1] for m in found if m and int(m[2]) >= FIRST]


def old_header(directory, compiler):
    names = newer_calls(compiler)
    if "io_uring_setup" not in names:
        sys.exit(f"these are no newer calls: {names}")
    path = pathlib.Path(directory, "old.h")
    path.write_text("#include <sys/syscall.h>\n" + "".join(
        f"#undef SYS_{name}\n#undef __NR_{name}\n" for name in names),
        encoding="ascii")
    return path


with tempfile.TemporaryDirectory() as temporary:
    header = None
    for entry in json.loads((BUILD / "compile_commands.json").read_text("utf-8")):
        source = pathlib.Path(entry["directory"], entry["file"]).resolve()
        if source.suffix != ".c" or \
                not re.search(r"\bSYS_\w", source.read_text("utf-8")):
            continue
        words = shlex.split(entry["command"])
        words = words[words[0].endswith("ccache"):]
        header = header or old_header(temporary, words[:1])
        # Leave out the options that write files: dependencies and the object.
        for option in "-o", "-MF", "-MQ":
            if option in words:
                at = words.index(option)
                del words[at:at + 2]
        words = [word for word in words if word not in ("-MD", "-c")]
        done = subprocess.run(
            [*words, "-fdiagnostics-color=never", "-fsyntax-only",
             "-include", header],
            cwd=entry["directory"], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False)
        n_compiled += 1
        if done.returncode:
            failures.append(f"{source.relative_to(SOURCE)}:\n{done.stdout}")

if n_compiled < 10:
    failures.append(f"only {n_compiled} files were compiled")
print("1..1")
for failure in failures:
    print("\n".join(f"# {line}" for line in failure.splitlines()))
print("not ok 1" if failures else "ok 1", f"- {n_compiled} files")
sys.exit(bool(failures))
