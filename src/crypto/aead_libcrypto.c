/* SPDX-License-Identifier: MIT */
/*
 * The backend on libcrypto of OpenSSL 3, which has vector code for more
 * processors than the other libraries, arm64 among them. Its AEAD spends as
 * much time on parameters as on a small message, so its ChaCha20 and its
 * Poly1305 are used one by one (aead_parts.h).
 *
 * The library costs 3 MiB of resident memory when it is used, and half of that
 * when it is only linked. So it is loaded only in a process that chooses it,
 * before that process isolates itself. After that, no function of this file
 * opens a file. The library is told not to read its configuration file, and to
 * do nothing at exit.
 */
#include "crypto/aead_backend.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "base/assert.h"
#include "crypto/aead_parts.h"
#include "crypto/library.h"

/* The functions that are called. The members of `lib` have their names. */
#define FUNCTIONS(F)           \
	F(OPENSSL_init_crypto) \
	F(EVP_CIPHER_fetch)    \
	F(EVP_CIPHER_free)     \
	F(EVP_CIPHER_CTX_new)  \
	F(EVP_CIPHER_CTX_free) \
	F(EVP_EncryptInit_ex2) \
	F(EVP_EncryptUpdate)   \
	F(EVP_MAC_fetch)       \
	F(EVP_MAC_free)        \
	F(EVP_MAC_CTX_new)     \
	F(EVP_MAC_CTX_free)    \
	F(EVP_MAC_init)        \
	F(EVP_MAC_update)      \
	F(EVP_MAC_final)

#define DECLARE(name) __typeof__(name) *name;

/* The functions of the library, once it is loaded. */
static struct {
	FUNCTIONS(DECLARE)
} lib;

/**
 * struct libcrypto - the context of one thread
 * @parts:	the AEAD from ChaCha20 and Poly1305
 * @cipher:	ChaCha20 with the current key, or with zeroes
 * @mac:	Poly1305
 */
struct libcrypto {
	struct aead_parts parts;
	EVP_CIPHER_CTX *cipher;
	EVP_MAC_CTX *mac;
};

static bool start(void)
{
	return lib.OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG |
					       OPENSSL_INIT_NO_ATEXIT,
				       NULL) == 1;
}

#define SYMBOL(name) { #name, &lib.name },
static const struct library_symbol symbols[] = { FUNCTIONS(SYMBOL) };

static struct library library = {
	.name = "libcrypto.so.3",
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

/* NULL replaces the key by zeroes. */
static void take_key(void *ctx, const uint8_t *key)
{
	static const uint8_t none[AEAD_KEY_LEN];
	const struct libcrypto *lc = ctx;

	INVARIANT(lib.EVP_EncryptInit_ex2(lc->cipher, NULL, key ? key : none,
					  NULL, NULL) == 1);
}

static void crypt(void *ctx, uint8_t *buf, size_t len,
		  const struct aead_nonce *nonce, uint32_t block)
{
	const struct libcrypto *lc = ctx;
	struct {
		struct le32 block;
		struct aead_nonce nonce;
	} iv = { le32_make(block), *nonce };
	int done;

	static_assert(sizeof(iv) == 16, "EVP_chacha20(3)");
	/* If these did not hold, plain text could be sent. */
	INVARIANT(lib.EVP_EncryptInit_ex2(lc->cipher, NULL, NULL,
					  (const uint8_t *)&iv, NULL) == 1);
	INVARIANT(lib.EVP_EncryptUpdate(lc->cipher, buf, &done, buf,
					(int)len) == 1);
	INVARIANT((size_t)done == len);
}

static void mac(void *ctx, const uint8_t *key, const uint8_t *head,
		size_t head_len, const uint8_t *tail, size_t tail_len,
		uint8_t *tag)
{
	const struct libcrypto *lc = ctx;
	size_t len;

	INVARIANT(lib.EVP_MAC_init(lc->mac, key, AEAD_KEY_LEN, NULL) == 1);
	INVARIANT(lib.EVP_MAC_update(lc->mac, head, head_len) == 1);
	INVARIANT(lib.EVP_MAC_update(lc->mac, tail, tail_len) == 1);
	INVARIANT(lib.EVP_MAC_final(lc->mac, tag, &len, AEAD_TAG_LEN) == 1);
	INVARIANT(len == AEAD_TAG_LEN);
}

/* ChaCha20 without a key; NULL if the library lacks it. */
static EVP_CIPHER_CTX *open_cipher(void)
{
	EVP_CIPHER *cipher = lib.EVP_CIPHER_fetch(NULL, "ChaCha20", NULL);
	EVP_CIPHER_CTX *ctx = cipher ? lib.EVP_CIPHER_CTX_new() : NULL;

	/* The context holds a reference of its own to the cipher. */
	if (ctx &&
	    lib.EVP_EncryptInit_ex2(ctx, cipher, NULL, NULL, NULL) != 1) {
		lib.EVP_CIPHER_CTX_free(ctx);
		ctx = NULL;
	}
	lib.EVP_CIPHER_free(cipher);
	return ctx;
}

/* Poly1305; NULL if the library lacks it. */
static EVP_MAC_CTX *open_mac(void)
{
	EVP_MAC *mac = lib.EVP_MAC_fetch(NULL, "POLY1305", NULL);
	EVP_MAC_CTX *ctx = mac ? lib.EVP_MAC_CTX_new(mac) : NULL;

	lib.EVP_MAC_free(mac);
	return ctx;
}

static void ctx_close(void *ctx)
{
	struct libcrypto *lc = ctx;

	lib.EVP_CIPHER_CTX_free(lc->cipher);
	lib.EVP_MAC_CTX_free(lc->mac);
	free(lc);
}

static void *ctx_open(void)
{
	struct libcrypto *lc =
		aligned_alloc(_Alignof(struct libcrypto), sizeof(*lc));

	if (!lc)
		return NULL;
	*lc = (struct libcrypto){
		.parts = {
			.take_key = take_key,
			.crypt = crypt,
			.mac = mac,
			.lib = lc,
#ifdef __x86_64__
			/* The width of its code for AVX2. */
			.unit = 8 * AEAD_BLOCK_LEN,
#else
			.unit = AEAD_BLOCK_LEN,
#endif
		},
		.cipher = open_cipher(),
		.mac = open_mac(),
	};
	if (lc->cipher && lc->mac)
		return lc;
	ctx_close(lc);
	return NULL;
}

const struct aead_backend aead_libcrypto = {
	.name = "libcrypto",
	.load = load,
	.unload = unload,
	.open_ctx = ctx_open,
	.close_ctx = ctx_close,
	.seal = aead_parts_seal,
	.open = aead_parts_open,
};
