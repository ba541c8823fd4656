/* SPDX-License-Identifier: MIT */
/* Congestion marks: every pair of inner and outer mark, in both families. */
#include "base/bytes.h"
#include "engine/ecn.h"
#include "tests/lib/check.h"
#include "tun/checksum.h"

enum {
	DROP = -1
};

/* RFC 6040, figure 4: [inner][outer], in the order Not, ECT(1), ECT(0), CE. */
static const int result[4][4] = {
	{ ECN_NOT_ECT, ECN_NOT_ECT, ECN_NOT_ECT, DROP },
	{ ECN_ECT_1, ECN_ECT_1, ECN_ECT_1, ECN_CE },
	{ ECN_ECT_0, ECN_ECT_1, ECN_ECT_0, ECN_CE },
	{ ECN_CE, ECN_CE, ECN_CE, ECN_CE },
};

static void make_v4(uint8_t p[20], uint8_t tos, uint8_t fill)
{
	uint16_t check;

	memset(p, fill, 20);
	p[0] = 0x45;
	p[1] = tos;
	p[10] = p[11] = 0;
	check = (uint16_t)~checksum_fold(checksum_add(0, p, 20));
	memcpy(p + 10, &check, 2);
}

static void ipv4(void **state)
{
	(void)state;
	for (unsigned int fill = 0; fill < 256; fill++) {
		for (int i = 0; i < 16; i++) {
			uint8_t inner = (uint8_t)(i / 4);
			uint8_t outer = (uint8_t)(i % 4);
			uint8_t p[20], dscp = (uint8_t)(fill & 0xfc);
			int expected = result[inner][outer];

			make_v4(p, dscp | inner, (uint8_t)fill);
			assert_int_equal(ecn_encapsulate(p), inner);
			assert_int_equal(ecn_decapsulate(p, 0xb8 | outer),
					 expected != DROP);
			if (expected == DROP)
				continue;
			assert_int_equal(p[1], dscp | expected);
			/* The checksum of the IPv4 header is still right. */
			assert_int_equal(checksum_fold(checksum_add(0, p, 20)),
					 0xffff);
		}
	}
}

static void ipv6(void **state)
{
	(void)state;
	for (int i = 0; i < 16; i++) {
		uint8_t inner = (uint8_t)(i / 4);
		uint8_t outer = (uint8_t)(i % 4);
		uint8_t p[40] = { 0x6a, (uint8_t)(0xc5 | inner << 4), 0xbc };
		int expected = result[inner][outer];

		p[1] = (uint8_t)(0xc5 & ~0x30) | (uint8_t)(inner << 4);
		assert_int_equal(ecn_encapsulate(p), inner);
		assert_int_equal(ecn_decapsulate(p, outer), expected != DROP);
		if (expected == DROP)
			continue;
		assert_int_equal(p[0], 0x6a);
		assert_int_equal(p[1], (0xc5 & ~0x30) | expected << 4);
		assert_int_equal(p[2], 0xbc);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ipv4),
		cmocka_unit_test(ipv6),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
