# SPDX-License-Identifier: MIT
"""A laboratory of network namespaces.

Each program moves into a mount namespace of its own with an empty /run, so
neither its namespaces nor its sockets can be seen by, or collide with, what
runs on the machine. When the program ends, they are gone. A case gets a new Lab
and makes with it nodes (network namespaces), links between them and tunnels
(daemons of wiregather). At the end of the case every tunnel is told to end and
must do so with status 0 and without a message of a sanitizer. Only processes
that the laboratory has started are ended, by their id.
"""
import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

# The test programs import these names from here.
# pylint: disable=unused-import
from tap import (MAX_LATENESS, SLOWNESS, Failure, Skip, busy_share, case, check,
                 check_equal, check_quick, lateness, run_all, wait_until)
from traffic import (SO_RCVBUFFORCE, Capture, Steady, Stream, family_of,
                     noise, send_datagrams, send_stream)

# linux/sched.h, linux/mount.h and linux/prctl.h
CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
# The number is the same on all architectures. With flag 1 the call returns the
# version of Landlock.
LANDLOCK_CREATE_RULESET = 444

SOCKETS = "/var/run/wireguard"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

libc = ctypes.CDLL(None, use_errno=True)


def call(function, *args):
    if function(*args) < 0:
        err = ctypes.get_errno()
        raise OSError(err, os.strerror(err))


def run(*command, check_status=True, stdin=None, timeout=30, env=None):
    """Run a command to its end; .stdout of the result holds both outputs."""
    done = subprocess.run(
        command, input=stdin, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=timeout * SLOWNESS,
        env=env,
        stdin=subprocess.DEVNULL if stdin is None else None)
    if check_status and done.returncode:
        raise Failure(f"{' '.join(command)}: status {done.returncode}: "
                      f"{done.stdout.strip()}")
    return done


def need(*programs):
    """Skip the case unless these programs are installed."""
    for program in programs:
        if not shutil.which(program):
            raise Skip(f"there is no {program} here")


def has_landlock():
    """Does this kernel have Landlock?"""
    return libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, 1) >= 0


def children_of(pid):
    """The ids of the child processes of a process."""
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/task/{task}/children",
                      encoding="ascii") as file:
                found += map(int, file.read().split())
    return found


def command_of(pid):
    """The name of a process, as the kernel has it; empty: there is none."""
    with contextlib.suppress(OSError):
        with open(f"/proc/{pid}/comm", encoding="ascii") as file:
            return file.read().strip()
    return ""


def descendants_of(pid):
    """The ids of the children of a process, of their children, and so on."""
    found = []
    with contextlib.suppress(OSError):
        for child in children_of(pid):
            found += [child, *descendants_of(child)]
    return found


def descriptors_of(pid):
    """What the open descriptors of a process are: {number: name}. Those that it closes
    meanwhile, such as of clients, are left out."""
    found = {}
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[int(fd)] = os.readlink(f"/proc/{pid}/fd/{fd}")
    return found


def engine_of(pid):
    """The engine of a daemon; the daemon itself, if it is one process."""
    engines = [found for found in descendants_of(pid)
               if command_of(found) == "wg-engine"]
    return engines[0] if engines else pid


def pause(pid):
    """Stop a process. On return all its threads have stopped; some go on for
    milliseconds after the signal on a busy machine."""
    os.kill(pid, signal.SIGSTOP)

    def are_stopped():
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/stat", encoding="ascii") as file:
                # The state stands behind the name, which is in brackets.
                if file.read().rsplit(")", 1)[1].split()[0] != "T":
                    return False
        return True

    wait_until(are_stopped, f"all threads of {pid} are stopped", 10, 0.01)


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
        # Addresses can be used at once, and the kernel sends no messages of
        # its own.
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
        """Move this thread, and the processes that it starts, into the
        namespace."""
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

    def rename(self, device, name):
        """Rename a device that is up.

        Kernels before 6.2 rename a device only while it is down. There it is
        taken down and set up again.
        """
        if self.ip(f"link set {device} name {name}",
                   check_status=False).returncode:
            self.ip(f"link set {device} down",
                    f"link set {device} name {name}", f"link set {name} up")

    def start(self, *command, env=None, before=None, pass_fds=(),
              output=None):
        """Start a command and do not wait for it.

        output: descriptor for its outputs; if None, they go to the log.
        """
        log = tempfile.NamedTemporaryFile(
            "w+", dir=self.lab.directory, suffix=".log", delete=False)

        def prepare():
            after_fork()
            if before:
                before()

        with self.inside():
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL,
                stdout=log if output is None else output,
                stderr=log if output is None else output,
                env=env, preexec_fn=prepare, pass_fds=pass_fds)
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

    def tcp_counters(self):
        """The kernel's TCP counters of this namespace, by name."""
        with self.inside():
            with open("/proc/thread-self/net/netstat",
                      encoding="ascii") as file:
                lines = file.read().splitlines()
        names, values = (line.split()[1:] for line in lines[:2])
        return dict(zip(names, map(int, values)))

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_DGRAM, proto=0):
        """A socket of the namespace, which other namespaces' threads can use,
        too."""
        with self.inside():
            sock = socket.socket(family, kind, proto)
        sock.settimeout(5 * SLOWNESS)
        self.lab.stack.callback(sock.close)
        return sock

    def settle(self, device):
        """Wait until the IPv6 addresses of a device that is up can be used.

        Even without duplicate address detection, the kernel adds the routes to
        them with a delay.
        """
        def has_routes():
            with self.inside():
                with open("/proc/thread-self/net/if_inet6",
                          encoding="ascii") as file:
                    wanted = {line.split()[0] for line in file
                              if line.split()[5] == device}
                with open("/proc/thread-self/net/ipv6_route",
                          encoding="ascii") as file:
                    found = {line.split()[0] for line in file
                             if line.split()[1] == "80"}
            return wanted <= found

        wait_until(has_routes, f"addresses of {device} can be used", 5, 0.005)

    def nft(self, text):
        """Load rules of nft(8)."""
        need("nft")
        self.run("nft", "-f", "-", stdin=text)

    def link_address(self, device):
        """The link-local IPv6 address of a device."""
        text = self.run("ip", "-6", "addr", "show", "dev", device, "scope",
                        "link").stdout
        return re.search(r"inet6 (fe80:[0-9a-f:]+)", text).group(1)

    def ping(self, target, *options, count=3, wait=12):
        """Ping; return the number of answers and the text that ping printed.

        Each ping(8) sends one request: once it has had an answer, it waits for
        the next one for only two round trips, which is too short on a busy
        machine. A peer refuses a handshake that comes within milliseconds of
        the last one (INITIATIONS_PER_SECOND); the next attempt follows after
        five seconds. If both ends begin a handshake in the same moment, both
        fail, and the next attempt follows after five to ten seconds.
        """
        got, text = 0, ""
        for _ in range(count):
            done = self.run("ping", "-n", "-c", "1", "-W", str(wait),
                            *options, target, check_status=False)
            got += " 1 received" in done.stdout
            text += done.stdout
        return got, text

    def must_ping(self, target, *options, count=3, wait=12):
        """Ping; every answer must come."""
        got, text = self.ping(target, *options, count=count, wait=wait)
        if got != count:
            raise Failure(f"{self.name}: ping {' '.join(options)} {target}: "
                          f"{got} of {count} answers:\n{text}")

    def reach(self, target):
        """Ping until there is an answer.

        If a link goes down and up at once, the daemon sees it down a little
        later. A packet that is sent in that moment may be lost.
        """
        wait_until(lambda: self.ping(target, count=1, wait=1)[0],
                   f"{self.name}: {target} answers", 30)

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
    """A daemon and the interface that it serves."""

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
        """The process that has keys and packets: the engine."""
        return engine_of(self.process.pid)

    @property
    def keeper(self):
        """The process that has the rights: the one that was started."""
        found = [self.process.pid, *descendants_of(self.process.pid)]
        return next((pid for pid in found
                     if command_of(pid) == "wiregather"), found[0])

    def start(self, *options, before=None, wrap=(), pass_fds=(),
              output=None, **environment):
        """Start in the foreground and wait until it can be configured.

        wrap: words of a command that starts the daemon, such as strace's.
        """
        self.process = self.node.start(
            *wrap, self.lab.daemon, "-f", *options, self.name,
            env={**os.environ, "LOG_LEVEL": "verbose", **environment},
            before=before, pass_fds=pass_fds, output=output)
        self.lab.tunnels.append(self)

        def runs():
            check(self.process.poll() is None,
                  f"{self.name} has ended at once: {self.log()}")
            return True

        level = environment.get("LOG_LEVEL", "verbose")
        if not output and not before and level in ("verbose", "debug"):
            # Before wg(8) asks: it removes the file of a socket that nobody serves,
            # by its name. Meanwhile the daemon may have put its own in that place.
            wait_until(lambda: runs() and " is ready" in self.log(),
                       "the log of the start", 10)
        wait_until(lambda: runs() and
                   self.get(check_status=False).returncode == 0,
                   f"{self.name} can be asked", 10)
        return self

    def log(self):
        with open(self.process.log.name, encoding="utf-8",
                  errors="replace") as file:
            return file.read()

    def lost_layers(self):
        """Lines of the log that say what is not isolated.

        If the kernel has no Landlock, a line must say so. This line is left out.
        """
        lines = [line for line in self.log().splitlines()
                 if "not isolated" in line]
        if has_landlock():
            return lines
        others = [line for line in lines if not re.search(
            r"not isolated in full: no Landlock \([^()]*\)$", line)]
        check(len(others) < len(lines),
              f"no line says that Landlock is missing: {lines}")
        return others

    def get(self, *what, check_status=True):
        return self.node.run("wg", "show", self.name, *what, check_status=check_status)

    def set(self, *arguments, **options):
        return self.node.run("wg", "set", self.name, *arguments, **options)

    def configure(self, *peers, how="setconf", lines=()):
        """Set key, port and peers. A peer is a dict with the words of
        wg(8)."""
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
        self.node.settle(self.name)

    def has_port(self, port):
        """Is the UDP port bound in the namespace that it started in?"""
        with self.node.inside():
            with open("/proc/thread-self/net/udp", encoding="ascii") as file:
                return f":{port:04X} " in file.read()

    @contextlib.contextmanager
    def comes_up(self):
        """A block in which the link goes down and up; waits until the daemon
        has seen that. On a busy machine the daemon hears of it late, and keeps
        its old sessions until then. A packet that is sent meanwhile may travel
        by an old session, or be dropped with it.
        """
        seen = self.log().count("interface up")
        yield
        wait_until(lambda: self.log().count("interface up") > seen,
                   f"{self.name} has seen its link go down and up", 20, 0.005)

    def flap(self):
        """Take the link down and up, and wait until that has been seen."""
        with self.comes_up():
            self.node.ip(f"link set {self.name} down",
                         f"link set {self.name} up")

    def wait_for_port(self):
        """Wait until the daemon has learned that the link is up."""
        if self.port:
            wait_until(lambda: self.has_port(self.port),
                       f"{self.name} listens on port {self.port}", 5, 0.005)

    def peers(self):
        """The peers as `wg show` lists them, by public key."""
        lines = self.get("dump").stdout.splitlines()[1:]
        return {peer.public: peer for peer in map(Peer, lines)}

    def peer(self, other):
        return self.peers()[other.public]

    def ask(self, text, timeout=5):
        """Send text to the UAPI socket; return all bytes up to the end of a
        reply."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout * SLOWNESS)
            sock.connect(self.socket)
            sock.sendall(text.encode())
            sock.shutdown(socket.SHUT_WR)
            parts = []
            while data := sock.recv(1 << 16):
                parts.append(data)
        return b"".join(parts).decode()

    def ask_statistics(self, request="get=stats\n\n"):
        """Send a request to the statistics socket; return the whole answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(10 * SLOWNESS)
            sock.connect(self.socket.replace(".sock", ".stats"))
            sock.sendall(request.encode())
            text = b""
            while not text.endswith(b"\n\n"):
                data = sock.recv(1 << 16)
                check(data, f"the statistics of {self.name} end after {text[-200:]!r}")
                text += data
        return text.decode()

    def rss(self):
        """Resident memory in KiB."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))

    def wait(self, timeout=10):
        """Wait until the daemon ends by itself; return its status."""
        try:
            status = self.process.wait(timeout * SLOWNESS)
        except subprocess.TimeoutExpired:
            raise Failure(f"{self.name} does not end") from None
        self.has_ended = True
        return status

    def stop(self, number=signal.SIGTERM):
        """End the daemon by a signal; it must end with status 0 and without
        complaints."""
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
    """The nodes, links and daemons of one case; close() removes them."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.is_slow = is_sanitized(daemon)
        # With a sanitizer, or in an emulated machine, rates are too low to be
        # compared.
        self.no_rates = self.is_slow or SLOWNESS > 1
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
        """Connect two nodes, or a node with itself, by a cable."""
        run("ip", "-n", a.name, "link", "add", a_name, "mtu", str(mtu), "type",
            "veth", "peer", "name", b_name, "mtu", str(mtu), "netns", b.name)
        a.ip(f"link set {a_name} up")
        b.ip(f"link set {b_name} up")

    def tunnel(self, node, name, port=51820):
        return Tunnel(node, name, port)

    def logs(self):
        """The last lines of all logs, for a case that has failed."""
        for process in self.processes:
            with open(process.log.name, encoding="utf-8",
                      errors="replace") as file:
                lines = file.read().splitlines()
            yield f"log of {' '.join(process.args)}:"
            yield from lines[-25:]

    def end_tunnels(self):
        """End the daemons; return what went wrong, as texts."""
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
        # Detached daemons have become our children.
        for pid in children_of(os.getpid()):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        for node in self.nodes:
            node.close()
        # This is the /run of our mount namespace: see isolate().
        shutil.rmtree(SOCKETS, ignore_errors=True)
        shutil.rmtree(self.directory, ignore_errors=True)


_sanitized = {}


def is_sanitized(program):
    """Is a program built with a sanitizer, which makes it slow?"""
    if program not in _sanitized:
        with open(program, "rb") as file:
            text = file.read()
        _sanitized[program] = b"__asan_init" in text or b"__tsan_init" in text
    return _sanitized[program]


# ------------------------------------------------------------ usual settings

# Addresses in the tunnel, and those of the cable, which are for documentation (RFC
# 5737 and RFC 3849).
INNER4 = {"a": "10.9.0.1", "b": "10.9.0.2"}
INNER6 = {"a": "fd09::1", "b": "fd09::2"}
OUTER4 = {"a": "192.0.2.1", "b": "192.0.2.2"}
OUTER6 = {"a": "2001:db8::1", "b": "2001:db8::2"}


def allowed(side):
    return f"{INNER4[side]}/32, {INNER6[side]}/128"


class Pair:
    """Nodes a and b on one cable, with a tunnel between them.

    outer: IP version below the tunnel, 4 or 6; mtu: MTU of the tunnel, or None
    for the daemon's default; link_mtu: MTU of the cable; learned: b is not
    told a's endpoint and has to learn it; options: for both daemons;
    options_b: for b's daemon alone; more: words for both peer sections; how:
    arguments of Tunnel.start() for a alone.
    """

    # Names of the nodes, for a subclass that stands beside another pair.
    names = ("a", "b")

    def __init__(self, lab, outer=4, mtu=None, link_mtu=1500, learned=False,
                 options=(), options_b=(), more=None, how=None):
        self.lab = lab
        self.a, self.b = map(lab.node, self.names)
        self.outer = OUTER4 if outer == 4 else OUTER6
        self.join(link_mtu)
        self.ta = lab.tunnel(self.a, f"wg{self.names[0]}", 51001).start(
            *options, **(how or {}))
        self.tb = lab.tunnel(self.b, f"wg{self.names[1]}", 51002).start(
            *options, *options_b)
        more = more or {}
        self.ta.configure({
            "PublicKey": self.tb.public, "AllowedIPs": allowed("b"),
            "Endpoint": self.endpoint("b"), **more})
        self.tb.configure({
            "PublicKey": self.ta.public, "AllowedIPs": allowed("a"),
            "Endpoint": None if learned else self.endpoint("a"), **more})
        self.ta.up(INNER4["a"] + "/24", INNER6["a"] + "/64", mtu=mtu)
        self.tb.up(INNER4["b"] + "/24", INNER6["b"] + "/64", mtu=mtu)

    def join(self, mtu):
        """Lay the cable, and give both ends their addresses."""
        self.lab.link(self.a, self.b, "eth", "eth", mtu)
        self.give_addresses()

    def give_addresses(self):
        for side, node in ("a", self.a), ("b", self.b):
            node.ip(f"addr add {OUTER4[side]}/24 dev eth",
                    f"addr add {OUTER6[side]}/64 dev eth nodad")
            node.settle("eth")

    def close(self):
        """Remove the daemons and the nodes before the case ends."""
        for tunnel in self.ta, self.tb:
            tunnel.stop()
        for node in self.a, self.b:
            node.close()
            self.lab.nodes.remove(node)

    def endpoint(self, side):
        tunnel = self.ta if side == "a" else self.tb
        return at(self.outer[side], tunnel.port)

    def both_ways(self, **options):
        """Ping from a to b and back, IPv4 and IPv6."""
        self.a.settle(self.ta.name)
        self.b.settle(self.tb.name)
        self.a.must_ping(INNER4["b"], **options)
        self.a.must_ping(INNER6["b"], **options)
        self.b.must_ping(INNER4["a"], **options)
        self.b.must_ping(INNER6["a"], **options)


def at(address, port):
    """Address and port as wg(8) writes them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def isolate():
    """Move into a mount namespace of our own, with an empty /run."""
    call(libc.unshare, CLONE_NEWNS)
    call(libc.mount, b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    call(libc.mount, b"tmpfs", b"/run", b"tmpfs", 0, b"mode=755")
    if os.path.realpath("/var/run") != "/run":
        call(libc.mount, b"tmpfs", b"/var/run", b"tmpfs", 0, b"mode=755")
    call(libc.prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def why_not():
    """The reason why no case can run here; None if they can."""
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


def main(reason=None):
    """Run the cases of the program: PROGRAM [DAEMON [WORD OF A NAME]].

    reason: why no case can run; None if they can.
    """
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:{PATH}"
    arguments = sys.argv[1:]
    daemon = os.path.abspath(arguments[0]) if arguments else \
        shutil.which("wiregather")
    reason = reason or why_not()
    if not reason and not daemon:
        reason = "there is no wiregather in PATH, and none was named"
    run_all(lambda: Lab(daemon), reason, "".join(arguments[1:2]))
