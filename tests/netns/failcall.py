# SPDX-License-Identifier: MIT
"""Makes chosen calls of a program fail: see tests/lib/failcall.c."""
import mmap
import os
import shutil
import struct
import subprocess

# The layout of the table, and the number of its sites: tests/lib/failcall.c.
HEAD = struct.Struct("=IiIIQ24sII")
SITE = struct.Struct("=Q24s12QII")
N_SITES = 2048
ALWAYS = 0xffffffff
# The modes of failcall.c.
NOTHING, ONE_SITE, ONE_NAME, HEAP = range(4)


class Site:
    """A place in the program that has called a function."""

    def __init__(self, fields):
        self.key = fields[0]
        self.name = fields[1].rstrip(b"\0").decode()
        self.stack = [address for address in fields[2:14] if address]
        self.hits = fields[14]


class Table:
    """The file through which a program is told which calls fail, and reports
    the calls that it made. It may be used for one program after the other.
    """

    def __init__(self, library, path):
        self.library = library
        self.path = path
        with open(path, "wb") as file:
            file.truncate(HEAD.size + N_SITES * SITE.size)
        # The engine is executed as another user.
        os.chmod(path, 0o666)
        os.chmod(os.path.dirname(path), 0o711)
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), 0)

    def plan(self, mode=NOTHING, err=0, first=1, last=1, key=0, name=""):
        """Forget everything, and set the calls that fail next."""
        self.memory[:] = bytes(len(self.memory))
        HEAD.pack_into(self.memory, 0, mode, err, first, last, key,
                       name.encode(), 0, 0)

    @property
    def n_failed(self):
        return HEAD.unpack_from(self.memory)[6]

    @property
    def n_hits(self):
        """The number of calls that matched the plan."""
        return HEAD.unpack_from(self.memory)[7]

    def sites(self):
        """All sites, always in the same order."""
        found = []
        for i in range(N_SITES):
            fields = SITE.unpack_from(self.memory, HEAD.size + i * SITE.size)
            if fields[0] and fields[15]:
                found.append(Site(fields))
        return sorted(found, key=lambda site: (site.name, site.stack))

    def environment(self):
        return {"LD_PRELOAD": self.library, "FAILCALL_FILE": self.path}


def describe(program, stack, depth=4):
    """The innermost functions of a stack, as far as their names are known."""
    addresses = [hex(address - 1) for address in stack[:depth]]
    if not addresses or not shutil.which("addr2line"):
        return " < ".join(addresses)
    done = subprocess.run(
        ["addr2line", "-f", "-s", "-i", "-e", program, *addresses],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        check=False)
    lines = done.stdout.splitlines()
    names = [f"{name} {where.split(' ')[0]}"
             for name, where in zip(lines[::2], lines[1::2])]
    return " < ".join(names[:depth + 2])


def find_library(program):
    """The path of libfailcall.so beside a program of this build; None if there
    is none."""
    path = os.path.join(os.path.dirname(program),
                        "tests/lib/libfailcall.so")
    return path if os.path.exists(path) else None
