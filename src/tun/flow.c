/* SPDX-License-Identifier: MIT */
/*
 * Judging packets that came through the tunnel. The peer is authenticated, and
 * that is all: a packet may be of any length and content. What is not plain IP
 * with plain TCP or UDP behind it never merges; the verdict says what that
 * means for the order of the packets around it.
 */
#include "tun/flow.h"

#include "tun/checksum.h"

/**
 * judge_tcp() - whether a TCP packet may merge
 * @p:		packet with kind and l4_off; receives hdr_len
 *
 * Return: FLOW_JOINER, FLOW_LONER or FLOW_BARRIER.
 */
static inline enum flow_verdict judge_tcp(struct flow_packet *p)
{
	const struct tcp_hdr *tcp = (const void *)(p->pkt + p->l4_off);
	size_t l4_len = p->len - p->l4_off, hdr_len;

	if (l4_len < sizeof(*tcp))
		return FLOW_BARRIER;
	hdr_len = tcp_hdr_len(tcp);
	if (hdr_len < sizeof(*tcp) || hdr_len >= l4_len)
		return FLOW_LONER;
	if ((tcp->flags & ~(TCP_SAME | TCP_ENDS)) || !(tcp->flags & TCP_ACK))
		return FLOW_LONER;
	p->hdr_len = (uint8_t)(p->l4_off + hdr_len);
	return FLOW_JOINER;
}

/**
 * judge_udp() - whether a UDP packet may merge
 * @p:		packet with kind and l4_off; receives hdr_len
 *
 * Return: FLOW_JOINER, FLOW_LONER or FLOW_BARRIER.
 */
static inline enum flow_verdict judge_udp(struct flow_packet *p)
{
	const struct udp_hdr *udp = (const void *)(p->pkt + p->l4_off);
	size_t l4_len = p->len - p->l4_off;

	if (l4_len < sizeof(*udp))
		return FLOW_BARRIER;
	if (l4_len == sizeof(*udp) || be16_get(udp->len) != l4_len)
		return FLOW_LONER;
	if (be16_get(udp->check) == 0)
		return FLOW_LONER;
	p->hdr_len = (uint8_t)(p->l4_off + sizeof(*udp));
	return FLOW_JOINER;
}

/**
 * judge_ipv4() - find the transport of an IPv4 packet
 * @p:		packet; receives kind and l4_off
 *
 * Return: FLOW_JOINER if the transport decides, else the verdict.
 */
static inline enum flow_verdict judge_ipv4(struct flow_packet *p)
{
	const struct ipv4_hdr *ip = (const void *)p->pkt;

	if (p->len < sizeof(*ip))
		return FLOW_ALONE;
	if (ip->proto != IP_PROTO_TCP && ip->proto != IP_PROTO_UDP)
		return FLOW_ALONE;
	/* Of the fragment field only DF may be set; options do not merge. */
	if (ip->version_ihl != 0x45 || be16_get(ip->frag) & ~IPV4_DF ||
	    be16_get(ip->total_len) != p->len)
		return FLOW_BARRIER;
	p->kind = ip->proto == IP_PROTO_TCP ? MERGE_TCP4 : MERGE_UDP4;
	p->l4_off = sizeof(*ip);
	return FLOW_JOINER;
}

/**
 * judge_ipv6() - find the transport of an IPv6 packet
 * @p:		packet; receives kind and l4_off
 *
 * Return: FLOW_JOINER if the transport decides, else the verdict.
 */
static inline enum flow_verdict judge_ipv6(struct flow_packet *p)
{
	const struct ipv6_hdr *ip = (const void *)p->pkt;

	if (p->len < sizeof(*ip))
		return FLOW_ALONE;
	switch (ip->next_header) {
	case IP_PROTO_TCP:
		p->kind = MERGE_TCP6;
		break;
	case IP_PROTO_UDP:
		p->kind = MERGE_UDP6;
		break;
	case IP_PROTO_HOPOPTS:
	case IP_PROTO_ROUTING:
	case IP_PROTO_FRAGMENT:
	case IP_PROTO_AH:
	case IP_PROTO_DSTOPTS:
	case IP_PROTO_MOBILITY:
	case IP_PROTO_HIP:
	case IP_PROTO_SHIM6:
	case IP_PROTO_TEST1:
	case IP_PROTO_TEST2:
		return FLOW_BARRIER;
	default:
		return FLOW_ALONE;
	}
	if (be16_get(ip->payload_len) != p->len - sizeof(*ip))
		return FLOW_BARRIER;
	p->l4_off = sizeof(*ip);
	return FLOW_JOINER;
}

/**
 * hash_flow() - hash addresses and ports
 * @key:	FLOW4_LEN or FLOW6_LEN bytes
 * @len:	which of them
 *
 * No secret in it: a place in the table is bounded work, so a sender that aims
 * at one place takes merging from flows, its own first, and nothing else.
 *
 * Return: the hash.
 */
static inline uint32_t hash_flow(const uint8_t *key, size_t len)
{
	uint64_t h = 0;
	uint32_t word;

	for (size_t i = 0; i < len; i += sizeof(word)) {
		memcpy(&word, key + i, sizeof(word));
		h = (h ^ word) * 0x9e3779b97f4a7c15ULL;
		h ^= h >> 32;
	}
	return (uint32_t)h;
}

/**
 * flow_judge() - look at a packet
 * @kinds:	what may merge, a set of MERGE_BIT()
 * @p:		packet with first byte and length; receives the rest
 *
 * Return: what the packet is to merging; the rest of @p as it says there.
 */
enum flow_verdict flow_judge(unsigned int kinds, struct flow_packet *p)
{
	enum flow_verdict verdict;

	switch (ip_get_version(p->pkt)) {
	case IP_V4:
		verdict = judge_ipv4(p);
		break;
	case IP_V6:
		verdict = judge_ipv6(p);
		break;
	default:
		return FLOW_ALONE;
	}
	if (verdict != FLOW_JOINER)
		return verdict;
	/* Where nothing merges there is no order to break. */
	if (!(kinds & MERGE_BIT(p->kind)))
		return FLOW_ALONE;
	verdict = kind_is_tcp(p->kind) ? judge_tcp(p) : judge_udp(p);
	if (verdict == FLOW_BARRIER)
		return verdict;
	p->hash = kind_is_v4(p->kind)
			  ? hash_flow(p->pkt + FLOW4_OFF, FLOW4_LEN)
			  : hash_flow(p->pkt + FLOW6_OFF, FLOW6_LEN);
	return p->len > MERGED_MAX ? FLOW_LONER : verdict;
}

/**
 * flow_verify() - whether a packet's checksums are right
 * @pkt:	packet
 * @len:	its length
 * @kind:	its kind
 * @l4_off:	offset of its transport header
 *
 * Return: true if the transport checksum and, in IPv4, that of the header are
 * right.
 */
bool flow_verify(const uint8_t *pkt, size_t len, enum merge_kind kind,
		 size_t l4_off)
{
	uint8_t proto = kind_is_tcp(kind) ? IP_PROTO_TCP : IP_PROTO_UDP;
	const struct ipv4_hdr *ip4 = (const void *)pkt;
	const struct ipv6_hdr *ip6 = (const void *)pkt;
	uint64_t sum;

	if (kind_is_v4(kind)) {
		if (checksum_fold(checksum_add(0, pkt, l4_off)) != 0xffff)
			return false;
		sum = checksum_pseudo4(ip4->saddr, ip4->daddr, proto,
				       len - l4_off);
	} else {
		sum = checksum_pseudo6(ip6->saddr, ip6->daddr, proto,
				       len - l4_off);
	}
	sum = checksum_add(sum, pkt + l4_off, len - l4_off);
	return checksum_fold(sum) == 0xffff;
}
