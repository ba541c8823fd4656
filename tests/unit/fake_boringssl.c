/* SPDX-License-Identifier: MIT */
/*
 * A library with the functions of BoringSSL that the backend calls, on
 * libsodium. One of the macros FAULT_ says what is wrong with it: nothing
 * (NONE), one bit of an opened text (TEXT), all calls fail (REFUSE), only
 * sealing of long texts fails (SEAL), the context is larger than that of
 * BoringSSL (SIZE), a function is not there (MISSING).
 */
#include <sodium.h>
#include <stdint.h>
#include <string.h>

#ifdef FAULT_SIZE
#define CONTEXT_LEN 608
#else
#define CONTEXT_LEN 600
#endif

const void *EVP_aead_chacha20_poly1305(void);
int EVP_AEAD_CTX_init(void *ctx, const void *aead, const uint8_t *key,
		      size_t key_len, size_t tag_len, void *engine);
int EVP_AEAD_CTX_seal_scatter(const void *ctx, uint8_t *out, uint8_t *tag,
			      size_t *tag_len, size_t tag_cap,
			      const uint8_t *nonce, size_t nonce_len,
			      const uint8_t *in, size_t in_len,
			      const uint8_t *extra, size_t extra_len,
			      const uint8_t *aad, size_t aad_len);
int EVP_AEAD_CTX_open_gather(const void *ctx, uint8_t *out,
			     const uint8_t *nonce, size_t nonce_len,
			     const uint8_t *in, size_t in_len,
			     const uint8_t *tag, size_t tag_len,
			     const uint8_t *aad, size_t aad_len);

static const char aead_of_ours[] = "ChaCha20-Poly1305";

const void *EVP_aead_chacha20_poly1305(void)
{
	return aead_of_ours;
}

int EVP_AEAD_CTX_init(void *ctx, const void *aead, const uint8_t *key,
		      size_t key_len, size_t tag_len, void *engine)
{
	memset(ctx, 0, CONTEXT_LEN);
	memcpy(ctx, key, key_len);
#ifdef FAULT_REFUSE
	return 0;
#endif
	return aead == aead_of_ours && key_len == 32 && tag_len == 16 &&
	       !engine;
}

/* NOLINTNEXTLINE(readability-function-size): BoringSSL's arguments */
int EVP_AEAD_CTX_seal_scatter(const void *ctx, uint8_t *out, uint8_t *tag,
			      size_t *tag_len, size_t tag_cap,
			      const uint8_t *nonce, size_t nonce_len,
			      const uint8_t *in, size_t in_len,
			      const uint8_t *extra, size_t extra_len,
			      const uint8_t *aad, size_t aad_len)
{
	if (nonce_len != 12 || tag_cap != 16 || extra || extra_len)
		return 0;
#ifdef FAULT_SEAL
	if (in_len > 1000)
		return 0;
#endif
	crypto_aead_chacha20poly1305_ietf_encrypt_detached(
		out, tag, NULL, in, in_len, aad, aad_len, NULL, nonce, ctx);
	*tag_len = 16;
	return 1;
}

#ifndef FAULT_MISSING
/* NOLINTNEXTLINE(readability-function-size): BoringSSL's arguments */
int EVP_AEAD_CTX_open_gather(const void *ctx, uint8_t *out,
			     const uint8_t *nonce, size_t nonce_len,
			     const uint8_t *in, size_t in_len,
			     const uint8_t *tag, size_t tag_len,
			     const uint8_t *aad, size_t aad_len)
{
	if (nonce_len != 12 || tag_len != 16 ||
	    crypto_aead_chacha20poly1305_ietf_decrypt_detached(
		    out, NULL, in, in_len, tag, aad, aad_len, nonce, ctx) != 0)
		return 0;
#ifdef FAULT_TEXT
	if (in_len > 1000)
		out[1000] ^= 1;
#endif
	return 1;
}
#endif
