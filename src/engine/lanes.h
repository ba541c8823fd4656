/* SPDX-License-Identifier: MIT */
/*
 * All lanes of an engine: for each queue of the TUN an outbound lane, and an inbound
 * lane for each family of a UDP socket. They are the sources that the worker runs.
 *
 * Legend: [I] immutable after lanes_init().
 */
#ifndef ENGINE_LANES_H
#define ENGINE_LANES_H

#include "engine/inbound.h"
#include "engine/outbound.h"

/**
 * struct lanes_config - what lanes are made for
 * @device:	borrowed until lanes_deinit(), as are @tuns and @handshaker
 * @tuns:	the TUN, and behind it its further queues
 * @handshaker:	gets the handshake messages
 * @n_queues:	number of @tuns, 1 to QUEUES_MAX
 * @is_steered:	the kernel chooses a packet's queue by its flow alone, and not by
 *		the queue that was written to: see tun/steering.h
 * @n_slots:	slots of each lane, 1 to LANE_SLOTS_MAX
 * @finds_mtu:	find the path MTU of each peer
 * @clamps_mss:	lower the MSS of the connections in the tunnel
 */
struct lanes_config {
	struct device *device;
	struct tun *tuns;
	struct handshaker *handshaker;
	unsigned int n_queues;
	bool is_steered;
	unsigned int n_slots;
	bool finds_mtu;
	bool clamps_mss;
};

/**
 * struct lanes - the lanes
 * @out:	[I] the first @n_queues are in use
 * @in:		[I] the first @n_in are in use: of IPv4 and of IPv6 in turn
 * @paths:	[I] the path MTUs of the peers, or NULL
 * @writers:	[I] one for each queue of the TUN
 * @n_queues:	[I] queues of the TUN
 * @n_in:	[I] inbound lanes: two for each queue
 */
struct lanes {
	struct outbound_lane *out;
	struct inbound_lane *in;
	struct paths *paths;
	struct writer *writers;
	unsigned int n_queues;
	unsigned int n_in;
};

/**
 * lanes_init() - make the lanes
 * @l:		caller's storage, all zero
 * @config:	copied
 *
 * Return: 0; -ENOMEM: nothing is left.
 */
int lanes_init(struct lanes *l, const struct lanes_config *config);

/* lanes_deinit() - free all; no thread uses a lane any more. The calling thread
 * is registered with RCU, because peers may be freed. */
void lanes_deinit(struct lanes *l);

/* lanes_list() - list the lanes as sources */
void lanes_list(struct lanes *l, struct sources *sources);

/* lanes_set_mtu() - the MTU of the interface. Any thread. */
void lanes_set_mtu(struct lanes *l, unsigned int mtu);

/* lanes_set_overlays() - the ports of the kernel's tunnel devices, for all that
 * write to the TUN. Any thread. */
void lanes_set_overlays(struct lanes *l, const struct overlays *overlays);

/* lanes_request() - outbound_request() to the lane that serves requests */
static inline bool lanes_request(struct lanes *l, struct peer *peer,
				 bool keepalive)
{
	return outbound_request(&l->out[0], peer, keepalive);
}

/* lanes_set_events() - the events that hear of drops, before the threads run */
void lanes_set_events(struct lanes *l, struct events *events);

/* lanes_add_stats() - add up what all lanes have sent; @tx: all zero. Any
 * thread. */
void lanes_add_stats(const struct lanes *l, struct ug_send_stats *tx);

#endif /* ENGINE_LANES_H */
