/* SPDX-License-Identifier: MIT */
/*
 * Messages of the handshake, as the device handles them: which senders may ask
 * for a handshake, what the answer is, and what changes for timers, endpoint
 * and counters. One thread at a time, the handshaker, calls these functions.
 * Other threads, which fill its queue, may call only device_screen_handshake()
 * and device_take_cookie().
 */
#ifndef DEVICE_HANDSHAKE_H
#define DEVICE_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/device.h"
#include "noise/wire.h"

/**
 * struct device_origin - where a message of the handshake came from
 * @endpoint:	where an answer goes to
 * @source:	address and port in network order, for cookies: 6 or 18 bytes
 * @source_len:	length of @source
 * @is_under_load: load: the origin must show by a cookie that it receives at
 *		@source, and its handshakes are limited. The first responses to
 *		an initiation need no cookie.
 */
struct device_origin {
	struct device_endpoint endpoint;
	uint8_t source[COOKIE_SOURCE_MAX_LEN];
	size_t source_len;
	bool is_under_load;
};

/**
 * struct device_answer - the answer to the origin of a message
 * @buf:	a response or a cookie reply
 * @len:	its length; 0: there is no answer
 * @peer:	peer for which the answer is counted, with a reference that the
 *		caller gives back; NULL: a cookie reply, which is not counted
 */
struct device_answer {
	uint8_t buf[MESSAGE_HANDSHAKE_MAX_LEN];
	size_t len;
	struct peer *peer;
};

/**
 * device_make_initiation() - write an initiation
 * @peer:	peer
 * @now:	the present
 * @realtime:	wall clock
 * @msg:	filled on success
 * @to:		filled on success: where to send it
 *
 * On success the initiation counts as sent: the caller sends it and calls
 * peer_count_sent(). After a failure the next call may follow at once, since
 * the missing key or endpoint may have come.
 *
 * Return: 0; -EDESTADDRREQ: the peer has no endpoint; NOISE_E_NO_KEY,
 * NOISE_E_BAD_KEY, NOISE_E_STATE; -ENOMEM, -ENOSPC.
 */
int device_make_initiation(struct peer *peer, uint64_t now, uint64_t realtime,
			   struct message_initiation *msg,
			   struct device_endpoint *to);

/**
 * device_screen_handshake() - may a message have a place in the handshaker's
 *			       queue?
 * @device:	device
 * @msg:	initiation or response that message_check() has accepted, of any
 *		alignment
 * @len:	its length
 * @from:	where it came from; mac2 is checked if is_under_load is set
 * @now:	the present
 * @is_proven:	set with DROP_NONE only. True: the source is most likely not
 *		forged, because the sender has our cookie, or because the
 *		message is one of the first responses to our initiation.
 *
 * This call turns senders away that do not know our public key, and responses
 * that name a session instead of an initiation. It costs one hash or one
 * look-up, and comes before the message takes a place that a peer needs.
 * device_receive_handshake() checks everything again. Cookie replies do not go
 * through the queue: see device_take_cookie(). Any thread.
 *
 * Return: DROP_NONE; DROP_FORGED: mac1 is wrong; DROP_NO_INDEX: the response
 * answers no initiation of ours; DROP_BAD_MESSAGE: a message of another type.
 */
enum drop_reason device_screen_handshake(struct device *device, const void *msg,
					 size_t len,
					 const struct device_origin *from,
					 uint64_t now, bool *is_proven);

/**
 * device_take_cookie() - take a cookie reply
 * @device:	device
 * @msg:	cookie reply that message_check() has accepted, of any alignment
 * @now:	the present
 *
 * The call costs one look-up. If the index has a message that the reply may
 * answer, it also costs one short decryption, about as much as the check of a
 * mac1. So the thread that has received a cookie reply calls this at once,
 * without a queue. Any registered thread, not between rcu_enter() and
 * rcu_leave().
 *
 * Return: DROP_NONE; DROP_NO_INDEX; DROP_FORGED: the reply does not decrypt, or
 * no message of ours can be answered by it.
 */
enum drop_reason device_take_cookie(struct device *device, const void *msg,
				    uint64_t now);

/**
 * device_receive_handshake() - take an initiation or a response
 * @device:	device
 * @msg:	message, of any alignment
 * @len:	its length
 * @from:	where it came from
 * @now:	the present
 * @realtime:	wall clock
 * @answer:	filled: the answer to @from, if there is one. A message that is
 *		dropped may have an answer, too.
 *
 * For a response that opens a session this calls device_ops.session_ready. An
 * authentic message moves the peer to @from.
 *
 * Return: DROP_NONE, or why the message was dropped.
 */
enum drop_reason device_receive_handshake(struct device *device,
					  const void *msg, size_t len,
					  const struct device_origin *from,
					  uint64_t now, uint64_t realtime,
					  struct device_answer *answer);

#endif /* DEVICE_HANDSHAKE_H */
