#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""wiregather and Debian's wireguard-go, in two namespaces on a veth pair.

usage: wireguard-go.py WIREGATHER
INTEROP=full also runs the cases that take long: about seven minutes in all.
INTEROP_CASE=name runs that case alone.
"""
import sys

import cases
import sandbox
import tap
from hosts import Daemon, NamespaceHost
from tunnel import End, Tunnel

INTERFACE = "wg0"


class Link:
    """Two daemons, each in its namespace."""

    tcp_bytes = 8 * cases.MIB

    def __init__(self, program):
        hosts = [NamespaceHost("ours"), NamespaceHost("theirs")]
        hosts[0].sh("ip link add veth0 type veth peer name veth0 netns "
                    f"{hosts[1].pid}")
        ends = [End(host, INTERFACE, "veth0", number)
                for number, host in enumerate(hosts, 1)]
        self.daemons = {
            end: Daemon(end.host, name, INTERFACE)
            for end, name in zip(ends, (program, "wireguard-go"))}
        for end in ends:
            end.bring_up()
        self.tunnel = Tunnel(*ends, self)

    def restart(self, end):
        """End the daemon of one side, and start it again."""
        self.daemons[end].stop()
        self.daemons[end].start()

    def moved(self, end):
        """Called when addresses have changed. wireguard-go would send from the
        old address for 15 s, so its sockets are opened again."""
        if end is self.tunnel.theirs:
            end.host.sh(f"wg set {INTERFACE} listen-port {end.port}")

    def describe(self):
        """The logs."""
        return "\n".join(f"{daemon.program}:\n{daemon.tail()}"
                         for daemon in self.daemons.values())

    def stop(self):
        """End both daemons. Each must end with status 0."""
        for daemon in self.daemons.values():
            daemon.stop()


def both_end_well(tunnel):
    tunnel.link.stop()


def main():
    todo, seconds = cases.select(cases.SHORT + cases.MIDDLE)
    sandbox.enter(seconds + 60, "wireguard-go", "socat")
    link = Link(sys.argv[1])
    return tap.run([*todo, both_end_well], link.tunnel, seconds)


sys.exit(0 if main() else 1)
