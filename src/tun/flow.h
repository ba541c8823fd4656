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

/* The kinds of packets that can merge. A set of kinds is made of MERGE_BIT(). */
enum merge_kind {
	MERGE_TCP4,
	MERGE_TCP6,
	MERGE_UDP4,
	MERGE_UDP6,
	MERGE_KINDS,
	MERGE_NONE = MERGE_KINDS,
};
#define MERGE_BIT(kind) (1U << (kind))
#define MERGE_ALL	(MERGE_BIT(MERGE_KINDS) - 1)

/* Longest packet that merging makes: the kernel's GSO_LEGACY_MAX_SIZE less
 * 1. */
#define MERGED_MAX 65535

/* TCP flags that allow merging. The flags in TCP_SAME must be equal in both
 * packets. A packet with a flag of TCP_ENDS becomes the last of its item. */
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
 * @l4_off:	offset of the transport header, for FLOW_LONER and FLOW_JOINER
 * @hdr_len:	IP and transport header together, for FLOW_JOINER
 * @hash:	hash of the flow, for FLOW_LONER and FLOW_JOINER
 */
struct flow_packet {
	uint8_t *pkt;
	uint32_t len;
	enum merge_kind kind;
	uint8_t l4_off;
	uint8_t hdr_len;
	uint32_t hash;
};

/**
 * kind_is_tcp() - a kind's transport
 * @kind:	not MERGE_NONE
 *
 * Return: true for TCP, false for UDP.
 */
static inline bool kind_is_tcp(unsigned int kind)
{
	return kind == MERGE_TCP4 || kind == MERGE_TCP6;
}

/**
 * kind_is_v4() - a kind's IP version
 * @kind:	not MERGE_NONE
 *
 * Return: true for IPv4, false for IPv6.
 */
static inline bool kind_is_v4(unsigned int kind)
{
	return kind == MERGE_TCP4 || kind == MERGE_UDP4;
}

/**
 * flow_judge() - find a packet's flow, and whether the packet may merge
 * @kinds:	the kinds that may merge, a set of MERGE_BIT()
 * @p:		pkt, len and kind (MERGE_NONE) are set by the caller; the
 *		other members are set here, as struct flow_packet says
 *
 * Any thread.
 *
 * Return: the verdict.
 */
enum flow_verdict flow_judge(unsigned int kinds, struct flow_packet *p);

/**
 * flow_verify() - are a packet's checksums right?
 * @pkt:	packet that flow_judge() called FLOW_JOINER
 * @len:	its length
 * @kind:	its kind
 * @l4_off:	offset of its transport header
 *
 * Any thread.
 *
 * Return: true if the transport checksum is right, and in IPv4 that of the
 * header, too. A UDP checksum of 0 (no checksum) counts as right.
 */
bool flow_verify(const uint8_t *pkt, size_t len, enum merge_kind kind,
		 size_t l4_off);

#endif /* TUN_FLOW_H */
