/* SPDX-License-Identifier: MIT */
/*
 * Judging packets that came through the tunnel. The peer is authenticated, but
 * its packets may have any length and content. Only plain IP packets with plain
 * TCP or UDP in them merge, and plain TCP in the kernel's tunnels. For every
 * other packet the verdict says whether later packets may still join items that
 * were made before that packet.
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
	if ((tcp->flags & ~(TCP_SAME | TCP_ENDS | TCP_CWR)) ||
	    !(tcp->flags & TCP_ACK))
		return FLOW_LONER;
	p->hdr_len = (uint8_t)(p->l4_off + hdr_len);
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

/* The kind of TCP of a version in a tunnel over another. */
static enum merge_kind tunnel_kind(bool outer_is_v4, bool inner_is_v4)
{
	if (outer_is_v4)
		return inner_is_v4 ? MERGE_TUNNEL44 : MERGE_TUNNEL46;
	return inner_is_v4 ? MERGE_TUNNEL64 : MERGE_TUNNEL66;
}

/*
 * Look into a packet to a tunnel device. Return: true if plain TCP is in the
 * tunnel; then @p has the kind of a tunnel. Everything else merges as the UDP
 * datagram that it is.
 */
static bool judge_tunnel(unsigned int kinds, const struct overlay *overlay,
			 struct flow_packet *p)
{
	size_t off = overlay_inner_off(overlay, p->pkt, p->len, p->l4_off);
	struct flow_packet inner = { .pkt = p->pkt + off,
				     .len = p->len - (uint32_t)off,
				     .kind = MERGE_NONE };
	enum merge_kind kind;

	if (!off)
		return false;
	if ((ip_get_version(inner.pkt) == IP_V4
		     ? judge_ipv4(&inner)
		     : judge_ipv6(&inner)) != FLOW_JOINER ||
	    !kind_is_tcp(inner.kind) || judge_tcp(&inner) != FLOW_JOINER)
		return false;
	kind = tunnel_kind(kind_is_v4(p->kind), kind_is_v4(inner.kind));
	if (!(kinds & MERGE_BIT(kind)))
		return false;
	p->kind = kind;
	p->ip_off = (uint16_t)off;
	p->l4_off = (uint16_t)(off + inner.l4_off);
	p->hdr_len = (uint16_t)(off + inner.hdr_len);
	return true;
}

static inline enum flow_verdict judge_udp(unsigned int kinds,
					  const struct overlays *overlays,
					  struct flow_packet *p)
{
	const struct udp_hdr *udp = (const void *)(p->pkt + p->l4_off);
	size_t l4_len = p->len - p->l4_off;
	const struct overlay *overlay = NULL;

	if (l4_len < sizeof(*udp))
		return FLOW_BARRIER;
	if (l4_len == sizeof(*udp) || be16_get(udp->len) != l4_len)
		return FLOW_LONER;
	p->hdr_len = (uint16_t)(p->l4_off + sizeof(*udp));
	p->udp_off = p->l4_off;
	if (overlays->cnt)
		overlay = overlays_lookup(overlays, p->pkt);
	if (overlay && judge_tunnel(kinds, overlay, p))
		return FLOW_JOINER;
	/* IPv6 demands a checksum (RFC 8200 section 8.1), except from tunnels
	 * whose receiver was told so (RFC 6935). */
	if (!udp_has_checksum(udp) && p->kind == MERGE_UDP6 &&
	    !(overlay && overlay->takes_unsummed6))
		return FLOW_LONER;
	return kinds & MERGE_BIT(p->kind) ? FLOW_JOINER : FLOW_LONER;
}

/* May a packet of this kind, or one of the same flow, merge? */
static inline bool may_merge(unsigned int kinds,
			     const struct overlays *overlays,
			     enum merge_kind kind)
{
	return kinds & MERGE_BIT(kind) ||
	       (overlays->cnt && !kind_is_tcp(kind) && kinds & MERGE_TUNNELS);
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

enum flow_verdict flow_judge(unsigned int kinds,
			     const struct overlays *overlays,
			     struct flow_packet *p)
{
	unsigned int version = ip_get_version(p->pkt);
	enum flow_verdict verdict;

	if (version == IP_V4)
		verdict = judge_ipv4(p);
	else if (version == IP_V6)
		verdict = judge_ipv6(p);
	else
		return FLOW_ALONE;
	if (verdict != FLOW_JOINER)
		return verdict;
	/* No packet of this kind merges, so none can overtake this one. */
	if (!may_merge(kinds, overlays, p->kind))
		return FLOW_ALONE;
	verdict = kind_is_tcp(p->kind) ? judge_tcp(p)
				       : judge_udp(kinds, overlays, p);
	if (verdict == FLOW_BARRIER)
		return verdict;
	p->hash = version == IP_V4 ? hash_flow(p->pkt + FLOW4_OFF, FLOW4_LEN)
				   : hash_flow(p->pkt + FLOW6_OFF, FLOW6_LEN);
	return p->len > MERGED_MAX ? FLOW_LONER : verdict;
}

/* Verify the checksum of an IPv4 header, and sum the pseudo header of the
 * transport in @sum. Return: false if the checksum is wrong. */
static inline bool verify_ip(const uint8_t *hdr, bool is_v4, uint8_t proto,
			     size_t l4_len, uint64_t *sum)
{
	const struct ipv4_hdr *ip4 = (const void *)hdr;
	const struct ipv6_hdr *ip6 = (const void *)hdr;

	if (!is_v4) {
		*sum = checksum_pseudo6(ip6->saddr, ip6->daddr, proto, l4_len);
		return true;
	}
	*sum = checksum_pseudo4(ip4->saddr, ip4->daddr, proto, l4_len);
	return checksum_fold(checksum_add(0, ip4, sizeof(*ip4))) == 0xffff;
}

/*
 * Verify a packet in a tunnel. If the inner packet is right, its transport
 * header with the payload sums up to the complement of @pseudo, the sum of the
 * inner pseudo header. So the outer checksum needs no second pass over them.
 */
static bool verify_tunnel(const struct flow_packet *p)
{
	const uint8_t *l4 = p->pkt + p->l4_off;
	const struct udp_hdr *udp = (const void *)(p->pkt + p->udp_off);
	size_t l4_len = p->len - p->l4_off;
	uint64_t pseudo, sum;

	if (!verify_ip(p->pkt + p->ip_off, kind_is_inner_v4(p->kind),
		       IP_PROTO_TCP, l4_len, &pseudo) ||
	    checksum_fold(checksum_add(pseudo, l4, l4_len)) != 0xffff)
		return false;
	if (!verify_ip(p->pkt, kind_is_v4(p->kind), IP_PROTO_UDP,
		       p->len - p->udp_off, &sum))
		return false;
	if (!udp_has_checksum(udp))
		return true;
	sum = checksum_add(sum, udp, (size_t)(p->l4_off - p->udp_off));
	return checksum_fold(sum + (uint16_t)~checksum_fold(pseudo)) == 0xffff;
}

bool flow_verify(const struct flow_packet *p)
{
	const uint8_t *l4 = p->pkt + p->l4_off;
	bool is_tcp = kind_is_tcp(p->kind);
	size_t l4_len = p->len - p->l4_off;
	uint64_t sum;

	if (kind_is_tunnel(p->kind))
		return verify_tunnel(p);
	if (!verify_ip(p->pkt, kind_is_v4(p->kind),
		       is_tcp ? IP_PROTO_TCP : IP_PROTO_UDP, l4_len, &sum))
		return false;
	if (!is_tcp && !udp_has_checksum((const void *)l4))
		return true;
	return checksum_fold(checksum_add(sum, l4, l4_len)) == 0xffff;
}
