/* SPDX-License-Identifier: MIT */
/*
 * ICMP errors for packets that cannot be delivered, and packets that are not
 * answered.
 */
#include "base/bytes.h"
#include "engine/unreachable.h"
#include "tests/lib/check.h"
#include "tun/checksum.h"

static uint8_t out[UNREACHABLE_MAX_LEN];
static uint8_t packet[2000];

static size_t make_v4(uint8_t proto, size_t len)
{
	memset(packet, 0xab, sizeof(packet));
	memset(packet, 0, 28);
	packet[0] = 0x45;
	packet[9] = proto;
	memcpy(packet + 12, "\x0a\0\0\1\x0a\0\0\2", 8);
	packet[20] = 8;
	return len;
}

static size_t make_v6(uint8_t proto, size_t len)
{
	memset(packet, 0xab, sizeof(packet));
	memset(packet, 0, 48);
	packet[0] = 0x60;
	packet[6] = proto;
	packet[8] = packet[24] = 0xfd;
	packet[23] = 1;
	packet[39] = 2;
	packet[40] = 128;
	return len;
}

static void ipv4(void **state)
{
	static const size_t lens[] = { 28, 100, 548, 549, 2000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		size_t len = make_v4(17, lens[i]);
		size_t n = unreachable_make(out, packet, len, 0);
		/* The error has 576 bytes at most (RFC 1812, section 4.3.2.3),
		 * 28 of them headers. */
		size_t quoted = size_min(len, 548);

		assert_int_equal(n, 28 + quoted);
		assert_int_equal(out[0], 0x45);
		assert_int_equal(out[2] << 8 | out[3], n);
		assert_int_equal(out[9], 1);
		assert_memory_equal(out + 12, "\x0a\0\0\2\x0a\0\0\1", 8);
		assert_int_equal(checksum_fold(checksum_add(0, out, 20)),
				 0xffff);
		assert_memory_equal(out + 20, "\3\1", 2);
		assert_int_equal(
			checksum_fold(checksum_add(0, out + 20, n - 20)),
			0xffff);
		assert_memory_equal(out + 28, packet, quoted);
	}
}

static void ipv6(void **state)
{
	static const size_t lens[] = { 48, 100, 1232, 1233, 2000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		size_t len = make_v6(17, lens[i]);
		size_t n = unreachable_make(out, packet, len, 0);
		/* The error has 1280 bytes at most (RFC 4443, section 2.4 (c)),
		 * 48 of them headers. */
		size_t quoted = size_min(len, 1232);
		uint64_t sum;

		assert_int_equal(n, 48 + quoted);
		assert_int_equal(out[4] << 8 | out[5], n - 40);
		assert_int_equal(out[23], 2);
		assert_int_equal(out[39], 1);
		assert_memory_equal(out + 40, "\1\3", 2);
		sum = checksum_pseudo6(out + 8, out + 24, 58, n - 40);
		sum = checksum_add(sum, out + 40, n - 40);
		assert_int_equal(checksum_fold(sum), 0xffff);
		assert_memory_equal(out + 48, packet, quoted);
	}
}

/* Packets that are too long: type, code, and the number of RFC 1191 and RFC 4443. */
static void too_big(void **state)
{
	size_t n;

	(void)state;
	n = unreachable_make(out, packet, make_v4(6, 2000), 1340);
	assert_int_equal(n, 576);
	assert_memory_equal(out + 20, "\3\4", 2);
	assert_memory_equal(out + 24, "\0\0\5\74", 4);
	assert_memory_equal(out + 12, "\x0a\0\0\2\x0a\0\0\1", 8);
	assert_int_equal(checksum_fold(checksum_add(0, out + 20, n - 20)),
			 0xffff);
	assert_memory_equal(out + 28, packet, n - 28);
	n = unreachable_make(out, packet, make_v6(6, 2000), 65535);
	assert_int_equal(n, 1280);
	assert_memory_equal(out + 40, "\2\0", 2);
	assert_memory_equal(out + 44, "\0\0\xff\xff", 4);
	assert_int_equal(
		checksum_fold(checksum_add(
			checksum_pseudo6(out + 8, out + 24, 58, n - 40),
			out + 40, n - 40)),
		0xffff);
	/* At least 28 bytes are quoted of every packet that is answered. */
	assert_int_equal(unreachable_make(out, packet, make_v4(6, 28), 1280),
			 28 + 28);
}

static void expect_none(size_t len)
{
	assert_int_equal(unreachable_make(out, packet, len, 0), 0);
}

static void no_answer(void **state)
{
	(void)state;
	for (size_t len = 0; len < 28; len++) {
		make_v4(17, len);
		expect_none(len);
	}
	make_v4(17, 100);
	packet[7] = 1; /* a later fragment */
	expect_none(100);
	make_v4(17, 100);
	packet[12] = 0; /* from 0.0.0.0/8 */
	expect_none(100);
	make_v4(17, 100);
	packet[16] = 224; /* to a multicast address */
	expect_none(100);
	make_v4(17, 100);
	packet[12] = 255; /* from a broadcast address */
	expect_none(100);
	make_v4(17, 100);
	packet[12] = 127; /* from loopback */
	expect_none(100);
	make_v4(1, 100);
	packet[20] = 3; /* an ICMP error */
	expect_none(100);
	make_v4(17, 100);
	packet[0] = 0x4f; /* options beyond the end */
	expect_none(40);
	make_v4(17, 100);
	packet[0] = 0x44; /* a header that is too short */
	expect_none(100);
	for (size_t len = 0; len < 40; len++) {
		make_v6(17, len);
		expect_none(len);
	}
	make_v6(17, 100);
	packet[24] = 0xff; /* to a multicast address */
	expect_none(100);
	make_v6(58, 100);
	packet[40] = 1; /* an ICMP error */
	expect_none(100);
	make_v6(17, 100);
	memset(packet + 8, 0, 16); /* from :: */
	expect_none(100);
	packet[0] = 0x50;
	expect_none(100);
	/* ICMP messages that are no errors are answered. */
	assert_true(unreachable_make(out, packet, make_v4(1, 100), 0) > 0);
	assert_true(unreachable_make(out, packet, make_v6(58, 100), 0) > 0);
}

static unsigned int n_written;

static ssize_t count_writes(int fd, const struct iovec *iov, int cnt)
{
	ssize_t len = 0;

	(void)fd;
	for (int i = 0; i < cnt; i++)
		len += (ssize_t)iov[i].iov_len;
	n_written++;
	return len;
}

/* Does unreachable_send() answer the packet? */
static bool is_answered(struct unreachable *u)
{
	static const struct tun_sys sys = { .writev = count_writes };
	struct tun tun = { .sys = &sys };

	n_written = 0;
	unreachable_send(u, &tun, packet, 100, 1);
	return n_written == 1;
}

/*
 * The broadcast address of a network of the interface, as destination and as
 * source.
 */
static void broadcasts(void **state)
{
	static struct broadcasts set;
	struct unreachable u = { .broadcasts = NULL };
	uint32_t last;

	(void)state;
	memcpy(&last, "\x0a\0\0\xff", 4);
	set.entries[1].directed = last;
	make_v4(17, 100);
	packet[19] = 255;
	assert_true(is_answered(&u));
	u.broadcasts = &set;
	assert_false(is_answered(&u));
	packet[19] = 254;
	assert_true(is_answered(&u));
	packet[15] = 255;
	assert_false(is_answered(&u));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ipv4),	      cmocka_unit_test(ipv6),
		cmocka_unit_test(too_big),    cmocka_unit_test(no_answer),
		cmocka_unit_test(broadcasts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
