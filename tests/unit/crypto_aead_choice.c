/* SPDX-License-Identifier: MIT */
/*
 * The rules by processor, and which messages go to which backend. The source of
 * the unit is included, so that the test can set what the contest has found.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "crypto/aead.c" /* NOLINT(bugprone-suspicious-include) */
#include "crypto/init.h"

/* Calls of the two fakes. */
static int n_batches, n_singles;

static void seal_batches(void *ctx, struct aead_msg *msgs, size_t n)
{
	n_batches++;
	aead_sodium_whole.seal(ctx, msgs, n);
}

static size_t open_batches(void *ctx, struct aead_msg *msgs, size_t n)
{
	n_batches++;
	return aead_sodium_whole.open(ctx, msgs, n);
}

static void seal_singles(void *ctx, struct aead_msg *msgs, size_t n)
{
	n_singles++;
	aead_sodium_whole.seal(ctx, msgs, n);
}

static size_t open_singles(void *ctx, struct aead_msg *msgs, size_t n)
{
	n_singles++;
	return aead_sodium_whole.open(ctx, msgs, n);
}

static const struct aead_backend for_batches = {
	.name = "for batches",
	.seal = seal_batches,
	.open = open_batches,
};
static const struct aead_backend for_singles = {
	.name = "for singles",
	.seal = seal_singles,
	.open = open_singles,
};

static void choose_fakes(void)
{
	best = (struct aead_result){
		.holder = &for_batches,
		.of = {
			[AEAD_BATCHES] = { &for_batches, 0, NULL, 0 },
			[AEAD_SINGLES] = { &for_singles, 310, &for_batches,
					   400 },
		},
	};
}

/* Does a call of @n messages of @len bytes go to the backend for singles? */
static bool goes_to_singles(struct aead *aead, size_t n, uint32_t len)
{
	static uint8_t texts[2][1420 + AEAD_TAG_LEN];
	const uint8_t key[AEAD_KEY_LEN] = { 1 };
	struct aead_msg msgs[2] = {
		{ key, 1, texts[0], len, false },
		{ key, 2, texts[1], len, false },
	};
	int batches = n_batches, singles = n_singles;

	aead_seal_batch(aead, msgs, n);
	assert_int_equal(aead_open_batch(aead, msgs, n), n);
	assert_int_equal(n_batches + n_singles, batches + singles + 2);
	assert_true(n_batches == batches || n_singles == singles);
	return n_singles > singles;
}

static void test_routing(void **state)
{
	struct aead *aead;
	char text[128];

	(void)state;
	pthread_once(&once, choose_fakes);
	aead = aead_new(AEAD_BEST);
	assert_non_null(aead);
	assert_string_equal(aead_get_name(aead), "for batches");
	assert_string_equal(aead_get_small_name(aead), "for singles");
	/* The first batch also checks the backends. */
	aead_seal_batch(aead, NULL, 0);
	assert_true(goes_to_singles(aead, 1, 0));
	assert_true(goes_to_singles(aead, 1, 64));
	assert_true(goes_to_singles(aead, 1, AEAD_SMALL_LEN));
	assert_false(goes_to_singles(aead, 1, AEAD_SMALL_LEN + 1));
	assert_false(goes_to_singles(aead, 1, 1420));
	assert_false(goes_to_singles(aead, 2, 64));
	assert_false(goes_to_singles(aead, 0, 0));

	aead_print_choice(aead, AEAD_BATCHES, text, sizeof(text));
	assert_string_equal(text, "for batches by rule, not measured");
	aead_print_choice(aead, AEAD_SINGLES, text, sizeof(text));
	assert_string_equal(text, "for singles by measurement, 310 ns a "
				  "message; for batches: 400 ns");
	aead_free(aead);

	aead = aead_new(AEAD_SODIUM);
	aead_print_choice(aead, AEAD_SINGLES, text, sizeof(text));
	assert_string_equal(text, "libsodium, as --aead says");
	aead_free(aead);
}

/* All workers have one choice, which is made once. */
static void test_chosen_once(void **state)
{
	struct aead *a = aead_new(AEAD_BEST), *b = aead_new(AEAD_BEST);

	(void)state;
	assert_string_equal(aead_get_name(a), aead_get_name(b));
	assert_string_equal(aead_get_small_name(a), aead_get_small_name(b));
	aead_free(a);
	aead_free(b);
}

/* What is forced is used for all messages. */
static void test_forced(void **state)
{
	(void)state;
	for (int c = AEAD_BEST + 1; c < AEAD_CHOICES; c++) {
		struct aead *aead = aead_new((enum aead_choice)c);

		if (!aead)
			continue;
		assert_ptr_equal(aead->of[AEAD_BATCHES].backend,
				 choices[c].backend);
		assert_ptr_equal(aead->of[AEAD_SINGLES].backend,
				 choices[c].backend);
		aead_seal_batch(aead, NULL, 0);
		assert_ptr_equal(aead->of[AEAD_SINGLES].ctx,
				 aead->of[AEAD_BATCHES].ctx);
		aead_free(aead);
	}
}

/* The lists end, the last rule is for all processors, and libcrypto, which
 * cannot be unloaded, is no challenger. */
static void test_rules(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		const struct rule *rule = &rules[i];
		size_t cap = ARRAY_LEN(rule->challengers);

		assert_int_not_equal(rule->order[0], AEAD_BEST);
		assert_int_equal(rule->order[ARRAY_LEN(rule->order) - 1],
				 AEAD_BEST);
		assert_int_equal(rule->challengers[cap - 1], AEAD_BEST);
		for (size_t k = 0; k < cap; k++)
			assert_int_not_equal(rule->challengers[k],
					     AEAD_LIBCRYPTO);
		print_message("# rule %zu is %sfor this processor\n", i,
			      !rule->is_for || rule->is_for() ? "" : "not ");
	}
	assert_null(rules[ARRAY_LEN(rules) - 1].is_for);
}

#ifdef __x86_64__
/* The rule for this processor, as docs/performance.md has it. */
static void test_rule_here(void **state)
{
	const struct rule *rule = rules;

	(void)state;
	while (rule->is_for && !rule->is_for())
		rule++;
	if (rule->order[0] == AEAD_IPSEC_MB_AVX_IFMA)
		rule++;
	while (rule->is_for && !rule->is_for())
		rule++;
	if (__builtin_cpu_supports("avx512f") &&
	    __builtin_cpu_supports("avx512vl"))
		assert_int_equal(rule->order[0], AEAD_IPSEC_MB);
	else if (__builtin_cpu_is("amd") && __builtin_cpu_supports("avx2"))
		assert_int_equal(rule->order[0], AEAD_BORINGSSL);
	else
		assert_int_equal(rule->order[0], AEAD_SODIUM);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
#ifdef __x86_64__
		cmocka_unit_test(test_rule_here),
#endif
		cmocka_unit_test(test_routing),
		cmocka_unit_test(test_chosen_once),
		cmocka_unit_test(test_forced),
	};

	if (crypto_init())
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
