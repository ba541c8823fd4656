#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An engine dies at each system call of a `set`, in turn.

A client sends a `set`. The thread that serves it is stopped where its system calls begin
and where they end (ptrace(2)). At one of these places, counted from the first byte of
the request on, the engine is killed. The next round takes the next place, up to some
places behind the one at which the client has the answer. Calls of futex(2) are not
counted, because it depends on other threads how many there are. They change nothing
outside of the process: a death there is one before the next call.

The engine that goes on must have the configuration before the `set` or that after it, in
full. If the client had the answer, it must be the one after it.

With CALLS=all in the environment every place has its round, else a sample, the same each
time.
"""
import ctypes
import errno
import os
import signal
import socket
import struct
import time

import lab
from dying import DEATHS, await_another, kept
from lab import case, check, check_equal, wait_until
from tracing import PTRACE_DETACH, PTRACE_INTERRUPT, PTRACE_SEIZE, WALL, ptrace

FULL = os.environ.get("CALLS") == "all"
# A sample has one place in so many. A choice, so that it takes some seconds.
STEP = 7
# Places behind the answer that have rounds, too: the end of the connection.
BEHIND = 6
# So many more rounds are made for the place where the answer is sent. A choice.
MORE_MAX = 20
# More places than any of these requests has.
PLACES_MAX = 2000
# One round in so many ends by SIGSEGV, the others by SIGKILL. The number is even: where a
# call begins, it would still be made after SIGSEGV.
SEGV_STEP = 8

# A thread that has not run for so long rests. A choice: news come within 20 ms.
REST_S = 0.03

# linux/ptrace.h. Of struct ptrace_syscall_info: what has stopped the thread, and the
# number of the call that begins.
PTRACE_SYSCALL = 24
PTRACE_GET_SYSCALL_INFO = 0x420e
PTRACE_O_TRACESYSGOOD = 1
INFO = struct.Struct("=B3xIQQQ")
INFO_LEN = 88
ENTRY = 1
FUTEX = {"x86_64": 202, "aarch64": 98}.get(os.uname().machine)
# A stop at a call, with PTRACE_O_TRACESYSGOOD.
AT_CALL = signal.SIGTRAP | 0x80

OLD_PORT, NEW_PORT = 51001, 51007
# Lines of get=1 that are no configuration.
NO_CONFIG = ("tx_bytes", "rx_bytes", "last_handshake_time")


def key(number):
    """A key in hex digits, another one for each number."""
    return f"{number:02x}" + "5a" * 30 + "40"


def peer(number, *lines):
    return [f"public_key={key(number)}", *lines]


def request(*lines):
    return "\n".join(["set=1", *lines]) + "\n\n"


OLD = request(
    f"private_key={key(200)}", f"listen_port={OLD_PORT}", "fwmark=0", "replace_peers=true",
    *peer(1, "endpoint=192.0.2.11:1", "allowed_ip=10.1.0.0/16", "allowed_ip=fd01::/64"),
    *peer(2, f"preshared_key={key(90)}", "allowed_ip=10.2.0.0/16"),
    *peer(3, "persistent_keepalive_interval=25", "allowed_ip=10.3.0.0/16"),
    *peer(4, "endpoint=[2001:db8::4]:4", "allowed_ip=10.4.0.0/16"))

# Port, mark and private key change; peers go, come and change; allowed IPs move.
CHANGES = request(
    f"private_key={key(208)}", f"listen_port={NEW_PORT}", "fwmark=7",
    *peer(1, "remove=true"),
    *peer(5, "endpoint=192.0.2.15:5", "allowed_ip=10.1.0.0/16", "allowed_ip=10.5.0.0/16"),
    *peer(2, f"preshared_key={key(91)}", "replace_allowed_ips=true",
          "allowed_ip=10.3.0.0/16", "allowed_ip=10.2.1.0/24"),
    *peer(3, "persistent_keepalive_interval=0", "endpoint=192.0.2.13:3"),
    *peer(4, "endpoint=192.0.2.14:44", "allowed_ip=-10.4.0.0/16", "allowed_ip=fd04::/64"),
    *peer(6, "update_only=true", "allowed_ip=10.6.0.0/16"))

# All peers are replaced, some by themselves.
REPLACED = request(
    "replace_peers=true", f"listen_port={NEW_PORT}",
    *peer(4, "allowed_ip=10.4.0.0/16"), *peer(7, "allowed_ip=10.1.0.0/16"),
    *peer(1, "endpoint=192.0.2.11:11", "allowed_ip=fd01::/64"))

# Longer than the journal's memory, so another memory is made, and handed over.
LONG = request(*(line for n in range(60) for line in peer(
    n, f"preshared_key={key(n)}", *(f"allowed_ip=10.{n}.{i}.0/24" for i in range(40)))))


def configuration(tunnel):
    """What get=1 tells of the configuration."""
    return [line for line in tunnel.ask("get=1\n\n", 20).splitlines()
            if not line.startswith(NO_CONFIG)]


class Places:
    """The thread that serves the client, stopped at each of its system calls. All
    methods are called by one thread."""

    def __init__(self, pid):
        self.pid, self.call = pid, None
        ptrace(PTRACE_SEIZE, pid, PTRACE_O_TRACESYSGOOD)
        ptrace(PTRACE_INTERRUPT, pid)
        os.waitpid(pid, WALL)

    def go_on(self):
        """Let the thread run to the next place."""
        self.go_to_call()
        while self.call == FUTEX:
            self.go_to_call()

    def note_call(self):
        buf = ctypes.create_string_buffer(INFO_LEN)
        if lab.libc.ptrace(PTRACE_GET_SYSCALL_INFO, self.pid,
                           ctypes.c_void_p(INFO_LEN), buf) < 0:
            raise lab.Skip("no PTRACE_GET_SYSCALL_INFO")
        what, _, _, _, call = INFO.unpack_from(buf)
        if what == ENTRY:
            self.call = call

    def go_to_call(self):
        number = 0
        while True:
            ptrace(PTRACE_SYSCALL, self.pid, number)
            _, status = os.waitpid(self.pid, WALL)
            check(os.WIFSTOPPED(status), f"the engine has ended: {status:#x}")
            if os.WSTOPSIG(status) == AT_CALL:
                self.note_call()
                return
            # A signal, which it shall get, or the stop of the beginning.
            number = 0 if status >> 16 else os.WSTOPSIG(status)

    def leave(self):
        ptrace(PTRACE_DETACH, self.pid)

    def die(self, number):
        """Kill the engine where it is. A call that begins is made only if the signal
        is not SIGKILL."""
        os.kill(self.pid, number)
        if number != signal.SIGKILL:
            self.leave()
            return
        while os.WIFSTOPPED(os.waitpid(self.pid, WALL)[1]):
            pass


class Client:
    """Sends a request, and reads its answer without waiting for it."""

    def __init__(self, tunnel, text):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.sock.connect(tunnel.socket)
        self.sock.setblocking(False)
        data = text.encode()
        check_equal(self.sock.send(data), len(data), "bytes that were sent at once")
        self.reply = b""

    def has_answer(self):
        """Is the answer there? Then the connection is closed."""
        if self.reply:
            return True
        try:
            while data := self.sock.recv(4096):
                self.reply += data
        except OSError as err:
            check(err.errno in (errno.EAGAIN, errno.ECONNRESET), f"recv: {err}")
        check(self.reply in (b"", b"errno=0\n\n"), f"the answer is {self.reply}")
        if self.reply:
            self.sock.close()
        return bool(self.reply)


def await_rest(pid):
    """Wait until the first thread of a process has done nothing for a while: a new engine
    has news to read, and these calls would be counted."""
    def switches():
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            return [line for line in file if "ctxt_switches" in line]

    def rests():
        before = switches()
        time.sleep(REST_S)
        return switches() == before

    wait_until(rests, f"{pid} rests", 20)


def run_to(tunnel, text, place):
    """Send the request, and kill the engine at this place. Return (whether the client has
    the answer, how many places there were up to the answer).
    """
    # A sanitizer would complain of SIGSEGV.
    is_segv = place % SEGV_STEP == 0 and not tunnel.lab.is_slow
    number = signal.SIGSEGV if is_segv else signal.SIGKILL
    engine = tunnel.pid
    await_rest(engine)
    places = Places(engine)
    try:
        client = Client(tunnel, text)
        n, answer_at = 0, None
        while n < place:
            places.go_on()
            n += 1
            if answer_at is None and client.has_answer():
                answer_at = n
            if answer_at is not None and n == answer_at + BEHIND:
                break
            check(n < PLACES_MAX, "there is no answer")
    except BaseException:
        places.leave()
        raise
    places.die(number)
    await_another(tunnel, engine)
    is_answered = client.has_answer()
    client.sock.close()
    return is_answered, answer_at


class Daemons:
    """One daemon after the other, each for as many deaths as it survives, and until it
    has the new configuration: then its journal has room for it."""

    def __init__(self, l):
        self.node, self.lab, self.n_deaths = l.node("a"), l, 0
        self.tunnel = None

    def take(self):
        """A daemon with the old configuration, whose interface is up."""
        if not self.tunnel:
            self.tunnel = self.lab.tunnel(self.node, "wga", OLD_PORT).start()
            self.n_deaths = 0
            self.set(OLD)
            self.tunnel.up()
        return self.tunnel

    def give_back(self, is_new):
        self.n_deaths += 1
        if is_new or self.n_deaths == DEATHS:
            self.tunnel.stop()
            self.tunnel = None

    def set(self, text):
        check_equal(self.tunnel.ask(text, 20), "errno=0\n\n", "answer")


def differences(got, wanted):
    return f"only now: {sorted(set(got) - set(wanted))}, " \
        f"missing: {sorted(set(wanted) - set(got))}"


def judge(tunnel, before, after, is_answered):
    """Compare the configuration of the engine that went on. Return whether it is the
    one after the `set`."""
    found = configuration(tunnel)
    if found != after:
        check(not is_answered, "the set was answered, and is lost: "
              f"{differences(found, after)}")
        check(found == before, f"before: {differences(found, before)}; "
              f"after: {differences(found, after)}")
    port = int(next(line for line in found
                    if line.startswith("listen_port=")).split("=")[1])
    wait_until(lambda: tunnel.has_port(port), f"port {port} is open", 10)
    return found == after


def die_at_each(l, text):
    daemons = Daemons(kept(l))
    tunnel = daemons.take()
    before = configuration(tunnel)
    daemons.set(text)
    after = configuration(tunnel)
    daemons.give_back(True)
    check(before != after, "the set changes nothing")
    place, last, n_more = 1, PLACES_MAX, 0
    counts = {"old": 0, "new without answer": 0, "answered": 0}
    began = time.monotonic()
    while True:
        if place > last:
            # The place where the call begins that would send the answer. It has another
            # number in a round in which the thread does something else, too.
            if counts["new without answer"] or not FULL or n_more == MORE_MAX:
                break
            n_more += 1
            place = last - BEHIND - 1 + n_more % 5 % 3
        tunnel = daemons.take()
        check_equal(configuration(tunnel), before, "the old configuration")
        try:
            is_answered, answer_at = run_to(tunnel, text, place)
            is_new = judge(tunnel, before, after, is_answered)
        except lab.Failure as failure:
            raise lab.Failure(f"place {place}: {failure}") from None
        daemons.give_back(is_new)
        counts["answered" if is_answered else
               "new without answer" if is_new else "old"] += 1
        if answer_at:
            last = answer_at + BEHIND
        place = last + 1 if n_more else place + (1 if FULL else STEP)
    print(f"# {last} places and {n_more}, {counts}, {time.monotonic() - began:.1f} s")
    check(counts["old"] and counts["answered"], f"not both: {counts}")
    check(counts["new without answer"] or not FULL, f"not all: {counts}")


@case("a set that changes port, mark, private key, peers and allowed IPs")
def changes(l):
    die_at_each(l, CHANGES)


@case("a set that replaces all peers")
def replaced(l):
    die_at_each(l, REPLACED)


@case("a set for which the journal needs another memory")
def longer(l):
    die_at_each(l, LONG)


if __name__ == "__main__":
    lab.main()
