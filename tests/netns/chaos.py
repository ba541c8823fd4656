#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A tunnel under traffic, to which every known kind of disturbance happens.

The events and their order depend on CHAOS_SEED alone. If CHAOS_SEED is not set, a
seed is drawn and printed. CHAOS_SECONDS is the duration. Streams and datagrams go
through the tunnel all the time. Events come in bursts of one to four, without a
pause between them. After a burst the test undoes its effects, and the tunnel has
to work again. In the end every stream must have arrived byte for byte. No process of
a daemon may have more descriptors, threads or memory than it began with, or end with
a message of a sanitizer.

Engines are killed, and tunnels are upgraded, also while other events happen. The
configuration must stay, one engine must be there in the end, and no engine may die
that was not killed. An upgrade alone must cause no handshake, and no datagram that
comes twice. A daemon ends when five engines die within a minute; so each end kills at
most four, unless the daemon is tests/netns/deathless.c, which does not count them.
"""
import contextlib
import hashlib
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

import lab
import upgrading
from lab import INNER4, INNER6, OUTER4, OUTER6, Failure, case, check, \
    check_equal

SECONDS = float(os.environ.get("CHAOS_SECONDS", "120"))
SEED = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**9))
SIDES = {"a": "b", "b": "a"}
# A host accepts 50 initiations a second from a peer.
PAUSE = 0.05
# For so long after a signal an engine may still be dying. A choice: a sanitizer may print
# before it ends the process.
DYING_S = 5
IS_DEATHLESS = os.path.basename("".join(sys.argv[1:2])) == "deathless"
# Signals that end an engine. A sanitizer prints a report if it gets SIGSEGV.
DEADLY = {False: (signal.SIGSEGV, signal.SIGKILL), True: (signal.SIGABRT, signal.SIGKILL)}
# Allowed growth of resident memory, in KiB: bursts leave freed blocks in the
# heap. Sanitizers add memory of their own. Both numbers are choices.
RSS_GROWTH = 24 << 10
RSS_GROWTH_SANITIZED = 400 << 10
# The same of the keeper and of the process that starts engines, which allocate nothing.
KEEPER_GROWTH = 1 << 10
KEEPER_GROWTH_SANITIZED = 16 << 10
# The deaths of engines in this time, in seconds, that a daemon survives.
DEATHS, DEATHS_S = 4, 60
# No handshake is repeated after this time, in seconds: REKEY_TIMEOUT and its jitter.
CALM_S = 5.5
# A session that is younger than this, in seconds, is not renewed soon.
FRESH_S = 90


# ------------------------------------------------------------------- traffic


class Flow(threading.Thread):
    """Traffic at a steady rate, until it is told to end."""

    def __init__(self, name):
        super().__init__(daemon=True)
        self.name = name
        self.is_over = threading.Event()
        self.wrong = []


class LongStream(Flow):
    """A TCP connection that must last until the end."""

    def __init__(self, source, sink, address, port, rate):
        super().__init__(f"TCP {source.name} to {address}")
        listener = sink.socket(lab.family_of(address), socket.SOCK_STREAM)
        listener.bind((address, port))
        listener.listen(1)
        self.out = source.socket(lab.family_of(address), socket.SOCK_STREAM)
        # After a minute of disturbances BBR may believe in a path of 2 kbit/s, paces
        # by that, and needs minutes to find out (seen with seed 17, while every
        # segment that it sent arrived).
        self.out.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        self.out.settimeout(60)
        listener.settimeout(60)
        self.out.connect((address, port))
        self.conn, _ = listener.accept()
        sink.lab.stack.callback(self.conn.close)
        listener.close()
        for sock in self.out, self.conn:
            sock.settimeout(None)
        self.rate = rate
        self.sent, self.got = hashlib.sha256(), hashlib.sha256()
        self.n_sent = self.n_got = 0
        self.receiver = threading.Thread(target=self.receive, daemon=True)
        self.receiver.start()
        self.start()

    def run(self):
        draw = random.Random(self.name)
        try:
            while not self.is_over.is_set():
                part = draw.randbytes(draw.choice((1, 100, 1400, 1 << 14,
                                                   1 << 16)))
                self.out.sendall(part)
                self.sent.update(part)
                self.n_sent += len(part)
                time.sleep(len(part) / self.rate)
            self.out.shutdown(socket.SHUT_WR)
        except OSError as err:
            self.wrong.append(f"sending: {err}")

    def receive(self):
        try:
            while part := self.conn.recv(1 << 18):
                self.got.update(part)
                self.n_got += len(part)
        except OSError as err:
            self.wrong.append(f"receiving: {err}")

    def finish(self, timeout):
        """End the stream; return what is wrong with it, as texts."""
        self.is_over.set()
        self.join(timeout)
        self.receiver.join(timeout)
        if self.is_alive() or self.receiver.is_alive():
            self.wrong.append("the stream does not end")
        elif self.got.digest() != self.sent.digest() and not self.wrong:
            self.wrong.append("the bytes that arrived are not those that were sent")
        print(f"# {self.name}: {self.n_got} of {self.n_sent} bytes")
        return [f"{self.name}: {text}" for text in self.wrong]


class Datagrams(Flow):
    """UDP datagrams. Some are lost; the others must arrive once and unchanged."""

    HEAD = struct.Struct("=Q16s")

    def __init__(self, source, sink, address, port, rate):
        super().__init__(f"UDP {source.name} to {address}")
        self.address = (address, port)
        self.receiver_sock = sink.socket(lab.family_of(address))
        self.receiver_sock.bind(self.address)
        self.receiver_sock.settimeout(0.2)
        self.out = source.socket(lab.family_of(address))
        self.rate = rate
        self.n_sent = 0
        self.seen = set()
        self.receiver = threading.Thread(target=self.receive, daemon=True)
        self.receiver.start()
        self.start()

    def run(self):
        draw = random.Random(self.name)
        while not self.is_over.is_set():
            for _ in range(16):
                body = draw.randbytes(draw.choice((0, 1, 64, 1000, 1300)))
                head = self.HEAD.pack(self.n_sent,
                                      hashlib.md5(body).digest())
                # Without a route, a buffer or a receiver, the datagram is
                # lost.
                with contextlib.suppress(OSError):
                    self.out.sendto(head + body, self.address)
                self.n_sent += 1
            time.sleep(16 / self.rate)

    def receive(self):
        while not self.is_over.is_set():
            try:
                data = self.receiver_sock.recv(1 << 16)
            except OSError:
                continue
            number, digest = self.HEAD.unpack_from(data)
            if hashlib.md5(data[self.HEAD.size:]).digest() != digest:
                self.wrong.append(f"datagram {number} is not what was sent")
            if number in self.seen:
                self.wrong.append(f"datagram {number} came twice")
            self.seen.add(number)

    def finish(self, timeout):
        """What is wrong with it, as texts."""
        self.is_over.set()
        self.join(timeout)
        self.receiver.join(timeout)
        print(f"# {self.name}: {len(self.seen)} of {self.n_sent} datagrams")
        if not self.seen:
            self.wrong.append("no datagram has arrived")
        return [f"{self.name}: {text}" for text in self.wrong[:5]]


# --------------------------------------------------------------------- ends


class End:
    """A side of the tunnel: node, daemon, and the settings that it should
    have."""

    def __init__(self, l, side):
        self.lab = l
        self.side = side
        self.node = l.node(side)
        self.port = 51001 if side == "a" else 51002
        self.host = 1 if side == "a" else 2
        self.outer = 4
        self.tunnel = l.tunnel(self.node, f"wg{side}", self.port)
        self.device = self.tunnel.name
        self.other = None
        self.base = None
        self.keeper_base = None
        self.killed_at = []
        self.upgrades = []

    def address(self, family):
        if family == 4:
            return f"192.0.2.{self.host}"
        return f"2001:db8::{self.host}"

    def endpoint(self):
        """The address and port of this end."""
        return lab.at(self.address(self.outer), self.port)

    def set_addresses(self):
        """Set the addresses of the cable again, whichever are lost."""
        self.node.ip(f"addr replace {self.address(4)}/24 dev eth",
                     f"addr replace {self.address(6)}/64 dev eth nodad",
                     check_status=False)

    def start(self):
        """A new daemon, set up like the one before."""
        tunnel = self.tunnel
        tunnel.process, tunnel.has_ended = None, False
        tunnel.port = self.port
        self.device = tunnel.name
        if tunnel in self.lab.tunnels:
            self.lab.tunnels.remove(tunnel)
        # wg(8) removes the file of a socket that nobody serves. At this level start()
        # does not run it before the daemon has put its own in that place.
        is_left = os.path.exists(tunnel.socket)
        tunnel.start(LOG_LEVEL="verbose" if is_left else "error")
        tunnel.configure(self.peer())
        self.node.ip(f"addr add {INNER4[self.side]}/24 dev {self.device}",
                     f"addr add {INNER6[self.side]}/64 dev {self.device} nodad",
                     f"link set {self.device} up")
        self.base = self.keeper_base = None
        self.killed_at = []

    def mend_local_route(self):
        """A link that goes down and up may leave a host with its inner IPv6
        address but without its local route (seen on Linux 6.18 with
        keep_addr_on_down). The kernel then drops packets to the address,
        although the tunnel works. So the address is made again, and a line
        says so."""
        address = INNER6[self.side]
        text = self.node.run("ip", "-6", "route", "show", "table",
                             "local").stdout
        if f"local {address} " in text:
            return
        print(f"# {self.side}: the kernel has lost its route of {address}",
              flush=True)
        self.node.run("ip", "addr", "del", f"{address}/64", "dev",
                      self.device, check_status=False)
        self.node.ip(f"addr add {address}/64 dev {self.device} nodad")

    def peer(self):
        return {"PublicKey": self.other.tunnel.public,
                "AllowedIPs": lab.allowed(self.other.side),
                "Endpoint": self.other.endpoint()}

    def set_endpoint(self):
        self.tunnel.set("peer", self.other.tunnel.public, "endpoint",
                        self.other.endpoint())

    def kill(self):
        process = self.tunnel.process
        process.kill()
        process.wait()
        self.tunnel.has_ended = True

    def measure(self):
        """(descriptors, threads, KiB of memory) of the engine."""
        return measure(self.tunnel.pid)

    def measure_keeper(self):
        """The same of the keeper and of the process that starts engines."""
        starters = [pid for pid in lab.descendants_of(self.tunnel.process.pid)
                    if lab.command_of(pid) == "wg-starter"]
        return [measure(pid) for pid in (self.tunnel.keeper, *starters)]

    def engines(self):
        return upgrading.engines_of(self.tunnel)

    def settings(self):
        """The configuration that a death or an upgrade must not change. The other end
        may move at any time, so its endpoint is none of it."""
        lines = [line.split("\t") for line in self.tunnel.get("dump").stdout.splitlines()]
        return [lines[0]] + [[line[i] for i in (0, 1, 3, 7)] for line in lines[1:]]

    def kill_engine(self, number, which=0):
        """Kill one of the engines, unless that could be the death that ends the
        daemon."""
        now = time.monotonic()
        if not IS_DEATHLESS and \
                len([at for at in self.killed_at if now - at < DEATHS_S]) >= DEATHS:
            return
        engines = self.engines()
        if engines:
            self.killed_at.append(now)
            with contextlib.suppress(ProcessLookupError):
                os.kill(engines[which % len(engines)], number)

    def must_have_engine(self):
        """There is one engine, and it answers."""
        lab.wait_until(lambda: len(self.engines()) == 1,
                       f"{self.tunnel.name} has one engine", 40)
        self.tunnel.get()

    def count_deaths(self):
        """The deaths of engines that the keeper tells of."""
        return self.tunnel.log().count("another engine has taken its place")

    def begin_upgrade(self):
        self.upgrades.append((self.tunnel.process, self.node.start(
            upgrading.CTL, "upgrade", self.tunnel.name)))

    def end_upgrades(self, must_succeed):
        """Wait for the upgrades that have begun."""
        for daemon, process in self.upgrades:
            try:
                status = process.wait(60)
            except subprocess.TimeoutExpired:
                raise Failure(f"{self.side}: the upgrade does not end") from None
            with open(process.log.name, encoding="utf-8") as file:
                text = file.read()
            print(f"# {self.side}: {text.strip()}", flush=True)
            check(daemon.poll() is not None or
                  (text.count("\n") == 1 and "no answer" not in text), f"upgrade: {text}")
            check(status in ((0,) if must_succeed else (0, 1)),
                  f"{self.side}: status {status} of an upgrade: {text}")
        self.upgrades = []


def measure(pid):
    """(descriptors, threads, KiB of memory) of a process."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        text = file.read()
    threads, rss = (int(re.search(rf"{name}:\s+(\d+)", text).group(1))
                    for name in ("Threads", "VmRSS"))
    return len(os.listdir(f"/proc/{pid}/fd")), threads, rss


def descriptors(pid):
    """What the descriptors of a process are, sorted."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return sorted(found)


class World:
    """Both ends, the cable, and how they are disturbed and mended."""

    def __init__(self, l):
        self.lab = l
        self.ends = {side: End(l, side) for side in SIDES}
        for side, end in self.ends.items():
            end.other = self.ends[SIDES[side]]
        l.link(self.ends["a"].node, self.ends["b"].node, "eth", "eth", 1500)
        self.mtu = 1500
        # The event that happens is the only one of its burst.
        self.is_alone = False
        self.has_netem = self.probe_netem()
        for end in self.ends.values():
            # TCP retries at least every two seconds, and must never give up:
            # the usual number of retries would not last for the test.
            end.node.sysctl("net.ipv4.tcp_retries2", 255)
            with contextlib.suppress(OSError):
                end.node.sysctl("net.ipv4.tcp_rto_max_ms", 2000)
            end.set_addresses()
            end.node.settle("eth")
        for end in self.ends.values():
            end.start()

    def probe_netem(self):
        node = self.ends["a"].node
        has_it = not node.run("tc", "qdisc", "add", "dev", "eth", "root",
                              "netem", "delay", "1ms",
                              check_status=False).returncode
        if has_it:
            node.run("tc", "qdisc", "del", "dev", "eth", "root")
        return has_it

    # ---------------------------------------------------------------- mending

    def mend(self, sets_endpoints):
        """Remove everything that keeps packets from passing."""
        for end in self.ends.values():
            node = end.node
            if node.sysctl("net.ipv6.conf.eth.disable_ipv6") == "1":
                node.sysctl("net.ipv6.conf.eth.disable_ipv6", 0)
            node.ip("link set eth up")
            end.set_addresses()
            node.run("tc", "qdisc", "del", "dev", "eth", "root",
                     check_status=False)
            node.run("ip", "-4", "route", "flush", "type", "unreachable",
                     check_status=False)
        if sets_endpoints:
            for end in self.ends.values():
                end.set_endpoint()

    def must_work(self):
        """The tunnel carries packets of both families, both ways."""
        limit = 120 if self.lab.is_slow else 60
        for end in self.ends.values():
            for inner in INNER4, INNER6:
                address = inner[end.other.side]
                start = time.monotonic()
                while not end.node.ping(address, count=1, wait=1)[0]:
                    for one in self.ends.values():
                        one.mend_local_route()
                    if time.monotonic() - start > limit:
                        raise Failure(f"{end.node.name}: no answer of "
                                      f"{address} for {limit} s\n"
                                      f"{self.describe()}")

    def describe(self):
        """The state of both ends, for a message that no packet passes."""
        texts = []
        for end in self.ends.values():
            texts.append(f"--- {end.side}")
            for words in ("addr",), ("route",), ("-6", "route"), \
                    ("-6", "route", "show", "table", "local"), \
                    ("-s", "link", "show", "dev", end.device):
                texts.append(end.node.run("ip", *words,
                                          check_status=False).stdout)
            texts.append(re.sub("private_key=.*", "", end.tunnel.ask(
                "get=1\n\n")))
        return "\n".join(texts)

    def must_live(self):
        for end in self.ends.values():
            status = end.tunnel.process.poll()
            check(status is None, f"{end.tunnel.name} has ended with status "
                                  f"{status}: {end.tunnel.log()[-2000:]}")

    def must_be_bounded(self):
        """The daemons have no more descriptors, threads and memory than at
        their start."""
        more = RSS_GROWTH_SANITIZED if self.lab.is_slow else RSS_GROWTH
        for end in self.ends.values():
            name = end.tunnel.name
            self.must_be_bounded_keeper(end)
            if not end.base or end.base[3] != end.tunnel.pid:
                end.base = (*end.measure(), end.tunnel.pid)
                continue
            fds, threads, rss, _ = end.base
            # The daemon closes the sockets of vanished clients only after a
            # while.
            lab.wait_until(lambda e=end, n=fds: e.measure()[0] <= n,
                           f"{name} has its {fds} descriptors back, not "
                           f"{end.measure()[0]}", 10)
            now = end.measure()
            # The daemon starts one thread only when it first needs it.
            check(now[1] <= threads + 1,
                  f"{name}: {threads} threads have become {now[1]}")
            check(now[2] <= rss + more,
                  f"{name}: {rss} KiB have become {now[2]}")


    def must_be_bounded_keeper(self, end):
        """The keeper outlives its engines, and so does the process that starts them."""
        if not end.keeper_base:
            end.keeper_base = end.measure_keeper()
        more = KEEPER_GROWTH_SANITIZED if self.lab.is_slow else KEEPER_GROWTH
        before = end.keeper_base
        # The child keeps the file of a program that was not taken, up to the next one.
        spare = (0, 1)
        try:
            lab.wait_until(lambda: all(
                now[0] <= was[0] + more for was, now, more in
                zip(before, end.measure_keeper(), spare)), "the descriptors", 10)
        except Failure:
            raise Failure(f"{end.side}: descriptors of the keeper and its child were "
                          f"{before}, now {end.measure_keeper()}: "
                          f"{descriptors(end.tunnel.keeper)}") from None
        for was, now in zip(before, end.measure_keeper()):
            check(now[1] == was[1] and now[2] <= was[2] + more,
                  f"{end.side}: of the keeper or its child: {was} have become {now}")

    def must_be_whole(self):
        """Upgrades have ended, and each end has one engine. None has died that was not
        killed."""
        for end in self.ends.values():
            end.end_upgrades(False)
            end.must_have_engine()
            check(end.count_deaths() <= len(end.killed_at),
                  f"{end.side}: {end.count_deaths()} engines have died, "
                  f"{len(end.killed_at)} were killed: {end.tunnel.log()[-2000:]}")

    def traces(self):
        """What an upgrade alone must not change: messages of handshakes, and datagrams
        that came twice, of both ends."""
        found = [upgrading.stats(end.tunnel) for end in self.ends.values()]
        return [(one["handshakes_received"], one["inbound_dropped_replayed"])
                for one in found]

    def is_calm(self):
        """Is no handshake under way, or due soon?"""
        before = self.traces()
        time.sleep(CALM_S)
        ages = [time.time() - int(line.split()[1]) for end in self.ends.values()
                for line in end.tunnel.get("latest-handshakes").stdout.splitlines()]
        return self.traces() == before and max(ages) < FRESH_S


# ------------------------------------------------------------------- events
# Each event takes the world, the end that it happens to, and the random
# generator. Its actions, and the order of its draws, must not depend on the
# state of the tunnel, so that a seed repeats a run.

events = []


def event(moves=False):
    """Register a function as an event. moves: it changes an address or port,
    which the other end has to learn."""
    def note(function):
        function.moves = moves
        events.append(function)
        return function
    return note


@event()
def tunnel_flaps(_world, end, draw):
    n, pause = draw.randrange(1, 4), draw.uniform(0, 0.3)
    for _ in range(n):
        end.node.ip(f"link set {end.device} down")
        time.sleep(pause)
        end.node.ip(f"link set {end.device} up")


@event()
def cable_flaps(_world, end, draw):
    pause = draw.uniform(0, 1)
    end.node.ip("link set eth down")
    time.sleep(pause)
    end.node.ip("link set eth up")
    end.set_addresses()


@event()
def killed(_world, end, draw):
    pause = draw.uniform(0, 0.5)
    end.kill()
    time.sleep(pause)
    end.start()


@event()
def restarted(_world, end, _draw):
    if end.tunnel.process.poll() is not None:
        raise Failure(f"{end.device} has ended by itself with status "
                      f"{end.tunnel.process.returncode}")
    end.tunnel.process.send_signal(signal.SIGTERM)
    # If an event before this one has killed the engine a moment ago, it dies while it is
    # told to end.
    is_dying = end.killed_at and time.monotonic() - end.killed_at[-1] < DYING_S
    allowed = (0, 1) if is_dying else (0,)
    status = end.tunnel.wait(60)
    check(status in allowed, f"status of {end.device} after SIGTERM: {status}")
    end.start()


@event()
def removed_and_made_again(_world, end, _draw):
    end.node.ip(f"link del {end.device}")
    check_equal(end.tunnel.wait(60), 0, "status after the deletion")
    end.start()


@event(moves=True)
def port_changes(_world, end, draw):
    end.port = draw.randrange(20000, 30000)
    end.tunnel.set("listen-port", str(end.port))


@event()
def mark_changes(_world, end, draw):
    end.tunnel.set("fwmark", str(draw.randrange(5)))


@event(moves=True)
def address_changes(_world, end, draw):
    old4, old6 = end.address(4), end.address(6)
    # The odd host numbers are a's.
    end.host = draw.randrange(1, 100) * 2 + (end.side == "a")
    end.set_addresses()
    end.node.ip(f"addr del {old4}/24 dev eth", f"addr del {old6}/64 dev eth",
                check_status=False)
    end.set_addresses()


@event(moves=True)
def family_changes(_world, end, draw):
    end.outer = draw.choice((4, 6))
    end.other.set_endpoint()


@event()
def cable_mtu_changes(world, _end, draw):
    world.mtu = draw.choice((1280, 1380, 1420, 1500, 1500, 9000))
    for end in world.ends.values():
        end.node.ip(f"link set eth mtu {world.mtu}")


@event()
def tunnel_mtu_changes(_world, end, draw):
    end.node.ip(f"link set {end.device} mtu {draw.choice((1280, 1420, 9000))}")


@event()
def ipv6_goes_and_comes(_world, end, draw):
    pause = draw.uniform(0, 1)
    end.node.sysctl("net.ipv6.conf.eth.disable_ipv6", 1)
    time.sleep(pause)
    end.node.sysctl("net.ipv6.conf.eth.disable_ipv6", 0)
    end.set_addresses()


@event()
def address_storm(_world, end, draw):
    n, is_stopped = draw.randrange(100, 2000), draw.random() < 0.5
    if is_stopped:
        # The netlink socket of the stopped keeper overflows.
        os.kill(end.tunnel.keeper, signal.SIGSTOP)
    try:
        end.node.ip(*(f"addr {what} 10.77.{i // 250}.{i % 250}/32 dev eth"
                      for what in ("add", "del") for i in range(n)))
    finally:
        if is_stopped:
            os.kill(end.tunnel.keeper, signal.SIGCONT)


@event()
def renamed(_world, end, draw):
    name = f"t{draw.randrange(1000)}"
    end.node.ip(f"link set {end.device} down",
                f"link set {end.device} name {name}", f"link set {name} up")
    end.device = name


@event()
def peer_comes_back(_world, end, draw):
    pause = draw.uniform(0, 0.3)
    end.tunnel.set("peer", end.other.tunnel.public, "remove")
    time.sleep(max(pause, PAUSE))
    end.tunnel.configure(end.peer(), how="addconf",
                         lines=[f"ListenPort = {end.port}"])


@event()
def many_peers(_world, end, draw):
    n = draw.randrange(10, 200)
    text = "".join(f"public_key={draw.randbytes(32).hex()}\n"
                   f"endpoint=192.0.2.{draw.randrange(100, 250)}:9\n"
                   f"allowed_ip=10.200.{i}.0/24\n"
                   f"persistent_keepalive_interval=1\n" for i in range(n))
    check("errno=0" in end.tunnel.ask(f"set=1\n{text}\n", 30),
          "peers are refused")
    keys = re.findall("public_key=(.*)", text)
    text = "".join(f"public_key={key}\nremove=true\n" for key in keys)
    check("errno=0" in end.tunnel.ask(f"set=1\n{text}\n", 30),
          "removals are refused")


@event()
def clients_flood(_world, end, draw):
    texts = [draw.choice((b"get=1\n\n" * 20, b"set=1\nfwm", b"", b"get",
                          b"x\n\n", b"set=1\nlisten_port=99999\n\n"))
             for _ in range(60)]
    with contextlib.ExitStack() as stack:
        for text in texts:
            sock = stack.enter_context(
                socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            sock.settimeout(30)
            with contextlib.suppress(ConnectionError):
                sock.connect(end.tunnel.socket)
                sock.sendall(text)


@event()
def cable_is_bad(world, end, draw):
    words = draw.choice((("loss", "20%"), ("delay", "5ms", "5ms"),
                         ("duplicate", "10%"), ("corrupt", "2%"),
                         ("delay", "10ms", "reorder", "25%", "50%")))
    pause = draw.uniform(0.2, 2)
    if world.has_netem:
        end.node.run("tc", "qdisc", "replace", "dev", "eth", "root", "netem",
                     *words)
    time.sleep(pause)
    end.node.run("tc", "qdisc", "del", "dev", "eth", "root",
                 check_status=False)


@event()
def route_goes(_world, end, draw):
    kind = draw.choice(("unreachable", "prohibit", "blackhole"))
    pause = draw.uniform(0, 1)
    for to in end.other.address(4) + "/32", end.other.address(6) + "/128":
        end.node.ip(f"route add {kind} {to}", check_status=False)
        time.sleep(pause / 2)
        end.node.ip(f"route del {kind} {to}", check_status=False)


@event()
def checksums_change(_world, end, draw):
    if lab.shutil.which("ethtool"):
        end.node.run("ethtool", "-K", "eth", "tx", draw.choice(("on", "off")),
                     check_status=False)


@event()
def stopped_for_a_while(_world, end, draw):
    pause = draw.uniform(0, 1.5)
    pid = draw.choice((end.tunnel.pid, end.tunnel.keeper))
    # An event before this one may have killed the process.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(pause)
        os.kill(pid, signal.SIGCONT)


@event()
def garbage(_world, end, draw):
    sock = end.other.node.socket()
    with contextlib.suppress(OSError), sock:
        for _ in range(300):
            head = bytes([draw.choice((0, 1, 2, 3, 4, 4, 255)), 0, 0, 0])
            sock.sendto(head + draw.randbytes(draw.choice((0, 28, 88, 144,
                                                           1400))),
                        (end.address(4), end.port))


@event()
def engine_dies(world, end, draw):
    number, waits = draw.choice(DEADLY[world.lab.is_slow]), draw.random() < 0.7
    if not waits:
        end.kill_engine(number)
        return
    end.end_upgrades(False)
    before = end.settings()
    end.kill_engine(number)
    end.must_have_engine()
    check_equal(end.settings(), before, f"settings of {end.side} after signal {number}")


@event()
def upgraded(world, end, draw):
    waits = draw.random() < 0.5
    if not waits:
        end.begin_upgrade()
        return
    end.end_upgrades(False)
    end.must_have_engine()
    before, traces = end.settings(), world.is_alone and world.is_calm() and world.traces()
    end.begin_upgrade()
    # Right after a death the daemon may refuse.
    end.end_upgrades(world.is_alone)
    end.must_have_engine()
    check_equal(end.settings(), before, f"settings of {end.side} after an upgrade")
    if traces:
        check_equal(world.traces(), traces, "handshakes and datagrams twice at both ends")
        print("# no handshake", flush=True)


@event()
def upgrade_dies(world, end, draw):
    number, pause, which = draw.choice(DEADLY[world.lab.is_slow]), draw.random(), \
        draw.randrange(2)
    before = end.settings()
    end.begin_upgrade()
    time.sleep(pause * (0.8 if world.lab.is_slow else 0.1))
    end.kill_engine(number, which)
    end.end_upgrades(False)
    end.must_have_engine()
    check_equal(end.settings(), before, f"settings of {end.side} after an upgrade")


# -------------------------------------------------------------------- the run


def burst(world, draw):
    """One to four events without a pause; after mending, the tunnel has to
    work."""
    chosen = [(draw.choice(events), draw.choice("ab"), draw.random())
              for _ in range(draw.choice((1, 1, 2, 3, 4)))]
    # If an end moved twice, or both ends moved, neither may know the address of
    # the other. Then the test sets the new endpoints.
    tells = sum(function.moves for function, _, _ in chosen) > 0 and \
        (len(chosen) > 1 or draw.random() < 0.5)
    print(f"# {' '.join(f'{f.__name__}({s})' for f, s, _ in chosen)}"
          f"{' told' if tells else ''}", flush=True)
    world.is_alone = len(chosen) == 1
    for function, side, seed in chosen:
        function(world, world.ends[side], random.Random(seed))
        world.must_live()
    world.mend(tells)
    world.must_be_whole()
    world.must_work()
    world.must_live()
    world.must_be_bounded()


def make_flows(world):
    a, b = world.ends["a"].node, world.ends["b"].node
    rate = 500e3 if world.lab.is_slow else 2e6
    flows = []
    for number, inner in enumerate((INNER4, INNER6)):
        for source, sink, to in (a, b, "b"), (b, a, "a"):
            flows.append(LongStream(source, sink, inner[to],
                                    7100 + number, rate))
            flows.append(Datagrams(source, sink, inner[to], 7200 + number,
                                   200 if world.lab.is_slow else 1000))
    return flows


@case(f"chaos of {SECONDS:.0f} s with CHAOS_SEED={SEED}")
def chaos(l):
    draw = random.Random(SEED)
    world = World(l)
    world.must_work()
    flows = make_flows(world)
    world.must_be_bounded()
    end = time.monotonic() + SECONDS
    n = 0
    while time.monotonic() < end:
        burst(world, draw)
        n += 1
        dead = [text for flow in flows for text in flow.wrong]
        check(not dead, f"after {n} bursts: {dead}")
    wrong = [text for flow in flows for text in flow.finish(120)]
    for side in world.ends.values():
        print(f"# {side.tunnel.name}: descriptors, threads, KiB: "
              f"{side.base}, now {side.measure()}; of the keeper and its child: "
              f"{side.keeper_base}, now {side.measure_keeper()}")
    print(f"# {n} bursts")
    check(not wrong, "\n".join(wrong))
    world.must_work()


lab.main()
