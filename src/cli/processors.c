/* SPDX-License-Identifier: MIT */
/* Both rules are bounded: bounds.h says why there are no more workers. */
#include "cli/processors.h"

#include <sched.h>

#include "engine/bounds.h"

enum {
	/* Processors for each queue. A choice: a lane carries what three to five
	 * threads can do (docs/performance.md), so fewer processors gain nothing
	 * from another queue. */
	PER_QUEUE = 4,
};

unsigned int processors_count(void)
{
	cpu_set_t set;

	/* This fails on a machine with more processors than the set has places. */
	return sched_getaffinity(0, sizeof(set), &set) == 0
		       ? (unsigned int)CPU_COUNT(&set)
		       : CPU_SETSIZE;
}

unsigned int processors_get_workers(unsigned int n)
{
	return n < WORKERS_DEFAULT ? n : WORKERS_DEFAULT;
}

unsigned int processors_get_queues(unsigned int n)
{
	n /= PER_QUEUE;
	if (n < 1)
		return 1;
	return n < QUEUES_MAX ? n : QUEUES_MAX;
}
