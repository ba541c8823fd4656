# SPDX-License-Identifier: MIT
"""Upgrades of a tunnel under traffic, and what must be the same after each of them."""
import contextlib
import hashlib
import os
import random
import re
import signal
import socket
import struct
import threading
import time

import lab
from lab import INNER4, Failure, Pair, Skip, check, check_equal, wait_until

CTL = os.path.abspath(os.environ["CTL"])
# Pings a second, and bytes a second of the stream. Choices: they leave most of a busy
# machine idle, and many of each are under way in every moment.
PINGS = 100
BYTES = 4 << 20
# A session is renewed two minutes after its handshake.
REKEY_S = 120
# A message of data: its type, the receiver's index, the counter.
DATA = 4


def need_processes():
    if "WG_COVERAGE" in os.environ:
        raise Skip("a build that counts what is run is one process")


class Pings:
    """ping(8) with many pings a second, until finish()."""

    def __init__(self, node, target):
        self.process = node.start("ping", "-n", "-i", str(1 / PINGS), target)

    def finish(self):
        """None may be lost or come twice; those under way at the end do not count."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)
        with open(self.process.log.name, encoding="utf-8") as file:
            text = file.read()
        seen = [int(n) for n in re.findall(r"icmp_seq=(\d+) ttl", text)]
        sent = int(re.search(r"(\d+) packets transmitted", text).group(1))
        missing = sorted(set(range(1, max(seen, default=0) + 1)) - set(seen))
        check(seen and not missing, f"pings that are lost, of {sent}: {missing}")
        check_equal(len(set(seen)), len(seen), "pings, each once")
        check(sent - max(seen) <= 2 * PINGS, f"{max(seen)} of {sent} pings have answers")
        return len(seen)


class Stream:
    """A TCP connection with bytes at a steady rate, until finish()."""

    def __init__(self, source, sink, address, port=7011):
        with sink.socket(lab.family_of(address), socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, port))
            listener.listen(1)
            listener.settimeout(20 * lab.SLOWNESS)
            self.out = source.socket(lab.family_of(address), socket.SOCK_STREAM)
            self.out.settimeout(20 * lab.SLOWNESS)
            self.out.connect((address, port))
            self.conn, _ = listener.accept()
        source.lab.stack.callback(self.conn.close)
        self.conn.settimeout(60 * lab.SLOWNESS)
        self.is_over = threading.Event()
        self.sent, self.got = hashlib.sha256(), hashlib.sha256()
        self.n_sent = self.n_got = 0
        self.wrong = []
        self.threads = [threading.Thread(target=self.guard, args=(part,), daemon=True)
                        for part in (self.send, self.receive)]
        for thread in self.threads:
            thread.start()

    def guard(self, part):
        try:
            part()
        except OSError as err:
            self.wrong.append(f"{part.__name__}: {err}")

    def send(self):
        draw = random.Random(1)
        while not self.is_over.is_set():
            part = draw.randbytes(draw.choice((1, 100, 1400, 1 << 14, 1 << 16)))
            self.out.sendall(part)
            self.sent.update(part)
            self.n_sent += len(part)
            time.sleep(len(part) / BYTES)
        self.out.shutdown(socket.SHUT_WR)

    def receive(self):
        while part := self.conn.recv(1 << 18):
            self.got.update(part)
            self.n_got += len(part)

    def finish(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join(60 * lab.SLOWNESS)
        check(not self.wrong, f"the stream: {self.wrong}")
        check_equal((self.n_got, self.got.hexdigest()),
                    (self.n_sent, self.sent.hexdigest()), "bytes of the stream")
        return self.n_got


def stats(tunnel):
    """What the statistics socket tells of the device, as text by key."""
    return dict(line.split("=", 1) for line in
                tunnel.ask_statistics().split("\npublic_key")[0].splitlines() if line)


def see_counters(capture):
    """The messages of data in a capture: all of (receiver, counter), and those that were
    seen more than once."""
    seen, twice = set(), set()
    for datagram in capture.datagrams():
        if datagram.kind != DATA or len(datagram.payload) < 32:
            continue
        key = struct.unpack_from("<IQ", datagram.payload, 4)
        twice |= {key} & seen
        seen.add(key)
    return seen, twice


def ask(tunnel, *words, status=0):
    """Have a tunnel upgraded; return what wiregatherctl prints."""
    done = lab.run(CTL, "upgrade", *words, tunnel.name, check_status=False, timeout=60)
    check_equal(done.returncode, status, f"status of upgrade {words}: {done.stdout}")
    return done.stdout


def upgrade(tunnel, *words):
    """Upgrade a tunnel, which must succeed; return the time in ms."""
    text = ask(tunnel, *words)
    match = re.match(rf"{tunnel.name}: upgraded in (\d+) ms", text)
    check(match, text)
    return int(match.group(1))


class Watch:
    """What must not change by an upgrade, or must only grow."""

    def __init__(self, pair):
        self.pair = pair
        self.begun = time.monotonic()
        self.keeper = pair.ta.keeper
        self.engine = pair.ta.pid
        self.index = self.find_index()
        self.handshakes = self.find_handshakes()
        self.counters = self.find_counters()

    def find_index(self):
        return self.pair.a.run("ip", "-o", "link", "show", self.pair.ta.name
                               ).stdout.split(":")[0]

    def tunnels(self):
        return self.pair.ta, self.pair.tb

    def find_handshakes(self):
        """When the last handshakes were, as both ends tell, and how many came."""
        return [(tunnel.get("latest-handshakes").stdout,
                 stats(tunnel)["handshakes_received"]) for tunnel in self.tunnels()]

    def find_counters(self):
        found = {}
        for tunnel in self.tunnels():
            for line in tunnel.get("transfer").stdout.splitlines():
                _, rx, tx = line.split()
                found[tunnel.name, "rx"] = int(rx)
                found[tunnel.name, "tx"] = int(tx)
            found.update({(tunnel.name, key): int(value)
                          for key, value in stats(tunnel).items()
                          if re.match(r"inbound_|outbound_|handshakes_|udp_(sent|received)_"
                                      r"|tun_(read|write)_", key) and value.isdigit()})
        return found

    def check(self, is_new):
        """Compare with the last time. is_new: another engine must be there."""
        ta = self.pair.ta
        check_equal(ta.keeper, self.keeper, "process of the keeper")
        if is_new:
            wait_until(lambda: engines_of(ta) not in ([self.engine], []) and
                       len(engines_of(ta)) == 1, "one engine, and another one", 20)
        else:
            wait_until(lambda: engines_of(ta) == [self.engine],
                       f"the engine {self.engine} and no other one", 20)
        self.engine = ta.pid
        check_equal(self.find_index(), self.index, "interface index")
        counters = self.find_counters()
        back = {key: (value, counters.get(key)) for key, value in self.counters.items()
                if counters.get(key, -1) < value}
        check(not back, f"counters that went back: {back}")
        self.counters = counters
        for tunnel in self.tunnels():
            check_equal(counters[tunnel.name, "inbound_dropped_replayed"], 0,
                        f"datagrams that came to {tunnel.name} twice")
            check_equal(counters[tunnel.name, "inbound_dropped_not_authentic"], 0,
                        f"datagrams to {tunnel.name} that do not decrypt")
        if time.monotonic() - self.begun < REKEY_S - 20:
            check_equal(self.find_handshakes(), self.handshakes, "handshakes")
        else:
            # Sessions are renewed by the clock, also without an upgrade.
            renewals = int((time.monotonic() - self.begun) / (REKEY_S - 20))
            for (_, was), (_, now) in zip(self.handshakes, self.find_handshakes()):
                check(int(now) - int(was) <= 2 * renewals,
                      f"{int(now) - int(was)} messages of handshakes")


def engines_of(tunnel):
    return [pid for pid in lab.descendants_of(tunnel.process.pid)
            if lab.command_of(pid) == "wg-engine"]


@contextlib.contextmanager
def traffic(pair, inner=INNER4):
    """A block during which pings and streams pass both ways, without loss."""
    pair.both_ways(count=1)
    flows = [Pings(pair.a, inner["b"]), Pings(pair.b, inner["a"]),
             Stream(pair.a, pair.b, inner["b"]),
             Stream(pair.b, pair.a, inner["a"], 7012)]
    yield
    try:
        n_pings = [flow.finish() for flow in flows[:2]]
        n_bytes = [flow.finish() for flow in flows[2:]]
    except Failure as failure:
        raise Failure(f"{failure}\nlog of a: {pair.ta.log()[-2000:]}") from None
    print(f"# pings {n_pings}, bytes {n_bytes}")


def many(l, number, outer, inner=INNER4, **options):
    """Upgrade again and again under traffic. Returns the tunnel."""
    need_processes()
    pair = Pair(l, outer=outer, **options)
    times = []
    with traffic(pair, inner):
        watch = Watch(pair)
        for _ in range(number):
            # The new engine is watched for a while, too.
            time.sleep(0.2)
            times.append(upgrade(pair.ta))
            watch.check(True)
        time.sleep(0.5)
    pair.both_ways(count=1)
    times.sort()
    print(f"# {number} upgrades: {times[0]} to {times[-1]} ms, median "
          f"{times[len(times) // 2]} ms")
    return pair
