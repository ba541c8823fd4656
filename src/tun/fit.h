/* SPDX-License-Identifier: MIT */
/*
 * How a packet from the TUN is made to fit a path that takes only shorter ones.
 *
 *	TCP	Its data is cut into shorter segments, in a super-packet or not,
 *		so that nothing is lost.
 *	IPv4	Without DF ("do not fragment") the packet is cut into fragments
 *		(RFC 791). So is each datagram of a UDP super-packet.
 *	others	The packet is refused, and its sender is told by ICMP (RFC 1191,
 *		RFC 8201).
 */
#ifndef TUN_FIT_H
#define TUN_FIT_H

#include "tun/vnet.h"

/* How a packet fits. */
enum fit {
	FIT_WHOLE,     /* as it is */
	FIT_CUT,       /* it is cut as its description says now */
	FIT_FRAGMENTS, /* by segment_begin_fragments() */
	FIT_SPLIT,   /* each packet of the super-packet is cut into fragments */
	FIT_REFUSED, /* not at all */
};

/**
 * fit_packet() - find out how a packet fits
 * @pkt:	packet, of any alignment
 * @frame:	its description. For FIT_CUT @gso_size is changed here, and what
 *		belongs to a super-packet is set.
 * @mtu:	the longest packet that passes, at least 576; 0: any
 * @cut:	the same for TCP data
 *
 * Return: enum fit.
 */
enum fit fit_packet(const uint8_t *pkt, struct vnet_frame *frame, size_t mtu,
		    size_t cut);

/* fit_has_df() - must the packet not be cut into fragments? This is so for IPv6 and
 * for IPv4 with DF. Its fixed header must be there. */
static inline bool fit_has_df(const uint8_t *pkt)
{
	return ip_get_version(pkt) != IP_V4 ||
	       (be16_get(ipv4_view(pkt)->frag) & IPV4_DF);
}

#endif /* TUN_FIT_H */
