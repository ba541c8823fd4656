/* SPDX-License-Identifier: MIT */
/*
 * IP, ICMP, TCP and UDP headers as they lie in a packet. All members are byte
 * arrays, because a packet that the kernel merged or that was decrypted in place
 * may start at any address.
 */
#ifndef BASE_IP_H
#define BASE_IP_H

#include <assert.h>
#include <stdbool.h>

#include "base/bytes.h"

/* The largest packets that the length fields can name. */
#define IPV4_PACKET_MAX 65535
#define IPV6_PACKET_MAX (40 + 65535)

/* The first four bits of a packet. */
enum ip_family {
	IP_V4 = 4,
	IP_V6 = 6,
};

enum ip_proto {
	IP_PROTO_HOPOPTS = 0,
	IP_PROTO_ICMP = 1,
	IP_PROTO_TCP = 6,
	IP_PROTO_UDP = 17,
	IP_PROTO_ROUTING = 43,
	IP_PROTO_FRAGMENT = 44,
	IP_PROTO_AH = 51,
	IP_PROTO_ICMPV6 = 58,
	IP_PROTO_DSTOPTS = 60,
	IP_PROTO_MOBILITY = 135,
	IP_PROTO_HIP = 139,
	IP_PROTO_SHIM6 = 140,
	IP_PROTO_TEST1 = 253,
	IP_PROTO_TEST2 = 254,
};

/* The 16-bit field that holds three flags and the fragment offset. */
enum ipv4_frag {
	IPV4_DF = 0x4000,
	IPV4_MF = 0x2000,
	IPV4_OFFSET = 0x1fff,
};

struct ipv4_hdr {
	uint8_t version_ihl;
	uint8_t tos;
	struct be16 total_len;
	struct be16 id;
	struct be16 frag;
	uint8_t ttl;
	uint8_t proto;
	struct be16 check;
	uint8_t saddr[4];
	uint8_t daddr[4];
};
static_assert(sizeof(struct ipv4_hdr) == 20, "IPv4 header");

struct ipv6_hdr {
	struct be32 version_class_flow;
	struct be16 payload_len;
	uint8_t next_header;
	uint8_t hop_limit;
	uint8_t saddr[16];
	uint8_t daddr[16];
};
static_assert(sizeof(struct ipv6_hdr) == 40, "IPv6 header");

/* The part that all messages of ICMP and ICMPv6 share. */
struct icmp_hdr {
	uint8_t type;
	uint8_t code;
	struct be16 check;
	uint8_t rest[4]; /* of an echo: identifier and sequence number */
};
static_assert(sizeof(struct icmp_hdr) == 8, "ICMP header");

/* The extension header of an IPv6 fragment (RFC 8200, section 4.5). */
struct ipv6_fragment_hdr {
	uint8_t next_header;
	uint8_t reserved;
	struct be16 frag; /* enum ipv6_frag */
	uint8_t id[4];
};
static_assert(sizeof(struct ipv6_fragment_hdr) == 8, "IPv6 fragment header");

/* The field frag of an IPv6 fragment: 13 bits of offset, 2 reserved bits, and
 * "more fragments". */
enum ipv6_frag {
	IPV6_OFFSET = 0xfff8,
	IPV6_MF = 0x0001,
};

enum tcp_flag {
	TCP_FIN = 0x01,
	TCP_SYN = 0x02,
	TCP_RST = 0x04,
	TCP_PSH = 0x08,
	TCP_ACK = 0x10,
	TCP_URG = 0x20,
	TCP_ECE = 0x40,
	TCP_CWR = 0x80,
};

struct tcp_hdr {
	struct be16 sport;
	struct be16 dport;
	struct be32 seq;
	struct be32 ack;
	uint8_t data_off; /* upper four bits: header length in 32-bit words */
	uint8_t flags;
	struct be16 window;
	struct be16 check;
	struct be16 urgent;
};
static_assert(sizeof(struct tcp_hdr) == 20, "TCP header");

struct udp_hdr {
	struct be16 sport;
	struct be16 dport;
	struct be16 len;
	struct be16 check;
};
static_assert(sizeof(struct udp_hdr) == 8, "UDP header");

/* ip_get_version() - the version in a packet's first byte, which must exist */
static inline unsigned int ip_get_version(const uint8_t *packet)
{
	return packet[0] >> 4;
}

/**
 * ip_identify() - the version of a packet that has its whole fixed header
 * @packet:	packet
 * @len:	its length, which may be 0
 *
 * Return: IP_V4 or IP_V6; 0 if the packet is too short or of another version.
 */
static inline unsigned int ip_identify(const uint8_t *packet, size_t len)
{
	if (len >= sizeof(struct ipv4_hdr) && ip_get_version(packet) == IP_V4)
		return IP_V4;
	if (len >= sizeof(struct ipv6_hdr) && ip_get_version(packet) == IP_V6)
		return IP_V6;
	return 0;
}

/* ipv4_view() - a packet as IPv4; its fixed header must be there */
static inline const struct ipv4_hdr *ipv4_view(const uint8_t *packet)
{
	return (const void *)packet;
}

/* ipv6_view() - a packet as IPv6; its fixed header must be there */
static inline const struct ipv6_hdr *ipv6_view(const uint8_t *packet)
{
	return (const void *)packet;
}

/* ipv4_hdr_len() - length in bytes that the header claims, not checked: 0 to 60 */
static inline size_t ipv4_hdr_len(const struct ipv4_hdr *ip)
{
	return (size_t)(ip->version_ihl & 15) * 4;
}

/**
 * tcp_hdr_len() - length in bytes that a TCP header claims, 0 to 60
 * @tcp:	the header, its first 13 bytes readable
 *
 * Return: the length, not checked.
 */
static inline size_t tcp_hdr_len(const struct tcp_hdr *tcp)
{
	return (size_t)(tcp->data_off >> 4) * 4;
}

/* udp_has_checksum() - false if the field is 0: there is no checksum (RFC 768) */
static inline bool udp_has_checksum(const struct udp_hdr *udp)
{
	return be16_get(udp->check) != 0;
}

#endif /* BASE_IP_H */
