/* SPDX-License-Identifier: MIT */
/*
 * Macs and cookies between two sides: when a message needs a cookie, how long a
 * cookie holds, and which replies are taken.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "crypto/init.h"
#include "noise_world.h"

#define SEC NSEC_PER_SEC

static const uint8_t address[6] = { 192, 0, 2, 1, 0xca, 0x6c };

static enum cookie_verdict check(struct side *side, const void *msg, size_t len,
				 const uint8_t *source, size_t source_len,
				 uint64_t now)
{
	return cookie_checker_check(&side->checker, msg, len, source,
				    source_len, true, now);
}

/* Make an initiation from a to b, with macs as of @now. */
static void make(struct world *w, struct message_initiation *msg, uint64_t now)
{
	assert_int_equal(noise_handshake_create_initiation(&w->a.hs, now, msg),
			 0);
	cookie_maker_add_macs(&w->a.maker, msg, sizeof(*msg), now);
}

/* b answers with a cookie reply, and a takes it. */
static void give_cookie(struct world *w, const struct message_initiation *msg,
			uint64_t now)
{
	struct message_cookie reply;

	cookie_checker_make_reply(&w->b.checker, msg, sizeof(*msg), address,
				  sizeof(address), now, &reply);
	assert_int_equal(message_check(&reply, sizeof(reply)), MESSAGE_COOKIE);
	assert_int_equal(le32_get(reply.receiver), le32_get(msg->sender));
	assert_true(cookie_maker_consume_reply(&w->a.maker, &reply, now));
}

static void test_flow(void **state)
{
	struct message_initiation msg;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 1);
	make(&w, &msg, 10 * SEC);
	assert_int_equal(check(&w.b, &msg, sizeof(msg), address, 6, 10 * SEC),
			 COOKIE_MAC1_RIGHT);
	give_cookie(&w, &msg, 10 * SEC);
	/* The old message has no mac2; the next one has. */
	assert_int_equal(check(&w.b, &msg, sizeof(msg), address, 6, 10 * SEC),
			 COOKIE_MAC1_RIGHT);
	make(&w, &msg, 15 * SEC);
	assert_int_equal(check(&w.b, &msg, sizeof(msg), address, 6, 15 * SEC),
			 COOKIE_MAC2_RIGHT);
	/* Without load mac2 is not asked for. */
	assert_int_equal(cookie_checker_check(&w.b.checker, &msg, sizeof(msg),
					      address, 6, false, 15 * SEC),
			 COOKIE_MAC1_RIGHT);
	/* At a even mac1 is wrong, because it was made with the key of b. */
	assert_int_equal(check(&w.a, &msg, sizeof(msg), address, 6, 15 * SEC),
			 COOKIE_MAC1_WRONG);
	world_deinit(&w);
}

/* A cookie holds only for the source that it was made for: each byte and the
 * length of the source count. */
static void test_source_is_bound(void **state)
{
	struct message_initiation msg;
	uint8_t other[18] = { 0 };
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 2);
	make(&w, &msg, SEC);
	give_cookie(&w, &msg, SEC);
	make(&w, &msg, 2 * SEC);
	for (size_t i = 0; i < sizeof(address); i++) {
		memcpy(other, address, sizeof(address));
		other[i] ^= 1;
		assert_int_equal(
			check(&w.b, &msg, sizeof(msg), other, 6, 2 * SEC),
			COOKIE_MAC1_RIGHT);
	}
	memcpy(other, address, sizeof(address));
	assert_int_equal(check(&w.b, &msg, sizeof(msg), other, 18, 2 * SEC),
			 COOKIE_MAC1_RIGHT);
	assert_int_equal(check(&w.b, &msg, sizeof(msg), other, 6, 2 * SEC),
			 COOKIE_MAC2_RIGHT);
	world_deinit(&w);
}

static bool has_mac2(const struct message_initiation *msg)
{
	static const uint8_t zero[COOKIE_LEN];

	return memcmp(msg->macs.mac2, zero, sizeof(zero)) != 0;
}

/* Time since the cookie came, and whether it is still sent. */
static const struct {
	uint64_t age_ns;
	bool is_sent;
} maker_ages[] = {
	/* 0 */ { 0, true },
	/* 1 */ { 60 * SEC, true },
	/* 2 */ { 115 * SEC - 1, true },
	/* 3 */ { 115 * SEC, false },
	/* 4 */ { 120 * SEC, false },
	/* 5 */ { 1000 * SEC, false },
};

static void test_sender_drops_old_cookies(void **state)
{
	const uint64_t start = 1000 * SEC;
	struct message_initiation msg;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 3);
	make(&w, &msg, start);
	assert_false(has_mac2(&msg));
	give_cookie(&w, &msg, start);
	for (size_t i = 0; i < ARRAY_LEN(maker_ages); i++) {
		make(&w, &msg, start + maker_ages[i].age_ns);
		if (has_mac2(&msg) != maker_ages[i].is_sent)
			fail_msg("step %zu", i);
	}
	world_deinit(&w);
}

/* A checker uses a secret for 120 s, however many cookies it makes. */
static void test_receiver_changes_its_secret(void **state)
{
	const uint64_t start = 1000 * SEC;
	struct message_initiation msg;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 4);
	make(&w, &msg, start);
	give_cookie(&w, &msg, start);
	make(&w, &msg, start + 110 * SEC);
	give_cookie(&w, &msg, start + 110 * SEC);
	make(&w, &msg, start + 119 * SEC);
	assert_int_equal(check(&w.b, &msg, sizeof(msg), address, 6,
			       start + 120 * SEC - 1),
			 COOKIE_MAC2_RIGHT);
	assert_int_equal(
		check(&w.b, &msg, sizeof(msg), address, 6, start + 120 * SEC),
		COOKIE_MAC1_RIGHT);
	/* The next reply draws a new secret, and the old cookie stays wrong. */
	give_cookie(&w, &msg, start + 121 * SEC);
	assert_int_equal(
		check(&w.b, &msg, sizeof(msg), address, 6, start + 121 * SEC),
		COOKIE_MAC1_RIGHT);
	make(&w, &msg, start + 122 * SEC);
	assert_int_equal(
		check(&w.b, &msg, sizeof(msg), address, 6, start + 122 * SEC),
		COOKIE_MAC2_RIGHT);
	world_deinit(&w);
}

static void test_reply_is_taken_once(void **state)
{
	struct message_initiation msg, older;
	struct message_cookie reply;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 5);
	make(&w, &older, SEC);
	make(&w, &msg, 6 * SEC);
	/* An answer to the message before the last one is not taken. */
	cookie_checker_make_reply(&w.b.checker, &older, sizeof(older), address,
				  6, 6 * SEC, &reply);
	assert_false(cookie_maker_consume_reply(&w.a.maker, &reply, 6 * SEC));
	cookie_checker_make_reply(&w.b.checker, &msg, sizeof(msg), address, 6,
				  6 * SEC, &reply);
	assert_true(cookie_maker_consume_reply(&w.a.maker, &reply, 6 * SEC));
	assert_false(cookie_maker_consume_reply(&w.a.maker, &reply, 6 * SEC));
	/* This maker has sent no message, so no reply is due. */
	assert_false(cookie_maker_consume_reply(&w.b.maker, &reply, 6 * SEC));
	world_deinit(&w);
}

/* A reply is taken for 5 s after the message, and not after a session has
 * begun. */
static void test_reply_that_is_not_due(void **state)
{
	struct message_initiation msg;
	struct message_cookie reply;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 8);
	make(&w, &msg, SEC);
	cookie_checker_make_reply(&w.b.checker, &msg, sizeof(msg), address, 6,
				  SEC, &reply);
	assert_false(cookie_maker_consume_reply(&w.a.maker, &reply, 6 * SEC));
	assert_true(
		cookie_maker_consume_reply(&w.a.maker, &reply, 6 * SEC - 1));

	make(&w, &msg, 7 * SEC);
	cookie_checker_make_reply(&w.b.checker, &msg, sizeof(msg), address, 6,
				  7 * SEC, &reply);
	cookie_maker_expect_none(&w.a.maker);
	assert_false(cookie_maker_consume_reply(&w.a.maker, &reply, 7 * SEC));
	world_deinit(&w);
}

/* A response is answered by a cookie reply in the same way. */
static void test_reply_to_a_response(void **state)
{
	struct message_initiation msg;
	struct message_response response;
	struct message_cookie reply;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 6);
	make(&w, &msg, SEC);
	assert_true(side_receive(&w.b, (const uint8_t *)&msg, sizeof(msg),
				 false, SEC, &response));
	cookie_checker_make_reply(&w.a.checker, &response, sizeof(response),
				  address, 6, SEC, &reply);
	assert_int_equal(le32_get(reply.receiver), le32_get(response.sender));
	assert_true(side_receive(&w.b, (const uint8_t *)&reply, sizeof(reply),
				 false, SEC, NULL));
	cookie_maker_add_macs(&w.b.maker, &response, sizeof(response), 2 * SEC);
	assert_int_equal(
		check(&w.a, &response, sizeof(response), address, 6, 2 * SEC),
		COOKIE_MAC2_RIGHT);
	world_deinit(&w);
}

static void test_change_of_our_key(void **state)
{
	struct message_initiation msg;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 7);
	make(&w, &msg, SEC);
	cookie_checker_set_key(&w.b.checker, NULL);
	assert_int_equal(check(&w.b, &msg, sizeof(msg), address, 6, SEC),
			 COOKIE_MAC1_WRONG);
	cookie_checker_set_key(&w.b.checker, w.b.public_key);
	assert_int_equal(check(&w.b, &msg, sizeof(msg), address, 6, SEC),
			 COOKIE_MAC1_RIGHT);
	world_deinit(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flow),
		cmocka_unit_test(test_source_is_bound),
		cmocka_unit_test(test_sender_drops_old_cookies),
		cmocka_unit_test(test_receiver_changes_its_secret),
		cmocka_unit_test(test_reply_is_taken_once),
		cmocka_unit_test(test_reply_that_is_not_due),
		cmocka_unit_test(test_reply_to_a_response),
		cmocka_unit_test(test_change_of_our_key),
	};

	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
