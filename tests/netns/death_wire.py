#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the network sees of an engine that dies, and of the one that goes on for it."""
import contextlib
import os
import re
import signal
import socket
import struct
import threading
import time

import lab
from dying import DEATHS, await_another, die, kept, starter_of
from lab import (INNER4, INNER6, OUTER4, OUTER6, SO_RCVBUFFORCE, Capture, Pair, case,
                 check, check_equal, wait_until)

# Another address of b.
STRANGER = "192.0.2.77"
# A part of each packet inside the tunnel.
MARK = b"a secret of the tunnel "
# linux/if_ether.h, linux/in.h, linux/icmp.h and linux/icmpv6.h
ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86dd
HOP_BY_HOP, ICMP, IGMP, UDP, ICMPV6 = 0, 1, 2, 17, 58
UNREACHABLE4, UNREACHABLE6 = 3, 1
NEIGHBOURS = range(133, 138)
# The queue of the TUN has 500 packets; a few are left for those of the kernel.
N_WAITING = 490
# Of them, the engine keeps so many for one peer while there is no session.
N_STAGED = 128


# ------------------------------------------------------- recorded initiations


def count_replayed(tunnel):
    return int(re.search(r"^handshakes_dropped_replayed=(\d+)$",
                         tunnel.ask_statistics(), re.MULTILINE).group(1))


def to_stranger(capture):
    return [p for p in capture.datagrams(sport=51001) if p.dst == STRANGER]


@case("an initiation that was recorded before a death gets no answer after it, and moves "
      "no peer; a daemon that has begun anew believes it")
def recorded(l):
    pair = kept(Pair(l))
    pair.b.ip(f"addr add {STRANGER}/24 dev eth")
    stranger = pair.b.socket()
    stranger.bind((STRANGER, 40000))
    capture = Capture(pair.a, "eth")
    pair.b.must_ping(INNER4["a"], count=1)
    initiations = [p for p in capture.datagrams(dport=51001) if p.kind == 1]
    check(initiations, "b has begun no handshake")
    die(pair.ta)
    pair.ta.wait_for_port()
    before, n_replayed = pair.ta.peer(pair.tb).endpoint, count_replayed(pair.ta)
    stranger.sendto(initiations[-1].payload, (OUTER4["a"], 51001))
    wait_until(lambda: count_replayed(pair.ta) > n_replayed,
               "the initiation is dropped as a replayed one", 10)
    check_equal(pair.ta.peer(pair.tb).endpoint, before, "endpoint of b")
    check_equal(to_stranger(capture), [], "answers to the stranger")
    pair.both_ways(count=1)
    # The message itself is good.
    pair.ta.stop()
    again = l.tunnel(pair.a, "wga", 51001)
    again.private, again.public = pair.ta.private, pair.ta.public
    again.start().configure({
        "PublicKey": pair.tb.public, "AllowedIPs": lab.allowed("b"),
        "Endpoint": pair.endpoint("b")})
    again.up(INNER4["a"] + "/24")
    stranger.sendto(initiations[-1].payload, (OUTER4["a"], 51001))
    wait_until(lambda: again.peer(pair.tb).endpoint == f"{STRANGER}:40000",
               "without the memory of the dead the peer moves", 10)
    check(to_stranger(capture), "the stranger got no answer")


# ---------------------------------------------------------------- in the clear


def judge_udp(src, dst, packet):
    """Is this a datagram of WireGuard between the two ends?"""
    sport, dport = struct.unpack_from(">HH", packet)
    ends = {(OUTER4["a"], 51001), (OUTER4["b"], 51002),
            (OUTER6["a"], 51001), (OUTER6["b"], 51002)}
    return {(src, sport), (dst, dport)} <= ends and \
        struct.unpack_from("<I", packet, 8)[0] in (1, 2, 3, 4)


def judge_ip(packet):
    """Is it such a datagram, the answer of a host that has no socket at the port of such
    a datagram, or a message by which a host finds neighbours or joins groups?"""
    if packet[0] >> 4 == 4:
        inner, kind, family = (packet[0] & 15) * 4, packet[9], socket.AF_INET
        addresses = packet[12:16], packet[16:20]
    else:
        inner, kind, family = 40, packet[6], socket.AF_INET6
        addresses = packet[8:24], packet[24:40]
    body = packet[inner:]
    if kind == UDP:
        return judge_udp(*(socket.inet_ntop(family, a) for a in addresses), body)
    if (kind, body[0]) in ((ICMP, UNREACHABLE4), (ICMPV6, UNREACHABLE6)):
        return judge_ip(body[8:])
    return kind in (HOP_BY_HOP, IGMP) or (kind == ICMPV6 and body[0] in NEIGHBOURS)


def judge_frames(frames):
    """Check that all frames may be seen by anybody. Return how many a has sent."""
    for _, frame in frames:
        kind = struct.unpack_from(">H", frame, 12)[0]
        check(MARK not in frame, f"in the clear: {frame.hex()}")
        check(kind == ARP or (kind in (IPV4, IPV6) and judge_ip(frame[14:])),
              f"not of WireGuard: {frame.hex()}")
    return sum(is_outgoing for is_outgoing, _ in frames)


def check_judge():
    """The checks above find a packet of the tunnel, whole or without the mark."""
    inner = bytes.fromhex("4500001c00000000401100000a0900010a0900021b5d1b5d00080000")
    for frame in bytes(12) + b"\x08\0" + inner + MARK, bytes(12) + b"\x08\0" + inner:
        try:
            judge_frames([(True, frame)])
        except lab.Failure:
            continue
        raise lab.Failure(f"nothing was wrong with {frame.hex()}")


class Flow(threading.Thread):
    """Datagrams from one node to another, one in a millisecond, over IPv4 and IPv6."""

    def __init__(self, source, sink, side):
        super().__init__(daemon=True)
        self.n_sent, self.n_arrived, self.has_ended = 0, 0, False
        self.ways = []
        for address in INNER4[side], INNER6[side]:
            receiver = sink.socket(lab.family_of(address))
            receiver.bind((address, 7005))
            receiver.setblocking(False)
            sender = source.socket(lab.family_of(address))
            self.ways.append((sender, receiver, address))
        self.start()

    def run(self):
        while not self.has_ended:
            for sender, receiver, address in self.ways:
                with contextlib.suppress(OSError):
                    sender.sendto(MARK * 10, (address, 7005))
                    self.n_sent += 1
                with contextlib.suppress(BlockingIOError):
                    while receiver.recv(1 << 16):
                        self.n_arrived += 1
            time.sleep(0.001)

    def stop(self):
        self.has_ended = True
        self.join()


@case("nothing leaves in the clear while engines die and packets flow both ways")
def in_the_clear(l):
    check_judge()
    pair = kept(Pair(l))
    pair.both_ways(count=1)
    capture = Capture(pair.a, "eth")
    flows = [Flow(pair.a, pair.b, "b"), Flow(pair.b, pair.a, "a")]
    n_outgoing = 0
    for _ in range(DEATHS):
        time.sleep(0.2)
        die(pair.ta, signal.SIGKILL)
        before = [flow.n_arrived for flow in flows]
        wait_until(lambda: all(flow.n_arrived > n for flow, n in zip(flows, before)),
                   "packets arrive at both ends", 20)
        n_outgoing += judge_frames(capture.frames())
    for flow in flows:
        flow.stop()
    n_outgoing += judge_frames(capture.frames())
    sent, arrived = (sum(getattr(flow, name) for flow in flows)
                     for name in ("n_sent", "n_arrived"))
    print(f"# {sent} packets sent, {arrived} have arrived, {n_outgoing} frames of a")
    check(n_outgoing > 100, f"{n_outgoing} frames")


# ------------------------------------------------------------ in the TUN's queue


def state_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rsplit(")", 1)[1].split()[0]


def count_dropped(node):
    """Packets that the TUN has dropped."""
    with node.inside():
        with open("/proc/thread-self/net/dev", encoding="ascii") as file:
            line, = (line for line in file if line.strip().startswith("wga:"))
    return int(line.split(":")[1].split()[11])


@contextlib.contextmanager
def without_engine(tunnel):
    """A block during which the engine is dead, and no other one is started."""
    engine, starter = tunnel.pid, starter_of(tunnel)
    lab.pause(starter)
    try:
        os.kill(engine, signal.SIGKILL)
        wait_until(lambda: state_of(engine) == "Z", "the engine is dead", 10, 0.001)
        yield
    finally:
        os.kill(starter, signal.SIGCONT)
    await_another(tunnel, engine)


@case("packets that are sent while there is no engine wait in the TUN for the next one, "
      "and nothing leaves")
def waiting(l):
    pair = kept(Pair(l))
    pair.both_ways(count=1)
    receiver, sender = pair.b.socket(), pair.a.socket()
    receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    receiver.bind((INNER4["b"], 7004))
    capture = Capture(pair.a, "eth")
    with without_engine(pair.ta):
        datagrams = Capture(pair.a, "eth")
        n_dropped = count_dropped(pair.a)
        for n in range(N_WAITING):
            sender.sendto(MARK + struct.pack("<I", n), (INNER4["b"], 7004))
        check_equal(count_dropped(pair.a), n_dropped, "packets that the TUN dropped")
        check_equal(datagrams.datagrams(), [], "datagrams without an engine")
    arrived = set()

    def have_arrived():
        receiver.settimeout(0.1)
        with contextlib.suppress(TimeoutError):
            while data := receiver.recv(1 << 16):
                arrived.add(struct.unpack("<I", data[len(MARK):])[0])
        return arrived >= set(range(N_WAITING - N_STAGED, N_WAITING))

    wait_until(have_arrived, f"the last {N_STAGED} packets arrive", 20)
    judge_frames(capture.frames())
    print(f"# {len(arrived)} of {N_WAITING} have arrived")


lab.main()
