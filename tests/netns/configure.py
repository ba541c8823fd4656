#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The script that wiregather@.service calls, and what systemd says of that unit."""
import pathlib
import re
import shutil

import lab
from lab import INNER4, INNER6, Pair, case, check, check_equal, run

ROOT = pathlib.Path(__file__).parents[2]
UNITS = ROOT / "contrib/systemd"
SCRIPT = str(UNITS / "wiregather-configure")


class Site:
    """A pair of tunnels, of which the first one is configured by the script."""

    def __init__(self, l):
        lab.need("awk")
        self.pair = Pair(l)
        self.node = self.pair.a
        self.path = f"{l.directory}/wga.conf"
        # Begin anew, without addresses and peers.
        self.pair.ta.set("peer", self.pair.tb.public, "remove")
        self.node.ip("link set wga down", "addr flush dev wga")

    def write(self, interface=(), peer=()):
        lines = ["# a comment with a = in it", "[Interface]",
                 f"PrivateKey = {self.pair.ta.private}", "listenport=51001",
                 *interface, "", "[Peer]  # the other end",
                 f"PublicKey = {self.pair.tb.public}",
                 f"Endpoint = {self.pair.endpoint('b')}",
                 f"AllowedIPs = {lab.allowed('b')}, 10.77.0.0/16", *peer]
        with open(self.path, "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")

    def call(self, *arguments, status=0):
        done = self.node.run(SCRIPT, *arguments, check_status=False)
        check_equal(done.returncode, status,
                    f"status of {arguments}: {done.stdout.strip()}")
        return done.stdout

    def routes(self, *options):
        return self.node.run("ip", *options, "route", "show", "dev", "wga").stdout


@case("set: keys, peers, addresses, MTU and routes; the rest is named, and ignored")
def whole(l):
    site = Site(l)
    site.write([f" address = {INNER4['a']}/32,{INNER6['a']}/128",
                "ADDRESS=10.9.9.1/24", "MTU = 1380", "DNS = 192.0.2.53",
                "PostUp = touch /none/such"])
    said = site.call("set", "wga", site.path)
    check_equal(sorted(re.findall(r"(\w+) is for wg-quick", said)),
                ["dns", "postup"], "keys that are ignored")
    text = site.node.run("ip", "addr", "show", "wga").stdout
    for word in f"{INNER4['a']}/32", f"{INNER6['a']}/128", "10.9.9.1/24", \
            "mtu 1380", ",UP":
        check(word in text, f"no {word} in {text}")
    for family, route in ("-4", INNER4["b"]), ("-4", "10.77.0.0/16"), \
            ("-6", INNER6["b"]):
        check(route in site.routes(family),
              f"no {route} in {site.routes(family)}")
    site.pair.ta.wait_for_port()
    site.node.settle("wga")
    site.node.must_ping(INNER4["b"], count=1)
    site.node.must_ping(INNER6["b"], count=1)
    # Once more: nothing is in its way.
    site.call("set", "wga", site.path)
    site.node.must_ping(INNER4["b"], count=1)


@case("sync: what differs is changed, and sessions go on")
def changed(l):
    site = Site(l)
    site.write([f"Address = {INNER4['a']}/24"])
    site.call("set", "wga", site.path)
    site.pair.ta.wait_for_port()
    site.node.must_ping(INNER4["b"], count=1)
    before = site.pair.ta.peer(site.pair.tb).handshake
    other = run("wg", "pubkey", stdin=run("wg", "genkey").stdout).stdout.strip()
    site.write([f"Address = {INNER4['a']}/24, 10.9.9.1/24"],
               ["PersistentKeepalive = 25", "[Peer]", f"PublicKey = {other}",
                "AllowedIPs = 10.78.0.0/16"])
    site.call("sync", "wga", site.path)
    peers = site.pair.ta.peers()
    check_equal(set(peers), {site.pair.tb.public, other}, "peers")
    check_equal(peers[site.pair.tb.public].keepalive, "25", "keepalive")
    check_equal(peers[site.pair.tb.public].handshake, before,
                "time of the handshake")
    check("10.78.0.0/16" in site.routes(), f"routes: {site.routes()}")
    check("10.9.9.1/24" in site.node.run("ip", "addr", "show", "wga").stdout,
          "the second address is missing")
    site.node.must_ping(INNER4["b"], count=1)


@case("set, on an interface that has more: what an older file had goes, and sessions go on")
def old_file(l):
    site = Site(l)
    other = run("wg", "pubkey", stdin=run("wg", "genkey").stdout).stdout.strip()
    peer = ["[Peer]", f"PublicKey = {other}", "AllowedIPs = 10.80.0.0/12, 2001:db8:80::/48"]
    mine = f"Address = {INNER4['a']}/32, {INNER6['a']}"
    site.write([mine, "Address = 10.9.9.1/24, 2001:DB8:9:0::0:1/64"], peer)
    site.call("set", "wga", site.path)
    site.pair.ta.wait_for_port()
    site.node.settle("wga")
    site.node.must_ping(INNER4["b"], count=1)
    before = site.pair.ta.peer(site.pair.tb).handshake
    site.node.ip("route add 10.99.0.0/16 dev wga")
    # The route to 10.80.0.0/12 covers 10.81.0.0/16, and goes.
    site.write([mine, "Address = 10.9.9.2/24, 2001:db8:9::2/64"],
               ["[Peer]", f"PublicKey = {other}", "AllowedIPs = 10.81.0.0/16"])
    site.call("set", "wga", site.path)
    text = site.node.run("ip", "-o", "addr", "show", "dev", "wga", "scope", "global").stdout
    check_equal(set(re.findall(r" inet6? (\S+)", text)),
                {f"{INNER4['a']}/32", f"{INNER6['a']}/128", "10.9.9.2/24",
                 "2001:db8:9::2/64"}, "addresses")
    routes = site.routes("-4") + site.routes("-6")
    for word in "10.77.0.0/16", "10.81.0.0/16", "10.99.0.0/16":
        check(word in routes, f"no {word} in {routes}")
    for word in "10.80.0.0/12", "2001:db8:80::":
        check(word not in routes, f"{word} in {routes}")
    check_equal(site.pair.ta.peer(site.pair.tb).handshake, before,
                "time of the handshake")
    site.node.must_ping(INNER4["b"], count=1)
    site.node.must_ping(INNER6["b"], count=1)
    # Another table, and none.
    site.write([mine, "Table = 1234"])
    site.call("set", "wga", site.path)
    check("10.77.0.0/16" not in site.routes(), f"routes: {site.routes()}")
    site.write([mine, "Table = off"])
    site.call("set", "wga", site.path)
    check_equal(site.node.run("ip", "route", "show", "table", "1234",
                              check_status=False).stdout, "", "routes of table 1234")


@case("without ListenPort the port stays")
def port(l):
    site = Site(l)
    site.write([f"Address = {INNER4['a']}/32"])
    with open(site.path, encoding="ascii") as file:
        text = file.read()
    with open(site.path, "w", encoding="ascii") as file:
        file.write(text.replace("listenport=51001\n", ""))
    for verb in "set", "sync":
        site.call(verb, "wga", site.path)
        check_equal(site.node.run("wg", "show", "wga", "listen-port").stdout.strip(),
                    "51001", f"port after {verb}")
        site.pair.ta.wait_for_port()
        site.node.must_ping(INNER4["b"], count=1)


@case("Table: off makes no route, a number another table; a default route is left out")
def tables(l):
    site = Site(l)
    address = f"Address = {INNER4['a']}/32"
    site.write([address, "Table = off"])
    site.call("set", "wga", site.path)
    check_equal(site.routes(), "", "routes with Table = off")
    site.write([address, "Table = 1234"])
    site.call("set", "wga", site.path)
    check_equal(site.routes(), "", "routes of the main table")
    other = site.node.run("ip", "route", "show", "table", "1234").stdout
    check("10.77.0.0/16" in other, f"routes of table 1234: {other}")
    site.write([address], ["AllowedIPs = 0.0.0.0/0"])
    said = site.call("set", "wga", site.path)
    check("no route is made for 0.0.0.0/0" in said, f"message: {said}")
    check("default" not in site.routes(), f"routes: {site.routes()}")


@case("an empty section leaves the interface as it is; errors name the word")
def errors(l):
    site = Site(l)
    with open(site.path, "w", encoding="ascii") as file:
        file.write("[Interface]\n")
    for verb in "set", "sync":
        site.call(verb, "wga", site.path)
        text = site.node.run("ip", "link", "show", "wga").stdout
        check(",UP" not in text, f"it is up: {text}")
        check_equal(site.node.run("wg", "show", "wga", "private-key").stdout.strip(),
                    site.pair.ta.private, "key")
    site.write(["Colour = blue"])
    said = site.call("set", "wga", site.path, status=1)
    check("Colour=blue" in said.replace(" ", ""), f"message: {said}")
    check("cannot read /none/such" in
          site.call("set", "wga", "/none/such", status=1), "message")
    check("neither set nor sync: reset" in
          site.call("reset", "wga", site.path, status=2), "message")
    check("usage" in site.call("set", "wga", status=2), "message")


@case("systemd-analyze: the unit is well formed, and its exposure is at most 2.5")
def exposure(l):
    lab.need("systemd-analyze")
    # In a directory of their own, without the units of this machine.
    shutil.copy(UNITS / "wiregather@.service", f"{l.directory}/wiregather@.service")
    path = f"{l.directory}/wiregather@.service"
    done = run("systemd-analyze", "security", "--no-pager", "--offline=true",
               "--threshold=25", path, check_status=False, timeout=60)
    if "unrecognized option" in done.stdout or "requires root" in done.stdout:
        raise lab.Skip("this systemd-analyze has no --offline")
    last = done.stdout.strip().splitlines()[-1]
    found = re.search(r"exposure level for \S+: (\d+\.\d+)", last)
    check(found and float(found[1]) <= 2.5, f"it says: {done.stdout[-2000:]}")
    print(f"# exposure: {found[1]}", flush=True)
    for word in "Unknown key", "Unknown section", "Invalid syntax", "ignoring":
        check(word not in done.stdout, f"it says: {done.stdout[:2000]}")


lab.main()
