#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Rights apart from packets: what keeper, starter and engine of a tunnel may do, and what
a program can do that takes the engine's place."""
import contextlib
import errno
import os
import re
import signal
import socket
import struct

import lab
from dying import starter_of
from lab import INNER4, Pair, Skip, case, check, check_equal, wait_until

# Numbers that are the same on all architectures.
PIDFD_OPEN = 434
PIDFD_GETFD = 438

# src/keeper/request.h
VERSION = 1
OPEN, CLOSE, MARK, ASK, REMOVE, KEEP, READY, STATE, FAILED = range(1, 10)
REPLY = struct.Struct("=HHiIIi" + "iIII24s" * 2 + "II" * 64)
QUESTION = struct.Struct("=B3x16s16sHHI")
ENGINE_REQUESTS_FD = 3
# src/engine/rights.h
UNKNOWN, NO_WAY, WAY = range(3)

# linux/capability.h
NET_ADMIN, NET_BIND_SERVICE = 1 << 12, 1 << 10
NOBODY = 65534


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file
                    if ":\t" in line)


def is_alive(pid):
    """Does a process run? One that has ended may wait to be reaped by this program."""
    with contextlib.suppress(OSError):
        return status_of(pid)["State"][0] != "Z"
    return False


def all_of(tunnel):
    return {"keeper": tunnel.keeper, "starter": starter_of(tunnel),
            "engine": tunnel.pid}


def one_process(l):
    if "WG_COVERAGE" in os.environ:
        raise Skip("a build that counts what is run is one process")
    return l


def interface_is_there(node, name):
    return not node.run("ip", "link", "show", name,
                        check_status=False).returncode


# ------------------------------------------------------ in the engine's place


def steal(pid, number):
    """A copy of a descriptor of a process; -1: there is no such call, or descriptor."""
    pidfd = lab.libc.syscall(PIDFD_OPEN, pid, 0)
    if pidfd < 0:
        raise Skip("no pidfd_open(2)")
    fd = lab.libc.syscall(PIDFD_GETFD, pidfd, number, 0)
    os.close(pidfd)
    return fd


def is_udp(fd):
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
        return sock.type == socket.SOCK_DGRAM and \
            sock.family in (socket.AF_INET, socket.AF_INET6)
    return False


class Intruder:
    """Has the engine's connection to the keeper, and asks what an engine never would."""

    def __init__(self, tunnel):
        fd = steal(tunnel.pid, ENGINE_REQUESTS_FD)
        if fd < 0:
            raise Skip("no pidfd_getfd(2)")
        self.sock = socket.socket(fileno=fd)
        self.sock.settimeout(10 * lab.SLOWNESS)

    def send(self, data, fds=()):
        socket.send_fds(self.sock, [data], fds)

    def ask(self, kind, body=b"", fds=()):
        """Send a request; return the fields of the reply, and its descriptors."""
        self.send(struct.pack("=BBxx", VERSION, kind) + body, fds)
        data, got, _, _ = socket.recv_fds(self.sock, REPLY.size, 32)
        check_equal(len(data), REPLY.size, "bytes of the reply")
        fields = REPLY.unpack(data)
        return fields[:1] + fields[2:], [socket.socket(fileno=fd) for fd in got]

    def open(self, port, mark=0):
        return self.ask(OPEN, struct.pack("=IHBx", mark, port, 1))

    def route(self, source, destination, mark=0):
        question = QUESTION.pack(0, socket.inet_aton(source),
                                 socket.inet_aton(destination), 1, 2, 0)
        fields, _ = self.ask(ASK, struct.pack("=II", mark, 1) +
                             question.ljust(QUESTION.size * 64, b"\0"))
        return fields[15:17]


# ------------------------------------------------------------------- cases


@case("ps shows which process is which; only the engine has more than one thread")
def names(l):
    one_process(l)
    tunnel = l.tunnel(l.node("a"), "wga").start()
    pids = all_of(tunnel)
    check_equal(len(set(pids.values())), 3, f"processes {pids}")
    check_equal(lab.command_of(pids["keeper"]), "wiregather", "the keeper")
    lines = {}
    for name, pid in pids.items():
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            lines[name] = file.read().rstrip(b"\0").decode()
    check("wga" in lines["keeper"], f"command line {lines['keeper']!r}")
    check(lines["starter"].startswith("wiregather: starter"),
          f"command line {lines['starter']!r}")
    check(lines["engine"].startswith("wiregather: engine"),
          f"command line {lines['engine']!r}")
    if not l.is_slow:
        for name in "keeper", "starter":
            check_equal(os.listdir(f"/proc/{pids[name]}/task"),
                        [str(pids[name])], f"threads of the {name}")


@case("the rights of each process")
def rights(l):
    one_process(l)
    tunnel = l.tunnel(l.node("a"), "wga").start()
    wanted = {"keeper": (0, NET_ADMIN | NET_BIND_SERVICE),
              "starter": (NOBODY, 0), "engine": (NOBODY, 0)}
    for name, pid in all_of(tunnel).items():
        status = status_of(pid)
        user, caps = wanted[name]
        check_equal(status["Uid"].split(), [str(user)] * 4, f"user of the {name}")
        for kind in "Prm", "Eff":
            check_equal(int(status["Cap" + kind], 16), caps,
                        f"Cap{kind} of the {name}")
        for kind in "Inh", "Amb":
            check_equal(int(status["Cap" + kind], 16), 0, f"Cap{kind} of the {name}")
        check_equal(status["NoNewPrivs"], "1", f"no_new_privs of the {name}")
        if not l.is_slow:
            check_equal(status["Seccomp"], "2", f"filter of the {name}")
        # The files in /proc of a process that is not dumpable are root's.
        if not l.is_slow:
            check_equal(os.stat(f"/proc/{pid}/environ").st_uid, 0,
                        f"owner of the {name}'s memory")


@case("neither keeper nor engine can signal or trace the other")
def apart(l):
    one_process(l)
    lab.need("setpriv")
    tunnel = l.tunnel(l.node("a"), "wga").start()
    pids = all_of(tunnel)
    as_engine = ("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY),
                 "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
    as_keeper = ("setpriv", "--inh-caps=-all",
                 "--bounding-set=-all,+net_admin,+net_bind_service")
    for words, other in (as_engine, "keeper"), (as_keeper, "engine"), \
            (as_keeper, "starter"):
        done = lab.run(*words, "sh", "-c", f"kill -0 {pids[other]}",
                       check_status=False)
        check(done.returncode and "ot permitted" in done.stdout,
              f"a signal to the {other}: {done.returncode} {done.stdout}")
        if l.is_slow:
            continue
        done = lab.run(*words, "dd", f"if=/proc/{pids[other]}/mem", "of=/dev/null",
                       "count=0", check_status=False)
        check("ermission denied" in done.stdout,
              f"the memory of the {other}: {done.stdout}")


def sockets_of(pid):
    """The inodes of the sockets that a process has."""
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            match = re.match(r"socket:\[(\d+)\]",
                             os.readlink(f"/proc/{pid}/fd/{name}"))
            if match:
                found.add(match.group(1))
    return found


@case("the engine has no netlink socket, the keeper has; the starter has neither")
def netlink(l):
    one_process(l)
    pair = Pair(l)
    pair.both_ways(count=1)
    with pair.a.inside():
        with open("/proc/thread-self/net/netlink", encoding="ascii") as file:
            inodes = {line.split()[-1] for line in file.read().splitlines()[1:]}
        with open("/proc/thread-self/net/udp", encoding="ascii") as file:
            udp = {line.split()[9] for line in file.read().splitlines()[1:]}
    pids = all_of(pair.ta)
    check(sockets_of(pids["keeper"]) & inodes, "the keeper has no netlink socket")
    check_equal(sockets_of(pids["engine"]) & inodes, set(), "of the engine")
    check_equal(sockets_of(pids["starter"]) & (inodes | udp), set(),
                "of the starter")


@case("an intruder can open and mark sockets, and ask for routes, and no more")
def intruder(l):
    one_process(l)
    pair = Pair(l)
    pair.both_ways(count=1)
    intruder = Intruder(pair.ta)
    fields, socks = intruder.open(53, 7)
    check_equal(fields[:2], (OPEN, 0), "reply to OPEN")
    check_equal(socks[0].getsockname()[1], 53, "port")
    check_equal(socks[0].getsockopt(socket.SOL_SOCKET, 36), 7, "SO_MARK")
    number = fields[2]
    # A third set is one too many: the engine has the first.
    check_equal(intruder.open(54)[0][1], -16, "a third set of sockets")
    check_equal(intruder.ask(MARK, struct.pack("=II", number, 8))[0][1], 0, "MARK")
    check_equal(socks[0].getsockopt(socket.SOL_SOCKET, 36), 8, "SO_MARK")
    check_equal(intruder.ask(CLOSE, struct.pack("=I", number))[0][1], 0, "CLOSE")
    for unknown in 0, number, 0xffffffff:
        check_equal(intruder.ask(CLOSE, struct.pack("=I", unknown))[0][1], -2,
                    f"CLOSE of {unknown}")
        check_equal(intruder.ask(MARK, struct.pack("=II", unknown, 1))[0][1], -2,
                    f"MARK of {unknown}")
    index = int(pair.a.run("cat", "/sys/class/net/eth/ifindex").stdout) \
        if os.path.exists("/sys/class/net/eth") else None
    kind, found = intruder.route("192.0.2.1", "192.0.2.2")
    check_equal(kind, WAY, "a way")
    check(index is None or found == index, f"interface {found}")
    check_equal(intruder.route("203.0.113.1", "192.0.2.2")[0], NO_WAY,
                "a foreign source")
    check_equal(intruder.route("192.0.2.1", "203.0.113.9")[0], UNKNOWN,
                "no route at all")
    # What the engine tells once cannot be told again, to print a text.
    check_equal(intruder.ask(READY)[0][1], -114, "READY")
    check_equal(intruder.ask(FAILED, struct.pack("=i400s", -1, b"text"))[0][1],
                -114, "FAILED")
    for sock in socks:
        sock.close()
    pair.both_ways(count=1)


# What a program may try that has the starter's rights, and how it fails.
TRIED = {
    "read a file": errno.EACCES,
    "write a file": errno.ENOSYS,
    "remove a file": errno.ENOSYS,
    "list a directory": errno.EACCES,
    "read its memory map": errno.EACCES,
    "execute a program": errno.ENOSYS,
    "open a UDP socket": errno.ENOSYS,
    "open a TCP socket": errno.ENOSYS,
    "open a netlink socket": errno.ENOSYS,
    "open a Unix socket": errno.ENOSYS,
    "open the keeper's memory": errno.EACCES,
    "open the keeper": errno.ENOSYS,
    "trace the keeper": errno.ENOSYS,
    "stop the keeper": errno.ENOSYS,
    "kill the keeper": errno.EPERM,
}
def need_library(l, name, why):
    """The path of a library of tests/lib for LD_PRELOAD. Skip the case without it, and in a
    build with sanitizers, for that reason."""
    library = os.path.join(os.path.dirname(l.daemon), f"tests/lib/lib{name}.so")
    if l.is_slow or not os.path.exists(library):
        raise Skip(why if l.is_slow else f"no lib{name}.so")
    return library


# What only Landlock forbids.
BY_LANDLOCK = "read a file", "list a directory", "read its memory map"


@case("a program with the starter's rights can open no file, no socket and no process")
def with_rights_of_starter(l):
    one_process(l)
    library = need_library(l, "intruder", "no filter with a sanitizer")
    path = f"{l.directory}/file"
    with open(path, "w", encoding="ascii") as file:
        file.write("text")
    os.chmod(path, 0o666)
    os.chmod(l.directory, 0o711)
    # The shell becomes the keeper.
    tunnel = l.tunnel(l.node("a"), "wga").start(
        wrap=("sh", "-c", 'export INTRUDER_KEEPER=$$; exec "$@"', "sh"),
        LD_PRELOAD=library, INTRUDER_FILE=path)
    found = dict(re.findall(r"^intruder: (.*): (\d+)$", tunnel.log(), re.M))
    for what, wanted in TRIED.items():
        if what in BY_LANDLOCK and not lab.has_landlock():
            continue
        check_equal(found.get(what), str(wanted), f"errno of: {what}")
    check_equal(set(found), set(TRIED), "attempts")
    # The engine has gone on, and so does the one that takes its place.
    before = tunnel.pid
    os.kill(before, signal.SIGKILL)
    await_another(tunnel, before)
    tunnel.get()
    check_equal(len(re.findall(r"^intruder: ", tunnel.log(), re.M)), 2 * len(TRIED),
                "attempts of both engines")


@case("a descriptor is kept in its slot, and nothing is done with it")
def kept(l):
    one_process(l)
    tunnel = l.tunnel(l.node("a"), "wga").start()
    intruder = Intruder(tunnel)
    before = len(os.listdir(f"/proc/{tunnel.keeper}/fd"))
    for _ in range(3):
        fd = os.memfd_create("journal")
        fields, _ = intruder.ask(KEEP, struct.pack("=I", 0), [fd])
        os.close(fd)
        check_equal(fields[1], 0, "kept")
    after = len(os.listdir(f"/proc/{tunnel.keeper}/fd"))
    # The engine's journal was there before.
    check_equal(after, before, "descriptors")
    tunnel.get()


@case("sockets that an intruder has had kept do not keep the port from the next engine")
def kept_sockets(l):
    one_process(l)
    pair = Pair(l)
    tunnel, before = pair.ta, pair.ta.pid
    intruder = Intruder(tunnel)
    mine = [fd for fd in map(lambda number: steal(before, number),
                             lab.descriptors_of(before)) if fd >= 0]
    udp = [fd for fd in mine if is_udp(fd)]
    check(len(udp) >= 2, f"{len(udp)} UDP sockets")
    for fd in udp:
        fields, _ = intruder.ask(KEEP, struct.pack("=I", 0), [fd])
        check_equal(fields[1], 0, "kept")
    for fd in mine:
        os.close(fd)
    intruder.sock.close()
    os.kill(before, signal.SIGKILL)
    await_another(tunnel, before)
    # The journal was lost, and with it the configuration; the port was not.
    tunnel.set("listen-port", "51001")
    tunnel.wait_for_port()


@case("an engine that ends by itself with status 0 does not end the tunnel")
def leaves(l):
    one_process(l)
    library = need_library(l, "leaver", "a sanitizer comes first")
    a = l.node("a")
    tunnel = l.tunnel(a, "wga").start(LD_PRELOAD=library)
    before = tunnel.pid
    check_equal(tunnel.ask("leave"), "", "answer")
    await_another(tunnel, before)
    check("the engine has ended with status 0" in tunnel.log(), tunnel.log())
    check(interface_is_there(a, "wga"), "the interface is gone")
    # It does end with its interface.
    a.ip("link del wga")
    check_equal(tunnel.wait(), 0, "status")


@case("what an intruder has kept in the place of the journal is not believed")
def poisoned(l):
    one_process(l)
    tunnel = l.tunnel(l.node("a"), "wga").start()
    noise = os.memfd_create("journal", os.MFD_ALLOW_SEALING)
    os.write(noise, os.urandom(1 << 16))
    empty = os.memfd_create("journal", os.MFD_ALLOW_SEALING)
    device = os.open("/dev/null", os.O_RDWR)
    for n, fd in enumerate((noise, empty, device), 1):
        before = tunnel.pid
        fields, _ = Intruder(tunnel).ask(KEEP, struct.pack("=I", 0), [fd])
        check_equal(fields[1], 0, "kept")
        os.close(fd)
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: tunnel.log().count("another engine has taken its place") == n,
                   "another engine", 20)
        check_equal(tunnel.log().count("the journal was read up to record 0: "), n,
                    "lines about the journal")
        check_equal(tunnel.get("peers").stdout, "", "peers")


BAD = {
    "one byte": b"\1",
    "another version": struct.pack("=BBxxIHBx", VERSION + 1, OPEN, 0, 53, 1),
    "an unknown kind": struct.pack("=BBxx", VERSION, 99),
    "a reserved byte": struct.pack("=BBxxIHBB", VERSION, OPEN, 0, 53, 1, 1),
    "one byte too few": struct.pack("=BBxxIHB", VERSION, OPEN, 0, 53, 1),
    "one byte too many": struct.pack("=BBxxIHBxx", VERSION, OPEN, 0, 53, 1),
    "65 questions": struct.pack("=BBxxII", VERSION, ASK, 0, 65) +
                    bytes(QUESTION.size * 64),
    "a text for a terminal": struct.pack("=BBxxi400s", VERSION, FAILED, 0,
                                         b"\033[2J"),
    "very long": bytes(60000),
}


def await_another(tunnel, before):
    """Wait until another engine has taken the place of that one."""
    wait_until(lambda: "another engine has taken its place" in tunnel.log(),
               "another engine", 20)
    check(tunnel.pid not in (before, tunnel.keeper), "the engine is the same")


@case("a request that no engine sends: the engine is killed, and another one goes on")
def bad_requests(l):
    one_process(l)
    a = l.node("a")
    for number, (what, data) in enumerate(BAD.items()):
        name = f"wg{number}"
        tunnel = l.tunnel(a, name).start()
        before = tunnel.pid
        Intruder(tunnel).send(data)
        await_another(tunnel, before)
        check("that no engine sends" in tunnel.log(), f"{what}: {tunnel.log()}")
        check(interface_is_there(a, name), f"{what}: the interface is gone")


@case("an engine that reads no reply: one line, it is killed, and another one goes on")
def reads_nothing(l):
    one_process(l)
    a = l.node("a")
    tunnel = l.tunnel(a, "wga").start()
    before = tunnel.pid
    lab.pause(before)
    intruder = Intruder(tunnel)
    with contextlib.suppress(ConnectionError):
        while True:
            intruder.send(struct.pack("=BBxxI", VERSION, CLOSE, 99))
    await_another(tunnel, before)
    check_equal(tunnel.log().count("that no engine sends"), 1, "lines")


@case("a request with a descriptor too many, one without its descriptor, and one for a slot "
      "that there is not")
def bad_descriptors(l):
    one_process(l)
    a = l.node("a")
    for number, (kind, body, n) in enumerate((
            (OPEN, struct.pack("=IHBx", 0, 0, 1), 1), (KEEP, struct.pack("=I", 1), 1),
            (KEEP, struct.pack("=I", 0), 0), (KEEP, struct.pack("=I", 0), 2),
            (READY, b"", 20))):
        tunnel = l.tunnel(a, f"wg{number}").start()
        before = tunnel.pid
        with open("/dev/null", "rb") as file:
            Intruder(tunnel).send(struct.pack("=BBxx", VERSION, kind) + body,
                                  [file.fileno()] * n)
        await_another(tunnel, before)
        check("that no engine sends" in tunnel.log(), tunnel.log())


@case("an empty message with descriptors: they are closed, and the engine is killed")
def empty_with_descriptors(l):
    one_process(l)
    tunnel = l.tunnel(l.node("a"), "wga").start()
    descriptors = f"/proc/{tunnel.keeper}/fd"
    before, engine = len(os.listdir(descriptors)), tunnel.pid
    with open("/dev/null", "rb") as file:
        Intruder(tunnel).send(b"", [file.fileno()] * 20)
    await_another(tunnel, engine)
    check("that no engine sends" in tunnel.log(), tunnel.log())
    wait_until(lambda: len(os.listdir(descriptors)) == before,
               f"the keeper has {before} descriptors again", 10)


def killed(l, number, word):
    a = l.node("a")
    tunnel = l.tunnel(a, "wga").start()
    before = tunnel.pid
    os.kill(before, number)
    await_another(tunnel, before)
    check(f"the engine has ended by signal {word}" in tunnel.log(), tunnel.log())
    check(interface_is_there(a, "wga"), "the interface is gone")


@case("an engine that ends by a signal: one line, and another one goes on")
def engine_killed(l):
    one_process(l)
    killed(l, signal.SIGSEGV, "11")


@case("an engine that makes a forbidden call ends by its filter: the same")
def engine_filtered(l):
    one_process(l)
    if l.is_slow:
        raise Skip("no filter with a sanitizer")
    killed(l, signal.SIGSYS, "31")


@case("an engine that ends as if it had been told to: a death like any other; if the "
      "interface is deleted, it is none")
def ends_unasked(l):
    one_process(l)
    library = need_library(l, "intruder", "a sanitizer has a recv(2) of its own")
    a = l.node("a")
    tunnel = l.tunnel(a, "wga").start(LD_PRELOAD=library)
    before = tunnel.pid
    with contextlib.suppress(OSError):
        tunnel.ask("intruder=end\n\n")
    wait_until(lambda: tunnel.process.poll() is not None or
               "another engine has taken its place" in tunnel.log(), "its end is seen", 20)
    check("the engine has ended with status 0" in tunnel.log(), tunnel.log())
    await_another(tunnel, before)
    tunnel.get()
    a.ip("link del wga")
    check_equal(tunnel.wait(20), 0, "status")
    check_equal(tunnel.log().count("has ended with status"), 1, "deaths")


@case("a keeper that is killed: engine and starter end, and the interface goes")
def keeper_killed(l):
    one_process(l)
    a = l.node("a")
    tunnel = l.tunnel(a, "wga").start()
    pids = all_of(tunnel)
    tunnel.process.kill()
    tunnel.wait()
    wait_until(lambda: not any(map(is_alive, pids.values())),
               "engine and starter have ended")
    wait_until(lambda: not interface_is_there(a, "wga"), "the interface is gone")


@case("a starter that is killed: one line, the tunnel goes on, and ends as it is told")
def starter_killed(l):
    one_process(l)
    pair = Pair(l)
    pair.both_ways(count=1)
    os.kill(starter_of(pair.ta), signal.SIGKILL)
    wait_until(lambda: "the process that starts engines has ended" in pair.ta.log(),
               "a line says so")
    pair.both_ways(count=1)
    pair.ta.set("listen-port", "51007")
    pair.ta.stop()
    check(not interface_is_there(pair.a, "wga"), "the interface is left")


@case("the starter is killed during an upgrade, and then both engines: the daemon ends")
def all_killed(l):
    one_process(l)
    tunnel = l.tunnel(l.node("a"), "wga").start()
    engine, starter = tunnel.pid, starter_of(tunnel)
    # The successor waits for it.
    lab.pause(engine)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.connect(f"{lab.SOCKETS}/wga.upgrade")
        sock.send(struct.pack("=II", 1, 0))

        def engines():
            return [pid for pid in lab.descendants_of(tunnel.process.pid)
                    if lab.command_of(pid) == "wg-engine"]

        wait_until(lambda: len(engines()) == 2, "there are two engines")
        both = engines()
        os.kill(starter, signal.SIGKILL)
        wait_until(lambda: "the process that starts engines has ended" in tunnel.log(),
                   "a line says so")
        for pid in both:
            os.kill(pid, signal.SIGKILL)
        check_equal(tunnel.wait(), 1, "status")
    check("the engine has ended\n" in tunnel.log(), tunnel.log())


@case("a starter that was stopped does not keep the daemon from its end")
def starter_stopped(l):
    one_process(l)
    a = l.node("a")
    tunnel = l.tunnel(a, "wga").start()
    starter = starter_of(tunnel)
    lab.pause(starter)
    try:
        tunnel.process.send_signal(signal.SIGTERM)
        # Ten seconds for the engine, five for the starter, two for its end.
        check_equal(tunnel.wait(40), 1, "status")
    finally:
        os.kill(starter, signal.SIGCONT)
    check("the engine does not end\n" in tunnel.log(), tunnel.log())
    check(not interface_is_there(a, "wga"), "the interface is left")


@case("SIGTERM and SIGINT to engine and starter change nothing")
def other_signals(l):
    one_process(l)
    pair = Pair(l)
    for pid in pair.ta.pid, starter_of(pair.ta):
        for number in signal.SIGTERM, signal.SIGINT, signal.SIGHUP:
            os.kill(pid, number)
    pair.both_ways(count=1)


@case("--keeper-user: it keeps what it needs; not the engine's, and not an unknown one")
def keeper_user(l):
    one_process(l)
    pair = Pair(l, how={})
    pair.ta.stop()
    tunnel = l.tunnel(pair.a, "wgk", 51003).start("--keeper-user", "4711:4711")
    status = status_of(tunnel.keeper)
    check_equal(status["Uid"].split(), ["4711"] * 4, "user of the keeper")
    check_equal(status_of(tunnel.pid)["Uid"].split(), [str(NOBODY)] * 4,
                "user of the engine")
    tunnel.set("listen-port", "53", "fwmark", "7")
    pair.a.ip("link set wgk up")
    wait_until(lambda: tunnel.has_port(53), "port 53 is open")
    tunnel.stop()
    check(not os.path.exists(tunnel.socket), "the socket's file is left")
    for user, words in (("nobody", "is the user of the engine, too"),
                        ("none-such", "there is no user none-such")):
        done = pair.a.run(l.daemon, "-f", "--keeper-user", user, "wgx",
                          check_status=False)
        check_equal(done.returncode, 1, f"status after: {done.stdout}")
        check(words in done.stdout, f"message: {done.stdout}")
        check(not interface_is_there(pair.a, "wgx"), "an interface is left")


@case("news reach the engine: addresses of broadcasts, names, the MTU, a move")
def news(l):
    one_process(l)
    pair = Pair(l)
    pair.both_ways(count=1)
    pair.a.ip("link set wga mtu 1333")
    wait_until(lambda: "MTU is 1333" in pair.ta.log(), "the MTU is known")
    pair.a.rename("wga", "wgz")
    wait_until(lambda: "renamed to wgz" in pair.ta.log(), "the name is known")
    pair.a.reach(INNER4["b"])
    away = l.node("away")
    pair.a.ip("link set wgz netns away")
    wait_until(lambda: "moved to another namespace" in pair.ta.log(), "the move is known")
    away.ip("addr add 10.9.0.1/24 dev wgz", "link set wgz up")
    away.reach(INNER4["b"])
    away.ip("link del wgz")
    check_equal(pair.ta.wait(), 0, "status")


lab.main()
