/* SPDX-License-Identifier: MIT */
/* XChaCha20-Poly1305 of libsodium. */
#include "crypto/xaead.h"

#include <sodium.h>

void xaead_seal(uint8_t *out, const uint8_t *in, size_t len, const uint8_t *aad,
		size_t aad_len, const uint8_t nonce[XAEAD_NONCE_LEN],
		const uint8_t key[XAEAD_KEY_LEN])
{
	crypto_aead_xchacha20poly1305_ietf_encrypt(out, NULL, in, len, aad,
						   aad_len, NULL, nonce, key);
}

bool xaead_open(uint8_t *out, const uint8_t *in, size_t len, const uint8_t *aad,
		size_t aad_len, const uint8_t nonce[XAEAD_NONCE_LEN],
		const uint8_t key[XAEAD_KEY_LEN])
{
	return crypto_aead_xchacha20poly1305_ietf_decrypt(
		       out, NULL, NULL, in, len, aad, aad_len, nonce, key) == 0;
}
