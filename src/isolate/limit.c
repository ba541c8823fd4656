/* SPDX-License-Identifier: MIT */
/*
 * The limits of the process are raised as far as possible. A limit that cannot
 * be raised stays as it is.
 */
#include "isolate/limit.h"

#include "base/bytes.h"

/* The wanted value of each limit. RLIM_INFINITY is the greatest number. */
static const struct {
	LIMIT_TYPE resource;
	rlim_t wanted;
} limits[] = {
	{ RLIMIT_NPROC, RLIM_INFINITY },
	{ RLIMIT_NOFILE, LIMIT_DESCRIPTORS },
	{ RLIMIT_MEMLOCK, RLIM_INFINITY },
};

static void raise_limit(LIMIT_TYPE resource, rlim_t wanted)
{
	struct rlimit both = { wanted, wanted };
	struct rlimit limit;

	if (getrlimit(resource, &limit) < 0)
		return;
	/* This needs CAP_SYS_RESOURCE. */
	if (limit.rlim_max < wanted && !setrlimit(resource, &both))
		return;
	if (limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(resource, &limit);
}

void limits_raise(void)
{
	for (size_t i = 0; i < ARRAY_LEN(limits); i++)
		raise_limit(limits[i].resource, limits[i].wanted);
}
