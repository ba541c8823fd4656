/* SPDX-License-Identifier: MIT */
/*
 * Where a peer is. This room knows nothing of sockets, so an endpoint is 64
 * opaque bytes: whoever owns the sockets stores its own plain struct in them
 * (address, port, zone, the local address to answer from) and clears the rest.
 * Endpoints are the same if all bytes are; all zero is none.
 *
 * A cell is a peer's current endpoint. It is read for every batch that leaves
 * and may change with every batch that arrives, so it is guarded by a sequence
 * counter: a reader takes a copy and tries again if the counter moved or was
 * odd meanwhile. The words are atomic, so a torn copy is only ever discarded.
 * (Boehm, "Can seqlocks get along with programming language memory models?",
 * 2012.)
 */
#ifndef DEVICE_ENDPOINT_H
#define DEVICE_ENDPOINT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	ENDPOINT_LEN = 64,
	ENDPOINT_WORDS = ENDPOINT_LEN / 8,
};

/**
 * struct device_endpoint - an endpoint, opaque here
 * @words:	copy in and out with memcpy()
 */
struct device_endpoint {
	uint64_t words[ENDPOINT_WORDS];
};

/**
 * struct endpoint_cell - the current endpoint of a peer
 * @seq:	[a] odd while a writer is at work, which is also its lock
 * @words:	[a] relaxed; ordered by @seq
 */
struct endpoint_cell {
	_Atomic uint32_t seq;
	_Atomic uint64_t words[ENDPOINT_WORDS];
};

/**
 * endpoint_cell_init() - no endpoint
 * @cell:	caller's storage
 */
void endpoint_cell_init(struct endpoint_cell *cell);

/**
 * endpoint_cell_get() - read the endpoint
 * @cell:	cell
 * @ep:		filled with a copy, all zero if there is none
 *
 * Any thread; waits for a writer's few stores.
 *
 * Return: true if there is one.
 */
bool endpoint_cell_get(const struct endpoint_cell *cell,
		       struct device_endpoint *ep);

/**
 * endpoint_cell_set() - change the endpoint
 * @cell:	cell
 * @ep:		the new one
 *
 * Writes nothing if it is the one already there. Any thread.
 */
void endpoint_cell_set(struct endpoint_cell *cell,
		       const struct device_endpoint *ep);

#endif /* DEVICE_ENDPOINT_H */
