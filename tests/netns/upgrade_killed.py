#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""One of the two engines of an upgrade is killed at each of its steps. Whoever goes on,
no counter is sent twice, no packet comes twice, and the tunnel passes packets again."""
import ctypes
import os
import signal
import threading

import lab
import upgrading
from lab import INNER4, Capture, Pair, case, check, check_equal, wait_until

# LeakSanitizer cannot look at a process that is traced, and an engine ends while it is.
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"

# linux/ptrace.h, and sys/wait.h.
PTRACE_SYSCALL, PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 24, 0x4206, 0x4207, 17
PTRACE_O_TRACESYSGOOD = 1
WALL = 0x40000000
# A stop at the begin or the end of a system call.
SYSCALL_STOP = signal.SIGTRAP | 0x80
# So many stops of each engine are tried, or all (upgrade_killed_long.py).
STEPS = 8


def ptrace(request, pid, data=0):
    lab.libc.ptrace.restype = ctypes.c_long
    lab.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p,
                                ctypes.c_void_p]
    if lab.libc.ptrace(request, pid, None, data) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace({request})")


class Killer(threading.Thread):
    """Counts the stops of a process's first thread at system calls, and kills the process
    at one of them. All requests of ptrace(2) come from one thread."""

    def __init__(self, find, at):
        super().__init__()
        self.find, self.at = find, at
        self.count, self.has_killed, self.error = 0, False, None
        self.is_attached = threading.Event()
        self.is_over = threading.Event()

    def run(self):
        try:
            self.trace()
        except OSError as err:
            self.error = err
        finally:
            self.is_attached.set()

    def trace(self):
        pid = None
        while pid is None:
            if self.is_over.is_set():
                return
            pid = self.find()
        ptrace(PTRACE_SEIZE, pid, PTRACE_O_TRACESYSGOOD)
        ptrace(PTRACE_INTERRUPT, pid)
        while True:
            _, status = os.waitpid(pid, WALL)
            self.is_attached.set()
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                return
            if os.WSTOPSIG(status) == SYSCALL_STOP:
                self.count += 1
                if self.count == self.at:
                    self.has_killed = True
                    os.kill(pid, signal.SIGKILL)
                    continue
            if self.is_over.is_set():
                ptrace(PTRACE_DETACH, pid)
                return
            number = os.WSTOPSIG(status)
            is_own = status >> 16 or number in (SYSCALL_STOP, signal.SIGTRAP)
            ptrace(PTRACE_SYSCALL, pid, 0 if is_own else number)


def successor_of(tunnel, before):
    """The engine that is not the one from before; None: there is none yet."""
    for pid in lab.descendants_of(tunnel.keeper):
        if pid != before and lab.command_of(pid) == lab.command_of(before):
            return pid
    return None


def try_upgrade(l, which, at):
    """Upgrade once, and kill an engine at a stop. Return the number of stops, and whether
    it was killed."""
    pair = Pair(l, options=("--no-gso", "--no-gro"))
    pair.a.must_ping(INNER4["b"], count=1)
    capture = Capture(pair.b, "eth")
    before, keeper = pair.ta.pid, pair.ta.keeper
    ping = pair.a.start("ping", "-n", "-i", "0.01", "-w", "60", INNER4["b"])
    find = (lambda: before) if which == "predecessor" else \
        (lambda: successor_of(pair.ta, before))
    killer = Killer(find, at)
    killer.start()
    if which == "predecessor":
        killer.is_attached.wait(10)
    done = pair.a.run(upgrading.CTL, "upgrade", pair.ta.name, check_status=False)
    killer.is_over.set()
    killer.join(30)
    check(not killer.is_alive(), "the tracer does not end")
    if killer.error:
        raise killer.error
    text = f"{which} killed at stop {at} of its system calls: {done.stdout}"
    wait_until(lambda: pair.ta.get(check_status=False).returncode == 0,
               f"{text}: answers", 20)
    check_equal(pair.ta.keeper, keeper, f"{text}: keeper")
    pair.a.must_ping(INNER4["b"], count=2, wait=20)
    ping.send_signal(signal.SIGINT)
    ping.wait()
    with open(ping.log.name, encoding="utf-8") as file:
        check("DUP!" not in file.read(), f"{text}: an answer came twice")
    seen, twice = upgrading.see_counters(capture)
    check(len(seen) > 3, f"{text}: {len(seen)} messages were seen")
    check_equal(twice, set(), f"{text}: receivers and counters that were seen twice")
    check_equal(len(pair.ta.peers()), 1, f"{text}: peers")
    check("Bad system call" not in pair.ta.log(), f"{text}: forbidden by the filter")
    if not killer.has_killed and done.returncode:
        # The tracer makes an engine slow, so the other one may not wait for it.
        check("cannot take the tunnel" in done.stdout or "late" in done.stdout, text)
    pair.close()
    return killer.count, killer.has_killed


def kill_at_all(l, which, is_late):
    upgrading.need_processes()
    total, has_killed = try_upgrade(l, which, 1 << 30)
    check(not has_killed and total > 20, f"the {which} makes {total // 2} system calls")
    # What comes before the exchange with the other engine is less interesting.
    first = max(total - 400, 1) if is_late else 1
    stride = max((total - first) // STEPS, 1)
    n = 0
    for at in range(first, total + 1, stride):
        _, has_killed = try_upgrade(l, which, at)
        n += has_killed
    print(f"# {total} stops of the {which}, killed at {n} of them")
    check(n >= (total - first) // stride // 2, f"only {n} of {total} were killed")


@case("the predecessor is killed at its system calls")
def predecessor(l):
    kill_at_all(l, "predecessor", False)


@case("the successor is killed at its system calls")
def successor(l):
    kill_at_all(l, "successor", True)


if __name__ == "__main__":
    lab.main()
