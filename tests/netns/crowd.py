# SPDX-License-Identifier: MIT
"""A daemon with sessions of many peers, whose engine dies, for death_many.py and
bench/death.py.

One peer is another daemon, the others are played by bench-responder. Two times are
measured from a death on, both in one round: until `wg show NAME dump` has ended, and until
a ping to the other daemon, sent at once, has its answer. "restored" is the time until the
new engine says that it has the configuration.
"""
import base64
import ipaddress
import os
import re
import signal
import subprocess
import threading
import time

import lab
import upgrading
from lab import INNER4, OUTER4, Failure, Pair, check, check_equal

# Seconds between two deaths, and until all peers have a session. Choices: five deaths in a
# minute end a daemon.
PAUSE, PATIENCE = 16, 120
# The port of the responder, and the address before its first one.
PORT, BEFORE_FIRST = 51009, ipaddress.ip_address("100.64.0.0")


class Responder:
    """Plays the peers."""

    def __init__(self, build, pair, n):
        self.n = n
        self.program = os.path.join(build, "bench", "bench-responder")
        pair.b.ip("route add local 100.64.0.0/16 dev lo")
        pair.a.ip(f"route add 100.64.0.0/16 via {OUTER4['b']}")
        with pair.b.inside():
            self.process = subprocess.Popen(
                [self.program, str(PORT), base64.b64decode(pair.ta.public).hex(), str(n)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                preexec_fn=lab.after_fork)
        pair.lab.stack.callback(self.close)

    def close(self):
        self.process.kill()
        self.process.communicate()

    def keys(self):
        initiator = self.program.replace("responder", "initiator")
        return lab.run(initiator, "keys", str(self.n), timeout=120).stdout.split()

    def count(self, begins=False):
        """Since the last call that has begun a count: initiations, peers that got one,
        peers that have answered, the most peers that got their first one within a second,
        and cookie replies."""
        self.process.stdin.write("begin\n" if begins else "\n")
        self.process.stdin.flush()
        return [int(number) for number in self.process.stdout.readline().split(",")]

    def delay(self):
        """How long it has waited for a processor so far, in seconds."""
        with open(f"/proc/{self.process.pid}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[1]) / 1e9

    def await_all(self):
        """Wait until each peer has answered. Return the initiations, the most peers that
        got their first one within a second, and the cookie replies."""
        end = time.monotonic() + PATIENCE * lab.SLOWNESS
        while True:
            time.sleep(3)
            n, _, answered, most, cookies = self.count()
            if answered == self.n:
                return n, most, cookies
            check(time.monotonic() < end, f"{answered} of {self.n} have answered")


def configure(pair, keys):
    """All peers; persistent keepalives begin the sessions, and end."""
    for keepalive in 65535, 0:
        text = "".join(
            f"public_key={base64.b64decode(key).hex()}\n"
            f"endpoint={BEFORE_FIRST + i}:{PORT}\n"
            f"allowed_ip=10.{64 + (i >> 16)}.{i >> 8 & 255}.{i & 255}/32\n"
            f"persistent_keepalive_interval={keepalive}\n"
            for i, key in enumerate(keys, 1))
        check_equal(pair.ta.ask(f"set=1\n{text}\n", 60), "errno=0\n\n", "reply")
        if keepalive:
            yield


def begin(laboratory, build, n_peers):
    """Have a daemon with sessions of many peers, which it begins all at once. Return the
    pair, the responder, and how many cookie replies that took."""
    pair = Pair(laboratory)
    pair.both_ways(count=1)
    responder = Responder(build, pair, n_peers - 1)
    cookies = 0
    for _ in configure(pair, responder.keys()):
        n, most, cookies = responder.await_all()
        print(f"# all at once: {n} handshakes were begun, at most {most} in a second; "
              f"{cookies} cookie replies", flush=True)
    # What has happened is noted when the timers are looked at.
    time.sleep(12)
    return pair, responder, cookies


class Timed(threading.Thread):
    """Notes the seconds that a function takes, in a thread."""

    def __init__(self, found, name, function):
        super().__init__(daemon=True)
        self.found, self.key, self.function = found, name, function
        self.failure = None
        self.start()

    def run(self):
        begun = time.monotonic()
        try:
            self.function()
        except Failure as failure:
            self.failure = failure
        self.found[self.key] = time.monotonic() - begun

    def finish(self):
        self.join()
        if self.failure:
            raise self.failure


def show(pair, n):
    """The socket's other end may be the engine that dies, so a second attempt counts."""
    for _ in range(2):
        lines = pair.ta.get("dump", check_status=False).stdout.splitlines()
        if len(lines) == n + 2:
            return
    raise Failure(f"wg shows {len(lines)} lines")


def ping(pair):
    done = pair.a.run("ping", "-n", "-c", "1", "-W", "10", INNER4["b"],
                      check_status=False)
    check(" 1 received" in done.stdout, done.stdout)


def await_restored(file, n):
    """Read the log until it says that the configuration of all peers was restored."""
    text = ""
    end = time.monotonic() + PATIENCE * lab.SLOWNESS
    while not (said := re.search(r"with (\d+) peers, (\d+) of them with a session", text)):
        check(time.monotonic() < end, "the log does not tell of a restored configuration")
        text += file.read()
        time.sleep(0.002)
    check_equal(said.groups(), (str(n), str(n)), said.group())


def count_asked(tunnel):
    """How many cookie replies a daemon has sent."""
    return int(upgrading.stats(tunnel)["handshakes_dropped_needs_cookie"])


def run_round(pair, responder):
    """Kill the engine. Return what was found, by name: times in seconds; "delay" is how
    long the responder has waited for a processor; "cookies" are its cookie replies, and
    "asked" those of the two daemons."""
    responder.count(begins=True)
    found, delay, asked = {}, responder.delay(), count_asked(pair.tb)
    with open(pair.ta.process.log.name, encoding="utf-8") as log:
        log.seek(0, os.SEEK_END)
        os.kill(pair.ta.pid, signal.SIGSEGV)
        threads = [Timed(found, "ping", lambda: ping(pair)),
                   Timed(found, "show", lambda: show(pair, responder.n)),
                   Timed(found, "restored", lambda: await_restored(log, responder.n + 1))]
        begun = time.monotonic()
        for thread in threads:
            thread.finish()
    found["initiations"], found["most"], found["cookies"] = responder.await_all()
    found["delay"] = responder.delay() - delay
    # The new engine counts from 0.
    found["asked"] = count_asked(pair.ta) + count_asked(pair.tb) - asked
    print("#", {name: round(value, 3) for name, value in found.items()}, flush=True)
    time.sleep(max(0, begun + PAUSE - time.monotonic()))
    return found
