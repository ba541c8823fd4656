# SPDX-License-Identifier: MIT
"""A service manager for tests, with a watchdog and a store of descriptors."""
import contextlib
import os
import re
import socket
import sys
import threading
import time

import lab
from lab import check_equal, wait_until

# The watchdog's time in microseconds. A choice: short, so that the test does not take
# long, and so long that a busy machine does not seem to be stopped.
WATCHDOG_US = 2_000_000
HALF_S = WATCHDOG_US / 2_000_000
# The first descriptor that a service manager passes.
FIRST = 3
# A program that gives descriptors the numbers from FIRST on, and executes a daemon.
# Its arguments: the descriptors, settings of the environment, the command. First the
# descriptors get numbers above all that are wanted.
LAUNCHER = f"""
import os, sys
given = list(map(int, sys.argv[1].split()))
fds = [os.dup2(fd, 500 + i, inheritable=False) for i, fd in enumerate(given)]
for fd in given:
    os.close(fd)
for i, fd in enumerate(fds):
    os.dup2(fd, {FIRST} + i)
env = dict(setting.split("=", 1) for setting in sys.argv[2].split())
env["LISTEN_PID"] = str(os.getpid())
os.execve(sys.argv[3], sys.argv[3:], dict(os.environ, **env))
"""


class Manager:
    """A service manager: it receives messages in a thread of its own."""

    def __init__(self, node, address=None):
        self.address = address or f"{node.lab.directory}/notify-{node.name}"
        self.messages = []
        # When each WATCHDOG=1 has come.
        self.fed_at = []
        self.sock = node.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.address.replace("@", "\0"))
        self.sock.settimeout(0.1)
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.receive, daemon=True)
        node.lab.stack.callback(self.close)
        self.thread.start()

    def close(self):
        self.is_over.set()
        self.thread.join()

    def receive(self):
        while not self.is_over.is_set():
            with contextlib.suppress(TimeoutError):
                message = self.sock.recv(4096).decode()
                if message == "WATCHDOG=1":
                    self.fed_at.append(time.monotonic())
                self.messages.append(message)

    def environment(self, watchdog=True, **others):
        found = {"NOTIFY_SOCKET": self.address, **others}
        if watchdog:
            found["WATCHDOG_USEC"] = str(WATCHDOG_US)
        return found

    def count(self, message):
        return self.messages.count(message)

    def wait_for(self, pattern, timeout=20):
        """Wait for a message that matches whole; return the match."""
        def find():
            for message in list(self.messages):
                if match := re.fullmatch(pattern, message):
                    return match
            return None

        try:
            return wait_until(find, f"message {pattern!r}", timeout)
        except lab.Failure as failure:
            raise lab.Failure(f"{failure} in {self.messages[-20:]}") from None

    def wait_for_status(self, pattern, timeout=20):
        """Wait until the newest status matches whole."""
        def is_so():
            texts = [m[7:] for m in list(self.messages)
                     if m.startswith("STATUS=")]
            return texts and re.fullmatch(pattern, texts[-1])

        try:
            wait_until(is_so, f"status {pattern!r}", timeout)
        except lab.Failure as failure:
            raise lab.Failure(f"{failure} in {self.messages[-20:]}") from None

    def wait_for_food(self, number=2, timeout=30):
        """Wait for more of the watchdog's messages."""
        before = self.count("WATCHDOG=1")
        wait_until(lambda: self.count("WATCHDOG=1") >= before + number,
                   f"{number} messages to the watchdog, after {before}",
                   timeout)

    def wait_for_hunger(self, timeout=60):
        """Wait until two periods of the watchdog pass without a message to it."""
        def is_hungry():
            before = self.count("WATCHDOG=1")
            time.sleep(4 * HALF_S * lab.SLOWNESS)
            return self.count("WATCHDOG=1") == before

        wait_until(is_hungry, "the watchdog gets no messages", timeout)

    def longest_wait(self):
        """The longest time between two messages to the watchdog, in seconds."""
        times = list(self.fed_at)
        return max(b - a for a, b in zip(times, times[1:]))


class Store(Manager):
    """A service manager that keeps descriptors, and passes them to the next process."""

    def __init__(self, node):
        self.kept = []
        # Seconds before a message is read that a descriptor is to be forgotten.
        self.delay = 0
        super().__init__(node)

    def receive(self):
        while not self.is_over.is_set():
            with contextlib.suppress(TimeoutError):
                data, fds, _, _ = socket.recv_fds(self.sock, 4096, 8)
                self.note(data.decode(), fds)

    def note(self, message, fds):
        words = dict(line.split("=", 1) for line in message.splitlines())
        name = words.get("FDNAME")
        if words.get("FDSTOREREMOVE") == "1":
            time.sleep(self.delay)
            for kept in [k for k in self.kept if k[0] == name]:
                os.close(kept[1])
                self.kept.remove(kept)
        elif words.get("FDSTORE") == "1":
            check_equal(len(fds), 1, f"descriptors of {message!r}")
            check_equal(words.get("FDPOLL"), "0", f"FDPOLL of {message!r}")
            self.kept.append((name, fds[0]))
        self.messages.append(message)

    def names(self):
        return sorted(name for name, _ in self.kept)

    def settle(self):
        """Wait until all messages were read that have been sent, as systemd reads them
        before it looks which processes have ended."""
        before = self.count("X_SETTLE=1")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"X_SETTLE=1", self.address)
        wait_until(lambda: self.count("X_SETTLE=1") > before, "messages are read", 20)

    def forget(self):
        """Close all descriptors."""
        for _, fd in self.kept:
            os.close(fd)
        self.kept = []

    def launch(self, node, daemon, words, env, order=None):
        """Execute a daemon as a service manager does; words: its options, and the name.
        Return the process."""
        self.settle()
        kept = list(self.kept)
        if order:
            order(kept)
        fds = [os.dup(fd) for _, fd in kept]
        env = {**env, "FDSTORE": "40", "LISTEN_FDS": str(len(kept)),
               "LISTEN_FDNAMES": ":".join(name for name, _ in kept)}
        process = node.start(
            sys.executable, "-c", LAUNCHER, " ".join(map(str, fds)),
            " ".join(f"{key}={value}" for key, value in env.items()),
            daemon, "-f", *words, pass_fds=fds)
        for fd in fds:
            os.close(fd)
        return process

    def start(self, tunnel, order=None, options=""):
        """Start the daemon of a tunnel, and wait for it."""
        env = self.environment(watchdog=False, LOG_LEVEL="verbose")
        tunnel.process = self.launch(tunnel.node, tunnel.lab.daemon,
                                     [*options.split(), tunnel.name], env, order)
        tunnel.has_ended = False
        tunnel.lab.tunnels.append(tunnel)
        wait_until(lambda: " is ready" in tunnel.log(), "the log of the start", 10)
        wait_until(lambda: tunnel.get(check_status=False).returncode == 0, "answers", 10)
        return tunnel


def index_of(tunnel):
    found = tunnel.node.run("ip", "-o", "link", "show", tunnel.name, check_status=False)
    return found.stdout.split(":")[0] if not found.returncode else None
