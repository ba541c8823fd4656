#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The units under a real systemd: boots it in a container (systemd-nspawn(1)) made of
this machine's files, and runs boot.sh there.

usage: boot.py WIREGATHER CTL-OR-EMPTY
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import lab

HERE = pathlib.Path(__file__).parent
UNITS = HERE.parents[1] / "contrib/systemd"
# Files of /etc that programs of the container need.
NEEDED = ["alternatives", "group", "ld.so.cache", "nsswitch.conf", "passwd",
          "iproute2", "protocols", "services"]
# Seconds for the boot and all steps. A choice: about six times what they take.
PATIENCE = 240
CALLS = "landlock_create_ruleset landlock_add_rule landlock_restrict_self " \
    "memfd_secret"


def skip(reason):
    print(f"1..0 # SKIP {reason}")
    sys.exit(0)


def make_usr(usr, programs):
    """What `make install PREFIX=/usr` would add to /usr."""
    for folder in "bin", "lib/systemd/system", "lib/sysusers.d", "lib/tmpfiles.d":
        (usr / folder).mkdir(parents=True)
    for program in [*programs, UNITS / "wiregather-configure"]:
        shutil.copy(program, usr / "bin")
    shutil.copy(UNITS / "wiregather@.service", usr / "lib/systemd/system")
    for kind in "sysusers", "tmpfiles":
        shutil.copy(UNITS / f"wiregather.{kind}",
                    usr / f"lib/{kind}.d/wiregather.conf")


def make_root(root):
    """The rest of the files: few of /etc, and the unit that runs boot.sh."""
    for folder in "usr", "etc/systemd/system", "var", "run", "dev/net", "test":
        (root / folder).mkdir(parents=True)
    for name in "bin", "sbin", "lib", "lib32", "lib64", "libx32":
        if os.path.islink(f"/{name}"):
            (root / name).symlink_to(os.readlink(f"/{name}"))
    for name in NEEDED:
        source = pathlib.Path("/etc", name)
        if source.is_dir():
            shutil.copytree(source, root / "etc" / name, symlinks=True)
        elif source.exists():
            shutil.copy(source, root / "etc" / name)
    shutil.copy("/usr/lib/os-release", root / "etc/os-release")
    # Neither the first boot, nor one after an update: no unit is enabled or rebuilt.
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    for folder in "etc", "var":
        (root / folder / ".updated").touch()
    shutil.copy(HERE / "boot.sh", root / "test")
    (root / "etc/systemd/system/test.service").write_text("""[Unit]
SuccessAction=poweroff-immediate
FailureAction=poweroff-immediate
[Service]
Type=oneshot
KillMode=process
ExecStart=/bin/sh /test/boot.sh
StandardOutput=file:/test/output
StandardError=file:/test/errors
""")
    folder = root / "etc/systemd/system/wg-quick@.service.d"
    folder.mkdir()
    shutil.copy(UNITS / "wg-quick-wiregather.conf", folder)


def boot(root, usr):
    """Boot, and wait until the container has powered off. Returns its console."""
    command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit",
               "--private-network", "--bind=/dev/net/tun",
               "--resolv-conf=off", "--timezone=off", "--link-journal=no",
               f"--system-call-filter={CALLS}", f"--directory={root}",
               f"--overlay=/usr:{usr}:/usr", "--console=pipe", "--boot", "--",
               "--unit=test.service"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace") as process:
        try:
            return process.communicate(timeout=PATIENCE)[0]
        except subprocess.TimeoutExpired:
            # The container ends with this process (PR_SET_PDEATHSIG).
            process.kill()
            return process.communicate()[0] + "\n(out of time)"


def main():
    if os.geteuid():
        skip("needs root")
    for program in "systemd-nspawn", "wg", "wg-quick", "ip", "ping", "awk":
        if not shutil.which(program):
            skip(f"there is no {program} here")
    if not os.path.exists("/lib/systemd/systemd"):
        skip("there is no systemd here")
    if not os.path.exists("/dev/net/tun"):
        skip("there is no /dev/net/tun")
    if not os.path.islink("/bin"):
        skip("/usr is not all that there is of the system")
    # systemd-nspawn leaves directories in /run.
    lab.isolate()
    with tempfile.TemporaryDirectory(prefix="wiregather-boot-") as home:
        root, usr = pathlib.Path(home, "root"), pathlib.Path(home, "usr")
        make_usr(usr, [arg for arg in sys.argv[1:] if arg])
        make_root(root)
        os.chmod(home, 0o755)
        console = boot(root, usr)
        output = root / "test/output"
        text = output.read_text() if output.exists() else ""
        errors = root / "test/errors"
        if errors.exists() and errors.read_text():
            console += errors.read_text()
    if not text:
        lines = [line.strip() for line in console.splitlines() if line.strip()]
        skip("systemd does not boot here: " + (lines or ["it says nothing"])[-1])
    print(text, end="")
    is_bad = "not ok" in text or "(out of time)" in console
    if is_bad:
        for line in console.splitlines()[-40:]:
            print(f"# console: {line}")
    sys.exit(is_bad)


main()
