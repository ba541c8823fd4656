#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""wg-quick(8) with this program in the place of wireguard-go."""
import os
import re
import time

import lab
from lab import INNER4, INNER6, OUTER4, case, check, check_equal


class Quick:
    """Nodes a and b; wg-quick sets up the tunnel at a, the test itself at
    b."""

    def __init__(self, l, interface=(), allowed="10.9.0.2/32, fd09::2/128"):
        lab.need("wg-quick", "bash")
        if os.path.exists("/sys/module/wireguard"):
            raise lab.Skip("wg-quick takes the kernel's WireGuard here")
        self.lab = l
        self.a, self.b = l.node("a"), l.node("b")
        l.link(self.a, self.b, "eth", "eth")
        for side, node in ("a", self.a), ("b", self.b):
            node.ip(f"addr add {OUTER4[side]}/24 dev eth")
        self.private = lab.run("wg", "genkey").stdout.strip()
        public = lab.run("wg", "pubkey", stdin=self.private).stdout.strip()
        self.tb = l.tunnel(self.b, "wgb", 51002).start()
        self.tb.configure({"PublicKey": public,
                           "AllowedIPs": "10.9.0.1/32, fd09::1/128"})
        self.tb.up("10.9.0.2/24", "fd09::2/64")
        self.b.ip("addr add 203.0.113.80/32 dev lo",
                  "addr add 2001:db8:80::80/128 dev lo nodad")
        self.path = os.path.join(l.directory, "wgq.conf")
        self.write(interface, allowed)

    def write(self, interface=(), allowed="10.9.0.2/32, fd09::2/128"):
        lines = ["[Interface]", f"PrivateKey = {self.private}",
                 "ListenPort = 51001", "Address = 10.9.0.1/24, fd09::1/64",
                 *interface, "[Peer]", f"PublicKey = {self.tb.public}",
                 f"AllowedIPs = {allowed}", "Endpoint = 192.0.2.2:51002"]
        with open(self.path, "w", encoding="ascii") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write("\n".join(lines) + "\n")

    def run(self, command, check_status=True, options=""):
        daemon = self.lab.daemon
        env = {**os.environ, "WIREGATHER_OPTIONS": options,
               "PATH": f"{os.path.dirname(daemon)}:{os.environ['PATH']}",
               "WG_QUICK_USERSPACE_IMPLEMENTATION": os.path.basename(daemon)}
        return self.a.run("wg-quick", command, self.path, env=env,
                          check_status=check_status)

    def must_work(self):
        for target in INNER4["b"], INNER6["b"]:
            self.a.must_ping(target, count=2)
        for target in INNER4["a"], INNER6["a"]:
            self.b.must_ping(target, count=2)

    def must_be_gone(self):
        """Check that no daemon, interface, socket or rule is left."""
        mine = {self.tb.process.pid}

        def has_ended():
            for pid in set(lab.children_of(os.getpid())) - mine:
                if not os.waitpid(pid, os.WNOHANG)[0]:
                    return False
            return True

        lab.wait_until(has_ended, "the daemon has ended")
        check(not os.path.exists(f"{lab.SOCKETS}/wgq.sock"),
              "the socket file is left")
        check(self.a.run("ip", "link", "show", "wgq",
                         check_status=False).returncode,
              "the interface is left")
        for family in "-4", "-6":
            text = self.a.run("ip", family, "rule").stdout
            check("51820" not in text and "suppress" not in text,
                  f"rules are left:\n{text}")


@case("up, traffic, down, and that again")
def up_down(l):
    net = Quick(l)
    for _ in range(2):
        net.run("up")
        net.must_work()
        text = net.a.run("ip", "link", "show", "wgq").stdout
        check("mtu 1420" in text, f"MTU: {text}")
        net.run("down")
        net.must_be_gone()


@case("options by WIREGATHER_OPTIONS; nonsense in it is refused")
def options_by_variable(l):
    lab.need("nft")
    net = Quick(l)
    bad = net.run("up", check_status=False, options="--no-gso wg1")
    check(bad.returncode and "WIREGATHER_OPTIONS: not an option: wg1"
          in bad.stdout, f"status {bad.returncode}, {bad.stdout!r}")
    net.must_be_gone()
    net.a.run("nft", """
        add table inet long
        add counter inet long n
        add chain inet long out { type filter hook output priority 0; }
        add rule inet long out udp dport 51002 meta length > 1500 counter name n
        """)
    seen = {}
    for options in "--no-gso", "":
        net.a.run("nft", "reset counter inet long n")
        net.run("up", options=options)
        net.must_work()
        lab.send_stream(net.a, net.b, INNER4["b"], 4 << 20)
        net.run("down")
        net.must_be_gone()
        text = net.a.run("nft", "list counter inet long n").stdout
        seen[options] = int(re.search(r"packets (\d+)", text)[1])
    check(seen["--no-gso"] == 0 and seen[""] > 0, f"trains: {seen}")


@case("default routes of both families go through the tunnel")
def default_routes(l):
    lab.need("nft", "sysctl")
    net = Quick(l, allowed="0.0.0.0/0, ::/0")
    net.run("up")
    net.must_work()
    for target in "203.0.113.80", "2001:db8:80::80":
        net.a.must_ping(target, count=2)
    check(net.a.run("wg", "show", "wgq", "fwmark").stdout.strip() != "off",
          "no fwmark is set")
    lab.send_stream(net.a, net.b, "203.0.113.80", 4 << 20)
    net.run("down")
    net.must_be_gone()


@case("a private key that comes by PostUp: the first packet does not wait")
def late_key(l):
    net = Quick(l)
    key = os.path.join(l.directory, "key")
    with open(key, "w", encoding="ascii") as file:
        file.write(net.private)
    post_up = f"PostUp = sleep 1; wg set %i private-key {key}"
    net.write([post_up])
    with open(net.path, encoding="ascii") as file:
        text = file.read().replace(f"PrivateKey = {net.private}\n", "")
    # The keepalive asks for a handshake at once, when there is no key yet.
    text += "PersistentKeepalive = 25\n"
    with open(net.path, "w", encoding="ascii") as file:
        file.write(text)
    net.run("up")
    start = time.monotonic()

    def is_there():
        shown = net.a.run("wg", "show", "wgq", "latest-handshakes").stdout
        return not shown.split()[1:] == ["0"]

    lab.wait_until(is_there, "a handshake", 20, 0.02)
    took = time.monotonic() - start
    # If setting the key did not cause an attempt, the next one would come
    # after 3.5 to 5 s.
    lab.check_quick(l, took, 2.5, 20, "a handshake, after the key")
    net.must_work()
    net.run("down")
    net.must_be_gone()


@case("hooks, an MTU and a save of the configuration")
def hooks(l):
    net = Quick(l, ["MTU = 1380", "PostUp = ip link set %i txqueuelen 123",
                    "PreDown = touch " + os.path.join(l.directory, "%i")])
    net.run("up")
    text = net.a.run("ip", "link", "show", "wgq").stdout
    check("mtu 1380" in text and "qlen 123" in text, f"link: {text}")
    net.must_work()
    net.a.run("wg", "set", "wgq", "listen-port", "51009")
    net.run("save")
    with open(net.path, encoding="ascii") as file:
        check("ListenPort = 51009" in file.read(), "the port is not saved")
    net.run("down")
    check(os.path.exists(os.path.join(l.directory, "wgq")),
          "the command of PreDown did not run")
    net.must_be_gone()


@case("strip and wg syncconf: changed without an interruption")
def strip(l):
    net = Quick(l)
    net.run("up")
    net.must_work()
    before = net.tb.get("latest-handshakes").stdout
    net.write(["FwMark = 9"], "10.9.0.2/32, fd09::2/128, 203.0.113.80/32")
    text = net.run("strip").stdout
    net.a.run("wg", "syncconf", "wgq", "/dev/stdin", stdin=text)
    net.must_work()
    check_equal(net.tb.get("latest-handshakes").stdout, before,
                "time of the handshake")
    check_equal(net.a.run("wg", "show", "wgq", "fwmark").stdout.strip(),
                "0x9", "fwmark")
    net.run("down")
    net.must_be_gone()


@case("up twice is refused, and a wrong configuration leaves nothing")
def refused(l):
    net = Quick(l)
    net.run("up")
    done = net.run("up", check_status=False)
    check(done.returncode and "already exists" in done.stdout,
          f"the second: {done.stdout}")
    net.must_work()
    net.run("down")
    net.must_be_gone()
    net.write(allowed="10.9.0.2/32, nonsense/77")
    check(net.run("up", check_status=False).returncode,
          "a wrong configuration is accepted")
    net.must_be_gone()


lab.main()
