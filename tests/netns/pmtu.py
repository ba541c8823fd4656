#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The option --pmtu=discover: paths whose MTU is smaller than the tunnel's datagrams,
with routers that tell it and such that do not, and ICMP messages that lie. And the
option --clamp-mss."""
import base64
import contextlib
import re
import socket
import struct
import time

import lab
from lab import INNER4, INNER6, OUTER4, OUTER6, Pair, case, check, check_equal
from routed import Routed

MEGA = 1 << 20
DISCOVER = ("--pmtu=discover",)
# Bytes around an inner packet: IP, UDP, and a data message.
AROUND = {4: 20 + 8 + 32, 6: 40 + 8 + 32}
# How exactly the limit of a path that keeps silent is found (PMTU_FINE).
FINE = 16
# The smallest path MTU that is believed, and the smallest inner MTU that is told.
FLOOR = 1280


def stats(tunnel, other=None):
    """The numbers of the device, or those of a peer."""
    device, *peers = tunnel.ask_statistics().split("\npublic_key=")
    if other is None:
        return dict(line.split("=", 1) for line in device.split("\n") if line)
    key = base64.b64decode(other.public).hex()
    for peer in peers:
        if peer.startswith(key):
            return dict(line.split("=", 1) for line in peer.split("\n")[1:] if line)
    raise lab.Failure(f"no peer {key} in {text.decode()}")


def path_mtu(tunnel, other):
    return int(stats(tunnel, other).get("path_mtu", 0))


def await_that(tunnel, condition, what, timeout=20):
    """Wait for a condition; a failure tells the numbers of a daemon."""
    try:
        lab.wait_until(condition, what, timeout)
    except lab.Failure as failure:
        raise lab.Failure(f"{failure}; {tunnel.name}: {stats(tunnel)}") from None


def await_mtu(tunnel, other, low, high=None, timeout=20):
    """Wait until the path MTU to a peer lies in a range."""
    high = high or low
    await_that(tunnel, lambda: low <= path_mtu(tunnel, other) <= high,
               f"a path MTU of {low} to {high}", timeout)


def streams(pair, n_bytes, **options):
    """TCP both ways, over IPv4 and IPv6."""
    if pair.lab.no_rates:
        n_bytes //= 4
    for source, sink, address in (
            (pair.a, pair.b, INNER4["b"]), (pair.b, pair.a, INNER4["a"]),
            (pair.a, pair.b, INNER6["b"]), (pair.b, pair.a, INNER6["a"])):
        lab.send_stream(source, sink, address, n_bytes, **options)


class Outer:
    """The packets of the tunnel on the cable between the routers."""

    def __init__(self, pair):
        self.capture = lab.Capture(pair.r, "far")

    def count(self):
        """Return how many packets had DF or were IPv6, how many had not, and how many
        were fragments, since the last call."""
        whole = without = fragments = 0
        for _, frame in self.capture.frames():
            kind, packet = struct.unpack_from(">H", frame, 12)[0], frame[14:]
            if kind == 0x0800 and packet[9] == 17:
                frag = struct.unpack_from(">H", packet, 6)[0]
                if frag & 0x3fff:
                    fragments += 1
                elif frag & 0x4000:
                    whole += 1
                else:
                    without += 1
            elif kind == 0x86dd and packet[6] == 44:
                fragments += 1
            elif kind == 0x86dd and packet[6] == 17:
                whole += 1
        return whole, without, fragments


# ------------------------------------------------------------- routers that tell


def add_telling(outer, mtu):
    """Add a case with routers that tell the MTU of the cable between them."""
    @case(f"a path of {mtu} that is told, over IPv{outer}")
    def _(l):
        pair = Routed(l, outer, mtu, options=DISCOVER)
        seen = Outer(pair)
        pair.both_ways(count=1)
        streams(pair, 4 * MEGA)
        whole, without, fragments = seen.count()
        check(whole > 50, f"{whole} packets with DF")
        # An inner packet of 1,280 bytes has to pass, in fragments if need be.
        if mtu >= FLOOR + AROUND[outer]:
            check_equal((without, fragments), (0, 0),
                        "packets without DF, and fragments")
        want = mtu if mtu < 1420 + AROUND[outer] else 0
        for one, other in (pair.ta, pair.tb), (pair.tb, pair.ta):
            check_equal(path_mtu(one, other), want, f"path MTU of {one.name}")
            check_equal(int(stats(one)["path_mtu_forged"]), 0, "forged messages")
        # Datagrams that must not be cut inside are answered; others are cut.
        lab.send_datagrams(pair.a, pair.b, INNER4["b"], [100, 1392, 3000] * 5)


for family in 4, 6:
    for size in 1280, 1400, 1492:
        add_telling(family, size)


@case("a path of 9,000 with a part of 1,500")
def jumbo(l):
    pair = Routed(l, 4, 1500, mtu_of_hosts=9000, inner=8900, options=DISCOVER)
    seen = Outer(pair)
    pair.both_ways(count=1)
    streams(pair, 8 * MEGA)
    check_equal(seen.count()[1:], (0, 0), "packets without DF, and fragments")
    check_equal(path_mtu(pair.ta, pair.tb), 1500, "path MTU")


@case("cables of 9,000: nothing is learnt, and nothing cut")
def all_jumbo(l):
    pair = Pair(l, mtu=8900, link_mtu=9000, options=DISCOVER)
    pair.both_ways(count=1)
    streams(pair, 8 * MEGA)
    numbers = stats(pair.ta)
    check_equal({key: value for key, value in numbers.items()
                 if key.startswith("path_mtu") and value != "0"}, {}, "numbers")


def add_local(outer):
    """Add a case in which the interface itself is too small."""
    @case(f"an interface of 1,400, over IPv{outer}")
    def _(l):
        pair = Pair(l, outer=outer, link_mtu=1400, options=DISCOVER)
        pair.both_ways(count=1)
        streams(pair, 4 * MEGA)
        check_equal(path_mtu(pair.ta, pair.tb), 1400, "path MTU")
        lab.send_datagrams(pair.a, pair.b, INNER4["b"], [100, 3000] * 5)


for family in 4, 6:
    add_local(family)


@case("an interface with two queues")
def queues(l):
    pair = Routed(l, 4, 1400, options=(*DISCOVER, "--queues=2", "--workers=2"))
    seen = Outer(pair)
    pair.both_ways(count=1)
    streams(pair, 4 * MEGA)
    check_equal(seen.count()[1:], (0, 0), "packets without DF, and fragments")
    check_equal(path_mtu(pair.ta, pair.tb), 1400, "path MTU")
    lab.send_datagrams(pair.a, pair.b, INNER4["b"], [100, 1392, 3000] * 5)


# linux/in.h and linux/udp.h
IP_MTU_DISCOVER = 10
IP_PMTUDISC_DONT = 0
UDP_SEGMENT = 103


@case("UDP super-packets without DF: each datagram is cut into fragments")
def without_df(l):
    pair = Routed(l, 4, 1400, options=DISCOVER)
    pair.both_ways(count=1)
    learn(pair, 1400)
    receiver = pair.b.socket()
    receiver.setsockopt(socket.SOL_SOCKET, lab.SO_RCVBUFFORCE, 8 << 20)
    receiver.bind((INNER4["b"], 7021))
    sender = pair.a.socket()
    sender.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
    data = lab.noise(40 * 1390)
    try:
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1390)
        sender.sendto(data, (INNER4["b"], 7021))
    except OSError as err:
        raise lab.Skip(f"the kernel takes no such train: {err}") from None
    got = b"".join(receiver.recv(1 << 16) for _ in range(40))
    check(got == data, "the bytes that have come are others")
    check(int(stats(pair.ta)["path_mtu_fragmented"]) > 0, f"{stats(pair.ta)}")


@case("off: no DF, and no path MTU")
def off(l):
    pair = Routed(l, 4, 1400)
    seen = Outer(pair)
    pair.both_ways(count=1)
    streams(pair, MEGA)
    whole, _, fragments = seen.count()
    check_equal(whole, 0, "packets with DF")
    check(fragments, "no fragments were seen: the case proves nothing")
    check("path_mtu_learnt" not in stats(pair.ta), f"{stats(pair.ta)}")


# ------------------------------------------------------------ what senders are told


def learn(pair, mtu):
    """Have both ends learn the path MTU: long requests, and then long answers."""
    for _ in range(20):
        pair.a.ping(INNER4["b"], "-s", "1392", "-M", "dont", count=1, wait=1)
        found = path_mtu(pair.ta, pair.tb), path_mtu(pair.tb, pair.ta)
        if found == (mtu, mtu):
            return
    raise lab.Failure(f"path MTUs {found}, not {mtu}")


def add_answers(outer):
    """Add a case about ICMP errors inside the tunnel."""
    @case(f"senders inside are told, with rp_filter, over IPv{outer}")
    def _(l):
        pair = Routed(l, outer, 1400, options=DISCOVER)
        for name in "all", "default", pair.ta.name:
            pair.a.sysctl(f"net.ipv4.conf.{name}.rp_filter", 1)
        pair.both_ways(count=1)
        learn(pair, 1400)
        inner = 1400 - AROUND[outer]
        got, text = pair.a.ping(INNER4["b"], "-s", "1392", "-M", "do", count=1)
        check(not got and f"mtu = {inner})" in text and
              f"From {INNER4['b']}" in text, f"IPv4: {text}")
        got, text = pair.a.ping(INNER6["b"], "-s", "1372", "-M", "do", count=1)
        check(not got and f"mtu={inner}" in text.replace(": ", "="),
              f"IPv6: {text}")
        # The kernel knows it now, and exactly this length passes.
        pair.a.must_ping(INNER4["b"], "-s", str(inner - 28), "-M", "do", count=1)
        pair.a.must_ping(INNER6["b"], "-s", str(inner - 48), "-M", "do", count=1)
        got, text = pair.a.ping(INNER4["b"], "-s", str(inner - 27), "-M", "do",
                                count=1)
        check(not got and f"mtu={inner}" in text.replace("mtu = ", "mtu="), text)
        # Without DF the packet is cut inside the tunnel.
        pair.a.must_ping(INNER4["b"], "-s", "1392", "-M", "dont", count=2)
        check(int(stats(pair.ta)["path_mtu_answered"]) >= 2, f"{stats(pair.ta)}")


for family in 4, 6:
    add_answers(family)


class Behind:
    """A host c behind a, whose packets a translates, and which b answers."""

    def __init__(self, pair, translated=True):
        l = pair.lab
        self.c = l.node("c")
        l.link(pair.a, self.c, "home", "eth")
        pair.a.ip("addr add 192.168.7.1/24 dev home")
        self.c.ip("addr add 192.168.7.2/24 dev eth",
                  "route add default via 192.168.7.1")
        pair.a.sysctl("net.ipv4.ip_forward", 1)
        if translated:
            pair.a.nft("""table ip nat {
                chain out {
                    type nat hook postrouting priority 100;
                    oifname "wga" masquerade
                }
            }""")


@case("a forwarded flow, translated, with rp_filter")
def forwarded(l):
    pair = Routed(l, 4, 1400, options=DISCOVER)
    lab.need("nft")
    behind = Behind(pair)
    for name in "all", "default", pair.ta.name, "home":
        pair.a.sysctl(f"net.ipv4.conf.{name}.rp_filter", 1)
    pair.both_ways(count=1)
    learn(pair, 1400)
    # The first host to know is c, by an ICMP error that was translated back.
    got, text = behind.c.ping(INNER4["b"], "-s", "1392", "-M", "do", count=1)
    check(not got and "mtu = 1340)" in text, f"ping: {text}")
    behind.c.must_ping(INNER4["b"], "-s", "1312", "-M", "do", count=1)
    lab.send_stream(behind.c, pair.b, INNER4["b"], 4 * MEGA)
    text = behind.c.ip(f"route get {INNER4['b']}").stdout
    check("mtu 1340" in text, f"route: {text}")


# --------------------------------------------------------------- paths that change


def add_change(outer):
    """Add a case in which the path changes under a stream."""
    @case(f"the path shrinks and grows under a stream, over IPv{outer}")
    def _(l):
        pair = Routed(l, outer, 1500, options=DISCOVER)
        pair.both_ways(count=1)
        steady = lab.Steady(pair, INNER4["b"])

        def moves(what):
            before = steady.arrived
            await_that(pair.ta, lambda: steady.arrived > before + MEGA,
                       f"the stream goes on {what}")

        moves("at first")
        for mtu in 1450, 1400, 1500, 1380:
            pair.set_mtu(mtu)
            moves(f"with {mtu}")
        steady.stop()
        check_equal(path_mtu(pair.ta, pair.tb), 1380, "path MTU")


for family in 4, 6:
    add_change(family)


@case("two peers with different paths")
def two_peers(l):
    pair = Routed(l, 4, 1400, options=DISCOVER)
    third = l.node("c")
    l.link(pair.r, third, "third", "eth")
    pair.r.ip("addr add 203.0.114.254/24 dev third")
    third.ip("addr add 203.0.114.1/24 dev eth", "route add default via 203.0.114.254")
    tc = l.tunnel(third, "wgc", 51003).start(*DISCOVER)
    tc.configure({"PublicKey": pair.ta.public, "AllowedIPs": "10.9.0.1/32",
                  "Endpoint": pair.endpoint("a")})
    tc.up("10.9.0.3/24")
    pair.ta.set("peer", tc.public, "endpoint", "203.0.114.1:51003", "allowed-ips",
                "10.9.0.3/32")
    pair.both_ways(count=1)
    pair.a.must_ping("10.9.0.3", count=1)
    lab.send_stream(pair.a, pair.b, INNER4["b"], 2 * MEGA)
    lab.send_stream(pair.a, third, "10.9.0.3", 2 * MEGA)
    check_equal(path_mtu(pair.ta, pair.tb), 1400, "path MTU to b")
    check_equal(path_mtu(pair.ta, tc), 0, "path MTU to c")
    pair.a.must_ping("10.9.0.3", "-s", "1392", "-M", "do", count=1)


# ------------------------------------------------------------------- forged messages


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def too_big4(mtu, ports, payload):
    """"Fragmentation needed", about a packet of a to b."""
    inner = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 1480, 7, 0x4000, 64, 17, 0,
                        socket.inet_aton("192.0.2.1"),
                        socket.inet_aton("198.51.100.2"))
    inner += struct.pack(">HHHH", *ports, 1460, 0) + payload
    message = struct.pack(">BBHHH", 3, 4, 0, 0, mtu) + inner
    return message[:2] + struct.pack(">H", checksum(message)) + message[4:]


@case("a storm of forged ICMP messages, and one of a thief who sees the packets")
def forged(l):
    pair = Routed(l, 4, 1500, options=DISCOVER)
    pair.both_ways(count=1)
    steady = lab.Steady(pair, INNER4["b"])
    lab.wait_until(lambda: steady.arrived > MEGA, "the stream has begun", 10)
    ports = 51001, 51002
    raw = pair.r.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    # The host accepts each of these messages: they name its socket.
    for key in "icmp_ratelimit", "icmp_msgs_per_sec":
        # Linux 5.10 has the second one for the whole host only.
        with contextlib.suppress(FileNotFoundError):
            pair.a.sysctl(f"net.ipv4.{key}", 100000)
    lies = [too_big4(mtu, ports, payload)
            for mtu in (0, 68, 576, 1280, 1400) for payload in (
                b"", struct.pack("<IIQ", 4, 0, 0),
                struct.pack("<IIQ", 4, 0x12345678, 5) + bytes(500),
                bytes([1, 0, 0, 0]) + bytes(100))]
    before = steady.arrived
    for i in range(4000):
        raw.sendto(lies[i % len(lies)], (pair.outer["a"], 0))
    lab.wait_until(lambda: steady.arrived > before + 4 * MEGA,
                   "the stream goes on", 20)
    await_that(pair.ta, lambda: int(stats(pair.ta)["path_mtu_forged"]) > 100 and
               int(stats(pair.ta)["path_mtu_hints"]) > 100, "the lies are counted")
    numbers = stats(pair.ta)
    check_equal((numbers["path_mtu_learnt"], numbers["path_mtu_lost"],
                 path_mtu(pair.ta, pair.tb)), ("0", "0", 0), "lessons by lies")
    # A message that was sent a moment ago, quoted: believed, but to the floor only.
    capture = lab.Capture(pair.r, "host")
    lab.wait_until(lambda: capture_latest(capture), "a message of a", 10)
    for _ in range(50):
        raw.sendto(too_big4(576, ports, capture_latest(capture)),
                   (pair.outer["a"], 0))
        if path_mtu(pair.ta, pair.tb):
            break
    await_mtu(pair.ta, pair.tb, FLOOR)
    before = steady.arrived
    await_that(pair.ta, lambda: steady.arrived > before + MEGA,
               "the stream goes on at the floor")
    steady.stop()
    pair.both_ways(count=1)


def capture_latest(capture, found=None):
    """The beginning of the latest data message of a on the cable."""
    found = found if found is not None else CAPTURED
    for packet in capture.datagrams(sport=51001):
        if packet.kind == 4:
            found[:] = [packet.payload[:64]]
    return found[0] if found else None


CAPTURED = []


# ---------------------------------------------------------------------- --clamp-mss


def mss_of(capture, flags, skip=0):
    """The MSS of the first TCP segment with exactly these flags of SYN and ACK, over
    IPv4 without options, since the last call. skip: bytes before the IP header."""
    for _, frame in capture.frames():
        packet = frame[skip:]
        if len(packet) >= 40 and packet[0] == 0x45 and packet[9] == 6 and packet[33] & 0x12 == flags:
            tcp = packet[20:]
            options = tcp[20:(tcp[12] >> 4) * 4]
            while options:
                if options[0] == 2:
                    return struct.unpack_from(">H", options, 2)[0]
                options = options[1:] if options[0] == 1 else options[options[1]:]
    return None


def handshake(source, sink, address, port):
    """Connect once."""
    listener = sink.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("0.0.0.0", port))
    listener.listen(1)
    client = source.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.connect((address, port))
    listener.accept()[0].close()
    client.close()
    listener.close()


@case("--clamp-mss: SYNs both ways get the MSS of the tunnel, and of the path")
def clamp(l):
    lab.need("nft")
    pair = Routed(l, 4, 1400, options=(*DISCOVER, "--clamp-mss"))
    behind = Behind(pair)
    pair.both_ways(count=1)
    at_b = lab.Capture(pair.b, "wgb", has_ethernet=False)
    at_c = lab.Capture(behind.c, "eth")
    handshake(behind.c, pair.b, INNER4["b"], 7011)
    # Of 1,420 bytes 40 are headers. The interface of c has 1,500.
    check_equal(mss_of(at_b, 0x02), 1380, "MSS of the SYN at b")
    learn(pair, 1400)
    handshake(behind.c, pair.b, INNER4["b"], 7012)
    check_equal(mss_of(at_b, 0x02), 1300, "MSS of the SYN at b, on a path of 1,400")
    # The answer of b has the MSS of its interface, and then that of the path from a.
    handshake(behind.c, pair.b, INNER4["b"], 7013)
    check_equal(mss_of(at_c, 0x12, 14), 1380, "MSS of the first answer at c")


@case("--clamp-mss at the end that receives")
def clamp_inbound(l):
    lab.need("nft")
    pair = Routed(l, 4, 1400, options_b=("--clamp-mss",))
    behind = Behind(pair)
    pair.both_ways(count=1)
    at_b = lab.Capture(pair.b, "wgb", has_ethernet=False)
    handshake(behind.c, pair.b, INNER4["b"], 7011)
    check_equal(mss_of(at_b, 0x02), 1380, "MSS of the SYN at b")


@case("without --clamp-mss a SYN stays as it is")
def no_clamp(l):
    lab.need("nft")
    pair = Routed(l, 4, 1400)
    behind = Behind(pair)
    pair.both_ways(count=1)
    at_b = lab.Capture(pair.b, "wgb", has_ethernet=False)
    handshake(behind.c, pair.b, INNER4["b"], 7011)
    check_equal(mss_of(at_b, 0x02), 1460, "MSS of the SYN at b")


lab.main()
