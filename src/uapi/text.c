/* SPDX-License-Identifier: MIT */
#include "uapi/text.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"

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

/* The hex digit of four bits. The key may be secret, so nothing branches on it, and no
 * address depends on it: above 9 the difference wraps, and its upper bits are set. */
static char hex_digit(unsigned int bits)
{
	return (char)('0' + bits + ((9 - bits) >> 8 & ('a' - '0' - 10)));
}

/* Without text_put(): an answer may have thousands of keys. */
void text_put_hex(struct text *t, const uint8_t key[NOISE_PUBLIC_KEY_LEN])
{
	INVARIANT(t->cap - t->len > 2 * (size_t)NOISE_PUBLIC_KEY_LEN);
	for (size_t i = 0; i < NOISE_PUBLIC_KEY_LEN; i++) {
		t->buf[t->len++] = hex_digit(key[i] >> 4U);
		t->buf[t->len++] = hex_digit(key[i] & 15U);
	}
	t->buf[t->len] = 0;
}

void text_put_key(struct text *t, const char *name,
		  const uint8_t key[NOISE_PUBLIC_KEY_LEN])
{
	text_put(t, "%s=", name);
	text_put_hex(t, key);
	text_put(t, "\n");
}

void text_put_endpoint(struct text *t, const char *name,
		       const struct endpoint_cell *cell,
		       const struct uapi_codec *codec)
{
	char text[UAPI_ENDPOINT_TEXT];
	struct device_endpoint ep;

	if (endpoint_cell_get(cell, &ep) &&
	    codec->print(&ep, text, sizeof(text)) >= 0)
		text_put(t, "%s=%s\n", name, text);
}

void text_put_prefix(struct text *t, const struct ip_prefix *prefix)
{
	char addr[INET6_ADDRSTRLEN];

	inet_ntop(prefix->family == IP_V4 ? AF_INET : AF_INET6, prefix->addr,
		  addr, sizeof(addr));
	text_put(t, "allowed_ip=%s/%u\n", addr, prefix->cidr);
}
