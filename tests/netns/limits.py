#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A host that is short of a resource, or whose calls fail: the daemon goes on,
or ends with a message that names the cause."""
import contextlib
import errno
import os
import re
import time

import failcall
import lab
from lab import INNER4, Pair, case, check, check_equal, wait_until

# A user id that no other process on the machine has.
USER = 61317


def fail_to_start(l, *words, wrap=(), environment=None):
    """Start the daemon, which must fail. Its only line must have all the
    words, and is returned."""
    node = l.node("x")
    for options in ("-f", "wgx"), ("wgx",):
        done = node.run(*wrap, l.daemon, *options, check_status=False,
                        timeout=10, env={**os.environ, **(environment or {})})
        check_equal(done.returncode, 1, f"status after: {done.stdout}")
        lines = [line for line in done.stdout.splitlines()
                 if not line.startswith("DEBUG: ")]
        check_equal(len(lines), 1, f"lines of {done.stdout!r}")
        for word in words:
            check(word in lines[0], f"no {word!r} in {lines[0]!r}")
        check(node.run("ip", "link", "show", "wgx",
                       check_status=False).returncode, "an interface is left")
    node.close()
    l.nodes.remove(node)
    return lines[0]


@contextlib.contextmanager
def faults(l):
    """A table of failing calls, for the daemons that are started within the
    block."""
    library = failcall.find_library(l.daemon)
    if not library:
        raise lab.Skip("no libfailcall.so beside the daemon")
    table = failcall.Table(library, f"{l.directory}/failcall")
    table.plan()
    os.environ.update(table.environment())
    try:
        yield table
    finally:
        for key in table.environment():
            del os.environ[key]


def fail_always(table, name, err):
    table.plan(failcall.ONE_NAME, err, 1, failcall.ALWAYS, name=name)


# ------------------------------------------------------------- the device


@case("a TUN driver that refuses the virtio-net header: it works without")
def no_header(l):
    with faults(l) as table:
        # The first ioctl(2) of all is TUNSETIFF.
        table.plan(failcall.ONE_NAME, errno.EINVAL, 1, 1, name="ioctl")
        tunnel = l.tunnel(l.node("c"), "wgc", 0).start()
        check_equal(table.n_failed, 1, "calls that failed")
    check("no virtio-net header" in tunnel.log(), tunnel.log())
    tunnel.configure()
    tunnel.up("10.9.1.1/24")


# ----------------------------------------------------------------- threads


@case("RLIMIT_NPROC: the soft limit is raised")
def nproc_soft(l):
    lab.need("prlimit")
    pair = Pair(l, options=("--user", f"{USER}:{USER}"),
                how={"wrap": ("prlimit", "--nproc=1:100")})
    pair.both_ways(count=1)
    with open(f"/proc/{pair.ta.pid}/limits", encoding="ascii") as file:
        text = file.read()
    check(re.search(r"Max processes +(100|unlimited) ", text), text)


@case("RLIMIT_NPROC: where it cannot be raised, the line has limit, user, number")
def nproc_hard(l):
    lab.need("prlimit", "setpriv")
    wrap = ("prlimit", "--nproc=2", "setpriv", "--inh-caps=-all",
            "--bounding-set=-sys_resource")
    fail_to_start(l, "RLIMIT_NPROC is 2", f"user {USER}:{USER} ({USER})",
                  wrap=wrap, environment={
                      "WIREGATHER_USER": f"{USER}:{USER}"})


@case("no thread for another reason: the line says where to look")
def no_thread(l):
    with faults(l) as table:
        fail_always(table, "pthread_create", errno.EAGAIN)
        fail_to_start(l, "pids.max")


# -------------------------------------------------------------- descriptors


@case("RLIMIT_NOFILE: the soft limit is raised")
def nofile_soft(l):
    lab.need("prlimit")
    pair = Pair(l, how={"wrap": ("prlimit", "--nofile=12:200")})
    pair.both_ways(count=1)
    check("not isolated" not in pair.ta.log() or l.is_slow, pair.ta.log())


@case("RLIMIT_NOFILE: too few is an error at the start, which names it")
def nofile_hard(l):
    lab.need("prlimit", "setpriv")
    for n in 8, 13, 16, 17, 18, 30:
        fail_to_start(l, f"RLIMIT_NOFILE is {n}", wrap=(
            "prlimit", f"--nofile={n}", "setpriv", "--inh-caps=-all",
            "--bounding-set=-sys_resource"))


@case("descriptors run out while Landlock is entered: an error")
def landlock(l):
    if l.is_slow:
        raise lab.Skip("sanitizers need what is forbidden")
    with faults(l) as table:
        for err, words in ((errno.EMFILE, ("Landlock", "open files")),
                           (errno.ENOMEM, ("Landlock", "memory"))):
            fail_always(table, "landlock", err)
            fail_to_start(l, *words)
            check(table.n_failed, "the daemon has not tried to enter Landlock")
        # On a kernel without Landlock the daemon starts, and logs that.
        fail_always(table, "landlock", errno.ENOSYS)
        tunnel = l.tunnel(l.node("a"), "wga").start()
        check("no Landlock (Function not implemented)" in tunnel.log(),
              tunnel.log())


# ------------------------------------------------------------------ inotify


@case("no inotify: it runs, says so once, and looks for its file")
def without_inotify(l):
    node = l.node("a")
    tunnels = []
    with faults(l) as table:
        for name, err, hint in (
                ("inotify_init1", errno.EMFILE, "max_user_instances"),
                ("inotify_add_watch", errno.ENOSPC, "max_user_watches")):
            fail_always(table, name, err)
            tunnel = l.tunnel(node, f"wg{len(tunnels)}", 0).start(
                LOG_LEVEL="error")
            lines = tunnel.log().splitlines()
            check_equal(len(lines), 1, f"lines of {lines}")
            check("inotify" in lines[0] and hint in lines[0], lines[0])
            tunnel.configure()
            tunnels.append((tunnel, lines))
    for tunnel, _ in tunnels:
        os.unlink(tunnel.socket)
    for tunnel, lines in tunnels:
        check_equal(tunnel.wait(20), 0, "status")
        check_equal(tunnel.log().splitlines(), lines, "lines")


# ------------------------------------------------- errors that do not go away


def cpu_s(pid):
    """CPU time of a process, in seconds."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def watch(pair, what, length):
    """Check CPU time and log lines of 2.5 seconds; length: that of the log before.
    """
    before = cpu_s(pair.ta.pid)
    # After an error that stays, the daemon pauses for up to 1 s (REST_MAX_NS of
    # engine/loop.c).
    time.sleep(2.5)
    used = cpu_s(pair.ta.pid) - before
    lines = pair.ta.log()[length:].splitlines()
    check(used < 0.5, f"{what}: {used} s of a processor in 2.5 s; {lines[:30]}")
    # Two descriptors may each cause the same line.
    texts = [re.sub(r"^.*:\d\d:\d\d ", "", line) for line in lines]
    often = {text for text in texts if texts.count(text) > 2}
    check(not often, f"{what}: {len(lines)} lines, with {often}")


def add_case_of_failing(name, err, provoke):
    @case(f"{name} fails for a while by {errno.errorcode[err]}: no spinning, "
          "few lines, and then it works")
    def _(l):
        with faults(l) as table:
            pair = Pair(l)
        pair.both_ways(count=1)
        length = len(pair.ta.log())
        fail_always(table, name, err)
        provoke(pair)
        wait_until(lambda: table.n_failed, f"{name} has failed", 10)
        watch(pair, name, length)
        check(os.strerror(err) in pair.ta.log(), f"no line in {pair.ta.log()}")
        table.plan()
        pair.a.reach(INNER4["b"])
        pair.ta.get()
        pair.a.ip("link set wga mtu 1333")
        wait_until(lambda: "MTU is 1333" in pair.ta.log(), "the MTU", 10)


def touch_all(pair):
    """Make every descriptor readable, and wait for no answer."""
    with open(f"{lab.SOCKETS}/other", "w", encoding="ascii"):
        pass
    os.unlink(f"{lab.SOCKETS}/other")
    pair.a.ip("link set wga mtu 1400")
    pair.a.ping(INNER4["b"], count=1, wait=1)
    pair.b.ping(INNER4["a"], count=1, wait=1)


def connect(pair):
    client = pair.a.socket(family=lab.socket.AF_UNIX,
                           kind=lab.socket.SOCK_STREAM)
    client.connect(pair.ta.socket)


for case_arguments in (("recvmsg", errno.EIO, touch_all),
                       ("read", errno.EIO, touch_all),
                       ("recvmmsg", errno.ENOMEM, touch_all),
                       ("accept4", errno.EMFILE, connect)):
    add_case_of_failing(*case_arguments)


lab.main()
