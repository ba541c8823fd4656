# SPDX-License-Identifier: MIT
"""A small DNS server in a namespace: dnsmasq, and the files that make programs use it."""
import os
import re
import shutil
import signal

import lab

CTL = os.path.abspath(os.environ["CTL"])


def mount_over(path, l):
    """Have an empty directory in the place of one, until the end of the case."""
    os.makedirs(path, exist_ok=True)
    lab.run("mount", "-t", "tmpfs", "none", path)
    l.stack.callback(lab.run, "umount", "-l", path)


def put_file(path, text, l):
    """Have a file with this text in the place of another, until the end of the case."""
    real = os.path.realpath(path)
    if not os.path.exists(real):
        # A link into /run, which is empty here.
        if not real.startswith(("/run/", "/var/run/")):
            raise lab.Skip(f"there is no {path} here")
        os.makedirs(os.path.dirname(real), exist_ok=True)
        with open(real, "w", encoding="ascii"):
            pass
    mine = os.path.join(l.directory, os.path.basename(path))
    with open(mine, "w", encoding="ascii") as file:
        file.write(text)
    lab.run("mount", "--bind", mine, real)
    l.stack.callback(lab.run, "umount", "-l", real)


def config_file(pair, lines):
    """Write a configuration of a: a section [Interface], and lines."""
    path = os.path.join(pair.lab.directory, "wga.conf")
    text = ["[Interface]", f"PrivateKey = {pair.ta.private}", "ListenPort = 51001",
            *lines]
    with open(path + ".new", "w", encoding="ascii") as file:
        file.write("\n".join(text) + "\n")
    os.rename(path + ".new", path)
    return path


class Dns:
    """dnsmasq on a node's loopback, and the resolver's files of this program.

    hosts: lists of addresses by name, below .test; options: of dnsmasq; patience:
    seconds for which a program waits for an answer.
    """

    def __init__(self, node, hosts, *options, patience=4):
        self.node = node
        self.options = options
        self.path = os.path.join(node.lab.directory, "hosts")
        self.process = None
        self.logs = []
        put_file("/etc/resolv.conf", "nameserver 127.0.0.1\noptions "
                 f"timeout:{patience // 2 if patience < 60 else 30} "
                 f"attempts:{2 if patience < 60 else 4}\n", node.lab)
        put_file("/etc/nsswitch.conf", "hosts: files dns\n", node.lab)
        if os.path.exists("/etc/gai.conf"):
            put_file("/etc/gai.conf", "", node.lab)
        self.write(hosts)
        self.start()

    def write(self, hosts):
        with open(self.path, "w", encoding="ascii") as file:
            for name, addresses in hosts.items():
                file.writelines(f"{address} {name}\n" for address in addresses)

    def start(self):
        self.process = self.node.start(
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv",
            "--no-hosts", f"--addn-hosts={self.path}", "--listen-address=127.0.0.1",
            "--bind-interfaces", "--user=root", "--group=root", "--pid-file",
            "--log-queries", "--log-facility=-", "--cache-size=0", "--local=/test/",
            "--dns-forward-max=1000", *self.options)
        self.logs.append(self.process.log.name)

        def is_ready():
            lab.check(self.process.poll() is None, f"dnsmasq has ended: {self.log()}")
            with open(self.logs[-1], encoding="utf-8", errors="replace") as file:
                return "read " + self.path in file.read()

        lab.wait_until(is_ready, "dnsmasq is ready", 20)

    def stop(self):
        self.process.terminate()
        self.process.wait(10 * lab.SLOWNESS)

    def serve(self, hosts):
        """Serve other names."""
        self.write(hosts)
        self.process.send_signal(signal.SIGHUP)

    def log(self):
        text = ""
        for path in self.logs:
            with open(path, encoding="utf-8", errors="replace") as file:
                text += file.read()
        return text

    def queries(self, kind, name):
        """How often the name was asked for."""
        return len(re.findall(rf"query\[{kind}\] {re.escape(name)} from", self.log()))


def main():
    """As lab.main(); without dnsmasq nothing can run."""
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:{lab.PATH}"
    lab.main(None if shutil.which("dnsmasq") else
             "there is no dnsmasq here: see tools/install-deps")
