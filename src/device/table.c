/* SPDX-License-Identifier: MIT */
/*
 * The writer's side of the table: it fills slots that were never used, replaces
 * a removed entry by a mark, and copies the live entries to new slots when
 * entries and marks fill half of them.
 */
#include "device/table.h"

#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"

enum {
	/* Slots that a table begins with. A choice; it doubles when filled. */
	MIN_SLOTS = 16
};

char table_mark[1];

void table_init(struct table *table, table_hash_fn hash, const void *hash_arg)
{
	memset(table, 0, sizeof(*table));
	table->hash = hash;
	table->hash_arg = hash_arg;
}

void table_deinit(struct table *table)
{
	free(table->slots);
	table->slots = NULL;
}

static void slots_release(struct rcu_head *head)
{
	free(container_of(head, struct table_slots, rcu));
}

/* Takes the first slot from @hash on that was never used. */
static void slots_put(struct table_slots *slots, uint64_t hash, void *entry)
{
	while (slots->slot[hash & slots->mask])
		hash++;
	rcu_store(slots->slot[hash & slots->mask], entry);
}

/* Copies the entries to new slots, without marks, with room for @n_entries. */
static int rebuild(struct table *table, size_t n_entries)
{
	struct table_slots *old = table->slots;
	struct table_slots *slots;
	size_t n_slots = MIN_SLOTS;
	size_t i;

	while (n_slots / 2 < n_entries)
		n_slots *= 2;
	slots = calloc(1, sizeof(*slots) + n_slots * sizeof(slots->slot[0]));
	if (!slots)
		return -ENOMEM;
	slots->mask = n_slots - 1;
	for (i = 0; old && i <= old->mask; i++) {
		void *entry = old->slot[i];

		if (entry && entry != table_mark)
			slots_put(slots, table->hash(entry, table->hash_arg),
				  entry);
	}
	rcu_store(table->slots, slots);
	table->n_used = table->n_entries;
	if (old)
		rcu_free_later(&old->rcu, slots_release);
	return 0;
}

int table_reserve(struct table *table, size_t n)
{
	size_t n_slots = table->slots ? table->slots->mask + 1 : 0;

	if (table->n_used + n <= n_slots / 2)
		return 0;
	/* Twice the room that is needed: else the marks of removed entries
	 * would soon force another rebuild. */
	return rebuild(table, (table->n_entries + n) * 2);
}

int table_insert(struct table *table, void *entry)
{
	int err = table_reserve(table, 1);

	if (err < 0)
		return err;
	slots_put(table->slots, table->hash(entry, table->hash_arg), entry);
	table->n_entries++;
	table->n_used++;
	return 0;
}

bool table_remove(struct table *table, void *entry)
{
	uint64_t pos = table->hash(entry, table->hash_arg);
	struct table_slots *slots = table->slots;
	void *found;

	if (!slots)
		return false;
	do {
		found = table_probe(slots, &pos);
	} while (found && found != entry);
	if (!found)
		return false;
	rcu_store(slots->slot[(pos - 1) & slots->mask], (void *)table_mark);
	table->n_entries--;
	return true;
}
