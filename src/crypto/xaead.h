/* SPDX-License-Identifier: MIT */
/*
 * XChaCha20-Poly1305 with a nonce of 24 bytes, for cookie replies.
 *
 * Any thread.
 */
#ifndef CRYPTO_XAEAD_H
#define CRYPTO_XAEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	XAEAD_KEY_LEN = 32,
	XAEAD_NONCE_LEN = 24,
	XAEAD_TAG_LEN = 16,
};

/**
 * xaead_seal() - encrypt and authenticate
 * @out:	out: @len bytes of text and the tag
 * @in:		text
 * @len:	its length
 * @aad:	additional data: authenticated, not encrypted
 * @aad_len:	its length
 * @nonce:	random; a key must never seal twice with the same one
 * @key:	key
 */
void xaead_seal(uint8_t *out, const uint8_t *in, size_t len, const uint8_t *aad,
		size_t aad_len, const uint8_t nonce[XAEAD_NONCE_LEN],
		const uint8_t key[XAEAD_KEY_LEN]);

/**
 * xaead_open() - verify and decrypt
 * @out:	out: @len - XAEAD_TAG_LEN bytes of text. On failure it gets none
 *		of the text
 * @in:		encrypted text and its tag
 * @len:	length of both together
 * @aad:	additional data
 * @aad_len:	its length
 * @nonce:	nonce
 * @key:	key
 *
 * Return: true if the text is authentic.
 */
bool xaead_open(uint8_t *out, const uint8_t *in, size_t len, const uint8_t *aad,
		size_t aad_len, const uint8_t nonce[XAEAD_NONCE_LEN],
		const uint8_t key[XAEAD_KEY_LEN]);

#endif /* CRYPTO_XAEAD_H */
