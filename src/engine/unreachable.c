/* SPDX-License-Identifier: MIT */
/*
 * An ICMP error quotes the packet that it is about. It is written to the TUN,
 * and so reaches the sender as if a router behind the tunnel had sent it. The
 * sender is often a program of this host. For each family there is a function
 * that says which packets may be answered, and one that writes the error.
 */
#include "engine/unreachable.h"

#include <string.h>

#include "base/ip.h"
#include "tun/checksum.h"

enum {
	/* RFC 1812, section 4.3.2.3: as much as fits in 576 bytes. */
	ICMP4_MAX = 576,
	/* RFC 792: type and code of "host unreachable". */
	ICMP4_UNREACHABLE = 3,
	ICMP4_HOST = 1,
	/* RFC 792: code of "fragmentation needed and DF set". */
	ICMP4_FRAG_NEEDED = 4,
	/* RFC 4443, section 3.1: type and code of "address unreachable". */
	ICMP6_UNREACHABLE = 1,
	ICMP6_ADDRESS = 3,
	/* RFC 4443, section 3.2: type of "packet too big"; its code is 0. */
	ICMP6_TOO_BIG = 2,
	/* RFC 4443, section 2.1: messages from this type on are no errors. */
	ICMP6_INFORMATIONAL = 128,
	/* Linux sends with this TTL and hop limit by default. */
	TTL = 64,
};

/* The errors of each family, without the packet that they quote. */
struct error4 {
	struct ipv4_hdr ip;
	struct icmp_hdr icmp;
};

struct error6 {
	struct ipv6_hdr ip;
	struct icmp_hdr icmp;
};

/* Is the ICMP message a query or a reply? Then it may be answered. */
static bool is_query4(uint8_t type)
{
	return type == 0 || type == 8 || type == 13 || type == 14;
}

static bool may_answer4(const uint8_t *p, size_t len)
{
	const struct ipv4_hdr *ip = ipv4_view(p);
	size_t hdr_len = ipv4_hdr_len(ip);

	if (hdr_len < sizeof(*ip) || len < hdr_len + sizeof(struct icmp_hdr) ||
	    be16_get(ip->frag) & IPV4_OFFSET)
		return false;
	/* The source is 0.0.0.0/8, loopback, multicast or broadcast, or the
	 * destination is 0.0.0.0/8, multicast or broadcast. */
	if (!ip->saddr[0] || ip->saddr[0] == 127 || ip->saddr[0] >= 224 ||
	    !ip->daddr[0] || ip->daddr[0] >= 224)
		return false;
	return ip->proto != IP_PROTO_ICMP || is_query4(p[hdr_len]);
}

/* @mtu: the longest packet that passes; 0: the destination is unreachable. */
static size_t make_error4(uint8_t *out, const uint8_t *p, size_t len,
			  uint32_t mtu)
{
	const struct ipv4_hdr *ip = ipv4_view(p);
	struct error4 *e = (void *)out;
	size_t quoted = size_min(len, ICMP4_MAX - sizeof(*e));
	size_t total = sizeof(*e) + quoted;

	*e = (struct error4){
		.ip.version_ihl = 0x45,
		.ip.total_len = be16_make((uint16_t)total),
		.ip.ttl = TTL,
		.ip.proto = IP_PROTO_ICMP,
		.icmp.type = ICMP4_UNREACHABLE,
		.icmp.code = mtu ? ICMP4_FRAG_NEEDED : ICMP4_HOST,
		/* RFC 1191, section 4. */
		.icmp.rest = { [2] = (uint8_t)(mtu >> 8), (uint8_t)mtu },
	};
	memcpy(e->ip.saddr, ip->daddr, sizeof(ip->daddr));
	memcpy(e->ip.daddr, ip->saddr, sizeof(ip->saddr));
	e->ip.check = checksum_finish(checksum_add(0, &e->ip, sizeof(e->ip)));
	memcpy(out + sizeof(*e), p, quoted);
	e->icmp.check = checksum_finish(
		checksum_add(0, &e->icmp, sizeof(e->icmp) + quoted));
	return total;
}

static bool may_answer6(const uint8_t *p, size_t len)
{
	static const uint8_t unspecified[16];
	const struct ipv6_hdr *ip = ipv6_view(p);

	if (ip->saddr[0] == 0xff || ip->daddr[0] == 0xff ||
	    memcmp(ip->saddr, unspecified, sizeof(unspecified)) == 0)
		return false;
	/* An ICMP error behind extension headers is not recognised. */
	return ip->next_header != IP_PROTO_ICMPV6 ||
	       (len > sizeof(*ip) && p[sizeof(*ip)] >= ICMP6_INFORMATIONAL);
}

/* The checksum over the pseudo header (RFC 8200, section 8.1) and @payload. */
static struct be16 check_error6(const struct error6 *e, size_t payload)
{
	uint8_t pseudo[8] = { [7] = IP_PROTO_ICMPV6 };
	uint64_t sum;

	memcpy(pseudo + 2, &e->ip.payload_len, sizeof(e->ip.payload_len));
	sum = checksum_add(0, pseudo, sizeof(pseudo));
	sum = checksum_add(sum, e->ip.saddr,
			   sizeof(e->ip.saddr) + sizeof(e->ip.daddr));
	return checksum_finish(checksum_add(sum, &e->icmp, payload));
}

static size_t make_error6(uint8_t *out, const uint8_t *p, size_t len,
			  uint32_t mtu)
{
	const struct ipv6_hdr *ip = ipv6_view(p);
	struct error6 *e = (void *)out;
	size_t quoted = size_min(len, UNREACHABLE_MAX_LEN - sizeof(*e));
	size_t payload = sizeof(e->icmp) + quoted;

	*e = (struct error6){
		.ip.version_class_flow = be32_make((uint32_t)IP_V6 << 28),
		.ip.payload_len = be16_make((uint16_t)payload),
		.ip.next_header = IP_PROTO_ICMPV6,
		.ip.hop_limit = TTL,
		.icmp.type = mtu ? ICMP6_TOO_BIG : ICMP6_UNREACHABLE,
		.icmp.code = mtu ? 0 : ICMP6_ADDRESS,
		.icmp.rest = { [2] = (uint8_t)(mtu >> 8), (uint8_t)mtu },
	};
	memcpy(e->ip.saddr, ip->daddr, sizeof(ip->daddr));
	memcpy(e->ip.daddr, ip->saddr, sizeof(ip->saddr));
	memcpy(out + sizeof(*e), p, quoted);
	e->icmp.check = check_error6(e, payload);
	return sizeof(e->ip) + payload;
}

static bool may_answer(const uint8_t *packet, size_t len)
{
	switch (ip_identify(packet, len)) {
	case IP_V4:
		return may_answer4(packet, len);
	case IP_V6:
		return may_answer6(packet, len);
	default:
		return false;
	}
}

size_t unreachable_make(uint8_t out[UNREACHABLE_MAX_LEN], const uint8_t *packet,
			size_t len, uint32_t mtu)
{
	if (!may_answer(packet, len))
		return 0;
	return ip_get_version(packet) == IP_V4
		       ? make_error4(out, packet, len, mtu)
		       : make_error6(out, packet, len, mtu);
}

/* Is the packet to a directed broadcast, or does it claim to be from one? */
static bool is_broadcast(const struct unreachable *u, const uint8_t *packet)
{
	const struct ipv4_hdr *ip = ipv4_view(packet);

	return ip_get_version(packet) == IP_V4 && u->broadcasts &&
	       (broadcasts_have(u->broadcasts, ip->daddr) ||
		broadcasts_have(u->broadcasts, ip->saddr));
}

void unreachable_init(struct unreachable *u, const uint8_t key[SIPHASH_KEY_LEN])
{
	pthread_mutex_init(&u->mutex, NULL);
	quota_init(&u->quota, key);
}

void unreachable_deinit(struct unreachable *u)
{
	pthread_mutex_destroy(&u->mutex);
}

/* Take a token for an error to the sender of this packet. */
static bool is_within_quota(struct unreachable *u, const uint8_t *packet,
			    size_t len, uint64_t now)
{
	bool is_allowed;

	pthread_mutex_lock(&u->mutex);
	is_allowed = quota_allow(&u->quota, packet, len, now);
	pthread_mutex_unlock(&u->mutex);
	return is_allowed;
}

void unreachable_send(struct unreachable *u, struct tun *tun,
		      const uint8_t *packet, size_t len, uint64_t now)
{
	uint8_t out[UNREACHABLE_MAX_LEN];

	/* A packet that must not be answered takes no token. */
	if (!may_answer(packet, len) || is_broadcast(u, packet) ||
	    !is_within_quota(u, packet, len, now))
		return;
	/* If the kernel does not take the error, the sender gets one for a
	 * later packet. */
	(void)tun_write_packet(tun, out, unreachable_make(out, packet, len, 0));
}

bool unreachable_send_too_big(struct unreachable *u, struct tun *tun,
			      const uint8_t *packet, size_t len, uint32_t mtu)
{
	uint8_t out[UNREACHABLE_MAX_LEN];
	size_t n;

	if (mtu > UINT16_MAX || !may_answer(packet, len) ||
	    is_broadcast(u, packet))
		return false;
	n = unreachable_make(out, packet, len, mtu);
	return tun_write_packet(tun, out, n);
}
