/* SPDX-License-Identifier: MIT */
/*
 * The handshake against the paper (noise_reference.py computes it), and its
 * rules: a message is refused if it is replayed, comes too soon, in the wrong
 * state, or for another key.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "crypto/aead.h"
#include "crypto/init.h"
#include "noise_vectors.h"
#include "noise_world.h"

#define SEC  NSEC_PER_SEC
#define WALL (UINT64_C(1700000000) * SEC)

/* Side a is the initiator of the reference, side b its responder. */
static void world_of_paper(struct world *w)
{
	world_init(w, vector_si, vector_sr, 1);
	noise_handshake_set_preshared_key(&w->a.hs, vector_psk);
	noise_handshake_set_preshared_key(&w->b.hs, vector_psk);
	w->a.next_idx = VECTOR_IDX_I;
	w->b.next_idx = VECTOR_IDX_R;
}

static void set_random(struct side *side, const uint8_t *bytes, size_t len)
{
	side->planned = bytes;
	side->planned_len = len;
}

static void test_messages_of_the_paper(void **state)
{
	struct message_initiation initiation;
	struct message_response response;
	struct noise_keypair *kp;
	struct world w;

	(void)state;
	world_of_paper(&w);
	set_random(&w.a, vector_ei, sizeof(vector_ei));
	assert_int_equal(noise_handshake_create_initiation(
				 &w.a.hs, VECTOR_REALTIME_NS, &initiation),
			 0);
	cookie_maker_add_macs(&w.a.maker, &initiation, sizeof(initiation), SEC);
	assert_memory_equal(&initiation, vector_initiation, sizeof(initiation));

	set_random(&w.b, vector_er, sizeof(vector_er));
	assert_true(side_receive(&w.b, vector_initiation,
				 sizeof(vector_initiation), false, SEC,
				 &response));
	assert_memory_equal(w.b.hs.taken_timestamp.b, vector_stamp,
			    sizeof(vector_stamp));
	assert_memory_equal(&response, vector_response, sizeof(response));
	assert_true(side_receive(&w.a, vector_response, sizeof(vector_response),
				 false, SEC, NULL));

	kp = w.a.kps.current;
	assert_non_null(kp);
	assert_memory_equal(kp->keys->sending, vector_t_i, 32);
	assert_memory_equal(kp->keys->receiving, vector_t_r, 32);
	assert_true(kp->is_initiator);
	assert_int_equal(kp->local_index, VECTOR_IDX_I);
	assert_int_equal(kp->remote_index, VECTOR_IDX_R);
	assert_ptr_equal(kp->owner, &w.a);
	kp = w.b.kps.next;
	assert_non_null(kp);
	assert_memory_equal(kp->keys->receiving, vector_t_i, 32);
	assert_memory_equal(kp->keys->sending, vector_t_r, 32);
	assert_false(kp->is_initiator);
	assert_int_equal(kp->remote_index, VECTOR_IDX_I);
	world_deinit(&w);
}

static void test_cookie_of_the_paper(void **state)
{
	uint8_t msg[sizeof(vector_initiation)];
	struct message_cookie reply;
	uint8_t random[24 + 32];
	struct world w;

	(void)state;
	world_of_paper(&w);
	memcpy(random, vector_nonce, 24);
	memcpy(random + 24, vector_cookie_secret, 32);
	set_random(&w.b, random, sizeof(random));
	cookie_checker_make_reply(&w.b.checker, vector_initiation,
				  sizeof(vector_initiation), vector_source,
				  sizeof(vector_source), SEC, &reply);
	assert_memory_equal(&reply, vector_cookie_reply, sizeof(reply));

	memcpy(msg, vector_initiation, sizeof(msg));
	cookie_maker_add_macs(&w.a.maker, msg, sizeof(msg), SEC);
	assert_memory_equal(msg, vector_initiation, sizeof(msg));
	assert_true(cookie_maker_consume_reply(&w.a.maker, &reply, SEC));
	cookie_maker_add_macs(&w.a.maker, msg, sizeof(msg), SEC);
	assert_memory_equal(msg, vector_initiation_with_cookie, sizeof(msg));
	assert_int_equal(cookie_checker_check(&w.b.checker, msg, sizeof(msg),
					      vector_source,
					      sizeof(vector_source), true, SEC),
			 COOKIE_MAC2_RIGHT);
	world_deinit(&w);
}

static void test_data_of_the_paper(void **state)
{
	uint8_t text[sizeof(vector_text) + AEAD_TAG_LEN];
	uint8_t key[32];
	struct aead *aead = aead_new(AEAD_BEST);
	struct aead_msg m = { key, VECTOR_DATA_COUNTER, text,
			      sizeof(vector_text), false };

	(void)state;
	memcpy(key, vector_t_i, sizeof(key));
	memcpy(text, vector_text, sizeof(vector_text));
	aead_seal_batch(aead, &m, 1);
	assert_memory_equal(text, vector_data + sizeof(struct message_data),
			    sizeof(text));
	assert_int_equal(aead_open_batch(aead, &m, 1), 1);
	assert_memory_equal(text, vector_text, sizeof(vector_text));
	aead_free(aead);
}

/* Many handshakes in both directions, with data both ways after each. */
static void test_rekeys(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 2);
	for (uint64_t i = 0; i < 30; i++) {
		uint64_t now = (i + 1) * 120 * SEC;
		struct side *from = i % 3 ? &w.a : &w.b;
		struct side *to = i % 3 ? &w.b : &w.a;

		assert_true(world_handshake(from, to, now, WALL + now));
		assert_true(world_carry(from, to, now));
		assert_true(world_carry(to, from, now));
		assert_true(world_carry(from, to, now + 179 * SEC));
		assert_false(world_carry(from, to, now + 180 * SEC));
	}
	world_deinit(&w);
}

/* Both sides send an initiation at the same time. Each side takes that of the
 * other and forgets its own. */
static void test_crossed_initiations(void **state)
{
	struct message_initiation from_a, from_b;
	struct message_response to_a, to_b;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 3);
	assert_int_equal(
		noise_handshake_create_initiation(&w.a.hs, WALL, &from_a), 0);
	assert_int_equal(
		noise_handshake_create_initiation(&w.b.hs, WALL, &from_b), 0);
	cookie_maker_add_macs(&w.a.maker, &from_a, sizeof(from_a), SEC);
	cookie_maker_add_macs(&w.b.maker, &from_b, sizeof(from_b), SEC);
	assert_true(side_receive(&w.b, (uint8_t *)&from_a, sizeof(from_a),
				 false, SEC, &to_a));
	assert_true(side_receive(&w.a, (uint8_t *)&from_b, sizeof(from_b),
				 false, SEC, &to_b));
	assert_false(side_receive(&w.a, (uint8_t *)&to_a, sizeof(to_a), false,
				  SEC, NULL));
	assert_false(side_receive(&w.b, (uint8_t *)&to_b, sizeof(to_b), false,
				  SEC, NULL));
	/* The next handshake succeeds. */
	assert_true(world_handshake(&w.a, &w.b, 6 * SEC, WALL + 5 * SEC));
	assert_true(world_carry(&w.a, &w.b, 6 * SEC));
	world_deinit(&w);
}

static int consume(struct side *side, const struct message_initiation *msg,
		   uint64_t now)
{
	struct noise_handshake *hs = NULL;
	int rc = noise_local_consume_initiation(&side->local, msg, now, &hs);

	if (!rc) {
		assert_ptr_equal(hs, &side->hs);
		side->local.ops->release_peer(side, hs);
	} else {
		assert_null(hs);
	}
	assert_int_equal(side->n_peer_refs, 0);
	return rc;
}

/* The timestamp of each initiation, the time it comes, and the result. */
static const struct {
	uint64_t wall_ms, now_ms;
	int rc;
} arrivals[] = {
	/* 0 */ { 0, 0, 0 },
	/* 1 */ { 0, 5000, NOISE_E_REPLAYED },
	/* 2 */ { 5000, 5000, 0 },
	/* 3 */ { 5000, 5010, NOISE_E_REPLAYED },
	/* 4 */ { 5100, 5010, NOISE_E_FLOODED },
	/* 5 */ { 5100, 5019, NOISE_E_FLOODED },
	/* 6 */ { 5100, 5020, 0 },
	/* 7 */ { 4000, 90000, NOISE_E_REPLAYED },
	/* 8 */ { 5200, 5039, NOISE_E_FLOODED },
	/* 9 */ { 5200, 5040, 0 },
	/* 10 */ { 10000, 5041, NOISE_E_FLOODED },
	/* 11 */ { 10000, 99999, 0 },
	/* 12 */ { 10000, 99999, NOISE_E_REPLAYED },
};

static void test_replay_and_flood(void **state)
{
	struct message_initiation msg;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 4);
	for (size_t i = 0; i < ARRAY_LEN(arrivals); i++) {
		uint64_t now = 7 * SEC + arrivals[i].now_ms * NSEC_PER_MSEC;
		int rc;

		/* Without this the sender would not use an older timestamp. */
		memset(&w.a.hs.sent_timestamp, 0, sizeof(struct tai64n));
		assert_int_equal(
			noise_handshake_create_initiation(
				&w.a.hs,
				WALL + arrivals[i].wall_ms * NSEC_PER_MSEC,
				&msg),
			0);
		rc = consume(&w.b, &msg, now);
		if (rc != arrivals[i].rc)
			fail_msg("step %zu: %d", i, rc);
	}
	world_deinit(&w);
}

static void test_replay_survives_clear(void **state)
{
	struct message_initiation msg;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 5);
	assert_int_equal(noise_handshake_create_initiation(&w.a.hs, WALL, &msg),
			 0);
	assert_int_equal(consume(&w.b, &msg, SEC), 0);
	noise_handshake_clear(&w.b.hs);
	assert_int_equal(consume(&w.b, &msg, 9 * SEC), NOISE_E_REPLAYED);
	world_deinit(&w);
}

static void test_handshakes_go_on_if_the_clock_steps_back(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 6);
	for (uint64_t i = 0; i < 20; i++)
		assert_true(world_handshake(&w.a, &w.b, (5 * i + 1) * SEC,
					    WALL - i * 3600 * SEC));
	world_deinit(&w);
}

static void test_preshared_key_applies_to_the_next_handshake(void **state)
{
	uint8_t key[32];
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 7);
	assert_true(world_handshake(&w.a, &w.b, SEC, WALL));
	assert_true(world_carry(&w.a, &w.b, SEC));
	noise_handshake_set_preshared_key(&w.a.hs, vector_psk);
	/* The session goes on. A handshake fails if only one side has the
	 * key. */
	assert_true(world_carry(&w.a, &w.b, 2 * SEC));
	assert_true(world_carry(&w.b, &w.a, 2 * SEC));
	assert_false(world_handshake(&w.a, &w.b, 10 * SEC, WALL + 10 * SEC));
	assert_true(world_carry(&w.a, &w.b, 10 * SEC));
	noise_handshake_set_preshared_key(&w.b.hs, vector_psk);
	assert_true(world_handshake(&w.a, &w.b, 20 * SEC, WALL + 20 * SEC));
	assert_true(world_carry(&w.a, &w.b, 20 * SEC));
	noise_handshake_get_preshared_key(&w.b.hs, key);
	assert_memory_equal(key, vector_psk, sizeof(key));
	world_deinit(&w);
}

/* The key changes while the initiation is on its way. The response uses the new
 * one. */
static void test_preshared_key_is_read_late(void **state)
{
	struct message_initiation msg;
	struct message_response response;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 8);
	assert_int_equal(noise_handshake_create_initiation(&w.a.hs, WALL, &msg),
			 0);
	cookie_maker_add_macs(&w.a.maker, &msg, sizeof(msg), SEC);
	noise_handshake_set_preshared_key(&w.a.hs, vector_psk);
	noise_handshake_set_preshared_key(&w.b.hs, vector_psk);
	assert_true(side_receive(&w.b, (uint8_t *)&msg, sizeof(msg), false, SEC,
				 &response));
	assert_true(side_receive(&w.a, (uint8_t *)&response, sizeof(response),
				 false, SEC, NULL));
	world_deinit(&w);
}

static void test_change_of_private_key(void **state)
{
	struct message_initiation msg;
	struct message_response response;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 9);
	/* The same key again is no change. */
	assert_false(noise_local_set_private_key(&w.a.local, w.a.private_key));
	assert_int_equal(noise_handshake_create_initiation(&w.a.hs, WALL, &msg),
			 0);
	cookie_maker_add_macs(&w.a.maker, &msg, sizeof(msg), SEC);
	assert_true(side_receive(&w.b, (uint8_t *)&msg, sizeof(msg), false, SEC,
				 &response));
	assert_true(noise_local_set_private_key(&w.a.local, vector_si));
	assert_int_equal(noise_handshake_consume_response(&w.a.hs, &response),
			 NOISE_E_STATE);
	/* b has no peer with that public key. */
	assert_int_equal(noise_handshake_create_initiation(
				 &w.a.hs, WALL + 5 * SEC, &msg),
			 0);
	assert_int_equal(consume(&w.b, &msg, 9 * SEC), NOISE_E_UNKNOWN);
	/* The old key again: static-static is computed again. */
	assert_true(noise_local_set_private_key(&w.a.local, w.a.private_key));
	assert_true(world_handshake(&w.a, &w.b, 20 * SEC, WALL + 20 * SEC));
	assert_true(world_carry(&w.a, &w.b, 20 * SEC));
	world_deinit(&w);
}

/* The peer knows our new key, so static-static must be made with it. */
static void test_peer_knows_the_new_key(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 18);
	assert_true(world_handshake(&w.a, &w.b, SEC, WALL));
	assert_true(noise_local_set_private_key(&w.a.local, vector_si));
	assert_true(noise_local_get_keys(&w.a.local, NULL, w.a.public_key));
	cookie_checker_set_key(&w.a.checker, w.a.public_key);
	noise_handshake_deinit(&w.b.hs);
	assert_int_equal(
		noise_handshake_init(&w.b.hs, &w.b.local, w.a.public_key, &w.b),
		0);
	cookie_maker_deinit(&w.b.maker);
	cookie_maker_init(&w.b.maker, w.a.public_key);
	assert_true(world_handshake(&w.a, &w.b, 9 * SEC, WALL + 9 * SEC));
	assert_true(world_carry(&w.a, &w.b, 9 * SEC));
	world_deinit(&w);
}

/* The index belongs to this side, but is not that of the handshake. */
static void test_response_to_another_index(void **state)
{
	struct message_initiation msg;
	struct message_response response;
	struct side_snapshot before, after;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 19);
	assert_int_equal(noise_handshake_create_initiation(&w.a.hs, WALL, &msg),
			 0);
	cookie_maker_add_macs(&w.a.maker, &msg, sizeof(msg), SEC);
	assert_true(side_receive(&w.b, (uint8_t *)&msg, sizeof(msg), false, SEC,
				 &response));
	response.receiver = le32_make(le32_get(response.receiver) ^ 1);
	side_snapshot(&w.a, &before);
	assert_int_equal(noise_handshake_consume_response(&w.a.hs, &response),
			 NOISE_E_STATE);
	side_snapshot(&w.a, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	response.receiver = le32_make(le32_get(response.receiver) ^ 1);
	assert_int_equal(noise_handshake_consume_response(&w.a.hs, &response),
			 0);
	world_deinit(&w);
}

static void test_without_private_key(void **state)
{
	static const uint8_t none[NOISE_PRIVATE_KEY_LEN];
	struct message_initiation msg;
	uint8_t key[32], public_key[32];
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 10);
	assert_true(noise_local_get_keys(&w.b.local, key, public_key));
	assert_memory_equal(key, w.b.private_key, sizeof(key));
	assert_memory_equal(public_key, w.b.public_key, sizeof(public_key));
	assert_true(noise_local_set_private_key(&w.b.local, none));
	assert_false(noise_local_set_private_key(&w.b.local, NULL));
	assert_false(noise_local_get_keys(&w.b.local, key, NULL));
	assert_int_equal(noise_handshake_create_initiation(&w.a.hs, WALL, &msg),
			 0);
	assert_int_equal(consume(&w.b, &msg, SEC), NOISE_E_NO_KEY);
	assert_int_equal(noise_handshake_create_initiation(&w.b.hs, WALL, &msg),
			 NOISE_E_NO_KEY);
	world_deinit(&w);
}

static void test_steps_out_of_order(void **state)
{
	struct message_initiation msg;
	struct message_response response = { 0 };
	struct side_snapshot before, after;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 11);
	side_snapshot(&w.a, &before);
	assert_int_equal(noise_handshake_create_response(&w.a.hs, &response),
			 NOISE_E_STATE);
	assert_int_equal(noise_handshake_consume_response(&w.a.hs, &response),
			 NOISE_E_STATE);
	assert_int_equal(noise_handshake_begin_session(&w.a.hs, &w.a.kps, SEC),
			 NOISE_E_STATE);
	side_snapshot(&w.a, &after);
	assert_memory_equal(&before, &after, sizeof(before));

	assert_int_equal(noise_handshake_create_initiation(&w.a.hs, WALL, &msg),
			 0);
	assert_int_equal(noise_handshake_begin_session(&w.a.hs, &w.a.kps, SEC),
			 NOISE_E_STATE);
	assert_int_equal(noise_handshake_create_response(&w.a.hs, &response),
			 NOISE_E_STATE);
	/* A second initiation replaces the first one and its index. */
	assert_int_equal(noise_handshake_create_initiation(&w.a.hs, WALL, &msg),
			 0);
	assert_null(side_find(&w.a, le32_get(msg.sender) - 1));
	assert_non_null(side_find(&w.a, le32_get(msg.sender)));
	world_deinit(&w);
}

static void test_closed_takes_nothing(void **state)
{
	struct message_initiation msg;
	struct message_response response;
	struct noise_handshake *hs;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 12);
	assert_int_equal(noise_handshake_create_initiation(&w.a.hs, WALL, &msg),
			 0);
	/* The handshake is closed between two steps of another thread. */
	assert_int_equal(
		noise_local_consume_initiation(&w.b.local, &msg, SEC, &hs), 0);
	noise_handshake_close(hs);
	assert_int_equal(noise_handshake_create_response(hs, &response),
			 NOISE_E_STATE);
	assert_int_equal(noise_handshake_begin_session(hs, &w.b.kps, SEC),
			 NOISE_E_STATE);
	w.b.local.ops->release_peer(&w.b, hs);
	assert_int_equal(noise_handshake_create_initiation(
				 &w.a.hs, WALL + 5 * SEC, &msg),
			 0);
	assert_int_equal(consume(&w.b, &msg, 9 * SEC), NOISE_E_STATE);
	assert_int_equal(noise_handshake_create_initiation(&w.b.hs, WALL, &msg),
			 NOISE_E_STATE);
	noise_handshake_reopen(&w.b.hs);
	assert_true(world_handshake(&w.a, &w.b, 20 * SEC, WALL + 20 * SEC));
	world_deinit(&w);
}

static void test_closed_before_the_session(void **state)
{
	struct message_initiation msg;
	struct message_response response;
	struct noise_handshake *hs;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 13);
	assert_int_equal(noise_handshake_create_initiation(&w.a.hs, WALL, &msg),
			 0);
	assert_int_equal(
		noise_local_consume_initiation(&w.b.local, &msg, SEC, &hs), 0);
	assert_int_equal(noise_handshake_create_response(hs, &response), 0);
	noise_handshake_clear(hs);
	assert_int_equal(noise_handshake_begin_session(hs, &w.b.kps, SEC),
			 NOISE_E_STATE);
	assert_null(w.b.kps.next);
	w.b.local.ops->release_peer(&w.b, hs);
	world_deinit(&w);
}

/* If the table of indices is full, nothing changes and the error is
 * returned. */
static void test_no_index(void **state)
{
	struct message_initiation msg;
	struct message_response response;
	struct side_snapshot before, after;
	struct noise_handshake *hs;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 14);
	assert_true(world_handshake(&w.a, &w.b, SEC, WALL));
	w.a.index_error = -ENOSPC;
	w.b.index_error = -ENOSPC;
	side_snapshot(&w.a, &before);
	assert_int_equal(noise_handshake_create_initiation(
				 &w.a.hs, WALL + 5 * SEC, &msg),
			 -ENOSPC);
	side_snapshot(&w.a, &after);
	assert_memory_equal(&before, &after, sizeof(before));

	w.a.index_error = 0;
	assert_int_equal(noise_handshake_create_initiation(
				 &w.a.hs, WALL + 5 * SEC, &msg),
			 0);
	assert_int_equal(
		noise_local_consume_initiation(&w.b.local, &msg, 9 * SEC, &hs),
		0);
	side_snapshot(&w.b, &before);
	assert_int_equal(noise_handshake_create_response(hs, &response),
			 -ENOSPC);
	side_snapshot(&w.b, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	w.b.local.ops->release_peer(&w.b, hs);
	world_deinit(&w);
}

/* No handshake is possible with a peer whose public key is of small order. */
static void test_peer_of_small_order(void **state)
{
	static const uint8_t zero[NOISE_PUBLIC_KEY_LEN];
	struct message_initiation msg;
	struct noise_handshake hs;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 15);
	assert_int_equal(noise_handshake_init(&hs, &w.a.local, zero, NULL), 0);
	assert_int_equal(noise_handshake_create_initiation(&hs, WALL, &msg),
			 NOISE_E_BAD_KEY);
	assert_int_equal(hs.state, HANDSHAKE_ZEROED);
	noise_handshake_deinit(&hs);

	memset(&msg, 0, sizeof(msg));
	assert_int_equal(consume(&w.b, &msg, SEC), NOISE_E_BAD_KEY);
	world_deinit(&w);
}

/* Ten thousand failed initiations leave no index and no reference. */
static void test_failures_leave_nothing(void **state)
{
	struct message_initiation msg;
	struct side_snapshot before, after;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 16);
	assert_true(world_handshake(&w.a, &w.b, SEC, WALL));
	assert_int_equal(noise_handshake_create_initiation(
				 &w.a.hs, WALL + 5 * SEC, &msg),
			 0);
	msg.enc_static[0] ^= 1;
	side_snapshot(&w.b, &before);
	for (int i = 0; i < 10000; i++)
		assert_int_equal(consume(&w.b, &msg, 9 * SEC), NOISE_E_FORGED);
	msg.enc_static[0] ^= 1;
	w.b.finds_no_peer = true;
	assert_int_equal(consume(&w.b, &msg, 9 * SEC), NOISE_E_UNKNOWN);
	w.b.finds_no_peer = false;
	side_snapshot(&w.b, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(consume(&w.b, &msg, 9 * SEC), 0);
	world_deinit(&w);
}

/* When a session has begun, no secret of the handshake is left in memory. */
static void test_wiped_after_begin(void **state)
{
	static const struct noise_handshake_secrets zero;
	struct world w;

	(void)state;
	world_init(&w, NULL, NULL, 17);
	assert_true(world_handshake(&w.a, &w.b, SEC, WALL));
	assert_memory_equal(w.a.hs.secrets->ephemeral_private,
			    zero.ephemeral_private, 32);
	assert_memory_equal(w.a.hs.secrets->chaining_key, zero.chaining_key,
			    32);
	assert_memory_equal(w.b.hs.secrets->chaining_key, zero.chaining_key,
			    32);
	assert_memory_equal(w.b.hs.secrets->hash, zero.hash, 32);
	assert_int_equal(w.a.hs.state, HANDSHAKE_ZEROED);
	assert_false(w.a.hs.has_index);
	assert_int_equal(noise_handshake_begin_session(&w.a.hs, &w.a.kps, SEC),
			 NOISE_E_STATE);
	world_deinit(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages_of_the_paper),
		cmocka_unit_test(test_cookie_of_the_paper),
		cmocka_unit_test(test_data_of_the_paper),
		cmocka_unit_test(test_rekeys),
		cmocka_unit_test(test_crossed_initiations),
		cmocka_unit_test(test_replay_and_flood),
		cmocka_unit_test(test_replay_survives_clear),
		cmocka_unit_test(test_handshakes_go_on_if_the_clock_steps_back),
		cmocka_unit_test(
			test_preshared_key_applies_to_the_next_handshake),
		cmocka_unit_test(test_preshared_key_is_read_late),
		cmocka_unit_test(test_change_of_private_key),
		cmocka_unit_test(test_peer_knows_the_new_key),
		cmocka_unit_test(test_response_to_another_index),
		cmocka_unit_test(test_without_private_key),
		cmocka_unit_test(test_steps_out_of_order),
		cmocka_unit_test(test_closed_takes_nothing),
		cmocka_unit_test(test_closed_before_the_session),
		cmocka_unit_test(test_no_index),
		cmocka_unit_test(test_peer_of_small_order),
		cmocka_unit_test(test_failures_leave_nothing),
		cmocka_unit_test(test_wiped_after_begin),
	};

	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
