/* SPDX-License-Identifier: MIT */
/*
 * The functions of the paper, made with libb2's BLAKE2s. An intermediate value
 * may be a key, so each of them is wiped.
 */
#include "crypto/blake2s.h"

#include <blake2.h>
#include <string.h>

#include "base/assert.h"
#include "crypto/secret.h"

enum {
	HMAC_BLOCK_LEN = BLAKE2S_BLOCKBYTES
};

void blake2s_hash(uint8_t out[BLAKE2S_HASH_LEN], const void *a, size_t a_len,
		  const void *b, size_t b_len)
{
	blake2s_state state;
	int rc = blake2s_init(&state, BLAKE2S_HASH_LEN);

	INVARIANT(rc == 0);
	if (a_len)
		blake2s_update(&state, a, a_len);
	if (b_len)
		blake2s_update(&state, b, b_len);
	blake2s_final(&state, out, BLAKE2S_HASH_LEN);
	secret_zero(&state, sizeof(state));
}

void blake2s_mac(uint8_t out[BLAKE2S_MAC_LEN], const uint8_t *key,
		 size_t key_len, const void *in, size_t in_len)
{
	blake2s_state state;
	int rc = blake2s_init_key(&state, BLAKE2S_MAC_LEN, key, key_len);

	INVARIANT(rc == 0);
	if (in_len)
		blake2s_update(&state, in, in_len);
	blake2s_final(&state, out, BLAKE2S_MAC_LEN);
	secret_zero(&state, sizeof(state));
}

void blake2s_hmac(uint8_t out[BLAKE2S_HASH_LEN], const void *key,
		  size_t key_len, const void *in, size_t in_len)
{
	uint8_t pad[HMAC_BLOCK_LEN] = { 0 };
	uint8_t inner[BLAKE2S_HASH_LEN];

	/* RFC 2104, section 2: a key longer than a block is hashed first. */
	if (key_len > sizeof(pad))
		blake2s_hash(pad, key, key_len, NULL, 0);
	else if (key_len)
		memcpy(pad, key, key_len);

	/* RFC 2104, section 2: the inner pad is the key and bytes 0x36, the
	 * outer pad is the key and bytes 0x5c, by exclusive or. */
	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36;
	blake2s_hash(inner, pad, sizeof(pad), in, in_len);
	for (size_t i = 0; i < sizeof(pad); i++)
		pad[i] ^= 0x36 ^ 0x5c;
	blake2s_hash(out, pad, sizeof(pad), inner, sizeof(inner));

	secret_zero(pad, sizeof(pad));
	secret_zero(inner, sizeof(inner));
}

void blake2s_kdf(uint8_t out1[BLAKE2S_HASH_LEN], uint8_t out2[BLAKE2S_HASH_LEN],
		 uint8_t out3[BLAKE2S_HASH_LEN],
		 const uint8_t key[BLAKE2S_HASH_LEN], const void *in,
		 size_t in_len)
{
	uint8_t extracted[BLAKE2S_HASH_LEN];
	uint8_t *outs[] = { out1, out2, out3 };
	/* RFC 5869, section 2.3: T(n) = HMAC(PRK, T(n - 1) | info | n). */
	uint8_t block[BLAKE2S_HASH_LEN + 1];
	size_t block_len = 1;

	blake2s_hmac(extracted, key, BLAKE2S_HASH_LEN, in, in_len);
	for (size_t i = 0; i < 3 && outs[i]; i++) {
		block[block_len - 1] = (uint8_t)(i + 1);
		blake2s_hmac(block, extracted, sizeof(extracted), block,
			     block_len);
		memcpy(outs[i], block, BLAKE2S_HASH_LEN);
		block_len = sizeof(block);
	}
	secret_zero(extracted, sizeof(extracted));
	secret_zero(block, sizeof(block));
	secret_wipe_stack();
}
