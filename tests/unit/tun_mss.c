/* SPDX-License-Identifier: MIT */
/* The MSS of a SYN is lowered, and nothing else is changed. */
#include "tun_packet.h"

#include "tun/mss.h"

static uint8_t pkt[2048], was[2048];
static size_t len, off;

/* A SYN with options; its checksum is right. */
static void make(int version, const uint8_t *options, size_t n)
{
	struct spec s = {
		.version = version,
		.proto = IP_PROTO_TCP,
		.flags = TCP_SYN,
		.seq = 12345,
		.opt_len = (uint16_t)n,
	};

	len = packet_build(pkt, &s);
	off = packet_l4_off(&s);
	memcpy(pkt + off + 20, options, n);
	packet_sum_l4(pkt, len, off, IP_PROTO_TCP, false);
	memcpy(was, pkt, sizeof(was));
}

/* Only the MSS at @at in the options, and the checksum, differ. */
static void expect_mss(size_t at, uint16_t mss)
{
	assert_int_equal(pkt[off + 20 + at] << 8 | pkt[off + 20 + at + 1], mss);
	assert_true(packet_is_valid(pkt, len, off));
	memcpy(was + off + 20 + at, pkt + off + 20 + at, 2);
	memcpy(was + off + 16, pkt + off + 16, 2);
	assert_memory_equal(pkt, was, len);
}

static void lowered(void **state)
{
	/* MSS in front, at an even place, and at an odd one. */
	static const uint8_t first[] = { 2, 4, 5, 180, 1, 3, 3, 7 };
	static const uint8_t even[] = { 3, 3, 7, 1, 2, 4, 5, 180 };
	static const uint8_t odd[] = { 3, 3, 7, 2, 4, 35, 40, 0 };

	(void)state;
	for (int version = 4; version <= 6; version += 2) {
		uint16_t headers = version == 4 ? 40 : 60;

		for (uint32_t mtu = 100; mtu < 1500; mtu++) {
			make(version, first, sizeof(first));
			assert_true(mss_is_syn(pkt, len));
			assert_int_equal(mss_clamp(pkt, len, mtu, false),
					 mtu - headers < 1460);
			expect_mss(2, (uint16_t)size_min(mtu - headers, 1460));
			make(version, even, sizeof(even));
			mss_clamp(pkt, len, mtu, false);
			expect_mss(6, (uint16_t)size_min(mtu - headers, 1460));
			make(version, odd, sizeof(odd));
			assert_true(mss_clamp(pkt, len, mtu, false));
			expect_mss(5, (uint16_t)(mtu - headers));
		}
	}
}

/* The kernel completes the checksum itself. */
static void partial(void **state)
{
	static const uint8_t options[] = { 2, 4, 5, 180 };
	uint8_t check[2];

	(void)state;
	make(4, options, sizeof(options));
	memcpy(check, pkt + off + 16, 2);
	assert_true(mss_clamp(pkt, len, 1400, true));
	assert_memory_equal(check, pkt + off + 16, 2);
	assert_int_equal(pkt[off + 22] << 8 | pkt[off + 23], 1360);
}

static void expect_same(size_t n)
{
	memcpy(was, pkt, sizeof(was));
	assert_false(mss_clamp(pkt, n, 600, false));
	assert_memory_equal(pkt, was, sizeof(was));
}

static void left_alone(void **state)
{
	static const uint8_t good[] = { 2, 4, 5, 180 };
	static const uint8_t none[] = { 3, 3, 7, 1 };
	static const uint8_t ended[] = { 0, 2, 4, 5, 180, 0, 0, 0 };
	static const uint8_t endless[] = { 3, 0, 2, 4, 5, 180, 0, 0 };
	static const uint8_t beyond[] = { 3, 9, 2, 4, 5, 180, 0, 0 };
	static const uint8_t cut[] = { 1, 1, 2, 4 };
	static const uint8_t other[] = { 2, 3, 5, 1 };

	(void)state;
	make(4, good, sizeof(good));
	pkt[off + 13] = TCP_ACK;
	expect_same(len);
	make(4, good, sizeof(good));
	pkt[7] = 1; /* a later fragment */
	expect_same(len);
	make(4, good, sizeof(good));
	pkt[9] = 17;
	expect_same(len);
	make(6, good, sizeof(good));
	pkt[6] = 0; /* an extension header */
	expect_same(len);
	for (size_t n = 0; n < 44; n++) {
		make(4, good, sizeof(good));
		expect_same(n);
	}
	make(4, none, sizeof(none));
	expect_same(len);
	make(4, ended, sizeof(ended));
	expect_same(len);
	make(4, endless, sizeof(endless));
	expect_same(len);
	make(4, beyond, sizeof(beyond));
	expect_same(len);
	make(4, cut, sizeof(cut));
	expect_same(len);
	make(4, other, sizeof(other));
	expect_same(len);
	/* No MTU has room for the headers. */
	make(4, good, sizeof(good));
	assert_false(mss_clamp(pkt, len, 40, false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lowered),
		cmocka_unit_test(partial),
		cmocka_unit_test(left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
