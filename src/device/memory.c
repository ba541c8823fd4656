/* SPDX-License-Identifier: MIT */
/*
 * One request at a time is handed to the rcu thread, however often it is made.
 */
#include "device/memory.h"

#include <malloc.h>
#include <stdatomic.h>

#include "base/rcu.h"

static struct rcu_head trim_head;
/* Set while the rcu thread has @trim_head. */
static atomic_flag trim_is_due = ATOMIC_FLAG_INIT;

static void trim(struct rcu_head *head)
{
	(void)head;
	/* Release; the partner is the acquire in memory_trim_later(), which
	 * may hand @trim_head over again from now on. */
	atomic_flag_clear_explicit(&trim_is_due, memory_order_release);
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}

void memory_trim_later(void)
{
	if (!atomic_flag_test_and_set_explicit(&trim_is_due,
					       memory_order_acquire))
		rcu_free_later(&trim_head, trim);
}
