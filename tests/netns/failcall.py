# SPDX-License-Identifier: MIT
"""Makes chosen calls of a program fail: see tests/lib/failcall.c."""
import mmap
import os
import shutil
import struct
import subprocess

# The layout of the table, and the number of its sites: tests/lib/failcall.c.
HEAD = struct.Struct("=IiIIQ24sIIiI")
SITE = struct.Struct("=Q24s12QIIII")
N_SITES = 4096
ALWAYS = 0xffffffff
ANY_PROGRAM = -1
# The place of the hits in a site.
HITS_OFF = struct.calcsize("=Q24s12Q")
NO_HITS = bytes(4)
# The modes of failcall.c.
NOTHING, ONE_SITE, ONE_NAME, HEAP = range(4)


class Site:
    """A place in a program that has called a function. The programs are numbered in the
    order in which they were executed, from 0."""

    def __init__(self, fields):
        self.key = fields[0]
        self.name = fields[1].rstrip(b"\0").decode()
        self.stack = tuple(address for address in fields[2:14] if address)
        self.hits = fields[14]
        self.program = fields[16]


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

    def plan(self, mode=NOTHING, err=0, first=1, last=1, key=0, name="",
             program=ANY_PROGRAM):
        """Forget everything, and set the calls that fail next."""
        self.memory[:] = bytes(len(self.memory))
        HEAD.pack_into(self.memory, 0, mode, err, first, last, key,
                       name.encode(), 0, 0, program, 0)

    def plan_from_now(self, mode=NOTHING, err=0, first=1, last=1, key=0, name="",
                      program=ANY_PROGRAM):
        """Set the calls that fail next, of programs that run. Calls so far do not
        count."""
        n_programs = HEAD.unpack_from(self.memory)[9]
        for i in range(N_SITES):
            at = HEAD.size + i * SITE.size + HITS_OFF
            if self.memory[at:at + 4] != NO_HITS:
                self.memory[at:at + 4] = NO_HITS
        HEAD.pack_into(self.memory, 0, NOTHING, err, first, last, key,
                       name.encode(), 0, 0, program, n_programs)
        self.memory[:4] = struct.pack("=I", mode)

    @property
    def n_failed(self):
        return HEAD.unpack_from(self.memory)[6]

    @property
    def n_hits(self):
        """The number of calls that matched the plan."""
        return HEAD.unpack_from(self.memory)[7]

    def sites(self):
        """All sites with calls that count, always in the same order."""
        found = []
        for i in range(N_SITES):
            fields = SITE.unpack_from(self.memory, HEAD.size + i * SITE.size)
            if fields[0] and fields[14] and fields[15]:
                found.append(Site(fields))
        return sorted(found, key=lambda site: (site.name, site.stack, site.program))

    def environment(self):
        return {"LD_PRELOAD": self.library, "FAILCALL_FILE": self.path}


class Names:
    """The functions of a program, as far as they are known. addr2line(1) takes long to
    start, so it is asked once for all sites."""

    def __init__(self, program, sites, depth=4):
        self.depth = depth
        self.known = {}
        addresses = sorted({hex(address - 1) for site in sites
                            for address in site.stack[:depth]})
        if not addresses or not shutil.which("addr2line"):
            return
        done = subprocess.run(
            ["addr2line", "-a", "-f", "-s", "-i", "-e", program],
            input="\n".join(addresses) + "\n", stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, check=False)
        names, lines = [], iter(done.stdout.splitlines())
        for line in lines:
            if line.startswith("0x"):
                names = self.known.setdefault(int(line, 16), [])
            else:
                names.append(f"{line} {next(lines).split(' ')[0]}")

    def describe(self, stack):
        """The innermost functions of a stack."""
        if not self.known:
            return " < ".join(hex(address - 1) for address in stack[:self.depth])
        names = [name for address in stack[:self.depth]
                 for name in self.known.get(address - 1, ["?"])]
        return " < ".join(names[:self.depth + 2])


def find_library(program):
    """The path of libfailcall.so beside a program of this build; None if there
    is none."""
    path = os.path.join(os.path.dirname(program),
                        "tests/lib/libfailcall.so")
    return path if os.path.exists(path) else None
