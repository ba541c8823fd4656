#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""wiregatherctl bundle: it has what the report of a fault needs, and no key.

Keys are planted wherever the text could take them from: the configuration, the UAPI,
the log, names of peers, other variables of the daemon's environment, names of
devices, rules of the packet filter. Then each of them is looked for as base64, as hex
digits and as bytes.
"""
import base64
import os
import pathlib
import re
import shutil
import stat
import time

import lab
from lab import Pair, case, check, check_equal

CTL = os.path.abspath(os.environ["CTL"])


def bundle(node, *words, status=0):
    """Run the command in a node's namespace. Return what it prints."""
    done = node.run(CTL, "bundle", *words, check_status=False, timeout=120)
    check_equal(done.returncode, status, f"status; output:\n{done.stdout}")
    return done.stdout


def forms_of(key):
    """The texts and bytes that a key may stand as."""
    raw = base64.b64decode(key)
    text = base64.urlsafe_b64encode(raw).decode()
    return {"base64": key, "base64, unfilled": key.rstrip("="),
            "base64 for URLs": text, "base64 for URLs, unfilled": text.rstrip("="),
            "hex": raw.hex(), "HEX": raw.hex().upper()}, raw


def check_no_key(keys, data):
    text = data.decode("ascii", "replace")
    for where, key in keys.items():
        texts, raw = forms_of(key)
        for form, word in texts.items():
            check(word not in text, f"the key of {where} is there as {form}:\n"
                  + "\n".join(line for line in text.splitlines() if word in line))
        # Neither the key, nor a half of it.
        for part in raw, raw[:16], raw[16:]:
            check(part not in data, f"the key of {where} is there as bytes")
            check(base64.b64encode(part).decode()[:20] not in text,
                  f"a half of the key of {where} is there as base64")
            check(part.hex() not in text,
                  f"a half of the key of {where} is there as hex")


def genkey():
    return lab.run("wg", "genkey").stdout.strip()


class Planted:
    """A pair of tunnels, and keys in every place."""

    def __init__(self, l):
        secret = genkey()
        self.keys = {"a variable": secret}
        self.pair = Pair(l, how={"OTHER_SECRET": secret, "HEXED": forms_of(secret)[0]["hex"]},
                         more={"PresharedKey": self.new("the preshared key")})
        pair = self.pair
        self.keys["a's private key"] = pair.ta.private
        self.keys["b's private key"] = pair.tb.private
        self.keys["a's public key"] = pair.ta.public
        self.keys["b's public key"] = pair.tb.public
        self.write_configuration(l)
        later = self.new("a later preshared key") + "\n"
        pair.ta.set("peer", pair.tb.public, "preshared-key", "/dev/stdin", stdin=later)
        pair.tb.set("peer", pair.ta.public, "preshared-key", "/dev/stdin", stdin=later)
        pair.a.ip(f"link set eth alias {self.new('an alias')}",
                  f"link set wga alias {forms_of(self.new('a hex alias'))[0]['hex']}")
        if shutil.which("nft"):
            pair.a.nft(f'table inet t {{ comment "{self.new("a comment of nft")}"; }}')

    def new(self, where):
        self.keys[where] = genkey()
        return self.keys[where]

    def write_log(self):
        """Write into the log of a, which writes nothing more: it would write over it."""
        with open(self.pair.ta.process.log.name, "a", encoding="ascii") as log:
            log.write(f"planted {self.new('the log')} and "
                      f"{forms_of(self.new('the log, as hex'))[0]['HEX']}\n")

    def write_configuration(self, l):
        lab.run("mount", "-t", "tmpfs", "none", "/etc/wireguard")
        l.stack.callback(lab.run, "umount", "/etc/wireguard")
        with open("/etc/wireguard/wga.conf", "w", encoding="utf-8") as file:
            file.write(f"""[Interface]
PrivateKey = {self.pair.ta.private}
Address = 10.9.0.1/24
# {self.new("a comment")}
PostUp = wg set %i peer x preshared-key <(echo {self.new("PostUp")})
Table={self.new("a setting that is copied")}
[Peer]
# friendly_name = {self.new("a name")}
PublicKey = {self.pair.tb.public}
presharedkey={self.new("PresharedKey")}
AllowedIPs = 10.9.0.2/32
[Peer]
PublicKey={self.new("a peer that is not set")}
{self.new("a line of its own")}
""")


@case("there is no key, in any form")
def no_key(l):
    planted = Planted(l)
    planted.pair.both_ways(count=1)
    planted.write_log()
    text = bundle(planted.pair.a, "--seconds", "0")
    check_no_key(planted.keys, text.encode())
    check(text.isascii() and text.isprintable() or set(
        c for c in text if not c.isprintable()) <= {"\n", "\t"}, "odd bytes")
    # The test would see them: most of these places are in the text.
    for place in ("planted <key> and <key>", "alias <key>", "name=<key>",
                  "Table=<key>", "PublicKey=<key>", "PublicKey = <peer 1>",
                  "public_key=<peer 1>"):
        if "planted" in place and not os.access(
                f"/proc/{planted.pair.ta.process.pid}/fd/2", os.R_OK):
            continue
        check(place in text, f"no {place!r} in:\n{text}")
    if shutil.which("nft"):
        check('comment "<key>"' in text, f"no comment of nft in:\n{text}")


@case("what was left out has its name")
def left_out(l):
    planted = Planted(l)
    text = bundle(planted.pair.a, "--seconds", "0", "wga")
    last = text.split("===== left out\n")[1]
    path = "/etc/wireguard/wga.conf"
    for line in (f"{path}, line 2: PrivateKey", f"{path}, line 4: a comment",
                 f"{path}, line 5: PostUp", f"{path}, line 10: presharedkey",
                 f"{path}, line 14: no setting"):
        check(line + "\n" in last, f"no {line!r} in:\n{last}")
    # A variable whose name is known is copied; of the others the number is told.
    pid = planted.pair.ta.process.pid
    if os.access(f"/proc/{pid}/environ", os.R_OK):
        check("environment: LOG_LEVEL=verbose\n" in text, text)
        check(re.search(rf"^process {pid}: \d+ variables of its environment$", last,
                        re.M), last)


@case("it has what the report of a fault needs")
def has_all(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    pair.ta.set("peer", pair.tb.public, "allowed-ips", "10.99.0.0/16")
    pair.b.must_not_ping(lab.INNER4["a"])
    text = bundle(pair.a, "--seconds", "0")
    titles = re.findall(r"^===== (.*)$", text, re.M)
    for title in ("versions", "machine", "wga: statistics", "wgb: statistics",
                  "wga: the last events of each peer", "wga: what needs attention",
                  "wga: configuration", "wga: what wg(8) shows",
                  "links and addresses", "rules and routes", "packet filter",
                  "queues, sockets and counters", "offloads", "sysctls", "processes",
                  "log", "wga: events while this was collected", "left out"):
        check_equal(titles.count(title), 1, f"sections {title!r} of {titles}")
    release = os.uname().release
    for words in ("\nwiregatherctl ", f" {release} ", "listen_port=51001\n",
                  "inbound_dropped_disallowed_source=", "trace=established ",
                  "a source that is not its own", "10.9.0.0/24 dev wga",
                  "from all lookup main", "/proc/sys/net/core/rmem_max:\n",
                  f"process {pair.ta.process.pid}: ", "endpoint=" + pair.endpoint("b")):
        check(words in text, f"no {words!r} in:\n{text}")


@case("events that come while it is collected")
def events(l):
    pair = Pair(l)
    process = pair.a.start(CTL, "bundle", "--seconds", "3", "wga")
    number, end = 0, time.monotonic() + 60 * lab.SLOWNESS
    while process.poll() is None:
        check(time.monotonic() < end, "the program does not end")
        number += 1
        pair.ta.set("peer", pair.tb.public, "allowed-ips", f"10.99.{number % 250}.0/24")
        time.sleep(0.1)
    check_equal(process.returncode, 0, "status")
    with open(process.log.name, encoding="utf-8") as file:
        text = file.read()
    section = text.split("events while this was collected\n")[1].split("=====")[0]
    check(re.search(r"^event=peer-changed time_ms=\d+ public_key=<peer 1>", section,
                    re.M), f"no event in {section!r} of:\n{text}")


@case("the file, and wrong usage")
def file(l):
    node = l.node("a")
    path = pathlib.Path(l.directory, "report.txt")
    # Without an interface, too: it may be the start that fails.
    bundle(node, "--seconds", "0", "--output", str(path))
    check_equal(stat.S_IMODE(path.stat().st_mode), 0o600, "mode")
    text = path.read_text(encoding="ascii")
    check("No interface has statistics" in text and "\n===== left out\n" in text, text)
    check("File exists" in bundle(node, "--seconds", "0", "--output", str(path),
                                  status=1), "a file that is there")
    check_equal(path.read_text(encoding="ascii"), text, "the file")
    check("wgx: No such file" in bundle(node, "--seconds", "0", "wgx", status=1),
          "an interface that is not there")
    for words, complaint in ((("--seconds", "1x"), "not from 0 to 3600: 1x"),
                             (("--seconds", "-1"), "not from 0 to 3600: -1"),
                             (("--seconds", "3601"), "not from 0 to 3600: 3601"),
                             (("--seconds",), "no value: --seconds"),
                             (("--json",), "no such option: --json")):
        check(complaint in bundle(node, *words, status=2), f"{words}")


@case("a user without rights gets what there is")
def plain_user(l):
    pair = Pair(l)
    done = pair.a.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                      CTL, "bundle", "--seconds", "0", "wga", check_status=False,
                      timeout=120)
    check_equal(done.returncode, 1, f"status; output:\n{done.stdout}")
    check("Permission denied" in done.stdout and
          "10.9.0.0/24 dev wga" in done.stdout and
          "===== left out" in done.stdout, done.stdout)


lab.main()
