/* SPDX-License-Identifier: MIT */
/*
 * Going on for a process that has died: its journal is read and applied to a device.
 * The journal may have been written by an enemy (journal/reader.h).
 *
 * Everything is applied by the functions that a `set` uses. So by a journal an enemy can
 * change the configuration, as he could before. He can also change the timestamps, and
 * so keep a peer from beginning handshakes.
 */
#ifndef JOURNAL_RESTORE_H
#define JOURNAL_RESTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/config.h"
#include "device/device.h"

/**
 * struct restore - how to replay, and what came of it
 * @device:	device without key, port and peers, which is down; no other thread uses
 *		it
 * @is_endpoint: says whether an endpoint is one that the owner of the sockets may
 *		have made
 * @now:	the present
 * @n_records:	out: records that were applied
 * @n_left_out:	out: records that were left out, because a process had died when it
 *		applied them
 * @n_peers:	out: peers whose state was restored
 * @n_sessions:	out: peers that had a session; their peer.had_session is set
 * @why:	out: what was wrong with the journal, in words, a constant; NULL:
 *		nothing
 */
struct restore {
	struct device *device;
	bool (*is_endpoint)(const struct device_endpoint *ep);
	uint64_t now;
	size_t n_records;
	size_t n_left_out;
	size_t n_peers;
	size_t n_sessions;
	const char *why;
};

/**
 * restore_run() - read a journal, and apply it
 * @restore:	what to do; its results are set
 * @fd:		descriptor of the memory; consumed
 *
 * A record that cannot be read ends the reading; what came before it counts. The log
 * gets a line for this and for each record that is left out. Then the timestamps of
 * peers are restored, and then endpoints, counters and sessions; if a process has
 * died when it did the latter, they are left out.
 *
 * Control thread.
 *
 * Return: 0, also if the journal could not be read or only in part; -errno: memory or
 * something else is short, or an error of config_apply().
 */
int restore_run(struct restore *restore, int fd);

#endif /* JOURNAL_RESTORE_H */
