/* SPDX-License-Identifier: MIT */
/*
 * One body for summing and for copying while summing. The main loop keeps four
 * vectors of 64-bit lanes; each 64-bit load is added as its two 32-bit halves,
 * so no lane can carry out. Vectors are the compilers' portable ones: 16 bytes
 * is what every x86-64 and arm64 has, and measured close enough to AVX2 (which
 * is worth about one per cent of a packet's cost) not to want a dispatcher.
 */
#include "tun/checksum.h"

/* Two 64-bit lanes. */
#define LANES	   __attribute__((vector_size(16))) uint64_t
#define BLOCK_LEN  64
#define LOW_HALVES 0xffffffffULL

/**
 * sum_tail() - sum, and perhaps copy, fewer bytes than a block
 * @sum:	sum in progress
 * @dst:	where to copy to, or NULL
 * @src:	bytes to sum
 * @len:	number of bytes; an odd last byte counts as if a 0 followed
 *
 * Return: the sum with @src added.
 */
static inline __attribute__((always_inline)) uint64_t
sum_tail(uint64_t sum, uint8_t *dst, const uint8_t *src, size_t len)
{
	uint32_t word;
	uint16_t half;
	uint8_t last[2] = { 0 };

	if (dst)
		memcpy(dst, src, len);
	for (; len >= sizeof(word); len -= sizeof(word)) {
		memcpy(&word, src, sizeof(word));
		sum += word;
		src += sizeof(word);
	}
	if (len & 2) {
		memcpy(&half, src, sizeof(half));
		sum += half;
		src += sizeof(half);
	}
	if (len & 1) {
		last[0] = *src;
		memcpy(&half, last, sizeof(half));
		sum += half;
	}
	return sum;
}

/**
 * sum_bytes() - sum, and perhaps copy, any number of bytes
 * @sum:	sum in progress
 * @dst:	where to copy to, or NULL; a constant at each use
 * @src:	bytes to sum
 * @len:	number of bytes
 *
 * Return: the sum with @src added.
 */
static inline __attribute__((always_inline)) uint64_t
sum_bytes(uint64_t sum, uint8_t *dst, const uint8_t *src, size_t len)
{
	const LANES low = { LOW_HALVES, LOW_HALVES };
	LANES a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };

	for (; len >= BLOCK_LEN; len -= BLOCK_LEN) {
		LANES v[4];

		memcpy(v, src, sizeof(v));
		src += sizeof(v);
		if (dst) {
			memcpy(dst, v, sizeof(v));
			dst += sizeof(v);
		}
		a += (v[0] & low) + (v[1] & low);
		b += (v[0] >> 32) + (v[1] >> 32);
		c += (v[2] & low) + (v[3] & low);
		d += (v[2] >> 32) + (v[3] >> 32);
	}
	a += b + c + d;
	return sum_tail(sum + a[0] + a[1], dst, src, len);
}

/**
 * checksum_add() - add bytes to a sum
 * @sum:	sum in progress, 0 for a new one
 * @data:	bytes, at any address
 * @len:	number of bytes, less than 2^32
 *
 * Return: the new sum in progress. Any thread.
 */
uint64_t checksum_add(uint64_t sum, const void *data, size_t len)
{
	return sum_bytes(sum, NULL, data, len);
}

/**
 * checksum_copy() - copy bytes and add them to a sum, in one pass
 * @sum:	sum in progress, 0 for a new one
 * @dst:	where the bytes go; does not overlap @src
 * @src:	bytes, at any address
 * @len:	number of bytes, less than 2^32
 *
 * Return: the new sum in progress. Any thread.
 */
uint64_t checksum_copy(uint64_t sum, void *dst, const void *src, size_t len)
{
	return sum_bytes(sum, dst, src, len);
}

/**
 * sum_words() - sum a few 32-bit words
 * @data:	bytes
 * @n:		number of words
 *
 * Return: their sum.
 */
static inline uint64_t sum_words(const uint8_t *data, unsigned int n)
{
	uint64_t sum = 0;
	uint32_t word;

	for (unsigned int i = 0; i < n; i++) {
		memcpy(&word, data + i * sizeof(word), sizeof(word));
		sum += word;
	}
	return sum;
}

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
			  uint8_t proto, size_t len)
{
	return sum_words(saddr, 1) + sum_words(daddr, 1) +
	       htobe32((uint32_t)len) + checksum_word(proto);
}

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
			  uint8_t proto, size_t len)
{
	return sum_words(saddr, 4) + sum_words(daddr, 4) +
	       htobe32((uint32_t)len) + checksum_word(proto);
}
