# SPDX-License-Identifier: MIT
"""A program at both ends of a cable, each end in a network namespace of its
own. The namespaces are those of the tests' laboratory: they are in a mount
namespace of this process and gone with it.
"""
import contextlib
import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests" / "netns"))

# pylint: disable=wrong-import-position
from lab import SOCKETS, after_fork, run
from tap import Failure, wait_until

from programs import ENVIRONMENT

TICKS = os.sysconf("SC_CLK_TCK")
# The MTU that wg-quick(8) chooses on a cable of 1,500 bytes, addresses for tests (RFC
# 5737), and WireGuard's usual port.
MTU = 1420
OUTER = "192.0.2.1", "192.0.2.2"
INNER = "10.9.0.1", "10.9.0.2"
PORT = 51820

# "gso" is a cable that takes super-packets whole, as a network card with
# segmentation offload does. On "nogso" the kernel cuts them in software, and
# the far end gets single datagrams, as from a card without offload.
WIRES = {
    "gso": ("tx-udp-segmentation", "on", "tx-gso-list", "on", "gso", "on"),
    "nogso": ("tx-udp-segmentation", "off", "tx-gso-list", "off",
              "gso", "off"),
}


def tree(pid):
    """A process and its descendants: a daemon of wiregather is three processes."""
    found = [pid]
    with contextlib.suppress(OSError):
        for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text(
                encoding="ascii").split():
            found += tree(int(child))
    return found


def spread(values):
    """Median, least and most."""
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def memory(pid, what):
    """VmRSS or VmHWM of a process and its descendants, in KiB. What they share counts
    once for each of them."""
    def of_one(one):
        text = pathlib.Path(f"/proc/{one}/status").read_text(encoding="ascii",
                                                             errors="replace")
        return int(re.search(rf"{what}:\s+(\d+)", text).group(1))

    return sum(map(of_one, tree(pid)))


def cpu_seconds(pid):
    def of_one(one):
        fields = pathlib.Path(f"/proc/{one}/stat").read_text(
            encoding="ascii", errors="replace").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    return sum(map(of_one, tree(pid)))


def ask(name, text):
    """The answer of a UAPI socket; None if there is no such socket yet."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        try:
            sock.connect(f"{SOCKETS}/{name}.sock")
            sock.sendall(text)
            return sock.recv(1 << 16)
        except OSError:
            return None


class Daemon:
    """A daemon that serves an interface in a node.

    is_timed: start it in the quickest way, in which it does not end if this
    process is killed.
    """

    def __init__(self, program, node, name, log, is_timed=False):
        self.node, self.name = node, name
        self.private = run("wg", "genkey").stdout.strip()
        self.public = run("wg", "pubkey", stdin=self.private).stdout.strip()
        environment = {**os.environ, **ENVIRONMENT}
        with node.inside(), open(log, "wb") as file:
            self.started = time.perf_counter()
            self.process = subprocess.Popen(
                [*program.command, name], stdin=subprocess.DEVNULL,
                stdout=file, stderr=file, env=environment,
                preexec_fn=None if is_timed else after_fork)
        self.log = log

    @property
    def pid(self):
        return self.process.pid

    def wait_for_answer(self, timeout=10):
        """Wait until the daemon answers; return the seconds since its start."""
        while True:
            answer = ask(self.name, b"get=1\n\n")
            if answer and b"errno=0" in answer:
                return time.perf_counter() - self.started
            if self.process.poll() is not None or \
                    time.perf_counter() - self.started > timeout:
                raise Failure(f"{self.name} does not answer: " +
                              pathlib.Path(self.log).read_text(
                                  encoding="utf-8", errors="replace"))
            time.sleep(0.0002)

    def configure(self, side, public, port=PORT):
        """Set its key and its peer, and set the interface up."""
        other = 1 - side
        text = (f"[Interface]\nPrivateKey = {self.private}\n"
                f"ListenPort = {port}\n[Peer]\nPublicKey = {public}\n"
                f"AllowedIPs = {INNER[other]}/32\n"
                f"Endpoint = {OUTER[other]}:{port}\n")
        self.node.run("wg", "setconf", self.name, "/dev/stdin", stdin=text)
        self.node.ip(f"link set {self.name} mtu {MTU} up")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Ends:
    """Two nodes and a cable, and a program at each end of it."""

    def __init__(self, lab, program, index):
        self.program = program
        self.address = INNER[1] if program.command else OUTER[1]
        self.wire = None
        self.nodes = [lab.node(f"e{index}{x}") for x in "ab"]
        lab.link(*self.nodes, "eth", "eth")
        for node, address in zip(self.nodes, OUTER):
            # CUBIC is Debian's default. BBR paces by the round trips that it
            # has seen, and leaves processors idle.
            with contextlib.suppress(PermissionError):
                # Not if net.ipv4.tcp_allowed_congestion_control lacks it.
                node.sysctl("net.ipv4.tcp_congestion_control", "cubic")
            node.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
            node.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
            node.ip(f"addr add {address}/24 dev eth")
        self.daemons = []
        self.directory = lab.directory
        self.index = index

    def start(self):
        """Start both ends, and wait until a packet comes through."""
        if self.program.command:
            self.daemons = [self.daemon(side)[0] for side in (0, 1)]
            for side, daemon in enumerate(self.daemons):
                daemon.configure(side, self.daemons[1 - side].public)
                daemon.node.ip(
                    f"addr add {INNER[side]}/24 dev {daemon.name}")
        self.set_wire("gso")
        wait_until(lambda: self.nodes[0].ping(self.address, count=1)[0],
                   f"{self.program.name} carries a ping", 20)

    def daemon(self, side, suffix="", is_timed=False):
        """Start another daemon and wait until it answers.

        Return the daemon and the seconds that this took.
        """
        name = f"wg{self.index}{'ab'[side]}{suffix}"
        daemon = Daemon(self.program, self.nodes[side], name,
                        os.path.join(self.directory, f"{name}.log"), is_timed)
        try:
            return daemon, daemon.wait_for_answer()
        except Failure:
            daemon.stop()
            raise

    def stop(self):
        for daemon in self.daemons:
            daemon.stop()
        self.daemons = []

    def set_wire(self, wire):
        if wire == self.wire:
            return
        for node in self.nodes:
            node.run("ethtool", "-K", "eth", *WIRES[wire])
        self.wire = wire

    def cpu(self):
        return sum(cpu_seconds(d.pid) for d in self.daemons)

    def reset_peaks(self):
        for daemon in self.daemons:
            for pid in tree(daemon.pid):
                with open(f"/proc/{pid}/clear_refs", "w",
                          encoding="ascii") as file:
                    file.write("5")

    def peak(self):
        """Peak memory since the reset, in KiB, of the end that took more."""
        return max((memory(d.pid, "VmHWM") for d in self.daemons), default=0)

    def namespace(self, side):
        return f"/run/netns/{self.nodes[side].name}"

    def run(self, side, *command, timeout):
        """Run a command at one end and return what it prints."""
        with self.nodes[side].inside():
            return run(*map(str, command), timeout=timeout).stdout

    @contextlib.contextmanager
    def running(self, side, *command):
        """A command that runs during the block and is ended after it.

        Its output goes to a pipe, so it has to be short, or be read.
        """
        with self.nodes[side].inside():
            process = subprocess.Popen(
                list(map(str, command)), stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                preexec_fn=after_fork)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait()
            process.stdout.close()

    def listens(self, side, port):
        with self.nodes[side].inside():
            with open("/proc/thread-self/net/tcp", encoding="ascii") as file:
                return any(f":{port:04X} " in line and " 0A " in line
                           for line in file)
