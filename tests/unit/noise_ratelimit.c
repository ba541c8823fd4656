/* SPDX-License-Identifier: MIT */
/*
 * The limit on handshakes: for each host, for each site, and if there are more
 * sources than places.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "crypto/init.h"
#include "noise/constants.h"
#include "noise/ratelimit.h"

#define MS NSEC_PER_MSEC

static const uint8_t seed[16] = { 3, 1, 4, 1, 5, 9, 2, 6 };

/* Steps of one source: five handshakes at once, then one for each 50 ms. */
static const struct {
	uint64_t at_ms;
	bool is_allowed;
} steps[] = {
	/* 0 */ { 0, true },	   /* 1 */ { 0, true },
	/* 2 */ { 0, true },	   /* 3 */ { 0, true },
	/* 4 */ { 0, true },	   /* 5 */ { 0, false },
	/* 6 */ { 49, false },	   /* 7 */ { 50, true },
	/* 8 */ { 50, false },	   /* 9 */ { 99, false },
	/* 10 */ { 100, true },	   /* 11 */ { 100, false },
	/* 12 */ { 200, true },	   /* 13 */ { 200, true },
	/* 14 */ { 200, false },   /* 15 */ { 10000, true },
	/* 16 */ { 10000, true },  /* 17 */ { 10000, true },
	/* 18 */ { 10000, true },  /* 19 */ { 10000, true },
	/* 20 */ { 10000, false },
};

static void run_steps(const uint8_t *addr, size_t len, uint64_t start)
{
	struct ratelimit *rl = ratelimit_new(seed);

	assert_non_null(rl);
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		bool is_allowed = ratelimit_allow(rl, addr, len,
						  start + steps[i].at_ms * MS);

		if (is_allowed != steps[i].is_allowed)
			fail_msg("step %zu: %d", i, is_allowed);
	}
	ratelimit_free(rl);
}

static void test_steps(void **state)
{
	static const uint8_t addr[16] = { 0x20, 0x01, 0x0d, 0xb8 };

	(void)state;
	run_steps(addr, 4, 0);
	run_steps(addr, 16, 0);
	run_steps(addr, 4, 12345678901234567);
}

static bool spend(struct ratelimit *rl, const uint8_t *addr, size_t len,
		  uint64_t now)
{
	bool was_allowed = ratelimit_allow(rl, addr, len, now);

	for (int i = 0; i < RATELIMIT_BURST; i++)
		ratelimit_allow(rl, addr, len, now);
	assert_false(ratelimit_allow(rl, addr, len, now));
	return was_allowed;
}

static void test_what_is_one_source(void **state)
{
	struct ratelimit *rl = ratelimit_new(seed);
	uint8_t a[16] = { 0x20, 0x01, 0x0d, 0xb8 };

	(void)state;
	assert_true(spend(rl, a, 16, 0));
	/* The same /64. */
	for (size_t i = 8; i < 16; i++) {
		a[i] = 0xff;
		assert_false(ratelimit_allow(rl, a, 16, 0));
	}
	/* Another /64; an IPv4 address with the same first bytes. */
	a[7] = 1;
	assert_true(spend(rl, a, 16, 0));
	assert_true(spend(rl, a, 4, 0));
	a[3]++;
	assert_true(ratelimit_allow(rl, a, 4, 0));
	ratelimit_free(rl);
}

/* The /64s of one /48 share one limit, which is ten times that of a /64. */
static void test_a_site_has_a_limit(void **state)
{
	struct ratelimit *rl = ratelimit_new(seed);
	uint8_t a[16] = { 0x20, 0x01, 0x0d, 0xb8 };
	int n_in = 0;

	(void)state;
	for (int ms = 0; ms < 10000; ms++)
		for (int i = 0; i < 4; i++) {
			a[6] = (uint8_t)(ms >> 6);
			a[7] = (uint8_t)((ms << 2) + i);
			n_in += ratelimit_allow(rl, a, 16, (uint64_t)ms * MS);
		}
	assert_int_equal(n_in, RATELIMIT_SITE_BURST - 1 +
				       10 * RATELIMIT_SITE_PER_SECOND);
	/* The /48 next to it has its own bucket. */
	a[5] = 1;
	assert_true(ratelimit_allow(rl, a, 16, 10000 * MS));
	ratelimit_free(rl);
}

/* A /64 that is refused takes no token from its /48. */
static void test_a_subnet_does_not_spend_its_site(void **state)
{
	struct ratelimit *rl = ratelimit_new(seed);
	uint8_t a[16] = { 0x20, 0x01, 0x0d, 0xb8 };
	int n_in = 0;

	(void)state;
	for (int i = 0; i < 1000; i++)
		n_in += ratelimit_allow(rl, a, 16, 0);
	assert_int_equal(n_in, RATELIMIT_BURST);
	for (int i = 1; i < 100; i++) {
		a[7] = (uint8_t)i;
		n_in += ratelimit_allow(rl, a, 16, 0);
	}
	assert_int_equal(n_in, RATELIMIT_SITE_BURST);
	ratelimit_free(rl);
}

/* A source that asks all the time gets its rate and no more. */
static void test_long_run_rate(void **state)
{
	struct ratelimit *rl = ratelimit_new(seed);
	const uint8_t a[4] = { 192, 0, 2, 1 }, b[4] = { 192, 0, 2, 2 };
	int n_a = 0, n_b = 0;

	(void)state;
	for (uint64_t ms = 0; ms < 60000; ms++) {
		n_a += ratelimit_allow(rl, a, 4, ms * MS);
		if (ms % 5000 == 0)
			n_b += ratelimit_allow(rl, b, 4, ms * MS);
	}
	assert_int_equal(n_a, RATELIMIT_BURST - 1 + 60 * RATELIMIT_PER_SECOND);
	assert_int_equal(n_b, 12);
	ratelimit_free(rl);
}

/*
 * More sources than the table has places, all at once. Most sources are
 * refused: there are 32,768 places (N_SETS * N_WAYS), and nearly all are used.
 * After 251 ms, the time in which five tokens grow, all sources are served
 * again.
 */
static void test_more_sources_than_places(void **state)
{
	struct ratelimit *rl = ratelimit_new(seed);
	const uint64_t later = 251 * MS;
	uint32_t n_in = 0;

	(void)state;
	for (uint32_t i = 0; i < 1000000; i++) {
		struct be32 addr = be32_make(i);

		n_in += ratelimit_allow(rl, addr.b, 4, 0);
	}
	assert_true(n_in > 30000 && n_in <= 32768);
	for (uint32_t i = 0; i < 1000; i++) {
		struct be32 addr = be32_make(i * 977);

		assert_true(ratelimit_allow(rl, addr.b, 4, later));
	}
	ratelimit_free(rl);
	ratelimit_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_what_is_one_source),
		cmocka_unit_test(test_a_site_has_a_limit),
		cmocka_unit_test(test_a_subnet_does_not_spend_its_site),
		cmocka_unit_test(test_long_run_rate),
		cmocka_unit_test(test_more_sources_than_places),
	};

	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
