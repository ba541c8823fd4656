#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How long no packet passes when an engine dies under traffic.

A program sends a ping each 10 ms, beside a TCP stream at full speed. KILLS is how often the
engine is killed, FAMILY the IP version below and in the tunnel, and STREAM what sends: iperf3,
or this program. The daemon is one that does not count the deaths of its engines.
"""
import os
import random
import re
import select
import signal
import socket
import statistics
import struct
import threading
import time

import lab
from dying import Others, kept, starter_of
from lab import INNER4, INNER6, OUTER4, OUTER6, Pair, Steady, case, check, check_equal, \
    wait_until

KILLS = int(os.environ.get("KILLS", "5"))
FAMILY = int(os.environ.get("FAMILY", "4"))
STREAM = os.environ.get("STREAM", "")
# The bar, and what a busy machine may take, in seconds. The second one is a choice.
GAP_S = 0.3
BUSY_S = 20
# From one ping to the next, and from one death to the next.
PING_S = 0.01
PAUSE_S = (0.7, 1.3)
# Allowed growth of resident memory over all deaths, in KiB. Choices. Each engine is another
# process, and has more memory if it has seen longer trains: 3 MiB more were seen.
GROWTH_KIB = {"keeper": 1024, "starter": 1024, "engine": 4096}
# Of ICMP, and of ICMPv6: socket family, protocol, types of request and reply.
ECHO = {4: (socket.AF_INET, socket.IPPROTO_ICMP, 8, 0),
        6: (socket.AF_INET6, socket.IPPROTO_ICMPV6, 128, 129)}
# The port of iperf3, and the seconds that it would send.
IPERF_PORT, IPERF_S = 5201, 3600


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


class Pings:
    """Pings to an address, one in each PING_S, and when they are answered."""

    FORM = struct.Struct(">BBHHHd")

    def __init__(self, node, address):
        family, protocol, self.request, self.reply = ECHO[FAMILY]
        self.sock = node.socket(family, socket.SOCK_RAW, protocol)
        self.sock.connect((address, 0))
        self.sock.settimeout(0.1)
        self.id = os.getpid() & 0xffff
        self.n_sent = 0
        # (when it was sent, when it was answered), of time.monotonic()
        self.answers = []
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=f, daemon=True)
                        for f in (self.send, self.receive)]
        node.lab.stack.callback(self.close)
        for thread in self.threads:
            thread.start()

    def close(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join()

    def send(self):
        while not self.is_over.is_set():
            fields = [self.request, 0, 0, self.id, self.n_sent & 0xffff, time.monotonic()]
            # The kernel makes that of ICMPv6.
            fields[2] = checksum(self.FORM.pack(*fields)) if FAMILY == 4 else 0
            try:
                self.sock.send(self.FORM.pack(*fields))
                self.n_sent += 1
            except OSError:
                # The queue is full.
                pass
            time.sleep(PING_S)

    def receive(self):
        while not self.is_over.is_set():
            try:
                packet = self.sock.recv(2048)
            except TimeoutError:
                continue
            except OSError:
                continue
            if FAMILY == 4:
                packet = packet[(packet[0] & 15) * 4:]
            if len(packet) == self.FORM.size:
                kind, _, _, number, _, sent_at = self.FORM.unpack(packet)
                if kind == self.reply and number == self.id:
                    self.answers.append((sent_at, time.monotonic()))

    def first_after(self, moment):
        """When the first answer came to a ping that was sent after a moment; 0: none."""
        for sent_at, got_at in self.answers[-500:]:
            if sent_at > moment:
                return got_at
        return 0


class Iperf3:
    """A TCP stream of iperf3, as lab.Steady. One connection lasts from the begin to the
    end: iperf3 ends if it breaks."""

    def __init__(self, pair, address):
        lab.need("iperf3")
        self.node = pair.a
        self.far = pair.b.start("iperf3", "-s", "-1", "-B", address)
        wait_until(lambda: f":{IPERF_PORT}" in pair.b.run("ss", "-ltn").stdout,
                   "iperf3 listens", 20)
        # The file is that of node b, whoever reads it.
        with pair.b.inside():
            # pylint: disable=consider-using-with
            self.counters = open("/proc/thread-self/net/snmp", encoding="ascii")
        pair.lab.stack.callback(self.counters.close)
        self.near = pair.a.start("iperf3", "-c", address, "-C", "cubic", "-t",
                                 str(IPERF_S))
        wait_until(lambda: self.sent() > 0, "iperf3 sends", 20)

    def sent(self):
        """Bytes that were acknowledged."""
        text = self.node.run("ss", "-tinH", f"dport = :{IPERF_PORT}").stdout
        return max(map(int, re.findall(r"bytes_acked:(\d+)", text)), default=0)

    @property
    def arrived(self):
        """TCP segments that have come to node b, where no other TCP is."""
        check(self.near.poll() is None, "iperf3 has ended")
        self.counters.seek(0)
        names, values = [line.split() for line in self.counters
                         if line.startswith("Tcp:")]
        return int(values[names.index("InSegs")])

    def rate(self, seconds):
        """Wait for some seconds; return the rate in this time, in Mbit/s."""
        before, start = self.sent(), time.monotonic()
        time.sleep(seconds)
        return (self.sent() - before) * 8 / 1e6 / (time.monotonic() - start)

    def stop(self):
        check(self.near.poll() is None and self.far.poll() is None, "iperf3 has ended")
        print(f"# iperf3 has sent {self.sent() >> 20} MiB by one connection", flush=True)
        for process in self.near, self.far:
            process.terminate()
            process.wait(20)


def figures(pid):
    """Descriptors, and resident KiB, of a process."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        rss = next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    return len(os.listdir(f"/proc/{pid}/fd")), rss


def all_figures(tunnel):
    return {"keeper": figures(tunnel.process.pid),
            "starter": figures(starter_of(tunnel)), "engine": figures(tunnel.pid)}


def median_figures(found):
    """The medians of several results of all_figures()."""
    return {name: tuple(statistics.median_low(column) for column in
                        zip(*(one[name] for one in found))) for name in found[0]}


def tell(what, seconds):
    print(f"# {what}, of {len(seconds)}: median {statistics.median(seconds) * 1e3:.0f} ms, "
          f"maximum {max(seconds) * 1e3:.0f} ms", flush=True)


def kill_wholly(pid):
    """Kill a process; return when it has ended. A busy machine takes its time for that."""
    pidfd = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGSEGV)
        check(select.select([pidfd], [], [], BUSY_S)[0], "the engine does not end")
    finally:
        os.close(pidfd)
    return time.monotonic()


def kill(tunnel, pings, stream):
    """Kill the engine; return how long no ping and no TCP passed, in seconds, and how long
    the engine took for its end."""
    before = tunnel.pid
    check(before != tunnel.process.pid, "there is no engine")
    moment = time.monotonic()
    dead_at = kill_wholly(before)
    wait_until(lambda: pings.first_after(dead_at), "a ping passes", BUSY_S, 0.002)
    gap = pings.first_after(dead_at) - moment
    arrived = stream.arrived
    wait_until(lambda: stream.arrived > arrived, "TCP goes on", BUSY_S, 0.002)
    tcp = time.monotonic() - moment
    check(tunnel.pid not in (before, tunnel.process.pid),
          f"the engine is the same: {before}, {lab.descendants_of(tunnel.process.pid)}")
    return gap, tcp, dead_at - moment


@case("an engine is killed again and again under TCP: pings pass soon, TCP goes on, "
      "nothing leaks")
def gaps(l):
    pair = kept(Pair(l, outer=FAMILY))
    address = (INNER4 if FAMILY == 4 else INNER6)["b"]
    pair.both_ways(count=1)
    pings = Pings(pair.a, address)
    stream = (Iperf3 if STREAM == "iperf3" else Steady)(pair, address)
    check(stream.rate(1) > 0, "TCP does not begin")
    draw = random.Random(KILLS)
    others = Others()
    found, figures_of_all = [], []
    for _ in range(KILLS):
        found.append(kill(pair.ta, pings, stream))
        time.sleep(draw.uniform(*PAUSE_S))
        figures_of_all.append(all_figures(pair.ta))
    check(stream.rate(1) > 0, "TCP stands still")
    # The first engine that goes on for another one makes the keeper touch new memory.
    n_each = max(1, KILLS // 10)
    before, after = (median_figures(part) for part in
                     (figures_of_all[1:1 + n_each], figures_of_all[-n_each:]))
    stream.stop()
    pings.close()
    is_busy = others.are_many()
    gaps_s, tcp_s, ends_s = zip(*found)
    tell("from a signal to the answer of a later ping", gaps_s)
    tell("from a signal to TCP that goes on", tcp_s)
    tell("from a signal to the end of the engine", ends_s)
    print(f"# descriptors and KiB: {before}, later {after}", flush=True)
    for name, (n_fds, kib) in after.items():
        check_equal(n_fds, before[name][0], f"descriptors of the {name}")
        check(l.is_slow or kib <= before[name][1] + GROWTH_KIB[name],
              f"KiB of the {name}: {before[name][1]}, later {kib}")
    check_equal(pair.ta.log().count("another engine has taken its place"), KILLS, "engines")
    bar = BUSY_S * lab.SLOWNESS if is_busy or l.is_slow else GAP_S
    print(f"# the bar is {bar} s", flush=True)
    longest = max(gaps_s)
    check(longest <= bar, f"the longest gap is {longest:.3f} s")
    check((OUTER4 if FAMILY == 4 else OUTER6)["b"] in pair.ta.peer(pair.tb).endpoint, "the endpoint is another one")


lab.main()
