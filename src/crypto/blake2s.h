/* SPDX-License-Identifier: MIT */
/*
 * BLAKE2s (RFC 7693) and the functions that WireGuard builds on it (paper,
 * section 5.4). HASH is the plain hash of 32 bytes. MAC is the keyed hash of 16
 * bytes, for macs and cookies. HMAC is RFC 2104 with the plain hash. KDF_n is
 * RFC 5869 with that HMAC: it extracts a key from the input, and expands that
 * to n outputs of 32 bytes, with empty info.
 *
 * Any thread.
 */
#ifndef CRYPTO_BLAKE2S_H
#define CRYPTO_BLAKE2S_H

#include <stddef.h>
#include <stdint.h>

enum {
	BLAKE2S_HASH_LEN = 32,
	BLAKE2S_MAC_LEN = 16,
};

/**
 * blake2s_hash() - the hash of two pieces, one after the other
 * @out:	out; may be one of the inputs
 * @a:		the first piece
 * @a_len:	its length
 * @b:		the second piece
 * @b_len:	its length; 0 if there is none
 */
void blake2s_hash(uint8_t out[BLAKE2S_HASH_LEN], const void *a, size_t a_len,
		  const void *b, size_t b_len);

/**
 * blake2s_mac() - keyed hash of 16 bytes
 * @out:	out
 * @key:	key
 * @key_len:	1 to 32
 * @in:		input
 * @in_len:	its length
 */
void blake2s_mac(uint8_t out[BLAKE2S_MAC_LEN], const uint8_t *key,
		 size_t key_len, const void *in, size_t in_len);

/**
 * blake2s_hmac() - HMAC (RFC 2104) over the plain hash
 * @out:	out; may be the key or part of the input
 * @key:	key
 * @key_len:	its length, any
 * @in:		input
 * @in_len:	its length
 */
void blake2s_hmac(uint8_t out[BLAKE2S_HASH_LEN], const void *key,
		  size_t key_len, const void *in, size_t in_len);

/**
 * blake2s_kdf() - KDF_1, KDF_2 and KDF_3 of the paper
 * @out1:	first output
 * @out2:	second output, or NULL if one is wanted
 * @out3:	third output, or NULL if two are wanted
 * @key:	chaining key (the salt of RFC 5869); may be an output
 * @in:		input key material; may be an output
 * @in_len:	its length
 */
void blake2s_kdf(uint8_t out1[BLAKE2S_HASH_LEN], uint8_t out2[BLAKE2S_HASH_LEN],
		 uint8_t out3[BLAKE2S_HASH_LEN],
		 const uint8_t key[BLAKE2S_HASH_LEN], const void *in,
		 size_t in_len);

#endif /* CRYPTO_BLAKE2S_H */
