/* SPDX-License-Identifier: MIT */
/*
 * Vectors and segments of a message are independent: the kernel cuts at the
 * segment size, wherever a vector begins or ends. The limit is 1,024 vectors.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/lib/netns.h"
#include "tests/lib/check.h"
#include "tests/platform/datagram.h"

enum {
	/* UIO_MAXIOV of the kernel. */
	VECTORS_MAX = 1024,
	/* Random messages of a test. A choice. */
	ROUNDS = 300,
	/* Longer trains do not cross a veth device in one piece. */
	TRAIN_MAX_IPV6 = 65473,
};

static const char *const hosts[] = { "10.1.0.2", "fd00:1::2" };
static int near_ns, far_ns;
static uint8_t bytes[MESSAGE_CAP];

/* A sender here, and a receiver beyond a veth pair. */
struct pair {
	int from_fd;
	int to_fd;
	union address to;
};

static void pair_open(struct pair *p, const char *host)
{
	assert_int_equal(netns_enter(far_ns), 0);
	p->to_fd = udp_open(host, false, &p->to);
	assert_int_equal(netns_enter(near_ns), 0);
	p->from_fd =
		udp_open(strchr(host, ':') ? "::" : "0.0.0.0", false, NULL);
	/* The first datagram waits for neighbour discovery: send a mark. */
	udp_expect_end(p->to_fd, p->from_fd, &p->to);
}

static void pair_close(struct pair *p)
{
	udp_expect_end(p->to_fd, p->from_fd, &p->to);
	close(p->to_fd);
	close(p->from_fd);
}

/* Sends vectors that must pass, and receives the datagrams they make. */
static void pass(const struct pair *p, const struct iovec *iov, size_t n_iov,
		 size_t len, size_t segment)
{
	const struct outgoing out = {
		.to = &p->to,
		.iov = iov,
		.n_iov = n_iov,
		.segment = (uint16_t)segment,
	};

	assert_int_equal(udp_send(p->from_fd, &out), len);
	udp_expect_cut(p->to_fd, bytes, len, segment);
}

/* One boundary, at every place of a train of three and a shorter one. */
static void test_boundary_anywhere(void **state)
{
	const size_t segment = 100, len = 350;
	struct iovec iov[2];
	struct pair p;
	size_t i, at;

	(void)state;
	for (i = 0; i < ARRAY_LEN(hosts); i++) {
		pair_open(&p, hosts[i]);
		for (at = 0; at <= len; at++) {
			iov[0].iov_base = bytes;
			iov[0].iov_len = at;
			iov[1].iov_base = bytes + at;
			iov[1].iov_len = len - at;
			pass(&p, iov, 2, len, segment);
		}
		pair_close(&p);
	}
}

/* Cuts @len bytes into at most VECTORS_MAX vectors; returns how many. */
static size_t split(struct iovec *iov, size_t len, struct random *r)
{
	size_t largest = 1 + random_below(r, 3000), n, off = 0, part;

	for (n = 0; n < VECTORS_MAX && off < len; n++) {
		/* Some vectors are empty. */
		part = size_min(random_below(r, largest + 1), len - off);
		if (n == VECTORS_MAX - 1)
			part = len - off;
		iov[n].iov_base = bytes + off;
		iov[n].iov_len = part;
		off += part;
	}
	return n;
}

static void test_random_splits(void **state)
{
	static struct iovec iov[VECTORS_MAX];
	struct random r;
	size_t i, k, len, n, segment;
	struct pair p;

	(void)state;
	random_init(&r, 0x5eed0010);
	for (i = 0; i < ARRAY_LEN(hosts); i++) {
		pair_open(&p, hosts[i]);
		for (k = 0; k < ROUNDS; k++) {
			segment = 1 + random_below(&r, 1400);
			len = segment + 1 +
			      random_below(&r, segment * (SEGMENTS_SAFE - 1));
			len = size_min(len, TRAIN_MAX_IPV6);
			n = split(iov, len, &r);
			pass(&p, iov, n, len, segment);
		}
		pair_close(&p);
	}
}

/* Long trains, which the stack cuts in software before the device. */
static void test_random_splits_of_long_trains(void **state)
{
	static struct iovec iov[VECTORS_MAX];
	struct random r;
	struct pair p;
	size_t i, k, n;

	(void)state;
	random_init(&r, 0x5eed0010);
	for (i = 0; i < ARRAY_LEN(hosts); i++) {
		pair_open(&p, hosts[i]);
		for (k = 0; k < ROUNDS / 10; k++) {
			n = split(iov, DATAGRAM_MAX_IPV4, &r);
			pass(&p, iov, n, DATAGRAM_MAX_IPV4, 1400);
		}
		pair_close(&p);
	}
}

static void test_1024_vectors_are_the_limit(void **state)
{
	static struct iovec iov[VECTORS_MAX + 1];
	struct outgoing out = { .iov = iov, .n_iov = VECTORS_MAX + 1 };
	struct pair p;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(iov); i++) {
		iov[i].iov_base = bytes + i * 60;
		iov[i].iov_len = 60;
	}
	for (i = 0; i < ARRAY_LEN(hosts); i++) {
		pair_open(&p, hosts[i]);
		out.to = &p.to;
		pass(&p, iov, VECTORS_MAX, VECTORS_MAX * 60, 1400);
		out.segment = 1400;
		assert_int_equal(udp_send(p.from_fd, &out), -EMSGSIZE);
		out.segment = 0;
		assert_int_equal(udp_send(p.from_fd, &out), -EMSGSIZE);
		pair_close(&p);
	}
}

static int setup(void **state)
{
	(void)state;
	bytes_fill(bytes, sizeof(bytes));
	near_ns = netns_new();
	far_ns = netns_new();
	if (near_ns < 0 || far_ns < 0)
		return -1;
	return netns_join(near_ns, far_ns, "vectors", 1, 1500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_boundary_anywhere),
		cmocka_unit_test(test_random_splits),
		cmocka_unit_test(test_random_splits_of_long_trains),
		cmocka_unit_test(test_1024_vectors_are_the_limit),
	};

	netns_require();
	return cmocka_run_group_tests(tests, setup, NULL);
}
