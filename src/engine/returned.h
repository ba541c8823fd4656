/* SPDX-License-Identifier: MIT */
/*
 * Our own outer packets that come back through our own interface: a routing
 * loop. See returned.c. Everything here is for whoever holds the right to take
 * of the outbound lane.
 */
#ifndef ENGINE_RETURNED_H
#define ENGINE_RETURNED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/peer.h"
#include "tun/vnet.h"

enum {
	/* Addresses and identification of an IPv6 packet; IPv4's are shorter. */
	RETURNED_KEY_LEN = 16 + 16 + 4,
};

/**
 * struct returned - a first fragment that was ours
 * @key:	what all its fragments have in common
 * @key_len:	length of @key; 0: there is none
 * @seen_ns:	when
 */
struct returned {
	uint8_t key[RETURNED_KEY_LEN];
	size_t key_len;
	uint64_t seen_ns;
};

/**
 * returned_may_be() - can this be one of our outer packets at all?
 * @packet:	IP packet with a whole header
 *
 * Return: false for most of what is no UDP.
 */
static inline bool returned_may_be(const uint8_t *packet)
{
	uint8_t next = ipv6_view(packet)->next_header;

	if (ip_get_version(packet) == IP_V4)
		return ipv4_view(packet)->proto == IP_PROTO_UDP;
	return next == IP_PROTO_UDP || next == IP_PROTO_FRAGMENT;
}

/**
 * returned_is_own() - is this packet a message of ours that comes back?
 * @r:		state, all zero at first
 * @peer:	peer that the packet is routed to
 * @ep:		where it would be sent
 * @packet:	IP packet of which returned_may_be() is true
 * @frame:	its description
 * @now:	the present
 *
 * The log has a line for each peer, and another one after a minute without such
 * a packet.
 *
 * Return: true if so: drop it.
 */
bool returned_is_own(struct returned *r, struct peer *peer,
		     const struct device_endpoint *ep, const uint8_t *packet,
		     const struct vnet_frame *frame, uint64_t now);

#endif /* ENGINE_RETURNED_H */
