/* SPDX-License-Identifier: MIT */
/*
 * Keys are wiped nine minutes after the last handshake. The keys of a handshake
 * that is under way at that moment must stay.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "world.h"

enum {
	/* Delay of the path, one way. A choice. */
	DELAY_MS = 50,
	/* In each run a packet is sent at another time, in steps of STEP_MS,
	 * from BEFORE_MS before the wiping to AFTER_MS after it. A handshake
	 * takes 100 ms, so it begins before and ends after the wiping in some
	 * runs. */
	BEFORE_MS = 230,
	AFTER_MS = 120,
	STEP_MS = 10,
};

static const uint64_t wipe_after_ns = SIM_SEC(3 * REJECT_AFTER_TIME);
static uint64_t seed;

/* Run two hosts with a session until @before_ns before its keys are wiped. */
static struct world *make_old_session(uint64_t before_ns)
{
	struct world *world = world_new(seed, 2);
	uint64_t since;

	world->delay_ns = SIM_MSEC(DELAY_MS);
	world_send(world, 0, 1);
	world_run(world, SIM_SEC(30));
	since = atomic_load(&world_peer(world, 0, 1)->timers.session_ns);
	assert_true(since > 0 && since < world->now);
	world_run(world, since + wipe_after_ns - before_ns - world->now);
	return world;
}

/*
 * A packet that is sent around the moment of the wiping arrives within the time
 * of a handshake.
 */
static void handshake_under_way(void **state)
{
	(void)state;
	for (int ms = -AFTER_MS; ms <= BEFORE_MS; ms += STEP_MS) {
		struct world *world = make_old_session(SIM_MSEC(BEFORE_MS));
		size_t first;

		world_run(world, SIM_MSEC(BEFORE_MS - ms));
		first = world_send(world, 0, 1);
		world_run(world, SIM_MSEC(10 * DELAY_MS));
		if (world_count_arrived(world, first) != 1)
			fail_msg("sent %d ms before keys are wiped: lost", ms);
		world_free(world);
	}
}

/* Derive session keys of two peers now, as another thread would. */
static void derive(struct world *world)
{
	struct peer *a = world_peer(world, 0, 1), *b = world_peer(world, 1, 0);
	struct message_initiation initiation;
	struct message_response response;
	struct noise_handshake *hs;
	const uint64_t now = world->now;

	assert_int_equal(noise_handshake_create_initiation(
				 &a->handshake, SIM_SEC(1 << 30), &initiation),
			 0);
	assert_int_equal(noise_local_consume_initiation(&b->device->local,
							&initiation, now, &hs),
			 0);
	assert_ptr_equal(hs, &b->handshake);
	assert_int_equal(noise_handshake_create_response(hs, &response), 0);
	assert_int_equal(noise_handshake_begin_session(hs, &b->keypairs, now),
			 0);
	peer_put(b);
	assert_int_equal(
		noise_handshake_consume_response(&a->handshake, &response), 0);
	assert_int_equal(
		noise_handshake_begin_session(&a->handshake, &a->keypairs, now),
		0);
}

/*
 * New keys are in their slots before the timers are told. Wiping of the old
 * keys becomes due in between.
 */
static void derived_meanwhile(void **state)
{
	struct world *world = make_old_session(1);
	struct noise_keypairs *of_a = &world_peer(world, 0, 1)->keypairs;
	struct noise_keypairs *of_b = &world_peer(world, 1, 0)->keypairs;
	const struct noise_keypair *old = of_a->current;

	(void)state;
	assert_non_null(old);
	derive(world);
	world_run(world, 1);
	/* Check the slots that other threads read. */
	assert_non_null(of_a->current);
	assert_true(of_a->current != old);
	assert_null(of_a->previous);
	assert_true(of_b->next || of_b->current);
	world_free(world);
}

/* An initiation was accepted and is not answered yet. */
static void answer_under_way(void **state)
{
	struct world *world = make_old_session(SIM_MSEC(DELAY_MS) + 1);
	struct peer *a = world_peer(world, 0, 1), *b = world_peer(world, 1, 0);
	struct message_initiation initiation;
	struct message_response response;
	struct noise_handshake *hs;

	(void)state;
	assert_int_equal(noise_handshake_create_initiation(
				 &a->handshake, SIM_SEC(1 << 30), &initiation),
			 0);
	assert_int_equal(noise_local_consume_initiation(&b->device->local,
							&initiation, world->now,
							&hs),
			 0);
	/* The responder's keys are older by the delay of the response. */
	assert_non_null(b->keypairs.current);
	world_run(world, 1);
	assert_null(b->keypairs.current);
	assert_int_equal(noise_handshake_create_response(hs, &response), 0);
	peer_put(b);
	/* If the handshake is not completed, its state is wiped after its own
	 * time. */
	world_run(world, wipe_after_ns + SIM_SEC(1));
	assert_int_equal(b->handshake.state, HANDSHAKE_ZEROED);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(handshake_under_way),
		cmocka_unit_test(derived_meanwhile),
		cmocka_unit_test(answer_under_way),
	};

	if (sim_prepare(&seed, 20261128))
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
