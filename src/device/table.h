/* SPDX-License-Identifier: MIT */
/*
 * A hash table of pointers, read under RCU: open addressing, linear probing,
 * never more than half full, so a miss ends after a few steps. The table keeps
 * pointers only; what they point at carries its own key, and its owner knows
 * how to hash and to compare it.
 *
 * A removed entry leaves a mark behind, because a reader may be on its way past
 * it. Marks go when the table is built anew: that is when live entries and
 * marks would fill more than half. The new slots are published at once and the
 * old ones freed after the readers, so a reader never misses an entry that
 * stays.
 *
 * Legend: [r] read under RCU, written by the writer; [w] the writer's alone.
 * The owner says who the writer is.
 */
#ifndef DEVICE_TABLE_H
#define DEVICE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rcu.h"

/* The entry's hash, the same as long as it is in the table. */
typedef uint64_t (*table_hash_fn)(const void *entry, const void *arg);

struct table_slots {
	struct rcu_head rcu;
	size_t mask;
	void *slot[];
};

/**
 * struct table - a set of pointers
 * @slots:	[r] NULL: no entry yet
 * @hash:	[I] for building anew
 * @hash_arg:	[I] for @hash
 * @n_entries:	[w]
 * @n_used:	[w] slots that hold an entry or a mark
 */
struct table {
	struct table_slots *slots;
	table_hash_fn hash;
	const void *hash_arg;
	size_t n_entries;
	size_t n_used;
};

/* What a removed entry leaves behind. */
extern char table_mark[1];

/**
 * table_init() - an empty table
 * @table:	caller's storage
 * @hash:	tells an entry's hash
 * @hash_arg:	for @hash; borrowed
 */
void table_init(struct table *table, table_hash_fn hash, const void *hash_arg);

/**
 * table_deinit() - free the slots
 * @table:	table that nobody reads any more; its entries are the owner's
 */
void table_deinit(struct table *table);

/**
 * table_reserve() - make room, so that insertions cannot fail
 * @table:	table
 * @n:		how many insertions
 *
 * The writer.
 *
 * Return: 0; -ENOMEM, and nothing has changed.
 */
int table_reserve(struct table *table, size_t n);

/**
 * table_insert() - add an entry
 * @table:	table
 * @entry:	entry that is not in it
 *
 * The writer.
 *
 * Return: 0; -ENOMEM, and nothing has changed.
 */
int table_insert(struct table *table, void *entry);

/**
 * table_remove() - remove an entry
 * @table:	table
 * @entry:	which; the caller frees it after the readers
 *
 * The writer.
 *
 * Return: true; false if it is not in the table.
 */
bool table_remove(struct table *table, void *entry);

/**
 * table_probe() - walk the entries that may have a hash
 * @slots:	rcu_load() of the table's slots, not NULL
 * @pos:	the hash at the start; updated
 *
 * The caller compares keys: other hashes' entries come along. Between
 * rcu_enter() and rcu_leave(), or the writer.
 *
 * Return: the next entry; NULL at the end.
 */
static inline void *table_probe(const struct table_slots *slots, uint64_t *pos)
{
	void *entry;

	do {
		entry = rcu_load(slots->slot[*pos & slots->mask]);
		(*pos)++;
	} while (entry == table_mark);
	return entry;
}

#endif /* DEVICE_TABLE_H */
