/* SPDX-License-Identifier: MIT */
/* Closing several descriptors. */
#ifndef BASE_DESCRIPTORS_H
#define BASE_DESCRIPTORS_H

#include <limits.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/syscalls.h"

enum {
	/* Without close_range(2), which is missing before Linux 5.9, descriptors
	 * below this are closed. A choice. */
	DESCRIPTORS_BLIND_MAX = 1 << 16,
};

/**
 * close_from() - close all descriptors from a number on
 * @first:	the number
 *
 * Any thread, if no other one uses these descriptors.
 */
static inline void close_from(unsigned int first)
{
	struct rlimit limit = { .rlim_cur = DESCRIPTORS_BLIND_MAX };

	/* Not every C library has a function for this call. */
	if (syscall(SYS_close_range, first, UINT_MAX, 0) == 0)
		return;
	getrlimit(RLIMIT_NOFILE, &limit);
	for (unsigned int fd = first;
	     fd < DESCRIPTORS_BLIND_MAX && fd < limit.rlim_cur; fd++)
		close((int)fd);
}

/* close_all() - close @n descriptors. Any thread. */
static inline void close_all(const int *fds, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		close(fds[i]);
}

#endif /* BASE_DESCRIPTORS_H */
