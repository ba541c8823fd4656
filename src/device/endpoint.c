/* SPDX-License-Identifier: MIT */
#include "device/endpoint.h"

#include <string.h>

void endpoint_cell_init(struct endpoint_cell *cell)
{
	size_t i;

	atomic_init(&cell->seq, 0);
	for (i = 0; i < ENDPOINT_WORDS; i++)
		atomic_init(&cell->words[i], 0);
}

/**
 * copy_words() - copy a cell, perhaps torn
 * @cell:	cell
 * @ep:		filled
 */
static void copy_words(const struct endpoint_cell *cell,
		       struct device_endpoint *ep)
{
	size_t i;

	for (i = 0; i < ENDPOINT_WORDS; i++)
		ep->words[i] = atomic_load_explicit(&cell->words[i],
						    memory_order_relaxed);
}

bool endpoint_cell_get(const struct endpoint_cell *cell,
		       struct device_endpoint *ep)
{
	uint64_t any = 0;
	uint32_t before;
	uint32_t after;
	size_t i;

	/* Pairs with the release store that ends endpoint_cell_set(), and, by
	 * the fence, with the exchange that starts it. */
	do {
		before = atomic_load_explicit(&cell->seq, memory_order_acquire);
		copy_words(cell, ep);
		atomic_thread_fence(memory_order_acquire);
		after = atomic_load_explicit(&cell->seq, memory_order_relaxed);
	} while (before != after || (before & 1));
	for (i = 0; i < ENDPOINT_WORDS; i++)
		any |= ep->words[i];
	return any != 0;
}

void endpoint_cell_set(struct endpoint_cell *cell,
		       const struct device_endpoint *ep)
{
	struct device_endpoint old;
	uint32_t seq;
	size_t i;

	endpoint_cell_get(cell, &old);
	if (!memcmp(&old, ep, sizeof(old)))
		return;
	seq = atomic_load_explicit(&cell->seq, memory_order_relaxed) & ~1U;
	while (!atomic_compare_exchange_weak_explicit(&cell->seq, &seq, seq + 1,
						      memory_order_acquire,
						      memory_order_relaxed))
		seq &= ~1U;
	atomic_thread_fence(memory_order_release);
	for (i = 0; i < ENDPOINT_WORDS; i++)
		atomic_store_explicit(&cell->words[i], ep->words[i],
				      memory_order_relaxed);
	atomic_store_explicit(&cell->seq, seq + 2, memory_order_release);
}
