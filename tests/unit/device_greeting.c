/* SPDX-License-Identifier: MIT */
/*
 * A device that goes on for one that has died greets the peers that had a session: not
 * all at once, and those with packets first.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "crypto/init.h"
#include "device/config.h"
#include "device_fake.h"

enum {
	N_PEERS = 3000,
	/* Peers with packets. */
	N_WAITING = 400,
	/* The last of them is greeted after this many milliseconds, if nothing holds
	 * the thread up, and after this many if something does. */
	ALL_MS = 1000 + (N_PEERS - 500) * 10 / 9,
	STALL_MS = 700,
	END_MS = ALL_MS + STALL_MS + 10,
};

#define START (UINT64_C(1000) * NSEC_PER_SEC)

/* Every peer with a session, and every third also with persistent keepalives. */
static void add_peers(struct device_fake *fake, bool had_session)
{
	struct config *config = config_new();
	struct device_endpoint ep = { { 1 } };
	struct list *item;

	assert_non_null(config);
	for (unsigned int i = 0; i < N_PEERS; i++) {
		uint8_t key[NOISE_PUBLIC_KEY_LEN] = { (uint8_t)i,
						      (uint8_t)(i >> 8), 1 };

		config_begin_peer(config, key);
		config_set_endpoint(config, &ep);
		if (i % 3 == 0)
			config_set_persistent(config, 25);
	}
	assert_int_equal(config_apply(config, &fake->device, START), 0);
	config_free(config);
	list_for_each(item, &fake->device.peers)
		container_of(item, struct peer, in_device)->had_session =
			had_session;
}

/* The last N_WAITING peers have packets. */
static void ask_for_some(struct device_fake *fake)
{
	struct list *item = fake->device.peers.prev;

	for (unsigned int i = 0; i < N_WAITING; i++) {
		struct peer *peer = container_of(item, struct peer, in_device);

		timers_want_handshake(&peer->timers);
		device_poke_peer(peer);
		item = item->prev;
	}
}

/* The thread looks once in a millisecond, but for a time from @stall_at on. */
static void greet_all(size_t stall_at, size_t stall_ms)
{
	static size_t sent[END_MS + 1];
	struct device_fake fake;
	size_t most = 0;

	device_fake_init(&fake);
	add_peers(&fake, true);
	device_set_up(&fake.device, true, START);
	ask_for_some(&fake);
	for (size_t ms = 0; ms <= END_MS; ms++) {
		uint64_t now = START + ms * NSEC_PER_MSEC, next = 0;

		if (ms < stall_at || ms >= stall_at + stall_ms)
			next = device_tick(&fake.device, now);
		sent[ms] = fake.n_initiations;
		/* The loop would be told of the next one. */
		if (ms < ALL_MS - 2)
			assert_true(next <= now + 3 * NSEC_PER_MSEC);
		if (ms == 0)
			assert_in_range(fake.n_initiations, N_WAITING,
					N_WAITING + 1);
		if (ms >= 1000 && sent[ms] - sent[ms - 1000] > most)
			most = sent[ms] - sent[ms - 1000];
		if (ms == 1000)
			print_message("# in the first second: %zu\n", sent[ms]);
	}
	print_message("# %zu initiations, at most %zu in a second\n",
		      fake.n_initiations, most);
	assert_int_equal(fake.n_initiations, N_PEERS);
	assert_true(sent[999] <= 1000);
	assert_true(most <= 1000);
	device_fake_deinit(&fake);
}

static void test_pace(void **state)
{
	(void)state;
	greet_all(0, 0);
}

/* The thread is held up, for a moment and for longer. Nothing is made up for at once. */
static void test_stall(void **state)
{
	(void)state;
	greet_all(1700, 90);
	greet_all(1700, STALL_MS);
	greet_all(500, STALL_MS);
}

/* The control: a device that was simply started greets those with keepalives only. */
static void test_no_greeting(void **state)
{
	struct device_fake fake;

	(void)state;
	device_fake_init(&fake);
	add_peers(&fake, false);
	device_set_up(&fake.device, true, START);
	device_tick(&fake.device, START);
	device_tick(&fake.device, START + 4 * NSEC_PER_SEC);
	assert_int_equal(fake.n_initiations, 0);
	assert_int_equal(fake.n_keepalives, N_PEERS / 3);
	device_fake_deinit(&fake);
}

/* The interface goes down before all are greeted, and up again. */
static void test_down_and_up(void **state)
{
	struct device_fake fake;

	(void)state;
	device_fake_init(&fake);
	add_peers(&fake, true);
	device_set_up(&fake.device, true, START);
	device_tick(&fake.device, START + 100 * NSEC_PER_MSEC);
	size_t n = fake.n_initiations;

	assert_in_range(n, 40, 60);
	device_set_up(&fake.device, false, START + NSEC_PER_SEC);
	device_tick(&fake.device, START + 2 * NSEC_PER_SEC);
	assert_int_equal(fake.n_initiations, n);
	device_set_up(&fake.device, true, START + 3 * NSEC_PER_SEC);
	device_tick(&fake.device, START + 3100 * NSEC_PER_MSEC);
	print_message("# %zu, then %zu\n", n, fake.n_initiations - n);
	assert_in_range(fake.n_initiations - n, 40, 60);
	device_fake_deinit(&fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pace),
		cmocka_unit_test(test_stall),
		cmocka_unit_test(test_no_greeting),
		cmocka_unit_test(test_down_and_up),
	};

	if (crypto_init() < 0)
		return 77;
	rcu_register();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
