/* SPDX-License-Identifier: MIT */
/*
 * What connect(2) does to a UDP socket beside connecting it: the address that it
 * chooses stays for the next peer, and the end of a connection (AF_UNSPEC) takes the
 * interface, and the port if the kernel had chosen it. The library ends a connection
 * before it begins another, and sets both again.
 */
#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/lib/check.h"
#include "tests/lib/netns.h"
#include "tests/platform/datagram.h"

static int home, far;

static const struct {
	const char *any, *near, *far;
} table[] = {
	{ "0.0.0.0", "127.0.0.1", "10.5.0.2" },
	{ "::", "::1", "fd00:5::2" },
};

static int open_bound(const char *text, uint16_t port)
{
	union address a = address_set(text, port);
	int fd = socket(a.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, &a.any, address_len(&a)), 0);
	return fd;
}

static union address local_of(int fd)
{
	union address a = { 0 };
	socklen_t len = sizeof(a);

	assert_int_equal(getsockname(fd, &a.any, &len), 0);
	return a;
}

static in_port_t port_of(const union address *a)
{
	return a->any.sa_family == AF_INET ? a->v4.sin_port : a->v6.sin6_port;
}

static int connect_to(int fd, const char *text)
{
	union address a = address_set(text, 9);

	return connect(fd, &a.any, address_len(&a)) < 0 ? -errno : 0;
}

static void end_connection(int fd)
{
	static const struct sockaddr nobody = { .sa_family = AF_UNSPEC };

	assert_int_equal(connect(fd, &nobody, sizeof(nobody)), 0);
}

static void port(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		int chosen = open_bound(table[i].any, 0);
		int asked = open_bound(table[i].any, 4567);

		assert_int_equal(connect_to(chosen, table[i].near), 0);
		assert_int_equal(connect_to(asked, table[i].near), 0);
		union address a = local_of(chosen), b;

		assert_int_not_equal(port_of(&a), 0);
		end_connection(chosen);
		end_connection(asked);
		a = local_of(chosen);
		b = local_of(asked);
		seen(port_of(&a) == 0,
		     "%s: the end of a connection takes a port that the "
		     "kernel chose",
		     table[i].any);
		assert_int_equal(ntohs(port_of(&b)), 4567);
		close(chosen);
		close(asked);
	}
}

static void interface(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		int fd = open_bound(table[i].any, 0);
		char name[IFNAMSIZ] = { 0 };
		socklen_t len = sizeof(name);

		assert_int_equal(
			setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2),
			0);
		assert_int_equal(connect_to(fd, table[i].near), 0);
		end_connection(fd);
		assert_int_equal(
			getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len),
			0);
		seen(!name[0],
		     "%s: the end of a connection takes the interface",
		     table[i].any);
		close(fd);
	}
}

static void address(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		union address near = address_set(table[i].near, 0);
		int fd = open_bound(table[i].any, 0);

		assert_int_equal(connect_to(fd, table[i].near), 0);
		int err = connect_to(fd, table[i].far);
		union address own = local_of(fd);

		seen(err < 0 || address_equal(&own, &near),
		     "%s: a second connect(2) keeps the address of the first",
		     table[i].any);
		end_connection(fd);
		assert_int_equal(connect_to(fd, table[i].far), 0);
		own = local_of(fd);
		assert_false(address_equal(&own, &near));
		close(fd);
	}
}

static int setup(void **state)
{
	(void)state;
	far = netns_new();
	home = netns_new();
	return far < 0 || home < 0 || netns_join(home, far, "veth5", 5, 1500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(port),
		cmocka_unit_test(interface),
		cmocka_unit_test(address),
	};

	netns_require();
	return cmocka_run_group_tests(tests, setup, NULL);
}
