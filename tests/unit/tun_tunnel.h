/* SPDX-License-Identifier: MIT */
/*
 * Packets in a UDP tunnel for the tests of the TUN room: VXLAN (RFC 7348) or
 * Geneve (RFC 8926) around an Ethernet frame around an IP packet. No code under
 * test takes part.
 */
#ifndef TESTS_TUN_TUNNEL_H
#define TESTS_TUN_TUNNEL_H

#include "tun_packet.h"
#include "tun/vnet.h"

enum {
	VXLAN_PORT = 4789,
	GENEVE_PORT = 6081,
	/* A VXLAN header, or a Geneve header without options. */
	TUNNEL_LEN = 8,
	ETHERNET_LEN = 14,
	ETHERTYPE_V4 = 0x0800,
	ETHERTYPE_V6 = 0x86dd,
	/* The longest option part of Geneve. */
	GENEVE_OPTIONS_MAX = 252,
};

/* The fields of a packet in a tunnel. Zero is a sensible default for most. */
struct tunnel {
	struct spec outer; /* protocol and payload are ignored */
	struct spec inner;
	bool is_geneve;
	uint8_t options_len; /* of Geneve, multiple of 4 */
	uint8_t mac;	     /* last byte of the inner source address */
	uint16_t port;	     /* 0: the protocol's own */
	uint32_t vni;
};

/**
 * tunnel_inner_off() - where the inner IP header is
 * @t:		fields
 */
static inline size_t tunnel_inner_off(const struct tunnel *t)
{
	return packet_l4_off(&t->outer) + 8 + TUNNEL_LEN + t->options_len +
	       ETHERNET_LEN;
}

/**
 * tunnel_hdr_len() - length of all headers, up to the inner payload
 * @t:		fields
 */
static inline size_t tunnel_hdr_len(const struct tunnel *t)
{
	return tunnel_inner_off(t) + packet_hdr_len(&t->inner);
}

/**
 * tunnel_sum() - write the outer checksum, or 0 if there is to be none
 * @pkt:	packet
 * @t:		fields
 * @len:	its length
 * @partial:	only the pseudo header, not inverted
 */
static inline void tunnel_sum(uint8_t *pkt, const struct tunnel *t, size_t len,
			      bool partial)
{
	size_t off = packet_l4_off(&t->outer);

	memset(pkt + off + 6, 0, 2);
	if (!t->outer.no_csum)
		packet_sum_l4(pkt, len, off, IP_PROTO_UDP, partial);
}

static inline void tunnel_put_be16(uint8_t *at, size_t n)
{
	at[0] = (uint8_t)(n >> 8);
	at[1] = (uint8_t)n;
}

/**
 * tunnel_build() - make a packet
 * @pkt:	where
 * @t:		fields
 *
 * Return: its length.
 */
static inline size_t tunnel_build(uint8_t *pkt, const struct tunnel *t)
{
	size_t off = packet_l4_off(&t->outer), inner = tunnel_inner_off(t);
	size_t len = inner + packet_build(pkt + inner, &t->inner);
	uint16_t port = t->is_geneve ? GENEVE_PORT : VXLAN_PORT;
	uint8_t *udp = pkt + off, *hdr = udp + 8;
	uint8_t *eth = pkt + inner - ETHERNET_LEN;
	struct spec outer = t->outer;

	outer.proto = IP_PROTO_UDP;
	packet_build_ip(pkt, &outer, len);
	memset(udp, 0, inner - off);
	tunnel_put_be16(udp, t->outer.sport);
	tunnel_put_be16(udp + 2, t->port ? t->port : port);
	tunnel_put_be16(udp + 4, len - off);
	if (t->is_geneve) {
		hdr[0] = t->options_len / 4;
		tunnel_put_be16(hdr + 2, 0x6558); /* an Ethernet frame */
		memset(hdr + 8, 0x5a, t->options_len);
	} else {
		hdr[0] = 8; /* the VNI is valid */
	}
	hdr[4] = (uint8_t)(t->vni >> 16);
	tunnel_put_be16(hdr + 5, t->vni);
	eth[5] = 1;
	eth[11] = t->mac;
	tunnel_put_be16(eth + 12,
			t->inner.version == 4 ? ETHERTYPE_V4 : ETHERTYPE_V6);
	tunnel_sum(pkt, t, len, false);
	return len;
}

/**
 * tunnel_super() - make a tunnel super-packet as the kernel would
 * @pkt:	where
 * @t:		fields
 * @size:	segment size
 * @hdr:	receives its virtio-net header
 *
 * Return: its length.
 */
static inline size_t tunnel_super(uint8_t *pkt, const struct tunnel *t,
				  uint16_t size, struct vnet_tunnel_hdr *hdr)
{
	size_t len = tunnel_build(pkt, t), inner = tunnel_inner_off(t);
	size_t l4 = packet_l4_off(&t->inner);
	uint8_t type = VIRTIO_NET_HDR_GSO_UDP_L4;

	packet_sum_l4(pkt + inner, len - inner, l4, t->inner.proto, true);
	tunnel_sum(pkt, t, len, true);
	if (t->inner.proto == IP_PROTO_TCP)
		type = t->inner.version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4
					     : VIRTIO_NET_HDR_GSO_TCPV6;
	if (t->inner.proto == IP_PROTO_TCP && t->inner.flags & TCP_CWR)
		type |= VIRTIO_NET_HDR_GSO_ECN;
	memset(hdr, 0, sizeof(*hdr));
	hdr->base.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	if (!t->outer.no_csum)
		hdr->base.flags |= VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM;
	hdr->base.gso_type =
		(uint8_t)(type |
			  (t->outer.version == 4
				   ? VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4
				   : VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV6));
	vnet_set_le(hdr->base.hdr_len, (uint16_t)tunnel_hdr_len(t));
	vnet_set_le(hdr->base.gso_size, size);
	vnet_set_le(hdr->base.csum_start, (uint16_t)(inner + l4));
	vnet_set_le(hdr->base.csum_offset,
		    (uint16_t)packet_check_off(t->inner.proto));
	vnet_set_le(hdr->outer_l4_off, (uint16_t)packet_l4_off(&t->outer));
	vnet_set_le(hdr->inner_off, (uint16_t)inner);
	return len;
}

/**
 * tunnel_expect() - make the packet that a segment of a super-packet must be
 * @want:	receives it
 * @t:		fields of the super-packet
 * @pkt:	the super-packet
 * @off:	offset of the segment's payload in that of the super-packet
 * @size:	segment size
 *
 * Return: its length.
 */
static inline size_t tunnel_expect(uint8_t *want, const struct tunnel *t,
				   const uint8_t *pkt, uint32_t off,
				   uint16_t size)
{
	struct tunnel one = *t;
	size_t hdr_len = tunnel_hdr_len(t), inner = tunnel_inner_off(t), len;
	bool last = t->inner.payload_len - off <= size;

	one.inner.payload_len =
		(uint32_t)size_min(size, t->inner.payload_len - off);
	one.outer.id = (uint16_t)(t->outer.id + off / size);
	one.inner.id = (uint16_t)(t->inner.id + off / size);
	one.inner.seq = t->inner.seq + off;
	if (off)
		one.inner.flags &= (uint8_t)~TCP_CWR;
	if (!last)
		one.inner.flags &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	len = tunnel_build(want, &one);
	memcpy(want + hdr_len, pkt + hdr_len + off, one.inner.payload_len);
	packet_sum_l4(want + inner, len - inner, packet_l4_off(&t->inner),
		      t->inner.proto, false);
	tunnel_sum(want, &one, len, false);
	return len;
}

#endif /* TESTS_TUN_TUNNEL_H */
