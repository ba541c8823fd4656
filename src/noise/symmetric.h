/* SPDX-License-Identifier: MIT */
/*
 * Private to the room. The running state of a Noise handshake (WireGuard paper,
 * section 5.4: C and H; Noise specification, section 5.2: SymmetricState), and
 * the steps that the messages are made of. A function that works on a message
 * has the state on its stack, and wipes it at the end. When the message has
 * passed every check, the state is copied into the handshake.
 *
 * Any thread. A state belongs to one thread at a time.
 */
#ifndef NOISE_SYMMETRIC_H
#define NOISE_SYMMETRIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "noise/constants.h"

struct symmetric {
	uint8_t chaining_key[NOISE_HASH_LEN];
	uint8_t hash[NOISE_HASH_LEN];
	uint8_t key[NOISE_SYMMETRIC_KEY_LEN];
};

/**
 * symmetric_init() - the state at the start, the same on both sides
 * @s:			out
 * @responder_static:	the responder's public key, which the initiator knows
 */
void symmetric_init(struct symmetric *s,
		    const uint8_t responder_static[NOISE_PUBLIC_KEY_LEN]);

/**
 * symmetric_mix_ephemeral() - mix an ephemeral public key
 * @s:		state
 * @ephemeral:	the key
 */
void symmetric_mix_ephemeral(struct symmetric *s,
			     const uint8_t ephemeral[NOISE_PUBLIC_KEY_LEN]);

/**
 * symmetric_mix_secret() - mix a shared secret that was computed before
 * @s:		state; a new key for symmetric_seal() and symmetric_open()
 * @secret:	the secret
 */
void symmetric_mix_secret(struct symmetric *s,
			  const uint8_t secret[NOISE_SYMMETRIC_KEY_LEN]);

/**
 * symmetric_mix_dh() - compute the shared secret of two keys, and mix it
 * @s:			state; a new key for symmetric_seal() and _open()
 * @private_key:	our private key
 * @public_key:		the peer's public key
 *
 * Return: true; false if the secret is all zero, and @s has not changed.
 */
bool symmetric_mix_dh(struct symmetric *s,
		      const uint8_t private_key[NOISE_PRIVATE_KEY_LEN],
		      const uint8_t public_key[NOISE_PUBLIC_KEY_LEN]);

/**
 * symmetric_mix_preshared_key() - mix the preshared key (psk2)
 * @s:		state; a new key for symmetric_seal() and symmetric_open()
 * @key:	preshared key; 32 zero bytes if there is none
 */
void symmetric_mix_preshared_key(struct symmetric *s,
				 const uint8_t key[NOISE_PRESHARED_KEY_LEN]);

/**
 * symmetric_seal() - encrypt with the current key, and mix the result
 * @s:		state
 * @out:	out: @len bytes and the tag
 * @in:		text, or NULL
 * @len:	its length
 */
void symmetric_seal(struct symmetric *s, uint8_t *out, const uint8_t *in,
		    size_t len);

/**
 * symmetric_open() - decrypt with the current key, and mix the input
 * @s:		state; unchanged on failure
 * @out:	out: @len - NOISE_AUTHTAG_LEN bytes, or NULL
 * @in:		encrypted text and tag
 * @len:	length of both together
 *
 * Return: true if the input is authentic.
 */
bool symmetric_open(struct symmetric *s, uint8_t *out, const uint8_t *in,
		    size_t len);

#endif /* NOISE_SYMMETRIC_H */
