# SPDX-License-Identifier: MIT
"""Engines that are killed, for death.py and the programs beside it."""
import os
import signal

import lab
from lab import Skip, check, wait_until

# A sanitizer takes a SIGSEGV for a fault, reports it, and ends the process by exit(3).
# These programs send it themselves.
for options in "ASAN_OPTIONS", "TSAN_OPTIONS":
    os.environ[options] = os.environ.get(options, "") + ":handle_segv=0:handle_abort=0"

# How many engines of a daemon may die within a minute: one more, and it ends.
DEATHS = 4


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
