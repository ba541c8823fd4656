#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Upgrades between today's program and older ones, made of this project's own history.

The sources of a commit are taken from git, and the program is built from them in the build
directory, where it stays for the next run. Without git's history the cases skip.
"""
import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import tarfile
import time

import detached
import lab
import upgrading
from lab import Pair, Skip, case, check, check_equal
from upgrading import Watch, ask, need_processes, traffic, upgrade

# The previous release: what people upgrade from, and go back to. To be moved on at each
# release. There is no release with upgrades yet, so this is the first commit in which they
# worked.
PREVIOUS = "6ba1d163fbd638ece6bc709d96cd8d28d0dc1c48"
# The last commit in which a daemon was one process, as all releases up to 0.2 are. It
# stays.
WITHOUT_KEEPER = "6d8f0dc7a98d725357a01459d1c09f8f52272ad7"

# The numbers of the protocols that two programs must share, and where they stand.
NUMBERS = {"UPGRADE_VERSION": "src/base/upgrade.h",
           "REQUEST_VERSION": "src/keeper/request.h",
           "HANDOVER_VERSION": "src/cli/handover.h",
           "STATE_VERSION": "src/handover/state_layout.h"}

SOURCES, BUILD = os.environ["SOURCES"], os.environ["BUILD"]
# A refusal takes no longer, in seconds, also on a busy machine. It must not need the end
# of a waiting time, of which the shortest is 8 s.
REFUSAL_S = 6
# Seconds that a build may take.
BUILD_S = 900


# ------------------------------------------------------------------- history


def git(*words, stdout=subprocess.PIPE):
    """git on the sources, also if they belong to another user."""
    return subprocess.run(["git", "-c", "safe.directory=*", "-C", SOURCES, *words],
                          stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)


def need_history():
    """Skip unless the sources are a clone of the project."""
    lab.need("git", "meson", "ninja")
    found = git("rev-parse", "--show-toplevel")
    if found.returncode or \
            os.path.realpath(found.stdout.strip()) != os.path.realpath(SOURCES):
        raise Skip("the sources are no clone of the git repository")


def need_commit(commit):
    need_history()
    if git("cat-file", "-e", commit + "^{commit}").returncode:
        raise Skip(f"the git history lacks commit {commit[:10]}: a shallow clone?")


def find_numbers(commit=None):
    """The numbers in a commit, or in the files that are there; those that are missing
    are left out."""
    found = {}
    for name, path in NUMBERS.items():
        if commit:
            text = git("show", f"{commit}:{path}").stdout
        else:
            with open(f"{SOURCES}/{path}", encoding="utf-8") as file:
                text = file.read()
        match = re.search(rf"^\s*{name} = (\d+),$", text, re.MULTILINE)
        if match:
            found[name] = int(match.group(1))
    return found


def find_oldest():
    """The oldest commit that has had today's numbers since then without a break."""
    need_history()
    today, oldest = find_numbers(), None
    check_equal(sorted(today), sorted(NUMBERS), "numbers in the sources")
    for commit in git("log", "--format=%H", "--", *NUMBERS.values()).stdout.split():
        if find_numbers(commit) != today:
            break
        oldest = commit
    if not oldest:
        raise Skip("the numbers of the protocols are not committed yet")
    return oldest


# -------------------------------------------------------------------- builds


@contextlib.contextmanager
def build_lock():
    with open(f"{BUILD}/previous/lock", "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build(commit, directory):
    """Build the program of a commit in a directory."""
    os.makedirs(f"{directory}/source")
    with subprocess.Popen(["git", "-c", "safe.directory=*", "-C", SOURCES, "archive",
                           commit], stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            archive.extractall(f"{directory}/source")
    check_equal(process.returncode, 0, "status of git archive")
    lab.run("meson", "setup", "-Dtests=false", "-Dbench=false", f"{directory}/build",
            f"{directory}/source", timeout=BUILD_S)
    lab.run("ninja", "-C", f"{directory}/build", "wiregather", timeout=BUILD_S)


def program_of(commit):
    """Have the program of a commit; return its path."""
    need_commit(commit)
    path = f"{BUILD}/previous/{commit}/wiregather"
    os.makedirs(f"{BUILD}/previous", exist_ok=True)
    with build_lock():
        if not os.path.exists(path):
            began, directory = time.monotonic(), f"{BUILD}/previous/{commit}"
            shutil.rmtree(directory, ignore_errors=True)
            build(commit, f"{directory}/new")
            os.rename(f"{directory}/new/build/wiregather", path)
            shutil.rmtree(f"{directory}/new")
            print(f"# {commit[:10]} was built in {time.monotonic() - began:.0f} s",
                  flush=True)
    return path


# --------------------------------------------------------------------- cases


def start_pair(l, program):
    """A pair of which a runs another program."""
    today, l.daemon = l.daemon, program
    try:
        return Pair(l)
    finally:
        l.daemon = today


def refuse(tunnel, program, words):
    """The upgrade is refused at once, with a line in which one of some words is."""
    began = time.monotonic()
    line = ask(tunnel, "--program", program, status=1)
    took = time.monotonic() - began
    print(f"# {line.strip()} ({took:.2f} s)", flush=True)
    check(line.startswith(f"wiregatherctl: {tunnel.name}: ") and line.count("\n") == 1 and
          any(word in line for word in words), f"refused by {line!r}")
    check(took < REFUSAL_S * lab.SLOWNESS, f"refused after {took:.1f} s")


def go(l, commit, running, program):
    """Upgrade a running program to another one, of which the older one is of a commit.
    With the same numbers in both it must succeed, and must be refused otherwise."""
    older, today = find_numbers(commit), find_numbers()
    others = {name: (older.get(name), today[name]) for name in NUMBERS
              if older.get(name) != today[name]}
    print(f"# numbers that differ: {others}", flush=True)
    pair = start_pair(l, running)
    with traffic(pair):
        watch = Watch(pair)
        if others:
            # A program that is not the newest one may have other words.
            refuse(pair.ta, program, ("a restart of the tunnel is needed",
                                      "another version"))
        else:
            upgrade(pair.ta, "--program", program)
        watch.check(not others)
        time.sleep(0.5)
    pair.both_ways(count=1)


@case("from the previous release to today's program: no loss and no handshake, or refused")
def up(l):
    need_processes()
    go(l, PREVIOUS, program_of(PREVIOUS), l.daemon)


@case("from today's program to the previous release: the same")
def down(l):
    need_processes()
    go(l, PREVIOUS, l.daemon, program_of(PREVIOUS))


@case("from the oldest program with today's numbers to today's: no loss and no handshake")
def same_numbers(l):
    need_processes()
    oldest = find_oldest()
    program = program_of(oldest)
    print(f"# the oldest one is {oldest[:10]}", flush=True)
    go(l, oldest, program, l.daemon)


@case("from today's program to the oldest one with today's numbers, and back: the same")
def same_numbers_back(l):
    need_processes()
    oldest = find_oldest()
    program = program_of(oldest)
    pair = Pair(l)
    with traffic(pair):
        watch = Watch(pair)
        for path in program, l.daemon, program:
            upgrade(pair.ta, "--program", path)
            watch.check(True)
            time.sleep(0.3)
    pair.both_ways(count=1)


@case("a program that is one process is refused at once, and the tunnel goes on")
def without_keeper(l):
    need_processes()
    program = program_of(WITHOUT_KEEPER)
    pair = Pair(l)
    with traffic(pair):
        watch = Watch(pair)
        for _ in range(2):
            refuse(pair.ta, program, ("cannot take a tunnel over",))
            watch.check(False)
        upgrade(pair.ta)
        watch.check(True)


@case("the same, and the daemon runs in the background: no process of it is left behind")
def without_keeper_detached(l):
    need_processes()
    program = program_of(WITHOUT_KEEPER)
    node = l.node("a")
    keeper = detached.detach(node, "wga")
    before = lab.descendants_of(keeper)
    tunnel = l.tunnel(node, "wga")
    # Sometimes the program ends before the keeper has sent it anything.
    for _ in range(20):
        refuse(tunnel, program, ("cannot take a tunnel over",))
    check_equal(lab.descendants_of(keeper), before, "processes of the daemon")
    check_equal(lab.children_of(os.getpid()), [keeper], "processes beside it")
    check_equal(tunnel.get("listen-port").returncode, 0, "status of wg show")
    os.kill(keeper, 15)
    detached.end_detached(keeper)


if __name__ == "__main__":
    lab.main()
