/* SPDX-License-Identifier: MIT */
/*
 * Recognising messages of our own by their contents.
 */
#ifndef DEVICE_OWN_H
#define DEVICE_OWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/peer.h"

enum {
	/* The first bytes of a message, by which it is recognised. */
	OWN_HEADER_LEN = 16,
};

/**
 * own_is_message() - did we make this message, and for this peer?
 * @peer:	peer
 * @msg:	OWN_HEADER_LEN bytes of a datagram's payload, of any alignment
 * @len:	length of the whole payload
 *
 * A data message is ours if a session with the peer has its receiver index and
 * has drawn its counter; an initiation or a response is ours if its sender
 * index is one that we have for this peer; a cookie reply is ours if it is one
 * of the last that we made, for any peer. Only somebody who has seen our
 * messages can know these numbers. Any thread, without locks.
 *
 * Return: true if so.
 */
bool own_is_message(struct peer *peer, const uint8_t *msg, size_t len);

#endif /* DEVICE_OWN_H */
