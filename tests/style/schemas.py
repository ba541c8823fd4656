#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The schemas of contrib/schemas take what is right and refuse what is wrong.

netns/ctl compares them with what wiregatherctl prints. The checker of both tests,
tests/netns/schema.py, is tested here, too.
"""
import copy
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/netns"))

# pylint: disable=wrong-import-position
from schema import SchemaError, faults

SCHEMAS = ROOT / "contrib/schemas"
KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
STATUS = [{
    "version": "1.0.0", "interface": "wg0", "up": 1, "mtu": 1420,
    "started_time_sec": 1790000000, "workers": 4, "aead": "libsodium",
    "listen_port": 51820, "listening": 1, "segments_ipv4": 64,
    "udp_sent_bytes": 2 ** 63, "handshake_refused_last": ["replayed 192.0.2.1:1 12"],
    "attention": ["phone does not answer at 192.0.2.1:5"], "of_a_later_version": "x",
    "peers": [{"public_key": KEY, "name": "phone", "endpoint": "[fe80::1%eth0]:51820",
               "state": "none", "tx_bytes": 0, "rx_bytes": 5,
               "last_handshake_time_sec": 0}]}]
EVENT = {"interface": "wg0", "event": "endpoint", "time": "2026-11-28T02:59:13.104Z",
         "peer": KEY, "endpoint": "192.0.2.1:5", "was": "192.0.2.1:6", "value": 3}

WHY = {"interface": "wg0", "public_key": KEY, "address": "fd09::2", "cause": "it is down",
       "checks": [{"check": "interface", "result": "fault", "text": "it is down",
                   "advice": "ip link set wg0 up"},
                  {"check": "route", "result": "skipped", "text": "not checked"}]}

problems = []


def changed(value, path, member):
    """A copy in which one member is another; None: it is missing."""
    value = copy.deepcopy(value)
    at = value
    for step in path[:-1]:
        at = at[step]
    if member is None:
        del at[path[-1]]
    else:
        at[path[-1]] = member
    return value


def check(schema, right, wrong):
    found = faults(right, schema)
    if found:
        problems.append(f"{schema['title']}: refuses what is right: {found}")
    for path, member in wrong:
        if not faults(changed(right, path, member), schema):
            problems.append(f"{schema['title']}: takes {member!r} at {path}")


def check_checker():
    for schema in ({"type": "number"}, {"anyOf": []}, {"$defs": {}, "$ref": "#/$defs/x"}):
        try:
            faults(1, schema)
            problems.append(f"the checker takes the schema {schema}")
        except SchemaError:
            pass
    for value, schema in ((True, {"type": "integer"}), (True, {"enum": [1]}),
                          ("a", {"minLength": 2}), ([1, "a"], {"items": {"type": "integer"}}),
                          (3, {"maximum": 2}), ({}, {"required": ["a"]})):
        if not faults(value, schema):
            problems.append(f"the checker takes {value} for {schema}")


def main():
    check_checker()
    status, events, why = (json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
                      for name in ("status", "events", "why"))
    check(status, STATUS, (
        ((0, "up"), 2), ((0, "up"), True), ((0, "interface"), 51), ((0, "interface"), ""),
        ((0, "mtu"), "1420"), ((0, "listen_port"), 65536), ((0, "udp_sent_bytes"), -1),
        ((0, "udp_sent_bytes"), "x"), ((0, "aead"), None), ((0, "peers"), 1),
        ((0, "attention"), [1]), ((0, "handshake_refused_last"), "replayed x 1"),
        ((0, "of_a_later_version"), {}), ((0, "peers", 0, "public_key"), KEY[:-1]),
        ((0, "peers", 0, "public_key"), None), ((0, "peers", 0, "state"), "up"),
        ((0, "peers", 0, "rx_bytes"), 1.5), ((0, "peers", 0, "endpoint"), "x")))
    check(events, EVENT, (
        (("event",), "started"), (("event",), None), (("interface",), None),
        (("time",), "2026-11-28 02:59:13"), (("peer",), "phone"), (("value",), "3"),
        (("was",), "192.0.2.1"), (("endpoint",), 5)))
    check(why, WHY, (
        (("interface",), None), (("checks",), None), (("cause",), ""), (("address",), "x y"),
        (("checks", 0, "result"), "bad"), (("checks", 0, "text"), None),
        (("checks", 0, "advice"), 1), (("checks", 1), "route")))
    text = (ROOT / "docs/statistics.md").read_text(encoding="utf-8")
    table = text.split("\n## Events\n")[1].split("\n| event |")[1].split("\n\n")[0]
    described = {name for row in table.splitlines() if row.startswith("| `")
                 for name in re.findall(r"`([a-z-]+)`", row.split("|")[1])}
    if described != set(events["properties"]["event"]["enum"]):
        problems.append(f"the schema has other events than docs/statistics.md: "
                        f"{described ^ set(events['properties']['event']['enum'])}")
    print("\n".join(problems + [f"{len(problems)} problems"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
