#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Packets, messages and floods from strangers and from peers that lie."""
import base64
import hashlib
import random
import socket
import struct
import time

import lab
from lab import INNER4, INNER6, Capture, Pair, case, check, check_equal

RANDOM = random.Random(20260101)
MEGA = 1 << 10  # in KiB, as the resident memory is
# linux/if_packet.h, linux/socket.h and linux/udp.h
PACKET_VNET_HDR, SOL_PACKET = 15, 263
UDP_SEGMENT = 103


def must_be_bounded(tunnel, before, more, what):
    """Resident memory may have grown by at most `more` KiB."""
    grown = tunnel.rss() - before
    check(tunnel.lab.is_slow or grown <= more,
          f"{what}: {before} KiB have become {before + grown} KiB")


def frame_socket(pair, has_vnet_hdr=False):
    """A socket that puts frames into the TUN of a."""
    sock = pair.a.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    if has_vnet_hdr:
        sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    with pair.a.inside():
        sock.bind(("wga", 0x0800))
    return sock


def must_work(pair):
    """The tunnel works once the daemon has handled everything that was sent.

    Until then, on a busy machine, the queue of the interface (500 packets) or
    the receive buffer of a UDP socket may be full and drop packets.
    """
    pair.a.reach(INNER4["b"])
    pair.b.reach(INNER4["a"])
    pair.both_ways(count=1)


def try_send(send, *args):
    """Send a frame, which the kernel may refuse. Return True if it was
    taken."""
    try:
        send(*args)
    except OSError:
        return False
    return True


@case("frames of a byte and more on the interface")
def short_frames(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    sock = frame_socket(pair)
    taken = 0
    for length in range(1, 101):
        for first in 0x00, 0x45, 0x4f, 0x60, 0xff:
            frame = bytes([first]) + RANDOM.randbytes(length - 1)
            taken += try_send(sock.send, frame)
    check(taken >= 100, f"the kernel took {taken} frames only")
    must_work(pair)


@case("IP packets with headers that lie")
def lying_headers(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    before = pair.ta.rss()
    sock = frame_socket(pair)
    to4 = socket.inet_pton(socket.AF_INET, INNER4["b"])
    to6 = socket.inet_pton(socket.AF_INET6, INNER6["b"])
    for i in range(3000):
        length = RANDOM.randrange(0, 1400)
        four = bytearray(RANDOM.randbytes(20 + length))
        four[0] = 0x40 | RANDOM.choice([0, 4, 5, 5, 15])
        four[9] = RANDOM.choice([0, 1, 6, 17, 255])
        four[16:20] = to4
        if i % 2:
            four[2:4] = struct.pack(">H", len(four))
        try_send(sock.send, bytes(four))
        six = bytearray(RANDOM.randbytes(40 + length))
        six[0] = 0x60
        six[6] = RANDOM.choice([0, 6, 17, 43, 44, 58, 60])
        six[24:40] = to6
        if i % 2:
            six[4:6] = struct.pack(">H", length)
        try_send(sock.send, bytes(six))
    must_work(pair)
    must_be_bounded(pair.ta, before, 8 * MEGA, "lying headers")


@case("virtio headers that lie")
def lying_vnet(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    sock = frame_socket(pair, has_vnet_hdr=True)
    to4 = socket.inet_pton(socket.AF_INET, INNER4["b"])
    taken = 0
    for _ in range(4000):
        length = RANDOM.choice([0, 1, 8, 20, 100, 1400, 9000, 60000])
        body = bytearray(RANDOM.randbytes(20 + length))
        body[0], body[9] = 0x45, RANDOM.choice([6, 17])
        body[2:4] = struct.pack(">H", len(body))
        body[6:8] = bytes(2)
        body[16:20] = to4
        if length >= 20:
            body[32] = RANDOM.choice([0x50, 0x50, 0x10, 0xf0])
        header = struct.pack(
            "=BBHHHH", RANDOM.choice([0, 1, 1, 1, 255]),
            RANDOM.choice([0, 1, 1, 3, 4, 5, 5, 0x81, 255]),
            RANDOM.choice([0, 20, 28, 40, 54, 65535]),
            RANDOM.choice([0, 1, 8, 100, 1400, 65535]),
            RANDOM.choice([0, 20, 20, 20, 65535]),
            RANDOM.choice([0, 6, 16, 16, 65535]))
        taken += try_send(sock.send, header + body)
    check(taken >= 50, f"the kernel took {taken} frames only")
    # The daemon has cut the frames into about 300,000 segments.
    must_work(pair)
    lab.send_stream(pair.a, pair.b, INNER4["b"], 1 << 20)


def strangers_socket(pair):
    """A socket at b, where no tunnel runs, that can reach a."""
    sock = pair.b.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
    sock.connect((lab.OUTER4["a"], 51001))
    return sock


@case("garbage to the UDP port, of all lengths and types")
def garbage(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    lab.send_stream(pair.b, pair.a, INNER4["a"], 4 << 20)
    before = pair.ta.rss()
    sock = strangers_socket(pair)
    for length in [*range(0, 201), 1420, 1500, 4096, 9000, 65507]:
        for first in None, 1, 2, 3, 4, 5:
            data = bytearray(RANDOM.randbytes(length))
            if first and length >= 4:
                data[:4] = struct.pack("<I", first)
            sock.send(data)
    for _ in range(100):
        sock.send(RANDOM.randbytes(65507))
    must_work(pair)
    must_be_bounded(pair.ta, before, 8 * MEGA, "garbage")


@case("garbage in trains, with segments of 1 byte to 9000")
def garbage_trains(l):
    pair = Pair(l, link_mtu=9500)
    pair.both_ways(count=1)
    before = pair.ta.rss()
    sock = strangers_socket(pair)
    taken = 0
    for size in 1, 2, 16, 31, 32, 33, 64, 92, 148, 1000, 1452, 9000:
        for count in 2, 40, 64, 128:
            for first in 1, 2, 3, 4:
                one = struct.pack("<I", first) + RANDOM.randbytes(size)
                data = (one[:size] * count)[:65000]
                taken += try_send(
                    sock.sendmsg, [data],
                    [(socket.IPPROTO_UDP, UDP_SEGMENT,
                      struct.pack("=H", size))])
    check(taken >= 50, f"the kernel took {taken} trains only")
    must_work(pair)
    must_be_bounded(pair.ta, before, 8 * MEGA, "garbage in trains")


def initiation_with_mac(public):
    """A message that passes for an initiation until its keys are computed."""
    body = struct.pack("<I", 1) + RANDOM.randbytes(112)
    key = hashlib.blake2s(b"mac1----" + public).digest()
    mac1 = hashlib.blake2s(body, digest_size=16, key=key).digest()
    return body + mac1 + bytes(16)


@case("a flood of false initiations: cookies, bounded memory, and peers "
      "still get in")
def flood(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    before = pair.ta.rss()
    public = base64.b64decode(pair.ta.public)
    messages = [initiation_with_mac(public) for _ in range(4000)]
    sock = strangers_socket(pair)
    capture = Capture(pair.b, "eth")
    latest = pair.ta.peer(pair.tb).handshake
    for message in messages * 5:
        sock.send(message)
    # The session of b is untouched by the flood. A ping may be lost in a full
    # buffer.
    pair.a.reach(INNER4["b"])
    check_equal(pair.ta.peer(pair.tb).handshake, latest, "latest handshake")
    replies = [p for p in capture.datagrams(sport=51001) if p.kind == 3]
    check(replies and all(len(p.payload) == 64 for p in replies),
          f"no cookie replies: {len(replies)}")
    must_be_bounded(pair.ta, before, 8 * MEGA, "a flood")
    pair.tb.flap()
    pair.b.reach(INNER4["a"])


@case("datagrams that come twice are taken once")
def replay(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    capture = Capture(pair.a, "eth")
    receiver = pair.a.socket()
    receiver.bind((INNER4["a"], 7004))
    sender = pair.b.socket()
    for i in range(20):
        sender.sendto(bytes([i]), (INNER4["a"], 7004))
        check_equal(receiver.recv(100), bytes([i]), "datagram")
    wire = pair.b.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with pair.b.inside():
        wire.bind(("eth", 0x0800))
    frames = [frame for is_outgoing, frame in capture.frames()
              if not is_outgoing]
    check(len(frames) >= 20, "no datagram was captured")
    endpoint = pair.ta.peer(pair.tb)
    # Without a UDP checksum, so that it is not the checksum that they fail by.
    for frame in frames * 3:
        frame = bytearray(frame)
        frame[40:42] = bytes(2)
        wire.send(frame)
    came = []

    def all_came():
        came.extend(frame for is_outgoing, frame in capture.frames()
                    if not is_outgoing)
        return len(came) >= 3 * len(frames)

    lab.wait_until(all_came, "the frames arrived again", 5)
    receiver.settimeout(0.5)
    try:
        raise lab.Failure(f"came again: {receiver.recv(100)}")
    except TimeoutError:
        pass
    after = pair.ta.peer(pair.tb)
    check_equal((after.rx, after.endpoint), (endpoint.rx, endpoint.endpoint),
                "counter and endpoint")
    pair.both_ways(count=1)


class Three:
    """b has a wide prefix, c a narrow one inside it; both tunnel to a."""

    def __init__(self, l):
        self.a, self.b, self.c = map(l.node, "abc")
        self.ta = l.tunnel(self.a, "wga", 51001).start()
        self.tb = l.tunnel(self.b, "wgb", 51002).start()
        self.tc = l.tunnel(self.c, "wgc", 51003).start()
        peers = []
        for i, (node, tunnel, prefixes) in enumerate((
                (self.b, self.tb, "10.0.0.0/8, fd00::/8"),
                (self.c, self.tc, "10.9.3.0/24, fd09:3::/64"))):
            l.link(self.a, node, f"eth{i}", "eth")
            self.a.ip(f"addr add 198.51.{i}.1/24 dev eth{i}")
            node.ip(f"addr add 198.51.{i}.2/24 dev eth")
            tunnel.configure({
                "PublicKey": self.ta.public, "AllowedIPs": "0.0.0.0/0, ::/0",
                "Endpoint": f"198.51.{i}.1:51001"})
            peers.append({"PublicKey": tunnel.public, "AllowedIPs": prefixes,
                          "Endpoint": f"198.51.{i}.2:{tunnel.port}"})
        self.ta.configure(*peers)
        self.ta.up("10.9.0.1/8", "fd09::1/8")
        self.tb.up("10.9.2.2/8", "fd09:2::2/8")
        self.tc.up("10.9.3.3/8", "fd09:3::3/8")


@case("a peer with a wide prefix cannot use addresses of one inside it")
def overlap(l):
    net = Three(l)
    for node in net.b, net.c:
        for target in "10.9.0.1", "fd09::1":
            node.must_ping(target, count=1)
    net.b.ip("addr add 10.9.3.5/32 dev wgb", "addr add 10.77.0.1/32 dev wgb",
             "addr add fd09:3::5/128 dev wgb nodad",
             "addr add fd77::1/128 dev wgb nodad")
    net.c.ip("addr add 10.9.2.5/32 dev wgc",
             "addr add fd09:2::5/128 dev wgc nodad")
    capture = Capture(net.a, "wga", has_ethernet=False)
    for node, source, target in (
            (net.b, "10.9.3.5", "10.9.0.1"), (net.b, "fd09:3::5", "fd09::1"),
            (net.c, "10.9.2.5", "10.9.0.1"), (net.c, "fd09:2::5", "fd09::1")):
        sock = node.socket(lab.family_of(source))
        sock.bind((source, 0))
        for _ in range(5):
            sock.sendto(b"false", (target, 7777))
    # Time in which a datagram would arrive.
    time.sleep(0.3)
    check_equal(capture.datagrams(dport=7777), [], "packets let in")
    net.b.must_ping("10.9.0.1", "-I", "10.77.0.1", count=1)
    net.b.must_ping("fd09::1", "-I", "fd77::1", count=1)
    # Outgoing packets take the narrower prefix.
    capture = Capture(net.a, "eth1")
    net.a.must_ping("10.9.3.3", count=1)
    net.a.must_ping("fd09:3::3", count=1)
    check(capture.datagrams(sport=51001), "did not go to c")


@case("addresses without a peer: unreachable, said at once")
def unreachable(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    took = 0
    for address in "10.9.0.77", "fd09::77":
        start = time.monotonic()
        _, text = pair.a.ping(address, count=1)
        check("nreachable" in text, f"no ICMP message:\n{text}")
        check("Host Unreachable" in text if "." in address else
              "Address unreachable" in text, f"another message:\n{text}")
        sock = pair.a.socket(lab.family_of(address), socket.SOCK_STREAM)
        try:
            sock.connect((address, 80))
            raise lab.Failure("connected to nobody")
        except TimeoutError:
            raise lab.Failure("no error for TCP") from None
        except OSError as err:
            check_equal(err.errno, 113, "error of connect (EHOSTUNREACH)")
        took = max(took, time.monotonic() - start)
    lab.check_quick(l, took, 1.5, 10, "a ping and a connection to nobody")
    # No ICMP error answers an ICMP error, and floods get few.
    capture = Capture(pair.a, "wga", has_ethernet=False)
    sock = pair.a.socket()
    for _ in range(2000):
        try_send(sock.sendto, b"x", ("10.9.0.77", 9))
    time.sleep(0.2)
    must_work(pair)
    check(capture.frames(), "no ICMP error was captured")


def errors_for(capture, port):
    """ICMP errors that quote a UDP datagram to this port."""
    found = 0
    for _, frame in capture.frames():
        if frame[0] >> 4 == 4 and frame[9] == 1 and frame[20] == 3 and \
                len(frame) >= 56 and frame[50:52] == struct.pack(">H", port):
            found += 1
    return found


@case("a program that sends into a void takes no errors from others")
def void(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    flooder, other = pair.a.socket(), pair.a.socket()
    for sock in flooder, other:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
    capture = Capture(pair.a, "wga", has_ethernet=False)
    start = time.monotonic()
    for i in range(3000):
        try_send(flooder.sendto, b"x", ("10.9.0.77", 7))
        if i % 300 == 0:
            try_send(other.sendto, b"x", ("10.9.0.78", 8))
            # Send no more at a time than the interface's queue holds.
            pair.a.reach(INNER4["b"])
    # The answer shows that the daemon has read all datagrams.
    pair.a.must_ping(INNER4["b"], count=1)
    elapsed = time.monotonic() - start
    frames = capture.frames()

    class Seen:
        def frames(self):
            return frames

    check_equal(errors_for(Seen(), 8), 10, "errors for who sends little")
    flooded = errors_for(Seen(), 7)
    # QUOTA_SOCKET errors at once, and as many a second after that.
    check(25 <= flooded <= 25 * (2 + elapsed),
          f"{flooded} errors for the flood in {elapsed:.2f} s")


@case("broadcasts of the interface's networks are not answered")
def broadcasts(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    sock = pair.a.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    capture = Capture(pair.a, "wga", has_ethernet=False)

    def errors(address, port):
        sock.sendto(b"x", (address, port))
        # The answer shows that the daemon has handled all earlier packets.
        pair.a.must_ping(INNER4["b"], count=1)
        return errors_for(capture, port)

    check_equal(errors("10.9.0.254", 1001), 1, "errors for a usual address")
    check_equal(errors("10.9.0.255", 1002), 0, "errors for the broadcast")
    pair.a.ip("addr add 10.20.0.1/16 dev wga")
    lab.wait_until(lambda: not errors("10.20.255.255", 1003),
                   "a new address is heard of", 5)
    check_equal(errors("10.20.0.255", 1004), 1,
                "errors for what is no broadcast of it")
    pair.a.ip("addr del 10.20.0.1/16 dev wga",
              "route add 10.20.0.0/16 dev wga")
    lab.wait_until(lambda: errors("10.20.255.255", 1005),
                   "a lost address is heard of", 5)


@case("a peer removed, or without its prefix, is a stranger at once")
def removed(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    capture = Capture(pair.a, "wga", has_ethernet=False)
    sock = pair.b.socket()

    def must_not_come():
        capture.frames()
        for _ in range(10):
            sock.sendto(b"x", (INNER4["a"], 7778))
        # Time in which a datagram would arrive.
        time.sleep(0.1)
        check_equal(capture.datagrams(dport=7778), [], "packets let in")

    pair.ta.set("peer", pair.tb.public, "allowed-ips", "10.9.0.3/32")
    must_not_come()
    pair.ta.set("peer", pair.tb.public, "allowed-ips", lab.allowed("b"))
    pair.a.must_ping(INNER4["b"], count=1)
    pair.ta.set("peer", pair.tb.public, "remove")
    must_not_come()


lab.main()
