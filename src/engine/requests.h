/* SPDX-License-Identifier: MIT */
/*
 * Requests: peers to which staged packets or a keepalive are to be sent. They
 * wait in a ring until the outbound lane serves them.
 */
#ifndef ENGINE_REQUESTS_H
#define ENGINE_REQUESTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/ring.h"
#include "device/peer.h"
#include "engine/bounds.h"

/* A peer to which staged packets or a keepalive are to be sent. */
struct request {
	struct peer *peer;
	bool keepalive; /* send one if no packet is staged */
};

/**
 * struct requests - a ring of requests
 * @mutex:	of @places and @ring, and for writing @n; a leaf
 * @places:	OUTBOUND_REQUESTS places; each request has a reference to its
 *		peer
 * @ring:	which places are in use
 * @n:		[a] how many places are in use, for readers without the mutex
 */
struct requests {
	pthread_mutex_t mutex;
	struct request *places;
	struct ring ring;
	_Atomic uint32_t n;
};

/* requests_init() - an empty ring; @r: caller's storage, all zero. Return: 0;
 * -ENOMEM: call requests_deinit(). */
int requests_init(struct requests *r);

/* requests_deinit() - drop all requests, and free the ring; no thread uses it.
 * The calling thread is registered with RCU, because peers may be freed. */
void requests_deinit(struct requests *r);

/**
 * requests_push() - add a request
 * @r:		requests
 * @peer:	borrowed
 * @keepalive:	send a keepalive if no packet is staged
 *
 * Any thread.
 *
 * Return: true; false: the ring is full, and the request is lost.
 */
bool requests_push(struct requests *r, struct peer *peer, bool keepalive);

/**
 * requests_pop() - take the oldest request
 * @r:		requests
 * @out:	set on success; the caller gets the reference to the peer
 *
 * Any thread.
 *
 * Return: true; false: there is none.
 */
bool requests_pop(struct requests *r, struct request *out);

/* requests_wait() - does a request wait? Any thread. */
static inline bool requests_wait(const struct requests *r)
{
	/* Partner: requests_push(). */
	return atomic_load_explicit(&r->n, memory_order_acquire);
}

#endif /* ENGINE_REQUESTS_H */
