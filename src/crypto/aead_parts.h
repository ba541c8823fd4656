/* SPDX-License-Identifier: MIT */
/*
 * Private to the room. The AEAD of RFC 8439, made of a library's ChaCha20 and
 * its Poly1305.
 *
 * A library that has both parts also has the whole AEAD, which is slower. The
 * library's AEAD makes one call for the block of ChaCha20 that gives Poly1305
 * its key, and another call for the text. Its vector code computes 512 bytes at
 * a time, and its other code the rest, block by block. At 1,420 bytes the extra
 * call and the rest take a third of the time. Here a single call makes the
 * key's block and the whole stream, rounded up to a width of the vector code.
 * The bytes of stream beyond the text are not used. aead_parts.c computes no
 * cipher. It does the exclusive or, and the padding that the RFC puts between
 * the text and the lengths.
 *
 * A struct aead_parts belongs to one thread at a time.
 */
#ifndef CRYPTO_AEAD_PARTS_H
#define CRYPTO_AEAD_PARTS_H

#include "crypto/aead_backend.h"

enum {
	AEAD_BLOCK_LEN = 64,
	/* Most bytes of stream that are made in the first call. A choice: more
	 * than twice what a message of the usual MTU needs. It has to be a
	 * multiple of each @unit. */
	AEAD_STREAM_CAP = 4096,
};

/**
 * struct aead_parts - the context of one thread
 * @take_key:	use this key in the next calls of @crypt. Called before the
 *		first one of a batch and when the key changes. Called with NULL
 *		at the end of the batch: keep no key
 * @crypt:	ChaCha20 in place, from block @block of the stream on
 * @mac:	Poly1305 of @head and @tail; @head has whole blocks
 * @lib:	first argument of these calls
 * @unit:	bytes that vector code computes at once: @crypt takes nearly as
 *		long for fewer bytes. AEAD_BLOCK_LEN if there is no vector code
 * @key_of:	the key that @take_key was last called with; NULL if none
 * @n_used:	bytes of @stream to be wiped at the end of the batch
 * @stream:	block 0, whose first half is the key of Poly1305, and the blocks
 *		for the text
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

/* aead_parts_seal() - a backend's seal; @ctx is a struct aead_parts */
void aead_parts_seal(void *ctx, struct aead_msg *msgs, size_t n);

/* aead_parts_open() - a backend's open; @ctx is a struct aead_parts */
size_t aead_parts_open(void *ctx, struct aead_msg *msgs, size_t n);

#endif /* CRYPTO_AEAD_PARTS_H */
