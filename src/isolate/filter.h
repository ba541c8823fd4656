/* SPDX-License-Identifier: MIT */
/*
 * The filter of a thread's system calls. The table of allowed calls, with the
 * conditions on their arguments, is in calls.c. make_filter.c makes a BPF
 * program for each thread from it while the project is built, so the daemon
 * spends neither time nor memory on that.
 */
#ifndef ISOLATE_FILTER_H
#define ISOLATE_FILTER_H

/* The name of the main thread's filter; others have the thread's name. */
#define FILTER_CONTROL "control"

/* The name of the filter of the keeper, a process with one thread. */
#define FILTER_KEEPER "keeper"

/*
 * The name of the filter of the starter. An engine inherits it, and its threads add
 * filters of their own. A call that is not on the list fails with ENOSYS, as on an
 * older kernel: the starter's list has to suffice for each version of the dynamic
 * linker and of the C library, and they do without calls that are newer than what
 * they need.
 */
#define FILTER_STARTER "starter"

/*
 * Placeholders in a program for the ids of the process and of the thread, which
 * are known only when it is installed. The values are choices: no id is as high
 * (Linux has less than 2^22), and no argument of a call on the list has one of
 * these values.
 */
#define FILTER_PID 0x7f50f1d0
#define FILTER_TID 0x7f50f1d1

/**
 * filter_install() - filter the system calls of the calling thread
 * @thread:	name of the list
 *
 * A call that is not on the list ends the process with SIGSYS, except for
 * FILTER_STARTER. @thread need not
 * be the thread's name in the kernel. Needs no_new_privs.
 *
 * Return: 0; -ENOTSUP: the build has no filter; -ENOENT: there is no such list;
 * -EOPNOTSUPP: the program's socket calls are not those of the list
 * (socketcall.h); -errno.
 */
int filter_install(const char *thread);

#endif /* ISOLATE_FILTER_H */
