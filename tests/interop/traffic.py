# SPDX-License-Identifier: MIT
"""Data through the tunnel, by socat at both ends, compared by hash."""
from sandbox import until

# A choice.
PORT = 5000
TCP_LISTEN, UDP_UNCONNECTED = "0A", "07"
HASH = "sha256sum /run/{} 2>/dev/null | cut -d ' ' -f 1"


def make(host, size):
    """Put random bytes into /run/sent. Return their hash."""
    host.sh(f"head -c {size} /dev/urandom >/run/sent")
    return host.sh(HASH.format("sent")).strip()


def target(end, family):
    """The inner address as socat wants it."""
    address = end.inner[family]
    return f"[{address}]:{PORT}" if family == 6 else f"{address}:{PORT}"


def arrives(host, expected, seconds, what):
    """Wait until /run/got has the hash."""
    until(lambda: host.sh(HASH.format("got")).strip() == expected, seconds,
          f"all of {what} at {host.name}")


def listening(host, protocol):
    """Return whether a socket waits on PORT, by the kernel's table."""
    table = host.sh(f"cat /proc/net/{protocol} /proc/net/{protocol}6")
    for line in table.splitlines():
        # Number, local address, remote address, state.
        words = line.split()
        if words[1].endswith(f":{PORT:04X}") and \
                words[3] in (TCP_LISTEN, UDP_UNCONNECTED):
            return True
    return False


def tcp(sender, receiver, family, size):
    """Send over one TCP connection, in one direction."""
    expected = make(sender.host, size)
    receiver.host.sh(
        f"rm -f /run/got; socat -u TCP{family}-LISTEN:{PORT},reuseaddr "
        "CREATE:/run/got >/dev/null 2>&1 &")
    until(lambda: listening(receiver.host, "tcp"), 5, "a listener")
    sender.host.sh(f"socat -u FILE:/run/sent "
                   f"TCP{family}:{target(receiver, family)}", 60)
    arrives(receiver.host, expected, 10, f"{size} bytes")


def udp(sender, receiver, family, size, count):
    """Send datagrams of one size without a pause. They must arrive in order."""
    expected = make(sender.host, size * count)
    receiver.host.sh(
        f"rm -f /run/got; socat -u UDP{family}-RECV:{PORT} "
        "CREATE:/run/got >/dev/null 2>&1 & echo $! >/run/socat")
    until(lambda: listening(receiver.host, "udp"), 5, "a receiver")
    sender.host.sh(f"socat -u -b {size} FILE:/run/sent "
                   f"UDP{family}-SENDTO:{target(receiver, family)}")
    try:
        arrives(receiver.host, expected, 5, f"{count} times {size} bytes")
    except TimeoutError as late:
        got = receiver.host.sh("wc -c </run/got; grep ^Udp: /proc/net/snmp")
        raise TimeoutError(f"{late}; arrived: {got}") from late
    finally:
        receiver.host.sh("kill $(cat /run/socat)")
        until(lambda: not listening(receiver.host, "udp"), 5, "its end")
