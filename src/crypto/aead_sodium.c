/* SPDX-License-Identifier: MIT */
/* The portable backend, and the face with additional data. */
#include "crypto/aead_backend.h"

#include <sodium.h>

#include "crypto/secret.h"

/**
 * seal_batch() - see struct aead_backend
 * @ctx:	not used
 * @msgs:	batch
 * @n:		messages in it
 */
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

/**
 * open_batch() - see struct aead_backend
 * @ctx:	not used
 * @msgs:	batch
 * @n:		messages in it
 *
 * Return: how many are authentic.
 */
static size_t open_batch(void *ctx, struct aead_msg *msgs, size_t n)
{
	size_t n_good = 0;

	(void)ctx;
	for (size_t i = 0; i < n; i++) {
		struct aead_msg *m = &msgs[i];
		struct aead_nonce nonce = aead_nonce_make(m->counter);

		/* On failure libsodium leaves zeroes where the text was. */
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

const struct aead_backend aead_sodium = {
	.name = "libsodium",
	.seal = seal_batch,
	.open = open_batch,
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
