/* SPDX-License-Identifier: MIT */
/*
 * Every message of the handshake with every bit flipped, and cut or lengthened
 * to every length: no such message is taken, and no byte of the receiver's
 * state changes. The receiver is under load, so mac2 is checked as well.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "crypto/aead.h"
#include "crypto/init.h"
#include "noise_world.h"

#define SEC  NSEC_PER_SEC
#define NOW  (100 * SEC)
#define WALL (UINT64_C(1700000000) * SEC)

enum {
	/* A choice: longer than any handshake message, which has 148 bytes at
	 * most. */
	LONGEST = 400
};

/* Give @from a cookie of @to, as a cookie reply would. */
static void give_cookie(struct side *from, struct side *to, void *msg,
			size_t len)
{
	struct message_cookie reply;

	cookie_maker_add_macs(&from->maker, msg, len, NOW);
	cookie_checker_make_reply(&to->checker, msg, len, to->source,
				  sizeof(to->source), NOW, &reply);
	assert_true(cookie_maker_consume_reply(&from->maker, &reply, NOW));
	cookie_maker_add_macs(&from->maker, msg, len, NOW);
}

/* Make a world with a session, and an initiation from a that b has not
 * received. */
static void make_initiation(struct world *w, uint64_t seed,
			    struct message_initiation *msg)
{
	world_init(w, NULL, NULL, seed);
	assert_true(world_handshake(&w->a, &w->b, SEC, WALL));
	assert_true(world_carry(&w->a, &w->b, SEC));
	assert_int_equal(
		noise_handshake_create_initiation(&w->a.hs, WALL + NOW, msg),
		0);
	give_cookie(&w->a, &w->b, msg, sizeof(*msg));
}

/* Make a world with a session, and a response from b that a has not
 * received. */
static void make_response(struct world *w, uint64_t seed,
			  struct message_response *msg)
{
	struct message_initiation initiation;

	make_initiation(w, seed, &initiation);
	assert_true(side_receive(&w->b, (const uint8_t *)&initiation,
				 sizeof(initiation), true, NOW, msg));
	give_cookie(&w->b, &w->a, msg, sizeof(*msg));
}

static void must_refuse(struct side *side, const uint8_t *buf, size_t len,
			const struct side_snapshot *before, const char *what,
			size_t at)
{
	struct message_response response;
	struct side_snapshot after;

	if (side_receive(side, buf, len, true, NOW, &response))
		fail_msg("taken: %s %zu", what, at);
	side_snapshot(side, &after);
	if (memcmp(before, &after, sizeof(after)) != 0)
		fail_msg("state changed: %s %zu", what, at);
}

static void mutate(struct side *side, const uint8_t *msg, size_t len)
{
	struct side_snapshot before;
	uint8_t buf[LONGEST];

	side_snapshot(side, &before);
	for (size_t bit = 0; bit < len * 8; bit++) {
		memcpy(buf, msg, len);
		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
		must_refuse(side, buf, len, &before, "bit", bit);
	}
	for (size_t n = 0; n < sizeof(buf); n++) {
		memset(buf, 0, sizeof(buf));
		memcpy(buf, msg, n < len ? n : len);
		if (n != len)
			must_refuse(side, buf, n, &before, "length", n);
	}
	/* Every other type. */
	for (unsigned int type = 0; type < 256; type++) {
		memcpy(buf, msg, len);
		buf[0] = (uint8_t)type;
		if (type != msg[0])
			must_refuse(side, buf, len, &before, "type", type);
	}
}

static void test_initiation(void **state)
{
	struct message_initiation msg;
	struct message_response response;
	struct world w;

	(void)state;
	make_initiation(&w, 1, &msg);
	mutate(&w.b, (const uint8_t *)&msg, sizeof(msg));
	assert_true(side_receive(&w.b, (const uint8_t *)&msg, sizeof(msg), true,
				 NOW, &response));
	/* The message is taken once only. */
	assert_false(side_receive(&w.b, (const uint8_t *)&msg, sizeof(msg),
				  true, NOW, &response));
	world_deinit(&w);
}

static void test_response(void **state)
{
	struct message_response msg;
	struct world w;

	(void)state;
	make_response(&w, 1, &msg);
	mutate(&w.a, (const uint8_t *)&msg, sizeof(msg));
	assert_true(side_receive(&w.a, (const uint8_t *)&msg, sizeof(msg), true,
				 NOW, NULL));
	assert_false(side_receive(&w.a, (const uint8_t *)&msg, sizeof(msg),
				  true, NOW, NULL));
	world_deinit(&w);
}

static void test_cookie_reply(void **state)
{
	struct message_initiation initiation;
	struct message_cookie msg;
	struct world w;

	(void)state;
	make_initiation(&w, 1, &initiation);
	cookie_checker_make_reply(&w.b.checker, &initiation, sizeof(initiation),
				  w.b.source, sizeof(w.b.source), NOW, &msg);
	mutate(&w.a, (const uint8_t *)&msg, sizeof(msg));
	assert_true(side_receive(&w.a, (const uint8_t *)&msg, sizeof(msg), true,
				 NOW, NULL));
	world_deinit(&w);
}

/*
 * Everybody who knows our public key can compute mac1. So the handshake itself
 * must refuse each changed bit. (Only the sender index is protected by mac1
 * alone; a changed one names an index that the peer does not have.)
 */
static void test_initiation_with_fresh_macs(void **state)
{
	const size_t from = offsetof(struct message_initiation, ephemeral);
	const size_t to = offsetof(struct message_initiation, macs);
	struct message_initiation msg, bad;
	struct side_snapshot before;
	struct cookie_maker maker;
	struct world w;

	(void)state;
	make_initiation(&w, 1, &msg);
	maker = w.a.maker;
	side_snapshot(&w.b, &before);
	for (size_t bit = from * 8; bit < to * 8; bit++) {
		bad = msg;
		((uint8_t *)&bad)[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cookie_maker_add_macs(&maker, &bad, sizeof(bad), NOW);
		must_refuse(&w.b, (const uint8_t *)&bad, sizeof(bad), &before,
			    "bit", bit);
	}
	world_deinit(&w);
}

static void test_response_with_fresh_macs(void **state)
{
	const size_t from = offsetof(struct message_response, receiver);
	const size_t to = offsetof(struct message_response, macs);
	struct message_response msg, bad;
	struct side_snapshot before;
	struct cookie_maker maker;
	struct world w;

	(void)state;
	make_response(&w, 1, &msg);
	maker = w.b.maker;
	side_snapshot(&w.a, &before);
	for (size_t bit = from * 8; bit < to * 8; bit++) {
		bad = msg;
		((uint8_t *)&bad)[bit / 8] ^= (uint8_t)(1 << bit % 8);
		cookie_maker_add_macs(&maker, &bad, sizeof(bad), NOW);
		must_refuse(&w.a, (const uint8_t *)&bad, sizeof(bad), &before,
			    "bit", bit);
	}
	world_deinit(&w);
}

/* A third side, which has none of the private keys, sends a response. */
static void test_response_of_a_stranger(void **state)
{
	struct message_initiation initiation;
	struct message_response msg;
	struct side_snapshot before;
	struct world w, strangers;

	(void)state;
	make_initiation(&w, 1, &initiation);
	make_response(&strangers, 2, &msg);
	msg.receiver = initiation.sender;
	cookie_maker_add_macs(&w.b.maker, &msg, sizeof(msg), NOW);
	side_snapshot(&w.a, &before);
	assert_int_equal(noise_handshake_consume_response(&w.a.hs, &msg),
			 NOISE_E_FORGED);
	must_refuse(&w.a, (const uint8_t *)&msg, sizeof(msg), &before,
		    "stranger", 0);
	world_deinit(&strangers);
	world_deinit(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_initiation),
		cmocka_unit_test(test_response),
		cmocka_unit_test(test_cookie_reply),
		cmocka_unit_test(test_initiation_with_fresh_macs),
		cmocka_unit_test(test_response_with_fresh_macs),
		cmocka_unit_test(test_response_of_a_stranger),
	};

	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
