/* SPDX-License-Identifier: MIT */
/*
 * SipHash-2-4: a keyed hash, for tables whose entries strangers choose.
 *
 * Any thread.
 */
#ifndef CRYPTO_SIPHASH_H
#define CRYPTO_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

enum {
	SIPHASH_KEY_LEN = 16
};

/**
 * siphash() - hash of a few bytes
 * @in:		input
 * @len:	its length
 * @key:	random, and secret
 *
 * Return: the hash.
 */
uint64_t siphash(const void *in, size_t len,
		 const uint8_t key[SIPHASH_KEY_LEN]);

#endif /* CRYPTO_SIPHASH_H */
