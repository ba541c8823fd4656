#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What reading the statistics of many peers costs, as root.

usage: bench/stats.py [--quick] [--csv FILE] BUILD

A daemon with 10,000 peers answers get=stats: the time from the request to the end of the
answer, alone and beside one TCP stream through one of its sessions, and the CPU time of
the daemon. The stream's rate is counted in slices of 100 ms. Each second slice begins
with a request: "step" is the median rate of these, in percent of the median of the
others. "worst" compares the slowest tenth of both kinds in the same way. The reader and
both ends of the stream share the processors with the daemons.
"""
import argparse
import os
import socket
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "tests", "netns"))
# pylint: disable=wrong-import-position
import lab as laboratory
from peers import cpu_s

COLUMNS = ("case", "peers", "bytes", "median_ms", "most_ms", "cpu_ms", "stream_mbit_s",
           "step_percent", "worst_percent")
# Seconds of a slice. A choice.
SLICE_S = 0.1


def request(tunnel):
    """Ask once. Return (seconds, bytes)."""
    begun = time.monotonic()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(tunnel.socket.replace(".sock", ".stats"))
        sock.sendall(b"get=stats\n\n")
        n_bytes, end = 0, b""
        while not end.endswith(b"\n\n"):
            data = sock.recv(1 << 18)
            if not data:
                raise SystemExit("bench/stats.py: the connection has ended")
            n_bytes += len(data)
            end = (end + data)[-2:]
    return time.monotonic() - begun, n_bytes


def add_peers(tunnel, n):
    for first in range(0, n, 500):
        answer = tunnel.ask("set=1\n" + "".join(
            f"public_key={os.urandom(32).hex()}\n"
            f"allowed_ip=172.{16 + (i >> 16)}.{i >> 8 & 255}.{i & 255}/32\n"
            f"endpoint=192.0.2.2:{1 + i % 50000}\n"
            for i in range(first, min(first + 500, n))) + "\n")
        if answer != "errno=0\n\n":
            raise SystemExit(f"bench/stats.py: peers were refused: {answer}")


def alone(tunnel, n_requests):
    used = cpu_s(tunnel)
    done = [request(tunnel) for _ in range(n_requests)]
    return {**figures_of(done),
            "cpu_ms": round(1000 * (cpu_s(tunnel) - used) / n_requests, 1)}


def figures_of(done):
    times = [1000 * seconds for seconds, _ in done]
    return {"bytes": done[0][1], "median_ms": round(statistics.median(times), 1),
            "most_ms": round(max(times), 1)}


def slowest_tenth(rates):
    return statistics.mean(sorted(rates)[:max(1, len(rates) // 10)])


def beside(pair, n_rounds):
    """Requests beside a stream from a to b."""
    stream = laboratory.Steady(pair, laboratory.INNER4["b"])
    time.sleep(1)
    quiet, asked, done = [], [], []
    for number in range(2 * n_rounds):
        is_asked = number % 2
        before, begun = stream.arrived, time.monotonic()
        if is_asked:
            done.append(request(pair.ta))
        time.sleep(max(0, begun + SLICE_S - time.monotonic()))
        rate = (stream.arrived - before) * 8 / 1e6 / (time.monotonic() - begun)
        (asked if is_asked else quiet).append(rate)
    stream.stop()
    return {**figures_of(done), "stream_mbit_s": round(statistics.median(quiet)),
            "step_percent": round(
                100 * statistics.median(asked) / statistics.median(quiet), 1),
            "worst_percent": round(
                100 * slowest_tenth(asked) / slowest_tenth(quiet), 1)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--csv")
    parser.add_argument("build")
    args = parser.parse_args()
    n_peers, n_rounds = (1000, 20) if args.quick else (10000, 150)
    laboratory.isolate()
    lab = laboratory.Lab(f"{os.path.abspath(args.build)}/wiregather")
    rows = []
    try:
        pair = laboratory.Pair(lab, how={"LOG_LEVEL": "error"})
        pair.both_ways(count=1)
        rows.append({"case": "one peer, alone", "peers": 1, **alone(pair.ta, 100)})
        add_peers(pair.ta, n_peers)
        rows.append({"case": "many peers, alone", "peers": n_peers + 1,
                     **alone(pair.ta, 100)})
        rows.append({"case": "many peers, beside a stream", "peers": n_peers + 1,
                     **beside(pair, n_rounds)})
    finally:
        lab.close()
    lines = [",".join(COLUMNS)] + [
        ",".join(str(row.get(name, "")) for name in COLUMNS) for row in rows]
    print("\n".join(lines))
    if args.csv:
        with open(args.csv, "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
