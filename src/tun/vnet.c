/* SPDX-License-Identifier: MIT */
/*
 * Checking frames read from a TUN. Any process that may open an AF_PACKET socket
 * on the interface can choose the bytes of a frame, also those of the
 * virtio-net header. So every offset is checked against the length before it is
 * used. A bad frame is dropped, and is never an error of the device.
 *
 * The header's hdr_len is ignored: the kernel sets it to the length of the first
 * part of its buffer, not to that of the headers. Header lengths are read from
 * the packet.
 *
 * In a tunnel super-packet (VXLAN, Geneve and others) the outer UDP header and
 * the inner IP header must be where the virtio-net header says. The bytes
 * between them are the tunnel's, and are not looked at: each segment repeats
 * them.
 */
#include "tun/vnet.h"

/*
 * A choice: real packets have fewer extension headers. The bound also keeps
 * every header offset within 16 bits: a header has at most 2048 bytes.
 */
#define EXTENSIONS_MAX 8
static_assert(40 + EXTENSIONS_MAX * 2048 + 60 <= UINT16_MAX, "header offsets");

/* Offset of a transport header above which the end of a TCP header does not fit
 * 16 bits. Only an inner packet can reach it. */
#define L4_OFF_MAX (UINT16_MAX - 60)

/* With DATA_VALID the kernel says that it has verified the checksum. */
#define FLAGS_KNOWN (VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID)

/**
 * struct offload - the fields of a virtio-net header that are about cutting, in
 *		    host order
 * @type:	VIRTIO_NET_HDR_GSO_*, without the bits of @tunnel
 * @tunnel:	VIRTIO_NET_HDR_GSO_UDP_TUNNEL_*
 * @outer_csum:	VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM is set
 * @gso_size:	payload of each segment
 * @outer_l4_off: offset of the outer UDP header; only if @tunnel
 * @inner_off:	offset of the inner IP header; only if @tunnel
 */
struct offload {
	uint8_t type;
	uint8_t tunnel;
	bool outer_csum;
	uint16_t gso_size;
	uint16_t outer_l4_off;
	uint16_t inner_off;
};

const char *vnet_drop_name(enum vnet_drop reason)
{
	static const char *const names[VNET_DROP_CNT] = {
		[VNET_OK] = "ok",	   [VNET_DROP_SHORT] = "short",
		[VNET_DROP_LONG] = "long", [VNET_DROP_VERSION] = "version",
		[VNET_DROP_TYPE] = "type", [VNET_DROP_SIZE] = "size",
		[VNET_DROP_CSUM] = "csum", [VNET_DROP_PROTO] = "proto",
	};

	return reason < VNET_DROP_CNT ? names[reason] : "unknown";
}

/* Find the IP version, and check that the fixed header is there. */
static enum vnet_drop check_ip(const uint8_t *pkt, size_t len,
			       struct vnet_frame *frame)
{
	size_t min, max;

	if (len == 0)
		return VNET_DROP_SHORT;
	frame->ip_version = (uint8_t)ip_get_version(pkt);
	switch (frame->ip_version) {
	case IP_V4:
		min = sizeof(struct ipv4_hdr);
		max = IPV4_PACKET_MAX;
		break;
	case IP_V6:
		min = sizeof(struct ipv6_hdr);
		max = IPV6_PACKET_MAX;
		break;
	default:
		return VNET_DROP_VERSION;
	}
	if (len < min)
		return VNET_DROP_SHORT;
	if (len > max)
		return VNET_DROP_LONG;
	return VNET_OK;
}

/* Check the checksum offsets of a header with NEEDS_CSUM, and store them. */
static enum vnet_drop check_csum(size_t start, size_t offset,
				 struct vnet_frame *frame)
{
	size_t field = start + offset;
	size_t min = frame->ip_version == 4 ? sizeof(struct ipv4_hdr)
					    : sizeof(struct ipv6_hdr);

	/* The sum must not cover, nor be written into, the IP header. */
	if (start < min || frame->len < 2 || field > frame->len - 2)
		return VNET_DROP_CSUM;
	frame->needs_csum = true;
	frame->csum_start = (uint16_t)start;
	/* The sum of the two offsets may exceed 16 bits: an IPv6 packet may be
	 * a little longer than 65535 bytes. */
	if (field > UINT16_MAX)
		return VNET_DROP_CSUM;
	frame->csum_field = (uint16_t)field;
	return VNET_OK;
}

static enum vnet_drop set_l4(struct vnet_frame *frame, size_t off,
			     uint8_t proto)
{
	if (off > L4_OFF_MAX)
		return VNET_DROP_LONG;
	frame->l4_off = (uint16_t)off;
	frame->l4_proto = proto;
	return VNET_OK;
}

/* Find the transport header behind the IPv4 header at @ip_off, whose fixed part
 * is there. */
static enum vnet_drop find_l4_ipv4(const uint8_t *pkt, struct vnet_frame *frame)
{
	const struct ipv4_hdr *ip = (const void *)(pkt + frame->ip_off);
	size_t ihl = ipv4_hdr_len(ip);

	if (ihl < sizeof(*ip))
		return VNET_DROP_PROTO;
	if (ihl > frame->len - frame->ip_off)
		return VNET_DROP_SHORT;
	/* A fragment has no transport header that could be repeated. */
	if (be16_get(ip->frag) & (IPV4_MF | IPV4_OFFSET))
		return VNET_DROP_PROTO;
	return set_l4(frame, frame->ip_off + ihl, ip->proto);
}

/*
 * As find_l4_ipv4(), for IPv6. Hop-by-hop, destination and routing headers may
 * precede the transport header, and each segment repeats them (RFC 8200 section
 * 4). The pseudo header needs the final destination. A packet that has yet to
 * visit other nodes has its final destination in the routing header, and the
 * type of that header decides at which place. So without a sum of the pseudo
 * header (@has_sum) such a packet is refused.
 */
static enum vnet_drop find_l4_ipv6(const uint8_t *pkt, struct vnet_frame *frame,
				   bool has_sum)
{
	const struct ipv6_hdr *ip = (const void *)(pkt + frame->ip_off);
	uint8_t next = ip->next_header;
	size_t off = frame->ip_off + sizeof(*ip);

	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		if (next != IP_PROTO_HOPOPTS && next != IP_PROTO_DSTOPTS &&
		    next != IP_PROTO_ROUTING)
			break;
		/* Every extension header has at least 8 bytes. */
		if (frame->len - off < 8)
			return VNET_DROP_SHORT;
		if (next == IP_PROTO_ROUTING && !has_sum && pkt[off + 3] != 0)
			return VNET_DROP_PROTO;
		next = pkt[off];
		off += ((size_t)pkt[off + 1] + 1) * 8;
		if (off > frame->len)
			return VNET_DROP_SHORT;
	}
	return set_l4(frame, off, next);
}

/* Find the transport header behind the IP header at @ip_off, whose fixed part
 * is there. */
static enum vnet_drop find_l4(const uint8_t *pkt, struct vnet_frame *frame,
			      bool has_sum)
{
	return frame->ip_version == IP_V4 ? find_l4_ipv4(pkt, frame)
					  : find_l4_ipv6(pkt, frame, has_sum);
}

/* Check the transport header of a super-packet; sets hdr_len. */
static enum vnet_drop check_l4(const uint8_t *pkt, struct vnet_frame *frame)
{
	bool tcp = frame->l4_proto == IP_PROTO_TCP;
	size_t min = tcp ? sizeof(struct tcp_hdr) : sizeof(struct udp_hdr);
	size_t check = tcp ? offsetof(struct tcp_hdr, check)
			   : offsetof(struct udp_hdr, check);
	size_t l4_len = min;

	if (frame->len - frame->l4_off < min)
		return VNET_DROP_SHORT;
	if (tcp)
		l4_len = tcp_hdr_len((const void *)(pkt + frame->l4_off));
	if (l4_len < min)
		return VNET_DROP_PROTO;
	if (frame->len - frame->l4_off < l4_len)
		return VNET_DROP_SHORT;
	if (frame->needs_csum && (frame->csum_start != frame->l4_off ||
				  frame->csum_field != frame->l4_off + check))
		return VNET_DROP_CSUM;
	frame->hdr_len = (uint16_t)(frame->l4_off + l4_len);
	return VNET_OK;
}

/*
 * Check the outer headers of a tunnel super-packet, and find its inner IP
 * header. The outer UDP checksum is made from the addresses of the outer IP
 * header, so there is no sum of its pseudo header.
 */
static enum vnet_drop check_outer(const struct offload *hdr, const uint8_t *pkt,
				  struct vnet_frame *frame)
{
	uint8_t version = hdr->tunnel == VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4
				  ? IP_V4
				  : IP_V6;
	enum vnet_drop reason;

	if (hdr->tunnel == VIRTIO_NET_HDR_GSO_UDP_TUNNEL)
		return VNET_DROP_TYPE;
	if (!frame->needs_csum)
		return VNET_DROP_CSUM;
	if (frame->ip_version != version)
		return VNET_DROP_PROTO;
	reason = find_l4(pkt, frame, false);
	if (reason != VNET_OK)
		return reason;
	if (frame->l4_proto != IP_PROTO_UDP ||
	    frame->l4_off != hdr->outer_l4_off ||
	    hdr->inner_off < frame->l4_off + sizeof(struct udp_hdr) ||
	    (hdr->inner_off - frame->l4_off) % 2 != 0)
		return VNET_DROP_PROTO;
	if (hdr->inner_off > frame->len)
		return VNET_DROP_SHORT;
	frame->outer_l4_off = frame->l4_off;
	frame->outer_version = version;
	frame->outer_csum = hdr->outer_csum;
	frame->ip_off = hdr->inner_off;
	return check_ip(pkt + frame->ip_off, frame->len - frame->ip_off, frame);
}

/* Check a super-packet. Only the length of the packet, the version of its first
 * header, and the offsets of NEEDS_CSUM are known. */
static enum vnet_drop check_gso(const struct offload *hdr, const uint8_t *pkt,
				struct vnet_frame *frame)
{
	enum vnet_drop reason;
	uint8_t version = 0;
	uint8_t proto = IP_PROTO_TCP;

	switch (hdr->type) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
	case VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN:
		version = IP_V4;
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
	case VIRTIO_NET_HDR_GSO_TCPV6 | VIRTIO_NET_HDR_GSO_ECN:
		version = IP_V6;
		break;
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		proto = IP_PROTO_UDP;
		break;
	default:
		return VNET_DROP_TYPE;
	}
	frame->gso_size = hdr->gso_size;
	if (frame->gso_size == 0)
		return VNET_DROP_SIZE;
	if (hdr->tunnel) {
		reason = check_outer(hdr, pkt, frame);
		if (reason != VNET_OK)
			return reason;
	}
	/* UDP has one type for both versions. */
	if (version && frame->ip_version != version)
		return VNET_DROP_PROTO;
	reason = find_l4(pkt, frame, frame->needs_csum);
	if (reason != VNET_OK)
		return reason;
	if (frame->l4_proto != proto)
		return VNET_DROP_PROTO;
	return check_l4(pkt, frame);
}

enum vnet_drop vnet_parse_frame(const struct vnet_hdr *hdr, const uint8_t *pkt,
				size_t len, struct vnet_frame *frame)
{
	struct vnet_frame f = { .len = (uint32_t)len };
	enum vnet_drop reason;

	reason = check_ip(pkt, len, &f);
	if (reason != VNET_OK)
		return reason;
	if (hdr) {
		if (hdr->flags & ~FLAGS_KNOWN)
			return VNET_DROP_TYPE;
		if (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
			reason = check_csum(vnet_get(hdr->csum_start),
					    vnet_get(hdr->csum_offset), &f);
		if (reason == VNET_OK &&
		    hdr->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
			struct offload offload = {
				.type = hdr->gso_type,
				.gso_size = vnet_get(hdr->gso_size),
			};

			reason = check_gso(&offload, pkt, &f);
		}
		if (reason != VNET_OK)
			return reason;
	}
	*frame = f;
	return VNET_OK;
}

enum vnet_drop vnet_parse_tunnel_frame(const struct vnet_tunnel_hdr *hdr,
				       const uint8_t *pkt, size_t len,
				       struct vnet_frame *frame)
{
	const struct vnet_hdr *base = &hdr->base;
	uint8_t tunnel = base->gso_type & VIRTIO_NET_HDR_GSO_UDP_TUNNEL;
	/* The kernel writes only the header of a tunnel super-packet in little
	 * endian (virtio_net_hdr_tnl_from_skb() in Linux 6.18). */
	struct offload offload = {
		.type = base->gso_type ^ tunnel,
		.tunnel = tunnel,
		.outer_csum = base->flags & VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM,
		.gso_size = vnet_get_le(base->gso_size),
		.outer_l4_off = vnet_get_le(hdr->outer_l4_off),
		.inner_off = vnet_get_le(hdr->inner_off),
	};
	struct vnet_frame f = { .len = (uint32_t)len };
	enum vnet_drop reason;

	if (!tunnel)
		return vnet_parse_frame(base, pkt, len, frame);
	reason = check_ip(pkt, len, &f);
	if (reason != VNET_OK)
		return reason;
	if (base->flags & ~(FLAGS_KNOWN | VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM))
		return VNET_DROP_TYPE;
	if (base->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		reason = check_csum(vnet_get_le(base->csum_start),
				    vnet_get_le(base->csum_offset), &f);
	if (reason == VNET_OK)
		reason = check_gso(&offload, pkt, &f);
	if (reason == VNET_OK)
		*frame = f;
	return reason;
}
