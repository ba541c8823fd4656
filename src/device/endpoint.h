/* SPDX-License-Identifier: MIT */
/*
 * A peer's endpoint. This room knows nothing of sockets, so an endpoint is 56
 * opaque bytes. The owner of the sockets stores a plain struct of its own in
 * them (address, port, zone, and the local address to answer from) and clears
 * the rest. Two endpoints are the same if their bytes are the same. All bytes
 * zero means that there is no endpoint.
 *
 * Behind these bytes is one more word, the mark, which the owner of the sockets
 * uses as it likes. The endpoint of an arrived packet has the mark 0.
 *
 * A cell holds the current endpoint of a peer. Threads read it for each batch
 * that leaves, and may change it for each batch that arrives. Therefore a
 * sequence lock guards it: a reader takes a copy, and takes another copy if a
 * writer was at work meanwhile.
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
	/* Number of the word that holds the mark. */
	ENDPOINT_MARK = ENDPOINT_WORDS - 1,
};

/**
 * struct device_endpoint - an endpoint and its mark
 * @words:	the endpoint, which the owner copies in and out with memcpy();
 *		then the mark, at ENDPOINT_MARK
 */
struct device_endpoint {
	uint64_t words[ENDPOINT_WORDS];
};

/**
 * struct endpoint_cell - the current endpoint of a peer
 * @lock:	sequence lock of @words
 * @words:	[a] a struct device_endpoint
 */
struct endpoint_cell {
	struct seqlock lock;
	_Atomic uint64_t words[ENDPOINT_WORDS];
};

/**
 * endpoint_cell_init() - make a cell without an endpoint
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
 * Return: true if there is an endpoint.
 */
bool endpoint_cell_get(const struct endpoint_cell *cell,
		       struct device_endpoint *ep);

/**
 * endpoint_cell_set() - change the endpoint
 * @cell:	cell
 * @ep:		the new one, with its mark
 *
 * Writes nothing if the cell already has this endpoint and mark. Any thread.
 */
void endpoint_cell_set(struct endpoint_cell *cell,
		       const struct device_endpoint *ep);

/**
 * endpoint_cell_learn() - take the endpoint that a packet came from
 * @cell:	cell
 * @ep:		the endpoint, with the mark 0
 * @old:	filled with what the cell had before, all zero for no endpoint
 *
 * If the cell has the same endpoint, its mark stays. Any thread.
 *
 * Return: true if the cell had another endpoint.
 */
bool endpoint_cell_learn(struct endpoint_cell *cell,
			 const struct device_endpoint *ep,
			 struct device_endpoint *old);

/**
 * endpoint_cell_replace() - change the endpoint, unless another thread has
 *			     changed it meanwhile
 * @cell:	cell
 * @was:	endpoint that endpoint_cell_get() returned; its mark is not
 *		compared
 * @next:	endpoint to put in its place, with its mark
 *
 * For each change that is derived from the result of endpoint_cell_get(). If a
 * packet has brought another endpoint since then, the newer endpoint stays. Any
 * thread.
 *
 * Return: true if the cell has @next now; false, and nothing has changed, if
 * the cell had another endpoint than @was.
 */
bool endpoint_cell_replace(struct endpoint_cell *cell,
			   const struct device_endpoint *was,
			   const struct device_endpoint *next);

#endif /* DEVICE_ENDPOINT_H */
