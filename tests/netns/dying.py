# SPDX-License-Identifier: MIT
"""Engines that are killed, for death.py and the programs beside it."""
import contextlib
import os
import signal

import lab
from lab import MAX_LATENESS, Skip, check, lateness, wait_until

# A sanitizer takes a SIGSEGV for a fault, reports it, and ends the process by exit(3).
# These programs send it themselves.
for options in "ASAN_OPTIONS", "TSAN_OPTIONS":
    os.environ[options] = os.environ.get(options, "") + ":handle_segv=0:handle_abort=0"

# How many engines of a daemon may die within a minute: one more, and it ends.
DEATHS = 4
# The machine counts as busy if other processes take more than this share of its time. A
# choice.
OTHERS_MAX = 0.05


def kept(part):
    """Skip the case if the daemon is one process; else return the argument."""
    if "WG_COVERAGE" in os.environ:
        raise Skip("a build that counts what is run is one process")
    return part


def await_another(tunnel, before):
    """Wait until another engine answers in the place of that one."""
    wait_until(lambda: tunnel.pid not in (before, tunnel.keeper, tunnel.process.pid),
               f"{tunnel.name} has another engine", 20)
    wait_until(lambda: tunnel.get(check_status=False).returncode == 0,
               f"{tunnel.name} answers", 20)


def die(tunnel, number=signal.SIGSEGV):
    """Kill the engine, and wait until another one answers."""
    before = tunnel.pid
    check(before != tunnel.keeper, "there is no engine")
    os.kill(before, number)
    await_another(tunnel, before)


def starter_of(tunnel):
    """The process that starts engines."""
    return next(pid for pid in lab.descendants_of(tunnel.process.pid)
                if lab.command_of(pid) == "wg-starter")


class Others:
    """The share of the machine's processor time that other processes take. The time of
    soft interrupts, in which packets of this test move, counts for nobody."""

    def __init__(self):
        self.begin = self.read()

    @staticmethod
    def read():
        """All time, that of all processes, and that of this test, in ticks."""
        with open("/proc/stat", encoding="ascii") as file:
            user, nice, system, idle, wait, irq, soft, steal = map(
                int, file.readline().split()[1:9])
        own = 0
        for pid in (os.getpid(), *lab.descendants_of(os.getpid())):
            with contextlib.suppress(OSError), \
                    open(f"/proc/{pid}/stat", encoding="ascii") as file:
                # With the children that have ended.
                own += sum(map(int, file.read().rsplit(")", 1)[1].split()[11:15]))
        processes = user + nice + system + steal
        return processes + idle + wait + irq + soft, processes, own

    def share(self):
        total, processes, own = (b - a for a, b in zip(self.begin, self.read()))
        return max(0, processes - own) / max(1, total)

    def are_many(self):
        """Is the machine busy with others? To be called while the test does nothing."""
        share, late = self.share(), lateness()[-1]
        print(f"# other processes: {100 * share:.0f} %; a timer of 1 ms is up to "
              f"{1e3 * late:.1f} ms late", flush=True)
        return share > OTHERS_MAX or late > MAX_LATENESS
