# SPDX-License-Identifier: MIT
"""Single threads of a daemon, stopped by ptrace(2) while the others run."""
import contextlib
import ctypes
import os

import lab

# linux/ptrace.h and linux/wait.h
PTRACE_DETACH = 17
PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
WALL = 0x40000000


def ptrace(request, tid):
    lab.libc.ptrace.restype = ctypes.c_long
    ctypes.set_errno(0)
    if lab.libc.ptrace(request, tid, None, None) < 0:
        err = ctypes.get_errno()
        raise OSError(err, f"ptrace {request:#x}: {os.strerror(err)}")


def thread_named(pid, name):
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm", encoding="ascii") as file:
            if file.read().strip() == name:
                return int(task)
    raise lab.Failure(f"there is no thread {name}")


@contextlib.contextmanager
def stopped(tid):
    """A block during which one thread is stopped, and the others run."""
    ptrace(PTRACE_SEIZE, tid)
    try:
        ptrace(PTRACE_INTERRUPT, tid)
        os.waitpid(tid, WALL)
        yield
    finally:
        ptrace(PTRACE_DETACH, tid)
