#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Facilities that a machine may lack when the daemon starts, and changes of
the machine while the daemon runs.
"""
import errno
import os
import signal
import time

import failcall
import lab
from lab import INNER4, OUTER4, Pair, case, check, check_equal

# linux/sched.h
CLONE_NEWTIME = 0x80
DAY = 86400


# ----------------------------------------------------- what is not there


def fail_in(node, script, *arguments):
    """Start the daemon after a shell script has changed the mounts. It must
    fail with one line, which is returned, and leave no interface."""
    done = node.run("unshare", "-m", "sh", "-e", "-c",
                    script + '\nexec "$0" "$@"', node.lab.daemon, *arguments,
                    check_status=False, timeout=20)
    check_equal(done.returncode, 1, f"status after: {done.stdout}")
    lines = done.stdout.splitlines()
    check_equal(len(lines), 1, f"lines of the message {lines}")
    check(lines[0].startswith("wiregather: "), f"message {lines[0]}")
    check(node.run("ip", "link", "show", "wga", check_status=False).returncode,
          "an interface is left")
    return lines[0]


@case("/var/run is read-only: said in one line")
def read_only(l):
    a = l.node("a")
    script = "mount -t tmpfs -o ro none /var/run/"
    for arguments in ("-f", "wga"), ("wga",):
        line = fail_in(a, script, *arguments)
        check("/var/run/wireguard" in line and "Read-only" in line,
              f"message: {line}")
    # With the directory, and with the socket file of a daemon that was killed.
    tunnel = l.tunnel(a, "wga").start()
    tunnel.process.kill()
    tunnel.process.wait()
    tunnel.has_ended = True
    script = "mount -o remount,bind,ro /var/run/"
    if os.path.realpath("/var/run") == "/run":
        script = "mount --bind /run /run; mount -o remount,bind,ro /run"
    line = fail_in(a, script, "-f", "wga")
    check("Read-only" in line, f"message: {line}")


@case("no /dev/net/tun, or no driver behind it: the message says what to do")
def no_tun(l):
    a = l.node("a")
    line = fail_in(a, "mount -t tmpfs none /dev", "-f", "wga")
    check("no /dev/net/tun" in line and "modprobe tun" in line and
          "--device /dev/net/tun" in line, f"message: {line}")
    script = """mount -t tmpfs none /dev
        mknod /dev/null c 1 3"""
    check_equal(fail_in(a, script, "wga"), line, "message of the daemon")
    script += """
        mkdir /dev/net
        mknod /dev/net/tun c 10 %d"""
    # A device number that no driver has.
    line = fail_in(a, script % 243, "-f", "wga")
    check("no TUN driver" in line and "modprobe tun" in line,
          f"message: {line}")


def add_old_kernel(what, name, err):
    """A case of a kernel that lacks a system call, or an option."""
    @case(f"a kernel without {what}")
    def _(l):
        library = failcall.find_library(l.daemon)
        if not library:
            raise lab.Skip("no libfailcall.so beside the daemon")
        table = failcall.Table(library, f"{l.directory}/failcall")
        table.plan(failcall.ONE_NAME, err, 1, failcall.ALWAYS, name=name)
        os.environ.update(table.environment())
        try:
            pair = Pair(l)
        finally:
            for key in table.environment():
                del os.environ[key]
        pair.both_ways(count=1)
        lab.send_stream(pair.a, pair.b, INNER4["b"], 2 << 20)
        lab.send_stream(pair.b, pair.a, INNER4["a"], 2 << 20)
        check(table.n_failed, f"nobody has called {name}")


for missing in (("sendmmsg", "sendmmsg", errno.ENOSYS),
                ("recvmmsg", "recvmmsg", errno.ENOSYS),
                ("UDP_SEGMENT and UDP_GRO", "getsockopt", errno.ENOPROTOOPT),
                ("memfd_secret", "memfd_secret", errno.ENOSYS)):
    add_old_kernel(*missing)


# --------------------------------------------------------- what changes


def ends_killed(pair, tunnel):
    """End a daemon by SIGKILL, and start it again with the same settings."""
    side = "a" if tunnel is pair.ta else "b"
    other = pair.tb if tunnel is pair.ta else pair.ta
    tunnel.process.kill()
    tunnel.process.wait()
    pair.lab.tunnels.remove(tunnel)
    tunnel.start()
    tunnel.configure({"PublicKey": other.public,
                      "AllowedIPs": lab.allowed(SIDES[side]),
                      "Endpoint": pair.endpoint(SIDES[side])})
    tunnel.up(INNER4[side] + "/24", lab.INNER6[side] + "/64")


SIDES = {"a": "b", "b": "a"}


@case("either end is killed and started again, under a stream")
def killed(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    stream = lab.Stream(pair.a, pair.b, INNER4["b"], 4 << 20, timeout=90)
    for tunnel in pair.ta, pair.tb:
        time.sleep(0.1)
        ends_killed(pair, tunnel)
    # The end that still has the old session notices after 15 s that it gets no
    # answers. What it has sent until then is lost.
    pair.a.reach(INNER4["b"])
    pair.b.reach(INNER4["a"])
    stream.finish(100)


@case("the interface is deleted and made again, many times")
def made_again(l):
    pair = Pair(l)
    for _ in range(5):
        pair.a.must_ping(INNER4["b"], count=1, wait=10)
        pair.a.ip("link del wga")
        check_equal(pair.ta.wait(10), 0, "status after the deletion")
        pair.ta.has_ended = False
        pair.lab.tunnels.remove(pair.ta)
        pair.ta.start()
        pair.ta.configure({"PublicKey": pair.tb.public,
                           "AllowedIPs": lab.allowed("b"),
                           "Endpoint": pair.endpoint("b")})
        pair.ta.up(INNER4["a"] + "/24", lab.INNER6["a"] + "/64")
    pair.both_ways(count=1, wait=10)


@case("a storm of addresses and routes under a stream")
def storm(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    stream = lab.Stream(pair.a, pair.b, INNER4["b"], 4 << 20, timeout=90)
    for net in range(4):
        for what in "add", "del":
            pair.a.ip(*(f"addr {what} 10.77.{net}.{i}/32 dev eth"
                        for i in range(250)),
                      *(f"route {what} 10.88.{net}.{i}/32 dev eth"
                        for i in range(250)))
    stream.finish(100)
    pair.both_ways(count=1)


def add_route_case(outer):
    """A case of a route to the other end that goes, and comes back."""
    @case(f"the route to the other end goes and comes, over IPv{outer}")
    def _(l):
        pair = Pair(l, outer=outer)
        pair.both_ways(count=1)
        to = pair.outer["b"] + ("/32" if outer == 4 else "/128")
        for kind in "unreachable", "prohibit", "blackhole":
            pair.a.ip(f"route add {kind} {to}")
            pair.a.must_not_ping(INNER4["b"], wait=0.3)
            pair.a.ip(f"route del {kind} {to}")
            pair.a.must_ping(INNER4["b"], count=1, wait=10)
        pair.both_ways(count=1)


for outer_family in 4, 6:
    add_route_case(outer_family)


@case("IPv6 is switched off and on under a tunnel that uses it")
def ipv6_comes_and_goes(l):
    pair = Pair(l, outer=6)
    pair.both_ways(count=1)
    for _ in range(2):
        pair.a.sysctl("net.ipv6.conf.eth.disable_ipv6", 1)
        pair.a.must_not_ping(INNER4["b"], wait=0.3)
        pair.a.sysctl("net.ipv6.conf.eth.disable_ipv6", 0)
        pair.a.ip(f"addr add {pair.outer['a']}/64 dev eth nodad")
        pair.a.settle("eth")
        pair.a.must_ping(INNER4["b"], count=1, wait=10)
    # While IPv6 is off, the tunnel uses IPv4.
    pair.b.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
    pair.ta.set("peer", pair.tb.public, "endpoint", f"{OUTER4['b']}:51002")
    pair.a.must_ping(INNER4["b"], count=1, wait=10)
    pair.b.must_ping(INNER4["a"], count=1, wait=10)


@case("sockets that cannot be opened are tried again while the link is up")
def tried_again(l):
    pair = Pair(l)
    pair.b.ip("link set wgb down")
    lab.wait_until(lambda: not pair.tb.has_port(51002), "b has closed its port")
    taken = pair.b.socket()
    taken.bind(("", 51002))
    pair.b.ip("link set wgb up")
    lab.wait_until(lambda: pair.tb.log().count("bind: ") > 2, "three tries")
    check_equal(pair.tb.log().count("cannot listen on port 51002"), 1,
                "lines that are not for finding faults")
    taken.close()
    lab.wait_until(lambda: pair.tb.has_port(51002), "b listens again")
    pair.a.must_ping(INNER4["b"], count=1, wait=10)


# ----------------------------------------------------------------- clocks


def enter_time(boottime, monotonic):
    """The program that this process executes next has clocks that are ahead by
    so many seconds."""
    def before():
        lab.call(lab.libc.unshare, CLONE_NEWTIME)
        with open("/proc/self/timens_offsets", "w", encoding="ascii") as file:
            file.write(f"boottime {boottime} 0\nmonotonic {monotonic} 0\n")
    return before


@case("clocks since boot that differ from end to end, and from each other")
def clocks(l):
    if not os.path.exists("/proc/self/timens_offsets"):
        raise lab.Skip("the kernel has no time namespaces")
    pair = Pair(l)
    pair.both_ways(count=1)
    here = os.readlink("/proc/self/ns/time")
    for boottime, monotonic in (100 * DAY, 5), (5, 100 * DAY):
        pair.ta.stop()
        l.tunnels.remove(pair.ta)
        pair.ta.has_ended = False
        pair.ta.start(before=enter_time(boottime, monotonic))
        if os.readlink(f"/proc/{pair.ta.pid}/ns/time") == here:
            raise lab.Skip("a program is not in its new time namespace")
        pair.ta.configure({"PublicKey": pair.tb.public,
                           "AllowedIPs": lab.allowed("b"),
                           "PersistentKeepalive": 1,
                           "Endpoint": pair.endpoint("b")})
        pair.ta.up(INNER4["a"] + "/24", lab.INNER6["a"] + "/64")
        pair.both_ways(count=1, wait=10)
        # The daemon's timers use the same clock.
        before = pair.ta.peer(pair.tb).tx
        lab.wait_until(lambda n=before: pair.ta.peer(pair.tb).tx >= n + 64,
                       "two keepalives", 10)


@case("stopped for seconds and continued, as by a suspend: goes on at once")
def stopped(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    pair.ta.set("peer", pair.tb.public, "persistent-keepalive", "1")
    lab.pause(pair.ta.pid)
    pair.b.ping(INNER4["a"], count=1, wait=3)
    os.kill(pair.ta.pid, signal.SIGCONT)
    pair.a.must_ping(INNER4["b"], count=1, wait=3)
    pair.both_ways(count=1)


lab.main()
