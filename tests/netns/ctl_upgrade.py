#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""wiregatherctl upgrade, with this program in the place of keepers: what is asked, and
what is printed for each answer. upgrade.py has the same with real tunnels."""
import contextlib
import errno
import fcntl
import os
import random
import re
import socket
import struct
import threading
import time

import lab
from lab import case, check, check_equal

CTL = os.path.abspath(os.environ["CTL"])
# src/base/upgrade.h
VERSION = 1
REQUEST = struct.Struct("=II")
REPLY = struct.Struct("=Ii400s")
NOBODY = 65534


def reply(err=0, why=b"", version=VERSION):
    return REPLY.pack(version, err, why)


class Keeper:
    """Has the socket for upgrades of a tunnel, and perhaps that for statistics.

    answers: what each connection in turn gets: bytes, a function that returns them, or
    None, after which the connection is closed without an answer; refusal: what each
    connection gets in place of that, before its request is read; versions: what the
    statistics tell, one for each time that they are asked, the last one for ever; empty:
    no statistics.
    """

    def __init__(self, l, name, *answers, refusal=None, versions=()):
        self.name = name
        self.refusal = refusal
        self.answers = list(answers)
        self.versions = list(versions)
        self.requests = []
        if answers or refusal:
            self.serve(l, self.listen(l, "upgrade", socket.SOCK_SEQPACKET),
                       self.answer)
        if versions:
            self.serve(l, self.listen(l, "stats", socket.SOCK_STREAM), self.tell)

    def listen(self, l, kind, style):
        """Make a socket's file, and the link to it, as the daemon does."""
        os.makedirs(f"{lab.SOCKETS}/{kind}", exist_ok=True)
        path = f"{kind}/{self.name}.{kind}"
        sock = socket.socket(socket.AF_UNIX, style)
        l.stack.callback(sock.close)
        sock.bind(f"{lab.SOCKETS}/{path}")
        os.chmod(f"{lab.SOCKETS}/{path}", 0o700)
        sock.listen()
        os.symlink(path, f"{lab.SOCKETS}/{self.name}.{kind}")
        return sock

    @staticmethod
    def serve(l, sock, answer):
        def loop():
            while True:
                try:
                    client = sock.accept()[0]
                except OSError:
                    return
                # A client may be gone: one that looks whether somebody listens, or one
                # that has given up waiting.
                with client, contextlib.suppress(OSError):
                    answer(client)

        thread = threading.Thread(target=loop)
        thread.start()
        l.stack.callback(thread.join)
        # This ends the wait for a connection.
        l.stack.callback(sock.shutdown, socket.SHUT_RDWR)

    def tell(self, client):
        client.recv(100)
        version = self.versions.pop(0) if len(self.versions) > 1 else self.versions[0]
        client.sendall(f"version={version}\nup=1\nerrno=0\n\n".encode())

    def answer(self, client):
        if self.refusal:
            client.send(self.refusal)
            # The request may be there, or may come too late.
            time.sleep(0.01 * random.randrange(2))
            return
        data, fds, _, _ = socket.recv_fds(client, 100, 4)
        self.requests.append((data, fds))
        answer = self.answers.pop(0)
        answer = answer() if callable(answer) else answer
        if answer is not None:
            client.send(answer)


def ctl(*words, status=0, **options):
    done = lab.run(CTL, "upgrade", *words, check_status=False, **options)
    check_equal(done.returncode, status, f"status of {' '.join(words)}: {done.stdout}")
    return done.stdout


def check_line(text, wanted):
    check_equal(text, f"wiregatherctl: {wanted}\n", "output")


@case("success: one line, with the time, and both versions if they are told")
def success(l):
    keeper = Keeper(l, "wg0", reply(), reply(), versions=["1.0.0", "1.1.0"])
    text = ctl("wg0")
    check(re.fullmatch(r"wg0: upgraded in \d+ ms, from version 1\.0\.0 to 1\.1\.0\n",
                       text), text)
    check_equal(keeper.requests, [(REQUEST.pack(VERSION, 0), [])], "requests")
    text = ctl("wg0")
    check(re.fullmatch(r"wg0: upgraded in \d+ ms, version 1\.1\.0 as before\n", text),
          text)
    Keeper(l, "wg1", lambda: time.sleep(0.3) or reply())
    text = ctl("wg1")
    match = re.fullmatch(r"wg1: upgraded in (\d+) ms\n", text)
    check(match and int(match.group(1)) >= 300, text)


@case("--program: the file goes along, opened for reading; its name may stand anywhere")
def program(l):
    path = f"{l.directory}/program"
    with open(path, "wb") as file:
        file.write(b"any bytes")
    os.chmod(path, 0o755)
    keeper = Keeper(l, "wg0", *[reply()] * 4)
    ctl("--program", path, "wg0")
    ctl("wg0", f"--program={path}")
    ctl("wg0", "wg0", "--timeout", "5")
    check_equal([(data, len(fds)) for data, fds in keeper.requests],
                [(REQUEST.pack(VERSION, 1), 1)] * 2 + [(REQUEST.pack(VERSION, 0), 0)] * 2,
                "requests")
    for _, (fd, *_) in keeper.requests[:2]:
        check_equal(os.readlink(f"/proc/self/fd/{fd}"), path, "file")
        check_equal(fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_NONBLOCK),
                    os.O_RDONLY, "flags")
        os.close(fd)


@case("--if-changed: a daemon whose program cannot be found out is asked")
def unknown_program(l):
    keeper = Keeper(l, "wg0", reply())
    check(re.fullmatch(r"wg0: upgraded in \d+ ms\n", ctl("--if-changed", "wg0")),
          "output")
    check_equal(len(keeper.requests), 1, "requests")


@case("a file that is no program is named, and no keeper is asked")
def bad_files(l):
    keeper = Keeper(l, "wg0", reply())
    base = l.directory
    check_line(ctl("--program", f"{base}/none", "wg0", status=1),
               f"{base}/none: No such file or directory")
    check_line(ctl("--program", base, "wg0", status=1),
               f"{base}: it is not a regular file")
    os.mkfifo(f"{base}/pipe")
    check_line(ctl("--program", f"{base}/pipe", "wg0", status=1),
               f"{base}/pipe: it is not a regular file")
    with open(f"{base}/text", "wb") as file:
        file.write(b"#!/bin/sh\n")
    os.chmod(f"{base}/text", 0o644)
    check_line(ctl("--program", f"{base}/text", "--all", status=1),
               f"{base}/text: it is not executable: Permission denied")
    check_equal(keeper.requests, [], "requests")


@case("a refusal is printed as it is; without a reason its errno is")
def refusals(l):
    why = b"the program has ended with status 1 before it was ready: see the log"
    Keeper(l, "wg0", reply(-errno.ENOEXEC, why), reply(-errno.EBUSY),
           reply(-errno.EPERM, b"\x1b[31mred\xff\n"), reply(-errno.EIO, b"x" * 400))
    check_line(ctl("wg0", status=1), f"wg0: {why.decode()}")
    check_line(ctl("wg0", status=1), "wg0: refused: Device or resource busy")
    check_line(ctl("wg0", status=1), "wg0: ?[31mred??")
    check_line(ctl("wg0", status=1), f"wg0: {'x' * 399}")


@case("a refusal that comes before the request was read is seen")
def early_refusals(l):
    Keeper(l, "wg0", refusal=reply(-errno.EBUSY, b"another one is under way"))
    for _ in range(50):
        check_line(ctl("wg0", status=1), "wg0: another one is under way")


@case("answers that make no sense")
def nonsense(l):
    cases = [(reply()[:-1], "the answer of its daemon makes no sense (407 bytes)"),
             (reply() + b"x", "the answer of its daemon makes no sense (409 bytes)"),
             (b"x" * 3, "the answer of its daemon makes no sense (3 bytes)"),
             (reply(5), "the answer of its daemon makes no sense (408 bytes)"),
             (reply(-5000), "the answer of its daemon makes no sense (408 bytes)"),
             (reply(version=2), "its daemon takes requests of version 2, and this is "
              "version 1: restart it"),
             (None, "its daemon has closed the connection without an answer: has it "
              "ended?")]
    Keeper(l, "wg0", *[answer for answer, _ in cases])
    for answer, wanted in cases:
        check_line(ctl("wg0", status=1), f"wg0: {wanted}")
        print(f"# {answer if answer is None else len(answer)}: {wanted}")


@case("whatever bytes come, there is one line that can be printed")
def random_answers(l):
    seed = int(os.environ.get("TEST_SEED", "20261129"), 0)
    print(f"# TEST_SEED={seed}")
    draw = random.Random(seed)

    def bytes_of():
        data = bytearray(reply(draw.choice((0, -22, 22)), b"why"))
        for _ in range(draw.randrange(4)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        if draw.randrange(3) == 0:
            data = draw.randbytes(draw.randrange(1, 1000))
        return bytes(data)

    answers = [bytes_of() for _ in range(100)]
    Keeper(l, "wg0", *answers)
    for answer in answers:
        done = lab.run(CTL, "upgrade", "wg0", check_status=False)
        is_good = len(answer) == REPLY.size and REPLY.unpack(answer)[:2] == (VERSION, 0)
        check_equal(done.returncode, 0 if is_good else 1, f"status for {answer}")
        check(re.fullmatch(r"[ -~]+\n", done.stdout), f"{done.stdout!r} for {answer}")


@case("an answer that does not come: the time is over, with a line")
def timeout(l):
    is_over = threading.Event()
    Keeper(l, "wg0", lambda: is_over.wait(60) and None)
    begin = time.monotonic()
    text = ctl("--timeout", "1", "wg0", status=1)
    took = time.monotonic() - begin
    is_over.set()
    check_line(text, "wg0: no answer within 1 s: the log of the daemon says more, and "
               "`wiregatherctl status` whether the tunnel works")
    check(1 <= took < 20 * lab.SLOWNESS, f"{took} s")


@case("no such tunnel, a daemon that is too old, one that was killed, and no right")
def not_there(l):
    os.makedirs(f"{lab.SOCKETS}/upgrade", exist_ok=True)
    check_line(ctl("wgx", status=1), "wgx: no such tunnel: no wiregather serves it")
    Keeper(l, "old", versions=["0.9"])
    check_line(ctl("old", status=1), "old: its daemon cannot be upgraded while it runs, "
               "because it is too old, or runs with --no-isolation: restart it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(f"{lab.SOCKETS}/other.sock")
        sock.listen()
        check_line(ctl("other", status=1), "other: its daemon cannot be upgraded while it "
                   "runs, because it is too old, or no wiregather: restart it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.bind(f"{lab.SOCKETS}/upgrade/dead.upgrade")
    os.symlink("upgrade/dead.upgrade", f"{lab.SOCKETS}/dead.upgrade")
    check_line(ctl("dead", status=1), "dead: no such tunnel: no wiregather serves it")
    Keeper(l, "wg0", reply())
    lab.need("setpriv")
    done = lab.run("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY),
                   "--clear-groups", CTL, "upgrade", "wg0", check_status=False,
                   env={**os.environ, "XDG_RUNTIME_DIR": "/nonexistent"})
    if done.returncode in (126, 127):
        raise lab.Skip("another user may not run this program")
    check_equal(done.returncode, 1, "status")
    check_line(done.stdout, "wg0: Permission denied: only root, and the user that its "
               "keeper runs as, may upgrade it")


@case("--all: no tunnel is a success; a failure does not end it, and is its status")
def all_tunnels(l):
    check_equal(ctl("--all"), "no tunnel of wiregather that could be upgraded\n", "output")
    os.makedirs(f"{lab.SOCKETS}/upgrade", exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.bind(f"{lab.SOCKETS}/upgrade/dead.upgrade")
    os.symlink("upgrade/dead.upgrade", f"{lab.SOCKETS}/dead.upgrade")
    check_equal(ctl("--all"), "no tunnel of wiregather that could be upgraded\n", "with a dead one")
    keepers = [Keeper(l, "wg0", *[reply()] * 3),
               Keeper(l, "wg2", *[reply()] * 3, versions=["2"])]
    check_equal(re.sub(r"\d+ ms", "N ms", ctl("--all")),
                "wg0: upgraded in N ms\nwg2: upgraded in N ms, version 2 as before\n",
                "output")
    keepers.append(Keeper(l, "wg1", reply(-errno.EINVAL, b"it does not start"),
                          reply()))
    lines = ctl("--all", status=1).splitlines()
    check_equal(sorted(re.sub(r"\d+ ms", "N ms", line) for line in lines),
                ["wg0: upgraded in N ms", "wg2: upgraded in N ms, version 2 as before",
                 "wiregatherctl: wg1: it does not start"], "lines")
    Keeper(l, "old", versions=["0.9"])
    text = ctl("--all", status=1)
    check("old: its daemon cannot be upgraded" in text, text)
    check_equal(text.count("upgraded in"), 3, f"upgrades in {text}")
    check_equal([len(keeper.requests) for keeper in keepers], [3, 3, 2], "requests")


@case("command lines that are wrong have the usage and status 2")
def usage(_):
    for words, wanted in (
            ((), "missing: INTERFACE, or --all"),
            (("--all", "wg0"), "--all is for all tunnels: wg0"),
            (("--program",), "no value: --program"),
            (("--timeout", "0", "wg0"),
             "--timeout is not a number of seconds from 1 to 600: 0"),
            (("--timeout", "601", "wg0"),
             "--timeout is not a number of seconds from 1 to 600: 601"),
            (("--timeout=1s", "wg0"),
             "--timeout is not a number of seconds from 1 to 600: 1s"),
            (("--if-changed", "--program", "/bin/true", "wg0"),
             "--if-changed looks at the running program: --program"),
            (("--json", "wg0"), "no such option: --json")):
        text = ctl(*words, status=2)
        check(text.startswith(f"wiregatherctl: {wanted}\nusage: "), text)


if __name__ == "__main__":
    lab.main()
