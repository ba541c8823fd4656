/* SPDX-License-Identifier: MIT */
/*
 * Receiving with UDP_GRO: the control message is an int, and a train may have
 * more than 64 datagrams.
 */
#include <errno.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/lib/netns.h"
#include "tests/lib/check.h"
#include "tests/platform/datagram.h"

enum {
	/* Far more than any kernel sends in one message (128 in 2025). */
	SEGMENTS_TRIED = 1000,
	/* The longest train that the library's authors have seen. */
	SEGMENTS_SEEN = 128,
};

static const char *const loopback[] = { "127.0.0.1", "::1" };
static uint8_t bytes[MESSAGE_CAP];
static uint8_t buf[MESSAGE_CAP];

/* Reads UDP_GRO back; it must be an int. */
static int read_back(int fd)
{
	int value = -1;
	socklen_t len = sizeof(value);

	assert_int_equal(getsockopt(fd, IPPROTO_UDP, UDP_GRO, &value, &len), 0);
	assert_int_equal(len, sizeof(value));
	return value;
}

/*
 * From Linux 5.12 on the option can be read; earlier kernels have it, but
 * refuse to tell its value.
 */
static void test_option_can_be_read_back(void **state)
{
	const int on = 1, off = 0;
	size_t i;
	int fd;

	(void)state;
	for (i = 0; i < ARRAY_LEN(loopback); i++) {
		fd = udp_open(loopback[i], false, NULL);
		assert_int_equal(read_back(fd), 0);
		assert_int_equal(
			setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)),
			0);
		assert_int_equal(read_back(fd), 1);
		assert_int_equal(
			setsockopt(fd, IPPROTO_UDP, UDP_GRO, &off, sizeof(off)),
			0);
		assert_int_equal(read_back(fd), 0);
		close(fd);
	}
}

/*
 * Receives a train of @len bytes in one piece, or, if loopback takes no
 * trains, in its datagrams, which then come without UDP_GRO.
 */
static void receive_train(int fd, size_t len, size_t segment, bool is_whole)
{
	struct arrival in;
	size_t off;

	for (off = 0; off < len; off += in.len) {
		udp_receive(fd, buf, &in);
		assert_int_equal(in.len,
				 is_whole ? len : size_min(segment, len - off));
		assert_memory_equal(buf, bytes + off, in.len);
		assert_int_equal(in.segment, is_whole ? segment : 0);
		assert_int_equal(in.segment_len,
				 is_whole ? CMSG_LEN(sizeof(int)) : 0);
	}
}

static void test_control_message_is_an_int(void **state)
{
	const bool is_whole = device_takes_trains("lo");
	union address to;
	int from_fd, to_fd;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(loopback); i++) {
		to_fd = udp_open(loopback[i], true, &to);
		from_fd = udp_open(loopback[i], false, NULL);
		assert_int_equal(udp_send_bytes(from_fd, &to, bytes, 1950, 700),
				 1950);
		receive_train(to_fd, 1950, 700, is_whole);
		udp_expect_end(to_fd, from_fd, &to);
		close(from_fd);
		close(to_fd);
	}
}

/* A single datagram has no UDP_GRO message, or one that does not cut it. */
static void test_single_datagram_is_not_cut(void **state)
{
	static const size_t lens[] = { 0, 1, 700, 9000 };
	struct arrival in;
	union address to;
	int from_fd, to_fd;
	size_t i, k;

	(void)state;
	for (i = 0; i < ARRAY_LEN(loopback); i++) {
		to_fd = udp_open(loopback[i], true, &to);
		from_fd = udp_open(loopback[i], false, NULL);
		for (k = 0; k < ARRAY_LEN(lens); k++) {
			assert_int_equal(
				udp_send_bytes(from_fd, &to, bytes, lens[k], 0),
				lens[k]);
			udp_receive(to_fd, buf, &in);
			assert_int_equal(in.len, lens[k]);
			assert_true(!in.segment ||
				    (size_t)in.segment >= in.len);
			seen(!in.segment_len, "%s: %zu bytes come %s UDP_GRO",
			     loopback[i], lens[k],
			     in.segment_len ? "with" : "without");
		}
		close(from_fd);
		close(to_fd);
	}
}

static void test_trains_may_be_longer_than_64(void **state)
{
	const bool is_whole = device_takes_trains("lo");
	size_t i, cnt, longest;
	union address to;
	int from_fd, to_fd;

	(void)state;
	for (i = 0; i < ARRAY_LEN(loopback); i++) {
		to_fd = udp_open(loopback[i], true, &to);
		from_fd = udp_open(loopback[i], false, NULL);
		longest = 0;
		for (cnt = 2; cnt < SEGMENTS_TRIED; cnt++) {
			if (udp_send_bytes(from_fd, &to, bytes, cnt * 60, 60) <
			    0)
				break;
			receive_train(to_fd, cnt * 60, 60, is_whole);
			longest = cnt;
		}
		seen(longest == SEGMENTS_SEEN && is_whole,
		     "%s: %zu datagrams came %s", loopback[i], longest,
		     is_whole ? "in one message" : "one by one");
		assert_true(longest >= SEGMENTS_SAFE);
		close(from_fd);
		close(to_fd);
	}
}

static int setup(void **state)
{
	(void)state;
	bytes_fill(bytes, sizeof(bytes));
	return netns_new() < 0 ? -1 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_option_can_be_read_back),
		cmocka_unit_test(test_control_message_is_an_int),
		cmocka_unit_test(test_single_datagram_is_not_cut),
		cmocka_unit_test(test_trains_may_be_longer_than_64),
	};

	netns_require();
	return cmocka_run_group_tests(tests, setup, NULL);
}
