/* SPDX-License-Identifier: MIT */
/*
 * An error that one datagram caused is delivered to a later send, whatever
 * its destination; and the send after that passes.
 */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/lib/netns.h"
#include "tests/lib/check.h"
#include "tests/platform/datagram.h"

static const char *const loopback[] = { "127.0.0.1", "::1" };
static const uint8_t payload[] = "datagram";

/* Waits until the socket has a pending error. */
static void wait_for_error(int fd)
{
	struct pollfd pfd = { .fd = fd };

	assert_int_equal(poll(&pfd, 1, 5000), 1);
	assert_true(pfd.revents & POLLERR);
}

/* Makes an address without a listener: its port was free just now. A socket that is opened
 * later may get this port, so all others are opened before. */
static union address nobody(const char *text)
{
	union address a;

	close(udp_open(text, false, &a));
	return a;
}

/* Connects a socket and leaves a pending ECONNREFUSED on it. */
static void leave_error(int fd, const union address *closed)
{
	assert_int_equal(connect(fd, &closed->any, address_len(closed)), 0);
	assert_int_equal(udp_send_bytes(fd, NULL, payload, sizeof(payload), 0),
			 sizeof(payload));
	wait_for_error(fd);
}

static void test_next_send_fails_and_the_one_after_passes(void **state)
{
	union address closed;
	size_t i;
	int fd;

	(void)state;
	for (i = 0; i < ARRAY_LEN(loopback); i++) {
		fd = udp_open(loopback[i], false, NULL);
		closed = nobody(loopback[i]);
		leave_error(fd, &closed);
		assert_int_equal(
			udp_send_bytes(fd, NULL, payload, sizeof(payload), 0),
			-ECONNREFUSED);
		assert_int_equal(
			udp_send_bytes(fd, NULL, payload, sizeof(payload), 0),
			sizeof(payload));
		close(fd);
	}
}

/* The send that gets the error may have another destination. */
static void test_another_destination_is_blamed(void **state)
{
	union address closed, to;
	int fd, to_fd;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(loopback); i++) {
		to_fd = udp_open(loopback[i], false, &to);
		fd = udp_open(loopback[i], false, NULL);
		closed = nobody(loopback[i]);
		leave_error(fd, &closed);
		assert_int_equal(
			udp_send_bytes(fd, &to, payload, sizeof(payload), 0),
			-ECONNREFUSED);
		assert_true(udp_is_empty(to_fd));
		assert_int_equal(
			udp_send_bytes(fd, &to, payload, sizeof(payload), 0),
			sizeof(payload));
		udp_expect(to_fd, payload, sizeof(payload));
		close(fd);
		close(to_fd);
	}
}

/* On a socket that is not connected only IP_RECVERR has errors reported. */
static void test_unconnected_socket_with_recverr(void **state)
{
	static const int level[] = { IPPROTO_IP, IPPROTO_IPV6 };
	static const int name[] = { IP_RECVERR, IPV6_RECVERR };
	const int on = 1;
	union address closed, to;
	int fd, to_fd;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_LEN(loopback); i++) {
		to_fd = udp_open(loopback[i], false, &to);
		fd = udp_open(loopback[i], false, NULL);
		closed = nobody(loopback[i]);
		assert_int_equal(
			setsockopt(fd, level[i], name[i], &on, sizeof(on)), 0);
		assert_int_equal(udp_send_bytes(fd, &closed, payload,
						sizeof(payload), 0),
				 sizeof(payload));
		wait_for_error(fd);
		assert_int_equal(
			udp_send_bytes(fd, &to, payload, sizeof(payload), 0),
			-ECONNREFUSED);
		assert_int_equal(
			udp_send_bytes(fd, &to, payload, sizeof(payload), 0),
			sizeof(payload));
		udp_expect(to_fd, payload, sizeof(payload));
		close(fd);
		close(to_fd);
	}
}

static int setup(void **state)
{
	(void)state;
	return netns_new() < 0 ? -1 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_next_send_fails_and_the_one_after_passes),
		cmocka_unit_test(test_another_destination_is_blamed),
		cmocka_unit_test(test_unconnected_socket_with_recverr),
	};

	netns_require();
	return cmocka_run_group_tests(tests, setup, NULL);
}
