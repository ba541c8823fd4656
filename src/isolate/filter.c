/* SPDX-License-Identifier: MIT */
#include "isolate/filter.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bytes.h"

#ifdef ISOLATE_HAS_FILTER

/* Made by make_filter.c: the members of an array of struct sock_filter. */
static const struct sock_filter instructions[] = {
#include "isolate/filter_program.h"
};

int filter_install(void)
{
	struct sock_fprog program = {
		.len = sizeof(instructions) / sizeof(instructions[0]),
		/* The kernel only reads it. */
		.filter = unconst(instructions),
	};
	long rc = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			  SECCOMP_FILTER_FLAG_TSYNC, &program);

	if (rc < 0)
		return -errno;
	/* The id of a thread that has filters of its own. */
	return rc ? -ESRCH : 0;
}

#else

int filter_install(void)
{
	return -ENOTSUP;
}

#endif /* ISOLATE_HAS_FILTER */
