#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The places of the daemon's secrets, seen from outside: its memory, the flags
of that memory, and its log."""
import base64
import binascii
import re

import lab
from lab import Pair, Skip, case, check, check_equal, run


def mappings(pid):
    """The writable mappings of a process: (first, last + 1, name, flags)."""
    found, head = [], None
    with open(f"/proc/{pid}/smaps", encoding="ascii") as file:
        for line in file:
            match = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)",
                             line)
            if match:
                head = match
            elif line.startswith("VmFlags:") and head[3].startswith("rw"):
                found.append((int(head[1], 16), int(head[2], 16), head[4],
                              set(line.split()[1:])))
    return found


def is_region(flags):
    """Is this memory for secrets: locked, not dumped, and not passed to a
    child?"""
    return {"lo", "dd"} <= flags and bool({"dc", "wf"} & flags)


def encodings(label, key):
    """Halves of a key in each notation; finding one of them counts as finding
    the key."""
    raw = base64.b64decode(key)
    text = binascii.hexlify(raw)
    for name, data in (("", raw), (" in hex", text),
                       (" in HEX", text.upper()), (" in base64",
                                                   key.encode())):
        half = len(data) // 2
        yield label + name, data[:half]
        yield label + name, data[-half:]


def search(pid, needles):
    """Search a process for keys; return a set of (label, name of the mapping,
    is the mapping memory for secrets)."""
    found = set()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for first, end, name, flags in mappings(pid):
            # Thread stacks, 8 MiB each and mostly empty, are still read.
            if end - first > 1 << 30:
                continue
            memory.seek(first)
            try:
                data = memory.read(end - first)
            except OSError:  # memfd_secret(2): not readable from outside
                continue
            found |= {(label, name, is_region(flags))
                      for label, needle in needles if needle in data}
    return found


def need_plain_build(l):
    if l.is_slow:
        raise Skip("a sanitizer keeps copies of its own")


def new_key(kind="genpsk"):
    return run("wg", kind).stdout.strip()


def must_be_gone(tunnel, needles, what):
    outside = {hit for hit in search(tunnel.pid, needles) if not hit[2]}
    check_equal(outside, set(), f"{what}: found outside of its memory")


@case("keys in use are in memory for secrets only; removed and replaced ones "
      "are nowhere")
def scan(l):
    need_plain_build(l)
    psk = new_key()
    with open(f"{l.directory}/psk", "w", encoding="ascii") as file:
        file.write(psk + "\n")
    pair = Pair(l, more={"PresharedKey": psk})
    pair.both_ways(count=2)
    # The reply has all keys in it, and the reply to ask() is read in part
    # only.
    for _ in range(3):
        pair.ta.get("dump")
        pair.ta.ask("get=1\n\n")
    private = list(encodings("private key", pair.ta.private))
    shared = list(encodings("preshared key", psk))
    must_be_gone(pair.ta, private + shared, "in use")
    # The search finds a public key, so it would find secrets, too.
    public = [("public key", base64.b64decode(pair.tb.public))]
    check(search(pair.ta.pid, public), "a peer's public key is not found")

    pair.ta.set("peer", pair.tb.public, "preshared-key", "/dev/null")
    pair.a.must_ping(lab.INNER4["b"], count=1)
    check_equal(search(pair.ta.pid, shared), set(), "a replaced preshared key")
    pair.ta.set("peer", pair.tb.public, "preshared-key", f"{l.directory}/psk")
    pair.ta.set("peer", pair.tb.public, "remove")
    check_equal(search(pair.ta.pid, shared), set(), "a removed peer's")
    other = pair.ta.private
    pair.ta.private = new_key("genkey")
    pair.ta.configure()
    check_equal(search(pair.ta.pid, list(encodings("private key", other))),
                set(), "a replaced private key")
    must_be_gone(pair.ta, list(encodings("private key", pair.ta.private)),
                 "the new private key")


@case("memory for secrets is locked, in no core dump, and not inherited")
def flags(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    regions = [(first, end) for first, end, name, flags in
               mappings(pair.ta.pid)
               if is_region(flags) or "secretmem" in name]
    # One region is for handshakes, one for session keys.
    check(len(regions) >= 2, f"{len(regions)} regions")
    for first, _, name, flags in mappings(pair.ta.pid):
        if "secretmem" in name:
            check({"dd", "dc"} <= flags,
                  f"{name} at {first:x} has the flags {sorted(flags)}")


# Requests with mistakes, as a person or a broken program may send them. {}
# stands for a key in hex, [] for one in base64.
BROKEN = (
    "set=1\nprivate_key={}x\n\n", "set=1\nprivate_key=[]\n\n",
    "set=1\nprivate_key\n{}\n\n", "set=1\n{}\n\n", "set=1\n[]\n\n",
    "set=1\n{}=\n\n", "set=1\nprivatekey={}\n\n", "set=1\nlisten_port={}\n\n",
    "set=1\nfwmark=[]\n\n", "set=1\npublic_key=[]\n\n",
    "set=1\npublic_key={}\npreshared_key={}0\n\n",
    "set=1\npublic_key={}\npreshared_key=[]\n\n",
    "set=1\npublic_key={}\nendpoint={}\n\n",
    "set=1\npublic_key={}\nendpoint=[]:1\n\n",
    "set=1\npublic_key={}\nallowed_ip={}/32\n\n",
    "set=1\npublic_key={}\nallowed_ip=[]\n\n",
    "set=1\npublic_key={}\nprivate_key={}\n\n",
    "set=1\npublic_key={}\n{}={}\n\n", "set={}\n\n", "{}\n\n", "get=1\n{}\n\n",
    "get={}\n\n", "set=1\nprivate_key={}\0\n\n",
    "set=1\nprivate_key={}" + "0" * 2000 + "\n\n")


@case("no key is in the log, whatever is wrong")
def logs(l):
    psk = new_key()
    pair = Pair(l, more={"PresharedKey": psk})
    pair.both_ways(count=1)
    # Cause handshakes that fail, and handshakes with another key.
    stray = new_key("genkey")
    hexed = binascii.hexlify(base64.b64decode(stray)).decode()
    for text in BROKEN:
        pair.ta.ask(text.replace("{}", hexed).replace("[]", stray))
    check(pair.ta.log().count("uapi: line") >= 15, "errors are not logged")
    with open(f"{l.directory}/psk", "w", encoding="ascii") as file:
        file.write(new_key() + "\n")
    pair.tb.set("peer", pair.ta.public, "preshared-key", f"{l.directory}/psk")
    pair.tb.flap()
    pair.b.must_not_ping(lab.INNER4["a"])
    pair.tb.private = stray
    pair.tb.configure()
    log = (pair.ta.log() + pair.tb.log()).encode()
    check(b"handshake" in log, "handshakes are not logged")
    for label, key in (("private key", pair.ta.private), ("preshared key", psk),
                       ("other key", stray)):
        for name, part in encodings(label, key):
            check(part not in log, f"{name} is in the log")
        # Not even a quarter of a key may be in the log.
        check(key[8:19].encode() not in log, f"a part of the {label}")


lab.main()
