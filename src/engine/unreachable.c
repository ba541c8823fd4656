/* SPDX-License-Identifier: MIT */
#include "engine/unreachable.h"

#include <string.h>

#include "tun/checksum.h"
#include "tun/ip.h"

enum {
	IPV4_LEN = 20,
	IPV6_LEN = 40,
	ICMP_LEN = 8,
	/* RFC 1812, section 4.3.2.3: as much as fits in 576 bytes. */
	ICMP4_MAX = 576,
	ICMP4_UNREACHABLE = 3,
	ICMP4_HOST = 1,
	ICMP6_UNREACHABLE = 1,
	ICMP6_ADDRESS = 3,
	ICMP6_INFORMATIONAL = 128,
	PROTO_ICMP4 = 1,
	PROTO_ICMP6 = 58,
	TTL = 64,
	SOURCE4_AT = 12,
	DESTINATION4_AT = 16,
};

/* ICMP messages that ask or answer, and so may be answered. */
static bool is_query4(uint8_t type)
{
	return type == 0 || type == 8 || type == 13 || type == 14;
}

static bool may_answer4(const uint8_t *p, size_t len)
{
	size_t hdr_len = (size_t)(p[0] & 15) * 4;
	unsigned int offset = (unsigned int)(p[6] & 0x1f) << 8 | p[7];

	if (hdr_len < IPV4_LEN || len < hdr_len + ICMP_LEN || offset)
		return false;
	/* From nowhere or loopback, from or to a group or a broadcast. */
	if (!p[12] || p[12] == 127 || p[12] >= 224 || !p[16] || p[16] >= 224)
		return false;
	return p[9] != PROTO_ICMP4 || is_query4(p[hdr_len]);
}

static void store16(uint8_t *at, uint16_t sum_in_memory_order)
{
	memcpy(at, &sum_in_memory_order, 2);
}

static size_t make4(uint8_t *out, const uint8_t *p, size_t len)
{
	size_t quoted = size_min(len, ICMP4_MAX - IPV4_LEN - ICMP_LEN);
	size_t total = IPV4_LEN + ICMP_LEN + quoted;
	struct be16 total_len = be16_make((uint16_t)total);

	memset(out, 0, IPV4_LEN + ICMP_LEN);
	out[0] = 0x45;
	memcpy(out + 2, &total_len, 2);
	out[8] = TTL;
	out[9] = PROTO_ICMP4;
	memcpy(out + 12, p + 16, 4);
	memcpy(out + 16, p + 12, 4);
	store16(out + 10,
		(uint16_t)~checksum_fold(checksum_add(0, out, IPV4_LEN)));
	out[20] = ICMP4_UNREACHABLE;
	out[21] = ICMP4_HOST;
	memcpy(out + IPV4_LEN + ICMP_LEN, p, quoted);
	store16(out + 22, (uint16_t)~checksum_fold(checksum_add(
				  0, out + IPV4_LEN, ICMP_LEN + quoted)));
	return total;
}

static bool may_answer6(const uint8_t *p, size_t len)
{
	static const uint8_t unspecified[16];

	if (len < IPV6_LEN || p[8] == 0xff || p[24] == 0xff ||
	    memcmp(p + 8, unspecified, 16) == 0)
		return false;
	/* An ICMP error behind extension headers is not looked for. */
	return p[6] != PROTO_ICMP6 ||
	       (len > IPV6_LEN && p[IPV6_LEN] >= ICMP6_INFORMATIONAL);
}

static size_t make6(uint8_t *out, const uint8_t *p, size_t len)
{
	size_t quoted =
		size_min(len, UNREACHABLE_MAX_LEN - IPV6_LEN - ICMP_LEN);
	size_t payload = ICMP_LEN + quoted;
	struct be16 payload_len = be16_make((uint16_t)payload);
	uint8_t pseudo[8] = { [7] = PROTO_ICMP6 };
	uint64_t sum;

	memset(out, 0, IPV6_LEN + ICMP_LEN);
	out[0] = 0x60;
	memcpy(out + 4, &payload_len, 2);
	out[6] = PROTO_ICMP6;
	out[7] = TTL;
	memcpy(out + 8, p + 24, 16);
	memcpy(out + 24, p + 8, 16);
	out[40] = ICMP6_UNREACHABLE;
	out[41] = ICMP6_ADDRESS;
	memcpy(out + IPV6_LEN + ICMP_LEN, p, quoted);
	/* The pseudo header of RFC 8200, section 8.1. */
	memcpy(pseudo + 2, &payload_len, 2);
	sum = checksum_add(0, pseudo, sizeof(pseudo));
	sum = checksum_add(sum, out + 8, 32);
	sum = checksum_add(sum, out + IPV6_LEN, payload);
	store16(out + 42, (uint16_t)~checksum_fold(sum));
	return IPV6_LEN + payload;
}

static bool may_answer(const uint8_t *packet, size_t len)
{
	if (len >= IPV4_LEN && packet[0] >> 4 == 4)
		return may_answer4(packet, len);
	return len >= IPV6_LEN && packet[0] >> 4 == 6 &&
	       may_answer6(packet, len);
}

size_t unreachable_make(uint8_t out[UNREACHABLE_MAX_LEN], const uint8_t *packet,
			size_t len)
{
	if (!may_answer(packet, len))
		return 0;
	return packet[0] >> 4 == 4 ? make4(out, packet, len)
				   : make6(out, packet, len);
}

/* Is the packet to a directed broadcast, or does it claim to be from one? */
static bool is_broadcast(const struct unreachable *u, const uint8_t *packet)
{
	return packet[0] >> 4 == 4 && u->broadcasts &&
	       (broadcasts_have(u->broadcasts, packet + DESTINATION4_AT) ||
		broadcasts_have(u->broadcasts, packet + SOURCE4_AT));
}

void unreachable_send(struct unreachable *u, struct tun *tun,
		      const uint8_t *packet, size_t len, uint64_t now)
{
	uint8_t out[UNREACHABLE_MAX_LEN];

	/* A packet that must not be answered takes no token. */
	if (!may_answer(packet, len) || is_broadcast(u, packet) ||
	    !quota_allow(&u->quota, packet, len, now))
		return;
	/* If the kernel does not take it, the sender is not told, and asks
	 * again. */
	(void)tun_write_packet(tun, out, unreachable_make(out, packet, len));
}
