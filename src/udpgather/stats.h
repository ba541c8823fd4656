/* SPDX-License-Identifier: MIT */
/*
 * Counters that one thread writes and any thread reads without a lock.
 *
 * The public structs consist of 64-bit numbers only. So the counters are an array
 * of atomics with the same layout. There is one writer, so a relaxed load and a
 * relaxed store are enough to add.
 */
#ifndef UDPGATHER_STATS_H
#define UDPGATHER_STATS_H

#include <stdatomic.h>
#include <string.h>

#include "base/bytes.h"
#include "udpgather.h"

#define STATS_WORDS(type) (sizeof(type) / sizeof(uint64_t))

struct send_counters {
	_Atomic uint64_t words[STATS_WORDS(struct ug_send_stats)]; /* [a] */
};

struct receive_counters {
	_Atomic uint64_t words[STATS_WORDS(struct ug_receive_stats)]; /* [a] */
};

/* ug_stats_add() - add to a counter. The owner. */
static inline void ug_stats_add(_Atomic uint64_t *word, uint64_t n)
{
	/* Partner: ug_stats_read(), any thread; no order is promised. */
	uint64_t old = atomic_load_explicit(word, memory_order_relaxed);

	atomic_store_explicit(word, old + n, memory_order_relaxed);
}

/* stats_count() - add to one field, named as in the public struct */
#define stats_count(counters, type, field, n) \
	ug_stats_add(&(counters)->words[offsetof(type, field) / 8], (n))

#define send_count(counters, field, n) \
	stats_count(counters, struct ug_send_stats, field, n)

#define receive_count(counters, field, n) \
	stats_count(counters, struct ug_receive_stats, field, n)

/**
 * ug_stats_read() - copy counters. Any thread.
 * @words:	the counters
 * @n:		how many there are
 * @out:	the public struct
 * @size:	the size that the caller knows; bytes beyond the counters are set
 *		to 0
 */
static inline void ug_stats_read(const _Atomic uint64_t *words, size_t n,
				 void *out, size_t size)
{
	size_t known = size_min(size / sizeof(uint64_t), n);

	memset(out, 0, size);
	for (size_t i = 0; i < known; i++) {
		uint64_t v =
			atomic_load_explicit(&words[i], memory_order_relaxed);

		memcpy((char *)out + i * sizeof(v), &v, sizeof(v));
	}
}

#endif /* UDPGATHER_STATS_H */
