/* SPDX-License-Identifier: MIT */
/*
 * A segment that does not fit the route's MTU is refused, while a single
 * datagram of the same size passes in fragments. This holds if the device has
 * the small MTU, and if a route has it.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/lib/netns.h"
#include "tests/lib/check.h"
#include "tests/platform/datagram.h"

enum {
	/* Choices: both are below the usual 1,500, and 1,280 is the smallest
	 * MTU of IPv6. */
	DEVICE_MTU = 1400,
	ROUTE_MTU = 1280,
};

/* A host of the far namespace, and the MTU of the route to it. */
struct way {
	const char *host;
	size_t segment;
};

static const struct way ways[] = {
	{ "10.1.0.2", DEVICE_MTU - HEADERS_IPV4 },
	{ "fd00:1::2", DEVICE_MTU - HEADERS_IPV6 },
	{ "10.9.0.1", ROUTE_MTU - HEADERS_IPV4 },
	{ "fd00:9::1", ROUTE_MTU - HEADERS_IPV6 },
};

static int near_ns, far_ns;
static uint8_t bytes[MESSAGE_CAP];

/* Opens a receiver beyond the way, and a sender on this side. */
static void way_open(const struct way *w, int *from_fd, int *to_fd,
		     union address *to)
{
	assert_int_equal(netns_enter(far_ns), 0);
	*to_fd = udp_open(w->host, false, to);
	assert_int_equal(netns_enter(near_ns), 0);
	*from_fd =
		udp_open(strchr(w->host, ':') ? "::" : "0.0.0.0", false, NULL);
	udp_expect_end(*to_fd, *from_fd, to);
}

static void test_segment_of_the_mtu_passes(void **state)
{
	int from_fd, to_fd;
	union address to;
	size_t i, segment;

	(void)state;
	for (i = 0; i < ARRAY_LEN(ways); i++) {
		way_open(&ways[i], &from_fd, &to_fd, &to);
		segment = ways[i].segment;
		assert_int_equal(udp_send_bytes(from_fd, &to, bytes,
						3 * segment, segment),
				 3 * segment);
		udp_expect_cut(to_fd, bytes, 3 * segment, segment);
		udp_expect_end(to_fd, from_fd, &to);
		close(from_fd);
		close(to_fd);
	}
}

static void test_larger_segment_is_refused(void **state)
{
	int from_fd, to_fd;
	union address to;
	size_t i, segment;
	ssize_t n;

	(void)state;
	for (i = 0; i < ARRAY_LEN(ways); i++) {
		way_open(&ways[i], &from_fd, &to_fd, &to);
		segment = ways[i].segment + 1;
		n = udp_send_bytes(from_fd, &to, bytes, 3 * segment, segment);
		assert_true(n < 0);
		seen(n == -EMSGSIZE, "%s: segments of %zu bytes give %s",
		     ways[i].host, segment, strerror((int)-n));
		/* Older kernels return EINVAL; the library handles both errors
		 * alike. */
		assert_true(n == -EMSGSIZE || n == -EINVAL);
		/* No datagram of the train has left. */
		udp_expect_end(to_fd, from_fd, &to);
		close(from_fd);
		close(to_fd);
	}
}

static void test_single_datagram_passes_in_fragments(void **state)
{
	int from_fd, to_fd;
	union address to;
	size_t i, len;

	(void)state;
	for (i = 0; i < ARRAY_LEN(ways); i++) {
		way_open(&ways[i], &from_fd, &to_fd, &to);
		len = ways[i].segment + 1;
		assert_int_equal(udp_send_bytes(from_fd, &to, bytes, len, 0),
				 len);
		udp_expect(to_fd, bytes, len);
		udp_expect_end(to_fd, from_fd, &to);
		close(from_fd);
		close(to_fd);
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
	if (netns_join(near_ns, far_ns, "narrow", 1, DEVICE_MTU) ||
	    netns_ip("route add 10.9.0.0/24 via 10.1.0.2 mtu %d", ROUTE_MTU) ||
	    netns_ip("route add fd00:9::/64 via fd00:1::2 mtu %d", ROUTE_MTU))
		return -1;
	if (netns_enter(far_ns) || netns_add_address("lo", "10.9.0.1/32") ||
	    netns_add_address("lo", "fd00:9::1/128"))
		return -1;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segment_of_the_mtu_passes),
		cmocka_unit_test(test_larger_segment_is_refused),
		cmocka_unit_test(test_single_datagram_passes_in_fragments),
	};

	netns_require();
	return cmocka_run_group_tests(tests, setup, NULL);
}
