/* SPDX-License-Identifier: MIT */
/*
 * The rules of fit.h. A TCP packet that is no super-packet is described as one with a
 * single segment, so that segment.c can cut it.
 */
#include "tun/fit.h"

/* TCP packets with one of these are not cut: a segment would repeat the flag, or its
 * pointer would be wrong. */
#define TCP_NOT_CUT (TCP_SYN | TCP_RST | TCP_URG)

/* The offset of the TCP header in a packet that has one and is whole; 0: none. */
static size_t find_tcp(const uint8_t *pkt, size_t len)
{
	const struct ipv4_hdr *ip4 = ipv4_view(pkt);
	const struct ipv6_hdr *ip6 = ipv6_view(pkt);
	size_t off = sizeof(*ip6), total;

	switch (ip_identify(pkt, len)) {
	case IP_V4:
		off = ipv4_hdr_len(ip4);
		total = be16_get(ip4->total_len);
		if (ip4->proto != IP_PROTO_TCP || off < sizeof(*ip4) ||
		    be16_get(ip4->frag) & (IPV4_MF | IPV4_OFFSET))
			return 0;
		break;
	case IP_V6:
		total = sizeof(*ip6) + be16_get(ip6->payload_len);
		/* Behind extension headers TCP is not looked for. */
		if (ip6->next_header != IP_PROTO_TCP)
			return 0;
		break;
	default:
		return 0;
	}
	return total == len && len >= off + sizeof(struct tcp_hdr) ? off : 0;
}

/* Describe a TCP packet as a super-packet of one segment. Return: false: it is no TCP
 * packet, or one that is not cut. */
static bool describe_tcp(const uint8_t *pkt, struct vnet_frame *frame)
{
	size_t off = find_tcp(pkt, frame->len);
	const struct tcp_hdr *tcp = (const void *)(pkt + off);
	size_t hdr_len;

	if (!off)
		return false;
	hdr_len = off + tcp_hdr_len(tcp);
	if (tcp->flags & TCP_NOT_CUT || hdr_len < off + sizeof(*tcp) ||
	    hdr_len >= frame->len || frame->len - hdr_len > UINT16_MAX)
		return false;
	frame->gso_size = (uint16_t)(frame->len - hdr_len);
	frame->hdr_len = (uint16_t)hdr_len;
	frame->l4_off = (uint16_t)off;
	frame->ip_off = 0;
	frame->outer_l4_off = 0;
	frame->ip_version = (uint8_t)ip_get_version(pkt);
	frame->l4_proto = IP_PROTO_TCP;
	return true;
}

/* The length of the longest packet that a frame is cut into. */
static size_t longest_of(const struct vnet_frame *frame)
{
	return frame->gso_size ? size_min(frame->len, (size_t)frame->hdr_len +
							      frame->gso_size)
			       : frame->len;
}

static enum fit fit_tcp(struct vnet_frame *frame, size_t cut)
{
	if (frame->hdr_len >= cut)
		return FIT_REFUSED;
	frame->gso_size = (uint16_t)(cut - frame->hdr_len);
	return FIT_CUT;
}

enum fit fit_packet(const uint8_t *pkt, struct vnet_frame *frame, size_t mtu,
		    size_t cut)
{
	size_t longest = longest_of(frame);
	struct vnet_frame tcp = *frame;

	if ((!mtu || longest <= mtu) && (!cut || longest <= cut))
		return FIT_WHOLE;
	if (cut && longest > cut &&
	    (frame->gso_size ? frame->l4_proto == IP_PROTO_TCP
			     : describe_tcp(pkt, &tcp))) {
		*frame = tcp;
		return fit_tcp(frame, cut);
	}
	if (!mtu || longest <= mtu)
		return FIT_WHOLE;
	if (fit_has_df(pkt) ||
	    ipv4_hdr_len(ipv4_view(pkt)) < sizeof(struct ipv4_hdr) ||
	    ipv4_hdr_len(ipv4_view(pkt)) >= longest)
		return FIT_REFUSED;
	return frame->gso_size ? FIT_SPLIT : FIT_FRAGMENTS;
}
