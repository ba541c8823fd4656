/* SPDX-License-Identifier: MIT */
/*
 * What the device tells its owner about peers (struct device_ops, @event): each
 * event comes when it is due, as often as it is due, and for the right peer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "world.h"

enum {
	N_EVENTS = DEVICE_SESSION_ENDED + 1,
};

static uint64_t seed;

/* How often host @of has told this about @to. */
static unsigned int told(const struct world *world, unsigned int of,
			 unsigned int to, enum device_event event)
{
	return world->hosts[of].told[to][event];
}

static void forget(struct world *world)
{
	for (unsigned int i = 0; i < SIM_HOSTS; i++)
		memset(world->hosts[i].told, 0, sizeof(world->hosts[i].told));
}

/* Host @of has told nothing about @to but this, which it has told once. */
static void assert_told(const struct world *world, unsigned int of,
			unsigned int to, enum device_event event)
{
	for (int i = 0; i < N_EVENTS; i++)
		assert_int_equal(told(world, of, to, (enum device_event)i),
				 i == (int)event);
}

static void assert_told_nothing(const struct world *world)
{
	for (unsigned int of = 0; of < SIM_HOSTS; of++)
		for (unsigned int to = 0; to < SIM_HOSTS; to++)
			for (int i = 0; i < N_EVENTS; i++)
				assert_int_equal(world->hosts[of].told[to][i],
						 0);
}

static void fill_preshared_key(struct config *config, void *arg)
{
	config_set_preshared_key(config, arg);
}

static void fill_removal(struct config *config, void *arg)
{
	(void)arg;
	config_remove_peer(config);
}

/* Added when the world was made, changed, removed. */
static void test_configuration(void **state)
{
	struct world *world = world_new(seed, 3);
	uint8_t key[NOISE_PRESHARED_KEY_LEN] = { 1 };

	(void)state;
	assert_told(world, 0, 1, DEVICE_PEER_ADDED);
	assert_told(world, 0, 2, DEVICE_PEER_ADDED);
	forget(world);
	world_configure_peer(world, 0, 1, fill_preshared_key, key);
	assert_told(world, 0, 1, DEVICE_PEER_CHANGED);
	forget(world);
	world_configure_peer(world, 0, 1, fill_removal, NULL);
	assert_told(world, 0, 1, DEVICE_PEER_REMOVED);
	forget(world);
	world_run(world, SIM_SEC(600));
	assert_told_nothing(world);
	world_free(world);
}

/* Traffic with new sessions tells nothing. */
static void test_traffic(void **state)
{
	struct world *world = world_new(seed + 1, 2);

	(void)state;
	forget(world);
	world_stream(world, 0, 1, SIM_MSEC(500), SIM_SEC(400));
	world_run(world, SIM_SEC(401));
	assert_told_nothing(world);
	world_free(world);
}

/* Both ends wipe the keys 540 s after a session that nobody uses. */
static void test_end(void **state)
{
	struct world *world = world_new(seed + 2, 2);

	(void)state;
	forget(world);
	world_send(world, 0, 1);
	world_run(world, SIM_SEC(530));
	assert_told_nothing(world);
	world_run(world, SIM_SEC(20));
	assert_told(world, 0, 1, DEVICE_SESSION_ENDED);
	assert_told(world, 1, 0, DEVICE_SESSION_ENDED);
	world_run(world, SIM_SEC(3600));
	assert_told(world, 0, 1, DEVICE_SESSION_ENDED);
	world_free(world);
}

/* The other end gets nothing: silent after three initiations, over after 90 s. */
static void test_silence(void **state)
{
	struct world *world = world_new(seed + 3, 2);

	(void)state;
	forget(world);
	world->is_cut = true;
	world_send(world, 0, 1);
	world_run(world, SIM_SEC(14));
	assert_told_nothing(world);
	world_run(world, SIM_SEC(4));
	assert_told(world, 0, 1, DEVICE_PEER_SILENT);
	forget(world);
	world_run(world, SIM_SEC(100));
	assert_told(world, 0, 1, DEVICE_ATTEMPT_ENDED);
	forget(world);
	world_run(world, SIM_SEC(3600));
	/* The keys of the handshake are wiped, but there was no session. */
	assert_told_nothing(world);
	/* The next packet begins a new attempt, which tells it again. */
	world_send(world, 0, 1);
	world_run(world, SIM_SEC(18));
	assert_told(world, 0, 1, DEVICE_PEER_SILENT);
	world_free(world);
}

/* The peer moves, and says so by its next packet. */
static void test_endpoint(void **state)
{
	struct world *world = world_new(seed + 4, 2);

	(void)state;
	world_send(world, 0, 1);
	world_run(world, SIM_SEC(1));
	forget(world);
	world_rebind(world, 0);
	world_send(world, 0, 1);
	world_run(world, SIM_SEC(1));
	assert_told(world, 1, 0, DEVICE_ENDPOINT_CHANGED);
	world_free(world);
}

/*
 * The preshared keys differ. The initiator cannot read the responses, so the
 * responder is asked again and again. When it is asked for the fourth time, it
 * tells so, once.
 */
static void test_preshared_key(void **state)
{
	struct world *world = world_new(seed + 5, 2);
	uint8_t key[NOISE_PRESHARED_KEY_LEN] = { 1 };

	(void)state;
	world_configure_peer(world, 0, 1, fill_preshared_key, key);
	forget(world);
	world_send(world, 0, 1);
	world_run(world, SIM_SEC(14));
	assert_int_equal(told(world, 1, 0, DEVICE_HANDSHAKES_INCOMPLETE), 0);
	world_run(world, SIM_SEC(80));
	assert_int_equal(told(world, 1, 0, DEVICE_HANDSHAKES_INCOMPLETE), 1);
	assert_int_equal(told(world, 0, 1, DEVICE_PEER_SILENT), 1);
	/* A session ends the row, so a later row is told again. */
	memset(key, 0, sizeof(key));
	world_configure_peer(world, 0, 1, fill_preshared_key, key);
	world_send(world, 0, 1);
	world_run(world, SIM_SEC(10));
	key[0] = 1;
	world_configure_peer(world, 0, 1, fill_preshared_key, key);
	forget(world);
	world_stream(world, 0, 1, SIM_SEC(1), SIM_SEC(300));
	world_run(world, SIM_SEC(300));
	assert_int_equal(told(world, 1, 0, DEVICE_HANDSHAKES_INCOMPLETE), 1);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_configuration),
		cmocka_unit_test(test_traffic),
		cmocka_unit_test(test_end),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_endpoint),
		cmocka_unit_test(test_preshared_key),
	};

	if (sim_prepare(&seed, 1400))
		return EXIT_FAILURE;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
