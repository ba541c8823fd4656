#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""wiregather and the WireGuard of Debian's kernel, in an emulated machine.

usage: kernel.py WIREGATHER DIRECTORY
DIRECTORY/kernel is what tests/interop/install-deps unpacked.
INTEROP=full runs all cases, for about eight minutes.
INTEROP_CASE=name runs that case alone.
"""
import pathlib
import sys

import cases
import sandbox
import tap
from guest import Guest
from hosts import Daemon, NamespaceHost
from tunnel import End, Tunnel

INTERFACE = "wg0"


class Link:
    """A daemon in a namespace, and a guest on a tap device there."""

    tcp_bytes = cases.MIB

    def __init__(self, program, tree):
        host = NamespaceHost("ours")
        self.guest = Guest("theirs", tree, host, "tap0")
        self.ours = End(host, INTERFACE, "tap0", 1)
        self.theirs = End(self.guest, INTERFACE, "eth0", 2)
        tap.note(self.guest.sh("uname -r"))
        self.daemon = Daemon(host, program, INTERFACE)
        self.guest.sh(f"ip link add {INTERFACE} type wireguard")
        self.ours.bring_up()
        self.theirs.bring_up()
        self.tunnel = Tunnel(self.ours, self.theirs, self)

    def restart(self, end):
        """Make the interface of one end anew, without its sessions."""
        if end is self.ours:
            self.daemon.stop()
            self.daemon.start()
        else:
            self.guest.sh(f"ip link del {INTERFACE}\n"
                          f"ip link add {INTERFACE} type wireguard")

    def moved(self, end):
        """Called when addresses have changed."""

    def describe(self):
        """The log, and the last lines that the guest's kernel printed."""
        return (f"{self.daemon.program}:\n{self.daemon.tail()}\n"
                f"guest:\n{self.guest.tail()}")


def ours_ends_well(tunnel):
    tunnel.link.daemon.stop()


def main():
    todo, seconds = cases.select(
        [*cases.SHORT, cases.udp_both_ways, cases.roaming_of_our_address,
         cases.rekey_by_private_key])
    tree = pathlib.Path(sys.argv[2]) / "kernel"
    sandbox.enter(seconds + 60, "qemu-system-x86_64", "busybox", "socat")
    if not (tree / "vmlinuz").exists():
        tap.skip_program(f"no {tree}/vmlinuz: see tests/interop/install-deps")
    link = Link(sys.argv[1], tree)
    return tap.run([*todo, ours_ends_well], link.tunnel, seconds)


sys.exit(0 if main() else 1)
