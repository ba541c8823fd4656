/* SPDX-License-Identifier: MIT */
/*
 * Congestion marks (ECN), carried between the inner and the outer IP header as
 * RFC 6040 says. The rest of the TOS, the DSCP, is not carried over: it would
 * tell the outer network what is inside.
 */
#ifndef ENGINE_ECN_H
#define ENGINE_ECN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/ip.h"

enum {
	ECN_NOT_ECT = 0,
	ECN_ECT_1 = 1,
	ECN_ECT_0 = 2,
	ECN_CE = 3,
	ECN_MASK = 3,
};

/* ecn_get() - the mark of an IP packet that has at least its fixed header */
static inline uint8_t ecn_get(const uint8_t *packet)
{
	if (ip_get_version(packet) == IP_V4)
		return ipv4_view(packet)->tos & ECN_MASK;
	/* The traffic class is between version and flow label. */
	return packet[1] >> 4 & ECN_MASK;
}

/* ecn_encapsulate() - the mark of the outer header (RFC 6040, section 4.1) */
static inline uint8_t ecn_encapsulate(const uint8_t *packet)
{
	return ecn_get(packet);
}

/* Change the mark of an IPv4 header and its checksum (RFC 1624, eqn. 3). */
static inline void ecn_set_v4(uint8_t *packet, uint8_t ecn)
{
	struct ipv4_hdr *ip = (void *)packet;
	uint16_t was = (uint16_t)(packet[0] << 8 | ip->tos);
	uint32_t sum;

	ip->tos = (uint8_t)((ip->tos & ~ECN_MASK) | ecn);
	sum = (uint16_t)~be16_get(ip->check);
	sum += (uint16_t)~was;
	sum += (uint32_t)(packet[0] << 8 | ip->tos);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	ip->check = be16_make((uint16_t)~sum);
}

/**
 * ecn_decapsulate() - carry a mark of the outer header into the inner one
 * @packet:	IP packet with at least its fixed header
 * @outer_tos:	TOS or traffic class of the outer header
 *
 * RFC 6040, figure 4.
 *
 * Any thread.
 *
 * Return: true; false: drop the packet. A router has marked congestion on it,
 * but the sender of the packet cannot read marks, and notices only a loss.
 */
static inline bool ecn_decapsulate(uint8_t *packet, uint8_t outer_tos)
{
	uint8_t outer = outer_tos & ECN_MASK, inner = ecn_get(packet);
	uint8_t ecn = inner;

	if (outer == ECN_CE) {
		if (inner == ECN_NOT_ECT)
			return false;
		ecn = ECN_CE;
	} else if (outer == ECN_ECT_1 && inner == ECN_ECT_0) {
		ecn = ECN_ECT_1;
	}
	if (ecn == inner)
		return true;
	if (ip_get_version(packet) == IP_V4)
		ecn_set_v4(packet, ecn);
	else
		packet[1] =
			(uint8_t)((packet[1] & ~(ECN_MASK << 4)) | ecn << 4);
	return true;
}

#endif /* ENGINE_ECN_H */
