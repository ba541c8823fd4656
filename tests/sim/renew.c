/* SPDX-License-Identifier: MIT */
/*
 * After the machine was resumed from a snapshot, all sessions must be renewed
 * at once. Handshakes that had to wait for a key or an endpoint must start at
 * once, too.
 *
 * The network model asserts that no counter is used twice, and that initiations
 * of a host keep REKEY_TIMEOUT between them. Renewed handshakes do not keep
 * that pause, so the tests clear the model's record of the last initiation.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "world.h"

static const uint8_t no_key[NOISE_PRIVATE_KEY_LEN];
static uint64_t seed;

static void forget_pace(struct world *world, unsigned int number)
{
	memset(world->hosts[number].initiated_ns, 0,
	       sizeof(world->hosts[number].initiated_ns));
}

static void renew(struct world *world, unsigned int number)
{
	forget_pace(world, number);
	device_renew(&world->hosts[number].device);
}

static void set_key(struct world *world, unsigned int number, bool has_key)
{
	struct sim_host *host = &world->hosts[number];

	forget_pace(world, number);
	device_set_private_key(&host->device,
			       has_key ? host->private_key : no_key);
}

static bool has_session(struct world *world, unsigned int of, unsigned int to)
{
	return peer_has_session(world_peer(world, of, to), world->now);
}

/* A packet of @from arrives within a second. */
static void assert_passes(struct world *world, unsigned int from,
			  unsigned int to)
{
	size_t n = world_send(world, from, to);

	world_run(world, SIM_SEC(1));
	assert_int_equal(world_count_arrived(world, n), 1);
}

/* The send counter is set back, as by a resumed snapshot. */
static void test_counters(void **state)
{
	struct world *world = world_new(seed, 2);
	struct peer *peer = world_peer(world, 0, 1);
	struct noise_keypair *kp;

	(void)state;
	assert_passes(world, 0, 1);
	kp = noise_keypairs_get_current(&peer->keypairs);
	assert_non_null(kp);
	assert_passes(world, 0, 1);
	atomic_store(&kp->send_counter, 0);
	renew(world, 0);
	assert_false(has_session(world, 0, 1));
	/* A thread that still holds the old keypair cannot send with it
	 * either. */
	assert_false(noise_keypair_can_send(kp, world->now));
	noise_keypair_put(kp);
	assert_passes(world, 0, 1);
	assert_passes(world, 1, 0);
	world_free(world);
}

/*
 * Without traffic, handshakes start with the peers that had a session, and with
 * no others.
 */
static void test_greeting(void **state)
{
	struct world *world = world_new(seed + 1, 3);
	size_t n;

	(void)state;
	assert_passes(world, 0, 1);
	n = world->hosts[0].sent.initiations;
	assert_int_equal(n, 1);
	renew(world, 0);
	world_run(world, SIM_SEC(1));
	assert_int_equal(world->hosts[0].sent.initiations, 2);
	assert_true(has_session(world, 0, 1));
	assert_false(has_session(world, 0, 2));
	/* Renew again although the last initiation was just sent. */
	world_run(world, SIM_MSEC(50));
	renew(world, 0);
	world_run(world, SIM_SEC(1));
	assert_true(has_session(world, 0, 1));
	/* The other side, which was the responder, can begin as well. */
	renew(world, 1);
	world_run(world, SIM_SEC(1));
	assert_int_equal(world->hosts[1].sent.initiations, 1);
	assert_true(has_session(world, 1, 0));
	world_free(world);
}

/*
 * An initiation on its way is void, because each copy of the machine has its
 * ephemeral key.
 */
static void test_initiation_in_flight(void **state)
{
	struct world *world = world_new(seed + 2, 2);
	size_t first;

	(void)state;
	world->delay_ns = SIM_MSEC(200);
	first = world_send(world, 0, 1);
	world_run(world, SIM_MSEC(300));
	assert_int_equal(world->hosts[1].sent.responses, 1);
	renew(world, 0);
	world_run(world, SIM_MSEC(150));
	/* The response to the first initiation has come, and its index is
	 * gone. */
	assert_int_equal(world->hosts[0].drops[DROP_NO_INDEX], 1);
	assert_false(has_session(world, 0, 1));
	assert_int_equal(world->hosts[0].sent.initiations, 2);
	world_run(world, SIM_SEC(1));
	assert_true(has_session(world, 0, 1));
	assert_int_equal(world_count_arrived(world, first), 1);
	world_free(world);
}

/* The responder has new keys, and no message has confirmed them yet. */
static void test_response_in_flight(void **state)
{
	struct world *world = world_new(seed + 3, 2);
	size_t first;

	(void)state;
	world->delay_ns = SIM_MSEC(200);
	first = world_send(world, 0, 1);
	world_run(world, SIM_MSEC(300));
	assert_int_equal(world->hosts[1].sent.responses, 1);
	forget_pace(world, 0);
	renew(world, 1);
	world_run(world, SIM_SEC(2));
	assert_int_equal(world->hosts[1].sent.initiations, 1);
	assert_true(has_session(world, 0, 1) && has_session(world, 1, 0));
	/* The packet was sealed for the session that is void now. */
	assert_int_equal(world_count_arrived(world, first), 0);
	assert_passes(world, 0, 1);
	world_free(world);
}

static void test_cookies(void **state)
{
	struct world *world = world_new(seed + 4, 2);
	struct cookie_checker *checker = &world->hosts[1].device.checker;
	struct cookie_maker *maker = &world_peer(world, 0, 1)->cookie;
	uint8_t secret[NOISE_HASH_LEN];
	size_t first;

	(void)state;
	world->hosts[1].is_loaded = true;
	first = world_send(world, 0, 1);
	world_run(world, SIM_SEC(1));
	assert_true(maker->has_cookie);
	assert_true(checker->has_secret);
	memcpy(secret, checker->secret, sizeof(secret));
	renew(world, 0);
	renew(world, 1);
	assert_false(maker->has_cookie || maker->has_sent_mac1);
	assert_false(checker->has_secret);
	world_run(world, SIM_SEC(1));
	/* Host 1 sends a second cookie, made with another secret. */
	assert_int_equal(world->hosts[1].sent.cookies, 2);
	assert_memory_not_equal(secret, checker->secret, sizeof(secret));
	world_run(world, SIM_SEC(REKEY_TIMEOUT + 1));
	assert_int_equal(world_count_arrived(world, first), 1);
	world_free(world);
}

static void test_down(void **state)
{
	struct world *world = world_new(seed + 5, 2);

	(void)state;
	assert_passes(world, 0, 1);
	device_set_up(&world->hosts[0].device, false, world->now);
	renew(world, 0);
	world_run(world, SIM_SEC(10));
	assert_int_equal(world->hosts[0].sent.initiations, 1);
	device_set_up(&world->hosts[0].device, true, world->now);
	world_run(world, SIM_SEC(10));
	/* No handshake starts: no packet was sent since. */
	assert_int_equal(world->hosts[0].sent.initiations, 1);
	assert_passes(world, 0, 1);
	world_free(world);
}

/*
 * A packet that waits for the first private key leaves as soon as the key is
 * set.
 */
static void test_late_key(void **state)
{
	(void)state;
	for (uint64_t late_ms = 50; late_ms < 80000; late_ms += 7777) {
		struct world *world = world_new(seed + 6, 2);
		size_t first;

		set_key(world, 0, false);
		first = world_send(world, 0, 1);
		world_run(world, SIM_MSEC(late_ms));
		assert_int_equal(world->hosts[0].sent.initiations, 0);
		set_key(world, 0, true);
		world_run(world, SIM_SEC(1));
		assert_int_equal(world_count_arrived(world, first), 1);
		world_free(world);
	}
}

static void fill_persistent(struct config *config, void *arg)
{
	(void)arg;
	config_set_persistent(config, 25);
}

/* Without traffic, a persistent keepalive waits for the key, for any time. */
static void test_late_key_and_keepalive(void **state)
{
	static const uint64_t late_s[] = { 1, 6, 100, 200, 1000 };

	(void)state;
	for (size_t i = 0; i < sizeof(late_s) / sizeof(late_s[0]); i++) {
		struct world *world = world_new(seed + 7, 3);

		set_key(world, 0, false);
		world_configure_peer(world, 0, 1, fill_persistent, NULL);
		world_run(world, SIM_SEC(late_s[i]));
		assert_int_equal(world->hosts[0].sent.initiations, 0);
		set_key(world, 0, true);
		world_run(world, SIM_SEC(1));
		assert_true(has_session(world, 0, 1));
		/* The other peer has no keepalive, so it gets no session. */
		assert_false(has_session(world, 0, 2));
		world_free(world);
	}
}

/* The key changes while an attempt with the old one goes unanswered. */
static void test_other_key(void **state)
{
	struct world *world = world_new(seed + 8, 2);
	struct sim_host *host = &world->hosts[0];
	uint8_t strange[NOISE_PRIVATE_KEY_LEN] = { 1, 2, 3 };
	size_t first;

	(void)state;
	device_set_private_key(&host->device, strange);
	first = world_send(world, 0, 1);
	world_run(world, SIM_SEC(1));
	assert_int_equal(host->sent.initiations, 1);
	assert_int_equal(world_count_arrived(world, first), 0);
	set_key(world, 0, true);
	world_run(world, SIM_SEC(1));
	assert_int_equal(host->sent.initiations, 2);
	assert_int_equal(world_count_arrived(world, first), 1);
	world_free(world);
}

static void fill_endpoint(struct config *config, void *arg)
{
	config_set_endpoint(config, arg);
}

/* An endpoint that comes after persistent keepalives were switched on. */
static void test_late_endpoint(void **state)
{
	struct world *world = world_new(seed + 9, 2);
	struct device_endpoint there, nowhere = { { 0 } };
	struct peer *peer = world_peer(world, 0, 1);

	(void)state;
	assert_true(endpoint_cell_get(&peer->endpoint, &there));
	endpoint_cell_set(&peer->endpoint, &nowhere);
	world_configure_peer(world, 0, 1, fill_persistent, NULL);
	world_run(world, SIM_SEC(1));
	assert_int_equal(world->hosts[0].sent.initiations, 0);
	world_configure_peer(world, 0, 1, fill_endpoint, &there);
	world_run(world, SIM_SEC(1));
	assert_true(has_session(world, 0, 1));
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counters),
		cmocka_unit_test(test_greeting),
		cmocka_unit_test(test_initiation_in_flight),
		cmocka_unit_test(test_response_in_flight),
		cmocka_unit_test(test_cookies),
		cmocka_unit_test(test_down),
		cmocka_unit_test(test_late_key),
		cmocka_unit_test(test_late_key_and_keepalive),
		cmocka_unit_test(test_other_key),
		cmocka_unit_test(test_late_endpoint),
	};

	if (sim_prepare(&seed, 20261128))
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
