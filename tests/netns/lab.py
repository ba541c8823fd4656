# SPDX-License-Identifier: MIT
"""A laboratory of network namespaces, and the TAP around it.

Each program moves into a mount namespace of its own with an empty /run, so
neither its namespaces nor its sockets can be seen by, or collide with, what
runs on the machine; with the program they are gone. A case gets a new Lab and
takes out of it nodes (network namespaces), links between them and tunnels
(daemons of wiregather). At the end of the case every tunnel is told to end and
must do so with status 0 and without a word from a sanitizer. Only processes
that the laboratory has started are ended, by their id.
"""
import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SO_RCVBUFFORCE = 33
ETH_P_ALL = 3
PACKET_OUTGOING = 4

SOCKETS = "/var/run/wireguard"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

libc = ctypes.CDLL(None, use_errno=True)


class Failure(Exception):
    """What was to be proven is not so."""


class Skip(Exception):
    """The case cannot run here; the text says why."""


def check(is_so, what):
    """Fail with a text unless something is so."""
    if not is_so:
        raise Failure(what)


def check_equal(got, wanted, what):
    check(got == wanted, f"{what}: got {got!r}, wanted {wanted!r}")


def wait_until(predicate, what, timeout=5.0, step=0.02):
    """Wait until predicate() is true, and return what it has returned."""
    end = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"after {timeout} s still not: {what}")
        time.sleep(step)


def call(function, *args):
    if function(*args) < 0:
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err))


def run(*command, check_status=True, stdin=None, timeout=30, env=None):
    """Run a command to its end; both its outputs are in .stdout."""
    done = subprocess.run(
        command, input=stdin, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=timeout, env=env,
        stdin=subprocess.DEVNULL if stdin is None else None)
    if check_status and done.returncode:
        raise Failure(f"{' '.join(command)}: status {done.returncode}: "
                      f"{done.stdout.strip()}")
    return done


def need(*programs):
    """Skip unless these programs are there."""
    for program in programs:
        if not shutil.which(program):
            raise Skip(f"there is no {program} here")


def children_of(pid):
    """The ids of the processes that a process has started."""
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/task/{task}/children",
                      encoding="ascii") as file:
                found += map(int, file.read().split())
    return found


def after_fork():
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


# --------------------------------------------------------------------- nodes


class Node:
    """A network namespace."""

    def __init__(self, lab, name):
        self.lab = lab
        self.name = name
        run("ip", "netns", "add", name)
        self.fd = os.open(f"/run/netns/{name}", os.O_RDONLY)
        # Addresses are usable at once, and nothing is sent unasked.
        for where in "all", "default":
            self.sysctl(f"net.ipv6.conf.{where}.accept_dad", 0)
            self.sysctl(f"net.ipv6.conf.{where}.router_solicitations", 0)
            self.sysctl(f"net.ipv6.conf.{where}.keep_addr_on_down", 1)
            self.sysctl(f"net.ipv6.conf.{where}.disable_ipv6", 0)
        self.ip("link set lo up")

    def close(self):
        os.close(self.fd)
        run("ip", "netns", "del", self.name, check_status=False)

    @contextlib.contextmanager
    def inside(self):
        """This thread, and what it starts, are in the namespace."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            call(libc.setns, self.fd, CLONE_NEWNET)
            yield self
        finally:
            call(libc.setns, here, CLONE_NEWNET)
            os.close(here)

    def ip(self, *lines, check_status=True):
        """Run lines of ip(8) in the namespace."""
        text = "\n".join(lines) + "\n"
        return run("ip", "-n", self.name, "-batch", "-", stdin=text,
                   check_status=check_status)

    def run(self, *command, **options):
        with self.inside():
            return run(*command, **options)

    def start(self, *command, env=None, before=None):
        """Start a command and go on; its outputs go to the log."""
        log = tempfile.NamedTemporaryFile(
            "w+", dir=self.lab.directory, suffix=".log", delete=False)

        def prepare():
            after_fork()
            if before:
                before()

        with self.inside():
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=env, preexec_fn=prepare)
        process.log = log
        self.lab.processes.append(process)
        return process

    def sysctl(self, key, value=None):
        """Get or set a kernel parameter."""
        path = "/proc/sys/" + key.replace(".", "/")
        with self.inside():
            if value is None:
                with open(path, encoding="ascii") as file:
                    return file.read().strip()
            with open(path, "w", encoding="ascii") as file:
                file.write(str(value))
        return None

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_DGRAM, proto=0):
        """A socket that is in the namespace, from wherever it is used."""
        with self.inside():
            sock = socket.socket(family, kind, proto)
        sock.settimeout(5)
        self.lab.stack.callback(sock.close)
        return sock

    def nft(self, text):
        """Load rules of nft(8)."""
        need("nft")
        self.run("nft", "-f", "-", stdin=text)

    def link_address(self, device):
        """The link-local IPv6 address of a device."""
        text = self.run("ip", "-6", "addr", "show", "dev", device, "scope",
                        "link").stdout
        return re.search(r"inet6 (fe80:[0-9a-f:]+)", text).group(1)

    def ping(self, target, *options, count=3, wait=3):
        """Ping; returns how many answers came and what ping printed.

        One at a time: once it has had an answer, ping(8) waits for the next
        one for two round trips only, which is too short on a busy machine.
        """
        got, text = 0, ""
        for _ in range(count):
            done = self.run("ping", "-n", "-c", "1", "-W", str(wait),
                            *options, target, check_status=False)
            got += " 1 received" in done.stdout
            text += done.stdout
        return got, text

    def must_ping(self, target, *options, count=3, wait=3):
        """Ping; every answer must come."""
        got, text = self.ping(target, *options, count=count, wait=wait)
        if got != count:
            raise Failure(f"{self.name}: ping {' '.join(options)} {target}: "
                          f"{got} of {count} answers:\n{text}")

    def must_not_ping(self, target, *options, wait=1):
        got, _ = self.ping(target, *options, count=1, wait=wait)
        check(not got, f"{self.name}: ping {target} has an answer")


# --------------------------------------------------------------- the daemons


class Peer:
    """A line of `wg show NAME dump`."""

    def __init__(self, line):
        (self.public, self.psk, self.endpoint, allowed, handshake, rx, tx,
         self.keepalive) = line.split("\t")
        self.allowed = allowed.split(",")
        self.handshake = int(handshake)
        self.rx = int(rx)
        self.tx = int(tx)


class Tunnel:
    """A daemon, and the interface that it serves."""

    def __init__(self, node, name, port):
        self.node = node
        self.lab = node.lab
        self.name = name
        self.port = port
        self.private = run("wg", "genkey").stdout.strip()
        self.public = run("wg", "pubkey", stdin=self.private).stdout.strip()
        self.process = None
        self.has_ended = False

    @property
    def socket(self):
        return f"{SOCKETS}/{self.name}.sock"

    @property
    def pid(self):
        return self.process.pid

    def start(self, *options, before=None, **environment):
        """Start in the foreground and wait until it can be configured."""
        self.process = self.node.start(
            self.lab.daemon, "-f", *options, self.name,
            env={**os.environ, "LOG_LEVEL": "verbose", **environment},
            before=before)
        self.lab.tunnels.append(self)

        def is_ready():
            check(self.process.poll() is None,
                  f"{self.name} has ended at once: {self.log()}")
            return self.get(check_status=False).returncode == 0

        wait_until(is_ready, f"{self.name} can be asked", 10)
        return self

    def log(self):
        with open(self.process.log.name, encoding="utf-8",
                  errors="replace") as file:
            return file.read()

    def get(self, *what, check_status=True):
        return self.node.run("wg", "show", self.name, *what, check_status=check_status)

    def set(self, *arguments, **options):
        return self.node.run("wg", "set", self.name, *arguments, **options)

    def configure(self, *peers, how="setconf", lines=()):
        """Give key, port and peers, each a dict of wg(8)'s words."""
        text = ["[Interface]", f"PrivateKey = {self.private}",
                f"ListenPort = {self.port}", *lines]
        for peer in peers:
            text.append("[Peer]")
            text += [f"{key} = {value}" for key, value in peer.items()
                     if value is not None]
        self.node.run("wg", how, self.name, "/dev/stdin",
                      stdin="\n".join(text) + "\n")

    def up(self, *addresses, mtu=None):
        lines = [f"addr add {a} dev {self.name}" +
                 (" nodad" if ":" in a else "") for a in addresses]
        if mtu:
            lines.insert(0, f"link set {self.name} mtu {mtu}")
        self.node.ip(*lines, f"link set {self.name} up")
        self.wait_for_port()

    def has_port(self, port):
        """Is the UDP port bound in the namespace that it started in?"""
        with self.node.inside():
            with open("/proc/thread-self/net/udp", encoding="ascii") as file:
                return f":{port:04X} " in file.read()

    def wait_for_port(self):
        """It learns by a message that the link is up: wait for it."""
        if self.port:
            wait_until(lambda: self.has_port(self.port),
                       f"{self.name} listens on port {self.port}", 5, 0.005)

    def peers(self):
        """What `wg show` says of the peers, by their public key."""
        lines = self.get("dump").stdout.splitlines()[1:]
        return {peer.public: peer for peer in map(Peer, lines)}

    def peer(self, other):
        return self.peers()[other.public]

    def ask(self, text, timeout=5):
        """Send text to the UAPI socket; returns all until it ends a reply."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout)
            sock.connect(self.socket)
            sock.sendall(text.encode())
            sock.shutdown(socket.SHUT_WR)
            parts = []
            while data := sock.recv(1 << 16):
                parts.append(data)
        return b"".join(parts).decode()

    def rss(self):
        """Resident memory in KiB."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))

    def wait(self, timeout=10):
        """Wait for it to end by itself; returns its status."""
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} does not end") from None
        self.has_ended = True
        return status

    def stop(self, number=signal.SIGTERM):
        """End it, and look at how it does."""
        if self.has_ended:
            return
        if self.process.poll() is not None:
            self.has_ended = True
            raise Failure(f"{self.name} has ended by itself with status "
                          f"{self.process.returncode}")
        self.process.send_signal(number)
        try:
            check_equal(self.wait(), 0, f"status of {self.name}")
        except Failure:
            self.process.kill()
            self.process.wait()
            self.has_ended = True
            raise


def complaints(text):
    """Lines of sanitizers and of failed assertions."""
    return [line for line in text.splitlines() if re.search(
        r"Sanitizer|runtime error:|Assertion .* failed|detected leaks", line)]


# --------------------------------------------------------- the laboratory


class Lab:
    """What one case uses; close() takes everything away."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.is_slow = is_sanitized(daemon)
        self.directory = tempfile.mkdtemp(prefix="wiregather-")
        self.stack = contextlib.ExitStack()
        self.nodes = []
        self.tunnels = []
        self.processes = []

    def node(self, name):
        node = Node(self, name)
        self.nodes.append(node)
        return node

    def link(self, a, b, a_name, b_name, mtu=1500):
        """Two nodes, or one with itself, by a cable."""
        run("ip", "-n", a.name, "link", "add", a_name, "mtu", str(mtu), "type",
            "veth", "peer", "name", b_name, "mtu", str(mtu), "netns", b.name)
        a.ip(f"link set {a_name} up")
        b.ip(f"link set {b_name} up")

    def tunnel(self, node, name, port=51820):
        return Tunnel(node, name, port)

    def logs(self):
        """The end of all logs, for a case that has failed."""
        for process in self.processes:
            with open(process.log.name, encoding="utf-8",
                      errors="replace") as file:
                lines = file.read().splitlines()
            yield f"log of {' '.join(process.args)}:"
            yield from lines[-25:]

    def end_tunnels(self):
        """End the daemons; all that is wrong with that, as texts."""
        wrong = []
        for tunnel in self.tunnels:
            try:
                tunnel.stop()
            except Failure as failure:
                wrong.append(str(failure))
        for process in self.processes:
            with open(process.log.name, encoding="utf-8",
                      errors="replace") as file:
                wrong += complaints(file.read())
        return wrong

    def close(self):
        self.stack.close()
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
            process.log.close()
        # Daemons that have detached themselves have become our children.
        for pid in children_of(os.getpid()):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        for node in self.nodes:
            node.close()
        # Our own /run: see isolate().
        shutil.rmtree(SOCKETS, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)


_sanitized = {}


def is_sanitized(program):
    """Is a program built with a sanitizer, so that it is slow?"""
    if program not in _sanitized:
        with open(program, "rb") as file:
            text = file.read()
        _sanitized[program] = b"__asan_init" in text or b"__tsan_init" in text
    return _sanitized[program]


# ------------------------------------------------------------ usual settings

INNER4 = {"a": "10.9.0.1", "b": "10.9.0.2"}
INNER6 = {"a": "fd09::1", "b": "fd09::2"}
OUTER4 = {"a": "192.0.2.1", "b": "192.0.2.2"}
OUTER6 = {"a": "2001:db8::1", "b": "2001:db8::2"}


def allowed(side):
    return f"{INNER4[side]}/32, {INNER6[side]}/128"


class Pair:
    """Nodes a and b on one cable, with a tunnel between them.

    outer: 4 or 6; mtu: of the tunnel, None for the daemon's; link_mtu: of the
    cable; learned: b does not know where a is; options: for both daemons;
    more: words for both peer sections.
    """

    def __init__(self, lab, outer=4, mtu=None, link_mtu=1500, learned=False,
                 options=(), more=None):
        self.lab = lab
        self.a = lab.node("a")
        self.b = lab.node("b")
        lab.link(self.a, self.b, "eth", "eth", link_mtu)
        self.outer = OUTER4 if outer == 4 else OUTER6
        for side, node in ("a", self.a), ("b", self.b):
            node.ip(f"addr add {OUTER4[side]}/24 dev eth",
                    f"addr add {OUTER6[side]}/64 dev eth nodad")
        self.ta = lab.tunnel(self.a, "wga", 51001).start(*options)
        self.tb = lab.tunnel(self.b, "wgb", 51002).start(*options)
        more = more or {}
        self.ta.configure({
            "PublicKey": self.tb.public, "AllowedIPs": allowed("b"),
            "Endpoint": self.endpoint("b"), **more})
        self.tb.configure({
            "PublicKey": self.ta.public, "AllowedIPs": allowed("a"),
            "Endpoint": None if learned else self.endpoint("a"), **more})
        self.ta.up(INNER4["a"] + "/24", INNER6["a"] + "/64", mtu=mtu)
        self.tb.up(INNER4["b"] + "/24", INNER6["b"] + "/64", mtu=mtu)

    def endpoint(self, side):
        tunnel = self.ta if side == "a" else self.tb
        return at(self.outer[side], tunnel.port)

    def both_ways(self, **options):
        """Ping from a to b and back, IPv4 and IPv6."""
        self.a.must_ping(INNER4["b"], **options)
        self.a.must_ping(INNER6["b"], **options)
        self.b.must_ping(INNER4["a"], **options)
        self.b.must_ping(INNER6["a"], **options)


def at(address, port):
    """Address and port as wg(8) writes them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


# ------------------------------------------------------------------- traffic


def noise(n_bytes):
    """Bytes that are the same each time and do not repeat."""
    return hashlib.shake_128(b"wiregather").digest(n_bytes)


def send_stream(source, sink, address, n_bytes, timeout=30, port=7001):
    """Send a TCP stream; it must arrive whole. Returns Mbit/s."""
    data = noise(1 << 20)
    listener = sink.socket(family_of(address), socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(1)
    client = source.socket(family_of(address), socket.SOCK_STREAM)
    for sock in listener, client:
        sock.settimeout(timeout)
    sent, got = hashlib.sha256(), hashlib.sha256()
    arrived = [0]
    wrong = []

    def receive():
        try:
            conn, _ = listener.accept()
            conn.settimeout(timeout)
            with conn:
                while part := conn.recv(1 << 18):
                    got.update(part)
                    arrived[0] += len(part)
        except OSError as err:
            wrong.append(f"receiving: {err}")

    thread = threading.Thread(target=receive, daemon=True)
    thread.start()
    start = time.monotonic()
    try:
        client.connect((address, port))
        left = n_bytes
        while left:
            if time.monotonic() - start > timeout:
                raise TimeoutError("too slow")
            part = memoryview(data)[:min(left, len(data))]
            client.sendall(part)
            sent.update(part)
            left -= len(part)
        client.shutdown(socket.SHUT_WR)
    except OSError as err:
        wrong.append(f"sending: {err}")
        client.close()
    thread.join(max(0.1, timeout - (time.monotonic() - start)))
    seconds = time.monotonic() - start
    listener.close()
    client.close()
    check(not wrong and arrived[0] == n_bytes,
          f"TCP {source.name} to {address}: {arrived[0]} of {n_bytes} bytes "
          f"in {seconds:.1f} s {' '.join(wrong)}")
    check_equal(got.digest(), sent.digest(), "hash of the stream")
    return n_bytes * 8 / seconds / 1e6


def send_datagrams(source, sink, address, lengths, port=7002, window=16):
    """Send UDP datagrams of these lengths; each must arrive as it was."""
    receiver = sink.socket(family_of(address))
    receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    receiver.bind((address, port))
    sender = source.socket(family_of(address))
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    data = noise(70000)
    lengths = list(lengths)
    for first in range(0, len(lengths), window):
        group = lengths[first:first + window]
        for i, length in enumerate(group):
            sender.sendto(data[i:i + length], (address, port))
        for i, length in enumerate(group):
            try:
                part = receiver.recv(1 << 16)
            except TimeoutError:
                raise Failure(f"UDP {source.name} to {address}: datagram of "
                              f"{length} bytes is lost") from None
            check(part == data[i:i + length],
                  f"UDP: wanted {length} bytes, got {len(part)} or others")
    sender.close()
    receiver.close()


class Stream(threading.Thread):
    """A TCP transfer in the background; finish() gives what came of it."""

    def __init__(self, *args, **options):
        super().__init__(daemon=True)
        self.args, self.options = args, options
        self.rate, self.failure = None, None
        self.start()

    def run(self):
        try:
            self.rate = send_stream(*self.args, **self.options)
        except Exception as err:  # pylint: disable=broad-except
            self.failure = err

    def finish(self, timeout=40):
        self.join(timeout)
        if self.failure:
            raise self.failure
        check(self.rate, "the stream does not end")
        return self.rate


# ------------------------------------------------------------------- capture


class Packet:
    """A UDP datagram seen on a device."""

    def __init__(self, is_outgoing, tos, df, src, dst, payload, ports):
        self.is_outgoing = is_outgoing
        self.tos = tos
        self.df = df
        self.src, self.dst = src, dst
        self.sport, self.dport = ports
        self.payload = payload

    @property
    def kind(self):
        """Of a WireGuard message: 1 to 4."""
        return self.payload[0] if self.payload else 0

    def __repr__(self):
        return (f"<{self.src}:{self.sport} > {self.dst}:{self.dport} "
                f"{len(self.payload)} bytes, tos {self.tos:#x}>")


def parse_udp(packet, is_outgoing):
    """An IP packet as a Packet; None if it is not a whole UDP datagram."""
    version = packet[0] >> 4
    if version == 4 and len(packet) >= 20:
        header = (packet[0] & 15) * 4
        total = struct.unpack_from(">H", packet, 2)[0]
        frag = struct.unpack_from(">H", packet, 6)[0]
        if packet[9] != 17 or frag & 0x3fff:
            return None
        tos, df = packet[1], bool(frag & 0x4000)
        src = socket.inet_ntop(socket.AF_INET, packet[12:16])
        dst = socket.inet_ntop(socket.AF_INET, packet[16:20])
    elif version == 6 and len(packet) >= 40:
        header, df = 40, False
        total = struct.unpack_from(">H", packet, 4)[0] + 40
        if packet[6] != 17:
            return None
        tos = struct.unpack_from(">H", packet)[0] >> 4 & 0xff
        src = socket.inet_ntop(socket.AF_INET6, packet[8:24])
        dst = socket.inet_ntop(socket.AF_INET6, packet[24:40])
    else:
        return None
    ports = struct.unpack_from(">HH", packet, header)
    return Packet(is_outgoing, tos, df, src, dst, packet[header + 8:total],
                  ports)


class Capture:
    """What passes a device, from now on."""

    def __init__(self, node, device, has_ethernet=True):
        self.has_ethernet = has_ethernet
        self.sock = node.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 256 << 20)
        self.sock.setblocking(False)
        with node.inside():
            self.sock.bind((device, ETH_P_ALL))

    def frames(self):
        """Those that came since the last time: (is_outgoing, bytes)."""
        found = []
        while True:
            try:
                frame, address = self.sock.recvfrom(1 << 17)
            except BlockingIOError:
                return found
            found.append((address[2] == PACKET_OUTGOING, frame))

    def datagrams(self, sport=None, dport=None):
        """UDP datagrams since the last time, chosen by port."""
        found = []
        for is_outgoing, frame in self.frames():
            if self.has_ethernet:
                kind = struct.unpack_from(">H", frame, 12)[0]
                if kind not in (0x0800, 0x86dd):
                    continue
                frame = frame[14:]
            packet = parse_udp(frame, is_outgoing) if frame else None
            if packet and sport in (None, packet.sport) and \
                    dport in (None, packet.dport):
                found.append(packet)
        return found


def send_frame(node, device, frame, proto=0x0800):
    """Put a frame on a device by AF_PACKET."""
    sock = node.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with node.inside():
        sock.bind((device, proto))
    sock.send(frame)
    sock.close()


# ----------------------------------------------------------------------- TAP

cases = []


def case(name):
    """Note a function of a Lab as a case."""
    def note(function):
        cases.append((name, function))
        return function
    return note


def isolate():
    """Move into a mount namespace of our own, with an empty /run."""
    call(libc.unshare, CLONE_NEWNS)
    call(libc.mount, b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    call(libc.mount, b"tmpfs", b"/run", b"tmpfs", 0, b"mode=755")
    if os.path.realpath("/var/run") != "/run":
        call(libc.mount, b"tmpfs", b"/var/run", b"tmpfs", 0, b"mode=755")
    call(libc.prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def why_not():
    """Why nothing can run here; None if it can."""
    if os.geteuid():
        return "needs root"
    for program in "ip", "wg", "ping":
        if not shutil.which(program):
            return f"there is no {program} here"
    if not os.path.exists("/dev/net/tun"):
        return "there is no /dev/net/tun"
    try:
        isolate()
        run("ip", "netns", "add", "probe")
        run("ip", "netns", "del", "probe")
    except (OSError, Failure) as err:
        return f"no namespaces can be made: {err}"
    return None


def say(prefix, lines):
    for line in lines:
        print(prefix + line.replace("\n", "\n" + prefix))


def run_case(function, daemon):
    """Run a case; returns (is_ok, reason to skip, lines to print)."""
    lab = Lab(daemon)
    lines, reason = [], None
    try:
        function(lab)
    except Skip as skip:
        reason = str(skip)
    except Failure as failure:
        lines.append(str(failure))
    except Exception:  # pylint: disable=broad-except
        lines += traceback.format_exc().splitlines()
    finally:
        try:
            if not reason:
                lines += lab.end_tunnels()
                if lines:
                    lines += lab.logs()
        finally:
            lab.close()
    return not lines, reason, lines


def interrupt(_number, _frame):
    raise KeyboardInterrupt


def main():
    """Run the cases of the program: PROGRAM [DAEMON [WORD OF A NAME]]."""
    arguments = sys.argv[1:]
    daemon = os.path.abspath(arguments[0]) if arguments else \
        shutil.which("wiregather")
    wanted = [c for c in cases
              if len(arguments) < 2 or arguments[1] in c[0]]
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:{PATH}"
    reason = why_not()
    if not reason and not daemon:
        reason = "there is no wiregather in PATH, and none was named"
    if reason:
        print(f"1..0 # SKIP {reason}")
        return
    signal.signal(signal.SIGTERM, interrupt)
    print(f"1..{len(wanted)}", flush=True)
    failed = 0
    for number, (name, function) in enumerate(wanted, 1):
        start = time.monotonic()
        is_ok, reason, lines = run_case(function, daemon)
        say("# ", lines)
        failed += not is_ok
        print(f"{'ok' if is_ok else 'not ok'} {number} - {name}"
              f"{' # SKIP ' + reason if reason else ''}")
        print(f"# {time.monotonic() - start:.1f} s", flush=True)
    sys.exit(1 if failed else 0)
