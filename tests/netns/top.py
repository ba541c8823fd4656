#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""wiregatherctl top on a terminal: what it shows, its keys, sizes, its end, its memory."""
import contextlib
import itertools
import os
import re
import select
import signal
import subprocess
import time

import lab
from lab import INNER4, Pair, case, check, check_equal
from screen import Terminal

CTL = os.path.abspath(os.environ["CTL"])
# More than wiregatherctl without a terminal may have resident, in KiB.
MEMORY_KIB = 2048


def top(l, *words, **options):
    """The program on a terminal, or a skip if it was built without ncurses."""
    done = lab.run(CTL, "top", check_status=False)
    if "built without ncurses" in done.stdout:
        raise lab.Skip(done.stdout.strip())
    return Terminal(l, CTL, "top", "--interval", "0.2", *words, **options)


def give_names(pair, names):
    """Name peers in the configuration that wg-quick would have for wga."""
    lab.run("mount", "-t", "tmpfs", "none", "/etc/wireguard")
    pair.lab.stack.callback(lab.run, "umount", "/etc/wireguard")
    with open("/etc/wireguard/wga.conf", "w", encoding="utf-8") as file:
        for key, name in names.items():
            file.write(f"[Peer]\nPublicKey = {key}\n# friendly_name = {name}\n")


@contextlib.contextmanager
def traffic(pair):
    """A block in which a stream goes from a to b."""
    stream = lab.Steady(pair, INNER4["b"])
    try:
        yield
    finally:
        stream.stop()


def below(rows, word):
    """The lines below the head of a table that begins with a word."""
    for i, row in enumerate(rows):
        if row.startswith(word):
            return rows[i + 1:]
    return []


def order(rows):
    """The first words of the peers."""
    return [row.split()[0] for row in below(rows, "PEER") if row]


@case("80 by 24: interfaces, peers, rates, and batches")
def rates(l):
    pair = Pair(l)
    give_names(pair, {pair.tb.public: "phöne"})
    pair.both_ways(count=1)
    screen = top(l)
    screen.wait_for(r"^wiregatherctl top, 0\.2 s +q quit  s sort  r reverse  d drops$",
                    "the title")
    screen.wait_for(r"^wga .* 1/1$", "interface a with a session")
    screen.wait_for(r"^wgb .* 1/1$", "interface b with a session")
    screen.wait_for(rf"^wga/phöne +{re.escape(pair.endpoint('b'))} .* \d+ s +0$",
                    "peer b")
    screen.wait_for(rf"^wgb/{re.escape(pair.ta.public[:8])}\.\.\. ", "peer a")
    # The heads of both tables end where the values do.
    rows = screen.rows()
    heads = [row for row in rows if row.startswith(("INTERFACE", "PEER"))]
    check_equal([len(row) for row in heads], [80, 80], f"lengths of {heads}")
    with traffic(pair):
        # Bits in and datagrams of b; several datagrams come by one message.
        screen.wait_for(r"^wgb +[\d.]+ [kMG]bit +\d[\d. ]*[kM]? +[\d.]+ ", "b receives")
        screen.wait_for(r"^wga/phöne +\S+ +\d\S* [ kMG]*bit +\d\S* [kMG]bit",
                        "peer b is sent to")
    screen.wait_for(r"^wgb +0 bit +0 +- +0 bit +0 +- +0 ", "the stream has ended")


@case("drops by reason, and attention")
def drops(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    screen = top(l, "wga")
    screen.key("d")
    screen.wait_for("^INTERFACE +DROPPED +EACH s +SO FAR$", "the table of drops")
    pair.ta.set("peer", pair.tb.public, "allowed-ips", "10.99.0.0/16")
    pair.b.must_not_ping(INNER4["a"])
    screen.wait_for(r"^wga +inbound_dropped_disallowed_source +\d+ +[1-9]\d*$", "the drop")
    screen.wait_for(r"^wiregatherctl top, 0\.2 s, attention: 1 ", "attention")
    check(not any("outbound_dropped_lane_stopped" in row for row in screen.rows()),
          "a counter of 0 is shown")
    screen.key("d")
    screen.wait_for("^PEER ", "the peers again")


@case("keys: orders, their reverse, and moving")
def keys(l):
    pair = Pair(l)
    others = {lab.run("wg", "genkey").stdout.strip(): name
              for name in ("ann", "zoe", "kim")}
    names = {lab.run("wg", "pubkey", stdin=key).stdout.strip(): name
             for key, name in others.items()}
    give_names(pair, {**names, pair.tb.public: "bob"})
    for key in names:
        pair.ta.set("peer", key)
    pair.both_ways(count=1)
    screen = top(l, "--sort", "name", "wga")

    def is_sorted(wanted, head):
        def predicate(rows):
            return order(rows) == wanted and head in "".join(screen.rows(True)).split()
        screen.wait_for(predicate, f"{wanted} under {head}")

    is_sorted(["ann", "bob", "kim", "zoe"], "PEER")
    screen.key("r")
    is_sorted(["zoe", "kim", "bob", "ann"], "PEER")
    screen.key("r")
    # The orders come in turn: in, out, handshake, drops, name.
    screen.key("s")
    screen.wait_for(lambda _: "IN/s" in "".join(screen.rows(True)), "by bits in")
    screen.key("s")
    screen.wait_for(lambda _: "OUT/s" in "".join(screen.rows(True)), "by bits out")
    screen.key("s")
    is_sorted(["bob", "ann", "kim", "zoe"], "HANDSHAKE")
    screen.key("s")
    is_sorted(["ann", "bob", "kim", "zoe"], "DROP/s")
    screen.key("\x1b[B")
    is_sorted(["bob", "kim", "zoe"], "DROP/s")
    screen.key("\x1b[6~")
    is_sorted(["zoe"], "DROP/s")
    screen.key("\x1b[A")
    is_sorted(["kim", "zoe"], "DROP/s")
    screen.key("\x1b[1~")
    is_sorted(["ann", "bob", "kim", "zoe"], "DROP/s")
    # A key without a meaning changes nothing.
    screen.key("x")
    is_sorted(["ann", "bob", "kim", "zoe"], "DROP/s")


@case("other sizes")
def sizes(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    screen = top(l)
    screen.wait_for("^PEER ", "80 by 24")
    screen.resize(40, 132)
    # The first line has the terminal's width, and so has a peer.
    screen.wait_for(lambda rows: len(rows[0]) == 131 and len(
        below(rows, "PEER")[0]) == 132, "132 by 40")
    # ncurses does not write into the last cell of a terminal of this kind.
    screen.resize(1, 1)
    time.sleep(0.5)
    for lines, columns in (10, 40), (5, 20), (2, 2), (2, 10), (3, 300):
        screen.resize(lines, columns)
        screen.wait_for(lambda rows, c=columns: rows[0].startswith(
            "wiregatherctl top"[:c]), f"{columns} by {lines}")
        check_equal(screen.process.poll(), None, f"status at {columns} by {lines}")
    screen.resize(24, 80)
    screen.wait_for(r"^wgb/\S+ .* \d+ s +0$", "80 by 24 again")
    screen.key("q")
    check_equal(screen.wait(), 0, "status")


@case("interfaces that come and go")
def come_and_go(l):
    screen = top(l)
    screen.wait_for("^no interface has statistics$", "no interface")
    named = top(l, "wga")
    named.wait_for("^wga +No such file or directory$", "no such interface")
    pair = Pair(l)
    screen.wait_for(r"^wgb .* 0/1$", "the interface")
    named.wait_for(r"^wga .* 0/1$", "the interface that was named")
    pair.b.ip("link set wgb down")
    screen.wait_for("^wgb .* down$", "it is down")
    pair.tb.stop()
    screen.wait_for(lambda rows: not any(row.startswith("wgb") for row in rows),
                    "it is gone")
    pair.ta.stop()
    named.wait_for("^wga +No such file or directory$", "it is gone, too")
    for one in screen, named:
        one.key("q")
        check_equal(one.wait(), 0, "status")


@case("at its end the terminal is as before")
def end(l):
    l.tunnel(l.node("a"), "wga", 51001).start()
    for way in "q", signal.SIGTERM, signal.SIGINT:
        screen = top(l)
        screen.wait_for("^PEER ", "the screen")
        check(not screen.is_as_before(), "the terminal echoes")
        if way == "q":
            screen.key("q")
            check_equal(screen.wait(), 0, "status")
        else:
            screen.end(way)
        check(screen.is_as_before(), f"after {way} the terminal is not as before")


def wait_for_event(reader, pair):
    """Wait until the command events has printed an event. It does not print events
    from before it was connected, so the peer is changed again and again."""
    intervals = itertools.cycle(("25", "26"))

    def has_event():
        check(reader.poll() is None, "the command events has ended")
        pair.ta.set("peer", pair.tb.public, "persistent-keepalive", next(intervals))
        while select.select([reader.stdout], [], [], 0.1)[0]:
            line = reader.stdout.readline()
            if '"peer-changed"' in line or not line:
                return bool(line)
        return False

    lab.wait_until(has_event, "the command events prints an event", 20)


@case("memory")
def memory(l):
    if l.is_slow:
        raise lab.Skip("with a sanitizer memory is another")
    pair = Pair(l)
    pair.both_ways(count=1)
    screen = top(l)
    with traffic(pair):
        screen.wait_for(r"^wgb +[\d.]+ [kMG]bit ", "some samples")
    reader = subprocess.Popen([CTL, "events", "--follow", "--json", "wga"], stdout=subprocess.PIPE,
                              text=True, preexec_fn=lab.after_fork)
    l.stack.callback(reader.wait)
    l.stack.callback(reader.kill)
    lab.wait_until(lambda: resident(reader.pid) > 500, "the other program has begun", 20)
    wait_for_event(reader, pair)
    more = resident(screen.process.pid) - resident(reader.pid)
    print(f"# {resident(screen.process.pid)} KiB, {more} KiB more than events")
    check(more <= MEMORY_KIB, f"{more} KiB more than the command events")


def resident(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        found = re.search(r"VmRSS:\s+(\d+)", file.read())
    return int(found.group(1)) if found else 0


@case("without a terminal, and wrong usage")
def usage(l):
    done = lab.run(CTL, "top", check_status=False)
    check(done.returncode == 1 and (
        "stdin and stdout are no terminal" in done.stdout or
        "built without ncurses" in done.stdout), f"{done.returncode}: {done.stdout}")
    screen = top(l, term="no-such-terminal")
    check_equal(screen.process.wait(20 * lab.SLOWNESS), 1, "status")
    text = os.read(screen.master, 4096).decode()
    check("no such terminal: no-such-terminal" in text, text)
    for words, complaint in ((("--interval", "0.05"), "not from 0.1 to 3600: 0.05"),
                             (("--interval", "1s"), "not from 0.1 to 3600: 1s"),
                             (("--interval", "nan"), "not from 0.1 to 3600: nan"),
                             (("--interval", "1e9"), "not from 0.1 to 3600: 1e9"),
                             (("--sort", "size"), "drops or name: size"),
                             (("--sort",), "no value: --sort"),
                             (("--json",), "no such option: --json")):
        done = lab.run(CTL, "top", *words, check_status=False)
        check(done.returncode == 2 and complaint in done.stdout,
              f"{words}: {done.returncode}: {done.stdout}")


lab.main()
