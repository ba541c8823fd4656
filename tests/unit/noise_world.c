/* SPDX-License-Identifier: MIT */
/*
 * The two sides of noise_world.h: a table of indices with checks, random bytes
 * from a seed, and whole handshakes.
 */
#include "noise_world.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "crypto/aead.h"
#include "crypto/x25519.h"
#include "crypto_hex.h"

static void side_random(void *arg, void *buf, size_t len)
{
	struct side *side = arg;
	uint8_t *out = buf;
	size_t n = size_min(len, side->planned_len);

	if (n) {
		memcpy(out, side->planned, n);
		side->planned += n;
		side->planned_len -= n;
	}
	prng_fill(&side->seed, out + n, len - n);
}

static struct noise_handshake *
side_find_peer(void *arg, const uint8_t key[NOISE_PUBLIC_KEY_LEN])
{
	struct side *side = arg;

	if (side->finds_no_peer ||
	    memcmp(key, side->hs.remote_static, NOISE_PUBLIC_KEY_LEN) != 0)
		return NULL;
	side->n_peer_refs++;
	return &side->hs;
}

static void side_release_peer(void *arg, struct noise_handshake *hs)
{
	struct side *side = arg;

	INVARIANT(hs == &side->hs && side->n_peer_refs > 0);
	side->n_peer_refs--;
}

struct side_entry *side_find(struct side *side, uint32_t idx)
{
	for (size_t i = 0; i < SIDE_INDICES; i++)
		if (side->entries[i].is_used && side->entries[i].idx == idx)
			return &side->entries[i];
	return NULL;
}

static int side_publish_index(void *arg, struct noise_handshake *hs,
			      uint32_t *idx)
{
	struct side *side = arg;

	if (side->index_error)
		return side->index_error;
	for (size_t i = 0; i < SIDE_INDICES; i++) {
		struct side_entry *e = &side->entries[i];

		if (e->is_used)
			continue;
		*e = (struct side_entry){ true, side->next_idx++, hs, NULL };
		*idx = e->idx;
		return 0;
	}
	return -ENOSPC;
}

static int side_index_replace(void *arg, uint32_t idx,
			      struct noise_handshake *hs,
			      struct noise_keypair *kp)
{
	struct side_entry *e = side_find(arg, idx);

	if (!e || e->hs != hs)
		return -ENOENT;
	e->hs = NULL;
	e->kp = noise_keypair_ref(kp);
	return 0;
}

static int side_insert_index(void *arg, uint32_t idx,
			     struct noise_handshake *hs,
			     struct noise_keypair *kp)
{
	struct side *side = arg;
	struct side_entry *e = NULL;

	if (side->index_error)
		return side->index_error;
	if (side_find(side, idx))
		return -EEXIST;
	for (size_t i = 0; i < SIDE_INDICES && !e; i++)
		if (!side->entries[i].is_used)
			e = &side->entries[i];
	INVARIANT(e);
	*e = (struct side_entry){ .is_used = true, .idx = idx };
	if (kp)
		e->kp = noise_keypair_ref(kp);
	else
		e->hs = hs;
	return 0;
}

static void side_drop_index(void *arg, uint32_t idx)
{
	struct side_entry *e = side_find(arg, idx);

	/* An index is dropped once, and only if it is there. */
	INVARIANT(e);
	noise_keypair_put(e->kp);
	memset(e, 0, sizeof(*e));
}

static const struct noise_ops side_ops = {
	.random = side_random,
	.find_peer = side_find_peer,
	.release_peer = side_release_peer,
	.publish_index = side_publish_index,
	.index_replace = side_index_replace,
	.insert_index = side_insert_index,
	.drop_index = side_drop_index,
};

static void side_init(struct side *side, const uint8_t *key, uint64_t seed)
{
	memset(side, 0, sizeof(*side));
	side->seed = seed;
	side->next_idx = (uint32_t)prng_next(&side->seed);
	if (key)
		memcpy(side->private_key, key, sizeof(side->private_key));
	else
		prng_fill(&side->seed, side->private_key,
			  sizeof(side->private_key));
	x25519_clamp(side->private_key);
	x25519_public(side->public_key, side->private_key);
	prng_fill(&side->seed, side->source, sizeof(side->source));

	INVARIANT(noise_local_init(&side->local, &side_ops, side) == 0);
	INVARIANT(noise_local_set_private_key(&side->local, side->private_key));
	cookie_checker_init(&side->checker, &side->local);
	cookie_checker_set_key(&side->checker, side->public_key);
}

static void side_set_peer(struct side *side, const struct side *other)
{
	INVARIANT(noise_handshake_init(&side->hs, &side->local,
				       other->public_key, side) == 0);
	noise_keypairs_init(&side->kps, &side->local);
	cookie_maker_init(&side->maker, other->public_key);
}

void world_init(struct world *w, const uint8_t *key_a, const uint8_t *key_b,
		uint64_t seed)
{
	side_init(&w->a, key_a, seed);
	side_init(&w->b, key_b, seed ^ UINT64_C(0x5555555555555555));
	side_set_peer(&w->a, &w->b);
	side_set_peer(&w->b, &w->a);
}

static void side_deinit(struct side *side)
{
	INVARIANT(side->n_peer_refs == 0);
	noise_handshake_deinit(&side->hs);
	noise_keypairs_deinit(&side->kps);
	cookie_maker_deinit(&side->maker);
	cookie_checker_deinit(&side->checker);
	for (size_t i = 0; i < SIDE_INDICES; i++)
		INVARIANT(!side->entries[i].is_used);
	/* This asserts that all slots for secrets were given back. */
	noise_local_deinit(&side->local);
}

void world_deinit(struct world *w)
{
	side_deinit(&w->a);
	side_deinit(&w->b);
}

void side_snapshot(const struct side *side, struct side_snapshot *snap)
{
	memset(snap, 0, sizeof(*snap));
	memcpy(&snap->hs, &side->hs, sizeof(snap->hs));
	memcpy(&snap->secrets, side->hs.secrets, sizeof(snap->secrets));
	memcpy(&snap->kps, &side->kps, sizeof(snap->kps));
	memcpy(snap->entries, side->entries, sizeof(snap->entries));
	memcpy(&snap->maker, &side->maker, sizeof(snap->maker));
	snap->n_peer_refs = side->n_peer_refs;
}

static bool take_initiation(struct side *side,
			    const struct message_initiation *msg, uint64_t now,
			    struct message_response *response)
{
	struct noise_handshake *hs;
	bool is_taken;

	if (noise_local_consume_initiation(&side->local, msg, now, &hs))
		return false;
	is_taken = noise_handshake_create_response(hs, response) == 0 &&
		   noise_handshake_begin_session(hs, &side->kps, now) == 0;
	if (is_taken)
		cookie_maker_add_macs(&side->maker, response, sizeof(*response),
				      now);
	side_release_peer(side, hs);
	return is_taken;
}

static bool take_response(struct side *side, const struct message_response *msg,
			  uint64_t now)
{
	struct side_entry *e = side_find(side, le32_get(msg->receiver));

	return e && e->hs &&
	       noise_handshake_consume_response(e->hs, msg) == 0 &&
	       noise_handshake_begin_session(e->hs, &side->kps, now) == 0;
}

bool side_receive(struct side *side, const uint8_t *buf, size_t len,
		  bool is_loaded, uint64_t now,
		  struct message_response *response)
{
	enum message_type type = message_check(buf, len);
	enum cookie_verdict verdict;
	const void *msg = buf;

	if (type == MESSAGE_COOKIE) {
		const struct message_cookie *reply = msg;

		return side_find(side, le32_get(reply->receiver)) &&
		       cookie_maker_consume_reply(&side->maker, reply, now);
	}
	if (type != MESSAGE_INITIATION && type != MESSAGE_RESPONSE)
		return false;
	verdict = cookie_checker_check(&side->checker, buf, len, side->source,
				       sizeof(side->source), is_loaded, now);
	if (verdict != (is_loaded ? COOKIE_MAC2_RIGHT : COOKIE_MAC1_RIGHT))
		return false;
	return type == MESSAGE_INITIATION
		       ? take_initiation(side, msg, now, response)
		       : take_response(side, msg, now);
}

bool world_handshake(struct side *from, struct side *to, uint64_t now,
		     uint64_t realtime_ns)
{
	struct message_initiation initiation;
	struct message_response response;

	if (noise_handshake_create_initiation(&from->hs, realtime_ns,
					      &initiation))
		return false;
	cookie_maker_add_macs(&from->maker, &initiation, sizeof(initiation),
			      now);
	return side_receive(to, (const uint8_t *)&initiation,
			    sizeof(initiation), false, now, &response) &&
	       side_receive(from, (const uint8_t *)&response, sizeof(response),
			    false, now, NULL);
}

bool world_carry(struct side *from, struct side *to, uint64_t now)
{
	struct noise_keypair *kp = noise_keypairs_get_current(&from->kps);
	uint8_t text[16] = "a packet......";
	uint8_t buf[sizeof(text) + AEAD_TAG_LEN];
	struct side_entry *e;
	uint64_t counter;
	bool is_whole = false;

	if (!kp)
		return false;
	e = side_find(to, kp->remote_index);
	if (!noise_keypair_can_send(kp, now) || !e || !e->kp ||
	    noise_keypair_reserve(kp, 1, &counter) != 1)
		goto out;
	aead_seal(buf, text, sizeof(text), NULL, 0, counter, kp->keys->sending);
	is_whole = noise_keypair_can_receive(e->kp, now) &&
		   aead_open(buf, buf, sizeof(buf), NULL, 0, counter,
			     e->kp->keys->receiving) &&
		   memcmp(buf, text, sizeof(text)) == 0 &&
		   noise_keypair_accept(e->kp, counter);
	if (is_whole)
		noise_keypairs_confirm(&to->kps, e->kp);
out:
	noise_keypair_put(kp);
	return is_whole;
}
