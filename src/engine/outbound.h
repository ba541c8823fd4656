/* SPDX-License-Identifier: MIT */
/*
 * The way out: packets from the TUN, sealed, to the sockets. A lane; see
 * outbound.c.
 */
#ifndef ENGINE_OUTBOUND_H
#define ENGINE_OUTBOUND_H

#include <pthread.h>

#include "base/ring.h"
#include "crypto/aead.h"
#include "device/session.h"
#include "engine/bounds.h"
#include "engine/context.h"
#include "engine/returned.h"
#include "engine/source.h"
#include "engine/trains.h"
#include "engine/unreachable.h"
#include "tun/segment.h"
#include "tun/tun.h"
#include "udpgather.h"

/* A peer that has something to be sent that does not come from the TUN. */
struct outbound_request {
	struct peer *peer;
	bool keepalive; /* if nothing is staged */
};

/**
 * struct outbound_requests - a ring of them
 * @mutex:	of the rest
 * @places:	each with a reference of its peer
 * @ring:	which places are in use
 * @n:		[a] how many
 */
struct outbound_requests {
	pthread_mutex_t mutex;
	struct outbound_request *places;
	struct ring ring;
	_Atomic uint32_t n;
};

/* What the lane counts; any thread reads. */
struct outbound_stats {
	_Atomic uint64_t no_peer;      /* for nobody */
	_Atomic uint64_t no_endpoint;  /* it is not known where the peer is */
	_Atomic uint64_t staged_drops; /* too many waited for a session */
	_Atomic uint64_t bad_frames;   /* the TUN handed out nonsense */
	_Atomic uint64_t send_errors;  /* the kernel refused a message */
	_Atomic uint64_t full_drops;   /* the socket's buffer was full */
	_Atomic uint64_t no_counters;  /* the session ended under way */
	_Atomic uint64_t returned;     /* our own, by a routing loop */
};

/**
 * struct outbound_lane - what the steps of the lane share
 * @device:	[I]
 * @tun:	[I] read from here only
 * @mtu:	[a] of the interface
 * @batch:	[l] for ug_send(), by whoever commits
 * @requests:	locked inside
 * @trains:	the watch over trains; see trains.h
 * @stats:	[a]
 * @read_buf:	[l] a packet as it was read, behind its headroom
 * @cursor:	[l] into @read_buf: what is left to cut
 * @peer:	[l] whose packet that is, with a reference
 * @tos:	[l] its outer TOS
 * @unreachable: [l] decides who is told that a packet is for nobody
 * @returned:	[l] the last first fragment of ours that came back
 * @flush:	[l] a peer whose staged packets go first, with a reference
 * @has_left:	[a] @peer or @flush is there
 * @source:	the lane, and what makes it ready
 *
 * [l] belongs to whoever holds the right to take, or to commit.
 */
struct outbound_lane {
	struct device *device;
	struct tun *tun;
	_Atomic unsigned int mtu;
	struct ug_batch *batch;
	struct outbound_requests requests;
	struct trains trains;
	struct outbound_stats stats;
	uint8_t *read_buf;
	struct segment_cursor cursor;
	struct peer *peer;
	uint8_t tos;
	struct unreachable unreachable;
	struct returned returned;
	struct peer *flush;
	_Atomic bool has_left;
	struct source source;
};

/**
 * outbound_lane_init() - make the lane and its slots
 * @ol:		caller's storage, all zero
 * @device:	borrowed
 * @tun:	borrowed
 * @n_slots:	batches in flight
 *
 * Return: 0; -ENOMEM.
 */
int outbound_lane_init(struct outbound_lane *ol, struct device *device,
		       struct tun *tun, unsigned int n_slots);

/* outbound_lane_deinit() - free all; no thread uses it. Registered with RCU. */
void outbound_lane_deinit(struct outbound_lane *ol);

/**
 * outbound_request() - have staged packets sent, or a keepalive
 * @ol:		lane
 * @peer:	borrowed
 * @keepalive:	send one if nothing is staged
 *
 * The caller wakes the worker. Any thread.
 *
 * Return: false if too many peers wait; then the timers come back to it.
 */
bool outbound_request(struct outbound_lane *ol, struct peer *peer,
		      bool keepalive);

#endif /* ENGINE_OUTBOUND_H */
