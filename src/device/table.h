/* SPDX-License-Identifier: MIT */
/*
 * A hash table of pointers that is read under RCU. It uses open addressing with
 * linear probing, and is never more than half full, so a look-up that finds
 * nothing ends after a few steps. The table holds only pointers. The entry has
 * its own key, and the table's owner knows how to hash and compare keys.
 *
 * A removed entry leaves a mark in its slot, because a reader may be on its way
 * past that slot. When live entries and marks would fill more than half of the
 * slots, the table is built anew without marks. The new slots are published by
 * one store, and the old ones are freed after the readers, so a reader never
 * misses an entry that stays.
 *
 * Legend: [I] immutable after table_init(), [r] read under RCU, written by the
 * writer; [w] used by the writer only. The table's owner decides which thread
 * is the writer.
 */
#ifndef DEVICE_TABLE_H
#define DEVICE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/rcu.h"

/* Computes the hash of an entry, which must not change while the entry is in the
 * table. */
typedef uint64_t (*table_hash_fn)(const void *entry, const void *arg);

struct table_slots {
	struct rcu_head rcu;
	size_t mask;
	void *slot[];
};

/**
 * struct table - a set of pointers
 * @slots:	[r] the slots; NULL: none yet
 * @hash:	[I] hash of an entry
 * @hash_arg:	[I] argument of @hash
 * @n_entries:	[w] number of entries
 * @n_used:	[w] slots that hold an entry or a mark
 */
struct table {
	struct table_slots *slots;
	table_hash_fn hash;
	const void *hash_arg;
	size_t n_entries;
	size_t n_used;
};

/* Its address is the mark in the slot of a removed entry. */
extern char table_mark[1];

/**
 * table_init() - make an empty table
 * @table:	caller's storage
 * @hash:	computes the hash of an entry
 * @hash_arg:	for @hash; borrowed
 */
void table_init(struct table *table, table_hash_fn hash, const void *hash_arg);

/**
 * table_deinit() - free the slots
 * @table:	table that no thread reads any more; its entries are not freed
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
 * @entry:	entry; the caller frees it after the readers
 *
 * The writer.
 *
 * Return: true; false if it is not in the table.
 */
bool table_remove(struct table *table, void *entry);

/**
 * table_probe() - walk over the entries that may have a hash
 * @slots:	rcu_load() of the table's slots, not NULL
 * @pos:	position of the walk, updated by each call; the hash at its start
 *
 * The walk also passes entries with other hashes, so the caller compares keys.
 * Between rcu_enter() and rcu_leave(), or the writer.
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
