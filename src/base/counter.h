/* SPDX-License-Identifier: MIT */
/* Counters that any thread reads while others add to them. */
#ifndef BASE_COUNTER_H
#define BASE_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

/* counter_add() - add @n to a counter. Any thread; orders no other memory. */
static inline void counter_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* counter_add_alone() - as counter_add(), for a counter that one thread at a time adds
 * to; cheaper */
static inline void counter_add_alone(_Atomic uint64_t *counter, uint64_t n)
{
	uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, old + n, memory_order_relaxed);
}

/* counter_get() - the present value. Any thread. */
static inline uint64_t counter_get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

#endif /* BASE_COUNTER_H */
