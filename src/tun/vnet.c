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
 */
#include "tun/vnet.h"

/*
 * A choice: real packets have fewer extension headers. The bound also keeps
 * every header offset within 16 bits: a header has at most 2048 bytes.
 */
#define EXTENSIONS_MAX 8
static_assert(40 + EXTENSIONS_MAX * 2048 + 60 <= UINT16_MAX, "header offsets");

/* With DATA_VALID the kernel says that it has verified the checksum. */
#define FLAGS_KNOWN (VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID)

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
	frame->len = (uint32_t)len;
	return VNET_OK;
}

/* Check the checksum offsets of a header with NEEDS_CSUM, and store them. */
static enum vnet_drop check_csum(const struct vnet_hdr *hdr,
				 struct vnet_frame *frame)
{
	size_t start = vnet_get(hdr->csum_start);
	size_t field = start + vnet_get(hdr->csum_offset);
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

/* Find the transport header of a packet that has its fixed header. */
static enum vnet_drop find_l4_ipv4(const uint8_t *pkt, struct vnet_frame *frame)
{
	const struct ipv4_hdr *ip = (const void *)pkt;
	size_t ihl = ipv4_hdr_len(ip);

	if (ihl < sizeof(*ip))
		return VNET_DROP_PROTO;
	if (ihl > frame->len)
		return VNET_DROP_SHORT;
	/* A fragment has no transport header that could be repeated. */
	if (be16_get(ip->frag) & (IPV4_MF | IPV4_OFFSET))
		return VNET_DROP_PROTO;
	frame->l4_off = (uint16_t)ihl;
	frame->l4_proto = ip->proto;
	return VNET_OK;
}

/*
 * As find_l4_ipv4(), for IPv6. Hop-by-hop, destination and routing headers may
 * precede the transport header, and each segment repeats them (RFC 8200 section
 * 4). The pseudo header needs the final destination. A packet that has yet to
 * visit other nodes has its final destination in the routing header, and the
 * type of that header decides at which place. So without NEEDS_CSUM such a
 * packet is refused.
 */
static enum vnet_drop find_l4_ipv6(const uint8_t *pkt, struct vnet_frame *frame)
{
	const struct ipv6_hdr *ip = (const void *)pkt;
	uint8_t next = ip->next_header;
	size_t off = sizeof(*ip);

	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		if (next != IP_PROTO_HOPOPTS && next != IP_PROTO_DSTOPTS &&
		    next != IP_PROTO_ROUTING)
			break;
		/* Every extension header has at least 8 bytes. */
		if (frame->len - off < 8)
			return VNET_DROP_SHORT;
		if (next == IP_PROTO_ROUTING && !frame->needs_csum &&
		    pkt[off + 3] != 0)
			return VNET_DROP_PROTO;
		next = pkt[off];
		off += ((size_t)pkt[off + 1] + 1) * 8;
		if (off > frame->len)
			return VNET_DROP_SHORT;
	}
	frame->l4_off = (uint16_t)off;
	frame->l4_proto = next;
	return VNET_OK;
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

/* Check a super-packet. Everything but its transport header is known. */
static enum vnet_drop check_gso(const struct vnet_hdr *hdr, const uint8_t *pkt,
				struct vnet_frame *frame)
{
	enum vnet_drop reason;
	uint8_t version = frame->ip_version;
	uint8_t proto = IP_PROTO_TCP;

	switch (hdr->gso_type) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
	case VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN:
		version = 4;
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
	case VIRTIO_NET_HDR_GSO_TCPV6 | VIRTIO_NET_HDR_GSO_ECN:
		version = 6;
		break;
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		proto = IP_PROTO_UDP;
		break;
	default:
		return VNET_DROP_TYPE;
	}
	frame->gso_size = vnet_get(hdr->gso_size);
	if (frame->gso_size == 0)
		return VNET_DROP_SIZE;
	if (frame->ip_version != version)
		return VNET_DROP_PROTO;
	reason = version == 4 ? find_l4_ipv4(pkt, frame)
			      : find_l4_ipv6(pkt, frame);
	if (reason != VNET_OK)
		return reason;
	if (frame->l4_proto != proto)
		return VNET_DROP_PROTO;
	return check_l4(pkt, frame);
}

enum vnet_drop vnet_parse_frame(const struct vnet_hdr *hdr, const uint8_t *pkt,
				size_t len, struct vnet_frame *frame)
{
	struct vnet_frame f = { 0 };
	enum vnet_drop reason;

	reason = check_ip(pkt, len, &f);
	if (reason != VNET_OK)
		return reason;
	if (hdr) {
		if (hdr->flags & ~FLAGS_KNOWN)
			return VNET_DROP_TYPE;
		if (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
			reason = check_csum(hdr, &f);
		if (reason == VNET_OK &&
		    hdr->gso_type != VIRTIO_NET_HDR_GSO_NONE)
			reason = check_gso(hdr, pkt, &f);
		if (reason != VNET_OK)
			return reason;
	}
	*frame = f;
	return VNET_OK;
}
