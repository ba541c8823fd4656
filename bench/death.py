#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How soon a tunnel works again after the death of its engine, as root.

usage: bench/death.py [--quick] [--csv FILE] [--peers N] BUILD

A daemon has a session with each of 10,000 peers: one is another daemon, the others are
played by bench-responder. Its engine is killed by SIGSEGV. Two times are measured from
then on, both in one round: until `wg show NAME dump` has ended, and until a ping to the
other daemon, sent at once, has its answer. "restored" is the time until the new engine
says that it has the configuration. The responder counts how many initiations come within
a second at most. A round begins when all peers have a session again, but no sooner than
16 s after the last death, because five deaths in a minute end a daemon.
"""
import argparse
import base64
import ipaddress
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "tests", "netns"))
# pylint: disable=wrong-import-position
import lab as laboratory

COLUMNS = ("peers", "rounds", "show_ms", "show_most_ms", "ping_ms", "ping_most_ms",
           "restored_ms", "restored_most_ms", "initiations", "most_in_a_second")
# Seconds between two deaths, and until all peers have a session. Choices.
PAUSE, PATIENCE = 16, 120
# The port of the responder, and the address before its first one.
PORT, BEFORE_FIRST = 51009, ipaddress.ip_address("100.64.0.0")


class Responder:
    """Plays the peers."""

    def __init__(self, build, pair, n):
        self.n = n
        self.program = os.path.join(build, "bench", "bench-responder")
        pair.b.ip("route add local 100.64.0.0/16 dev lo")
        pair.a.ip(f"route add 100.64.0.0/16 via {laboratory.OUTER4['b']}")
        with pair.b.inside():
            self.process = subprocess.Popen(
                [self.program, str(PORT), base64.b64decode(pair.ta.public).hex(), str(n)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                preexec_fn=laboratory.after_fork)

    def keys(self):
        initiator = self.program.replace("responder", "initiator")
        return laboratory.run(initiator, "keys", str(self.n), timeout=120).stdout.split()

    def count(self):
        """Initiations, answers, and the most in a second, since the last call."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return [int(number) for number in self.process.stdout.readline().split(",")]

    def await_all(self):
        """Wait until each peer has answered. Return the initiations, and the most in a
        second."""
        n, answered, most = 0, 0, 0
        end = time.monotonic() + PATIENCE
        while answered < self.n:
            time.sleep(3)
            found = self.count()
            n, answered, most = n + found[0], answered + found[1], max(most, found[2])
            if time.monotonic() > end:
                raise SystemExit(f"bench/death.py: {answered} of {self.n} have answered")
        return n, most


def configure(pair, keys):
    """All peers; persistent keepalives begin the sessions, and end."""
    for keepalive in 65535, 0:
        text = "".join(
            f"public_key={base64.b64decode(key).hex()}\n"
            f"endpoint={BEFORE_FIRST + i}:{PORT}\n"
            f"allowed_ip=10.{64 + (i >> 16)}.{i >> 8 & 255}.{i & 255}/32\n"
            f"persistent_keepalive_interval={keepalive}\n"
            for i, key in enumerate(keys, 1))
        answer = pair.ta.ask(f"set=1\n{text}\n", 60)
        if answer != "errno=0\n\n":
            raise SystemExit(f"bench/death.py: the peers were refused: {answer}")
        if keepalive:
            yield


def timed(found, name, function):
    """Note the milliseconds that a function takes, in a thread."""
    def run():
        begun = time.monotonic()
        function()
        found[name] = (time.monotonic() - begun) * 1000

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def show(pair, n):
    """The socket's other end may be the engine that dies, so a second attempt counts."""
    for _ in range(2):
        lines = pair.ta.get("dump", check_status=False).stdout.splitlines()
        if len(lines) == n + 2:
            return
    raise SystemExit(f"bench/death.py: wg shows {len(lines)} lines")


def ping(pair):
    done = pair.a.run("ping", "-n", "-c", "1", "-W", "10", laboratory.INNER4["b"],
                      check_status=False)
    if " 1 received" not in done.stdout:
        raise SystemExit(f"bench/death.py: {done.stdout}")


def await_restored(file, n):
    """Read the log until it says that the configuration of all peers was restored."""
    text = ""
    while not (said := re.search(r"with (\d+) peers, (\d+) of them with a session", text)):
        text += file.read()
        time.sleep(0.002)
    if said.groups() != (str(n), str(n)):
        raise SystemExit(f"bench/death.py: {said.group()}")


def run_round(pair, responder):
    responder.count()
    found = {}
    with open(pair.ta.process.log.name, encoding="utf-8") as log:
        log.seek(0, os.SEEK_END)
        os.kill(pair.ta.pid, signal.SIGSEGV)
        threads = [timed(found, "ping", lambda: ping(pair)),
                   timed(found, "show", lambda: show(pair, responder.n)),
                   timed(found, "restored", lambda: await_restored(log, responder.n + 1))]
        begun = time.monotonic()
        for thread in threads:
            thread.join()
    found["initiations"], found["most"] = responder.await_all()
    print({name: round(value) for name, value in found.items()}, flush=True)
    time.sleep(max(0, begun + PAUSE - time.monotonic()))
    return found


def measure(build, n_peers, n_rounds):
    lab = laboratory.Lab(f"{build}/wiregather")
    try:
        pair = laboratory.Pair(lab)
        pair.both_ways(count=1)
        responder = Responder(build, pair, n_peers - 1)
        keys = responder.keys()
        for _ in configure(pair, keys):
            print("sessions:", responder.await_all(), flush=True)
        # What has happened is noted when the timers are looked at.
        time.sleep(12)
        rounds = [run_round(pair, responder) for _ in range(n_rounds)]
    finally:
        lab.close()
    values = {"peers": n_peers, "rounds": n_rounds}
    for name in "show", "ping", "restored":
        times = [found[name] for found in rounds]
        values[f"{name}_ms"] = round(statistics.median(times))
        values[f"{name}_most_ms"] = round(max(times))
    values["initiations"] = max(found["initiations"] for found in rounds)
    values["most_in_a_second"] = max(found["most"] for found in rounds)
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
