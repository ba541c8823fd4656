#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures how long a daemon takes from its start to the answer of get=1.

Each start is in the foreground, in a namespace of its own, with the files in the page
cache. The time begins before fork(2), and ends when the whole answer has come; the socket
is tried every 0.2 ms. As root. Prints a table for docs/performance.md.
"""
import argparse
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import time

# bench/ has a traffic.py, too, so it comes last.
sys.path[:1] = [str(pathlib.Path(__file__).parents[1] / "tests/netns")]
sys.path.append(str(pathlib.Path(__file__).parent))

# pylint: disable=wrong-import-position
import lab as laboratory
from machine import describe_kernel, describe_processor

KINDS = (), ("--aead=libsodium",), ("--no-isolation",)
ANSWER = b"errno=0\n\n"
PAUSE_S, PATIENCE_S = 0.0002, 10


def ask(path):
    """Send get=1. Return: has the whole answer come?"""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(path)
            sock.sendall(b"get=1\n\n")
            data = b""
            while part := sock.recv(4096):
                data += part
                if data.endswith(ANSWER):
                    return True
        except OSError:
            pass
    return False


def start_once(node, program, options):
    """Return the time of a start in ms."""
    path = f"{laboratory.SOCKETS}/wgstart.sock"
    with node.inside():
        begin = time.monotonic()
        process = subprocess.Popen([program, "-f", *options, "wgstart"],
                                   stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            while not ask(path):
                if time.monotonic() - begin > PATIENCE_S:
                    raise laboratory.Failure("no answer")
                time.sleep(PAUSE_S)
            return (time.monotonic() - begin) * 1000
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("program", nargs="?", default="build/wiregather")
    args = parser.parse_args()
    program = os.path.abspath(args.program)
    laboratory.isolate()
    lab = laboratory.Lab(program)
    try:
        node = lab.node("a")
        for options in KINDS:
            start_once(node, program, options)
        # The kinds take turns.
        times = {options: [] for options in KINDS}
        for _ in range(args.rounds):
            for options in KINDS:
                times[options].append(start_once(node, program, options))
    finally:
        lab.close()
    print(f"{describe_processor()}; {describe_kernel()}; {args.rounds} starts each, load "
          f"{os.getloadavg()[0]:.1f}\n")
    print("| options | median, ms | least | most |\n|---|---|---|---|")
    for options, found in times.items():
        print(f"| {' '.join(options) or 'none'} | {statistics.median(found):.1f} | "
              f"{min(found):.1f} | {max(found):.1f} |")


if __name__ == "__main__":
    main()
