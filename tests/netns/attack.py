#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A session and a new peer, while strangers flood the daemon.

With ATTACK=full in the environment, as `make attack` sets it, the floods have
their full size, and what the session still carries is measured.
"""
import os
import random
import socket
import struct
import threading
import time

import lab
from lab import Capture, case, check, check_equal
from siege import (INNER, OUTER_A, Bulk, Field, Peak, compare, finish, snapshot,
                   stop)

RANDOM = random.Random(20261122)
FULL = os.environ.get("ATTACK") == "full"
# KiB by which memory may grow under floods: the promise in docs/testing.md.
MAX_GROWTH = 1024
# Messages a second of the flood with wrong macs. A choice.
RATE = int(os.environ.get("ATTACK_RATE", "25000"))
# Kind of message, number of messages, messages a second. Of the two floods
# with a right mac1, one stays below the rate that counts as load, and one
# exceeds it.
FLOODS = [flood for flood in (
    ("garbage", 1000000, RATE), ("mac1", 100000, 10000),
    ("mac1", 200000, 20000), ("response", 200000, 20000),
    ("cookie", 200000, 20000))
    if flood[0] in os.environ.get("ATTACK_KINDS", flood[0])]


class Counted(threading.Thread):
    """Numbered datagrams from b to a, until finish(); and the numbers that
    arrived."""

    def __init__(self, field):
        super().__init__(daemon=True)
        self.sender = field.b.socket()
        self.receiver = field.a.socket()
        self.receiver.setsockopt(socket.SOL_SOCKET, lab.SO_RCVBUFFORCE, 8 << 20)
        self.receiver.bind((INNER["a"], 7010))
        self.is_over = threading.Event()
        self.sent = 0
        self.start()

    def run(self):
        while not self.is_over.wait(0.004):
            self.sender.sendto(struct.pack("<Q", self.sent),
                               (INNER["a"], 7010))
            self.sent += 1

    def finish(self):
        """Returns the numbers that have arrived, in order of arrival."""
        self.is_over.set()
        self.join()
        time.sleep(0.2)
        self.receiver.setblocking(False)
        numbers = []
        while True:
            try:
                numbers += struct.unpack("<Q", self.receiver.recv(100))
            except BlockingIOError:
                return numbers


@case("floods from forged sources: memory, the session, and a new peer")
def floods(l):
    # One worker: the moment when helpers start depends on the load of the
    # machine, and the memory that they take belongs to the session's traffic.
    field = Field(l, "--workers=1")
    # Measure the memory that the daemon needs for traffic alone. Growth is
    # counted from there.
    peak = Peak(field.ta)
    for _ in range(3):
        lab.send_stream(field.b, field.a, INNER["a"], 8 << 20)
    before = peak.finish()
    was = snapshot(field.ta, field.tb)
    peak = Peak(field.ta)
    counted = Counted(field)
    size = 10000 if l.is_slow else 50000
    for kind in "garbage", "mac1":
        for version in 4, 6:
            finish(field.flood(kind, size, 0, version))
    # The new peer comes during a flood that is too fast for the daemon to
    # answer all of it.
    flood = field.flood("mac1", 100 << 20, 0)
    capture = Capture(field.c, "eth")
    lab.wait_until(
        lambda: field.c.ping(INNER["a"], count=1, wait=1)[0],
        "the new peer gets in", 60)
    check(flood.poll() is None, "the flood has ended before that")
    stop(flood)
    cookies = [p for p in capture.datagrams(sport=51001) if p.kind == 3]
    arrived = counted.finish()
    most = peak.finish()
    check_equal(len(set(arrived)), len(arrived), "datagrams, and numbers")
    check(arrived, "no datagram of the session has arrived")
    check_equal(snapshot(field.ta, field.tb), was, "the session")
    field.b.must_ping(INNER["a"], count=2)
    check(l.is_slow or most - before < MAX_GROWTH,
          f"{before} KiB have become {most} KiB")
    print(f"# {before} KiB, then {most} KiB; {len(arrived)} of {counted.sent} "
          f"datagrams; {len(cookies)} cookies for the new peer")


def mutate(message):
    """Return the message with a random change, or as it was."""
    data = bytearray(message)
    kind = RANDOM.randrange(8)
    if kind < 3:
        for _ in range(RANDOM.randrange(1, 4)):
            data[RANDOM.randrange(len(data))] ^= 1 << RANDOM.randrange(8)
    elif kind < 5:
        del data[RANDOM.randrange(len(data)):]
    elif kind < 6:
        data += RANDOM.randbytes(RANDOM.randrange(1, 2000))
    elif kind < 7:
        data[0] = RANDOM.randrange(6)
    return bytes(data)


@case("what was sent before, sent again: as it was, cut, lengthened to 65,507 "
      "bytes, with flipped bits")
def again(l):
    field = Field(l)
    capture = Capture(field.b, "eth")
    lab.send_datagrams(field.b, field.a, INNER["a"], range(1, 1300, 60))
    # Force a handshake, so that messages of all types are captured.
    field.b.ip("link set wgb down", "link set wgb up")
    field.b.reach(INNER["a"])
    field.b.must_ping(INNER["a"], count=2)
    messages = [p.payload for p in capture.datagrams(dport=51001)]
    check({m[0] for m in messages} >= {1, 4}, "no initiation was captured")
    inner = Capture(field.a, "wga", has_ethernet=False)
    # A message that has not arrived yet is no replay, so wait until all messages
    # have arrived.
    lab.wait_until(lambda: not inner.frames(), "no packet arrives any more", 5, 0.3)
    was = snapshot(field.ta, field.tb), field.ta.peer(field.tb).rx
    sock = field.x.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    sock.connect((OUTER_A["x"], 51001))
    for i in range(3000 if l.is_slow else 20000):
        data = mutate(RANDOM.choice(messages))
        if i % 200 == 0:
            data += RANDOM.randbytes(65507 - len(data))
        sock.send(data)
    # The answer shows that the daemon has read all of them from its socket.
    field.a.must_ping(INNER["b"], count=1)
    seen = [f for f in inner.frames() if f[1][9] != 1]
    check_equal(len(seen), 0, "packets that came out of it")
    now = snapshot(field.ta, field.tb)
    check_equal(now, was[0], "the peer")
    # Only the answer to the ping may count: 128 bytes and its outer message.
    check(field.ta.peer(field.tb).rx - was[1] < 400, "bytes received")
    field.b.must_ping(INNER["a"], count=1)


# ------------------------------------------------------------- full figures


def figures(l):
    field = Field(l, "--workers=1")
    sink = field.a.socket()
    sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sink.bind((OUTER_A["x"], 51999))
    bulk = Bulk(field)
    # The baseline of memory is that of a stream beside a flood that goes past
    # the daemon.
    peak = Peak(field.ta)
    finish(field.flood("garbage", 40 * RATE, 0, port=51999))
    time.sleep(5)
    before = peak.finish()
    was = snapshot(field.ta, field.tb)
    peak = Peak(field.ta)
    slow = []
    for kind, count, rate in FLOODS:
        ratio = compare(field, bulk, field.name_of(kind), count, rate)
        if ratio <= 0.8:
            slow.append(f"{kind}, {rate} a second: {ratio:.2f}")
    flood = field.flood("mac1", 1 << 40, RATE // 2)
    start = time.monotonic()
    lab.wait_until(lambda: field.c.ping(INNER["a"], count=1, wait=1)[0],
                   "the new peer gets in", 120)
    print(f"# the new peer is in after {time.monotonic() - start:.1f} s",
          flush=True)
    stop(flood)
    bulk.close()
    grown = peak.finish() - before
    print(f"# resident memory: {before} KiB, and {grown} KiB more", flush=True)
    check(grown < MAX_GROWTH, f"grown by {grown} KiB")
    check_equal(snapshot(field.ta, field.tb)[0], was[0], "endpoint")
    check(not slow, f"80 % or less of the quiet speed: {slow}")


if FULL:
    case("a million of garbage, 200,000 with a right mac1: figures")(figures)

lab.main()
