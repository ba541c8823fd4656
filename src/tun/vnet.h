/* SPDX-License-Identifier: MIT */
/*
 * The virtio-net header that a TUN device with IFF_VNET_HDR puts in front of each
 * packet, and the one function that checks a frame (header and packet) that was
 * read.
 */
#ifndef TUN_VNET_H
#define TUN_VNET_H

#include <stdbool.h>
#include <linux/virtio_net.h>

#include "base/ip.h"

/* This came with Linux 6.2; older headers lack it. */
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

/* These came with Linux 6.17, for packets in a UDP tunnel. */
#ifndef VIRTIO_NET_HDR_GSO_UDP_TUNNEL
#define VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM   8
#define VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4 0x20
#define VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV6 0x40
#define VIRTIO_NET_HDR_GSO_UDP_TUNNEL	   0x60
#endif

/* Fields are in native byte order, which is a TUN's default, except for those of
 * struct vnet_tunnel_hdr. */
struct vnet_hdr {
	uint8_t flags;
	uint8_t gso_type;
	uint8_t hdr_len[2];
	uint8_t gso_size[2];
	uint8_t csum_start[2];
	uint8_t csum_offset[2];
};
static_assert(sizeof(struct vnet_hdr) == 10, "struct virtio_net_hdr");

/**
 * struct vnet_tunnel_hdr - the longer header, of a device that hands out and
 *			    takes tunnel super-packets (Linux 6.17)
 * @base:	the short header. In a tunnel super-packet its offsets and its
 *		type are those of the inner packet, and it is in little endian
 *		like the members below
 * @unused:	number of buffers and hash, which a TUN does not set
 * @outer_l4_off: offset of the outer UDP header
 * @inner_off:	offset of the inner IP header
 */
struct vnet_tunnel_hdr {
	struct vnet_hdr base;
	uint8_t unused[10];
	uint8_t outer_l4_off[2];
	uint8_t inner_off[2];
};
static_assert(sizeof(struct vnet_tunnel_hdr) == 24,
	      "struct virtio_net_hdr_v1_hash_tunnel");

/**
 * struct vnet_frame - the description of the packet in a valid frame
 * @len:	length of the packet, without the virtio-net header
 * @gso_size:	payload of each segment; 0: the packet is not cut
 * @hdr_len:	all headers together, up to the payload; only if @gso_size
 * @l4_off:	offset of the transport header; only if @gso_size
 * @csum_start:	offset at which the sum starts; only if @needs_csum
 * @csum_field:	offset of the checksum field; only if @needs_csum
 * @ip_off:	offset of the IP header that belongs to the transport header: 0,
 *		or that of the inner packet of a tunnel super-packet
 * @outer_l4_off: offset of the outer UDP header of a tunnel super-packet; 0: the
 *		packet is none
 * @ip_version:	version of the IP header at @ip_off, 4 or 6
 * @outer_version: version of the outer IP header; only if @outer_l4_off
 * @l4_proto:	IP_PROTO_TCP or IP_PROTO_UDP; only if @gso_size
 * @needs_csum:	the checksum field holds the folded sum of the pseudo header; the
 *		sum from @csum_start on must be added
 * @outer_csum:	each segment gets an outer UDP checksum; only if @outer_l4_off
 *
 * All offsets count from the start of the packet, and lie within it. The
 * distance from @outer_l4_off to @ip_off is even.
 */
struct vnet_frame {
	uint32_t len;
	uint16_t gso_size;
	uint16_t hdr_len;
	uint16_t l4_off;
	uint16_t csum_start;
	uint16_t csum_field;
	uint16_t ip_off;
	uint16_t outer_l4_off;
	uint8_t ip_version;
	uint8_t outer_version;
	uint8_t l4_proto;
	bool needs_csum;
	bool outer_csum;
};

/**
 * enum vnet_drop - why a frame is dropped
 * @VNET_OK:		the frame is not dropped
 * @VNET_DROP_SHORT:	shorter than its headers
 * @VNET_DROP_LONG:	longer than an IP packet can be
 * @VNET_DROP_VERSION:	neither IPv4 nor IPv6
 * @VNET_DROP_TYPE:	a flag or an offload that we did not ask for
 * @VNET_DROP_SIZE:	an offload whose segment size is 0
 * @VNET_DROP_CSUM:	the offset of the checksum field is outside of the packet,
 *			or not that of the field in the transport header
 * @VNET_DROP_PROTO:	the packet is not of the protocol that the offload names,
 *			or its headers are not where the header says
 * @VNET_DROP_CNT:	number of values
 */
enum vnet_drop {
	VNET_OK,
	VNET_DROP_SHORT,
	VNET_DROP_LONG,
	VNET_DROP_VERSION,
	VNET_DROP_TYPE,
	VNET_DROP_SIZE,
	VNET_DROP_CSUM,
	VNET_DROP_PROTO,
	VNET_DROP_CNT,
};

/**
 * vnet_parse_frame() - check a frame read from a TUN
 * @hdr:	its virtio-net header, or NULL for a device without one
 * @pkt:	the packet behind it, at any address
 * @len:	length of the packet, may be 0
 * @frame:	filled for VNET_OK only
 *
 * A caller that read fewer bytes than a virtio-net header drops the frame as
 * VNET_DROP_SHORT itself. Any thread.
 *
 * Return: VNET_OK, or the reason to drop the frame.
 */
enum vnet_drop vnet_parse_frame(const struct vnet_hdr *hdr, const uint8_t *pkt,
				size_t len, struct vnet_frame *frame);

/**
 * vnet_parse_tunnel_frame() - as vnet_parse_frame(), with the longer header
 * @hdr:	the header
 * @pkt:	the packet behind it, at any address
 * @len:	length of the packet, may be 0
 * @frame:	filled for VNET_OK only
 *
 * Any thread.
 *
 * Return: VNET_OK, or the reason to drop the frame.
 */
enum vnet_drop vnet_parse_tunnel_frame(const struct vnet_tunnel_hdr *hdr,
				       const uint8_t *pkt, size_t len,
				       struct vnet_frame *frame);

/**
 * vnet_drop_name() - a drop reason for counters and logs
 * @reason:	the reason
 *
 * Return: a static string.
 */
const char *vnet_drop_name(enum vnet_drop reason);

/**
 * vnet_get() - read a 16-bit field of a virtio-net header
 * @field:	the field
 *
 * Return: its value in host order.
 */
static inline uint16_t vnet_get(const uint8_t field[2])
{
	uint16_t n;

	memcpy(&n, field, sizeof(n));
	return n;
}

/**
 * vnet_set() - write a 16-bit field of a virtio-net header
 * @field:	the field
 * @n:		value in host order
 */
static inline void vnet_set(uint8_t field[2], uint16_t n)
{
	memcpy(field, &n, sizeof(n));
}

/**
 * vnet_get_le() - read a field of the header of a tunnel super-packet
 * @field:	the field
 *
 * Return: its value in host order.
 */
static inline uint16_t vnet_get_le(const uint8_t field[2])
{
	return (uint16_t)(field[0] | field[1] << 8);
}

/**
 * vnet_set_le() - write a field of the header of a tunnel super-packet
 * @field:	the field
 * @n:		value in host order
 */
static inline void vnet_set_le(uint8_t field[2], uint16_t n)
{
	field[0] = (uint8_t)n;
	field[1] = (uint8_t)(n >> 8);
}

#endif /* TUN_VNET_H */
