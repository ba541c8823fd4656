#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Start and end of the daemon: messages, statuses, socket file, detaching."""
import os
import re
import signal
import socket
import stat
import subprocess
import time

import lab
from detached import detach, end_detached, find_detached
from lab import INNER4, Pair, case, check, check_equal, wait_until


def start_and_fail(node, *arguments, wanted=1, **options):
    """Start the daemon, which must fail with one line; return the line."""
    done = node.run(node.lab.daemon, *arguments, check_status=False, timeout=5,
                    **options)
    check_equal(done.returncode, wanted, f"status after: {done.stdout}")
    lines = [line for line in done.stdout.splitlines()
             if not line.startswith("DEBUG: ")]
    check_equal(len(lines), 1, f"lines of the message {lines}")
    check(lines[0].startswith("wiregather: "), f"message {lines[0]}")
    return lines[0]


def add_signal_case(number):
    """Add a case of a signal that ends the daemon."""
    @case(f"{number.name} ends it: status 0, socket and interface gone")
    def _(l):
        pair = Pair(l)
        pair.both_ways(count=1)
        pair.ta.process.send_signal(number)
        check_equal(pair.ta.wait(3), 0, "status")
        check(not os.path.exists(pair.ta.socket), "the socket file is left")
        check(pair.a.run("ip", "link", "show", "wga",
                         check_status=False).returncode,
              "the interface is left")


for signal_number in signal.SIGTERM, signal.SIGINT:
    add_signal_case(signal_number)


# The rules that docs/security.md recommends, with a counter of dropped
# packets.
KILL_SWITCH = """table inet wiregather {
    chain out {
        type filter hook output priority filter; policy accept;
        oifname "eth" icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, \
            nd-router-solicit } accept
        oifname "eth" meta mark != 0xca6c counter drop
    }
}"""


@case("killed: nothing leaves in clear if the firewall has a rule for that")
def kill_switch(l):
    pair = Pair(l)
    # This default route stays when the tunnel's routes are gone.
    pair.a.ip("route add default via 192.0.2.2 dev eth")
    pair.b.nft("""table inet seen {
        chain in {
            type filter hook prerouting priority filter;
            iifname "eth" ip daddr 10.9.0.2 counter
        }
    }""")

    def packets(node, table):
        text = node.run("nft", "list", "table", "inet", table).stdout
        return int(re.search(r"counter packets (\d+)", text).group(1))

    for is_guarded in False, True:
        if is_guarded:
            pair.a.nft(KILL_SWITCH)
            pair.ta = l.tunnel(pair.a, "wga", 51001).start()
            pair.tb.configure({"PublicKey": pair.ta.public,
                               "AllowedIPs": lab.allowed("a")})
            pair.ta.configure({
                "PublicKey": pair.tb.public, "AllowedIPs": "10.9.0.0/24",
                "Endpoint": pair.endpoint("b")})
            pair.ta.up(INNER4["a"] + "/24")
        pair.ta.set("fwmark", "0xca6c")
        pair.a.reach(INNER4["b"])
        seen = packets(pair.b, "seen")
        pair.ta.process.kill()
        pair.ta.process.wait()
        pair.ta.has_ended = True
        wait_until(lambda: pair.a.run("ip", "link", "show", "wga",
                                      check_status=False).returncode,
                   "the interface is gone")
        pair.a.run("ping", "-c", "2", "-i", "0.2", "-W", "1", INNER4["b"],
                   check_status=False)
        if is_guarded:
            check_equal(packets(pair.b, "seen"), seen, "packets in clear")
            check(packets(pair.a, "wiregather") > 0, "the rule has dropped no packet")
        else:
            # Without the rules packets leave in clear, so the test can see
            # such packets.
            check(packets(pair.b, "seen") > 0, "no packet leaves in clear")


@case("ended under traffic, and with a client on its socket")
def ended_under_traffic(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    flood = pair.a.start("ping", "-n", "-f", "-q", "-s", "1000", INNER4["b"])
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(pair.ta.socket)
        client.sendall(b"set=1\nfwmark=1\n")
        # The daemon has read a part of the request, and the flood is under way.
        time.sleep(0.3)
        pair.ta.stop()
        pair.tb.stop()
    flood.kill()
    flood.wait()


@case("the socket can be used by root alone, its directory be read by all")
def modes(l):
    tunnel = l.tunnel(l.node("a"), "wga").start()
    mode = os.stat(tunnel.socket)
    check(stat.S_ISSOCK(mode.st_mode), "the file is no socket")
    check_equal(stat.S_IMODE(mode.st_mode) & 0o077, 0, "mode for others")
    check_equal(stat.S_IMODE(os.stat(lab.SOCKETS).st_mode), 0o755,
                "mode of the directory")


@case("chmod, chown and touch of the socket's file do not matter")
def attributes(l):
    pair = Pair(l)
    os.chmod(pair.ta.socket, 0o770)
    os.chown(pair.ta.socket, 1, 1)
    os.utime(pair.ta.socket)
    os.link(pair.ta.socket, pair.ta.socket + ".link")
    os.unlink(pair.ta.socket + ".link")
    # Time in which the daemon would end.
    time.sleep(0.3)
    check(pair.ta.process.poll() is None, "the daemon has ended")
    pair.both_ways(count=1)
    pair.ta.get()
    check_equal(stat.S_IMODE(os.stat(pair.ta.socket).st_mode), 0o770, "mode")


@case("files made and deleted beside the socket do not matter")
def neighbours(l):
    tunnel = l.tunnel(l.node("a"), "wga").start()
    for i in range(50):
        with open(f"{lab.SOCKETS}/other{i}.sock", "w", encoding="ascii"):
            pass
        os.unlink(f"{lab.SOCKETS}/other{i}.sock")
    # Time in which the daemon would end.
    time.sleep(0.2)
    check(tunnel.process.poll() is None, "the daemon has ended")
    tunnel.get()


@case("the socket's file deleted: it ends with status 0")
def socket_deleted(l):
    pair = Pair(l)
    os.unlink(pair.ta.socket)
    check_equal(pair.ta.wait(3), 0, "status")


@case("the socket's file renamed or replaced: it ends, the new file stays")
def socket_replaced(l):
    tunnel = l.tunnel(l.node("a"), "wga").start()
    with open(tunnel.socket + ".new", "w", encoding="ascii"):
        pass
    os.rename(tunnel.socket + ".new", tunnel.socket)
    check_equal(tunnel.wait(3), 0, "status")
    check(os.path.exists(tunnel.socket), "somebody else's file is gone")


@case("a second one of the name says so, and the first goes on")
def second(l):
    pair = Pair(l)
    line = start_and_fail(pair.a, "-f", "wga")
    check("wga" in line and "exists" in line, f"message: {line}")
    # In another namespace the interface can be made, but its socket is in use.
    line = start_and_fail(pair.b, "-f", "wga")
    check("wga.sock is in use" in line, f"message: {line}")
    line = start_and_fail(pair.b, "wga")
    check("wga.sock is in use" in line, f"message: {line}")
    check(pair.b.run("ip", "link", "show", "wga",
                     check_status=False).returncode, "an interface is left")
    pair.both_ways(count=1)
    pair.ta.get()


@case("a socket's file left by one that was killed is in nobody's way")
def stale(l):
    tunnel = l.tunnel(l.node("a"), "wga").start()
    tunnel.process.kill()
    tunnel.process.wait()
    tunnel.has_ended = True
    check(os.path.exists(tunnel.socket), "no file is left to test with")
    l.tunnel(tunnel.node, "wga").start()


@case("errors at the start are one clear line each")
def errors(l):
    a = l.node("a")
    a.ip("link add name bridge7 type bridge")
    for arguments, words in (
            (("-f", "bridge7"), ("bridge7", "exists")),
            (("bridge7",), ("bridge7", "exists"))):
        line = start_and_fail(a, *arguments)
        check(all(word in line for word in words), f"message: {line}")
    os.makedirs(f"{lab.SOCKETS}/wgdir.sock")
    line = start_and_fail(a, "-f", "wgdir")
    check("wgdir.sock" in line, f"message: {line}")
    os.rmdir(f"{lab.SOCKETS}/wgdir.sock")
    for name, value, word in ("WG_TUN_FD", "77", "WG_TUN_FD=77"), \
            ("WG_UAPI_FD", "77", "WG_UAPI_FD=77"):
        line = start_and_fail(a, "-f", "wga",
                              env={**os.environ, name: value})
        check(word in line, f"message: {line}")


@case("without the right to make an interface: the message says what to do")
def not_permitted(l):
    lab.need("setpriv")
    a = l.node("a")
    done = a.run("setpriv", "--bounding-set", "-net_admin", "--inh-caps",
                 "-net_admin", l.daemon, "-f", "wga", check_status=False)
    check_equal(done.returncode, 1, f"status after: {done.stdout}")
    check("CAP_NET_ADMIN" in done.stdout and
          len(done.stdout.splitlines()) == 1, f"message: {done.stdout}")


@case("a wrong command line: status 2 and the usage")
def usage(l):
    a = l.node("a")
    for arguments in ((), ("--nonsense", "wga"), ("wga", "wgb"),
                      ("far-too-long-a-name",), ("sl/ash",), ("",), ("-f",)):
        done = a.run(l.daemon, *arguments, check_status=False, timeout=5)
        check_equal(done.returncode, 2, f"status of {arguments}")
        check("usage: wiregather" in done.stdout, f"usage of {arguments}")
    for option in "--help", "--version":
        done = a.run(l.daemon, option)
        check("wiregather" in done.stdout, f"{option}: {done.stdout}")


@case("as a daemon: can be renamed and configured as soon as its parent ends")
def detached(l):
    a = l.node("a")
    private = lab.run("wg", "genkey").stdout
    for i in range(5):
        pid = detach(a, "wga")
        a.ip(f"link set wga name tun{i}", f"link set tun{i} up")
        a.run("wg", "set", "wga", "private-key", "/dev/stdin", "listen-port",
              "51001", stdin=private)
        check("51001" in a.run("wg", "show", "wga").stdout, "wg shows no port")
        lab.wait_until(lambda: ":C739 " in a.run(
            "cat", "/proc/thread-self/net/udp").stdout, "port 51001 is open")
        os.kill(pid, signal.SIGTERM)
        check_equal(end_detached(pid), 0, "status of the daemon")


@case("as a daemon: can be moved away as soon as its parent ends")
def detached_moved(l):
    a, away = l.node("a"), l.node("away")
    for _ in range(3):
        pid = detach(a, "wga")
        a.ip("link set wga netns away")
        away.ip("addr add 10.9.0.1/24 dev wga", "link set wga up")
        a.run("wg", "show", "wga")
        away.ip("link del wga")
        check_equal(end_detached(pid), 0, "status of the daemon")


@case("as a daemon: a session and a directory of its own, nothing inherited")
def detached_clean(l):
    a = l.node("a")
    inherited = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    with a.inside():
        subprocess.run([l.daemon, "wga"], check=True, close_fds=False,
                       timeout=15, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
    os.close(inherited)
    pid = find_detached()
    check_equal(os.readlink(f"/proc/{pid}/cwd"), "/", "directory")
    check_equal(os.getsid(pid), pid, "session")
    for fd in 0, 1, 2:
        check_equal(os.readlink(f"/proc/{pid}/fd/{fd}"), "/dev/null",
                    f"descriptor {fd}")
    others = [name for fd, name in lab.descriptors_of(pid).items() if fd > 2]
    check("/dev/null" not in others, f"descriptors: {others}")
    check(not any(re.match(r"pipe:", other) for other in others),
          f"a pipe to the parent is left: {others}")
    # The hang-up of the terminal that it was started from must not end the
    # daemon.
    os.kill(pid, signal.SIGHUP)
    time.sleep(0.2)
    a.run("wg", "show", "wga")
    os.kill(pid, signal.SIGTERM)
    check_equal(end_detached(pid), 0, "status of the daemon")


@case("in the foreground, too, nothing is inherited")
def foreground_clean(l):
    secret = os.open("/etc/shadow", os.O_RDONLY)
    tunnel = l.tunnel(l.node("a"), "wga").start(pass_fds=(secret,))
    os.close(secret)
    names = list(lab.descriptors_of(tunnel.pid).values())
    check("/dev/net/tun" in names and "/etc/shadow" not in names,
          f"descriptors: {names}")


@case("WG_PROCESS_FOREGROUND=1 is -f")
def environment(l):
    a = l.node("a")
    process = a.start(l.daemon, "wga", env={**os.environ,
                                            "WG_PROCESS_FOREGROUND": "1"})
    lab.wait_until(lambda: a.run("wg", "show", "wga",
                                 check_status=False).returncode == 0,
                   "the daemon answers wg")
    process.send_signal(signal.SIGTERM)
    check_equal(process.wait(5), 0, "status")


@case("LOG_LEVEL: silent says nothing, verbose says much, never a key")
def log_level(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    text = pair.ta.log() + pair.tb.log()
    check("handshake" in text, f"no line about a handshake in: {text}")
    for tunnel in pair.ta, pair.tb:
        check(tunnel.private not in text, "a private key in the log")
    node = l.node("c")
    quiet = l.tunnel(node, "wgq").start(LOG_LEVEL="silent")
    quiet.stop()
    check_equal(quiet.log(), "", "output when silent")


@case("memory for secrets that cannot be locked: one line, and it works")
def unlocked(l):
    lab.need("prlimit", "setpriv")
    if l.is_slow:
        raise lab.Skip("sanitizers make mlock(2) do nothing")
    limits = ("prlimit", "--memlock=0", "setpriv", "--inh-caps=-all",
              "--bounding-set=-ipc_lock,-sys_resource")
    pair = Pair(l, how={"wrap": limits})
    pair.both_ways(count=1)
    lab.wait_until(lambda: "is not locked" in pair.ta.log(), "the line", 10)
    check_equal(pair.ta.log().count("is not locked"), 1, "lines")
    check("is not locked" not in pair.tb.log(), "the line without a reason")


lab.main()
