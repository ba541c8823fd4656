/* SPDX-License-Identifier: MIT */
/* The keeper may be of another release, so each byte is checked. Its reason goes to a
 * terminal. */
#include "ctl/upgrade_reply.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
	/* The greatest number of an error (include/linux/err.h). */
	ERRNO_MAX = 4095,
};

/* Copy a text that may have no end, with "?" for each byte that is not printable. */
static void copy_text(char out[UPGRADE_WHY_CAP],
		      const char text[UPGRADE_WHY_CAP])
{
	size_t len = strnlen(text, UPGRADE_WHY_CAP - 1);

	for (size_t i = 0; i < len; i++)
		out[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
	out[len] = 0;
}

int upgrade_reply_read(const void *data, size_t len, char why[UPGRADE_WHY_CAP])
{
	struct upgrade_reply reply = { 0 };

	memcpy(&reply, data, len < sizeof(reply) ? len : sizeof(reply));
	if (len >= sizeof(reply.version) && reply.version != UPGRADE_VERSION) {
		snprintf(why, UPGRADE_WHY_CAP,
			 "its daemon takes requests of version %u, and this is "
			 "version %u: restart it",
			 reply.version, (unsigned int)UPGRADE_VERSION);
		return -EPROTONOSUPPORT;
	}
	if (len != sizeof(reply) || reply.err > 0 || reply.err < -ERRNO_MAX) {
		snprintf(why, UPGRADE_WHY_CAP,
			 "the answer of its daemon makes no sense (%zu bytes)",
			 len);
		return -EPROTO;
	}
	if (reply.err == 0)
		return 0;
	copy_text(why, reply.why);
	if (!*why)
		snprintf(why, UPGRADE_WHY_CAP, "refused: %s",
			 strerror(-reply.err));
	return reply.err;
}
