#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Each system call of the daemon fails, one at a time; so do allocations.

A life of the daemon is run once to learn from which places it makes which calls
(see tests/lib/failcall.c). It is run again for each of these places, with each
errno that the code handles for this call, and with one that it does not handle. A
daemon that was ready must go on, and all steps of its life must succeed in the
end. A daemon that was not ready may end instead, with one line and a status that
is not 0. Then it must leave nothing.

Without FAULTS=all in the environment only a sample runs, the same each time.
"""
import base64
import contextlib
import errno
import os
import signal
import socket
import threading
import time

import failcall
import lab
from lab import INNER4, OUTER4, OUTER6, Failure, case, check, check_equal

FULL = os.environ.get("FAULTS") == "all"
# Run only plans whose text has this word.
WORD = os.environ.get("FAULTS_ONLY", "")
# The sample has one plan in STEP. A choice, so that it takes at most minutes.
STEP = 48
# A host accepts 50 initiations a second from a peer: pause before the next
# one.
PAUSE = 0.05
# An errno that the code handles nowhere.
UNKNOWN = errno.ENOTRECOVERABLE

# The errnos of each call that src/ distinguishes, and the usual ones.
SENDING = ("EINTR EAGAIN ENOBUFS ENOMEM EIO EMSGSIZE EINVAL EADDRNOTAVAIL "
           "ENODEV EFAULT EBADF ENOTSOCK ENETUNREACH EHOSTUNREACH "
           "ECONNREFUSED EPERM EACCES")
KNOWN = {
    "accept4": "EAGAIN EINTR ECONNABORTED EMFILE",
    "bind": "EADDRINUSE EAFNOSUPPORT",
    "close": "EINTR EIO",
    "connect": "ECONNREFUSED ENOENT EAGAIN EPROTOTYPE",
    "epoll_create1": "EMFILE",
    "epoll_ctl": "ENOMEM ENOSPC",
    "epoll_wait": "EINTR",
    "eventfd": "EMFILE",
    "fopen64": "ENOENT EROFS",
    "getrandom": "EINTR",
    "inotify_add_watch": "ENOSPC",
    "inotify_init1": "EMFILE",
    "ioctl": "EBADFD ENODEV EPERM EBUSY EINVAL",
    "link": "EEXIST EROFS",
    "lstat64": "ENOENT EACCES",
    "memfd_secret": "ENOSYS",
    "mkdir": "EEXIST EROFS",
    "mlock": "EPERM ENOMEM",
    "mmap64": "ENOMEM",
    "open": "ENOENT ENODEV ENXIO EACCES EPERM",
    "pthread_create": "EAGAIN",
    "read": "EINTR EAGAIN EBADFD",
    "recv": "EINTR EAGAIN",
    "recvmmsg": "EAGAIN EINTR EBADF ENOTSOCK ENOMEM EFAULT EINVAL ENOSYS",
    "recvmsg": "EAGAIN EINTR ENOBUFS ENOMEM",
    "send": "EINTR EAGAIN EPIPE",
    "sendmmsg": SENDING + " ENOSYS",
    "sendmsg": SENDING,
    "setsockopt": "ENOPROTOOPT EPERM",
    "socket": "EAFNOSUPPORT EPROTONOSUPPORT EMFILE",
    "timerfd_create": "EMFILE",
    "unlink": "ENOENT EROFS",
    "waitpid": "EINTR",
    "write": "EINTR EAGAIN",
    "writev": "EINTR EAGAIN EBADFD EIO EINVAL",
}

# These errors mean that the interface or the socket file was deleted. The
# daemon then has to end with status 0.
MEANS_GONE = {("ioctl", errno.EBADFD), ("read", errno.EBADFD),
              ("writev", errno.EBADFD), ("lstat64", errno.ENOENT)}
# These errors mean that the kernel lacks an IP version. The tunnel then uses
# the other one.
LACKS_FAMILY = (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)
# If one of these calls fails, the socket file stays; the next start removes
# it.
LEAVES_FILE = ("unlink", "lstat64")


class Ended(Exception):
    """The daemon has ended before it was told to."""


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

    def __init__(self, world, lacks_family=False):
        self.world = world
        self.me = world.me
        self.lacks_family = lacks_family
        self.outer = OUTER4
        self.process = None
        self.pid = 0
        self.is_ready = False

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


# ------------------------------------------------------------------ plans


class Plan:
    """The calls that fail in one life."""

    def __init__(self, text, call, number, **plan):
        self.text = text
        self.call = call
        self.err = number
        self.plan = plan


def names_of(call):
    return [getattr(errno, name) for name in KNOWN.get(call, "").split()] + \
        [UNKNOWN]


def plan_sites(world, sites):
    """A plan for each site, errno and the first calls from it."""
    for site in sites:
        where = failcall.describe(world.lab.daemon, site.stack)
        for err in names_of(site.name):
            for number in range(1, min(site.hits, 2) + 1):
                yield Plan(f"{site.name} {errno.errorcode[err]} call {number}"
                           f" of {where}", site.name, err,
                           mode=failcall.ONE_SITE, err=err, key=site.key,
                           first=number, last=number)


def look_at_end(world, life, plan, is_early):
    """The faults in the way a life has ended, as texts."""
    wrong = list(lab.complaints(life.log()))
    status = life.process.returncode
    means_gone = (plan.call, plan.err) in MEANS_GONE and status == 0
    if is_early and means_gone and (life.is_ready or plan.call == "lstat64"):
        # The daemon can look for the socket's file before the test sees that
        # it is ready.
        pass
    elif is_early and not life.is_ready:
        lines = life.log().splitlines()
        if not status or status < 0:
            wrong.append(f"status {status} while it starts")
        if len(lines) != 1 or not lines[0].startswith("wiregather: "):
            wrong.append(f"not one line: {lines}")
    elif is_early:
        wrong.append(f"the daemon ended with status {status}: {life.log()}")
    left = world.left_behind()
    if plan.call in LEAVES_FILE and "the socket's file" in left:
        left.remove("the socket's file")
    if left:
        wrong.append(f"the daemon has left {' and '.join(left)}")
    return wrong


def run_plan(world, kind, plan):
    """Run one life with a plan; return the faults as texts, and how the life
    ended."""
    world.table.plan(**plan.plan)
    life = kind(world, plan.err in LACKS_FAMILY)
    is_early = False
    try:
        life.run()
    except Ended:
        is_early = True
    except Failure as failure:
        return [f"{failure} {life.log() if life.process else ''}"], "failed"
    else:
        is_early = False
    finally:
        wrong = []
        if life.process and life.process.poll() is not None:
            wrong = look_at_end(world, life, plan, is_early)
        life.clear()
    return wrong, "ended" if is_early else "recovered"


def run_plans(world, kind, plans, step=STEP):
    """Run all plans, or a sample of them: each one that is `step` behind the last."""
    plans = [plan for plan in plans if WORD in plan.text]
    if not FULL and not WORD:
        plans = plans[::step]
    counts = {"recovered": 0, "ended": 0, "failed": 0, "missed": 0}
    wrong = []
    for number, plan in enumerate(plans):
        if number % 100 == 0:
            print(f"# {number} of {len(plans)}", flush=True)
        start = time.monotonic()
        found, how = run_plan(world, kind, plan)
        counts[how] += 1
        counts["missed"] += not world.table.n_failed
        if found:
            wrong.append(f"{plan.text}: {'; '.join(found)}")
        if FULL or found:
            print(f"# {time.monotonic() - start:5.1f} s {how} {plan.text}"
                  f"{' WRONG: ' if found else ''}{'; '.join(found)}",
                  flush=True)
    print(f"# {len(plans)} lives: {counts}", flush=True)
    check(not wrong, f"{len(wrong)} of {len(plans)} are wrong")
    # If the program did not read the table, no call would fail and every life
    # would succeed.
    check(counts["missed"] * 2 <= len(plans), f"too few failed: {counts}")


def learn(world, kind):
    """Run a life without failures; return the sites of the program that it
    reached."""
    wrong, _ = run_plan(world, kind, Plan("nothing fails", "", 0))
    check(not wrong, f"without a failure: {wrong}")
    sites = [site for site in world.table.sites() if site.stack]
    print(f"# {len(sites)} sites, {sum(s.hits for s in sites)} calls")
    return sites


ALLOCATING = ("malloc", "calloc", "realloc", "reallocarray", "aligned_alloc",
              "posix_memalign")


def system_calls(sites):
    return [site for site in sites if site.name not in ALLOCATING]


@case("in the foreground: each system call fails once")
def foreground(l):
    world = World(l)
    sites = system_calls(learn(world, Life))
    run_plans(world, Life, list(plan_sites(world, sites)))


@case("as a daemon: each system call of its start fails once")
def detached(l):
    world = World(l)
    known = {site.key for site in learn(world, Life)}
    sites = [site for site in system_calls(learn(world, Detached))
             if site.key not in known]
    run_plans(world, Detached, list(plan_sites(world, sites)))


@case("under a service manager: each call of its messages fails once")
def managed(l):
    world = World(l)
    sites = system_calls(learn(world, Managed))
    plans = [plan for plan in plan_sites(world, sites)
             if " of notify_" in plan.text or "send_message notify.c" in plan.text]
    if not WORD:
        check(len(plans) >= 20, f"calls of cli/notify.c: {len(plans)}")
    # There are few of them.
    run_plans(world, Managed, plans, 4)


@case("the n-th allocation fails")
def allocations(l):
    # gcov does not check the allocations with which it writes its counters.
    if "WG_COVERAGE" in os.environ:
        raise lab.Skip("most allocations are the coverage build's own")
    world = World(l)
    sites = learn(world, Life)
    n = sum(site.hits for site in sites if site.name in ALLOCATING)
    if not n:
        raise lab.Skip("the allocator is the sanitizer's")
    run_plans(world, Life, [
        Plan(f"allocation {i}", "malloc", errno.ENOMEM, mode=failcall.HEAP,
             err=errno.ENOMEM, first=i, last=i) for i in range(1, n + 1)])


lab.main()
