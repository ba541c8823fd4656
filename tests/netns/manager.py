# SPDX-License-Identifier: MIT
"""A service manager for tests, with a watchdog."""
import contextlib
import re
import socket
import threading
import time

import lab
from lab import wait_until

# The watchdog's time in microseconds. A choice: short, so that the test does not take
# long, and so long that a busy machine does not seem to be stopped.
WATCHDOG_US = 2_000_000
HALF_S = WATCHDOG_US / 2_000_000


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
