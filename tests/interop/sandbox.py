# SPDX-License-Identifier: MIT
"""Namespaces for the whole test. The test is process 1 in them. When process 1
ends, for whatever reason, the kernel ends all processes that it started and
removes its interfaces."""
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
    """Enter new namespaces. If that fails, print the reason and end the program.

    @seconds: the program ends after this time
    @needed: programs that the test uses
    """
    if os.environ.get(MARK) == "1":
        # Process 1 gets only the signals that it has a handler for.
        signal.signal(signal.SIGALRM, give_up)
        signal.alarm(seconds)
        # Files in /run vanish with the namespaces, too.
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
    # unshare ignores requests to stop, so another process must take them.
    child = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *UNSHARE,
         sys.executable, "-B", *sys.argv],
        env={**os.environ, MARK: "1"})
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: child.kill())
    sys.exit(1 if child.wait() else 0)


def give_up(_number, _frame):
    """End at once. The kernel then ends all processes of the namespace."""
    print("Bail out! out of time", flush=True)
    os._exit(1)


def until(condition, seconds, what):
    """Wait until condition() is true and return its value. Raise an error if the
    time is over before."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s: {what}")
        time.sleep(0.02)
