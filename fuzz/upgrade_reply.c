/* SPDX-License-Identifier: MIT */
/*
 * Replies of a keeper to a request for an upgrade. Input: the reply.
 *
 * Promises: only a whole reply of our version without an error is success; a reason is
 * not empty, ends, and has no control characters.
 */
#include "fuzz/fuzz.h"

#include <errno.h>

#include "ctl/upgrade_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct upgrade_reply reply = { 0 };
	char why[UPGRADE_WHY_CAP];
	int err;

	if (!len)
		return 0;
	memset(why, 0xaa, sizeof(why));
	err = upgrade_reply_read(data, len, why);
	memcpy(&reply, data, len < sizeof(reply) ? len : sizeof(reply));
	require(err <= 0);
	if (len != sizeof(reply) || reply.version != UPGRADE_VERSION)
		require(err == -EPROTO || err == -EPROTONOSUPPORT);
	else
		require(err == reply.err || err == -EPROTO);
	if (err == 0)
		return 0;
	require(*why && memchr(why, 0, sizeof(why)));
	for (const char *at = why; *at; at++)
		require(*at >= ' ' && *at <= '~');
	return 0;
}
