/* SPDX-License-Identifier: MIT */
/*
 * The largest train that crosses a device as one packet.
 *
 * A device takes packets of up to 65,535 bytes (gso_max_size is 65,536 and must
 * not be reached), the Ethernet header included: 65,493 bytes of payload in
 * IPv4, 65,473 in IPv6. One byte more, and the stack cuts the train in software
 * before the device. Two observations show this without a clock. The driver of
 * a veth pair passes packets on unchanged, so a receiver with UDP_GRO behind it
 * gets the train in one piece, or one piece for each datagram. The sending
 * device counts one packet, or one for each datagram.
 */
#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/lib/netns.h"
#include "tests/lib/check.h"
#include "tests/platform/datagram.h"

enum {
	/* See above. */
	TRAIN_MAX_IPV4 = 65493,
	TRAIN_MAX_IPV6 = 65473,
	/* Fits the MTU of the device. A choice. */
	SEGMENT = 1400,
	/* The count may include packets of neighbour discovery and multicast
	 * reports. The bound is below the 47 datagrams of a train. */
	OTHER_PACKETS = 20,
};

static int near_ns, far_ns;
static uint8_t bytes[MESSAGE_CAP];

/* The observations about a train. */
struct passage {
	unsigned int arrivals;
	unsigned int sent_packets;
};

/* Packets that the sending end of the veth pair has counted. */
static unsigned int count_sent_packets(void)
{
	const struct rtnl_link_stats *stats;
	struct ifaddrs *list, *a;
	unsigned int n = 0;

	assert_int_equal(getifaddrs(&list), 0);
	for (a = list; a; a = a->ifa_next) {
		if (strcmp(a->ifa_name, "train") != 0 || !a->ifa_addr ||
		    a->ifa_addr->sa_family != AF_PACKET)
			continue;
		stats = a->ifa_data;
		n = stats->tx_packets;
	}
	freeifaddrs(list);
	return n;
}

/* Sends @len bytes, and receives until all have arrived. */
static void send_over(int from_fd, int to_fd, const union address *to,
		      size_t len, struct passage *p)
{
	static uint8_t buf[MESSAGE_CAP];
	unsigned int before = count_sent_packets();
	struct arrival in;
	size_t off;

	memset(p, 0, sizeof(*p));
	assert_int_equal(udp_send_bytes(from_fd, to, bytes, len, SEGMENT), len);
	for (off = 0; off < len; off += in.len) {
		udp_receive(to_fd, buf, &in);
		assert_in_range(in.len, 1, len - off);
		assert_memory_equal(buf, bytes + off, in.len);
		p->arrivals++;
		/* All pieces are whole segments, except the end of the
		 * train. */
		if (in.len > SEGMENT)
			assert_int_equal(in.segment, SEGMENT);
		if (off + in.len < len)
			assert_int_equal(in.len % SEGMENT, 0);
	}
	udp_expect_end(to_fd, from_fd, to);
	p->sent_packets = count_sent_packets() - before;
}

/* Sends trains of the limit and of one byte more to @host. */
static void look_at_limit(const char *any, const char *host, size_t limit)
{
	const unsigned int n = (unsigned int)(limit / SEGMENT + 1);
	struct passage at, above;
	union address to, bound;
	int from_fd, to_fd;
	bool is_whole;

	assert_int_equal(netns_enter(far_ns), 0);
	to_fd = udp_open(host, true, &to);
	assert_int_equal(netns_enter(near_ns), 0);
	is_whole = device_takes_trains("train");
	from_fd = udp_open(any, false, &bound);

	/* The first datagram waits for neighbour discovery: send a mark. */
	udp_expect_end(to_fd, from_fd, &to);

	send_over(from_fd, to_fd, &to, limit, &at);
	assert_int_equal(at.arrivals, is_whole ? 1 : n);
	assert_int_equal(at.sent_packets < OTHER_PACKETS, is_whole);

	send_over(from_fd, to_fd, &to, limit + 1, &above);
	seen(is_whole && above.arrivals == n && above.sent_packets >= n,
	     "%s: %zu bytes cross in %u packets, %zu bytes in %u of %u", host,
	     limit, at.arrivals, limit + 1, above.arrivals, n);
	close(from_fd);
	close(to_fd);
}

static void test_ipv4_limit(void **state)
{
	(void)state;
	look_at_limit("0.0.0.0", "10.1.0.2", TRAIN_MAX_IPV4);
}

static void test_ipv6_limit(void **state)
{
	(void)state;
	look_at_limit("::", "fd00:1::2", TRAIN_MAX_IPV6);
}

/* Sends a single datagram and a train of the most bytes, and of one more. */
static void look_at_datagram(const char *text, size_t limit)
{
	union address to;
	int from_fd, to_fd;

	to_fd = udp_open(text, false, &to);
	from_fd = udp_open(text, false, NULL);
	assert_int_equal(udp_send_bytes(from_fd, &to, bytes, limit, 0), limit);
	udp_expect(to_fd, bytes, limit);
	assert_int_equal(udp_send_bytes(from_fd, &to, bytes, limit + 1, 0),
			 -EMSGSIZE);

	assert_int_equal(udp_send_bytes(from_fd, &to, bytes, limit, SEGMENT),
			 limit);
	udp_expect_cut(to_fd, bytes, limit, SEGMENT);
	assert_int_equal(
		udp_send_bytes(from_fd, &to, bytes, limit + 1, SEGMENT),
		-EMSGSIZE);
	udp_expect_end(to_fd, from_fd, &to);
	close(from_fd);
	close(to_fd);
}

static void test_bytes_of_a_message(void **state)
{
	(void)state;
	assert_int_equal(netns_enter(near_ns), 0);
	look_at_datagram("127.0.0.1", DATAGRAM_MAX_IPV4);
	look_at_datagram("::1", DATAGRAM_MAX_IPV6);
}

static int setup(void **state)
{
	(void)state;
	bytes_fill(bytes, sizeof(bytes));
	near_ns = netns_new();
	far_ns = netns_new();
	if (near_ns < 0 || far_ns < 0)
		return -1;
	return netns_join(near_ns, far_ns, "train", 1, 1500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ipv4_limit),
		cmocka_unit_test(test_ipv6_limit),
		cmocka_unit_test(test_bytes_of_a_message),
	};

	netns_require();
	return cmocka_run_group_tests(tests, setup, NULL);
}
