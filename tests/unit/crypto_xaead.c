/* SPDX-License-Identifier: MIT */
/* XChaCha20-Poly1305 against its draft, and SipHash against its paper. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "crypto/init.h"
#include "crypto/siphash.h"
#include "crypto/xaead.h"
#include "crypto_hex.h"

/* draft-irtf-cfrg-xchacha-03, appendix A.3.1. */
static const char text[] = "Ladies and Gentlemen of the class of '99: If I "
			   "could offer you only one tip for the future, "
			   "sunscreen would be it.";
static const char sealed_hex[] =
	"bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb"
	"731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452"
	"2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
	"21f9664c97637da9768812f615c68b13b52e"
	"c0875924c1c7987947deafd8780acf49";

enum {
	TEXT_LEN = sizeof(text) - 1
};

struct vector {
	uint8_t key[32];
	uint8_t nonce[24];
	uint8_t aad[12];
	uint8_t sealed[TEXT_LEN + XAEAD_TAG_LEN];
};

static void vector_load(struct vector *v)
{
	for (size_t i = 0; i < sizeof(v->key); i++)
		v->key[i] = (uint8_t)(0x80 + i);
	for (size_t i = 0; i < sizeof(v->nonce); i++)
		v->nonce[i] = (uint8_t)(0x40 + i);
	hex_decode(v->aad, sizeof(v->aad), "50515253c0c1c2c3c4c5c6c7");
	assert_int_equal(hex_decode(v->sealed, sizeof(v->sealed), sealed_hex),
			 sizeof(v->sealed));
}

static void test_vector(void **state)
{
	uint8_t out[TEXT_LEN + XAEAD_TAG_LEN], back[TEXT_LEN];
	struct vector v;

	(void)state;
	vector_load(&v);
	xaead_seal(out, (const uint8_t *)text, TEXT_LEN, v.aad, sizeof(v.aad),
		   v.nonce, v.key);
	assert_memory_equal(out, v.sealed, sizeof(out));
	assert_true(xaead_open(back, out, sizeof(out), v.aad, sizeof(v.aad),
			       v.nonce, v.key));
	assert_memory_equal(back, text, TEXT_LEN);
}

static void test_every_bit_counts(void **state)
{
	uint8_t back[TEXT_LEN];
	struct vector v;

	(void)state;
	vector_load(&v);
	for (size_t bit = 0; bit < sizeof(v) * 8; bit++) {
		uint8_t *byte = (uint8_t *)&v + bit / 8;

		*byte ^= (uint8_t)(1 << bit % 8);
		assert_false(xaead_open(back, v.sealed, sizeof(v.sealed), v.aad,
					sizeof(v.aad), v.nonce, v.key));
		*byte ^= (uint8_t)(1 << bit % 8);
	}
	assert_true(xaead_open(back, v.sealed, sizeof(v.sealed), v.aad,
			       sizeof(v.aad), v.nonce, v.key));
}

static void test_siphash(void **state)
{
	uint8_t key[16], in[15];

	(void)state;
	for (uint8_t i = 0; i < 16; i++)
		key[i] = i;
	memcpy(in, key, sizeof(in));
	/* Aumasson and Bernstein, "SipHash", 2012, appendix A. */
	assert_true(siphash(in, sizeof(in), key) ==
		    UINT64_C(0xa129ca6149be45e5));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vector),
		cmocka_unit_test(test_every_bit_counts),
		cmocka_unit_test(test_siphash),
	};

	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
