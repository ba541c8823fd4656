# SPDX-License-Identifier: MIT
"""Lives of a daemon in which calls may fail, for syscalls.py."""
import base64
import contextlib
import os
import re
import signal
import socket
import struct
import threading
import time

import failcall
import lab
from lab import INNER4, OUTER4, OUTER6, Failure, check, check_equal, wait_until
from manager import Store, index_of

# A host accepts 50 initiations a second from a peer: pause before the next
# one.
PAUSE = 0.05
# src/base/upgrade.h
UPGRADE_REQUEST = struct.pack("=II", 1, 0)
UPGRADE_REPLY = struct.Struct("=Ii400s")
# Lines of the log about the end of an engine that had the tunnel.
DEATH = r"(?<!no upgrade: )the engine has ended|: the engine is killed"
# Seconds until the reply. The keeper gives an upgrade up before that.
UPGRADE_PATIENCE = 30


class Ended(Exception):
    """The daemon has ended before it was told to."""


def check_one_line(text):
    """A daemon that cannot start says so in one line."""
    lines = text.splitlines()
    check(len(lines) == 1 and lines[0].startswith("wiregather: "),
          f"not one line: {lines}")


def hexed(key):
    return base64.b64decode(key).hex()


class World:
    """A partner daemon that stays, and the node for one tested daemon after
    the other."""

    def __init__(self, l):
        library = failcall.find_library(l.daemon)
        if not library:
            raise lab.Skip("no libfailcall.so beside the daemon")
        self.lab = l
        self.table = failcall.Table(library, f"{l.directory}/failcall")
        self.a, self.b = l.node("a"), l.node("b")
        l.link(self.a, self.b, "eth", "eth")
        for side, node in ("a", self.a), ("b", self.b):
            node.ip(f"addr add {OUTER4[side]}/24 dev eth",
                    f"addr add {OUTER6[side]}/64 dev eth nodad")
            node.settle("eth")
        self.partner = l.tunnel(self.b, "wgb", 51002).start()
        self.me = l.tunnel(self.a, "wga", 51001)
        self.partner.configure({"PublicKey": self.me.public,
                                "AllowedIPs": INNER4["a"] + "/32"})
        self.partner.up(INNER4["b"] + "/24")
        # An initiation that was refused as too early is tried again after 5 s.
        # On a busy machine that may happen several times.
        self.patience = 60 if l.is_slow else 30
        self.serve()
        # What fails from the stage of a life on that has one.
        self.plan_of_stage = {}
        # A service manager, from the first life on that has one.
        self.store = None

    def serve(self):
        """Answer datagrams and streams at the partner's inner address."""
        udp = self.b.socket()
        udp.settimeout(None)
        udp.bind((INNER4["b"], 7))
        tcp = self.b.socket(kind=socket.SOCK_STREAM)
        tcp.settimeout(None)
        tcp.bind((INNER4["b"], 7))
        tcp.listen(8)

        def answer_datagrams():
            with contextlib.suppress(OSError):
                while True:
                    data, sender = udp.recvfrom(1 << 16)
                    with contextlib.suppress(OSError):
                        udp.sendto(data, sender)

        def answer_stream(conn):
            with contextlib.suppress(OSError), conn:
                while data := conn.recv(1 << 16):
                    conn.sendall(data)

        def answer_streams():
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=answer_stream, daemon=True,
                                     args=(tcp.accept()[0],)).start()

        for function in answer_datagrams, answer_streams:
            threading.Thread(target=function, daemon=True).start()

    def left_behind(self):
        """The files, interfaces and rules that an ended daemon has left."""
        found = []
        if self.has_interface():
            found.append("the interface")
        if os.path.exists(self.me.socket):
            found.append("the socket's file")
        return found

    def has_interface(self):
        with self.a.inside():
            with open("/proc/thread-self/net/dev", encoding="ascii") as file:
                return "wga:" in file.read()


class Life:
    """One life of a daemon: start, configuration, traffic, changes, end."""

    # Calls fail only from begin_stage() on.
    HAS_STAGE = False
    # Engines that the life kills.
    N_KILLED = 0

    def __init__(self, world, lacks_family=False):
        self.world = world
        self.me = world.me
        self.lacks_family = lacks_family
        self.outer = OUTER4
        self.process = None
        self.pid = 0
        self.is_ready = False
        # An upgrade was refused, and succeeded later.
        self.is_refused = False
        # What earlier daemons of this life have logged.
        self.earlier_logs = ""

    # ----------------------------------------------------- what may be tried

    def watch(self):
        """Raise Ended if the daemon has ended."""
        if self.process.poll() is not None:
            raise Ended

    def until(self, attempt, what):
        """Repeat an attempt until it succeeds: one failed call may make one
        attempt fail."""
        def succeeds():
            self.watch()
            try:
                return attempt()
            except OSError:
                return False
        lab.wait_until(succeeds, what, self.world.patience, 0.01)

    def ask(self, lines):
        """Send a request; return True if the answer has no error."""
        return self.me.ask(lines + "\n\n", 10).endswith("errno=0\n\n")

    def set(self, *lines):
        self.until(lambda: self.ask("\n".join(["set=1", *lines])),
                   f"set {' '.join(lines)[:60]}")

    def echo(self, size=1000):
        """Send datagrams through the tunnel until one comes back."""
        with self.world.a.inside():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        data = os.urandom(size)
        number = 0

        def comes_back():
            nonlocal number
            number += 1
            if self.lacks_family and number % 25 == 0:
                self.use(OUTER4 if self.outer is OUTER6 else OUTER6)
            sock.settimeout(0.2)
            for _ in range(3):
                sock.sendto(data, (INNER4["b"], 7))
            return sock.recv(1 << 16) == data

        with sock:
            self.until(comes_back, "a datagram comes back")

    def use(self, outer):
        """Reach the partner over IPv4 or IPv6."""
        self.outer = outer
        self.set(f"public_key={hexed(self.world.partner.public)}",
                 f"endpoint={lab.at(outer['b'], 51002)}")

    def stream(self, size=200000):
        """Send a stream through the tunnel and back."""
        with self.world.a.inside():
            sock = socket.socket()
        data = os.urandom(size)
        sock.settimeout(self.world.patience)
        with sock:
            try:
                sock.connect((INNER4["b"], 7))
                sender = threading.Thread(target=self.send, args=(sock, data))
                sender.start()
                got = b""
                while len(got) < size:
                    part = sock.recv(1 << 16)
                    check(part, "the stream ends early")
                    got += part
                sender.join()
            except OSError as err:
                self.watch()
                raise Failure(f"stream: {err}") from None
        check(got == data, "the stream is not what was sent")

    @staticmethod
    def send(sock, data):
        # The receiver notices a failure here.
        with contextlib.suppress(OSError):
            sock.sendall(data)

    def ip(self, *lines):
        done = self.world.a.ip(*lines, check_status=False)
        if done.returncode:
            self.watch()
            raise Failure(f"ip {lines}: {done.stdout}")

    def begin_stage(self):
        """From now on calls fail, and are counted."""
        self.world.table.plan_from_now(**self.world.plan_of_stage)

    def count_deaths(self):
        """How many engines that had the tunnel have ended, other than the life wants."""
        text = self.earlier_logs + self.log()
        return len(re.findall(DEATH, text)) - self.N_KILLED

    def engine(self):
        return lab.engine_of(self.process.pid)

    # --------------------------------------------------------------- the life

    def start(self, **environment):
        world = self.world
        self.process = world.a.start(
            world.lab.daemon, "-f", "wga",
            env={**os.environ, "LOG_LEVEL": "error",
                 **world.table.environment(), **environment})
        self.become_ready()

    def become_ready(self):
        def can_be_asked():
            return os.path.exists(self.me.socket) and self.ask("get=1")

        self.until(can_be_asked, "the daemon answers")
        self.is_ready = True

    def configure(self):
        """Key, port and peer; address; up."""
        self.set(f"private_key={hexed(self.me.private)}", "listen_port=51001",
                 "replace_peers=true",
                 f"public_key={hexed(self.world.partner.public)}",
                 f"endpoint={OUTER4['b']}:51002",
                 f"allowed_ip={INNER4['b']}/32")
        self.ip(f"addr add {INNER4['a']}/24 dev wga", "link set wga up")
        self.echo()

    def change(self):
        """Change each setting that may be changed while the daemon runs."""
        peer = f"public_key={hexed(self.world.partner.public)}"
        self.stream()
        self.set("listen_port=51005", "fwmark=16")
        self.echo()
        time.sleep(PAUSE)
        self.ip("link set wga down", "link set wga mtu 1380",
                "link set wga up")
        self.echo()
        self.set("fwmark=0")
        self.use(OUTER6)
        self.ip(f"addr add {INNER4['a']}1/32 dev eth",
                f"addr del {INNER4['a']}1/32 dev eth")
        self.echo()
        self.stream()
        self.set(peer, "remove=true")
        time.sleep(PAUSE)
        self.set("listen_port=51001", "replace_peers=true", peer,
                 f"allowed_ip={INNER4['b']}/32")
        self.use(OUTER4)
        self.echo()
        self.until(self.has_settings, "get tells what was set")

    def has_settings(self):
        text = self.me.ask("get=1\n\n", 10).splitlines()
        return "listen_port=51001" in text and \
            not any(line.startswith("fwmark=") for line in text) and \
            sum(line.startswith("public_key=") for line in text) == 1

    def stop(self):
        """Tell the daemon to end; it must do so, with status 0."""
        self.watch()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(self.world.patience)
        except lab.subprocess.TimeoutExpired:
            raise Failure("the daemon does not end") from None
        check_equal(status, 0, "status")

    def log(self):
        with open(self.process.log.name, encoding="utf-8",
                  errors="replace") as file:
            return file.read()

    def clear(self):
        """Remove what is left, for the next life."""
        process = self.process
        if process and process.poll() is None:
            process.kill()
            process.wait()
        if process:
            process.log.close()
            os.unlink(process.log.name)
            self.world.lab.processes.remove(process)
        with contextlib.suppress(OSError):
            os.unlink(self.me.socket)
        if self.world.has_interface():
            self.world.a.ip("link del wga", check_status=False)

    def run(self):
        """All of it."""
        self.start()
        self.configure()
        self.change()
        self.stop()


class Detached(Life):
    """A life that begins with a fork."""

    class Child:
        """The detached daemon, with the methods of Popen that Life uses."""

        def __init__(self, pid):
            self.pid = pid
            self.returncode = None

        def poll(self):
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
            return self.returncode

    def start(self, **environment):
        world = self.world
        self.process = world.a.start(
            world.lab.daemon, "wga",
            env={**os.environ, "LOG_LEVEL": "error",
                 **world.table.environment(), **environment})
        try:
            status = self.process.wait(world.patience)
        except lab.subprocess.TimeoutExpired:
            raise Failure("the parent does not end") from None
        if status:
            raise Ended
        found = set(lab.children_of(os.getpid())) - {world.partner.process.pid}
        check_equal(len(found), 1, "daemons")
        self.pid = found.pop()
        self.become_ready()

    def watch(self):
        if not self.pid:
            return
        if not self.has_process():
            raise Ended

    def has_process(self):
        pid, _ = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self.pid = 0
        return not pid

    def run(self):
        self.start()
        self.configure()
        self.stop()

    def stop(self):
        os.kill(self.pid, signal.SIGTERM)
        lab.wait_until(lambda: self.ends_well(), "the daemon ends",
                       self.world.patience)

    def ends_well(self):
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return False
        self.pid = 0
        check_equal(os.waitstatus_to_exitcode(status), 0, "status")
        return True

    def clear(self):
        for pid in set(lab.children_of(os.getpid())) - {
                self.world.partner.process.pid}:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        super().clear()


class Managed(Life):
    """A life under a service manager with a watchdog."""

    def start(self, **environment):
        path = f"{self.world.lab.directory}/manager"
        if not os.path.exists(path):
            self.listen(path)
        super().start(NOTIFY_SOCKET=path, WATCHDOG_USEC="1000000", **environment)

    def listen(self, path):
        sock = self.world.a.socket(socket.AF_UNIX)
        sock.settimeout(None)
        sock.bind(path)

        def receive():
            with contextlib.suppress(OSError):
                while sock.recv(4096):
                    pass

        threading.Thread(target=receive, daemon=True).start()


# ------------------------------------------------------- lives with two engines


class Replaced(Life):
    """A life in which the engine is killed, and another one goes on."""

    HAS_STAGE = True
    N_KILLED = 1

    def run(self):
        self.start()
        self.configure()
        self.begin_stage()
        before = self.engine()
        time.sleep(PAUSE)
        os.kill(before, signal.SIGKILL)
        self.until(lambda: self.engine() not in (self.process.pid, before),
                   "there is another engine")
        self.go_on()
        self.stop()

    def go_on(self):
        """What the first engine was told, the next one knows; it can be told more."""
        self.until(lambda: self.has_settings(), "get tells what was set")
        self.echo()
        time.sleep(PAUSE)
        self.set("listen_port=51005", "fwmark=16")
        self.echo()
        # The news of the interface come to the engine.
        self.ip("link set wga down")
        self.until(lambda: not self.me.has_port(51005), "the port is closed")
        self.ip("link set wga up")
        self.until(lambda: self.me.has_port(51005), "the port is open")
        self.echo()


class Upgraded(Life):
    """A life with an upgrade. If it is refused, the tunnel goes on as if there had been
    none, and the next attempt succeeds."""

    HAS_STAGE = True

    def run(self):
        self.start()
        self.configure()
        before, handshakes = self.engine(), self.count_handshakes()
        self.begin_stage()
        err, why = self.upgrade()
        self.echo()
        has_died = self.count_deaths() > 0
        if not has_died:
            check_equal(self.count_handshakes(), handshakes,
                        f"handshakes after an upgrade: {err} {why}")
        if err:
            self.is_refused = True
            check(why, f"there is no reason for {err}")
            check(has_died or self.engine() == before, f"another engine after: {why}")
            self.until(lambda: not self.upgrade()[0], "the next upgrade succeeds")
        check(self.engine() != before, "the engine is the same")
        Replaced.go_on(self)
        self.stop()

    def count_handshakes(self):
        text = self.world.partner.ask_statistics()
        return sum(int(line.split("=")[1]) for line in text.splitlines()
                   if line.startswith("handshakes_received="))

    def upgrade(self):
        """Ask for an upgrade. Return (errno, reason); (0, ""): it is done."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
            sock.settimeout(UPGRADE_PATIENCE * lab.SLOWNESS)
            try:
                sock.connect(self.me.socket.removesuffix("sock") + "upgrade")
                sock.send(UPGRADE_REQUEST)
                data = sock.recv(UPGRADE_REPLY.size)
            except OSError as err:
                self.watch()
                return err.errno or -1, f"the socket: {err}"
        if not data:
            return -1, "the connection was closed"
        _, err, why = UPGRADE_REPLY.unpack(data)
        return err, why.rstrip(b"\0").decode()


class Restarted(Life):
    """A life under a service manager that keeps descriptors: the daemon ends, and
    another one goes on."""

    NAMES = {"tun-0", "journal", "udp-0-0-0", "udp-0-1-0"}

    def run(self):
        self.world.store = self.store = self.world.store or Store(self.world.a)
        self.start()
        self.configure()
        wait_until(lambda: self.NAMES <= set(self.store.names()),
                   f"descriptors are kept: {self.store.names()}", self.world.patience)
        index = index_of(self.me)
        self.stop()
        self.forget_process()
        self.is_ready = False
        try:
            self.start()
        except Ended:
            self.check_refusal()
            self.forget_process()
            self.start()
        check_equal(index_of(self.me), index, "index of the interface")
        Replaced.go_on(self)
        self.stop()
        wait_until(lambda: self.store.forget() or not self.world.has_interface(),
                   "the interface is gone", 10)

    def start(self, **environment):
        self.process = self.store.launch(
            self.world.a, self.world.lab.daemon, ["wga"],
            {**self.store.environment(watchdog=False), "LOG_LEVEL": "error",
             **self.world.table.environment(), **environment})
        self.become_ready()

    def check_refusal(self):
        """A daemon that could not start has told why. The service manager starts it
        again."""
        check(self.process.returncode > 0, f"status {self.process.returncode}")
        check_one_line(self.log())

    def forget_process(self):
        self.earlier_logs += self.log()
        self.process.log.close()
        os.unlink(self.process.log.name)
        self.world.lab.processes.remove(self.process)
        self.process = None

    def clear(self):
        self.world.store.forget()
        super().clear()
