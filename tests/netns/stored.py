#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The service manager keeps the daemon's descriptors over a restart: the interface, its
addresses and routes, the port and the configuration stay, and what arrives meanwhile
waits."""
import contextlib
import os
import re
import signal

import lab
from lab import INNER4, Pair, Skip, case, check, check_equal, wait_until
from manager import Store, index_of


def restart(store, tunnel, number, **options):
    """End the daemon by a signal, and start it again. Return what ended."""
    tunnel.process.send_signal(number)
    tunnel.process.wait(20)
    wait_until(lambda: not lab.descendants_of(tunnel.process.pid), "all have ended", 10)
    tunnel.has_ended = True
    return store.start(tunnel, **options)


def managed_pair(l, options=()):
    if "WG_COVERAGE" in os.environ:
        raise Skip("a build that counts what is run is one process")
    store = []

    class Managed(Pair):
        def join(self, mtu):
            super().join(mtu)
            store.append(Store(self.a))

    pair = Managed.__new__(Managed)
    # The daemon of a needs the manager's address, which its node gives.
    address = f"{l.directory}/notify-a"
    Managed.__init__(pair, l, how={"NOTIFY_SOCKET": address, "FDSTORE": "40"}, options=options)
    return pair, store[0]


@case("after a restart, a crash, or SIGKILL: the same interface, addresses, routes, port "
      "and configuration")
def same(l):
    pair, store = managed_pair(l)
    ta = pair.ta
    pair.both_ways(count=1)
    wait_until(lambda: {"journal", "tun-0", "udp-0-0-0"} <= set(store.names()),
               "descriptors are kept", 10)
    before = index_of(ta), pair.a.run("ip", "route", "show", "dev", "wga").stdout, \
        ta.get("dump").stdout.split("\t")[:4]
    for number in signal.SIGTERM, signal.SIGKILL, signal.SIGTERM:
        restart(store, ta, number, order=lambda kept: kept.sort(reverse=True))
        check("that of the process before" in ta.log(), ta.log())
        after = index_of(ta), pair.a.run("ip", "route", "show", "dev", "wga").stdout, \
            ta.get("dump").stdout.split("\t")[:4]
        check_equal(after, before, "index, routes, keys and port")
        pair.both_ways(count=1)
        wait_until(lambda: "journal" in store.names() and
                   "udp-0-0-0" in store.names(), "descriptors are kept", 10)


@case("what arrives while no daemon runs waits: packets for the tunnel, and datagrams")
def waiting(l):
    pair, store = managed_pair(l)
    pair.both_ways(count=1)
    wait_until(lambda: "udp-0-0-0" in store.names(), "descriptors are kept", 10)
    tunnel = pair.ta
    tunnel.process.send_signal(signal.SIGKILL)
    tunnel.process.wait(20)
    wait_until(lambda: not lab.descendants_of(tunnel.process.pid), "all have ended", 10)
    # Nothing is refused: the interface and the port are there.
    check_equal(pair.a.run("ip", "-o", "link", "show", "wga", "up",
                           check_status=False).returncode, 0, "status of ip")
    ping = pair.a.start("ping", "-n", "-c", "3", "-i", "0.2", "-W", "20", INNER4["b"])
    check("51001" in pair.a.run("ss", "-ulnH").stdout, "the port is closed")
    store.start(tunnel)
    check_equal(ping.wait(30), 0, "status of a ping that began while no daemon ran")
    with open(ping.log.name, encoding="utf-8") as file:
        text = file.read()
    check(re.search(r"3 received", text), text)


@case("an engine that dies gets its port again, also if the manager is slow to forget the "
      "old sockets, and so does a port that is given up for a moment")
def port(l):
    pair, store = managed_pair(l)
    pair.both_ways(count=1)
    tunnel = pair.ta
    for n, delay in enumerate((0, 0.05), 1):
        wait_until(lambda: "udp-0-0-0" in store.names(), "descriptors are kept", 10)
        store.delay = delay
        os.kill(tunnel.pid, signal.SIGKILL)
        wait_until(lambda n=n: tunnel.log().count("another engine has taken its place") == n,
                   "another engine", 20)
        pair.a.reach(INNER4["b"])
        check_equal(tunnel.get("listen-port").stdout.strip(), "51001", "port")
        check("Address already in use" not in tunnel.log(), tunnel.log())
        store.delay = 0
        wait_until(lambda: {"udp-0-0-0", "udp-0-1-0"} <= set(store.names()),
                   "descriptors are kept", 10)
    store.delay = 0.05
    tunnel.set("listen-port", "51009")
    tunnel.set("listen-port", "51001")
    pair.a.reach(INNER4["b"])


@case("sockets that were opened with other options are not used, and nothing holds the port")
def options(l):
    pair, store = managed_pair(l)
    pair.both_ways(count=1)
    wait_until(lambda: "udp-0-0-0" in store.names(), "descriptors are kept", 10)
    before = index_of(pair.ta)
    restart(store, pair.ta, signal.SIGTERM, options="--pmtu=discover")
    check_equal(index_of(pair.ta), before, "index")
    pair.both_ways(count=1)
    wait_until(lambda: "udp-0-0-0" in store.names(), "descriptors are kept", 10)
    check_equal(len(store.names()), len(set(store.names())), f"names {store.names()}")


@case("an interface that is gone, or renamed, is made anew; a stranger's descriptors are "
      "not used")
def others(l):
    pair, store = managed_pair(l)
    wait_until(lambda: "tun-0" in store.names() and "journal" in store.names(),
               "descriptors are kept", 10)
    index = index_of(pair.ta)
    pair.a.ip("link del wga")
    pair.ta.wait()
    store.start(pair.ta)
    check(index_of(pair.ta) not in (index, None), "the old interface is there")
    check("that of the process before" not in pair.ta.log(), pair.ta.log())
    check_equal(pair.ta.get("peers").stdout.strip(), "", "peers of the new one")
    # Files in the place of each.
    wait_until(lambda: "tun-0" in store.names(), "descriptors are kept", 10)
    pair.ta.process.send_signal(signal.SIGTERM)
    pair.ta.process.wait(20)
    pair.ta.has_ended = True
    for name, fd in list(store.kept):
        os.close(fd)
    store.kept = [(name, os.open("/dev/null", os.O_RDWR)) for name in
                  ("tun-0", "journal", "udp-0-0-0", "udp-0-1-0", "udp-9-9-9",
                   "udp-0-0-7", "tun-7", "", "else")]
    store.start(pair.ta)
    check(index_of(pair.ta), "no interface")


if __name__ == "__main__":
    lab.main()
