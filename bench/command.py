#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures a tunnel for one command: how long its start takes, and TCP through it,
beside a daemon that root has started, and beside programs that have a TCP of their own.

Each way has two nodes, a cable, and a wiregather at the far end. A round goes through the
ways. Programs for comparison (onetun, wireproxy, tailscaled) are used if they are in the
directory that PEERS names, where bench/get-command-peers puts them. As root; needs
iperf3. Prints tables for docs/performance.md.
"""
import argparse
import contextlib
import json
import os
import pathlib
import shutil
import socket
import stat
import statistics
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))

# pylint: disable=wrong-import-position
from machine import describe_kernel, describe_processor
from testbed import cpu_seconds, memory, spread

import lab
from tap import Failure, wait_until

# A plain user: nobody of Debian.
USER = 65534
PORT, IPERF_PORT, LOCAL_PORT = 51820, 5201, 5300
FAR, NEAR = "10.9.0.2", "10.9.0.1"
OUTER = "192.0.2.1", "192.0.2.2"


class Way:
    """A way from node a through a tunnel to node b."""

    name = ""
    # What a program can do by this way, and how; the latter two by the documents of the
    # others.
    protocols, use = "all: the kernel's own TCP/IP", "unchanged"
    address, port = FAR, IPERF_PORT
    # The programs that it needs, if it is not one of the way's name.
    programs = ()

    def __init__(self, l, index, binaries):
        self.lab, self.index, self.bin = l, index, binaries
        self.a, self.b = l.node(f"c{index}a"), l.node(f"c{index}b")
        l.link(self.a, self.b, "eth", "eth")
        for node, address in (self.a, OUTER[0]), (self.b, OUTER[1]):
            node.ip(f"addr add {address}/24 dev eth")
        self.private = lab.run("wg", "genkey").stdout.strip()
        self.public = lab.run("wg", "pubkey", stdin=self.private).stdout.strip()
        self.server = l.tunnel(self.b, f"far{index}", PORT).start(LOG_LEVEL="error")
        self.server.configure({"PublicKey": self.public, "AllowedIPs": f"{NEAR}/32"})
        self.server.up(f"{FAR}/24")
        self.processes = []

    def start(self):
        """Begin, so that commands can be run."""

    def command(self, *words):
        """The words that run a command by this way."""
        return words

    def run(self, *words, timeout=60):
        return self.a.run(*self.command(*words), timeout=timeout)

    def stream(self, seconds):
        """Send TCP to node b; return what iperf3 prints."""
        with self.serving(self.b):
            return self.run("iperf3", "-c", self.address, "-p", str(self.port), "-J",
                            "-t", str(seconds), timeout=seconds + 30).stdout

    @staticmethod
    @contextlib.contextmanager
    def serving(node, *options):
        """A server of iperf3, for one stream."""
        server = node.start("iperf3", "-s", "-1", *options)
        wait_until(lambda: f":{IPERF_PORT}" in node.run("ss", "-ltn").stdout,
                   "iperf3 listens")
        yield
        server.wait(20)

    def cpu(self):
        return sum(map(cpu_seconds, self.processes)) + cpu_seconds(self.server.pid)

    def near_memory(self):
        """The most memory of the programs at the near end, in MiB."""
        return sum(memory(pid, "VmHWM") for pid in self.processes) / 1024


class Root(Way):
    name = "daemon of root"

    def start(self):
        tunnel = self.lab.tunnel(self.a, f"near{self.index}", 0).start(LOG_LEVEL="error")
        tunnel.private = self.private
        tunnel.configure({"PublicKey": self.server.public, "AllowedIPs": "0.0.0.0/0",
                          "Endpoint": f"{OUTER[1]}:{PORT}"})
        tunnel.up(f"{NEAR}/24", mtu=1420)
        self.processes = [tunnel.pid]


class Run(Way):
    name = "wiregatherctl run"

    def start(self):
        directory = self.lab.directory
        self.runtime = f"{directory}/user"
        os.mkdir(self.runtime, 0o700)
        os.chown(self.runtime, USER, USER)
        self.config = f"{directory}/bench.conf"
        with open(self.config, "w", encoding="ascii") as file:
            file.write(f"[Interface]\nPrivateKey = {self.private}\n"
                       f"Address = {NEAR}/24\nDNS = {FAR}\n[Peer]\n"
                       f"PublicKey = {self.server.public}\nAllowedIPs = 0.0.0.0/0\n"
                       f"Endpoint = {OUTER[1]}:{PORT}\n")
        os.chown(self.config, USER, USER)
        self.a.start(*self.as_user("run", "--config", self.config, "--name", "bench",
                                   "--", "sleep", "100000"), env=self.environment())
        path = f"{self.runtime}/wiregather/bench.sock"
        wait_until(lambda: os.path.exists(path), "the tunnel is there", 20)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            cred = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        self.processes = [struct.unpack("iII", cred)[0]]

    def environment(self):
        return {"PATH": lab.PATH, "XDG_RUNTIME_DIR": self.runtime}

    def as_user(self, *words):
        return ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups",
                f"{self.bin}/wiregatherctl", *words)

    def run(self, *words, timeout=60):
        return self.a.run(*self.as_user("exec", "bench", "--", *words), timeout=timeout,
                          env=self.environment())

    def times_of_start(self):
        """Milliseconds from the start of `run` to that of its command, to the first
        answer of a ping in it, and those of the handshake and the ping alone."""
        before = time.time()
        done = self.a.run(*self.as_user(
            "run", "--config", self.config, "--", "sh", "-c",
            f"date +%s.%N; ping -n -q -c 1 -W 9 {FAR} >/dev/null && date +%s.%N"),
            env=self.environment())
        began, answered = map(float, done.stdout.split())
        return 1e3 * (began - before), 1e3 * (answered - before)


class Forwarded(Way):
    """A program with a TCP of its own: it listens on a port of this host."""
    protocols, use = "TCP and UDP, single ports", "the address is changed"
    address, port = "127.0.0.1", LOCAL_PORT

    def start_program(self, *words):
        process = self.a.start(*words)
        self.processes = [process.pid]
        wait_until(lambda: f":{LOCAL_PORT}" in self.a.run("ss", "-ltn").stdout,
                   f"{self.name} listens", 20)


class Onetun(Forwarded):
    name = "onetun"

    def start(self):
        self.start_program(
            f"{self.bin}/onetun", "--endpoint-addr", f"{OUTER[1]}:{PORT}",
            "--endpoint-public-key", self.server.public, "--private-key", self.private,
            "--source-peer-ip", NEAR, "--max-transmission-unit", "1420",
            f"127.0.0.1:{LOCAL_PORT}:{FAR}:{IPERF_PORT}:TCP")


class Wireproxy(Forwarded):
    name = "wireproxy"
    protocols = "TCP, and single ports of UDP"
    use = "SOCKS5, HTTP proxy, or the address is changed"

    def start(self):
        path = f"{self.lab.directory}/wireproxy.conf"
        with open(path, "w", encoding="ascii") as file:
            file.write(f"[Interface]\nAddress = {NEAR}/32\nMTU = 1420\n"
                       f"PrivateKey = {self.private}\n[Peer]\n"
                       f"PublicKey = {self.server.public}\n"
                       f"Endpoint = {OUTER[1]}:{PORT}\nAllowedIPs = 0.0.0.0/0\n"
                       f"[TCPClientTunnel]\nBindAddress = 127.0.0.1:{LOCAL_PORT}\n"
                       f"Target = {FAR}:{IPERF_PORT}\n")
        self.start_program(f"{self.bin}/wireproxy", "-s", "-c", path)


class Tailscaled(Way):
    """tailscaled without a TUN device, and a control server that tells it of node b.

    It takes connections to its address in the tunnel, and opens one to the same port of
    this host. So the client of iperf3 is node b, and has this end send.
    """
    name = "tailscaled"
    protocols = "TCP, and UDP by some ways"
    use = "SOCKS5 or HTTP proxy; servers: unchanged"
    programs = "tailscaled", "tailscale-control"
    control, udp_port = "127.0.0.1:8090", 41641

    def start(self):
        directory = f"{self.lab.directory}/tailscale"
        os.mkdir(directory)
        path = f"{directory}/node"
        # Its output has one line when the node is there.
        self.a.start("sh", "-c", f"exec {self.bin}/tailscale-control {self.control} "
                     f"{self.server.public} {FAR} {OUTER[1]}:{PORT} >{path}")
        wait_until(lambda: ":8090" in self.a.run("ss", "-ltn").stdout,
                   "the control server listens", 20)
        environment = {"PATH": lab.PATH, "HOME": directory,
                       "TS_NO_LOGS_NO_SUPPORT": "true"}
        sock = f"--socket={directory}/sock"
        process = self.a.start(
            "sh", "-c", f"exec {self.bin}/tailscaled --tun=userspace-networking "
            f"--state=mem: --statedir={directory} {sock} --port={self.udp_port} "
            f">{directory}/log 2>&1", env=environment)
        self.processes = [process.pid]
        wait_until(lambda: os.path.exists(f"{directory}/sock"), "tailscaled answers", 20)
        # It calls itself running only when the peer has sent something.
        self.a.run(f"{self.bin}/tailscaled", sock, "up", "--accept-dns=false",
                   f"--login-server=http://{self.control}", "--timeout=1s",
                   check_status=False, env={**environment, "TS_BE_CLI": "1"})
        wait_until(lambda: os.path.getsize(path), "the control server knows it", 20)
        with open(path, encoding="ascii") as file:
            public, self.address = file.read().split()
        self.server.set("peer", public, "allowed-ips", f"{self.address}/32", "endpoint",
                        f"{OUTER[0]}:{self.udp_port}")
        self.b.ip(f"route add {self.address}/32 dev {self.server.name}")

    def stream(self, seconds):
        with self.serving(self.a, "-B", "127.0.0.1"):
            return self.b.run("iperf3", "-c", self.address, "-R", "-J", "-t",
                              str(seconds), timeout=seconds + 30).stdout


def measure(way, seconds):
    """Send TCP; return Gbit/s that arrive, and core-seconds for a Gbit."""
    cpu = way.cpu()
    text = way.stream(seconds)
    cpu = way.cpu() - cpu
    try:
        got = json.loads(text)["end"]["sum_received"]
    except KeyError:
        raise Failure(f"{way.name}: {text[-500:]}") from None
    return got["bits_per_second"] / 1e9, cpu / (got["bytes"] * 8e-9)


def print_tables(ways, found, starts):
    base = found[ways[0].name]
    print("| way | Gbit/s | of the daemon of root | core-seconds for a Gbit, both ends | "
          "most memory of the near end, MiB | protocols | how a program uses it |\n"
          "|---|---|---|---|---|---|---|")
    for way in ways:
        rows = found[way.name]
        print(f"| {way.name} | {spread([row[0] for row in rows])} | "
              f"{spread([row[0] / b[0] for row, b in zip(rows, base)])} | "
              f"{statistics.median(row[1] for row in rows):.3f} | "
              f"{way.near_memory():.1f} | {way.protocols} | {way.use} |")
    print(f"\nFrom the start of `wiregatherctl run` to that of its command: "
          f"{spread([s[0] for s in starts])} ms; to the first answer, with the "
          f"handshake: {spread([s[1] for s in starts])} ms ({len(starts)} starts).")


def prepare(l, programs):
    """Copy the programs to where a plain user can run them, and give him a TUN."""
    os.chmod(l.directory, 0o755)
    binaries = f"{l.directory}/bin"
    os.mkdir(binaries)
    for program in programs:
        shutil.copy(program, binaries)
    os.mknod("/run/tun", stat.S_IFCHR | 0o666, os.makedev(10, 200))
    os.chmod("/run/tun", 0o666)
    lab.run("mount", "--bind", "/run/tun", "/dev/net/tun")
    return binaries


def main():
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("build", help="the directory with both programs")
    args = parser.parse_args()
    programs = [os.path.abspath(f"{args.build}/{name}")
                for name in ("wiregather", "wiregatherctl")]
    kinds = [Root, Run]
    directory = os.environ.get("PEERS")
    for kind in Onetun, Wireproxy, Tailscaled:
        paths = [f"{directory}/{name}" for name in kind.programs or (kind.name,)]
        if directory and all(os.access(path, os.X_OK) for path in paths):
            kinds.append(kind)
            programs += paths
        else:
            print(f"{kind.name}: not in PEERS, left out", file=sys.stderr)
    reason = lab.why_not()
    if reason:
        sys.exit(f"command.py: {reason}")
    laboratory = lab.Lab(programs[0])
    found, starts = {}, []
    try:
        binaries = prepare(laboratory, programs)
        ways = [kind(laboratory, i, binaries) for i, kind in enumerate(kinds)]
        for way in ways:
            way.start()
        for i in range(args.rounds):
            for k in range(len(ways)):
                way = ways[(i + k) % len(ways)]
                found.setdefault(way.name, []).append(measure(way, args.seconds))
        for _ in range(args.starts):
            starts.append(ways[1].times_of_start())
        print(f"{args.rounds} rounds of {args.seconds:g} s on {describe_processor()}, "
              f"{describe_kernel()}:\n")
        print_tables(ways, found, starts)
    except (Failure, subprocess.SubprocessError) as failure:
        print("\n".join(laboratory.logs()), file=sys.stderr)
        sys.exit(f"command.py: {failure}")
    finally:
        laboratory.close()


if __name__ == "__main__":
    main()
