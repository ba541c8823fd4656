#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A session, and a peer that is new, while strangers flood the daemon.

With ATTACK=full in the environment, as `make attack` sets it, the floods have
their full size, and what the session still carries is measured.
"""
import base64
import contextlib
import os
import random
import socket
import statistics
import struct
import threading
import time

import lab
from lab import Capture, case, check, check_equal

RANDOM = random.Random(20261122)
FULL = os.environ.get("ATTACK") == "full"
INNER = {"a": "10.9.0.1", "b": "10.9.0.2", "c": "10.9.0.3"}
# Sources of the floods; the victim has a route for what it answers to them.
FORGED = "100.64.0.0/10", "2001:db8:bad::/48"
OUTER_A = {"b": "198.51.0.1", "c": "198.51.1.1", "x": "198.51.2.1"}
OUTER6_A = "2001:db8:2::1"
MAX_GROWTH = 1024  # KiB
SLICES = 5
RATE = int(os.environ.get("ATTACK_RATE", "25000"))


class Field:
    """a is attacked by x, has a session with b, and c is yet to come."""

    def __init__(self, l, *options):
        self.lab = l
        self.a, self.b, self.c, self.x = map(l.node, "abcx")
        for i, node in enumerate((self.b, self.c, self.x)):
            l.link(self.a, node, f"eth{i}", "eth")
            for end, where, device in (1, self.a, f"eth{i}"), (2, node, "eth"):
                where.ip(f"addr add 198.51.{i}.{end}/24 dev {device}",
                         f"addr add 2001:db8:{i}::{end}/64 dev {device} nodad")
        for key in "all", "default", "eth2":
            self.a.sysctl(f"net.ipv4.conf.{key}.rp_filter", 0)
        self.a.ip(f"route add {FORGED[0]} via 198.51.2.2",
                  f"route add {FORGED[1]} via 2001:db8:2::2")
        self.ta = l.tunnel(self.a, "wga", 51001).start(*options)
        self.tb = l.tunnel(self.b, "wgb", 51002).start()
        self.tc = l.tunnel(self.c, "wgc", 51003).start()
        for i, (tunnel, side) in enumerate(((self.tb, "b"), (self.tc, "c"))):
            tunnel.configure({
                "PublicKey": self.ta.public, "AllowedIPs": f"{INNER['a']}/32",
                "Endpoint": f"198.51.{i}.1:51001"})
            tunnel.up(f"{INNER[side]}/24")
        self.ta.configure(
            *({"PublicKey": tunnel.public, "AllowedIPs": f"{INNER[side]}/32"}
              for tunnel, side in ((self.tb, "b"), (self.tc, "c"))))
        self.ta.up(f"{INNER['a']}/24")
        for node in self.a, self.b, self.c, self.x:
            for device in "eth", "eth0", "eth1", "eth2":
                node.settle(device)
        self.b.must_ping(INNER["a"], count=1)

    def flood(self, kind, count, rate, version=4, port=51001, cpu=None):
        """Start a flood; its log has the number sent and the seconds."""
        public = base64.b64decode(self.ta.public).hex()
        return self.x.start(
            os.path.abspath(os.environ["FLOOD"]), kind,
            OUTER_A["x"] if version == 4 else OUTER6_A, str(port), public,
            str(count), str(rate), *([] if cpu is None else [str(cpu)]))


def finish(process, timeout=60):
    """Wait for a flood to end; returns how many a second it has sent."""
    check_equal(process.wait(timeout), 0, "status of the flood")
    with open(process.log.name, encoding="ascii") as file:
        count, seconds = file.read().split()
    return int(count) / float(seconds)


def stop(process):
    """End a flood of ours."""
    process.terminate()
    process.wait(10)


class Counted(threading.Thread):
    """Numbered datagrams from b to a, until told to stop; and what came."""

    def __init__(self, field):
        super().__init__(daemon=True)
        self.sender = field.b.socket()
        self.receiver = field.a.socket()
        self.receiver.setsockopt(socket.SOL_SOCKET, lab.SO_RCVBUFFORCE, 8 << 20)
        self.receiver.bind((INNER["a"], 7010))
        self.is_over = threading.Event()
        self.sent = 0
        self.start()

    def run(self):
        while not self.is_over.wait(0.004):
            self.sender.sendto(struct.pack("<Q", self.sent),
                               (INNER["a"], 7010))
            self.sent += 1

    def finish(self):
        """Returns the numbers that have arrived, in order of arrival."""
        self.is_over.set()
        self.join()
        time.sleep(0.2)
        self.receiver.setblocking(False)
        numbers = []
        while True:
            try:
                numbers += struct.unpack("<Q", self.receiver.recv(100))
            except BlockingIOError:
                return numbers


def snapshot(tunnel, peer):
    """What a flood must not change."""
    now = tunnel.peer(peer)
    return now.endpoint, now.handshake, now.allowed, now.psk


class Peak(threading.Thread):
    """The most resident memory that a daemon has had meanwhile."""

    def __init__(self, tunnel):
        super().__init__(daemon=True)
        self.tunnel, self.most = tunnel, 0
        self.is_over = threading.Event()
        self.start()

    def run(self):
        while not self.is_over.wait(0.05):
            self.most = max(self.most, self.tunnel.rss())

    def finish(self):
        self.is_over.set()
        self.join()
        return self.most


@case("floods from forged sources: memory, the session, and a new peer")
def floods(l):
    # One worker: when helpers wake depends on what else the machine does, and
    # their memory is for what the session carries.
    field = Field(l, "--workers=1")
    # So much as it needs with traffic, before it is said what more is.
    peak = Peak(field.ta)
    for _ in range(3):
        lab.send_stream(field.b, field.a, INNER["a"], 8 << 20)
    before = peak.finish()
    was = snapshot(field.ta, field.tb)
    peak = Peak(field.ta)
    counted = Counted(field)
    size = 10000 if l.is_slow else 50000
    for kind in "garbage", "mac1":
        for version in 4, 6:
            finish(field.flood(kind, size, 0, version))
    # The new peer comes while it goes on, at a rate that is too much for
    # answering all.
    flood = field.flood("mac1", 100 << 20, 0)
    capture = Capture(field.c, "eth")
    lab.wait_until(
        lambda: field.c.ping(INNER["a"], count=1, wait=1)[0],
        "the new peer gets in", 60)
    check(flood.poll() is None, "the flood has ended before that")
    stop(flood)
    cookies = [p for p in capture.datagrams(sport=51001) if p.kind == 3]
    arrived = counted.finish()
    most = peak.finish()
    check_equal(len(set(arrived)), len(arrived), "datagrams, and numbers")
    check(arrived, "nothing has arrived by the session")
    check_equal(snapshot(field.ta, field.tb), was, "the session")
    field.b.must_ping(INNER["a"], count=2)
    check(l.is_slow or most - before < MAX_GROWTH,
          f"{before} KiB have become {most} KiB")
    print(f"# {before} KiB, then {most} KiB; {len(arrived)} of {counted.sent} "
          f"datagrams; {len(cookies)} cookies for the new peer")


def mutate(message):
    """Something that a message has become on its way."""
    data = bytearray(message)
    kind = RANDOM.randrange(8)
    if kind < 3:
        for _ in range(RANDOM.randrange(1, 4)):
            data[RANDOM.randrange(len(data))] ^= 1 << RANDOM.randrange(8)
    elif kind < 5:
        del data[RANDOM.randrange(len(data)):]
    elif kind < 6:
        data += RANDOM.randbytes(RANDOM.randrange(1, 2000))
    elif kind < 7:
        data[0] = RANDOM.randrange(6)
    return bytes(data)


@case("what was sent before, sent again: as it was, cut, lengthened to 65,507 "
      "bytes, with flipped bits")
def again(l):
    field = Field(l)
    capture = Capture(field.b, "eth")
    lab.send_datagrams(field.b, field.a, INNER["a"], range(1, 1300, 60))
    # A handshake of its own, so that there are messages of all types.
    field.b.ip("link set wgb down", "link set wgb up")
    field.b.reach(INNER["a"])
    field.b.must_ping(INNER["a"], count=2)
    messages = [p.payload for p in capture.datagrams(dport=51001)]
    check({m[0] for m in messages} >= {1, 4}, "no initiation was captured")
    inner = Capture(field.a, "wga", has_ethernet=False)
    # What is on its way is no replay: let it arrive.
    lab.wait_until(lambda: not inner.frames(), "it is quiet", 5, 0.3)
    was = snapshot(field.ta, field.tb), field.ta.peer(field.tb).rx
    sock = field.x.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    sock.connect((OUTER_A["x"], 51001))
    for i in range(3000 if l.is_slow else 20000):
        data = mutate(RANDOM.choice(messages))
        if i % 200 == 0:
            data += RANDOM.randbytes(65507 - len(data))
        sock.send(data)
    # That it has taken them all from its socket is seen by this.
    field.a.must_ping(INNER["b"], count=1)
    seen = [f for f in inner.frames() if f[1][9] != 1]
    check_equal(len(seen), 0, "packets that came out of it")
    now = snapshot(field.ta, field.tb)
    check_equal(now, was[0], "the peer")
    # The ping's answer is 128 bytes and its outer message; nothing else.
    check(field.ta.peer(field.tb).rx - was[1] < 400, "bytes received")
    field.b.must_ping(INNER["a"], count=1)


# ------------------------------------------------------------- full figures


class Bulk:
    """TCP from b to a, as much as goes, until close()."""

    def __init__(self, field):
        listener = field.a.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind((INNER["a"], 7100))
        listener.listen(1)
        self.client = field.b.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.client.settimeout(60)
        self.client.connect((INNER["a"], 7100))
        self.conn, _ = listener.accept()
        self.conn.settimeout(60)
        self.total = 0
        for work in self.send, self.receive:
            threading.Thread(target=work, daemon=True).start()

    def send(self):
        data = bytes(1 << 18)
        with contextlib.suppress(OSError):
            while True:
                self.client.sendall(data)

    def receive(self):
        buffer = bytearray(1 << 18)
        with contextlib.suppress(OSError):
            while count := self.conn.recv_into(buffer):
                self.total += count

    def close(self):
        # A sleeper is woken by this, and not by close().
        self.client.shutdown(socket.SHUT_RDWR)


def cpu_seconds(tunnel):
    with open(f"/proc/{tunnel.pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


class Slice:
    """What happens while a part of a flood goes on, or for some seconds."""

    def __init__(self, field, bulk, seconds=0, flood=None):
        total, cpu = bulk.total, cpu_seconds(field.ta)
        start = time.monotonic()
        if flood:
            finish(flood, 300)
        else:
            time.sleep(seconds)
        elapsed = time.monotonic() - start
        self.megabits = (bulk.total - total) * 8 / 1e6
        self.cpu = cpu_seconds(field.ta) - cpu
        self.speed = self.megabits / elapsed


def compare(field, bulk, kind, count, rate):
    """A flood in slices, each beside slices of two other kinds.

    The machine has other things to do, now more, now less: only neighbours are
    compared. "quiet" is without a flood; in "beside" the same flood goes to a
    socket of the same host that nobody reads, so it costs what making and
    carrying it costs, but it is not the daemon's.

    Returns the speed in parts of the quiet one, and the part of a core that is
    left for the session: what the flood costs the daemon is what it uses above
    the price of the session's bytes in the quiet slices.
    """
    part = count // SLICES
    names = "quiet", "beside", "flood"
    slices = {name: [] for name in names}
    for _ in range(SLICES):
        slices["quiet"].append(Slice(field, bulk, seconds=part / rate))
        for name, port in ("beside", 51999), ("flood", 51001):
            slices[name].append(Slice(field, bulk, flood=field.flood(
                kind, part, rate, port=port)))
    cpu = {name: sum(s.cpu for s in slices[name]) for name in names}
    size = {name: sum(s.megabits for s in slices[name]) for name in names}
    for name in names:
        speed = statistics.median(s.speed for s in slices[name])
        print(f"# {kind}, {name}: {speed:.0f} Mbit/s, {cpu[name]:.2f} s of the "
              "daemon's time", flush=True)
    price = (cpu["flood"] - size["flood"] * cpu["quiet"] / size["quiet"]) / count
    print(f"# {kind}: {1e6 * price:.2f} us for each of the flood", flush=True)
    ratios = [statistics.median(f.speed / s.speed for f, s in
                                zip(slices["flood"], slices[name]))
              for name in ("quiet", "beside")]
    left = 1 - price * rate
    print(f"# {kind}, {rate} a second: {100 * ratios[0]:.0f} % of the quiet "
          f"speed, {100 * ratios[1]:.0f} % of that with the flood beside; "
          f"{100 * left:.0f} % of a core are left", flush=True)
    return ratios[0], left


def is_idle():
    """Are there cores for everything: two daemons, both ends, and the flood?"""
    return os.getloadavg()[0] < 0.5 and len(os.sched_getaffinity(0)) >= 4


def figures(l):
    has_free_cores = is_idle()
    field = Field(l, "--workers=1")
    sink = field.a.socket()
    sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sink.bind((OUTER_A["x"], 51999))
    bulk = Bulk(field)
    # A busy machine makes the session's batches larger, and what they need is
    # not the flood's: first a flood beside the daemon, as fast as it goes.
    peak = Peak(field.ta)
    finish(field.flood("garbage", 40 * RATE, 0, port=51999))
    time.sleep(5)
    before = peak.finish()
    was = snapshot(field.ta, field.tb)
    peak = Peak(field.ta)
    slow = []
    for kind, count, rate in (("garbage", 1000000, RATE),
                              ("mac1", 200000, RATE // 2)):
        ratio, left = compare(field, bulk, kind, count, rate)
        # What a free core would carry, where there is none.
        if (ratio if has_free_cores else left) <= 0.8:
            slow.append(kind)
    flood = field.flood("mac1", 1 << 40, RATE // 2)
    start = time.monotonic()
    lab.wait_until(lambda: field.c.ping(INNER["a"], count=1, wait=1)[0],
                   "the new peer gets in", 120)
    print(f"# the new peer is in after {time.monotonic() - start:.1f} s",
          flush=True)
    stop(flood)
    bulk.close()
    grown = peak.finish() - before
    print(f"# resident memory: {before} KiB, and {grown} KiB more", flush=True)
    check(grown < MAX_GROWTH, f"grown by {grown} KiB")
    check_equal(snapshot(field.ta, field.tb)[0], was[0], "endpoint")
    check(not slow, f"80 % or less: {slow}")


if FULL:
    case("a million of garbage, 200,000 with a right mac1: figures")(figures)

lab.main()
