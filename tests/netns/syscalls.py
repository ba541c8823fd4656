#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Each system call of the daemon fails, one at a time; so do allocations.

A life of the daemon is run once to learn from which places it makes which calls
(see tests/lib/failcall.c). It is run again for each of these places, with each
errno that the code handles for this call, and with one that it does not handle. A
daemon that was ready must go on, and all steps of its life must succeed in the
end. A daemon that was not ready may end instead, with one line and a status that
is not 0. Then it must leave nothing.

In further lives the engine is killed, upgraded, or the daemon is started anew with the
descriptors that a service manager has kept. In these lives calls fail from that moment
on.

Without FAULTS=all in the environment only a sample runs, the same each time.
"""
import errno
import os
import re
import signal
import time

import failcall
import lab
from lab import Failure, case, check
from lives import (Detached, Ended, Life, Managed, Replaced, Restarted, Upgraded, World,
                   check_one_line)

FULL = os.environ.get("FAULTS") == "all"
# Run only plans whose text has this word.
WORD = os.environ.get("FAULTS_ONLY", "")
# The sample has one plan in STEP. A choice, so that it takes at most minutes.
STEP = 48
# Calls that have found faults. The sample has them, too.
FOUND = re.compile(
    r"(fork \w+ call 1 .* start starter"
    r"|open EPERM call 1 .* take_program"
    r"|waitpid ENOTRECOVERABLE call . .* reap_seat"
    r"|epoll_ctl ENOMEM call 1 .* (op_start local|vmgenid_watch|greet service)"
    r"|epoll_ctl ENOMEM call 1 .* loop_remove .* op_stop"
    r"|getsockopt ENOTRECOVERABLE call . of program 2: (get_port|ug_parts_get_mark)"
    r"|ioctl ENODEV call 1 of program 2: tun_get_name"
    r"|fcntl ENOTRECOVERABLE call 1 of program .: daemon_open_standard"
    r"|getrandom ENOTRECOVERABLE call . of program 1: crypto_init"
    r"|(fstat64|mmap64) ENOTRECOVERABLE call 1 of program .: .* store_open"
    r"|capget ENOTRECOVERABLE call 1 of program 3: .* isolate_restrict)")
# In lives with two engines: so many calls from one place fail, one in each life.
CALLS_MAX = 6
# An errno that the code handles nowhere.
UNKNOWN = errno.ENOTRECOVERABLE

# The errnos of each call that src/ distinguishes, and the usual ones.
SENDING = ("EINTR EAGAIN ENOBUFS ENOMEM EIO EMSGSIZE EINVAL EADDRNOTAVAIL "
           "ENODEV EFAULT EBADF ENOTSOCK ENETUNREACH EHOSTUNREACH "
           "ECONNREFUSED EPERM EACCES")
KNOWN = {
    "accept4": "EAGAIN EINTR ECONNABORTED EMFILE",
    "bind": "EADDRINUSE EAFNOSUPPORT",
    "close": "EINTR EIO",
    "connect": "ECONNREFUSED ENOENT EAGAIN EPROTOTYPE",
    "epoll_create1": "EMFILE",
    "epoll_ctl": "ENOMEM ENOSPC",
    "epoll_wait": "EINTR",
    "eventfd": "EMFILE",
    "fopen64": "ENOENT EROFS",
    "getrandom": "EINTR",
    "inotify_add_watch": "ENOSPC",
    "inotify_init1": "EMFILE",
    "ioctl": "EBADFD ENODEV EPERM EBUSY EINVAL",
    "link": "EEXIST EROFS",
    "lstat64": "ENOENT EACCES",
    "memfd_secret": "ENOSYS",
    "mkdir": "EEXIST EROFS",
    "mlock": "EPERM ENOMEM",
    "mmap64": "ENOMEM",
    "open": "ENOENT ENODEV ENXIO EACCES EPERM",
    "pthread_create": "EAGAIN",
    "read": "EINTR EAGAIN EBADFD",
    "recv": "EINTR EAGAIN",
    "recvmmsg": "EAGAIN EINTR EBADF ENOTSOCK ENOMEM EFAULT EINVAL ENOSYS",
    "recvmsg": "EAGAIN EINTR ENOBUFS ENOMEM",
    "send": "EINTR EAGAIN EPIPE",
    "sendmmsg": SENDING + " ENOSYS",
    "sendmsg": SENDING,
    "setsockopt": "ENOPROTOOPT EPERM",
    "socket": "EAFNOSUPPORT EPROTONOSUPPORT EMFILE",
    "timerfd_create": "EMFILE",
    "unlink": "ENOENT EROFS",
    "waitpid": "EINTR",
    "write": "EINTR EAGAIN",
    "writev": "EINTR EAGAIN EBADFD EIO EINVAL",
}

# These errors mean that the interface or the socket file was deleted. The
# daemon then has to end with status 0.
MEANS_GONE = {("ioctl", errno.EBADFD), ("read", errno.EBADFD),
              ("writev", errno.EBADFD), ("lstat64", errno.ENOENT)}
# These errors mean that the kernel lacks an IP version. The tunnel then uses
# the other one.
LACKS_FAMILY = (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)
# If one of these calls fails, the socket file stays; the next start removes
# it.
LEAVES_FILE = ("unlink", "lstat64")


# ------------------------------------------------------------------ plans


class Plan:
    """The calls that fail in one life."""

    def __init__(self, text, call, number, **plan):
        self.text = text
        self.call = call
        self.err = number
        self.plan = plan


def names_of(call):
    return [getattr(errno, name) for name in KNOWN.get(call, "").split()] + \
        [UNKNOWN]


def plan_site(names, site, errs, numbers):
    """A plan for each errno and number of a call from a site."""
    where = names.describe(site.stack)
    for err in errs:
        for number in numbers:
            yield Plan(f"{site.name} {errno.errorcode[err]} call {number}"
                       f" of program {site.program}: {where}", site.name, err,
                       mode=failcall.ONE_SITE, err=err, key=site.key,
                       first=number, last=number)


def plan_sites(world, sites):
    """A plan for each site, errno and the first two calls from it."""
    names = failcall.Names(world.lab.daemon, sites)
    for site in sites:
        yield from plan_site(names, site, names_of(site.name),
                             range(1, min(site.hits, 2) + 1))


def plan_stage(world, sites, known):
    """As plan_sites(), for a life with two engines: more calls from a place, because each
    may be another step. Of places where an engine that runs makes calls in each life, one
    call fails, with one errno. known: these places, as (name, stack)."""
    names = failcall.Names(world.lab.daemon, sites)
    for site in sites:
        if (site.name, site.stack) in known:
            yield from plan_site(names, site, [UNKNOWN], [1])
            continue
        yield from plan_site(names, site, names_of(site.name),
                             range(1, min(site.hits, 2) + 1))
        yield from plan_site(names, site, [UNKNOWN],
                             range(3, min(site.hits, CALLS_MAX) + 1))


def look_at_log(life):
    """The faults that a life has logged, as texts."""
    text = life.earlier_logs + life.log()
    wrong = list(lab.complaints(text))
    # SIGKILL comes from the life, or from a keeper that tries another engine.
    signals = set(map(int, re.findall(r"has ended by signal (\d+)", text))) - {
        signal.SIGKILL}
    if signals:
        wrong.append(f"engines have ended by signals {signals}")
    if "that no engine sends" in text:
        wrong.append("an engine has sent nonsense")
    return wrong


def look_at_end(world, life, plan, is_early):
    """The faults in the way a life has ended, as texts."""
    wrong = []
    status = life.process.returncode
    means_gone = (plan.call, plan.err) in MEANS_GONE and status == 0
    if is_early and means_gone and (life.is_ready or plan.call == "lstat64"):
        # The daemon can look for the socket's file before the test sees that
        # it is ready.
        pass
    elif is_early and not life.is_ready:
        if not status or status < 0:
            wrong.append(f"status {status} while it starts")
        try:
            check_one_line(life.log())
        except Failure as failure:
            wrong.append(str(failure))
    elif is_early:
        wrong.append(f"the daemon ended with status {status}: {life.log()}")
    left = world.left_behind()
    if plan.call in LEAVES_FILE and "the socket's file" in left:
        left.remove("the socket's file")
    if left:
        wrong.append(f"the daemon has left {' and '.join(left)}")
    return wrong


def run_plan(world, kind, plan):
    """Run one life with a plan; return the faults as texts, and how the life
    ended."""
    world.plan_of_stage = plan.plan
    world.table.plan(**({} if kind.HAS_STAGE else plan.plan))
    life = kind(world, plan.err in LACKS_FAMILY)
    wrong, how = [], "recovered"
    try:
        life.run()
    except Ended:
        how = "ended"
    except Failure as failure:
        how = "failed"
        wrong.append(str(failure))
    finally:
        if life.process:
            wrong += look_at_log(life)
            if how == "recovered" and life.count_deaths() > 0:
                how = "replaced"
            elif how == "recovered" and life.is_refused:
                how = "refused"
            life.log_of_all = life.earlier_logs + life.log()
            if life.process.poll() is not None and how != "failed":
                wrong += look_at_end(world, life, plan, how == "ended")
            if wrong:
                wrong.append(life.log_of_all)
        life.clear()
    return wrong, how


def run_plans(world, kind, plans, step=STEP):
    """Run all plans, or a sample of them: each one that is `step` behind the last."""
    print(f"# {len(plans)} plans")
    plans = [plan for plan in plans if WORD in plan.text]
    if not FULL and not WORD:
        plans = [plan for number, plan in enumerate(plans)
                 if number % step == 0 or FOUND.match(plan.text)]
    counts = {"recovered": 0, "replaced": 0, "refused": 0, "ended": 0, "failed": 0,
              "missed": 0}
    wrong = []
    for number, plan in enumerate(plans):
        if number % 100 == 0:
            print(f"# {number} of {len(plans)}", flush=True)
        start = time.monotonic()
        found, how = run_plan(world, kind, plan)
        counts[how] += 1
        counts["missed"] += not world.table.n_failed
        if found:
            wrong.append(f"{plan.text}: {'; '.join(found)}")
        if FULL or found:
            print(f"# {time.monotonic() - start:5.1f} s {how} {plan.text}"
                  f"{' WRONG: ' if found else ''}{'; '.join(found)}",
                  flush=True)
    print(f"# {len(plans)} lives, {counts}", flush=True)
    check(not wrong, f"{len(wrong)} of {len(plans)} are wrong")
    # If the program did not read the table, no call would fail and every life
    # would succeed.
    check(counts["missed"] * 2 <= len(plans), f"too few failed: {counts}")


def learn(world, kind):
    """Run a life without failures; return the sites of the program that it
    reached."""
    wrong, how = run_plan(world, kind, Plan("nothing fails", "", 0))
    check(not wrong and how == "recovered", f"without a failure: {how} {wrong}")
    sites = [site for site in world.table.sites() if site.stack]
    print(f"# {len(sites)} sites, {sum(s.hits for s in sites)} calls")
    return sites


ALLOCATING = ("malloc", "calloc", "realloc", "reallocarray", "aligned_alloc",
              "posix_memalign")


def plan_allocation(number, program=failcall.ANY_PROGRAM):
    where = f" of program {program}" if program >= 0 else ""
    return Plan(f"allocation {number}{where}", "malloc", errno.ENOMEM,
                mode=failcall.HEAP, err=errno.ENOMEM, first=number, last=number,
                program=program)


def learn_known(world):
    """The places at which an engine that runs makes calls in an ordinary life."""
    class Late(Life):
        HAS_STAGE = True

        def become_ready(self):
            super().become_ready()
            self.begin_stage()

    return {(site.name, site.stack) for site in learn(world, Late) if site.program}


def system_calls(sites):
    return [site for site in sites if site.name not in ALLOCATING]


@case("in the foreground: each system call fails once")
def foreground(l):
    world = World(l)
    sites = system_calls(learn(world, Life))
    run_plans(world, Life, list(plan_sites(world, sites)))


@case("as a daemon: each system call of its start fails once")
def detached(l):
    world = World(l)
    known = {site.key for site in learn(world, Life)}
    sites = [site for site in system_calls(learn(world, Detached))
             if site.key not in known]
    run_plans(world, Detached, list(plan_sites(world, sites)))


@case("under a service manager: each call of its messages fails once")
def managed(l):
    world = World(l)
    sites = system_calls(learn(world, Managed))
    plans = [plan for plan in plan_sites(world, sites)
             if " of notify_" in plan.text or "send_message notify.c" in plan.text]
    if not WORD:
        check(len(plans) >= 20, f"calls of cli/notify.c: {len(plans)}")
    # There are few of them.
    run_plans(world, Managed, plans, 4)


def run_stage(l, kind, step=STEP):
    """Run a life with two engines, with each call and each allocation that fails."""
    if "WG_COVERAGE" in os.environ:
        raise lab.Skip("a build that counts what is run is one process")
    world = World(l)
    known = learn_known(world)
    sites = learn(world, kind)
    if not kind.HAS_STAGE:
        # What the first daemon does is in other lives, but for what is kept.
        names = failcall.Names(world.lab.daemon, sites)
        sites = [site for site in sites if site.program >= 2 or
                 " notify_store " in names.describe(site.stack)]
    plans = list(plan_stage(world, system_calls(sites), known))
    for program in sorted({site.program for site in sites}):
        n = sum(site.hits for site in sites
                if site.name in ALLOCATING and site.program == program)
        plans += [plan_allocation(i, program) for i in range(1, n + 1)]
    run_plans(world, kind, plans, step)


@case("the engine is killed: each call that follows fails once")
def replaced(l):
    run_stage(l, Replaced)


@case("an upgrade: each call that follows fails once")
def upgraded(l):
    run_stage(l, Upgraded)


@case("a restart with descriptors that were kept: each call fails once")
def restarted(l):
    run_stage(l, Restarted)


@case("the n-th allocation fails")
def allocations(l):
    # gcov does not check the allocations with which it writes its counters.
    if "WG_COVERAGE" in os.environ:
        raise lab.Skip("most allocations are the coverage build's own")
    world = World(l)
    sites = learn(world, Life)
    n = sum(site.hits for site in sites if site.name in ALLOCATING)
    if not n:
        raise lab.Skip("the allocator is the sanitizer's")
    run_plans(world, Life, [plan_allocation(i) for i in range(1, n + 1)])


lab.main()
