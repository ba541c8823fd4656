/* SPDX-License-Identifier: MIT */
/*
 * Shows that secrets decide no branch and no address. This program tells
 * valgrind's memcheck that each secret is "undefined", as if it had never been
 * written. memcheck then reports every branch and every index that depends on a
 * secret. secrets.py compares the number of reports with the number that each
 * step may have. Only verdicts may branch: a tag is right or wrong, a shared
 * secret is zero or not.
 *
 * usage: guard-secrets [plant] "plant" adds a branch that must be found
 *
 * Prints a line for each step: REPORTS NAME.
 */
#include <stdio.h>
#include <string.h>
#include <valgrind/memcheck.h>

#include "base/bytes.h"
#include "crypto/aead.h"
#include "crypto/blake2s.h"
#include "crypto/init.h"
#include "crypto/secret.h"
#include "crypto/x25519.h"
#include "device/config.h"
#include "uapi/grammar.h"

enum {
	KEY_LEN = 32,
	/* A packet of the usual MTU of a tunnel. */
	TEXT_LEN = 1420,
	TAG_LEN = 16,
};

static unsigned int n_seen;

static void hide(void *p, size_t len)
{
	(void)VALGRIND_MAKE_MEM_UNDEFINED(p, len);
}

/*
 * Tell memcheck that bytes are public from now on: they were sent, or are a
 * verdict.
 */
static void show(void *p, size_t len)
{
	(void)VALGRIND_MAKE_MEM_DEFINED(p, len);
}

static void tell(const char *name)
{
	unsigned int n = VALGRIND_COUNT_ERRORS;

	printf("%u %s\n", n - n_seen, name);
	fflush(stdout);
	n_seen = n;
}

static void agree(uint8_t shared[KEY_LEN])
{
	uint8_t private[KEY_LEN] = { 1, 2, 3 }, peer[KEY_LEN] = { 9 };
	uint8_t public[KEY_LEN];
	bool is_good;

	hide(private, sizeof(private));
	x25519_clamp(private);
	tell("x25519_clamp");
	x25519_public(public, private);
	show(public, sizeof(public));
	tell("x25519_public");
	is_good = x25519_shared(shared, private, peer);
	show(&is_good, sizeof(is_good));
	tell("x25519_shared");
}

static void derive(const uint8_t shared[KEY_LEN])
{
	uint8_t chaining[KEY_LEN] = { 4 }, out[3][KEY_LEN];

	hide(chaining, sizeof(chaining));
	blake2s_kdf(out[0], out[1], out[2], chaining, shared, KEY_LEN);
	tell("blake2s_kdf");
}

static void encrypt(enum aead_choice choice)
{
	static uint8_t buf[TEXT_LEN + TAG_LEN];
	struct aead *aead = aead_new(choice);
	uint8_t key[KEY_LEN] = { 5 };
	struct aead_msg msg = {
		.key = key, .text = buf, .len = TEXT_LEN, .counter = 7
	};
	char name[64];
	size_t n;

	if (!aead)
		return;
	/*
	 * The first calls also do work that is done once, such as choosing code
	 * for this processor.
	 */
	aead_seal_batch(aead, &msg, 1);
	aead_open_batch(aead, &msg, 1);
	snprintf(name, sizeof(name), "warm up %s", aead_get_word(choice));
	tell(name);
	hide(key, sizeof(key));
	hide(buf, TEXT_LEN);
	aead_seal_batch(aead, &msg, 1);
	snprintf(name, sizeof(name), "seal %s", aead_get_word(choice));
	tell(name);
	show(buf, sizeof(buf));
	n = aead_open_batch(aead, &msg, 1);
	show(&n, sizeof(n));
	snprintf(name, sizeof(name), "open %s", aead_get_word(choice));
	tell(name);
	show(buf, sizeof(buf));
	show(key, sizeof(key));
	aead_free(aead);
}

static void compare(size_t len, const char *name)
{
	uint8_t a[KEY_LEN] = { 1 }, b[KEY_LEN] = { 2 };
	bool is_equal, is_zero;

	hide(a, sizeof(a));
	is_equal = secret_equal(a, b, len);
	is_zero = secret_is_zero(a, len);
	show(&is_equal, sizeof(is_equal));
	show(&is_zero, sizeof(is_zero));
	tell(name);
}

/* Parse a request that sets a private key; the digits of the key are secret. */
static void read_key(void)
{
	static const char before[] = "set=1\nprivate_key=";
	char text[] = "set=1\nprivate_key=000102030405060708090a0b0c0d0e0f"
		      "101112131415161718191a1b1c1d1e1f\n\n";
	const struct uapi_codec codec = { 0 };
	struct uapi_parser *parser = uapi_parser_new(&codec);
	struct uapi_request request;
	size_t used;
	int rc;

	hide(text + sizeof(before) - 1, 2 * (size_t)KEY_LEN);
	rc = uapi_parser_push(parser, text, sizeof(text) - 1, &used, &request);
	show(&rc, sizeof(rc));
	tell("uapi private_key");
	if (rc == UAPI_E_REQUEST)
		config_free(request.config);
	uapi_parser_free(parser);
}

/* Add a branch that depends on a secret. memcheck must report it. */
static void plant(void)
{
	uint8_t secret = 1;

	hide(&secret, sizeof(secret));
	if (*(volatile uint8_t *)&secret == 1)
		puts("# planted");
	tell("planted");
}

int main(int argc, char **argv)
{
	uint8_t shared[KEY_LEN];

	if (crypto_init())
		return 1;
	if (!RUNNING_ON_VALGRIND)
		return 2;
	tell("start");
	agree(shared);
	derive(shared);
	for (enum aead_choice c = 1; c < AEAD_CHOICES; c++)
		/* This choice may use AVX-512, which memcheck does not know. */
		if (c != AEAD_IPSEC_MB)
			encrypt(c);
	compare(TAG_LEN, "secret_equal of a tag");
	compare(KEY_LEN, "secret_equal of a key");
	read_key();
	if (argc > 1 && !strcmp(argv[1], "plant"))
		plant();
	return 0;
}
