#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""State that comes back: a machine that is resumed from a snapshot, or cloned.

All writable memory of the daemon goes back to an earlier time, and the clock
does not. The daemon cannot tell this from a resumed snapshot. (Memory for
secrets cannot be read from outside, so the keys must be the same at both times.)
Then the test, as root, makes the kernel send its event of a new generation.
"""
import contextlib
import os
import re
import signal
import socket
import struct
import time

import lab
from lab import Capture, Pair, case, check, check_equal, wait_until

# linux/netlink.h, and the port of discard (RFC 863).
NETLINK_KOBJECT_UEVENT = 15
NLM_F_REQUEST_ACK = 1 | 4
PORT = 9
NEW = (b"change@/devices/platform/vmgenid\0ACTION=change\0"
       b"DEVPATH=/devices/platform/vmgenid\0SUBSYSTEM=platform\0"
       b"NEW_VMGENID=1\0")
# Bytes of what Counters sends, and of its messages: IPv4 and UDP headers are added, the
# packet is padded to a multiple of 16, and a message adds 32.
DATA, MESSAGE = 64, 128
# Seconds without any activity, after which the daemon counts as idle.
REST = 1.2
# More events than a socket's buffer has room for.
MANY = 3000
# Whether this is the first user namespace. The number of its inode is
# PROC_USER_INIT_INO of the kernel.
IS_FIRST = os.stat("/proc/self/ns/user").st_ino == 0xEFFFFFFD


class Kernel:
    """Makes the kernel send events into a namespace."""

    def __init__(self, node):
        self.sock = node.socket(socket.AF_NETLINK, socket.SOCK_RAW,
                                NETLINK_KOBJECT_UEVENT)
        self.sock.bind((0, 0))

    def send(self, event):
        """Send an event. On return it is queued for all listeners."""
        self.sock.sendto(struct.pack("IHHII", 16 + len(event), 16,
                                     NLM_F_REQUEST_ACK, 1, 0) + event, (0, 0))
        error, = struct.unpack_from("i", self.sock.recv(4096), 16)
        check_equal(error, 0, "the kernel's answer to an event")


def tasks_of(pid, name):
    """The content of a /proc file of each thread of a process, by thread."""
    found = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/{name}", encoding="ascii") as file:
            found[task] = file.read()
    return found


class Frozen:
    """The daemon stopped, and its memory.

    Registers are not restored, so each thread must sleep in the same system
    call both times. The daemon is therefore stopped only when no thread has
    run for REST, which is longer than its delayed work takes (such as
    RELEASE_AFTER_MS of the worker).
    """

    def __init__(self, tunnel):
        self.pid = tunnel.pid

    def rest(self):
        """Wait until no thread has run for a while."""
        def switches():
            return {task: re.findall(r"ctxt_switches:\s+(\d+)", text)
                    for task, text in tasks_of(self.pid, "status").items()}

        def have_slept():
            before = switches()
            time.sleep(REST)
            return before == switches()

        wait_until(have_slept, "all threads sleep", 30)

    def places(self):
        """Where each thread sleeps."""
        return tasks_of(self.pid, "syscall")

    def regions(self):
        with open(f"/proc/{self.pid}/maps", encoding="ascii") as file:
            for line in file:
                match = re.match(r"(\w+)-(\w+) (\S+) \S+ \S+ \S+\s*(.*)", line)
                start, end, rights, name = match.groups()
                if rights.startswith("rw") and "secret" not in name:
                    yield int(start, 16), int(end, 16)

    def __enter__(self):
        self.rest()
        lab.pause(self.pid)
        # pylint: disable-next=consider-using-with
        self.memory = open(f"/proc/{self.pid}/mem", "r+b", buffering=0)
        return self

    def __exit__(self, *_):
        self.memory.close()
        os.kill(self.pid, signal.SIGCONT)

    def save(self):
        saved = [self.places()]
        for start, end in self.regions():
            with contextlib.suppress(OSError):
                self.memory.seek(start)
                saved.append((start, self.memory.read(end - start)))
        return saved

    def restore(self, saved):
        check_equal(self.places(), saved[0], "where the threads sleep")
        for start, data in saved[1:]:
            self.memory.seek(start)
            written = self.memory.write(data)
            check_equal(written, len(data), f"bytes put back at {start:x}")


class Counters:
    """The data messages of a: the sealed text by (receiver, counter)."""

    def __init__(self, pair):
        self.pair = pair
        self.capture = Capture(pair.b, "eth")
        self.sock = pair.a.socket()

    def send(self, byte):
        """Send three datagrams; returns their messages."""
        self.capture.datagrams()
        for _ in range(3):
            self.sock.sendto(byte * DATA, (lab.INNER4["b"], PORT))
            time.sleep(0.02)
        found = {}

        def have_three():
            for p in self.capture.datagrams(sport=51001):
                if p.payload[0] != 4 or len(p.payload) % MESSAGE:
                    continue
                # Datagrams that waited for a session leave in a train, and this link
                # does not cut it.
                for at in range(0, len(p.payload), MESSAGE):
                    message = p.payload[at:at + MESSAGE]
                    found[message[4:16]] = message[16:]
            return len(found) >= 3

        wait_until(have_three, "three messages have left", 20)
        return found


def make_pair(l):
    """A pair without isolation, which would forbid the rollback, and without
    helpers, whose threads would have to be at rest as well."""
    return Pair(l, options=("--workers=1", "--no-isolation"))


def roll_back(pair, counters, event):
    """Send A, restore the memory, cause an event, send B; return the counters
    that were used for both."""
    with Frozen(pair.ta) as frozen:
        saved = frozen.save()
    first = counters.send(b"A")
    with Frozen(pair.ta) as frozen:
        frozen.restore(saved)
        event()
    # Time in which the daemon handles the event.
    time.sleep(0.3)
    second = counters.send(b"B")
    return [key.hex() for key, text in first.items()
            if key in second and second[key] != text]


@case("without an event a daemon that goes back repeats counters")
def fault(l):
    """This shows that the next case would see counters that are used twice."""
    if l.is_slow:
        raise lab.Skip("a sanitizer has memory of its own")
    pair = make_pair(l)
    pair.b.must_ping(lab.INNER4["a"], count=1)
    twice = roll_back(pair, Counters(pair), lambda: None)
    check_equal(len(twice), 3, "counters used twice, where nothing helps")


@case("with the event no counter is used twice, and there is a new session")
def snapshot(l):
    if l.is_slow:
        raise lab.Skip("a sanitizer has memory of its own")
    if not IS_FIRST:
        raise lab.Skip("not in the first user namespace")
    pair = make_pair(l)
    kernel = Kernel(pair.a)
    pair.b.must_ping(lab.INNER4["a"], count=1)
    before = pair.ta.peer(pair.tb).handshake
    # Handshakes are told apart by their time, which is in seconds.
    time.sleep(1.1)
    twice = roll_back(pair, Counters(pair), lambda: kernel.send(NEW))
    check_equal(twice, [], "receivers and counters used twice")
    check(pair.ta.peer(pair.tb).handshake > before, "no new session")
    check_equal(pair.ta.log().count("resumed from a snapshot"), 1,
                "lines about it")
    pair.both_ways(count=1)


@case("which events count: the kernel's, of a new generation; and lost ones")
def events(l):
    if not IS_FIRST:
        raise lab.Skip("not in the first user namespace")
    pair = Pair(l)
    kernel = Kernel(pair.a)
    pair.a.must_ping(lab.INNER4["b"], count=1)

    def lines():
        return pair.ta.log().count("resumed from a snapshot")

    def sessions():
        return pair.ta.log().count("established as initiator")

    # Events that are no new generation: without the field, with the field's
    # text elsewhere, of a kind that the filter drops, and from another
    # process.
    for event in (b"change@/x\0ACTION=change\0",
                  b"change@/NEW_VMGENID=1\0X=NEW_VMGENID=1\0",
                  NEW.replace(b"change@", b"add@")):
        kernel.send(event)
    forge(pair.a, NEW)
    pair.a.must_ping(lab.INNER4["b"], count=1)
    check_equal(lines(), 0, "lines for what is no new generation")
    check_equal(sessions(), 1, "sessions before the event")
    # A peer takes no second initiation within INITIATIONS_PER_SECOND.
    time.sleep(0.1)
    kernel.send(NEW)
    wait_until(lambda: lines() == 1, "the event is noticed", 10)
    # Without any traffic the daemon starts a handshake with its peer, and does
    # not wait for REKEY_TIMEOUT after its last initiation.
    wait_until(lambda: sessions() == 2, "a handshake at once", 4)
    pair.both_ways(count=1)
    time.sleep(0.1)
    # The socket buffer of the stopped daemon overflows.
    lab.pause(pair.ta.keeper)
    try:
        for _ in range(MANY):
            kernel.send(b"change@/x\0ACTION=change\0PAD=" + b"x" * 900 +
                        b"\0")
    finally:
        os.kill(pair.ta.keeper, signal.SIGCONT)
    wait_until(lambda: lines() == 2, "lost events count", 10)
    wait_until(lambda: sessions() == 3, "a handshake after lost events", 10)
    pair.both_ways(count=1)


def forge(node, event):
    """An event from a process, to every listener of the namespace."""
    sock = node.socket(socket.AF_NETLINK, socket.SOCK_RAW,
                       NETLINK_KOBJECT_UEVENT)
    sock.bind((0, 0))
    with node.inside():
        with open("/proc/thread-self/net/netlink", encoding="ascii") as file:
            rows = [line.split() for line in file][1:]
    ports = [int(row[2]) for row in rows
             if row[1] == str(NETLINK_KOBJECT_UEVENT) and row[2] != "0" and
             int(row[3], 16) & 1]
    check(ports, "no listener in the namespace")
    for port in ports:
        sock.sendto(event, (port, 0))


@case("a burst of events for new devices wakes nobody")
def containers(l):
    if not IS_FIRST:
        raise lab.Skip("not in the first user namespace")
    pair = Pair(l)
    kernel = Kernel(pair.a)
    pair.both_ways(count=1)
    before = wakeups(pair.ta)
    for _ in range(500):
        kernel.send(b"add@/devices/virtual/net/veth\0ACTION=add\0")
    # Time in which the daemon would wake up.
    time.sleep(0.2)
    woken = wakeups(pair.ta) - before
    check(woken < 50, f"the control thread has run {woken} times")


def wakeups(tunnel):
    """The number of times that the control thread has gone to sleep."""
    with open(f"/proc/{tunnel.pid}/task/{tunnel.pid}/status",
              encoding="ascii") as file:
        return int(re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)",
                             file.read()).group(1))


@case("in a network namespace of another user namespace one line says so")
def elsewhere(l):
    lab.need("unshare")
    node = l.node("a")
    tunnel = l.tunnel(node, "wga", 51001)
    try:
        tunnel.start("--no-isolation", wrap=("unshare", "--user",
                                             "--map-root-user", "--net"))
    except lab.Failure as failure:
        raise lab.Skip(f"no daemon in a user namespace: {failure}") from None
    check_equal(tunnel.log().count("is not noticed"), 1,
                f"lines about it: {tunnel.log()}")


@case("where the kernel's events are heard no line says otherwise")
def heard(l):
    if not IS_FIRST:
        raise lab.Skip("not in the first user namespace")
    tunnel = l.tunnel(l.node("a"), "wga", 51001).start()
    check_equal(tunnel.log().count("noticed"), 0, "lines about it")


lab.main()
