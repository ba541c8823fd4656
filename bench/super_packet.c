/* SPDX-License-Identifier: MIT */
#include "bench/super_packet.h"

#include <stdlib.h>
#include <string.h>

#include "tun/checksum.h"

void super_packet_make(uint8_t *super, size_t len, uint8_t proto,
		       uint16_t gso_size, struct vnet_frame *frame)
{
	struct vnet_hdr hdr = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM };
	struct ipv4_hdr *ip = (void *)super;
	struct tcp_hdr *tcp = (void *)(super + sizeof(*ip));
	struct udp_hdr *udp = (void *)tcp;
	uint16_t sum;

	for (size_t i = 0; i < len; i++)
		super[i] = (uint8_t)(i * 2654435761U >> 13);
	memset(super, 0, 40);
	ip->version_ihl = 0x45;
	ip->total_len = be16_make((uint16_t)len);
	ip->frag = be16_make(IPV4_DF);
	ip->ttl = 64;
	ip->proto = proto;
	sum = checksum_fold(
		checksum_pseudo4(ip->saddr, ip->daddr, proto, len - 20));
	vnet_set(hdr.gso_size, gso_size);
	vnet_set(hdr.csum_start, 20);
	if (proto == IP_PROTO_TCP) {
		tcp->data_off = 0x50;
		tcp->flags = TCP_ACK;
		tcp->check = checksum_store(sum);
		hdr.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
		vnet_set(hdr.csum_offset, offsetof(struct tcp_hdr, check));
	} else {
		udp->len = be16_make((uint16_t)(len - 20));
		udp->check = checksum_store(sum);
		hdr.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4;
		vnet_set(hdr.csum_offset, offsetof(struct udp_hdr, check));
	}
	if (vnet_parse_frame(&hdr, super, len, frame) != VNET_OK)
		abort();
}
