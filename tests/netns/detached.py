# SPDX-License-Identifier: MIT
"""Daemons that have detached themselves from the process that started them."""
import os
import time

import lab
from lab import check, check_equal


def find_detached():
    """The process id of a daemon that became our child when its parent
    ended."""
    for pid in lab.children_of(os.getpid()):
        with open(f"/proc/{pid}/comm", encoding="ascii") as file:
            if file.read().startswith("wiregather"):
                return pid
    return None


def detach(node, name, env=None, output=None):
    """Start the program detached; return the daemon's process id.

    output: descriptor for both outputs; if None, the program must print
    nothing.
    """
    if output is None:
        done = node.run(node.lab.daemon, name, env=env, timeout=15)
        check_equal(done.stdout, "", "output of the parent")
    else:
        process = node.start(node.lab.daemon, name, env=env, output=output)
        check_equal(process.wait(15), 0, "status of its parent")
    pid = find_detached()
    check(pid, "there is no daemon")
    return pid


def end_detached(pid, timeout=5):
    """Wait for the end of a daemon; return its status."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        got, status = os.waitpid(pid, os.WNOHANG)
        if got:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    raise lab.Failure("the daemon does not end")
