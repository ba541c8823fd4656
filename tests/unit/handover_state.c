/* SPDX-License-Identifier: MIT */
/*
 * A state, written by one device and applied to another: everything is there again, and
 * goes on. Then memory that is damaged, cut off, of another version, or written by an
 * enemy, who can make the sum fit.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "crypto/init.h"
#include "crypto/x25519.h"
#include "device/config.h"
#include "device/handshake.h"
#include "device/session.h"
#include "handover/owner.h"
#include "handover_world.h"
#include "tests/lib/lack.h"

enum {
	N_PEERS = 5,
	ROUNDS = 40,
};

#define ZEROES "000000000000000000000000000000"
/* The keys of the peers of handover_device_init(), and another one. */
#define KEY_0 "0900" ZEROES ZEROES
#define KEY_1 "0901" ZEROES ZEROES
#define KEY_2 "09ff" ZEROES ZEROES

static struct state check(const struct store *store)
{
	struct state state = { .is_endpoint = handover_is_endpoint };

	if (!state_check(&state, store->bytes, store->len))
		fail_msg("refused: %s", state.why);
	assert_null(state.why);
	return state;
}

static void test_all_comes_back(void **unused)
{
	(void)unused;
	for (unsigned int i = 0; i < ROUNDS; i++) {
		const unsigned int lanes[] = { 1, 3, 256 };
		unsigned int n_lanes = lanes[i % 3];
		size_t n_peers = (size_t)(handover_random() % (N_PEERS + 1));
		struct device_fake a, b;
		struct store store;
		struct state state;

		handover_device_init(&a, n_peers, n_lanes, i);
		handover_device_fill(&a);
		handover_write(&store, &a);
		handover_device_init(&b, n_peers, n_lanes, i);
		state = check(&store);
		assert_int_equal(state.n_peers, n_peers);
		assert_true(state.is_up);
		assert_true(state.written_ns == HANDOVER_NOW);
		assert_int_equal(state_apply(&state, &b.device, HANDOVER_NOW),
				 0);
		handover_compare(&a, &b);
		store_close(&store);
		device_fake_deinit(&a);
		device_fake_deinit(&b);
	}
}

/* What is done beforehand changes nothing but the time that the rest takes. */
static void test_reserved(void **unused)
{
	(void)unused;
	for (unsigned int i = 0; i < ROUNDS; i++) {
		struct device_fake a, b;
		struct store store;
		struct state state;

		handover_device_init(&a, N_PEERS, 1, i);
		handover_device_fill(&a);
		handover_write(&store, &a);
		handover_device_init(&b, N_PEERS, 1, i);
		/* Some peers have no session by now, and some have one since. */
		for (size_t n = 0; n < N_PEERS; n++)
			handover_peer(&b, n)->had_session =
				handover_random() % 2;
		state_prepare(&b.device);
		for (size_t n = 0; n < N_PEERS; n++)
			assert_int_equal(!!handover_peer(&b, n)->keypairs.spare,
					 handover_peer(&b, n)->had_session);
		/* In half of the rounds the upgrade ends here. */
		if (i % 2) {
			state = check(&store);
			assert_int_equal(
				state_apply(&state, &b.device, HANDOVER_NOW),
				0);
			handover_compare(&a, &b);
			for (size_t n = 0; n < N_PEERS; n++)
				assert_null(
					handover_peer(&b, n)->keypairs.spare);
		}
		store_close(&store);
		device_fake_deinit(&a);
		device_fake_deinit(&b);
	}
}

static void test_counters(void **unused)
{
	struct state_counter counter;
	struct device_fake a;
	struct store store;
	struct state state;

	(void)unused;
	handover_device_init(&a, 0, 1, 0);
	handover_write(&store, &a);
	state = check(&store);
	assert_int_equal(state.n_counters, HANDOVER_COUNTERS);
	for (size_t i = 0; i < HANDOVER_COUNTERS; i++) {
		state_get_counter(&state, i, &counter);
		assert_memory_equal(&counter, &handover_counters[i],
				    sizeof(counter));
	}
	store_close(&store);
	device_fake_deinit(&a);
}

static void test_length(void **unused)
{
	struct device_fake a;
	struct store store;
	struct state state;
	size_t len;

	(void)unused;
	handover_device_init(&a, N_PEERS, 1, 0);
	handover_device_fill(&a);
	len = state_get_len(&a.device, HANDOVER_COUNTERS);
	handover_write(&store, &a);
	state = check(&store);
	assert_in_range(state.len, 1, len);
	store_close(&store);
	/* Too short for it: nothing of it is left. */
	assert_int_equal(store_new(&store, 4096, SECRET_PRIVATE), 0);
	assert_int_equal(state_write(&store, &a.device, NULL, handover_counters,
				     HANDOVER_COUNTERS, HANDOVER_NOW),
			 -ENOSPC);
	assert_true(bytes_are_zero(store.bytes, store.len));
	store_close(&store);
	device_fake_deinit(&a);
}

/* A device that is down has nothing under way. */
static void test_down(void **unused)
{
	struct device_fake a, b;
	struct store store;
	struct state state;

	(void)unused;
	handover_device_init(&a, 2, 1, 0);
	handover_device_fill(&a);
	device_set_up(&a.device, false, HANDOVER_NOW);
	handover_write(&store, &a);
	state = check(&store);
	assert_false(state.is_up);
	assert_int_equal(state.n_sessions, 0);
	handover_device_init(&b, 2, 1, 0);
	device_set_up(&b.device, false, HANDOVER_NOW);
	assert_int_equal(state_apply(&state, &b.device, HANDOVER_NOW), 0);
	assert_false(b.device.is_up);
	assert_true(handover_peer(&b, 1)->handshake.is_closed);
	assert_true(handover_peer(&a, 1)->tx_bytes ==
		    handover_peer(&b, 1)->tx_bytes);
	store_close(&store);
	device_fake_deinit(&a);
	device_fake_deinit(&b);
}

/* The successor's device may be down, and its peers in another order. */
static void test_other_order(void **unused)
{
	struct device_fake a, b;
	struct store store;
	struct state state;
	char text[256];

	(void)unused;
	handover_device_init(&a, 2, 1, 0);
	handover_device_fill(&a);
	handover_write(&store, &a);
	state = check(&store);
	handover_device_init(&b, 0, 1, 0);
	device_set_up(&b.device, false, HANDOVER_NOW);
	snprintf(text, sizeof(text), "set=1\npublic_key=%s\npublic_key=%s\n\n",
		 KEY_1, KEY_0);
	assert_int_equal(device_fake_set(&b, text), 0);
	assert_int_equal(state_apply(&state, &b.device, HANDOVER_NOW), 0);
	assert_true(b.device.is_up);
	for (size_t i = 0; i < 2; i++)
		assert_true(handover_peer(&a, i)->tx_bytes ==
			    handover_peer(&b, 1 - i)->tx_bytes);
	store_close(&store);
	device_fake_deinit(&a);
	device_fake_deinit(&b);
}

/* Another configuration is refused. */
static void test_other_configuration(void **unused)
{
	const char *changes[] = {
		"set=1\nlisten_port=1\n\n",
		"set=1\nfwmark=1\n\n",
		"set=1\nprivate_key=" KEY_0 "\n\n",
		"set=1\npublic_key=" KEY_0 "\nremove=true\n\n",
		"set=1\npublic_key=" KEY_2 "\n\n",
		"set=1\nreplace_peers=true\npublic_key=" KEY_2
		"\npublic_key=" KEY_1 "\n\n",
	};
	struct device_fake a, b;
	struct store store;
	struct state state;

	(void)unused;
	handover_device_init(&a, 2, 1, 0);
	handover_device_fill(&a);
	handover_write(&store, &a);
	state = check(&store);
	for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
		handover_device_init(&b, 2, 1, 0);
		assert_int_equal(device_fake_set(&b, changes[i]), 0);
		assert_int_equal(state_apply(&state, &b.device, HANDOVER_NOW),
				 -ESTALE);
		device_fake_deinit(&b);
	}
	handover_device_init(&b, 2, 2, 0);
	assert_int_equal(state_apply(&state, &b.device, HANDOVER_NOW), -ESTALE);
	device_fake_deinit(&b);
	/* Written in the future. */
	handover_device_init(&b, 2, 1, 0);
	assert_int_equal(
		state_apply(&state, &b.device, HANDOVER_NOW - 2 * NSEC_PER_SEC),
		-EINVAL);
	device_fake_deinit(&b);
	store_close(&store);
	device_fake_deinit(&a);
}

static void test_lack_of_memory(void **unused)
{
	struct device_fake a, b;
	struct store store;
	struct state state;
	int err = -1;

	(void)unused;
	handover_device_init(&a, 3, 1, 0);
	handover_device_fill(&a);
	if (!handover_peer(&a, 0)->keypairs.current)
		handover_add_keypair(handover_peer(&a, 0), NOISE_CURRENT);
	handover_write(&store, &a);
	state = check(&store);
	for (long n = 1; err < 0; n++) {
		handover_device_init(&b, 3, 1, 0);
		lack_left = n;
		err = state_apply(&state, &b.device, HANDOVER_NOW);
		lack_left = -1;
		if (err < 0)
			assert_int_equal(err, -ENOMEM);
		else
			assert_true(n > 1);
		device_fake_deinit(&b);
	}
	store_close(&store);
	device_fake_deinit(&a);
}

static void test_owner(void **unused)
{
	struct device_fake a;
	struct store store;
	struct state_head *head;
	struct state state = { .is_endpoint = handover_is_endpoint };

	(void)unused;
	handover_device_init(&a, 0, 1, 0);
	handover_write(&store, &a);
	head = (void *)store.bytes;
	assert_int_equal(owner_get(head), OWNER_PREDECESSOR);
	assert_true(owner_take(head, OWNER_KEPT));
	assert_int_equal(owner_get(head), OWNER_KEPT);
	assert_false(owner_take(head, OWNER_SUCCESSOR));
	assert_int_equal(owner_get(head), OWNER_KEPT);
	assert_false(state_check(&state, store.bytes, store.len));
	store_close(&store);
	device_fake_deinit(&a);
}

/* Nobody who has another descriptor of the memory finds a key in it. */
static void test_closed(void **unused)
{
	struct device_fake a;
	struct store store, other;
	int fd;

	(void)unused;
	handover_device_init(&a, N_PEERS, 1, 0);
	handover_device_fill(&a);
	handover_write(&store, &a);
	fd = dup(store.fd);
	assert_true(fd >= 0);
	assert_int_equal(store_open(&other, fd, STATE_MAX_LEN), 0);
	assert_false(bytes_are_zero(other.bytes, other.len));
	state_close(&store);
	assert_true(bytes_are_zero(other.bytes, other.len));
	assert_false(owner_take((struct state_head *)(void *)other.bytes,
				OWNER_SUCCESSOR));
	store_close(&other);
	device_fake_deinit(&a);
}

/* ---------------------------------------------------------------- going on */

static const uint8_t near_key[NOISE_PRIVATE_KEY_LEN] = { 1, 2, 3 };
static const uint8_t far_key[NOISE_PRIVATE_KEY_LEN] = { 4, 5, 6 };

static void add_peer(struct device_fake *fake, const uint8_t *own,
		     const uint8_t *other)
{
	const struct device_endpoint ep = { { 'e' } };
	struct config *config = config_new();
	uint8_t clamped[NOISE_PRIVATE_KEY_LEN];
	uint8_t public_key[NOISE_PUBLIC_KEY_LEN];

	assert_non_null(config);
	memcpy(clamped, other, sizeof(clamped));
	x25519_clamp(clamped);
	x25519_public(public_key, clamped);
	config_set_private_key(config, own);
	config_begin_peer(config, public_key);
	config_set_endpoint(config, &ep);
	assert_int_equal(config_apply(config, &fake->device, HANDOVER_NOW), 0);
	config_free(config);
	device_set_up(&fake->device, true, HANDOVER_NOW);
}

static struct device_fake *new_device(const uint8_t *own, const uint8_t *other)
{
	struct device_fake *fake = malloc(sizeof(*fake));

	assert_non_null(fake);
	device_fake_init(fake);
	fake->seed = handover_random();
	add_peer(fake, own, other);
	return fake;
}

static void free_device(struct device_fake *fake)
{
	device_fake_deinit(fake);
	free(fake);
}

static const struct device_origin origin = {
	.endpoint = { { 'f' } },
	.source = { 192, 0, 2, 1, 1, 2 },
	.source_len = 6,
};

/* The predecessor stops, and another device goes on for it. */
static struct device_fake *hand_over(struct device_fake *old)
{
	struct device_fake *new = new_device(near_key, far_key);
	struct store store;
	struct state state;

	handover_write(&store, old);
	state = check(&store);
	assert_int_equal(state_apply(&state, &new->device, HANDOVER_NOW), 0);
	store_close(&store);
	free_device(old);
	return new;
}

/* An initiation from one device to another, and what is answered. */
static void initiate(struct device_fake *from, struct device_fake *to,
		     struct device_answer *answer)
{
	struct message_initiation msg;
	struct device_endpoint ep;

	assert_int_equal(device_make_initiation(handover_peer(from, 0),
						HANDOVER_NOW, HANDOVER_NOW,
						&msg, &ep),
			 0);
	assert_int_equal(device_receive_handshake(
				 &to->device, &msg, sizeof(msg), &origin,
				 HANDOVER_NOW, HANDOVER_NOW, answer),
			 DROP_NONE);
	peer_put(answer->peer);
}

static enum drop_reason respond(struct device_fake *to,
				const struct device_answer *answer)
{
	struct device_answer none;

	return device_receive_handshake(&to->device, answer->buf, answer->len,
					&origin, HANDOVER_NOW, HANDOVER_NOW,
					&none);
}

/* A handshake that is under way is completed by the next device, and the session is
 * that of both. */
static void test_handshake_goes_on(void **unused)
{
	struct device_fake *near = new_device(near_key, far_key);
	struct device_fake *far = new_device(far_key, near_key);
	struct device_answer answer;
	struct noise_keypair *kp, *other;

	(void)unused;
	initiate(near, far, &answer);
	near = hand_over(near);
	assert_int_equal(respond(near, &answer), DROP_NONE);
	kp = handover_peer(near, 0)->keypairs.current;
	other = handover_peer(far, 0)->keypairs.next;
	assert_non_null(kp);
	assert_memory_equal(kp->keys->sending, other->keys->receiving, 32);
	assert_int_equal(kp->remote_index, other->local_index);
	/* The answer counts once. */
	assert_int_equal(respond(near, &answer), DROP_NO_INDEX);
	free_device(near);
	free_device(far);
}

/* An initiation that was taken is not taken again. */
static void test_initiations_are_not_repeated(void **unused)
{
	struct device_fake *near = new_device(near_key, far_key);
	struct device_fake *far = new_device(far_key, near_key);
	struct message_initiation msg;
	struct device_answer answer;
	struct device_endpoint ep;

	(void)unused;
	assert_int_equal(device_make_initiation(handover_peer(far, 0),
						HANDOVER_NOW, HANDOVER_NOW,
						&msg, &ep),
			 0);
	assert_int_equal(device_receive_handshake(
				 &near->device, &msg, sizeof(msg), &origin,
				 HANDOVER_NOW, HANDOVER_NOW, &answer),
			 DROP_NONE);
	peer_put(answer.peer);
	near = hand_over(near);
	assert_int_equal(device_receive_handshake(
				 &near->device, &msg, sizeof(msg), &origin,
				 HANDOVER_NOW, HANDOVER_NOW, &answer),
			 DROP_REPLAYED);
	/* The responder's keypair waits for the first message, as before. */
	assert_null(handover_peer(near, 0)->keypairs.current);
	assert_non_null(handover_peer(near, 0)->keypairs.next);
	assert_true(
		noise_keypairs_confirm(&handover_peer(near, 0)->keypairs,
				       handover_peer(near, 0)->keypairs.next));
	free_device(near);
	free_device(far);
}

/* No counter is drawn twice, and none is accepted twice. */
static void test_counters_of_sessions_go_on(void **unused)
{
	struct device_fake *near = new_device(near_key, far_key);
	struct device_fake *far = new_device(far_key, near_key);
	struct noise_keypair *kp;
	struct device_answer answer;
	uint64_t first;
	size_t n = 100;

	(void)unused;
	initiate(near, far, &answer);
	assert_int_equal(respond(near, &answer), DROP_NONE);
	kp = handover_peer(near, 0)->keypairs.current;
	/* Counters that are drawn count as sent. */
	assert_int_equal(noise_keypair_reserve_near(kp, &n, &first), 0);
	for (uint64_t c = 0; c < 20000; c += c % 3 ? 1 : 2)
		assert_true(noise_keypair_accept(kp, c));
	near = hand_over(near);
	kp = handover_peer(near, 0)->keypairs.current;
	assert_int_equal(noise_keypair_reserve_near(kp, &n, &first), 0);
	assert_int_equal(first, 100);
	for (uint64_t c = 0; c < 20000; c += c % 3 ? 1 : 2)
		assert_false(noise_keypair_accept(kp, c));
	assert_true(noise_keypair_accept(kp, 19999));
	assert_true(noise_keypair_accept(kp, 20001));
	free_device(near);
	free_device(far);
}

/* A cookie that we gave out is taken, and one that we got is used. */
static void test_cookies_go_on(void **unused)
{
	struct device_fake *near = new_device(near_key, far_key);
	struct device_fake *far = new_device(far_key, near_key);
	struct device_origin loaded = origin;
	struct message_initiation msg;
	struct device_answer answer;
	struct device_endpoint ep;
	bool is_proven = false;

	(void)unused;
	loaded.is_under_load = true;
	assert_int_equal(device_make_initiation(handover_peer(far, 0),
						HANDOVER_NOW, HANDOVER_NOW,
						&msg, &ep),
			 0);
	assert_int_equal(device_receive_handshake(
				 &near->device, &msg, sizeof(msg), &loaded,
				 HANDOVER_NOW, HANDOVER_NOW, &answer),
			 DROP_NEEDS_COOKIE);
	near = hand_over(near);
	assert_int_equal(
		device_take_cookie(&far->device, answer.buf, HANDOVER_NOW),
		DROP_NONE);
	assert_int_equal(device_make_initiation(handover_peer(far, 0),
						HANDOVER_NOW, HANDOVER_NOW,
						&msg, &ep),
			 0);
	assert_int_equal(device_screen_handshake(&near->device, &msg,
						 sizeof(msg), &loaded,
						 HANDOVER_NOW, &is_proven),
			 DROP_NONE);
	assert_true(is_proven);
	/* The other way: our initiation is answered after the change. */
	assert_int_equal(device_make_initiation(handover_peer(near, 0),
						HANDOVER_NOW, HANDOVER_NOW,
						&msg, &ep),
			 0);
	assert_int_equal(device_receive_handshake(
				 &far->device, &msg, sizeof(msg), &loaded,
				 HANDOVER_NOW, HANDOVER_NOW, &answer),
			 DROP_NEEDS_COOKIE);
	near = hand_over(near);
	assert_int_equal(
		device_take_cookie(&near->device, answer.buf, HANDOVER_NOW),
		DROP_NONE);
	near = hand_over(near);
	assert_true(handover_peer(near, 0)->cookie.has_cookie);
	free_device(near);
	free_device(far);
}

/* A persistent keepalive is sent when it was due, and a session is not greeted. */
static void test_deadlines_go_on(void **unused)
{
	struct device_fake a, b;
	struct store store;
	struct state state;
	uint64_t next;

	(void)unused;
	handover_device_init(&a, 1, 1, 0);
	next = device_tick(&a.device, HANDOVER_NOW);
	assert_true(next == HANDOVER_NOW + 25 * NSEC_PER_SEC);
	handover_add_keypair(handover_peer(&a, 0), NOISE_CURRENT);
	handover_write(&store, &a);
	handover_device_init(&b, 1, 1, 0);
	handover_peer(&b, 0)->had_session = true;
	state = check(&store);
	assert_int_equal(state.n_sessions, 1);
	assert_int_equal(state_apply(&state, &b.device, HANDOVER_NOW), 0);
	b.n_keepalives = 0;
	assert_true(device_tick(&b.device, HANDOVER_NOW) == next);
	assert_int_equal(b.n_keepalives, 0);
	assert_int_equal(b.n_initiations, 0);
	device_tick(&b.device, next);
	assert_int_equal(b.n_keepalives, 1);
	assert_int_equal(b.n_initiations, 0);
	store_close(&store);
	device_fake_deinit(&a);
	device_fake_deinit(&b);
}

/* A peer that the control thread was about to look at is looked at. */
static void test_pokes_go_on(void **unused)
{
	struct device_fake a, b;
	struct store store;
	struct state state;

	(void)unused;
	handover_device_init(&a, 1, 1, 0);
	assert_true(timers_want_handshake(&handover_peer(&a, 0)->timers));
	device_poke_peer(handover_peer(&a, 0));
	handover_write(&store, &a);
	handover_device_init(&b, 1, 1, 0);
	state = check(&store);
	b.n_wakes = 0;
	b.n_initiations = 0;
	assert_int_equal(state_apply(&state, &b.device, HANDOVER_NOW), 0);
	assert_true(b.n_wakes > 0);
	device_tick(&b.device, HANDOVER_NOW);
	assert_int_equal(b.n_initiations, 1);
	store_close(&store);
	device_fake_deinit(&a);
	device_fake_deinit(&b);
}

/* The kernel gives a session's messages to the lane that its index names. */
static void test_lane_of_an_index(void **unused)
{
	for (int i = 0; i < 2; i++) {
		struct state state = { .is_endpoint = handover_is_endpoint };
		struct state_head *head;
		struct device_fake a;
		struct store store;
		uint32_t *lane;

		(void)unused;
		handover_device_init(&a, 1, 2, 0);
		if (i)
			handover_add_keypair(handover_peer(&a, 0),
					     NOISE_CURRENT);
		handover_write(&store, &a);
		head = (void *)store.bytes;
		lane = (void *)(store.bytes + sizeof(*head) +
				sizeof(struct state_body) +
				sizeof(handover_counters) +
				sizeof(struct state_peer) +
				offsetof(struct peer_plain, lane));
		*lane ^= 1;
		head->sum = state_sum(store.bytes, (size_t)head->len,
				      head->sum_key);
		/* Without a session the peer may be of any lane. */
		assert_int_equal(state_check(&state, store.bytes, store.len),
				 !i);
		store_close(&store);
		device_fake_deinit(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_comes_back),
		cmocka_unit_test(test_reserved),
		cmocka_unit_test(test_counters),
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_down),
		cmocka_unit_test(test_other_order),
		cmocka_unit_test(test_other_configuration),
		cmocka_unit_test(test_lack_of_memory),
		cmocka_unit_test(test_owner),
		cmocka_unit_test(test_closed),
		cmocka_unit_test(test_handshake_goes_on),
		cmocka_unit_test(test_initiations_are_not_repeated),
		cmocka_unit_test(test_counters_of_sessions_go_on),
		cmocka_unit_test(test_cookies_go_on),
		cmocka_unit_test(test_deadlines_go_on),
		cmocka_unit_test(test_pokes_go_on),
		cmocka_unit_test(test_lane_of_an_index),
	};

	if (crypto_init() < 0)
		return EXIT_FAILURE;
	rcu_register();
	handover_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
