#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""wiregatherctl reresolve goes back to the first endpoint of a peer when that answers
again. A backup is in use, with a session and traffic, so this happens when the session
is renewed, after two minutes.
"""
import dns
import lab
from dns import CTL, Dns, config_file
from lab import INNER4, OUTER4, Pair, case, check, check_equal

# An address that b has only later.
FIRST = "192.0.2.77"


def text_of(process):
    with open(process.log.name, encoding="utf-8") as file:
        return file.read()


class Pings:
    """A ping each fifth of a second, both ways."""

    def __init__(self, pair):
        self.processes = [
            pair.a.start("ping", "-n", "-i", "0.2", INNER4["b"]),
            pair.b.start("ping", "-n", "-i", "0.2", INNER4["a"])]


@case("back to the first endpoint when the session is renewed")
def back(l):
    pair = Pair(l)
    Dns(pair.a, {"first.test": [FIRST], "b.test": [OUTER4["b"]]})
    pair.ta.configure({"PublicKey": pair.tb.public, "AllowedIPs": lab.allowed("b"),
                       "PersistentKeepalive": 1})
    # b does not begin handshakes, so a renews the session.
    pair.tb.configure({"PublicKey": pair.ta.public, "AllowedIPs": lab.allowed("a")})
    path = config_file(pair, ["[Peer]", f"PublicKey = {pair.tb.public}",
                              "Endpoint = first.test:51002",
                              "# endpoint_backup = b.test:51002"])
    process = pair.a.start(CTL, "reresolve", "--interval=600", f"--config={path}", "wga")

    def endpoint():
        return pair.ta.peer(pair.tb).endpoint

    lab.wait_until(lambda: endpoint() == f"{OUTER4['b']}:51002",
                   f"the backup; {text_of(process)}", 90, 0.2)
    pair.a.must_ping(INNER4["b"], count=1)
    pings = Pings(pair)
    pair.b.ip(f"addr add {FIRST}/24 dev eth")
    lab.wait_until(lambda: endpoint() == f"{FIRST}:51002" and
                   pair.ta.peer(pair.tb).handshake,
                   f"the first endpoint; {text_of(process)}", 200, 0.2)
    # It stays: b answers from there.
    def lines():
        return [line for line in text_of(process).splitlines()
                if "endpoint is now" in line]

    lab.wait_until(lambda: endpoint() == f"{FIRST}:51002" and
                   f"endpoint is now {FIRST}" in lines()[-1], "the last line", 20)
    pair.a.must_ping(INNER4["b"], count=6)
    check_equal(endpoint(), f"{FIRST}:51002", f"endpoint; {text_of(process)}")
    check("still does not answer" not in text_of(process), text_of(process))
    check(all(ping.poll() is None for ping in pings.processes), "a ping has ended")


dns.main()
