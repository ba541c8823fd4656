/* SPDX-License-Identifier: MIT */
/* A state in two parts: an early one with all peers, and a last one with those that have
 * changed since then. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "crypto/init.h"
#include "handover_world.h"

enum {
	N_PEERS = 8,
	ROUNDS = 60,
};

/*
 * Two devices with one configuration, and the two parts of a state.
 *
 * @a:	the device that is written
 * @b:	the device that goes on
 * @early, @last: the parts, which each test writes
 */
struct pair {
	struct device_fake a;
	struct device_fake b;
	struct store early;
	struct store last;
};

static void pair_init(struct pair *p, unsigned int n_lanes, uint64_t seed)
{
	handover_device_init(&p->a, N_PEERS, n_lanes, seed);
	handover_device_init(&p->b, N_PEERS, n_lanes, seed);
}

static void pair_deinit(struct pair *p)
{
	store_close(&p->early);
	store_close(&p->last);
	device_fake_deinit(&p->a);
	device_fake_deinit(&p->b);
}

/* Check and apply a state. Return: the result of state_apply(). */
static int apply(const struct store *store, struct device_fake *to,
		 struct state *state)
{
	*state = (struct state){ .is_endpoint = handover_is_endpoint };
	if (!state_check(state, store->bytes, store->len))
		fail_msg("refused: %s", state->why);
	return state_apply(state, &to->device, HANDOVER_NOW);
}

static void test_two_parts(void **unused)
{
	size_t n_all = 0;

	(void)unused;
	for (unsigned int i = 0; i < ROUNDS; i++) {
		struct pair p;
		struct state state;
		size_t n_changed;

		pair_init(&p, 3, i);
		handover_device_fill(&p.a);
		handover_write_early(&p.early, &p.a);
		assert_int_equal(apply(&p.early, &p.b, &state), 0);
		assert_true(state.is_early);
		assert_int_equal(state.n_peers, N_PEERS);
		n_changed = handover_device_change(&p.a);
		n_all += n_changed;
		handover_write_last(&p.last, &p.a, &p.early);
		assert_int_equal(apply(&p.last, &p.b, &state), 0);
		assert_false(state.is_early);
		assert_int_equal(state.n_peers, n_changed);
		assert_int_equal(state.n_counters, HANDOVER_COUNTERS);
		handover_compare(&p.a, &p.b);
		pair_deinit(&p);
	}
	assert_in_range(n_all, 1, ROUNDS * N_PEERS - 1);
}

/* The first peer of a state. */
static struct state_peer *first_peer(const struct store *store)
{
	return (void *)(store->bytes + sizeof(struct state_head) +
			sizeof(struct state_body));
}

/* Make the first peer of an early state one that cannot be, as it may look if it changes
 * while it is written. */
static void spoil(const struct store *early)
{
	struct state_head *head = (void *)early->bytes;
	struct peer_plain *plain = (void *)(first_peer(early) + 1);

	plain->did_last_minute = 2;
	head->sum = state_sum(early->bytes, (size_t)head->len, head->sum_key);
}

static void test_peer_that_changes_meanwhile(void **unused)
{
	struct pair p;
	struct state state;

	(void)unused;
	pair_init(&p, 1, 0);
	handover_device_fill(&p.a);
	handover_write_early(&p.early, &p.a);
	spoil(&p.early);
	assert_int_equal(apply(&p.early, &p.b, &state), 0);
	handover_write_last(&p.last, &p.a, &p.early);
	assert_int_equal(apply(&p.last, &p.b, &state), 0);
	assert_int_equal(state.n_peers, 1);
	handover_compare(&p.a, &p.b);
	pair_deinit(&p);
}

static void test_peer_in_neither(void **unused)
{
	struct pair p;
	struct state state;

	(void)unused;
	pair_init(&p, 1, 0);
	handover_device_fill(&p.a);
	handover_write_early(&p.early, &p.a);
	handover_write_last(&p.last, &p.a, &p.early);
	spoil(&p.early);
	assert_int_equal(apply(&p.early, &p.b, &state), 0);
	assert_int_equal(apply(&p.last, &p.b, &state), -EINVAL);
	assert_int_equal(state.n_peers, 0);
	device_fake_deinit(&p.b);
	/* Without the early state. */
	handover_device_init(&p.b, N_PEERS, 1, 0);
	assert_int_equal(apply(&p.last, &p.b, &state), -EINVAL);
	pair_deinit(&p);
}

/* A peer whose keypair has the index of another peer's. */
static void test_one_index_twice(void **unused)
{
	struct noise_keypair *first, *second;
	struct pair p;
	struct state state;
	uint32_t index;

	(void)unused;
	pair_init(&p, 1, 0);
	first = handover_add_keypair(handover_peer(&p.a, 0), NOISE_CURRENT);
	second = handover_add_keypair(handover_peer(&p.a, 1), NOISE_CURRENT);
	index = second->local_index;
	second->local_index = first->local_index;
	handover_write_early(&p.early, &p.a);
	second->local_index = index;
	assert_int_equal(apply(&p.early, &p.b, &state), 0);
	assert_true(handover_peer(&p.b, 0)->is_imported);
	assert_false(handover_peer(&p.b, 1)->is_imported);
	handover_write_last(&p.last, &p.a, &p.early);
	assert_int_equal(apply(&p.last, &p.b, &state), 0);
	handover_compare(&p.a, &p.b);
	pair_deinit(&p);
}

static void test_link_in_between(void **unused)
{
	struct pair p;
	struct state state;

	(void)unused;
	for (int is_up = 0; is_up <= 1; is_up++) {
		pair_init(&p, 1, 0);
		device_set_up(&p.a.device, is_up, HANDOVER_NOW);
		device_set_up(&p.b.device, false, HANDOVER_NOW);
		handover_write_early(&p.early, &p.a);
		assert_int_equal(apply(&p.early, &p.b, &state), 0);
		assert_int_equal(p.b.device.is_up, is_up);
		device_set_up(&p.a.device, !is_up, HANDOVER_NOW);
		handover_write_last(&p.last, &p.a, &p.early);
		assert_int_equal(apply(&p.last, &p.b, &state), -ESTALE);
		pair_deinit(&p);
	}
}

/* The memory of the early state is shared, so it may be anything. */
static void test_spoilt_memory(void **unused)
{
	struct pair p;
	struct state state;

	(void)unused;
	for (size_t i = 0; i < 3; i++) {
		const uint32_t lengths[] = { 0, 12, UINT32_MAX };

		pair_init(&p, 1, 0);
		handover_device_fill(&p.a);
		handover_write_early(&p.early, &p.a);
		first_peer(&p.early)->len = lengths[i];
		handover_write_last(&p.last, &p.a, &p.early);
		/* A peer that could not be compared is written. */
		assert_int_equal(apply(&p.last, &p.b, &state), 0);
		assert_int_equal(state.n_peers, N_PEERS);
		handover_compare(&p.a, &p.b);
		pair_deinit(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_parts),
		cmocka_unit_test(test_peer_that_changes_meanwhile),
		cmocka_unit_test(test_peer_in_neither),
		cmocka_unit_test(test_one_index_twice),
		cmocka_unit_test(test_link_in_between),
		cmocka_unit_test(test_spoilt_memory),
	};

	if (crypto_init() < 0)
		return EXIT_FAILURE;
	rcu_register();
	handover_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
