/* SPDX-License-Identifier: MIT */
/*
 * ChaCha20-Poly1305 from the two parts of a library; aead_parts.h says why.
 *
 * For each message: make block 0 and the stream for the text in one call,
 * exclusive-or the text, and make the tag of the encrypted text. A text longer
 * than the buffer for the stream is encrypted in place from there on. The
 * stream and the key are wiped at the end of the batch.
 */
#include "crypto/aead_parts.h"

#include <string.h>

#include "crypto/secret.h"

enum {
	MAC_KEY_LEN = 32,
	MAC_BLOCK_LEN = 16,
};

/* Every x86-64 and arm64 has vectors of this width. */
typedef uint8_t vector __attribute__((vector_size(16)));

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

/*
 * How much stream to make if @len bytes are needed. One or two blocks beyond
 * whole units are computed alone, which is cheaper than another unit. Two is a
 * choice: no measurement of this bound is recorded.
 */
static size_t round_len(size_t len, size_t unit)
{
	size_t rest = len % unit;

	return rest > 2 * AEAD_BLOCK_LEN ? len - rest + unit : len;
}

/* Make the stream of a message. Returns the number of bytes of the text that
 * the stream is long enough for. */
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

/* Encrypt or decrypt the text. @part is what make_stream() has returned. */
static void crypt(struct aead_parts *p, const struct aead_msg *m,
		  const struct aead_nonce *nonce, size_t part)
{
	xor_stream(m->text, p->stream + AEAD_BLOCK_LEN, part);
	if (m->len > part)
		p->crypt(p->lib, m->text + part, m->len - part, nonce,
			 AEAD_STREAM_CAP / AEAD_BLOCK_LEN);
}

/* RFC 8439, section 2.8. The stream of the message has been made. */
static void make_tag(struct aead_parts *p, const struct aead_msg *m,
		     uint8_t *tag)
{
	/* The end of the text, padded; the length of the additional data, which
	 * is 0; the length of the text. */
	uint8_t tail[2 * MAC_BLOCK_LEN] = { 0 };
	size_t rest = m->len % MAC_BLOCK_LEN;
	size_t tail_len = (rest ? 2 : 1) * MAC_BLOCK_LEN;
	struct le64 len = le64_make(m->len);

	memcpy(tail, m->text + m->len - rest, rest);
	memcpy(tail + tail_len - sizeof(len), &len, sizeof(len));
	p->mac(p->lib, p->stream, m->text, m->len - rest, tail, tail_len, tag);
}

/* The end of a batch: leave no key and no stream behind. */
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
