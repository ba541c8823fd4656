#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures the gain and the cost of the watch over trains: see "make silent".

usage: silent_long.py DAEMON [WORD OF A NAME]
       silent_long.py table

The first form measures. Each case writes its line to the file that RESULTS names,
in place of its older line, so the cases may run one by one. The second form
prints the tables of all lines. Both forms fail if a figure misses its bar.

*Obstacles*: a router between two hosts, or a rule of the sender, loses trains
and lets single datagrams pass, for OBSTACLE_SECONDS. The rate of one TCP stream
is compared with that of a tunnel with --no-gso.

*Chance*: a path that loses, delays or reorders single datagrams (cable.c). Runs of
the program alternate with runs of UNWATCHED, the same program without the watch.

*BBR*: the time until the watch stops trains, and the time until BBR has reached
its rate again. For comparison, the second time is also measured without a tunnel,
after a wire that let as few packets pass. There is no bar, because BBR alone
decides how fast it raises its rate.
"""
import contextlib
import fcntl
import json
import os
import re
import statistics
import struct
import sys
import threading
import time

import lab
from lab import (INNER4, INNER6, OUTER4, OUTER6, Pair, Steady, case, check)

STOPPED = "are lost on the way: sending without segmentation"
BACK = "arrive again"
SECONDS = float(os.environ.get("OBSTACLE_SECONDS", "120"))
PAIRS = int(os.environ.get("PAIRS", "10"))
# Streams of a run of "chance". A choice.
STREAMS = 4
CONGESTION = os.environ.get("CONGESTION", "cubic")
LONG = "udp dport 51002 meta length > 1500"
# For each obstacle: node, hook and rule.
OBSTACLES = {
    "router drops": ("r", "forward", f"{LONG} drop"),
    "router rejects": ("r", "forward",
                       f"{LONG} reject with icmpx type admin-prohibited"),
    "sender refuses": ("a", "output", f"{LONG} drop"),
}
# Arguments of cable.c.
CHANCES = {
    "loss of 1 %": "delay=2000 loss=1",
    "loss of 5 %": "delay=2000 loss=5",
    "short queue": "delay=1000 rate=100 queue=20",
    "reordering": "delay=2000 rate=200 queue=200 reorder=5 extra=2000",
}
# The rule at the router, how long it is there, and whether there is a tunnel.
BBR = {
    "trains are lost": (f"{LONG} drop", None, True),
    "all is lost for 1.3 s": ("udp dport 51002 drop", 1.3, True),
    "no tunnel, five packets a second pass for 1.3 s": (
        "tcp dport 7003 limit rate over 5/second burst 1 packets drop", 1.3,
        False),
    "no tunnel, five packets a second pass for 2.5 s": (
        "tcp dport 7003 limit rate over 5/second burst 1 packets drop", 2.5,
        False),
}
BBR_WAIT = 5  # seconds to wait for BBR's rate. A choice.
ROUTER4 = "192.0.2.254", "198.51.100.254"
ROUTER6 = "2001:db8::fe", "2001:db8:1::fe"
FAR4, FAR6 = "198.51.100.2", "2001:db8:1::2"
# Quantiles of Student's distribution for 95 %, by the number of pairs of runs.
STUDENT = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447,
           8: 2.365, 9: 2.306, 10: 2.262}

# linux/if_tun.h
TUNSETIFF = 0x400454ca
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000


# ------------------------------------------------------------------- results


def load(file):
    file.seek(0)
    text = file.read()
    return json.loads(text) if text else {}


def keep(part, name, figures):
    """Add a line to the results, and fail if it misses a bar."""
    with open(os.environ["RESULTS"], "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        results = load(file)
        results.setdefault(part, {})[name] = figures
        file.truncate(0)
        json.dump(results, file, indent=1)
    print(f"# {figures}")
    missed = misses(part, figures)
    check(not missed, f"{name}: {', '.join(missed)}")


def misses(part, f):
    """Return the bars that a line misses."""
    if part == "obstacles":
        wanted = f["without"] / 2
        bars = {
            "half of the rate within 5 s": f["took"] <= 5,
            "half of the rate from then on": f["median"] >= wanted,
            "no ten seconds below it": f["worst"] >= wanted,
            "trains are back within 60 s": f["back"] <= 60,
        }
    elif part == "chance":
        low, high = f["interval"]
        bars = {
            "off for less than 1 %": f["off"] < 0.01,
            "not slower": high >= 1,
            "known to within a tenth": high - low <= 0.2,
        }
    else:
        bars = {}
    return [what for what, is_met in bars.items() if not is_met]


def table(heads, rows):
    print("| " + " | ".join(heads) + " |")
    print("|" + "---|" * len(heads))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def print_tables():
    with open(os.environ["RESULTS"], encoding="utf-8") as file:
        results = load(file)
    missed = []
    for part, lines in results.items():
        for name, f in lines.items():
            missed += [f"{name}: {what}" for what in misses(part, f)]
    table(["obstacle", "`--no-gso`", "before", "half of `--no-gso` after",
           "median of two minutes", "worst ten seconds", "trains back after"],
          [[name, f"{f['without']:.0f}", f"{f['before']:.0f}",
            f"{f['took']:.1f} s", f"{f['median']:.0f}", f"{f['worst']:.0f}",
            f"{f['back']:.1f} s"]
           for name, f in results.get("obstacles", {}).items()])
    table(["path", "with the watch", "without", "ratio, 95 % interval",
           "trains off", "stops"],
          [[name, f"{statistics.median(f['on']):.1f}",
            f"{statistics.median(f['without']):.1f}",
            f"{f['ratio']:.3f} ({f['interval'][0]:.3f} to "
            f"{f['interval'][1]:.3f})", f"{100 * f['off']:.2f} %",
            str(f["stops"])]
           for name, f in results.get("chance", {}).items()])
    table(["BBR", "runs", "trains stopped after",
           "a quarter of the rate after", f"not within {BBR_WAIT} s"],
          [[name, str(len(f["took"])), spread(f["stopped"]), spread(f["took"]),
            str(f["took"].count(None))]
           for name, f in results.get("BBR", {}).items()])
    for line in missed:
        print(f"MISSED: {line}")
    return not missed and bool(results)


def spread(values):
    values = [v for v in values if v is not None]
    if not values:
        return ""
    return (f"{statistics.median(values):.2f} s ({min(values):.2f} to "
            f"{max(values):.2f})")


# ----------------------------------------------------------------- the hosts


class Routed(Pair):
    """Two hosts with a router between them."""

    def join(self, mtu):
        self.r = self.lab.node("r")
        self.lab.link(self.a, self.r, "eth", "ea", mtu)
        self.lab.link(self.b, self.r, "eth", "eb", mtu)
        self.r.sysctl("net.ipv4.ip_forward", 1)
        self.r.sysctl("net.ipv6.conf.all.forwarding", 1)
        self.r.ip(f"addr add {ROUTER4[0]}/24 dev ea",
                  f"addr add {ROUTER6[0]}/64 dev ea nodad",
                  f"addr add {ROUTER4[1]}/24 dev eb",
                  f"addr add {ROUTER6[1]}/64 dev eb nodad")
        for node, addr4, addr6, i in ((self.a, OUTER4["a"], OUTER6["a"], 0),
                                      (self.b, FAR4, FAR6, 1)):
            node.ip(f"addr add {addr4}/24 dev eth",
                    f"addr add {addr6}/64 dev eth nodad")
            node.settle("eth")
            node.ip(f"route add default via {ROUTER4[i]}",
                    f"route add default via {ROUTER6[i]}")
        is_6 = self.outer is OUTER6
        self.outer = {"a": OUTER6["a"] if is_6 else OUTER4["a"],
                      "b": FAR6 if is_6 else FAR4}

    def close(self):
        super().close()
        self.r.close()
        self.lab.nodes.remove(self.r)

    def put_rule(self, name, hook, rule):
        node = getattr(self, name)
        node.nft(f"""table inet obstacle {{ chain c {{
                     type filter hook {hook} priority 0; {rule}
                 }}\n}}""")
        return node

    def trains(self):
        """How many trains the router has seen since count_trains()."""
        text = self.r.run("nft", "list", "table", "inet", "count").stdout
        return int(re.search(r"counter packets (\d+)", text).group(1))

    def count_trains(self):
        self.r.nft(f"""table inet count {{ chain c {{
                       type filter hook forward priority 10; {LONG} counter
                   }}\n}}""")


class Cabled(Pair):
    """Two hosts on a cable. The words are arguments of cable.c."""

    def __init__(self, l, words, names, daemon):
        self.words, self.names = words, names
        usual, l.daemon = l.daemon, daemon
        try:
            super().__init__(l)
        finally:
            l.daemon = usual

    def join(self, mtu):
        ends = []
        for node in self.a, self.b:
            with node.inside():
                end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(end, TUNSETIFF,
                        struct.pack("16sH22x", b"eth", IFF_TAP | IFF_NO_PI))
            node.ip("link set eth up")
            ends.append(end)
        self.a.start(os.environ["CABLE"], *map(str, ends), *self.words.split(),
                     pass_fds=ends)
        for end in ends:
            os.close(end)
        self.give_addresses()


def rate_of(streams, seconds):
    """Return the rate of several streams together, in Mbit/s."""
    before, start = sum(s.arrived for s in streams), time.monotonic()
    time.sleep(seconds)
    return (sum(s.arrived for s in streams) - before) * 8 / 1e6 / \
        (time.monotonic() - start)


def time_until(stream, wanted, limit, step=0.1):
    """Return the time until the stream has the wanted rate, or None."""
    start = time.monotonic()
    while time.monotonic() - start < limit:
        if stream.rate(step) >= wanted:
            return time.monotonic() - start
    return None


# ----------------------------------------------------------------- obstacles


def rate_without_trains(l, outer, address):
    pair = Routed(l, outer=outer, options=["--no-gso"])
    pair.both_ways(count=1)
    stream = Steady(pair, address, congestion=CONGESTION)
    stream.rate(1)
    rate = stream.rate(4)
    stream.stop()
    pair.close()
    return rate


def trains_are_back(pair, stream):
    """Return the time until trains leave again, and not only a single offer."""
    pair.count_trains()
    start = time.monotonic()
    seen = 0
    while time.monotonic() - start < 90:
        stream.rate(0.25)
        now = pair.trains()
        if now - seen > 20:
            return time.monotonic() - start
        seen = now
    return float("inf")


def add_obstacle(what, outer):
    name = f"{what}, IPv{outer}"

    @case(f"obstacle: {name}")
    def _(l):
        address = INNER4["b"] if outer == 4 else INNER6["b"]
        without = rate_without_trains(l, outer, address)
        pair = Routed(l, outer=outer)
        pair.both_ways(count=1)
        # Datagrams that came singly must not be merged before the rule sees them.
        lab.need("ethtool")
        pair.r.run("ethtool", "-K", "ea", "gro", "off")
        stream = Steady(pair, address, congestion=CONGESTION)
        stream.rate(1)
        before = stream.rate(2)
        node = pair.put_rule(*OBSTACLES[what])
        start = time.monotonic()
        # After this time the buffers are empty, so any later datagram has passed the
    # obstacle.
        time.sleep(0.3)
        took = time_until(stream, without / 2, 30, 0.25)
        took = 0.3 + took if took is not None else float("inf")
        rates = []
        while time.monotonic() - start < SECONDS:
            rates.append(stream.rate(1))
        tens = [statistics.mean(rates[i:i + 10])
                for i in range(0, max(1, len(rates) - 9), 10)]
        node.run("nft", "delete table inet obstacle")
        back = trains_are_back(pair, stream)
        stream.stop()
        keep("obstacles", name, {
            "without": without, "before": before, "took": took,
            "median": statistics.median(rates), "worst": min(tens),
            "back": back})


# -------------------------------------------------------------------- chance


class OffTime:
    """The time that trains are off while a block runs, by the log."""

    def __init__(self, tunnel):
        self.tunnel = tunnel
        self.total = self.off = 0.0
        self.stops = 0
        self.has_ended = threading.Event()

    def look(self):
        last = time.monotonic()
        while not self.has_ended.wait(0.05):
            text = self.tunnel.log()
            now = time.monotonic()
            if text.rfind(STOPPED) > text.rfind(BACK):
                self.off += now - last
            self.total += now - last
            last = now

    @contextlib.contextmanager
    def measured(self):
        self.has_ended.clear()
        thread = threading.Thread(target=self.look, daemon=True)
        thread.start()
        yield
        self.has_ended.set()
        thread.join()
        self.stops = self.tunnel.log().count(STOPPED)


def one_run(pair, off):
    streams = [Steady(pair, INNER4["b"], 7010 + i, CONGESTION)
               for i in range(STREAMS)]
    with off.measured():
        rate_of(streams, 1)
        rate = rate_of(streams, 5)
    for stream in streams:
        stream.stop()
    return rate


def interval(ratios):
    """Return the mean and its 95 % interval."""
    mean = statistics.mean(ratios)
    half = STUDENT[len(ratios)] * statistics.stdev(ratios) / \
        len(ratios) ** 0.5
    return mean, (mean - half, mean + half)


def add_chance(name, words):
    @case(f"chance: {name}")
    def _(l):
        pairs = [Cabled(l, words, ("a", "b"), l.daemon),
                 Cabled(l, words, ("c", "d"),
                        os.path.abspath(os.environ["UNWATCHED"]))]
        for pair in pairs:
            pair.a.reach(INNER4["b"])
        off = [OffTime(pair.ta) for pair in pairs]
        rates = [], []
        for i in range(PAIRS):
            for k in (0, 1) if i % 2 else (1, 0):
                rates[k].append(one_run(pairs[k], off[k]))
        mean, limits = interval([x / y for x, y in zip(*rates)])
        keep("chance", name, {
            "on": rates[0], "without": rates[1], "ratio": mean,
            "interval": limits, "off": off[0].off / off[0].total,
            "stops": off[0].stops})


# ----------------------------------------------------------------------- BBR


def bbr_run(l, rule, seconds, has_tunnel):
    """Return the seconds until trains are stopped, and until the rate is back.

    seconds: how long the rule is there; None: until trains are stopped.
    """
    pair = Routed(l)
    pair.both_ways(count=1)
    pair.r.run("ethtool", "-K", "ea", "gro", "off")
    address = INNER4["b"] if has_tunnel else FAR4
    stream = Steady(pair, address, congestion="bbr")
    stream.rate(1)
    wanted = stream.rate(1) / 4
    pair.put_rule("r", "forward", rule)
    start = time.monotonic()
    stopped = None
    if seconds is None:
        lab.wait_until(lambda: STOPPED in pair.ta.log(), "trains are stopped",
                       20, 0.005)
        stopped = time.monotonic() - start
    else:
        time.sleep(seconds)
        pair.r.run("nft", "delete table inet obstacle")
    is_back = time_until(stream, wanted, BBR_WAIT) is not None
    took = time.monotonic() - start if is_back else None
    stream.stop()
    pair.close()
    return stopped, took


def add_bbr(name, *how):
    @case(f"BBR: {name}")
    def _(l):
        runs = [bbr_run(l, *how) for _ in range(PAIRS)]
        keep("BBR", name, {"stopped": [s for s, _ in runs],
                           "took": [t for _, t in runs]})


for bbr in BBR.items():
    add_bbr(bbr[0], *bbr[1])
for obstacle in OBSTACLES:
    for family in 4, 6:
        add_obstacle(obstacle, family)
for chance in CHANCES.items():
    add_chance(*chance)

if __name__ == "__main__":
    if sys.argv[1:] == ["table"]:
        sys.exit(not print_tables())
    lab.main()
