# SPDX-License-Identifier: MIT
"""The root file system of the guest: BusyBox, a few programs of this machine
with their libraries, and the modules of the kernel's WireGuard."""
import lzma
import os
import pathlib
import re
import shutil
import stat
import subprocess

PROGRAMS = ("wg", "socat")
MODULES = ("virtio_pci", "virtio_net", "wireguard")


class Archive:
    """A cpio archive in the "newc" format, which the kernel unpacks."""

    def __init__(self):
        self.data = bytearray()
        self.names = set()

    def add(self, name, mode, content=b""):
        """Add an entry, and the directories above it."""
        if name in self.names:
            return
        parent = os.path.dirname(name)
        if parent:
            self.add(parent, stat.S_IFDIR | 0o755)
        self.names.add(name)
        self._entry(name, mode, content)

    def _entry(self, name, mode, content):
        fields = (len(self.names), mode, 0, 0, 1, 0, len(content),
                  0, 0, 0, 0, len(name) + 1, 0)
        self.data += b"070701" + b"".join(b"%08x" % f for f in fields)
        self.data += name.encode() + b"\0"
        self._pad()
        self.data += content
        self._pad()

    def _pad(self):
        self.data += bytes(-len(self.data) % 4)

    def finish(self):
        self._entry("TRAILER!!!", 0, b"")
        return bytes(self.data)


def libraries(program):
    """Paths of the shared libraries and of the loader of a program."""
    out = subprocess.run(["ldd", program], capture_output=True, text=True,
                         check=True).stdout
    return re.findall(r"(/\S+) \(0x", out)


def module_files(tree):
    """Paths below the tree of the modules, and of the modules they need."""
    base = next((tree / "lib/modules").iterdir())
    needs = {}
    for line in (base / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        needs[path] = others.split()

    def closure(path, found):
        if path not in found:
            found.append(path)
            for other in needs[path]:
                closure(other, found)
        return found

    found = []
    for name in MODULES:
        path = [p for p in needs if re.search(rf"/{name}\.ko(\.xz)?$", p)]
        if path:
            closure(path[0], found)
    files = {base / p: p for p in found}
    extra = {base / name: name for name in ("modules.dep", "modules.order")}
    return base, {**files, **extra}


def build(tree):
    """Return the archive for a kernel that install-deps unpacked in a tree."""
    here = pathlib.Path(__file__).parent
    archive = Archive()
    for name in ("proc", "sys", "dev", "run", "tmp"):
        archive.add(name, stat.S_IFDIR | 0o755)
    archive.add("init", stat.S_IFREG | 0o755,
                (here / "guest-init").read_bytes())
    archive.add("bin/busybox", stat.S_IFREG | 0o755,
                pathlib.Path(shutil.which("busybox")).read_bytes())
    for name in PROGRAMS:
        path = shutil.which(name)
        archive.add(f"bin/{name}", stat.S_IFREG | 0o755,
                    pathlib.Path(path).read_bytes())
        for library in libraries(path):
            archive.add(library.lstrip("/"), stat.S_IFREG | 0o755,
                        pathlib.Path(library).read_bytes())
    base, files = module_files(tree)
    for source, name in files.items():
        content = source.read_bytes()
        if name.endswith(".xz"):
            content, name = lzma.decompress(content), name[:-3]
        if name == "modules.dep":
            content = content.replace(b".ko.xz", b".ko")
        archive.add(str(base.relative_to(tree) / name),
                    stat.S_IFREG | 0o644, content)
    return archive.finish()
