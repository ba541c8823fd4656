/* SPDX-License-Identifier: MIT */
#include "device/handshake.h"

#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"

/* The port ends the bytes of a source. */
enum {
	PORT_LEN = 2
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
	/* Before it leaves, and only if it does: key or endpoint may come soon. */
	timers_note_handshake_sent(&peer->timers, false, now);
	cookie_maker_add_macs(&peer->cookie, msg, sizeof(*msg), now);
	*to = ep;
	return 0;
}

/**
 * drop_of_noise() - the reason for a drop that a noise_error stands for
 * @err:	enum noise_error, or -errno
 *
 * Return: the reason.
 */
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

/**
 * lookup() - the peer that a receiver index names
 * @device:	device
 * @receiver:	index
 *
 * Return: the peer with a reference; NULL.
 */
static struct peer *lookup(struct device *device, uint32_t receiver)
{
	struct noise_handshake *hs;
	struct peer *peer = NULL;

	rcu_enter();
	hs = index_lookup_handshake(&device->index, receiver);
	if (hs) {
		peer = container_of(hs, struct peer, handshake);
		if (!peer_get(peer))
			peer = NULL;
	}
	rcu_leave();
	return peer;
}

/**
 * is_awaited() - does a handshake of ours wait under this receiver index?
 * @device:	device
 * @receiver:	index
 *
 * Return: true if so.
 */
static bool is_awaited(const struct device *device, struct le32 receiver)
{
	bool is_there;

	rcu_enter();
	is_there = index_lookup_handshake(&device->index, le32_get(receiver));
	rcu_leave();
	return is_there;
}

/**
 * screen_receiver() - turn away what answers no message of ours
 * @device:	device
 * @type:	type of the message
 * @msg:	message
 *
 * Return: DROP_NONE; DROP_NO_INDEX; DROP_BAD_MESSAGE.
 */
static enum drop_reason screen_receiver(const struct device *device,
					enum message_type type, const void *msg)
{
	const struct message_response *response = msg;
	const struct message_cookie *cookie = msg;

	switch (type) {
	case MESSAGE_INITIATION:
		return DROP_NONE;
	case MESSAGE_RESPONSE:
		return is_awaited(device, response->receiver) ? DROP_NONE
							      : DROP_NO_INDEX;
	case MESSAGE_COOKIE:
		return is_awaited(device, cookie->receiver) ? DROP_NONE
							    : DROP_NO_INDEX;
	default:
		return DROP_BAD_MESSAGE;
	}
}

enum drop_reason device_screen_handshake(struct device *device, const void *msg,
					 size_t len,
					 const struct device_origin *from,
					 uint64_t now, bool *is_proven)
{
	enum message_type type = message_check(msg, len);
	enum drop_reason reason = screen_receiver(device, type, msg);
	enum cookie_verdict verdict;

	if (reason)
		return reason;
	*is_proven = type != MESSAGE_INITIATION;
	if (type == MESSAGE_COOKIE)
		return DROP_NONE;
	verdict = cookie_checker_check(&device->checker, msg, len, from->source,
				       from->source_len, from->must_prove, now);
	if (verdict == COOKIE_MAC1_WRONG)
		return DROP_FORGED;
	*is_proven |= verdict == COOKIE_MAC2_RIGHT;
	return DROP_NONE;
}

/**
 * check_macs() - may this message cost us a key agreement?
 * @r:		message
 *
 * Paper, section 5.3: under load a right mac1 earns a cookie, and a right mac2
 * a place among what its source address may have.
 *
 * Return: DROP_NONE; DROP_FORGED, DROP_RATE_LIMIT; DROP_NEEDS_COOKIE: answered.
 */
static enum drop_reason check_macs(const struct received *r)
{
	const bool is_loaded = r->from->must_prove;
	struct device *device = r->device;
	struct message_cookie reply;

	switch (cookie_checker_check(&device->checker, r->msg, r->len,
				     r->from->source, r->from->source_len,
				     is_loaded, r->now)) {
	case COOKIE_MAC1_WRONG:
		return DROP_FORGED;
	case COOKIE_MAC1_RIGHT:
		if (!is_loaded)
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

/**
 * took_message() - what an authentic message of the handshake always does
 * @r:		message
 * @peer:	who sent it
 */
static void took_message(const struct received *r, struct peer *peer)
{
	endpoint_cell_learn(&peer->endpoint, &r->from->endpoint);
	peer_count_received(peer, r->len);
	timers_note_received(&peer->timers, false, r->now);
}

/**
 * answer_initiation() - make the response and the session that goes with it
 * @r:		message
 * @peer:	who sent it; the reference goes into the answer
 *
 * Return: 0; enum noise_error; -errno: nothing is sent, and the reference is
 * still the caller's.
 */
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
	memcpy(r->answer->buf, &msg, sizeof(msg));
	r->answer->len = sizeof(msg);
	r->answer->peer = peer;
	return 0;
}

/**
 * take_initiation() - an initiation with right macs
 * @r:		message
 *
 * Return: DROP_NONE, or why it was dropped.
 */
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
	took_message(r, peer);
	err = answer_initiation(r, peer);
	if (err)
		peer_put(peer);
	return drop_of_noise(err);
}

/**
 * take_response() - a response with right macs
 * @r:		message
 *
 * Return: DROP_NONE, or why it was dropped.
 */
static enum drop_reason take_response(const struct received *r)
{
	struct device *device = r->device;
	struct message_response msg;
	struct peer *peer;
	int err;

	memcpy(&msg, r->msg, sizeof(msg));
	peer = lookup(device, le32_get(msg.receiver));
	if (!peer)
		return DROP_NO_INDEX;
	err = noise_handshake_consume_response(&peer->handshake, &msg);
	if (err)
		goto out;
	took_message(r, peer);
	err = noise_handshake_begin_session(&peer->handshake, &peer->keypairs,
					    r->now);
	if (err)
		goto out;
	atomic_store_explicit(&peer->did_last_minute, false,
			      memory_order_relaxed);
	atomic_store_explicit(&peer->last_handshake_ns, r->realtime,
			      memory_order_relaxed);
	timers_note_session(&peer->timers, r->now);
	timers_note_handshake_done(&peer->timers);
	device_poke_peer(peer);
	device->ops->session_ready(device->arg, peer, true);
out:
	peer_put(peer);
	return drop_of_noise(err);
}

/**
 * take_cookie() - a cookie reply
 * @r:		message
 *
 * Return: DROP_NONE, or why it was dropped.
 */
static enum drop_reason take_cookie(const struct received *r)
{
	struct message_cookie msg;
	struct peer *peer;
	bool is_taken;

	memcpy(&msg, r->msg, sizeof(msg));
	peer = lookup(r->device, le32_get(msg.receiver));
	if (!peer)
		return DROP_NO_INDEX;
	is_taken = cookie_maker_consume_reply(&peer->cookie, &msg, r->now);
	peer_put(peer);
	return is_taken ? DROP_NONE : DROP_FORGED;
}

enum drop_reason device_receive_handshake(struct device *device,
					  const void *msg, size_t len,
					  const struct device_origin *from,
					  uint64_t now, uint64_t realtime,
					  struct device_answer *answer)
{
	const struct received r = { device, msg,      len,   from,
				    now,    realtime, answer };
	enum message_type type = message_check(msg, len);
	enum drop_reason reason;

	memset(answer, 0, sizeof(*answer));
	INVARIANT(from->source_len > PORT_LEN &&
		  from->source_len <= sizeof(from->source));
	if (type == MESSAGE_COOKIE)
		return take_cookie(&r);
	if (type != MESSAGE_INITIATION && type != MESSAGE_RESPONSE)
		return DROP_BAD_MESSAGE;
	reason = check_macs(&r);
	if (reason)
		return reason;
	return type == MESSAGE_INITIATION ? take_initiation(&r)
					  : take_response(&r);
}
