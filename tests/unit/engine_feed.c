/* SPDX-License-Identifier: MIT */
/*
 * The feed: nothing is put in while nobody reads; each reader gets every event once and
 * in order, or is told how many it has lost; the owner is woken once for what nobody
 * has taken yet.
 */
#include "engine/feed.h"

#include <pthread.h>
#include <sched.h>

#include "tests/lib/check.h"

enum {
	/* More than the ring holds, for each of the threads that put. */
	N_PUT = 3 * FEED_LEN,
	N_THREADS = 2,
};

static struct feed feed;
static _Atomic unsigned int n_woken;

static void wake(void *arg)
{
	assert_ptr_equal(arg, &feed);
	n_woken++;
}

static void put(uint64_t value)
{
	const struct feed_event event = { .kind = FEED_DROPPED,
					  .value = value };

	feed_put(&feed, &event);
}

static void begin(void)
{
	n_woken = 0;
	feed_init(&feed, wake, &feed);
}

/* The next event of a reader has this value, and none before it was lost. */
static void must_take(uint64_t *at, uint64_t value)
{
	struct feed_event event;
	uint64_t n_lost;

	assert_true(feed_take(&feed, at, &event, &n_lost));
	assert_int_equal(n_lost, 0);
	assert_int_equal(event.value, value);
	assert_true(event.realtime != 0);
}

static void must_be_empty(uint64_t *at)
{
	struct feed_event event;
	uint64_t n_lost;

	assert_false(feed_take(&feed, at, &event, &n_lost));
	assert_int_equal(n_lost, 0);
}

static void nobody_reads(void **state)
{
	uint64_t at;

	(void)state;
	begin();
	assert_false(feed_is_read(&feed));
	put(1);
	assert_null(feed.ring);
	assert_int_equal(n_woken, 0);
	/* A reader gets nothing from before. */
	assert_int_equal(feed_open(&feed, &at), 0);
	assert_true(feed_is_read(&feed));
	must_be_empty(&at);
	put(2);
	must_take(&at, 2);
	must_be_empty(&at);
	feed_close(&feed);
	assert_false(feed_is_read(&feed));
	assert_null(feed.ring);
	feed_deinit(&feed);
}

static void two_readers(void **state)
{
	uint64_t first, second;

	(void)state;
	begin();
	assert_int_equal(feed_open(&feed, &first), 0);
	put(1);
	assert_int_equal(feed_open(&feed, &second), 0);
	put(2);
	/* Woken once: nobody has taken anything since. */
	assert_int_equal(n_woken, 1);
	must_take(&first, 1);
	put(3);
	assert_int_equal(n_woken, 2);
	must_take(&first, 2);
	must_take(&second, 2);
	must_take(&second, 3);
	must_be_empty(&second);
	feed_close(&feed);
	must_take(&first, 3);
	must_be_empty(&first);
	feed_close(&feed);
	feed_deinit(&feed);
}

static void slow_reader(void **state)
{
	struct feed_event event;
	uint64_t at, n_lost;

	(void)state;
	begin();
	assert_int_equal(feed_open(&feed, &at), 0);
	for (uint64_t i = 0; i < FEED_LEN + 5; i++)
		put(i);
	assert_true(feed_take(&feed, &at, &event, &n_lost));
	assert_int_equal(n_lost, 5);
	assert_int_equal(event.value, 5);
	for (uint64_t i = 6; i < FEED_LEN + 5; i++)
		must_take(&at, i);
	must_be_empty(&at);
	feed_close(&feed);
	feed_deinit(&feed);
}

static void *put_many(void *arg)
{
	for (uint64_t i = 0; i < N_PUT; i++)
		put((uint64_t)(uintptr_t)arg << 32 | i);
	return NULL;
}

/* While two threads put, a reader takes: what it takes and what it has lost are all
 * that was put, and the events of each thread keep their order. */
static void threads(void **state)
{
	uint64_t at, n_lost, n_seen = 0, next[N_THREADS] = { 0 };
	pthread_t ids[N_THREADS];
	struct feed_event event;

	(void)state;
	begin();
	assert_int_equal(feed_open(&feed, &at), 0);
	for (uintptr_t i = 0; i < N_THREADS; i++)
		assert_int_equal(
			pthread_create(&ids[i], NULL, put_many, (void *)i), 0);
	while (n_seen < (uint64_t)N_PUT * N_THREADS) {
		if (!feed_take(&feed, &at, &event, &n_lost)) {
			sched_yield();
			continue;
		}
		n_seen += n_lost + 1;
		uint64_t *expected = &next[event.value >> 32];

		assert_true((event.value & UINT32_MAX) >= *expected);
		*expected = (event.value & UINT32_MAX) + 1;
	}
	for (int i = 0; i < N_THREADS; i++)
		pthread_join(ids[i], NULL);
	must_be_empty(&at);
	assert_int_equal(n_seen, N_PUT * N_THREADS);
	assert_true(n_woken > 0);
	feed_close(&feed);
	feed_deinit(&feed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_reads),
		cmocka_unit_test(two_readers),
		cmocka_unit_test(slow_reader),
		cmocka_unit_test(threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
