/* SPDX-License-Identifier: MIT */
/*
 * What a socket has learned of the paths to its endpoints: how large the
 * segments of a train may be, or that there must be no trains.
 *
 * The knowledge belongs to the socket, not to struct ug_endpoint, so that an
 * endpoint stays a plain value that callers copy, and so that all threads and
 * all copies share it. It is keyed by address and zone: the port has no part
 * in the route.
 *
 * The table has a fixed size. An entry that is pushed out costs one refused
 * system call when its endpoint is next sent a train, nothing else.
 *
 * Nothing is known for ever. Each entry has a pause. When the pause is over,
 * the entry is *due*: one train that it forbids may be tried. The first sender
 * that finds the entry due claims the try; all others send as before. A train
 * that passes removes the entry. A train that is refused doubles the pause,
 * from PATH_PAUSE_MIN_MS up to PATH_PAUSE_MAX_MS. The claim itself begins a new
 * pause, so if the train's fate stays unknown, the next try comes one pause
 * later. The entry of an endpoint that had no traffic for PATH_IDLE_MS and has
 * some again is due at once.
 *
 * Some refusals may be chance (a firewall rule that limits a rate). Such a
 * refusal leaves a *strike*, which forbids nothing. After PATH_STRIKES strikes,
 * with no train to that address that passed in between, trains are forbidden.
 *
 * The caller of the library may know more than the kernel tells, for instance
 * that trains are lost on their way. So an endpoint can be held: until a given
 * time there are no trains, no try either, and nothing that passes or fails
 * changes that.
 *
 * Time is a number of milliseconds that the caller brings. Reading takes no
 * lock that anybody waits for: each entry has a sequence lock. Usually the table
 * is empty, and then reading costs one load. Learning and claiming a try take a
 * mutex; both are rare.
 */
#ifndef UDPGATHER_PATH_H
#define UDPGATHER_PATH_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/seqlock.h"
#include "udpgather/endpoint.h"

enum {
	/* Entries that share a hash value. */
	PATH_WAYS = 4,
	/* Sets, by hash. The table has 256 KiB; pages in use are memory. */
	PATH_SETS = 1024,
	/* The pause before a train is tried again: the first, and the longest. */
	PATH_PAUSE_MIN_MS = 1000,
	PATH_PAUSE_MAX_MS = 600000,
	/* After so long without traffic, an endpoint's next train is tried at
	 * once. */
	PATH_IDLE_MS = 10000,
	/* So many refusals in a row are not taken for chance any more. */
	PATH_STRIKES = 3
};

/* No limit below that of the protocol; no trains at all. */
#define PATH_UNLIMITED	 UINT32_MAX
#define PATH_UNSEGMENTED 0u

enum {
	PATH_WORDS = 7, /* of struct fact, in path.c */
};

struct path_entry {
	struct seqlock lock;		    /* of the words */
	_Atomic uint32_t used_ms;	    /* [a] last looked up; not locked */
	_Atomic uint64_t words[PATH_WORDS]; /* [a] a struct fact */
};

struct path_table {
	_Atomic uint32_t generation; /* [a] of sources */
	_Atomic uint32_t epoch;	     /* [a] of entries; from 1 */
	_Atomic uint32_t n_known;    /* [a], [m] to write: entries of epoch */
	uint64_t seed;		     /* [I] */
	pthread_mutex_t mutex;	     /* held by writers */
	struct path_entry sets[PATH_SETS][PATH_WAYS]; /* [a], [m] to write */
};

/**
 * ug_path_table_new() - an empty table
 *
 * Return: the table, or NULL if there is no memory.
 */
struct path_table *ug_path_table_new(void);

void ug_path_table_free(struct path_table *t);

/* ug_path_generation() - the generation that sources learned now belong to */
static inline uint32_t ug_path_generation(const struct path_table *t)
{
	/* Partner: ug_path_forget_sources(). */
	return atomic_load_explicit(&t->generation, memory_order_acquire);
}

/* ug_path_forget_sources() - raise the generation: learned sources are void */
void ug_path_forget_sources(struct path_table *t);

/* ug_path_forget_caps() - raise the epoch: all entries are void */
void ug_path_forget_caps(struct path_table *t);

/* ug_path_knows() - is anything known of any endpoint? One load. Any thread. */
static inline bool ug_path_knows(const struct path_table *t)
{
	/* Partners: ug_path_learn() and others. A value that is seen late costs
	 * one refused call. */
	return atomic_load_explicit(&t->n_known, memory_order_acquire) != 0;
}

/**
 * ug_path_cap() - the largest segment that trains to an endpoint may have
 * @t:		the table
 * @ep:		the endpoint
 * @now_ms:	the time; 0 if the caller did not ask for it, because nothing
 *		was known
 * @is_due:	set to: true if a larger train may be tried, for which
 *		ug_path_claim() must return true; or NULL
 *
 * Any thread.
 *
 * Return: bytes, PATH_UNSEGMENTED or PATH_UNLIMITED.
 */
uint32_t ug_path_cap(struct path_table *t, const struct ug_endpoint *ep,
		     int64_t now_ms, bool *is_due);

/**
 * ug_path_claim() - take the right to try one train that is too large
 * @t:		the table
 * @ep:		the endpoint
 * @now_ms:	the time
 *
 * The next one may be tried when the pause is over again. Any thread.
 *
 * Return: true for the first who asks in a pause; false for all others.
 */
bool ug_path_claim(struct path_table *t, const struct ug_endpoint *ep,
		   int64_t now_ms);

/**
 * ug_path_learn() - keep that larger segments fail
 * @t:		the table
 * @ep:		the endpoint
 * @cap:	the new limit; an entry's limit only gets smaller
 * @now_ms:	the time
 * @is_try:	the train that failed was one that ug_path_claim() allowed: the
 *		pause doubles
 *
 * A limit that gets smaller is news, and begins with the shortest pause.
 * Any thread.
 *
 * Return: the limit that was known before.
 */
uint32_t ug_path_learn(struct path_table *t, const struct ug_endpoint *ep,
		       uint32_t cap, int64_t now_ms, bool is_try);

/**
 * ug_path_strike() - note that a train was refused, perhaps by chance
 * @t:		the table
 * @ep:		the endpoint
 *
 * Any thread.
 *
 * Return: strikes in a row, with this one.
 */
unsigned int ug_path_strike(struct path_table *t, const struct ug_endpoint *ep);

/**
 * ug_path_passed() - note that a train passed
 * @t:		the table
 * @ep:		the endpoint
 * @segment_len: the size of its segments, in bytes
 *
 * Strikes are forgotten, and so is a limit that the train was above. To be
 * called only if ug_path_knows(). Any thread.
 *
 * Return: true if a limit was forgotten.
 */
bool ug_path_passed(struct path_table *t, const struct ug_endpoint *ep,
		    size_t segment_len);

/**
 * ug_path_hold() - no trains to an endpoint until a given time
 * @t:		the table
 * @ep:		the endpoint
 * @until_ms:	the time; 0 ends it now
 *
 * Any thread.
 */
void ug_path_hold(struct path_table *t, const struct ug_endpoint *ep,
		  int64_t until_ms);

#endif /* UDPGATHER_PATH_H */
