# SPDX-License-Identifier: MIT
"""Runs cases in order and prints their results in TAP."""
import sys
import time
import traceback


class Skipped(Exception):
    """Raised by a case that cannot run here; the text is the reason."""


def skip_program(reason):
    """Print that no case can run here, and end the program."""
    print(f"1..0 # SKIP {reason}", flush=True)
    sys.exit(0)


def note(text):
    """Print lines as TAP comments."""
    for line in str(text).rstrip("\n").splitlines():
        print(f"# {line}", flush=True)


def run(cases, world, seconds):
    """Run case(world) for each; after a failure print world.describe().

    Cases that would begin after the given seconds fail without being run.
    Return whether all passed.
    """
    print(f"1..{len(cases)}", flush=True)
    failed = 0
    deadline = time.monotonic() + seconds
    for number, case in enumerate(cases, 1):
        begin = time.monotonic()
        outcome, remark = "ok", ""
        try:
            if begin > deadline:
                raise TimeoutError(f"{seconds} s are over")
            case(world)
        except Skipped as reason:
            remark = f" # SKIP {reason}"
        except Exception:
            outcome = "not ok"
            failed += 1
            note(traceback.format_exc())
            note(world.describe())
        print(f"{outcome} {number} - {case.__name__}{remark}", flush=True)
        note(f"{time.monotonic() - begin:.1f} s")
    return not failed
