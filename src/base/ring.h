/* SPDX-License-Identifier: MIT */
/*
 * A ring of fixed size: first in, first out, in an array that the caller owns.
 * The ring says which place of the array is next. If a lock is needed, the
 * caller has it, too.
 */
#ifndef BASE_RING_H
#define BASE_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/assert.h"

/**
 * struct ring - which places of an array are in use
 * @cap:	how many places there are
 * @first:	the place that was filled first
 * @n:		how many places are in use
 */
struct ring {
	uint32_t cap;
	uint32_t first;
	uint32_t n;
};

/* ring_init() - no place of an array of @cap is in use */
static inline void ring_init(struct ring *ring, uint32_t cap)
{
	*ring = (struct ring){ .cap = cap };
}

static inline bool ring_is_full(const struct ring *ring)
{
	return ring->n == ring->cap;
}

/* ring_push() - use one more place. The ring must not be full. Return: the place. */
static inline uint32_t ring_push(struct ring *ring)
{
	INVARIANT(ring->n < ring->cap);
	return (uint32_t)(((uint64_t)ring->first + ring->n++) % ring->cap);
}

/*
 * ring_pop() - free the place that was filled first. The ring must not be empty.
 * Return: the place, which may be read until the next ring_push().
 */
static inline uint32_t ring_pop(struct ring *ring)
{
	uint32_t place = ring->first;

	INVARIANT(ring->n > 0);
	ring->first = place + 1 == ring->cap ? 0 : place + 1;
	ring->n--;
	return place;
}

/* ring_last() - the place that was filled last. The ring must not be empty. */
static inline uint32_t ring_last(const struct ring *ring)
{
	INVARIANT(ring->n > 0);
	return (uint32_t)(((uint64_t)ring->first + ring->n - 1) % ring->cap);
}

#endif /* BASE_RING_H */
