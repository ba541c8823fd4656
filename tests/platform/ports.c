/* SPDX-License-Identifier: MIT */
/*
 * Several sockets on one port, bound one after the other with SO_REUSEPORT,
 * which is switched off at the end. Only one of them receives, and no other
 * process can bind the port. If the option stays on, the sockets are a group, also
 * the first one, which was bound without it; and other sockets of the same user can
 * bind the port.
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

/* Bind the sockets as the library does: as a group. Return: the port. */
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
	return port;
}

/* The same, and no other process can have the port. */
static uint16_t bind_alone(int family, int fds[SOCKETS])
{
	uint16_t port = bind_all(family, fds);

	for (int i = 0; i < SOCKETS; i++)
		set_shared(fds[i], 0);
	return port;
}

static void close_all(const int fds[SOCKETS])
{
	for (int i = 0; i < SOCKETS; i++)
		close(fds[i]);
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
	uint16_t port = bind_alone(family, fds);
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
		uint16_t port = bind_alone(families[i], fds);
		union address a;
		socklen_t len = any_address(families[i], port, false, &a);
		int other = open_socket(families[i]);

		set_shared(other, 1);
		errno = 0;
		assert_int_equal(bind(other, &a.any, len), -1);
		assert_int_equal(errno, EADDRINUSE);
		close(other);
		close_all(fds);
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

/* Send from many addresses, to a port of loopback. */
static void send_many(int family, uint16_t port)
{
	union address to;
	socklen_t len = any_address(family, port, true, &to);

	for (int i = 0; i < SENDERS; i++) {
		int from = open_socket(family);

		assert_int_equal(sendto(from, "x", 1, 0, &to.any, len), 1);
		close(from);
	}
}

/* Bind one more socket of this user with the option. Return: its descriptor. */
static int join(int family, uint16_t port, bool loopback)
{
	int fd = open_socket(family);
	union address a;
	socklen_t len = any_address(family, port, loopback, &a);

	set_shared(fd, 1);
	assert_int_equal(bind(fd, &a.any, len), 0);
	return fd;
}

/* The program steers to the socket with each number, and to no other. */
static void expect_steered(int family, uint16_t port, const int fds[SOCKETS])
{
	for (int number = 0; number < SOCKETS; number++) {
		assert_int_equal(steer(fds[0], (uint32_t)number), 0);
		send_many(family, port);
		for (int i = 0; i < SOCKETS; i++)
			assert_int_equal(drain(fds[i]),
					 i == number ? SENDERS : 0);
	}
}

static const int both[] = { AF_INET, AF_INET6 };

/* A socket that joins a group gets nothing, as long as the program chooses among the
 * sockets that were there before. */
static void joiner_is_empty(void **state)
{
	(void)state;
	for (size_t f = 0; f < ARRAY_LEN(both); f++) {
		int fds[SOCKETS];
		uint16_t port = bind_all(both[f], fds);

		assert_int_equal(steer(fds[0], 0), 0);
		int joiner = join(both[f], port, false);

		expect_steered(both[f], port, fds);
		assert_int_equal(drain(joiner), 0);
		/* After a number that no socket has the hash decides. */
		assert_int_equal(steer(fds[0], 2 * SOCKETS), 0);
		send_many(both[f], port);
		unsigned int n = drain(joiner);

		print_message("# family %d: %u of %d\n", both[f], n, SENDERS);
		assert_true(n > 0 && n < SENDERS);
		close(joiner);
		close_all(fds);
	}
}

/* If a joiner leaves, another one gets its number, and no other number changes. */
static void joiner_leaves(void **state)
{
	(void)state;
	for (size_t f = 0; f < ARRAY_LEN(both); f++) {
		int fds[SOCKETS];
		uint16_t port = bind_all(both[f], fds);
		int first = join(both[f], port, false);
		int second = join(both[f], port, false);

		expect_steered(both[f], port, fds);
		close(first);
		expect_steered(both[f], port, fds);
		assert_int_equal(drain(second), 0);
		assert_int_equal(steer(fds[0], SOCKETS), 0);
		send_many(both[f], port);
		assert_int_equal(drain(second), SENDERS);
		close(second);
		expect_steered(both[f], port, fds);
		close_all(fds);
	}
}

/*
 * If the option is cleared on the socket that the kernel finds first (as in
 * receiver_of()), nothing is steered any more. So a group cannot be closed to others
 * in this way.
 */
static void option_off_ends_group(void **state)
{
	(void)state;
	for (size_t f = 0; f < ARRAY_LEN(both); f++) {
		int fds[SOCKETS], found = both[f] == AF_INET ? SOCKETS - 1 : 0;
		uint16_t port = bind_all(both[f], fds);

		assert_int_equal(steer(fds[0], 1), 0);
		set_shared(fds[found], 0);
		send_many(both[f], port);
		for (int i = 0; i < SOCKETS; i++)
			assert_int_equal(drain(fds[i]),
					 i == found ? SENDERS : 0);
		set_shared(fds[found], 1);
		send_many(both[f], port);
		assert_int_equal(drain(fds[1]), SENDERS);
		close_all(fds);
	}
}

/* A socket of the same user that is bound to one address, or to one interface, is no
 * member of the group, and is preferred to it. */
static void one_address_is_preferred(void **state)
{
	(void)state;
	for (size_t f = 0; f < ARRAY_LEN(both); f++) {
		int fds[SOCKETS];
		uint16_t port = bind_all(both[f], fds);

		assert_int_equal(steer(fds[0], 0), 0);
		int joiner = join(both[f], port, true);

		send_many(both[f], port);
		assert_int_equal(drain(fds[0]), 0);
		assert_int_equal(drain(joiner), SENDERS);
		close(joiner);
		send_many(both[f], port);
		assert_int_equal(drain(fds[0]), SENDERS);
		close_all(fds);
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
		cmocka_unit_test(joiner_is_empty),
		cmocka_unit_test(joiner_leaves),
		cmocka_unit_test(option_off_ends_group),
		cmocka_unit_test(one_address_is_preferred),
	};

	netns_require();
	return cmocka_run_group_tests(tests, setup, NULL);
}
