#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An engine dies, and another one goes on for it."""
import os
import resource
import signal
import subprocess
import threading
import time

import lab
from dying import DEATHS, await_another, die, kept, starter_of
from lab import INNER4, Capture, Pair, Skip, case, check, check_equal, wait_until
from manager import Manager

# Five deaths in this time end the daemon, in seconds.
LOOP_S = 60


def state_of(tunnel):
    """What must stay: the interface, its addresses and routes, the configuration."""
    node = tunnel.node
    peers = {key: (peer.endpoint, peer.allowed)
             for key, peer in tunnel.peers().items()}
    text = [line for line in tunnel.get("dump").stdout.splitlines()]
    # Of a peer: without time of the handshake and counters.
    lines = [text[0]] + ["\t".join(line.split("\t")[i] for i in (0, 1, 2, 3, 7))
                         for line in text[1:]]
    links = node.run("ip", "-o", "link", "show", tunnel.name).stdout.split("qdisc")[0]
    return {"link": links, "addresses": node.run(
        "ip", "-o", "addr", "show", tunnel.name).stdout,
        "routes": node.run("ip", "route", "show", "dev", tunnel.name).stdout,
        "configuration": lines, "number of peers": len(peers)}


def check_same(before, after):
    for what, value in before.items():
        check_equal(after[what], value, what)


@case("an engine that dies is replaced: interface, addresses, routes, port and "
      "configuration stay, and packets pass")
def replaced(l):
    pair = kept(Pair(l))
    pair.both_ways()
    for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGSYS):
        before = state_of(pair.ta)
        die(pair.ta, number)
        check_same(before, state_of(pair.ta))
        pair.ta.wait_for_port()
        pair.both_ways()
    log = pair.ta.log()
    check_equal(log.count("another engine has taken its place"), DEATHS, "lines")
    check(f"signal {int(signal.SIGSEGV)}" in log, "no line names the signal")
    check("restored from" in log, "no line says what was restored")


@case("a port that another program has meanwhile does not end the tunnel: an earlier one, "
      "and the one in use")
def taken_ports(l):
    pair = kept(Pair(l))
    pair.both_ways(count=1)
    # The record of the first port is in the journal, before that of the second one.
    pair.ta.set("listen-port", "51007")
    other = pair.a.socket()
    other.bind(("0.0.0.0", 51001))
    die(pair.ta)
    pair.ta.wait_for_port()
    pair.both_ways(count=1)
    pair.a.ip("link set wga down")
    wait_until(lambda: not pair.ta.has_port(51007), "the port is free")
    other = pair.a.socket()
    other.bind(("0.0.0.0", 51007))
    die(pair.ta)
    check_equal(pair.ta.get("listen-port").stdout, "51007\n", "port")
    check_equal(len(pair.ta.peers()), 1, "peers")
    pair.a.ip("link set wga up")
    wait_until(lambda: "cannot listen on port 51007" in pair.ta.log(), "a line says so")
    other.close()
    wait_until(lambda: pair.ta.has_port(51007), "the port is open", 20)
    pair.both_ways(count=1)


@case("the other end is greeted: it reaches an engine that has nothing to send")
def greeted(l):
    pair = kept(Pair(l))
    pair.both_ways()

    def count_sessions():
        return pair.tb.log().count("established as responder")

    before = count_sessions()
    die(pair.ta)
    pair.ta.wait_for_port()
    # The other end uses the session from its first message on.
    wait_until(lambda: count_sessions() > before, "another session with b", 10)
    pair.b.must_ping(INNER4["a"])
    check(pair.ta.peer(pair.tb).handshake, "no handshake")


@case("counters, and an endpoint that was learnt, survive")
def learnt(l):
    pair = kept(Pair(l, learned=True))
    pair.a.must_ping(INNER4["b"], count=5)
    before = pair.tb.peer(pair.ta)
    # What has happened is noted when the timers are looked at.
    time.sleep(11)
    die(pair.tb)
    after = pair.tb.peer(pair.ta)
    check_equal(after.endpoint, before.endpoint, "endpoint")
    check(after.rx >= before.rx and after.tx >= before.tx,
          f"counters went back: {before.rx}, {before.tx}, now {after.rx}, {after.tx}")
    pair.b.must_ping(INNER4["a"])


@case("no set that was answered is lost, however often an engine dies")
def sets(l):
    tunnel = kept(l.tunnel(l.node("a"), "wga").start())
    keys = [lab.run("wg", "pubkey", stdin=lab.run("wg", "genkey").stdout
                    ).stdout.strip() for _ in range(20)]
    answered, running = [0], [True]
    failures = []

    def set_on():
        n = 0
        while running[0]:
            n += 1
            text = (f"set=1\nfwmark={n}\npublic_key={'%064x' % (n % 40 + 1)}\n"
                    f"allowed_ip=10.1.{n % 200}.0/24\n" +
                    ("remove=true\n" if n % 3 == 0 else "") + "\n")
            try:
                reply = tunnel.ask(text, timeout=20)
            except OSError:
                continue
            if reply == "errno=0\n\n":
                answered[0] = n
            elif reply:
                failures.append(reply)

    thread = threading.Thread(target=set_on)
    thread.start()
    try:
        for _ in range(DEATHS):
            time.sleep(0.5)
            before = answered[0]
            die(tunnel)
            after = int(tunnel.get("fwmark").stdout.strip() or "0", 0)
            check(after >= before, f"set {before} was answered, {after} is there")
    finally:
        running[0] = False
        thread.join()
    check_equal(failures, [], "refused sets")
    check(answered[0] > 10, f"only {answered[0]} sets, {len(keys)} keys")
    before = tunnel.ask("get=1\n\n")
    os.kill(tunnel.pid, 0)
    print(f"# {answered[0]} sets in {DEATHS} lives, {len(before)} bytes")


# A user that runs nothing else, and how many processes it may have.
ALONE, FEW = 4713, 40


@case("an engine that cannot be started for a moment is started later")
def shortage(l):
    tunnel = kept(l.tunnel(l.node("a"), "wga")).start(
        "--user", f"{ALONE}:{ALONE}",
        before=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (FEW, FEW)))
    tunnel.set("listen-port", "51001")
    # The limit of the starter counts these, too.
    others = [subprocess.Popen(["sleep", "60"], user=ALONE, group=ALONE)
              for _ in range(FEW)]
    before = tunnel.pid
    try:
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: "cannot start the engine: " in tunnel.log(), "a line", 20)
    finally:
        for other in others:
            other.kill()
            other.wait()
    await_another(tunnel, before)
    check_equal(tunnel.get("listen-port").stdout, "51001\n", "port")


@case("a daemon that has no engine for a moment ends as it is told")
def shortage_ends(l):
    a = l.node("a")
    tunnel = kept(l.tunnel(a, "wga")).start(
        "--user", f"{ALONE}:{ALONE}",
        before=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (FEW, FEW)))
    others = [subprocess.Popen(["sleep", "60"], user=ALONE, group=ALONE)
              for _ in range(FEW)]
    try:
        os.kill(tunnel.pid, signal.SIGKILL)
        wait_until(lambda: "cannot start the engine: " in tunnel.log(), "a line", 20)
        tunnel.process.send_signal(signal.SIGTERM)
        check_equal(tunnel.wait(), 0, "status")
    finally:
        for other in others:
            other.kill()
            other.wait()
    check(a.run("ip", "link", "show", "wga", check_status=False).returncode,
          "the interface is left")


@case("five deaths in a minute end the daemon, with a line and status 1")
def loop(l):
    node = l.node("a")
    tunnel = kept(l.tunnel(node, "wga").start())
    begin = time.monotonic()
    for _ in range(DEATHS):
        die(tunnel)
    os.kill(tunnel.pid, signal.SIGSEGV)
    status = tunnel.wait(20)
    if time.monotonic() - begin >= LOOP_S:
        raise Skip("this machine is too slow for five deaths in a minute")
    check_equal(status, 1, "status")
    check("no other one is started" in tunnel.log(), "no line says why")
    check(node.run("ip", "link", "show", "wga", check_status=False).returncode,
          "the interface is still there")


FAILED = "failed: nothing passes, and the interface stays until it is deleted"
# A prefix behind the tunnel that no address of a node is in.
BEHIND = "10.77.0.0/16"


def fail_for_good(tunnel):
    """Have the engine die too often."""
    begin = time.monotonic()
    for _ in range(DEATHS):
        die(tunnel)
    os.kill(tunnel.pid, signal.SIGSEGV)
    wait_until(lambda: "the interface stays until it is deleted" in tunnel.log() or
               tunnel.log().count("another engine has taken its place") > DEATHS or
               tunnel.process.poll() is not None, "the tunnel has failed", 20)
    if time.monotonic() - begin >= LOOP_S:
        raise Skip("this machine is too slow for five deaths in a minute")
    check("the interface stays until it is deleted" in tunnel.log(),
          f"the tunnel has not failed: {tunnel.log()}")
    check(tunnel.process.poll() is None, f"the daemon has ended: {tunnel.log()}")


def routes_and_addresses(node, name):
    return [node.run("ip", "-o", *words, name).stdout for words in (
        ("addr", "show"), ("route", "show", "dev"), ("-6", "route", "show", "dev"))]


def clear_packets(capture):
    """The packets to the tunnel's networks that a capture has seen."""
    found = []
    for _, frame in capture.frames():
        if frame[12:14] == b"\x08\x00" and frame[30:32] in (b"\x0a\x09", b"\x0a\x4d"):
            found.append(frame)
        if frame[12:14] == b"\x86\xdd" and frame[38:40] == b"\xfd\x09":
            found.append(frame)
    return found


def cpu_ticks(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


@case("--fail-closed: after five deaths the interface stays, and nothing passes or leaves "
      "in the clear, until it is deleted")
def fail_closed(l):
    manager = Manager(l.node("m"))
    pair = kept(Pair(l, options=("--fail-closed",), how=manager.environment()))
    tunnel = pair.ta
    # Without the interface packets would leave by this route.
    pair.a.ip(f"route add {BEHIND} dev wga", "route add default via 192.0.2.2 dev eth",
              "route add default via 2001:db8::2 dev eth")
    pair.both_ways(count=1)
    before = routes_and_addresses(pair.a, "wga")
    fail_for_good(tunnel)
    check_equal(routes_and_addresses(pair.a, "wga"), before, "addresses and routes")
    capture = Capture(pair.a, "eth")
    for address in INNER4["b"], "10.77.1.1", lab.INNER6["b"]:
        pair.a.run("ping", "-c", "3", "-i", "0.1", "-W", "1", address, check_status=False)
    pair.b.must_not_ping(INNER4["a"])
    check_equal(clear_packets(capture), [], "packets in the clear")
    check(not tunnel.has_port(51001), "the UDP port is open")
    manager.wait_for_status(FAILED)
    check(not os.path.exists(tunnel.socket), "the socket's file is left")
    done = tunnel.get(check_status=False)
    check(done.returncode, f"wg show has an answer: {done.stdout}")
    ticks = cpu_ticks(tunnel.keeper)
    manager.wait_for_food(2)
    used = (cpu_ticks(tunnel.keeper) - ticks) / os.sysconf("SC_CLK_TCK")
    check(used < 0.5, f"the keeper has used {used} s of CPU time")
    pair.a.rename("wga", "wgz")
    time.sleep(0.2)
    check(tunnel.process.poll() is None, "the daemon has ended")
    pair.a.ip("link del wgz")
    check_equal(tunnel.wait(20), 1, "status")
    manager.wait_for("STATUS=5 engines have died within 60 s")
    # The capture does see packets that leave in the clear.
    pair.a.run("ping", "-c", "1", "-W", "1", INNER4["b"], check_status=False)
    wait_until(lambda: clear_packets(capture), "a packet in the clear")


@case("--fail-closed: a signal ends it, with status 1, and so does deleting the interface "
      "in another namespace")
def fail_closed_ends(l):
    a, away = l.node("a"), l.node("away")
    for number, is_moved in enumerate((False, True)):
        name = f"wg{number}"
        tunnel = kept(l.tunnel(a, name).start(WIREGATHER_OPTIONS="--fail-closed"))
        fail_for_good(tunnel)
        if is_moved:
            a.ip(f"link set {name} netns away")
            away.ip(f"link del {name}")
        else:
            tunnel.process.send_signal(signal.SIGTERM)
        check_equal(tunnel.wait(20), 1, "status")
        check(a.run("ip", "link", "show", name, check_status=False).returncode,
              "the interface is still there")


@case("--fail-closed: the process that starts engines is gone, and the engine dies")
def fail_closed_alone(l):
    a = l.node("a")
    tunnel = kept(l.tunnel(a, "wga").start("--fail-closed"))
    starter = starter_of(tunnel)
    engine = tunnel.pid
    os.kill(starter, signal.SIGKILL)
    wait_until(lambda: "the process that starts engines has ended" in tunnel.log(),
               "a line says so")
    os.kill(engine, signal.SIGKILL)
    wait_until(lambda: "the interface stays until it is deleted" in tunnel.log(),
               "the interface stays")
    a.ip("link del wga")
    check_equal(tunnel.wait(20), 1, "status")


@case("a core file is left with --core only, and by the engine only")
def core(l):
    if l.is_slow:
        raise Skip("a sanitizer needs to trace its process")
    with open("/proc/sys/kernel/core_pattern", encoding="ascii") as file:
        pattern = file.read().strip()
    a = l.node("a")
    for number, options in enumerate(((), ("--core",))):
        directory = f"{l.directory}/{number}"
        os.mkdir(directory)
        os.chmod(directory, 0o777)

        def prepare(directory=directory):
            os.chdir(directory)
            limit = resource.RLIM_INFINITY
            resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))

        tunnel = kept(l.tunnel(a, f"wg{number}").start(*options, before=prepare))
        starter = starter_of(tunnel)
        # The files in /proc of a process that is not dumpable are root's.
        for name, pid in ("engine", tunnel.pid), ("starter", starter):
            is_wanted = name == "engine" and options
            check_equal(os.stat(f"/proc/{pid}/environ").st_uid != 0, bool(is_wanted),
                        f"{options}: is the {name} dumpable?")
        with open(f"/proc/{tunnel.pid}/limits", encoding="ascii") as file:
            line = next(line for line in file if "core file" in line)
        check_equal(line.split()[4:6], ["unlimited"] * 2, "RLIMIT_CORE")
        wait_until(lambda: ("as --core has it" in tunnel.log()) == bool(options),
                   "a line about --core")
        die(tunnel)
        files = os.listdir(directory)
        if pattern[0] not in "|/":
            check_equal(len(files), len(options), f"{options}: core files: {files}")
        tunnel.process.send_signal(signal.SIGSEGV)
        status = os.waitpid(tunnel.process.pid, 0)[1]
        tunnel.process.returncode = -signal.SIGSEGV
        tunnel.has_ended = True
        check(os.WIFSIGNALED(status) and not os.WCOREDUMP(status),
              f"status of the keeper: {status:#x}")
        check_equal(os.listdir(directory), files, "core files of keeper and starter")


@case("descriptors and memory of the keeper stay as they are")
def flat(l):
    tunnel = kept(l.tunnel(l.node("a"), "wga").start())

    def figures():
        pid = tunnel.keeper
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            rss = next(int(line.split()[1]) for line in file
                       if line.startswith("VmRSS"))
        return len(os.listdir(f"/proc/{pid}/fd")), rss

    die(tunnel)
    before = figures()
    for _ in range(DEATHS - 1):
        die(tunnel)
    after = figures()
    check_equal(after[0], before[0], "descriptors")
    check(after[1] <= before[1] + 64, f"KiB: {before[1]}, now {after[1]}")


if __name__ == "__main__":
    lab.main()
