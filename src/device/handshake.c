/* SPDX-License-Identifier: MIT */
/*
 * What the device does with a message of the handshake, from the cheapest check
 * to the most expensive: length, macs, cookie, rate, and only then the key
 * agreement of noise/handshake.c.
 */
#include "device/handshake.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"

enum {
	/* Bytes of the port, at the end of a source. */
	PORT_LEN = 2,
	/* Responses to one initiation that need no cookie under load. Only
	 * the peer and an observer of our packets know the index of the
	 * initiation. The network may double the true response; a sender of
	 * many more is an attacker. */
	FREE_RESPONSES = 8,
};

/* A received message of the handshake and what goes with it. */
struct received {
	struct device *device;
	const void *msg;
	size_t len;
	const struct device_origin *from;
	uint64_t now;
	uint64_t realtime;
	struct device_answer *answer;
	/* Is one of the first responses to our initiation. */
	bool is_awaited;
};

int device_make_initiation(struct peer *peer, uint64_t now, uint64_t realtime,
			   struct message_initiation *msg,
			   struct device_endpoint *to)
{
	struct device_endpoint ep;
	int err;

	if (!endpoint_cell_get(&peer->endpoint, &ep))
		return -EDESTADDRREQ;
	err = noise_handshake_create_initiation(&peer->handshake, realtime,
						msg);
	if (err)
		return err;
	/* Noted before the initiation leaves. After a failure above nothing is
	 * noted, so the next initiation need not wait. */
	timers_note_handshake_sent(&peer->timers, false, now);
	/* The index is new and has not left yet, so no response to it can have
	 * been counted. */
	atomic_store_explicit(&peer->n_screened, 0, memory_order_relaxed);
	atomic_store_explicit(&peer->n_checked, 0, memory_order_relaxed);
	cookie_maker_add_macs(&peer->cookie, msg, sizeof(*msg), now);
	device_note(peer);
	*to = ep;
	return 0;
}

/* @err is an enum noise_error, or -errno. */
static enum drop_reason drop_of_noise(int err)
{
	switch (err) {
	case 0:
		return DROP_NONE;
	case NOISE_E_FORGED:
		return DROP_FORGED;
	case NOISE_E_UNKNOWN:
		return DROP_UNKNOWN_PEER;
	case NOISE_E_REPLAYED:
		return DROP_REPLAYED;
	case NOISE_E_FLOODED:
		return DROP_RATE_LIMIT;
	default:
		return err < 0 ? DROP_NO_MEMORY : DROP_BAD_HANDSHAKE;
	}
}

/* Returns the peer that a receiver index names, with a reference, or NULL. */
static struct peer *lookup(struct device *device,
			   struct noise_handshake *(*find)(const struct index *,
							   uint32_t),
			   struct le32 receiver)
{
	struct noise_handshake *hs;
	struct peer *peer = NULL;

	rcu_enter();
	hs = find(&device->index, le32_get(receiver));
	if (hs) {
		peer = container_of(hs, struct peer, handshake);
		if (!peer_get(peer))
			peer = NULL;
	}
	rcu_leave();
	return peer;
}

/* Counts a response. Returns true if it is one of those that need no cookie. */
static bool is_among_first(_Atomic uint32_t *counter)
{
	return atomic_fetch_add_explicit(counter, 1, memory_order_relaxed) <
	       FREE_RESPONSES;
}

/* Sets @is_proven with DROP_NONE only: mac2 was checked and is right. */
static enum drop_reason screen_macs(struct device *device, const void *msg,
				    size_t len,
				    const struct device_origin *from,
				    uint64_t now, bool *is_proven)
{
	enum cookie_verdict verdict = cookie_checker_check(
		&device->checker, msg, len, from->source, from->source_len,
		from->is_under_load, now);

	if (verdict == COOKIE_MAC1_WRONG)
		return DROP_FORGED;
	*is_proven = verdict == COOKIE_MAC2_RIGHT;
	return DROP_NONE;
}

/* Sets @is_proven with DROP_NONE only. */
static enum drop_reason screen_response(struct device *device,
					const struct message_response *msg,
					const struct device_origin *from,
					uint64_t now, bool *is_proven)
{
	enum drop_reason reason = DROP_NO_INDEX;
	struct noise_handshake *hs;
	struct peer *peer;

	rcu_enter();
	hs = index_lookup_awaiting(&device->index, le32_get(msg->receiver));
	if (hs) {
		reason = screen_macs(device, msg, sizeof(*msg), from, now,
				     is_proven);
		peer = container_of(hs, struct peer, handshake);
		if (!reason && is_among_first(&peer->n_screened))
			*is_proven = true;
	}
	rcu_leave();
	return reason;
}

enum drop_reason device_screen_handshake(struct device *device, const void *msg,
					 size_t len,
					 const struct device_origin *from,
					 uint64_t now, bool *is_proven)
{
	switch (message_check(msg, len)) {
	case MESSAGE_INITIATION:
		return screen_macs(device, msg, len, from, now, is_proven);
	case MESSAGE_RESPONSE:
		return screen_response(device, msg, from, now, is_proven);
	case MESSAGE_COOKIE:
	default:
		return DROP_BAD_MESSAGE;
	}
}

/* Paper, section 5.3. May this message cost us a key agreement? With
 * DROP_NEEDS_COOKIE the answer is a cookie reply. */
static enum drop_reason check_macs(const struct received *r)
{
	const bool is_loaded = r->from->is_under_load;
	struct device *device = r->device;
	struct message_cookie reply;

	switch (cookie_checker_check(&device->checker, r->msg, r->len,
				     r->from->source, r->from->source_len,
				     is_loaded, r->now)) {
	case COOKIE_MAC1_WRONG:
		return DROP_FORGED;
	case COOKIE_MAC1_RIGHT:
		if (!is_loaded || r->is_awaited)
			return DROP_NONE;
		cookie_checker_make_reply(&device->checker, r->msg, r->len,
					  r->from->source, r->from->source_len,
					  r->now, &reply);
		memcpy(r->answer->buf, &reply, sizeof(reply));
		r->answer->len = sizeof(reply);
		return DROP_NEEDS_COOKIE;
	case COOKIE_MAC2_RIGHT:
		break;
	}
	if (!ratelimit_allow(device->ratelimit, r->from->source,
			     r->from->source_len - PORT_LEN, r->now))
		return DROP_RATE_LIMIT;
	return DROP_NONE;
}

/* Counts an authentic message, and moves its peer to where it came from. */
static void note_authentic(const struct received *r, struct peer *peer)
{
	device_learn_endpoint(peer, &r->from->endpoint);
	peer_count_received(peer, r->len);
	timers_note_received(&peer->timers, false, r->now);
}

/* Makes the response and its session. On success the reference to @peer goes
 * into the answer; on failure the caller keeps it. */
static int answer_initiation(const struct received *r, struct peer *peer)
{
	struct message_response msg;
	int err;

	err = noise_handshake_create_response(&peer->handshake, &msg);
	if (err)
		return err;
	cookie_maker_add_macs(&peer->cookie, &msg, sizeof(msg), r->now);
	err = noise_handshake_begin_session(&peer->handshake, &peer->keypairs,
					    r->now);
	if (err)
		return err;
	timers_note_session(&peer->timers, r->now);
	timers_note_handshake_sent(&peer->timers, true, r->now);
	device_poke_peer(peer);
	if (atomic_fetch_add_explicit(&peer->n_incomplete, 1,
				      memory_order_relaxed) ==
	    DEVICE_INCOMPLETE_HANDSHAKES)
		device_tell(peer, DEVICE_HANDSHAKES_INCOMPLETE, NULL);
	memcpy(r->answer->buf, &msg, sizeof(msg));
	r->answer->len = sizeof(msg);
	r->answer->peer = peer;
	return 0;
}

/* The macs were checked. */
static enum drop_reason take_initiation(const struct received *r)
{
	struct message_initiation msg;
	struct noise_handshake *hs;
	struct peer *peer;
	int err;

	memcpy(&msg, r->msg, sizeof(msg));
	err = noise_local_consume_initiation(&r->device->local, &msg, r->now,
					     &hs);
	if (err)
		return drop_of_noise(err);
	peer = container_of(hs, struct peer, handshake);
	note_authentic(r, peer);
	device_note(peer);
	err = answer_initiation(r, peer);
	if (err)
		peer_put(peer);
	return drop_of_noise(err);
}

/* A response of the peer does not decrypt: it has another preshared key. */
static void note_undecryptable(const struct received *r, struct peer *peer)
{
	atomic_fetch_add_explicit(&peer->notes.n_undecryptable, 1,
				  memory_order_relaxed);
	atomic_store_explicit(&peer->notes.undecryptable_at, r->realtime,
			      memory_order_relaxed);
}

/* The macs were checked. */
static enum drop_reason complete(const struct received *r, struct peer *peer)
{
	struct device *device = r->device;
	struct message_response msg;
	int err;

	memcpy(&msg, r->msg, sizeof(msg));
	err = noise_handshake_consume_response(&peer->handshake, &msg);
	if (err == NOISE_E_FORGED)
		note_undecryptable(r, peer);
	if (err)
		return drop_of_noise(err);
	note_authentic(r, peer);
	cookie_maker_expect_none(&peer->cookie);
	err = noise_handshake_begin_session(&peer->handshake, &peer->keypairs,
					    r->now);
	if (err)
		return drop_of_noise(err);
	atomic_store_explicit(&peer->n_incomplete, 0, memory_order_relaxed);
	atomic_store_explicit(&peer->did_last_minute, false,
			      memory_order_relaxed);
	atomic_store_explicit(&peer->last_handshake_ns, r->realtime,
			      memory_order_relaxed);
	timers_note_session(&peer->timers, r->now);
	timers_note_handshake_done(&peer->timers);
	device_poke_peer(peer);
	device->ops->session_ready(device->arg, peer, true);
	return DROP_NONE;
}

static enum drop_reason take_response(struct received *r)
{
	const struct message_response *msg = r->msg;
	enum drop_reason reason;
	struct peer *peer;

	peer = lookup(r->device, index_lookup_awaiting, msg->receiver);
	if (!peer)
		return DROP_NO_INDEX;
	r->is_awaited = is_among_first(&peer->n_checked);
	reason = check_macs(r);
	if (!reason)
		reason = complete(r, peer);
	peer_put(peer);
	return reason;
}

enum drop_reason device_take_cookie(struct device *device, const void *msg,
				    uint64_t now)
{
	struct message_cookie reply;
	struct peer *peer;
	bool is_taken;

	memcpy(&reply, msg, sizeof(reply));
	peer = lookup(device, index_lookup_handshake, reply.receiver);
	if (!peer)
		return DROP_NO_INDEX;
	is_taken = cookie_maker_consume_reply(&peer->cookie, &reply, now);
	peer_put(peer);
	return is_taken ? DROP_NONE : DROP_FORGED;
}

enum drop_reason device_receive_handshake(struct device *device,
					  const void *msg, size_t len,
					  const struct device_origin *from,
					  uint64_t now, uint64_t realtime,
					  struct device_answer *answer)
{
	struct received r = { device, msg,	len,	from,
			      now,    realtime, answer, false };
	enum drop_reason reason;

	memset(answer, 0, sizeof(*answer));
	INVARIANT(from->source_len > PORT_LEN &&
		  from->source_len <= sizeof(from->source));
	switch (message_check(msg, len)) {
	case MESSAGE_INITIATION:
		reason = check_macs(&r);
		return reason ? reason : take_initiation(&r);
	case MESSAGE_RESPONSE:
		return take_response(&r);
	case MESSAGE_COOKIE:
	default:
		return DROP_BAD_MESSAGE;
	}
}
