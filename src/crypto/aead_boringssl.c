/* SPDX-License-Identifier: MIT */
/*
 * The backend on BoringSSL, for x86-64. Its assembler for AVX2 computes ChaCha20
 * and Poly1305 in one pass over the text, and is the fastest of all backends on
 * a processor that has AVX2 and no AVX-512 (docs/performance.md).
 *
 * Debian has the library in the package android-libboringssl, for programs of
 * the Android SDK. The library promises no binary interface, its symbols have
 * no versions, and they have the names of OpenSSL's. So it is never linked. It
 * is loaded by its absolute path, and its symbols stay apart from those of
 * other libraries (RTLD_LOCAL). After each load its results are compared with
 * known ones, before any secret is there. If they differ, the backend counts as
 * missing. The functions are declared here, because the library's headers
 * cannot be used beside those of OpenSSL.
 *
 * A context of the library holds the key. It lies in memory of ours, so nothing
 * is allocated for a batch, and it is wiped at the end of the batch.
 */
#include "crypto/aead_backend.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "crypto/library.h"
#include "crypto/secret.h"

enum {
	/* The bytes of a context (struct evp_aead_ctx_st) in Debian 12. */
	STATE_LEN = 600,
	/* Room for a context. Bytes behind STATE_LEN show whether a version of
	 * the library has a larger context. A choice: twice STATE_LEN. */
	STATE_CAP = 1216,
	/* What those bytes are set to. A choice: not 0, which a library may
	 * write. */
	CANARY = 0x5a,
};

/**
 * struct boringssl - the context of one thread
 * @key_of:	the key that @state was made with; NULL if none
 * @state:	the library's context; zero between batches
 */
struct boringssl {
	const uint8_t *key_of;
	_Alignas(64) uint8_t state[STATE_CAP];
};

/* The functions that are called, by their names in the library. */
static struct {
	const void *(*EVP_aead_chacha20_poly1305)(void);
	int (*EVP_AEAD_CTX_init)(void *ctx, const void *aead,
				 const uint8_t *key, size_t key_len,
				 size_t tag_len, void *engine);
	int (*EVP_AEAD_CTX_seal_scatter)(const void *ctx, uint8_t *out,
					 uint8_t *tag, size_t *tag_len,
					 size_t tag_cap, const uint8_t *nonce,
					 size_t nonce_len, const uint8_t *in,
					 size_t in_len, const uint8_t *extra,
					 size_t extra_len, const uint8_t *aad,
					 size_t aad_len);
	int (*EVP_AEAD_CTX_open_gather)(const void *ctx, uint8_t *out,
					const uint8_t *nonce, size_t nonce_len,
					const uint8_t *in, size_t in_len,
					const uint8_t *tag, size_t tag_len,
					const uint8_t *aad, size_t aad_len);
} lib;

static bool take_key(struct boringssl *b, const uint8_t *key)
{
	if (b->key_of == key)
		return true;
	b->key_of = key;
	return lib.EVP_AEAD_CTX_init(b->state, lib.EVP_aead_chacha20_poly1305(),
				     key, AEAD_KEY_LEN, AEAD_TAG_LEN,
				     NULL) == 1;
}

/* The end of a batch. The library wipes neither its context nor the copies of
 * the key that it leaves on the stack. */
static void finish(struct boringssl *b)
{
	secret_zero(b->state, STATE_LEN);
	b->key_of = NULL;
	secret_wipe_stack();
}

/* Returns false if the library refuses; then nothing is encrypted. */
static bool seal_one(struct boringssl *b, const struct aead_msg *m)
{
	struct aead_nonce nonce = aead_nonce_make(m->counter);
	size_t tag_len = 0;

	return take_key(b, m->key) &&
	       lib.EVP_AEAD_CTX_seal_scatter(
		       b->state, m->text, m->text + m->len, &tag_len,
		       AEAD_TAG_LEN, (const uint8_t *)&nonce, sizeof(nonce),
		       m->text, m->len, NULL, 0, NULL, 0) == 1 &&
	       tag_len == AEAD_TAG_LEN;
}

static void seal_batch(void *ctx, struct aead_msg *msgs, size_t n)
{
	/* If this did not hold, plain text could be sent. */
	for (size_t i = 0; i < n; i++)
		INVARIANT(seal_one(ctx, &msgs[i]));
	finish(ctx);
}

/* seal_batch() for the check at the start: a library that refuses fails the
 * check, and does not end the program. */
static void seal_on_trial(void *ctx, struct aead_msg *msgs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)seal_one(ctx, &msgs[i]);
	finish(ctx);
}

static size_t open_batch(void *ctx, struct aead_msg *msgs, size_t n)
{
	struct boringssl *b = ctx;
	size_t n_good = 0;

	for (size_t i = 0; i < n; i++) {
		struct aead_msg *m = &msgs[i];
		struct aead_nonce nonce = aead_nonce_make(m->counter);

		m->is_authentic =
			take_key(b, m->key) &&
			lib.EVP_AEAD_CTX_open_gather(
				b->state, m->text, (const uint8_t *)&nonce,
				sizeof(nonce), m->text, m->len,
				m->text + m->len, AEAD_TAG_LEN, NULL, 0) == 1;
		if (!m->is_authentic)
			memset(m->text, 0, m->len);
		n_good += m->is_authentic;
	}
	finish(b);
	return n_good;
}

static void *ctx_open(void)
{
	struct boringssl *b =
		aligned_alloc(_Alignof(struct boringssl), sizeof(*b));

	if (b)
		memset(b, 0, sizeof(*b));
	return b;
}

/* Does the library's context take STATE_LEN bytes at most? */
static bool has_known_size(struct boringssl *b)
{
	static const uint8_t key[AEAD_KEY_LEN] = { 1 };
	bool is_good;

	memset(b->state, CANARY, sizeof(b->state));
	is_good = take_key(b, key);
	for (size_t i = STATE_LEN; i < sizeof(b->state); i++)
		is_good &= b->state[i] == CANARY;
	memset(b, 0, sizeof(*b));
	return is_good;
}

/* The library was loaded. Is it one that this file can use? */
static bool start(void)
{
	static const struct aead_backend on_trial = {
		.seal = seal_on_trial,
		.open = open_batch,
	};
	struct boringssl *b = ctx_open();
	bool is_good = b && has_known_size(b) && aead_check(&on_trial, b);

	free(b);
	return is_good;
}

static const struct library_symbol symbols[] = {
	{ "EVP_aead_chacha20_poly1305", &lib.EVP_aead_chacha20_poly1305 },
	{ "EVP_AEAD_CTX_init", &lib.EVP_AEAD_CTX_init },
	{ "EVP_AEAD_CTX_seal_scatter", &lib.EVP_AEAD_CTX_seal_scatter },
	{ "EVP_AEAD_CTX_open_gather", &lib.EVP_AEAD_CTX_open_gather },
};

static struct library library = {
	.name = BORINGSSL_PATH,
	.symbols = symbols,
	.n_symbols = ARRAY_LEN(symbols),
	.start = start,
	.lock = PTHREAD_MUTEX_INITIALIZER,
};

static bool load(void)
{
	return library_get(&library);
}

static void unload(void)
{
	library_put(&library);
}

const struct aead_backend aead_boringssl = {
	.name = "BoringSSL",
	.load = load,
	.unload = unload,
	.open_ctx = ctx_open,
	.close_ctx = free,
	.seal = seal_batch,
	.open = open_batch,
};
