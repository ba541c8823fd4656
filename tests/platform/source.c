/* SPDX-License-Identifier: MIT */
/*
 * Effects of IP_PKTINFO and IPV6_PKTINFO on sent datagrams: the address is used
 * as source, an address that was removed is an error, and an interface index
 * forces the outgoing device (in IPv6 only if there is no address beside it).
 * The library therefore sends the address alone. It adds the index only for
 * link-local IPv6 addresses, for which the kernel requires it.
 *
 * Two devices lead to the far namespace; its hosts 10.9.0.1 and fd00:9::1 are
 * behind both, and the routes prefer the first.
 */
#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/lib/netns.h"
#include "tests/lib/check.h"
#include "tests/platform/datagram.h"

/**
 * struct family - the addresses of one family
 * @any:	any local address
 * @host:	a host beyond
 * @first:	the local address of the device that routes prefer
 * @other:	the local address of the other device
 * @second:	a second one of the preferred device, which comes and goes
 * @second_prefix: the same with the length of its prefix
 */
struct family {
	const char *any;
	const char *host;
	const char *first;
	const char *other;
	const char *second;
	const char *second_prefix;
};

static const struct family families[] = {
	{ "0.0.0.0", "10.9.0.1", "10.1.0.1", "10.2.0.1", "10.1.0.7",
	  "10.1.0.7/24" },
	{ "::", "fd00:9::1", "fd00:1::1", "fd00:2::1", "fd00:1::7",
	  "fd00:1::7/64" },
};

static const char link_local[] = "fe80::77";
static const char link_local_prefix[] = "fe80::77/64";
static const char payload[] = "datagram";
static int near_ns, far_ns;

/* A sender with no address of its own, and a receiver on the far host. */
struct pair {
	int from_fd;
	int to_fd;
	union address to;
};

static void pair_open(struct pair *p, const struct family *f)
{
	assert_int_equal(netns_enter(far_ns), 0);
	p->to_fd = udp_open(f->host, false, &p->to);
	assert_int_equal(netns_enter(near_ns), 0);
	p->from_fd = udp_open(f->any, false, NULL);
}

static void pair_close(const struct pair *p)
{
	close(p->from_fd);
	close(p->to_fd);
}

/* Sends the payload with packet info; returns what udp_send() does. */
static ssize_t send_from(const struct pair *p, const char *source,
			 unsigned int ifindex)
{
	const struct iovec iov = {
		.iov_base = unconst(payload),
		.iov_len = sizeof(payload),
	};
	union address from;
	struct outgoing out = {
		.to = &p->to,
		.iov = &iov,
		.n_iov = 1,
		.ifindex = ifindex,
	};

	if (source) {
		from = address_set(source, 0);
		out.source = &from;
	}
	return udp_send(p->from_fd, &out);
}

/* Receives the payload; it must come from @source. */
static void receive_from(const struct pair *p, const char *source,
			 struct arrival *in)
{
	static uint8_t buf[MESSAGE_CAP];
	union address expected = address_set(source, 0);

	udp_receive(p->to_fd, buf, in);
	assert_int_equal(in->len, sizeof(payload));
	assert_true(address_equal(&in->from, &expected));
}

/* The index in the far namespace of one of the two devices. */
static unsigned int far_index(const char *name)
{
	unsigned int idx;

	assert_int_equal(netns_enter(far_ns), 0);
	idx = if_nametoindex(name);
	assert_int_equal(netns_enter(near_ns), 0);
	assert_true(idx > 0);
	return idx;
}

static void test_source_is_used(void **state)
{
	struct arrival in;
	struct pair p;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(families); i++) {
		pair_open(&p, &families[i]);
		assert_int_equal(
			netns_add_address("one", families[i].second_prefix), 0);
		assert_int_equal(send_from(&p, families[i].second, 0),
				 sizeof(payload));
		receive_from(&p, families[i].second, &in);
		assert_int_equal(send_from(&p, families[i].first, 0),
				 sizeof(payload));
		receive_from(&p, families[i].first, &in);
		pair_close(&p);
	}
}

/* A removed source is an error; without a source the datagram is sent. */
static void test_source_that_is_gone(void **state)
{
	struct arrival in;
	struct pair p;
	ssize_t n;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(families); i++) {
		pair_open(&p, &families[i]);
		assert_int_equal(netns_ip("addr del %s dev one",
					  families[i].second_prefix),
				 0);
		n = send_from(&p, families[i].second, 0);
		assert_true(n < 0);
		seen(n == (i ? -EINVAL : -ENETUNREACH),
		     "%s: a source that is gone gives %s", families[i].host,
		     strerror((int)-n));
		/* The library checks the source after these errors only. */
		assert_true(n == -EINVAL || n == -ENETUNREACH ||
			    n == -EHOSTUNREACH || n == -EADDRNOTAVAIL);

		assert_int_equal(send_from(&p, NULL, 0), sizeof(payload));
		receive_from(&p, families[i].first, &in);
		assert_true(udp_is_empty(p.to_fd));
		pair_close(&p);
	}
}

/*
 * Sends with packet info; returns the far device that the datagram arrived on.
 */
static unsigned int came_by(const struct pair *p, const char *source,
			    unsigned int ifindex, const char *from)
{
	struct arrival in;

	assert_int_equal(send_from(p, source, ifindex), sizeof(payload));
	receive_from(p, from, &in);
	return in.ifindex;
}

/* The address alone leaves the choice to the routes, which prefer "one". */
static void test_address_does_not_choose_the_device(void **state)
{
	const unsigned int one = far_index("one");
	const struct family *f;
	struct pair p;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(families); i++) {
		f = &families[i];
		pair_open(&p, f);
		assert_int_equal(came_by(&p, f->first, 0, f->first), one);
		assert_int_equal(came_by(&p, f->other, 0, f->other), one);
		pair_close(&p);
	}
}

static void test_index_forces_the_device(void **state)
{
	const unsigned int two = far_index("two");
	const unsigned int near_two = if_nametoindex("two");
	const struct family *f;
	struct pair p;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(families); i++) {
		f = &families[i];
		pair_open(&p, f);
		assert_int_equal(came_by(&p, NULL, near_two, f->other), two);
		pair_close(&p);
	}
}

/*
 * With an address beside it, the index still decides in IPv4. In IPv6 it only
 * selects between routes of one metric (ip6_route_output_flags() is strict
 * about the device if there is no source).
 */
static void test_index_with_another_devices_address(void **state)
{
	const unsigned int one = far_index("one"), two = far_index("two");
	const unsigned int near_two = if_nametoindex("two");
	const struct family *f;
	unsigned int idx;
	struct pair p;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(families); i++) {
		f = &families[i];
		pair_open(&p, f);
		idx = came_by(&p, f->first, near_two, f->first);
		assert_true(idx == one || idx == two);
		seen(idx == (i ? one : two),
		     "%s: the index beside another device's address %s",
		     f->host, idx == two ? "forces the device" : "does not");
		pair_close(&p);
	}
}

static void test_link_local_source_wants_an_index(void **state)
{
	const unsigned int near_one = if_nametoindex("one");
	struct arrival in;
	struct pair p;

	(void)state;
	pair_open(&p, &families[1]);
	/* Towards a global address, nothing else says which link it is. */
	assert_int_equal(send_from(&p, link_local, 0), -EINVAL);
	assert_int_equal(send_from(&p, link_local, near_one), sizeof(payload));
	receive_from(&p, link_local, &in);
	assert_true(udp_is_empty(p.to_fd));
	pair_close(&p);
}

/* Routes to the far hosts over both devices, the first one preferred. */
static int add_routes(void)
{
	if (netns_enter(near_ns) ||
	    netns_ip("route add 10.9.0.0/24 via 10.1.0.2 metric 10") ||
	    netns_ip("route add 10.9.0.0/24 via 10.2.0.2 metric 20") ||
	    netns_ip("route add fd00:9::/64 via fd00:1::2 metric 10") ||
	    netns_ip("route add fd00:9::/64 via fd00:2::2 metric 20") ||
	    netns_add_address("one", link_local_prefix))
		return -1;
	return 0;
}

static int setup(void **state)
{
	(void)state;
	near_ns = netns_new();
	far_ns = netns_new();
	if (near_ns < 0 || far_ns < 0)
		return -1;
	if (netns_join(near_ns, far_ns, "one", 1, 1500) ||
	    netns_join(near_ns, far_ns, "two", 2, 1500) || add_routes())
		return -1;
	if (netns_enter(far_ns) || netns_add_address("lo", "10.9.0.1/32") ||
	    netns_add_address("lo", "fd00:9::1/128"))
		return -1;
	return netns_enter(near_ns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_source_is_used),
		cmocka_unit_test(test_source_that_is_gone),
		cmocka_unit_test(test_address_does_not_choose_the_device),
		cmocka_unit_test(test_index_forces_the_device),
		cmocka_unit_test(test_index_with_another_devices_address),
		cmocka_unit_test(test_link_local_source_wants_an_index),
	};

	netns_require();
	return cmocka_run_group_tests(tests, setup, NULL);
}
