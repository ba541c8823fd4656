/* SPDX-License-Identifier: MIT */
/*
 * The internet checksum (RFC 1071).
 *
 * A sum in progress is a uint64_t to which native 16- or 32-bit words are
 * added as they lie in memory, without end-around carry: 2^32 and 2^16 are
 * both 1 modulo 65535, so words of either width may be mixed, and 64 bits do
 * not overflow before 2^32 words. The byte order works out because a sum of
 * byte-swapped words is the byte-swapped sum: what checksum_fold() returns is
 * copied into a packet as it is.
 *
 * Pieces of one sum must start at an even distance from its first byte; only
 * the last piece may be of odd length.
 */
#ifndef TUN_CHECKSUM_H
#define TUN_CHECKSUM_H

#include "base/bytes.h"

/* See checksum.c. */
uint64_t checksum_add(uint64_t sum, const void *data, size_t len);
uint64_t checksum_copy(uint64_t sum, void *dst, const void *src, size_t len);
uint64_t checksum_pseudo4(const uint8_t saddr[4], const uint8_t daddr[4],
			  uint8_t proto, size_t len);
uint64_t checksum_pseudo6(const uint8_t saddr[16], const uint8_t daddr[16],
			  uint8_t proto, size_t len);

/**
 * checksum_fold() - bring a sum to 16 bits
 * @sum:	sum in progress
 *
 * Return: the sum modulo 65535, not inverted, in memory order; 0 only if every
 * byte summed was 0, else 0xffff stands for a multiple of 65535.
 */
static inline uint16_t checksum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/**
 * checksum_word() - a 16-bit number as a word of a sum
 * @n:		number in host order, such as a length
 *
 * Return: the word, in memory order.
 */
static inline uint64_t checksum_word(uint16_t n)
{
	return htobe16(n);
}

/**
 * checksum_field() - a 16-bit field of a packet as a word of a sum
 * @field:	the field
 *
 * Return: the word, in memory order.
 */
static inline uint64_t checksum_field(struct be16 field)
{
	uint16_t raw;

	memcpy(&raw, field.b, sizeof(raw));
	return raw;
}

/**
 * checksum_store() - a folded sum as a field of a packet
 * @folded:	from checksum_fold(), inverted or not
 *
 * Return: the field.
 */
static inline struct be16 checksum_store(uint16_t folded)
{
	struct be16 field;

	memcpy(field.b, &folded, sizeof(folded));
	return field;
}

/**
 * checksum_finish() - the checksum field for a sum
 * @sum:	sum over everything, the field itself as 0
 *
 * Return: the field, inverted.
 */
static inline struct be16 checksum_finish(uint64_t sum)
{
	return checksum_store((uint16_t)~checksum_fold(sum));
}

/**
 * checksum_finish_udp() - the checksum field of UDP for a sum
 * @sum:	sum over everything, the field itself as 0
 *
 * Return: as checksum_finish(), but 0xffff for 0: 0 says that there is no
 * checksum (RFC 768), which IPv6 forbids (RFC 8200 section 8.1).
 */
static inline struct be16 checksum_finish_udp(uint64_t sum)
{
	uint16_t folded = (uint16_t)~checksum_fold(sum);

	return checksum_store(folded ? folded : 0xffff);
}

#endif /* TUN_CHECKSUM_H */
