/* SPDX-License-Identifier: MIT */
/*
 * Several sockets on one port, bound one after the other with SO_REUSEPORT,
 * which is switched off at the end. Only one of them receives, and no other
 * process can bind the port. If the option stays on, the sockets are a group, also
 * the first one, which was bound without it.
 */
#include <errno.h>
#include <linux/filter.h>
#include <poll.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/lib/check.h"
#include "tests/lib/netns.h"
#include "tests/platform/datagram.h"

enum {
	/* A main socket and four side sockets. */
	SOCKETS = 5,
	/* Sources of datagrams. If the kernel spread datagrams over the
	 * sockets, each socket would get some of so many. */
	SENDERS = 200,
};

static socklen_t any_address(int family, uint16_t port, bool loopback,
			     union address *a)
{
	*a = (union address){ 0 };
	a->any.sa_family = (sa_family_t)family;
	if (family == AF_INET) {
		a->v4.sin_port = htons(port);
		a->v4.sin_addr.s_addr =
			htonl(loopback ? INADDR_LOOPBACK : INADDR_ANY);
		return sizeof(a->v4);
	}
	a->v6.sin6_port = htons(port);
	a->v6.sin6_addr = loopback ? in6addr_loopback : in6addr_any;
	return sizeof(a->v6);
}

static void set_shared(int fd, int on)
{
	assert_int_equal(
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)), 0);
}

static int open_socket(int family)
{
	int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK, 0), on = 1;

	assert_true(fd >= 0);
	if (family == AF_INET6)
		assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on,
					    sizeof(on)),
				 0);
	return fd;
}

/* Bind the sockets as the library does. Return: the port. */
static uint16_t bind_all(int family, int fds[SOCKETS])
{
	union address a;
	uint16_t port = 0;

	for (int i = 0; i < SOCKETS; i++) {
		socklen_t len = any_address(family, port, false, &a);

		fds[i] = open_socket(family);
		if (i)
			set_shared(fds[i], 1);
		assert_int_equal(bind(fds[i], &a.any, len), 0);
		assert_int_equal(getsockname(fds[i], &a.any, &len), 0);
		port = ntohs(family == AF_INET ? a.v4.sin_port
					       : a.v6.sin6_port);
		if (!i)
			set_shared(fds[i], 1);
	}
	for (int i = 0; i < SOCKETS; i++)
		set_shared(fds[i], 0);
	return port;
}

static unsigned int drain(int fd)
{
	unsigned int n = 0;
	char byte;

	while (recv(fd, &byte, 1, 0) == 1)
		n++;
	return n;
}

/*
 * One socket receives everything: the last bound one in IPv4, the first in
 * IPv6.
 */
static void receiver_of(int family, int receiver)
{
	int fds[SOCKETS];
	uint16_t port = bind_all(family, fds);
	union address to;
	socklen_t len = any_address(family, port, true, &to);
	struct pollfd wait = { .events = POLLIN };

	for (int i = 0; i < SENDERS; i++) {
		int from = open_socket(family);

		assert_int_equal(sendto(from, "x", 1, 0, &to.any, len), 1);
		close(from);
	}
	wait.fd = fds[receiver];
	assert_int_equal(poll(&wait, 1, 5000), 1);
	for (int i = 0; i < SOCKETS; i++) {
		unsigned int n = drain(fds[i]);

		print_message("# family %d, socket %d: %u\n", family, i, n);
		assert_int_equal(n, i == receiver ? SENDERS : 0);
		close(fds[i]);
	}
}

static void last_receives_in_ipv4(void **state)
{
	(void)state;
	receiver_of(AF_INET, SOCKETS - 1);
}

static void first_receives_in_ipv6(void **state)
{
	(void)state;
	receiver_of(AF_INET6, 0);
}

static void nobody_can_join(void **state)
{
	static const int families[] = { AF_INET, AF_INET6 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		int fds[SOCKETS];
		uint16_t port = bind_all(families[i], fds);
		union address a;
		socklen_t len = any_address(families[i], port, false, &a);
		int other = open_socket(families[i]);

		set_shared(other, 1);
		errno = 0;
		assert_int_equal(bind(other, &a.any, len), -1);
		assert_int_equal(errno, EADDRINUSE);
		close(other);
		for (int k = 0; k < SOCKETS; k++)
			close(fds[k]);
	}
}

/* Steer all messages to the socket with this number. Return: 0; -errno. */
static int steer(int fd, uint32_t number)
{
	struct sock_filter code[] = { { BPF_RET | BPF_K, 0, 0, number } };
	struct sock_fprog filter = { ARRAY_LEN(code), code };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &filter,
			  sizeof(filter)) < 0
		       ? -errno
		       : 0;
}

/* A socket that is bound without the option is the first of a group when another one
 * joins it, and not before. */
static void first_is_bound_alone(void **state)
{
	static const int families[] = { AF_INET, AF_INET6 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		int first = open_socket(families[i]);
		int second = open_socket(families[i]);
		int from = open_socket(families[i]);
		union address a;
		socklen_t len = any_address(families[i], 0, true, &a);

		assert_int_equal(bind(first, &a.any, len), 0);
		assert_int_equal(getsockname(first, &a.any, &len), 0);
		set_shared(first, 1);
		assert_int_equal(steer(first, 0), -EINVAL);
		set_shared(second, 1);
		assert_int_equal(bind(second, &a.any, len), 0);
		for (uint32_t number = 0; number < 2; number++) {
			assert_int_equal(steer(first, number), 0);
			assert_int_equal(sendto(from, "x", 1, 0, &a.any, len),
					 1);
			assert_int_equal(drain(first), !number);
			assert_int_equal(drain(second), number);
		}
		close(first);
		close(second);
		close(from);
	}
}

static int setup(void **state)
{
	(void)state;
	return netns_new() < 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(last_receives_in_ipv4),
		cmocka_unit_test(first_receives_in_ipv6),
		cmocka_unit_test(nobody_can_join),
		cmocka_unit_test(first_is_bound_alone),
	};

	netns_require();
	return cmocka_run_group_tests(tests, setup, NULL);
}
