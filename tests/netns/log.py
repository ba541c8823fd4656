#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""If a log stream is full, or nobody reads it, only log lines are lost. Each stream
is full before the daemon starts, so the first line is affected already.
"""
import fcntl
import os
import pty
import re
import resource
import select
import signal
import socket
import time
import tty

import lab
from lab import INNER4, Pair, case, check, check_equal, wait_until
from detached import detach, end_detached

# linux/fcntl.h
F_SETPIPE_SZ = 1031


def by_pipe(_directory):
    reader, writer = os.pipe()
    fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
    return reader, writer


def by_fifo(directory):
    path = f"{directory}/fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
    return reader, writer


def by_pty(_directory):
    reader, writer = pty.openpty()
    tty.setraw(writer)
    return reader, writer


def by_socket(_directory):
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ends[1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return ends[0].detach(), ends[1].detach()


KINDS = {"pipe": by_pipe, "FIFO": by_fifo, "pty": by_pty,
         "Unix stream socket": by_socket}


def fill(fd):
    """Write until the stream takes no more bytes."""
    os.set_blocking(fd, False)
    for size in 1024, 1:
        try:
            while True:
                os.write(fd, b"\n" * size)
        except BlockingIOError:
            pass
    os.set_blocking(fd, True)


class Stream:
    """A stream for a log: full at first, and not read until read_until() is
    called."""

    def __init__(self, l, kind):
        self.reader, self.writer = KINDS[kind](l.directory)
        fill(self.writer)
        l.stack.callback(os.close, self.reader)
        l.stack.callback(os.close, self.writer)
        self.text = ""

    def read_until(self, word, timeout=20):
        """Read until a word has come."""
        end = time.monotonic() + timeout
        while word not in self.text:
            check(time.monotonic() < end,
                  f"{word!r} did not come; read: {self.text[-2000:]!r}")
            if select.select([self.reader], [], [], 0.2)[0]:
                self.text += os.read(self.reader, 65536).decode()


def renew(pair):
    """Make the other end drop its session and start a new one."""
    before = pair.ta.peer(pair.tb).handshake
    # The time of a handshake is given in whole seconds.
    wait_until(lambda: time.time() >= before + 1, "the next second", 5)
    pair.tb.flap()
    pair.b.reach(INNER4["a"])
    check(pair.ta.peer(pair.tb).handshake > before, "no new handshake")


def use(pair):
    """Use the daemon's functions, and cause more log lines than its ring
    holds."""
    pair.both_ways(count=1)
    for _ in range(1200):
        check("errno=0" not in pair.ta.ask("set=1\nnonsense=1\n\n"), "errno")
    pair.a.must_ping(INNER4["b"], count=1)
    renew(pair)
    pair.ta.set("peer", pair.tb.public, "persistent-keepalive", "25")
    check_equal(pair.ta.peer(pair.tb).keepalive, "25", "keepalive")
    pair.a.must_ping(INNER4["b"], count=1)


def add_case(kind):
    @case(f"a {kind} that is full: all goes on; lost lines are counted")
    def _(l):
        stream = Stream(l, kind)
        pair = Pair(l, how={"output": stream.writer})
        use(pair)
        # Now the stream is read again.
        stream.read_until(" lost: ")
        pair.a.ip("link set wga mtu 1280")
        stream.read_until("MTU is 1280")
        lost = re.findall(r"ERROR: .* (\d+) lines? of the log lost", stream.text)
        check_equal(len(lost), 1, f"lines that tell of it in {stream.text!r}")
        check(int(lost[0]) > 100, f"lost lines: {lost}")
        check_equal(int(lost[0]) + stream.text.count("nonsense"), 1200,
                    "lines that were read or counted")
        # The stream is full again: neither a signal nor the end of the device
        # waits for a reader.
        fill(stream.writer)
        if kind == "pipe":
            pair.a.ip("link del wga")
            check_equal(pair.ta.wait(3), 0, "status")
        else:
            pair.ta.process.send_signal(signal.SIGTERM)
            check_equal(pair.ta.wait(3), 0, "status")
            check(pair.a.run("ip", "link", "show", "wga",
                             check_status=False).returncode,
                  "the interface is left")
        check(not os.path.exists(pair.ta.socket), "the socket file is left")


for kind_of_stream in KINDS:
    add_case(kind_of_stream)


@case("at the default level, with an error for each request")
def errors_only(l):
    stream = Stream(l, "pipe")
    pair = Pair(l, how={"output": stream.writer, "LOG_LEVEL": "error"})
    use(pair)
    stream.read_until(" lost: ")
    check("ERROR: (wga)" in stream.text, f"read: {stream.text[-500:]!r}")


@case("as a daemon that keeps its output: the start does not wait, nor the end")
def detached(l):
    a = l.node("a")
    stream = Stream(l, "pipe")
    start = time.monotonic()
    pid = detach(a, "wga", env={**os.environ, "LOG_LEVEL": "verbose"},
                 output=stream.writer)
    a.run("wg", "show", "wga")
    a.run("wg", "set", "wga", "fwmark", "1")
    os.kill(pid, signal.SIGTERM)
    check_equal(end_detached(pid), 0, "status of the daemon")
    check(time.monotonic() - start < 15, "the daemon waited for a reader")


@case("a start that fails says so to nobody, and ends")
def failed_start(l):
    a = l.node("a")
    stream = Stream(l, "pipe")
    process = a.start(l.daemon, "-f", "wga", output=stream.writer,
                      env={**os.environ, "WG_TUN_FD": "77"})
    check_equal(process.wait(5), 1, "status")


@case("a file that may not grow (SIGXFSZ), and a disk that is full")
def full(l):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    pair = Pair(l, how={"before": limit})
    use(pair)
    check_equal(pair.ta.log(), "", "the log")
    pair.ta.stop()
    fd = os.open("/dev/full", os.O_WRONLY)
    tunnel = l.tunnel(l.node("c"), "wgf").start(output=fd)
    os.close(fd)
    tunnel.configure()
    tunnel.up("10.9.1.1/24")
    tunnel.get()


@case("a reader that has gone")
def hung_up(l):
    reader, writer = os.pipe()
    os.close(reader)
    pair = Pair(l, how={"output": writer})
    os.close(writer)
    use(pair)


@case("signals of writing to a log are ignored, by all threads")
def ignored(l):
    tunnel = l.tunnel(l.node("a"), "wga").start()
    with open(f"/proc/{tunnel.pid}/status", encoding="ascii") as file:
        text = file.read()
    mask = int(re.search(r"SigIgn:\t(\w+)", text).group(1), 16)
    for number in signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTTOU:
        check(mask >> (number - 1) & 1, f"{number.name} is not ignored")


lab.main()
