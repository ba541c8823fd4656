#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Configuration: wg(8) with its commands, and the protocol below it."""
import base64
import re
import socket
import threading
import time

import lab
from lab import INNER4, INNER6, Pair, case, check, check_equal


def keys(count):
    """Make public keys, without starting wg(8) for each."""
    return [base64.b64encode(lab.noise(32 * count)[32 * i:32 * i + 32])
            .decode() for i in range(count)]


@case("wg show tells all of a peer")
def show(l):
    pair = Pair(l, more={"PersistentKeepalive": "25",
                         "PresharedKey": "x" * 42 + "8="})
    pair.both_ways(count=1)
    text = pair.ta.get().stdout
    for words in (f"public key: {pair.ta.public}", "private key: (hidden)",
                  "listening port: 51001", f"peer: {pair.tb.public}",
                  "preshared key: (hidden)",
                  f"endpoint: {pair.endpoint('b')}",
                  "allowed ips: 10.9.0.2/32, fd09::2/128",
                  "latest handshake: ", "transfer: ",
                  "persistent keepalive: every 25 seconds"):
        check(words in text, f"no '{words}' in:\n{text}")
    peer = pair.ta.peer(pair.tb)
    check(abs(time.time() - peer.handshake) < 5, "time of the handshake")
    check(peer.rx and peer.tx, "counters of nothing")
    names = lab.run("wg", "show", "interfaces").stdout.split()
    check_equal(sorted(names), ["wga", "wgb"], "interfaces")


@case("wg showconf can be given to wg setconf, and nothing changes")
def showconf(l):
    pair = Pair(l, more={"PersistentKeepalive": "25"})
    pair.ta.set("fwmark", "0x77")
    pair.both_ways(count=1)
    text = lab.run("wg", "showconf", "wga").stdout
    lab.run("wg", "setconf", "wga", "/dev/stdin", stdin=text)
    check_equal(lab.run("wg", "showconf", "wga").stdout, text, "showconf")
    pair.both_ways(count=1)


@case("wg syncconf keeps sessions, adds and removes peers")
def syncconf(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    before = pair.ta.peer(pair.tb)
    extra = keys(2)
    same = {"PublicKey": pair.tb.public, "AllowedIPs": lab.allowed("b"),
            "Endpoint": pair.endpoint("b")}
    pair.ta.configure(same, {"PublicKey": extra[0],
                             "AllowedIPs": "10.9.7.0/24"}, how="syncconf")
    check_equal(set(pair.ta.peers()), {pair.tb.public, extra[0]}, "peers")
    pair.ta.configure(same, {"PublicKey": extra[1],
                             "AllowedIPs": "10.9.7.0/24"}, how="syncconf")
    peers = pair.ta.peers()
    check_equal(set(peers), {pair.tb.public, extra[1]}, "peers")
    check_equal(peers[extra[1]].allowed, ["10.9.7.0/24"], "prefixes")
    pair.both_ways(count=1)
    check_equal(pair.ta.peer(pair.tb).handshake, before.handshake,
                "time of the handshake")
    # addconf only adds.
    lab.run("wg", "addconf", "wga", "/dev/stdin",
            stdin=f"[Peer]\nPublicKey={extra[0]}\nAllowedIPs=10.9.8.0/24\n")
    check_equal(len(pair.ta.peers()), 3, "number of peers")


@case("wg setconf replaces all, and a new session is made")
def setconf(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    pair.ta.configure({"PublicKey": keys(1)[0], "AllowedIPs": "10.9.7.0/24"})
    check_equal(list(pair.ta.peers()), keys(1), "peers")
    pair.ta.configure({"PublicKey": pair.tb.public,
                       "AllowedIPs": lab.allowed("b"),
                       "Endpoint": pair.endpoint("b")})
    check_equal(pair.ta.peer(pair.tb).handshake, 0, "time of the handshake")
    # A peer answers 50 initiations a second, and their timestamps are
    # multiples of 2^24 ns, so an initiation without a pause would be refused.
    time.sleep(0.05)
    pair.both_ways(count=1)


@case("a prefix that another peer is given moves there")
def prefix_moves(l):
    pair = Pair(l)
    other = keys(1)[0]
    pair.ta.set("peer", other, "allowed-ips", "10.9.0.2/32,10.9.0.0/24")
    peers = pair.ta.peers()
    check_equal(peers[pair.tb.public].allowed, ["fd09::2/128"], "left to b")
    check_equal(set(peers[other].allowed), {"10.9.0.2/32", "10.9.0.0/24"},
                "the other's")
    pair.ta.set("peer", other, "remove")
    pair.ta.set("peer", pair.tb.public, "allowed-ips", "10.9.0.99/24,::/0")
    check_equal(set(pair.ta.peer(pair.tb).allowed), {"10.9.0.0/24", "::/0"},
                "prefixes of b")
    pair.a.must_ping(INNER4["b"], count=1)
    pair.a.must_ping(INNER6["b"], count=1)


@case("1000 peers: made at once, shown, changed, and the tunnel among them")
def thousand(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    many = keys(1000)
    start = time.monotonic()
    lab.run("wg", "addconf", "wga", "/dev/stdin", stdin="\n".join(
        f"[Peer]\nPublicKey = {key}\nAllowedIPs = 10.10.{i >> 8}.{i & 255}/32,"
        f" fd10::{i + 1:x}/128\nEndpoint = 192.0.2.3:{1000 + i}"
        for i, key in enumerate(many)))
    peers = pair.ta.peers()
    seconds = time.monotonic() - start
    check_equal(len(peers), 1001, "number of peers")
    check(l.is_slow or seconds < 2, f"it took {seconds:.1f} s")
    for i, key in enumerate(many):
        check_equal(peers[key].endpoint, f"192.0.2.3:{1000 + i}", "endpoint")
        check_equal(set(peers[key].allowed),
                    {f"10.10.{i >> 8}.{i & 255}/32", f"fd10::{i + 1:x}/128"},
                    "prefixes")
    check(l.is_slow or pair.ta.rss() < 32 << 10,
          f"resident memory: {pair.ta.rss()} KiB")
    pair.both_ways(count=1)
    lab.send_stream(pair.a, pair.b, INNER4["b"], 1 << 20)
    pair.ta.configure({"PublicKey": pair.tb.public,
                       "AllowedIPs": lab.allowed("b"),
                       "Endpoint": pair.endpoint("b")}, how="syncconf")
    check_equal(list(pair.ta.peers()), [pair.tb.public], "peers that are left")
    pair.both_ways(count=1)


@case("1000 peers with keepalives that lead nowhere do not hinder the tunnel")
def thousand_awake(l):
    pair = Pair(l)
    lab.run("wg", "addconf", "wga", "/dev/stdin", stdin="\n".join(
        f"[Peer]\nPublicKey = {key}\nPersistentKeepalive = 1\n"
        f"Endpoint = 192.0.2.3:{1000 + i}"
        for i, key in enumerate(keys(1000))))
    # The first keepalive of each peer is due within a second.
    time.sleep(1)
    pair.both_ways(count=1)
    lab.send_stream(pair.a, pair.b, INNER4["b"], 1 << 20)


@case("peers come and go under traffic")
def churn(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    many = keys(20)
    stream = lab.Stream(pair.a, pair.b, INNER4["b"], 32 << 20)
    words = []
    for i, key in enumerate(many):
        words += ["peer", key, "allowed-ips", f"10.9.0.{100 + i}/32",
                  "endpoint", "192.0.2.3:9", "persistent-keepalive", "1"]
    gone = [word for key in many for word in ("peer", key, "remove")]
    before = pair.ta.rss()
    for _ in range(30):
        pair.ta.set(*words)
        pair.ta.set(*gone)
        pair.ta.set("peer", pair.tb.public, "allowed-ips", lab.allowed("b"))
    stream.finish()
    check_equal(list(pair.ta.peers()), [pair.tb.public], "peers that are left")
    check(l.is_slow or pair.ta.rss() < before + (8 << 10),
          f"resident memory: {before} KiB have become {pair.ta.rss()} KiB")
    pair.both_ways(count=1)


@case("the peer itself removed and set again under traffic, many times")
def remove_and_set(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    flood = pair.a.start("ping", "-n", "-f", "-q", INNER4["b"])
    for _ in range(20):
        pair.ta.set("peer", pair.tb.public, "remove")
        pair.ta.set("peer", pair.tb.public, "allowed-ips", lab.allowed("b"),
                    "endpoint", pair.endpoint("b"))
        time.sleep(0.03)
    flood.kill()
    flood.wait()
    pair.both_ways(count=1, wait=8)


@case("requests sent one after the other without waiting are all answered")
def pipelined(l):
    tunnel = l.tunnel(l.node("a"), "wga").start()
    text = tunnel.ask("get=1\n\nset=1\nfwmark=7\n\nget=1\n\nset=1\nnonsense=1"
                      "\nfwmark=9\n\nset=1\nlisten_port=777\n\nget=1\n\n")
    replies = text.split("\n\n")
    check_equal(replies.pop(), "", "what follows the last reply")
    check_equal(len(replies), 6, f"number of replies in {text!r}")
    check_equal(replies[0], "errno=0", "first get")
    check_equal(replies[1], "errno=0", "first set")
    check_equal(replies[2], "fwmark=7\nerrno=0", "second get")
    check_equal(replies[3], "errno=-22", "a set with an error")
    check_equal(replies[4], "errno=0", "third set")
    check_equal(replies[5], "listen_port=777\nfwmark=7\nerrno=0", "last get")


@case("errors have their numbers, and change nothing")
def errors(l):
    tunnel = l.tunnel(l.node("a"), "wga").start()
    key = "11" * 32
    for lines, number in (
            ("nonsense=1", -22), ("listen_port=65536", -22),
            ("listen_port=-1", -22), ("listen_port=", -22),
            ("fwmark=4294967296", -22), ("private_key=12", -22),
            ("private_key=" + "g" * 64, -22), ("public_key=" + "1" * 63, -22),
            ("no equals sign", -71), (f"public_key={key}\nendpoint=1.2.3.4",
                                      -22),
            (f"public_key={key}\nallowed_ip=10.0.0.0/33", -22),
            (f"public_key={key}\nallowed_ip=10.0.0.0", -22),
            (f"public_key={key}\nallowed_ip=fd00::/129", -22),
            (f"public_key={key}\npersistent_keepalive_interval=off", -22),
            (f"public_key={key}\nprotocol_version=2", -22),
            (f"public_key={key}\nremove=maybe", -22),
            ("replace_peers=false", -22), ("remove=true", -22)):
        text = tunnel.ask(f"set=1\nfwmark=5\n{lines}\n\n")
        check_equal(text, f"errno={number}\n\n", f"answer to {lines!r}")
        check_equal(tunnel.ask("get=1\n\n"), "errno=0\n\n",
                    f"state after {lines!r}")
    for text in "x\n\n", "get=2\n\n", "\n\n", "set=1\r\n\r\n", "\0" * 5000:
        try:
            check_equal(tunnel.ask(text), "", f"answer to {text!r}")
        except ConnectionError:
            pass
    # A request without its end has no effect.
    tunnel.ask("set=1\nfwmark=5\n")
    tunnel.ask("set=1\nfwmark=5")
    check_equal(tunnel.ask("get=1\n\n"), "errno=0\n\n", "state")
    tunnel.ask("set=1\n" + "x" * 200000 + "=1\n\n")
    tunnel.get()


@case("get has the keys that wg(8) and wgctrl look for, with all of a peer")
def get(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    lines = pair.ta.ask("get=1\n\n").splitlines()
    names = [line.partition("=")[0] for line in lines if line]
    check_equal(names[:2], ["private_key", "listen_port"], "device")
    check_equal(names[2], "public_key", "first of the peer")
    check_equal(set(names[3:-1]),
                {"preshared_key", "protocol_version", "endpoint",
                 "last_handshake_time_sec", "last_handshake_time_nsec",
                 "tx_bytes", "rx_bytes", "persistent_keepalive_interval",
                 "allowed_ip"}, "keys of the peer")
    check_equal(names[-1], "errno", "last")


@case("update_only, remove, and our own key as a peer")
def update_only(l):
    tunnel = l.tunnel(l.node("a"), "wga").start()
    key = "11" * 32
    check_equal(tunnel.ask(f"set=1\npublic_key={key}\nupdate_only=true\n"
                           "allowed_ip=10.0.0.0/8\n\n"), "errno=0\n\n",
                "update of a peer that is not there")
    check(key not in tunnel.ask("get=1\n\n"), "it is there now")
    tunnel.ask(f"set=1\npublic_key={key}\nallowed_ip=10.0.0.0/8\n\n")
    check(key in tunnel.ask("get=1\n\n"), "it is not there")
    tunnel.ask(f"set=1\npublic_key={key}\nremove=true\npublic_key={key}\n"
               "remove=true\n\n")
    check(key not in tunnel.ask("get=1\n\n"), "it is still there")
    tunnel.set("private-key", "/dev/stdin", stdin=tunnel.private)
    tunnel.set("peer", tunnel.public, "allowed-ips", "10.0.0.0/8")
    check_equal(tunnel.peers(), {}, "peers")


@case("clients that do nothing, or half, keep nobody out")
def idle_clients(l):
    tunnel = l.tunnel(l.node("a"), "wga").start()
    clients = []
    for i in range(40):
        client = socket.socket(socket.AF_UNIX)
        l.stack.callback(client.close)
        client.connect(tunnel.socket)
        if i % 2:
            client.sendall(b"set=1\nfwmark=3\npubl")
        clients.append(client)
    start = time.monotonic()
    tunnel.get()
    took = time.monotonic() - start
    lab.check_quick(l, took, 1, 10, "wg show beside idle clients")
    # A client that sends requests and reads no answers.
    lab.run("wg", "addconf", "wga", "/dev/stdin", stdin="\n".join(
        f"[Peer]\nPublicKey = {key}" for key in keys(2000)))
    for client in clients[:20:2]:
        client.sendall(b"get=1\n\n" * 10)
    start = time.monotonic()
    check_equal(len(tunnel.peers()), 2000, "number of peers")
    took = time.monotonic() - start
    lab.check_quick(l, took, 3, 20, "wg show beside clients that do not read")


@case("many clients at once")
def many_clients(l):
    pair = Pair(l)
    wrong = []

    def work(number):
        try:
            for i in range(30):
                text = pair.ta.ask("get=1\n\n" if (i + number) % 2 else
                                   f"set=1\nfwmark={number}\n\n")
                check(text.endswith("errno=0\n\n"), f"answer {text!r}")
        except Exception as err:  # pylint: disable=broad-except
            wrong.append(str(err))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(not wrong, f"{wrong}")
    pair.ta.set("fwmark", "0")
    pair.both_ways(count=1)


@case("keys in text are those of the files, and none is in the process's "
      "command line or log")
def key_text(l):
    tunnel = l.tunnel(l.node("a"), "wga").start()
    tunnel.set("private-key", "/dev/stdin", stdin=tunnel.private)
    check_equal(tunnel.get("private-key").stdout.strip(), tunnel.private,
                "private key")
    check_equal(tunnel.get("public-key").stdout.strip(), tunnel.public,
                "public key")
    text = tunnel.ask("get=1\n\n")
    digits = re.search("private_key=([0-9a-f]{64})\n", text).group(1)
    check(digits not in tunnel.log() and tunnel.private not in tunnel.log(),
          "the key is in the log")
    tunnel.set("private-key", "/dev/stdin", stdin="A" * 43 + "=")
    check_equal(tunnel.get("private-key").stdout.strip(), "(none)",
                "private key")


lab.main()
