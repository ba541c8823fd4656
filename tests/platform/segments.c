/* SPDX-License-Identifier: MIT */
/*
 * The way the kernel cuts a message with UDP_SEGMENT: the largest number of
 * datagrams, their sizes, and the case of an empty one.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/lib/netns.h"
#include "tests/lib/check.h"
#include "tests/platform/datagram.h"

enum {
	/* Far more than any kernel accepts (128 in 2025). */
	SEGMENTS_TRIED = 1000,
};

static const char *const loopback[] = { "127.0.0.1", "::1" };
static uint8_t bytes[MESSAGE_CAP];

/* One sender and one receiver. */
struct pair {
	int from_fd;
	int to_fd;
	union address to;
};

static void pair_open(struct pair *p, const char *text)
{
	p->to_fd = udp_open(text, false, &p->to);
	p->from_fd = udp_open(text, false, NULL);
}

static void pair_close(struct pair *p)
{
	udp_expect_end(p->to_fd, p->from_fd, &p->to);
	close(p->to_fd);
	close(p->from_fd);
}

/* Sends a train that must pass, and receives its datagrams. */
static void pass(struct pair *p, size_t len, size_t segment)
{
	assert_int_equal(
		udp_send_bytes(p->from_fd, &p->to, bytes, len, segment), len);
	udp_expect_cut(p->to_fd, bytes, len, segment);
}

static void test_64_segments_pass(void **state)
{
	struct pair p;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(loopback); i++) {
		pair_open(&p, loopback[i]);
		pass(&p, SEGMENTS_SAFE, 1);
		pass(&p, SEGMENTS_SAFE * 1000, 1000);
		pass(&p, SEGMENTS_SAFE * 1000 - 999, 1000);
		pair_close(&p);
	}
}

static void test_more_segments_are_refused(void **state)
{
	struct pair p;
	ssize_t n = 0;
	size_t i, cnt;

	(void)state;
	for (i = 0; i < ARRAY_LEN(loopback); i++) {
		pair_open(&p, loopback[i]);
		for (cnt = SEGMENTS_SAFE; cnt < SEGMENTS_TRIED; cnt++) {
			n = udp_send_bytes(p.from_fd, &p.to, bytes, cnt, 1);
			if (n < 0)
				break;
			udp_expect_cut(p.to_fd, bytes, cnt, 1);
		}
		seen(n == -EINVAL && (cnt == 65 || cnt == 129),
		     "%s: %zu segments give %s", loopback[i], cnt,
		     n < 0 ? strerror((int)-n) : "no error");
		assert_true(cnt > SEGMENTS_SAFE);
		pair_close(&p);
	}
}

static void test_last_segment_may_be_shorter(void **state)
{
	static const size_t lens[] = { 1399, 1400, 1401, 2099, 2100, 2101 };
	struct pair p;
	size_t i, k;

	(void)state;
	for (i = 0; i < ARRAY_LEN(loopback); i++) {
		pair_open(&p, loopback[i]);
		for (k = 0; k < ARRAY_LEN(lens); k++)
			pass(&p, lens[k], 700);
		/* A train of one that is shorter than its segment size. */
		pass(&p, 699, 700);
		pass(&p, 1, 700);
		pair_close(&p);
	}
}

/*
 * The kernel counts bytes and knows nothing of vectors: a shorter datagram
 * that is not the last one moves every cut behind it.
 */
static void test_shorter_datagram_inside_moves_the_cuts(void **state)
{
	const struct iovec iov[] = {
		{ .iov_base = bytes, .iov_len = 700 },
		{ .iov_base = bytes + 700, .iov_len = 300 },
		{ .iov_base = bytes + 1000, .iov_len = 700 },
	};
	struct outgoing out = { .iov = iov, .n_iov = 3, .segment = 700 };
	struct pair p;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(loopback); i++) {
		pair_open(&p, loopback[i]);
		out.to = &p.to;
		assert_int_equal(udp_send(p.from_fd, &out), 1700);
		udp_expect(p.to_fd, bytes, 700);
		udp_expect(p.to_fd, bytes + 700, 700);
		udp_expect(p.to_fd, bytes + 1400, 300);
		pair_close(&p);
	}
}

static void test_empty_datagram_alone_arrives(void **state)
{
	struct pair p;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(loopback); i++) {
		pair_open(&p, loopback[i]);
		assert_int_equal(udp_send_bytes(p.from_fd, &p.to, bytes, 0, 0),
				 0);
		udp_expect(p.to_fd, bytes, 0);
		pair_close(&p);
	}
}

static void test_empty_datagram_in_train_is_lost(void **state)
{
	const struct iovec iov[] = {
		{ .iov_base = bytes, .iov_len = 700 },
		{ .iov_base = bytes + 700, .iov_len = 0 },
		{ .iov_base = bytes + 700, .iov_len = 700 },
		{ .iov_base = bytes + 1400, .iov_len = 0 },
	};
	struct outgoing out = { .iov = iov, .n_iov = 4, .segment = 700 };
	struct pair p;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(loopback); i++) {
		pair_open(&p, loopback[i]);
		out.to = &p.to;
		assert_int_equal(udp_send(p.from_fd, &out), 1400);
		udp_expect_cut(p.to_fd, bytes, 1400, 700);
		pair_close(&p);
	}
}

/* A train of no bytes: the call succeeds; does a datagram arrive? */
static void test_empty_datagram_with_segment_size(void **state)
{
	static uint8_t buf[MESSAGE_CAP];
	struct arrival in;
	struct pair p;
	ssize_t n;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(loopback); i++) {
		pair_open(&p, loopback[i]);
		n = udp_send_bytes(p.from_fd, &p.to, bytes, 0, 700);
		if (n < 0) {
			seen(true, "%s: empty with UDP_SEGMENT gives %s",
			     loopback[i], strerror((int)-n));
		} else if (udp_is_empty(p.to_fd)) {
			seen(true, "%s: empty with UDP_SEGMENT is lost",
			     loopback[i]);
		} else {
			udp_receive(p.to_fd, buf, &in);
			assert_int_equal(in.len, 0);
			seen(true, "%s: empty with UDP_SEGMENT arrives",
			     loopback[i]);
		}
		pair_close(&p);
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
		cmocka_unit_test(test_64_segments_pass),
		cmocka_unit_test(test_more_segments_are_refused),
		cmocka_unit_test(test_last_segment_may_be_shorter),
		cmocka_unit_test(test_shorter_datagram_inside_moves_the_cuts),
		cmocka_unit_test(test_empty_datagram_alone_arrives),
		cmocka_unit_test(test_empty_datagram_in_train_is_lost),
		cmocka_unit_test(test_empty_datagram_with_segment_size),
	};

	netns_require();
	return cmocka_run_group_tests(tests, setup, NULL);
}
