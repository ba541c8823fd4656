# SPDX-License-Identifier: MIT
"""A host that is a network namespace of this machine, with a daemon in it."""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

from sandbox import until


class CommandFailed(Exception):
    """A command in a host ended with another status than 0."""


class Host:
    """A host, of either kind, can run a shell script."""

    def execute(self, script, seconds):
        """Run a script. Return its status and its output."""
        raise NotImplementedError

    def sh(self, script, seconds=20):
        """Run a script that must succeed. Return its output."""
        status, output = self.execute(script, seconds)
        if status:
            raise CommandFailed(f"{self.name}: {script}: {status}: {output}")
        return output

    def try_sh(self, script, seconds=20):
        """Run a script. Return whether it succeeded."""
        return self.execute(script, seconds)[0] == 0


class NamespaceHost(Host):
    """A network and a mount namespace, with a /run of its own."""

    def __init__(self, name):
        self.name = name
        self.holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c",
             "mount -t tmpfs none /run && mkdir /run/wireguard && echo && "
             "exec sleep infinity"], stdout=subprocess.PIPE)
        if not self.holder.stdout.readline():
            raise OSError(f"{name}: no namespaces")
        self.pid = self.holder.pid
        self.enter = ["nsenter", f"--target={self.pid}", "--net", "--mount"]
        self.sh("ip link set lo up")

    def execute(self, script, seconds=20):
        done = subprocess.run([*self.enter, "sh", "-c", script],
                              stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=seconds)
        return done.returncode, done.stdout.decode(errors="replace")

    def start(self, argv):
        """Start a program, with its output in a pipe."""
        return subprocess.Popen([*self.enter, *argv],
                                stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE)


class Daemon:
    """A userspace WireGuard in the foreground, in a namespace host."""

    def __init__(self, host, program, interface):
        self.host = host
        self.program = os.path.abspath(shutil.which(program))
        self.interface = interface
        self.log = tempfile.NamedTemporaryFile()
        self.process = None
        self.start()

    def start(self):
        """Start the daemon and wait for its socket."""
        env = {**os.environ, "LOG_LEVEL": "debug"}
        self.process = subprocess.Popen(
            [*self.host.enter, self.program, "-f", self.interface],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            env=env)
        until(self.is_up, 10, f"{self.program} is up:\n{self.tail()}")

    def is_up(self):
        """Return whether the daemon answers. Fail if it has ended."""
        if self.process.poll() is not None:
            raise OSError(f"{self.program} ended with "
                          f"{self.process.returncode}:\n{self.tail()}")
        # wg deletes a socket file whose socket does not listen yet, so look
        # into the kernel's table first. There a socket that listens has this
        # flag, and the name that it was bound to. wiregather's socket has
        # another name until it listens.
        return self.host.try_sh(
            f"grep -q ' 00010000 .*/[.]*{self.interface}[.]' /proc/net/unix "
            f"&& wg show {self.interface}")

    def stop(self):
        """End the daemon as a service manager would. Its status must be 0."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(10)
        if status:
            raise OSError(f"{self.program} ended with {status}:\n"
                          f"{self.tail()}")

    def tail(self):
        """The last lines of the log."""
        return pathlib.Path(self.log.name).read_text(
            errors="replace")[-3000:]
