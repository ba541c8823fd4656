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
	/* Peers. None of them is tried a second time before END_MS. */
	N_PEERS = 2601,
	/* Peers with packets. */
	N_WAITING = 400,
	/* The last of them is greeted after this many milliseconds, if nothing holds
	 * the thread up, and after this many if something does. */
	ALL_MS = 1000 + (N_PEERS - 500) * 10 / 9,
	STALL_MS = 700,
	END_MS = ALL_MS + 2 * STALL_MS + 10,
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

/* A time in which a thread is held up, in milliseconds. */
struct stall {
	size_t at;
	size_t length;
};

static bool is_stalled(const struct stall *stall, size_t ms)
{
	return ms >= stall->at && ms < stall->at + stall->length;
}

/* The most initiations within a second. @sent: how many there were after each ms. */
static size_t find_most(const size_t *sent)
{
	size_t most = sent[999];

	for (size_t ms = 1000; ms <= END_MS; ms++)
		most = size_max(most, sent[ms] - sent[ms - 1000]);
	return most;
}

/* The thread that makes initiations is held up, or goes on. */
static void hold(struct device_fake *fake, bool is_held)
{
	fake->holds_initiations = is_held;
	if (is_held)
		return;
	fake->n_initiations += fake->n_waiting;
	fake->n_waiting = 0;
}

/* The control thread looks once in a millisecond. It is held up for a time, and so is the
 * thread that makes the initiations. */
static void greet_all(struct stall control, struct stall making)
{
	static size_t sent[END_MS + 1];
	struct device_fake fake;

	device_fake_init(&fake);
	add_peers(&fake, true);
	device_set_up(&fake.device, true, START);
	ask_for_some(&fake);
	for (size_t ms = 0; ms <= END_MS; ms++) {
		uint64_t now = START + ms * NSEC_PER_MSEC, next = 0;

		hold(&fake, is_stalled(&making, ms));
		if (!is_stalled(&control, ms))
			next = device_tick(&fake.device, now);
		sent[ms] = fake.n_initiations;
		/* The loop would be told of the next one. */
		if (ms < ALL_MS - 2)
			assert_true(next <= now + 3 * NSEC_PER_MSEC);
		if (ms == 0)
			assert_in_range(fake.n_initiations + fake.n_waiting,
					N_WAITING, N_WAITING + 1);
	}
	print_message("# held up for %zu ms at %zu, and for %zu at %zu: %zu "
		      "initiations, at most %zu in a second\n",
		      control.length, control.at, making.length, making.at,
		      fake.n_initiations, find_most(sent));
	assert_int_equal(fake.n_initiations, N_PEERS);
	assert_true(find_most(sent) <= 1000);
	device_fake_deinit(&fake);
}

static const struct stall none;

static void test_pace(void **state)
{
	(void)state;
	greet_all(none, none);
}

/* The control thread is held up, for a moment and for longer. Nothing is made up for at
 * once. */
static void test_stall(void **state)
{
	(void)state;
	greet_all((struct stall){ 1700, 90 }, none);
	greet_all((struct stall){ 1700, STALL_MS }, none);
	greet_all((struct stall){ 500, STALL_MS }, none);
}

/* The same with the thread that makes the initiations, and with both. */
static void test_stall_of_making(void **state)
{
	static const size_t begins[] = { 0, 300, 900, 1300, 1700, 2500 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(begins); i++) {
		const struct stall making = { begins[i], STALL_MS };

		greet_all(none, making);
		greet_all((struct stall){ begins[i] + STALL_MS, 45 }, making);
		greet_all((struct stall){ begins[i] + 100, STALL_MS }, making);
		greet_all(none, (struct stall){ begins[i], 60 });
	}
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
	device_tick(&fake.device, START + 45 * NSEC_PER_MSEC);
	size_t n = fake.n_initiations;

	assert_in_range(n, 20, 30);
	device_set_up(&fake.device, false, START + NSEC_PER_SEC);
	device_tick(&fake.device, START + 2 * NSEC_PER_SEC);
	assert_int_equal(fake.n_initiations, n);
	device_set_up(&fake.device, true, START + 3 * NSEC_PER_SEC);
	device_tick(&fake.device, START + 3045 * NSEC_PER_MSEC);
	print_message("# %zu, then %zu\n", n, fake.n_initiations - n);
	assert_in_range(fake.n_initiations - n, 20, 30);
	device_fake_deinit(&fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pace),
		cmocka_unit_test(test_stall),
		cmocka_unit_test(test_stall_of_making),
		cmocka_unit_test(test_no_greeting),
		cmocka_unit_test(test_down_and_up),
	};

	if (crypto_init() < 0)
		return 77;
	rcu_register();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
