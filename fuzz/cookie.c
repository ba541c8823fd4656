/* SPDX-License-Identifier: MIT */
/*
 * Macs and cookies over time: a sender, a receiver that may be under load, and
 * a clock, compared with the reference. Input: steps, each a byte and its
 * arguments.
 *
 * Promises: macs, replies and verdicts equal the reference's. A reply is
 * accepted once for a message, and only unchanged. Its cookie is valid as long
 * as the paper says: 120 s for the receiver that made it, 5 s less for the
 * sender that uses it.
 */
#include "fuzz/reference.h"

#include "base/clock.h"
#include "crypto/init.h"
#include "fuzz/fuzz.h"
#include "fuzz/input.h"
#include "noise/cookie.h"
#include "noise/local.h"

enum {
	/* Bound of the time for one input. A choice. */
	STEPS_MAX = 200,
	/* The lives of a cookie: see above. */
	MAKER_LIFE_S = 115,
	CHECKER_LIFE_S = 120,
	/* Longest time from a message to its reply: REKEY_TIMEOUT. */
	REPLY_DUE_S = 5,
};

enum step {
	STEP_SEND,
	STEP_CHECK,
	STEP_REPLY,
	STEP_CONSUME,
	STEP_TIME,
	STEP_SOURCE,
	STEP_KEY,
	N_STEPS,
};

/* State of the reference. A time is when the state of this name began. */
struct model {
	uint8_t pub[REF_KEY]; /* the checker's; the maker's is the first */
	uint8_t maker_pub[REF_KEY];
	uint8_t secret[REF_KEY];
	uint64_t secret_ns;
	bool has_secret;
	uint8_t cookie[REF_TAG];
	uint64_t cookie_ns;
	bool has_cookie;
	bool awaits_reply;
	uint64_t sent_ns;
};

static struct cookie_checker checker;
static struct cookie_maker maker;
static struct model m;
static uint64_t now;
static uint8_t source[COOKIE_SOURCE_MAX_LEN];
static size_t source_len;
static uint8_t msg[REF_INITIATION], reply[REF_COOKIE];
static size_t msg_len;
static bool has_reply;
/* The next random bytes, and the last ones that were given out. */
static uint8_t planned[REF_NONCE + REF_KEY];
static size_t planned_at;

static void op_random(void *arg, void *buf, size_t len)
{
	(void)arg;
	require(len <= sizeof(planned) - planned_at);
	memcpy(buf, planned + planned_at, len);
	planned_at += len;
}

static const struct noise_ops ops = { .random = op_random };

static bool is_fresh(uint64_t since, uint64_t seconds)
{
	return now - since < seconds * NSEC_PER_SEC;
}

/* Send a message whose body comes from the input. */
static void send_message(struct input *in)
{
	uint8_t expected[REF_INITIATION];
	bool may_use = m.has_cookie && is_fresh(m.cookie_ns, MAKER_LIFE_S);

	msg_len = input_byte(in) & 1 ? REF_INITIATION : REF_RESPONSE;
	memset(msg, 0, sizeof(msg));
	input_take(in, msg, 12);
	memcpy(expected, msg, sizeof(msg));
	cookie_maker_add_macs(&maker, msg, msg_len, now);
	ref_add_macs(expected, msg_len, m.maker_pub, may_use ? m.cookie : NULL);
	require(memcmp(msg, expected, msg_len) == 0);
	m.awaits_reply = true;
	m.sent_ns = now;
}

static enum cookie_verdict verdict_of(const uint8_t *p, bool wants_mac2)
{
	uint8_t right[REF_INITIATION], cookie[REF_TAG];

	memcpy(right, p, msg_len);
	ref_make_cookie(cookie, m.secret, source, source_len);
	ref_add_macs(right, msg_len, m.pub, cookie);
	if (memcmp(right, p, msg_len - REF_TAG) != 0)
		return COOKIE_MAC1_WRONG;
	if (wants_mac2 && m.has_secret &&
	    is_fresh(m.secret_ns, CHECKER_LIFE_S) &&
	    memcmp(right, p, msg_len) == 0)
		return COOKIE_MAC2_RIGHT;
	return COOKIE_MAC1_RIGHT;
}

static void check_message(struct input *in)
{
	uint8_t how = input_byte(in), copy[REF_INITIATION];

	memcpy(copy, msg, msg_len);
	if (how & 1)
		input_edit(in, copy, msg_len);
	/* A random edit rarely hits the macs, so change them here. */
	if (how & 2)
		copy[msg_len - 1 - how / 8 % REF_MACS] ^= 1;
	require(cookie_checker_check(&checker, copy, msg_len, source,
				     source_len, how & 4,
				     now) == verdict_of(copy, how & 4));
}

/* The receiver answers the last message. */
static void make_reply(struct input *in)
{
	uint8_t expected[REF_COOKIE], cookie[REF_TAG];
	struct message_cookie out;

	planned_at = 0;
	input_take(in, planned, 8);
	planned[REF_NONCE] ^= (uint8_t)(now >> 24);
	cookie_checker_make_reply(&checker, msg, msg_len, source, source_len,
				  now, &out);
	if (!m.has_secret || !is_fresh(m.secret_ns, CHECKER_LIFE_S)) {
		require(planned_at == sizeof(planned));
		memcpy(m.secret, planned + REF_NONCE, REF_KEY);
		m.secret_ns = now;
		m.has_secret = true;
	}
	ref_make_cookie(cookie, m.secret, source, source_len);
	ref_write_reply(expected, m.pub, msg, msg_len, cookie, planned);
	memcpy(reply, &out, sizeof(reply));
	require(memcmp(reply, expected, sizeof(reply)) == 0);
	has_reply = true;
}

static void consume_reply(struct input *in)
{
	uint8_t how = input_byte(in), cookie[REF_TAG];
	struct cookie_maker before = maker;
	struct message_cookie out;
	bool is_right;

	if (!has_reply)
		return;
	memcpy(&out, reply, sizeof(out));
	/* Type and receiver index are checked elsewhere: message_check() and
	 * the index. */
	if (how & 1)
		input_edit(in, out.nonce, sizeof(out) - 8);
	is_right = m.awaits_reply && is_fresh(m.sent_ns, REPLY_DUE_S) &&
		   ref_read_reply(cookie, (const uint8_t *)&out, sizeof(out),
				  m.maker_pub, maker.sent_mac1);
	require(cookie_maker_consume_reply(&maker, &out, now) == is_right);
	if (!is_right) {
		require(memcmp(&before, &maker, sizeof(maker)) == 0);
		return;
	}
	memcpy(m.cookie, cookie, sizeof(cookie));
	m.cookie_ns = now;
	m.has_cookie = true;
	m.awaits_reply = false;
}

static void pass_time(struct input *in)
{
	static const uint64_t units[] = { 1, NSEC_PER_SEC, 5 * NSEC_PER_SEC,
					  NSEC_PER_SEC / 2 };
	uint8_t n = input_byte(in);

	now += units[n % 4] * (n / 4);
}

static void change_source(struct input *in)
{
	source_len = input_byte(in) & 1 ? 18 : 6;
	source[source_len - 1] = input_byte(in);
}

static void change_key(struct input *in)
{
	uint8_t how = input_byte(in);

	planned_at = 0;
	memset(m.pub, how, REF_KEY);
	if (how % 4 == 0)
		memcpy(m.pub, m.maker_pub, REF_KEY);
	/* Without a reply, use a random cookie. */
	if (how % 4 == 1)
		memcpy(m.pub, planned, REF_KEY);
	cookie_checker_set_key(&checker, how % 4 == 1 ? NULL : m.pub);
}

static void step(struct input *in)
{
	switch ((enum step)(input_byte(in) % N_STEPS)) {
	case STEP_SEND:
		send_message(in);
		break;
	case STEP_CHECK:
		check_message(in);
		break;
	case STEP_REPLY:
		make_reply(in);
		break;
	case STEP_CONSUME:
		consume_reply(in);
		break;
	case STEP_TIME:
		pass_time(in);
		break;
	case STEP_SOURCE:
		change_source(in);
		break;
	case STEP_KEY:
	case N_STEPS:
	default:
		change_key(in);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct noise_local local = { .ops = &ops };
	struct input in = { data, len };

	require(crypto_init() == 0);
	memset(&m, 0, sizeof(m));
	memset(planned, 7, sizeof(planned));
	memset(m.pub, 5, sizeof(m.pub));
	memcpy(m.maker_pub, m.pub, sizeof(m.pub));
	planned_at = 0;
	now = 1000 * NSEC_PER_SEC;
	source_len = 6;
	has_reply = false;
	cookie_checker_init(&checker, &local);
	cookie_checker_set_key(&checker, m.pub);
	cookie_maker_init(&maker, m.maker_pub);
	send_message(&in);
	for (int i = 0; i < STEPS_MAX && in.left; i++)
		step(&in);
	cookie_maker_deinit(&maker);
	cookie_checker_deinit(&checker);
	return 0;
}
