# SPDX-License-Identifier: MIT
"""The two ends of a tunnel, and the operations on them for the cases."""
import re
import subprocess

from sandbox import until

# WireGuard's usual port; a flag of linux/if_addr.h.
DEFAULT_PORT = 51820
IFA_F_TENTATIVE = 0x40


class Key:
    """A private key and its public key."""

    def __init__(self):
        self.private = wg("genkey")
        self.public = wg("pubkey", self.private)


def wg(command, text=""):
    """Run one of wg's commands that need no interface."""
    return subprocess.run(["wg", command], input=text, text=True, check=True,
                          stdout=subprocess.PIPE).stdout.strip()


class End:
    """An interface in a host: its addresses inside and outside, its key."""

    def __init__(self, host, interface, device, number):
        self.host = host
        self.interface = interface
        self.device = device
        self.number = number
        self.port = DEFAULT_PORT
        self.key = None
        self.last_ping = ""
        self.outer = {4: f"10.9.0.{number}", 6: f"fd09::{number}"}
        self.inner = {4: f"10.77.0.{number}", 6: f"fd77::{number}"}
        host.sh("echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad\n"
                f"echo 0 >/proc/sys/net/ipv6/conf/{device}/accept_dad\n"
                f"ip addr add {self.outer[4]}/24 dev {device}\n"
                f"ip addr add {self.outer[6]}/64 dev {device}\n"
                f"ip link set {device} up")
        self.settle()

    def settle(self):
        """Wait until all IPv6 addresses are in use. Even without a search for
        duplicates the kernel takes a moment. Until then it sends packets
        from another address, perhaps the address of the tunnel."""
        def settled():
            table = self.host.sh("cat /proc/net/if_inet6")
            return not any(int(line.split()[4], 16) & IFA_F_TENTATIVE
                           for line in table.splitlines())
        until(settled, 10, "IPv6 addresses in use")

    def bring_up(self):
        """Give the interface its addresses and set it up."""
        i = self.interface
        self.host.sh(f"ip addr add {self.inner[4]}/24 dev {i}\n"
                     f"ip -6 addr add {self.inner[6]}/64 dev {i}\n"
                     f"ip link set {i} mtu 1420 up")
        self.settle()

    def configure(self, peer, lines):
        """Set the key, the port and the peer. @lines: more lines for the peer."""
        text = (f"[Interface]\nPrivateKey = {self.key.private}\n"
                f"ListenPort = {self.port}\n"
                f"[Peer]\nPublicKey = {peer.key.public}\n"
                f"AllowedIPs = {peer.inner[4]}/32, {peer.inner[6]}/128\n")
        text += "".join(line + "\n" for line in lines)
        file = f"/run/{self.interface}.conf"
        self.host.sh(f"umask 077; cat >{file} <<'END'\n{text}END\n"
                     f"wg setconf {self.interface} {file}")

    def set_peer(self, peer, options):
        """Change something about the peer."""
        self.host.sh(f"wg set {self.interface} peer {peer.key.public} "
                     f"{options}")

    def set_psk(self, peer, psk):
        """Change the preshared key."""
        self.host.sh(f"umask 077; echo '{psk}' >/run/psk")
        self.set_peer(peer, "preshared-key /run/psk")

    def set_private(self, private):
        """Change the private key."""
        self.host.sh(f"umask 077; echo '{private}' >/run/key\n"
                     f"wg set {self.interface} private-key /run/key")

    def show(self, what):
        """Return the words that wg shows for the peer, without its key."""
        out = self.host.sh(f"wg show {self.interface} {what}").split()
        return out[1:]

    def clock(self):
        """Return the time by the clock of this end's machine, in seconds."""
        return int(self.host.sh("date +%s"))

    def handshake(self):
        """Return the time of the latest handshake, in seconds, or 0."""
        return int(self.show("latest-handshakes")[0])

    def received(self):
        """Return the number of bytes received from the peer."""
        return int(self.show("transfer")[0])

    def endpoint(self):
        """Return the endpoint of the peer, as wg shows it."""
        return self.show("endpoints")[0]

    def sockaddr(self, family):
        """Return the outer address and port of this end, as wg shows them."""
        address = self.outer[family]
        return f"[{address}]:{self.port}" if family == 6 else \
            f"{address}:{self.port}"

    def replace_outer(self, number):
        """Move to other outer addresses."""
        new = {4: f"10.9.0.{number}", 6: f"fd09::{number}"}
        d = self.device
        self.host.sh(f"ip addr del {self.outer[4]}/24 dev {d}\n"
                     f"ip -6 addr del {self.outer[6]}/64 dev {d}\n"
                     f"ip addr add {new[4]}/24 dev {d}\n"
                     f"ip -6 addr add {new[6]}/64 dev {d}")
        self.settle()
        self.outer = new

    def ping(self, peer, family=4, count=3, size=56, interval=0.2):
        """Ping through the tunnel. Return the number of answers.

        Sends exactly count packets. (With -w, ping would send until it has
        count answers.) The last answer is waited for 2 s.
        """
        out = self.host.execute(
            f"ping -{family} -c {count} -i {interval} -s {size} -W 2 "
            f"{peer.inner[family]}", 1.2 * count * interval + 10)[1]
        found = re.search(r"(\d+) (?:packets )?received", out)
        answers = int(found.group(1)) if found else 0
        self.last_ping = "" if answers == count else out
        return answers

    def reaches(self, peer, seconds, family=4):
        """Wait until a ping is answered."""
        until(lambda: self.ping(peer, family, count=1), seconds,
              f"{self.host.name} reaches {peer.host.name}")


class Tunnel:
    """Our end and theirs."""

    def __init__(self, ours, theirs, link):
        """@link: an object of the test whose describe() tells its state"""
        self.ours = ours
        self.theirs = theirs
        self.ends = (ours, theirs)
        self.link = link

    def peer_of(self, end):
        """The other end."""
        return self.theirs if end is self.ours else self.ours

    def configure(self, knows, family=4, psk=None, lines=()):
        """Configure both ends anew, with new keys and no sessions.

        @knows: the end that is given its peer's endpoint, or several ends
        @psk: the preshared key of both ends
        @lines: more lines for the peer of our end
        """
        for end in self.ends:
            end.key = Key()
        for end in self.ends:
            peer = self.peer_of(end)
            more = list(lines) if end is self.ours else []
            if end in (knows if isinstance(knows, tuple) else (knows,)):
                more.append(f"Endpoint = {peer.sockaddr(family)}")
            if psk:
                more.append(f"PresharedKey = {psk}")
            end.configure(peer, more)

    def connect(self, first, **options):
        """Configure both ends anew, and let one end make the handshake."""
        self.configure(first, **options)
        first.reaches(self.peer_of(first), 5)

    def describe(self):
        """Return what wg shows of both ends, without keys, and the logs."""
        text = []
        for end in self.ends:
            text.append(end.last_ping)
            for what in ("endpoints", "latest-handshakes", "transfer"):
                out = end.host.execute(f"wg show {end.interface} {what}")[1]
                words = " ".join(out.split()[1:])
                text.append(f"{end.host.name}: {what}: {words}")
        return "\n".join(text) + "\n" + self.link.describe()
