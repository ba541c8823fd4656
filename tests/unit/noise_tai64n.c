/* SPDX-License-Identifier: MIT */
/*
 * Timestamps: their bytes, their order, and what is sent while the wall clock
 * steps.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "crypto_hex.h"
#include "noise/tai64n.h"

#define T0 (UINT64_C(1700000000) * NSEC_PER_SEC)

static void test_layout(void **state)
{
	/* 2^62 + 10 + 1700000000 seconds; 0x3ade68b1 ns rounded down. */
	const struct tai64n want = { { 0x40, 0, 0, 0, 0x65, 0x53, 0xf1, 0x0a,
				       0x3a, 0, 0, 0 } };
	struct tai64n t = tai64n_from_realtime(T0 + 987654321);

	(void)state;
	assert_memory_equal(t.b, want.b, sizeof(t.b));
}

static void test_whitened(void **state)
{
	struct tai64n a = tai64n_from_realtime(T0);
	struct tai64n b = tai64n_from_realtime(T0 + (1 << 24) - 1);
	struct tai64n c = tai64n_from_realtime(T0 + (1 << 24));

	(void)state;
	assert_memory_equal(a.b, b.b, sizeof(a.b));
	assert_false(tai64n_is_newer(&a, &b));
	assert_true(tai64n_is_newer(&c, &b));
	assert_false(tai64n_is_newer(&b, &c));
}

static void test_clock_goes_on(void **state)
{
	struct tai64n last = { { 0 } };

	(void)state;
	for (uint64_t i = 0; i < 1000; i++) {
		uint64_t ns = T0 + i * REKEY_TIMEOUT * NSEC_PER_SEC;
		struct tai64n t = tai64n_advance(&last, ns);
		struct tai64n plain = tai64n_from_realtime(ns);

		assert_memory_equal(t.b, plain.b, sizeof(t.b));
	}
}

/* Whatever the wall clock does, the timestamps that are sent only grow. */
static void test_any_clock(void **state)
{
	struct tai64n last = { { 0 } }, before = { { 0 } };
	uint64_t seed = 7;

	(void)state;
	for (int i = 0; i < 200000; i++) {
		uint64_t r = prng_next(&seed);
		uint64_t ns = i % 3 == 0   ? T0
			      : i % 3 == 1 ? T0 - (r % (3600 * NSEC_PER_SEC))
					   : r;
		struct tai64n t = tai64n_advance(&last, ns);
		uint32_t low;

		assert_true(tai64n_is_newer(&t, &before));
		assert_memory_equal(t.b, last.b, sizeof(t.b));
		memcpy(&low, t.b + 8, sizeof(low));
		assert_true(be32toh(low) < NSEC_PER_SEC);
		assert_int_equal(be32toh(low) % (1 << 24), 0);
		before = t;
	}
}

static void test_stepped_back(void **state)
{
	struct tai64n last = { { 0 } };
	struct tai64n first = tai64n_advance(&last, T0);
	struct tai64n second = tai64n_advance(&last, 0);
	struct tai64n third = tai64n_advance(&last, T0 + NSEC_PER_SEC);
	struct tai64n plain;

	(void)state;
	assert_true(tai64n_is_newer(&second, &first));
	/*
	 * While the wall clock is behind, a timestamp is one step after the
	 * last one. Later the timestamp is that of the wall clock again.
	 */
	plain = tai64n_from_realtime(T0 + (1 << 24));
	assert_memory_equal(second.b, plain.b, sizeof(plain.b));
	plain = tai64n_from_realtime(T0 + NSEC_PER_SEC);
	assert_memory_equal(third.b, plain.b, sizeof(plain.b));
}

/* Two timestamps within one step of the clock. */
static void test_clock_stands_still(void **state)
{
	struct tai64n last = { { 0 } };
	struct tai64n first = tai64n_advance(&last, T0);
	struct tai64n second = tai64n_advance(&last, T0);
	struct tai64n third = tai64n_advance(&last, T0 + 1);

	(void)state;
	assert_true(tai64n_is_newer(&second, &first));
	assert_true(tai64n_is_newer(&third, &second));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_layout),
		cmocka_unit_test(test_whitened),
		cmocka_unit_test(test_clock_goes_on),
		cmocka_unit_test(test_any_clock),
		cmocka_unit_test(test_stepped_back),
		cmocka_unit_test(test_clock_stands_still),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
