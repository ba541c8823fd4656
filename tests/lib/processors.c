/* SPDX-License-Identifier: MIT */
/* A library to preload into a program: it sees PROCESSORS processors. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

int sched_getaffinity(pid_t pid, size_t len, cpu_set_t *set)
{
	const char *text = getenv("PROCESSORS");
	size_t n = text ? strtoul(text, NULL, 10) : 1;

	(void)pid;
	if (n > 8 * len) {
		errno = EINVAL;
		return -1;
	}
	memset(set, 0, len);
	for (size_t i = 0; i < n; i++)
		CPU_SET_S(i, len, set);
	return 0;
}
