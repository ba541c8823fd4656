/* SPDX-License-Identifier: MIT */
#include "uapi/text.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/bytes.h"

void text_put(struct text *t, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(t->buf + t->len, t->cap - t->len, format, args);
	va_end(args);
	INVARIANT(n >= 0 && (size_t)n < t->cap - t->len);
	t->len += (size_t)n;
}

/*
 * Eight hex digits of four bytes, all at once: each byte of a word gets one half of a
 * byte. The key may be secret, so nothing branches on it, and no address depends on it.
 * Above 9, adding 6 sets bit 4; the letters lie 39 behind the digits.
 */
static uint64_t hex_digits(const uint8_t bytes[4])
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	uint64_t halves = 0, letters;

	for (size_t i = 0; i < 4; i++)
		halves |= ((uint64_t)bytes[i] >> 4U | (bytes[i] & 15ULL) << 8U)
			  << 16U * i;
	letters = (halves + 6 * ones) >> 4U & ones;
	return halves + '0' * ones + ('a' - '0' - 10) * letters;
}

void text_put_hex(struct text *t, const uint8_t key[NOISE_PUBLIC_KEY_LEN])
{
	INVARIANT(t->cap - t->len >= 2 * (size_t)NOISE_PUBLIC_KEY_LEN);
	for (size_t i = 0; i < NOISE_PUBLIC_KEY_LEN; i += 4) {
		struct le64 digits = le64_make(hex_digits(key + i));

		memcpy(t->buf + t->len, &digits, sizeof(digits));
		t->len += sizeof(digits);
	}
}

void text_put_key(struct text *t, const char *name,
		  const uint8_t key[NOISE_PUBLIC_KEY_LEN])
{
	text_put_word(t, name);
	text_put_hex(t, key);
	text_put_word(t, "\n");
}

void text_put_endpoint(struct text *t, const char *name,
		       const struct endpoint_cell *cell,
		       const struct uapi_codec *codec)
{
	char text[UAPI_ENDPOINT_TEXT];
	struct device_endpoint ep;
	int len;

	if (!endpoint_cell_get(cell, &ep))
		return;
	len = codec->print(&ep, text, sizeof(text));
	if (len < 0)
		return;
	text_put_word(t, name);
	text_put_bytes(t, text, (size_t)len);
	text_put_word(t, "\n");
}

void text_put_prefix(struct text *t, const struct ip_prefix *prefix)
{
	char addr[INET6_ADDRSTRLEN];
	size_t len;

	if (prefix->family == IP_V4) {
		len = digits_put_ipv4(addr, prefix->addr);
	} else {
		inet_ntop(AF_INET6, prefix->addr, addr, sizeof(addr));
		len = strlen(addr);
	}
	text_put_word(t, "allowed_ip=");
	text_put_bytes(t, addr, len);
	text_put_word(t, "/");
	text_put_number(t, prefix->cidr);
	text_put_word(t, "\n");
}
