#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""wiregatherctl run where it is not as usual: rights, settings and containers that
refuse it, root, and bad input. See world.py."""
import ctypes
import errno
import json
import os
import re
import shutil
import stat
import struct
import subprocess

import lab
from lab import INNER4, case, check, check_equal
from world import NOBODY, PORT, TUN, Inside, World, make_tun_node, strange, why_not

# linux/prctl.h, linux/seccomp.h, linux/filter.h
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
RET_ALLOW, RET_ERRNO = 0x7fff0000, 0x00050000
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
# The number of unshare(2), by machine; on x86-64 also that of programs for i386.
UNSHARE = {"x86_64": (272, 310), "i686": (310,), "aarch64": (97,)}


def forbid_unshare(number):
    """A filter of system calls like that of a container: unshare(2) gives an error. That
    of Docker gives EPERM, and Podman's ENOSYS."""
    numbers = UNSHARE.get(os.uname().machine)
    if not numbers:
        raise lab.Skip(f"the number of unshare(2) on {os.uname().machine} is unknown")
    steps = [(LOAD, 0, 0, 0)]
    for i, call in enumerate(numbers):
        steps.append((JUMP_EQUAL, len(numbers) - i, 0, call))
    steps += [(RETURN, 0, 0, RET_ALLOW), (RETURN, 0, 0, RET_ERRNO | number)]
    code = ctypes.create_string_buffer(b"".join(
        struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HP", len(steps),
                                                      ctypes.addressof(code)))

    def before():
        lab.call(lab.libc.prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        lab.call(lab.libc.prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER,
                 ctypes.byref(program), 0, 0)

    # The program points to it.
    before.code = code
    return before


def must_refuse(w, done, *words):
    lines = done.stdout.splitlines()
    check(done.returncode == 1 and len(lines) == 1, f"{done.returncode}: {done.stdout}")
    for word in words:
        check(word in lines[0], f"no {word!r} in: {lines[0]}")
    w.must_be_gone()


@case("where namespaces are refused, one line says which setting it is")
def refused_namespaces(l):
    w = World(l)
    command = w.as_user(f"{w.bin}/wiregatherctl", "run", "--config", w.config(), "--",
                        "true")
    for number in errno.EPERM, errno.ENOSYS:
        before = forbid_unshare(number)
        with w.a.inside():
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, preexec_fn=before,
                env=w.environment(), timeout=60 * lab.SLOWNESS, check=False)
        must_refuse(w, done, os.strerror(number), "filter of system calls",
                    "--security-opt seccomp=")
    # The limits are those of a user namespace, so the test sets those of its own. In
    # it the program has no right, although its user is root.
    os.chmod(w.config(), 0o644)
    for kind in "user", "net":
        drop = "exec setpriv --bounding-set=-all --inh-caps=-all" if kind == "user" \
            else "exec"
        done = w.ctl("run", "--config", "wg0.conf", "--", "true", uid=0, wrap=(
            "unshare", "-U", "-r", "sh", "-c",
            f"cd {w.directory} && "
            f"echo 0 >/proc/sys/user/max_{kind}_namespaces && {drop} \"$0\" \"$@\""))
        must_refuse(w, done, f"user.max_{kind}_namespaces = 0",
                    "namespaces are switched off")


@case("a setting of the kernel that forbids user namespaces is named")
def refused_by_setting(l):
    w = World(l)
    with open("/proc/self/status", encoding="ascii") as file:
        if "Seccomp:\t2" in file.read():
            raise lab.Skip("a filter of system calls is in force here, and named first")
    os.mkdir("/run/root")
    # In a chroot the kernel gives EPERM, as it does for these settings, which it may not
    # have. Files stand in for them, in a mount namespace of the command's own.
    script = ("mount -t tmpfs none /proc/sys/kernel && "
              "echo $1 >/proc/sys/kernel/$0 && shift && mount --rbind / /run/root && "
              "exec chroot /run/root \"$@\"")
    for setting, value, words in (
            ("kernel.unprivileged_userns_clone", 0, ("set it to 1 by sysctl",)),
            ("kernel.apparmor_restrict_unprivileged_userns", 1,
             ("AppArmor", "a profile with \"userns,\"", "set it to 0 by sysctl"))):
        for chosen in value, 1 - value:
            done = w.a.run(
                "unshare", "-m", "sh", "-c", script, setting.split(".")[1], str(chosen),
                *w.as_user(f"{w.bin}/wiregatherctl", "run", "--config", w.config(), "--",
                           "true"), env=w.environment(), check_status=False)
            if chosen == value:
                must_refuse(w, done, f"the setting is {setting} = {value}", *words)
            else:
                must_refuse(w, done, "is this a container, or a chroot?")


@case("where the TUN device is refused, one line says what to do")
def refused_tun(l):
    w = World(l)
    for mode, words in ((0o600, ("no permission to open /dev/net/tun", "0666")),
                        (None, ("there is no /dev/net/tun", "modprobe tun",
                                "--device /dev/net/tun"))):
        if mode:
            make_tun_node(mode)
        else:
            lab.run("mount", "-t", "tmpfs", "none", "/dev/net")
        try:
            done = w.ctl("run", "--config", w.config(), "--", "true")
        finally:
            lab.run("umount", TUN if mode else "/dev/net")
        must_refuse(w, done, *words)


@case("what takes rights outside is an error of one line: a mark, another user")
def refused_rights(l):
    w = World(l)
    done = w.ctl("run", "--config", w.config(), "--", "true", WIREGATHER_USER="daemon")
    must_refuse(w, done, "cannot become user daemon: Operation not permitted")
    inside = Inside(w)
    text = inside.do("wg set wg0 fwmark 5", status=1)
    check("Operation not permitted" in text, text)
    lab.wait_until(lambda: "mark" in inside.errors(), "a line of the log")
    lines = [line for line in inside.errors().splitlines() if "mark" in line]
    check(len(lines) == 1 and "cannot set the fwmark 0x5: Operation not permitted" in
          lines[0], f"{lines}")
    inside.end()
    # The buffers are short, which is no error.
    inside = Inside(w, "--name", "short", LOG_LEVEL="verbose")
    lab.wait_until(lambda: "listening on port" in inside.errors(), "the port is open", 20)
    with open("/proc/sys/net/core/rmem_max", encoding="ascii") as file:
        is_short = int(file.read()) < 7 << 20
    check_equal(inside.errors().count("the buffers of the UDP sockets are short"),
                int(is_short), f"lines about buffers in {inside.errors()}")
    # All isolation is on, and nothing is said to be missing.
    text = inside.errors()
    check("not isolated" not in text or not lab.has_landlock(), text)
    with open(f"/proc/{w.daemon_pid('short')}/status", encoding="ascii") as file:
        status = dict(line.split(":\t") for line in file.read().splitlines()
                      if ":\t" in line)
    check_equal((status["CapPrm"], status["NoNewPrivs"]), ("0" * 16, "1"), "rights")
    check(l.is_slow or status["Seccomp"] == "2", f"Seccomp: {status['Seccomp']}")


# ----------------------------------------------------------------------------- root


@case("root: a namespace by its name, and without a user namespace")
def root(l):
    w = World(l)
    w.sockets = lab.SOCKETS
    c = l.node("c")
    capture = lab.Capture(w.a, "eth")
    text = w.run("sh", "-c", f"ping -n -c 1 -W 12 {INNER4['b']}; ip -o link; "
                 "readlink /proc/self/ns/user; wg show wg0 peers", uid=0,
                 options=("--netns", "c"))
    check(" 0% packet loss" in text and "wg0:" in text and w.server.public in text, text)
    check(os.readlink("/proc/self/ns/user") in text, f"a user namespace: {text}")
    check("wg0" not in c.run("ip", "-o", "link").stdout, "left in the namespace")
    text = w.run("ping", "-n", "-c", "1", "-W", "12", INNER4["b"], uid=0)
    check(" 0% packet loss" in text, text)
    check_equal(strange(capture, {PORT}), [], "packets outside of the tunnel")
    # A route that is there already would lead past the tunnel.
    c.ip("link add d0 type veth peer name d1", "link set d1 up", "link set d0 up", "addr add 10.8.0.1/24 dev d0",
         "route add default via 10.8.0.2")
    text = w.run("true", uid=0, options=("--netns", "c"), status=1)
    check("cannot add the route 0.0.0.0/0: File exists" in text, text)
    text = w.run("true", uid=0, options=("--netns", "none"), status=1)
    check("cannot enter the network namespace none" in text and "ip netns add" in text,
          text)
    text = w.run("true", options=("--netns", "c"), status=1)
    check("this takes root" in text, text)


@case("root of a container, with the few rights of one: by a user namespace")
def container_root(l):
    w = World(l)
    w.sockets = lab.SOCKETS
    os.chmod(w.config(), 0o644)

    def run(rights):
        # As in a container: the user is root of a user namespace, with few rights.
        return w.ctl("run", "--config", "wg0.conf", "--", "sh", "-c",
                     f"id -u; ping -n -c 1 -W 12 {INNER4['b']}", uid=0, wrap=(
                         "unshare", "-U", "-r", "sh", "-c", f"cd {w.directory} && exec "
                         f"setpriv --bounding-set={rights} --inh-caps=-all "
                         "\"$0\" \"$@\""))

    # Those of Docker, by default.
    text = run("-all,+chown,+dac_override,+fsetid,+fowner,+mknod,+net_raw,+setgid,"
               "+setuid,+setfcap,+setpcap,+net_bind_service,+sys_chroot,+kill").stdout
    check(re.search(r"^0$", text, re.MULTILINE) and " 0% packet loss" in text, text)
    w.must_be_gone()
    must_refuse(w, run("-all"), "root needs CAP_SETFCAP")


# A file system for a container: the host's programs, and what images have besides.
LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64",
         "var/run": "/run"}


class Podman:
    """Containers with the network of node a. Raises Skip if they cannot be had."""

    def __init__(self, w):
        self.world, self.directory = w, f"{w.directory}/podman"
        self.root = f"{self.directory}/root"
        for name in "usr", "proc", "dev", "sys", "tmp", "etc", "run", "var":
            os.makedirs(f"{self.root}/{name}")
        os.chmod(f"{self.root}/tmp", 0o1777)
        for name, target in LINKS.items():
            os.symlink(target, f"{self.root}/{name}")
        for name in "passwd", "group", "nsswitch.conf", "ld.so.cache":
            shutil.copy(f"/etc/{name}", f"{self.root}/etc")
        if not shutil.which("podman"):
            raise lab.Skip("no podman here")
        # The runtime's default may not go together with this machine's cgroups.
        reasons = []
        for self.runtime in "crun", "runc":
            done = self.run("true")
            if not done.returncode:
                return
            reasons.append(f"{self.runtime}: {done.stdout.strip()[-200:]}")
        raise lab.Skip("podman cannot run a container here: " + "; ".join(reasons))

    def run(self, *command, options=()):
        return self.world.a.run(
            "podman", "--runtime", self.runtime, "--root", f"{self.directory}/store",
            "--runroot", f"{self.directory}/state", "--storage-driver=vfs",
            "--cgroup-manager=cgroupfs", "--events-backend=file", "run", "--rm",
            "--network=host", "--log-driver=none", "--ulimit=nofile=1024:1024",
            "--ulimit=nproc=4096:4096", "-v", "/usr:/usr:ro", "-v",
            f"{self.world.directory}:{self.world.directory}:ro", *options, "--rootfs",
            self.root, *command, check_status=False, timeout=120)

    def tunnel(self, *options):
        """Ping through a tunnel in a container."""
        w = self.world
        return self.run(f"{w.bin}/wiregatherctl", "run", "--config",
                        f"{w.directory}/wg0.conf", "--", "sh", "-c",
                        f"id -u; exec ping -n -c 1 -W 12 {INNER4['b']}",
                        options=options)

    def profile(self):
        """Podman's own filter of system calls, without those that Docker's forbids."""
        with open("/usr/share/containers/seccomp.json", encoding="utf-8") as file:
            rules = json.load(file)
        forbidden = {"unshare", "setns", "mount", "umount", "umount2", "pivot_root",
                     "open_tree", "move_mount"}
        for rule in rules["syscalls"]:
            rule["names"] = [name for name in rule["names"] if name not in forbidden]
        path = f"{self.directory}/seccomp.json"
        with open(path, "w", encoding="utf-8") as file:
            json.dump(rules, file)
        return path


@case("in a container of Podman: with the device it works, else one line says what to do")
def podman(l):
    w = World(l)
    os.chmod(w.config(), 0o644)
    box = Podman(w)
    tun = ("--device", "/dev/net/tun")
    w.sockets = f"{box.root}/none"
    must_refuse(w, box.tunnel(), "there is no /dev/net/tun", "--device /dev/net/tun")
    for options, user in (tun, 0), ((*tun, "--user", f"{NOBODY}:{NOBODY}"), NOBODY):
        done = box.tunnel(*options)
        check(done.returncode == 0 and re.search(rf"^{user}$", done.stdout, re.MULTILINE)
              and " 0% packet loss" in done.stdout, f"{options}: {done.stdout}")
    must_refuse(w, box.tunnel(*tun, "--security-opt", f"seccomp={box.profile()}"),
                "cannot make namespaces", "filter of system calls",
                "--security-opt seccomp=")


# ----------------------------------------------------------------------- bad input


@case("wrong command lines and files: one line names the token")
def usage(l):
    w = World(l)
    for words, complaint in (
            (("run", "--nonsense"), "no such option: --nonsense"),
            (("run", "--config"), "no value: --config"),
            (("run", "--name", "a/b", "true"), "not a name for an interface: a/b"),
            (("run", "--name", "a234567890123456", "true"),
             "not a name for an interface: a234567890123456"),
            (("run", "--publish", "192.0.2.1:80", "true"),
             "not ADDRESS:PORT:PORT[/udp]: 192.0.2.1:80"),
            (("run", "--publish", "2001:db8::1:80:80", "true"),
             "not ADDRESS:PORT:PORT[/udp]: 2001:db8::1:80:80"),
            (("run", "--publish", "192.0.2.1:0:80", "true"),
             "not ADDRESS:PORT:PORT[/udp]: 192.0.2.1:0:80"),
            (("run", "--publish", "192.0.2.1:80:80/sctp", "true"),
             "not ADDRESS:PORT:PORT[/udp]: 192.0.2.1:80:80/sctp"),
            (("exec",), "missing: NAME"), (("exec", "--x"), "no such option: --x"),
            (("exec", "wg0", "--x"), "no such option: --x")):
        done = w.ctl(*words)
        check_equal(done.returncode, 2, f"status of {words}")
        check(done.stdout.startswith(f"wiregatherctl: {complaint}\n"), done.stdout)
    done = w.ctl("run", "--config", "nowhere", "true")
    must_refuse(w, done, "no nowhere.conf that can be read in ~/.config/wireguard")
    done = w.ctl("run", "--config", w.config(MTU="many"), "true")
    must_refuse(w, done, "line 5: MTU is not a number from 68 to 65535: many")
    done = w.ctl("run", "--config", w.config(PrivateKey=None), "true")
    must_refuse(w, done, "no PrivateKey in [Interface]")
    done = w.ctl("run", "--config", w.config(endpoint="nowhere.invalid:1"), "true")
    must_refuse(w, done, "line 8: Endpoint: nowhere.invalid: ")
    done = w.ctl("run", "--config", w.config(), "--publish", "192.0.2.99:8080:80", "true")
    must_refuse(w, done, "--publish 192.0.2.99:8080:80: Cannot assign requested address")
    # The directory of the sockets must be the user's own.
    shutil.rmtree(w.sockets)
    os.mkdir(w.sockets, 0o755)
    done = w.ctl("run", "--config", w.config(), "true")
    check(done.returncode == 1 and "cannot be used: Operation not permitted" in
          done.stdout, done.stdout)
    shutil.rmtree(w.sockets)
    # A name is looked for in the usual places.
    os.makedirs(f"{w.directory}/.config/wireguard")
    os.rename(w.config("usual"), f"{w.directory}/.config/wireguard/usual.conf")
    text = w.ctl("run", "--config", "usual", "--", "ip", "-o", "link").stdout
    check("usual:" in text, text)


def replace_tmp(l):
    """Put an empty directory in the place of /tmp, with this case's directory in it."""
    for words in (("--bind", l.directory, "/run/kept"),
                  ("-t", "tmpfs", "-o", "mode=1777", "none", "/tmp"),
                  ("--bind", "/run/kept", l.directory)):
        os.makedirs(words[-1], exist_ok=True)
        lab.run("mount", *words)
        l.stack.callback(lab.run, "umount", "-l", words[-1])


@case("without XDG_RUNTIME_DIR: a directory in /tmp that is the user's own, or none")
def in_tmp(l):
    if not l.directory.startswith("/tmp/"):
        raise lab.Skip(f"the directory of the tests is not in /tmp: {l.directory}")
    w = World(l)
    # The programs are copies now, so the build may be in /tmp, too.
    replace_tmp(l)
    path = w.sockets = f"/tmp/wiregather-{NOBODY}"
    config = w.config()
    inside = Inside(w, config=config, XDG_RUNTIME_DIR=None)
    found = os.lstat(path)
    check_equal((stat.S_ISDIR(found.st_mode), stat.S_IMODE(found.st_mode), found.st_uid),
                (True, 0o700, NOBODY), "kind, mode and owner")
    check("wg0: up" in w.ctl("status", XDG_RUNTIME_DIR=None).stdout, "status")
    done = w.ctl("exec", "wg0", "--", "true", XDG_RUNTIME_DIR=None)
    check_equal(done.returncode, 0, f"exec: {done.stdout}")
    other = lab.run(*w.as_user("ls", path, uid=1), check_status=False)
    check(other.returncode and "Permission denied" in other.stdout, other.stdout)
    inside.end()
    w.must_be_gone()
    shutil.rmtree(path)
    # What others have put there is not used, neither by run nor to look for tunnels.
    trap = "/tmp/trap"
    os.makedirs(f"{trap}/run")
    for name in trap, f"{trap}/run":
        os.chmod(name, 0o777)

    def make_directory(owner, mode):
        os.makedirs(f"{path}/run")
        os.chmod(path, mode)
        os.chown(path, owner, owner)

    for what, make, why in (
            ("a link", lambda: os.symlink(trap, path), "Not a directory"),
            ("a link of the user's own",
             lambda: (os.symlink(trap, path),
                      os.lchown(path, NOBODY, NOBODY)), "Not a directory"),
            ("a file", lambda: os.mknod(path, 0o666), "Not a directory"),
            ("another's", lambda: make_directory(1, 0o777), "Operation not permitted"),
            ("one that others can use", lambda: make_directory(NOBODY, 0o750),
             "Operation not permitted")):
        make()
        done = w.ctl("run", "--config", config, "--", "true", XDG_RUNTIME_DIR=None)
        check(done.returncode == 1 and
              done.stdout.startswith(f"wiregatherctl: {path} cannot be used: {why}"),
              f"{what}: {done.returncode} {done.stdout}")
        done = w.ctl("exec", "wg0", "--", "true", XDG_RUNTIME_DIR=None)
        check(done.returncode == 1 and why in done.stdout, f"exec: {done.stdout}")
        for directory in trap, path:
            left = [files for _, _, files in os.walk(directory) if files]
            check_equal(left, [], f"files in {directory}, {what}")
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)


lab.main(why_not())
