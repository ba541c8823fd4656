#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The libraries that encrypt: which one a daemon takes, what that costs at the
start, and whether each works once the daemon has given up its rights."""
import re
import socket
import time

import lab
from lab import INNER4, Capture, Pair, Skip, case, check, check_equal
from lab import wait_until

# Files of the libraries that are loaded on demand, by the name in the log.
FILES = {
    "intel-ipsec-mb": "/libIPSec_MB.so.",
    "libcrypto": "/libcrypto.so.3",
    "BoringSSL": "/android/libcrypto.so.",
}

# Resident memory of an idle daemon that chooses by itself may be greater by so
# much than with libsodium, which is linked. Seen with BoringSSL: 160 KiB. A
# choice: libcrypto takes 1.6 MiB.
MEMORY_KIB = 2048

# CPU time of a start that chooses by itself may be greater by so much. Seen with
# BoringSSL: 3 ms. A choice: room for intel-ipsec-mb, which takes 6 ms to test
# itself.
START_MS = 15
STARTS = 5


def log_of(tunnel):
    """The log, once it has the line that is written last at the start."""
    def is_whole():
        return "encryption of single small messages: " in tunnel.log()

    wait_until(is_whole, "the choice is in the log", 5)
    return tunnel.log()


def chosen(log):
    """The names in the log, for batches and for single small messages."""
    found = [re.search(rf"encryption of {work}: ([^,]+?) by "
                       r"(?:rule|measurement), (?:not measured|"
                       r"\d+ ns a message; .+: \d+ ns)$", log, re.M)
             for work in ("batches", "single small messages")]
    check(all(found), f"the choice is not in the log: {log}")
    return [match[1] for match in found]


def loaded(tunnel):
    """The names of the libraries on demand that are in a daemon's memory."""
    with open(f"/proc/{tunnel.pid}/maps", encoding="ascii") as file:
        maps = file.read()
    return {name for name, part in FILES.items() if part in maps}


def start(l, name, *options):
    return l.tunnel(l.node(name), f"wg{name}", 0).start(*options)


@case("by default the log says what was chosen, and no other library is loaded")
def chosen_alone(l):
    tunnel = start(l, "a")
    names = {re.sub(r" \(.*\)", "", name) for name in chosen(log_of(tunnel))}
    check_equal(loaded(tunnel), names & FILES.keys(), "loaded")


@case("a backend that was told is used for all messages, and is not measured")
def told(l):
    tunnel = start(l, "a", "--aead=libsodium")
    log = log_of(tunnel)
    for work in "batches", "single small messages":
        check(f"encryption of {work}: libsodium, as --aead says\n" in log, log)
    check_equal(loaded(tunnel), set(), "loaded")


@case("resident memory of an idle daemon")
def memory(l):
    if l.is_slow:
        raise Skip("sanitizers have memory of their own")
    found = {}
    for name, options in (("a", ()), ("b", ("--aead=libsodium",))):
        tunnel = start(l, name, *options)
        tunnel.configure()
        found[name] = tunnel.rss()
    print(f"# {found['a']} KiB by choice, {found['b']} KiB with libsodium",
          flush=True)
    check(found["a"] <= found["b"] + MEMORY_KIB,
          f"{found['a']} KiB, {found['b']} with libsodium")


def cpu_ms(l, name, *options):
    """CPU time that the main thread of a daemon has taken when it is ready: the
    least of some starts. The first one is not counted, in which the kernel may
    read files."""
    took = []
    for _ in range(1 + STARTS):
        tunnel = start(l, name, *options)
        # Without an answer, "wg show" was the last that it did.
        time.sleep(0.05)
        with open(f"/proc/{tunnel.pid}/schedstat", encoding="ascii") as file:
            took.append(int(file.read().split()[0]) / 1e6)
        tunnel.stop()
        l.nodes.remove(tunnel.node)
        tunnel.node.close()
    return min(took[1:])


@case("CPU time of a start")
def start_time(l):
    if l.is_slow:
        raise Skip("sanitizers take time of their own")
    ours = cpu_ms(l, "a")
    plain = cpu_ms(l, "a", "--aead=libsodium")
    print(f"# {ours:.2f} ms by choice, {plain:.2f} ms with libsodium",
          flush=True)
    check(ours <= plain + START_MS, f"{ours} ms, {plain} ms with libsodium")


def forge(pair):
    """Send each message that b has sent to a again, with another last byte and
    a counter that did not come yet."""
    capture = Capture(pair.a, "eth")
    pair.both_ways(count=2)
    wire = pair.b.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with pair.b.inside():
        wire.bind(("eth", 0x0800))
    frames = [frame for is_outgoing, frame in capture.frames()
              if not is_outgoing and frame[12:14] == b"\x08\0" and
              frame[42:46] == b"\x04\0\0\0"]
    check(len(frames) >= 4, f"{len(frames)} data messages were captured")
    for frame in frames:
        frame = bytearray(frame)
        # Ethernet 14, IP 20, UDP 8, then type 4, index 4, counter 8. The UDP
        # checksum is left out.
        frame[40:42] = bytes(2)
        frame[52] ^= 0x40
        frame[-1] ^= 1
        wire.send(frame)


def add_backend(word):
    """A case with one library at both ends."""
    @case(f"isolated, with forged messages: {word}")
    def _(l):
        try:
            pair = Pair(l, options=(f"--aead={word}",))
        except lab.Failure as failure:
            if "not built in, or not there" in str(failure):
                raise Skip(f"{word} is not here") from failure
            raise
        pair.both_ways(count=1)
        forge(pair)
        pair.both_ways(count=1)
        lab.send_stream(pair.a, pair.b, INNER4["b"], 2_000_000)
        pair.tb.stop()
        # libsodium's AEAD would replace a backend that does not work.
        check("libsodium (AEAD)" not in pair.tb.log(), pair.tb.log())


for backend in "boringssl", "ipsec-mb", "libcrypto", "libsodium":
    add_backend(backend)

lab.main()
