/* SPDX-License-Identifier: MIT */
/*
 * Our own outer packets that come back through our own interface, because of a
 * routing loop; see returned.c. Everything here is for the thread that has the
 * right to take of the outbound lane.
 */
#ifndef ENGINE_RETURNED_H
#define ENGINE_RETURNED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/peer.h"
#include "tun/vnet.h"

enum {
	/* Addresses and identification of an IPv6 packet; those of an IPv4
	 * packet are shorter. */
	RETURNED_KEY_LEN = 16 + 16 + 4,
};

/**
 * struct returned - the message of ours that came back in fragments last
 * @key:	addresses and identification of its first fragment; all its
 *		fragments have the same
 * @key_len:	length of @key; 0: no message came back in fragments yet
 * @seen_ns:	when its first fragment came back, in ns of CLOCK_BOOTTIME
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
 * A cheap test before returned_is_own().
 *
 * Return: true: the packet is UDP, or an IPv6 fragment, which may be UDP; false:
 * it is not UDP.
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
 * @ep:		endpoint of that peer
 * @packet:	IP packet of which returned_may_be() is true
 * @frame:	description of the packet: length and segment size
 * @now:	the present, in ns of CLOCK_BOOTTIME
 *
 * The log gets a line when the first message to a peer comes back, and another
 * line when one comes back after a minute without.
 *
 * Return: true: drop the packet; false.
 */
bool returned_is_own(struct returned *r, struct peer *peer,
		     const struct device_endpoint *ep, const uint8_t *packet,
		     const struct vnet_frame *frame, uint64_t now);

#endif /* ENGINE_RETURNED_H */
