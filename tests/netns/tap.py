# SPDX-License-Identifier: MIT
"""Test cases, checks, and their output in the Test Anything Protocol.
"""
import os
import signal
import sys
import time
import traceback


# Factor of the time limits, for emulated machines.
SLOWNESS = float(os.environ.get("LAB_SLOW", 1))


class Failure(Exception):
    """A check of the case has failed."""


class Skip(Exception):
    """The case cannot run here; the text says why."""


def check(is_so, what):
    """Fail with a text unless is_so is true."""
    if not is_so:
        raise Failure(what)


def check_equal(got, wanted, what):
    check(got == wanted, f"{what}: got {got!r}, wanted {wanted!r}")


def wait_until(predicate, what, timeout=5.0, step=0.02):
    """Wait until predicate() is true, and return what it has returned."""
    timeout *= SLOWNESS
    end = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"after {timeout} s still not: {what}")
        time.sleep(step)


# The machine counts as busy if timers of 1 ms are later than this, in seconds.
MAX_LATENESS = 0.005


def lateness(number=200):
    """The delays of `number` timers of 1 ms, in seconds, sorted."""
    found = []
    for _ in range(number):
        start = time.monotonic()
        time.sleep(0.001)
        found.append(time.monotonic() - start - 0.001)
    return sorted(found)


def busy_share(seconds=0.3):
    """The share of the machine's processor time that is in use, 0 to 1. Call it
    while the test itself does nothing."""
    def read():
        with open("/proc/stat", encoding="ascii") as file:
            times = [int(n) for n in file.readline().split()[1:9]]
        return sum(times), times[3] + times[4]  # all; idle and waiting for I/O

    all_before, idle_before = read()
    time.sleep(seconds)
    all_after, idle_after = read()
    passed = all_after - all_before
    return 1 - (idle_after - idle_before) / passed if passed else 1.0


def check_quick(lab, took, fast, slow, what):
    """Check that `took` is at most `fast` seconds, or `slow` on a busy
    machine."""
    late = lateness()[-1]
    bar = fast if late <= MAX_LATENESS and not lab.is_slow else slow * SLOWNESS
    print(f"# {what}: {took:.3f} s; a timer of 1 ms is up to "
          f"{1000 * late:.1f} ms late: the bar is {bar} s", flush=True)
    check(took <= bar, f"{what}: {took:.3f} s")


cases = []


def case(name):
    """Register a function, which takes a Lab, as a case."""
    def note(function):
        cases.append((name, function))
        return function
    return note


def say(prefix, lines):
    for line in lines:
        print(prefix + line.replace("\n", "\n" + prefix))


def run_case(function, make_lab):
    """Run a case; returns (is_ok, reason to skip, lines to print)."""
    lab = make_lab()
    lines, reason = [], None
    try:
        function(lab)
    except Skip as skip:
        reason = str(skip)
    except Failure as failure:
        lines.append(str(failure))
    except Exception:  # pylint: disable=broad-except
        lines += traceback.format_exc().splitlines()
    finally:
        try:
            if not reason:
                lines += lab.end_tunnels()
                if lines:
                    lines += lab.logs()
        finally:
            lab.close()
    return not lines, reason, lines


def interrupt(_number, _frame):
    """End with all cleanup, which further signals do not interrupt."""
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def run_all(make_lab, reason, word=""):
    """Run the cases whose name has a word in it, and leave.

    reason: why no case can run here; None if they can.
    """
    if reason:
        print(f"1..0 # SKIP {reason}")
        return
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, interrupt)
    wanted = [c for c in cases if word in c[0]]
    print(f"1..{len(wanted)}", flush=True)
    failed = 0
    for number, (name, function) in enumerate(wanted, 1):
        start = time.monotonic()
        is_ok, why, lines = run_case(function, make_lab)
        say("# ", lines)
        failed += not is_ok
        print(f"{'ok' if is_ok else 'not ok'} {number} - {name}"
              f"{' # SKIP ' + why if why else ''}")
        print(f"# {time.monotonic() - start:.1f} s", flush=True)
    sys.exit(1 if failed else 0)
