/* SPDX-License-Identifier: MIT */
/*
 * A state that is damaged, cut off, of another version, or written by an enemy, who can
 * make the sum fit.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "crypto/init.h"
#include "handover/owner.h"
#include "handover_world.h"

/* Parts of a state with two peers; each of these has all pieces but the keypair of
 * NOISE_PREVIOUS. The first one's parts are named here. */
enum part {
	HEAD,
	BODY,
	COUNTER,
	PEER,
	CORE,
	HANDSHAKE,
	COOKIE,
	NOTES,
	CURRENT,
	CURRENT_WORDS,
	NEXT,
	/* The second peer. */
	PEER_2,
	CURRENT_2,
	PARTS,
};

/*
 * @bytes:	of a state
 * @len:	their number
 * @at:		where the parts are
 */
struct image {
	uint8_t *bytes;
	size_t len;
	size_t at[PARTS];
};

static void fill_peer(struct peer *peer)
{
	const struct device_endpoint ep = { { 'e' } };
	struct noise_handshake *hs = &peer->handshake;
	struct noise_keypair *kp = handover_add_keypair(peer, NOISE_CURRENT);

	kp->is_initiator = true;
	/* Of the first 71 messages, one was lost: one word is stored. */
	for (uint64_t i = 0; i <= 70; i++)
		if (i != 68)
			assert_true(noise_keypair_accept(kp, i));
	handover_add_keypair(peer, NOISE_NEXT);
	endpoint_cell_set(&peer->endpoint, &ep);
	endpoint_cell_set(&peer->notes.was, &ep);
	assert_int_equal(index_new(&peer->device->index, hs, peer->lane,
				   &hs->local_index),
			 0);
	hs->has_index = true;
	hs->state = HANDSHAKE_CREATED_INITIATION;
	hs->state_generation = hs->local->generation;
	peer->cookie.has_cookie = true;
	peer->cookie.cookie_ns = HANDOVER_NOW;
}

static void find_parts(struct image *image)
{
	const size_t keypair = sizeof(struct noise_keypair_plain);
	size_t *at = image->at;

	at[BODY] = sizeof(struct state_head);
	at[COUNTER] = at[BODY] + sizeof(struct state_body);
	at[PEER] =
		at[COUNTER] + HANDOVER_COUNTERS * sizeof(struct state_counter);
	at[CORE] = at[PEER] + sizeof(struct state_peer);
	at[HANDSHAKE] = at[CORE] + state_places[STATE_CORE].len;
	at[COOKIE] = at[HANDSHAKE] + state_places[STATE_HANDSHAKE].len;
	at[NOTES] = at[COOKIE] + state_places[STATE_COOKIE].len;
	at[CURRENT] = at[NOTES] + state_places[STATE_NOTES].len;
	at[CURRENT_WORDS] = at[CURRENT] + keypair;
	at[NEXT] = at[CURRENT_WORDS] + sizeof(uint64_t);
	at[PEER_2] = at[NEXT] + keypair;
	at[CURRENT_2] = at[PEER_2] + at[CURRENT] - at[PEER];
	assert_int_equal(image->len, at[PEER_2] + at[PEER_2] - at[PEER]);
}

static void make_image(struct image *image)
{
	struct device_fake a;
	struct store store;

	memset(image, 0, sizeof(*image));
	handover_device_init(&a, 2, 1, 0);
	fill_peer(handover_peer(&a, 0));
	fill_peer(handover_peer(&a, 1));
	handover_write(&store, &a);
	image->len =
		(size_t)((const struct state_head *)(void *)store.bytes)->len;
	image->bytes = malloc(image->len);
	assert_non_null(image->bytes);
	memcpy(image->bytes, store.bytes, image->len);
	find_parts(image);
	store_close(&store);
	device_fake_deinit(&a);
}

static void free_image(struct image *image)
{
	free(image->bytes);
}

/* Look at an exact copy of the bytes, so that sanitizers see reads behind its end. */
static bool is_good(const uint8_t *bytes, size_t len, const char **why)
{
	struct state state = { .is_endpoint = handover_is_endpoint };
	uint8_t *copy = malloc(len ? len : 1);
	bool good;

	assert_non_null(copy);
	memcpy(copy, bytes, len);
	good = state_check(&state, copy, len);
	assert_true(good == !state.why);
	free(copy);
	*why = state.why;
	return good;
}

static void fix_sum(struct image *image)
{
	struct state_head *head = (void *)image->bytes;

	head->sum = state_sum(image->bytes, image->len, head->sum_key);
}

static void test_each_bit(void **unused)
{
	struct image image;
	const char *why;

	(void)unused;
	make_image(&image);
	assert_true(is_good(image.bytes, image.len, &why));
	for (size_t i = 0; i < image.len * 8; i++) {
		image.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
		if (is_good(image.bytes, image.len, &why))
			fail_msg("bit %zu", i);
		image.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	assert_true(is_good(image.bytes, image.len, &why));
	free_image(&image);
}

static void test_each_length(void **unused)
{
	struct image image;
	const char *why;

	(void)unused;
	make_image(&image);
	for (size_t len = 0; len < image.len; len++)
		if (is_good(image.bytes, len, &why))
			fail_msg("length %zu", len);
	/* Also if the head claims that it is all. */
	for (size_t len = sizeof(struct state_head); len < image.len; len++) {
		struct image cut = { image.bytes, len, { 0 } };

		((struct state_head *)(void *)image.bytes)->len = len;
		fix_sum(&cut);
		if (is_good(image.bytes, len, &why))
			fail_msg("length %zu, claimed", len);
	}
	free_image(&image);
}

/* Apply a good state, and write it again. Return: it could be applied. */
static bool comes_back(const struct image *image)
{
	struct state state = { .is_endpoint = handover_is_endpoint };
	const size_t *at = image->at;
	struct device_fake b;
	struct store store;
	bool is_applied;

	assert_true(state_check(&state, image->bytes, image->len));
	if (state.is_early)
		return false;
	handover_device_init(&b, 2, 1, 0);
	is_applied = state_apply(&state, &b.device, HANDOVER_NOW) == 0;
	if (is_applied) {
		/* Its time is another one, and so may be the counters. */
		handover_write(&store, &b);
		assert_memory_equal(store.bytes + at[BODY] + 8,
				    image->bytes + at[BODY] + 8,
				    at[COUNTER] - at[BODY] - 8);
		assert_memory_equal(store.bytes + at[PEER],
				    image->bytes + at[PEER],
				    image->len - at[PEER]);
		store_close(&store);
	}
	device_fake_deinit(&b);
	return is_applied;
}

/* All bits, one by one, with a sum that fits: a state that is taken is written again as
 * it was, so nothing of it was lost or changed on the way. */
static void test_each_bit_with_its_sum(void **unused)
{
	size_t n_good = 0, n_applied = 0;
	struct image image;
	const char *why;

	(void)unused;
	make_image(&image);
	for (size_t i = sizeof(struct state_head) * 8; i < image.len * 8; i++) {
		image.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
		fix_sum(&image);
		if (is_good(image.bytes, image.len, &why)) {
			n_good++;
			/* Not all: it takes long. */
			if (n_good % 31 == 0)
				n_applied += comes_back(&image);
		}
		image.bytes[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	/* Keys, counters and statistics may have any value. */
	assert_in_range(n_good, image.len * 8 / 3, image.len * 8 - 1000);
	assert_true(n_applied > 100);
	free_image(&image);
}

#define AT(part, type, member)                     \
	part, offsetof(type, member),              \
		sizeof(((type *)NULL)->member) > 8 \
			? 8                        \
			: sizeof(((type *)NULL)->member)

#define LATE	(HANDOVER_NOW + 2 * NSEC_PER_SEC)
#define FAR_OFF (HANDOVER_NOW + (UINT64_C(1) << 17) * NSEC_PER_SEC * 2)

/* Changes by which a state makes no sense, although the sum fits. */
static const struct {
	const char *what;
	enum part part;
	size_t off, len;
	uint64_t value;
} bad[] = {
	{ "never finished", AT(HEAD, struct state_head, magic), 0 },
	{ "version", AT(HEAD, struct state_head, version), STATE_VERSION + 1 },
	{ "build", AT(HEAD, struct state_head, build), 1 },
	{ "owner", AT(HEAD, struct state_head, owner), OWNER_SUCCESSOR },
	{ "no owner", AT(HEAD, struct state_head, owner), 0 },
	{ "no length", AT(HEAD, struct state_head, len), 0 },
	{ "great length", AT(HEAD, struct state_head, len), UINT64_MAX },
	{ "rest of head", AT(HEAD, struct state_head, zero), 1 },
	{ "no time", AT(BODY, struct state_body, written_ns), 0 },
	{ "no clock", AT(BODY, struct state_body, written_ns), UINT64_MAX },
	{ "before its parts", AT(BODY, struct state_body, written_ns), 1 },
	{ "few counters", AT(BODY, struct state_body, n_counters), 0 },
	{ "many counters", AT(BODY, struct state_body, n_counters),
	  UINT32_MAX },
	{ "few peers", AT(BODY, struct state_body, n_peers), 1 },
	{ "more peers", AT(BODY, struct state_body, n_peers), 3 },
	{ "many peers", AT(BODY, struct state_body, n_peers), UINT32_MAX },
	{ "more than all peers", AT(BODY, struct state_body, n_all), 1 },
	{ "too many of all", AT(BODY, struct state_body, n_all), UINT32_MAX },
	{ "very early", AT(BODY, struct state_body, is_early), 2 },
	{ "no lanes", AT(BODY, struct state_body, device.n_lanes), 0 },
	{ "many lanes", AT(BODY, struct state_body, device.n_lanes), 257 },
	{ "down", AT(BODY, struct state_body, device.is_up), 0 },
	{ "very up", AT(BODY, struct state_body, device.is_up), 2 },
	{ "half a secret", AT(BODY, struct state_body, device.checker.secret),
	  1 },
	{ "time of no secret",
	  AT(BODY, struct state_body, device.checker.secret_ns), 1 },
	{ "name", AT(COUNTER, struct state_counter, name), 0 },
	{ "name's end", COUNTER, STATE_COUNTER_NAME_LEN - 1, 1, 'x' },
	{ "unprintable", COUNTER, 2, 1, '\n' },
	{ "no core", AT(PEER, struct state_peer, pieces), 0 },
	{ "unknown piece", AT(PEER, struct state_peer, pieces), UINT32_MAX },
	{ "no length of a peer", AT(PEER, struct state_peer, len), 0 },
	{ "short peer", AT(PEER, struct state_peer, len),
	  sizeof(struct state_peer) },
	{ "long peer", AT(PEER, struct state_peer, len), UINT32_MAX },
	{ "lane", AT(CORE, struct peer_plain, lane), 1 },
	{ "returned late", AT(CORE, struct peer_plain, returned_ns), LATE },
	{ "due never nearly", AT(CORE, struct peer_plain, due_ns), FAR_OFF },
	{ "greeting", AT(CORE, struct peer_plain, greet_ns), 1 },
	{ "minute", AT(CORE, struct peer_plain, did_last_minute), 2 },
	{ "had session", AT(CORE, struct peer_plain, had_session), 2 },
	{ "endpoint", AT(CORE, struct peer_plain, endpoint), 1 },
	{ "owed", AT(CORE, struct peer_plain, timers.owed_ns), LATE },
	{ "retry", AT(CORE, struct peer_plain, timers.retry_ns), FAR_OFF },
	{ "jitter", AT(CORE, struct peer_plain, timers.jitter_ns),
	  NSEC_PER_SEC },
	{ "flag", AT(CORE, struct peer_plain, timers.armed), 2 },
	{ "handshake of no state",
	  AT(HANDSHAKE, struct noise_handshake_plain, state), 5 },
	{ "handshake at its start with an index",
	  AT(HANDSHAKE, struct noise_handshake_plain, state), 0 },
	{ "handshake without index",
	  AT(HANDSHAKE, struct noise_handshake_plain, has_index), 0 },
	{ "handshake with index 0",
	  AT(HANDSHAKE, struct noise_handshake_plain, local_index), 0 },
	{ "handshake taken never",
	  AT(HANDSHAKE, struct noise_handshake_plain, has_taken), 1 },
	{ "handshake taken late",
	  AT(HANDSHAKE, struct noise_handshake_plain, taken_ns), LATE },
	{ "secret that is not there",
	  AT(HANDSHAKE, struct noise_handshake_plain, static_static), 1 },
	{ "late cookie", AT(COOKIE, struct cookie_maker_plain, cookie_ns),
	  LATE },
	{ "no cookie", AT(COOKIE, struct cookie_maker_plain, has_cookie), 0 },
	{ "no mac", AT(COOKIE, struct cookie_maker_plain, has_sent_mac1), 1 },
	{ "source", AT(NOTES, struct peer_notes_plain, bad_source_version), 5 },
	{ "silent", AT(NOTES, struct peer_notes_plain, is_silent), 2 },
	{ "endpoint before", AT(NOTES, struct peer_notes_plain, was), 1 },
	{ "counter that cannot be",
	  AT(CURRENT, struct noise_keypair_plain, send_counter),
	  REJECT_AFTER_MESSAGES + 1 },
	{ "made later", AT(CURRENT, struct noise_keypair_plain, created_ns),
	  LATE },
	{ "never made", AT(CURRENT, struct noise_keypair_plain, created_ns),
	  0 },
	{ "index 0", AT(CURRENT, struct noise_keypair_plain, local_index), 0 },
	{ "initiator", AT(CURRENT, struct noise_keypair_plain, is_initiator),
	  2 },
	{ "unsendable", AT(CURRENT, struct noise_keypair_plain, is_unsendable),
	  2 },
	{ "next of an initiator",
	  AT(NEXT, struct noise_keypair_plain, is_initiator), 1 },
	{ "received too much",
	  AT(CURRENT, struct noise_keypair_plain, replay.next),
	  REJECT_AFTER_MESSAGES + 1 },
	{ "received nothing",
	  AT(CURRENT, struct noise_keypair_plain, replay.next), 0 },
	{ "a word too many",
	  AT(CURRENT, struct noise_keypair_plain, replay.stored), 6 },
	{ "a word of no counter",
	  AT(CURRENT, struct noise_keypair_plain, replay.stored), 4 },
	{ "the last counter is missing", CURRENT_WORDS, 0, 8, 1 },
	{ "a counter that was not received", CURRENT_WORDS, 0, 8, 0xff },
	{ "a word that nothing is missing in", CURRENT_WORDS, 0, 8, 0x7f },
};

static void set_number(uint8_t *to, size_t len, uint64_t value)
{
	const uint8_t byte = (uint8_t)value;
	const uint16_t half = (uint16_t)value;
	const uint32_t word = (uint32_t)value;

	switch (len) {
	case 1:
		memcpy(to, &byte, len);
		break;
	case 2:
		memcpy(to, &half, len);
		break;
	case 4:
		memcpy(to, &word, len);
		break;
	default:
		assert_int_equal(len, 8);
		memcpy(to, &value, len);
	}
}

static void test_bad_values(void **unused)
{
	struct image image;
	const char *why;

	(void)unused;
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		make_image(&image);
		set_number(image.bytes + image.at[bad[i].part] + bad[i].off,
			   bad[i].len, bad[i].value);
		fix_sum(&image);
		if (is_good(image.bytes, image.len, &why))
			fail_msg("%s", bad[i].what);
		free_image(&image);
	}
}

/* What is found when the state is applied. */
static void apply_edit(const struct image *image, int want)
{
	struct state state = { .is_endpoint = handover_is_endpoint };
	struct device_fake b;

	assert_true(state_check(&state, image->bytes, image->len));
	handover_device_init(&b, 2, 1, 0);
	assert_int_equal(state_apply(&state, &b.device, HANDOVER_NOW), want);
	device_fake_deinit(&b);
}

static void test_one_index_twice(void **unused)
{
	const size_t off = offsetof(struct noise_keypair_plain, local_index);
	struct image image;

	(void)unused;
	make_image(&image);
	apply_edit(&image, 0);
	memcpy(image.bytes + image.at[CURRENT_2] + off,
	       image.bytes + image.at[CURRENT] + off, sizeof(uint32_t));
	fix_sum(&image);
	apply_edit(&image, -EINVAL);
	/* Also that of a handshake. */
	memcpy(image.bytes + image.at[CURRENT_2] + off,
	       image.bytes + image.at[HANDSHAKE] +
		       offsetof(struct noise_handshake_plain, local_index),
	       sizeof(uint32_t));
	fix_sum(&image);
	apply_edit(&image, -EINVAL);
	free_image(&image);
}

static void test_one_peer_twice(void **unused)
{
	struct image image;

	(void)unused;
	make_image(&image);
	memcpy(image.bytes + image.at[PEER_2] + sizeof(struct state_peer),
	       image.bytes + image.at[CORE], NOISE_PUBLIC_KEY_LEN);
	fix_sum(&image);
	apply_edit(&image, -EINVAL);
	free_image(&image);
}

/* The memory may change after it was checked. */
static void test_changes_later(void **unused)
{
	struct image image, good;
	size_t n_good = 0;

	(void)unused;
	make_image(&image);
	make_image(&good);
	for (size_t i = sizeof(struct state_head); i < image.len; i += 13) {
		struct state state = { .is_endpoint = handover_is_endpoint };
		struct state_counter counter;
		struct device_fake b;

		memcpy(good.bytes, image.bytes, image.len);
		assert_true(state_check(&state, good.bytes, good.len));
		good.bytes[i] ^= 0xff;
		handover_device_init(&b, 2, 1, 0);
		n_good += state_apply(&state, &b.device, HANDOVER_NOW) == 0;
		device_fake_deinit(&b);
		memset(good.bytes, 0xff, good.len);
		for (size_t n = 0; n < HANDOVER_COUNTERS; n++) {
			state_get_counter(&state, n, &counter);
			assert_true(strlen(counter.name) <
				    sizeof(counter.name));
		}
	}
	assert_true(n_good > 0);
	free_image(&image);
	free_image(&good);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_bit),
		cmocka_unit_test(test_each_length),
		cmocka_unit_test(test_each_bit_with_its_sum),
		cmocka_unit_test(test_bad_values),
		cmocka_unit_test(test_one_index_twice),
		cmocka_unit_test(test_one_peer_twice),
		cmocka_unit_test(test_changes_later),
	};

	if (crypto_init() < 0)
		return EXIT_FAILURE;
	rcu_register();
	handover_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
