/* SPDX-License-Identifier: MIT */
/* The kernel's version: parsing of a release, and the order of versions. */
#include "base/bytes.h"
#include "base/kernel.h"
#include "tests/lib/check.h"

static void releases(void **state)
{
	static const struct {
		const char *release;
		bool is_version;
		unsigned int numbers[3];
	} table[] = {
		{ "6.8.5", true, { 6, 8, 5 } },
		{ "6.1.0-13-amd64", true, { 6, 1, 0 } },
		{ "6.9-rc1", true, { 6, 9, 0 } },
		{ "7.1.4-arch1-1", true, { 7, 1, 4 } },
		{ "5.10.0.7", true, { 5, 10, 0 } },
		{ "6.", false, { 0 } },
		{ "6", false, { 0 } },
		{ "", false, { 0 } },
		{ "linux", false, { 0 } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct kernel_version v;

		print_message("# %s\n", table[i].release);
		assert_int_equal(kernel_parse(&v, table[i].release),
				 table[i].is_version);
		if (!table[i].is_version)
			continue;
		for (size_t k = 0; k < ARRAY_LEN(v.numbers); k++)
			assert_int_equal(v.numbers[k], table[i].numbers[k]);
	}
}

/* Each version is before all later ones in the list, and before no other. */
static void order(void **state)
{
	static const struct kernel_version sorted[] = {
		{ { 4, 20, 17 } }, { { 5, 0, 0 } }, { { 5, 19, 17 } },
		{ { 6, 0, 1 } },   { { 6, 8, 4 } }, { { 6, 8, 5 } },
		{ { 6, 10, 0 } },  { { 7, 0, 0 } },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sorted); i++)
		for (size_t k = 0; k < ARRAY_LEN(sorted); k++) {
			const unsigned int *n = sorted[k].numbers;

			assert_int_equal(
				kernel_is_before(&sorted[i], n[0], n[1], n[2]),
				i < k);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(releases),
		cmocka_unit_test(order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
