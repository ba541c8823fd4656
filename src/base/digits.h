/* SPDX-License-Identifier: MIT */
/*
 * Numbers and IPv4 addresses as text, without printf(3). An answer for 10,000 peers has
 * more than 60,000 numbers, and printf(3) needs about 300 instructions for each.
 */
#ifndef BASE_DIGITS_H
#define BASE_DIGITS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
	/* Digits of UINT64_MAX. */
	DIGITS_MAX = 20,
	/* Characters of "255.255.255.255". */
	DIGITS_IPV4_MAX = 15,
};

/**
 * digits_put() - write a number
 * @out:	has room for DIGITS_MAX characters; gets no final 0
 * @value:	the number
 *
 * Return: how many characters were written.
 */
static inline size_t digits_put(char *out, uint64_t value)
{
	char digits[DIGITS_MAX];
	size_t at = sizeof(digits);

	if (value < 10) {
		*out = (char)('0' + value);
		return 1;
	}
	for (; value; value /= 10)
		digits[--at] = (char)('0' + value % 10);
	memcpy(out, digits + at, sizeof(digits) - at);
	return sizeof(digits) - at;
}

/**
 * digits_put_ipv4() - write an IPv4 address, as inet_ntop(3) does
 * @out:	has room for DIGITS_IPV4_MAX characters; gets no final 0
 * @addr:	the four bytes of the address
 *
 * Return: how many characters were written.
 */
static inline size_t digits_put_ipv4(char *out, const void *addr)
{
	const uint8_t *bytes = addr;
	size_t len = 0;

	for (size_t i = 0; i < 4; i++) {
		unsigned int byte = bytes[i];

		if (i)
			out[len++] = '.';
		if (byte >= 100)
			out[len++] = (char)('0' + byte / 100);
		if (byte >= 10)
			out[len++] = (char)('0' + byte / 10 % 10);
		out[len++] = (char)('0' + byte % 10);
	}
	return len;
}

#endif /* BASE_DIGITS_H */
