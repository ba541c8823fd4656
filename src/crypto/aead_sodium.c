/* SPDX-License-Identifier: MIT */
/*
 * The two backends on libsodium, and the interface with additional data.
 * aead_sodium uses libsodium's ChaCha20 and its Poly1305 one by one
 * (aead_parts.h). aead_sodium_whole uses libsodium's AEAD. libsodium has vector
 * code for x86-64 only. On other processors the two backends were not compared.
 */
#include "crypto/aead_backend.h"

#include <sodium.h>
#include <stdlib.h>

#include "crypto/aead_parts.h"
#include "crypto/secret.h"

/**
 * struct sodium_parts - the context of the parts
 * @parts:	the AEAD from ChaCha20 and Poly1305
 * @key:	the current key, borrowed for the batch; NULL between batches
 */
struct sodium_parts {
	struct aead_parts parts;
	const uint8_t *key;
};

static void seal_batch(void *ctx, struct aead_msg *msgs, size_t n)
{
	(void)ctx;
	for (size_t i = 0; i < n; i++) {
		const struct aead_msg *m = &msgs[i];
		struct aead_nonce nonce = aead_nonce_make(m->counter);

		crypto_aead_chacha20poly1305_ietf_encrypt_detached(
			m->text, m->text + m->len, NULL, m->text, m->len, NULL,
			0, NULL, (const uint8_t *)&nonce, m->key);
	}
	secret_wipe_stack();
}

static size_t open_batch(void *ctx, struct aead_msg *msgs, size_t n)
{
	size_t n_good = 0;

	(void)ctx;
	for (size_t i = 0; i < n; i++) {
		struct aead_msg *m = &msgs[i];
		struct aead_nonce nonce = aead_nonce_make(m->counter);

		/* On failure libsodium overwrites the text with zeroes. */
		m->is_authentic =
			crypto_aead_chacha20poly1305_ietf_decrypt_detached(
				m->text, NULL, m->text, m->len,
				m->text + m->len, NULL, 0,
				(const uint8_t *)&nonce, m->key) == 0;
		n_good += m->is_authentic;
	}
	secret_wipe_stack();
	return n_good;
}

const struct aead_backend aead_sodium_whole = {
	.name = "libsodium (AEAD)",
	.seal = seal_batch,
	.open = open_batch,
};

static void take_key(void *lib, const uint8_t *key)
{
	struct sodium_parts *ctx = lib;

	ctx->key = key;
}

static void crypt(void *lib, uint8_t *buf, size_t len,
		  const struct aead_nonce *nonce, uint32_t block)
{
	const struct sodium_parts *ctx = lib;

	crypto_stream_chacha20_ietf_xor_ic(
		buf, buf, len, (const uint8_t *)nonce, block, ctx->key);
}

static void mac(void *lib, const uint8_t *key, const uint8_t *head,
		size_t head_len, const uint8_t *tail, size_t tail_len,
		uint8_t *tag)
{
	crypto_onetimeauth_poly1305_state state;

	(void)lib;
	crypto_onetimeauth_poly1305_init(&state, key);
	crypto_onetimeauth_poly1305_update(&state, head, head_len);
	crypto_onetimeauth_poly1305_update(&state, tail, tail_len);
	crypto_onetimeauth_poly1305_final(&state, tag);
}

static void *ctx_open(void)
{
	struct sodium_parts *ctx =
		aligned_alloc(_Alignof(struct sodium_parts), sizeof(*ctx));

	if (!ctx)
		return NULL;
	*ctx = (struct sodium_parts){
		.parts = {
			.take_key = take_key,
			.crypt = crypt,
			.mac = mac,
			.lib = ctx,
			.unit = AEAD_BLOCK_LEN,
		},
	};
	/* The blocks that libsodium's vector code computes at once. */
	if (sodium_runtime_has_avx2())
		ctx->parts.unit = 8 * AEAD_BLOCK_LEN;
	else if (sodium_runtime_has_ssse3())
		ctx->parts.unit = 4 * AEAD_BLOCK_LEN;
	return ctx;
}

const struct aead_backend aead_sodium = {
	.name = "libsodium",
	.open_ctx = ctx_open,
	.close_ctx = free,
	.seal = aead_parts_seal,
	.open = aead_parts_open,
};

void aead_seal(uint8_t *out, const uint8_t *in, size_t len, const uint8_t *aad,
	       size_t aad_len, uint64_t counter,
	       const uint8_t key[AEAD_KEY_LEN])
{
	struct aead_nonce nonce = aead_nonce_make(counter);

	crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, in, len, aad,
						  aad_len, NULL,
						  (const uint8_t *)&nonce, key);
	secret_wipe_stack();
}

bool aead_open(uint8_t *out, const uint8_t *in, size_t len, const uint8_t *aad,
	       size_t aad_len, uint64_t counter,
	       const uint8_t key[AEAD_KEY_LEN])
{
	struct aead_nonce nonce = aead_nonce_make(counter);

	bool is_authentic = crypto_aead_chacha20poly1305_ietf_decrypt(
				    out, NULL, NULL, in, len, aad, aad_len,
				    (const uint8_t *)&nonce, key) == 0;

	secret_wipe_stack();
	return is_authentic;
}
