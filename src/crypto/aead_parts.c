/* SPDX-License-Identifier: MIT */
#include "crypto/aead_parts.h"

#include <string.h>

#include "crypto/secret.h"

enum {
	MAC_KEY_LEN = 32,
	MAC_BLOCK_LEN = 16,
};

/* As wide as every x86-64 and arm64 has it. */
typedef uint8_t vector __attribute__((vector_size(16)));

/**
 * xor_stream() - encrypt or decrypt with a stream that is there already
 * @text:	in and out
 * @stream:	as long
 * @len:	length
 */
static void xor_stream(uint8_t *text, const uint8_t *stream, size_t len)
{
	size_t i = 0;
	vector a, b;

	for (; len - i >= sizeof(a); i += sizeof(a)) {
		memcpy(&a, text + i, sizeof(a));
		memcpy(&b, stream + i, sizeof(b));
		a ^= b;
		memcpy(text + i, &a, sizeof(a));
	}
	for (; i < len; i++)
		text[i] ^= stream[i];
}

/**
 * round_len() - how much stream to make for so much
 * @len:	bytes that are needed, at most AEAD_STREAM_CAP
 * @unit:	see struct aead_parts
 *
 * One or two blocks behind whole units are cheaper alone.
 *
 * Return: @len or more, at most AEAD_STREAM_CAP.
 */
static size_t round_len(size_t len, size_t unit)
{
	size_t rest = len % unit;

	return rest > 2 * AEAD_BLOCK_LEN ? len - rest + unit : len;
}

/**
 * make_stream() - the stream of a message, or its beginning
 * @p:		parts
 * @m:		message
 * @nonce:	its nonce
 *
 * Return: how many bytes of the text it is for.
 */
static size_t make_stream(struct aead_parts *p, const struct aead_msg *m,
			  const struct aead_nonce *nonce)
{
	size_t part = m->len, len;

	if (part > AEAD_STREAM_CAP - AEAD_BLOCK_LEN)
		part = AEAD_STREAM_CAP - AEAD_BLOCK_LEN;
	len = round_len(part + AEAD_BLOCK_LEN, p->unit);
	if (p->key_of != m->key) {
		p->take_key(p->lib, m->key);
		p->key_of = m->key;
	}
	memset(p->stream, 0, len);
	if (p->n_used < len)
		p->n_used = len;
	p->crypt(p->lib, p->stream, len, nonce, 0);
	return part;
}

/**
 * crypt() - encrypt or decrypt a text whose stream was begun
 * @p:		parts
 * @m:		message
 * @nonce:	its nonce
 * @part:	what make_stream() has returned
 */
static void crypt(struct aead_parts *p, const struct aead_msg *m,
		  const struct aead_nonce *nonce, size_t part)
{
	xor_stream(m->text, p->stream + AEAD_BLOCK_LEN, part);
	if (m->len > part)
		p->crypt(p->lib, m->text + part, m->len - part, nonce,
			 AEAD_STREAM_CAP / AEAD_BLOCK_LEN);
}

/**
 * make_tag() - the tag of an encrypted text (RFC 8439, section 2.8)
 * @p:		parts, with the message's stream
 * @m:		message
 * @tag:	out, 16 bytes
 */
static void make_tag(struct aead_parts *p, const struct aead_msg *m,
		     uint8_t *tag)
{
	/* A rest of the text, padded; length of additional data; length. */
	uint8_t tail[2 * MAC_BLOCK_LEN] = { 0 };
	size_t rest = m->len % MAC_BLOCK_LEN;
	size_t tail_len = (rest ? 2 : 1) * MAC_BLOCK_LEN;
	struct le64 len = le64_make(m->len);

	memcpy(tail, m->text + m->len - rest, rest);
	memcpy(tail + tail_len - sizeof(len), &len, sizeof(len));
	p->mac(p->lib, p->stream, m->text, m->len - rest, tail, tail_len, tag);
}

/**
 * finish() - leave no key and no stream behind
 * @p:		parts, after a batch
 */
static void finish(struct aead_parts *p)
{
	if (p->key_of)
		p->take_key(p->lib, NULL);
	p->key_of = NULL;
	secret_zero(p->stream, p->n_used);
	p->n_used = 0;
}

void aead_parts_seal(void *ctx, struct aead_msg *msgs, size_t n)
{
	struct aead_parts *p = ctx;

	for (size_t i = 0; i < n; i++) {
		const struct aead_msg *m = &msgs[i];
		struct aead_nonce nonce = aead_nonce_make(m->counter);

		crypt(p, m, &nonce, make_stream(p, m, &nonce));
		make_tag(p, m, m->text + m->len);
	}
	finish(p);
}

size_t aead_parts_open(void *ctx, struct aead_msg *msgs, size_t n)
{
	struct aead_parts *p = ctx;
	uint8_t tag[AEAD_TAG_LEN];
	size_t n_good = 0;

	for (size_t i = 0; i < n; i++) {
		struct aead_msg *m = &msgs[i];
		struct aead_nonce nonce = aead_nonce_make(m->counter);
		size_t part = make_stream(p, m, &nonce);

		make_tag(p, m, tag);
		m->is_authentic =
			secret_equal(tag, m->text + m->len, sizeof(tag));
		if (m->is_authentic)
			crypt(p, m, &nonce, part);
		else
			memset(m->text, 0, m->len);
		n_good += m->is_authentic;
	}
	finish(p);
	return n_good;
}
