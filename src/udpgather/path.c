/* SPDX-License-Identifier: MIT */
/*
 * A hash table with sets of PATH_WAYS entries. An entry counts only if its epoch is
 * that of the table, so one number makes all entries void. Readers copy an entry
 * under its sequence lock; writers also hold the mutex.
 */
#include "udpgather/path.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/bytes.h"

/* Epoch 0 marks an empty entry. */
enum {
	FIRST_EPOCH = 1
};

/*
 * Draw generations from one counter for the whole process: a source that was
 * learned with one table must not count with another.
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

struct path_table *ug_path_table_new(void)
{
	struct path_table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	/* Without a random seed the table works, but strangers can predict it. */
	if (getrandom(&t->seed, sizeof(t->seed), GRND_NONBLOCK) < 0)
		t->seed = (uintptr_t)t;
	if (pthread_mutex_init(&t->mutex, NULL)) {
		free(t);
		return NULL;
	}
	atomic_init(&t->generation, draw_generation());
	atomic_init(&t->epoch, FIRST_EPOCH);
	atomic_init(&t->refs, 1);
	return t;
}

struct path_table *ug_path_table_ref(struct path_table *t)
{
	atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	return t;
}

void ug_path_table_put(struct path_table *t)
{
	/* Release: the accesses of this socket's threads come before the count
	 * goes down. Acquire: who brings it to 0 sees the accesses of all. */
	if (!t ||
	    atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) > 1)
		return;
	pthread_mutex_destroy(&t->mutex);
	free(t);
}

void ug_path_forget_sources(struct path_table *t)
{
	/* Partner: ug_path_generation(). */
	atomic_store_explicit(&t->generation, draw_generation(),
			      memory_order_release);
}

void ug_path_forget_caps(struct path_table *t)
{
	pthread_mutex_lock(&t->mutex);
	uint32_t next =
		atomic_load_explicit(&t->epoch, memory_order_relaxed) + 1;

	/* Partner: current_epoch(). */
	atomic_store_explicit(&t->epoch, next ? next : FIRST_EPOCH,
			      memory_order_release);
	/* Partner: ug_path_knows(). */
	atomic_store_explicit(&t->n_known, 0, memory_order_release);
	pthread_mutex_unlock(&t->mutex);
}

static size_t set_of(const struct path_table *t, const uint64_t key[3])
{
	uint64_t hash = ug_endpoint_mix(t->seed, key[0]);

	hash = ug_endpoint_mix(hash, key[1]);
	return ug_endpoint_mix(hash, key[2]) % PATH_SETS;
}

/**
 * struct fact - the content of an entry, as its words hold it
 * @key:	see ug_endpoint_key()
 * @due_ms:	when a train may be tried again
 * @held_ms:	until then the endpoint gets no trains; 0: not held
 * @epoch:	0: the entry is empty
 * @cap:	the largest segment that passes, in bytes
 * @pause_ms:	from the last try to the next
 * @strikes:	refusals that may be chance
 */
struct fact {
	uint64_t key[3];
	int64_t due_ms;
	int64_t held_ms;
	uint32_t epoch;
	uint32_t cap;
	uint32_t pause_ms;
	uint32_t strikes;
};

static_assert(sizeof(struct fact) == PATH_WORDS * sizeof(uint64_t),
	      "a fact has no padding");

/*
 * Copy an entry. Return: false if a writer was at work; the endpoint then counts as
 * unknown.
 */
static bool entry_read(const struct path_entry *e, struct fact *f)
{
	uint64_t words[PATH_WORDS];
	uint32_t seq = seqlock_begin(&e->lock);

	seqlock_load(e->words, words, PATH_WORDS);
	memcpy(f, words, sizeof(*f));
	return seqlock_is_whole(&e->lock, seq);
}

/* Under the mutex. */
static void entry_write(struct path_entry *e, const struct fact *f)
{
	uint64_t words[PATH_WORDS];

	memcpy(words, f, sizeof(*f));
	seqlock_lock(&e->lock);
	seqlock_store(e->words, words, PATH_WORDS);
	seqlock_unlock(&e->lock);
}

static bool same_key(const uint64_t a[3], const uint64_t b[3])
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
}

static uint32_t current_epoch(const struct path_table *t)
{
	/* Partner: ug_path_forget_caps(). */
	return atomic_load_explicit(&t->epoch, memory_order_acquire);
}

/* The entry of an endpoint, copied to @f; NULL if there is none. */
static struct path_entry *
find_entry(struct path_table *t, const struct ug_endpoint *ep, struct fact *f)
{
	uint32_t epoch = current_epoch(t);
	uint64_t key[3];

	ug_endpoint_key(ep, key);
	struct path_entry *ways = t->sets[set_of(t, key)];

	for (int i = 0; i < PATH_WAYS; i++)
		if (entry_read(&ways[i], f) && f->epoch == epoch &&
		    same_key(f->key, key))
			return &ways[i];
	return NULL;
}

/* Under the mutex. */
static void change_known(struct path_table *t, int by)
{
	uint32_t n = atomic_load_explicit(&t->n_known, memory_order_relaxed);

	/* Partner: ug_path_knows(). */
	atomic_store_explicit(&t->n_known, n + (uint32_t)by,
			      memory_order_release);
}

/* Under the mutex. */
static void entry_clear(struct path_table *t, struct path_entry *e)
{
	entry_write(e, &(struct fact){ .epoch = 0 });
	change_known(t, -1);
}

/*
 * An entry for a new endpoint. A full set loses its oldest entry, the first: the
 * others move down by one, and the last is free. Under the mutex.
 */
static struct path_entry *make_room(struct path_table *t,
				    struct path_entry *ways)
{
	uint32_t epoch = current_epoch(t);
	struct fact f;

	for (int i = 0; i < PATH_WAYS; i++)
		if (entry_read(&ways[i], &f) && f.epoch != epoch) {
			change_known(t, 1);
			return &ways[i];
		}
	for (int i = 0; i + 1 < PATH_WAYS; i++) {
		entry_read(&ways[i + 1], &f);
		entry_write(&ways[i], &f);
	}
	return &ways[PATH_WAYS - 1];
}

/*
 * The entry of an endpoint, or a new one, copied to @f. Under the mutex.
 */
static struct path_entry *
find_or_make(struct path_table *t, const struct ug_endpoint *ep, struct fact *f)
{
	struct path_entry *e = find_entry(t, ep, f);

	if (e)
		return e;
	*f = (struct fact){ .epoch = current_epoch(t), .cap = PATH_UNLIMITED };
	ug_endpoint_key(ep, f->key);
	return make_room(t, t->sets[set_of(t, f->key)]);
}

/* An endpoint has traffic again: its next train may be tried. */
static void make_due(struct path_table *t, const struct ug_endpoint *ep,
		     int64_t now_ms)
{
	struct fact f;

	pthread_mutex_lock(&t->mutex);
	struct path_entry *e = find_entry(t, ep, &f);

	if (e && f.due_ms > now_ms) {
		f.due_ms = now_ms;
		entry_write(e, &f);
	}
	pthread_mutex_unlock(&t->mutex);
}

/*
 * Note that an endpoint has traffic. If the entry gets another key meanwhile, the
 * note is of the wrong endpoint, which only moves the time of its next try.
 *
 * Return: true if it had no traffic for PATH_IDLE_MS before.
 */
static bool note_use(struct path_entry *e, int64_t now_ms)
{
	uint32_t now = (uint32_t)now_ms;
	/* Partner: the store below, and ug_path_learn(). No order is needed. */
	uint32_t used = atomic_load_explicit(&e->used_ms, memory_order_relaxed);

	if (used != now)
		atomic_store_explicit(&e->used_ms, now, memory_order_relaxed);
	return (int32_t)(now - used) >= PATH_IDLE_MS;
}

/*
 * End the hold. If the entry says nothing else, it is cleared. Under the mutex.
 */
static void release_hold(struct path_table *t, struct path_entry *e,
			 struct fact *f)
{
	f->held_ms = 0;
	if (f->cap == PATH_UNLIMITED && !f->strikes)
		entry_clear(t, e);
	else
		entry_write(e, f);
}

/* End the hold if its time is over. Return: true if the endpoint is still held. */
static bool end_hold(struct path_table *t, const struct ug_endpoint *ep,
		     const struct fact *seen, int64_t now_ms)
{
	struct fact f;

	if (now_ms < seen->held_ms)
		return true;
	pthread_mutex_lock(&t->mutex);
	struct path_entry *e = find_entry(t, ep, &f);

	if (e && f.held_ms && now_ms >= f.held_ms)
		release_hold(t, e, &f);
	pthread_mutex_unlock(&t->mutex);
	return false;
}

uint32_t ug_path_cap(struct path_table *t, const struct ug_endpoint *ep,
		     int64_t now_ms, bool *is_due)
{
	struct path_entry *e;
	struct fact f;

	if (is_due)
		*is_due = false;
	if (!ug_path_knows(t))
		return PATH_UNLIMITED;
	e = find_entry(t, ep, &f);
	if (e && f.held_ms && now_ms && end_hold(t, ep, &f, now_ms))
		return PATH_UNSEGMENTED;
	if (!e || f.cap == PATH_UNLIMITED)
		return PATH_UNLIMITED;
	if (!now_ms || !is_due)
		return f.cap;
	*is_due = now_ms >= f.due_ms;
	if (note_use(e, now_ms) && !*is_due) {
		make_due(t, ep, now_ms);
		*is_due = true;
	}
	return f.cap;
}

bool ug_path_claim(struct path_table *t, const struct ug_endpoint *ep,
		   int64_t now_ms)
{
	struct fact f;

	pthread_mutex_lock(&t->mutex);
	struct path_entry *e = find_entry(t, ep, &f);
	bool is_mine = !e || now_ms >= f.due_ms;

	if (e && is_mine) {
		f.due_ms = now_ms + f.pause_ms;
		entry_write(e, &f);
	}
	pthread_mutex_unlock(&t->mutex);
	return is_mine;
}

/* The pause after a refusal: shortest for a new limit, else twice the last. */
static uint32_t next_pause(const struct fact *f, bool is_news)
{
	if (is_news)
		return PATH_PAUSE_MIN_MS;
	return f->pause_ms > PATH_PAUSE_MAX_MS / 2 ? PATH_PAUSE_MAX_MS
						   : f->pause_ms * 2;
}

uint32_t ug_path_learn(struct path_table *t, const struct ug_endpoint *ep,
		       uint32_t cap, int64_t now_ms, bool is_try)
{
	struct fact f;

	pthread_mutex_lock(&t->mutex);
	struct path_entry *e = find_or_make(t, ep, &f);
	uint32_t known = f.cap;

	if (cap < known || is_try) {
		f.pause_ms = next_pause(&f, cap < known);
		f.due_ms = now_ms + f.pause_ms;
		f.cap = cap < known ? cap : known;
		f.strikes = 0;
		entry_write(e, &f);
		/* Partner: note_use(). */
		atomic_store_explicit(&e->used_ms, (uint32_t)now_ms,
				      memory_order_relaxed);
	}
	pthread_mutex_unlock(&t->mutex);
	return known;
}

unsigned int ug_path_strike(struct path_table *t, const struct ug_endpoint *ep)
{
	struct fact f;

	pthread_mutex_lock(&t->mutex);
	struct path_entry *e = find_or_make(t, ep, &f);

	f.strikes++;
	entry_write(e, &f);
	pthread_mutex_unlock(&t->mutex);
	return f.strikes;
}

bool ug_path_passed(struct path_table *t, const struct ug_endpoint *ep,
		    size_t segment_len)
{
	struct fact f;
	struct path_entry *e = find_entry(t, ep, &f);
	bool was_void = false;

	/* Usually there is nothing to change, and so no need for the mutex. */
	if (!e || (!f.strikes && segment_len <= f.cap))
		return false;
	pthread_mutex_lock(&t->mutex);
	e = find_entry(t, ep, &f);
	if (e && (f.cap == PATH_UNLIMITED || segment_len > f.cap)) {
		was_void = f.cap != PATH_UNLIMITED;
		f.cap = PATH_UNLIMITED;
		f.strikes = 0;
		if (f.held_ms)
			entry_write(e, &f);
		else
			entry_clear(t, e);
	} else if (e && f.strikes) {
		f.strikes = 0;
		entry_write(e, &f);
	}
	pthread_mutex_unlock(&t->mutex);
	return was_void;
}

void ug_path_hold(struct path_table *t, const struct ug_endpoint *ep,
		  int64_t until_ms)
{
	struct path_entry *e;
	struct fact f;

	pthread_mutex_lock(&t->mutex);
	if (until_ms) {
		e = find_or_make(t, ep, &f);
		f.held_ms = until_ms;
		entry_write(e, &f);
	} else {
		e = find_entry(t, ep, &f);
		if (e && f.held_ms)
			release_hold(t, e, &f);
	}
	pthread_mutex_unlock(&t->mutex);
}
