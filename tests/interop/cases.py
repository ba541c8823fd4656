# SPDX-License-Identifier: MIT
"""Cases for every other implementation. Each begins with new keys."""
import pathlib
import time

import traffic
from sandbox import until
from tunnel import DEFAULT_PORT, Key, wg

HERE = pathlib.Path(__file__).resolve().parent
MTU = 1420
MIB = 1 << 20


def check(condition, what):
    """An assertion with a text."""
    if not condition:
        raise AssertionError(what)


def same(got, expected, what):
    """An assertion that two things are equal."""
    check(got == expected, f"{what}: {got!r}, expected {expected!r}")


def handshake(t, first, family=4):
    """The end that knows the other makes a handshake; both can then send."""
    second = t.peer_of(first)
    t.configure(first, family=family)
    same(first.ping(second, count=1), 1, "answers")
    same(second.ping(first, count=1), 1, "answers backwards")
    for end in t.ends:
        check(abs(end.handshake() - time.time()) < 5,
              f"{end.host.name}: latest handshake {end.handshake()}")
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
    """Both begin at the same time. Where each takes the other's initiation
    before the answer to its own, neither answer counts, and it is the next
    attempt that succeeds, after 5 s and a random time that differs."""
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
    """Up to the MTU, where padding stops, and above, in fragments."""
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
    """No session comes of it, and setting it right is enough."""
    psk = wg("genpsk")
    for end in t.ends:
        peer = t.peer_of(end)
        t.configure(end, psk=psk)
        peer.set_psk(end, wg("genpsk"))
        same(end.ping(peer, count=4), 0, "answers with another key")
        same(end.handshake(), 0, "handshake with another key")
        peer.set_psk(end, psk)
        # The next attempt is made 5 s after the one before.
        end.reaches(peer, 8)


def preshared_key_for_the_next_handshake(t):
    """A change leaves the session alone, and serves for the next."""
    t.connect(t.ours)
    psk = wg("genpsk")
    t.ours.set_psk(t.theirs, psk)
    t.theirs.set_psk(t.ours, psk)
    same(t.ours.ping(t.theirs), 3, "answers in the old session")
    renew_private_key(t, t.ours)
    t.ours.reaches(t.theirs, 3)


def persistent_keepalive(t):
    """It makes the handshake without traffic, and is received as traffic."""
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
    # The closed ports have answered by ICMP: begin where all is quiet.
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
    """One end moves; the other must follow what it sends."""
    peer = t.peer_of(end)
    t.connect(end, family=family)
    move()
    same(end.ping(peer, count=1), 1, "answers after the move")
    same(peer.endpoint(), end.sockaddr(family), "endpoint after the move")
    same(peer.ping(end), 3, "answers backwards after the move")


def roaming_address(t, end):
    """To another address and back, in both families."""
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
    """To another port."""
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
    """Another key and back: sessions end, the peer stays what it is."""
    end.set_private(Key().private)
    end.set_private(end.key.private)


def rekey_by_private_key(t):
    """The next packet makes a new handshake, at once."""
    for end in t.ends:
        peer = t.peer_of(end)
        t.connect(end)
        old = end.handshake()
        # Times of handshakes are shown in seconds.
        time.sleep(1.1)
        renew_private_key(t, end)
        end.reaches(peer, 3)
        check(end.handshake() > old, "a new handshake")
        same(peer.ping(end), 3, "answers backwards")


def restart_of_ours(t):
    """Who was restarted begins; the other takes the new session."""
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
    """Who was restarted stays silent: the other notices after 15 s."""
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


def cookie(t, first):
    """The end that is asked is under load: it answers with a cookie, and
    serves who sends that back, in the next attempt after 5 s."""
    second = t.peer_of(first)
    t.configure(first)
    storm = t.ours.host.start([
        str(HERE / "storm.py"), second.outer[4], str(second.port),
        second.key.public, "9", t.ours.device])
    time.sleep(1)
    first.host.sh(f"ping -c 8 {second.inner[4]} >/dev/null 2>&1 &")
    seen = storm.communicate(timeout=20)[0].decode().splitlines()
    here, there = ("out", "in") if first is t.ours else ("in", "out")
    expected = [f"{here} initiation", f"{there} cookie",
                f"{here} initiation with cookie", f"{there} response"]
    same(seen[:4], expected, "handshake messages under load")
    same(first.ping(second), 3, "answers")


def cookie_from_us(t):
    cookie(t, t.theirs)


def cookie_from_them(t):
    cookie(t, t.ours)


def rekey_after_time(t):
    """The session that is 120 s old is replaced without a lost packet."""
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
