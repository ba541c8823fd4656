# SPDX-License-Identifier: MIT
"""Streams and datagrams between nodes, and captures of them on a device."""
import errno
import hashlib
import socket
import struct
import threading
import time

from tap import SLOWNESS, Failure, check, check_equal

# asm-generic/socket.h, linux/if_ether.h and linux/if_packet.h
SO_RCVBUFFORCE = 33
ETH_P_ALL = 3
PACKET_OUTGOING = 4


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def noise(n_bytes):
    """Bytes without a period, the same in each run."""
    return hashlib.shake_128(b"wiregather").digest(n_bytes)


def connect(sock, address, deadline):
    """Connect a socket, even if the link is down at first."""
    while True:
        try:
            return sock.connect(address)
        except OSError as err:
            if err.errno != errno.ENETUNREACH or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def send_stream(source, sink, address, n_bytes, timeout=30, port=7001):
    """Send a TCP stream; it must arrive whole. Returns Mbit/s."""
    timeout *= SLOWNESS
    data = noise(1 << 20)
    listener = sink.socket(family_of(address), socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(1)
    client = source.socket(family_of(address), socket.SOCK_STREAM)
    for sock in listener, client:
        sock.settimeout(timeout)
    sent, got = hashlib.sha256(), hashlib.sha256()
    arrived = [0]
    wrong = []

    def receive():
        try:
            conn, _ = listener.accept()
            conn.settimeout(timeout)
            with conn:
                while part := conn.recv(1 << 18):
                    got.update(part)
                    arrived[0] += len(part)
        except OSError as err:
            wrong.append(f"receiving: {err}")

    thread = threading.Thread(target=receive, daemon=True)
    thread.start()
    start = time.monotonic()
    try:
        connect(client, (address, port), start + timeout)
        left = n_bytes
        while left:
            if time.monotonic() - start > timeout:
                raise TimeoutError("too slow")
            part = memoryview(data)[:min(left, len(data))]
            client.sendall(part)
            sent.update(part)
            left -= len(part)
        client.shutdown(socket.SHUT_WR)
    except OSError as err:
        wrong.append(f"sending: {err}")
        client.close()
    thread.join(max(0.1, timeout - (time.monotonic() - start)))
    seconds = time.monotonic() - start
    listener.close()
    client.close()
    check(not wrong and arrived[0] == n_bytes,
          f"TCP {source.name} to {address}: {arrived[0]} of {n_bytes} bytes "
          f"in {seconds:.1f} s {' '.join(wrong)}")
    check_equal(got.digest(), sent.digest(), "hash of the stream")
    return n_bytes * 8 / seconds / 1e6


def send_datagrams(source, sink, address, lengths, port=7002, window=16):
    """Send UDP datagrams of these lengths; each must arrive as it was."""
    receiver = sink.socket(family_of(address))
    receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    receiver.bind((address, port))
    sender = source.socket(family_of(address))
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    data = noise(70000)
    lengths = list(lengths)
    for first in range(0, len(lengths), window):
        group = lengths[first:first + window]
        for i, length in enumerate(group):
            sender.sendto(data[i:i + length], (address, port))
        for i, length in enumerate(group):
            try:
                part = receiver.recv(1 << 16)
            except TimeoutError:
                raise Failure(f"UDP {source.name} to {address}: datagram of "
                              f"{length} bytes is lost") from None
            check(part == data[i:i + length],
                  f"UDP: wanted {length} bytes, got {len(part)} or others")
    sender.close()
    receiver.close()


class Stream(threading.Thread):
    """A TCP transfer in the background; finish() returns its result."""

    def __init__(self, *args, **options):
        super().__init__(daemon=True)
        self.args, self.options = args, options
        self.rate, self.failure = None, None
        self.start()

    def run(self):
        try:
            self.rate = send_stream(*self.args, **self.options)
        except Exception as err:  # pylint: disable=broad-except
            self.failure = err

    def finish(self, timeout=40):
        self.join(timeout * SLOWNESS)
        if self.failure:
            raise self.failure
        check(self.rate, "the stream does not end")
        return self.rate


class Steady:
    """A TCP stream without end, and the rate at which its bytes arrive.

    The default is CUBIC, so that results do not depend on the machine's default.
    """

    def __init__(self, pair, address, port=7003, congestion="cubic"):
        self.arrived = 0
        self.has_ended = False
        family = family_of(address)
        listener = pair.b.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(1)
        listener.settimeout(20)
        self.client = pair.a.socket(family, socket.SOCK_STREAM)
        self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION,
                               congestion.encode())
        self.client.settimeout(20)
        self.client.connect((address, port))
        self.conn, _ = listener.accept()
        self.conn.settimeout(60)
        listener.close()
        self.threads = [threading.Thread(target=f, daemon=True)
                        for f in (self.send, self.receive)]
        for thread in self.threads:
            thread.start()

    def send(self):
        data = bytes(1 << 18)
        self.client.settimeout(60)
        try:
            while not self.has_ended:
                self.client.sendall(data)
        except OSError:
            pass

    def receive(self):
        try:
            while part := self.conn.recv(1 << 18):
                self.arrived += len(part)
        except OSError:
            pass

    def rate(self, seconds):
        """Wait for some seconds; return the rate in this time, in Mbit/s."""
        before, start = self.arrived, time.monotonic()
        time.sleep(seconds)
        return (self.arrived - before) * 8 / 1e6 / (time.monotonic() - start)

    def stop(self):
        self.has_ended = True
        # Without shutdown(): bytes that wait on a blocked path need not arrive.
        self.client.close()
        self.conn.close()
        for thread in self.threads:
            thread.join(5)


# ------------------------------------------------------------------- capture


class Packet:
    """A UDP datagram seen on a device."""

    def __init__(self, is_outgoing, tos, df, src, dst, payload, ports):
        self.is_outgoing = is_outgoing
        self.tos = tos
        self.df = df
        self.src, self.dst = src, dst
        self.sport, self.dport = ports
        self.payload = payload

    @property
    def kind(self):
        """The type of a WireGuard message, 1 to 4."""
        return self.payload[0] if self.payload else 0

    def __repr__(self):
        return (f"<{self.src}:{self.sport} > {self.dst}:{self.dport} "
                f"{len(self.payload)} bytes, tos {self.tos:#x}>")


def parse_udp(packet, is_outgoing):
    """An IP packet as a Packet; None if it is not a whole UDP datagram."""
    version = packet[0] >> 4
    if version == 4 and len(packet) >= 20:
        header = (packet[0] & 15) * 4
        total = struct.unpack_from(">H", packet, 2)[0]
        frag = struct.unpack_from(">H", packet, 6)[0]
        if packet[9] != 17 or frag & 0x3fff:
            return None
        tos, df = packet[1], bool(frag & 0x4000)
        src = socket.inet_ntop(socket.AF_INET, packet[12:16])
        dst = socket.inet_ntop(socket.AF_INET, packet[16:20])
    elif version == 6 and len(packet) >= 40:
        header, df = 40, False
        total = struct.unpack_from(">H", packet, 4)[0] + 40
        if packet[6] != 17:
            return None
        tos = struct.unpack_from(">H", packet)[0] >> 4 & 0xff
        src = socket.inet_ntop(socket.AF_INET6, packet[8:24])
        dst = socket.inet_ntop(socket.AF_INET6, packet[24:40])
    else:
        return None
    ports = struct.unpack_from(">HH", packet, header)
    return Packet(is_outgoing, tos, df, src, dst, packet[header + 8:total],
                  ports)


class Capture:
    """Captures the packets that pass a device from now on."""

    def __init__(self, node, device, has_ethernet=True):
        self.has_ethernet = has_ethernet
        self.sock = node.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 256 << 20)
        self.sock.setblocking(False)
        with node.inside():
            self.sock.bind((device, ETH_P_ALL))

    def frames(self):
        """The frames since the last call, as (is_outgoing, bytes)."""
        found = []
        while True:
            try:
                frame, address = self.sock.recvfrom(1 << 17)
            except BlockingIOError:
                return found
            found.append((address[2] == PACKET_OUTGOING, frame))

    def datagrams(self, sport=None, dport=None):
        """The UDP datagrams since the last call, selected by port."""
        found = []
        for is_outgoing, frame in self.frames():
            if self.has_ethernet:
                kind = struct.unpack_from(">H", frame, 12)[0]
                if kind not in (0x0800, 0x86dd):
                    continue
                frame = frame[14:]
            packet = parse_udp(frame, is_outgoing) if frame else None
            if packet and sport in (None, packet.sport) and \
                    dport in (None, packet.dport):
                found.append(packet)
        return found
