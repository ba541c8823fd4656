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
		struct device_fake a, b;
		struct store early, last;
		struct state state;
		size_t n_changed;

		handover_device_init(&a, N_PEERS, 3, i);
		handover_device_init(&b, N_PEERS, 3, i);
		handover_device_fill(&a);
		handover_write_early(&early, &a);
		assert_int_equal(apply(&early, &b, &state), 0);
		assert_true(state.is_early);
		assert_int_equal(state.n_peers, N_PEERS);
		n_changed = handover_device_change(&a);
		n_all += n_changed;
		handover_write_last(&last, &a, &early);
		assert_int_equal(apply(&last, &b, &state), 0);
		assert_false(state.is_early);
		assert_int_equal(state.n_peers, n_changed);
		assert_int_equal(state.n_counters, HANDOVER_COUNTERS);
		handover_compare(&a, &b);
		store_close(&early);
		store_close(&last);
		device_fake_deinit(&a);
		device_fake_deinit(&b);
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
	struct device_fake a, b;
	struct store early, last;
	struct state state;

	(void)unused;
	handover_device_init(&a, N_PEERS, 1, 0);
	handover_device_init(&b, N_PEERS, 1, 0);
	handover_device_fill(&a);
	handover_write_early(&early, &a);
	spoil(&early);
	assert_int_equal(apply(&early, &b, &state), 0);
	handover_write_last(&last, &a, &early);
	assert_int_equal(apply(&last, &b, &state), 0);
	assert_int_equal(state.n_peers, 1);
	handover_compare(&a, &b);
	store_close(&early);
	store_close(&last);
	device_fake_deinit(&a);
	device_fake_deinit(&b);
}

static void test_peer_in_neither(void **unused)
{
	struct device_fake a, b;
	struct store early, last;
	struct state state;

	(void)unused;
	handover_device_init(&a, N_PEERS, 1, 0);
	handover_device_init(&b, N_PEERS, 1, 0);
	handover_device_fill(&a);
	handover_write_early(&early, &a);
	handover_write_last(&last, &a, &early);
	spoil(&early);
	assert_int_equal(apply(&early, &b, &state), 0);
	assert_int_equal(apply(&last, &b, &state), -EINVAL);
	assert_int_equal(state.n_peers, 0);
	device_fake_deinit(&b);
	/* Without the early state. */
	handover_device_init(&b, N_PEERS, 1, 0);
	assert_int_equal(apply(&last, &b, &state), -EINVAL);
	device_fake_deinit(&b);
	store_close(&early);
	store_close(&last);
	device_fake_deinit(&a);
}

/* A peer whose keypair has the index of another peer's. */
static void test_one_index_twice(void **unused)
{
	struct noise_keypair *first, *second;
	struct device_fake a, b;
	struct store early, last;
	struct state state;
	uint32_t index;

	(void)unused;
	handover_device_init(&a, N_PEERS, 1, 0);
	handover_device_init(&b, N_PEERS, 1, 0);
	first = handover_add_keypair(handover_peer(&a, 0), NOISE_CURRENT);
	second = handover_add_keypair(handover_peer(&a, 1), NOISE_CURRENT);
	index = second->local_index;
	second->local_index = first->local_index;
	handover_write_early(&early, &a);
	second->local_index = index;
	assert_int_equal(apply(&early, &b, &state), 0);
	assert_true(handover_peer(&b, 0)->is_imported);
	assert_false(handover_peer(&b, 1)->is_imported);
	handover_write_last(&last, &a, &early);
	assert_int_equal(apply(&last, &b, &state), 0);
	handover_compare(&a, &b);
	store_close(&early);
	store_close(&last);
	device_fake_deinit(&a);
	device_fake_deinit(&b);
}

static void test_link_in_between(void **unused)
{
	struct device_fake a, b;
	struct store early, last;
	struct state state;

	(void)unused;
	for (int is_up = 0; is_up <= 1; is_up++) {
		handover_device_init(&a, N_PEERS, 1, 0);
		handover_device_init(&b, N_PEERS, 1, 0);
		device_set_up(&a.device, is_up, HANDOVER_NOW);
		device_set_up(&b.device, false, HANDOVER_NOW);
		handover_write_early(&early, &a);
		assert_int_equal(apply(&early, &b, &state), 0);
		assert_int_equal(b.device.is_up, is_up);
		device_set_up(&a.device, !is_up, HANDOVER_NOW);
		handover_write_last(&last, &a, &early);
		assert_int_equal(apply(&last, &b, &state), -ESTALE);
		store_close(&early);
		store_close(&last);
		device_fake_deinit(&a);
		device_fake_deinit(&b);
	}
}

/* The memory of the early state is shared, so it may be anything. */
static void test_spoilt_memory(void **unused)
{
	struct device_fake a, b;
	struct store early, last;
	struct state state;

	(void)unused;
	handover_device_init(&a, N_PEERS, 1, 0);
	handover_device_fill(&a);
	for (size_t i = 0; i < 3; i++) {
		const uint32_t lengths[] = { 0, 12, UINT32_MAX };

		handover_device_init(&b, N_PEERS, 1, 0);
		handover_write_early(&early, &a);
		first_peer(&early)->len = lengths[i];
		handover_write_last(&last, &a, &early);
		/* What could not be compared is written. */
		assert_int_equal(apply(&last, &b, &state), 0);
		assert_int_equal(state.n_peers, N_PEERS);
		handover_compare(&a, &b);
		store_close(&early);
		store_close(&last);
		device_fake_deinit(&b);
	}
	device_fake_deinit(&a);
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
