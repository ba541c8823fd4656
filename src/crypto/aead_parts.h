/* SPDX-License-Identifier: MIT */
/*
 * Private to the room: the AEAD of RFC 8439 out of a library's ChaCha20 and its
 * Poly1305.
 *
 * Libraries that have both also have the AEAD, and put it together at a price:
 * one call for the block that gives Poly1305 its key, one for the text, where
 * the vector code computes 512 bytes at a time and what remains goes block by
 * block. At 1,420 bytes that is a third of the whole. Here one call makes the
 * key's block and the whole stream, rounded up to what the vector code likes,
 * and the surplus is thrown away. No cipher is computed here: what is left to
 * do is an exclusive or, and the padding that the RFC puts between text and
 * lengths.
 */
#ifndef CRYPTO_AEAD_PARTS_H
#define CRYPTO_AEAD_PARTS_H

#include "crypto/aead_backend.h"

enum {
	AEAD_BLOCK_LEN = 64,
	/* Bytes of stream that are made in the first call. */
	AEAD_STREAM_CAP = 4096,
};

/**
 * struct aead_parts - what one worker needs
 * @take_key:	have this key for the following calls of @crypt; called before
 *		the first one of a batch and when the key changes. At the end of
 *		the batch it is called with NULL: keep no key
 * @crypt:	ChaCha20 in place, from the given block of the stream on
 * @mac:	Poly1305 of two pieces; the first one is of whole blocks
 * @lib:	what these calls want
 * @unit:	bytes that @crypt computes in hardly more time than a part of
 *		them; AEAD_BLOCK_LEN: it has no such step
 * @key_of:	whose key was taken; NULL: none
 * @n_used:	bytes of @stream that are to be wiped
 * @stream:	block 0, whose first half is the key of Poly1305, and what
 *		follows
 */
struct aead_parts {
	void (*take_key)(void *lib, const uint8_t *key);
	void (*crypt)(void *lib, uint8_t *buf, size_t len,
		      const struct aead_nonce *nonce, uint32_t block);
	void (*mac)(void *lib, const uint8_t *key, const uint8_t *head,
		    size_t head_len, const uint8_t *tail, size_t tail_len,
		    uint8_t *tag);
	void *lib;
	size_t unit;
	const uint8_t *key_of;
	size_t n_used;
	_Alignas(64) uint8_t stream[AEAD_STREAM_CAP];
};

/* aead_parts_seal() - see struct aead_backend; @ctx is a struct aead_parts */
void aead_parts_seal(void *ctx, struct aead_msg *msgs, size_t n);

/* aead_parts_open() - see struct aead_backend; @ctx is a struct aead_parts */
size_t aead_parts_open(void *ctx, struct aead_msg *msgs, size_t n);

#endif /* CRYPTO_AEAD_PARTS_H */
