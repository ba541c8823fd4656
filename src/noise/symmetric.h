/* SPDX-License-Identifier: MIT */
/*
 * Private to the room. The running state of a Noise handshake (WireGuard paper,
 * section 5.4: C and H; Noise specification, section 5.2: SymmetricState), in
 * the steps that the messages are made of. It is a draft on the stack until its
 * message has passed every check, then copied into the handshake; who makes one
 * wipes it.
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
 * symmetric_init() - the start of both sides
 * @s:			out
 * @responder_static:	the responder's public key, which the initiator knows
 */
void symmetric_init(struct symmetric *s,
		    const uint8_t responder_static[NOISE_PUBLIC_KEY_LEN]);

/**
 * symmetric_mix_ephemeral() - an ephemeral public key in the clear
 * @s:		state
 * @ephemeral:	the key
 */
void symmetric_mix_ephemeral(struct symmetric *s,
			     const uint8_t ephemeral[NOISE_PUBLIC_KEY_LEN]);

/**
 * symmetric_mix_secret() - a shared secret computed before
 * @s:		state; a new key for symmetric_seal() and symmetric_open()
 * @secret:	the secret
 */
void symmetric_mix_secret(struct symmetric *s,
			  const uint8_t secret[NOISE_SYMMETRIC_KEY_LEN]);

/**
 * symmetric_mix_dh() - the shared secret of two keys
 * @s:			state; a new key for symmetric_seal() and _open()
 * @private_key:	ours
 * @public_key:		theirs
 *
 * Return: true; false if the secret is all zero, and @s has not changed.
 */
bool symmetric_mix_dh(struct symmetric *s,
		      const uint8_t private_key[NOISE_PRIVATE_KEY_LEN],
		      const uint8_t public_key[NOISE_PUBLIC_KEY_LEN]);

/**
 * symmetric_mix_preshared_key() - the psk2 modifier
 * @s:		state; a new key for symmetric_seal() and symmetric_open()
 * @key:	preshared key; zero is "none", mixed in all the same
 */
void symmetric_mix_preshared_key(struct symmetric *s,
				 const uint8_t key[NOISE_PRESHARED_KEY_LEN]);

/**
 * symmetric_seal() - encrypt with the key at hand, and mix what comes out
 * @s:		state
 * @out:	out: @len bytes and the tag
 * @in:		text, or NULL
 * @len:	its length
 */
void symmetric_seal(struct symmetric *s, uint8_t *out, const uint8_t *in,
		    size_t len);

/**
 * symmetric_open() - decrypt with the key at hand, and mix what came in
 * @s:		state; unchanged on failure
 * @out:	out: @len - NOISE_AUTHTAG_LEN bytes, or NULL
 * @in:		encrypted text and tag
 * @len:	length of both together
 *
 * Return: true if it is authentic.
 */
bool symmetric_open(struct symmetric *s, uint8_t *out, const uint8_t *in,
		    size_t len);

#endif /* NOISE_SYMMETRIC_H */
