#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""wiregatherctl run and exec: a tunnel for one command, as a plain user. See world.py."""
import contextlib
import fcntl
import os
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

import lab
from lab import INNER4, INNER6, OUTER4, OUTER6, case, check, check_equal
from world import (LACKS, NAME, NAME_ADDRESS, NOBODY, PORT, FalseResolver, Inside,
                   NameServer, World, strange, why_not)

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


# Sends a word by a raw socket, or over SCTP. Arguments: raw or sctp, address, and a
# protocol or a port.
SEND = '''
import socket, sys
kind, host, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
if kind == "raw":
    socket.socket(family, socket.SOCK_RAW, number).sendto(b"raw", (host, 0))
else:
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
    sock.connect((host, number))
    sock.sendall(b"by SCTP")
'''


def write_program(w, name, text):
    """Write a program of Python that a plain user can run; return its words."""
    python = "/usr/bin/python3"
    if not os.path.exists(python):
        raise lab.Skip(f"no {python}, which a plain user can run")
    path = f"{w.directory}/{name}.py"
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    os.chmod(path, 0o644)
    return f"{python} {path}"


@case("packets of any protocol, by raw sockets")
def raw_protocols(l):
    w = World(l)
    send = write_program(w, "send", SEND)
    inside = Inside(w)
    # 132 is that of SCTP, and 253 one for experiments (RFC 3692).
    for protocol in 132, 253:
        for address in INNER4["b"], INNER6["b"]:
            raw = w.b.socket(lab.family_of(address), socket.SOCK_RAW, protocol)
            inside.do(f"{send} raw {address} {protocol}")
            check(raw.recv(100).endswith(b"raw"), f"protocol {protocol}, {address}")


@case("SCTP: an association in the tunnel")
def sctp(l):
    w = World(l)
    send = write_program(w, "send", SEND)
    try:
        server = w.b.socket(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_SCTP)
    except OSError as err:
        raise lab.Skip(f"the kernel has no SCTP: {err}") from None
    server.bind(("::", 7003))
    server.listen(2)
    inside = Inside(w)
    for address in INNER4["b"], INNER6["b"]:
        inside.do(f"{send} sctp {address} 7003")
        conn, _ = server.accept()
        with conn:
            conn.settimeout(20 * lab.SLOWNESS)
            check_equal(conn.recv(100), b"by SCTP", f"SCTP to {address}")


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


def parent_of(pid):
    """The parent of a process; None if the process has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            text = file.read()
    except FileNotFoundError:
        return None
    # The test is the next parent, and does not wait for it.
    if re.search(r"^State:\s+Z", text, re.MULTILINE):
        return None
    return int(re.search(r"^PPid:\s+(\d+)", text, re.MULTILINE)[1])


def add_killed_holder(uid):
    """Add a case in which the process that holds the tunnel is killed."""
    user = "root" if uid == 0 else "a plain user"
    @case(f"a holder that is killed takes the tunnel with it: {user}")
    def _(l):
        w = World(l)
        if uid == 0:
            w.sockets = lab.SOCKETS
        inside = Inside(w, "--publish", f"{OUTER4['a']}:8080:80", "--name", "held",
                        uid=uid)
        inside.do(f"ping -n -c 1 -W 12 {INNER4['b']}")
        daemon = w.daemon_pid("held")
        holder = parent_of(daemon)
        with open(f"/proc/{holder}/task/{holder}/children", encoding="ascii") as file:
            children = file.read().split()
        check_equal(len(children), 2, "the daemon and the forwarder")
        os.kill(holder, signal.SIGKILL)
        lab.wait_until(lambda: not any(map(parent_of, children)),
                       "the daemon and the forwarder end", 20)
        check("held" not in inside.do("ip -o link"), "the interface is still there")
        capture = lab.Capture(w.a, "eth")
        inside.do(f"ping -n -c 1 -W 1 {OUTER4['b']} && exit 9; exit 0")
        check_equal(strange(capture, set()), [], "packets outside")
        inside.end()
        # The files that are left stand in nobody's way.
        w.run("ping", "-n", "-c", "1", "-W", "12", INNER4["b"], uid=uid,
              options=("--name", "held"))
        w.must_be_gone()


for number in NOBODY, 0:
    add_killed_holder(number)


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


class Screen:
    """What programs write to a terminal."""

    def __init__(self, master):
        self.master, self.text = master, b""

    def wait_for(self, word):
        """Wait until the word is there, and forget all up to its end."""
        end = time.monotonic() + 60 * lab.SLOWNESS
        while word not in self.text:
            ready, _, _ = select.select([self.master], [], [], 0.1)
            check(time.monotonic() < end, f"no {word!r} in {self.text!r}")
            if ready:
                try:
                    self.text += os.read(self.master, 4096)
                except OSError:
                    # Nobody has the terminal open.
                    time.sleep(0.1)
        self.text = self.text.partition(word)[2]


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
    wait_for = Screen(master).wait_for
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


@case("job control: an interactive shell stops the command, and continues it")
def job_control(l):
    w = World(l)
    master, slave = os.openpty()
    l.stack.callback(os.close, master)

    def before():
        lab.after_fork()
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    with w.a.inside():
        shell = subprocess.Popen(
            w.as_user("bash", "--norc", "--noprofile", "--noediting", "-i"), stdin=slave,
            stdout=slave, stderr=slave, env=w.environment(), preexec_fn=before)
    os.close(slave)
    l.stack.callback(shell.kill)
    screen = Screen(master)

    def do(line, word):
        os.write(master, line)
        screen.wait_for(word)

    # In words that are typed there are quotes: the terminal shows them, too.
    do(f"{w.bin}/wiregatherctl run --config {w.config()} -- sh -c "
       "'echo be\"\"gun; exec cat'\n".encode(), b"begun\r\n")
    do(b"\x1a", b"Stopped")
    do(b"jo\"\"bs; echo li''sted\n", b"listed\r\n")
    do(b"fg; echo sta''tus $?\n", b"wiregatherctl run")
    do(b"to the command\n", b"to the command\r\nto the command\r\n")
    do(b"\x1a", b"Stopped")
    # In the background cat may stop again before it gets the signal, since it reads
    # from the terminal.
    do(b"bg; kill %1; kill -CONT %1; wait %1; echo en''ded $?\n", b"ended 143\r\n")
    do(b"exit 7\n", b"exit\r\n")
    check_equal(shell.wait(20 * lab.SLOWNESS), 7, "status of the shell")
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
    echo = write_program(w, "echo", ECHO)
    inside.do(f"{echo} {' '.join(map(str, arguments))} >/dev/null 2>&1 &")
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


@case("the first datagram finds a program that listens at the tunnel's address only")
def first_datagram(l):
    w = World(l)
    ports = 53, 54, 55
    options = [word for port in ports for word in
               ("--publish", f"{OUTER4['a']}:{5000 + port}:{port}/udp")]
    inside = Inside(w, *options)
    for port in ports:
        start_echo(w, inside, w.address4(0), port, "udp")
    answered = []
    for port in ports:
        sock = w.b.socket()
        sock.settimeout(3 * lab.SLOWNESS)
        sock.sendto(b"the first", (OUTER4["a"], 5000 + port))
        with contextlib.suppress(TimeoutError):
            check_equal(sock.recvfrom(100), (b"the first", (OUTER4["a"], 5000 + port)),
                        "answer")
            answered.append(port)
    # On a busy kernel the error that nobody listens at the loopback address may come too
    # late for one.
    check(len(answered) >= 2, f"of {ports}, only {answered} have answered the first")


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
        check_equal((process.returncode, LACKS.sub("", output.decode())), (0, ""),
                    "status and output")
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


lab.main(why_not())
