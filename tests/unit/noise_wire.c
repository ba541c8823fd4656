/* SPDX-License-Identifier: MIT */
/* Types and lengths of messages: only the exact ones are taken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"
#include "noise/wire.h"

/* The sizes of the paper, section 5.4. */
static size_t size_of(uint32_t type)
{
	switch (type) {
	case 1:
		return 148;
	case 2:
		return 92;
	case 3:
		return 64;
	default:
		return 0;
	}
}

static void test_every_length_of_every_type(void **state)
{
	uint8_t buf[256] = { 0 };

	(void)state;
	for (uint32_t type = 0; type < 256; type++) {
		struct le32 raw = le32_make(type);

		memcpy(buf, &raw, sizeof(raw));
		for (size_t len = 0; len <= sizeof(buf); len++) {
			bool is_good = type == 4 ? len >= 32
						 : len && len == size_of(type);

			assert_int_equal(message_check(buf, len),
					 is_good ? type : MESSAGE_INVALID);
		}
	}
}

static void test_reserved_bytes_must_be_zero(void **state)
{
	uint8_t buf[256] = { 0 };

	(void)state;
	for (uint32_t type = 1; type <= 4; type++) {
		size_t len = type == 4 ? 32 : size_of(type);

		for (size_t i = 1; i < 4; i++) {
			for (unsigned int v = 1; v < 256; v++) {
				memset(buf, 0, 4);
				buf[0] = (uint8_t)type;
				buf[i] = (uint8_t)v;
				assert_int_equal(message_check(buf, len),
						 MESSAGE_INVALID);
			}
		}
	}
}

static void test_longest_datagrams(void **state)
{
	static uint8_t buf[65535] = { 4 };

	(void)state;
	assert_int_equal(message_check(buf, 65507), MESSAGE_DATA);
	assert_int_equal(message_check(buf, sizeof(buf)), MESSAGE_DATA);
	assert_int_equal(message_data_text_len(32), 0);
	assert_int_equal(message_data_text_len(65507), 65475);
	for (uint8_t type = 1; type <= 3; type++) {
		buf[0] = type;
		assert_int_equal(message_check(buf, 65507), MESSAGE_INVALID);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_length_of_every_type),
		cmocka_unit_test(test_reserved_bytes_must_be_zero),
		cmocka_unit_test(test_longest_datagrams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
