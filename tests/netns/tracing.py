# SPDX-License-Identifier: MIT
"""Single threads of a daemon, stopped by ptrace(2) while the others run."""
import contextlib
import ctypes
import errno
import os
import threading
import time

import lab

# linux/ptrace.h and linux/wait.h
PTRACE_DETACH = 17
PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
WALL = 0x40000000


def ptrace(request, tid, data=0):
    lab.libc.ptrace.restype = ctypes.c_long
    ctypes.set_errno(0)
    if lab.libc.ptrace(request, tid, None, ctypes.c_void_p(data)) < 0:
        err = ctypes.get_errno()
        raise OSError(err, f"ptrace {request:#x}: {os.strerror(err)}")


def thread_named(pid, name):
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm", encoding="ascii") as file:
            if file.read().strip() == name:
                return int(task)
    raise lab.Failure(f"there is no thread {name}")


def reap(tid, is_over):
    """Wait for the end of a thread that is traced: until its tracer has taken note of
    it, it keeps its process from ending."""
    while not is_over.is_set():
        try:
            pid, status = os.waitpid(tid, WALL | os.WNOHANG)
        except ChildProcessError:
            return
        if pid and not os.WIFSTOPPED(status):
            return
        time.sleep(0.005)


@contextlib.contextmanager
def stopped(tid):
    """A block during which one thread is stopped, and the others run. Its process may
    be killed meanwhile."""
    ptrace(PTRACE_SEIZE, tid)
    is_over = threading.Event()
    reaper = threading.Thread(target=reap, args=(tid, is_over), daemon=True)
    try:
        ptrace(PTRACE_INTERRUPT, tid)
        os.waitpid(tid, WALL)
        reaper.start()
        yield
    finally:
        is_over.set()
        if reaper.ident:
            reaper.join()
        try:
            ptrace(PTRACE_DETACH, tid)
        except OSError as err:
            if err.errno != errno.ESRCH:
                raise
