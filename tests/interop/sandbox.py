# SPDX-License-Identifier: MIT
"""Namespaces for the whole test, in which it is process 1: however it ends,
the kernel then ends everything that it started, and its interfaces vanish."""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import tap

MARK = "INTEROP_INSIDE"


def enter(seconds, *needed):
    """Go on in namespaces of our own, or say why not and end the program.

    @seconds: the program ends after this time
    @needed: programs that the test uses
    """
    if os.environ.get(MARK) == "1":
        # Process 1 is only reached by the signals that it asks for.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
            signal.signal(number, give_up)
        signal.alarm(seconds)
        # For files that are to vanish, too.
        subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
        tempfile.tempdir = "/run"
        return
    if os.geteuid() != 0:
        tap.skip_program("needs root, to make network namespaces")
    if not os.path.exists("/dev/net/tun"):
        tap.skip_program("no /dev/net/tun")
    for program in ("unshare", "nsenter", "ip", "wg", "ping", *needed):
        if not shutil.which(program):
            tap.skip_program(f"{program} is not installed: "
                             "see tests/interop/install-deps")
    os.environ[MARK] = "1"
    os.execvp("unshare", [
        "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child",
        "--mount-proc", sys.executable, "-B", *sys.argv])


def give_up(number, _frame):
    """End at once; with process 1 ends everything in its namespace."""
    print(f"Bail out! {signal.Signals(number).name}", flush=True)
    os._exit(1)


def until(condition, seconds, what):
    """Wait until condition() is true and return its value; else raise."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.02)
