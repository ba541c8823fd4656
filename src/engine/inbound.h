/* SPDX-License-Identifier: MIT */
/*
 * The way in: datagrams from one of the sockets, opened, to the TUN. A lane for
 * each family; see inbound.c.
 */
#ifndef ENGINE_INBOUND_H
#define ENGINE_INBOUND_H

#include "crypto/aead.h"
#include "device/session.h"
#include "engine/handshaker.h"
#include "engine/lane.h"
#include "engine/bounds.h"
#include "tun/tun.h"
#include "udpgather.h"

/**
 * struct inbound_lane - what the steps of the lane share
 * @device:	[I]
 * @tun:	[I] written to from here only
 * @handshaker:	[I] locked inside
 * @family:	[I] AF_INET or AF_INET6
 * @sock:	[l] the sockets to use; set by the worker before each run
 * @is_gone:	[a] the TUN does not exist any more
 * @drops:	[a] messages dropped, by reason
 * @congested:	[a] packets dropped because they could not carry a mark
 * @lane:	the lane
 *
 * [l] belongs to whoever holds the right to take.
 */
struct inbound_lane {
	struct device *device;
	struct tun *tun;
	struct handshaker *handshaker;
	int family;
	struct ug_socket *sock;
	_Atomic bool is_gone;
	_Atomic uint64_t drops[DROP_REASONS];
	_Atomic uint64_t congested;
	struct lane lane;
};

/**
 * inbound_lane_init() - make the lane and its slots
 * @il:		caller's storage, all zero
 * @device:	borrowed
 * @tun:	borrowed
 * @handshaker:	borrowed
 * @family:	AF_INET or AF_INET6
 *
 * Return: 0; -ENOMEM.
 */
int inbound_lane_init(struct inbound_lane *il, struct device *device,
		      struct tun *tun, struct handshaker *handshaker,
		      int family);

/* inbound_lane_deinit() - free all; no thread uses it */
void inbound_lane_deinit(struct inbound_lane *il);

/* inbound_lane_release() - give back memory that a burst has left behind */
void inbound_lane_release(struct inbound_lane *il);

#endif /* ENGINE_INBOUND_H */
