/* SPDX-License-Identifier: MIT */
/*
 * The system calls that a thread may make from now on. The table is calls.c,
 * with the arguments that are looked at. make_filter.c makes a BPF program for
 * each thread of it when the project is built, so the daemon spends neither
 * time nor memory on that.
 */
#ifndef ISOLATE_FILTER_H
#define ISOLATE_FILTER_H

/* The name of the main thread's filter; others have the thread's name. */
#define FILTER_CONTROL "control"

/*
 * Placeholders in a program for the ids of the process and of the thread, which
 * are known only when it is installed. No id is so high, and no argument of a
 * call on the list has such a value.
 */
#define FILTER_PID 0x7f50f1d0
#define FILTER_TID 0x7f50f1d1

/**
 * filter_install() - filter the system calls of the calling thread
 * @thread:	name of the list
 *
 * Any other call ends the process, with SIGSYS. @thread need not be the
 * thread's name in the kernel. Needs no_new_privs.
 *
 * Return: 0; -ENOTSUP: built without; -ENOENT: there is no such list;
 * -EOPNOTSUPP: the program's calls of sockets are not the listed ones (see
 * socketcall.h); -errno.
 */
int filter_install(const char *thread);

#endif /* ISOLATE_FILTER_H */
