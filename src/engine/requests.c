/* SPDX-License-Identifier: MIT */
/* Requests wait in a ring of fixed size, under a mutex. */
#include "engine/requests.h"

#include <errno.h>
#include <stdlib.h>

int requests_init(struct requests *r)
{
	pthread_mutex_init(&r->mutex, NULL);
	ring_init(&r->ring, OUTBOUND_REQUESTS);
	r->places = calloc(OUTBOUND_REQUESTS, sizeof(*r->places));
	return r->places ? 0 : -ENOMEM;
}

void requests_deinit(struct requests *r)
{
	struct request request;

	while (requests_pop(r, &request))
		peer_put(request.peer);
	free(r->places);
	pthread_mutex_destroy(&r->mutex);
}

/* Let requests_wait() see how full the ring is. Under the mutex. */
static void note_requests(struct requests *r)
{
	/* Partners: requests_wait(), requests_pop(). */
	atomic_store_explicit(&r->n, r->ring.n, memory_order_release);
}

bool requests_push(struct requests *r, struct peer *peer, bool keepalive)
{
	bool taken = false;

	if (!peer_get(peer))
		return true;
	pthread_mutex_lock(&r->mutex);
	if (!ring_is_full(&r->ring)) {
		r->places[ring_push(&r->ring)] =
			(struct request){ peer, keepalive };
		note_requests(r);
		taken = true;
	}
	pthread_mutex_unlock(&r->mutex);
	if (!taken)
		peer_put(peer);
	return taken;
}

bool requests_pop(struct requests *r, struct request *out)
{
	bool taken = false;

	/* Partner: note_requests(). Usually the ring is empty, and the mutex is
	 * not taken. */
	if (!atomic_load_explicit(&r->n, memory_order_acquire))
		return false;
	pthread_mutex_lock(&r->mutex);
	if (r->ring.n) {
		*out = r->places[ring_pop(&r->ring)];
		note_requests(r);
		taken = true;
	}
	pthread_mutex_unlock(&r->mutex);
	return taken;
}
