/* SPDX-License-Identifier: MIT */
/*
 * Curve25519 of libsodium. The stack is wiped after each call with a private
 * key.
 */
#include "crypto/x25519.h"

#include <sodium.h>
#include <string.h>

#include "crypto/secret.h"

void x25519_clamp(uint8_t private_key[X25519_LEN])
{
	private_key[0] &= 0xf8;
	private_key[31] = (uint8_t)((private_key[31] & 0x7f) | 0x40);
}

void x25519_public(uint8_t public_key[X25519_LEN],
		   const uint8_t private_key[X25519_LEN])
{
	crypto_scalarmult_curve25519_base(public_key, private_key);
	secret_wipe_stack();
}

bool x25519_shared(uint8_t shared[X25519_LEN],
		   const uint8_t private_key[X25519_LEN],
		   const uint8_t public_key[X25519_LEN])
{
	uint8_t out[X25519_LEN];
	bool is_good;

	/* libsodium reports a secret of zeroes as an error, too. It is tested
	 * here as well, in case another version does not. */
	is_good = crypto_scalarmult_curve25519(out, private_key, public_key) ==
			  0 &&
		  !secret_is_zero(out, sizeof(out));
	if (is_good)
		memcpy(shared, out, sizeof(out));
	secret_zero(out, sizeof(out));
	secret_wipe_stack();
	return is_good;
}
