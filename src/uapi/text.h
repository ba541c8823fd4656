/* SPDX-License-Identifier: MIT */
/*
 * Lines of answers: they are written into a buffer that the caller has checked to be
 * large enough.
 *
 * An answer may have 10,000 peers, and the thread that writes it takes its time from
 * those that move packets. So what each peer has is written without printf(3):
 * text_put() costs about 600 instructions for each line, the other functions about 50.
 */
#ifndef UAPI_TEXT_H
#define UAPI_TEXT_H

#include <string.h>

#include "base/assert.h"
#include "base/digits.h"
#include "device/peer.h"
#include "uapi/grammar.h"

/**
 * struct text - a text under construction
 * @buf:	the buffer
 * @cap:	its bytes
 * @len:	bytes that are written
 */
struct text {
	char *buf;
	size_t cap;
	size_t len;
};

/* text_put() - add formatted text, for which there is room */
void text_put(struct text *t, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* text_put_bytes() - add characters */
static inline void text_put_bytes(struct text *t, const char *bytes, size_t len)
{
	INVARIANT(len <= t->cap - t->len);
	memcpy(t->buf + t->len, bytes, len);
	t->len += len;
}

/* text_put_word() - add a string. For a literal the compiler knows the length. */
static inline void text_put_word(struct text *t, const char *word)
{
	text_put_bytes(t, word, strlen(word));
}

/* text_put_number() - add a number */
static inline void text_put_number(struct text *t, uint64_t value)
{
	INVARIANT(t->cap - t->len >= DIGITS_MAX);
	t->len += digits_put(t->buf + t->len, value);
}

/* text_put_number_line() - add a line with a number; @name ends with "=" */
static inline void text_put_number_line(struct text *t, const char *name,
					uint64_t value)
{
	text_put_word(t, name);
	text_put_number(t, value);
	text_put_word(t, "\n");
}

/* text_put_hex() - add a key in hex digits */
void text_put_hex(struct text *t, const uint8_t key[NOISE_PUBLIC_KEY_LEN]);

/* text_put_key() - add a line with a key in hex digits; @name ends with "=" */
void text_put_key(struct text *t, const char *name,
		  const uint8_t key[NOISE_PUBLIC_KEY_LEN]);

/* text_put_endpoint() - add a line with the endpoint in a cell, if there is one; @name
 * ends with "=" */
void text_put_endpoint(struct text *t, const char *name,
		       const struct endpoint_cell *cell,
		       const struct uapi_codec *codec);

/* text_put_prefix() - add a line "allowed_ip=" */
void text_put_prefix(struct text *t, const struct ip_prefix *prefix);

#endif /* UAPI_TEXT_H */
