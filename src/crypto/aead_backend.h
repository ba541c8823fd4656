/* SPDX-License-Identifier: MIT */
/* Private to the room: what a backend of the batch face is. */
#ifndef CRYPTO_AEAD_BACKEND_H
#define CRYPTO_AEAD_BACKEND_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "crypto/aead.h"

/**
 * struct aead_backend - one library behind the batch face
 * @name:	a word for the log
 * @open_ctx:	make what one worker needs and return it; NULL: cannot run here.
 *		The member itself is NULL if nothing is needed
 * @close_ctx:	give it back
 * @seal:	aead_seal_batch() with that context
 * @open:	aead_open_batch() with that context
 */
struct aead_backend {
	const char *name;
	void *(*open_ctx)(void);
	void (*close_ctx)(void *ctx);
	void (*seal)(void *ctx, struct aead_msg *msgs, size_t n);
	size_t (*open)(void *ctx, struct aead_msg *msgs, size_t n);
};

extern const struct aead_backend aead_sodium;
extern const struct aead_backend aead_ipsec_mb;
extern const struct aead_backend aead_ipsec_mb_avx2;
extern const struct aead_backend aead_ipsec_mb_sse;

struct aead_nonce {
	uint8_t zero[4];
	struct le64 counter;
};

static_assert(sizeof(struct aead_nonce) == 12, "nonce of RFC 8439");

/**
 * aead_nonce_make() - the nonce of a counter (WireGuard paper, section 5.4.6)
 * @counter:	counter
 *
 * Return: the nonce.
 */
static inline struct aead_nonce aead_nonce_make(uint64_t counter)
{
	struct aead_nonce nonce = { { 0 }, le64_make(counter) };

	return nonce;
}

#endif /* CRYPTO_AEAD_BACKEND_H */
