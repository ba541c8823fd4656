#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs test suites of a build on another kernel of Debian, in QEMU.

usage: run.py BUILD KERNEL [--quick | SUITE/NAME...]
BUILD is the build directory; KERNEL is what tools/old-kernel has unpacked.
--quick runs the few programs that ./test.sh --all has time for.

The output of the guest is kept in KERNEL/console. The results are kept in
KERNEL/meson-logs, where tools/count-tests reads them.

The guest has the files of this machine through 9p, with a layer in memory
over them. So it has the programs of the build and all tools. KVM is used if a
trial boot with KVM prints something within 3 s. Otherwise QEMU emulates the
processor (TCG). Such a guest is ten to twenty times slower than this machine,
so no speed is measured.
"""
import json
import os
import pathlib
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from report import Report

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "interop"))
import initramfs  # noqa: E402

# Modules by which the guest reaches the files of this machine.
BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
# Modules that the network tests use. A kernel may lack some.
TEST_MODULES = ("tun", "veth", "dummy", "nf_tables", "sch_tbf", "sch_htb",
                "sch_netem", "sch_fq_codel", "sch_fq", "sch_etf", "act_mirred",
                "nft_chain_nat", "udp_diag", "tcp_diag", "bridge", "vxlan", "sctp")
# The most important programs: a tunnel over both families, TCP both ways,
# roaming, EMSGSIZE, links that go down and up, isolation, wg, ending; a tunnel for one
# command; path MTUs.
NETNS = ("direct", "roaming", "underlay", "link", "isolate", "uapi", "process",
         "run", "run_refused", "pmtu", "pmtu_silent")
SUITES = ("platform", "io")
# Of these programs --quick runs the cases that have a word in their names.
QUICK = {"io/isolate": "", "io/isolate-filter": "", "netns/core": "",
         "netns/direct": "TCP streams arrive", "netns/isolate": "a plain user"}
# Seconds after which a run has failed. Choices: several times what an emulated guest
# takes.
PATIENCE, QUICK_PATIENCE = 6000, 900
# Seconds in which a kernel prints something if KVM works. A choice.
KVM_PATIENCE = 3
# Attempts to start a guest: see main(). A choice.
BOOTS = 3


def module_files(kernel):
    """Paths of modules below the kernel's directory, in order of loading."""
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


def is_quick(name):
    return name.startswith("platform/") or name in QUICK


def list_tests(build, is_wanted):
    """The programs to run: (SUITE/NAME, command, environment, directory)."""
    text = subprocess.run(["meson", "introspect", "--tests", build],
                          capture_output=True, text=True, check=True).stdout
    found = []
    for test in json.loads(text):
        suites = {s.partition(":")[2] for s in test["suite"]}
        name = test["name"]
        if suites & set(SUITES) or ("netns" in suites and
                                    (name in NETNS or f"netns/{name}" in QUICK)):
            suite = next(s for s in ("platform", "io", "netns") if s in suites)
            env = {k: v for k, v in test["env"].items() if k != "PATH"}
            found.append((f"{suite}/{name}", test["cmd"], env,
                          test["workdir"] or build))
    return [t for t in found if is_wanted(t[0])]


def quote(text):
    return "'" + str(text).replace("'", "'\\''") + "'"


def make_script(tests):
    """The shell script that runs them in the guest."""
    lines = ["export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root",
             "export CMOCKA_MESSAGE_OUTPUT=TAP LAB_SLOW=10"]
    lines += [f"modprobe -q {m}" for m in TEST_MODULES]
    lines.append('echo "@kernel $(uname -r) $(uname -v)"')
    for name, command, env, workdir in tests:
        setting = " ".join(f"{k}={quote(v)}" for k, v in env.items())
        words = " ".join(quote(w) for w in command)
        lines += [f"echo '@begin {name}'", f"cd {quote(workdir)}",
                  f"{setting} timeout 900 {words} </dev/null 2>&1",
                  f"echo \"@end $? {name}\""]
    return "\n".join(lines) + "\n"


def qemu(kernel, accelerator, words, *arguments):
    """The command of a guest whose console is standard output."""
    cpu = "host" if accelerator == "kvm" else "max"
    return ["qemu-system-x86_64", "-accel", accelerator, "-cpu", cpu,
            "-smp", "2", "-m", "1536", "-nodefaults", "-no-user-config",
            "-display", "none", "-no-reboot", "-kernel", str(kernel / "vmlinuz"),
            "-append", f"console=ttyS0 panic=-1 {words}", "-serial", "stdio",
            *arguments]


def has_kvm(kernel):
    """Does the kernel print something within a short time with KVM?

    If /dev/kvm exists, a guest may still hang at its start.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("# no KVM here: the processor is emulated")
        return False
    with subprocess.Popen(qemu(kernel, "kvm", "earlyprintk=ttyS0"),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, bufsize=0) as trial:
        line, deadline = b"", time.monotonic() + KVM_PATIENCE
        while b"Linux version" not in line:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([trial.stdout], [], [], left)[0]:
                break
            data = os.read(trial.stdout.fileno(), 4096)
            if not data:
                break
            line += data
        trial.kill()
    works = b"Linux version" in line
    print("# " + ("a trial boot with KVM works" if works else
                  f"a trial boot with KVM says nothing within {KVM_PATIENCE} s:"
                  " the processor is emulated"), flush=True)
    return works


def boot(kernel, image, log):
    """Start the guest; its console goes to @log."""
    # With a thread for each emulated processor, QEMU may run an instruction that
    # another processor has just replaced. Linux 6.12 ended by such an int3 in
    # netif_receive_skb() while the kernel switched a static key (QEMU 7.2).
    accelerator = "kvm" if has_kvm(kernel) else "tcg,thread=single"
    command = qemu(
        kernel, accelerator, "quiet mitigations=off random.trust_cpu=on",
        "-initrd", str(image), "-device", "virtio-rng-pci", "-virtfs",
        "local,path=/,mount_tag=root,security_model=none,readonly=on,"
        "multidevs=remap")
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                            stderr=subprocess.STDOUT)


def run(kernel, image, deadline):
    """Boot, and read the output of the guest until it ends."""
    report = Report()
    with open(kernel / "console", "w+b") as log:
        guest = boot(kernel, image, log)
        at, rest = 0, b""
        try:
            while not report.has_ended and time.monotonic() < deadline:
                text = os.pread(log.fileno(), 1 << 16, at)
                if not text:
                    if guest.poll() is not None:
                        break
                    time.sleep(0.2)
                    continue
                at += len(text)
                *lines, rest = (rest + text).split(b"\n")
                for line in lines:
                    report.take(line.decode(errors="replace"))
        finally:
            guest.kill()
            guest.wait()
    text = (kernel / "console").read_text(errors="replace")
    report.end(text.splitlines()[-20:])
    return report


def main():
    # On SIGTERM, end by an exception, so that the guest is ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    build, kernel = (pathlib.Path(a).resolve() for a in sys.argv[1:3])
    names = [a for a in sys.argv[3:] if not a.startswith("--")]
    start = time.monotonic()
    results = kernel / "meson-logs"
    shutil.rmtree(results, ignore_errors=True)
    patience = PATIENCE
    if "--quick" in sys.argv:
        patience = QUICK_PATIENCE
        tests = [(name, command + [QUICK[name]] if QUICK.get(name) else command,
                  env, where)
                 for name, command, env, where in list_tests(build, is_quick)]
    else:
        tests = list_tests(build, lambda name: not names or name in names)
    if not tests:
        print("Bail out! the build has no tests")
        return 1
    with tempfile.TemporaryDirectory() as directory:
        image = pathlib.Path(directory) / "initramfs"
        image.write_bytes(make_initramfs(kernel, make_script(tests)))
        # An emulated kernel may panic early in its start, since QEMU changes
        # code while an emulated processor runs it.
        for _ in range(BOOTS):
            report = run(kernel, image, time.monotonic() + patience)
            if report.version:
                break
    report.write(results)
    passed, failed, skipped = report.counts()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"kernel {report.version or 'unknown'}: {passed} passed, "
          f"{failed} failed, {skipped} skipped; "
          f"{time.monotonic() - start:.0f} s, "
          f"{used.ru_utime + used.ru_stime:.0f} s of CPU")
    return 0 if passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main())
