/* SPDX-License-Identifier: MIT */
/*
 * The virtio-net header that a TUN device with IFF_VNET_HDR puts before each
 * packet, and the one function that judges what was read.
 */
#ifndef TUN_VNET_H
#define TUN_VNET_H

#include <stdbool.h>
#include <linux/virtio_net.h>

#include "base/ip.h"

/* Linux 6.2; older headers lack it. */
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

/* Native byte order, which is what a TUN speaks unless told otherwise. */
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
 * struct vnet_frame - what a valid frame says about its packet
 * @len:	length of the packet, without the virtio-net header
 * @gso_size:	payload of each segment, or 0: the packet goes as it is
 * @hdr_len:	IP and transport header together; only if @gso_size
 * @l4_off:	offset of the transport header; only if @gso_size
 * @csum_start:	offset at which the sum starts; only if @needs_csum
 * @csum_field:	offset of the checksum field; only if @needs_csum
 * @ip_version:	4 or 6
 * @l4_proto:	IP_PROTO_TCP or IP_PROTO_UDP; only if @gso_size
 * @needs_csum:	the field holds the folded sum of the pseudo header, and the
 *		sum from @csum_start on is to be added by us
 *
 * All offsets are from the start of the packet and were found to lie in it.
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
 * enum vnet_drop - why a frame is not sent
 * @VNET_OK:		it is
 * @VNET_DROP_SHORT:	shorter than its headers
 * @VNET_DROP_LONG:	longer than an IP packet can be
 * @VNET_DROP_VERSION:	neither IPv4 nor IPv6
 * @VNET_DROP_TYPE:	a flag or an offload that was not asked for
 * @VNET_DROP_SIZE:	an offload with segments of no length
 * @VNET_DROP_CSUM:	a checksum field outside of the packet, or not where
 *			the transport header has it
 * @VNET_DROP_PROTO:	the packet is not of the kind that the offload says
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

/* See vnet.c. */
enum vnet_drop vnet_parse_frame(const struct vnet_hdr *hdr, const uint8_t *pkt,
				size_t len, struct vnet_frame *frame);
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
