#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Many peers and many prefixes in a real daemon, as root.

usage: bench/peers.py [--quick] [--csv FILE] [--case NAME] BUILD

10,000 peers with one address each: the time of `wg setconf` and `wg show`, the
memory of a peer, the CPU time of an idle daemon; then each peer shakes hands
with the daemon once, with at most 64 unanswered at a time. 1,000,000 prefixes
on 1,000 peers, IPv4 and IPv6: time of load and show, memory, and the memory
that is left when the peers are removed. The daemon is in a network namespace
of its own.
"""
import argparse
import base64
import os
import random
import resource
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "tests", "netns"))
# pylint: disable=wrong-import-position
import lab as laboratory

COLUMNS = ("case", "peers", "prefixes", "load_s", "load_daemon_cpu_s", "show_s",
           "rss_before_kib", "rss_peak_kib", "rss_kib", "rss_bytes_per_item",
           "handshakes_per_s", "handshakes_per_cpu_s", "in_two_minutes",
           "idle_cpu_percent")
# Seconds in which the CPU time of an idle daemon is counted. A choice.
IDLE_S = 5
# Seconds after which a command of wg(8) or bench-initiator counts as stuck. A choice.
TIMEOUT = 600


class Figures:
    """Writes rows to a table on standard output and to a CSV file."""

    def __init__(self, path):
        self.file = open(path, "w", encoding="ascii") if path else None
        self.write(",".join(COLUMNS))

    def write(self, line):
        if self.file:
            self.file.write(line + "\n")
            self.file.flush()

    def row(self, **values):
        self.write(",".join(str(values.get(name, "")) for name in COLUMNS))
        print(values["case"])
        for name in COLUMNS[1:]:
            if name in values:
                print(f"    {name:22} {values[name]}")
        sys.stdout.flush()


def cpu_s(tunnel):
    """CPU time of the daemon in seconds."""
    with open(f"/proc/{tunnel.pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak(tunnel):
    """Peak resident memory since the daemon's start, in KiB."""
    with open(f"/proc/{tunnel.pid}/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


def timed(function):
    """The elapsed time of a call, in seconds."""
    begun = time.monotonic()
    function()
    return round(time.monotonic() - begun, 3)


def setconf(tunnel, text):
    tunnel.node.run("wg", "setconf", tunnel.name, "/dev/stdin", stdin=text,
                    timeout=TIMEOUT)


def show(tunnel):
    tunnel.node.run("sh", "-c", f"wg show {tunnel.name} dump >{os.devnull}",
                    timeout=TIMEOUT)


def settled_rss(tunnel):
    """Resident memory in KiB, once it has stopped falling."""
    least = tunnel.rss()
    for _ in range(10):
        time.sleep(0.2)
        least = min(least, tunnel.rss())
    return least


def interface(tunnel):
    return (f"[Interface]\nPrivateKey = {tunnel.private}\n"
            f"ListenPort = {tunnel.port}\n")


def initiator(build, *arguments, node=None):
    command = [f"{build}/bench/bench-initiator", *map(str, arguments)]
    start = node.run if node else laboratory.run
    return start(*command, timeout=TIMEOUT).stdout.split()


def load(tunnel, text, n_items):
    """Measure loading and showing a configuration."""
    values = {"rss_before_kib": settled_rss(tunnel)}
    used = cpu_s(tunnel)
    values["load_s"] = timed(lambda: setconf(tunnel, text))
    values["load_daemon_cpu_s"] = round(cpu_s(tunnel) - used, 2)
    values["rss_kib"] = settled_rss(tunnel)
    values["rss_peak_kib"] = peak(tunnel)
    values["rss_bytes_per_item"] = 1024 * (
        values["rss_kib"] - values["rss_before_kib"]) // n_items
    values["show_s"] = timed(lambda: show(tunnel))
    return values


def idle_percent(tunnel):
    used = cpu_s(tunnel)
    time.sleep(IDLE_S)
    return round(100 * (cpu_s(tunnel) - used) / IDLE_S, 2)


def shake_hands(tunnel, build, n, figures, name):
    key = base64.b64decode(tunnel.public).hex()
    before = settled_rss(tunnel)
    used = cpu_s(tunnel)
    answered, seconds = initiator(build, "greet", "127.0.0.1", tunnel.port,
                                  key, n, node=tunnel.node)[0].split(",")
    used = cpu_s(tunnel) - used
    rate = int(answered) / float(seconds)
    after = settled_rss(tunnel)
    figures.row(case=f"{name}: {answered} of {n} answered", peers=n,
                handshakes_per_s=round(rate),
                handshakes_per_cpu_s=round(int(answered) / used) if used else 0,
                in_two_minutes=round(rate * 120),
                rss_before_kib=before, rss_kib=after,
                rss_bytes_per_item=1024 * (after - before) // n,
                idle_cpu_percent=idle_percent(tunnel))


def begin(lab, name):
    """Start a daemon without peers, and set it up."""
    tunnel = lab.tunnel(lab.node(name), "wg0").start(LOG_LEVEL="error")
    setconf(tunnel, interface(tunnel))
    tunnel.up("10.0.0.1/8")
    return tunnel


def many_peers(lab, build, figures, n):
    tunnel = begin(lab, "peers")
    keys = initiator(build, "keys", n)
    text = interface(tunnel) + "".join(
        f"[Peer]\nPublicKey = {key}\n"
        f"AllowedIPs = 10.{i >> 16}.{i >> 8 & 255}.{i & 255}/32\n"
        for i, key in enumerate(keys))
    figures.row(case="peers", peers=n, prefixes=n, **load(tunnel, text, n),
                idle_cpu_percent=idle_percent(tunnel))
    tunnel.wait_for_port()
    shake_hands(tunnel, build, n, figures, "first handshake of each")
    shake_hands(tunnel, build, n, figures, "next handshake of each")
    gone(tunnel, figures, "peers gone")


def gone(tunnel, figures, case):
    seconds = timed(lambda: setconf(tunnel, interface(tunnel)))
    figures.row(case=case, peers=0, prefixes=0, load_s=seconds,
                rss_kib=settled_rss(tunnel))


def prefixes_of(family, n, rng):
    """Distinct random prefixes as text."""
    found = set()
    while len(found) < n:
        if family == 4:
            length = rng.randint(16, 32)
            bits = rng.getrandbits(length) << (32 - length)
            found.add(".".join(str(bits >> s & 255) for s in (24, 16, 8, 0)) +
                      f"/{length}")
        else:
            length = rng.randint(32, 128)
            text = f"{rng.getrandbits(length) << (128 - length):032x}"
            found.add(":".join(text[i:i + 4] for i in range(0, 32, 4)) +
                      f"/{length}")
    return list(found)


def many_prefixes(lab, build, figures, n, family):
    tunnel = begin(lab, f"prefixes{family}")
    n_peers = 1000
    found = prefixes_of(family, n, random.Random(1))
    share = n // n_peers
    text = interface(tunnel) + "".join(
        f"[Peer]\nPublicKey = {key}\nAllowedIPs = "
        f"{', '.join(found[i * share:(i + 1) * share])}\n"
        for i, key in enumerate(initiator(build, "keys", n_peers)))
    case = f"IPv{family} prefixes"
    figures.row(case=case, peers=n_peers, prefixes=n, **load(tunnel, text, n))
    figures.row(case=f"{case} again", peers=n_peers, prefixes=n,
                **load(tunnel, text, n))
    used = timed(lambda: tunnel.set(
        "peer", initiator(build, "keys", 1)[0], "allowed-ips",
        "192.0.2.1/32" if family == 4 else "2001:db8::1/128", timeout=TIMEOUT))
    figures.row(case=f"{case}: one `wg set`", load_s=used)
    gone(tunnel, figures, f"{case} gone")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--csv")
    parser.add_argument("--case", choices=("peers", "IPv4", "IPv6"))
    parser.add_argument("build")
    args = parser.parse_args()
    build = os.path.abspath(args.build)
    figures = Figures(args.csv)
    n_peers, n_prefixes = (1000, 100000) if args.quick else (10000, 1000000)
    laboratory.isolate()
    cases = {
        "peers": lambda lab: many_peers(lab, build, figures, n_peers),
        "IPv4": lambda lab: many_prefixes(lab, build, figures, n_prefixes, 4),
        "IPv6": lambda lab: many_prefixes(lab, build, figures, n_prefixes, 6),
    }
    for name, case in cases.items():
        if args.case in (None, name):
            lab = laboratory.Lab(f"{build}/wiregather")
            try:
                case(lab)
            finally:
                lab.close()


if __name__ == "__main__":
    main()
