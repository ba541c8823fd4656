#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Make a container image from the static program, unpack it as a runtime would,
and run it in a chroot. The entry point starts the program, wg(8) configures it
from outside, and the deletion of its interface ends it. This is done under both
names of the program.

usage: image.py STATIC-PROGRAM

The exit status is 77 if the program was not built (see tools/static), without
root, or without wg.
"""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# Bytes of the image: the bound of tools/image.
MOST = 1 << 20
# Bound of the resident memory of a daemon that has a port and no peer. A choice:
# docs/portability.md has 1,040 to 1,100 KiB.
IDLE_KIB = 1536


def engine_of(pid):
    """The process with keys and packets: the child of the daemon's child."""
    for _ in range(2):
        pid = pathlib.Path(
            f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
    return pid


def run(*command, **options):
    """Run a command. If it fails, its output is in the text of the exception."""
    done = subprocess.run([str(c) for c in command], text=True, check=False,
                          timeout=60, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **options)
    if done.returncode:
        raise SystemExit(f"{command}: status {done.returncode}: {done.stdout}")
    return done.stdout.strip()


def blob(layout, described):
    """Return the bytes that a descriptor names. Check their size and digest."""
    algorithm, _, digest = described["digest"].partition(":")
    data = (layout / "blobs" / algorithm / digest).read_bytes()
    assert len(data) == described["size"], (len(data), described)
    assert hashlib.sha256(data).hexdigest() == digest, described
    return data


def unpack(layout, root):
    """Unpack all layers; return the configuration."""
    version = json.loads((layout / "oci-layout").read_text())
    assert version == {"imageLayoutVersion": "1.0.0"}, version
    index = json.loads((layout / "index.json").read_text())
    assert len(index["manifests"]) == 1, index
    manifest = json.loads(blob(layout, index["manifests"][0]))
    config = json.loads(blob(layout, manifest["config"]))
    for layer, diff_id in zip(manifest["layers"],
                              config["rootfs"]["diff_ids"], strict=True):
        packed = root.parent / "layer.tar.gz"
        packed.write_bytes(blob(layout, layer))
        plain = subprocess.run(["gzip", "-dc", packed], check=True,
                               stdout=subprocess.PIPE).stdout
        found = "sha256:" + hashlib.sha256(plain).hexdigest()
        assert found == diff_id, (found, diff_id)
        with tarfile.open(packed) as archive:
            archive.extractall(root)
    return config["config"]


def wait_until(what, happens):
    end = time.monotonic() + 20
    while not happens():
        if time.monotonic() > end:
            raise SystemExit(f"waited in vain: {what}")
        time.sleep(0.02)


def live(root, command, environment):
    """Start, configure and end the program in the chroot."""
    socket = pathlib.Path("/run/wireguard/wg0.sock")
    key = root.parent / "key"
    key.write_text(run("wg", "genkey"))
    log = root.parent / "log"
    with log.open("w") as errors, \
            subprocess.Popen(["chroot", str(root), *command], stderr=errors,
                             env=environment) as daemon:
        try:
            wait_until("the socket", lambda: socket.exists()
                       or daemon.poll() is not None)
            assert daemon.poll() is None, f"ended at once: {daemon.poll()}"
            run("wg", "set", "wg0", "private-key", key, "listen-port", 51998)
            run("ip", "link", "set", "wg0", "up")
            assert run("wg", "show", "wg0", "listen-port") == "51998"
            threads = pathlib.Path(
                f"/proc/{engine_of(daemon.pid)}/status").read_text()
            fields = dict(line.split(":\t", 1)
                          for line in threads.splitlines() if ":\t" in line)
            print(f"{' '.join(command)}: {fields['VmRSS']} resident, "
                  f"uid {fields['Uid'].split()[0]}, "
                  f"seccomp {fields['Seccomp']}")
            assert fields["Uid"].split()[0] == "65534", fields["Uid"]
            assert fields["Seccomp"] == "2", fields["Seccomp"]
            resident = int(fields["VmRSS"].split()[0])
            assert resident <= IDLE_KIB, f"{resident} KiB resident when idle"
            run("ip", "link", "delete", "wg0")
            assert daemon.wait(20) == 0, f"ended with {daemon.poll()}"
        finally:
            daemon.kill()
    wait_until("the socket's end", lambda: not socket.exists())
    # At LOG_LEVEL=error each missing layer of the isolation gives a log line.
    assert not log.read_text(), log.read_text()


def inside(program, directory):
    """The test, inside new network and mount namespaces."""
    layout, root = directory / "layout", directory / "root"
    root.mkdir()
    print(run(ROOT / "tools/image", program, layout))
    twice = directory / "twice"
    run(ROOT / "tools/image", program, twice)
    for name in "layout.tar", "twice.tar":
        size = (directory / name).stat().st_size
        assert size <= MOST, f"{name}: {size} bytes"
    assert (directory / "layout.tar").read_bytes() == \
        (directory / "twice.tar").read_bytes(), "not the same image twice"
    config = unpack(layout, root)
    assert os.readlink(root / "usr/bin/wireguard-go") == "wiregather"

    (root / "dev/net").mkdir(parents=True)
    for device in "null", "net/tun":
        (root / "dev" / device).touch()
        run("mount", "--bind", f"/dev/{device}", root / "dev" / device)
    (root / "proc").mkdir()
    run("mount", "--rbind", "/proc", root / "proc")
    os.makedirs("/run/wireguard", exist_ok=True)
    run("mount", "--bind", root / "run/wireguard", "/run/wireguard")
    run("ip", "link", "set", "lo", "up")
    environment = dict(e.split("=", 1) for e in config["Env"])
    # The PATH of this machine is needed to find chroot(1).
    environment["PATH"] += ":" + os.environ["PATH"]
    live(root, config["Entrypoint"] + config["Cmd"], environment)
    live(root, ["/usr/bin/wireguard-go"] + config["Cmd"], environment)


def main():
    program = pathlib.Path(sys.argv[1])
    if not program.exists():
        print(f"{program} is not there: tools/static makes it")
        return 77
    if os.geteuid() or not shutil.which("wg") or \
            not os.path.exists("/dev/net/tun"):
        print("needs root, wg and /dev/net/tun")
        return 77
    if len(sys.argv) == 2:
        with tempfile.TemporaryDirectory() as directory:
            return subprocess.run(
                ["unshare", "--net", "--mount", sys.executable, __file__,
                 str(program.resolve()), directory], check=False).returncode
    inside(program, pathlib.Path(sys.argv[2]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
