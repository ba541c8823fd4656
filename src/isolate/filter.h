/* SPDX-License-Identifier: MIT */
/*
 * The system calls that the process may make from now on. The list, with the
 * arguments that are looked at, is in make_filter.c; it becomes a BPF program
 * when the project is built, so that nothing of it costs time or memory later.
 */
#ifndef ISOLATE_FILTER_H
#define ISOLATE_FILTER_H

/**
 * filter_install() - filter the system calls of all threads
 *
 * Any other call ends the process, with SIGSYS. Needs no_new_privs.
 *
 * Return: 0; -ENOTSUP: built without; -ESRCH: a thread cannot be filtered;
 * -errno.
 */
int filter_install(void);

#endif /* ISOLATE_FILTER_H */
