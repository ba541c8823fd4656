/* SPDX-License-Identifier: MIT */
/*
 * Messages of the handshake, as the device sees them: who may ask for one, what
 * the answer is, and what follows for timers, endpoint and counters. One thread
 * at a time, the handshaker, calls these. Only device_screen_handshake() and
 * device_take_cookie() may be called by other threads, those that fill its
 * queue.
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
 * @endpoint:	to answer to
 * @source:	address and port in network order, for cookies: 6 or 18 bytes
 * @source_len:	their count
 * @is_under_load: more handshakes are waiting than can be answered: the
 *		origin must show by a cookie that it gets what is sent to it,
 *		and its handshakes are limited. The first responses to an
 *		initiation are excepted.
 */
struct device_origin {
	struct device_endpoint endpoint;
	uint8_t source[COOKIE_SOURCE_MAX_LEN];
	size_t source_len;
	bool is_under_load;
};

/**
 * struct device_answer - what is to be sent to the origin
 * @buf:	a response or a cookie reply
 * @len:	its length; 0: nothing is to be sent
 * @peer:	whose bytes it counts as, with a reference that the caller gives
 *		back; NULL for a cookie reply, which counts as nobody's
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
 * On success the initiation counts as sent. After a failure the next one may be
 * made at once, since the missing key or endpoint may have come. The caller
 * sends it, and calls peer_count_sent().
 *
 * Return: 0; -EDESTADDRREQ: the peer's endpoint is not known; NOISE_E_NO_KEY,
 * NOISE_E_BAD_KEY, NOISE_E_STATE; -ENOMEM, -ENOSPC.
 */
int device_make_initiation(struct peer *peer, uint64_t now, uint64_t realtime,
			   struct message_initiation *msg,
			   struct device_endpoint *to);

/**
 * device_screen_handshake() - may a message have a place in a queue?
 * @device:	device
 * @msg:	initiation or response as message_check() found it, of any alignment
 * @len:	its length
 * @from:	where it came from; with is_under_load, mac2 is looked at
 * @now:	the present
 * @is_proven:	set with DROP_NONE: its sender has our cookie, or it is one of
 *		the first responses to an initiation of ours, so the source is
 *		most likely no forged one
 *
 * A sender that knows nothing, or only the index of a session, is turned away
 * here, at the price of a hash or a look-up, before its message takes a place
 * that a peer needs. device_receive_handshake() checks everything again. Cookie
 * replies do not go through the queue: see device_take_cookie(). Any thread.
 *
 * Return: DROP_NONE; DROP_FORGED: mac1 is wrong; DROP_NO_INDEX: it answers
 * no initiation of ours; DROP_BAD_MESSAGE.
 */
enum drop_reason device_screen_handshake(struct device *device, const void *msg,
					 size_t len,
					 const struct device_origin *from,
					 uint64_t now, bool *is_proven);

/**
 * device_take_cookie() - take a cookie reply
 * @device:	device
 * @msg:	cookie reply as message_check() found it, of any alignment
 * @now:	the present
 *
 * The call costs a look-up if no reply is due under its index, else a look-up
 * and one short decryption, about as much as the check of a mac1. So the thread
 * that has received a cookie reply calls this at once, without a queue. Any
 * registered thread, not under RCU.
 *
 * Return: DROP_NONE; DROP_NO_INDEX; DROP_FORGED: it does not decrypt, or none
 * is due.
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
 * @answer:	filled: what to send to @from, also for some that are dropped
 *
 * A message that opens a session calls device_ops.session_ready; it, and one
 * that is answered, moves the peer to @from.
 *
 * Return: DROP_NONE, or why the message was dropped.
 */
enum drop_reason device_receive_handshake(struct device *device,
					  const void *msg, size_t len,
					  const struct device_origin *from,
					  uint64_t now, uint64_t realtime,
					  struct device_answer *answer);

#endif /* DEVICE_HANDSHAKE_H */
