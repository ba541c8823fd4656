#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Upgrades to programs that speak another version of one of the three protocols: the
keeper's, that between two engines, and the form of the state. They are refused with a
line, and the tunnel goes on as it was. So it would be with an older and with a newer
release. A program that takes the tunnel, and only then says what the keeper does not
understand, is replaced."""
import os
import signal

import upgrading
import lab
from lab import INNER4, Pair, case, check, check_equal, wait_until
from upgrading import Watch, ask, need_processes, traffic, upgrade

# The programs: OTHER_MESSAGES and so on.
KINDS = {"requests": "the keeper's protocol", "messages": "the engines' protocol",
         "state": "the form of the state"}


@case("a program of another version is refused, and the tunnel goes on")
def refused(l):
    need_processes()
    pair = Pair(l)
    with traffic(pair):
        watch = Watch(pair)
        for kind, what in KINDS.items():
            path = os.environ["OTHER_" + kind.upper()]
            line = ask(pair.ta, "--program", path, status=1)
            check(line.startswith("wiregatherctl: wga: ") and line.count("\n") == 1,
                  f"another version of {what}: {line!r}")
            print(f"# another version of {what}: {line.strip()}")
            watch.check(False)
        upgrade(pair.ta)
        watch.check(True)


@case("the other programs work by themselves: only their version is another one")
def controls(l):
    need_processes()
    for kind in "messages", "state":
        daemon, l.daemon = l.daemon, os.environ["OTHER_" + kind.upper()]
        pair = Pair(l)
        pair.both_ways(count=1)
        l.daemon = daemon
        check_equal(len(upgrading.engines_of(pair.ta)), 1, f"engines of {kind}")
        pair.close()


@case("the successor has the tunnel, the other engine has ended, and then a request comes "
      "that the keeper does not serve: a third engine goes on")
def bad_request(l):
    need_processes()
    pair = Pair(l)
    pair.both_ways(count=1)
    before = pair.ta.pid
    line = ask(pair.ta, "--program", os.environ["OTHER_READY"], status=1)
    check("does not speak this daemon's protocol" in line, line)
    check(not os.path.exists(f"/proc/{before}"), "the first engine has not ended")
    wait_until(lambda: pair.ta.get(check_status=False).returncode == 0,
               f"an engine answers: {pair.ta.log()}", 20)
    check_equal(len(upgrading.engines_of(pair.ta)), 1, "engines")
    check_equal(len(pair.ta.peers()), 1, "peers")
    pair.a.reach(INNER4["b"])
    # It is made of the program from before.
    upgrade(pair.ta)
    pair.a.reach(INNER4["b"])


@case("SIGTERM when the successor has the tunnel, and neither engine has told so: the "
      "daemon ends with status 0")
def ends_meanwhile(l):
    need_processes()
    l.daemon = os.environ["OTHER_SLOW"]
    tunnel = l.tunnel(l.node("a"), "wga").start()
    tunnel.node.start(upgrading.CTL, "upgrade", "wga")
    wait_until(lambda: "has taken the place of another engine" in tunnel.log(),
               "the successor has the tunnel", 20)
    tunnel.process.send_signal(signal.SIGTERM)
    check_equal(tunnel.wait(20), 0, "status")


if __name__ == "__main__":
    lab.main()
