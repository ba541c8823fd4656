/* SPDX-License-Identifier: MIT */
/*
 * Packets for the tests of the TUN room. They are made byte by byte, and their
 * checksums are computed by the plainest code. No code under test takes part.
 */
#ifndef TESTS_TUN_PACKET_H
#define TESTS_TUN_PACKET_H

#include <stdbool.h>
#include <time.h>

#include "tests/lib/check.h"

#include "base/ip.h"

/**
 * random_seed() - seed from TEST_SEED or the clock, and print the seed
 * @r:		source
 */
static inline void random_seed(struct random *r)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	random_init(r, (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 20);
}

/**
 * random_u32() - a number from 0 to n - 1
 * @r:		source
 * @n:		bound, not 0
 */
static inline uint32_t random_u32(struct random *r, size_t n)
{
	return (uint32_t)random_below(r, n);
}

/**
 * random_fill() - fill bytes
 * @r:		source
 * @dst:	where
 * @len:	how many
 */
static inline void random_fill(struct random *r, uint8_t *dst, size_t len)
{
	for (size_t i = 0; i < len; i++)
		dst[i] = (uint8_t)random_next(r);
}

/**
 * ref_sum() - the sum of a checksum as RFC 1071 defines it, in host order
 * @sum:	start
 * @p:		bytes
 * @len:	how many
 */
static inline uint32_t ref_sum(uint32_t sum, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

/* The fields of a packet to be made. Zero is a sensible default for most. */
struct spec {
	int version;
	uint8_t proto;
	uint8_t tos;
	uint8_t ttl;
	uint8_t host; /* last byte of the source address */
	uint8_t flags;
	bool no_df;
	bool no_csum;
	bool ae; /* of TCP: accurate ECN, in the byte of the header length */
	uint16_t id;
	uint16_t sport;
	uint16_t window;
	uint16_t ext_len; /* IPv6 hop-by-hop header, multiple of 8 */
	uint16_t opt_len; /* TCP options, multiple of 4 */
	uint32_t flow;
	uint32_t seq;
	uint32_t ack;
	uint32_t payload_len;
	uint64_t payload; /* seed of the payload */
};

/**
 * packet_l4_off() - where a packet's transport header is
 * @s:		spec
 */
static inline size_t packet_l4_off(const struct spec *s)
{
	return s->version == 4 ? 20 : 40u + s->ext_len;
}

/**
 * packet_hdr_len() - length of a packet's headers
 * @s:		spec
 */
static inline size_t packet_hdr_len(const struct spec *s)
{
	return packet_l4_off(s) +
	       (s->proto == IP_PROTO_TCP ? 20u + s->opt_len : 8);
}

/**
 * packet_pseudo() - sum of a packet's pseudo header, in host order
 * @pkt:	packet
 * @proto:	transport
 * @l4_len:	length of transport header and payload
 */
static inline uint32_t packet_pseudo(const uint8_t *pkt, uint8_t proto,
				     size_t l4_len)
{
	uint8_t tail[8] = { 0 };

	tail[1] = (uint8_t)(l4_len >> 16);
	tail[2] = (uint8_t)(l4_len >> 8);
	tail[3] = (uint8_t)l4_len;
	tail[7] = proto;
	if (pkt[0] >> 4 == 4)
		return ref_sum(ref_sum(0, pkt + 12, 8), tail, sizeof(tail));
	return ref_sum(ref_sum(0, pkt + 8, 32), tail, sizeof(tail));
}

/**
 * packet_check_off() - where the transport checksum is
 * @proto:	transport
 */
static inline size_t packet_check_off(uint8_t proto)
{
	return proto == IP_PROTO_TCP ? 16 : 6;
}

/**
 * packet_sum_ipv4() - write the header checksum of an IPv4 packet
 * @pkt:	packet without options
 */
static inline void packet_sum_ipv4(uint8_t *pkt)
{
	uint32_t sum;

	pkt[10] = 0;
	pkt[11] = 0;
	sum = ~ref_sum(0, pkt, 20);
	pkt[10] = (uint8_t)(sum >> 8);
	pkt[11] = (uint8_t)sum;
}

/**
 * packet_sum_l4() - write the transport checksum of a packet
 * @pkt:	packet
 * @len:	its length
 * @l4_off:	offset of the transport header
 * @proto:	transport
 * @partial:	only the pseudo header, not inverted
 */
static inline void packet_sum_l4(uint8_t *pkt, size_t len, size_t l4_off,
				 uint8_t proto, bool partial)
{
	uint8_t *check = pkt + l4_off + packet_check_off(proto);
	uint32_t sum = packet_pseudo(pkt, proto, len - l4_off);

	if (!partial) {
		check[0] = 0;
		check[1] = 0;
		sum = ~ref_sum(sum, pkt + l4_off, len - l4_off) & 0xffff;
		if (sum == 0 && proto == IP_PROTO_UDP)
			sum = 0xffff;
	}
	check[0] = (uint8_t)(sum >> 8);
	check[1] = (uint8_t)sum;
}

/**
 * packet_build_ip() - write the IP header
 * @pkt:	where
 * @s:		spec
 * @len:	length of the whole packet
 */
static inline void packet_build_ip(uint8_t *pkt, const struct spec *s,
				   size_t len)
{
	struct ipv4_hdr *ip4 = (void *)pkt;
	struct ipv6_hdr *ip6 = (void *)pkt;

	memset(pkt, 0, packet_l4_off(s));
	if (s->version == 4) {
		ip4->version_ihl = 0x45;
		ip4->tos = s->tos;
		ip4->total_len = be16_make((uint16_t)len);
		ip4->id = be16_make(s->id);
		ip4->frag = be16_make(s->no_df ? 0 : IPV4_DF);
		ip4->ttl = s->ttl ? s->ttl : 64;
		ip4->proto = s->proto;
		memcpy(ip4->saddr, (uint8_t[]){ 10, 1, 2, s->host }, 4);
		memcpy(ip4->daddr, (uint8_t[]){ 10, 9, 8, 7 }, 4);
		packet_sum_ipv4(pkt);
		return;
	}
	ip6->version_class_flow =
		be32_make(6U << 28 | (uint32_t)s->tos << 20 | s->flow);
	ip6->payload_len = be16_make((uint16_t)(len - 40));
	ip6->next_header = s->ext_len ? IP_PROTO_HOPOPTS : s->proto;
	ip6->hop_limit = s->ttl ? s->ttl : 64;
	ip6->saddr[0] = 0xfd;
	ip6->saddr[15] = s->host;
	ip6->daddr[0] = 0xfd;
	ip6->daddr[15] = 7;
	if (s->ext_len) {
		pkt[40] = s->proto;
		pkt[41] = (uint8_t)(s->ext_len / 8 - 1);
		pkt[42] = 1; /* PadN */
		pkt[43] = (uint8_t)(s->ext_len - 4);
	}
}

/**
 * packet_build() - make a packet
 * @pkt:	where
 * @s:		spec
 *
 * Return: its length.
 */
static inline size_t packet_build(uint8_t *pkt, const struct spec *s)
{
	size_t off = packet_l4_off(s), hdr_len = packet_hdr_len(s);
	size_t len = hdr_len + s->payload_len;
	struct tcp_hdr *tcp = (void *)(pkt + off);
	struct udp_hdr *udp = (void *)(pkt + off);
	struct random r = { 2 * s->payload + 1 };

	packet_build_ip(pkt, s, len);
	memset(pkt + off, 0, hdr_len - off);
	random_fill(&r, pkt + hdr_len, s->payload_len);
	tcp->sport = be16_make(s->sport);
	tcp->dport = be16_make(443);
	if (s->proto == IP_PROTO_TCP) {
		tcp->seq = be32_make(s->seq);
		tcp->ack = be32_make(s->ack);
		tcp->data_off =
			(uint8_t)((hdr_len - off) / 4 << 4 | (s->ae ? 1 : 0));
		tcp->flags = s->flags ? s->flags : TCP_ACK;
		tcp->window = be16_make(s->window);
		memset(pkt + off + 20, 1, s->opt_len);
	} else {
		udp->len = be16_make((uint16_t)(len - off));
	}
	if (!s->no_csum)
		packet_sum_l4(pkt, len, off, s->proto, false);
	return len;
}

/**
 * packet_is_valid() - whether a packet's lengths and checksums are right
 * @pkt:	TCP or UDP packet without IPv4 options
 * @len:	its length
 * @l4_off:	offset of the transport header
 */
static inline bool packet_is_valid(const uint8_t *pkt, size_t len,
				   size_t l4_off)
{
	const struct ipv4_hdr *ip4 = (const void *)pkt;
	const struct ipv6_hdr *ip6 = (const void *)pkt;
	uint8_t proto = ip4->proto;

	if (pkt[0] >> 4 == 4) {
		if (be16_get(ip4->total_len) != len ||
		    ref_sum(0, pkt, 20) != 0xffff)
			return false;
	} else {
		if (be16_get(ip6->payload_len) != len - 40)
			return false;
		proto = ip6->next_header;
		if (proto == IP_PROTO_HOPOPTS)
			proto = pkt[40];
	}
	return ref_sum(packet_pseudo(pkt, proto, len - l4_off), pkt + l4_off,
		       len - l4_off) == 0xffff;
}

#endif /* TESTS_TUN_PACKET_H */
