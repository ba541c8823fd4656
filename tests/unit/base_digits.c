/* SPDX-License-Identifier: MIT */
/* Numbers and addresses as text: the same as by the C library. */
#include "base/digits.h"

#include <arpa/inet.h>
#include <inttypes.h>

#include "tests/lib/check.h"

enum {
	/* Choices, not measured. */
	N_RANDOM = 100000,
};

static void check_number(uint64_t value)
{
	char expected[DIGITS_MAX + 1], got[DIGITS_MAX + 1];

	snprintf(expected, sizeof(expected), "%" PRIu64, value);
	memset(got, '?', sizeof(got));
	got[digits_put(got, value)] = 0;
	assert_string_equal(got, expected);
}

static void numbers(void **state)
{
	struct random r;

	(void)state;
	random_init(&r, 1);
	for (uint64_t n = 0; n < 1000; n++)
		check_number(n);
	for (uint64_t power = 10;; power *= 10) {
		check_number(power - 1);
		check_number(power);
		check_number(power + 1);
		if (power > UINT64_MAX / 10)
			break;
	}
	check_number(UINT64_MAX);
	for (int i = 0; i < N_RANDOM; i++)
		check_number(random_next(&r) >> random_next(&r) % 64);
}

static void check_ipv4(uint32_t addr)
{
	char expected[INET_ADDRSTRLEN], got[DIGITS_IPV4_MAX + 1];

	inet_ntop(AF_INET, &addr, expected, sizeof(expected));
	memset(got, '?', sizeof(got));
	got[digits_put_ipv4(got, &addr)] = 0;
	assert_string_equal(got, expected);
}

static void ipv4(void **state)
{
	struct random r;

	(void)state;
	random_init(&r, 1);
	for (uint32_t byte = 0; byte < 256; byte++)
		check_ipv4(byte * 0x01010101);
	for (int i = 0; i < N_RANDOM; i++)
		check_ipv4((uint32_t)random_next(&r));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers),
		cmocka_unit_test(ipv4),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
