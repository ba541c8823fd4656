#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Several queues of the interface, and several UDP sockets: order, the counters of a
peer, odd devices."""
import contextlib
import fcntl
import os
import re
import signal
import socket
import struct
import threading
import time

import lab
from lab import INNER4, INNER6, Capture, Pair, case, check, check_equal

# All helpers run all the time, even if there is little to do.
QUEUES = "--queues", "4", "--workers", "4", "--eager"

# linux/if_tun.h
TUNSETIFF = 0x400454ca
TUNSETPERSIST = 0x400454cb
IFF_TUN = 0x0001
IFF_MULTI_QUEUE = 0x0100
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000

# Flows of datagrams that are sent at once. A choice: some in each queue.
FLOWS = 16
# The smallest replay window of another implementation, boringtun's.
WINDOW = 1024
# Messages of one peer must be nearer to each other than this.
APART = 512


def queues_of(tunnel):
    """The number of queues that a daemon has open."""
    found = 0
    for name in os.listdir(f"/proc/{tunnel.pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found += os.readlink(
                f"/proc/{tunnel.pid}/fd/{name}") == "/dev/net/tun"
    return found


def reorderings(pair):
    """The number of reorderings that TCP has seen at both ends."""
    return sum(node.tcp_counters()[name] for node in (pair.a, pair.b)
               for name in ("TCPSACKReorder", "TCPRenoReorder", "TCPTSReorder"))


def is_steered(tunnel):
    return "no steering by flow" not in tunnel.log()


class Flow:
    """Numbered datagrams from one socket to another."""

    def __init__(self, source, sink, address, port, origin):
        family = lab.family_of(address)
        self.sender, self.receiver = source.socket(family), sink.socket(family)
        self.receiver.setsockopt(socket.SOL_SOCKET, lab.SO_RCVBUFFORCE, 8 << 20)
        self.receiver.bind((address, port))
        self.receiver.setblocking(False)
        self.sender.bind((origin, 0))
        self.sender.connect((address, port))
        self.sent = 0
        self.numbers = []

    def send(self, length):
        self.sender.send(struct.pack("!I", self.sent) + bytes(length))
        self.sent += 1

    def receive(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                self.numbers.append(
                    struct.unpack("!I", self.receiver.recv(4000)[:4])[0])

    def close(self):
        self.sender.close()
        self.receiver.close()


def late(numbers):
    """How many numbers come after a greater one."""
    newest, n = -1, 0
    for number in numbers:
        n += number < newest
        newest = max(newest, number)
    return n


def origins(address):
    """Addresses that flows to this one come from: each has a queue."""
    prefix = "fd09:0:0:1::" if ":" in address else "10.9.1."
    return [f"{prefix}{i + 1}" for i in range(FLOWS)]


def open_pair(l, **options):
    """A pair whose end a has many inner addresses."""
    pair = Pair(l, **options)
    for address in INNER4["b"], INNER6["b"]:
        pair.a.ip(*(f"addr add {origin}/{128 if ':' in origin else 32} dev wga" +
                    (" nodad" if ":" in origin else "")
                    for origin in origins(address)))
    pair.b.ip("route add 10.9.1.0/24 dev wgb",
              "route add fd09:0:0:1::/64 dev wgb")
    pair.tb.set("peer", pair.ta.public, "allowed-ips",
                f"{lab.allowed('a')}, 10.9.1.0/24, fd09:0:0:1::/64")
    return pair


def run_flows(source, sink, address, rounds):
    """Send in many flows at once; return them with what has arrived."""
    flows = [Flow(source, sink, address, 7400 + i, origin)
             for i, origin in enumerate(origins(address))]
    for i in range(rounds):
        for flow in flows:
            # Datagrams of many lengths leave in many trains.
            flow.send((flow.sent * 131 + i) % 1300)
        if i % 8 == 7:
            for flow in flows:
                flow.receive()

    # What has not arrived after a time without arrivals is lost.
    got, since = -1, time.monotonic()
    while time.monotonic() - since < 0.5 * lab.SLOWNESS:
        for flow in flows:
            flow.receive()
        now = sum(len(flow.numbers) for flow in flows)
        if now == sum(flow.sent for flow in flows):
            break
        if now != got:
            got, since = now, time.monotonic()
        time.sleep(0.01)
    for flow in flows:
        flow.close()
    return flows


def check_order(flows, least=0.5, most_late=3):
    """Each flow arrived in order, and at least a part of it arrived.

    If the scheduler moves a thread to another core in the middle of a call, its packets
    may overtake each other in the kernel's queues. So a few may be late."""
    n_late = sum(late(flow.numbers) for flow in flows)
    got, sent = (sum(counts) for counts in zip(
        *((len(flow.numbers), flow.sent) for flow in flows)))
    print(f"# {got} of {sent} datagrams arrived, {n_late} of them late")
    check(got > sent * least, f"only {got} of {sent} datagrams arrived")
    check(n_late <= most_late, f"{n_late} datagrams of {sent} arrived out of order")


@case("four queues: TCP both ways at once, whole and in order")
def streams(l):
    pair = Pair(l, options=QUEUES)
    for tunnel in pair.ta, pair.tb:
        check_equal(queues_of(tunnel), 4, f"queues of {tunnel.name}")
    pair.both_ways(count=1)
    size = 2 << 20 if l.is_slow else 24 << 20
    flows = [lab.Stream(source, sink, to, size, timeout=60, port=7100 + i)
             for i, (source, sink, to) in enumerate((
                 (pair.a, pair.b, INNER4["b"]), (pair.b, pair.a, INNER4["a"]),
                 (pair.a, pair.b, INNER6["b"]), (pair.b, pair.a, INNER6["a"]),
                 (pair.a, pair.b, INNER4["b"]), (pair.b, pair.a, INNER4["a"]),
             ))]
    for flow in flows:
        flow.finish(timeout=90)
    print(f"# TCP has seen {reorderings(pair)} packets out of order")
    check(reorderings(pair) <= 6, f"TCP has seen {reorderings(pair)} packets "
          "out of order")
    pair.both_ways(count=1)


@case("four queues: sixteen flows of datagrams in order, both families")
def order(l):
    pair = open_pair(l, options=QUEUES)
    pair.both_ways(count=1)
    for address in INNER4["b"], INNER6["b"]:
        check_order(run_flows(pair.a, pair.b, address,
                              100 if l.is_slow else 1000))


@case("four queues: datagrams in fragments and whole ones, in order")
def fragments(l):
    pair = Pair(l, options=QUEUES)
    pair.both_ways(count=1)
    for address in INNER4["b"], INNER6["b"]:
        lab.send_datagrams(pair.a, pair.b, address, [20, 2000, 1300, 8000] * 50)


@case("four queues: flows that begin before the session keep their order")
def order_at_start(l):
    pair = open_pair(l, options=QUEUES)
    for _ in range(4):
        # The first 128 packets are kept until there is a session, and each
        # further one pushes one out. With a sanitizer, on a busy machine, packets
        # that were kept have been overtaken: docs/wiregather.md.
        check_order(run_flows(pair.a, pair.b, INNER4["b"], 400), least=0.1,
                    most_late=256 if l.is_slow else 3)
        # A peer that is removed has no session when it comes again.
        pair.ta.set("peer", pair.tb.public, "remove")
        pair.ta.set("peer", pair.tb.public, "endpoint", pair.endpoint("b"),
                    "allowed-ips", lab.allowed("b"))


@case("four queues without steering: each peer's packets by one queue")
def unsteered(l):
    lab.need("setpriv")
    pair = open_pair(l, options=QUEUES, how={
        "wrap": ("setpriv", "--bounding-set", "-bpf,-sys_admin")})
    check_equal(queues_of(pair.ta), 4, "queues")
    print(f"# steered: {is_steered(pair.ta)}, {is_steered(pair.tb)}")
    pair.both_ways(count=1)
    size = 2 << 20 if l.is_slow else 16 << 20
    flows = [lab.Stream(source, sink, to, size, timeout=60, port=7100 + i)
             for i, (source, sink, to) in enumerate((
                 (pair.a, pair.b, INNER4["b"]), (pair.b, pair.a, INNER4["a"]),
                 (pair.a, pair.b, INNER6["b"]), (pair.b, pair.a, INNER6["a"]),
             ))]
    for flow in flows:
        flow.finish(timeout=90)
    check(reorderings(pair) <= 6, f"TCP has seen {reorderings(pair)} packets "
          "out of order")
    check_order(run_flows(pair.a, pair.b, INNER4["b"],
                          100 if l.is_slow else 1000))


@case("four queues: a peer's counters stay near each other on the wire")
def counters(l):
    # Without trains each message is a packet of its own.
    pair = Pair(l, options=(*QUEUES, "--no-gso"))
    pair.both_ways(count=1)
    capture = Capture(pair.b, "eth")
    messages = []
    is_over = threading.Event()

    def collect():
        while not is_over.wait(0.01):
            messages.extend(capture.datagrams(sport=51001))

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    size = 1 << 20 if l.is_slow else 6 << 20
    flows = [lab.Stream(pair.a, pair.b, INNER4["b"], size, timeout=60,
                        port=7100 + i) for i in range(6)]
    for flow in flows:
        flow.finish(timeout=90)
    is_over.set()
    thread.join()
    messages.extend(capture.datagrams(sport=51001))
    newest, worst, lost = {}, 0, 0
    for message in messages:
        if message.kind != 4:
            continue
        session, counter = struct.unpack_from("<IQ", message.payload, 4)
        behind = newest.get(session, 0) - counter
        worst = max(worst, behind)
        lost += behind >= WINDOW
        newest[session] = max(newest.get(session, 0), counter)
    print(f"# {len(messages)} messages, at most {worst} behind")
    check(sum(newest.values()) >= 6 * size // 1420, "too few messages")
    check(worst < APART, f"a message is {worst} behind the newest")
    check_equal(lost, 0, "messages that a window of 1,024 loses")


@case("flows are spread over the queues")
def spread(l):
    lab.need("tc")
    pair = open_pair(l, options=("--queues", "4"))
    pair.both_ways(count=1)
    if not is_steered(pair.ta):
        raise lab.Skip("no program can be loaded into the kernel")
    run_flows(pair.a, pair.b, INNER4["b"], 20)
    text = pair.a.run("tc", "-s", "class", "show", "dev", "wga").stdout
    counts = [int(n) for n in re.findall(r"class mq .*\n Sent \d+ bytes (\d+)",
                                         text)]
    used = [n for n in counts if n >= 20]
    print(f"# packets by queue: {used}")
    check(len(used) >= 3, f"packets by queue: {used}")


@case("one queue is the default here, and nothing of several is there")
def one(l):
    pair = Pair(l)
    if len(os.sched_getaffinity(0)) >= 8:
        raise lab.Skip("there are too many processors")
    check_equal(queues_of(pair.ta), 1, "queues")
    text = pair.a.run("ip", "-d", "link", "show", "wga").stdout
    check("multi_queue" not in text, f"the interface: {text}")


def faked(processors):
    """The environment in which a daemon sees this many processors."""
    return {"LD_PRELOAD": os.environ["PROCESSORS_LIBRARY"], "PROCESSORS": str(processors)}


@case("the default is a quarter of the processors")
def default(l):
    node = l.node("a")
    for options, processors, queues in ((), 7, 1), ((), 8, 2), ((), 64, 8), \
            (("--queues=1",), 64, 1):
        tunnel = l.tunnel(node, "wga").start(*options, **faked(processors))
        what = f"with {processors} processors and {options}"
        check_equal(queues_of(tunnel), queues, f"queues {what}")
        text = node.run("ip", "-d", "link", "show", "wga").stdout
        check_equal("multi_queue" in text, queues > 1, f"the interface {what}: {text}")
        tunnel.stop()


@case("traffic with the queues of sixteen processors")
def sixteen(l):
    pair = Pair(l, how=faked(16))
    check_equal(queues_of(pair.ta), 4, "queues")
    pair.both_ways(count=2)
    for source, sink, address in ((pair.a, pair.b, INNER4["b"]),
                                  (pair.b, pair.a, INNER6["a"])):
        lab.send_stream(source, sink, address, 4 << 20)


@contextlib.contextmanager
def persistent(node, name, flags):
    """A TUN device that outlives its descriptors."""
    with node.inside():
        fd = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack(
            "16sH22x", name.encode(), IFF_TUN | IFF_NO_PI | flags))
        fcntl.ioctl(fd, TUNSETPERSIST, 1)
    try:
        yield fd
    finally:
        node.ip(f"link del {name}", check_status=False)


@case("a device that was made with one queue, and one that is handed over")
def given(l):
    node = l.node("a")
    with persistent(node, "wga", IFF_VNET_HDR) as fd:
        os.close(fd)
        tunnel = l.tunnel(node, "wga").start("--queues", "4")
        check_equal(queues_of(tunnel), 1, "queues")
        check("one queue, not 4" in tunnel.log(), "no line of the log")
        tunnel.stop()
    with persistent(node, "wgb", IFF_VNET_HDR | IFF_MULTI_QUEUE) as fd:
        tunnel = l.tunnel(node, "wgb").start(
            "--queues", "4", pass_fds=(fd,), WG_TUN_FD=str(fd))
        os.close(fd)
        check_equal(queues_of(tunnel), 1, "queues")
        tunnel.stop()
    with persistent(node, "wgc", IFF_VNET_HDR | IFF_MULTI_QUEUE) as fd:
        os.close(fd)
        tunnel = l.tunnel(node, "wgc").start("--queues", "4")
        check_equal(queues_of(tunnel), 4, "queues")
        tunnel.stop()
    # Nobody has asked for several, so nothing is said.
    with persistent(node, "wgd", IFF_VNET_HDR) as fd:
        os.close(fd)
        tunnel = l.tunnel(node, "wgd").start(**faked(16))
        check_equal(queues_of(tunnel), 1, "queues by default")
        check("queue" not in tunnel.log(), f"the log: {tunnel.log()}")
        tunnel.stop()
    with persistent(node, "wge", IFF_VNET_HDR | IFF_MULTI_QUEUE) as fd:
        tunnel = l.tunnel(node, "wge").start(
            pass_fds=(fd,), WG_TUN_FD=str(fd), **faked(16))
        os.close(fd)
        check_equal(queues_of(tunnel), 1, "queues by default")
        check("queue" not in tunnel.log(), f"the log: {tunnel.log()}")
        tunnel.stop()


@case("moved to another namespace: the same queues, and no new device")
def moved(l):
    pair = Pair(l, options=QUEUES)
    pair.both_ways(count=1)
    c = l.node("c")
    with pair.a.inside():
        lab.run("ip", "link", "set", "wga", "netns", "c")
    c.ip(f"addr add {INNER4['a']}/24 dev wga", "link set wga up")
    c.reach(INNER4["b"])
    lab.send_stream(c, pair.b, INNER4["b"], 4 << 20)
    pair.ta.set("listen-port", "51099", check_status=False)
    check_equal(queues_of(pair.ta), 4, "queues")
    check(pair.a.run("ip", "link", "show", "wga",
                     check_status=False).returncode, "there is a new device")


@case("four queues, and the port, the link and the peer change under them")
def changes(l):
    pair = Pair(l, options=QUEUES)
    pair.both_ways(count=1)
    flows = [lab.Stream(pair.a, pair.b, INNER4["b"],
                        1 << 20 if l.is_slow else 16 << 20, timeout=90,
                        port=7100 + i) for i in range(3)]
    for turn in range(6):
        pair.ta.set("listen-port", str(51100 + turn))
        pair.tb.set("fwmark", str(turn))
        pair.a.ip("link set wga down", "link set wga up")
        pair.a.settle("wga")
        pair.tb.set("peer", pair.ta.public, "persistent-keepalive",
                    str(turn + 1))
    for flow in flows:
        flow.finish(timeout=120)
    pair.a.reach(INNER4["b"])
    pair.both_ways(count=1)
    for name in "udp", "udp6":
        text = pair.a.run("cat", f"/proc/net/{name}").stdout
        # Four that receive, and four side sockets.
        check_equal(text.count(f":{51105:04X} "), 8, f"sockets in {name}")


class Star:
    """Node a, whose daemon has several queues, and a node for each peer.

    Each peer has a cable of its own. Those with odd numbers use IPv6. The peer with
    number i belongs to lane i of a."""

    def __init__(self, l):
        self.lab = l
        self.a = l.node("a")
        self.ta = l.tunnel(self.a, "wga", 51001).start(*QUEUES)
        self.ta.configure()
        self.ta.up("10.9.0.1/16")
        self.nodes, self.tunnels, self.lanes = [], [], []
        for i in range(4):
            self.add(i)

    def outer(self, i, end):
        return (f"fd01:{i}::{end}" if i % 2 else f"10.1.{i}.{end}")

    def inner(self, i):
        return f"10.9.1.{i + 1}"

    def endpoint(self, i, end=1):
        return lab.at(self.outer(i, end), 51001)

    def add(self, i):
        node = self.lab.node(f"b{i}")
        length = 64 if i % 2 else 24
        self.lab.link(self.a, node, f"eth{i}", "eth")
        for at, end, device in (self.a, 1, f"eth{i}"), (node, 2, "eth"):
            at.ip(f"addr add {self.outer(i, end)}/{length} dev {device}" +
                  (" nodad" if i % 2 else ""))
            at.settle(device)
        tunnel = self.lab.tunnel(node, f"wgb{i}", 52000 + i).start()
        self.nodes.append(node)
        self.tunnels.append(tunnel)
        self.lanes.append(set())
        for _ in range(100):
            self.pair_up(i)
            if self.lanes[i] == {i}:
                return
            # The lane depends on the key.
            self.ta.set("peer", tunnel.public, "remove")
            tunnel.private = lab.run("wg", "genkey").stdout.strip()
            tunnel.public = lab.run("wg", "pubkey",
                                    stdin=tunnel.private).stdout.strip()
            self.lanes[i].clear()
        raise lab.Failure(f"no key of lane {i} in 100")

    def pair_up(self, i):
        """Configure peer i, and note the lane of its indexes."""
        node, tunnel = self.nodes[i], self.tunnels[i]
        tunnel.configure({"PublicKey": self.ta.public, "AllowedIPs": "10.9.0.1/32",
                          "Endpoint": self.endpoint(i)})
        if "10.9.1" not in node.run("ip", "addr").stdout:
            tunnel.up(f"{self.inner(i)}/16")
        self.ta.set("peer", tunnel.public, "allowed-ips", f"{self.inner(i)}/32")
        self.shake_hands(i)

    def shake_hands(self, i):
        """Have both ends agree on a session; note the lane of a's index."""
        capture = Capture(self.nodes[i], "eth")
        self.nodes[i].reach("10.9.0.1")
        for message in capture.datagrams(sport=51001):
            if message.kind in (1, 2):
                self.lanes[i].add(message.payload[4] % 4)

    def sockets(self):
        """The UDP sockets of a: a list of the bytes that wait in each, by family."""
        found = []
        for name in "udp", "udp6":
            text = self.a.run("cat", f"/proc/net/{name}").stdout
            rows = [line.split() for line in text.splitlines()[1:]]
            found.append([int(row[4].split(":")[1], 16) for row in rows
                          if row[1].endswith(f":{51001:04X}")])
        return found


@case("four sockets: the receiver index decides who gets a datagram")
def by_index(l):
    star = Star(l)
    for rows in star.sockets():
        # Four that receive, and four side sockets.
        check_equal(rows, [0] * 8, "bytes in the sockets")
    lab.pause(star.ta.pid)
    try:
        for i, node in enumerate(star.nodes):
            with node.socket() as sock:
                for _ in range(i + 1):
                    sock.sendto(b"x", ("10.9.0.1", 9))

        def have_come():
            return all(sum(1 for n in rows if n) >= 2 for rows in star.sockets())

        lab.wait_until(have_come, "datagrams wait in two sockets of each family", 5)
        waiting = star.sockets()
    finally:
        os.kill(star.ta.pid, signal.SIGCONT)
    print(f"# bytes that wait: {waiting}")
    for rows in waiting:
        check_equal(sum(1 for n in rows if n), 2, "sockets with datagrams")
    for node in star.nodes:
        node.must_ping("10.9.0.1", count=1)


@case("four sockets: all sessions of a peer belong to one of them")
def one_lane(l):
    star = Star(l)
    for _ in range(3):
        for i, tunnel in enumerate(star.tunnels):
            tunnel.flap()
            tunnel.node.settle(tunnel.name)
            star.shake_hands(i)
    check_equal(star.lanes, [{0}, {1}, {2}, {3}], "lanes of a's indexes")


@case("four sockets: flows keep their order while peers change their port")
def roaming(l):
    star = Star(l)
    flows = [Flow(node, star.a, "10.9.0.1", 7400 + i, star.inner(i))
             for i, node in enumerate(star.nodes)]
    for turn in range(4):
        for i, tunnel in enumerate(star.tunnels):
            tunnel.port = 52100 + 10 * turn + i
            tunnel.set("listen-port", str(tunnel.port))
        for number in range(50 if l.is_slow else 400):
            for flow in flows:
                flow.send((flow.sent * 131 + number) % 1300)
            for flow in flows:
                flow.receive()
        for i, tunnel in enumerate(star.tunnels):
            tunnel.node.must_ping("10.9.0.1", count=1)
            want = lab.at(star.outer(i, 2), tunnel.port)
            lab.wait_until(
                lambda t=tunnel, w=want: star.ta.peer(t).endpoint == w,
                f"a has the endpoint {want}", 5)
    for flow in flows:
        flow.receive()
        flow.close()
    check_order(flows)
    for i, node in enumerate(star.nodes):
        star.a.must_ping(star.inner(i), count=1)
        node.must_ping("10.9.0.1", count=1)


def ask_at(star, i, end):
    """Have peer i use another address of a, and a answer from it.

    A message that was on its way when the address changed moves the endpoint back."""
    tunnel = star.tunnels[i]
    for turn in range(5):
        tunnel.set("peer", star.ta.public, "endpoint", star.endpoint(i, end))
        tunnel.node.must_ping("10.9.0.1", count=1)
        capture = Capture(tunnel.node, "eth")
        tunnel.node.must_ping("10.9.0.1", count=1)
        sources = {p.src for p in capture.datagrams(sport=51001)}
        if sources == {star.outer(i, end)}:
            return
        print(f"# peer {i}, turn {turn}: {sources}, not {star.outer(i, end)}")
    raise lab.Failure(f"peer {i} is not answered from {star.outer(i, end)}")


@case("four sockets: answers leave from the address that was asked")
def sticky(l):
    star = Star(l)
    for i, tunnel in enumerate(star.tunnels):
        second = star.outer(i, 9)
        star.a.ip(f"addr add {second}/{64 if i % 2 else 24} dev eth{i}" +
                  (" nodad" if i % 2 else ""))
        for end in 9, 1, 9:
            ask_at(star, i, end)
            capture = Capture(tunnel.node, "eth")
            tunnel.node.must_ping("10.9.0.1", count=1)
            star.a.must_ping(star.inner(i), count=1)
            lab.send_stream(star.a, tunnel.node, star.inner(i), 1 << 18)
            lab.send_stream(tunnel.node, star.a, "10.9.0.1", 1 << 18)
            sources = {p.src for p in capture.datagrams(sport=51001)}
            check_equal(sources, {star.outer(i, end)}, "source addresses")


@case("two daemons never share a port")
def one_daemon(l):
    node = l.node("a")
    for mine, other in ((), QUEUES), (QUEUES, ()), (QUEUES, QUEUES):
        first = l.tunnel(node, "wga", 51001).start(*mine)
        second = l.tunnel(node, "wgb", 51001).start(*other)
        first.configure()
        first.up("10.9.0.1/24")
        result = second.set("listen-port", "51001", check_status=False)
        check(result.returncode and "in use" in result.stdout,
              f"the second daemon has the port, too: {result.stdout}")
        # The one that has it goes on, also if its link goes down and up.
        second.node.ip("link set wgb up")
        first.flap()
        first.wait_for_port()
        first.set("listen-port", "51002")
        second.set("listen-port", "51001")
        check(second.has_port(51001), "the port is not free for the second")
        first.stop()
        second.stop()


lab.main()
