/* SPDX-License-Identifier: MIT */
/* How many deaths of engines are too many. */
#include "cli/deaths.h"

#include "base/clock.h"
#include "tests/lib/check.h"

static void in_a_minute(void **state)
{
	struct deaths d = { { 0 } };
	uint64_t now = NSEC_PER_SEC;

	(void)state;
	for (int i = 1; i < DEATHS_MAX; i++)
		assert_false(deaths_note(&d, now += NSEC_PER_SEC));
	assert_true(deaths_note(&d, now += NSEC_PER_SEC));
	assert_true(deaths_note(&d, now += NSEC_PER_SEC));
	/* Those of more than a minute ago count no more. */
	now += (DEATHS_S - 3) * NSEC_PER_SEC;
	assert_false(deaths_note(&d, now));
}

static void slowly(void **state)
{
	const uint64_t step = DEATHS_S * NSEC_PER_SEC / (DEATHS_MAX - 1);
	struct deaths d = { { 0 } };
	uint64_t now = NSEC_PER_SEC;

	(void)state;
	for (int i = 0; i < 100; i++)
		assert_false(deaths_note(&d, now += step));
	/* A little faster, and the fifth one is too many. */
	assert_true(deaths_note(&d, now += step - 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_a_minute),
		cmocka_unit_test(slowly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
