/* SPDX-License-Identifier: MIT */
/*
 * Each entry of the hash table points to its handshake and, once there is a
 * session, to its keypair. Readers find entries under RCU; a removed entry is
 * freed, and its keypair put, after a grace period.
 */
#include "device/index.h"

#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "noise/keypair.h"

/*
 * @rcu:	used after the entry has left the table
 * @idx:	[I]
 * @hs:		[I]
 * @kp:		[r] NULL until index_replace()
 */
struct index_entry {
	struct rcu_head rcu;
	struct noise_handshake *hs;
	struct noise_keypair *kp;
	uint32_t idx;
};

/* The numbers are random, so each is its own hash. */
static uint64_t entry_hash(const void *entry, const void *arg)
{
	const struct index_entry *e = entry;

	(void)arg;
	return e->idx;
}

static struct index_entry *find(const struct index *index, uint32_t idx)
{
	const struct table_slots *slots = rcu_load(index->table.slots);
	struct index_entry *e;
	uint64_t pos = idx;

	if (!slots)
		return NULL;
	do {
		e = table_probe(slots, &pos);
	} while (e && e->idx != idx);
	return e;
}

void index_init(struct index *index,
		void (*random)(void *arg, void *buf, size_t len), void *arg)
{
	pthread_mutex_init(&index->lock, NULL);
	table_init(&index->table, entry_hash, NULL);
	index->n_lanes = 1;
	index->random = random;
	index->arg = arg;
}

void index_deinit(struct index *index)
{
	INVARIANT(index->table.n_entries == 0);
	table_deinit(&index->table);
	pthread_mutex_destroy(&index->lock);
}

/* Draw a number of a lane. Return: the number; 0: there is no such number near the one
 * that was drawn. */
static uint32_t draw(const struct index *index, unsigned int lane)
{
	uint32_t idx, low;

	index->random(index->arg, &idx, sizeof(idx));
	low = (idx & 255) - index_lane(idx, index->n_lanes) + lane;
	return low < 256 ? (idx & ~UINT32_C(255)) | low : 0;
}

/* The table is locked. Draws until a number is free. */
static int insert_at_random(struct index *index, struct index_entry *e,
			    unsigned int lane)
{
	unsigned int i;

	if (index->table.n_entries >= INDEX_MAX_ENTRIES)
		return -ENOSPC;
	for (i = 0; i < INDEX_MAX_TRIES; i++) {
		e->idx = draw(index, lane);
		if (e->idx && !find(index, e->idx))
			return table_insert(&index->table, e);
	}
	return -ENOSPC;
}

int index_new(struct index *index, struct noise_handshake *hs,
	      unsigned int lane, uint32_t *idx)
{
	struct index_entry *e = calloc(1, sizeof(*e));
	uint32_t drawn;
	int err;

	if (!e)
		return -ENOMEM;
	e->hs = hs;
	pthread_mutex_lock(&index->lock);
	err = insert_at_random(index, e, lane);
	drawn = e->idx;
	pthread_mutex_unlock(&index->lock);
	if (err < 0) {
		free(e);
		return err;
	}
	*idx = drawn;
	return 0;
}

/* The table is locked. */
static int insert_as(struct index *index, struct index_entry *e)
{
	if (index->table.n_entries >= INDEX_MAX_ENTRIES)
		return -ENOSPC;
	if (find(index, e->idx))
		return -EEXIST;
	return table_insert(&index->table, e);
}

int index_reserve(struct index *index, size_t n)
{
	int err;

	pthread_mutex_lock(&index->lock);
	err = table_reserve(&index->table, n);
	pthread_mutex_unlock(&index->lock);
	return err;
}

int index_insert(struct index *index, struct noise_handshake *hs,
		 struct noise_keypair *kp, unsigned int lane, uint32_t idx)
{
	struct index_entry *e;
	int err;

	if (!idx || index_lane(idx, index->n_lanes) != lane)
		return -EINVAL;
	e = calloc(1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->hs = hs;
	e->idx = idx;
	/* Before readers can find the entry. */
	if (kp)
		e->kp = noise_keypair_ref(kp);
	pthread_mutex_lock(&index->lock);
	err = insert_as(index, e);
	pthread_mutex_unlock(&index->lock);
	if (err < 0) {
		noise_keypair_put(e->kp);
		free(e);
	}
	return err;
}

int index_replace(struct index *index, uint32_t idx, struct noise_handshake *hs,
		  struct noise_keypair *kp)
{
	struct index_entry *e;
	int err = -ENOENT;

	pthread_mutex_lock(&index->lock);
	e = find(index, idx);
	if (e && e->hs == hs && !e->kp) {
		rcu_store(e->kp, noise_keypair_ref(kp));
		err = 0;
	}
	pthread_mutex_unlock(&index->lock);
	return err;
}

static void entry_release(struct rcu_head *head)
{
	struct index_entry *e = container_of(head, struct index_entry, rcu);

	noise_keypair_put(e->kp);
	free(e);
}

void index_drop(struct index *index, uint32_t idx)
{
	struct index_entry *e;

	pthread_mutex_lock(&index->lock);
	e = find(index, idx);
	if (e)
		table_remove(&index->table, e);
	pthread_mutex_unlock(&index->lock);
	if (e)
		rcu_free_later(&e->rcu, entry_release);
}

struct noise_keypair *index_lookup_keypair(const struct index *index,
					   uint32_t idx)
{
	const struct index_entry *e = find(index, idx);

	return e ? rcu_load(e->kp) : NULL;
}

struct noise_handshake *index_lookup_handshake(const struct index *index,
					       uint32_t idx)
{
	const struct index_entry *e = find(index, idx);

	return e ? e->hs : NULL;
}

struct noise_handshake *index_lookup_awaiting(const struct index *index,
					      uint32_t idx)
{
	const struct index_entry *e = find(index, idx);

	return e && !rcu_load(e->kp) ? e->hs : NULL;
}
