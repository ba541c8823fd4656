# SPDX-License-Identifier: MIT
"""A daemon under floods from strangers: the network of the tests, and
measurements in it."""
import base64
import contextlib
import os
import socket
import statistics
import struct
import threading
import time

import lab
from lab import Capture, check_equal

INNER = {"a": "10.9.0.1", "b": "10.9.0.2", "c": "10.9.0.3"}
# Source addresses of the floods. The attacked host has a route for its answers
# to them.
FORGED = "100.64.0.0/10", "2001:db8:bad::/48"
OUTER_A = {"b": "198.51.0.1", "c": "198.51.1.1", "x": "198.51.2.1"}
OUTER6_A = "2001:db8:2::1"
SLICES = 5


class Field:
    """Host a is attacked by x and has a session with b; c is a peer that has
    no session yet."""

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

    def name_of(self, kind):
        """A kind of flood as flood.c takes it. "response" and "cookie" get the
        index of b's session, which is in clear in each message from b to a.
        """
        if kind not in ("response", "cookie"):
            return kind
        capture = Capture(self.b, "eth")
        self.b.must_ping(INNER["a"], count=1)
        index, = {struct.unpack("<I", p.payload[4:8])[0]
                  for p in capture.datagrams(dport=51001) if p.kind == 4}
        return f"{kind}:{index:x}"


def finish(process, timeout=60):
    """Wait for a flood to end; return its messages a second."""
    check_equal(process.wait(timeout), 0, "status of the flood")
    with open(process.log.name, encoding="ascii") as file:
        count, seconds = file.read().split()
    return int(count) / float(seconds)


def stop(process):
    """End a flood that this test has started."""
    process.terminate()
    process.wait(10)


def snapshot(tunnel, peer):
    """The state of a peer that a flood must not change."""
    now = tunnel.peer(peer)
    return now.endpoint, now.handshake, now.allowed, now.psk


class Peak(threading.Thread):
    """Records the largest resident memory of a daemon, in KiB, until finish().

    It reads the memory every 50 ms, and once more at the end: what is measured can be
    over before the first 50 ms are.
    """

    def __init__(self, tunnel):
        super().__init__(daemon=True)
        self.tunnel, self.most = tunnel, 0
        self.is_over = threading.Event()
        self.start()

    def run(self):
        while True:
            is_over = self.is_over.wait(0.05)
            self.most = max(self.most, self.tunnel.rss())
            if is_over:
                return

    def finish(self):
        self.is_over.set()
        self.join()
        return self.most


class Bulk:
    """A TCP stream from b to a at full speed, until close()."""

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
        # shutdown() wakes a thread that sleeps in send(); close() does not.
        self.client.shutdown(socket.SHUT_RDWR)


def cpu_seconds(tunnel):
    with open(f"/proc/{tunnel.pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


class Slice:
    """Speed of the stream and CPU time of the daemon, during a part of a flood
    or for some seconds."""

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
    """Measure a flood in slices, each next to slices of two other kinds. The
    load of the machine varies, so only slices next to each other are compared.
    "quiet" is without a flood. In "beside" the same flood goes to an unread
    socket of the same host: sending it costs the same, but the daemon has no
    work with it.

    Print the share of a core that is left for the session: the cost of the
    flood is the daemon's CPU time minus the time that the session's bytes cost
    in the quiet slices. Return the speed during the flood as a fraction of the
    quiet speed: the median of the ratios of neighbouring slices.
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
    return ratios[0]
