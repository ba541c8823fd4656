/* SPDX-License-Identifier: MIT */
/*
 * A cell is written under its sequence lock and read without it.
 * endpoint_cell_set() and endpoint_cell_learn() read before they write, so a
 * packet from the same endpoint as the one before writes nothing.
 */
#include "device/endpoint.h"

#include <string.h>

void endpoint_cell_init(struct endpoint_cell *cell)
{
	size_t i;

	seqlock_init(&cell->lock);
	for (i = 0; i < ENDPOINT_WORDS; i++)
		atomic_init(&cell->words[i], 0);
}

bool endpoint_cell_get(const struct endpoint_cell *cell,
		       struct device_endpoint *ep)
{
	uint64_t any = 0;
	uint32_t seq;
	size_t i;

	do {
		seq = seqlock_begin(&cell->lock);
		seqlock_load(cell->words, ep->words, ENDPOINT_WORDS);
	} while (!seqlock_is_whole(&cell->lock, seq));
	for (i = 0; i < ENDPOINT_WORDS; i++)
		any |= ep->words[i];
	return any != 0;
}

static bool is_same(const struct device_endpoint *a,
		    const struct device_endpoint *b)
{
	return !memcmp(a, b, ENDPOINT_LEN);
}

static void set_words(struct endpoint_cell *cell,
		      const struct device_endpoint *ep)
{
	seqlock_lock(&cell->lock);
	seqlock_store(cell->words, ep->words, ENDPOINT_WORDS);
	seqlock_unlock(&cell->lock);
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
			 const struct device_endpoint *ep,
			 struct device_endpoint *old)
{
	endpoint_cell_get(cell, old);
	if (is_same(old, ep))
		return false;
	set_words(cell, ep);
	return true;
}

bool endpoint_cell_replace(struct endpoint_cell *cell,
			   const struct device_endpoint *was,
			   const struct device_endpoint *next)
{
	struct device_endpoint now;
	bool is_there;

	seqlock_lock(&cell->lock);
	seqlock_load(cell->words, now.words, ENDPOINT_WORDS);
	is_there = is_same(&now, was);
	if (is_there)
		seqlock_store(cell->words, next->words, ENDPOINT_WORDS);
	seqlock_unlock(&cell->lock);
	return is_there;
}
