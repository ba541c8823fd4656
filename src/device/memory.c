/* SPDX-License-Identifier: MIT */
#include "device/memory.h"

#include <malloc.h>
#include <stdatomic.h>

#include "base/rcu.h"

static struct rcu_head trim_head;
/* @trim_head is handed over. */
static atomic_flag trim_is_due = ATOMIC_FLAG_INIT;

static void trim(struct rcu_head *head)
{
	(void)head;
	/* Partner: memory_trim_later(), which hands @trim_head over again. */
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
