/* SPDX-License-Identifier: MIT */
/* Counters that any number of threads add to. */
#ifndef BASE_COUNTER_H
#define BASE_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

/* counter_add() - add @n to a counter. Any thread; orders no other memory. */
static inline void counter_add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

#endif /* BASE_COUNTER_H */
