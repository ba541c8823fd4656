#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""System calls that 64 KiB of a TCP stream cost, both daemons together.

strace counts the calls. It also slows the daemons down, so that packets wait and
batches grow: 6 to 8 calls were seen. On a quick machine each super-packet may
come alone. Then each end makes four calls for it: it waits, reads, writes, and
finds that there is no more. Each end makes four more for the acknowledgement.
These are 16 calls. The bound is above 16, so it does not depend on the speed of
the machine. It is far below the 47 segments that a super-packet is cut into.
"""
import contextlib
import pathlib
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "netns"))

# pylint: disable=wrong-import-position
import lab
from lab import INNER4, INNER6, Pair, Skip, case, check, wait_until

# Bytes of a super-packet.
SUPER = 64 << 10
MEGA = 1 << 20
# The stream: long enough that its start does not matter. A choice.
N_BYTES = 64 * MEGA
# Calls for 64 KiB, both ends together.
BOUND = 20


def parse(path):
    """Parse the output of strace -c. Return {name: calls}."""
    found = {}
    for line in path.read_text(encoding="ascii").splitlines():
        name, _, calls = line.strip().partition(" ")
        if calls.strip().isdigit() and name != "total":
            found[name] = int(calls)
    return found


class Counted:
    """Counts the system calls of processes."""

    def __init__(self, l, *pids):
        lab.need("strace")
        self.path = pathlib.Path(l.directory, "strace")
        words = [word for pid in pids for word in ("-p", str(pid))]
        self.process = subprocess.Popen(
            ["strace", "-f", "-c", "-U", "name,calls", "-o", str(self.path),
             *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True)
        self.pids = pids
        try:
            wait_until(self.is_attached, "strace has attached", 20)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def is_attached(self):
        if self.process.poll() is not None:
            raise Skip(f"strace: {self.process.stderr.read().strip()}")
        return all(f"TracerPid:\t{self.process.pid}\n" in status.read_text(
            encoding="ascii", errors="replace") for pid in self.pids
            for status in pathlib.Path(f"/proc/{pid}/task").glob("*/status"))

    def end(self):
        """Stop counting. Return {name: calls}."""
        self.process.send_signal(signal.SIGINT)
        with contextlib.closing(self.process.stderr):
            self.process.wait(30)
        return parse(self.path)


def count(l, address):
    if l.is_slow:
        raise Skip("a sanitizer makes calls of its own")
    pair = Pair(l)
    # After this stream the sessions, routes and neighbours are known, and the
    # window of TCP is large.
    lab.send_stream(pair.a, pair.b, address, 8 * MEGA)
    counted = Counted(l, pair.ta.pid, pair.tb.pid)
    try:
        lab.send_stream(pair.a, pair.b, address, N_BYTES, timeout=90)
    finally:
        calls = counted.end()
    each = {name: n / (N_BYTES / SUPER) for name, n in calls.items()}
    text = ", ".join(f"{name} {n:.2f}" for name, n in sorted(
        each.items(), key=lambda item: -item[1]) if n >= 0.01)
    total = sum(each.values())
    print(f"# {total:.2f} calls for 64 KiB: {text}")
    check(calls.get("sendmmsg", 0) + calls.get("sendmsg", 0),
          "strace has not seen any message")
    check(total <= BOUND, f"{total:.2f} system calls for 64 KiB, at most "
          f"{BOUND} are allowed: {text}")


@case("system calls for 64 KiB over IPv4 are bounded")
def over_4(l):
    count(l, INNER4["b"])


@case("system calls for 64 KiB over IPv6 are bounded")
def over_6(l):
    count(l, INNER6["b"])


lab.main()
