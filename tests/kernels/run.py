#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs suites of the build on another kernel of Debian's, in QEMU.

usage: run.py BUILD KERNEL [--quick | SUITE/NAME...]
BUILD is the build directory; KERNEL is what tools/old-kernel has unpacked.

All that the guest prints is kept in KERNEL/console.

The guest sees the files of this machine through 9p, with a layer in memory
over them, so that the programs of the build and all tools are there. The
processor is emulated (TCG), as virtual machines mostly have no KVM; a guest is
ten to twenty times slower than this machine, and no speed is measured.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "interop"))
import initramfs  # noqa: E402

BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
# What the network tests use; a kernel may lack some.
TEST_MODULES = ("tun", "veth", "dummy", "nf_tables", "sch_tbf", "sch_htb",
                "sch_netem", "sch_fq_codel", "act_mirred", "nft_chain_nat",
                "udp_diag", "tcp_diag", "bridge")
# The core: a tunnel over both families, TCP both ways, roaming, EMSGSIZE, link
# flaps, isolation, wg, the end.
NETNS = ("direct", "roaming", "underlay", "link", "isolate", "uapi", "process")
QUICK = ("direct", "isolate")
SUITES = ("platform", "io")
PATIENCE = 3000


def module_files(kernel):
    """Paths below the kernel's directory, in the order of loading."""
    base = next((kernel / "lib/modules").iterdir())
    needs = {}
    for line in (base / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        needs[path] = others.split()
    found = []

    def add(path):
        for other in reversed(needs[path]):
            if other not in found:
                add(other)
        if path not in found:
            found.append(path)

    for name in BOOT_MODULES:
        for path in needs:
            if re.search(rf"/{name}\.ko(\.xz)?$", path):
                add(path)
    return [base / path for path in found]


def make_initramfs(kernel, script):
    """The archive that the guest starts from."""
    archive = initramfs.Archive()
    directory, regular = 0o040755, 0o100755
    for name in ("proc", "sys", "dev"):
        archive.add(name, directory)
    archive.add("init", regular, (HERE / "guest-init").read_bytes())
    archive.add("bin/busybox", regular,
                pathlib.Path("/bin/busybox").read_bytes())
    archive.add("tree", regular, str(kernel).encode() + b"\n")
    archive.add("script", regular, script.encode())
    names = []
    for path in module_files(kernel):
        content = path.read_bytes()
        if path.suffix == ".xz":
            content = initramfs.lzma.decompress(content)
        name = f"m/{path.name.removesuffix('.xz')}"
        archive.add(name, regular, content)
        names.append("/" + name)
    archive.add("modules", regular, "\n".join(names).encode() + b"\n")
    return archive.finish()


def list_tests(build, is_quick, names):
    """The programs of the suites, or those that were named."""
    text = subprocess.run(["meson", "introspect", "--tests", build],
                          capture_output=True, text=True, check=True).stdout
    found = []
    for test in json.loads(text):
        suites = {s.partition(":")[2] for s in test["suite"]}
        name = test["name"]
        if suites & set(SUITES) or (
                "netns" in suites and name in (QUICK if is_quick else NETNS)):
            suite = next(s for s in ("platform", "io", "netns") if s in suites)
            env = {k: v for k, v in test["env"].items() if k != "PATH"}
            found.append((f"{suite}/{name}", test["cmd"], env,
                          test["workdir"] or build))
    return [t for t in found if not names or t[0] in names]


def quote(text):
    return "'" + str(text).replace("'", "'\\''") + "'"


def make_script(tests, build):
    """The shell script that runs them in the guest."""
    lines = ["export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root",
             "export CMOCKA_MESSAGE_OUTPUT=TAP LAB_SLOW=10"]
    lines += [f"modprobe -q {m}" for m in TEST_MODULES]
    lines += ["cp /lib/modules/*/modules.dep /dev/null 2>/dev/null",
              "cat /proc/sys/kernel/osrelease"]
    for name, command, env, workdir in tests:
        setting = " ".join(f"{k}={quote(v)}" for k, v in env.items())
        words = " ".join(quote(w) for w in command)
        lines += [f"echo '@begin {name}'", f"cd {quote(workdir)}",
                  f"{setting} timeout 900 {words} </dev/null 2>&1",
                  f"echo \"@end $? {name}\""]
    return "\n".join(lines) + "\n"


def boot(kernel, image, log):
    """Start the guest; its console goes to @log."""
    return subprocess.Popen(
        ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max",
         "-smp", "2", "-m", "1536", "-nodefaults", "-no-user-config",
         "-display", "none", "-no-reboot", "-kernel", kernel / "vmlinuz",
         "-initrd", image, "-append", "console=ttyS0 quiet panic=-1 "
         "mitigations=off random.trust_cpu=on",
         "-virtfs", "local,path=/,mount_tag=root,security_model=none,"
         "readonly=on,multidevs=remap",
         "-device", "virtio-rng-pci", "-serial", "stdio"],
        stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)


class Report:
    """What the guest has said so far, case by case."""

    def __init__(self):
        self.counts = {"ok": 0, "not ok": 0, "skip": 0}
        self.program, self.output, self.had = "", [], 0
        self.failures, self.ended, self.status = [], False, None

    def take(self, line):
        line = line.rstrip("\r\n")
        if line.startswith("@begin "):
            self.program, self.output, self.had = line[7:], [], 0
        elif line.startswith("@end "):
            self.end(int(line.split()[1]))
        elif line.startswith("guest: status"):
            self.status = int(line.split()[2])
            self.ended = True
        elif line.startswith("guest: "):
            print("# " + line, flush=True)
        else:
            self.output.append(line)
            self.case(line)

    def case(self, line):
        match = re.match(r"(not ok|ok) \d+ *(- )?(.*)", line)
        if not match:
            return
        self.had += 1
        kind = match[1]
        if "# SKIP" in line and kind == "ok":
            kind = "skip"
            print(f"# skipped: {self.program}: {match[3]}", flush=True)
        self.counts[kind] += 1
        if kind == "not ok":
            self.fail(match[3])

    def fail(self, what):
        self.failures.append(f"{self.program}: {what}")
        print(f"# FAILED: {self.failures[-1]}", flush=True)
        for line in self.output[-12:]:
            print("#   " + line, flush=True)

    def end(self, status):
        print(f"# {self.program}: {self.had} cases, status {status}",
              flush=True)
        plan = [line for line in self.output if line.startswith("1..0")]
        if status == 77 or plan:
            self.counts["skip"] += 1
            print(f"# skipped: {self.program}: "
                  f"{(plan or self.output or [''])[-1]}", flush=True)
        elif status == 0 and not self.had:
            self.counts["ok"] += 1
        elif status and not any(f.startswith(self.program + ":")
                                for f in self.failures):
            self.counts["not ok"] += 1
            self.fail(f"status {status}")
        self.program = ""


def run(kernel, image, deadline):
    """Boot, and follow what the guest says until it ends."""
    report = Report()
    with open(kernel / "console", "w+", errors="replace") as log:
        guest = boot(kernel, image, log)
        reader = os.fdopen(os.dup(log.fileno()), errors="replace")
        at, rest = 0, ""
        try:
            while not report.ended and time.monotonic() < deadline:
                text = os.pread(reader.fileno(), 1 << 16, at)
                if not text:
                    if guest.poll() is not None:
                        break
                    time.sleep(0.2)
                    continue
                at += len(text)
                *lines, rest = (rest + text.decode(errors="replace")
                                ).split("\n")
                for line in lines:
                    report.take(line)
        finally:
            guest.kill()
            guest.wait()
            reader.close()
    return report


def main():
    is_quick = "--quick" in sys.argv
    build, kernel = (str(pathlib.Path(a).resolve()) for a in sys.argv[1:3])
    kernel = pathlib.Path(kernel)
    names = [a for a in sys.argv[3:] if not a.startswith("--")]
    tests = list_tests(build, is_quick, names)
    if not tests:
        print("Bail out! the build has no tests")
        return 1
    with tempfile.TemporaryDirectory() as directory:
        image = pathlib.Path(directory) / "initramfs"
        image.write_bytes(make_initramfs(kernel, make_script(tests, build)))
        report = run(kernel, image, time.monotonic() + PATIENCE)
    counts = report.counts
    if not report.ended or not counts["ok"]:
        print(f"# the guest ended early, in {report.program or 'its start'}:")
        for line in report.output[-20:]:
            print("#   " + line)
        counts["not ok"] += 1
    print(f"kernel {(kernel / 'version').read_text().strip()}: "
          f"{counts['ok']} passed, {counts['not ok']} failed, "
          f"{counts['skip']} skipped")
    return 0 if counts["ok"] and not counts["not ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
