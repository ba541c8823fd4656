#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""examples/quic.c between two namespaces: every byte arrives, in trains, both ways.

usage: quic.py PROGRAM [WORD]    PROGRAM is empty if it was not built

The program itself compares each byte with what it has to be, and ends with an error
if one is wrong; the cases compare the numbers of bytes.
"""
import re
import shutil
import sys

import lab
from lab import OUTER4, OUTER6, at, case, check, check_equal, run, wait_until

BYTES = 100_000_000
PORT = 4433
LINE = re.compile(
    r"(?P<end>.*): bytes sent (?P<sent>\d+), received (?P<received>\d+); "
    r"with an ECN mark (?P<marked>\d+); largest packet (?P<packet>\d+); "
    r"datagrams sent (?P<out>\d+) in (?P<out_messages>\d+), "
    r"received (?P<in>\d+) in (?P<in_messages>\d+)")


def certificate(lab_, name):
    """Make a certificate that signs itself; return the paths of it and its key."""
    cert, key = (f"{lab_.directory}/{name}.{kind}" for kind in ("crt", "key"))
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
        "/CN=quic", "-keyout", key, "-out", cert)
    return cert, key


class World:
    """A server in one namespace, and another namespace for clients."""

    def __init__(self, lab_, mtu, size):
        self.lab = lab_
        self.client, self.server = lab_.node("a"), lab_.node("b")
        lab_.link(self.client, self.server, "eth", "eth", mtu)
        for side, node in ("a", self.client), ("b", self.server):
            node.ip(f"addr add {OUTER4[side]}/24 dev eth",
                    f"addr add {OUTER6[side]}/64 dev eth nodad")
            node.settle("eth")
        self.cert, key = certificate(lab_, "server")
        self.process = self.server.start(lab_.daemon, "serve", str(PORT),
                                         self.cert, key, str(size))
        wait_until(self.listens, "the server listens", 10)

    def listens(self):
        check(self.process.poll() is None, f"the server: {self.said()}")
        with self.server.inside():
            with open("/proc/thread-self/net/udp", encoding="ascii") as file:
                return f":{PORT:04X} " in file.read()

    def said(self):
        with open(self.process.log.name, encoding="utf-8") as file:
            return file.read()

    def connect(self, address, size, cert=None):
        return self.client.run(
            self.lab.daemon, "connect", at(address, PORT), cert or self.cert,
            str(size), check_status=False, timeout=100)


def numbers(text):
    """The numbers of the last line that has them."""
    found = list(LINE.finditer(text))
    check(found, f"no line with numbers: {text!r}")
    print(f"# {found[-1].group()}", flush=True)
    return {key: int(value) for key, value in found[-1].groupdict().items()
            if key != "end"}


def exchange(lab_, addresses, mtu, largest):
    """Move BYTES both ways.

    largest: the least and the most that path MTU discovery may find.
    """
    world = World(lab_, mtu, BYTES)
    done = world.connect(addresses["b"], BYTES)
    check_equal(done.returncode, 0, f"status, after {done.stdout!r}")
    wait_until(lambda: LINE.search(world.said()), "the server's line", 60)
    for who, text in ("client", done.stdout), ("server", world.said()):
        got = numbers(text)
        check_equal((got["sent"], got["received"]), (BYTES, BYTES), who)
        check(got["out"] >= 4 * got["out_messages"],
              f"{who}: no trains were sent: {got}")
        check(got["in"] >= 2 * got["in_messages"],
              f"{who}: no trains were received: {got}")
        check(got["marked"] >= BYTES // 2000,
              f"{who}: packets came without an ECN mark: {got}")
        check(largest[0] <= got["packet"] <= largest[1],
              f"{who}: packets of {got['packet']} bytes, wanted {largest}")


@case("100 MB both ways over IPv4")
def over_ipv4(lab_):
    exchange(lab_, OUTER4, 1500, (1400, 1452))


@case("100 MB both ways over IPv6")
def over_ipv6(lab_):
    exchange(lab_, OUTER6, 1500, (1400, 1452))


@case("100 MB both ways over a link with an MTU of 1280")
def small_mtu(lab_):
    # 1280 less the headers of IPv6 and UDP.
    exchange(lab_, OUTER6, 1280, (1200, 1232))


@case("few bytes, and connections one after the other")
def few_bytes(lab_):
    world = World(lab_, 1500, 3)
    for size in 0, 1, 65_537, 1_000_004:
        done = world.connect(OUTER4["b"], size)
        check_equal(done.returncode, 0, f"status, after {done.stdout!r}")
        got = numbers(done.stdout)
        check_equal((got["sent"], got["received"]), (size, 3), "bytes")


@case("a client refuses a certificate that it does not trust")
def wrong_certificate(lab_):
    world = World(lab_, 1500, 1)
    other, _ = certificate(lab_, "other")
    done = world.connect(OUTER4["b"], 1, other)
    check_equal(done.returncode, 1, f"status, after {done.stdout!r}")
    check("ERR_CRYPTO" in done.stdout, f"said {done.stdout!r}")
    done = world.connect(OUTER4["b"], 1)
    check_equal(done.returncode, 0, f"status afterwards, {done.stdout!r}")


if not sys.argv[1]:
    print("1..0 # SKIP examples/quic was not built: ngtcp2 0.12 or GnuTLS is missing")
    sys.exit()
lab.main(None if shutil.which("openssl") else "there is no openssl here")
