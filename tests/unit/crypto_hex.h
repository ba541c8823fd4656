/* SPDX-License-Identifier: MIT */
/*
 * Reads test vectors as documents print them: hexadecimal digits, with blanks
 * that are ignored. Makes random bytes from a seed.
 */
#ifndef CRYPTO_HEX_H
#define CRYPTO_HEX_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/**
 * hex_decode() - bytes of a vector
 * @out:	out
 * @cap:	bytes at @out; a vector that is longer is a mistake in the test
 * @hex:	digits in pairs
 *
 * Return: count of bytes.
 */
static inline size_t hex_decode(uint8_t *out, size_t cap, const char *hex)
{
	size_t len = 0;
	unsigned int byte;
	int used;

	while (sscanf(hex, " %2x%n", &byte, &used) == 1) {
		if (len == cap)
			abort();
		out[len++] = (uint8_t)byte;
		hex += used;
	}
	return len;
}

/**
 * prng_next() - the next random number from a seed
 * @state:	the seed, at first; updated
 *
 * xorshift64* (Marsaglia 2003, Vigna 2016).
 *
 * Return: the number.
 */
static inline uint64_t prng_next(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(0x2545f4914f6cdd1d);
}

/**
 * prng_fill() - random bytes from a seed
 * @state:	the seed, at first; updated
 * @buf:	out
 * @len:	count
 */
static inline void prng_fill(uint64_t *state, void *buf, size_t len)
{
	uint8_t *out = buf;

	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(prng_next(state) >> 56);
}

#endif /* CRYPTO_HEX_H */
