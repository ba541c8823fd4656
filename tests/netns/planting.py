# SPDX-License-Identifier: MIT
"""What wiregatherctl says about faults that a test has planted."""
import json
import os
import re

import lab
from lab import check, check_equal

CTL = os.path.abspath(os.environ["CTL"])
# Exit statuses.
FINE, FAILED, USAGE, FAULTY = range(4)
# A key that no tunnel here has.
NOBODY = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="


def title(tunnel):
    """A peer without a name, as it is printed; for a regular expression."""
    return re.escape(tunnel.public[:8] + "...")


def ask(node, *words, status=None, user=()):
    """Run wiregatherctl in a node, and return what it prints."""
    done = node.run(*user, CTL, *words, check_status=False, timeout=60)
    if status is not None:
        check_equal(done.returncode, status,
                    f"status of {' '.join(words)}: {done.stdout}")
    return done.stdout


def cause(node, *words, status=FAULTY):
    """The cause that `why` names."""
    text = ask(node, "why", *words, status=status)
    last = text.splitlines()[-1]
    check(last.startswith("cause: "), f"last line of {text}")
    return last.removeprefix("cause: "), text


def must_name(node, words, pattern):
    """`why` must name a cause that matches as a whole, in one line."""
    found, text = cause(node, *words)
    check(re.fullmatch(pattern, found), f"the cause is not {pattern!r}:\n{text}")
    return text


def must_tell(node, interface, pattern):
    """A line of `status` must match."""
    text = ask(node, "status", interface, status=FINE)
    check(re.search(rf"^  attention: {pattern}$", text, re.MULTILINE),
          f"no line {pattern!r} in:\n{text}")


def diagnosis(node, *words, status=FINE):
    """The answer of `why --json`."""
    return json.loads(ask(node, "why", "--json", *words, status=status))


def await_number(node, interface, key, least, timeout=20):
    """Wait until a number of the device, or of one of its peers, is large enough."""
    def is_reached():
        shown, = json.loads(ask(node, "status", "--json", interface))
        return max(part.get(key, 0) for part in [shown, *shown["peers"]]) >= least

    lab.wait_until(is_reached, f"{key} is {least}", timeout, 0.1)
