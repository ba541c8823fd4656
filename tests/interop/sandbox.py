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
UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child",
           "--mount-proc")


def enter(seconds, *needed):
    """Go on in namespaces of our own, or say why not and end the program.

    @seconds: the program ends after this time
    @needed: programs that the test uses
    """
    if os.environ.get(MARK) == "1":
        # Process 1 is only reached by the signals that it asks for.
        signal.signal(signal.SIGALRM, give_up)
        signal.alarm(seconds)
        # For files that are to vanish, too.
        subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
        tempfile.tempdir = "/run"
        return
    if os.geteuid() != 0:
        tap.skip_program("needs root, to make network namespaces")
    for program in ("unshare", "nsenter", "ip", "wg", "ping", *needed):
        if not shutil.which(program):
            tap.skip_program(f"{program} is not installed: "
                             "see tests/interop/install-deps")
    probe = subprocess.run(
        [*UNSHARE, "ip", "tuntap", "add", "probe", "mode", "tun"],
        stderr=subprocess.DEVNULL)
    if probe.returncode:
        tap.skip_program("no namespaces or no interfaces in them")
    # unshare ignores requests to stop, so somebody else must take them.
    child = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *UNSHARE,
         sys.executable, "-B", *sys.argv],
        env={**os.environ, MARK: "1"})
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: child.kill())
    sys.exit(1 if child.wait() else 0)


def give_up(_number, _frame):
    """End at once; with process 1 ends everything in its namespace."""
    print("Bail out! out of time", flush=True)
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
