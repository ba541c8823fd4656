/* SPDX-License-Identifier: MIT */
#include "tun_packet.h"
#include "tun/checksum.h"

/* checksum_fold() as a number in host order. */
static uint16_t folded(uint64_t sum)
{
	return be16toh(checksum_fold(sum));
}

/*
 * If a sum is a multiple of 65535, both 0 and 65535 are right by RFC 1071. The
 * functions under test give 0 only if all bytes are zero.
 */
static void test_adding_as_in_rfc1071(void **state)
{
	static uint8_t src[2048 + 32], dst[2048 + 32];
	struct random r;

	(void)state;
	random_seed(&r);
	random_fill(&r, src, sizeof(src));
	for (size_t len = 0; len <= 2048; len += len < 300 ? 1 : 61) {
		for (size_t off = 0; off < 17; off++) {
			uint16_t want = (uint16_t)ref_sum(0, src + off, len);
			uint64_t sum;

			assert_int_equal(
				folded(checksum_add(0, src + off, len)), want);
			memset(dst, 0xaa, sizeof(dst));
			sum = checksum_copy(0, dst + 16 - off, src + off, len);
			assert_int_equal(folded(sum), want);
			assert_memory_equal(dst + 16 - off, src + off, len);
			assert_int_equal(dst[16 - off + len], 0xaa);
			if (off < 16)
				assert_int_equal(dst[15 - off], 0xaa);
		}
	}
}

static void test_pieces_add_up(void **state)
{
	static uint8_t src[4096];
	struct random r;

	(void)state;
	random_seed(&r);
	random_fill(&r, src, sizeof(src));
	for (int i = 0; i < 2000; i++) {
		size_t len = random_u32(&r, sizeof(src) + 1);
		size_t cut = len ? random_u32(&r, (uint32_t)len) & ~1U : 0;
		uint64_t sum = checksum_add(0, src, cut);

		sum = checksum_add(sum, src + cut, len - cut);
		assert_int_equal(folded(sum), ref_sum(0, src, len));
	}
}

static void test_extremes(void **state)
{
	static uint8_t bytes[65536];

	(void)state;
	assert_int_equal(checksum_fold(checksum_add(0, bytes, 65536)), 0);
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(checksum_fold(checksum_add(0, bytes, 65536)), 0xffff);
	assert_int_equal(checksum_fold(checksum_add(0, bytes, 65535)),
			 htobe16(0xff00));
	assert_int_equal(checksum_fold(UINT64_MAX), 0xffff);
	assert_int_equal(checksum_fold(0x0001000000000000ULL), 1);
	assert_int_equal(checksum_fold(0xffffffff0000ffffULL), 0xffff);
}

static void test_pseudo_headers(void **state)
{
	uint8_t pkt[40];
	struct random r;

	(void)state;
	random_seed(&r);
	for (int i = 0; i < 1000; i++) {
		size_t len = random_u32(&r, 65536);

		random_fill(&r, pkt, sizeof(pkt));
		pkt[0] = 0x45;
		assert_int_equal(
			folded(checksum_pseudo4(pkt + 12, pkt + 16, 17, len)),
			packet_pseudo(pkt, 17, len));
		pkt[0] = 0x60;
		assert_int_equal(
			folded(checksum_pseudo6(pkt + 8, pkt + 24, 6, len)),
			packet_pseudo(pkt, 6, len));
	}
}

static void test_udp_has_no_zero(void **state)
{
	const uint8_t ones[2] = { 0xff, 0xff };

	(void)state;
	assert_int_equal(be16_get(checksum_finish(checksum_add(0, ones, 2))),
			 0);
	assert_int_equal(
		be16_get(checksum_finish_udp(checksum_add(0, ones, 2))),
		0xffff);
	assert_int_equal(be16_get(checksum_finish_udp(0x1234)),
			 be16_get(checksum_finish(0x1234)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_adding_as_in_rfc1071),
		cmocka_unit_test(test_pieces_add_up),
		cmocka_unit_test(test_extremes),
		cmocka_unit_test(test_pseudo_headers),
		cmocka_unit_test(test_udp_has_no_zero),
	};

	return cmocka_run_group_tests_name("tun_checksum", tests, NULL, NULL);
}
