#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A tunnel gets another program while it runs: nothing is lost, no handshake is made, and
what cannot be upgraded goes on as it was."""
import errno
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import lab
import upgrading
import world
from dying import starter_of
from lab import INNER4, INNER6, Capture, Pair, case, check, check_equal, wait_until
from upgrading import Watch, ask, need_processes, traffic, upgrade

UPGRADES = 5
HANG = os.path.abspath(os.environ["HANG"])


@case("under pings and streams: no loss, no handshake, counters go on; over IPv4")
def over_ipv4(l):
    upgrading.many(l, UPGRADES, 4)


@case("the same over IPv6, with IPv6 inside and two queues")
def over_ipv6(l):
    upgrading.many(l, UPGRADES, 6, INNER6, options=("--queues", "2"))


@case("both ends, in turn and at once")
def both_ends(l):
    need_processes()
    pair = Pair(l)
    with traffic(pair):
        watch = Watch(pair)
        upgrade(pair.tb)
        upgrade(pair.ta)
        watch.check(True)
        threads = [threading.Thread(target=upgrade, args=(tunnel,))
                   for tunnel in (pair.ta, pair.tb)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        watch.check(True)
        time.sleep(0.5)


@case("no counter is used twice on the wire")
def wire(l):
    need_processes()
    # Without trains each frame on the cable is one datagram.
    pair = Pair(l, options=("--no-gso", "--no-gro"))
    capture = Capture(pair.b, "eth")
    with traffic(pair):
        watch = Watch(pair)
        for _ in range(UPGRADES):
            time.sleep(0.1)
            upgrade(pair.ta)
            watch.check(True)
    seen, twice = upgrading.see_counters(capture)
    check(len(seen) > 1000, f"{len(seen)} messages were seen")
    check_equal(twice, set(), f"receiver and counter, of {len(seen)} messages")
    print(f"# {len(seen)} messages")


@case("the program is the file that now has the path of the running one, or --program")
def programs(l):
    need_processes()
    first, second = f"{l.directory}/wiregather", f"{l.directory}/other"
    os.chmod(l.directory, 0o755)
    for path in first, second, f"{first}.new":
        shutil.copy(l.daemon, path)
    l.daemon = first
    pair = Pair(l)

    def program_of(tunnel):
        return os.stat(f"/proc/{tunnel.pid}/exe").st_ino

    with traffic(pair):
        watch = Watch(pair)
        check_equal(ask(pair.ta, "--if-changed"), "wga: it has this program already\n",
                    "output")
        watch.check(False)
        os.rename(f"{first}.new", first)
        check(program_of(pair.ta) != os.stat(first).st_ino, "it has the new file already")
        upgrade(pair.ta, "--if-changed")
        watch.check(True)
        check_equal(program_of(pair.ta), os.stat(first).st_ino, "the file of the path")
        upgrade(pair.ta, "--program", second)
        watch.check(True)
        check_equal(program_of(pair.ta), os.stat(second).st_ino, "the file of --program")
        upgrade(pair.ta, "--if-changed")
        watch.check(True)
        check_equal(program_of(pair.ta), os.stat(first).st_ino, "the file of the path")
        # To open a pipe would wait for its other end.
        os.unlink(first)
        os.mkfifo(first, 0o755)
        check_equal(ask(pair.ta, status=1), "wiregatherctl: wga: the program cannot be "
                    "executed: Permission denied\n", "output")
        watch.check(False)
        # The starter is faster than the keeper, or slower.
        os.unlink(first)
        for _ in range(40):
            check_equal(ask(pair.ta, status=1), "wiregatherctl: wga: the program cannot be "
                        "executed: No such file or directory\n", "output")
        watch.check(False)
        shutil.copy(second, first)
        upgrade(pair.ta)
        watch.check(True)


def write_program(path, data):
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, 0o755)


@case("a file that is no program of ours is refused with a line, and the tunnel goes on")
def refused(l):
    need_processes()
    os.chmod(l.directory, 0o755)
    text, cut = f"{l.directory}/text", f"{l.directory}/cut"
    write_program(text, b"This is no program.\n")
    with open(l.daemon, "rb") as file:
        write_program(cut, file.read(3000))
    pair = Pair(l)
    with traffic(pair):
        watch = Watch(pair)
        for path in text, cut, "/bin/true", "/bin/false", HANG:
            begin = time.monotonic()
            line = ask(pair.ta, "--program", path, status=1)
            check(line.startswith("wiregatherctl: wga: ") and line.count("\n") == 1 and
                  "no answer within" not in line and "makes no sense" not in line,
                  f"{path}: {line!r}")
            print(f"# {path}: {line.strip()} ({time.monotonic() - begin:.1f} s)")
            if path == text:
                check("cannot be executed: Exec format error" in line, line)
            watch.check(False)
        upgrade(pair.ta)
        watch.check(True)


# src/base/upgrade.h
REQUEST, REPLY = struct.Struct("=II"), struct.Struct("=Ii400s")


def ask_keeper(tunnel):
    """Ask for an upgrade as wiregatherctl does, but do not look at the engine. Return
    the reply's errno, and why."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(30 * lab.SLOWNESS)
        sock.connect(f"{lab.SOCKETS}/upgrade/{tunnel.name}.upgrade")
        sock.send(REQUEST.pack(1, 0))
        data = sock.recv(REPLY.size)
    check_equal(len(data), REPLY.size, "bytes of the reply")
    _, err, why = REPLY.unpack(data)
    return -err, why.rstrip(b"\0").decode()


@case("an upgrade ends before the starter tells that there is no program: the tunnel "
      "goes on")
def late_failure(l):
    need_processes()
    os.chmod(l.directory, 0o755)
    program = f"{l.directory}/wiregather"
    shutil.copy(l.daemon, program)
    l.daemon = program
    pair = Pair(l)
    pair.both_ways(count=1)
    os.unlink(program)
    engine, starter = pair.ta.pid, starter_of(pair.ta)
    lab.pause(engine)
    lab.pause(starter)
    # The engine reads no news. When its socket is full, the keeper cannot tell it of a
    # successor, and the upgrade ends at once.
    for _ in range(8):
        pair.a.ip(*(f"link set wga mtu {1300 + n % 2}" for n in range(50)))
        time.sleep(0.05)
    err, why = ask_keeper(pair.ta)
    check(err == errno.EAGAIN and "cannot be started" in why, f"{err}: {why}")
    os.kill(starter, signal.SIGCONT)
    time.sleep(1)
    os.kill(engine, signal.SIGCONT)
    check_equal(pair.ta.process.poll(), None, f"status of the daemon: {pair.ta.log()}")
    pair.both_ways(count=1)
    check_equal(upgrading.engines_of(pair.ta), [engine], "engines")


@case("the starter cannot be told to start a program: no descriptor is left open")
def no_word_to_starter(l):
    need_processes()
    pair = Pair(l)
    keeper = pair.ta.keeper
    before = len(os.listdir(f"/proc/{keeper}/fd"))
    limits = resource.prlimit(keeper, resource.RLIMIT_NOFILE)
    # A user may have as many descriptors on their way as a process may have open.
    ends = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
    with open("/dev/null", "rb") as file:
        for end, _ in ends:
            socket.send_fds(end, [b"x"], [file.fileno()] * 200)
    resource.prlimit(keeper, resource.RLIMIT_NOFILE, (100, limits[1]))
    for _ in range(3):
        line = ask(pair.ta, status=1)
        check("the new engine cannot be started" in line, line)
    # The connection of the last client is closed after its reply.
    wait_until(lambda: len(os.listdir(f"/proc/{keeper}/fd")) == before,
               f"the keeper has {before} descriptors again", 10)
    for end in ends:
        for sock in end:
            sock.close()
    resource.prlimit(keeper, resource.RLIMIT_NOFILE, limits)
    upgrade(pair.ta)
    pair.both_ways(count=1)


@case("requests to the sockets while upgrades happen: none that was answered is lost")
def requests(l):
    need_processes()
    tunnel = l.tunnel(l.node("a"), "wga").start()
    answered, unanswered, wrong = [0], [0], []
    is_over = threading.Event()

    def set_on():
        n = 0
        while not is_over.is_set():
            n += 1
            text = (f"set=1\nfwmark={n}\npublic_key={'%064x' % (n % 40 + 1)}\n"
                    f"allowed_ip=10.1.{n % 200}.0/24\n\n")
            try:
                reply = tunnel.ask(text, timeout=20)
            except OSError:
                reply = ""
            if reply == "errno=0\n\n":
                answered[0] = n
            elif reply:
                wrong.append(reply)
            else:
                unanswered[0] += 1

    thread = threading.Thread(target=set_on)
    thread.start()
    try:
        for _ in range(UPGRADES):
            time.sleep(0.2)
            upgrade(tunnel)
            before = answered[0]
            after = int(tunnel.get("fwmark").stdout.strip() or "0", 0)
            check(after >= before, f"set {before} was answered, {after} is there")
    finally:
        is_over.set()
        thread.join()
    check_equal(wrong, [], "refused sets")
    check(answered[0] > 10, f"only {answered[0]} sets")
    check_equal(unanswered[0], 0, "sets without an answer")
    check_equal(int(tunnel.get("fwmark").stdout.strip(), 0), answered[0], "the last set")
    print(f"# {answered[0]} sets")


@case("an engine that came by an upgrade dies, and one that came by a death is upgraded")
def deaths(l):
    need_processes()
    pair = Pair(l, learned=True)
    pair.both_ways()
    before = pair.tb.get("dump").stdout.splitlines()[0], pair.tb.peer(pair.ta).endpoint
    for _ in range(2):
        upgrade(pair.tb)
        # The endpoint that was learnt is in the journal of the new engine, too.
        engine = pair.tb.pid
        os.kill(engine, signal.SIGKILL)
        wait_until(lambda: upgrading.engines_of(pair.tb) not in ([], [engine]),
                   "another engine", 20)
        wait_until(lambda: pair.tb.get(check_status=False).returncode == 0,
                   "it answers", 20)
        after = pair.tb.get("dump").stdout.splitlines()[0], pair.tb.peer(pair.ta).endpoint
        check_equal(after, before, "configuration and endpoint")
        pair.tb.wait_for_port()
        # Until a has heard of the new session, its packets are lost.
        pair.a.reach(INNER4["b"])
        pair.b.reach(INNER4["a"])
    check_equal(pair.tb.log().count("signal 9"), 2, "deaths")


@case("a tunnel that is down, without a key, with a mark, and another port")
def states(l):
    need_processes()
    pair = Pair(l)
    pair.both_ways(count=1)
    plain = l.tunnel(pair.a, "wgc", 0).start()
    upgrade(plain)
    check_equal(plain.get("private-key").stdout, "(none)\n", "key")
    pair.ta.set("listen-port", "51007", "fwmark", "0x77")
    pair.a.ip("link set wga down")
    upgrade(pair.ta)
    check_equal((pair.ta.get("listen-port").stdout, pair.ta.get("fwmark").stdout),
                ("51007\n", "0x77\n"), "port and mark")
    pair.a.ip("link set wga up")
    wait_until(lambda: pair.ta.has_port(51007), "the port is open", 10)
    pair.both_ways(count=1)
    upgrade(pair.ta)
    check(pair.ta.has_port(51007), "the port is closed")
    pair.both_ways(count=1)
    pair.a.ip("link set wga mtu 1300")
    wait_until(lambda: "MTU is 1300" in pair.ta.log(), "the MTU is seen", 10)
    pair.both_ways(count=1)
    # The sockets keep the name of the start.
    pair.a.rename("wga", "wgz")
    upgrade(pair.ta)
    pair.a.must_ping(INNER4["b"], count=1)
    pair.a.rename("wgz", "wga")


@case("a peer that does not answer yet: what is sent before an upgrade begins a session "
      "after it")
def not_yet(l):
    need_processes()
    pair = Pair(l)
    pair.b.ip("link set eth down")
    pair.a.must_not_ping(INNER4["b"])
    upgrade(pair.ta)
    pair.b.ip("link set eth up")
    pair.b.settle("eth")
    pair.a.reach(INNER4["b"])


@case("events are followed through an upgrade")
def events(l):
    need_processes()
    pair = Pair(l)
    log = f"{l.directory}/events"
    with open(log, "wb") as file, subprocess.Popen(
            [upgrading.CTL, "events", "--follow", "wga"], stdout=file,
            stderr=subprocess.STDOUT) as follower:
        l.stack.callback(follower.kill)

        def text():
            with open(log, encoding="utf-8") as lines:
                return lines.read()

        def change():
            pair.ta.set("peer", pair.tb.public, "persistent-keepalive",
                        str(random.randint(100, 60000)))
            return "peer-changed" in text()

        wait_until(change, "an event", 20, 0.1)
        upgrade(pair.ta)
        pair.both_ways(count=1)
        wait_until(lambda: " established " in text(), f"a later event in {text()!r}", 20)
        check_equal(follower.poll(), None, f"status of the follower: {text()!r}")
        pair.ta.stop()
        check_equal(follower.wait(20 * lab.SLOWNESS), 0, "status at the daemon's end")


@case("two requests at once, and one whose client is gone")
def at_once(l):
    need_processes()
    os.chmod(l.directory, 0o755)
    pair = Pair(l)
    with traffic(pair):
        watch = Watch(pair)
        first = subprocess.Popen([upgrading.CTL, "upgrade", "--program", HANG, "wga"],
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 text=True)
        l.stack.callback(first.kill)
        wait_until(lambda: len(lab.descendants_of(pair.ta.process.pid)) > 2,
                   "a successor", 10)
        line = ask(pair.ta, status=1)
        check("under way" in line, line)
        first.kill()
        first.communicate()
        # It goes on without its client, and ends when its time is over.
        wait_until(lambda: "under way" not in lab.run(
            upgrading.CTL, "upgrade", "wga", check_status=False).stdout,
                   "another request is served", 40, 0.5)
        watch.check(True)


@case("only root may ask; a daemon with --no-isolation has no socket to ask by")
def who_may(l):
    need_processes()
    lab.need("setpriv")
    node = l.node("a")
    tunnel = l.tunnel(node, "wga").start()
    done = lab.run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
                   "cat", f"{lab.SOCKETS}/upgrade/wga.upgrade", check_status=False)
    check("ermission denied" in done.stdout, done.stdout)
    line = ask(tunnel)
    check("upgraded in" in line, line)
    tunnel = l.tunnel(node, "wgb", 51821).start("--no-isolation")
    line = ask(tunnel, status=1)
    check("--no-isolation: restart it" in line, line)


@case("a tunnel of wiregatherctl run, by its user and by no other one")
def own_tunnel(l):
    need_processes()
    reason = world.why_not()
    if reason:
        raise lab.Skip(reason)
    w = world.World(l)
    inside = world.Inside(w)
    inside.do(f"ping -n -c 1 -W 12 {INNER4['b']}")
    for _ in range(2):
        done = w.ctl("upgrade", "wg0")
        check(done.returncode == 0 and done.stdout.startswith("wg0: upgraded in "),
              f"status {done.returncode}: {done.stdout}")
        inside.do(f"ping -n -c 1 -W 12 {INNER4['b']}")
    # The other tunnel is root's.
    done = w.ctl("upgrade", "--all")
    check(done.returncode == 0 and done.stdout.count("upgraded in") == 1,
          f"status {done.returncode}: {done.stdout}")
    done = w.ctl("upgrade", "wgb")
    check(done.returncode == 1 and "wgb: Permission denied: only root" in done.stdout,
          f"status {done.returncode}: {done.stdout}")
    inside.end()
    w.must_be_gone()


@case("--all: every tunnel that runs")
def all_tunnels(l):
    need_processes()
    pair = Pair(l)
    with traffic(pair):
        watch = Watch(pair)
        done = lab.run(upgrading.CTL, "upgrade", "--all")
        check_equal([line.split(":")[0] for line in done.stdout.splitlines()],
                    ["wga", "wgb"], f"tunnels of {done.stdout}")
        watch.check(True)
    pair.a.must_ping(INNER4["b"])


if __name__ == "__main__":
    lab.main()
