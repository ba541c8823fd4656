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

	/* Pairs with the release store of unlock(), and, by the fence, with the
	 * exchange of lock(). */
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

static bool is_same(const struct device_endpoint *a,
		    const struct device_endpoint *b)
{
	return !memcmp(a, b, ENDPOINT_LEN);
}

/**
 * lock() - begin to write
 * @cell:	cell
 *
 * Return: the number to give to unlock().
 */
static uint32_t lock(struct endpoint_cell *cell)
{
	uint32_t seq =
		atomic_load_explicit(&cell->seq, memory_order_relaxed) & ~1U;

	while (!atomic_compare_exchange_weak_explicit(&cell->seq, &seq, seq + 1,
						      memory_order_acquire,
						      memory_order_relaxed))
		seq &= ~1U;
	/* Pairs with the fence of endpoint_cell_get(). */
	atomic_thread_fence(memory_order_release);
	return seq;
}

static void unlock(struct endpoint_cell *cell, uint32_t seq)
{
	atomic_store_explicit(&cell->seq, seq + 2, memory_order_release);
}

/* Between lock() and unlock(). */
static void write_words(struct endpoint_cell *cell,
			const struct device_endpoint *ep)
{
	size_t i;

	for (i = 0; i < ENDPOINT_WORDS; i++)
		atomic_store_explicit(&cell->words[i], ep->words[i],
				      memory_order_relaxed);
}

static void set_words(struct endpoint_cell *cell,
		      const struct device_endpoint *ep)
{
	uint32_t seq = lock(cell);

	write_words(cell, ep);
	unlock(cell, seq);
}

void endpoint_cell_set(struct endpoint_cell *cell,
		       const struct device_endpoint *ep)
{
	struct device_endpoint old;

	endpoint_cell_get(cell, &old);
	if (memcmp(&old, ep, sizeof(old)) != 0)
		set_words(cell, ep);
}

bool endpoint_cell_learn(struct endpoint_cell *cell,
			 const struct device_endpoint *ep)
{
	struct device_endpoint old;

	endpoint_cell_get(cell, &old);
	if (is_same(&old, ep))
		return false;
	set_words(cell, ep);
	return true;
}

bool endpoint_cell_replace(struct endpoint_cell *cell,
			   const struct device_endpoint *was,
			   const struct device_endpoint *next)
{
	struct device_endpoint now;
	uint32_t seq = lock(cell);
	bool is_there;

	copy_words(cell, &now);
	is_there = is_same(&now, was);
	if (is_there)
		write_words(cell, next);
	unlock(cell, seq);
	return is_there;
}
