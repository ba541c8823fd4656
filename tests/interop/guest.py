# SPDX-License-Identifier: MIT
"""A host that is a virtual machine whose kernel has WireGuard.

QEMU emulates the processor, so this machine needs no support for virtual ones.
Requests go over the second serial port to guest-init. The first serial port is
the console.
"""
import base64
import os
import pathlib
import select
import subprocess
import tempfile
import time

import initramfs
from hosts import Host


class Guest(Host):
    """A running guest, wired to a tap device in another host."""

    def __init__(self, name, tree, host, tap):
        self.name = name
        self.number = 0
        self.unread = b""
        self.stray = b""
        files = pathlib.Path(tempfile.mkdtemp())
        self.console = files / "console"
        image = files / "initramfs"
        image.write_bytes(initramfs.build(tree))
        host.sh(f"ip tuntap add {tap} mode tap")
        self.process = subprocess.Popen(
            ["nsenter", f"--target={host.pid}", "--net",
             "qemu-system-x86_64", "-accel", "tcg",
             "-cpu", "max", "-smp", "1", "-m", "256", "-nodefaults",
             "-no-user-config", "-display", "none", "-no-reboot",
             "-kernel", str(tree / "vmlinuz"), "-initrd", str(image),
             "-append", "console=ttyS0 quiet panic=-1",
             "-serial", f"file:{self.console}", "-serial", "stdio",
             "-netdev", f"tap,id=net,ifname={tap},script=no,downscript=no",
             "-device", "virtio-net-pci,netdev=net,romfile="],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._answer(0, 60)

    def execute(self, script, seconds=20):
        self.number += 1
        text = base64.b64encode(script.encode()).decode()
        request = f"{self.number} {text}\n".encode()
        self.process.stdin.write(request)
        try:
            return self._answer(self.number, seconds)
        except TimeoutError:
            # A line on the serial port was lost or damaged, or the guest is
            # slow. The guest does not run a request twice.
            print(f"# {self.name}: request {self.number} is repeated; not an "
                  f"answer to it: {self.stray[-200:]!r}", flush=True)
            self.process.stdin.write(b"\n" + request)
            return self._answer(self.number, seconds)

    def _answer(self, number, seconds):
        """Wait for the answer to a request: its status and output."""
        deadline = time.monotonic() + seconds
        while True:
            line, newline, rest = self.unread.partition(b"\n")
            if newline:
                self.unread = rest
                words = line.split()
                if words and words[0] == b"@%d" % number:
                    output = base64.b64decode(b"".join(words[2:3]))
                    return int(words[1]), output.decode(errors="replace")
                self.stray += line + newline
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"{self.name}: no answer in {seconds} s")
            if select.select([self.process.stdout], [], [], left)[0]:
                data = os.read(self.process.stdout.fileno(), 65536)
                if not data:
                    raise OSError(f"{self.name} ended:\n{self.tail()}")
                self.unread += data

    def tail(self):
        """The last lines that the kernel printed."""
        return self.console.read_text(errors="replace")[-3000:]

    def stop(self):
        """Switch the guest off."""
        self.process.kill()
        self.process.wait(10)
