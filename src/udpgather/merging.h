/* SPDX-License-Identifier: MIT */
#ifndef UDPGATHER_MERGING_H
#define UDPGATHER_MERGING_H

#include "udpgather/socket.h"

enum {
	/* How long nothing must come before a receiver that waits switches
	 * merging off. */
	MERGING_QUIET_MS = 50,
};

/* ug_merging_is_pending() - is merging to go off, and still on? Any thread. */
bool ug_merging_is_pending(const struct family *fam);

/**
 * ug_merging_switch_off() - switch merging off if that was asked for
 * @sock:	the socket
 * @family:	AF_INET or AF_INET6; AF_UNSPEC for both
 *
 * Merging may stay on; see merging.c. May sleep for some tens of milliseconds.
 * Any thread that does not hold the receive lock.
 */
void ug_merging_switch_off(struct ug_socket *sock, int family);

#endif /* UDPGATHER_MERGING_H */
