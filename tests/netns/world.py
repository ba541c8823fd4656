# SPDX-License-Identifier: MIT
"""What the tests of wiregatherctl run share: a plain user on node a, and on node b the
other end of the tunnel.

Programs are copied to a directory that a plain user can reach, and /dev/net/tun is a
node of the test's own, with the mode that udev gives it.
"""
import contextlib
import os
import re
import select
import shutil
import socket
import stat
import struct
import subprocess
import threading
import time

import lab
from lab import INNER4, INNER6, OUTER4, OUTER6, check, check_equal

CTL = os.path.abspath(os.environ["CTL"])
# The user and group nobody of Debian, a user without any right.
NOBODY = 65534
TUN = "/dev/net/tun"
PORT = 51002
# Lines of the daemon about what an older kernel lacks.
LACKS = re.compile(r"WARNING: \(\S+\) \S+ \S+ (not isolated in full: no Landlock|"
                   r"memory for secrets is not locked).*\n")
# A name that only the name server in the tunnel knows, and its address.
NAME, NAME_ADDRESS = "inside.test", "10.9.0.53"


def make_tun_node(mode=0o666):
    """Put a node of our own in the place of /dev/net/tun, in this mount namespace."""
    path = f"/run/tun-{mode:o}"
    if not os.path.exists(path):
        os.mknod(path, stat.S_IFCHR | mode, os.makedev(10, 200))
        os.chmod(path, mode)
    lab.run("mount", "--bind", path, TUN)


class World:
    """Node a with a plain user, and node b with a daemon and its peers."""

    def __init__(self, l, outer=4, n=1, link_mtu=1500):
        self.lab = l
        self.a, self.b = l.node("a"), l.node("b")
        self.outer = OUTER4 if outer == 4 else OUTER6
        l.link(self.a, self.b, "eth", "eth", link_mtu)
        for side, node in ("a", self.a), ("b", self.b):
            node.ip(f"addr add {OUTER4[side]}/24 dev eth",
                    f"addr add {OUTER6[side]}/64 dev eth nodad")
            node.settle("eth")
        make_tun_node()
        l.stack.callback(lab.run, "umount", "-l", TUN)
        self.directory = l.directory
        os.chmod(self.directory, 0o755)
        self.bin = f"{self.directory}/bin"
        os.mkdir(self.bin)
        for program in CTL, l.daemon:
            shutil.copy(program, self.bin)
        self.runtime = f"{self.directory}/user"
        os.mkdir(self.runtime, 0o700)
        os.chown(self.runtime, NOBODY, NOBODY)
        self.sockets = f"{self.runtime}/wiregather"
        self.keys = [self.make_keys() for _ in range(n)]
        self.server = l.tunnel(self.b, "wgb", PORT).start()
        self.server.configure(*(
            {"PublicKey": public,
             "AllowedIPs": f"{self.address4(i)}/32, {self.address6(i)}/128"}
            for i, (_, public) in enumerate(self.keys)))
        self.server.up(INNER4["b"] + "/24", INNER6["b"] + "/64")

    @staticmethod
    def make_keys():
        private = lab.run("wg", "genkey").stdout.strip()
        return private, lab.run("wg", "pubkey", stdin=private).stdout.strip()

    @staticmethod
    def address4(i):
        return f"10.9.0.{100 + i}"

    @staticmethod
    def address6(i):
        return f"fd09::{100 + i}"

    def config(self, name="wg0", i=0, peer=(), allowed="0.0.0.0/0, ::/0",
               endpoint=None, **interface):
        """Write a configuration; values of None are left out."""
        settings = {"PrivateKey": self.keys[i][0],
                    "Address": f"{self.address4(i)}/24, {self.address6(i)}/64",
                    "DNS": INNER4["b"], **interface}
        lines = ["[Interface]"]
        for key, value in settings.items():
            for one in value if isinstance(value, list) else [value]:
                if one is not None:
                    lines.append(f"{key} = {one}")
        lines += ["[Peer]", f"PublicKey = {self.server.public}",
                  f"AllowedIPs = {allowed}",
                  f"Endpoint = {endpoint or lab.at(self.outer['b'], PORT)}", *peer]
        path = f"{self.directory}/{name}.conf"
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        os.chown(path, NOBODY, NOBODY)
        os.chmod(path, 0o600)
        return path

    def environment(self, **more):
        """The environment of a run; values of None are left out."""
        kept = {key: value for key, value in os.environ.items()
                if key in ("ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS")}
        found = {**kept, "PATH": lab.PATH, "XDG_RUNTIME_DIR": self.runtime,
                 "HOME": self.directory, "SHELL": "/bin/sh", **more}
        return {key: value for key, value in found.items() if value is not None}

    @staticmethod
    def as_user(*command, uid=NOBODY):
        return ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups",
                "--inh-caps=-all", *command)

    def ctl(self, *words, uid=NOBODY, node=None, wrap=(), stdin=None, **environment):
        """Run wiregatherctl to its end in node a; .stdout has both outputs."""
        command = (*wrap, f"{self.bin}/wiregatherctl", *words)
        done = (node or self.a).run(
            *(self.as_user(*command, uid=uid) if uid else command),
            check_status=False, stdin=stdin, timeout=60,
            env=self.environment(**environment))
        done.stdout = LACKS.sub("", done.stdout)
        return done

    def run(self, *command, config=None, options=(), status=0, **more):
        """Run a command in a tunnel; its status must be as wanted."""
        done = self.ctl("run", "--config", config or self.config(), *options, "--",
                        *command, **more)
        check_equal(done.returncode, status,
                    f"status of {' '.join(command)}: {done.stdout}")
        return done.stdout

    def must_be_gone(self):
        """All that a run has made goes shortly after its end."""
        def left():
            # The directory of root also has the sockets of the other end.
            return [name for _, _, files in os.walk(self.sockets) for name in files
                    if not name.startswith("wgb.")]

        lab.wait_until(lambda: not left(), "no socket and no lock is left", 20)

    def daemon_pid(self, name="wg0"):
        """The process that serves the socket of a tunnel."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.connect(f"{self.sockets}/{name}.sock")
            return struct.unpack("iII", sock.getsockopt(
                socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]


class Inside:
    """A shell in a tunnel, which does one command after the other."""

    def __init__(self, world, *options, config=None, uid=NOBODY, **environment):
        self.log = open(f"{world.directory}/inside.log", "w+", encoding="utf-8")
        command = (f"{world.bin}/wiregatherctl", "run", "--config",
                   config or world.config(), *options, "--", "/bin/sh")
        with world.a.inside():
            self.process = subprocess.Popen(
                world.as_user(*command, uid=uid) if uid else command,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                env=world.environment(**environment), preexec_fn=lab.after_fork)
        world.lab.stack.callback(self.end)
        self.text = b""
        self.do("true")

    def errors(self):
        self.log.seek(0)
        return self.log.read()

    def read_line(self, seconds=60):
        end = time.monotonic() + seconds * lab.SLOWNESS
        while b"\n" not in self.text:
            left = end - time.monotonic()
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, left))
            check(ready, f"no answer of the shell: {self.text!r} {self.errors()}")
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            check(data, f"the shell has ended: {self.text!r} {self.errors()}")
            self.text += data
        line, _, self.text = self.text.partition(b"\n")
        return line.decode()

    def do(self, command, status=0):
        """Do a command, which must end with this status (None: any); return what it
        prints."""
        self.process.stdin.write(
            f"( {command} ) </dev/null 2>&1\necho \"done: $?\"\n".encode())
        self.process.stdin.flush()
        lines = []
        while not (match := re.fullmatch(r"(.*)done: (\d+)",
                                         lines[-1] if lines else "")):
            lines.append(self.read_line())
        text = "\n".join([*lines[:-1], match.group(1)]).strip()
        if status is not None:
            check_equal(int(match.group(2)), status, f"status of {command}: {text}")
        return text

    def end(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(20 * lab.SLOWNESS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        self.log.close()


class NameServer:
    """A name server in the tunnel: it knows one name."""

    def __init__(self, world, address=INNER4["b"]):
        self.asked = []
        self.sock = world.b.socket()
        self.sock.bind((address, 53))
        self.sock.settimeout(None)
        threading.Thread(target=self.serve, daemon=True).start()

    @staticmethod
    def name_of(question):
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode())
            at += 1 + question[at]
        return ".".join(labels), struct.unpack_from(">H", question, at + 1)[0], at + 5

    def serve(self):
        while True:
            try:
                question, client = self.sock.recvfrom(1500)
            except OSError:
                return
            name, kind, end = self.name_of(question)
            self.asked.append(name)
            is_known = name.lower() == NAME
            answer = question[:2] + struct.pack(
                ">HHHHH", 0x8180 if is_known else 0x8183, 1, int(is_known and kind == 1),
                0, 0) + question[12:end]
            if is_known and kind == 1:
                answer += struct.pack(">HHHIH", 0xc00c, 1, 1, 60, 4) + \
                    socket.inet_aton(NAME_ADDRESS)
            with contextlib.suppress(OSError):
                self.sock.sendto(answer, client)


class FalseResolver:
    """A socket of a service that resolves names outside; notes who connects."""

    def __init__(self, l, path):
        self.path, self.clients = path, 0
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.bind(path)
        os.chmod(path, 0o666)
        self.sock.listen(8)
        l.stack.callback(self.close)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            self.clients += 1
            conn.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        with contextlib.suppress(OSError):
            os.unlink(self.path)


def strange(capture, ports):
    """IP packets that left, but for those of the tunnel and of the kernel's search for
    neighbours."""
    found = []
    for is_outgoing, frame in capture.frames():
        kind = struct.unpack_from(">H", frame, 12)[0]
        if not is_outgoing or kind not in (0x0800, 0x86dd):
            continue
        packet = frame[14:]
        if kind == 0x86dd and packet[6] in (0, 58):
            continue
        udp = None
        if kind == 0x0800 and packet[9] == 17:
            udp = struct.unpack_from(">HH", packet, (packet[0] & 15) * 4)
        elif kind == 0x86dd and packet[6] == 17:
            udp = struct.unpack_from(">HH", packet, 40)
        if not udp or udp[1] not in ports:
            found.append(frame.hex())
    return found


def why_not():
    """The reason why no case can run here; None if they can."""
    if os.geteuid():
        return "needs root"
    try:
        done = lab.run(*World.as_user("unshare", "-U", "-n", "-m", "true"),
                       check_status=False)
    except OSError as err:
        return f"no plain user can be tried: {err}"
    if done.returncode:
        # As in a chroot, or where a setting forbids it.
        return f"a plain user can make no namespaces here: {done.stdout.strip()}"
    return None
