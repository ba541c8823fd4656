#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""wiregatherctl run and exec: a tunnel for one command, as a plain user.

The command's outer network is node a, and node b has the other end of the tunnel.
Programs are copied to a directory that a plain user can reach, and /dev/net/tun is a
node of the test's own, with the mode that udev gives it.
"""
import contextlib
import ctypes
import fcntl
import os
import re
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import termios
import threading
import time

import lab
from lab import INNER4, INNER6, OUTER4, OUTER6, case, check, check_equal

CTL = os.path.abspath(os.environ["CTL"])
# The user and group nobody of Debian, a user without any right.
NOBODY = 65534
TUN = "/dev/net/tun"
PORT = 51002
# A name that only the name server in the tunnel knows, and its address.
NAME, NAME_ADDRESS = "inside.test", "10.9.0.53"

# linux/prctl.h, linux/seccomp.h, linux/filter.h
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
RET_ALLOW, RET_ERRNO = 0x7fff0000, 0x00050000
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
# The number of unshare(2), by machine; on x86-64 also that of programs for i386.
UNSHARE = {"x86_64": (272, 310), "i686": (310,), "aarch64": (97,)}


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
        l.stack.callback(lab.run, "umount", TUN)
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
        kept = {key: value for key, value in os.environ.items()
                if key in ("ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS")}
        return {**kept, "PATH": lab.PATH, "XDG_RUNTIME_DIR": self.runtime, "HOME": self.directory,
                "SHELL": "/bin/sh", **more}

    @staticmethod
    def as_user(*command, uid=NOBODY):
        return ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups",
                "--inh-caps=-all", *command)

    def ctl(self, *words, uid=NOBODY, node=None, wrap=(), stdin=None, **environment):
        """Run wiregatherctl to its end in node a; .stdout has both outputs."""
        command = (*wrap, f"{self.bin}/wiregatherctl", *words)
        return (node or self.a).run(
            *(self.as_user(*command, uid=uid) if uid else command),
            check_status=False, stdin=stdin, timeout=60,
            env=self.environment(**environment))

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


# ------------------------------------------------------------------ the tunnel


@case("a plain user's command: every protocol, its own user, its own status")
def plain_user(l):
    w = World(l)
    before = w.a.run("ip", "-o", "addr").stdout, w.a.run("ip", "route").stdout
    capture = lab.Capture(w.a, "eth")
    tcp = w.b.socket(kind=socket.SOCK_STREAM)
    tcp.bind((INNER4["b"], 7001))
    tcp.listen(1)
    udp = w.b.socket()
    udp.bind((INNER4["b"], 7002))
    inside = Inside(w)
    check_equal(inside.do("id -u; id -g").split(), [str(NOBODY)] * 2, "user and group")
    inside.do(f"ping -n -c 1 -W 12 {INNER4['b']}")
    inside.do(f"ping -n -6 -c 1 -W 12 {INNER6['b']}")
    text = inside.do("ip -o addr show dev wg0; ip link show dev wg0; ip route; "
                     "ip -6 route; ip link show lo")
    for wanted in (w.address4(0) + "/24", w.address6(0) + "/64", "mtu 1420",
                   "default dev wg0", "qlen 500", "LOOPBACK,UP"):
        check(wanted in text, f"no {wanted} in: {text}")
    check_equal(text.count("default dev wg0"), 2, f"default routes in: {text}")
    check("fe80" not in text, f"a link-local address: {text}")
    # bash has TCP and UDP of its own.
    inside.do(f"bash -c 'echo by TCP >/dev/tcp/{INNER4['b']}/7001'")
    conn, _ = tcp.accept()
    with conn:
        conn.settimeout(20 * lab.SLOWNESS)
        check_equal(conn.recv(100), b"by TCP\n", "TCP")
    inside.do(f"bash -c 'echo by UDP >/dev/udp/{INNER4['b']}/7002'")
    check_equal(udp.recv(100), b"by UDP\n", "UDP")
    # Other protocols take raw sockets.
    raw = w.b.socket(kind=socket.SOCK_RAW, proto=253)
    if os.path.exists("/usr/bin/python3"):
        inside.do("/usr/bin/python3 -c 'import socket; s = socket.socket("
                  "socket.AF_INET, socket.SOCK_RAW, 253); "
                  f"s.sendto(b\"raw\", (\"{INNER4['b']}\", 0))'")
        check(raw.recv(100).endswith(b"raw"), "a raw packet")
    text = inside.do("wg show wg0")
    check(w.server.public in text and "latest handshake" in text, text)
    check("wg0: up" in inside.do(f"{w.bin}/wiregatherctl status wg0"), "status inside")
    text = w.ctl("status").stdout
    check("wg0: up" in text and "1 with a session" in text, text)
    check_equal((w.a.run("ip", "-o", "addr").stdout, w.a.run("ip", "route").stdout),
                before, "the outer network")
    check_equal(strange(capture, {PORT}), [], "packets outside of the tunnel")
    inside.end()
    check_equal(inside.process.returncode, 0, "status of the shell")
    w.must_be_gone()
    w.run("sh", "-c", "exit 7", status=7)
    text = w.run("no-such-command", status=127)
    check_equal(text, "wiregatherctl: no-such-command: No such file or directory\n",
                "a command that is not there")
    w.run(w.directory, status=126)
    # Without a command, a shell.
    done = w.ctl("run", "--config", w.config(), stdin="echo by $0; exit 3\n")
    check_equal((done.returncode, done.stdout), (3, "by /bin/sh\n"), "a shell")
    w.must_be_gone()


@case("MTU: that of the path less 80, or that of the file; over IPv6, too")
def mtu(l):
    w = World(l, outer=6, link_mtu=1400)
    for value, wanted in (None, 1320), (1300, 1300):
        text = w.run("ip", "link", "show", "dev", "wg0", config=w.config(MTU=value))
        check(f"mtu {wanted} " in text, f"wanted {wanted}: {text}")
    w.run("ping", "-n", "-c", "1", "-W", "12", INNER4["b"])


@case("lines of the file that cannot be honoured are named, and the rest holds")
def not_honoured(l):
    w = World(l)
    config = w.config(FwMark="0x5", PostUp=["touch /tmp/wiregather-post", "true"],
                      Table="1234", SaveConfig="true")
    text = w.run("ip", "route", config=config)
    for line, word in (5, "FwMark"), (6, "PostUp"), (7, "PostUp"), (8, "Table"), \
            (9, "SaveConfig"):
        check(f"wiregatherctl: {config}: line {line}: {word} is left out: " in text,
              f"no line {line} for {word}: {text}")
    check("default dev wg0" in text, f"no default route: {text}")
    check(not os.path.exists("/tmp/wiregather-post"), "PostUp was run")
    text = w.run("ip", "route", config=w.config(Table="off"))
    check("default" not in text and "left out" not in text, text)


@case("an endpoint by name is resolved outside, and reresolve follows the name")
def endpoint_by_name(l):
    w = World(l)
    other = "192.0.2.7"
    w.b.ip(f"addr add {other}/24 dev eth")
    path = f"{w.directory}/hosts"

    def write(address):
        # In place: the file is mounted.
        with open(path, "w", encoding="ascii") as file:
            file.write(f"{address} vpn.test\n")

    write(OUTER4["b"])
    lab.run("mount", "--bind", path, "/etc/hosts")
    l.stack.callback(lab.run, "umount", "/etc/hosts")
    config = w.config(endpoint=f"vpn.test:{PORT}")
    inside = Inside(w, config=config)
    inside.do(f"ping -n -c 1 -W 12 {INNER4['b']}")
    check(f"{OUTER4['b']}:{PORT}" in inside.do("wg show wg0 endpoints"), "endpoint")
    write(other)
    done = w.ctl("reresolve", "--once", "--config", config, "wg0")
    check_equal(done.returncode, 0, f"reresolve: {done.stdout}")
    text = inside.do("wg show wg0 endpoints")
    # The other end may answer from its first address, which would set it back.
    check(f"{other}:{PORT}" in text or f"{other}:{PORT}" in done.stdout,
          f"{text} {done.stdout}")


# -------------------------------------------------------------- what stays inside


@case("without the daemon the command has no network, and nothing leaves outside")
def fail_closed(l):
    w = World(l)
    inside = Inside(w)
    inside.do(f"ping -n -c 1 -W 12 {INNER4['b']}")
    capture = lab.Capture(w.a, "eth")
    os.kill(w.daemon_pid(), signal.SIGKILL)
    lab.wait_until(lambda: "wg0" not in inside.do("ip -o link"),
                   "the interface is gone", 20)
    lab.wait_until(lambda: "the daemon has ended (signal 9): the command has no "
                   "network any more" in inside.errors(), "the holder says so", 20)
    capture.frames()
    for target in INNER4["b"], OUTER4["b"], INNER6["b"], OUTER6["b"]:
        inside.do(f"ping -n -c 1 -W 1 {target} && exit 9; exit 0")
        inside.do(f"bash -c 'echo x >/dev/udp/{target}/7002' && exit 9; exit 0")
    check_equal(strange(capture, set()), [], "packets outside")
    inside.end()
    w.must_be_gone()


@case("without an address of a family, that family goes nowhere")
def one_family(l):
    w = World(l)
    inside = Inside(w, config=w.config(Address=w.address4(0)))
    capture = lab.Capture(w.a, "eth")
    text = inside.do(f"ping -n -6 -c 1 -W 1 {OUTER6['b']}", status=None)
    check("unreachable" in text, f"IPv6: {text}")
    check_equal(inside.do("ip -6 route show default"), "", "IPv6 routes")
    # In the tunnel this address is the other end's, by its cable.
    inside.do(f"ping -n -c 1 -W 12 {OUTER4['b']}")
    check_equal(strange(capture, {PORT}), [], "packets outside")


@case("names are resolved in the tunnel, or nowhere: no service outside is asked")
def names(l):
    w = World(l)
    # Where the C library, systemd's module and avahi's have their sockets.
    paths = ["/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve",
             "/run/avahi-daemon/socket", "/run/dbus/system_bus_socket"]
    resolvers = [FalseResolver(l, path) for path in paths]
    with open("/run/other", "w", encoding="ascii") as file:
        file.write("seen")
    done = w.a.run("getent", "ahostsv4", NAME, check_status=False)
    check(done.returncode, f"{NAME} resolves outside: {done.stdout}")
    if not resolvers[0].clients:
        raise lab.Skip("the C library asks no nscd: nothing could be seen")
    server = NameServer(w)
    capture = lab.Capture(w.a, "eth")
    inside = Inside(w, config=w.config(DNS=f"{INNER4['b']}, example.test, {INNER6['b']}"))
    # Programs outside, such as setpriv, may have looked for users.
    asked = resolvers[0].clients
    check_equal(inside.do("cat /etc/resolv.conf").splitlines(),
                [f"nameserver {INNER4['b']}", f"nameserver {INNER6['b']}",
                 "search example.test"], "resolv.conf")
    check_equal(inside.do("grep hosts: /etc/nsswitch.conf"), "hosts: files dns",
                "nsswitch.conf")
    check_equal(inside.do("grep -c ^passwd: /etc/nsswitch.conf", status=None),
                w.a.run("grep", "-c", "^passwd:", "/etc/nsswitch.conf",
                        check_status=False).stdout.strip(), "other lines of it")
    check(NAME_ADDRESS in inside.do(f"getent ahostsv4 {NAME}"), "the name")
    check(NAME in server.asked, f"asked: {server.asked}")
    inside.do("getent ahostsv4 nowhere.test", status=2)
    for path in paths:
        inside.do(f"test -e {path}", status=1)
    # A service that starts later is not seen, either.
    late = FalseResolver(l, "/run/nscd/late")
    inside.do("test -e /run/nscd", status=1)
    check_equal([r.clients for r in [*resolvers, late]], [asked, 0, 0, 0, 0],
                "clients of the false services")
    # All else is where it was, also for programs that replace a file outside.
    check_equal(inside.do("cat /run/other"), "seen", "/run")
    check_equal(inside.do("cat /etc/passwd"),
                w.a.run("cat", "/etc/passwd").stdout.strip(), "/etc")
    inside.do("touch /etc/new", status=1)
    check_equal(strange(capture, {PORT}), [], "packets outside")
    # Without the server nobody else is asked.
    server.sock.close()
    w.server.set("peer", w.keys[0][1], "remove")
    capture.frames()
    inside.do(f"RES_OPTIONS='timeout:1 attempts:1' getent ahostsv4 {NAME}", status=2)
    check_equal(strange(capture, {PORT}), [], "packets outside")
    check_equal([r.clients for r in [*resolvers, late]], [asked, 0, 0, 0, 0],
                "clients of the false services")
    os.unlink("/run/other")


@case("without DNS in the file: the system's name servers, but none of this host")
def system_name_servers(l):
    w = World(l)
    path = f"{w.directory}/resolv.conf"
    with open(path, "w", encoding="ascii") as file:
        file.write("nameserver 127.0.0.53\nnameserver 10.9.0.2\noptions edns0\n")
    lab.run("mount", "--bind", path, "/etc/resolv.conf")
    try:
        text = w.run("cat", "/etc/resolv.conf", config=w.config(DNS=None))
        check_equal(text, "nameserver 10.9.0.2\noptions edns0\n", "resolv.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write("nameserver ::1\n")
        text = w.run("cat", "/etc/resolv.conf", config=w.config(DNS=None))
        check("no name server can be reached" in text and "nameserver" not in
              text.replace("name server", ""), text)
    finally:
        lab.run("umount", "/etc/resolv.conf")


@case("descriptors: none but 0 to 2 goes in, and a closed stdin stays closed")
def descriptors(l):
    w = World(l)
    inherited = w.a.socket()
    command = w.as_user(f"{w.bin}/wiregatherctl", "run", "--config", w.config(), "--",
                        "sh", "-c", "ls /proc/$$/fd")
    for before, wanted in ((None, ["0", "1", "2"]), (lambda: os.close(0), ["1", "2"])):
        with w.a.inside():
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                pass_fds=(inherited.fileno(),), preexec_fn=before,
                env=w.environment(), timeout=60 * lab.SLOWNESS, check=False)
        check_equal(done.stdout.split(), wanted, f"descriptors: {done.stderr}")


# ------------------------------------------------------- signals and the terminal


@case("signals, a terminal's keys and size, stopping: as without a tunnel")
def terminal(l):
    w = World(l)
    master, slave = os.openpty()
    l.stack.callback(os.close, master)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 97, 0, 0))

    def before():
        lab.after_fork()
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    script = ('stty size; trap "echo interrupted; exit 5" INT; '
              'trap "stty size" WINCH; echo ready; '
              'while :; do sleep 0.05; done')
    command = w.as_user(f"{w.bin}/wiregatherctl", "run", "--config", w.config(), "--",
                        "bash", "-c", script)
    with w.a.inside():
        process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave,
                                   env=w.environment(), preexec_fn=before)
    os.close(slave)
    l.stack.callback(process.kill)
    text = b""

    def wait_for(word):
        nonlocal text
        end = time.monotonic() + 60 * lab.SLOWNESS
        while word not in text:
            ready, _, _ = select.select([master], [], [], 0.1)
            check(time.monotonic() < end, f"no {word!r} in {text!r}")
            if ready:
                with contextlib.suppress(OSError):
                    text += os.read(master, 4096)

    wait_for(b"31 97\r\nready\r\n")
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 17, 59, 0, 0))
    wait_for(b"17 59\r\n")
    # Ctrl-Z stops the command, which is the process that the shell has started.
    os.kill(process.pid, signal.SIGSTOP)
    lab.wait_until(lambda: os.waitpid(process.pid, os.WUNTRACED | os.WNOHANG)[0],
                   "the command stops")
    os.kill(process.pid, signal.SIGCONT)
    os.write(master, b"\x03")
    wait_for(b"interrupted\r\n")
    check_equal(process.wait(20 * lab.SLOWNESS), 5, "status")
    w.must_be_gone()
    # A signal that ends the command is seen as that.
    inside = Inside(w)
    inside.process.send_signal(signal.SIGTERM)
    check_equal(inside.process.wait(20 * lab.SLOWNESS), -signal.SIGTERM, "status")
    w.must_be_gone()


# ------------------------------------------------------------------- published ports

# A server inside: it sends back what has come. Arguments: address, port, tcp or udp.
ECHO = '''
import socket, sys, threading
host, port, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
sock = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
sock.bind((host, port))
def serve(conn):
    with conn:
        parts = []
        while part := conn.recv(1 << 16):
            parts.append(part)
        conn.sendall(b"".join(parts))
if kind == "tcp":
    sock.listen(64)
    while True:
        threading.Thread(target=serve, args=(sock.accept()[0],), daemon=True).start()
while True:
    data, client = sock.recvfrom(1 << 16)
    sock.sendto(data, client)
'''


def start_echo(w, inside, *arguments):
    python = "/usr/bin/python3"
    if not os.path.exists(python):
        raise lab.Skip(f"no {python}, which a plain user can run")
    path = f"{w.directory}/echo.py"
    with open(path, "w", encoding="ascii") as file:
        file.write(ECHO)
    os.chmod(path, 0o644)
    inside.do(f"{python} {path} {' '.join(map(str, arguments))} >/dev/null 2>&1 &")
    kind = "-ltn" if arguments[2] == "tcp" else "-lun"
    lab.wait_until(lambda: f":{arguments[1]} " in inside.do(f"ss {kind}"),
                   "the server listens", 20)


@case("published ports of TCP: whole streams both ways, half closed, many at once")
def published_tcp(l):
    w = World(l)
    inside = Inside(w, "--publish", f"{OUTER4['a']}:8080:80",
                    "--publish", f"[{OUTER6['a']}]:8081:81/tcp",
                    "--publish", f"{OUTER4['a']}:8082:82")
    start_echo(w, inside, "127.0.0.1", 80, "tcp")
    start_echo(w, inside, w.address6(0), 81, "tcp")

    def exchange(address, data):
        sock = w.b.socket(lab.family_of(address[0]), socket.SOCK_STREAM)
        sock.settimeout(60 * lab.SLOWNESS)
        sock.connect(address)
        sock.sendall(data)
        # The server answers only after the end.
        sock.shutdown(socket.SHUT_WR)
        parts = []
        while part := sock.recv(1 << 16):
            parts.append(part)
        sock.close()
        return b"".join(parts)

    data = lab.noise(3 << 20)
    for address in (OUTER4["a"], 8080), (OUTER6["a"], 8081):
        got = exchange(address, data)
        check(got == data, f"{address}: {len(got)} of {len(data)} bytes, or others")
    wrong = []

    def one(i):
        part = data[i * 1000:i * 1000 + 50000]
        try:
            if exchange((OUTER4["a"], 8080), part) != part:
                wrong.append(f"{i}: other bytes")
        except OSError as err:
            wrong.append(f"{i}: {err}")

    threads = [threading.Thread(target=one, args=(i,)) for i in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_equal(wrong, [], "fifty connections at once")
    # Nobody listens there.
    try:
        got = exchange((OUTER4["a"], 8082), b"x")
    except OSError:
        got = b""
    check_equal(got, b"", "an answer of nobody")
    check_equal(exchange((OUTER4["a"], 8080), b"after"), b"after", "afterwards")


@case("published ports of UDP: whole datagrams, and answers by flow")
def published_udp(l):
    w = World(l)
    inside = Inside(w, "--publish", f"{OUTER4['a']}:5300:53/udp",
                    "--publish", f"[{OUTER6['a']}]:5301:54/udp")
    start_echo(w, inside, "127.0.0.1", 53, "udp")
    start_echo(w, inside, w.address6(0), 54, "udp")

    def ask(sock, address, data):
        # A datagram may be lost while the forwarder looks where somebody listens.
        for _ in range(20):
            sock.sendto(data, address)
            try:
                return sock.recvfrom(1 << 16)
            except TimeoutError:
                continue
        raise lab.Failure(f"no answer of {address} to {len(data)} bytes")

    for address in (OUTER4["a"], 5300), (OUTER6["a"], 5301):
        clients = [w.b.socket(lab.family_of(address[0])) for _ in range(3)]
        for sock in clients:
            sock.settimeout(1)
            ask(sock, address, b"first")
        for length in 0, 1, 1200, 1400, 9000:
            for i, sock in enumerate(clients):
                data = bytes([i + 1]) * length
                got, sender = ask(sock, address, data)
                check(got == data, f"{length} bytes of client {i}: {got[:10]}...")
                check_equal(sender[:2], address, "sender of the answer")
    check("127.0.0.1" in inside.do("ss -lun"), "the server")


# ------------------------------------------------------------------ several tunnels


@case("exec: another command in the tunnel, until the first one ends")
def other_commands(l):
    w = World(l)
    inside = Inside(w, "--name", "mine")
    namespaces = "readlink /proc/self/ns/net /proc/self/ns/mnt /proc/self/ns/user"
    done = w.ctl("exec", "mine", "--", "sh", "-c", f"{namespaces}; id -u")
    check_equal((done.returncode, done.stdout.split()),
                (0, [*inside.do(namespaces).split(), str(NOBODY)]), "namespaces")
    done = w.ctl("exec", "mine", "ping", "-n", "-c", "1", "-W", "12", INNER4["b"])
    check_equal(done.returncode, 0, f"ping: {done.stdout}")
    check_equal(w.ctl("exec", "mine", "--", "sh", "-c", "exit 4").returncode, 4, "status")
    check_equal(w.ctl("exec", "mine", stdin="exit 6\n").returncode, 6, "a shell")
    done = w.ctl("exec", "other", "--", "true")
    check_equal(done.returncode, 1, "no such tunnel")
    check_equal(done.stdout, "wiregatherctl: other: No such file or directory: no "
                "wiregatherctl run has a tunnel of this name\n", "message")
    # The name is taken until then.
    done = w.ctl("run", "--config", w.config(), "--name", "mine", "--", "true")
    check(done.returncode == 1 and done.stdout.endswith(
        "mine: there is a tunnel of this name\n"), f"{done.returncode} {done.stdout}")
    inside.end()
    w.must_be_gone()
    check_equal(w.ctl("exec", "mine", "--", "true").returncode, 1, "after the end")


@case("twenty at once: names are found, and nothing is left")
def twenty(l):
    w = World(l, n=20)
    processes = []
    for i in range(20):
        command = w.as_user(
            f"{w.bin}/wiregatherctl", "run", "--config", w.config(f"many{i}", i), "--",
            "sh", "-c", f"ping -n -c 1 -W 20 {INNER4['b']} >/dev/null && "
            f"test -n \"$(ip -o addr show to {w.address4(i)})\" && read line")
        with w.a.inside():
            processes.append(subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, env=w.environment(),
                preexec_fn=lab.after_fork))
        l.stack.callback(processes[-1].kill)
    lab.wait_until(lambda: sum(peer.handshake > 0 for peer in
                               w.server.peers().values()) == 20, "twenty handshakes",
                   120)
    for process in processes:
        output, _ = process.communicate(b"\n", timeout=60 * lab.SLOWNESS)
        check_equal((process.returncode, output), (0, b""), "status and output")
    w.must_be_gone()
    # With one file, each tunnel gets a name of its own.
    first = Inside(w)
    second = Inside(w)
    check_equal([s.do("ip -o link | grep -o 'wg0[-2]*:'") for s in (first, second)],
                ["wg0:", "wg0-2:"], "names")


@case("a tunnel in a tunnel")
def nested(l):
    w = World(l)
    far = l.tunnel(w.b, "wgc", 51003).start()
    far.configure({"PublicKey": w.keys[0][1], "AllowedIPs": "10.10.0.100/32"})
    far.up("10.10.0.2/24")
    w.config("outer")
    w.config("inner", Address="10.10.0.100/24", endpoint=f"{INNER4['b']}:51003",
             DNS="10.10.0.2")
    path = f"{w.directory}/inner.conf"
    with open(path, encoding="ascii") as file:
        text = file.read().replace(w.server.public, far.public)
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    text = w.run(f"{w.bin}/wiregatherctl", "run", "--config", path, "--", "sh", "-c",
                 "ping -n -c 1 -W 20 10.10.0.2 && cat /etc/resolv.conf /etc/passwd",
                 config=f"{w.directory}/outer.conf")
    check("nameserver 10.10.0.2" in text and "nobody:" in text, text)
    w.must_be_gone()


# ------------------------------------------------------------------------- refusals


def forbid_unshare():
    """A filter of system calls like that of a container: unshare(2) gives EPERM."""
    numbers = UNSHARE.get(os.uname().machine)
    if not numbers:
        raise lab.Skip(f"the number of unshare(2) on {os.uname().machine} is unknown")
    steps = [(LOAD, 0, 0, 0)]
    for i, number in enumerate(numbers):
        steps.append((JUMP_EQUAL, len(numbers) - i, 0, number))
    steps += [(RETURN, 0, 0, RET_ALLOW), (RETURN, 0, 0, RET_ERRNO | 1)]
    code = ctypes.create_string_buffer(b"".join(
        struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HP", len(steps),
                                                      ctypes.addressof(code)))

    def before():
        lab.call(lab.libc.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        lab.call(lab.libc.prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER,
                 ctypes.byref(program), 0, 0)

    # The program points to it.
    before.code = code
    return before


def must_refuse(w, done, *words):
    lines = done.stdout.splitlines()
    check(done.returncode == 1 and len(lines) == 1, f"{done.returncode}: {done.stdout}")
    for word in words:
        check(word in lines[0], f"no {word!r} in: {lines[0]}")
    w.must_be_gone()


@case("where namespaces are refused, one line says which setting it is")
def refused_namespaces(l):
    w = World(l)
    command = w.as_user(f"{w.bin}/wiregatherctl", "run", "--config", w.config(), "--",
                        "true")
    before = forbid_unshare()
    with w.a.inside():
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, preexec_fn=before,
                              env=w.environment(), timeout=60 * lab.SLOWNESS,
                              check=False)
    must_refuse(w, done, "Operation not permitted", "filter of system calls",
                "--security-opt seccomp=")
    # The limits are those of a user namespace, so the test sets those of its own. In
    # it the program has no right, although its user is root.
    os.chmod(w.config(), 0o644)
    for kind in "user", "net":
        drop = "exec setpriv --bounding-set=-all --inh-caps=-all" if kind == "user" \
            else "exec"
        done = w.ctl("run", "--config", "wg0.conf", "--", "true", uid=0, wrap=(
            "unshare", "-U", "-r", "sh", "-c",
            f"cd {w.directory} && "
            f"echo 0 >/proc/sys/user/max_{kind}_namespaces && {drop} \"$0\" \"$@\""))
        must_refuse(w, done, "namespaces are switched off",
                    f"user.max_{kind}_namespaces = 0")


@case("where the TUN device is refused, one line says what to do")
def refused_tun(l):
    w = World(l)
    for mode, words in ((0o600, ("no permission to open /dev/net/tun", "0666")),
                        (None, ("there is no /dev/net/tun", "modprobe tun",
                                "--device /dev/net/tun"))):
        if mode:
            make_tun_node(mode)
        else:
            lab.run("mount", "-t", "tmpfs", "none", "/dev/net")
        try:
            done = w.ctl("run", "--config", w.config(), "--", "true")
        finally:
            lab.run("umount", TUN if mode else "/dev/net")
        must_refuse(w, done, *words)


@case("what takes rights outside is an error of one line: a mark, another user")
def refused_rights(l):
    w = World(l)
    done = w.ctl("run", "--config", w.config(), "--", "true", WIREGATHER_USER="daemon")
    must_refuse(w, done, "cannot become user daemon: Operation not permitted")
    inside = Inside(w)
    text = inside.do("wg set wg0 fwmark 5", status=1)
    check("Operation not permitted" in text, text)
    lab.wait_until(lambda: "mark" in inside.errors(), "a line of the log")
    lines = [line for line in inside.errors().splitlines() if "mark" in line]
    check(len(lines) == 1 and "cannot set the fwmark 0x5: Operation not permitted" in
          lines[0], f"{lines}")
    # All isolation is on, and nothing is said to be missing.
    text = inside.errors()
    check("not isolated" not in text or not lab.has_landlock(), text)
    with open(f"/proc/{w.daemon_pid()}/status", encoding="ascii") as file:
        status = dict(line.split(":\t") for line in file.read().splitlines()
                      if ":\t" in line)
    check_equal((status["CapPrm"], status["NoNewPrivs"]), ("0" * 16, "1"), "rights")
    check(l.is_slow or status["Seccomp"] == "2", f"Seccomp: {status['Seccomp']}")


# ----------------------------------------------------------------------------- root


@case("root: a namespace by its name, and without a user namespace")
def root(l):
    w = World(l)
    w.sockets = lab.SOCKETS
    c = l.node("c")
    capture = lab.Capture(w.a, "eth")
    text = w.run("sh", "-c", f"ping -n -c 1 -W 12 {INNER4['b']}; ip -o link; "
                 "readlink /proc/self/ns/user; wg show wg0 peers", uid=0,
                 options=("--netns", "c"))
    check(" 0% packet loss" in text and "wg0:" in text and w.server.public in text, text)
    check(os.readlink("/proc/self/ns/user") in text, f"a user namespace: {text}")
    check("wg0" not in c.run("ip", "-o", "link").stdout, "left in the namespace")
    text = w.run("ping", "-n", "-c", "1", "-W", "12", INNER4["b"], uid=0)
    check(" 0% packet loss" in text, text)
    check_equal(strange(capture, {PORT}), [], "packets outside of the tunnel")
    # A route that is there already would lead past the tunnel.
    c.ip("link add d0 type veth peer name d1", "link set d1 up", "link set d0 up", "addr add 10.8.0.1/24 dev d0",
         "route add default via 10.8.0.2")
    text = w.run("true", uid=0, options=("--netns", "c"), status=1)
    check("cannot add the route 0.0.0.0/0: File exists" in text, text)
    text = w.run("true", uid=0, options=("--netns", "none"), status=1)
    check("cannot enter the network namespace none" in text and "ip netns add" in text,
          text)
    text = w.run("true", options=("--netns", "c"), status=1)
    check("this takes root" in text, text)


@case("root of a container, with the few rights of one: by a user namespace")
def container_root(l):
    w = World(l)
    w.sockets = lab.SOCKETS
    os.chmod(w.config(), 0o644)

    def run(rights):
        # As in a container: the user is root of a user namespace, with few rights.
        return w.ctl("run", "--config", "wg0.conf", "--", "sh", "-c",
                     f"id -u; ping -n -c 1 -W 12 {INNER4['b']}", uid=0, wrap=(
                         "unshare", "-U", "-r", "sh", "-c", f"cd {w.directory} && exec "
                         f"setpriv --bounding-set={rights} --inh-caps=-all "
                         "\"$0\" \"$@\""))

    # Those of Docker, by default.
    text = run("-all,+chown,+dac_override,+fsetid,+fowner,+mknod,+net_raw,+setgid,"
               "+setuid,+setfcap,+setpcap,+net_bind_service,+sys_chroot,+kill").stdout
    check(re.search(r"^0$", text, re.MULTILINE) and " 0% packet loss" in text, text)
    w.must_be_gone()
    must_refuse(w, run("-all"), "root needs CAP_SETFCAP")


# ----------------------------------------------------------------------- bad input


@case("wrong command lines and files: one line names the token")
def usage(l):
    w = World(l)
    for words, complaint in (
            (("run", "--nonsense"), "no such option: --nonsense"),
            (("run", "--config"), "no value: --config"),
            (("run", "--name", "a/b", "true"), "not a name for an interface: a/b"),
            (("run", "--name", "a234567890123456", "true"),
             "not a name for an interface: a234567890123456"),
            (("run", "--publish", "192.0.2.1:80", "true"),
             "not ADDRESS:PORT:PORT[/udp]: 192.0.2.1:80"),
            (("run", "--publish", "2001:db8::1:80:80", "true"),
             "not ADDRESS:PORT:PORT[/udp]: 2001:db8::1:80:80"),
            (("run", "--publish", "192.0.2.1:0:80", "true"),
             "not ADDRESS:PORT:PORT[/udp]: 192.0.2.1:0:80"),
            (("run", "--publish", "192.0.2.1:80:80/sctp", "true"),
             "not ADDRESS:PORT:PORT[/udp]: 192.0.2.1:80:80/sctp"),
            (("exec",), "missing: NAME"), (("exec", "--x"), "no such option: --x"),
            (("exec", "wg0", "--x"), "no such option: --x")):
        done = w.ctl(*words)
        check_equal(done.returncode, 2, f"status of {words}")
        check(done.stdout.startswith(f"wiregatherctl: {complaint}\n"), done.stdout)
    done = w.ctl("run", "--config", "nowhere", "true")
    must_refuse(w, done, "no nowhere.conf that can be read in ~/.config/wireguard")
    done = w.ctl("run", "--config", w.config(MTU="many"), "true")
    must_refuse(w, done, "line 5: MTU is not a number from 68 to 65535: many")
    done = w.ctl("run", "--config", w.config(PrivateKey=None), "true")
    must_refuse(w, done, "no PrivateKey in [Interface]")
    done = w.ctl("run", "--config", w.config(endpoint="nowhere.invalid:1"), "true")
    must_refuse(w, done, "line 8: Endpoint: nowhere.invalid: ")
    done = w.ctl("run", "--config", w.config(), "--publish", "192.0.2.99:8080:80", "true")
    must_refuse(w, done, "--publish 192.0.2.99:8080:80: Cannot assign requested address")
    # The directory of the sockets must be the user's own.
    shutil.rmtree(w.sockets)
    os.mkdir(w.sockets, 0o755)
    done = w.ctl("run", "--config", w.config(), "true")
    check(done.returncode == 1 and "cannot be used: Operation not permitted" in
          done.stdout, done.stdout)
    shutil.rmtree(w.sockets)
    # A name is looked for in the usual places.
    os.makedirs(f"{w.directory}/.config/wireguard")
    os.rename(w.config("usual"), f"{w.directory}/.config/wireguard/usual.conf")
    text = w.ctl("run", "--config", "usual", "--", "ip", "-o", "link").stdout
    check("usual:" in text, text)


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


lab.main(why_not())
