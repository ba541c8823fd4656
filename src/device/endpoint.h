/* SPDX-License-Identifier: MIT */
/*
 * Where a peer is. This room knows nothing of sockets, so an endpoint is 56
 * opaque bytes: the owner of the sockets stores its own plain struct in them
 * (address, port, zone, the local address to answer from) and clears the rest.
 * Two endpoints are the same if their bytes are; all zero means no endpoint.
 * Behind the bytes is a word, the mark, which the owner of the sockets uses as
 * it likes. An endpoint that a packet brings has the mark 0.
 *
 * A cell is a peer's current endpoint. It is read for every batch that leaves
 * and may change with every batch that arrives, so it is guarded by a sequence
 * lock: a reader takes a copy, and takes another if a writer was at work
 * meanwhile.
 */
#ifndef DEVICE_ENDPOINT_H
#define DEVICE_ENDPOINT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/seqlock.h"

enum {
	ENDPOINT_LEN = 56,
	ENDPOINT_WORDS = ENDPOINT_LEN / 8 + 1,
	/* The word that is no part of the endpoint. */
	ENDPOINT_MARK = ENDPOINT_WORDS - 1,
};

/**
 * struct device_endpoint - an endpoint, opaque here, and its mark
 * @words:	the endpoint, to be copied in and out with memcpy(); then
 *		ENDPOINT_MARK
 */
struct device_endpoint {
	uint64_t words[ENDPOINT_WORDS];
};

/**
 * struct endpoint_cell - the current endpoint of a peer
 * @lock:	of the words
 * @words:	[a] a struct device_endpoint
 */
struct endpoint_cell {
	struct seqlock lock;
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
 * @ep:		the new one, with its mark
 *
 * Writes nothing if both are already there. Any thread.
 */
void endpoint_cell_set(struct endpoint_cell *cell,
		       const struct device_endpoint *ep);

/**
 * endpoint_cell_learn() - take the endpoint that a packet came from
 * @cell:	cell
 * @ep:		the endpoint, with the mark 0
 *
 * If the cell has the same endpoint, its mark stays. Any thread.
 *
 * Return: true if the cell had another endpoint.
 */
bool endpoint_cell_learn(struct endpoint_cell *cell,
			 const struct device_endpoint *ep);

/**
 * endpoint_cell_replace() - change the endpoint unless it has moved meanwhile
 * @cell:	cell
 * @was:	the endpoint that the change was made for; its mark does not
 *		count
 * @next:	what takes its place, with its mark
 *
 * For every change that is derived from the result of endpoint_cell_get(): if a
 * packet has brought another endpoint in between, that one stays. Any thread.
 *
 * Return: true if the cell has @next now; false if it has another endpoint than
 * @was, and was left alone.
 */
bool endpoint_cell_replace(struct endpoint_cell *cell,
			   const struct device_endpoint *was,
			   const struct device_endpoint *next);

#endif /* DEVICE_ENDPOINT_H */
