/* SPDX-License-Identifier: MIT */
/*
 * One function, sum_bytes(), sums bytes, and can copy them in the same pass.
 * Its loop keeps four vectors of 64-bit elements. Each 64-bit load is added as
 * two 32-bit halves, so no element overflows. Every x86-64 and arm64 processor
 * has vectors of 16 bytes. AVX2 would save about one per cent of a packet's
 * cost: too little for a choice at run time.
 */
#include "tun/checksum.h"

/* Two 64-bit elements; the bytes of the four vectors that one round of the loop
 * sums; and the lower half of each element. */
#define VECTOR	   __attribute__((vector_size(16))) uint64_t
#define BLOCK_LEN  64
#define LOW_HALVES 0xffffffffULL

/* Sum, and perhaps copy, fewer bytes than a block. An odd last byte counts as
 * if a 0 followed. */
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

/* Sum, and perhaps copy, any number of bytes. @dst is where the bytes are copied
 * to; NULL: sum only. One caller always passes NULL, and the other never. */
static inline __attribute__((always_inline)) uint64_t
sum_bytes(uint64_t sum, uint8_t *dst, const uint8_t *src, size_t len)
{
	const VECTOR low = { LOW_HALVES, LOW_HALVES };
	VECTOR a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };

	for (; len >= BLOCK_LEN; len -= BLOCK_LEN) {
		VECTOR v[4];

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

uint64_t checksum_add(uint64_t sum, const void *data, size_t len)
{
	return sum_bytes(sum, NULL, data, len);
}

uint64_t checksum_copy(uint64_t sum, void *dst, const void *src, size_t len)
{
	return sum_bytes(sum, dst, src, len);
}

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

uint64_t checksum_pseudo4(const uint8_t saddr[4], const uint8_t daddr[4],
			  uint8_t proto, size_t len)
{
	return sum_words(saddr, 1) + sum_words(daddr, 1) +
	       htobe32((uint32_t)len) + checksum_word(proto);
}

uint64_t checksum_pseudo6(const uint8_t saddr[16], const uint8_t daddr[16],
			  uint8_t proto, size_t len)
{
	return sum_words(saddr, 4) + sum_words(daddr, 4) +
	       htobe32((uint32_t)len) + checksum_word(proto);
}
