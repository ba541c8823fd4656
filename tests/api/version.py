#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""All places that name the version name the same one.

usage: version.py VERSION SOURCE
VERSION is Meson's. The header's macros, the newest entry of NEWS.md and the
newest entry of debian/changelog must have it, too. An entry of NEWS.md named
"Not released yet" does not count.
"""
import pathlib
import re
import sys


def main():
    version, source = sys.argv[1], pathlib.Path(sys.argv[2])
    header = (source / "include/udpgather.h").read_text()
    parts = [re.search(rf"^#define UG_VERSION_{name} (\d+)$", header, re.M)
             for name in ("MAJOR", "MINOR", "PATCH")]
    news = re.search(r"^## (?!Not released yet$)(\S+)", (source / "NEWS.md").read_text(), re.M)
    package = re.match(r"wiregather \((.*)-[^-]*\)",
                       (source / "debian/changelog").read_text())
    found = {
        "include/udpgather.h": ".".join(p[1] if p else "?" for p in parts),
        "NEWS.md": news[1] if news else "none",
        "debian/changelog": package[1] if package else "none",
    }
    bad = 0
    print(f"1..{len(found)}")
    for i, (place, has) in enumerate(found.items(), 1):
        same = has == version
        bad += not same
        print(f"{'ok' if same else 'not ok'} {i} {place} has {has}, "
              f"Meson has {version}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
