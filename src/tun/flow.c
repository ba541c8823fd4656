/* SPDX-License-Identifier: MIT */
/*
 * Judging packets that came through the tunnel. The peer is authenticated, but
 * its packets may have any length and content. Only plain IP packets with plain
 * TCP or UDP in them merge. For every other packet the verdict says whether
 * later packets may still join items that were made before that packet.
 */
#include "tun/flow.h"

#include "tun/checksum.h"

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

static inline enum flow_verdict judge_udp(struct flow_packet *p)
{
	const struct udp_hdr *udp = (const void *)(p->pkt + p->l4_off);
	size_t l4_len = p->len - p->l4_off;

	if (l4_len < sizeof(*udp))
		return FLOW_BARRIER;
	if (l4_len == sizeof(*udp) || be16_get(udp->len) != l4_len)
		return FLOW_LONER;
	/* IPv6 demands a checksum (RFC 8200 section 8.1). */
	if (!udp_has_checksum(udp) && !kind_is_v4(p->kind))
		return FLOW_LONER;
	p->hdr_len = (uint8_t)(p->l4_off + sizeof(*udp));
	return FLOW_JOINER;
}

/* Find the transport header. Return: FLOW_JOINER if the transport decides, else
 * the verdict. */
static inline enum flow_verdict judge_ipv4(struct flow_packet *p)
{
	const struct ipv4_hdr *ip = (const void *)p->pkt;

	if (p->len < sizeof(*ip))
		return FLOW_ALONE;
	if (ip->proto != IP_PROTO_TCP && ip->proto != IP_PROTO_UDP)
		return FLOW_ALONE;
	/* Fragments and packets with options do not merge. DF may be set. */
	if (ip->version_ihl != 0x45 || be16_get(ip->frag) & ~IPV4_DF ||
	    be16_get(ip->total_len) != p->len)
		return FLOW_BARRIER;
	p->kind = ip->proto == IP_PROTO_TCP ? MERGE_TCP4 : MERGE_UDP4;
	p->l4_off = sizeof(*ip);
	return FLOW_JOINER;
}

/* As judge_ipv4(), for IPv6. */
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

/*
 * The hash needs no secret. A set of the flow table has a fixed number of
 * places, so a sender that aims at one set only keeps the packets of a few
 * flows from merging. The factor is 2^64 divided by the golden ratio, a usual
 * choice for hashing by multiplication.
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
	/* No packet of this kind merges, so none can overtake this one. */
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

bool flow_verify(const uint8_t *pkt, size_t len, enum merge_kind kind,
		 size_t l4_off)
{
	uint8_t proto = kind_is_tcp(kind) ? IP_PROTO_TCP : IP_PROTO_UDP;
	const struct ipv4_hdr *ip4 = (const void *)pkt;
	const struct ipv6_hdr *ip6 = (const void *)pkt;
	const struct udp_hdr *udp = (const void *)(pkt + l4_off);
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
	if (!kind_is_tcp(kind) && !udp_has_checksum(udp))
		return true;
	sum = checksum_add(sum, pkt + l4_off, len - l4_off);
	return checksum_fold(sum) == 0xffff;
}
