#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures upgrades of running tunnels, as root.

A pair of tunnels carries a load for some seconds, and then again while it is upgraded
UPGRADES times, at a steady pace and by turns at both ends. The loads are a TCP stream of
iperf3, ping -f, and UDP datagrams at a steady rate (bench-paced), over IPv4 and over IPv6,
inside and outside. Each load has a new pair, so that no session has to be renewed.

Then a tunnel with many peers that all have sessions (bench-initiator) is upgraded, under
the same datagrams to one more peer.

"waited" is the time in which no engine reads, as the successor's log tells it: from the
moment in which the predecessor has its threads rest to the one in which the successor has
its own go on. Handshakes are messages of handshakes that either end has received. TCP
timeouts and retransmitted segments are those of both hosts. What came twice is counted by
the receivers, and by both engines (inbound_dropped_replayed). Of a TCP stream, and of
pings that are under way at the end, the loss is not counted.

Prints a table, and which bars are met, for docs/performance.md. Needs iperf3.
"""
import argparse
import base64
import collections
import json
import math
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))

# pylint: disable=wrong-import-position,wrong-import-order
from machine import describe_commit, describe_kernel, describe_processor
from peers import initiator

import lab
from lab import INNER4, INNER6, Pair
from tap import Failure, check, interrupt, wait_until

# upgrading.py is made for tests, which get the path of the program from the environment.
os.environ.setdefault("CTL", "wiregatherctl")
import upgrading

UDP_RATE, UDP_LENGTH = 20000, 200
IPERF_PORT = 5201
# More seconds than the upgrades of a tunnel with many peers take.
MANY_SECONDS = 400
# The bars: ms in which no engine reads, at the 99th percentile.
WAIT_MS, WAIT_MANY_MS = 5, 50
COLUMNS = ("tunnel", "load", "upgrades", "rate", "lost", "came twice", "handshakes",
           "TCP timeouts", "retransmitted segments", "waited, ms: median, 99 %, most",
           "longest silence, ms")


def percentile(values, share):
    """The value that this share of the values does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


class Bench:
    """A laboratory, the programs, and how long and how often to measure."""

    def __init__(self, laboratory, build, seconds, upgrades):
        self.lab, self.build = laboratory, build
        self.seconds, self.upgrades = seconds, upgrades
        # The upgrades follow each other at once, and the load ends with the last one.
        self.ends_early = False

    def program(self, name):
        return str(self.build / name)

    def pair(self, family):
        pair = Pair(self.lab, outer=family)
        pair.both_ways(count=1)
        return pair

    def upgrade(self, tunnels):
        """Upgrade in turn, at a steady pace, so that all is done before the load ends."""
        begun = time.monotonic()
        pace = 0 if self.ends_early else (self.seconds - 2) / self.upgrades
        for n in range(self.upgrades):
            time.sleep(max(0, begun + n * pace - time.monotonic()))
            upgrading.upgrade(tunnels[n % len(tunnels)])


# --------------------------------------------------------------------- loads
# Each starts a load in the nodes of a pair, calls meanwhile(), and returns what it found,
# by column. address: of the far end, in the tunnel.


def load_tcp(bench, pair, address, meanwhile):
    far = pair.b.start("iperf3", "-s", "-1")
    wait_until(lambda: f":{IPERF_PORT}" in pair.b.run("ss", "-ltn").stdout,
               "iperf3 listens")
    path = f"{bench.lab.directory}/iperf3"
    near = pair.a.start("sh", "-c", f"exec iperf3 -c {address} -C cubic -J "
                        f"-t {bench.seconds} >{path}")
    meanwhile()
    check(near.poll() is None, "the upgrades took longer than the stream")
    near.wait(bench.seconds + 60)
    far.wait(20)
    text = pathlib.Path(path).read_text(encoding="utf-8")
    try:
        got = json.loads(text)["end"]["sum_received"]
    except (KeyError, ValueError):
        raise Failure(f"iperf3: {text[-500:]}") from None
    return {"rate": f"{got['bits_per_second'] / 1e9:.2f} Gbit/s"}


def load_pings(bench, pair, address, meanwhile):
    near = pair.a.start("ping", "-f", "-q", "-n", "-w", str(bench.seconds), address)
    meanwhile()
    check(near.poll() is None, "the upgrades took longer than the pings")
    near.wait(bench.seconds + 60)
    text = pathlib.Path(near.log.name).read_text(encoding="utf-8")
    sent, got = map(int, re.search(r"(\d+) packets transmitted, (\d+) received",
                                   text).groups())
    twice = re.search(r"\+(\d+) duplicates", text)
    # One may be under way when the time ends.
    return {"rate": f"{got / bench.seconds:,.0f}/s", "of": sent,
            "lost": max(0, sent - got - 1),
            "came twice": int(twice[1]) if twice else 0}


def load_datagrams(bench, pair, address, meanwhile):
    names = [f"/run/netns/{node.name}" for node in (pair.a, pair.b)]
    with subprocess.Popen(
            [bench.program("bench/bench-paced"), *names, address, str(UDP_RATE),
             str(UDP_LENGTH), str(bench.seconds * 1000)], stdout=subprocess.PIPE,
            text=True) as near:
        try:
            time.sleep(0.3)
            meanwhile()
            check(near.poll() is None, "the upgrades took longer than the datagrams")
            if bench.ends_early:
                near.terminate()
            text = near.communicate(timeout=bench.seconds + 60)[0]
        finally:
            if near.poll() is None:
                near.kill()
    found = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", text)}
    return {"rate": f"{1000 * found['sent'] / found['ms']:,.0f}/s", "of": found["sent"],
            "lost": found["lost"], "came twice": found["twice"],
            "longest silence, ms": found["gap_us"] / 1000}


LOADS = (("TCP", load_tcp), ("ping -f", load_pings),
         (f"UDP, {UDP_RATE:,}/s", load_datagrams))

# ------------------------------------------------------------------- figures


class Counters:
    """What both ends count."""

    def __init__(self, pair):
        self.pair = pair
        self.last = self.read()

    def read(self):
        found = collections.Counter()
        for node in self.pair.a, self.pair.b:
            found["TCP timeouts"] += node.tcp_counters()["TCPTimeouts"]
            lines = node.run("cat", "/proc/net/snmp").stdout.splitlines()
            names, values = [line.split() for line in lines if line.startswith("Tcp:")]
            found["retransmitted segments"] += int(values[names.index("RetransSegs")])
        for tunnel in self.pair.ta, self.pair.tb:
            values = upgrading.stats(tunnel)
            found["handshakes"] += int(values["handshakes_received"])
            found["came twice"] += int(values["inbound_dropped_replayed"])
        return found

    def grown(self):
        """What has been added since the last call."""
        now = self.read()
        grown = {name: now[name] - self.last[name] for name in now}
        self.last = now
        return grown


def find_waits(tunnels):
    """The times in which no engine read, of all upgrades so far, in ms."""
    return [int(us) / 1000 for tunnel in tunnels
            for us in re.findall(r"packets waited for (\d+) us", tunnel.log())]


def measure(bench, pair, address, load, upgraded):
    """One load, without upgrades or with them; upgraded: these tunnels. Return what it
    found, by column; "waits" is a list."""
    counters, known = Counters(pair), len(find_waits(upgraded))
    row = load(bench, pair, address, lambda: bench.upgrade(upgraded) if upgraded else None)
    grown = counters.grown()
    grown["came twice"] += row.get("came twice", 0)
    row.update(grown)
    row["upgrades"] = bench.upgrades if upgraded else 0
    row["waits"] = []
    if upgraded:
        check(len(find_waits(upgraded)) == known + bench.upgrades,
              "the logs do not tell of each upgrade")
        row["waits"] = [wait for tunnel in upgraded for wait in
                        find_waits([tunnel])[-(bench.upgrades // len(upgraded)):]]
    return row


def one_peer(bench, family):
    """Rows of one family."""
    rows = []
    for name, load in LOADS:
        pair = bench.pair(family)
        for upgraded in (), (pair.ta, pair.tb):
            row = measure(bench, pair, (INNER4 if family == 4 else INNER6)["b"], load,
                          upgraded)
            rows.append({"tunnel": f"one peer, IPv{family}", "load": name, **row})
        pair.close()
    return rows


def many_peers(bench, n):
    """Rows of a tunnel with n more peers that have sessions."""
    pair = bench.pair(4)
    keys = [base64.b64decode(key).hex() for key in initiator(bench.build, "keys", n)]
    for first in range(0, n, 500):
        answer = pair.ta.ask("set=1\n" + "".join(
            f"public_key={keys[i]}\nallowed_ip=172.{16 + (i >> 16)}.{i >> 8 & 255}."
            f"{i & 255}/32\n" for i in range(first, min(first + 500, n))) + "\n")
        check(answer == "errno=0\n\n", f"peers were refused: {answer}")
    met = initiator(bench.build, "meet", lab.OUTER4["a"], pair.ta.port,
                    base64.b64decode(pair.ta.public).hex(), n, node=pair.b)[0].split(",")[0]
    sessions = sum(line.split()[1] != "0" for line in
                   pair.ta.get("latest-handshakes").stdout.splitlines())
    check(int(met) == n and sessions == n + 1, f"{met} have met, {sessions} sessions")
    name, load = LOADS[-1]
    rows = []
    for upgraded in (), (pair.ta,):
        # Another session with b, which is not due to be renewed soon.
        pair.tb.flap()
        pair.b.reach(INNER4["a"])
        rows.append({"tunnel": f"{n:,} peers, IPv4", "load": name,
                     **measure(bench, pair, INNER4["b"], load, upgraded)})
        # How long they take is not known.
        bench.ends_early, bench.seconds = True, MANY_SECONDS
    pair.close()
    return rows


# --------------------------------------------------------------------- table


def text_of(row, name):
    """A cell."""
    if name.startswith("waited"):
        waits = row["waits"]
        return f"{statistics.median(waits):.2f}, {percentile(waits, 0.99):.2f}, " \
            f"{max(waits):.2f}" if waits else ""
    if name == "lost" and "of" in row:
        return f"{row['lost']:,} of {row['of']:,}"
    value = row.get(name, "")
    return f"{value:.1f}" if isinstance(value, float) else f"{value}"


def print_table(rows):
    """A line for each row."""
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for row in rows:
        print(f"| {' | '.join(text_of(row, name) for name in COLUMNS)} |")


def judge(rows):
    """Lines that say which bars are met."""
    for without, row in zip(rows[::2], rows[1::2]):
        bar = WAIT_MS if row["tunnel"].startswith("one") else WAIT_MANY_MS
        wait = percentile(row["waits"], 0.99)
        for is_met, what in (
                (not row["handshakes"], f"{row['handshakes']} handshakes"),
                (not row["TCP timeouts"], f"{row['TCP timeouts']} TCP timeouts"),
                (not row["came twice"], f"{row['came twice']} packets twice"),
                (row.get("lost", 0) <= without.get("lost", 0),
                 f"{row.get('lost', 0)} lost, {without.get('lost', 0)} without upgrades"),
                (wait <= bar, f"waited {wait:.2f} ms of at most {bar} ms (99 %)")):
            yield f"{row['tunnel']}, {row['load']}: {what}: " \
                f"{'met' if is_met else 'MISSED'}"


def main():
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=20, help="of one load")
    parser.add_argument("--upgrades", type=int, default=100)
    parser.add_argument("--peers", type=int, default=10000)
    parser.add_argument("--case", choices=("4", "6", "many"))
    parser.add_argument("build", type=pathlib.Path)
    args = parser.parse_args()
    reason = lab.why_not()
    if reason:
        sys.exit(f"upgrade.py: {reason}")
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, interrupt)
    build = args.build.resolve()
    upgrading.CTL = str(build / "wiregatherctl")
    laboratory = lab.Lab(str(build / "wiregather"))
    rows = []
    try:
        for family in 4, 6:
            if args.case in (None, str(family)):
                rows += one_peer(Bench(laboratory, build, args.seconds, args.upgrades),
                                 family)
        if args.case in (None, "many"):
            rows += many_peers(Bench(laboratory, build, args.seconds, args.upgrades),
                               args.peers)
    except Failure as failure:
        print("\n".join(laboratory.logs()), file=sys.stderr)
        sys.exit(f"upgrade.py: {failure}")
    finally:
        laboratory.close()
    print(f"{args.upgrades} upgrades in {args.seconds} s on {describe_processor()}, "
          f"{describe_kernel()}, commit {describe_commit()}:\n")
    print_table(rows)
    print()
    print("\n".join(judge(rows)))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
