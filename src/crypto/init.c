/* SPDX-License-Identifier: MIT */
/*
 * The start of the libraries. Each function of a library is called once with a
 * key that is not secret, because the first call of a function may go through
 * the loader (see warm_up()).
 */
#include "crypto/init.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "crypto/aead.h"
#include "crypto/blake2s.h"
#include "crypto/secret.h"
#include "crypto/siphash.h"
#include "crypto/x25519.h"
#include "crypto/xaead.h"

/* Tells of the end; NULL: standard error does. */
static void (*report_end)(const char *why);

/* libsodium calls this function instead of abort(3), which would print nothing.
 */
static void end(void)
{
	static const char why[] = "libsodium cannot go on: no random numbers?";

	if (report_end)
		report_end(why);
	else
		fprintf(stderr, "wiregather: %s\n", why);
	_exit(EXIT_FAILURE);
}

void crypto_set_report(void (*report)(const char *why))
{
	report_end = report;
}

/*
 * warm_up() for the functions of the batch interface over libsodium. The other
 * backends need none: aead_check() calls them first, with keys that are not
 * secret.
 */
static bool warm_up_batch(void)
{
	uint8_t key[AEAD_KEY_LEN] = { 9 };
	uint8_t text[16 + AEAD_TAG_LEN] = { 0 };
	struct aead_msg msg = { .key = key, .text = text, .len = 16 };
	struct aead *aead = aead_new(AEAD_SODIUM);
	bool is_good;

	if (!aead)
		return false;
	aead_seal_batch(aead, &msg, 1);
	is_good = aead_open_batch(aead, &msg, 1) == 1;
	aead_free(aead);
	return is_good;
}

/*
 * If a library was linked for lazy binding, the loader looks up a function when
 * the library first calls it. Meanwhile the loader saves the vector registers
 * to the stack. At that time the registers must not hold a secret key.
 */
static bool warm_up(void)
{
	uint8_t key[32] = { 9 };
	uint8_t nonce[XAEAD_NONCE_LEN] = { 0 };
	uint8_t out[96], text[48];
	bool is_good;

	x25519_public(text, key);
	is_good = x25519_shared(out, key, text);
	blake2s_hash(out, key, sizeof(key), text, sizeof(text));
	blake2s_mac(out, key, sizeof(key), text, sizeof(text));
	blake2s_kdf(out, out + 32, out + 64, key, text, sizeof(text));
	aead_seal(out, text, sizeof(text), key, sizeof(key), 0, key);
	is_good &= aead_open(text, out, sizeof(text) + AEAD_TAG_LEN, key,
			     sizeof(key), 0, key);
	xaead_seal(out, text, sizeof(text), key, sizeof(key), nonce, key);
	is_good &= xaead_open(text, out, sizeof(text) + XAEAD_TAG_LEN, key,
			      sizeof(key), nonce, key);
	(void)siphash(text, sizeof(text), key);
	return is_good & warm_up_batch();
}

int crypto_init(void)
{
	sodium_set_misuse_handler(end);
	return sodium_init() < 0 || !warm_up() ? -EIO : 0;
}
