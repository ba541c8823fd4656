#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The visible properties of messages: lengths, marks, counters, keys."""
import socket
import time

import lab
from lab import INNER4, INNER6, Capture, Pair, case, check, check_equal

ECT1, ECT0, CE = 1, 2, 3
# linux/in.h and linux/in6.h
IP_RECVTOS = 13
IPV6_RECVTCLASS, IPV6_TCLASS = 66, 67


def split_trains(node):
    """Make later captures see single datagrams instead of merged ones."""
    lab.need("ethtool")
    node.run("ethtool", "-K", "eth", "tx-udp-segmentation", "off", "gro",
             "off", "gso", "off", "tso", "off")


@case("handshakes have TOS 0x88, data have 0, none has DF; lengths are right")
def headers(l):
    pair = Pair(l)
    split_trains(pair.a)
    split_trains(pair.b)
    capture = Capture(pair.a, "eth")
    pair.both_ways()
    lab.send_stream(pair.a, pair.b, INNER4["b"], 1 << 20)
    seen = capture.datagrams()
    lengths = {1: {148}, 2: {92}}
    for packet in seen:
        check(packet.kind in (1, 2, 4), f"message of an unknown type {packet}")
        check_equal(packet.payload[1:4], bytes(3), "reserved bytes")
        if packet.kind == 4:
            # Data is padded to 16 bytes, but not beyond the MTU.
            check(len(packet.payload) % 16 == 0 or
                  len(packet.payload) == 1420 + 32, f"length of {packet}")
            check(32 <= len(packet.payload) <= 1420 + 32,
                  f"length of {packet}")
        else:
            check_equal(packet.tos, 0x88, f"TOS of {packet}")
            check(len(packet.payload) in lengths[packet.kind],
                  f"length of {packet}")
        check(not packet.df, f"DF on {packet}")
    for kind in 1, 2, 4:
        check(any(p.kind == kind for p in seen), f"no message {kind}")
    check(all(p.tos & ~3 == 0 for p in seen if p.kind == 4),
          "TOS of data other than 0")


@case("handshakes have traffic class 0x88 over IPv6")
def headers6(l):
    pair = Pair(l, outer=6)
    capture = Capture(pair.a, "eth")
    pair.both_ways()
    seen = capture.datagrams()
    marks = {(p.kind, p.tos) for p in seen}
    check_equal(marks, {(1, 0x88), (2, 0x88), (4, 0)}, "types and marks")


def send_marked(node, address, tos, data=b"mark", port=7003):
    sock = node.socket(lab.family_of(address))
    if ":" in address:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TCLASS, tos)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
    sock.sendto(data, (address, port))
    sock.close()


def receiver_of_marks(node, address, port=7003):
    sock = node.socket(lab.family_of(address))
    if ":" in address:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVTCLASS, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_RECVTOS, 1)
    sock.bind((address, port))
    sock.settimeout(1)
    return sock


def receive_marked(sock):
    """The first byte and the TOS of the next datagram; None if no datagram
    comes."""
    try:
        data, controls, _, _ = sock.recvmsg(1 << 16, 512)
    except TimeoutError:
        return None, None
    return data[0], controls[0][2][0]


def receive_mark(sock):
    """The TOS of the next datagram; None if no datagram comes."""
    return receive_marked(sock)[1]


def congest(node, match):
    """Set the congestion mark on packets to the daemon of b, as a router with
    a long queue does. match: words of nft(8) that select the packets and end
    in the name of the field to set.
    """
    node.nft(f"""table inet f {{
        chain in {{
            type filter hook input priority 0
            udp dport 51002 {match} set ce
        }}
    }}""")


def add_ecn_cases(outer):
    """Add the cases of congestion marks over an IP version."""
    field = "ip ecn" if outer == 4 else "ip6 ecn"

    @case(f"the inner ECN field is on the outer header, the DSCP is not, "
          f"over IPv{outer}")
    def _(l):
        pair = Pair(l, outer=outer)
        pair.both_ways(count=1)
        for address in INNER4["b"], INNER6["b"]:
            sock = receiver_of_marks(pair.b, address)
            for ecn in 0, ECT0, ECT1, CE:
                capture = Capture(pair.a, "eth")
                send_marked(pair.a, address, 0xb8 | ecn)
                check_equal(receive_mark(sock), 0xb8 | ecn, "inner mark")
                seen = {p.tos for p in capture.datagrams(sport=51001)}
                check_equal(seen, {ecn}, f"outer marks for inner {ecn}")
            sock.close()

    @case(f"an outer mark of congestion is on the inner header, over "
          f"IPv{outer}")
    def _(l):
        lab.need("nft")
        pair = Pair(l, outer=outer)
        pair.both_ways(count=1)
        congest(pair.b, f"{field} != not-ect {field}")
        for address in INNER4["b"], INNER6["b"]:
            sock = receiver_of_marks(pair.b, address)
            for ecn, wanted in (0, 0), (ECT0, CE), (ECT1, CE), (CE, CE):
                send_marked(pair.a, address, 0x28 | ecn)
                check_equal(receive_mark(sock), 0x28 | wanted,
                            f"inner mark that was {ecn}")
            # In a train each datagram keeps its own mark. Each datagram has
            # its own socket, so the order may change.
            for i, ecn in enumerate([0, ECT0, 0, ECT1, ECT0, 0] * 5):
                send_marked(pair.a, address, ecn, bytes([i]))
            got = dict(receive_marked(sock) for _ in range(30))
            check_equal([got.get(i) for i in range(30)],
                        [0, CE, 0, CE, CE, 0] * 5, "inner marks")
            sock.close()

    @case(f"congestion on the way of a packet that knows none: dropped, over "
          f"IPv{outer}")
    def _(l):
        lab.need("nft")
        pair = Pair(l, outer=outer)
        pair.both_ways(count=1)
        congest(pair.b, field)
        sock = receiver_of_marks(pair.b, INNER4["b"])
        send_marked(pair.a, INNER4["b"], 0)
        check_equal(receive_mark(sock), None, "a packet that knows no ECN")
        send_marked(pair.a, INNER4["b"], ECT0)
        check_equal(receive_mark(sock), CE, "a packet that knows ECN")


for outer_family in 4, 6:
    add_ecn_cases(outer_family)


@case("TCP that negotiates ECN arrives whole, with marks on the way")
def tcp_ecn(l):
    lab.need("nft")
    pair = Pair(l)
    for node in pair.a, pair.b:
        node.sysctl("net.ipv4.tcp_ecn", 1)
    congest(pair.b, "ip ecn != not-ect numgen inc mod 20 0 ip ecn")
    for inner in INNER4, INNER6:
        before = pair.a.tcp_counters()["TCPDeliveredCE"]
        lab.send_stream(pair.a, pair.b, inner["b"], 4 << 20)
        check(pair.a.tcp_counters()["TCPDeliveredCE"] > before,
              "the sender was told of no mark")
    lab.send_stream(pair.b, pair.a, INNER4["a"], 4 << 20)


def payload_bytes(datagrams):
    return sum(len(p.payload) for p in datagrams)


def add_counter_case(outer):
    """Add a case of the byte counters."""
    @case(f"both counters are the UDP payload on the wire, over IPv{outer}")
    def _(l):
        pair = Pair(l, outer=outer)
        capture = Capture(pair.a, "eth")
        pair.both_ways()
        pair.a.must_ping(INNER4["b"], "-s", "1300")
        lab.send_datagrams(pair.a, pair.b, INNER4["b"],
                           [0, 1, 15, 16, 17, 1000, 1392] * 10)
        lab.send_stream(pair.a, pair.b, INNER4["b"], 1 << 20)
        # The last messages may still be on their way.
        time.sleep(0.3)
        seen = capture.datagrams()
        out = payload_bytes(p for p in seen if p.sport == 51001)
        back = payload_bytes(p for p in seen if p.sport == 51002)
        here, there = pair.ta.peer(pair.tb), pair.tb.peer(pair.ta)
        check_equal((here.tx, here.rx), (out, back), "counters of a")
        check_equal((there.tx, there.rx), (back, out), "counters of b")


for outer_family in 4, 6:
    add_counter_case(outer_family)


@case("a preshared key: both must have it; changed while running")
def psk(l):
    first = lab.run("wg", "genpsk").stdout
    second = lab.run("wg", "genpsk").stdout
    pair = Pair(l, more={"PresharedKey": first.strip()})
    pair.both_ways(count=1)
    check_equal(pair.ta.peer(pair.tb).psk, first.strip(), "preshared key")

    def put(tunnel, other, key):
        tunnel.set("peer", other.public, "preshared-key", "/dev/stdin",
                   stdin=key)

    # The session goes on, and the next handshake uses the new preshared key.
    for tunnel, other in (pair.ta, pair.tb), (pair.tb, pair.ta):
        put(tunnel, other, second)
    pair.both_ways(count=1)
    before = pair.ta.peer(pair.tb).handshake
    # The time of a handshake is given in whole seconds.
    time.sleep(1)
    pair.ta.flap()
    pair.a.reach(INNER4["b"])
    check(pair.ta.peer(pair.tb).handshake > before, "no new handshake")
    put(pair.ta, pair.tb, first)
    pair.ta.flap()
    pair.a.must_not_ping(INNER4["b"])


@case("another private key: sessions end, the peers that know it go on")
def private_key(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    spare = l.tunnel(pair.a, "spare")
    pair.ta.set("private-key", "/dev/stdin", stdin=spare.private)
    pair.a.must_not_ping(INNER4["b"])
    pair.tb.set("peer", pair.ta.public, "remove", "peer", spare.public,
                "allowed-ips", lab.allowed("a"))
    # a's next attempt is due after 5 s; the ping makes b start one at once.
    pair.tb.set("peer", spare.public, "endpoint", pair.endpoint("a"))
    pair.b.must_ping(INNER4["a"], count=1)
    pair.both_ways(count=1)


@case("keepalives: 32 bytes, only from the peer whose was switched on")
def keepalive_flag(l):
    pair = Pair(l)
    c = l.node("c")
    l.link(pair.a, c, "ethc", "eth")
    pair.a.ip("addr add 198.51.100.1/24 dev ethc")
    c.ip("addr add 198.51.100.3/24 dev eth")
    tc = l.tunnel(c, "wgc", 51003).start()
    tc.configure({"PublicKey": pair.ta.public, "AllowedIPs": "10.9.0.1/32",
                  "Endpoint": "198.51.100.1:51001"})
    tc.up("10.9.0.3/24")
    pair.ta.set("peer", tc.public, "allowed-ips", "10.9.0.3/32", "endpoint",
                "198.51.100.3:51003")
    pair.a.must_ping(INNER4["b"], count=1)
    pair.a.must_ping("10.9.0.3", count=1)
    captures = Capture(pair.a, "eth"), Capture(pair.a, "ethc")
    # One request configures both peers; keepalives are switched on for the
    # first only.
    pair.ta.set("peer", pair.tb.public, "persistent-keepalive", "1",
                "peer", tc.public, "allowed-ips", "10.9.0.3/32")
    # The first keepalive leaves at once, and another each second.
    time.sleep(2.5)
    to_b, to_c = (c.datagrams(sport=51001) for c in captures)
    check(3 <= len(to_b) <= 4 and all(len(p.payload) == 32 for p in to_b),
          f"keepalives to b: {to_b}")
    check(not to_c, f"keepalives to c: {to_c}")
    pair.ta.set("peer", pair.tb.public, "persistent-keepalive", "off")
    time.sleep(0.1)
    captures[0].datagrams()
    time.sleep(1.5)
    check(not captures[0].datagrams(sport=51001), "keepalives after off")


@case("no keepalives where other packets flow")
def no_keepalive(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    pair.ta.set("peer", pair.tb.public, "persistent-keepalive", "1")
    time.sleep(0.2)
    capture = Capture(pair.a, "eth")
    flow = pair.a.start("ping", "-n", "-q", "-i", "0.2", "-c", "14",
                        INNER4["b"])
    flow.wait()
    lengths = {len(p.payload) for p in capture.datagrams(sport=51001)}
    check(lengths and 32 not in lengths, f"lengths of messages: {lengths}")


@case("idle peers do not keep each other awake")
def idle(l):
    pair = Pair(l)
    capture = Capture(pair.a, "eth")
    pair.a.must_ping(INNER4["b"], count=1)
    # A message of the new session may still be on its way.
    time.sleep(0.2)
    capture.datagrams()
    receiver = pair.b.socket()
    receiver.bind((INNER4["b"], 7005))
    send_marked(pair.a, INNER4["b"], 0, port=7005)
    receiver.recv(100)
    # No program answers the UDP datagram, so b sends one keepalive after 10 s.
    time.sleep(11)
    seen = [(p.is_outgoing, len(p.payload)) for p in capture.datagrams()]
    check_equal(seen, [(True, 64), (False, 32)], "datagrams")


lab.main()
