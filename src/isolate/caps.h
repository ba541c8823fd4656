/* SPDX-License-Identifier: MIT */
/*
 * Capabilities, which belong to a thread each. The system calls themselves are
 * used: they change the calling thread alone.
 */
#ifndef ISOLATE_CAPS_H
#define ISOLATE_CAPS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CAPS_BIT(capability) (UINT64_C(1) << (capability))

/**
 * caps_get() - what a thread may use
 * @tid:	thread of this process; 0: the calling one
 * @permitted:	set to the bits of what it has or can take
 *
 * Return: 0; -ESRCH: there is none; -errno.
 */
int caps_get(pid_t tid, uint64_t *permitted);

/**
 * caps_set() - have exactly these, for good
 * @keep:	bits, a subset of what is permitted
 *
 * They are in effect; none is left to programs that would be executed. Of the
 * calling thread alone.
 *
 * Return: 0; -errno.
 */
int caps_set(uint64_t keep);

/**
 * caps_limit() - have nothing else ever
 * @keep:	bits
 *
 * Takes the others from the bounding set, where CAP_SETPCAP allows it. With
 * no_new_privs it makes no difference; it is there to be seen.
 */
void caps_limit(uint64_t keep);

/**
 * caps_check_threads() - check that no other thread has capabilities, and count
 * the threads
 * @dir:	descriptor of /proc/self/task; consumed
 * @tid:	set to a thread that has capabilities, or 0
 * @n:		set to the count of the other threads, if none has capabilities
 *
 * Return: 0; -errno.
 */
int caps_check_threads(int dir, pid_t *tid, unsigned int *n);

#endif /* ISOLATE_CAPS_H */
