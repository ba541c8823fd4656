#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An idle daemon whose events are followed makes no system call.

A thread that sleeps in the kernel makes no call before it has run, and each time that it
runs and sleeps again the kernel counts a switch of context. So the counts of all
threads stay as they are.

Sessions of less than 540 s have timers, and so have keepalives. The daemons here have
peers without a session.
"""
import os
import re
import socket
import time

import lab
from lab import Pair, case, check, check_equal

# Seconds in which no thread may run.
REST_S = 60
# A daemon has come to rest if no thread has run for so many seconds. It is looked at so
# often. Choices.
SETTLE_S = 3
TRIES = 10


def switches(pid):
    """The number of switches of each thread, by its id and name."""
    found = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as file:
            text = file.read()
        name = re.search(r"Name:\s+(.*)", text).group(1)
        found[task, name] = sum(
            int(n) for n in re.findall(r"ctxt_switches:\s+(\d+)", text))
    return found


def settle(pids):
    """Wait until no thread has run for a while."""
    for _ in range(TRIES):
        before = {pid: switches(pid) for pid in pids}
        time.sleep(SETTLE_S)
        if before == {pid: switches(pid) for pid in pids}:
            return
    raise lab.Failure(f"the daemons do not come to rest: {before}, "
                      f"{ {pid: switches(pid) for pid in pids} }")


@case("no thread of an idle daemon runs for a minute, with and without a reader")
def idle(l):
    pair = Pair(l)
    reader = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    l.stack.callback(reader.close)
    reader.settimeout(20 * lab.SLOWNESS)
    reader.connect(pair.ta.socket.replace(".sock", ".stats"))
    reader.sendall(b"get=events\n\n")
    # The daemon has begun the answer if an event comes.
    text = b""
    number = 0
    while b"event=peer-changed " not in text:
        number += 1
        check(number < 100, f"no event in {text}")
        pair.ta.set("peer", pair.tb.public, "allowed-ips", f"10.9.0.2/32,10.9.1.{number}/32")
        reader.settimeout(0.5 * lab.SLOWNESS)
        try:
            text += reader.recv(1 << 16)
        except TimeoutError:
            continue
    pids = [pair.ta.pid, pair.tb.pid]
    settle(pids)
    before = {pid: switches(pid) for pid in pids}
    time.sleep(REST_S)
    for pid in pids:
        after = switches(pid)
        ran = {name: after.get(name, 0) - count for name, count in before[pid].items()
               if after.get(name) != count}
        check_equal(ran, {}, f"threads that ran within {REST_S} s, and how often")
    # The reader is still served.
    pair.ta.set("peer", pair.tb.public, "allowed-ips", "10.9.0.2/32")
    reader.settimeout(20 * lab.SLOWNESS)
    check(b"event=" in reader.recv(1 << 16), "no event after the rest")


lab.main()
