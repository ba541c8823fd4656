/* SPDX-License-Identifier: MIT */
/* Switching UDP_GRO off without losing segment sizes; merging.c says how. */
#ifndef UDPGATHER_MERGING_H
#define UDPGATHER_MERGING_H

#include "udpgather/socket.h"

enum {
	/* A receiver that waits switches merging off after this time without a
	 * datagram. */
	MERGING_QUIET_MS = 50,
};

/* ug_merging_is_pending() - is merging still on, but not wanted? Any thread. */
bool ug_merging_is_pending(const struct family *fam);

/**
 * ug_merging_switch_off() - switch merging off, if it is not wanted
 * @sock:	the socket
 * @family:	AF_INET or AF_INET6; AF_UNSPEC for both
 *
 * If datagrams wait in the socket, or another thread is receiving or switching,
 * merging stays on; a later call tries again. May sleep for some tens of
 * milliseconds. Any thread that does not hold the receive lock.
 */
void ug_merging_switch_off(struct ug_socket *sock, int family);

#endif /* UDPGATHER_MERGING_H */
