/* SPDX-License-Identifier: MIT */
/*
 * The table of paths: what a socket has learned of the paths to its endpoints. For
 * each path the table says how large the segments of a train may be, or that
 * there must be no trains.
 *
 * The table belongs to the socket, and not to struct ug_endpoint. So an endpoint
 * stays a plain value that callers copy, and all threads and all copies share what
 * was learned. The sockets of a group have one table. The key is address and zone,
 * because the port does not decide the route.
 *
 * The table has a fixed size. An entry that is pushed out costs one refused
 * system call when its endpoint is next sent a train, nothing else.
 *
 * No entry holds for ever. Each entry has a pause. When the pause is over,
 * the entry is *due*: one train that it forbids may be tried. The first sender
 * that finds the entry due claims the try; all others send as before. A train
 * that passes removes the entry. A train that is refused doubles the pause,
 * from PATH_PAUSE_MIN_MS up to PATH_PAUSE_MAX_MS. The claim itself begins a new
 * pause, so if the train's fate stays unknown, the next try comes one pause
 * later. The entry of an endpoint that had no traffic for PATH_IDLE_MS and has
 * some again is due at once.
 *
 * A refusal may be chance, such as that of a firewall rule that limits a rate. Such a
 * refusal leaves a *strike*, which forbids nothing. After PATH_STRIKES strikes,
 * with no train to that address that passed in between, trains are forbidden.
 *
 * The caller of the library may know more than the kernel tells, for instance
 * that trains are lost on their way. So it can *hold* an endpoint: until a given
 * time the endpoint gets no trains and no try, whatever passes or fails meanwhile.
 *
 * The caller passes the time, in milliseconds. A reader waits for no lock: each
 * entry has a sequence lock. Usually the table is empty, and then reading costs
 * one load. Learning and claiming a try take a mutex; both are rare.
 *
 * Legend: [I] immutable, [a] atomic, [m] under the mutex.
 */
#ifndef UDPGATHER_PATH_H
#define UDPGATHER_PATH_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/seqlock.h"
#include "udpgather/endpoint.h"

enum {
	/* Entries in each set. */
	PATH_WAYS = 4,
	/* Sets; the hash of an endpoint's key chooses the set. The table has
	 * 256 KiB, of which only pages that were written to are memory. */
	PATH_SETS = 1024,
	/* The pause before a train is tried again: the first, and the longest. */
	PATH_PAUSE_MIN_MS = 1000,
	PATH_PAUSE_MAX_MS = 600000,
	/* After this time without traffic, an endpoint's next train is tried at
	 * once. */
	PATH_IDLE_MS = 10000,
	/* This many refusals in a row do not count as chance any more. */
	PATH_STRIKES = 3
};

/* Limits: trains of any segment size; no trains. */
#define PATH_UNLIMITED	 UINT32_MAX
#define PATH_UNSEGMENTED 0u

enum {
	PATH_WORDS = 7, /* the length of struct fact (path.c) in 64-bit words */
};

struct path_entry {
	struct seqlock lock;		    /* protects the words */
	_Atomic uint32_t used_ms;	    /* [a] last traffic; not locked */
	_Atomic uint64_t words[PATH_WORDS]; /* [a] a struct fact */
};

struct path_table {
	_Atomic uint32_t generation; /* [a] of sources that are learned now */
	_Atomic uint32_t epoch;	     /* [a] entries of another one are void */
	_Atomic uint32_t n_known;    /* [a], [m] to write: entries not void */
	uint64_t seed;		     /* [I] */
	_Atomic uint32_t refs;	     /* [a] sockets that have the table */
	pthread_mutex_t mutex;	     /* held by writers */
	struct path_entry sets[PATH_SETS][PATH_WAYS]; /* [a], [m] to write */
};

/**
 * ug_path_table_new() - an empty table
 *
 * Return: the table with one reference, or NULL if there is no memory.
 */
struct path_table *ug_path_table_new(void);

/* ug_path_table_ref() - take a reference, for another socket of a group. Any thread.
 * Return: @t. */
struct path_table *ug_path_table_ref(struct path_table *t);

/* ug_path_table_put() - give a reference back; the last one frees the table. NULL is
 * ok. Any thread. */
void ug_path_table_put(struct path_table *t);

/* ug_path_generation() - the generation of sources that are learned now. Any
 * thread. */
static inline uint32_t ug_path_generation(const struct path_table *t)
{
	/* Partner: ug_path_forget_sources(). */
	return atomic_load_explicit(&t->generation, memory_order_acquire);
}

/* ug_path_forget_sources() - draw a new generation: learned sources become void.
 * Any thread. */
void ug_path_forget_sources(struct path_table *t);

/* ug_path_forget_caps() - raise the epoch: all entries become void. Any thread. */
void ug_path_forget_caps(struct path_table *t);

/* ug_path_knows() - has the table an entry? One load. Any thread. */
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
 * @now_ms:	the time; 0 if the caller did not read the clock, because the
 *		table had no entry
 * @is_due:	set to true if a larger train may be tried, by the thread for
 *		which ug_path_claim() returns true; or NULL
 *
 * Any thread.
 *
 * Return: bytes, PATH_UNSEGMENTED or PATH_UNLIMITED.
 */
uint32_t ug_path_cap(struct path_table *t, const struct ug_endpoint *ep,
		     int64_t now_ms, bool *is_due);

/**
 * ug_path_claim() - claim the try: the right to send one train that is too large
 * @t:		the table
 * @ep:		the endpoint
 * @now_ms:	the time
 *
 * The next try is due when another pause is over. Any thread.
 *
 * Return: true for the first caller after the entry became due; false for all
 * others.
 */
bool ug_path_claim(struct path_table *t, const struct ug_endpoint *ep,
		   int64_t now_ms);

/**
 * ug_path_learn() - note that larger segments fail
 * @t:		the table
 * @ep:		the endpoint
 * @cap:	the new limit; an entry's limit only gets smaller
 * @now_ms:	the time
 * @is_try:	the train that failed was a try: the pause doubles
 *
 * A smaller limit than before begins with the shortest pause.
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
 * Forgets the strikes, and the limit if the train was above it. Call it only if
 * ug_path_knows(). Any thread.
 *
 * Return: true if a limit was forgotten.
 */
bool ug_path_passed(struct path_table *t, const struct ug_endpoint *ep,
		    size_t segment_len);

/**
 * ug_path_hold() - hold an endpoint: no trains until a given time
 * @t:		the table
 * @ep:		the endpoint
 * @until_ms:	the time; 0 ends the hold now
 *
 * Any thread.
 */
void ug_path_hold(struct path_table *t, const struct ug_endpoint *ep,
		  int64_t until_ms);

#endif /* UDPGATHER_PATH_H */
