/* SPDX-License-Identifier: MIT */
/*
 * The internet checksum (RFC 1071).
 *
 * A sum in progress is a uint64_t. Words of 16 or 32 bits are added to it as
 * they lie in memory. The sum needs no end-around carry: 2^32 and 2^16 are both
 * 1 modulo 65535, so words of both widths may be mixed, and 64 bits do not
 * overflow before 2^32 words. The sum needs no byte swapping either, because a
 * sum of swapped words is the swapped sum. So the result of checksum_fold() is
 * copied into a packet as it is.
 *
 * A sum may be made in pieces. Each piece must start at an even distance from
 * the first byte of the sum; only the last piece may be of odd length.
 */
#ifndef TUN_CHECKSUM_H
#define TUN_CHECKSUM_H

#include "base/bytes.h"

/**
 * checksum_add() - add bytes to a sum
 * @sum:	sum in progress, 0 for a new one
 * @data:	bytes, at any address
 * @len:	number of bytes, less than 2^32
 *
 * Return: the new sum in progress. Any thread.
 */
uint64_t checksum_add(uint64_t sum, const void *data, size_t len);

/**
 * checksum_copy() - copy bytes and add them to a sum, in one pass
 * @sum:	sum in progress, 0 for a new one
 * @dst:	where the bytes go; does not overlap @src
 * @src:	bytes, at any address
 * @len:	number of bytes, less than 2^32
 *
 * Return: the new sum in progress. Any thread.
 */
uint64_t checksum_copy(uint64_t sum, void *dst, const void *src, size_t len);

/**
 * checksum_pseudo4() - sum of the IPv4 pseudo header (RFC 9293 section 3.1)
 * @saddr:	source address
 * @daddr:	destination address
 * @proto:	protocol number
 * @len:	length of transport header and payload; 0 to add it later
 *
 * Return: a sum in progress.
 */
uint64_t checksum_pseudo4(const uint8_t saddr[4], const uint8_t daddr[4],
			  uint8_t proto, size_t len);

/**
 * checksum_pseudo6() - sum of the IPv6 pseudo header (RFC 8200 section 8.1)
 * @saddr:	source address
 * @daddr:	final destination address
 * @proto:	protocol number of the transport header
 * @len:	length of transport header and payload; 0 to add it later
 *
 * Return: a sum in progress.
 */
uint64_t checksum_pseudo6(const uint8_t saddr[16], const uint8_t daddr[16],
			  uint8_t proto, size_t len);

/**
 * checksum_fold() - bring a sum to 16 bits
 * @sum:	sum in progress
 *
 * Return: the sum modulo 65535, not inverted, in memory order. A multiple of
 * 65535 is 0xffff; the result is 0 only if every byte was 0.
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
 * @sum:	sum over all bytes that count, with the field itself as 0
 *
 * Return: the field, inverted.
 */
static inline struct be16 checksum_finish(uint64_t sum)
{
	return checksum_store((uint16_t)~checksum_fold(sum));
}

/**
 * checksum_finish_udp() - the checksum field of UDP for a sum
 * @sum:	sum over all bytes that count, with the field itself as 0
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
