/* SPDX-License-Identifier: MIT */
/* Cutting a received message into datagrams. */
#include "base/bytes.h"
#include "tests/lib/check.h"
#include "udpgather/split.h"

static unsigned char memory[65535];

/* Check the number and the lengths of the datagrams that come out. */
static void expect(size_t len, size_t segment_len, size_t cnt, size_t first,
		   size_t last)
{
	struct split s;
	struct ug_view view = { 0 };
	size_t off = 0, n = 0;

	ug_split_begin(&s, memory, len, segment_len);
	assert_int_equal(s.cnt, cnt);
	while (s.left) {
		ug_split_next(&s, &view);
		assert_ptr_equal(view.data, memory + off);
		if (n++ + 1 < cnt)
			assert_int_equal(view.len, first);
		off += view.len;
	}
	assert_int_equal(n, cnt);
	assert_int_equal(view.len, last);
	assert_int_equal(off, len);
}

static void tables(void **state)
{
	(void)state;
	expect(3, 1, 3, 1, 1);
	expect(1, 0, 1, 1, 1);
	expect(0, 0, 1, 0, 0);
	expect(0, 100, 1, 0, 0);
	expect(100, 100, 1, 100, 100);
	expect(100, 101, 1, 100, 100);
	expect(100, UINT32_MAX, 1, 100, 100);
	expect(101, 100, 2, 100, 1);
	expect(199, 100, 2, 100, 99);
	expect(128 * 500, 500, 128, 500, 500);
	expect(65507, 1472, 45, 1472, 739);
	expect(65535, 1, 65535, 1, 1);
	expect(65535, 65534, 2, 65534, 1);
}

static void random_lengths(void **state)
{
	struct random r;

	(void)state;
	random_init(&r, 0x5eed0003);
	for (int i = 0; i < 2000; i++) {
		size_t len = 1 + random_below(&r, 65535);
		size_t seg = 1 + random_below(&r, random_below(&r, 2) ? 70000
								      : 2000);
		size_t cnt = (len + seg - 1) / seg;

		expect(len, seg, cnt, seg, len - (cnt - 1) * seg);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables),
		cmocka_unit_test(random_lengths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
