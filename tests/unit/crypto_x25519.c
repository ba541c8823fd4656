/* SPDX-License-Identifier: MIT */
/* X25519 against RFC 7748, and public keys of small order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "crypto/init.h"
#include "crypto/x25519.h"
#include "crypto_hex.h"

/* RFC 7748, section 5.2; the last one is of section 6.1. */
static const struct {
	const char *scalar, *point, *out;
} vectors[] = {
	{ "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
	  "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
	  "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552" },
	{ "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
	  "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
	  "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957" },
	{ "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
	  "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
	  "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742" },
};

static void test_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		uint8_t scalar[32], point[32], want[32], out[32];

		hex_decode(scalar, 32, vectors[i].scalar);
		hex_decode(point, 32, vectors[i].point);
		hex_decode(want, 32, vectors[i].out);
		assert_true(x25519_shared(out, scalar, point));
		assert_memory_equal(out, want, 32);
	}
}

static void test_public_key(void **state)
{
	uint8_t private_key[32], want[32], out[32];

	(void)state;
	/* RFC 7748, section 6.1: Bob. */
	hex_decode(private_key, 32, vectors[2].scalar);
	hex_decode(
		want, 32,
		"de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f88"
		"2b4f");
	x25519_public(out, private_key);
	assert_memory_equal(out, want, 32);
	x25519_clamp(private_key);
	x25519_public(out, private_key);
	assert_memory_equal(out, want, 32);
}

static void test_thousand_iterations(void **state)
{
	uint8_t k[32] = { 9 }, u[32] = { 9 }, out[32], want[32];

	(void)state;
	for (int i = 0; i < 1000; i++) {
		assert_true(x25519_shared(out, k, u));
		memcpy(u, k, 32);
		memcpy(k, out, 32);
	}
	hex_decode(
		want, 32,
		"684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d9953"
		"2c51");
	assert_memory_equal(k, want, 32);
}

/*
 * Points of small order on the curve and on its twist. They are also given as
 * numbers above 2^255 - 19, and with the top bit set, which is ignored.
 */
static const char *const small_order[] = {
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"0000000000000000000000000000000000000000000000000000000000000080",
	"0100000000000000000000000000000000000000000000000000000000000080",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
};

static void test_small_order_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(small_order); i++) {
		uint8_t private_key[32], point[32], out[32], before[32];

		hex_decode(private_key, 32, vectors[0].scalar);
		hex_decode(point, 32, small_order[i]);
		memset(out, 0xa5, 32);
		memcpy(before, out, 32);
		assert_false(x25519_shared(out, private_key, point));
		assert_memory_equal(out, before, 32);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_public_key),
		cmocka_unit_test(test_thousand_iterations),
		cmocka_unit_test(test_small_order_is_refused),
	};

	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
