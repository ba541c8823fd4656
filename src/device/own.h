/* SPDX-License-Identifier: MIT */
/*
 * Recognises messages that this device has made, by their contents: an outer
 * packet may come back through the interface.
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
 * own_is_message() - has this device made this message, for this peer?
 * @peer:	peer
 * @msg:	OWN_HEADER_LEN bytes of a datagram's payload, of any alignment
 * @len:	length of the whole payload
 *
 * A data message is ours if a session with the peer has its receiver index and
 * has drawn its counter. An initiation or a response is ours if we have drawn
 * its sender index for this peer. A cookie reply is ours if it is one of the
 * last that we made, for any peer. Another sender can know these numbers only
 * if it has seen our messages. Any thread, without locks.
 *
 * Return: true if it is ours.
 */
bool own_is_message(struct peer *peer, const uint8_t *msg, size_t len);

#endif /* DEVICE_OWN_H */
