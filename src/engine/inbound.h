/* SPDX-License-Identifier: MIT */
/*
 * The inbound lanes: datagrams from one family of a socket are decrypted and written
 * to the TUN. There is a lane for each family of each socket (sock_group.h). inbound.c says
 * what happens in each step.
 */
#ifndef ENGINE_INBOUND_H
#define ENGINE_INBOUND_H

#include "crypto/aead.h"
#include "device/session.h"
#include "engine/handshaker.h"
#include "engine/bounds.h"
#include "engine/context.h"
#include "engine/events.h"
#include "engine/source.h"
#include "engine/trains.h"
#include "engine/writer.h"
#include "udpgather.h"

/**
 * struct inbound_lane - what the steps of the lane share
 * @device:	[I]
 * @writers:	[I] locked inside: the queue of the TUN that the lane writes to,
 *		or all queues
 * @n_writers:	[I] how many, at least 1. If there are several, a peer's packets
 *		are always written to the same one.
 * @handshaker:	[I] locked inside
 * @trains:	[I] the watch over trains, which hears of packets that came in;
 *		the owner sets it after inbound_lane_init(); locked inside
 * @paths:	[I] the path MTUs of the peers, or NULL; the owner sets it after
 *		inbound_lane_init(), as the next one; locked inside
 * @mtu:	[I] the MTU of the interface, if the MSS of connections is lowered;
 *		else NULL
 * @has_errors:	[a] epoll has reported errors of a socket
 * @family:	[I] AF_INET or AF_INET6
 * @number:	[I] which socket of struct sock_group the lane receives from; the owner
 *		sets it after inbound_lane_init()
 * @events:	[I] is told of drops, or NULL; the owner sets it after
 *		inbound_lane_init(); locked inside
 * @drops:	[a] messages dropped, by reason
 * @congested:	[a] packets dropped because they cannot carry a congestion mark
 * @source:	the lane, and what makes it ready
 */
struct inbound_lane {
	struct device *device;
	struct writer *writers;
	unsigned int n_writers;
	struct handshaker *handshaker;
	struct trains *trains;
	struct paths *paths;
	const _Atomic unsigned int *mtu;
	_Atomic bool has_errors;
	struct events *events;
	int family;
	unsigned int number;
	_Atomic uint64_t drops[DROP_REASONS];
	_Atomic uint64_t congested;
	struct source source;
};

/**
 * inbound_lane_init() - make the lane and its slots
 * @il:		caller's storage, all zero
 * @device:	borrowed until inbound_lane_deinit(), as are @writers and @handshaker
 * @writers:	an array; they write what the lane receives
 * @n_writers:	number of @writers, 1 to QUEUES_MAX
 * @handshaker:	gets the handshake messages
 * @family:	AF_INET or AF_INET6
 * @n_slots:	slots of the lane, 1 to LANE_SLOTS_MAX
 *
 * Return: 0; -ENOMEM.
 */
int inbound_lane_init(struct inbound_lane *il, struct device *device,
		      struct writer *writers, unsigned int n_writers,
		      struct handshaker *handshaker, int family,
		      unsigned int n_slots);

/* inbound_lane_count() - add what all slots have received to @sum. Any thread. */
void inbound_lane_count(const struct inbound_lane *il,
			struct ug_receive_stats *sum);

/* inbound_lane_deinit() - free all; no thread uses the lane any more */
void inbound_lane_deinit(struct inbound_lane *il);

#endif /* ENGINE_INBOUND_H */
