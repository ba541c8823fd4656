# SPDX-License-Identifier: MIT
"""Cases that run with each other implementation. Each begins with new keys."""
import os
import pathlib
import sys
import time

import traffic
from sandbox import until
from tunnel import DEFAULT_PORT, Key, wg

HERE = pathlib.Path(__file__).resolve().parent
MTU = 1420
MIB = 1 << 20


def check(condition, what):
    """Fail with a text unless the condition is true."""
    if not condition:
        raise AssertionError(what)


def same(got, expected, what):
    """Fail with a text unless two values are equal."""
    check(got == expected, f"{what}: {got!r}, expected {expected!r}")


def handshake(t, first, family=4):
    """The end that has the endpoint of the other makes a handshake. Then both
    can send."""
    second = t.peer_of(first)
    # The clock of a guest is not that of this machine.
    starts = [end.clock() for end in t.ends]
    t.configure(first, family=family)
    same(first.ping(second, count=1), 1, "answers")
    same(second.ping(first, count=1), 1, "answers backwards")
    for end, start in zip(t.ends, starts):
        latest, now = end.handshake(), end.clock()
        check(start <= latest <= now,
              f"{end.host.name}: latest handshake at {latest}, "
              f"not between {start} and {now}")
        check(end.received() > 0, f"{end.host.name}: nothing received")
    same(second.endpoint(), first.sockaddr(family), "endpoint learned")


def handshake_from_us(t):
    handshake(t, t.ours)


def handshake_from_them(t):
    handshake(t, t.theirs)


def handshake_from_us_over_ipv6(t):
    handshake(t, t.ours, family=6)


def handshake_from_them_over_ipv6(t):
    handshake(t, t.theirs, family=6)


def handshakes_that_cross(t):
    """Both ends begin at the same time. If each takes the other's initiation
    before the response to its own, neither response counts. Then the next try
    succeeds, after 5 s and a random time that differs between the ends."""
    t.configure(t.ends)
    for end in t.ends:
        peer = t.peer_of(end)
        end.host.sh(f"ping -c 1 {peer.inner[4]} >/dev/null 2>&1 &")
    for end in t.ends:
        end.reaches(t.peer_of(end), 12)
    for end in t.ends:
        same(end.ping(t.peer_of(end)), 3, "answers afterwards")


def ping_both_ways(t):
    t.connect(t.ours)
    for end in t.ends:
        for family in (4, 6):
            same(end.ping(t.peer_of(end), family), 3,
                 f"answers to {end.host.name} over IPv{family}")


def packets_of_every_size(t):
    """Packets up to the MTU, and larger ones in fragments. Padding must not make a
    packet longer than the MTU."""
    t.connect(t.theirs)
    for end in t.ends:
        for family, headers in ((4, 28), (6, 48)):
            for size in (0, 1, 15, 16, 17, MTU - headers - 1, MTU - headers,
                         4 * MTU):
                same(end.ping(t.peer_of(end), family, 1, size), 1,
                     f"answers to {size} bytes over IPv{family}")


def tcp_both_ways(t):
    t.connect(t.ours)
    for end in t.ends:
        for family in (4, 6):
            traffic.tcp(end, t.peer_of(end), family, t.link.tcp_bytes)


def udp_both_ways(t):
    t.connect(t.ours)
    for end in t.ends:
        for family, headers in ((4, 28), (6, 48)):
            for size in (1, 600, MTU - headers):
                traffic.udp(end, t.peer_of(end), family, size, 40)


def preshared_key(t):
    for end in t.ends:
        t.connect(end, psk=wg("genpsk"))
        same(end.ping(t.peer_of(end)), 3, "answers")


def wrong_preshared_key(t):
    """With a wrong key there is no session. Setting the right key is enough."""
    psk = wg("genpsk")
    for end in t.ends:
        peer = t.peer_of(end)
        t.configure(end, psk=psk)
        peer.set_psk(end, wg("genpsk"))
        same(end.ping(peer, count=4), 0, "answers with another key")
        same(end.handshake(), 0, "handshake with another key")
        peer.set_psk(end, psk)
        # The next initiation is sent 5 s after the one before.
        end.reaches(peer, 8)


def preshared_key_for_the_next_handshake(t):
    """A changed key does not end the session. The next handshake uses it."""
    t.connect(t.ours)
    psk = wg("genpsk")
    t.ours.set_psk(t.theirs, psk)
    t.theirs.set_psk(t.ours, psk)
    same(t.ours.ping(t.theirs), 3, "answers in the old session")
    renew_private_key(t, t.ours)
    t.ours.reaches(t.theirs, 3)


def persistent_keepalive(t):
    """A keepalive causes the handshake without traffic, and counts as received."""
    for end in t.ends:
        peer = t.peer_of(end)
        t.configure(end)
        end.set_peer(peer, "persistent-keepalive 1")
        until(peer.handshake, 5, "a handshake by itself")
        before = peer.received()
        until(lambda b=before, p=peer: p.received() >= b + 3 * 32, 6,
              "three keepalives")


def passive_keepalive(t):
    """Data in one direction is answered after 10 s, so that no handshake
    comes at 15 s."""
    t.connect(t.ours)
    for end in t.ends:
        peer = t.peer_of(end)
        end.host.sh("echo | socat -u - "
                    f"UDP4-SENDTO:{traffic.target(peer, 4)}")
    # Closed ports have answered by ICMP. Wait until nothing more is sent.
    time.sleep(11)
    for end in t.ends:
        peer = t.peer_of(end)
        peer.host.sh("socat -u UDP4-RECV:5000 OPEN:/dev/null "
                     ">/dev/null 2>&1 & echo $! >/run/socat")
        try:
            until(lambda p=peer: traffic.listening(p.host, "udp"), 5,
                  "a receiver")
            before, made = end.received(), end.handshake()
            end.host.sh("echo | socat -u - "
                        f"UDP4-SENDTO:{traffic.target(peer, 4)}")
            time.sleep(9)
            same(end.received(), before, "received too early")
            until(lambda e=end, b=before: e.received() == b + 32, 3,
                  "one keepalive")
            same(end.handshake(), made, "time of the handshake")
        finally:
            peer.host.sh("kill $(cat /run/socat)")
            until(lambda p=peer: not traffic.listening(p.host, "udp"), 5,
                  "its end")


def roaming(t, end, move, family):
    """One end moves and sends. The other end must learn the new endpoint."""
    peer = t.peer_of(end)
    t.connect(end, family=family)
    move()
    same(end.ping(peer, count=1), 1, "answers after the move")
    same(peer.endpoint(), end.sockaddr(family), "endpoint after the move")
    same(peer.ping(end), 3, "answers backwards after the move")


def roaming_address(t, end):
    """One end moves to another address and back, in both families."""
    def move(number):
        end.replace_outer(number)
        t.link.moved(end)
    home = end.number
    for family in (4, 6):
        roaming(t, end, lambda: move(home + 10), family)
        roaming(t, end, lambda: move(home), family)


def roaming_of_our_address(t):
    roaming_address(t, t.ours)


def roaming_of_their_address(t):
    roaming_address(t, t.theirs)


def roaming_port(t, end):
    """One end moves to another port."""
    def move():
        end.port = DEFAULT_PORT + 7
        end.host.sh(f"wg set {end.interface} listen-port {end.port}")
    try:
        roaming(t, end, move, 4)
    finally:
        end.port = DEFAULT_PORT


def roaming_of_our_port(t):
    roaming_port(t, t.ours)


def roaming_of_their_port(t):
    roaming_port(t, t.theirs)


def roaming_between_families(t):
    """An endpoint of the other family is set while there is a session."""
    for end in t.ends:
        peer = t.peer_of(end)
        t.connect(end, family=4)
        for family in (6, 4):
            end.set_peer(peer, f"endpoint {peer.sockaddr(family)}")
            same(end.ping(peer), 3, f"answers over IPv{family}")
            same(peer.endpoint(), end.sockaddr(family), "endpoint")


def renew_private_key(t, end):
    """Set another private key, then the old one again. This ends all sessions,
    and leaves the rest of the peer as it is."""
    end.set_private(Key().private)
    end.set_private(end.key.private)


def rekey_by_private_key(t):
    """After a change of the private key the next packet starts a handshake."""
    for end in t.ends:
        peer = t.peer_of(end)
        t.connect(end)
        old = end.handshake()
        # wg shows the times of handshakes in whole seconds.
        time.sleep(1.1)
        renew_private_key(t, end)
        end.reaches(peer, 3)
        check(end.handshake() > old, "a new handshake")
        same(peer.ping(end), 3, "answers backwards")


def restart_of_ours(t):
    """Our end restarts and starts a handshake. The other end takes the new
    session."""
    restart(t, t.ours)


def restart_of_theirs(t):
    restart(t, t.theirs)


def restart(t, end):
    peer = t.peer_of(end)
    t.connect(end)
    t.link.restart(end)
    end.bring_up()
    end.configure(peer, [f"Endpoint = {peer.sockaddr(4)}"])
    end.reaches(peer, 5)
    same(peer.ping(end), 3, "answers backwards")


def silence_makes_a_handshake(t):
    """The end that was restarted sends nothing. The other end notices after
    15 s."""
    for end in t.ends:
        peer = t.peer_of(end)
        t.connect(end)
        t.link.restart(end)
        end.bring_up()
        end.configure(peer, [f"Endpoint = {peer.sockaddr(4)}"])
        begin = time.monotonic()
        same(peer.ping(end, count=1), 0, "answers at first")
        peer.reaches(end, 25)
        check(time.monotonic() - begin > 10, "noticed too early")


def storm(t, first):
    """One handshake while the end that responds is flooded. Return the
    handshake messages of both ends that were seen."""
    second = t.peer_of(first)
    t.configure(first)
    process = t.ours.host.start([
        str(HERE / "storm.py"), second.outer[4], str(second.port),
        second.key.public, "40", t.ours.device])
    time.sleep(1)
    first.host.sh(f"ping -c 1 {second.inner[4]} >/dev/null 2>&1 &")
    return process.communicate(timeout=50)[0].decode().splitlines()


def cookie(t, first):
    """The end that responds is under load and answers with a cookie reply. It
    accepts the next initiation, 5 s later, which carries the cookie. An
    initiation may be lost in the flood, or be sent before the load begins."""
    here, there = ("out", "in") if first is t.ours else ("in", "out")
    for _ in range(4):
        seen = storm(t, first)
        if f"{there} cookie" in seen:
            break
    rest = iter(seen)
    for expected in (f"{here} initiation", f"{there} cookie",
                     f"{here} initiation with cookie", f"{there} response"):
        check(expected in rest, f"no {expected!r} in its place in {seen}")
    same(first.ping(t.peer_of(first)), 3, "answers")


def cookie_from_us(t):
    cookie(t, t.theirs)


def cookie_from_them(t):
    cookie(t, t.ours)


def rekey_after_time(t):
    """A session that is 120 s old is replaced, and no packet is lost."""
    for end in t.ends:
        peer = t.peer_of(end)
        t.connect(end)
        old = [e.handshake() for e in t.ends]
        same(end.ping(peer, count=640, interval=0.2), 640,
             "answers during 128 s")
        new = [e.handshake() for e in t.ends]
        for before, after in zip(old, new):
            check(119 <= after - before <= 127,
                  f"handshakes {after - before} s apart")


SHORT = [
    handshake_from_us,
    handshake_from_them,
    ping_both_ways,
    packets_of_every_size,
    tcp_both_ways,
    preshared_key,
]

MIDDLE = [
    handshake_from_us_over_ipv6,
    handshake_from_them_over_ipv6,
    handshakes_that_cross,
    udp_both_ways,
    preshared_key_for_the_next_handshake,
    persistent_keepalive,
    roaming_of_our_address,
    roaming_of_their_address,
    roaming_of_our_port,
    roaming_of_their_port,
    roaming_between_families,
    rekey_by_private_key,
    restart_of_ours,
    restart_of_theirs,
]

LONG = [
    wrong_preshared_key,
    passive_keepalive,
    silence_makes_a_handshake,
    cookie_from_us,
    cookie_from_them,
    rekey_after_time,
]


def select(quick):
    """Return the cases that the environment asks for, and their time limit.

    @quick: the cases that are run unless INTEROP=full or INTEROP_CASE=name
    """
    every = SHORT + MIDDLE + LONG
    name = os.environ.get("INTEROP_CASE")
    if name:
        quick = [case for case in every if case.__name__ == name]
        if not quick:
            sys.exit(f"no case {name}")
    full = os.environ.get("INTEROP") == "full"
    return (every if full and not name else quick), \
        (840 if full or name else 160)
