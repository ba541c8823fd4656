/* SPDX-License-Identifier: MIT */
/* One mutex protects the ring. It is held while one event is copied. */
#include "engine/feed.h"

#include <errno.h>
#include <stdlib.h>

#include "base/now.h"

void feed_init(struct feed *feed, void (*wake)(void *arg), void *arg)
{
	*feed = (struct feed){ .wake = wake, .arg = arg };
	pthread_mutex_init(&feed->mutex, NULL);
}

void feed_deinit(struct feed *feed)
{
	free(feed->ring);
	pthread_mutex_destroy(&feed->mutex);
}

void feed_put(struct feed *feed, const struct feed_event *event)
{
	bool is_first = false;

	if (!feed_is_read(feed))
		return;
	pthread_mutex_lock(&feed->mutex);
	if (feed->ring) {
		struct feed_event *place =
			&feed->ring[feed->n_put++ % FEED_LEN];

		*place = *event;
		place->realtime = now_realtime();
		is_first = !feed->is_told;
		feed->is_told = true;
	}
	pthread_mutex_unlock(&feed->mutex);
	if (is_first)
		feed->wake(feed->arg);
}

int feed_open(struct feed *feed, uint64_t *at)
{
	struct feed_event *ring = NULL;

	/* Only this thread makes and frees the ring. */
	if (!feed->ring) {
		ring = calloc(FEED_LEN, sizeof(*ring));
		if (!ring)
			return -ENOMEM;
	}
	pthread_mutex_lock(&feed->mutex);
	if (ring)
		feed->ring = ring;
	feed->n_readers++;
	*at = feed->n_put;
	atomic_store_explicit(&feed->is_read, true, memory_order_relaxed);
	pthread_mutex_unlock(&feed->mutex);
	return 0;
}

void feed_close(struct feed *feed)
{
	struct feed_event *ring = NULL;

	pthread_mutex_lock(&feed->mutex);
	if (--feed->n_readers == 0) {
		atomic_store_explicit(&feed->is_read, false,
				      memory_order_relaxed);
		ring = feed->ring;
		feed->ring = NULL;
		feed->is_told = false;
	}
	pthread_mutex_unlock(&feed->mutex);
	free(ring);
}

bool feed_take(struct feed *feed, uint64_t *at, struct feed_event *event,
	       uint64_t *n_lost)
{
	bool has_event;

	pthread_mutex_lock(&feed->mutex);
	*n_lost = 0;
	if (feed->n_put - *at > FEED_LEN) {
		*n_lost = feed->n_put - *at - FEED_LEN;
		*at += *n_lost;
	}
	has_event = *at < feed->n_put;
	if (has_event)
		*event = feed->ring[(*at)++ % FEED_LEN];
	feed->is_told = false;
	pthread_mutex_unlock(&feed->mutex);
	return has_event;
}
