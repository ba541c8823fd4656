/* SPDX-License-Identifier: MIT */
#ifndef BASE_COUNTER_H
#define BASE_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

/* counter_add() - count @n more. Any thread; no order is promised. */
static inline void counter_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

#endif /* BASE_COUNTER_H */
