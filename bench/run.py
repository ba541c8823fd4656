#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs all benchmarks, one after the other, and prints their figures. Each
writes CSV into one directory; report.py makes tables and plots of the files. A
benchmark that is not built here is left out, and a line says so.
"""
import argparse
import contextlib
import datetime
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time

from machine import describe_commit, describe_kernel, describe_processor, \
    first_match, output_of
from programs import has_option

# In a command: its standard output becomes the CSV file.
STDOUT = object()
HERE = pathlib.Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "performance.md"


def parts(args):
    """Yield the name of each part and its command. The command's first word
    must exist; False stands for a part that is not built."""
    build, out = args.build, args.out
    programs = build / "bench"
    quick = ["--quick"] if args.quick else []
    daemon = build / "wiregather"
    is_there = daemon.exists()
    yield "tunnel", is_there and [
        HERE / "tunnel.py", "--rounds", args.rounds, "--seconds",
        args.seconds, "--out", out, "--no-tables",
        *(["--peers", args.peers] if args.peers else []),
        *(["--tests", args.tests] if args.tests else []), daemon]
    yield "udp", [HERE / "udp.py", *quick, programs / "bench-udp", out]
    yield "relay", [HERE / "relay.py", *quick, build, out]
    yield "quic", [HERE / "quic.py", *quick, build, out]
    yield "crypto", (is_there and has_option(daemon, "--bench-crypto") and
                     [daemon, "--bench-crypto=csv", STDOUT])
    yield "lane", [programs / "bench-lane", "--csv", out / "lane.csv",
                   *(["--seconds", "0.1", "--rounds", "1"] if quick else [])]
    for name in "allowedips", "handshakes":
        yield name, [programs / f"bench-{name}", *quick,
                     "--csv", out / f"{name}.csv"]
    yield "peers", is_there and [HERE / "peers.py", *quick, "--csv",
                                 out / "peers.csv", build]
    yield "death", is_there and [HERE / "death.py", *quick, "--csv",
                                 out / "death.csv", build]
    yield "stats", is_there and [HERE / "stats.py", *quick, "--csv",
                                 out / "stats.csv", build]


def describe_machine(args):
    """A description of the machine, as Markdown."""
    system = first_match("/etc/os-release", r'PRETTY_NAME="(.*)"')
    compiler = output_of("cc", "--version").splitlines()[:1]
    lines = (
        ("Processor", describe_processor()),
        ("System", f"{system}, {describe_kernel()}"),
        ("Compiler", "".join(compiler)),
        ("Commit", describe_commit()),
        ("Date", datetime.date.today().isoformat()),
        ("Load before it began", f"{os.getloadavg()[0]:.2f}"),
        ("Command", f"`{args.command}`"),
    )
    return "".join(f"- {name}: {text}\n" for name, text in lines)


def run_part(name, command, out):
    """Return: False if it failed."""
    if not command or not pathlib.Path(command[0]).exists():
        print(f"\n== {name}: left out, it is not built here", flush=True)
        return True
    print(f"\n== {name}", flush=True)
    start = time.monotonic()
    words = [str(word) for word in command if word is not STDOUT]
    with contextlib.ExitStack() as stack:
        file = None
        if STDOUT in command:
            file = stack.enter_context(open(out / f"{name}.csv", "wb"))
        status = subprocess.run(words, stdout=file, check=False).returncode
    print(f"== {name}: {time.monotonic() - start:.0f} s", flush=True)
    if status:
        print(f"== {name}: FAILED with status {status}")
    return status == 0


def options():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true",
                        help="two rounds of one second each, to see that all runs")
    parser.add_argument("--rounds", type=int, help="rounds of the tunnel (5)")
    parser.add_argument("--seconds", type=float,
                        help="seconds of each measurement of the tunnel (4)")
    parser.add_argument("--tests", help="tests of the tunnel: see tunnel.py")
    parser.add_argument("--parts", help="some of: tunnel,udp,relay,quic,"
                        "crypto,lane,allowedips,handshakes,peers,"
                        "death,stats")
    parser.add_argument("--peers", default=os.environ.get("PEERS"),
                        metavar="DIR", help="directory of the other programs")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR")
    parser.add_argument("--docs", action="store_true",
                        help="put the results into "
                        "docs/performance.md")
    parser.add_argument("build", metavar="BUILD", type=pathlib.Path)
    args = parser.parse_args()
    args.rounds = args.rounds or (2 if args.quick else 5)
    args.seconds = args.seconds or (1 if args.quick else 4)
    args.out = args.out or args.build / "bench"
    words = sys.argv[1:]
    args.command = "make bench"
    if words[:-1]:
        # The path of the peers' directory is private to this machine.
        text = re.sub(r"--peers[ =]\S+", "--peers DIR",
                      shlex.join(words[:-1]))
        args.command += f" BENCH_FLAGS='{text}'"
    if os.environ.get("PEERS"):
        args.command = f"PEERS=DIR {args.command}"
    return args


def main():
    args = options()
    args.out.mkdir(parents=True, exist_ok=True)
    machine = describe_machine(args)
    (args.out / "machine.md").write_text(machine, encoding="utf-8")
    print(machine, end="")
    start = time.monotonic()
    wanted = args.parts and args.parts.split(",")
    failed = [name for name, command in parts(args)
              if (not wanted or name in wanted) and
              not run_part(name, command, args.out)]
    report = [HERE / "report.py", args.out]
    subprocess.run(list(map(str, report)), check=True)
    if args.docs:
        report += ["--docs", DOCUMENT]
        subprocess.run(list(map(str, report)), check=True)
    print(f"\n{(time.monotonic() - start) / 60:.0f} minutes; CSV and SVG "
          f"files are in {args.out}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
