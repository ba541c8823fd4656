/* SPDX-License-Identifier: MIT */
/*
 * Compares our Noise handshakes and cookies with fuzz/reference.c, byte by
 * byte.
 *
 * The input chooses the keys of both sides, the preshared key, ephemeral keys,
 * clocks, indices, cookies and plaintexts of up to three handshakes, one after
 * the other. Before a message arrives, a third party may deliver a changed
 * copy, or a message that is wrong on purpose.
 *
 * Promises: both implementations make the same bytes and the same keys, accept
 * each other's messages, and refuse the same messages. A refused message leaves
 * our state unchanged.
 */
#include "fuzz/reference.h"

#include "base/clock.h"
#include "crypto/aead.h"
#include "crypto/init.h"
#include "fuzz/fuzz.h"
#include "fuzz/input.h"
#include "tests/unit/noise_world.h"

enum {
	/* Handshakes of an input, messages of a session and bytes of a
	 * plaintext. Choices. */
	ROUNDS_MAX = 3,
	BATCH_MAX = 6,
	TEXT_MAX = 320,
	/* Options of a round: what happens to a message on its way. */
	OPT_COOKIE = 1,	  /* the responder is under load */
	OPT_CHANGE_1 = 2, /* the initiation comes changed first */
	OPT_CHANGE_2 = 4, /* the response */
	OPT_CHANGE_3 = 8, /* the cookie reply */
	OPT_CHANGE_DATA = 16,
	OPT_TRICK = 32,	 /* a message that is wrong on purpose comes first */
	OPT_REPLAY = 64, /* the initiation comes a second time */
};

/*
 * @w:		both sides in our implementation: a begins, b answers
 * @a, @b:	both sides in the reference
 * @sent:	timestamp of the last initiation
 * @secret:	from which b makes its cookies
 */
struct run {
	struct input in;
	struct world w;
	struct ref_side a, b;
	struct aead *aead;
	uint64_t now;
	uint8_t sent[REF_STAMP];
	uint8_t secret[REF_KEY];
	bool has_secret;
};

/*
 * Points of small order, two of them also in another encoding (RFC 7748, 6.1).
 */
static const uint8_t small_order[][REF_KEY] = {
	{ 0 },
	{ 1 },
	{ 0xec, [1 ... 30] = 0xff, 0x7f },
	{ 0xed, [1 ... 30] = 0xff, 0x7f },
	{ 0xee, [1 ... 30] = 0xff, 0x7f },
	{ 0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3,
	  0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32,
	  0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00 },
};

/* Make a key that is unique even after the end of the input. */
static void take_key(struct run *r, uint8_t key[REF_KEY], uint8_t role)
{
	input_take(&r->in, key, REF_KEY);
	for (uint8_t i = 0; i < REF_KEY; i++)
		key[i] ^= (uint8_t)(role * 0x35 + i * 7);
}

/* ------------------------------------------------------------ timestamps */

/* A TAI64N timestamp in steps of 2^24 ns, always later than the last one. */
static void next_stamp(uint8_t stamp[REF_STAMP], uint64_t realtime)
{
	uint64_t seconds = (UINT64_C(1) << 62) + 10 + realtime / NSEC_PER_SEC;
	uint64_t ns = realtime % NSEC_PER_SEC >> 24 << 24;
	uint8_t fresh[REF_STAMP];

	for (int again = 0; again < 2; again++) {
		for (int i = 0; i < 8; i++)
			fresh[i] = (uint8_t)(seconds >> (56 - 8 * i));
		for (int i = 0; i < 4; i++)
			fresh[8 + i] = (uint8_t)(ns >> (24 - 8 * i));
		if (memcmp(fresh, stamp, REF_STAMP) > 0)
			break;
		seconds = ns = 0;
		for (int i = 0; i < 8; i++)
			seconds = seconds << 8 | stamp[i];
		for (int i = 0; i < 4; i++)
			ns = ns << 8 | stamp[8 + i];
		ns += 1 << 24;
		if (ns >= NSEC_PER_SEC) {
			ns = 0;
			seconds++;
		}
	}
	memcpy(stamp, fresh, REF_STAMP);
}

/* ---------------------------------------------------------------- verdicts */

/* Both implementations read a handshake message and must agree. */
static bool judge(struct run *r, struct side *side, struct ref_side *ref,
		  const uint8_t *msg, size_t len,
		  struct message_response *response)
{
	static struct side_snapshot before, after;
	struct ref_side unchanged = *ref;
	bool is_taken, is_right;

	side_snapshot(side, &before);
	is_taken = side_receive(side, msg, len, false, r->now, response);
	if (side == &r->w.b)
		is_right = ref_read_initiation(ref, msg, len);
	else
		is_right = ref_read_response(ref, msg, len);
	require(is_taken == is_right);
	if (is_taken)
		return true;
	side_snapshot(side, &after);
	/* The shared static secret is kept even if the message was bad. */
	before.hs.has_static_static = after.hs.has_static_static;
	before.hs.generation = after.hs.generation;
	memcpy(before.secrets.static_static, after.secrets.static_static,
	       sizeof(before.secrets.static_static));
	require(memcmp(&before, &after, sizeof(before)) == 0);
	require(memcmp(&unchanged, ref, sizeof(*ref)) == 0);
	return false;
}

/* Make a copy of @msg with some bytes changed, perhaps longer or shorter. */
static size_t change(struct run *r, uint8_t *out, const uint8_t *msg,
		     size_t len, const uint8_t to[REF_KEY])
{
	uint8_t how = input_byte(&r->in);

	memcpy(out, msg, len);
	input_edit(&r->in, out, len);
	if (how & 1)
		len -= how >> 4;
	else if (how & 2)
		out[len++] = how;
	if (how & 4 && len >= REF_COOKIE)
		ref_add_macs(out, len, to, NULL);
	return len;
}

/* ---------------------------------------------------------------- cookies */

/*
 * Make the reply to an initiation by both implementations, then the macs with
 * its cookie.
 */
static void exchange_cookie(struct run *r, uint8_t msg[REF_INITIATION],
			    uint8_t opts)
{
	struct side *a = &r->w.a, *b = &r->w.b;
	uint8_t planned[REF_NONCE + REF_KEY], cookie[REF_TAG], got[REF_TAG];
	uint8_t expected[REF_COOKIE], changed[REF_COOKIE + 1];
	struct message_cookie reply;
	const uint8_t *mac1 = msg + REF_INITIATION - REF_MACS;
	size_t len;

	input_take(&r->in, planned, sizeof(planned));
	b->planned = planned;
	b->planned_len = sizeof(planned);
	cookie_checker_make_reply(&b->checker, msg, REF_INITIATION, b->source,
				  sizeof(b->source), r->now, &reply);
	if (!r->has_secret)
		memcpy(r->secret, planned + REF_NONCE, REF_KEY);
	r->has_secret = true;
	ref_make_cookie(cookie, r->secret, b->source, sizeof(b->source));
	ref_write_reply(expected, r->b.pub, msg, REF_INITIATION, cookie,
			planned);
	require(memcmp(&reply, expected, sizeof(reply)) == 0);

	if (opts & OPT_CHANGE_3) {
		len = change(r, changed, expected, sizeof(expected), r->a.pub);
		bool is_right =
			len == REF_COOKIE &&
			memcmp(changed + 4, expected + 4, 4) == 0 &&
			ref_read_reply(got, changed, len, r->b.pub, mac1);

		require(side_receive(a, changed, len, false, r->now, NULL) ==
			is_right);
		if (is_right)
			goto out;
	}
	require(ref_read_reply(got, expected, sizeof(expected), r->b.pub,
			       mac1));
	require(side_receive(a, expected, sizeof(expected), false, r->now,
			     NULL));
out:
	require(memcmp(got, a->maker.cookie, sizeof(got)) == 0);
	b->planned_len = 0;
	ref_add_macs(msg, REF_INITIATION, r->b.pub, cookie);
	require(cookie_checker_check(&b->checker, msg, REF_INITIATION,
				     b->source, sizeof(b->source), true,
				     r->now) == COOKIE_MAC2_RIGHT);
}

/* ----------------------------------------------------------------- messages */

static void check_keys(const struct ref_side *ref,
		       const struct noise_keypair *kp)
{
	require(kp != NULL);
	require(memcmp(kp->keys->sending, ref->sending, REF_KEY) == 0);
	require(memcmp(kp->keys->receiving, ref->receiving, REF_KEY) == 0);
	require(kp->remote_index == ref->peer_idx);
	require(kp->local_index == ref->idx);
}

/*
 * Make wrong messages with valid macs, as an owner of the initiator's keys can.
 */
static bool trick_initiation(struct run *r, struct ref_side *evil,
			     struct message_response *response)
{
	uint8_t how = input_byte(&r->in), msg[REF_INITIATION];
	uint8_t pub[REF_KEY], e_priv[REF_KEY], stamp[REF_STAMP];
	struct ref_trick trick = { 0 };

	*evil = r->a;

	if (how & 1)
		trick.e_pub = small_order[how / 16 % 6];
	if (how & 2) {
		input_take(&r->in, pub, sizeof(pub));
		trick.pub = pub;
	}
	if (how & 4)
		take_key(r, evil->priv, 9);
	memcpy(stamp, r->sent, sizeof(stamp));
	input_edit(&r->in, stamp, sizeof(stamp));
	take_key(r, e_priv, 8);
	ref_write_initiation(evil, e_priv, input_u32(&r->in), stamp, &trick,
			     msg);
	return judge(r, &r->w.b, &r->b, msg, sizeof(msg), response);
}

/*
 * Compare our initiation with the reference's. Return: false if the round ends.
 */
static bool carry_initiation(struct run *r, uint8_t opts,
			     struct message_response *response)
{
	uint8_t e_priv[REF_KEY], expected[REF_INITIATION];
	uint8_t msg[REF_INITIATION + 1];
	struct message_initiation ours;
	uint32_t idx = r->w.a.next_idx;
	struct ref_side evil;
	bool is_evil = false;
	size_t len;

	take_key(r, e_priv, 5);
	r->w.a.planned = e_priv;
	r->w.a.planned_len = sizeof(e_priv);
	uint64_t realtime = input_u64(&r->in);

	require(noise_handshake_create_initiation(&r->w.a.hs, realtime,
						  &ours) == 0);
	next_stamp(r->sent, realtime);
	ref_write_initiation(&r->a, e_priv, idx, r->sent, NULL, expected);
	/* A cookie of an earlier round is still valid. */
	memcpy(msg, expected, sizeof(expected));
	if (r->has_secret)
		ref_add_macs(msg, sizeof(expected), r->b.pub,
			     r->w.a.maker.cookie);
	cookie_maker_add_macs(&r->w.a.maker, &ours, sizeof(ours), r->now);
	require(memcmp(&ours, msg, sizeof(ours)) == 0);
	memcpy(expected, msg, sizeof(expected));

	if (opts & OPT_COOKIE) {
		exchange_cookie(r, expected, opts);
		cookie_maker_add_macs(&r->w.a.maker, &ours, sizeof(ours),
				      r->now);
		require(memcmp(&ours, expected, sizeof(ours)) == 0);
	}
	uint8_t e_response[REF_KEY];

	take_key(r, e_response, 6);
	r->w.b.planned = e_response;
	r->w.b.planned_len = sizeof(e_response);
	if (opts & OPT_CHANGE_1) {
		len = change(r, msg, expected, sizeof(expected), r->b.pub);
		if (judge(r, &r->w.b, &r->b, msg, len, response))
			goto taken;
	}
	if (opts & OPT_TRICK)
		is_evil = trick_initiation(r, &evil, response);
	if (is_evil)
		goto taken;
	require(judge(r, &r->w.b, &r->b, expected, sizeof(expected), response));
taken:
	require(r->w.b.planned_len == 0);
	ref_write_response(&r->b, e_response, r->w.b.next_idx - 1, NULL, msg);
	require(memcmp(response, msg, REF_RESPONSE) == 0);
	if (is_evil) {
		/* The message is valid apart from the trick: it gets a
		 * session. */
		require(ref_read_response(&evil, msg, REF_RESPONSE));
		check_keys(&r->b, r->w.b.kps.next);
		require(memcmp(evil.sending, r->b.receiving, REF_KEY) == 0);
		return false;
	}
	if (opts & OPT_REPLAY) {
		struct message_response none;

		/* The next initiation must not hit the rate limit. */
		r->now += NSEC_PER_SEC;
		require(!judge(r, &r->w.b, &r->b, expected, sizeof(expected),
			       &none));
	}
	return true;
}

/* As carry_initiation(), for the response. */
static bool carry_response(struct run *r, uint8_t opts, const uint8_t *ours)
{
	uint8_t msg[REF_RESPONSE + 1], e_priv[REF_KEY];
	struct ref_trick trick = { .e_pub = small_order[opts % 6] };
	struct ref_side evil;
	size_t len;

	if (opts & OPT_CHANGE_2) {
		len = change(r, msg, ours, REF_RESPONSE, r->a.pub);
		if (judge(r, &r->w.a, &r->a, msg, len, NULL))
			return true;
	}
	if (opts & OPT_TRICK) {
		/* A responder that has the keys and is malicious. */
		evil = r->b;
		take_key(r, e_priv, 7);
		ref_write_response(&evil, e_priv, evil.idx, &trick, msg);
		judge(r, &r->w.a, &r->a, msg, REF_RESPONSE, NULL);
	}
	return judge(r, &r->w.a, &r->a, ours, REF_RESPONSE, NULL);
}

/* --------------------------------------------------------------------- data */

struct batch {
	struct aead_msg msgs[BATCH_MAX];
	uint8_t ours[BATCH_MAX][REF_DATA + TEXT_MAX + REF_TAG];
	uint8_t expected[BATCH_MAX][REF_DATA + TEXT_MAX + REF_TAG];
	uint8_t texts[BATCH_MAX][TEXT_MAX];
};

static void seal_batch(struct run *r, struct batch *b, unsigned int n,
		       const struct noise_keypair *kp,
		       const struct ref_side *ref)
{
	uint64_t first = input_u64(&r->in);

	for (unsigned int i = 0; i < n; i++) {
		struct message_data header = {
			.type = le32_make(MESSAGE_DATA),
			.receiver = le32_make(kp->remote_index),
			.counter = le64_make(first + i),
		};
		uint32_t len = input_u16(&r->in) % (TEXT_MAX + 1);

		memset(b->texts[i], (int)i, len);
		input_take(&r->in, b->texts[i], len > 24 ? 24 : len);
		memcpy(b->ours[i], &header, sizeof(header));
		memcpy(b->ours[i] + REF_DATA, b->texts[i], len);
		b->msgs[i] = (struct aead_msg){ .key = kp->keys->sending,
						.counter = first + i,
						.text = b->ours[i] + REF_DATA,
						.len = len };
		ref_write_data(b->expected[i], ref->sending, ref->peer_idx,
			       first + i, b->texts[i], len);
	}
	aead_seal_batch(r->aead, b->msgs, n);
	for (unsigned int i = 0; i < n; i++)
		require(memcmp(b->ours[i], b->expected[i],
			       REF_DATA + b->msgs[i].len + REF_TAG) == 0);
}

/* Send messages from one side to the other, some of them changed on the way. */
static void carry_data(struct run *r, uint8_t opts,
		       const struct noise_keypair *from,
		       const struct ref_side *ref_from,
		       const struct noise_keypair *to,
		       const struct ref_side *ref_to)
{
	static struct batch b;
	unsigned int n = input_byte(&r->in) % BATCH_MAX + 1;
	uint8_t text[TEXT_MAX];
	uint64_t counter;

	seal_batch(r, &b, n, from, ref_from);
	for (unsigned int i = 0; i < n; i++) {
		size_t len = REF_DATA + b.msgs[i].len + REF_TAG;

		if (opts & OPT_CHANGE_DATA && i % 2 == 0)
			input_edit(&r->in, b.ours[i] + 8, len - 8);
		memcpy(b.expected[i], b.ours[i], len);
		struct message_data header;

		memcpy(&header, b.ours[i], sizeof(header));
		require(message_check(b.ours[i], len) == MESSAGE_DATA);
		require(message_data_text_len(len) == b.msgs[i].len);
		b.msgs[i].key = to->keys->receiving;
		b.msgs[i].counter = le64_get(header.counter);
	}
	aead_open_batch(r->aead, b.msgs, n);
	for (unsigned int i = 0; i < n; i++) {
		size_t len = REF_DATA + b.msgs[i].len + REF_TAG;
		bool is_right =
			ref_read_data(text, b.expected[i], len,
				      ref_to->receiving, ref_to->idx, &counter);

		struct message_data header;

		/* A changed response may have named another index. */
		memcpy(&header, b.expected[i], sizeof(header));
		require((b.msgs[i].is_authentic &&
			 le32_get(header.receiver) == to->local_index) ==
			is_right);
		require(!is_right ||
			(counter == b.msgs[i].counter &&
			 memcmp(text, b.msgs[i].text, b.msgs[i].len) == 0));
	}
}

/* --------------------------------------------------------------------- rounds */

/* Run one handshake and a few messages. Return: false to end. */
static bool go_round(struct run *r)
{
	uint8_t opts = input_byte(&r->in);
	struct message_response response;
	const struct noise_keypair *ours, *theirs;

	if (!carry_initiation(r, opts, &response))
		return false;
	/* After a trick, or with another sender's index, both implementations
	 * of a refuse. */
	if (!carry_response(r, opts, (const uint8_t *)&response))
		return false;
	theirs = r->w.b.kps.next;
	ours = r->w.a.kps.current;
	check_keys(&r->a, ours);
	if (!theirs || memcmp(r->a.sending, r->b.receiving, REF_KEY) != 0)
		return false;
	check_keys(&r->b, theirs);
	carry_data(r, opts, ours, &r->a, theirs, &r->b);
	carry_data(r, opts, theirs, &r->b, ours, &r->a);
	noise_keypairs_confirm(&r->w.b.kps, theirs);
	r->now += NSEC_PER_SEC;
	return true;
}

static void begin(struct run *r)
{
	uint8_t si[REF_KEY], sr[REF_KEY], psk[REF_KEY];

	take_key(r, si, 1);
	take_key(r, sr, 2);
	input_take(&r->in, psk, sizeof(psk));
	world_init(&r->w, si, sr, 1);
	r->w.a.next_idx = input_u32(&r->in);
	r->w.b.next_idx = input_u32(&r->in);
	noise_handshake_set_preshared_key(&r->w.a.hs, psk);
	noise_handshake_set_preshared_key(&r->w.b.hs, psk);
	ref_side_init(&r->a, si, r->w.b.public_key, psk);
	ref_side_init(&r->b, sr, r->w.a.public_key, psk);
	require(memcmp(r->a.pub, r->w.a.public_key, REF_KEY) == 0);
	require(memcmp(r->b.pub, r->w.b.public_key, REF_KEY) == 0);
	r->now = 100 * NSEC_PER_SEC;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct aead *aead;
	struct run r = { .in = { data, len } };

	if (!aead) {
		require(crypto_init() == 0);
		aead = aead_new(AEAD_BEST);
		require(aead != NULL);
	}
	r.aead = aead;
	begin(&r);
	for (int i = 0; i < ROUNDS_MAX && (i == 0 || r.in.left); i++)
		if (!go_round(&r))
			break;
	world_deinit(&r.w);
	return 0;
}
