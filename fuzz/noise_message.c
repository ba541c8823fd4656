/* SPDX-License-Identifier: MIT */
/*
 * A datagram from any sender, received in the middle of a handshake.
 *
 * The first byte of the input selects the datagram: the rest of the input as it
 * is, or a message that the receiver waits for. In the second case the rest of
 * the input is written over the message, from the offset in the second byte on.
 * Another bit of the first byte selects recomputed macs, so that the code
 * behind the check of macs is reached. Anybody who has the public key can
 * compute them.
 *
 * Promises: a refused datagram changes no state. An accepted one equals the
 * expected message in every byte that the handshake protects.
 */
#include "fuzz/fuzz.h"

#include "base/clock.h"
#include "crypto/init.h"
#include "tests/unit/noise_world.h"

/* The clocks of both sides. Choices. */
#define NOW  (100 * NSEC_PER_SEC)
#define WALL (UINT64_C(1700000000) * NSEC_PER_SEC)

enum {
	FLAG_TEMPLATE = 3, /* one of enum template */
	FLAG_FRESH_MACS = 4,
	FLAG_LOADED = 8,
	DATAGRAM_MAX = 2048, /* longer than any message. A choice. */
};

enum template {
	RAW,
	INITIATION,
	RESPONSE,
	COOKIE_REPLY,
	N_TEMPLATES
};

/*
 * A world for each template, in which that message is on its way to @to. A
 * refused message leaves a world unchanged, so it is used again; after an
 * accepted message it is made anew.
 */
struct scene {
	struct world w;
	struct side *to;
	struct side *from;
	uint8_t msg[MESSAGE_HANDSHAKE_MAX_LEN];
	size_t len;
	bool is_set;
};

static struct scene scenes[N_TEMPLATES];

/* Write the sender's macs, with a cookie of the receiver. */
static void add_macs(struct scene *s, void *msg, size_t len)
{
	struct message_cookie reply;

	cookie_maker_add_macs(&s->from->maker, msg, len, NOW);
	cookie_checker_make_reply(&s->to->checker, msg, len, s->to->source,
				  sizeof(s->to->source), NOW, &reply);
	require(cookie_maker_consume_reply(&s->from->maker, &reply, NOW));
	cookie_maker_add_macs(&s->from->maker, msg, len, NOW);
}

static void set_initiation(struct scene *s, struct message_initiation *msg)
{
	world_init(&s->w, NULL, NULL, 1);
	s->from = &s->w.a;
	s->to = &s->w.b;
	require(world_handshake(&s->w.a, &s->w.b, NSEC_PER_SEC, WALL));
	require(world_carry(&s->w.a, &s->w.b, NSEC_PER_SEC));
	require(noise_handshake_create_initiation(&s->w.a.hs, WALL + NOW,
						  msg) == 0);
	add_macs(s, msg, sizeof(*msg));
}

static void scene_set(struct scene *s, enum template template)
{
	struct message_initiation initiation;
	struct message_response response;
	struct message_cookie reply;

	set_initiation(s, &initiation);
	s->is_set = true;
	s->len = sizeof(initiation);
	memcpy(s->msg, &initiation, s->len);
	if (template == RESPONSE) {
		require(side_receive(s->to, s->msg, s->len, true, NOW,
				     &response));
		s->from = &s->w.b;
		s->to = &s->w.a;
		s->len = sizeof(response);
		add_macs(s, &response, s->len);
		memcpy(s->msg, &response, s->len);
	} else if (template == COOKIE_REPLY) {
		cookie_checker_make_reply(&s->w.b.checker, s->msg, s->len,
					  s->w.b.source, sizeof(s->w.b.source),
					  NOW, &reply);
		s->from = &s->w.b;
		s->to = &s->w.a;
		s->len = sizeof(reply);
		memcpy(s->msg, &reply, s->len);
	}
}

static void scene_unset(struct scene *s)
{
	world_deinit(&s->w);
	s->is_set = false;
}

/* Compare the bytes that the handshake itself protects, without the macs. */
static bool is_same(const struct scene *s, enum template template,
		    const uint8_t *msg, size_t len)
{
	static const size_t first[N_TEMPLATES] = {
		[INITIATION] = offsetof(struct message_initiation, ephemeral),
		[RESPONSE] = offsetof(struct message_response, receiver),
		[COOKIE_REPLY] = offsetof(struct message_cookie, nonce),
	};
	size_t end = s->len;

	if (template != COOKIE_REPLY)
		end -= sizeof(struct message_macs);
	return template != RAW && len == s->len &&
	       memcmp(msg, s->msg, sizeof(struct le32)) == 0 &&
	       memcmp(msg + first[template], s->msg + first[template],
		      end - first[template]) == 0;
}

/* Write the input over the template; the datagram may grow. */
static size_t build(const struct scene *s, enum template template,
		    const uint8_t *in, size_t in_len, uint8_t *out)
{
	size_t off = 0, len = 0;

	if (template != RAW) {
		memcpy(out, s->msg, s->len);
		len = s->len;
		off = in_len ? in[0] : 0;
		in += in_len > 0;
		in_len -= in_len > 0;
	}
	if (in_len > DATAGRAM_MAX - off)
		in_len = DATAGRAM_MAX - off;
	for (size_t i = 0; i < in_len; i++)
		out[off + i] ^= in[i];
	return in_len && off + in_len > len ? off + in_len : len;
}

static void run(struct scene *s, enum template template, uint8_t flags,
		const uint8_t *in, size_t in_len)
{
	static struct side_snapshot before, after;
	uint8_t buf[DATAGRAM_MAX] = { 0 };
	size_t len = build(s, template, in, in_len, buf);
	struct message_response response;
	enum message_type type = message_check(buf, len);

	if ((flags & FLAG_FRESH_MACS) &&
	    (type == MESSAGE_INITIATION || type == MESSAGE_RESPONSE))
		add_macs(s, buf, len);
	side_snapshot(s->to, &before);
	if (side_receive(s->to, buf, len, flags & FLAG_LOADED, NOW,
			 &response)) {
		require(is_same(s, template, buf, len));
		scene_unset(s);
		return;
	}
	side_snapshot(s->to, &after);
	require(memcmp(&before, &after, sizeof(before)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	enum template template;

	if (len == 0 || crypto_init())
		return 0;
	template = data[0] & FLAG_TEMPLATE;
	if (!scenes[template].is_set)
		scene_set(&scenes[template], template);
	run(&scenes[template], template, data[0], data + 1, len - 1);
	return 0;
}
