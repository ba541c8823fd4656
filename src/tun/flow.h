/* SPDX-License-Identifier: MIT */
/*
 * Which flow a packet belongs to, and whether its headers let it merge with
 * other packets of that flow. A flow is all packets with the same addresses,
 * ports and protocol.
 */
#ifndef TUN_FLOW_H
#define TUN_FLOW_H

#include <stdbool.h>

#include "base/ip.h"
#include "tun/overlay.h"

/*
 * The kinds of packets that can merge. A set of kinds is made of MERGE_BIT().
 * MERGE_TUNNEL64 is TCP over IPv4 in a tunnel (VXLAN or Geneve) over IPv6. The
 * functions below use the bits of these numbers: bit 0 is the version of the IP
 * header in front of the transport header, bit 2 is a tunnel, and bit 1 is UDP or,
 * in a tunnel, the version of the outer IP header.
 */
enum merge_kind {
	MERGE_TCP4,
	MERGE_TCP6,
	MERGE_UDP4,
	MERGE_UDP6,
	MERGE_TUNNEL44,
	MERGE_TUNNEL46,
	MERGE_TUNNEL64,
	MERGE_TUNNEL66,
	MERGE_KINDS,
	MERGE_NONE = MERGE_KINDS,
};
#define MERGE_BIT(kind) (1U << (kind))
#define MERGE_ALL	(MERGE_BIT(MERGE_KINDS) - 1)
#define MERGE_PLAIN	(MERGE_BIT(MERGE_TUNNEL44) - 1)
#define MERGE_TUNNELS	(MERGE_ALL & ~MERGE_PLAIN)

/* Longest packet that merging makes: the kernel's GSO_LEGACY_MAX_SIZE less
 * 1. */
#define MERGED_MAX 65535

/* TCP flags that allow merging. The flags in TCP_SAME must be equal in both
 * packets. A packet with a flag of TCP_ENDS becomes the last of its item. Only
 * the first packet of an item may have TCP_CWR. */
#define TCP_SAME (TCP_ACK | TCP_ECE)
#define TCP_ENDS (TCP_FIN | TCP_PSH)

/* Addresses and ports of a flow lie side by side in both IP versions. */
#define FLOW4_OFF offsetof(struct ipv4_hdr, saddr)
#define FLOW6_OFF offsetof(struct ipv6_hdr, saddr)
#define FLOW4_LEN (4 + 4 + 4)
#define FLOW6_LEN (16 + 16 + 4)

/**
 * enum flow_verdict - what a packet is to merging
 * @FLOW_ALONE:	the packet belongs to no flow whose packets merge
 * @FLOW_BARRIER:	the packet may belong to any flow: no later packet may join
 *		an item from before it
 * @FLOW_LONER:	the packet belongs to a flow, but never merges
 * @FLOW_JOINER:	the packet may merge
 */
enum flow_verdict {
	FLOW_ALONE,
	FLOW_BARRIER,
	FLOW_LONER,
	FLOW_JOINER,
};

/**
 * struct flow_packet - a packet to be judged, and what flow_judge() found
 * @pkt:	its first byte
 * @len:	its length
 * @kind:	its kind, for FLOW_LONER and FLOW_JOINER; for FLOW_BARRIER its
 *		kind or MERGE_NONE
 * @l4_off:	offset of the transport header, for FLOW_LONER and FLOW_JOINER;
 *		in a tunnel, of the inner one
 * @hdr_len:	all headers together, for FLOW_JOINER
 * @ip_off:	offset of the IP header in front of the transport header: 0 if
 *		the kind is none of a tunnel
 * @udp_off:	offset of the UDP header, in a tunnel of the outer one; 0 for TCP
 *		without a tunnel
 * @hash:	hash of the flow, for FLOW_LONER and FLOW_JOINER
 */
struct flow_packet {
	uint8_t *pkt;
	uint32_t len;
	enum merge_kind kind;
	uint16_t l4_off;
	uint16_t hdr_len;
	uint16_t ip_off;
	uint16_t udp_off;
	uint32_t hash;
};

/* kind_is_tunnel() - is the kind of a packet in a tunnel? */
static inline bool kind_is_tunnel(unsigned int kind)
{
	return kind & MERGE_TUNNEL44;
}

/**
 * kind_is_tcp() - a kind's transport, in a tunnel the inner one
 * @kind:	not MERGE_NONE
 *
 * Return: true for TCP, false for UDP.
 */
static inline bool kind_is_tcp(unsigned int kind)
{
	return (kind & (MERGE_TUNNEL44 | MERGE_UDP4)) != MERGE_UDP4;
}

/**
 * kind_is_v4() - a kind's IP version, in a tunnel the outer one
 * @kind:	not MERGE_NONE
 *
 * Return: true for IPv4, false for IPv6.
 */
static inline bool kind_is_v4(unsigned int kind)
{
	return !(kind & (kind_is_tunnel(kind) ? 2 : 1));
}

/**
 * kind_is_inner_v4() - the version of the IP header in front of the transport
 *			header
 * @kind:	not MERGE_NONE
 *
 * Return: true for IPv4, false for IPv6.
 */
static inline bool kind_is_inner_v4(unsigned int kind)
{
	return !(kind & 1);
}

/**
 * kind_is_same_flow() - may packets of these kinds belong to one flow?
 * @a:		not MERGE_NONE
 * @b:		not MERGE_NONE
 *
 * A packet in a tunnel belongs to the flow of its outer UDP header.
 *
 * Return: true if version and transport of the outermost headers are equal.
 */
static inline bool kind_is_same_flow(unsigned int a, unsigned int b)
{
	bool is_tcp_a = kind_is_tcp(a) && !kind_is_tunnel(a);
	bool is_tcp_b = kind_is_tcp(b) && !kind_is_tunnel(b);

	return kind_is_v4(a) == kind_is_v4(b) && is_tcp_a == is_tcp_b;
}

/**
 * flow_judge() - find a packet's flow, and whether the packet may merge
 * @kinds:	the kinds that may merge, a set of MERGE_BIT()
 * @overlays:	the ports of the kernel's tunnel devices
 * @p:		pkt, len and kind (MERGE_NONE) are set by the caller; the
 *		other members are set here, as struct flow_packet says
 *
 * Any thread.
 *
 * Return: the verdict.
 */
enum flow_verdict flow_judge(unsigned int kinds,
			     const struct overlays *overlays,
			     struct flow_packet *p);

/**
 * flow_verify() - are a packet's checksums right?
 * @p:		packet that flow_judge() called FLOW_JOINER; the member hash is
 *		not used
 *
 * Any thread.
 *
 * Return: true if all checksums of IPv4 headers, TCP and UDP are right, in a
 * tunnel the outer and the inner ones. A UDP checksum of 0 (no checksum) counts
 * as right.
 */
bool flow_verify(const struct flow_packet *p);

#endif /* TUN_FLOW_H */
