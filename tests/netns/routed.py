# SPDX-License-Identifier: MIT
"""Two hosts with a tunnel, and two routers between them."""
import lab
from lab import INNER4, INNER6, Pair


class Routed(Pair):
    """As Pair, but with routers r and s in between, whose cable has a small
    MTU.

    mtu_of_hosts: MTU of the other cables; inner: MTU of the tunnel, or None for the
    daemon's default; options: for both daemons; options_b: for b's alone.
    """

    # Names of the nodes, for a subclass that stands beside another pair.
    names = ("a", "r", "s", "b")

    # pylint: disable-next=super-init-not-called
    def __init__(self, l, outer, mtu, mtu_of_hosts=1500, inner=None, options=(),
                 options_b=()):
        self.lab = l
        self.a, self.r, self.s, self.b = map(l.node, self.names)
        l.link(self.a, self.r, "eth", "host", mtu_of_hosts)
        l.link(self.r, self.s, "far", "far", mtu)
        l.link(self.s, self.b, "host", "eth", mtu_of_hosts)
        self.outer = {"a": "192.0.2.1", "b": "198.51.100.2"} if outer == 4 \
            else {"a": "2001:db8:1::1", "b": "2001:db8:2::2"}
        for host, router, net4, net6, me, other in (
                (self.a, self.r, "192.0.2", "2001:db8:1:", 1, 2),
                (self.b, self.s, "198.51.100", "2001:db8:2:", 2, 1)):
            host.ip(f"addr add {net4}.{me}/24 dev eth",
                    f"addr add {net6}:{me}/64 dev eth nodad",
                    f"route add default via {net4}.254",
                    f"route add ::/0 via {net6}:ff")
            router.ip(f"addr add {net4}.254/24 dev host",
                      f"addr add {net6}:ff/64 dev host nodad",
                      f"addr add 203.0.113.{me}/24 dev far",
                      f"addr add 2001:db8:3::{me}/64 dev far nodad",
                      f"route add default via 203.0.113.{other}",
                      f"route add ::/0 via 2001:db8:3::{other}")
            router.sysctl("net.ipv4.ip_forward", 1)
            router.sysctl("net.ipv6.conf.all.forwarding", 1)
        self.ta = l.tunnel(self.a, f"wg{self.names[0]}", 51001).start(*options)
        self.tb = l.tunnel(self.b, f"wg{self.names[-1]}", 51002).start(
            *options, *options_b)
        self.ta.configure({"PublicKey": self.tb.public,
                           "AllowedIPs": lab.allowed("b"),
                           "Endpoint": self.endpoint("b")})
        self.tb.configure({"PublicKey": self.ta.public,
                           "AllowedIPs": lab.allowed("a"),
                           "Endpoint": self.endpoint("a")})
        self.ta.up(INNER4["a"] + "/24", INNER6["a"] + "/64", mtu=inner)
        self.tb.up(INNER4["b"] + "/24", INNER6["b"] + "/64", mtu=inner)

    def set_mtu(self, mtu):
        """Change the MTU of the cable between the routers."""
        for router in self.r, self.s:
            router.ip(f"link set far mtu {mtu}")

    def silence(self):
        """Have the routers send no ICMP errors."""
        for router in self.r, self.s:
            router.nft("""table inet quiet {
                chain out {
                    type filter hook output priority 0;
                    icmp type destination-unreachable drop
                    icmpv6 type packet-too-big drop
                }
            }""")
