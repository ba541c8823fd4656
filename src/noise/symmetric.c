/* SPDX-License-Identifier: MIT */
/*
 * The steps that mix values into the state of a Noise handshake. Each function
 * is one step of the WireGuard paper, section 5.4.
 */
#include "noise/symmetric.h"

#include "crypto/aead.h"
#include "crypto/blake2s.h"
#include "crypto/secret.h"
#include "crypto/x25519.h"

/* WireGuard paper, section 5.4: the labels, without a terminating zero. */
static const char construction[] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
static const char identifier[] = "WireGuard v1 zx2c4 Jason@zx2c4.com";

/* MixHash of the Noise specification, section 5.2. */
static void mix_hash(struct symmetric *s, const void *data, size_t len)
{
	blake2s_hash(s->hash, s->hash, sizeof(s->hash), data, len);
}

void symmetric_init(struct symmetric *s,
		    const uint8_t responder_static[NOISE_PUBLIC_KEY_LEN])
{
	secret_zero(s->key, sizeof(s->key));
	blake2s_hash(s->chaining_key, construction, sizeof(construction) - 1,
		     NULL, 0);
	blake2s_hash(s->hash, s->chaining_key, sizeof(s->chaining_key),
		     identifier, sizeof(identifier) - 1);
	mix_hash(s, responder_static, NOISE_PUBLIC_KEY_LEN);
}

void symmetric_mix_ephemeral(struct symmetric *s,
			     const uint8_t ephemeral[NOISE_PUBLIC_KEY_LEN])
{
	mix_hash(s, ephemeral, NOISE_PUBLIC_KEY_LEN);
	blake2s_kdf(s->chaining_key, NULL, NULL, s->chaining_key, ephemeral,
		    NOISE_PUBLIC_KEY_LEN);
}

void symmetric_mix_secret(struct symmetric *s,
			  const uint8_t secret[NOISE_SYMMETRIC_KEY_LEN])
{
	blake2s_kdf(s->chaining_key, s->key, NULL, s->chaining_key, secret,
		    NOISE_SYMMETRIC_KEY_LEN);
}

bool symmetric_mix_dh(struct symmetric *s,
		      const uint8_t private_key[NOISE_PRIVATE_KEY_LEN],
		      const uint8_t public_key[NOISE_PUBLIC_KEY_LEN])
{
	uint8_t shared[X25519_LEN];

	if (!x25519_shared(shared, private_key, public_key))
		return false;
	symmetric_mix_secret(s, shared);
	secret_zero(shared, sizeof(shared));
	return true;
}

void symmetric_mix_preshared_key(struct symmetric *s,
				 const uint8_t key[NOISE_PRESHARED_KEY_LEN])
{
	uint8_t tau[NOISE_HASH_LEN];

	blake2s_kdf(s->chaining_key, tau, s->key, s->chaining_key, key,
		    NOISE_PRESHARED_KEY_LEN);
	mix_hash(s, tau, sizeof(tau));
	secret_zero(tau, sizeof(tau));
}

void symmetric_seal(struct symmetric *s, uint8_t *out, const uint8_t *in,
		    size_t len)
{
	/* Each key seals one field only, so its counter is always 0. */
	aead_seal(out, in, len, s->hash, sizeof(s->hash), 0, s->key);
	mix_hash(s, out, len + NOISE_AUTHTAG_LEN);
}

bool symmetric_open(struct symmetric *s, uint8_t *out, const uint8_t *in,
		    size_t len)
{
	if (!aead_open(out, in, len, s->hash, sizeof(s->hash), 0, s->key))
		return false;
	mix_hash(s, in, len);
	return true;
}
