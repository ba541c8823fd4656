# SPDX-License-Identifier: MIT
"""The programs whose tunnels are measured, and the way each is started."""
import dataclasses
import os
import pathlib
import subprocess

# The program that all others are compared with.
BASE = "wireguard-go-tailscale"
OURS = "wiregather"
PLAIN = "no tunnel"
# Our program without tunnel super-packets, by its option.
NO_OVERLAY = "--no-overlay"

# Variants of our program: name, AEAD backend, tests. PLAIN_TESTS are the tests
# without a tunnel.
LIBSODIUM = "wiregather, libsodium"
VARIANTS = (
    (LIBSODIUM, "libsodium", ("tcp1", "tcp4", "idle")),
    ("wiregather, BoringSSL", "boringssl", ("tcp1",)),
    ("wiregather, libcrypto", "libcrypto", ("tcp1",)),
    ("wiregather, ipsec-mb AVX2", "ipsec-mb-avx2", ("tcp1",)),
)
PLAIN_TESTS = ("tcp1", "rr", "udp64", "flows", "flood")

# Arguments before the interface's name, with which a program stays in the
# foreground.
PEERS = {
    "wireguard-go-tailscale": ("-f",),
    "wireguard-go": ("-f",),
    "boringtun": ("-f", "--disable-drop-privileges"),
    "gotatun": ("-f", "--disable-drop-privileges"),
}

ENVIRONMENT = {
    "LOG_LEVEL": "error",            # wiregather, wireguard-go
    "WG_LOG_LEVEL": "error",         # boringtun, gotatun
    "WG_PROCESS_FOREGROUND": "1",
}


@dataclasses.dataclass(frozen=True)
class Program:
    """name: for tables; command: None for no tunnel at all; tests: None for
    all of them."""
    name: str
    command: tuple
    tests: tuple = None

    def takes(self, test):
        return self.tests is None or test in self.tests


def is_program(path):
    return path.is_file() and os.access(path, os.X_OK)


def has_option(daemon, option):
    """Does our program know an option?"""
    return option in subprocess.run([daemon, "--help"], capture_output=True,
                                    text=True, check=True).stdout


def variants(daemon):
    """The variants that this build of the daemon has."""
    if not has_option(daemon, "--aead"):
        print("left out: variants of wiregather, which has no --aead")
        return
    for name, aead, tests in VARIANTS:
        yield Program(name, (str(daemon), "-f", f"--aead={aead}"), tests)


def peers(directory, names=tuple(PEERS)):
    """The other programs in a directory (or None); say which are missing."""
    for name in names:
        path = directory and pathlib.Path(directory, name).resolve()
        if path and is_program(path):
            yield Program(name, (str(path), *PEERS[name]))
        else:
            print(f"left out: {name} is not in {directory or 'PEERS'}")


def find(daemon, directory):
    """Our program, and the other programs in a directory (or None)."""
    found = [Program(OURS, (str(daemon), "-f")), *peers(directory)]
    found += variants(daemon)
    found.append(Program(PLAIN, None, PLAIN_TESTS))
    return found
