/* SPDX-License-Identifier: MIT */
/* The reply to `wiregatherctl upgrade`, read. Any thread. */
#ifndef CTL_UPGRADE_REPLY_H
#define CTL_UPGRADE_REPLY_H

#include <stddef.h>

#include "base/upgrade.h"

/**
 * upgrade_reply_read() - read what a keeper has replied
 * @data:	the message; any bytes will do
 * @len:	its length, which may be more than sizeof(struct upgrade_reply). Then only
 *		the first sizeof(struct upgrade_reply) bytes are there
 * @why:	on failure: one printable line that says why, not empty
 *
 * Return: 0: the tunnel was upgraded; -errno of the keeper; -EPROTONOSUPPORT: it speaks
 * another version; -EPROTO: the message makes no sense.
 */
int upgrade_reply_read(const void *data, size_t len, char why[UPGRADE_WHY_CAP]);

#endif /* CTL_UPGRADE_REPLY_H */
