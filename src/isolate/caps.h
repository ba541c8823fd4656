/* SPDX-License-Identifier: MIT */
/*
 * Capabilities. Each thread has its own set, and the functions here change only
 * that of the calling thread.
 */
#ifndef ISOLATE_CAPS_H
#define ISOLATE_CAPS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define CAPS_BIT(capability) (UINT64_C(1) << (capability))

/**
 * caps_get() - the capabilities of a thread
 * @tid:	thread of this process; 0: the calling one
 * @permitted:	set to the bits of its permitted capabilities
 *
 * Return: 0; -ESRCH: there is no such thread; -errno.
 */
int caps_get(pid_t tid, uint64_t *permitted);

/**
 * caps_set() - keep exactly these capabilities, for good
 * @keep:	bits, a subset of what is permitted
 *
 * The kept capabilities are permitted and effective. A program that the thread
 * executes would get no capabilities.
 *
 * Return: 0; -errno.
 */
int caps_set(uint64_t keep);

/**
 * caps_limit() - shrink the bounding set to these capabilities
 * @keep:	bits
 *
 * Does nothing without CAP_SETPCAP. With no_new_privs the bounding set has no
 * effect, but an administrator who looks at the process sees a small set.
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
