/* SPDX-License-Identifier: MIT */
/* The one place where lengths of messages are checked. */
#include "noise/wire.h"

enum message_type message_check(const void *buf, size_t len)
{
	struct le32 type;

	if (len < MESSAGE_MIN_LEN)
		return MESSAGE_INVALID;
	memcpy(&type, buf, sizeof(type));
	switch (le32_get(type)) {
	case MESSAGE_INITIATION:
		if (len == sizeof(struct message_initiation))
			return MESSAGE_INITIATION;
		break;
	case MESSAGE_RESPONSE:
		if (len == sizeof(struct message_response))
			return MESSAGE_RESPONSE;
		break;
	case MESSAGE_COOKIE:
		if (len == sizeof(struct message_cookie))
			return MESSAGE_COOKIE;
		break;
	case MESSAGE_DATA:
		return MESSAGE_DATA;
	default:
		break;
	}
	return MESSAGE_INVALID;
}
