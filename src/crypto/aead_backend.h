/* SPDX-License-Identifier: MIT */
/*
 * Private to the room. A backend of the batch interface, and the check whether
 * its results are right.
 *
 * Any thread. A context belongs to one thread at a time.
 */
#ifndef CRYPTO_AEAD_BACKEND_H
#define CRYPTO_AEAD_BACKEND_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "crypto/aead.h"

/**
 * struct aead_backend - one library behind the batch interface
 * @name:	name for the log
 * @load:	load the library, or count one more user of it; returns false if
 *		the library is missing. No other member may open files. The
 *		member is NULL if the library is linked
 * @unload:	undo one @load; the last user unloads the library. Contexts of
 *		that user must be closed before. NULL if @load is NULL
 * @open_ctx:	make a context for one thread; returns NULL if the backend
 *		cannot run here. The member is NULL if no context is needed
 * @close_ctx:	free that context
 * @seal:	aead_seal_batch() with that context
 * @open:	aead_open_batch() with that context
 */
struct aead_backend {
	const char *name;
	bool (*load)(void);
	void (*unload)(void);
	void *(*open_ctx)(void);
	void (*close_ctx)(void *ctx);
	void (*seal)(void *ctx, struct aead_msg *msgs, size_t n);
	size_t (*open)(void *ctx, struct aead_msg *msgs, size_t n);
};

extern const struct aead_backend aead_sodium;
extern const struct aead_backend aead_sodium_whole;
extern const struct aead_backend aead_boringssl;
extern const struct aead_backend aead_libcrypto;
extern const struct aead_backend aead_ipsec_mb;
extern const struct aead_backend aead_ipsec_mb_avx_ifma;
extern const struct aead_backend aead_ipsec_mb_avx2;
extern const struct aead_backend aead_ipsec_mb_sse;

/**
 * struct aead_instance - a backend with a context for one thread
 * @backend:	backend; it is loaded
 * @ctx:	its context; NULL if it needs none
 */
struct aead_instance {
	const struct aead_backend *backend;
	void *ctx;
};

/**
 * aead_instance_open() - make a context, and check the results of the backend
 * @instance:	out: set in each case
 * @backend:	backend; it is loaded
 *
 * Return: true; false if the backend cannot run here or computes wrongly. Then
 * the instance has no context.
 */
bool aead_instance_open(struct aead_instance *instance,
			const struct aead_backend *backend);

/* aead_instance_close() - free the context. */
void aead_instance_close(struct aead_instance *instance);

/**
 * aead_check() - does a backend compute what libsodium's AEAD computes?
 * @backend:	backend
 * @ctx:	context from its open_ctx; NULL if it has none
 *
 * Libraries have an implementation for each generation of processors. An error
 * in one of them would show only in messages that the peer cannot read.
 *
 * Return: true if the results are the same.
 */
bool aead_check(const struct aead_backend *backend, void *ctx);

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
