/* SPDX-License-Identifier: MIT */
/*
 * The outbound lane: packets from the TUN are encrypted and sent by the
 * sockets. outbound.c says what happens in each step.
 *
 * If the TUN has several queues, each has an outbound lane. The lanes share what
 * is known of the peers: requests, which only the first lane serves, the watch
 * over trains, and the quota of ICMP errors.
 */
#ifndef ENGINE_OUTBOUND_H
#define ENGINE_OUTBOUND_H

#include <pthread.h>

#include "crypto/aead.h"
#include "device/session.h"
#include "engine/bounds.h"
#include "engine/events.h"
#include "engine/context.h"
#include "engine/paths.h"
#include "engine/requests.h"
#include "engine/returned.h"
#include "engine/source.h"
#include "engine/trains.h"
#include "engine/unreachable.h"
#include "tun/segment.h"
#include "tun/tun.h"
#include "udpgather.h"

/* Packets and messages that were dropped, by reason. Any thread reads. */
struct outbound_stats {
	_Atomic uint64_t no_peer;      /* no allowed IPs match */
	_Atomic uint64_t no_endpoint;  /* the peer has no endpoint */
	_Atomic uint64_t staged_drops; /* too many packets were staged */
	_Atomic uint64_t bad_frames;   /* invalid virtio-net header or length */
	_Atomic uint64_t send_errors;  /* the kernel refused the datagram */
	_Atomic uint64_t full_drops;   /* the send buffer was full */
	_Atomic uint64_t no_counters;  /* the session ended meanwhile */
	_Atomic uint64_t returned;     /* our own, from a routing loop */
	_Atomic uint64_t held_drops;   /* another lane did not send in time */
};

/**
 * struct hold - the wait of a lane for other lanes that send to the same peer
 * @since:	when it began, in ns; 0: the lane does not wait
 * @not_before:	the lane does not wait again before this time, in ns
 */
struct hold {
	uint64_t since;
	uint64_t not_before;
};

/**
 * struct outbound_fit - how the packet at the cursor fits the path to its peer
 * @mtu:	the longest packet; padding keeps to it. 0: that of the interface
 * @rest_size:	the payload of its segments behind the first; 0: that of the first
 * @rest_mtu:	@mtu behind the first segment, with @rest_size
 * @needs_fragments: its datagrams are sent without DF
 */
struct outbound_fit {
	uint32_t mtu;
	uint32_t rest_mtu;
	uint16_t rest_size;
	bool needs_fragments;
};

struct outbound_pieces;

/**
 * struct outbound_lane - what the steps of the lane share
 * @first:	[I] the first of several outbound lanes: the lanes use its
 *		@requests, @trains and @unreachable
 * @has_others:	[I] of the first lane: there are several
 * @device:	[I]
 * @tun:	[I] no other code reads from it
 * @mtu:	[a] of the interface
 * @batch:	[s] for ug_send()
 * @requests:	locked inside
 * @trains:	the watch over trains; see trains.h
 * @events:	[I] is told of drops, or NULL; the owner sets it after
 *		outbound_lane_init(); locked inside
 * @paths:	[I] the path MTUs of the peers, set before outbound_lane_init();
 *		NULL: they are not looked for; locked inside
 * @clamps_mss:	[I] lower the MSS of connections; set before
 *		outbound_lane_init()
 * @stats:	[a]
 * @read_buf:	[l] virtio-net header and packet, as read from the TUN
 * @cursor:	[l] the part of the packet in @read_buf that is still to be cut
 * @peer:	[l] peer that this packet is for, with a reference; NULL:
 *		nothing is left to cut
 * @tos:	[l] outer TOS of this packet
 * @fit:	[l] how this packet fits the path
 * @pieces:	[l] with @paths: the packets of a super-packet that are cut into
 *		fragments
 * @unreachable: locked inside: decides which senders get an ICMP error
 * @returned:	[l] to recognise fragments of our own messages that come back
 * @flush:	[l] peer whose staged packets are being sent, with a reference;
 *		NULL: none
 * @hold:	[l] the wait for other lanes that send to the same peer
 * @has_left:	[a] @peer or @flush is not NULL
 * @source:	the lane, and what makes it ready
 *
 * [I] immutable after outbound_lane_init(), [a] atomic, [l] belongs to the
 * thread that has the right to take, [s] to the thread that has the right to
 * commit.
 */
struct outbound_lane {
	struct outbound_lane *first;
	struct device *device;
	struct tun *tun;
	_Atomic unsigned int mtu;
	bool has_others;
	uint8_t tos;
	_Atomic bool has_left;
	struct ug_batch *batch;
	struct requests requests;
	struct trains trains;
	struct events *events;
	struct paths *paths;
	bool clamps_mss;
	struct outbound_stats stats;
	uint8_t *read_buf;
	struct segment_cursor cursor;
	struct peer *peer;
	struct outbound_fit fit;
	struct outbound_pieces *pieces;
	struct unreachable unreachable;
	struct returned returned;
	struct peer *flush;
	struct hold hold;
	struct source source;
};

/**
 * outbound_lane_init() - make the lane and its slots
 * @ol:		caller's storage, all zero but for @paths, @clamps_mss and @first:
 *		NULL, or the first of several lanes, which is made first and freed
 *		last
 * @device:	borrowed until outbound_lane_deinit()
 * @tun:	borrowed until outbound_lane_deinit()
 * @n_slots:	slots of the lane, 1 to LANE_SLOTS_MAX
 *
 * Return: 0; -ENOMEM.
 */
int outbound_lane_init(struct outbound_lane *ol, struct device *device,
		       struct tun *tun, unsigned int n_slots);

/* outbound_lane_deinit() - free all; no thread uses the lane any more. The
 * calling thread is registered with RCU, because peers may be freed. */
void outbound_lane_deinit(struct outbound_lane *ol);

/**
 * outbound_request() - have a peer's staged packets sent, or a keepalive
 * @ol:		lane; of several, the first one gets the request
 * @peer:	borrowed
 * @keepalive:	send a keepalive if no packet is staged
 *
 * The caller calls worker_poke() after this. Any thread.
 *
 * Return: true; false: the ring is full, and the request is lost. The peer's
 * timers will ask again.
 */
bool outbound_request(struct outbound_lane *ol, struct peer *peer,
		      bool keepalive);

#endif /* ENGINE_OUTBOUND_H */
