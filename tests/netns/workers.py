#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Several threads that move packets: nothing is lost, changed or out of order."""
import os
import re
import socket
import struct

import lab
from lab import INNER4, INNER6, Pair, case, check, check_equal

# All helpers run all the time, even if there is little to do.
EAGER = "--workers", "4", "--eager"


def reorderings(pair):
    """The number of reorderings that TCP has seen at both ends."""
    return sum(node.tcp_counters()[name] for node in (pair.a, pair.b)
               for name in ("TCPSACKReorder", "TCPRenoReorder", "TCPTSReorder"))


def threads_of(tunnel):
    """The name and the CPU time in ticks of each thread of a daemon."""
    found = []
    for task in os.listdir(f"/proc/{tunnel.pid}/task"):
        with open(f"/proc/{tunnel.pid}/task/{task}/stat",
                  encoding="ascii") as file:
            name, rest = re.search(r"\((.*)\) (.*)", file.read()).groups()
        fields = rest.split()
        found.append((name, int(fields[11]) + int(fields[12])))
    return sorted(found)


def helpers_of(tunnel):
    return [ticks for name, ticks in threads_of(tunnel) if name == "helper"]


@case("four workers: TCP both ways at once, whole and in order")
def streams(l):
    pair = Pair(l, options=EAGER)
    pair.both_ways(count=1)
    size = 4 << 20 if l.is_slow else 48 << 20
    flows = [lab.Stream(source, sink, to, size, timeout=60, port=7100 + i)
             for i, (source, sink, to) in enumerate((
                 (pair.a, pair.b, INNER4["b"]), (pair.b, pair.a, INNER4["a"]),
                 (pair.a, pair.b, INNER6["b"]), (pair.b, pair.a, INNER6["a"]),
             ))]
    for flow in flows:
        flow.finish(timeout=90)
    # If the scheduler moves a thread to another core in the middle of a call,
    # its packets may overtake each other in the kernel's queues. Without the
    # workers' ordering there would be thousands of reorderings.
    check(reorderings(pair) <= 3, f"TCP has seen {reorderings(pair)} packets "
          "out of order")
    for tunnel in pair.ta, pair.tb:
        check_equal(len(helpers_of(tunnel)), 3, "helpers")
        lab.wait_until(lambda t=tunnel: all(helpers_of(t)),
                       f"all helpers of {tunnel.name} run", 30)
    pair.both_ways(count=1)


@case("four workers: datagrams of both families arrive in order")
def order(l):
    pair = Pair(l, options=EAGER)
    for side in 4, 6:
        address = (INNER4 if side == 4 else INNER6)["b"]
        family = lab.family_of(address)
        sender, receiver = pair.a.socket(family), pair.b.socket(family)
        receiver.setsockopt(socket.SOL_SOCKET, lab.SO_RCVBUFFORCE, 8 << 20)
        receiver.bind((address, 7200))
        sender.connect((address, 7200))
        total = 4000 if l.is_slow else 40000
        # Datagrams of many lengths leave in many trains.
        padding = lab.noise(1300)
        for first in range(0, total, 100):
            for i in range(first, first + 100):
                sender.send(struct.pack("!I", i) + padding[:i * 131 % 1300])
            got = [receiver.recv(2000) for _ in range(100)]
            check_equal([struct.unpack("!I", data[:4])[0] for data in got],
                        list(range(first, first + 100)), "order")
            check(all(data[4:] == padding[:i * 131 % 1300]
                      for i, data in enumerate(got, first)), "what arrived")


@case("four workers, and the port, the link and the peer change under them")
def changes(l):
    pair = Pair(l, options=EAGER)
    pair.both_ways(count=1)
    flow = lab.Stream(pair.a, pair.b, INNER4["b"],
                      2 << 20 if l.is_slow else 48 << 20, timeout=90)
    for turn in range(6):
        pair.ta.set("listen-port", str(51100 + turn))
        pair.tb.set("fwmark", str(turn))
        pair.a.ip("link set wga down", "link set wga up")
        pair.a.settle("wga")
        pair.tb.set("peer", pair.ta.public, "persistent-keepalive",
                    str(turn + 1))
    flow.finish(timeout=120)
    pair.a.reach(INNER4["b"])
    pair.both_ways(count=1)


@case("helpers sleep while one worker is enough")
def quiet(l):
    pair = Pair(l, options=("--workers", "4"))
    pair.both_ways(count=2)
    check_equal(len(helpers_of(pair.ta)), 3, "helpers")
    before = helpers_of(pair.ta)
    for _ in range(20):
        pair.a.must_ping(INNER4["b"], count=1)
    check_equal(helpers_of(pair.ta), before, "processor time of the helpers")


@case("one worker has no helpers, and carries all")
def one(l):
    pair = Pair(l, options=("--workers", "1"))
    lab.send_stream(pair.a, pair.b, INNER4["b"], 8 << 20)
    check_equal(helpers_of(pair.ta), [], "helpers")
    # The sockets of both families are served.
    pair.both_ways(count=1)


lab.main()
