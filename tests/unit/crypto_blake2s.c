/* SPDX-License-Identifier: MIT */
/* BLAKE2s, HMAC and KDF against RFC 7693 and against noise_reference.py, which
 * computes them with Python's standard library. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "crypto/blake2s.h"
#include "crypto/init.h"
#include "crypto_hex.h"
#include "noise_vectors.h"

static void test_rfc7693(void **state)
{
	uint8_t out[32], want[32];

	(void)state;
	/* RFC 7693, appendix B. */
	hex_decode(
		want, 32,
		"508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c8667"
		"5982");
	blake2s_hash(out, "abc", 3, NULL, 0);
	assert_memory_equal(out, want, 32);
	blake2s_hash(out, "a", 1, "bc", 2);
	assert_memory_equal(out, want, 32);
	blake2s_hash(out, NULL, 0, "abc", 3);
	assert_memory_equal(out, want, 32);
}

/* The input that the reference hashes. */
static void pattern(uint8_t *out, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)(i * 7 + n);
}

enum {
	/* As in digests() of noise_reference.py; more than four blocks. */
	N_LENGTHS = 300
};

static void test_hash_of_all_lengths(void **state)
{
	static uint8_t all[N_LENGTHS * 32];
	uint8_t data[N_LENGTHS], out[32];

	(void)state;
	for (size_t n = 0; n < N_LENGTHS; n++) {
		pattern(data, n);
		blake2s_hash(all + n * 32, data, n / 3, data + n / 3,
			     n - n / 3);
	}
	blake2s_hash(out, all, sizeof(all), NULL, 0);
	assert_memory_equal(out, vector_all_hash, 32);
}

static void test_mac_of_all_lengths(void **state)
{
	static uint8_t all[N_LENGTHS * 16];
	uint8_t data[N_LENGTHS], key[32], out[32];

	(void)state;
	for (size_t n = 0; n < N_LENGTHS; n++) {
		pattern(data, n);
		pattern(key, n % 32 + 1);
		blake2s_mac(all + n * 16, key, n % 32 + 1, data, n);
	}
	blake2s_hash(out, all, sizeof(all), NULL, 0);
	assert_memory_equal(out, vector_all_mac, 32);
}

/* Against HMAC of Python's standard library. */
static void test_hmac_of_all_lengths(void **state)
{
	static uint8_t all[N_LENGTHS * 32];
	uint8_t data[N_LENGTHS], key[100], out[32];

	(void)state;
	for (size_t n = 0; n < N_LENGTHS; n++) {
		pattern(data, n);
		pattern(key, n % 100);
		blake2s_hmac(all + n * 32, key, n % 100, data, n);
	}
	blake2s_hash(out, all, sizeof(all), NULL, 0);
	assert_memory_equal(out, vector_all_hmac, 32);
}

static void test_kdf_of_all_lengths(void **state)
{
	static uint8_t all[N_LENGTHS * 96];
	uint8_t data[N_LENGTHS], key[32], out[32];

	(void)state;
	pattern(key, 32);
	for (size_t n = 0; n < N_LENGTHS; n++) {
		uint8_t *outs = all + n * 96;

		pattern(data, n);
		blake2s_kdf(outs, outs + 32, outs + 64, key, data, n);
	}
	blake2s_hash(out, all, sizeof(all), NULL, 0);
	assert_memory_equal(out, vector_all_kdf, 32);
}

static void test_kdf_outputs_are_prefixes(void **state)
{
	uint8_t key[32], one[32], two[2][32], three[3][32];

	(void)state;
	pattern(key, 32);
	blake2s_kdf(one, NULL, NULL, key, "x", 1);
	blake2s_kdf(two[0], two[1], NULL, key, "x", 1);
	blake2s_kdf(three[0], three[1], three[2], key, "x", 1);
	assert_memory_equal(one, three[0], 32);
	assert_memory_equal(two, three, 64);
	/* An output replaces the key, as in the handshake. */
	blake2s_kdf(key, one, NULL, key, "x", 1);
	assert_memory_equal(key, two[0], 32);
	assert_memory_equal(one, two[1], 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc7693),
		cmocka_unit_test(test_hash_of_all_lengths),
		cmocka_unit_test(test_mac_of_all_lengths),
		cmocka_unit_test(test_hmac_of_all_lengths),
		cmocka_unit_test(test_kdf_of_all_lengths),
		cmocka_unit_test(test_kdf_outputs_are_prefixes),
	};

	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
