#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How soon a tunnel works again after the death of its engine, as root.

usage: bench/death.py [--quick] [--csv FILE] [--peers N] BUILD

A daemon has a session with each of 10,000 peers, and its engine is killed by SIGSEGV:
see tests/netns/crowd.py for what is measured. The responder counts how many peers get
their first initiation within a second at most, and its cookie replies; "asked" are cookie
replies of the two daemons. A round begins when all peers have a session again, but no
sooner than 16 s after the last death, because five deaths in a minute end a daemon.
"""
import argparse
import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "tests", "netns"))
# pylint: disable=wrong-import-position
# crowd.py needs a module that is made for tests, which get this path from the environment.
os.environ.setdefault("CTL", "wiregatherctl")
import crowd
import lab as laboratory

COLUMNS = ("peers", "rounds", "show_ms", "show_most_ms", "ping_ms", "ping_most_ms",
           "restored_ms", "restored_most_ms", "initiations", "most_in_a_second",
           "cookies", "asked")


def measure(build, n_peers, n_rounds):
    lab = laboratory.Lab(f"{build}/wiregather")
    try:
        pair, responder, _ = crowd.begin(lab, build, n_peers)
        rounds = [crowd.run_round(pair, responder) for _ in range(n_rounds)]
    except laboratory.Failure as failure:
        raise SystemExit(f"bench/death.py: {failure}") from None
    finally:
        lab.close()
    values = {"peers": n_peers, "rounds": n_rounds}
    for name in "show", "ping", "restored":
        times = [found[name] * 1000 for found in rounds]
        values[f"{name}_ms"] = round(statistics.median(times))
        values[f"{name}_most_ms"] = round(max(times))
    values["initiations"] = max(found["initiations"] for found in rounds)
    values["most_in_a_second"] = max(found["most"] for found in rounds)
    for name in "cookies", "asked":
        values[name] = sum(found[name] for found in rounds)
    return values


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--csv")
    parser.add_argument("--peers", type=int, default=10000)
    parser.add_argument("build")
    args = parser.parse_args()
    laboratory.isolate()
    values = measure(os.path.abspath(args.build), args.peers, 2 if args.quick else 10)
    text = ",".join(COLUMNS) + "\n" + \
        ",".join(str(values[name]) for name in COLUMNS) + "\n"
    print(text, end="")
    if args.csv:
        with open(args.csv, "w", encoding="ascii") as file:
            file.write(text)


if __name__ == "__main__":
    main()
