#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The process keeps only what it needs, and still does all that it did."""
import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import re
import signal
import socket
import stat
import struct

import lab
from lab import INNER4, Pair, Skip, case, check, check_equal
from lab import run, wait_until

# Bits of capabilities: linux/capability.h
NET_BIND_SERVICE = 1 << 10
NET_ADMIN = 1 << 12
DAC_OVERRIDE = 1 << 1
# What the keeper keeps; root needs no DAC_OVERRIDE in a directory of its own.
ALL_KEPT = NET_ADMIN | NET_BIND_SERVICE

# linux/if_tun.h
TUNSETIFF = 0x400454ca
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
IFF_VNET_HDR = 0x4000

# The number of memfd_secret(2) is the same on all architectures.
MEMFD_SECRET = 447

# A user id that is not in use; it needs no name.
PLAIN = 4711

# After this many rounds of exercise(), a call that was not seen is an error. A
# choice.
ROUNDS = 8


def threads_of(pid):
    """The fields of /proc/PID/task/TID/status of each thread, the main thread
    first."""
    found = []
    for task in sorted(os.listdir(f"/proc/{pid}/task"), key=int):
        with open(f"/proc/{pid}/task/{task}/status",
                  encoding="ascii") as file:
            lines = file.read().splitlines()
        found.append(dict(line.split(":\t", 1) for line in lines
                          if ":\t" in line))
    return found


def caps(thread, kind):
    return int(thread["Cap" + kind], 16)


def check_threads(tunnel, kept, user, is_filtered, keeper_user=0):
    """The keeper has these capabilities; the engine has none, and this user."""
    threads = threads_of(tunnel.pid)
    check(len(threads) >= 4, f"threads: {[t['Name'] for t in threads]}")
    for thread in threads + threads_of(tunnel.keeper)[:1]:
        name = thread["Name"]
        is_keeper = thread["Pid"] == str(tunnel.keeper)
        wanted = kept if is_keeper else 0
        check_equal(thread["Uid"].split(),
                    [str(keeper_user if is_keeper else user)] * 4, f"uid of {name}")
        for kind in "Prm", "Eff":
            check_equal(caps(thread, kind), wanted, f"Cap{kind} of {name}")
        for kind in "Inh", "Amb":
            check_equal(caps(thread, kind), 0, f"Cap{kind} of {name}")
        check_equal(thread["NoNewPrivs"], "1", f"no_new_privs of {name}")
        check_equal(thread["Seccomp"], "2" if is_filtered else "0",
                    f"filter of {name}")
    return threads


def not_sanitized(l):
    if l.is_slow:
        raise Skip("sanitizers need what is forbidden")


def can_read(user, path):
    """Can another process of a user read it?"""
    done = run("setpriv", "--reuid", str(user), "--regid", str(user),
               "--clear-groups", "dd", f"if={path}", "of=/dev/null", "count=0",
               check_status=False)
    if "Permission denied" in done.stdout:
        return False
    check_equal(done.returncode, 0, f"opening {path}: {done.stdout}")
    return True


@case("started as root: nobody, and few capabilities, in one thread only")
def as_root(l):
    pair = Pair(l)
    pair.both_ways(count=1)
    threads = check_threads(pair.ta, ALL_KEPT, 65534, not l.is_slow)
    for thread in threads:
        check_equal(thread["Gid"].split(), ["65534"] * 4, "gid")
        check_equal(thread["Groups"].strip(), "", "groups")
        check_equal(caps(thread, "Bnd"), 0, "CapBnd")
    check_equal(caps(threads_of(pair.ta.keeper)[0], "Bnd"),
                ALL_KEPT | DAC_OVERRIDE, "CapBnd of the keeper")
    missing = [] if l.is_slow else pair.ta.lost_layers()
    check(not missing, f"something is missing: {missing}")


@case("its memory is closed to other processes of the same user, no core")
def not_dumpable(l):
    not_sanitized(l)
    lab.need("setpriv")
    tunnel = l.tunnel(l.node("a"), "wga").start(
        before=lambda: os.chdir(l.directory))
    # A process that does not protect itself shows that this test can read one.
    other = tunnel.node.start("setpriv", "--reuid", "65534", "--regid",
                              "65534", "--clear-groups", "sleep", "60")
    wait_until(lambda: can_read(65534, f"/proc/{other.pid}/environ"),
               "another process of nobody's can be read")
    for name in "mem", "environ", "maps":
        check(not can_read(65534, f"/proc/{tunnel.pid}/{name}"),
              f"{name} can be read")
    check_equal(os.stat(f"/proc/{tunnel.pid}/environ").st_uid, 0, "owner")
    tunnel.process.send_signal(signal.SIGSEGV)
    status = os.waitpid(tunnel.process.pid, 0)[1]
    tunnel.process.returncode = -signal.SIGSEGV
    tunnel.has_ended = True
    check(os.WIFSIGNALED(status) and not os.WCOREDUMP(status),
          f"status {status:#x}")


@case("--user and WIREGATHER_USER: a name, two numbers, or an error")
def users(l):
    a = l.node("a")
    for i, (options, environment, uid) in enumerate((
            (("--user", f"{PLAIN}:{PLAIN}"), {}, PLAIN),
            ((), {"WIREGATHER_USER": f"{PLAIN}:{PLAIN}"}, PLAIN),
            (("--user", "nobody"), {"WIREGATHER_USER": "none-such"}, 65534))):
        tunnel = l.tunnel(a, f"wg{i}").start(*options, **environment)
        check_threads(tunnel, ALL_KEPT, uid, not l.is_slow)
        tunnel.stop()
        check(not os.path.exists(tunnel.socket), "the socket file is left")
    for user, word in (("none-such", "no user none-such"),
                       ("0:1000", "is root with another group")):
        done = a.run(l.daemon, "-f", "--user", user, "wga",
                     check_status=False)
        check_equal(done.returncode, 1, f"status after: {done.stdout}")
        check(word in done.stdout, f"message: {done.stdout}")
        check(a.run("ip", "link", "show", "wga",
                    check_status=False).returncode, "an interface is left")


@case("rules by user match packets by the user of the keeper, which opens the sockets")
def rules_by_user(l):
    pair = Pair(l)
    pair.a.nft("""table inet rules { chain out {
        type filter hook output priority 0;
        udp dport 51002 meta skuid != 0 drop
    }
    }""")
    pair.a.must_ping(INNER4["b"])
    pair.ta.stop()
    pair.ta = l.tunnel(pair.a, "wga", 51001).start("--keeper-user",
                                                   f"{PLAIN}:{PLAIN}")
    pair.ta.configure({"PublicKey": pair.tb.public, "AllowedIPs":
                       lab.allowed("b"), "Endpoint": pair.endpoint("b")})
    pair.ta.up(INNER4["a"] + "/24")
    pair.a.must_not_ping(INNER4["b"])


@case("--user 0:0: it works, and a line says what is lost")
def as_root_by_name(l):
    pair = Pair(l)
    pair.ta.stop()
    pair.ta = l.tunnel(pair.a, "wga", 51001).start("--user", "0:0")
    check_threads(pair.ta, ALL_KEPT, 0, not l.is_slow)
    check("runs on as root, as --user has it" in pair.ta.log(),
          f"no line says so: {pair.ta.log()}")
    pair.ta.configure({"PublicKey": pair.tb.public, "AllowedIPs":
                       lab.allowed("b"), "Endpoint": pair.endpoint("b")})
    pair.tb.configure({"PublicKey": pair.ta.public, "AllowedIPs":
                       lab.allowed("a")})
    pair.ta.up(INNER4["a"] + "/24")
    pair.a.must_ping(INNER4["b"], count=1)


@case("--no-isolation: nothing is given up")
def switched_off(l):
    tunnel = l.tunnel(l.node("a"), "wga").start("--no-isolation")
    with open("/proc/self/status", encoding="ascii") as file:
        own = int(re.search(r"CapEff:\t(\w+)", file.read()).group(1), 16)
    for thread in threads_of(tunnel.pid):
        check_equal(thread["Uid"].split()[0], "0", "uid")
        check_equal(caps(thread, "Eff"), own, "CapEff")
        check_equal(thread["Seccomp"], "0", "filter")
        check_equal(thread["NoNewPrivs"], "0", "no_new_privs")


@case("a low port, other marks, a socket in a directory that is root's alone")
def privileged_changes(l):
    os.makedirs(lab.SOCKETS, mode=0o700, exist_ok=True)
    os.chmod(lab.SOCKETS, 0o700)
    pair = Pair(l)
    pair.both_ways(count=1)
    for port in 500, 53, 51001:
        pair.ta.port = port
        pair.ta.set("listen-port", str(port))
        pair.ta.wait_for_port()
        pair.tb.set("peer", pair.ta.public, "endpoint", pair.endpoint("a"))
        pair.a.must_ping(INNER4["b"], count=1)
    for mark in "0x10", "0x20", "0":
        pair.ta.set("fwmark", mark)
        pair.a.must_ping(INNER4["b"], count=1)
    # The daemon still watches its socket file, and removes it at its end.
    with open(f"{lab.SOCKETS}/other", "w", encoding="ascii"):
        pass
    os.unlink(f"{lab.SOCKETS}/other")
    pair.a.must_ping(INNER4["b"], count=1)
    pair.ta.stop()
    check(not os.path.exists(pair.ta.socket), "the socket file is left")


@case("in a container without other rights than CAP_NET_ADMIN")
def container(l):
    lab.need("setpriv")
    pair = Pair(l, how={"wrap": (
        "setpriv", "--bounding-set", "-all,+net_admin", "--inh-caps", "-all",
        "--no-new-privs")})
    pair.both_ways(count=1)
    check_threads(pair.ta, NET_ADMIN, 0, not l.is_slow)
    check("not isolated in full: runs on as root" in pair.ta.log(),
          f"no line says so: {pair.ta.log()}")
    pair.ta.set("fwmark", "7")
    pair.a.must_ping(INNER4["b"], count=1)
    pair.ta.stop()
    check(not os.path.exists(pair.ta.socket), "the socket file is left")
    # If --user names a user, failing to become that user is an error.
    done = pair.a.run("setpriv", "--bounding-set", "-all,+net_admin",
                      l.daemon, "-f", "--user", "nobody", "wgx",
                      check_status=False)
    check_equal(done.returncode, 1, f"status after: {done.stdout}")
    check("cannot become user nobody" in done.stdout,
          f"message: {done.stdout}")


def open_device(l):
    """Let all users open /dev/net/tun during the case, as on most systems."""
    path = "/run/tun"
    os.mknod(path, stat.S_IFCHR, os.stat("/dev/net/tun").st_rdev)
    os.chmod(path, 0o666)
    l.stack.callback(os.unlink, path)
    run("mount", "--bind", path, "/dev/net/tun")
    l.stack.callback(run, "umount", "/dev/net/tun")


@case("as a plain user that has CAP_NET_ADMIN")
def ambient(l):
    lab.need("setpriv")
    open_device(l)
    # All users may create files there, and none may remove another's.
    os.makedirs(lab.SOCKETS, exist_ok=True)
    os.chmod(lab.SOCKETS, 0o1777)
    pair = Pair(l, how={"wrap": (
        "setpriv", "--reuid", str(PLAIN), "--regid", str(PLAIN),
        "--clear-groups", "--inh-caps", "-all,+net_admin",
        "--ambient-caps", "-all,+net_admin")})
    pair.both_ways(count=1)
    check_threads(pair.ta, NET_ADMIN, PLAIN, not l.is_slow, PLAIN)
    pair.ta.stop()
    check(not os.path.exists(pair.ta.socket), "the socket file is left")


def open_tun(node, name):
    """Open a TUN device, and set the MTU, which a plain user cannot do."""
    with node.inside():
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack(
            "16sH22x", name.encode(), IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
    node.ip(f"link set {name} mtu 1380")
    return fd


@case("as a plain user without rights, with descriptors that were handed over")
def plain_user(l):
    lab.need("setpriv")
    a, b = l.node("a"), l.node("b")
    l.link(a, b, "eth", "eth")
    a.ip("addr add 192.0.2.1/24 dev eth")
    b.ip("addr add 192.0.2.2/24 dev eth")
    os.makedirs(lab.SOCKETS, exist_ok=True)
    ta, tb = l.tunnel(a, "wga", 51001), l.tunnel(b, "wgb", 51002)
    tun = open_tun(a, "wga")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(ta.socket)
        listener.listen()
        ta.start(wrap=("setpriv", "--reuid", str(PLAIN), "--regid",
                       str(PLAIN), "--clear-groups", "--inh-caps", "-all",
                       "--bounding-set", "-all"),
                 pass_fds=(tun, listener.fileno()), WG_TUN_FD=str(tun),
                 WG_UAPI_FD=str(listener.fileno()))
    os.close(tun)
    tb.start()
    check_threads(ta, 0, PLAIN, not l.is_slow, PLAIN)
    check(l.is_slow or not can_read(PLAIN, f"/proc/{ta.pid}/environ"),
          "its memory can be read")
    ta.configure({"PublicKey": tb.public, "AllowedIPs": lab.allowed("b"),
                  "Endpoint": "192.0.2.2:51002"})
    tb.configure({"PublicKey": ta.public, "AllowedIPs": lab.allowed("a")})
    ta.up(INNER4["a"] + "/24")
    tb.up(INNER4["b"] + "/24")
    a.must_ping(INNER4["b"])
    wait_until(lambda: "MTU is 1380" in ta.log(), "its MTU is known")
    a.rename("wga", "other")
    a.must_ping(INNER4["b"], "-s", "1300")
    # An action that the daemon has no right to is an error of the request
    # only.
    done = ta.set("fwmark", "1", check_status=False)
    check(done.returncode and "not permitted" in done.stdout,
          f"fwmark: {done.stdout}")
    a.must_ping(INNER4["b"], count=1)
    ta.stop()


# ------------------------------------------------------- the list of calls


def listed_calls():
    """Rows of the list that the filters are made of: (call, thread, use). A
    call consists of alternative names, of which the thread uses one, and of
    the text that strace shows for its arguments.
    """
    program = os.environ.get("MAKE_FILTER")
    if not program:
        raise Skip("built without libseccomp")
    return [((tuple(names.split("|")), word), thread, use)
            for names, word, thread, use in
            (line.split() for line in
             run(program, os.environ["FILTER_CALLS"],
                 "--list").stdout.splitlines())]


def calls_made(path):
    """The calls of filtered threads in strace's output: {(thread, name,
    line)}.

    Each thread sets its name and then installs its filter. The main thread of
    the engine is called "control" here; the keeper sets no name. An engine inherits the
    filter of the starter. So the calls of its threads until they have filters of their
    own are the starter's. If calls of two threads overlap, strace splits a call into two
    lines; the first has its name and its arguments.
    """
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines()
    names, filtered, found = {}, set(), set()
    has_starter = False
    for line in lines:
        tid, _, rest = line.partition(" ")
        match = re.match(r" *(?:<\.\.\. )?(\w+)(\(| resumed>)", rest)
        if not match:
            continue
        names.setdefault(tid, "keeper" if not names else "starter")
        call, is_new = match.group(1), match.group(2) == "("
        # strace knows the name since version 6.3.
        rest = rest.replace("0x41 /* PR_??? */", "PR_SET_MDWE")
        # The C library tries clone3(2), and then makes the older call.
        if is_new and call != "clone3":
            if tid in filtered:
                found.add((names[tid], call, rest))
            elif has_starter and names[tid] != "keeper":
                found.add(("starter", call, rest))
        if call == "prctl" and "PR_SET_NAME" in rest:
            name = rest.split('"')[1]
            names[tid] = "control" if name == "wg-engine" else name
        if call == "seccomp" and rest.endswith("= 0"):
            if names[tid] == "wg-starter":
                has_starter = True
            else:
                filtered.add(tid)
    return found


def is_way(row, call):
    """Does a call match a row of the list?"""
    (names, word), thread, _ = row
    return (thread == call[0] and call[1] in names and
            (word == "-" or word in call[2]))


def has_memfd_secret():
    """Does this kernel have memfd_secret(2)? It is off before Linux 6.5."""
    ctypes.set_errno(0)
    lab.libc.syscall(MEMFD_SECRET, -1)
    return ctypes.get_errno() != errno.ENOSYS


def for_this_kernel(rows):
    """The rows, with the uses that apply to this kernel.

    Without memfd_secret(2) memory for secrets is locked by mlock(2).
    """
    if has_memfd_secret():
        return rows
    print("# DIFFERS: no memfd_secret; memory for secrets is locked by mlock")
    other = {"memfd_secret": "rare", "ftruncate": "rare",
             "MADV_DONTFORK": "rare", "mlock": "seen"}
    return [((names, word), thread,
             other.get(word, other.get(names[0], use))
             if thread == "control" else use)
            for (names, word), thread, use in rows]


def unseen(rows, calls):
    """The rows that have to be seen and were not."""
    return [row for row in rows if row[2] == "seen" and
            not any(is_way(row, call) for call in calls)]


def exercise(pair):
    """Make a use each of its functions once."""
    ta = pair.ta
    pair.both_ways(count=1)
    # Super-packets both ways.
    lab.send_stream(pair.a, pair.b, INNER4["b"], 200_000)
    lab.send_stream(pair.b, pair.a, INNER4["a"], 200_000)
    ta.set("listen-port", "51003", "fwmark", "5")
    ta.set("fwmark", "0")
    ta.set("listen-port", "51001")
    # The peers need a second region of secrets and larger tables. Removing
    # them frees both.
    peers = "".join(
        f"public_key={i + 1:064x}\npreshared_key={i + 1:064x}\n"
        f"endpoint=[fe80::1%eth]:{i + 1}\nallowed_ip=10.77.{i >> 8}.{i & 255}/32"
        "\n" for i in range(600))
    check("errno=0" in ta.ask("set=1\n" + peers + "\n", timeout=30), "set")
    check("%eth]" in ta.ask("get=1\n\n", timeout=30), "get")
    ta.set("peer", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE=", "remove")
    # Each round renames the interface, or renames it back.
    old, new = "wga", "wgc"
    if pair.a.run("ip", "link", "show", old, check_status=False).returncode:
        old, new = new, old
    with ta.comes_up():
        pair.a.ip(f"link set {old} mtu 1300", f"link set {old} down",
                  f"link set {old} name {new}", f"link set {new} up",
                  f"addr replace 10.9.0.1/24 dev {new}")
    # These datagrams wait for a new session and then leave together. Each is
    # longer than the one before, so they make several messages instead of a
    # train.
    with pair.a.socket() as sock:
        for size in range(100, 1000, 100):
            sock.sendto(bytes(size), (INNER4["b"], 9))
    pair.a.must_ping(INNER4["b"], count=1)


# The calls that end threads and the process.
AT_END = {"newfstatat", "unlink", "exit", "exit_group", "rt_sigprocmask",
          "madvise"}
WORDS_AT_END = {"TUNSETOFFLOAD", "TUNSETVNETHDRSZ"}
AT_END |= {"wait4", "poll", "timer_settime"}
# The calls that are made when another engine takes the place of one that has died.
AT_END |= {"socketpair", "timer_create", "timer_delete"}
WORDS_AT_END.add("F_GET_SEALS")


def exercise_until_seen(pair, path, rows):
    """Make a use its functions until all calls were seen. Some calls depend on
    timing: for example, packets share a call only if several wait. Such calls
    are not made while the daemon is idle, so the functions are used again.
    """
    def left():
        return [row for row in unseen(rows, calls_made(path))
                if row[1] != "helper" and AT_END.isdisjoint(row[0][0]) and
                row[0][1] not in WORDS_AT_END]

    for _ in range(ROUNDS):
        exercise(pair)
        # strace writes a line after the call has ended; the daemon may still
        # be in the call.
        with contextlib.suppress(lab.Failure):
            wait_until(lambda: not left(), "all calls", 2, 0.2)
            return
    raise lab.Failure(f"after {ROUNDS} rounds not seen: {left()}")


def watch_helpers(l):
    """The calls of helper threads, which --eager keeps at work all the
    time."""
    path = f"{l.directory}/helpers"
    tunnel = l.tunnel(l.node("c"), "wgh").start(
        "--workers", "2", "--eager",
        wrap=("strace", "-f", "-qq", "-o", path, "-e", "trace=seccomp,prctl,"
              "sched_yield,futex,write,madvise,exit,rt_sigprocmask"))
    wait_until(lambda: any(call[1] == "sched_yield"
                           for call in calls_made(path)),
               "helpers at work", 20)
    os.kill(tunnel.keeper, signal.SIGTERM)
    check_equal(tunnel.wait(20), 0, "status")
    return {call for call in calls_made(path) if call[0] == "helper"}


@case("each thread's filter has every call that it makes, and no others")
def list_of_calls(l):
    not_sanitized(l)
    lab.need("strace")
    if platform.machine() != "x86_64":
        raise Skip("the calls of x86-64 are known only")
    rows = for_this_kernel(listed_calls())
    path = f"{l.directory}/calls"
    pair = Pair(l, how={"wrap": ("strace", "-f", "-qq", "-s", "16", "-o",
                                 path)})
    exercise_until_seen(pair, path, rows)
    calls_of_helpers = watch_helpers(l)
    # Another engine goes on with the journal.
    os.kill(pair.ta.pid, signal.SIGKILL)
    wait_until(lambda: "another engine has taken its place" in pair.ta.log(),
               "another engine", 20)
    check("was read up to record" not in pair.ta.log(), pair.ta.log())
    # And another one takes over from that.
    ctl = os.path.join(os.path.dirname(l.daemon), "wiregatherctl")
    if os.path.exists(ctl):
        pair.a.run(ctl, "upgrade", "wga", timeout=60)
    # strace ignores SIGTERM, so the signal goes to its child, the daemon.
    os.kill(pair.ta.keeper, signal.SIGTERM)
    check_equal(pair.ta.wait(20), 0, "status")
    calls = calls_made(path) | calls_of_helpers
    check_equal({call[0] for call in calls}, {row[1] for row in rows},
                "threads")
    others = [call for call in calls
              if not any(is_way(row, call) for row in rows)]
    check(not others, f"calls that are not on the list: {sorted(others)[:3]}")
    check_equal(unseen(rows, calls), [], "calls on the list but never made")
    check(not os.path.exists(pair.ta.socket), "the socket file is left")


lab.main("a build that counts what is run does not isolate"
         if "WG_COVERAGE" in os.environ else None)
