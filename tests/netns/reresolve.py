#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""wiregatherctl reresolve: endpoints by name are kept current. dnsmasq serves the names,
in the namespace of a.
"""
import base64
import os
import re
import signal

import dns
import lab
from dns import CTL, Dns, config_file
from lab import INNER4, OUTER4, OUTER6, Pair, case, check, check_equal

# A key that no tunnel here has.
NOBODY = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
# Addresses of b besides the usual one, and one that nobody has.
OTHER4 = "192.0.2.3"
DEAD4, DEAD6 = "192.0.2.77", "2001:db8::77"


def without_endpoint(pair, **more):
    """a knows b, but not where b is."""
    pair.ta.configure({"PublicKey": pair.tb.public, "AllowedIPs": lab.allowed("b"),
                       **more})


def keep(pair, *lines, interval=1, key=None):
    """Write a configuration of a with one peer, b, and have its endpoints kept
    current."""
    path = config_file(pair, ["[Peer]", f"PublicKey = {key or pair.tb.public}", *lines])
    return pair.a.start(CTL, "reresolve", f"--interval={interval}", f"--config={path}",
                        "wga")


def text_of(process):
    with open(process.log.name, encoding="utf-8") as file:
        return file.read()


def await_endpoint(pair, endpoint, process, timeout=20):
    lab.wait_until(lambda: pair.ta.peer(pair.tb).endpoint == endpoint,
                   f"the endpoint {endpoint}; it is {pair.ta.peer(pair.tb).endpoint}; "
                   f"{text_of(process)}", timeout, 0.1)


def end(process):
    """It ends at once, with status 0."""
    process.send_signal(signal.SIGTERM)
    check_equal(process.wait(10 * lab.SLOWNESS), 0, "status at the end")


def once(pair, path, status):
    done = pair.a.run(CTL, "reresolve", "--once", f"--config={path}", "wga",
                      check_status=False, timeout=60)
    check_equal(done.returncode, status, f"status; output {done.stdout}")
    return done.stdout


@case("at the start, and when the address changes; the daemon asks nobody")
def changes(l):
    pair = Pair(l)
    server = Dns(pair.a, {"b.test": [OUTER4["b"]]})
    pair.b.ip(f"addr add {OTHER4}/24 dev eth")
    without_endpoint(pair)
    answer = pair.ta.ask(f"set=1\npublic_key={base64.b64decode(pair.tb.public).hex()}\n"
                         "endpoint=b.test:51002\n\n")
    check("errno=0" not in answer, f"the daemon takes a name: {answer}")
    process = keep(pair, "# friendly_name = the server", "Endpoint = b.test:51002")
    await_endpoint(pair, f"{OUTER4['b']}:51002", process)
    pair.a.must_ping(INNER4["b"], count=1)
    check(f"wga: the server: endpoint is now {OUTER4['b']}:51002, was none: it had no "
          "endpoint\n" in text_of(process), text_of(process))
    server.serve({"b.test": [OTHER4]})
    await_endpoint(pair, f"{OTHER4}:51002", process)
    pair.a.must_ping(INNER4["b"], count=1)
    check(f"endpoint is now {OTHER4}:51002, was {OUTER4['b']}:51002: the name has "
          "another address\n" in text_of(process), text_of(process))
    end(process)


@case("a name with an IPv6 address only; two peers on one name")
def one_name(l):
    pair = Pair(l)
    server = Dns(pair.a, {"b.test": [OUTER6["b"]]})
    pair.ta.configure({"PublicKey": pair.tb.public, "AllowedIPs": lab.allowed("b")},
                      {"PublicKey": NOBODY})
    path = config_file(pair, ["[Peer]", f"PublicKey = {pair.tb.public}",
                              "Endpoint = b.test:51002",
                              "[Peer]", f"PublicKey = {NOBODY}",
                              "Endpoint = b.test:4000"])
    text = once(pair, path, 0)
    peers = pair.ta.peers()
    check_equal((peers[pair.tb.public].endpoint, peers[NOBODY].endpoint),
                (f"[{OUTER6['b']}]:51002", f"[{OUTER6['b']}]:4000"),
                f"endpoints; output {text}")
    pair.a.must_ping(INNER4["b"], count=1)
    lab.wait_until(lambda: server.queries("AAAA", "b.test"), "a query")
    check_equal((server.queries("A", "b.test"), server.queries("AAAA", "b.test")),
                (1, 1), f"queries: {server.log()}")


@case("names that do not exist, and a DNS server that is gone: endpoints stay")
def nothing(l):
    pair = Pair(l)
    server = Dns(pair.a, {"b.test": [OUTER4["b"]]})
    pair.ta.configure({"PublicKey": pair.tb.public, "AllowedIPs": lab.allowed("b")},
                      {"PublicKey": NOBODY, "Endpoint": "192.0.2.50:4000"})
    path = config_file(pair, ["[Peer]", f"PublicKey = {NOBODY}",
                              "Endpoint = none.test:4000",
                              "[Peer]", f"PublicKey = {pair.tb.public}",
                              "Endpoint = b.test:51002"])
    text = once(pair, path, 1)
    check("none.test cannot be resolved: Name or service not known\n" in text, text)
    check_equal(pair.ta.peers()[NOBODY].endpoint, "192.0.2.50:4000", "endpoint")
    check_equal(pair.ta.peer(pair.tb).endpoint, f"{OUTER4['b']}:51002", "endpoint")
    process = pair.a.start(CTL, "reresolve", "--interval=1", f"--config={path}", "wga")
    lab.wait_until(lambda: "none.test cannot" in text_of(process), "the first look", 20)
    server.stop()
    lab.wait_until(lambda: "b.test cannot be resolved: " in text_of(process),
                   "the line about b.test", 60)
    check_equal(pair.ta.peer(pair.tb).endpoint, f"{OUTER4['b']}:51002", "endpoint")
    pair.a.must_ping(INNER4["b"], count=1)
    server.start()
    lab.wait_until(lambda: "b.test can be resolved again" in text_of(process),
                   "the DNS server is noticed", 60)
    lines = text_of(process).splitlines()
    check_equal(len([line for line in lines if "b.test cannot" in line]), 1,
                f"lines about b.test in {lines}")
    check(not [line for line in lines if "endpoint is now" in line], f"{lines}")
    end(process)


@case("an address that does not answer: the other family is tried")
def family(l):
    pair = Pair(l)
    Dns(pair.a, {"b.test": [OUTER4["b"], DEAD6]})
    without_endpoint(pair, PersistentKeepalive=1)
    process = keep(pair, "Endpoint = b.test:51002", interval=600)
    await_endpoint(pair, f"[{DEAD6}]:51002", process)
    await_endpoint(pair, f"{OUTER4['b']}:51002", process, 90)
    check("it does not answer\n" in text_of(process), text_of(process))
    pair.a.must_ping(INNER4["b"], count=1)
    check_equal(text_of(process).count("endpoint is now"), 2, text_of(process))
    end(process)


@case("a backup is used when the first endpoint does not answer")
def backup(l):
    pair = Pair(l)
    Dns(pair.a, {"first.test": [DEAD4], "b.test": [OUTER4["b"]]})
    without_endpoint(pair, PersistentKeepalive=1)
    process = keep(pair, "Endpoint = first.test:51002",
                   "# endpoint_backup = none.test:51002",
                   "# endpoint_backup = b.test:51002", interval=600)
    await_endpoint(pair, f"{DEAD4}:51002", process)
    await_endpoint(pair, f"{OUTER4['b']}:51002", process, 90)
    pair.a.must_ping(INNER4["b"], count=1)
    end(process)


@case("a peer that has roamed is left alone, also by a process that starts later")
def roamed(l):
    pair = Pair(l)
    server = Dns(pair.a, {"b.test": [OUTER4["b"]]})
    without_endpoint(pair)
    process = keep(pair, "Endpoint = b.test:51002")
    await_endpoint(pair, f"{OUTER4['b']}:51002", process)
    pair.a.must_ping(INNER4["b"], count=1)
    pair.tb.set("listen-port", "51009")
    pair.b.must_ping(INNER4["a"], count=1)
    there = f"{OUTER4['b']}:51009"
    check_equal(pair.ta.peer(pair.tb).endpoint, there, "endpoint")
    pair.b.ip(f"addr add {OTHER4}/24 dev eth")
    server.serve({"b.test": [OTHER4]})
    lab.wait_until(lambda: f"b.test is {OTHER4}" in server.log(), "an answer", 20)
    before = server.queries("A", "b.test")
    lab.wait_until(lambda: server.queries("A", "b.test") >= before + 3, "three looks", 30)
    check_equal(pair.ta.peer(pair.tb).endpoint, there, text_of(process))
    end(process)
    path = config_file(pair, ["[Peer]", f"PublicKey = {pair.tb.public}",
                              "Endpoint = b.test:51002"])
    text = once(pair, path, 0)
    check_equal(pair.ta.peer(pair.tb).endpoint, there, f"after {text}")
    pair.a.must_ping(INNER4["b"], count=1)


@case("1,000 names, beside one whose DNS server does not answer")
def thousand(l):
    count = 1000
    pair = Pair(l)
    Dns(pair.a, {f"h{i}.test": [f"198.51.100.{i % 250 + 1}"] for i in range(count)},
        "--server=/slow.test/192.0.2.99", patience=100)
    keys = [base64.b64encode(os.urandom(32)).decode() for _ in range(count)]
    pair.ta.configure({"PublicKey": NOBODY}, *({"PublicKey": key} for key in keys))
    lines = ["[Peer]", f"PublicKey = {NOBODY}", "Endpoint = slow.test:4000"]
    for i, key in enumerate(keys):
        lines += ["[Peer]", f"PublicKey = {key}", f"Endpoint = h{i}.test:{1000 + i}"]
    path = config_file(pair, lines)
    process = pair.a.start(CTL, "reresolve", f"--config={path}", "wga")

    def are_all_set():
        peers = pair.ta.peers()
        return all(peers[key].endpoint == f"198.51.100.{i % 250 + 1}:{1000 + i}"
                   for i, key in enumerate(keys))

    lab.wait_until(are_all_set, f"1,000 endpoints; {text_of(process)[-2000:]}", 90, 0.2)
    check("slow.test cannot" not in text_of(process),
          "the slow name has had its answer before")
    with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
        threads = int(re.search(r"Threads:\s+(\d+)", file.read()).group(1))
    check(1 < threads <= 65, f"{threads} threads")
    check_equal(text_of(process).count("endpoint is now"), count, "changes")
    end(process)


@case("the daemon comes and goes; the configuration changes")
def comes_and_goes(l):
    pair = Pair(l)
    Dns(pair.a, {"b.test": [OUTER4["b"]], "c.test": [OTHER4]})
    without_endpoint(pair)
    process = keep(pair, "Endpoint = b.test:51002", interval=600)
    await_endpoint(pair, f"{OUTER4['b']}:51002", process)
    pair.ta.stop()
    l.tunnels.remove(pair.ta)
    pair.ta.has_ended = False
    lab.wait_until(lambda: "wga: no daemon serves it" in text_of(process),
                   "the line about the daemon", 20)
    pair.ta.start()
    without_endpoint(pair)
    pair.ta.up(INNER4["a"] + "/24", mtu=1420)
    await_endpoint(pair, f"{OUTER4['b']}:51002", process, 30)
    # A file that is wrong changes nothing, and is named.
    path = config_file(pair, ["[Peer]", f"PublicKey = {pair.tb.public}",
                              "Endpoint = c.test"])
    process.send_signal(signal.SIGHUP)
    lab.wait_until(
        lambda: f"{path}: line 6: Endpoint is not HOST:PORT: c.test\n" in
        text_of(process), f"the error; {text_of(process)}", 20)
    config_file(pair, ["[Peer]", f"PublicKey = {pair.tb.public}",
                       "Endpoint = c.test:51002"])
    process.send_signal(signal.SIGHUP)
    await_endpoint(pair, f"{OTHER4}:51002", process)
    end(process)


@case("the file of wg-quick; wrong command lines and files")
def usage(l):
    pair = Pair(l)
    Dns(pair.a, {"b.test": [OUTER4["b"]]})
    without_endpoint(pair)
    dns.mount_over("/etc/wireguard", l)
    with open("/etc/wireguard/wga.conf", "w", encoding="utf-8") as file:
        file.write(f"[Peer]\nPublicKey = {pair.tb.public}\nEndpoint = b.test:51002\n")
    text = pair.a.run(CTL, "reresolve", "--once", "wga", timeout=60).stdout
    check_equal(pair.ta.peer(pair.tb).endpoint, f"{OUTER4['b']}:51002",
                f"endpoint; output {text}")
    # Of wgb there is no configuration; it was not asked for by its name.
    text = pair.a.run(CTL, "reresolve", "--once", check_status=False).stdout
    check("/etc/wireguard/wgb.conf: No such file" in text and
          "wga: keeping the endpoints of 1 peer current" in text, text)
    for words, status, complaint in (
            (("--interval=0", "wga"), 2, "--interval is not a number of seconds from 1 "
             "to 86400: 0"),
            (("--interval=1h", "wga"), 2, "--interval is not a number of seconds from 1 "
             "to 86400: 1h"),
            (("--config",), 2, "no value: --config"),
            (("--config=x", "wga", "wgb"), 2, "--config needs one interface: x"),
            (("--json",), 2, "no such option: --json"),
            (("--once", "wgb"), 1, "/etc/wireguard/wgb.conf: No such file or directory"),
            (("--once", "--config=/etc/wireguard/wga.conf", "wgx"), 1,
             "wgx: no daemon serves it")):
        done = pair.a.run(CTL, "reresolve", *words, check_status=False)
        check_equal(done.returncode, status, f"{words}: {done.stdout}")
        check(f"wiregatherctl: {complaint}" in done.stdout, f"{words}: {done.stdout}")


dns.main()
