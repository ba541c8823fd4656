#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The kernel's VXLAN inside the tunnel."""
import json
import struct

import lab
from lab import INNER4, INNER6, Pair, case, check, check_equal

MEGA = 1 << 20
OVERLAY4 = {"a": "10.78.0.1", "b": "10.78.0.2"}
OVERLAY6 = {"a": "fd78::1", "b": "fd78::2"}
PORT = 4789

KINDS = {
    "IPv4": (INNER4, "noudpcsum"),
    "IPv4 with checksums": (INNER4, "udpcsum"),
    "IPv6 without checksums": (INNER6, "udp6zerocsumtx udp6zerocsumrx"),
    "IPv6": (INNER6, "udpcsum"),
}


def add_vxlan(l, pair, kind):
    """Make a VXLAN device at both ends."""
    addresses, options = KINDS[kind]
    for side, other, node in ("a", "b", pair.a), ("b", "a", pair.b):
        try:
            node.ip(f"link add vx0 type vxlan id 7 dstport {PORT} "
                    f"local {addresses[side]} remote {addresses[other]} "
                    f"{options}")
        except lab.Failure as failure:
            raise lab.Skip("the kernel has no VXLAN") from failure
        node.ip("link set vx0 mtu 1350 up",
                f"addr add {OVERLAY4[side]}/24 dev vx0",
                f"addr add {OVERLAY6[side]}/64 dev vx0 nodad")
        node.settle("vx0")


def has_tunnels(node, device):
    """Does the TUN hand out tunnel super-packets?"""
    lab.need("ethtool")
    text = node.run("ethtool", "-k", device).stdout
    return "tx-udp_tnl-segmentation: on" in text


def received(node, device):
    """Bytes a packet that the device has received."""
    stats = json.loads(node.run("ip", "-j", "-s", "link", "show", device)
                       .stdout)[0]["stats64"]["rx"]
    return stats["bytes"] / max(stats["packets"], 1)


def streams(l, pair):
    """TCP from a to b in the overlay, over both IP versions."""
    n_bytes = 2 * MEGA if l.is_slow else 16 * MEGA
    lab.send_stream(pair.a, pair.b, OVERLAY4["b"], n_bytes)
    lab.send_stream(pair.a, pair.b, OVERLAY6["b"], n_bytes)


def add_kind(kind):
    """A case with a kind of VXLAN."""
    @case(f"VXLAN over {kind}: TCP arrives whole, as super-packets")
    def _(l):
        pair = Pair(l)
        pair.both_ways(count=1)
        add_vxlan(l, pair, kind)
        streams(l, pair)
        print(f"# {received(pair.b, 'vx0'):.0f} bytes a packet")
        if has_tunnels(pair.b, "wgb"):
            check(received(pair.b, "vx0") > 3000,
                  "the device gets the packets one by one")


for name in KINDS:
    add_kind(name)


@case("with --no-overlay: merged as UDP")
def without(l):
    pair = Pair(l, options=("--no-overlay",))
    pair.both_ways(count=1)
    add_vxlan(l, pair, "IPv4")
    check(not has_tunnels(pair.b, "wgb"), "the TUN has tunnel super-packets")
    streams(l, pair)
    check(received(pair.b, "vx0") < 1400, "super-packets reach the device")
    print(f"# {received(pair.b, 'wgb'):.0f} bytes a packet on the TUN")


@case("one end without it, either way")
def mixed(l):
    pair = Pair(l, options_b=("--no-overlay",))
    pair.both_ways(count=1)
    add_vxlan(l, pair, "IPv4 with checksums")
    n_bytes = 2 * MEGA if l.is_slow else 8 * MEGA
    for to, x, y in ("b", pair.a, pair.b), ("a", pair.b, pair.a):
        lab.send_stream(x, y, OVERLAY4[to], n_bytes)
        lab.send_stream(x, y, OVERLAY6[to], n_bytes)


def vxlan_datagram(number):
    """TCP in VXLAN, as the datagrams that follow each other in a stream."""
    payload = bytes([number]) * 1200
    tcp = struct.pack(">HHIIBBHHH", 5001, 5002, number * len(payload), 1,
                      5 << 4, 0x10, 500, 0, 0) + payload
    addresses = bytes([10, 1, 0, 1, 10, 1, 0, 2])
    tcp = put_sum(tcp, 16, addresses + struct.pack(">HH", 6, len(tcp)))
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), number, 0x4000, 64, 6,
                     0) + addresses
    ethernet = bytes.fromhex("020000000001" "020000000002" "0800")
    return (bytes.fromhex("0800000000000700") + ethernet + put_sum(ip, 10, b"")
            + tcp)


def put_sum(data, offset, pseudo):
    """The Internet checksum, written at an offset."""
    summed = pseudo + data + bytes(len(data) % 2)
    total = sum(struct.unpack(f">{len(summed) // 2}H", summed))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return data[:offset] + struct.pack(">H", total ^ 0xffff) + data[offset + 2:]


def exchange(pair, count):
    """Send datagrams to a program's socket on the port of VXLAN."""
    receiver = pair.b.socket()
    receiver.bind((INNER4["b"], PORT))
    receiver.settimeout(5)
    sender = pair.a.socket()
    sent = [vxlan_datagram(i) for i in range(count)]
    for datagram in sent:
        sender.sendto(datagram, (INNER4["b"], PORT))
    got = [receiver.recv(65535) for _ in sent]
    check_equal([len(g) for g in got], [len(s) for s in sent], "lengths")
    check(got == sent, "the datagrams are others")
    receiver.close()
    sender.close()


@case("a program's VXLAN socket gets its datagrams as they were sent")
def program(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    exchange(pair, 40)
    # The device has the port while it is up, and gives it up again.
    add_vxlan(l, pair, "IPv4")
    streams(l, pair)
    try:
        pair.b.socket().bind((INNER4["b"], PORT))
        check(False, "a program can bind the port beside the device")
    except OSError:
        pass
    pair.b.ip("link set vx0 down")
    exchange(pair, 40)
    pair.b.ip("link set vx0 up")
    pair.b.ip("link del vx0")
    exchange(pair, 40)


lab.main()
