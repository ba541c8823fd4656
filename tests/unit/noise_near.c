/* SPDX-License-Identifier: MIT */
/*
 * Counters that several threads draw to send in no common order: those that are
 * on their way are less than 512 apart.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>

#include "base/bytes.h"
#include "crypto/init.h"
#include "noise_world.h"

enum {
	STRETCH = NOISE_STRETCH,
	/* The bound that the engine promises. */
	APART = 512,
	/* Choices: as many threads as queues, and enough draws for some
	 * thousand stretches. */
	THREADS = 8,
	DRAWS = 20000,
	/* The longest run: the messages of an outbound batch. */
	RUN = 128,
};

static_assert(2 * STRETCH <= APART, "two stretches");

static struct noise_keypair *make_keypair(struct world *w)
{
	world_init(w, NULL, NULL, 1);
	return noise_keypair_new(&w->a.local);
}

/* Draw @n counters, which must succeed. Return: the first. */
static uint64_t draw(struct noise_keypair *kp, size_t n)
{
	uint64_t first = 77;
	size_t got = n;

	assert_int_equal(noise_keypair_reserve_near(kp, &got, &first), 0);
	assert_int_equal(got, n);
	return first;
}

/* Send a run. */
static void leave(struct noise_keypair *kp, uint64_t first, size_t n)
{
	assert_true(noise_keypair_begin_send(kp, first, n));
	noise_keypair_end_send(kp, first, n);
}

static int try_draw(struct noise_keypair *kp, size_t n)
{
	uint64_t first = 77;
	int r = noise_keypair_reserve_near(kp, &n, &first);

	if (r)
		assert_int_equal(first, 77);
	return r;
}

static void waits_for_an_old_counter(void **state)
{
	struct world w;
	struct noise_keypair *kp = make_keypair(&w);

	(void)state;
	/* One counter is not sent; all others up to the end of the next stretch
	 * may be drawn. */
	assert_int_equal(draw(kp, 1), 0);
	for (uint64_t next = 1; next < 2 * STRETCH;) {
		size_t n = size_min(RUN, (size_t)(2 * STRETCH - next));

		assert_true(draw(kp, n) == next);
		leave(kp, next, n);
		next += n;
	}
	assert_int_equal(try_draw(kp, 1), NOISE_E_FAR);
	assert_int_equal(try_draw(kp, RUN), NOISE_E_FAR);
	leave(kp, 0, 1);
	assert_true(draw(kp, 1) == 2 * STRETCH);
	noise_keypair_put(kp);
	world_deinit(&w);
}

static void a_run_reaches_two_stretches(void **state)
{
	struct world w;
	struct noise_keypair *kp = make_keypair(&w);

	(void)state;
	leave(kp, draw(kp, STRETCH - 1), STRETCH - 1);
	/* One counter of the first stretch, and 99 of the second. */
	assert_true(draw(kp, 100) == STRETCH - 1);
	leave(kp, draw(kp, STRETCH - 99), STRETCH - 99);
	assert_int_equal(try_draw(kp, 1), NOISE_E_FAR);
	leave(kp, STRETCH - 1, 100);
	assert_true(draw(kp, STRETCH) == 2 * STRETCH);
	/* A run that would reach the next stretch waits as a whole. */
	leave(kp, draw(kp, STRETCH - 1), STRETCH - 1);
	assert_int_equal(try_draw(kp, 2), NOISE_E_FAR);
	assert_int_equal(draw(kp, 1), 4 * STRETCH - 1);
	noise_keypair_put(kp);
	world_deinit(&w);
}

/* A thread does not send for so long that its counters are given up. */
static void old_counters_are_given_up(void **state)
{
	struct world w;
	struct noise_keypair *kp = make_keypair(&w);

	(void)state;
	/* Runs in the first stretch, in both, and in the second. */
	assert_true(draw(kp, 100) == 0);
	leave(kp, draw(kp, 100), 100);
	assert_true(draw(kp, 100) == 200);
	assert_true(draw(kp, 100) == 300);
	leave(kp, draw(kp, 112), 112);
	assert_int_equal(try_draw(kp, 1), NOISE_E_FAR);
	/* Not while one of them is just being sent. */
	assert_true(noise_keypair_begin_send(kp, 0, 100));
	assert_false(noise_keypair_give_up(kp, 1));
	noise_keypair_end_send(kp, 0, 100);
	assert_int_equal(try_draw(kp, 1), NOISE_E_FAR);
	assert_true(noise_keypair_give_up(kp, 1));
	assert_true(draw(kp, 100) == 2 * STRETCH);
	/* The run that has a part in the second stretch cannot be sent, and is
	 * not waited for any more. */
	assert_false(noise_keypair_begin_send(kp, 200, 100));
	/* The run in the second stretch can be sent. */
	leave(kp, draw(kp, 156), 156);
	assert_int_equal(try_draw(kp, 1), NOISE_E_FAR);
	leave(kp, 300, 100);
	leave(kp, draw(kp, 1), 1);
	/* There was nothing to give up. */
	assert_true(noise_keypair_give_up(kp, 1));
	leave(kp, 2 * STRETCH, 100);
	assert_int_equal(kp->n_unsent[0], 0);
	assert_int_equal(kp->n_unsent[1], 0);
	assert_int_equal(kp->n_sending[0], 0);
	assert_int_equal(kp->n_sending[1], 0);
	noise_keypair_put(kp);
	world_deinit(&w);
}

/* The counters of a run are given up a second time by the time it comes. */
static void long_stopped(void **state)
{
	struct world w;
	struct noise_keypair *kp = make_keypair(&w);

	(void)state;
	assert_true(draw(kp, STRETCH - 10) == 0);
	assert_true(draw(kp, 20) == STRETCH - 10);
	for (int i = 0; i < 3; i++) {
		while (try_draw(kp, 1) == 0)
			;
		assert_true(noise_keypair_give_up(kp, 1));
	}
	assert_false(noise_keypair_begin_send(kp, STRETCH - 10, 20));
	assert_false(noise_keypair_begin_send(kp, 0, STRETCH - 10));
	assert_in_range(kp->n_unsent[0] + kp->n_unsent[1], 0, 2 * STRETCH);
	noise_keypair_put(kp);
	world_deinit(&w);
}

static void counters_end(void **state)
{
	struct world w;
	struct noise_keypair *kp = make_keypair(&w);
	uint64_t first;
	size_t n = 10;

	(void)state;
	atomic_store(&kp->send_counter, REJECT_AFTER_MESSAGES - 3);
	assert_int_equal(noise_keypair_reserve_near(kp, &n, &first), 0);
	assert_int_equal(n, 3);
	assert_true(first == REJECT_AFTER_MESSAGES - 3);
	n = 1;
	assert_int_equal(noise_keypair_reserve_near(kp, &n, &first),
			 NOISE_E_NO_COUNTER);
	assert_false(noise_keypair_can_send(kp, 0));
	noise_keypair_put(kp);
	world_deinit(&w);
}

/* What the threads share. @newest is the newest counter that was sent, @widest
 * how far behind it a run was sent. */
static struct {
	struct noise_keypair *kp;
	_Atomic uint64_t newest;
	_Atomic uint64_t n_far;
	_Atomic uint64_t n_given_up;
	_Atomic uint64_t n_sent;
	_Atomic uint64_t widest;
} race;

static void raise(_Atomic uint64_t *max, uint64_t value)
{
	uint64_t was = atomic_load(max);

	while (was < value && !atomic_compare_exchange_weak(max, &was, value))
		;
}

/* "Send" a run: it must not be too far behind the newest that was sent. */
static void pretend_to_send(uint64_t first, size_t n)
{
	uint64_t newest;

	if (!noise_keypair_begin_send(race.kp, first, n)) {
		atomic_fetch_add(&race.n_given_up, n);
		return;
	}
	newest = atomic_load(&race.newest);
	if (newest > first)
		raise(&race.widest, newest - first);
	raise(&race.newest, first + n - 1);
	noise_keypair_end_send(race.kp, first, n);
	atomic_fetch_add(&race.n_sent, n);
}

static void *send_much(void *arg)
{
	uint64_t random = (uintptr_t)arg * UINT64_C(0x9e3779b97f4a7c15) + 1;
	unsigned int far = 0;

	for (unsigned int i = 0; i < DRAWS;) {
		uint64_t first;
		size_t n;

		random = random * UINT64_C(6364136223846793005) + 1;
		n = 1 + (size_t)(random >> 33) % RUN;
		if (noise_keypair_reserve_near(race.kp, &n, &first)) {
			/* Seldom, a thread does not want to wait longer. */
			if (++far % 1024 == 0)
				(void)noise_keypair_give_up(race.kp, n);
			sched_yield();
			continue;
		}
		/* Now and then the thread is slow. */
		if ((random >> 50) % 16 == 0)
			sched_yield();
		pretend_to_send(first, n);
		i++;
	}
	atomic_fetch_add(&race.n_far, far);
	return NULL;
}

static void threads_stay_near(void **state)
{
	pthread_t threads[THREADS];
	struct world w;

	(void)state;
	race.kp = make_keypair(&w);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, send_much, (void *)i),
			0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	print_message(
		"# %llu counters, at most %llu apart; %llu times a thread "
		"had to wait\n",
		(unsigned long long)race.n_sent,
		(unsigned long long)race.widest,
		(unsigned long long)race.n_far);
	assert_true(race.widest < APART);
	/* No counter is left over. */
	assert_true(atomic_load(&race.kp->send_counter) ==
		    race.n_sent + race.n_given_up);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(race.kp->n_unsent[i], 0);
		assert_int_equal(race.kp->n_sending[i], 0);
	}
	noise_keypair_put(race.kp);
	world_deinit(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(waits_for_an_old_counter),
		cmocka_unit_test(a_run_reaches_two_stretches),
		cmocka_unit_test(old_counters_are_given_up),
		cmocka_unit_test(long_stopped),
		cmocka_unit_test(counters_end),
		cmocka_unit_test(threads_stay_near),
	};

	if (crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
