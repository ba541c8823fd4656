#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The local address that peers are answered from: it is kept when other things
change, and dropped when it cannot be used any more.

a has two cables to b, and a route to b by the first one. b is at an address
that belongs to neither cable, so that the routes of a can lead to it by either.
"""
import base64
import os
import signal
import socket
import struct
import time

import lab
from lab import INNER4, INNER6, case, check, check_equal

# The addresses of a, by cable; the address of b.
FIRST = {4: "192.0.2.1", 6: "2001:db8:1::1"}
OTHER = {4: "192.0.2.100", 6: "2001:db8:1::100"}
SECOND = {4: "198.51.100.1", 6: "2001:db8:2::1"}
GATEWAY = {4: ("192.0.2.2", "198.51.100.2"),
           6: ("2001:db8:1::2", "2001:db8:2::2")}
FAR = {4: "203.0.113.2", 6: "2001:db8:3::2"}
LENGTH = {4: (24, 32), 6: (64, 128)}

# Seconds after which the daemon has handled a change, if it gets a processor. A
# choice.
SOON = 0.4

# A user id that is not in use; it needs no name.
KEEPER = 4711
USERS = f"{KEEPER}-{KEEPER}"


class Home:
    """Hosts a and b with a tunnel; b sends to one of a's addresses."""

    def __init__(self, l, outer, address, mark=0):
        self.outer = outer
        self.a, self.b = l.node("a"), l.node("b")
        subnet, host = LENGTH[outer]
        flag = " nodad" if outer == 6 else ""
        for cable in "eth", "eth2":
            l.link(self.a, self.b, cable, cable)
        for node in self.a, self.b:
            for where in "all", "default", "eth", "eth2":
                node.sysctl(f"net.ipv4.conf.{where}.rp_filter", 0)
        self.a.ip(f"addr add {FIRST[outer]}/{subnet} dev eth{flag}",
                  f"addr add {OTHER[outer]}/{subnet} dev eth{flag}",
                  f"addr add {SECOND[outer]}/{subnet} dev eth2{flag}")
        self.b.ip(f"addr add {FAR[outer]}/{host} dev lo{flag}",
                  f"addr add {GATEWAY[outer][0]}/{subnet} dev eth{flag}",
                  f"addr add {GATEWAY[outer][1]}/{subnet} dev eth2{flag}")
        for node in self.a, self.b:
            node.settle("eth")
            node.settle("eth2")
        self.lead_by(0)
        # b reaches each address of a by the cable of that address, and sends
        # from its far address.
        for to, cable in ((FIRST, 0), (OTHER, 0), (SECOND, 1)):
            self.b.ip(f"route add {to[outer]}/{host} dev "
                      f"{('eth', 'eth2')[cable]} src {FAR[outer]}")
        # A user of its own, so that a rule by user is about nobody else.
        self.ta = l.tunnel(self.a, "wga", 51001).start(
            "--keeper-user", f"{KEEPER}:{KEEPER}")
        self.tb = l.tunnel(self.b, "wgb", 51002).start()
        self.tb.configure({"PublicKey": self.ta.public,
                           "AllowedIPs": lab.allowed("a"),
                           "Endpoint": lab.at(address, 51001)})
        self.tb.up(INNER4["b"] + "/24", INNER6["b"] + "/64")
        self.ta.configure({"PublicKey": self.tb.public,
                           "AllowedIPs": lab.allowed("b")},
                          lines=[f"FwMark = {mark}"] if mark else [])
        self.ta.up(INNER4["a"] + "/24", INNER6["a"] + "/64")
        self.captures = [lab.Capture(self.b, cable)
                         for cable in ("eth", "eth2")]
        self.socket = self.a.socket()
        # This socket at b takes all datagrams, so that b sends no ICMP
        # message.
        self.sink = self.b.socket()
        with self.b.inside():
            self.sink.bind((INNER4["b"], 9))

    def lead_by(self, cable):
        """Route from a to b by the first cable (0) or the second (1)."""
        self.a.ip(f"route replace {FAR[self.outer]}/{LENGTH[self.outer][1]} "
                  f"via {GATEWAY[self.outer][cable]}")

    def meet(self):
        """Send from b to a, so that a learns b's endpoint and the address that
        b uses for a."""
        self.b.must_ping(INNER4["a"], count=1)
        check_equal(self.ta.peer(self.tb).endpoint,
                    lab.at(FAR[self.outer], 51002), "endpoint of b")

    def heard(self):
        """The source addresses of a's messages to b since the last call."""
        return {p.src for capture in self.captures
                for p in capture.datagrams(sport=51001)}

    def heard_all(self, firsts):
        """As heard(). firsts: receives the source of the first packet to each
        port."""
        found = set()
        for capture in self.captures:
            for p in capture.datagrams(sport=51001):
                firsts.setdefault(p.dport, p.src)
                found.add(p.src)
        return found or {None}

    def say(self, cnt=3):
        """Send datagrams from a, which b does not answer; return their source
        addresses."""
        self.heard()
        found = set()
        for _ in range(cnt):
            self.socket.sendto(bytes(64), (INNER4["b"], 9))
        lab.wait_until(lambda: found.update(self.heard()) or found,
                       "b hears a", 5)
        return found

    def must_say(self, source, why):
        check_equal(self.say(), {source}, f"source {why}")

    def must_come_to(self, source, why):
        """Wait until a sends from this address, and check that it stays so."""
        lab.wait_until(lambda: self.say() == {source},
                       f"a sends from {source} {why}", 5)
        time.sleep(SOON)
        self.must_say(source, f"{why}, and a little later")


def advertise(node, device, prefix):
    """Send one router advertisement with a prefix, from which hosts make an
    address."""
    sock = node.socket(socket.AF_INET6, socket.SOCK_RAW,
                       socket.IPPROTO_ICMPV6)
    with node.inside():
        index = socket.if_nametoindex(device)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    option = struct.pack(">BBBBIII16s", 3, 4, 64, 0xc0, 3600, 1800, 0,
                         socket.inet_pton(socket.AF_INET6, prefix))
    message = struct.pack(">BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + option
    sock.sendto(message, ("ff02::1", 0, 0, index))


UNRELATED = (
    ("a route", "route add 203.0.114.0/24 dev lo"),
    ("another route", "route add 2001:db8:77::/64 dev lo"),
    ("an address", "addr add 203.0.113.77/32 dev lo",
     "addr add 2001:db8:78::1/128 dev lo"),
    ("an address that goes", "addr del 203.0.113.77/32 dev lo",
     "addr del 2001:db8:78::1/128 dev lo"),
    ("an address of the same device", "addr add 192.0.2.55/24 dev eth",
     "addr add 2001:db8:1::55/64 dev eth nodad"),
    ("a link", "link add veth8 type veth peer name veth9",
     "link set veth8 up", "link set veth9 up"),
    ("a link that goes", "link del veth8"),
    ("a rule", "rule add from 203.0.113.77 lookup 7"),
)


def add_unrelated_case(outer):
    @case(f"what has nothing to do with it changes nothing, over IPv{outer}")
    def _(l):
        home = Home(l, outer, OTHER[outer])
        home.a.sysctl("net.ipv6.conf.eth.accept_ra", 2)
        home.meet()
        home.must_say(OTHER[outer], "before")
        for what, *lines in UNRELATED:
            home.a.ip(*lines)
            time.sleep(SOON)
            home.must_say(OTHER[outer], f"after {what}")
        advertise(home.b, "eth", "2001:db8:99::")
        lab.wait_until(lambda: "2001:db8:99:" in home.a.run(
            "ip", "addr", "show", "dev", "eth").stdout,
            "the advertisement has given a an address", 5)
        time.sleep(SOON)
        home.must_say(OTHER[outer], "after a router advertisement")
        check_equal(home.tb.peer(home.ta).endpoint,
                    lab.at(OTHER[outer], 51001), "endpoint of a")
        home.b.must_ping(INNER4["a"], count=1)


def add_removed_case(outer):
    @case(f"the address goes, and so does the source; it comes back with it, "
          f"over IPv{outer}")
    def _(l):
        home = Home(l, outer, OTHER[outer])
        home.meet()
        home.must_say(OTHER[outer], "before")
        what = f"{OTHER[outer]}/{LENGTH[outer][0]} dev eth"
        home.a.ip(f"addr del {what}")
        home.must_come_to(FIRST[outer], "after the address was removed")
        # b has sent nothing meanwhile, so it may have the old endpoint only.
        home.a.ip(f"addr add {what}" + (" nodad" if outer == 6 else ""))
        home.must_come_to(OTHER[outer], "when the address is there again")
        home.b.must_ping(INNER4["a"], count=1)


def add_interface_case(outer):
    @case("another interface: " + (
        "the source is the one of that, over IPv4" if outer == 4 else
        "it does not count over IPv6"))
    def _(l):
        home = Home(l, outer, OTHER[outer])
        home.meet()
        home.must_say(OTHER[outer], "before")
        home.lead_by(1)
        home.must_come_to(SECOND[outer] if outer == 4 else OTHER[outer],
                          "when the route leads by the second cable")
        home.lead_by(0)
        home.must_come_to(OTHER[outer], "when it leads by the first again")


for family in 4, 6:
    add_unrelated_case(family)
    add_removed_case(family)
    add_interface_case(family)


@case("another interface, under traffic both ways: both ends settle")
def settles(l):
    home = Home(l, 4, OTHER[4])
    home.meet()
    pings = [node.start("ping", "-n", "-q", "-i", "0.002", to)
             for node, to in ((home.a, INNER4["b"]), (home.b, INNER4["a"]))]
    for cable, source in ((1, SECOND[4]), (0, FIRST[4])):
        home.lead_by(cable)
        time.sleep(SOON)
        home.heard()
        time.sleep(SOON)
        check_equal(home.heard(), {source}, f"sources by cable {cable}")
        check_equal(home.tb.peer(home.ta).endpoint, lab.at(source, 51001),
                    "endpoint of a")
    for ping in pings:
        ping.send_signal(signal.SIGINT)
        ping.wait(5)
    check(home.ta.process.poll() is None, "a has ended")


@case("answers that leave by another interface than the questions come in by")
def asymmetric(l):
    home = Home(l, 4, SECOND[4])
    home.meet()
    # As in the kernel module, the source becomes the address of the outgoing
    # interface. That must happen soon, and without another event.
    home.must_come_to(FIRST[4], "from the beginning")
    home.a.ip("route add 203.0.114.0/24 dev lo")
    time.sleep(SOON)
    home.must_say(FIRST[4], "after another route")


def add_rule_case(rule):
    @case(f"a rule: {rule.replace(USERS, 'of the keeper')}")
    def _(l):
        home = Home(l, 4, SECOND[4], mark=7)
        home.a.ip(f"route add default via {GATEWAY[4][1]} table 100",
                  f"rule add {rule} lookup 100")
        home.meet()
        time.sleep(SOON)
        home.must_say(SECOND[4], "with the rule")
        home.a.ip("route add 203.0.114.0/24 dev lo",
                  "link add veth8 type veth peer name veth9")
        time.sleep(SOON)
        home.must_say(SECOND[4], "after what has nothing to do with it")
        home.a.ip(f"rule del {rule} lookup 100")
        home.must_come_to(FIRST[4], "without the rule")
        home.a.ip(f"rule add {rule} lookup 100")
        home.must_come_to(SECOND[4], "with the rule again")


for text in (f"from {SECOND[4]}", "fwmark 7", f"uidrange {USERS}",
             f"from {SECOND[4]} fwmark 7 uidrange {USERS} ipproto udp "
             "sport 51001 dport 51002"):
    add_rule_case(text)


@case("no route at all for a while, and the same one again: it stays")
def no_route(l):
    home = Home(l, 4, OTHER[4])
    home.meet()
    home.a.ip(f"route del {FAR[4]}/32")
    # Without a route this packet cannot leave from any address.
    home.socket.sendto(bytes(64), (INNER4["b"], 9))
    time.sleep(SOON)
    for kind in "unreachable", "prohibit", "blackhole":
        home.a.ip(f"route add {kind} {FAR[4]}")
        home.socket.sendto(bytes(64), (INNER4["b"], 9))
        time.sleep(SOON)
        home.a.ip(f"route del {kind} {FAR[4]}")
    home.lead_by(0)
    home.must_say(OTHER[4], "at once")
    time.sleep(SOON)
    home.must_say(OTHER[4], "a little later")


def add_lost_case(outer):
    @case(f"lost messages may have told of any change, over IPv{outer}")
    def _(l):
        home = Home(l, outer, OTHER[outer])
        home.meet()
        subnet, host = LENGTH[outer]
        flag = " nodad" if outer == 6 else ""
        net = "10.77.{}.{}" if outer == 4 else "2001:db8:77:{}::{}"
        lab.pause(home.ta.keeper)
        try:
            for i in range(10):
                for what, more in ("add", flag), ("del", ""):
                    home.a.ip(*(f"addr {what} {net.format(i, k)}/{host} "
                                f"dev lo{more}" for k in range(1, 255)))
            home.a.ip(f"addr del {OTHER[outer]}/{subnet} dev eth")
        finally:
            os.kill(home.ta.keeper, signal.SIGCONT)
        home.must_come_to(FIRST[outer], "after messages were lost")


for family in 4, 6:
    add_lost_case(family)


# ------------------------------------------------------------------- a storm

# Peers; events a second; parts of a second in which the events are made. Choices.
N_GUESTS = 1000
N_EVENTS = 10_000
SLICES = 20
GUESTS_NET = "10.10"


def guest_address(i):
    return f"{GUESTS_NET}.{i >> 8}.{i & 255}"


def control_time(tunnel):
    """CPU time of a daemon's control thread, in seconds."""
    path = f"/proc/{tunnel.pid}/task/{tunnel.pid}/schedstat"
    with open(path, encoding="ascii") as file:
        return int(file.read().split()[0]) / 1e9


def raise_storm(home, seconds=1, do_between=lambda: None):
    """Cause thousands of events a second; return the share of a core that the
    control thread used, and the events a second."""
    each = N_EVENTS // SLICES // 2
    before, start = control_time(home.ta), time.monotonic()
    for i in range(seconds * SLICES):
        routes = [f"blackhole 10.88.{i}.{k}/32 table 9" for k in range(each)]
        home.a.ip("link add veth8 type veth peer name veth9",
                  *(f"route add {route}" for route in routes),
                  *(f"route del {route}" for route in routes),
                  "link del veth8")
        do_between()
        time.sleep(max(0, start + (i + 1) / SLICES - time.monotonic()))
    took = time.monotonic() - start
    # Count the CPU time for events that still wait in the socket, too.
    time.sleep(SOON)
    return (control_time(home.ta) - before) / took, seconds * N_EVENTS / took


def add_guests(home, program):
    """Configure the guests as peers of a."""
    keys = run_guests(program, "keys", str(N_GUESTS)).split()
    text = "".join(f"public_key={key}\nallowed_ip={guest_address(i)}/32\n"
                   for i, key in enumerate(keys))
    check("errno=0" in home.ta.ask(f"set=1\n{text}\n", timeout=30), "set")
    home.a.ip(f"route add {GUESTS_NET}.0.0/16 dev wga")


def run_guests(program, *arguments):
    return lab.run(program, *arguments).stdout


@case(f"{N_EVENTS} events within a second, {N_GUESTS} peers")
def storm(l):
    program = os.environ.get("GUESTS")
    if not program:
        raise lab.Skip("GUESTS names no program")
    home = Home(l, 4, OTHER[4])
    add_guests(home, program)
    home.meet()
    without = max(raise_storm(home)[0] for _ in range(2))
    guests = home.b.start(
        program, "greet", FAR[4], OTHER[4], "51001",
        base64.b64decode(home.ta.public).hex(), str(N_GUESTS))

    def answered():
        with open(guests.log.name, encoding="ascii") as file:
            return file.read().strip()

    check_equal(lab.wait_until(answered, "all have greeted", 60),
                str(N_GUESTS), "guests that were answered")
    time.sleep(2 * SOON)
    home.heard()
    # Other work on the machine can only add to the CPU time, so one low figure
    # of three is enough. Programs that use the other half of a core or its caches add
    # to it without making timers late, so the low bar holds only on a machine that
    # is idle before and after.
    busy = lab.busy_share()
    for _ in range(3):
        share, rate = raise_storm(home, 2)
        late = lab.lateness(51)[25]
        busy = max(busy, lab.busy_share())
        is_quiet = late < lab.MAX_LATENESS and busy < 0.25 and not l.is_slow
        bar = 0.02 if is_quiet else 0.2
        print(f"# {rate:.0f} events a second: {100 * without:.1f} % of a core "
              f"with one learnt source, {100 * share:.1f} % with "
              f"{N_GUESTS + 1}; a timer of 1 ms is {1000 * late:.2f} ms late, "
              f"{100 * busy:.0f} % of the machine is in use: the bar is {bar}")
        if share - without < bar:
            break
    check(share - without < bar,
          f"the sources cost {100 * (share - without):.1f} % of a core")
    # During a storm, a sends to all guests and to b.
    home.heard()
    at = iter(range(N_GUESTS))

    def greet_some():
        for _ in range(N_GUESTS // SLICES):
            home.socket.sendto(bytes(64), (guest_address(next(at)), 9))
        home.socket.sendto(bytes(64), (INNER4["b"], 9))

    firsts = {}
    raise_storm(home, do_between=greet_some)
    check_equal(home.heard_all(firsts), {OTHER[4]}, "source addresses")
    # A handshake that was lost, or came too soon after the last one, is tried
    # again after 5 s, and then from any source, as in the kernel module.
    lab.wait_until(lambda: home.heard_all(firsts) and
                   len(firsts) == N_GUESTS + 1,
                   "a has written to all of them", 15)
    check_equal(set(firsts.values()), {OTHER[4]},
                "source addresses of the first packets")


lab.main()
