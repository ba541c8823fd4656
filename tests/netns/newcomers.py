#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How long a new peer waits for its first answer while strangers flood a.

With ATTACK=full in the environment, as `make attack` sets it, each flood runs
at each of RATES, with 20 tries; otherwise there are fewer of both. In both
cases a run without a flood comes first.

A newcomer that must show a cookie waits for 5 s, REKEY_TIMEOUT, and up to
0.333 s of jitter. Therefore there are two limits: FAST, without a cookie, and
SLOW, with one. FAST is asserted only if the machine can keep it: a timer of 1
ms, asked before and after, is never later than MAX_LATENESS.
"""
import os
import re
import time

import lab
from lab import Failure, case, check, check_equal
from siege import INNER, Field, snapshot, stop

FULL = os.environ.get("ATTACK") == "full"
RATES = [int(rate) for rate in
         os.environ.get("ATTACK_RATES", "1200,3000,10000,20000").split(",")]
KINDS = os.environ.get("ATTACK_KINDS", "mac1,response,cookie").split(",")
# From this rate on, the daemon may be under load and ask for a cookie.
LOAD_RATE = 12500
# Seconds. FAST is a choice; SLOW is REKEY_TIMEOUT and jitter, rounded up.
FAST = 0.100
SLOW = 5.5
ENDPOINTS = {"a": "198.51.1.1:51001", "c": "198.51.1.2:51003"}


def first_answer(field, is_outgoing):
    """Remove a and c from each other's peers, add them again, and return the
    seconds until the first ping has its answer.
    """
    pairs = (field.tc, field.ta, "a"), (field.ta, field.tc, "c")
    for tunnel, other, _ in pairs:
        tunnel.set("peer", other.public, "remove")
    for tunnel, other, side in pairs:
        # Only one of them has an endpoint of the other, so only this one can
        # begin.
        knows = (tunnel is field.ta) == is_outgoing
        tunnel.set("peer", other.public, "allowed-ips", f"{INNER[side]}/32",
                   *(("endpoint", ENDPOINTS[side]) if knows else ()))
    node, to = (field.a, "c") if is_outgoing else (field.c, "a")
    _, text = node.ping(INNER[to], count=1, wait=20)
    answer = re.search(r"time=([0-9.]+) ms", text)
    return float(answer.group(1)) / 1000 if answer else float("inf")


def measure(field, kind, rate, n_tries, is_outgoing):
    """The sorted first-answer times of n_tries newcomers beside a flood."""
    flood = rate and field.flood(field.name_of(kind), 1 << 40, rate)
    # Load is decided from the rate of one second: wait for longer.
    time.sleep(1.1 if flood else 0)
    times = sorted(first_answer(field, is_outgoing) for _ in range(n_tries))
    if flood:
        check(flood.poll() is None, "the flood has ended before that")
        stop(flood)
    return times


def judge(name, times, bar):
    """Return a message if more than one time in 20 is above the bar; one late
    time is always allowed."""
    n_late = sum(t > bar for t in times)
    if n_late <= max(1, len(times) // 20):
        return []
    return [f"{name}: {n_late} of {len(times)} later than {bar} s: "
            + ", ".join(f"{t:.3f}" for t in times)]


def run(l, plan):
    """Measure each (kind, rate, tries, is_outgoing) of a plan."""
    field = Field(l, "--workers=1")
    was = snapshot(field.ta, field.tb)
    before = lab.lateness()[-1]
    results = []
    for kind, rate, n_tries, is_outgoing in plan:
        name = f"{kind}, {rate} a second, " + \
            ("a asks" if is_outgoing else "a is asked")
        times = measure(field, kind, rate, n_tries, is_outgoing)
        results.append((name, rate, times))
        print(f"# {name}: median {1000 * times[len(times) // 2]:.1f} ms, "
              f"{sum(t <= FAST for t in times)} of {n_tries} within "
              f"{FAST} s, worst {times[-1]:.3f} s", flush=True)
    late = max(before, lab.lateness()[-1])
    is_quiet = late <= lab.MAX_LATENESS and not l.is_slow
    print(f"# a timer of 1 ms is up to {1000 * late:.1f} ms late: the fast bar "
          f"is {'asserted' if is_quiet else 'not asserted'}", flush=True)
    check_equal(snapshot(field.ta, field.tb)[0], was[0], "b's endpoint")
    field.b.must_ping(INNER["a"], count=1)
    failures = []
    for name, rate, times in results:
        is_fast = is_quiet and rate < LOAD_RATE
        failures += judge(name, times, FAST if is_fast else SLOW)
    if failures:
        raise Failure("\n".join(failures))


@case("newcomers, and peers that a asks, beside floods of all kinds")
def newcomers(l):
    if FULL:
        run(l, [("none", 0, 20, out) for out in (False, True)] +
            [(kind, rate, 20, out) for kind in KINDS for rate in RATES
             for out in (False, True)])
        return
    run(l, [("none", 0, 5, False), ("mac1", 3000, 5, False),
            ("mac1", 3000, 5, True), ("response", 3000, 5, False),
            ("cookie", 3000, 5, False), ("cookie", 3000, 5, True)])


lab.main()
