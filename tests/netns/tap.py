# SPDX-License-Identifier: MIT
"""Cases, what they fail by, and what they print (the Test Anything Protocol).
"""
import os
import signal
import sys
import time
import traceback


# How many times longer than usual things may take, as in an emulated machine.
SLOWNESS = float(os.environ.get("LAB_SLOW", 1))


class Failure(Exception):
    """What was to be proven is not so."""


class Skip(Exception):
    """The case cannot run here; the text says why."""


def check(is_so, what):
    """Fail with a text unless something is so."""
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


# A machine with timers of 1 ms that are later than this is busy.
MAX_LATENESS = 0.005


def lateness(number=200):
    """How late that many timers of 1 ms are, in seconds, sorted."""
    found = []
    for _ in range(number):
        start = time.monotonic()
        time.sleep(0.001)
        found.append(time.monotonic() - start - 0.001)
    return sorted(found)


def check_quick(lab, took, fast, slow, what):
    """It took at most `fast` seconds; on a machine that is busy, `slow`."""
    late = lateness()[-1]
    bar = fast if late <= MAX_LATENESS and not lab.is_slow else slow * SLOWNESS
    print(f"# {what}: {took:.3f} s; a timer of 1 ms is up to "
          f"{1000 * late:.1f} ms late: the bar is {bar} s", flush=True)
    check(took <= bar, f"{what}: {took:.3f} s")


cases = []


def case(name):
    """Note a function of a Lab as a case."""
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
    """End in good order; what else comes does not disturb that."""
    for number in signal.SIGINT, signal.SIGTERM:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def run_all(make_lab, reason, word=""):
    """Run the cases whose name has a word in it, and leave.

    reason: why nothing can run here; None if it can.
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
