#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The statistics socket: its file, what it counts, traces, and events as they happen."""
import base64
import grp
import os
import pathlib
import re
import signal
import socket
import stat
import subprocess
import time

import lab
from lab import INNER4, OUTER4, Pair, case, check, check_equal

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs/statistics.md"


def path(tunnel):
    return tunnel.socket.replace(".sock", ".stats")


def connect(tunnel, request):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    tunnel.lab.stack.callback(sock.close)
    sock.settimeout(10 * lab.SLOWNESS)
    sock.connect(path(tunnel))
    sock.sendall(request.encode())
    return sock


def stats(tunnel):
    """The lines of the device, and those of each peer by its public key."""
    device, peers, at = {}, {}, None
    for line in tunnel.ask_statistics().splitlines():
        key, _, value = line.partition("=")
        if key == "public_key":
            at = peers.setdefault(
                base64.b64encode(bytes.fromhex(value)).decode(), {})
        elif key == "errno":
            check_equal(value, "0", "errno")
        elif key:
            (device if at is None else at)[key] = value
    return device, peers


class Follower:
    """A reader of events."""

    def __init__(self, tunnel):
        self.sock = connect(tunnel, "get=events\n\n")
        self.text = ""
        # The daemon has begun the answer once it answers another client: the control
        # thread serves one after the other, in the order of their requests.
        time.sleep(0.2 * lab.SLOWNESS)
        tunnel.ask_statistics()

    def wait_for(self, pattern):
        expression = re.compile("^" + pattern + "$", re.MULTILINE)
        end = time.monotonic() + 20 * lab.SLOWNESS
        while not expression.search(self.text):
            check(time.monotonic() < end, f"no {pattern!r} in:\n{self.text}")
            self.sock.settimeout(max(0.1, end - time.monotonic()))
            try:
                data = self.sock.recv(1 << 16)
            except TimeoutError:
                continue
            check(data, f"the connection ends after:\n{self.text}")
            self.text += data.decode()
        return expression.search(self.text)


def hexadecimal(tunnel):
    return base64.b64decode(tunnel.public).hex()


@case("the device and its peers")
def device_and_peers(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    lab.send_stream(pair.a, pair.b, INNER4["b"], 2 << 20)
    device, peers = stats(pair.ta)
    for key, value in {"interface": "wga", "up": "1", "mtu": "1420",
                       "listen_port": "51001", "listening": "1", "peers": "1"}.items():
        check_equal(device.get(key), value, key)
    check_equal(list(peers), [pair.tb.public], "peers")
    peer, shown = peers[pair.tb.public], pair.ta.peer(pair.tb)
    check_equal(peer["endpoint"], shown.endpoint, "endpoint")
    check_equal(peer["state"], "established", "state")
    check_equal(int(peer["last_handshake_time_sec"]), shown.handshake, "handshake")
    check(int(peer["tx_bytes"]) > 2 << 20, f"peer: {peer}")
    check(int(device["udp_sent_bytes"]) > 2 << 20, f"device: {device}")
    trains = sum(int(value) for key, value in device.items()
                 if key.startswith("udp_sent_trains_"))
    check_equal(trains, int(device["udp_sent_messages"]), "messages by their length")
    check(abs(int(device["started_time_sec"]) - time.time()) < 60, f"device: {device}")
    # No secrets.
    text = pair.ta.ask_statistics()
    check("private_key" not in text and "preshared" not in text, text)
    key = base64.b64decode(pair.ta.private).hex()
    check(key not in text, "the private key is in the answer")


@case("all that is counted is described, and nothing else is")
def described(l):
    node = l.node("a")
    tunnel = l.tunnel(node, "wga", 51001).start("--pmtu=discover")
    device, _ = stats(tunnel)
    names = set(re.findall(r"^\| `([a-z0-9_]+)` \|",
                           DOCUMENT.read_text(encoding="utf-8").split("## Events")[0],
                           re.MULTILINE))
    check(len(names) > 50, f"names found: {sorted(names)}")
    missing = set(device) - names
    check(not missing, f"not in the document: {sorted(missing)}")
    # These come only if there is something to say, or belong to a peer.
    rare = {"listen_error", "segments_ipv4_limit", "segments_ipv6_limit",
            "handshake_refused_last", "errmsg", "errmsg_time_sec", "public_key",
            "endpoint", "state", "last_handshake_time_sec",
            "last_handshake_time_nsec", "tx_bytes", "rx_bytes",
            "dropped_disallowed_source", "disallowed_source_last", "path_mtu", "trace",
            "errno",
            "persistent_keepalive_interval", "initiations_unanswered",
            "last_initiation_time_sec", "responses_unused", "responses_refused",
            "response_refused_time_sec", "send_error_last", "trains_stopped",
            "endpoint_moves", "endpoint_returns", "endpoint_moved_time_sec",
            "endpoint_was", "allowed_ip", "own_public_key"}
    check_equal(sorted(names - set(device) - rare), [], "described, but not there")


@case("drops by reason, the last bad source, and the last refused handshake")
def drops(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    pair.ta.set("peer", pair.tb.public, "allowed-ips", "10.99.0.0/16")
    pair.b.must_not_ping(INNER4["a"])
    device, peers = stats(pair.ta)
    peer = peers[pair.tb.public]
    # IPv6 may add packets of its own.
    count = int(peer["dropped_disallowed_source"])
    check(count >= 1, f"peer: {peer}")
    check_equal(int(device["inbound_dropped_disallowed_source"]), count, "of the device")
    address, when = peer["disallowed_source_last"].split()
    check(address == INNER4["b"] or ":" in address, f"peer: {peer}")
    check(abs(int(when) - time.time()) < 60, f"peer: {peer}")
    pair.a.ip("route add 10.97.0.0/16 dev wga")
    pair.a.must_not_ping("10.97.0.1")
    check(int(stats(pair.ta)[0]["outbound_dropped_no_peer"]) >= 1, "no_peer")
    # A peer that a does not know any more.
    pair.ta.set("peer", pair.tb.public, "remove")
    pair.tb.flap()
    pair.b.must_not_ping(INNER4["a"])
    lab.wait_until(
        lambda: int(stats(pair.ta)[0]["handshakes_dropped_unknown_peer"]) >= 1,
        "the handshake is counted", 10)
    reason, address, when = stats(pair.ta)[0]["handshake_refused_last"].split()
    check_equal((reason, address), ("unknown_peer", pair.endpoint("b")), "the last one")


@case("allowed IPs of each peer, also very many")
def allowed_ips(l):
    pair = Pair(l)
    many = [f"10.{i // 256}.{i % 256}.0/24" for i in range(3000)]
    pair.ta.configure({"PublicKey": pair.tb.public, "AllowedIPs": lab.allowed("b")},
                      {"PublicKey": "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="},
                      {"PublicKey": "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=",
                       "AllowedIPs": ", ".join(many)})
    peers, found = {}, None
    for line in pair.ta.ask_statistics("get=allowed_ips\n\n").splitlines():
        key, _, value = line.partition("=")
        if key == "public_key":
            found = peers.setdefault(value, set())
        elif key == "allowed_ip":
            found.add(value)
        else:
            check(key in ("errno", ""), f"line {line}")
    check_equal(len(peers), 3, "peers")
    check_equal(peers[hexadecimal(pair.tb)], set(lab.allowed("b").split(", ")), "of b")
    check_equal(peers["41" * 32], set(many), "of the peer with many")


@case("what is noted about a peer that does not work")
def troubles(l):
    pair = Pair(l)
    device, peers = stats(pair.ta)
    check_equal(device["own_public_key"], hexadecimal(pair.ta), "our own key")
    check_equal((device["fwmark"], device["log_lines_lost"]), ("0", "0"), "device")
    check("initiations_unanswered" not in peers[pair.tb.public], f"peers: {peers}")
    # Another preshared key.
    key = lab.run("wg", "genpsk").stdout
    pair.b.run("wg", "set", "wgb", "peer", pair.ta.public, "preshared-key",
               "/dev/stdin", stdin=key)
    pair.b.must_not_ping(INNER4["a"])
    lab.wait_until(lambda: "responses_refused" in stats(pair.tb)[1][pair.ta.public],
                   "b counts the response", 20)
    peer = stats(pair.tb)[1][pair.ta.public]
    for name in "last_initiation_time_sec", "response_refused_time_sec":
        check(abs(int(peer[name]) - time.time()) < 60 * lab.SLOWNESS, f"peer: {peer}")
    check(int(peer["initiations_unanswered"]) >= 1, f"peer: {peer}")
    check(int(stats(pair.ta)[1][pair.tb.public]["responses_unused"]) >= 1, "a's side")
    pair.ta.set("peer", pair.tb.public, "preshared-key", "/dev/stdin", stdin=key)
    pair.b.must_ping(INNER4["a"], count=1)
    check("initiations_unanswered" not in stats(pair.tb)[1][pair.ta.public], "answered")
    check("endpoint_moves" not in stats(pair.ta)[1][pair.tb.public], "not moved")
    # It moves, and moves back.
    for port in "51003", "51002":
        pair.tb.set("listen-port", port)
        pair.b.must_ping(INNER4["a"], count=1)
    peer = stats(pair.ta)[1][pair.tb.public]
    check_equal((peer["endpoint_moves"], peer["endpoint_returns"], peer["endpoint_was"]),
                ("2", "1", f"{OUTER4['b']}:51003"), "moved")
    # The kernel refuses to send.
    pair.a.ip("route add unreachable 192.0.2.2/32")
    lab.wait_until(lambda: pair.a.ping(INNER4["b"], count=1, wait=1) and
                   "send_error_last" in stats(pair.ta)[1][pair.tb.public],
                   "the refusal is noted", 20)
    number, when, text = stats(pair.ta)[1][pair.tb.public]["send_error_last"].split(" ", 2)
    check_equal(text, os.strerror(int(number)), "error")
    check(abs(int(when) - time.time()) < 60 * lab.SLOWNESS, f"time {when}")


@case("a configuration that is refused, and why")
def refused(l):
    node = l.node("a")
    tunnel = l.tunnel(node, "wga", 51001).start()
    check("errmsg" not in stats(tunnel)[0], "an error before there was one")
    check("errno=0" not in tunnel.ask("set=1\nlisten_port=70000\n\n"), "taken")
    device, _ = stats(tunnel)
    check(re.fullmatch(r"line 2: .*70000", device.get("errmsg", "")),
          f"device: {device}")


@case("events, as they happen")
def events(l):
    pair = Pair(l)
    key = hexadecimal(pair.tb)
    follower = Follower(pair.ta)
    pair.b.must_ping(INNER4["a"], count=1)
    follower.wait_for(f"event=established time_ms=\\d+ public_key={key} "
                      f"endpoint={re.escape(pair.endpoint('b'))} reason=responder")
    pair.tb.set("listen-port", "51003")
    pair.b.must_ping(INNER4["a"], count=1)
    follower.wait_for(f"event=endpoint time_ms=\\d+ public_key={key} "
                      f"endpoint={re.escape(OUTER4['b'])}:51003 "
                      f"was={re.escape(pair.endpoint('b'))}")
    pair.ta.set("peer", pair.tb.public, "allowed-ips", "10.99.0.0/16")
    follower.wait_for(f"event=peer-changed time_ms=\\d+ public_key={key} .*")
    pair.b.must_not_ping(INNER4["a"])
    follower.wait_for(f"event=dropped time_ms=\\d+ public_key={key} .* "
                      f"address={re.escape(INNER4['b'])} reason=disallowed_source "
                      "value=\\d+")
    pair.ta.set("peer", pair.tb.public, "remove")
    follower.wait_for(f"event=peer-removed time_ms=\\d+ public_key={key} .*")
    pair.tb.flap()
    pair.b.must_not_ping(INNER4["a"])
    follower.wait_for("event=refused time_ms=\\d+ endpoint=\\S+ reason=unknown_peer "
                      "value=\\d+")
    pair.ta.set("listen-port", "51004")
    follower.wait_for("event=listening time_ms=\\d+ value=51004")
    # The same events are the peer's trace, for who comes later.
    pair.ta.configure({"PublicKey": pair.tb.public, "AllowedIPs": lab.allowed("b")})
    text = pair.ta.ask_statistics("get=trace\n\n")
    check(f"public_key={key}\ntrace=peer-added " in text, f"trace: {text}")


@case("events that tell of trouble: silence, other preshared keys, paths, segmentation")
def trouble(l):
    pair = Pair(l, link_mtu=1400, options=("--pmtu=discover",))
    pair.both_ways(count=1)
    follower = Follower(pair.ta)
    pair.a.ping(INNER4["b"], "-s", "1392", "-M", "dont", count=1, wait=1)
    there = re.escape(pair.endpoint("b"))
    follower.wait_for(f"event=path time_ms=\\d+ endpoint={there} "
                      "reason=mtu_of_interface value=1400")
    # The firewall of a refuses trains.
    pair.a.nft("table inet t { chain c { type filter hook output priority 0; "
               "udp dport 51002 meta length > 1500 drop\n}\n}")
    stream = lab.Steady(pair, INNER4["b"])
    follower.wait_for(f"event=segmentation time_ms=\\d+ endpoint={there} "
                      "reason=unsegmented.*")
    stream.stop()
    # Nobody answers a stranger's key; b has another preshared key, and begins.
    nobody = os.urandom(32)
    pair.ta.set("peer", base64.b64encode(nobody).decode(), "endpoint", "192.0.2.2:9",
                "allowed-ips", "10.98.0.1/32", "persistent-keepalive", "1")
    key = lab.run("wg", "genpsk").stdout
    pair.b.run("wg", "set", "wgb", "peer", pair.ta.public, "preshared-key", "/dev/stdin",
               stdin=key)
    pair.tb.flap()
    pair.b.ping(INNER4["a"], count=1, wait=1)
    follower.wait_for(f"event=stalled time_ms=\\d+ public_key={nobody.hex()} "
                      r"endpoint=192\.0\.2\.2:9.*")
    pair.b.ping(INNER4["a"], count=1, wait=1)
    follower.wait_for(f"event=incomplete time_ms=\\d+ public_key={hexadecimal(pair.tb)} "
                      ".*")


@case("a reader that stalls loses events and learns how many; others lose none")
def slow(l):
    pair = Pair(l)
    slow_reader = Follower(pair.ta)
    count = 6000
    keys = [os.urandom(32).hex() for _ in range(count)]
    # A reader that does read, in a process of its own.
    reader = subprocess.Popen(
        ["python3", "-c", f"""
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect({path(pair.ta)!r})
s.sendall(b"get=events\\n\\n"); print("ready", flush=True)
n = 0; lost = 0; text = b""
while b"{keys[-1]}" not in text:
    text = text[-500:] + s.recv(1 << 16)
    n += 1
print("done", flush=True)
"""], stdout=subprocess.PIPE, text=True)
    l.stack.callback(reader.kill)
    check_equal(reader.stdout.readline(), "ready\n", "the reader")
    time.sleep(0.2)
    for i in range(0, count, 100):
        answer = pair.ta.ask("set=1\n" + "".join(
            f"public_key={key}\n" for key in keys[i:i + 100]) + "\n")
        check("errno=0" in answer, f"answer: {answer}")
    check_equal(reader.stdout.readline(), "done\n", "the reader")
    match = slow_reader.wait_for(r"event=lost value=(\d+)")
    check(int(match.group(1)) > 0, "lost nothing")
    slow_reader.wait_for(f"event=peer-added time_ms=\\d+ public_key={keys[-1]}")
    pair.both_ways(count=1)


def kernel_drops(node, port):
    """What the kernel has dropped for the IPv4 sockets of a port."""
    with node.inside():
        with open("/proc/thread-self/net/udp", encoding="ascii") as file:
            return sum(int(line.split()[-1]) for line in file if f":{port:04X} " in line)


@case("messages that the kernel drops are counted")
def kernel(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    check_equal(stats(pair.ta)[0]["udp_socket_dropped_ipv4"], "0", "drops at first")
    sender = pair.b.socket()
    lab.pause(pair.ta.pid)
    try:
        # What came is received after the stop. Each such datagram is malformed.
        for _ in range(100):
            for _ in range(2000):
                sender.sendto(bytes(1200), (OUTER4["a"], 51001))
            if kernel_drops(pair.a, 51001):
                break
        dropped = kernel_drops(pair.a, 51001)
    finally:
        os.kill(pair.ta.pid, signal.SIGCONT)
    check(dropped, "the kernel has dropped nothing")
    device, _ = stats(pair.ta)
    check_equal(int(device["udp_socket_dropped_ipv4"]), kernel_drops(pair.a, 51001),
                "drops")
    check_equal(device["udp_socket_dropped_ipv6"], "0", "drops of IPv6")
    # New sockets have dropped nothing yet. Those of the old ones still count.
    before = kernel_drops(pair.a, 51001)
    pair.ta.set("listen-port", "51009")
    check_equal(kernel_drops(pair.a, 51009), 0, "drops of the new sockets")
    check_equal(int(stats(pair.ta)[0]["udp_socket_dropped_ipv4"]), before, "all drops")
    pair.a.ip("link set wga down")
    lab.wait_until(lambda: stats(pair.ta)[0]["listening"] == "0", "no sockets", 10)
    check_equal(int(stats(pair.ta)[0]["udp_socket_dropped_ipv4"]), before,
                "drops without sockets")


@case("10,000 peers, while others come and go")
def many(l):
    tunnel = l.tunnel(l.node("a"), "wga", 51001).start()
    keys = [os.urandom(32).hex() for _ in range(10000)]
    for first in range(0, len(keys), 1000):
        answer = tunnel.ask("set=1\n" + "".join(
            f"public_key={key}\nallowed_ip=10.{i >> 8 & 255}.{i & 255}.0/24\n"
            for i, key in enumerate(keys[first:first + 1000], first)) + "\n")
        check_equal(answer, "errno=0\n\n", "answer")
    # Taken in small pieces: the answer is made as the reader takes it.
    sock = connect(tunnel, "get=stats\n\n")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    text, number = b"", 0
    while not text.endswith(b"\n\n"):
        data = sock.recv(30000)
        check(data, f"the connection ends after {text[-200:]!r}")
        text += data
        # Meanwhile a peer comes, and the one before goes.
        if number % 10 == 0:
            stranger = os.urandom(32).hex()
            answer = tunnel.ask(f"set=1\npublic_key={stranger}\npublic_key={stranger}\n"
                                "remove=true\n\n")
            check_equal(answer, "errno=0\n\n", "answer")
        number += 1
    lines = text.decode().splitlines()
    found = [line.partition("=")[2] for line in lines if line.startswith("public_key=")]
    check_equal(len(found), len(set(found)), "peers that are told twice")
    missing = set(keys) - set(found)
    check(not missing, f"{len(missing)} peers are not told")
    check_equal(sum(line == "state=none" for line in lines), len(found), "their states")
    check_equal(lines[-2:], ["errno=0", ""], "the end")
    check(number > 20, f"the answer came in {number} pieces only")


@case("wrong requests, and many connections")
def wrong(l):
    pair = Pair(l)
    text = pair.ta.ask_statistics("get=nonsense\n\n")
    check_equal(text, "errmsg=no such request: get=nonsense\nerrno=22\n\n", "answer")
    # Two requests on one connection.
    sock = connect(pair.ta, "get=nonsense\n\nget=trace\n\n")
    text = b""
    while text.count(b"errno=") < 2:
        data = sock.recv(1 << 16)
        check(data, f"ends after {text!r}")
        text += data
    check_equal(text.decode().count("errno=0"), 1, f"answers {text!r}")
    # Readers who leave without a word.
    for _ in range(200):
        connect(pair.ta, "get=events\n\n").close()
    # More that stay than there are places.
    readers = [connect(pair.ta, "get=events\n\n") for _ in range(80)]
    pair.ta.ask_statistics()
    pair.both_ways(count=1)
    check(readers, "readers")


@case("the file: mode, group, removal, and a name that is in use")
def file(l):
    node = l.node("a")
    tunnel = l.tunnel(node, "wga", 51001).start()
    check_equal(stat.S_IMODE(os.stat(path(tunnel)).st_mode), 0o700, "mode")
    # Programs that use wgctrl-go take each socket in the directory for a device.
    check_equal([entry.name for entry in os.scandir(lab.SOCKETS)
                 if stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)],
                ["wga.sock"], "sockets in the directory")
    file_itself = os.path.realpath(path(tunnel))
    tunnel.stop()
    check(not os.path.lexists(path(tunnel)), "the link is still there")
    check(not os.path.exists(file_itself), "the file is still there")
    # What a killed daemon leaves behind is replaced.
    os.symlink("stats/wga.stats", path(tunnel))
    tunnel.has_ended = False
    tunnel.start()
    check_equal(stats(tunnel)[0]["interface"], "wga", "asked by the new link")
    tunnel.stop()
    group = grp.getgrgid(os.stat("/etc/shadow").st_gid)
    tunnel = l.tunnel(node, "wgb", 51002).start("--stats-group", group.gr_name)
    found = os.stat(path(tunnel))
    check_equal((stat.S_IMODE(found.st_mode), found.st_gid), (0o660, group.gr_gid),
                "mode and group")
    check_equal(stat.S_IMODE(os.stat(tunnel.socket).st_mode), 0o700, "mode of the UAPI")
    check(stats(tunnel)[0]["interface"] == "wgb", "no answer")
    # Without its file the tunnel goes on.
    os.unlink(path(tunnel))
    time.sleep(0.3)
    tunnel.get()
    done = node.run(l.daemon, "-f", "--stats-group", "no-such-group", "wgc",
                    check_status=False)
    check_equal(done.returncode, 1, f"status; output {done.stdout}")
    check("--stats-group: no such group: no-such-group" in done.stdout, done.stdout)


lab.main()
