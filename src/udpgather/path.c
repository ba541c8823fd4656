/* SPDX-License-Identifier: MIT */
#include "udpgather/path.h"

#include <stdlib.h>
#include <sys/random.h>

#include "base/bytes.h"

/* 0 is the epoch of an empty entry. */
enum {
	FIRST_EPOCH = 1
};

/*
 * Generations are drawn from one counter for the whole process, so that a
 * source that was learned on one socket does not count on another.
 */
static uint32_t draw_generation(void)
{
	/* 0 and 1 have meanings of their own in struct ug_source. */
	static _Atomic uint32_t drawn = UG_SOURCE_PINNED;
	uint32_t n;

	do
		n = atomic_fetch_add_explicit(&drawn, 1, memory_order_relaxed) +
		    1;
	while (n <= UG_SOURCE_PINNED);
	return n;
}

struct path_table *path_table_new(void)
{
	struct path_table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	/* Without a seed the table still works, only predictably. */
	if (getrandom(&t->seed, sizeof(t->seed), GRND_NONBLOCK) < 0)
		t->seed = (uintptr_t)t;
	if (pthread_mutex_init(&t->mutex, NULL)) {
		free(t);
		return NULL;
	}
	atomic_init(&t->generation, draw_generation());
	atomic_init(&t->epoch, FIRST_EPOCH);
	return t;
}

void path_table_free(struct path_table *t)
{
	if (!t)
		return;
	pthread_mutex_destroy(&t->mutex);
	free(t);
}

void path_forget_sources(struct path_table *t)
{
	/* Partner: path_generation(). */
	atomic_store_explicit(&t->generation, draw_generation(),
			      memory_order_release);
}

void path_forget_caps(struct path_table *t)
{
	pthread_mutex_lock(&t->mutex);
	uint32_t next =
		atomic_load_explicit(&t->epoch, memory_order_relaxed) + 1;

	/* Partner: current_epoch(). */
	atomic_store_explicit(&t->epoch, next ? next : FIRST_EPOCH,
			      memory_order_release);
	pthread_mutex_unlock(&t->mutex);
}

static size_t set_of(const struct path_table *t, const uint64_t key[3])
{
	uint64_t hash = endpoint_mix(t->seed, key[0]);

	hash = endpoint_mix(hash, key[1]);
	return endpoint_mix(hash, key[2]) % PATH_SETS;
}

/*
 * Read one entry as a whole. A torn read cannot be mistaken for another
 * endpoint's entry: it is read as "nothing known".
 */
static bool entry_read(const struct path_entry *e, uint64_t key[3],
		       uint32_t *epoch, uint32_t *cap)
{
	/* Partner of both: the stores of seq in entry_write(). */
	uint32_t seq = atomic_load_explicit(&e->seq, memory_order_acquire);

	/* Acquire: whoever sees a new field sees the odd number, too. */
	for (int i = 0; i < 3; i++)
		key[i] = atomic_load_explicit(&e->key[i], memory_order_acquire);
	*epoch = atomic_load_explicit(&e->epoch, memory_order_acquire);
	*cap = atomic_load_explicit(&e->cap, memory_order_acquire);
	return !(seq & 1) &&
	       seq == atomic_load_explicit(&e->seq, memory_order_relaxed);
}

/* Under the mutex. */
static void entry_write(struct path_entry *e, const uint64_t key[3],
			uint32_t epoch, uint32_t cap)
{
	uint32_t seq = atomic_load_explicit(&e->seq, memory_order_relaxed);

	atomic_store_explicit(&e->seq, seq + 1, memory_order_relaxed);
	/*
	 * Release stores: none of them is seen without the odd number above.
	 * Partner: entry_read().
	 */
	for (int i = 0; i < 3; i++)
		atomic_store_explicit(&e->key[i], key[i], memory_order_release);
	atomic_store_explicit(&e->epoch, epoch, memory_order_release);
	atomic_store_explicit(&e->cap, cap, memory_order_release);
	atomic_store_explicit(&e->seq, seq + 2, memory_order_release);
}

static bool same_key(const uint64_t a[3], const uint64_t b[3])
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
}

static uint32_t current_epoch(const struct path_table *t)
{
	/* Partner: path_forget_caps(). */
	return atomic_load_explicit(&t->epoch, memory_order_acquire);
}

uint32_t path_cap(const struct path_table *t, const struct ug_endpoint *ep)
{
	uint32_t now = current_epoch(t);

	/* Partner: path_learn(). Seen late, it costs one refused call. */
	if (atomic_load_explicit(&t->learned_in, memory_order_acquire) != now)
		return PATH_UNLIMITED;

	uint64_t key[3], entry_key[3];
	uint32_t epoch, cap;

	endpoint_key(ep, key);
	const struct path_entry *ways = t->sets[set_of(t, key)];

	for (int i = 0; i < PATH_WAYS; i++)
		if (entry_read(&ways[i], entry_key, &epoch, &cap) &&
		    epoch == now && same_key(entry_key, key))
			return cap;
	return PATH_UNLIMITED;
}

/*
 * Under the mutex: the entry to write to for this key. The first way is
 * written last of all, so a set that is full gives up its oldest entry.
 */
static struct path_entry *choose(struct path_entry *ways, const uint64_t key[3],
				 uint32_t now, uint32_t *cap)
{
	struct path_entry *free_entry = NULL;

	for (int i = 0; i < PATH_WAYS; i++) {
		uint64_t entry_key[3];
		uint32_t epoch;

		entry_read(&ways[i], entry_key, &epoch, cap);
		if (epoch == now && same_key(entry_key, key))
			return &ways[i];
		if (epoch != now && !free_entry)
			free_entry = &ways[i];
	}
	*cap = PATH_UNLIMITED;
	if (free_entry)
		return free_entry;
	for (int i = 0; i + 1 < PATH_WAYS; i++) {
		uint64_t entry_key[3];
		uint32_t epoch, entry_cap;

		entry_read(&ways[i + 1], entry_key, &epoch, &entry_cap);
		entry_write(&ways[i], entry_key, epoch, entry_cap);
	}
	return &ways[PATH_WAYS - 1];
}

uint32_t path_learn(struct path_table *t, const struct ug_endpoint *ep,
		    uint32_t cap)
{
	uint64_t key[3];
	uint32_t known;

	endpoint_key(ep, key);
	pthread_mutex_lock(&t->mutex);
	uint32_t now = current_epoch(t);
	struct path_entry *e =
		choose(t->sets[set_of(t, key)], key, now, &known);

	if (cap < known)
		entry_write(e, key, now, cap);
	/* Partner: path_cap(). */
	atomic_store_explicit(&t->learned_in, now, memory_order_release);
	pthread_mutex_unlock(&t->mutex);
	return known;
}
