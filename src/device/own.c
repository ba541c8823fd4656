/* SPDX-License-Identifier: MIT */
/*
 * Looks the numbers in a message up in the tables that the device has anyway:
 * keypairs, indexes, and the last cookie replies.
 */
#include "device/own.h"

#include "base/bytes.h"
#include "device/device.h"
#include "noise/wire.h"

static_assert(sizeof(struct message_data) == OWN_HEADER_LEN &&
		      offsetof(struct message_cookie, nonce) + 8 ==
			      OWN_HEADER_LEN,
	      "every field that is compared lies in the first bytes");

/* Have we drawn this index, and for this peer? */
static bool is_our_index(struct peer *peer, uint32_t idx)
{
	const struct noise_handshake *hs;

	rcu_enter();
	hs = index_lookup_handshake(&peer->device->index, idx);
	rcu_leave();
	return hs == &peer->handshake;
}

bool own_is_message(struct peer *peer, const uint8_t *msg, size_t len)
{
	/* One header, viewed as each type of message: the type is not known
	 * yet. */
	const struct message_data *data = (const void *)msg;
	const struct message_initiation *initiation = (const void *)msg;
	const struct message_cookie *cookie = (const void *)msg;

	/* message_check() looks at type and length only, so the header is
	 * enough. */
	switch (message_check(msg, len)) {
	case MESSAGE_DATA:
		return noise_keypairs_have_sent(&peer->keypairs,
						le32_get(data->receiver),
						le64_get(data->counter));
	case MESSAGE_INITIATION:
	case MESSAGE_RESPONSE:
		return is_our_index(peer, le32_get(initiation->sender));
	case MESSAGE_COOKIE:
		return cookie_checker_has_made(&peer->device->checker,
					       cookie->nonce);
	case MESSAGE_INVALID:
	default:
		return false;
	}
}
