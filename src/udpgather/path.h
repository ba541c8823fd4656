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
 * Reading takes no lock: each entry has a sequence number, odd while it is
 * written, and all its fields are atomics. Nothing learned, which is the usual
 * state, costs one load. Writers, which are rare, take a mutex.
 */
#ifndef UDPGATHER_PATH_H
#define UDPGATHER_PATH_H

#include <pthread.h>
#include <stdatomic.h>

#include "udpgather/endpoint.h"

enum {
	/* Entries that share a hash value. */
	PATH_WAYS = 4,
	/* Hash values: the table has 160 KiB, of which use touches pages. */
	PATH_SETS = 1024
};

/* No limit below that of the protocol; no trains at all. */
#define PATH_UNLIMITED	 UINT32_MAX
#define PATH_UNSEGMENTED 0u

struct path_entry {
	_Atomic uint32_t seq;	 /* [a] odd while being written */
	_Atomic uint32_t epoch;	 /* [a] 0: empty */
	_Atomic uint64_t key[3]; /* [a] */
	_Atomic uint32_t cap;	 /* [a] the largest segment, in bytes */
};

struct path_table {
	_Atomic uint32_t generation; /* [a] of sources */
	_Atomic uint32_t epoch;	     /* [a] of entries; from 1 */
	_Atomic uint32_t learned_in; /* [a] the last epoch with an entry */
	uint64_t seed;		     /* [I] */
	pthread_mutex_t mutex;	     /* held by writers */
	struct path_entry sets[PATH_SETS][PATH_WAYS]; /* [a], [m] to write */
};

/**
 * path_table_new() - an empty table
 *
 * Return: the table, or NULL if there is no memory.
 */
struct path_table *path_table_new(void);

void path_table_free(struct path_table *t);

/* path_generation() - the generation that sources learned now belong to */
static inline uint32_t path_generation(const struct path_table *t)
{
	/* Partner: path_forget_sources(). */
	return atomic_load_explicit(&t->generation, memory_order_acquire);
}

/* path_forget_sources() - raise the generation: learned sources are void */
void path_forget_sources(struct path_table *t);

/* path_forget_caps() - raise the epoch: all entries are void */
void path_forget_caps(struct path_table *t);

/**
 * path_cap() - the largest segment that trains to an endpoint may have
 * @t:		the table
 * @ep:		the endpoint
 *
 * Return: bytes, PATH_UNSEGMENTED or PATH_UNLIMITED.
 */
uint32_t path_cap(const struct path_table *t, const struct ug_endpoint *ep);

/**
 * path_learn() - keep that larger segments fail
 * @t:		the table
 * @ep:		the endpoint
 * @cap:	the new limit; an entry's limit only gets smaller
 *
 * Return: the limit that was known before.
 */
uint32_t path_learn(struct path_table *t, const struct ug_endpoint *ep,
		    uint32_t cap);

#endif /* UDPGATHER_PATH_H */
