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

/* Fields are in native byte order, which is a TUN's default. */
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
 * struct vnet_frame - the description of the packet in a valid frame
 * @len:	length of the packet, without the virtio-net header
 * @gso_size:	payload of each segment; 0: the packet is not cut
 * @hdr_len:	IP and transport header together; only if @gso_size
 * @l4_off:	offset of the transport header; only if @gso_size
 * @csum_start:	offset at which the sum starts; only if @needs_csum
 * @csum_field:	offset of the checksum field; only if @needs_csum
 * @ip_version:	4 or 6
 * @l4_proto:	IP_PROTO_TCP or IP_PROTO_UDP; only if @gso_size
 * @needs_csum:	the checksum field holds the folded sum of the pseudo header; the
 *		sum from @csum_start on must be added
 *
 * All offsets count from the start of the packet, and lie within it.
 */
struct vnet_frame {
	uint32_t len;
	uint16_t gso_size;
	uint16_t hdr_len;
	uint16_t l4_off;
	uint16_t csum_start;
	uint16_t csum_field;
	uint8_t ip_version;
	uint8_t l4_proto;
	bool needs_csum;
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
 * @VNET_DROP_PROTO:	the packet is not of the protocol that the offload names
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

#endif /* TUN_VNET_H */
