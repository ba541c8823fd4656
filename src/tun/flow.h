/* SPDX-License-Identifier: MIT */
/*
 * Flows: of which one a packet is, and whether it is of a shape that may merge
 * with its neighbours there.
 */
#ifndef TUN_FLOW_H
#define TUN_FLOW_H

#include <stdbool.h>

#include "base/ip.h"

/* What can merge; also what can be switched off, as a set of bits. */
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

/* Largest packet that is merged; the kernel's GSO_LEGACY_MAX_SIZE less 1. */
#define MERGED_MAX 65535

/* TCP flags that allow merging: these must be equal, those end the item. */
#define TCP_SAME (TCP_ACK | TCP_ECE)
#define TCP_ENDS (TCP_FIN | TCP_PSH)

/* Bytes from addresses to ports, one run of them in both IP versions. */
#define FLOW4_OFF offsetof(struct ipv4_hdr, saddr)
#define FLOW6_OFF offsetof(struct ipv6_hdr, saddr)
#define FLOW4_LEN (4 + 4 + 4)
#define FLOW6_LEN (16 + 16 + 4)

/**
 * enum flow_verdict - what a packet is to merging
 * @FLOW_ALONE:	of no flow that merges
 * @FLOW_BARRIER:	of an unknown flow: nothing may pass it
 * @FLOW_LONER:	of a known flow, but never merges
 * @FLOW_JOINER:	may merge
 */
enum flow_verdict {
	FLOW_ALONE,
	FLOW_BARRIER,
	FLOW_LONER,
	FLOW_JOINER,
};

/**
 * struct flow_packet - a packet that asks to be added
 * @pkt:	its first byte
 * @len:	its length
 * @kind:	of FLOW_LONER and FLOW_JOINER; of FLOW_BARRIER, perhaps MERGE_NONE
 * @l4_off:	offset of the transport header; of FLOW_LONER and FLOW_JOINER
 * @hdr_len:	IP and transport header; of FLOW_JOINER
 * @hash:	of the flow; of FLOW_LONER and FLOW_JOINER
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

/* See flow.c. */
enum flow_verdict flow_judge(unsigned int kinds, struct flow_packet *p);
bool flow_verify(const uint8_t *pkt, size_t len, enum merge_kind kind,
		 size_t l4_off);

#endif /* TUN_FLOW_H */
