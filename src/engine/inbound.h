/* SPDX-License-Identifier: MIT */
/*
 * The way in: datagrams from one of the sockets, opened, to the TUN. A lane for
 * each family; see inbound.c.
 */
#ifndef ENGINE_INBOUND_H
#define ENGINE_INBOUND_H

#include <pthread.h>

#include "crypto/aead.h"
#include "device/session.h"
#include "engine/handshaker.h"
#include "engine/bounds.h"
#include "engine/context.h"
#include "engine/source.h"
#include "engine/trains.h"
#include "tun/tun.h"
#include "udpgather.h"

/**
 * struct tun_writer - the TUN, for those who write to it
 * @tun:	[I] what is written with each tun_write() is under @mutex
 * @reader:	[I] the source that reads the same TUN: told if a write finds
 *		that the TUN is gone
 * @mutex:	leaf
 */
struct tun_writer {
	struct tun *tun;
	struct source *reader;
	pthread_mutex_t mutex;
};

/**
 * struct inbound_lane - what the steps of the lane share
 * @device:	[I]
 * @writer:	[I] locked inside; both lanes have the same
 * @handshaker:	[I] locked inside
 * @trains:	[I] set after inbound_lane_init(): who hears of packets that
 *		came in; locked inside
 * @family:	[I] AF_INET or AF_INET6
 * @drops:	[a] messages dropped, by reason
 * @congested:	[a] packets dropped because they could not carry a mark
 * @source:	the lane, and what makes it ready
 */
struct inbound_lane {
	struct device *device;
	struct tun_writer *writer;
	struct handshaker *handshaker;
	struct trains *trains;
	int family;
	_Atomic uint64_t drops[DROP_REASONS];
	_Atomic uint64_t congested;
	struct source source;
};

/**
 * inbound_lane_init() - make the lane and its slots
 * @il:		caller's storage, all zero
 * @device:	borrowed
 * @writer:	borrowed
 * @handshaker:	borrowed
 * @family:	AF_INET or AF_INET6
 * @n_slots:	batches in flight
 *
 * Return: 0; -ENOMEM.
 */
int inbound_lane_init(struct inbound_lane *il, struct device *device,
		      struct tun_writer *writer, struct handshaker *handshaker,
		      int family, unsigned int n_slots);

/* inbound_lane_deinit() - free all; no thread uses it */
void inbound_lane_deinit(struct inbound_lane *il);

#endif /* ENGINE_INBOUND_H */
