/* SPDX-License-Identifier: MIT */
/*
 * Tunnels over hours of fake time, on networks good and bad.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "world.h"

enum {
	MINUTE = 60,
	HOUR = 3600,
	RESPONSE_MAX = REKEY_TIMEOUT + KEEPALIVE_TIMEOUT,
};

static uint64_t seed;

static void assert_all_arrived(const struct world *world, size_t first)
{
	assert_int_equal(world_count_arrived(world, first),
			 world->n_packets - first);
}

static void test_steady_hours(void **state)
{
	struct world *world = world_new(seed, 2);

	(void)state;
	world_stream(world, 0, 1, SIM_MSEC(250), SIM_SEC(3 * HOUR));
	world_run(world, SIM_SEC(1));
	world_stream(world, 1, 0, SIM_MSEC(400), SIM_SEC(3 * HOUR));
	world_run(world, SIM_SEC(3 * HOUR + 1));
	assert_all_arrived(world, 0);
	/* One handshake in two minutes, and no retries. */
	assert_in_range(world_sum(world).initiations,
			3 * HOUR / (REKEY_AFTER_TIME + 2),
			3 * HOUR / REKEY_AFTER_TIME + 3);
	assert_int_equal(world_sum(world).responses,
			 world_sum(world).initiations);
	print_message("# %zu packets, %zu handshakes\n", world->n_packets,
		      world_sum(world).responses);
	/* With traffic both ways, keepalives only confirm sessions. */
	assert_true(world_sum(world).keepalives <=
		    world_sum(world).initiations);
	world_free(world);
}

static void test_three_hosts(void **state)
{
	struct world *world = world_new(seed + 1, 3);

	(void)state;
	for (unsigned int i = 0; i < 3; i++)
		for (unsigned int k = 0; k < 3; k++)
			if (i != k)
				world_stream(world, i, k,
					     SIM_MSEC(700 + 300 * i + 90 * k),
					     SIM_SEC(HOUR));
	world_run(world, SIM_SEC(HOUR + 10));
	assert_all_arrived(world, 0);
	world_free(world);
}

static void test_bad_network_then_good(void **state)
{
	struct world *world = world_new(seed + 2, 2);
	size_t n_sent;
	size_t first;

	(void)state;
	world->loss_ppm = 300000;
	world->double_ppm = 50000;
	world->delay_ns = SIM_MSEC(300);
	world->jitter_ns = SIM_MSEC(200);
	world_stream(world, 0, 1, SIM_MSEC(300), SIM_SEC(HOUR));
	world_stream(world, 1, 0, SIM_MSEC(500), SIM_SEC(HOUR));
	world_run(world, SIM_SEC(HOUR + 10));
	n_sent = world->n_packets;
	/* About seven packets in ten pass the lossy network, and few are lost
	 * otherwise: the hosts are never long without a session. */
	assert_true(world_count_arrived(world, 0) > n_sent * 66 / 100);
	world->loss_ppm = 0;
	world_run(world, SIM_SEC(30));
	first = world->n_packets;
	world_stream(world, 0, 1, SIM_MSEC(300), SIM_SEC(HOUR));
	world_stream(world, 1, 0, SIM_MSEC(500), SIM_SEC(HOUR));
	world_run(world, SIM_SEC(HOUR + 10));
	assert_all_arrived(world, first);
	world_free(world);
}

/*
 * Both hosts begin a handshake at once, and the path is longer than the jitter.
 */
static void test_crossing_initiations(void **state)
{
	uint64_t worst_ns = 0;

	(void)state;
	for (uint64_t i = 0; i < 30; i++) {
		struct world *world = world_new(seed + 100 + i, 2);
		uint64_t start_ns = world->now;

		world->delay_ns = SIM_MSEC(500);
		world_send(world, 0, 1);
		world_send(world, 1, 0);
		while (world_count_arrived(world, 0) < 2)
			world_run(world, SIM_MSEC(100));
		if (world->now - start_ns > worst_ns)
			worst_ns = world->now - start_ns;
		world_free(world);
	}
	print_message("# worst of 30: %llu ms\n",
		      (unsigned long long)(worst_ns / NSEC_PER_MSEC));
	assert_true(worst_ns < SIM_SEC(MINUTE));
}

static void test_outages_heal(void **state)
{
	static const unsigned int lengths[] = { 3, 20, 100, 200, 600 };
	struct world *world = world_new(seed + 3, 2);
	size_t first;

	(void)state;
	world_stream(world, 0, 1, SIM_MSEC(900), SIM_SEC(2 * HOUR));
	world_stream(world, 1, 0, SIM_MSEC(1100), SIM_SEC(2 * HOUR));
	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		world_run(world, SIM_SEC(5 * MINUTE));
		world->is_cut = true;
		world_run(world, SIM_SEC(lengths[i]));
		world->is_cut = false;
		/* A retry is due after REKEY_TIMEOUT and jitter. */
		world_run(world, SIM_SEC(REKEY_TIMEOUT + 1));
		first = world->n_packets;
		world_run(world, SIM_SEC(MINUTE));
		world->hosts[0].delivered = 0;
		assert_true(world_count_arrived(world, first) + 2 >=
			    world->n_packets - first);
	}
	world_free(world);
}

/* Packets that were staged without a session arrive once there is one. */
static void test_staged_packets_arrive(void **state)
{
	struct world *world = world_new(seed + 4, 2);

	(void)state;
	world->is_cut = true;
	for (size_t i = 0; i < STAGED_MAX_PACKETS; i++)
		world_send(world, 0, 1);
	world_run(world, SIM_SEC(30));
	assert_int_equal(world_count_arrived(world, 0), 0);
	world->is_cut = false;
	world_run(world, SIM_SEC(REKEY_TIMEOUT + 1));
	assert_all_arrived(world, 0);
	world_free(world);
}

static void test_restart(void **state)
{
	struct world *world = world_new(seed + 5, 2);
	size_t first;

	(void)state;
	world_stream(world, 0, 1, SIM_MSEC(200), SIM_SEC(20 * MINUTE));
	world_run(world, SIM_SEC(5 * MINUTE));
	world_restart(world, 1);
	/* Data goes unanswered, then a handshake restores the flow. */
	world_run(world, SIM_SEC(RESPONSE_MAX + 2));
	first = world->n_packets;
	world_run(world, SIM_SEC(5 * MINUTE));
	assert_true(world->n_packets - world_count_arrived(world, first) -
			    first <=
		    1);
	/* If the restarted host sends first, its packet arrives at once. */
	world_restart(world, 1);
	first = world_send(world, 1, 0);
	world_run(world, SIM_SEC(1));
	assert_int_equal(world->arrived[first], 1);
	world_free(world);
}

static void test_rebinding(void **state)
{
	struct world *world = world_new(seed + 6, 2);
	size_t first;

	(void)state;
	world_send(world, 0, 1);
	world_run(world, SIM_SEC(1));
	for (size_t i = 0; i < 5; i++) {
		world_rebind(world, 0);
		assert_int_not_equal(world_believed_address(world, 1, 0),
				     world->hosts[0].address);
		first = world_send(world, 0, 1);
		world_run(world, SIM_SEC(1));
		assert_int_equal(world_believed_address(world, 1, 0),
				 world->hosts[0].address);
		world_send(world, 1, 0);
		world_run(world, SIM_SEC(1));
		assert_all_arrived(world, first);
	}
	world_free(world);
}

static void test_wall_clock_steps(void **state)
{
	static const int64_t steps_s[] = { -HOUR, HOUR, -30 * HOUR, 2, -2 };
	struct world *world = world_new(seed + 7, 2);

	(void)state;
	world_stream(world, 0, 1, SIM_MSEC(500), SIM_SEC(HOUR));
	world_stream(world, 1, 0, SIM_MSEC(500), SIM_SEC(HOUR));
	for (size_t i = 0; i < ARRAY_LEN(steps_s); i++) {
		world_run(world, SIM_SEC(5 * MINUTE));
		world->hosts[i % 2].realtime_offset_ns +=
			steps_s[i] * (int64_t)NSEC_PER_SEC;
	}
	world_run(world, SIM_SEC(40 * MINUTE));
	assert_all_arrived(world, 0);
	world_free(world);
}

static void test_idle_is_silent_and_wiped(void **state)
{
	struct world *world = world_new(seed + 8, 2);
	struct noise_keypairs *kps = &world_peer(world, 0, 1)->keypairs;
	size_t before;

	(void)state;
	world_stream(world, 0, 1, SIM_SEC(1), SIM_SEC(10));
	/* The session begins in the first second. Traffic ends in the tenth,
	 * and one last keepalive answers it. */
	world_run(world, SIM_SEC(30));
	before = world_count_sent(world);
	world_run(world, SIM_SEC(508));
	assert_non_null(kps->current);
	world_run(world, SIM_SEC(4));
	assert_null(kps->current);
	assert_null(kps->previous);
	assert_null(kps->next);
	assert_null(world_peer(world, 1, 0)->keypairs.current);
	assert_int_equal(world->hosts[0].device.index.table.n_entries, 0);
	assert_int_equal(world->hosts[1].device.index.table.n_entries, 0);
	world_run(world, SIM_SEC(HOUR));
	assert_int_equal(world_count_sent(world), before);
	/* No deadline is left: an idle tunnel never wakes. */
	assert_true(world->hosts[0].due_ns == SCHEDULE_NEVER);
	assert_true(world->hosts[1].due_ns == SCHEDULE_NEVER);
	world_free(world);
}

static void test_one_way_traffic_is_answered(void **state)
{
	struct world *world = world_new(seed + 9, 2);

	(void)state;
	world_stream(world, 0, 1, SIM_MSEC(100), SIM_SEC(20 * MINUTE));
	world_run(world, SIM_SEC(20 * MINUTE + 1));
	assert_all_arrived(world, 0);
	/* Host 1 sends a passive keepalive every ten seconds; those of host 0
	 * confirm sessions. */
	assert_in_range(world->hosts[1].sent.keepalives, 20 * MINUTE / 11,
			20 * MINUTE / 10);
	assert_true(world->hosts[0].sent.keepalives <= 12);
	assert_int_equal(world->hosts[1].sent.initiations, 0);
	assert_true(world->hosts[0].sent.initiations <= 11);
	world_free(world);
}

static void fill_persistent(struct config *config, void *arg)
{
	config_set_persistent(config, *(uint16_t *)arg);
}

static void test_persistent_keepalive(void **state)
{
	struct world *world = world_new(seed + 10, 3);
	struct sim_counts *sent = &world->hosts[0].sent;
	uint16_t interval_s = 25;

	(void)state;
	world_configure_peer(world, 0, 1, fill_persistent, &interval_s);
	/* The first keepalive leaves at once, and to this peer only. */
	world_run(world, SIM_SEC(1));
	assert_int_equal(sent->initiations, 1);
	assert_int_equal(sent->keepalives, 1);
	assert_int_equal(world->hosts[2].drops[DROP_NONE], 0);
	world_run(world, SIM_SEC(10 * MINUTE));
	assert_in_range(sent->keepalives, 20, 30);
	assert_true(world->hosts[1].sent.keepalives <= 6);
	/* During traffic there are no persistent keepalives, only those that
	 * confirm sessions. */
	world_stream(world, 0, 1, SIM_SEC(5), SIM_SEC(HOUR));
	world_stream(world, 1, 0, SIM_SEC(7), SIM_SEC(HOUR));
	sent->keepalives = 0;
	sent->initiations = 0;
	world_run(world, SIM_SEC(HOUR));
	assert_true(sent->keepalives <= sent->initiations);
	/* With interval 0 nothing is sent. */
	interval_s = 0;
	world_configure_peer(world, 0, 1, fill_persistent, &interval_s);
	world_run(world, SIM_SEC(MINUTE));
	*sent = (struct sim_counts){ 0 };
	world_run(world, SIM_SEC(HOUR));
	assert_int_equal(sim_count_all(sent), 0);
	world_free(world);
}

static void test_attempts_end(void **state)
{
	struct world *world = world_new(seed + 11, 2);
	const struct sim_counts *sent = &world->hosts[0].sent;
	size_t n;

	(void)state;
	world->is_cut = true;
	world_send(world, 0, 1);
	world_run(world, SIM_SEC(3 * HOUR));
	/* For 90 seconds, one initiation every five seconds and jitter. */
	assert_in_range(sent->initiations, 17, 19);
	assert_true(world->hosts[0].has_forgotten_source);
	assert_true(staged_is_empty(&world_peer(world, 0, 1)->staged));
	assert_true(world->hosts[0].due_ns == SCHEDULE_NEVER);
	assert_int_equal(world->hosts[0].device.index.table.n_entries, 0);
	/* Further packets cause further attempts, at the same rate. */
	n = sent->initiations;
	world_stream(world, 0, 1, SIM_MSEC(100), SIM_SEC(10 * MINUTE));
	world_run(world, SIM_SEC(10 * MINUTE));
	assert_in_range(sent->initiations - n, 10 * MINUTE * 10 / 54,
			10 * MINUTE / 5 + 1);
	world_free(world);
}

static void test_cookies_under_load(void **state)
{
	struct world *world = world_new(seed + 12, 2);
	size_t first;

	(void)state;
	world->hosts[1].is_loaded = true;
	first = world_send(world, 0, 1);
	world_run(world, SIM_SEC(1));
	assert_int_equal(world->hosts[1].sent.cookies, 1);
	assert_int_equal(world->hosts[1].sent.responses, 0);
	/* The retry carries the cookie. */
	world_run(world, SIM_SEC(REKEY_TIMEOUT + 1));
	assert_int_equal(world->hosts[1].sent.cookies, 1);
	assert_all_arrived(world, first);
	world_free(world);
}

/* A cookie reply from another address is used, but changes no endpoint. */
static void test_cookie_reply_changes_no_endpoint(void **state)
{
	struct world *world = world_new(seed + 13, 2);
	uint64_t address = world->hosts[1].address;

	(void)state;
	world->hosts[1].is_loaded = true;
	world_send(world, 0, 1);
	world_run(world, SIM_MSEC(25));
	/* The cookie reply is on its way. */
	assert_int_equal(world->n_events, 1);
	world_forge_source(world, address + 0x10000);
	world_run(world, SIM_MSEC(100));
	assert_int_equal(world->hosts[0].drops[DROP_NONE], 1);
	assert_int_equal(world_believed_address(world, 0, 1), address);
	world_free(world);
}

static void test_down_is_quiet(void **state)
{
	struct world *world = world_new(seed + 14, 2);
	uint16_t interval_s = 10;
	size_t first;

	(void)state;
	world_configure_peer(world, 0, 1, fill_persistent, &interval_s);
	world_send(world, 0, 1);
	world_run(world, SIM_SEC(MINUTE));
	device_set_up(&world->hosts[0].device, false, world->now);
	assert_null(world_peer(world, 0, 1)->keypairs.current);
	world->hosts[0].sent = (struct sim_counts){ 0 };
	world_run(world, SIM_SEC(HOUR));
	assert_int_equal(sim_count_all(&world->hosts[0].sent), 0);
	device_set_up(&world->hosts[0].device, true, world->now);
	world_run(world, SIM_SEC(1));
	/* The persistent keepalive starts a handshake at once. */
	assert_int_equal(world->hosts[0].sent.initiations, 1);
	first = world_send(world, 1, 0);
	world_run(world, SIM_SEC(1));
	assert_all_arrived(world, first);
	world_free(world);
}

static void fill_psk(struct config *config, void *arg)
{
	config_set_preshared_key(config, arg);
}

static void test_preshared_key_change(void **state)
{
	struct world *world = world_new(seed + 15, 2);
	uint8_t psk[32] = { 7 };
	size_t n;

	(void)state;
	world_stream(world, 0, 1, SIM_MSEC(300), SIM_SEC(20 * MINUTE));
	world_stream(world, 1, 0, SIM_MSEC(300), SIM_SEC(20 * MINUTE));
	world_run(world, SIM_SEC(30));
	world_configure_peer(world, 0, 1, fill_psk, psk);
	world_configure_peer(world, 1, 0, fill_psk, psk);
	world_run(world, SIM_SEC(10 * MINUTE));
	assert_all_arrived(world, world->n_packets);
	/* If only one side changes its key, the next handshake fails, which
	 * shows that the key is in use. */
	psk[0] = 8;
	world_configure_peer(world, 0, 1, fill_psk, psk);
	n = world->n_packets;
	world_run(world, SIM_SEC(5 * MINUTE));
	assert_true(world_count_arrived(world, n) < world->n_packets - n);
	psk[0] = 7;
	world_configure_peer(world, 0, 1, fill_psk, psk);
	world_run(world, SIM_SEC(10));
	n = world->n_packets;
	world_run(world, SIM_SEC(MINUTE));
	assert_true(world_count_arrived(world, n) + 2 >= world->n_packets - n);
	world_free(world);
}

/* Byte counters count whole outer messages, and are equal on both sides. */
static void test_counters(void **state)
{
	struct world *world = world_new(seed + 16, 2);
	const struct peer *a = world_peer(world, 0, 1);
	const struct peer *b = world_peer(world, 1, 0);
	const size_t data =
		session_padded_len(SIM_PACKET_LEN, 0) + MESSAGE_DATA_OVERHEAD;

	(void)state;
	for (size_t i = 0; i < 10; i++)
		world_send(world, 0, 1);
	world_run(world, SIM_SEC(1));
	assert_int_equal(a->tx_bytes, 148 + 10 * data);
	assert_int_equal(b->rx_bytes, a->tx_bytes);
	assert_int_equal(b->tx_bytes, 92);
	assert_int_equal(a->rx_bytes, 92);
	world_run(world, SIM_SEC(20));
	assert_int_equal(b->tx_bytes, 92 + 32);
	assert_int_equal(a->rx_bytes, 92 + 32);
	assert_true(a->last_handshake_ns > 0 && b->last_handshake_ns > 0);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steady_hours),
		cmocka_unit_test(test_three_hosts),
		cmocka_unit_test(test_bad_network_then_good),
		cmocka_unit_test(test_crossing_initiations),
		cmocka_unit_test(test_outages_heal),
		cmocka_unit_test(test_staged_packets_arrive),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_rebinding),
		cmocka_unit_test(test_wall_clock_steps),
		cmocka_unit_test(test_idle_is_silent_and_wiped),
		cmocka_unit_test(test_one_way_traffic_is_answered),
		cmocka_unit_test(test_persistent_keepalive),
		cmocka_unit_test(test_attempts_end),
		cmocka_unit_test(test_cookies_under_load),
		cmocka_unit_test(test_cookie_reply_changes_no_endpoint),
		cmocka_unit_test(test_down_is_quiet),
		cmocka_unit_test(test_preshared_key_change),
		cmocka_unit_test(test_counters),
	};

	if (sim_prepare(&seed, 20260901))
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
