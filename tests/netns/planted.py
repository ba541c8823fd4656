#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Faults of the configuration of two ends, planted one by one: wiregatherctl names each
of them in one line. planted_way.py has those of the way between them, planted_host.py
those of one host.
"""
import os
import re

import lab
from lab import INNER4, INNER6, Pair, case, check, check_equal
from planting import (FAILED, FINE, NOBODY, USAGE, ask, await_number, cause, diagnosis,
                      must_name, must_tell, title)

YEAR = 365 * 86400


@case("nothing is wrong: no cause is found")
def healthy(l):
    pair = Pair(l)
    found, text = cause(pair.a, "wga", INNER4["b"], status=FINE)
    check_equal(found, "none was found", f"cause; the text: {text}")
    check("fault" not in text, text)
    for words in [INNER6["b"]], [pair.tb.public], [pair.tb.public[:6]], []:
        check_equal(cause(pair.a, "wga", *words, status=FINE)[0], "none was found",
                    f"cause for {words}")
    shown = diagnosis(pair.a, "wga", INNER4["b"])
    check_equal((shown["interface"], shown["public_key"], shown["address"],
                 "cause" in shown), ("wga", pair.tb.public, INNER4["b"], False), "JSON")
    results = {entry["check"]: entry["result"] for entry in shown["checks"]}
    for name in ("interface", "port", "clock", "allowed IPs", "route outside",
                 "handshake", "answer", "size", "segmentation"):
        check_equal(results.get(name), "ok", f"{name} in {shown}")
    before = pair.ta.peer(pair.tb).tx
    results = {entry["check"]: entry["result"] for entry in
               diagnosis(pair.a, "--passive", "wga", INNER4["b"])["checks"]}
    check_equal(results["answer"], "skipped", f"passive: {results}")
    check_equal(pair.ta.peer(pair.tb).tx, before, "bytes sent by --passive")
    # From another namespace, routes and pings are left out.
    text = ask(pair.b, "why", "wga", INNER4["b"], status=FINE)
    check(re.search(r"^  skipped interface +wga is not in the network namespace of this "
                    r"program: ", text, re.MULTILINE) and "route" not in
          re.sub(r"routes and pings.*", "", text), text)
    # A user without the right to ping still gets an answer, if he may ask.
    text = ask(pair.a, "why", "wga", INNER4["b"], status=FAILED,
               user=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"))
    check("--stats-group" in text, text)


@case("wrong command lines")
def usage(l):
    pair = Pair(l)
    for words, complaint in (
            ([], "missing: interface"), (["--nonsense"], "no such option: --nonsense"),
            (["wga", "one", "two"], "too many words: two"),
            (["wga", "nobody"], "no such peer, and no address: nobody")):
        text = ask(pair.a, "why", *words, status=USAGE)
        check(text.startswith(f"wiregatherctl: {complaint}\n"), text)
    must_name(pair.a, ["wga", NOBODY], "no peer of wga has the public key "
              + re.escape(NOBODY))


@case("a wrong key: both ends say so, and the one that knows names it")
def wrong_key(l):
    pair = Pair(l)
    # a has a wrong key for b.
    pair.ta.configure({"PublicKey": NOBODY, "AllowedIPs": lab.allowed("b"),
                       "Endpoint": pair.endpoint("b")})
    must_name(pair.a, ["wga", INNER4["b"]],
              rf"QUFBQUFB\.\.\. does not answer handshakes at "
              rf"{re.escape(pair.endpoint('b'))}: that host answers pings, so a "
              r"firewall blocks UDP port 51002, no WireGuard has that port, or it does "
              r"not know our key")
    text = must_name(pair.b, ["wgb", INNER4["a"]],
                     rf"handshakes from {re.escape(pair.endpoint('a'))} were made for "
                     r"another public key than ours: the other end has a wrong key for "
                     r"this one")
    check(f"PublicKey = {pair.tb.public}" in text, f"no advice in {text}")
    must_tell(pair.b, "wgb", r"\d+ handshakes that were made for another public key "
              r"or .*\(last from 192\.0\.2\.1:51001, .*\)")
    # b has a wrong key for a.
    pair.ta.configure({"PublicKey": pair.tb.public, "AllowedIPs": lab.allowed("b"),
                       "Endpoint": pair.endpoint("b")})
    pair.tb.configure({"PublicKey": NOBODY, "AllowedIPs": lab.allowed("a"),
                       "Endpoint": pair.endpoint("a")})
    pair.a.must_not_ping(INNER4["b"])
    await_number(pair.b, "wgb", "handshakes_dropped_unknown_peer", 1)
    # The earlier refusals are of the same address, and still count.
    text = ask(pair.b, "why", "--passive", "wgb", INNER4["a"])
    check(re.search(r"fault +handshake +handshakes from 192\.0\.2\.1:51001 have a "
                    r"public key that no peer has here", text), text)
    must_tell(pair.b, "wgb", r"\d+ handshakes of unknown keys \(last from "
              r"192\.0\.2\.1:51001, .*\)")


@case("a wrong preshared key, from both ends")
def preshared(l):
    pair = Pair(l)
    key = lab.run("wg", "genpsk").stdout
    pair.b.run("wg", "set", "wgb", "peer", pair.ta.public, "preshared-key",
               "/dev/stdin", stdin=key)
    must_name(pair.b, ["wgb", INNER4["a"]],
              rf"{title(pair.ta)} answers, and its answers do not decrypt: the "
              r"preshared keys differ")
    must_tell(pair.b, "wgb", rf"the answers of {title(pair.ta)} do not decrypt: the "
              r"preshared keys differ")
    # The end that answers knows less, unless it begins a handshake, too.
    await_number(pair.a, "wga", "responses_unused", 2)
    must_name(pair.a, ["--passive", "wga", pair.tb.public],
              rf"{title(pair.tb)} begins handshakes, gets our answers and does not go "
              r"on \(\d times\): the preshared keys differ, or our answers do not reach "
              + re.escape(pair.endpoint("b")))


@case("wrong allowed IPs on this side, and on the other")
def allowed_ips(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    pair.ta.set("peer", pair.tb.public, "allowed-ips", "10.99.0.0/16")
    must_name(pair.a, ["wga", INNER4["b"]],
              rf"no peer has {re.escape(INNER4['b'])} in its allowed IPs, so packets to "
              "it are dropped")
    pair.ta.set("peer", pair.tb.public, "allowed-ips", lab.allowed("b"))
    pair.tb.set("peer", pair.ta.public, "allowed-ips", "10.99.0.0/16")
    must_name(pair.a, ["wga", INNER4["b"]],
              rf"{title(pair.tb)} takes our packets, but {re.escape(INNER4['b'])} does "
              rf"not answer pings: perhaps {re.escape(INNER4['a'])} is not in the "
              "allowed IPs that it has for this end, or its firewall drops pings")
    must_tell(pair.b, "wgb", rf"\d+ packets of {title(pair.ta)} had a source that is not "
              rf"its own \(last {re.escape(INNER4['a'])}, .*\)")
    pair.tb.set("peer", pair.ta.public, "allowed-ips", "")
    must_name(pair.b, ["wgb", pair.ta.public],
              rf"{title(pair.ta)} has no allowed IPs: no packet goes to it, and none of "
              "it is taken")


@case("a source that is not allowed")
def source(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    pair.b.ip("addr add 10.9.0.77/24 dev wgb")
    pair.b.must_not_ping(INNER4["a"], "-I", "10.9.0.77")
    must_name(pair.a, ["wga", INNER4["b"]],
              rf"packets of {title(pair.tb)} are dropped, because their source is not "
              r"in its allowed IPs here: 10\.9\.0\.77 \(\d+ packets, the last .*\)")
    must_tell(pair.a, "wga", rf"\d+ packets of {title(pair.tb)} had a source that is not "
              r"its own \(last 10\.9\.0\.77, .*\)")


def start_again(tunnel, **environment):
    """A daemon with the keys and the port of one that has ended."""
    other = tunnel.lab.tunnel(tunnel.node, tunnel.name, tunnel.port)
    other.private, other.public = tunnel.private, tunnel.public
    return other.start(**environment)


@case("a peer's clock that was set back by a year")
def clock(l):
    library = os.environ["SHIFTCLOCK_LIBRARY"]
    pair = Pair(l)
    pair.tb.stop()
    # b starts again, first a year ahead, and then right.
    for ahead in YEAR, 0:
        pair.tb = start_again(pair.tb, LD_PRELOAD=library, SHIFTCLOCK=str(ahead))
        pair.tb.configure({"PublicKey": pair.ta.public, "AllowedIPs": lab.allowed("a"),
                           "Endpoint": pair.endpoint("a")})
        pair.tb.up(INNER4["b"] + "/24", INNER6["b"] + "/64")
        if ahead:
            pair.b.must_ping(INNER4["a"], count=1)
            pair.tb.stop()
    # b begins again after five seconds.
    pair.b.must_not_ping(INNER4["a"])
    await_number(pair.a, "wga", "handshakes_dropped_replayed", 2, 30)
    must_name(pair.a, ["--passive", "wga", pair.tb.public],
              rf"handshakes from {re.escape(pair.endpoint('b'))} seem older than one that "
              rf"was taken before: the clock of {title(pair.tb)} was set back")
    must_tell(pair.a, "wga", r"\d+ handshakes that are not newer than earlier ones: is the "
              r"peer's clock right\? \(last from 192\.0\.2\.2:51002, .*\)")
    # Where the clock is wrong, the daemon's start lies in the future.
    pair.tb.stop()
    pair.tb = start_again(pair.tb, LD_PRELOAD=library, SHIFTCLOCK=str(YEAR))
    pair.b.ip("link set wgb up")
    must_name(pair.b, ["wgb"], r"the clock of this host is wrong: it says [-0-9: ]+ UTC, "
              "which is before the time when the daemon was started")


@case("two daemons with one key")
def twins(l):
    pair = Pair(l)
    pair.ta.set("peer", pair.tb.public, "endpoint", pair.endpoint("b"))
    third = l.node("c")
    l.link(pair.a, third, "eth1", "eth")
    pair.a.ip("addr add 198.51.100.1/24 dev eth1")
    third.ip("addr add 198.51.100.3/24 dev eth")
    twin = l.tunnel(third, "wgc", 51003).start()
    twin.private, twin.public = pair.tb.private, pair.tb.public
    for tunnel, address in (pair.tb, pair.endpoint("a")), (twin, "198.51.100.1:51001"):
        tunnel.configure({"PublicKey": pair.ta.public, "AllowedIPs": lab.allowed("a"),
                          "Endpoint": address, "PersistentKeepalive": 1})
    twin.up(INNER4["b"] + "/24")
    await_number(pair.a, "wga", "endpoint_returns", 4, 30)
    either = r"(192\.0\.2\.2:51002|198\.51\.100\.3:51003)"
    words = (rf"two hosts seem to use the key of {title(pair.tb)}: its endpoint goes back "
             rf"and forth between {either} and {either}")
    must_name(pair.a, ["--passive", "wga", pair.tb.public], words)
    must_tell(pair.a, "wga", words)


lab.main()
