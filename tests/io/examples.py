#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The programs in examples/ do what their first comments say, over loopback, in both
families.

usage: examples.py DIRECTORY    DIRECTORY has the compiled programs

A request is repeated until its answer comes, since UDP may lose either.
"""
import socket
import subprocess
import sys
import time

DIRECTORY = sys.argv[1]
FAMILIES = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
# Far more than loopback needs, also on a busy machine.
PATIENCE_S = 20


class Failure(Exception):
    """A program does not do what it should; the text says what was seen."""


def free_port():
    """A port that is free in both families."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.bind(("::", 0))
        return probe.getsockname()[1]


class Program:
    """A running example that listens on a port."""

    def __init__(self, name, *arguments):
        self.port = free_port()
        # pylint: disable-next=consider-using-with
        self.child = subprocess.Popen(
            [f"{DIRECTORY}/{name}", str(self.port), *arguments],
            stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.communicate()

    def check(self):
        if self.child.poll() is not None:
            raise Failure(f"status {self.child.returncode}: "
                          f"{self.child.stderr.read()}")


class Client:
    """A socket of one family."""

    def __init__(self, program, family):
        self.program = program
        self.to = FAMILIES[family], program.port
        self.sock = socket.socket(family, socket.SOCK_DGRAM)
        self.sock.settimeout(0.1)

    def send(self, data):
        try:
            self.sock.sendto(data, self.to)
        except ConnectionRefusedError:
            pass  # of an earlier datagram: the program did not listen yet

    def receive(self):
        """The next datagram, or None."""
        try:
            return self.sock.recv(1 << 16)
        except (TimeoutError, ConnectionRefusedError):
            return None

    def ask(self, question, answer):
        """Send a question until this answer comes."""
        end, seen = time.monotonic() + PATIENCE_S, []
        while time.monotonic() < end:
            self.program.check()
            self.send(question)
            got = self.receive()
            if got == answer:
                return
            seen.append(got)
        raise Failure(f"asked {question[:20]!r}, wanted {answer[:20]!r}, "
                      f"got {seen[-5:]!r}")


def drain(client):
    while client.receive() is not None:
        pass


def echo():
    with Program("echo") as program:
        for family in FAMILIES:
            client = Client(program, family)
            for data in (b"x", b"", bytes(range(256)) * 5, b"y" * 9000):
                client.ask(data, data)
            drain(client)
            # A burst, of which the kernel may merge some. All come back, in order.
            wanted = [bytes([i]) * 100 for i in range(50)]
            for data in wanted:
                client.send(data)
            got = [client.receive() for _ in wanted]
            if got != wanted:
                raise Failure(f"of a burst of 50 came {got!r}")


def epoll():
    with Program("epoll", "3") as program:
        for family in FAMILIES:
            clients = [Client(program, family) for _ in range(4)]
            for round_ in range(20):
                for client in clients:
                    client.ask(b"z" * (round_ * 61), b"%d" % (round_ * 61))


def gather(one, two, number):
    """Datagrams of two flows between the same ends, of several lengths and in
    turns: in each flow all of them arrive, whole and in order."""
    names = [n.to_bytes(4, "big") for n in (number, number + 100)]
    for client in one, two:
        client.send(names[1])
    drain(one)
    drain(two)
    wanted = [names[i // 3 % 2] + bytes([i]) * (700 if i % 7 else 300 + i)
              for i in range(60)]
    for data in wanted:
        one.send(data)
    got = [two.receive() or b"" for _ in wanted]
    for name in names:
        if ([d for d in got if d.startswith(name)] !=
                [d for d in wanted if d.startswith(name)]):
            raise Failure(f"of two flows in turns came {got!r}")


def relay():
    with Program("relay") as program:
        for number, family in enumerate(FAMILIES):
            name = number.to_bytes(4, "big")
            one, two, three = (Client(program, family) for _ in range(3))
            # The first end cannot have an answer before there is a second one.
            end = time.monotonic() + PATIENCE_S
            while True:
                program.check()
                one.send(name + b"first")
                two.send(name + b"second")
                if (one.receive(), two.receive()) == (name + b"second",
                                                      name + b"first"):
                    break
                if time.monotonic() > end:
                    raise Failure("the two ends of a flow do not meet")
            drain(one)
            drain(two)
            wanted = [name + bytes([i]) * 700 for i in range(40)]
            for data in wanted:
                one.send(data)
            got = [two.receive() for _ in wanted]
            if got != wanted:
                raise Failure(f"of 40 datagrams came {got!r}")
            gather(one, two, number)
            # A third endpoint has no part in the flow, and no other flow has.
            three.send(name + b"third")
            two.send(b"\0\1\0\0 another flow")
            two.send(b"sho")
            if (got := one.receive()) is not None:
                raise Failure(f"a stranger's datagram was forwarded: {got!r}")


def main():
    cases = [echo, epoll, relay]
    bad = 0
    print(f"1..{len(cases)}")
    for i, case in enumerate(cases, 1):
        try:
            case()
            print(f"ok {i} - {case.__name__}", flush=True)
        except Failure as failure:
            bad += 1
            print(f"# {failure}\nnot ok {i} - {case.__name__}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
