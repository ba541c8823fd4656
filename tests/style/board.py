#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The board for Grafana asks for metrics that wiregatherctl has, and is well made.

usage: board.py WIREGATHERCTL

Without an interface `wiregatherctl metrics` prints the head of every metric, and no
sample. A counter, or a part of a histogram, stands in rate(); a gauge does not.
netns/ctl compares the labels with real samples.
"""
import json
import pathlib
import re
import subprocess
import sys

BOARD = pathlib.Path(__file__).resolve().parents[2] / "contrib/grafana/wiregather.json"
METRIC = re.compile(r"\bwire(?:gather|guard)_[a-z0-9_]+")
# Parts of a histogram, by the endings of their names.
PARTS = ("_bucket", "_sum", "_count")

problems = []


def types_of(program):
    """The type of each name that a sample can have. An interface that does not exist
    keeps those of this machine away; its status is therefore 1."""
    text = subprocess.run([program, "metrics", "no-such-interface"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          check=False).stdout
    found = {}
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M):
        for ending in PARTS if kind == "histogram" else ("",):
            found[name + ending] = "counter" if kind == "histogram" else kind
    return found


def check_expression(types, where, text):
    names = METRIC.findall(text)
    if not names:
        problems.append(f"{where}: no metric in {text}")
    for name in names:
        kind = types.get(name)
        is_rate = f"rate({name}" in text
        if kind is None:
            problems.append(f"{where}: there is no metric {name}")
        elif is_rate != (kind == "counter"):
            problems.append(f"{where}: {name} is a {kind}: {text}")
    if text.count("(") != text.count(")") or text.count("{") != text.count("}"):
        problems.append(f"{where}: a bracket is missing: {text}")


def check_places(panels):
    """No two panels have the same id or overlap, and none is too wide."""
    seen, taken = set(), {}
    for panel in panels:
        if panel["id"] in seen:
            problems.append(f"two panels have the id {panel['id']}")
        seen.add(panel["id"])
        at = panel["gridPos"]
        if at["x"] + at["w"] > 24:
            problems.append(f"{panel['title']}: too wide")
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                other = taken.setdefault((x, y), panel["title"])
                if other != panel["title"]:
                    problems.append(f"{panel['title']} overlaps {other}")
                    return


def main():
    types = types_of(sys.argv[1])
    board = json.loads(BOARD.read_text(encoding="utf-8"))
    variables = {v["name"]: v for v in board["templating"]["list"]}
    check_expression(types, "variable interface", variables["interface"]["query"])
    check_places(board["panels"])
    shown = [panel for panel in board["panels"] if panel["type"] != "row"]
    for panel in shown:
        if not panel["description"]:
            problems.append(f"{panel['title']}: no description")
        for target in panel["targets"]:
            check_expression(types, panel["title"], target["expr"])
            if target["datasource"]["uid"] != "${datasource}":
                problems.append(f"{panel['title']}: another source of data")
            if '{interface=~"$interface"' not in target["expr"]:
                problems.append(f"{panel['title']}: all interfaces are shown")
    if len(types) < 20 or len(shown) < 10:
        problems.append(f"found only {len(shown)} panels and the metrics {types}")
    print("\n".join(problems + [f"{len(shown)} panels, {len(types)} metrics, "
                                f"{len(problems)} problems"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
