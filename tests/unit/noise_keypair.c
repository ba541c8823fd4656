/* SPDX-License-Identifier: MIT */
/*
 * Keypairs: sending counters up to their limit, ages, references, and the three
 * slots of a peer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "crypto/init.h"
#include "noise_world.h"

#define SEC   NSEC_PER_SEC
#define LIMIT REJECT_AFTER_MESSAGES

static void set_counter(struct noise_keypair *kp, uint64_t counter)
{
	atomic_store_explicit(&kp->send_counter, counter, memory_order_relaxed);
}

static uint64_t get_counter(struct noise_keypair *kp)
{
	return atomic_load_explicit(&kp->send_counter, memory_order_relaxed);
}

static void test_limit_has_the_papers_value(void **state)
{
	(void)state;
	/* 2^64 - 2^13 - 1 and 2^60. */
	assert_true(LIMIT == UINT64_C(0xffffffffffffdfff));
	assert_true(REKEY_AFTER_MESSAGES == UINT64_C(0x1000000000000000));
}

/* The counter at the start, how many are asked for, how many are drawn. */
static const struct {
	uint64_t start;
	size_t wanted, got;
} reserves[] = {
	/* 0 */ { 0, 1, 1 },
	/* 1 */ { 0, 128, 128 },
	/* 2 */ { 0, 0, 0 },
	/* 3 */ { UINT32_MAX, 2, 2 },
	/* 4 */ { LIMIT - 128, 128, 128 },
	/* 5 */ { LIMIT - 127, 128, 127 },
	/* 6 */ { LIMIT - 1, 1, 1 },
	/* 7 */ { LIMIT - 1, 2, 1 },
	/* 8 */ { LIMIT - 1, SIZE_MAX, 1 },
	/* 9 */ { LIMIT, 1, 0 },
	/* 10 */ { LIMIT, SIZE_MAX, 0 },
	/* 11 */ { LIMIT + 1, 1, 0 },
	/* 12 */ { UINT64_MAX, 1, 0 },
	/* 13 */ { 0, SIZE_MAX, SIZE_MAX < LIMIT ? SIZE_MAX : (size_t)LIMIT },
};

static void test_reserve(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 1);
	for (size_t i = 0; i < ARRAY_LEN(reserves); i++) {
		struct noise_keypair *kp = noise_keypair_new(&w.a.local);
		uint64_t first = 77;

		set_counter(kp, reserves[i].start);
		if (noise_keypair_reserve(kp, reserves[i].wanted, &first) !=
		    reserves[i].got)
			fail_msg("step %zu", i);
		assert_true(first ==
			    (reserves[i].got ? reserves[i].start : 77));
		noise_keypair_put(kp);
	}
	world_deinit(&w);
}

/* The limit, and ten thousand attempts behind it. */
static void test_counter_never_wraps(void **state)
{
	struct noise_keypair *kp;
	uint64_t first;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 2);
	kp = noise_keypair_new(&w.a.local);
	set_counter(kp, LIMIT - 1);
	assert_true(noise_keypair_can_send(kp, 0));
	assert_int_equal(noise_keypair_reserve(kp, 1, &first), 1);
	assert_true(first == LIMIT - 1);
	assert_false(noise_keypair_can_send(kp, 0));
	for (size_t i = 0; i < 10000; i++) {
		assert_int_equal(noise_keypair_reserve(kp, i % 300, &first), 0);
		assert_true(get_counter(kp) == LIMIT);
	}
	assert_false(noise_keypair_can_send(kp, 0));
	/* The keypair stays unsendable, whatever value the counter has. */
	set_counter(kp, 0);
	assert_int_equal(noise_keypair_reserve(kp, 1, &first), 0);
	noise_keypair_put(kp);
	world_deinit(&w);
}

enum {
	N_THREADS = 4,
	N_DRAWS = 5000
};

struct drawer {
	pthread_t thread;
	struct noise_keypair *kp;
	uint64_t sum;
	size_t n;
};

static void *draw(void *arg)
{
	struct drawer *d = arg;
	uint64_t first;

	for (size_t i = 0; i < N_DRAWS; i++) {
		size_t n = noise_keypair_reserve(d->kp, i % 7 + 1, &first);

		/* Offsets from the start, so that the sum does not overflow. */
		for (size_t k = 0; n && k < n; k++)
			d->sum += first + k - (LIMIT - 50000);
		d->n += n;
		noise_keypair_ref(d->kp);
		noise_keypair_put(d->kp);
	}
	return NULL;
}

/* Several threads draw up to the limit: each counter is drawn once. */
static void test_threads_share_the_counter(void **state)
{
	struct drawer drawers[N_THREADS] = { 0 };
	struct noise_keypair *kp;
	uint64_t sum = 0;
	size_t n = 0;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 3);
	kp = noise_keypair_new(&w.a.local);
	set_counter(kp, LIMIT - 50000);
	for (size_t i = 0; i < N_THREADS; i++) {
		drawers[i].kp = kp;
		assert_int_equal(pthread_create(&drawers[i].thread, NULL, draw,
						&drawers[i]),
				 0);
	}
	for (size_t i = 0; i < N_THREADS; i++) {
		pthread_join(drawers[i].thread, NULL);
		n += drawers[i].n;
		sum += drawers[i].sum;
	}
	assert_int_equal(n, 50000);
	assert_int_equal(sum, UINT64_C(50000) * 49999 / 2);
	assert_true(get_counter(kp) == LIMIT);
	noise_keypair_put(kp);
	world_deinit(&w);
}

/* What a keypair of some age and kind is good for. */
static const struct {
	uint64_t age_ns;
	bool is_initiator;
	uint64_t sent;
	bool can_send, can_receive, after_send, after_receive;
} ages[] = {
	/* 0 */ { 0, true, 0, 1, 1, 0, 0 },
	/* 1 */ { 120 * SEC - 1, true, 0, 1, 1, 0, 0 },
	/* 2 */ { 120 * SEC, true, 0, 1, 1, 1, 0 },
	/* 3 */ { 165 * SEC - 1, true, 0, 1, 1, 1, 0 },
	/* 4 */ { 165 * SEC, true, 0, 1, 1, 1, 1 },
	/* 5 */ { 180 * SEC - 1, true, 0, 1, 1, 1, 1 },
	/* 6 */ { 180 * SEC, true, 0, 0, 0, 1, 1 },
	/* 7 */ { 179 * SEC, false, 0, 1, 1, 0, 0 },
	/* 8 */ { 180 * SEC, false, 0, 0, 0, 0, 0 },
	/* 9 */ { 0, false, REKEY_AFTER_MESSAGES, 1, 1, 0, 0 },
	/* 10 */ { 0, false, REKEY_AFTER_MESSAGES + 1, 1, 1, 1, 0 },
	/* 11 */ { 0, true, REKEY_AFTER_MESSAGES + 1, 1, 1, 1, 0 },
	/* 12 */ { 0, true, LIMIT, 0, 1, 1, 0 },
};

static void test_ages(void **state)
{
	const uint64_t born = 5000 * SEC;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 4);
	for (size_t i = 0; i < ARRAY_LEN(ages); i++) {
		struct noise_keypair *kp = noise_keypair_new(&w.a.local);
		uint64_t now = born + ages[i].age_ns;

		kp->created_ns = born;
		kp->is_initiator = ages[i].is_initiator;
		set_counter(kp, ages[i].sent);
		if (noise_keypair_can_send(kp, now) != ages[i].can_send ||
		    noise_keypair_can_receive(kp, now) != ages[i].can_receive ||
		    noise_keypair_wants_rekey_after_send(kp, now) !=
			    ages[i].after_send ||
		    noise_keypair_wants_rekey_after_receive(kp, now) !=
			    ages[i].after_receive)
			fail_msg("step %zu", i);
		/* A `now` taken just before the keypair was made. */
		assert_true(noise_keypair_can_receive(kp, born - 1));
		noise_keypair_put(kp);
	}
	world_deinit(&w);
}

/*
 * The slots. Keypairs are letters, in the order in which they are made. Each
 * step is a letter: an upper-case letter adds a keypair as initiator, a
 * lower-case one as responder. '!' confirms the next keypair, '?' the current
 * one (nothing happens), 'x' expires the current one, '0' clears all. The
 * result is current, previous, next; '-' is an empty slot.
 */
static const struct {
	const char *steps;
	const char *slots;
} rotations[] = {
	/* 0 */ { "", "---" },
	/* 1 */ { "A", "A--" },
	/* 2 */ { "AB", "BA-" },
	/* 3 */ { "ABC", "CB-" },
	/* 4 */ { "a", "--A" },
	/* 5 */ { "ab", "--B" },
	/* 6 */ { "a!", "A--" },
	/* 7 */ { "a!b", "A-B" },
	/* 8 */ { "a!b!", "BA-" },
	/* 9 */ { "a!b!c", "B-C" },
	/* 10 */ { "a!b!c!", "CB-" },
	/* 11 */ { "ab!", "B--" },
	/* 12 */ { "Ab", "A-B" },
	/* 13 */ { "ABc", "B-C" },
	/* 14 */ { "AbC", "CB-" },
	/* 15 */ { "ABcD", "DC-" },
	/* 16 */ { "aB", "BA-" },
	/* 17 */ { "a!B", "BA-" },
	/* 18 */ { "A?", "A--" },
	/* 19 */ { "Ab?", "A-B" },
	/* 20 */ { "Ab!?", "BA-" },
	/* 21 */ { "ABx", "BA-" },
	/* 22 */ { "Abx", "A--" },
	/* 23 */ { "ax", "---" },
	/* 24 */ { "ABc0", "---" },
	/* 25 */ { "AB0C", "C--" },
	/* 26 */ { "Abx!", "A--" },
	/* 27 */ { "AxB", "BA-" },
};

static char slot_letter(const struct noise_keypair *kp)
{
	return kp ? (char)kp->remote_index : '-';
}

static void add(struct side *side, char step)
{
	struct noise_keypair *kp = noise_keypair_new(&side->local);

	assert_non_null(kp);
	kp->is_initiator = step <= 'Z';
	kp->remote_index = (uint32_t)(step & ~0x20);
	kp->created_ns = kp->remote_index * SEC;
	assert_int_equal(side->local.ops->publish_index(side, &side->hs,
							&kp->local_index),
			 0);
	assert_int_equal(side->local.ops->index_replace(side, kp->local_index,
							&side->hs, kp),
			 0);
	noise_keypairs_add(&side->kps, kp);
}

static void do_step(struct side *side, char step)
{
	struct noise_keypairs *kps = &side->kps;
	struct noise_keypair *next = kps->next;

	switch (step) {
	case '!':
		assert_int_equal(noise_keypairs_confirm(kps, next),
				 next != NULL);
		break;
	case '?':
		assert_false(noise_keypairs_confirm(kps, kps->current));
		break;
	case 'x':
		noise_keypairs_expire_current(kps);
		if (kps->current)
			assert_false(noise_keypair_can_send(kps->current, 0));
		break;
	case '0':
		noise_keypairs_clear(kps);
		break;
	default:
		add(side, step);
	}
}

/* The time that is told without the lock, while another thread has it, is that of the
 * current keypair. */
static void check_end(struct noise_keypairs *kps)
{
	struct noise_keypair *kp = kps->current;
	uint64_t end;

	pthread_mutex_lock(&kps->lock);
	end = noise_keypairs_get_end(kps);
	pthread_mutex_unlock(&kps->lock);
	if (!kp || !noise_keypair_can_send(kp, kp->created_ns)) {
		assert_true(end == 0);
		return;
	}
	assert_true(noise_keypair_can_send(kp, end - 1));
	assert_false(noise_keypair_can_send(kp, end));
}

/* The index table has the keypairs of the slots, and no others. */
static size_t count_indices(const struct side *side)
{
	size_t n = 0;

	for (size_t i = 0; i < SIDE_INDICES; i++)
		n += side->entries[i].is_used;
	return n;
}

static void test_rotation(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rotations); i++) {
		char slots[4] = "---";
		size_t n = 0;
		struct world w;

		world_init(&w, NULL, NULL, i + 10);
		check_end(&w.a.kps);
		for (const char *s = rotations[i].steps; *s; s++) {
			do_step(&w.a, *s);
			check_end(&w.a.kps);
		}
		slots[0] = slot_letter(w.a.kps.current);
		slots[1] = slot_letter(w.a.kps.previous);
		slots[2] = slot_letter(w.a.kps.next);
		if (strcmp(slots, rotations[i].slots) != 0)
			fail_msg("step %zu: %s", i, slots);
		for (size_t k = 0; k < 3; k++)
			n += slots[k] != '-';
		assert_int_equal(count_indices(&w.a), n);
		world_deinit(&w);
	}
}

/*
 * A keypair has left the slots, but a user holds a reference. The user may use
 * counters drawn before, and open messages, but can draw no more counters.
 */
static void test_references(void **state)
{
	struct noise_keypair *kp;
	uint64_t first;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 50);
	assert_null(noise_keypairs_get_current(&w.a.kps));
	add(&w.a, 'A');
	kp = noise_keypairs_get_current(&w.a.kps);
	assert_non_null(kp);
	assert_int_equal(noise_keypair_reserve(kp, 3, &first), 3);
	assert_true(noise_keypairs_clear(&w.a.kps));
	assert_false(noise_keypairs_clear(&w.a.kps));
	assert_null(noise_keypairs_get_current(&w.a.kps));
	assert_int_equal(noise_keypair_reserve(kp, 1, &first), 0);
	assert_true(noise_keypair_accept(kp, 0));
	assert_false(noise_keypair_accept(kp, 0));
	noise_keypair_put(kp);
	noise_keypair_put(NULL);
	world_deinit(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit_has_the_papers_value),
		cmocka_unit_test(test_reserve),
		cmocka_unit_test(test_counter_never_wraps),
		cmocka_unit_test(test_threads_share_the_counter),
		cmocka_unit_test(test_ages),
		cmocka_unit_test(test_rotation),
		cmocka_unit_test(test_references),
	};

	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
