#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Faults of one host, planted one by one: wiregatherctl names each of them in one line.
planted.py has those between two ends.
"""
import contextlib
import fcntl
import os
import re
import signal
import threading

import lab
import siege
import tracing
from lab import INNER4, OUTER4, Pair, Steady, case, check
from planting import FINE, ask, await_number, must_name, must_tell


@case("an interface that is down")
def down(l):
    pair = Pair(l)
    pair.a.ip("link set wga down")
    must_name(pair.a, ["wga", INNER4["b"]], "the interface wga is down")
    text = ask(pair.a, "status", "wga")
    check(text.startswith("wga: down, "), text)


@case("a port that another program has")
def taken(l):
    pair = Pair(l)
    pair.a.ip("link set wga down")
    lab.wait_until(lambda: not pair.ta.has_port(51001), "the port is free", 10)
    sock = pair.a.socket()
    sock.bind(("", 51001))
    pair.a.ip("link set wga up")
    lab.wait_until(lambda: "cannot listen" in ask(pair.a, "status", "wga"),
                   "the daemon has tried", 20)
    must_name(pair.a, ["wga", INNER4["b"]],
              "cannot listen on UDP port 51001: Address already in use; it belongs to "
              rf".* \(process {os.getpid()}\)")
    text = ask(pair.a, "status", "wga")
    check("  attention: cannot listen on port 51001: Address already in use; trying each "
          "second\n" in text, text)
    sock.close()
    lab.wait_until(lambda: pair.ta.has_port(51001), "the daemon has the port", 20)
    # A configuration that asks for a port that is in use.
    sock = pair.a.socket()
    sock.bind(("", 51009))
    check(pair.ta.set("listen-port", "51009", check_status=False).returncode, "taken")
    must_tell(pair.a, "wga", r"a configuration was refused: .*Address already in use.*")


@case("an interface that was deleted, and a daemon that was killed or is stopped")
def gone(l):
    pair = Pair(l)
    pair.a.ip("link del wga")
    pair.ta.wait()
    must_name(pair.a, ["wga", INNER4["b"]],
              "there is no interface wga, and no daemon: it was never started, or it "
              "ended because the interface was deleted")
    # The socket of wgb stays if the daemon has no time to remove it.
    pair.tb.process.kill()
    pair.tb.process.wait()
    pair.tb.has_ended = True
    # Its engine ends a little later.
    lab.wait_until(lambda: pair.b.run("ip", "link", "show", "wgb",
                                      check_status=False).returncode,
                   "the interface is gone")
    must_name(pair.b, ["wgb"], "there is no interface wgb, and no daemon: .*")


@case("a daemon that is stopped by a signal")
def stopped(l):
    tunnel = l.tunnel(l.node("a"), "wga", 51001).start()
    lab.pause(tunnel.pid)
    try:
        must_name(tunnel.node, ["wga"], "the daemon of wga does not answer: it is stopped, "
                  "or busy without end")
    finally:
        os.kill(tunnel.pid, signal.SIGCONT)


@contextlib.contextmanager
def configured(endpoint, pair):
    """wg-quick's configuration of wga, and a resolver that nobody serves."""
    resolver = f"{pair.lab.directory}/resolv.conf"
    with open(resolver, "w", encoding="ascii") as file:
        file.write("nameserver 127.0.0.1\n")
    lab.run("mount", "-t", "tmpfs", "none", "/etc/wireguard")
    lab.run("mount", "--bind", resolver, os.path.realpath("/etc/resolv.conf"))
    try:
        with open("/etc/wireguard/wga.conf", "w", encoding="ascii") as file:
            file.write(f"[Interface]\nPrivateKey = {pair.ta.private}\n[Peer]\n"
                       f"# friendly_name = hub\nPublicKey = {pair.tb.public}\n"
                       f"Endpoint = {endpoint}\n")
        yield
    finally:
        lab.run("umount", os.path.realpath("/etc/resolv.conf"))
        lab.run("umount", "/etc/wireguard")


@case("the name of an endpoint does not resolve, or leads elsewhere")
def name(l):
    if not os.path.exists("/etc/resolv.conf") or not os.path.isdir("/etc/wireguard"):
        raise lab.Skip("there is no /etc/resolv.conf, or no /etc/wireguard")
    pair = Pair(l)
    with configured("hub.invalid:51002", pair):
        pair.ta.configure({"PublicKey": pair.tb.public, "AllowedIPs": lab.allowed("b")})
        must_name(pair.a, ["wga", "hub"],
                  r"the name hub\.invalid of its endpoint does not resolve: .*")
    with configured("192.0.2.99:51002", pair):
        pair.ta.set("peer", pair.tb.public, "endpoint", "192.0.2.98:51002")
        must_name(pair.a, ["wga", "hub"],
                  r"the configured endpoint of hub, 192\.0\.2\.99 \(192\.0\.2\.99\), is not "
                  r"where it is spoken to: 192\.0\.2\.98")


@case("segmented sends that are lost on the way")
def trains(l):
    lab.need("ethtool")
    pair = Pair(l)
    pair.both_ways(count=1)
    stream = Steady(pair, INNER4["b"])
    stream.rate(0.5)
    # GRO would merge single datagrams in front of the rule.
    pair.b.run("ethtool", "-K", "eth", "gro", "off")
    pair.b.nft("table inet planted { chain c { type filter hook input priority 0; "
               "udp dport 51002 meta length > 1500 drop\n}\n}")
    await_number(pair.a, "wga", "trains_stopped", 1, 60)
    must_name(pair.a, ["wga", INNER4["b"]],
              r".* are lost on the way, so datagrams leave one by one: all works, more "
              "slowly")
    must_tell(pair.a, "wga", "segmented sends are lost on the way to a peer: all works, "
              "more slowly")
    stream.stop()


@case("a flood of handshakes")
def flood(l):
    field = siege.Field(l)
    process = field.flood("mac1", 1000000, 2000)
    await_number(field.a, "wga", "handshakes_dropped_not_authentic", 1)
    must_name(field.a, ["wga", field.tb.public],
              r"a flood of handshakes: \d+ a second are refused \(last from .*\)")
    must_tell(field.a, "wga", r"\d+ handshakes that were made for another public key or "
              r".*\(last from .*\)")
    siege.stop(process)


@case("a socket whose send buffer is full")
def full(l):
    lab.need("tc")
    pair = Pair(l)
    pair.both_ways(count=1)
    pair.a.run("tc", "qdisc", "add", "dev", "eth", "root", "tbf", "rate", "2mbit",
               "burst", "32kb", "limit", "64mb")
    end = threading.Event()
    sock = pair.a.socket()
    sock.setblocking(False)

    def send():
        while not end.wait(0.001):
            for _ in range(20):
                with contextlib.suppress(OSError):
                    sock.sendto(bytes(1300), (INNER4["b"], 9))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        await_number(pair.a, "wga", "outbound_dropped_socket_full", 1, 60)
        must_name(pair.a, ["--passive", "wga", INNER4["b"]],
                  r"the send buffer of the socket is full: \d+ packets were dropped in "
                  r"\d+ ms, because more is sent than the link takes")
        must_tell(pair.a, "wga", r"\d+ packets were dropped because the send buffer of the "
                  "socket was full: more is sent than the link takes")
    finally:
        end.set()
        thread.join()
        pair.a.run("tc", "qdisc", "del", "dev", "eth", "root")


@case("a socket whose receive buffer is full")
def full_receiver(l):
    pair = Pair(l, options=("--workers=1",))
    pair.both_ways(count=1)
    end = threading.Event()
    sock = pair.b.socket()

    def send():
        while not end.is_set():
            with contextlib.suppress(OSError):
                sock.sendto(bytes(1200), (OUTER4["a"], 51001))

    thread = threading.Thread(target=send)
    # The worker waits for packets, so it holds no lock.
    with tracing.stopped(tracing.thread_named(pair.ta.pid, "worker")):
        thread.start()
        try:
            await_number(pair.a, "wga", "udp_socket_dropped_ipv4", 1, 60)
            # Also from elsewhere than the namespace of the sockets.
            for node in pair.a, pair.b:
                must_name(node, ["--passive", "wga", INNER4["b"]],
                          r"the receive buffer of the socket is full: \d+ messages were "
                          r"lost in \d+ ms, because they come faster than this host "
                          "decrypts them")
            must_tell(pair.a, "wga", r"\d+ messages were lost because the receive buffer "
                      "of the socket was full: they came faster than this host decrypts "
                      "them")
        finally:
            end.set()
            thread.join()
    text = ask(pair.a, "why", "wga", INNER4["b"], status=FINE)
    check(re.search(r"note +buffers +\d+ messages were lost since the start, because the "
                    "receive buffer was full; none at the moment", text), text)


@case("a log whose reader has stopped")
def log(l):
    reader, writer = os.pipe()
    l.stack.callback(os.close, writer)
    l.stack.callback(os.close, reader)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    tunnel = l.tunnel(l.node("a"), "wga", 51001).start(output=writer)
    # Fill what is left of the pipe; the daemon's next line has no room.
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    os.set_blocking(writer, True)
    tunnel.node.ip("link set wga up")
    await_number(tunnel.node, "wga", "log_blocked_sec", 3)
    words = (r"the log stalls: its reader has taken nothing for \d+ s, and \d+ lines are "
             "lost; the tunnel goes on")
    must_name(tunnel.node, ["wga"], words)
    must_tell(tunnel.node, "wga", words)


lab.main()
