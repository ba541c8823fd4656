/* SPDX-License-Identifier: MIT */
/*
 * Key agreement on Curve25519 (RFC 7748).
 *
 * Any thread.
 */
#ifndef CRYPTO_X25519_H
#define CRYPTO_X25519_H

#include <stdbool.h>
#include <stdint.h>

enum {
	X25519_LEN = 32
};

/**
 * x25519_clamp() - make a private key of 32 random bytes (RFC 7748, section 5)
 * @private_key:	changed in place
 */
void x25519_clamp(uint8_t private_key[X25519_LEN]);

/**
 * x25519_public() - the public key of a private key
 * @public_key:		out
 * @private_key:	clamped or not
 */
void x25519_public(uint8_t public_key[X25519_LEN],
		   const uint8_t private_key[X25519_LEN]);

/**
 * x25519_shared() - the secret shared with the owner of a public key
 * @shared:		out; written only on success
 * @private_key:	our private key
 * @public_key:		the peer's public key
 *
 * Return: true; false if the secret is all zero. Then the public key is of
 * small order, and anybody knows the secret.
 */
bool x25519_shared(uint8_t shared[X25519_LEN],
		   const uint8_t private_key[X25519_LEN],
		   const uint8_t public_key[X25519_LEN]);

#endif /* CRYPTO_X25519_H */
