/* SPDX-License-Identifier: MIT */
/* Lines of answers: they are written into a buffer that the caller has checked to be
 * large enough. */
#ifndef UAPI_TEXT_H
#define UAPI_TEXT_H

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

/* text_put_hex() - add a key in hex digits */
void text_put_hex(struct text *t, const uint8_t key[NOISE_PUBLIC_KEY_LEN]);

/* text_put_key() - add a line with a key in hex digits */
void text_put_key(struct text *t, const char *name,
		  const uint8_t key[NOISE_PUBLIC_KEY_LEN]);

/* text_put_endpoint() - add a line with the endpoint in a cell, if there is one */
void text_put_endpoint(struct text *t, const char *name,
		       const struct endpoint_cell *cell,
		       const struct uapi_codec *codec);

/* text_put_prefix() - add a line "allowed_ip=" */
void text_put_prefix(struct text *t, const struct ip_prefix *prefix);

#endif /* UAPI_TEXT_H */
