/* SPDX-License-Identifier: MIT */
/*
 * Merging is switched on and off while receivers run, and while the kernel
 * queues datagrams in the moments that could go wrong. No thread waits for
 * another.
 */
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/lib/check.h"
#include "tests/lib/fakesys.h"
#include "udpgather/merging.h"
#include "udpgather/open.h"

static struct ug_socket *sock;
static struct ug_receiver *rcv;
static struct ug_view views[4];
static bool waiting;	 /* the IPv4 socket has a datagram */
static size_t asked;	 /* calls that looked for a datagram */
static size_t comes_at;	 /* number of the call that finds one; 0: never */
static short other_bits; /* further bits of poll's answer */

static short ready_rule(int fd)
{
	if (fd != FAKE_FD4)
		return 0;
	if (++asked == comes_at)
		waiting = true;
	return (short)((waiting ? POLLIN : 0) | other_bits);
}

static int nothing_comes(int fd, struct mmsghdr *msgs, unsigned int n)
{
	(void)fd;
	(void)msgs;
	(void)n;
	return -EAGAIN;
}

/* Nothing arrives, so a wait takes its whole time. */
static int wait_in_full(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	(void)fds;
	(void)n;
	assert_true(timeout_ms > 0);
	fake.now_ms += timeout_ms;
	return 0;
}

static int setup(void **state)
{
	(void)state;
	fake_reset();
	waiting = false;
	asked = comes_at = 0;
	other_bits = 0;
	fake.ready = ready_rule;
	fake.receive = nothing_comes;
	fake.poll = wait_in_full;
	if (ug_socket_open_with(&fake_sys, &sock, NULL, NULL) < 0)
		return -1;
	return ug_receiver_new(&rcv, 4);
}

static int teardown(void **state)
{
	(void)state;
	ug_receiver_free(rcv);
	ug_close(sock);
	return 0;
}

static bool is_on(int fd)
{
	return fake_option(fd, IPPROTO_UDP, UDP_GRO) == 1;
}

static int receive(int timeout_ms)
{
	return ug_receive(rcv, sock, AF_UNSPEC, views, ARRAY_LEN(views),
			  timeout_ms);
}

static void at_once(void **state)
{
	(void)state;
	assert_true(is_on(FAKE_FD4) && is_on(FAKE_FD6));
	assert_int_equal(ug_set_merging(sock, false), 0);
	assert_false(is_on(FAKE_FD4) || is_on(FAKE_FD6));
	/* One barrier serves both families, and none is needed if merging is
	 * off. */
	assert_int_equal(fake.membarriers, 2);
	assert_int_equal(ug_set_merging(sock, false), 0);
	assert_int_equal(receive(200), 0);
	assert_int_equal(fake.membarriers, 2);
	assert_int_equal(ug_set_merging(sock, true), 0);
	assert_true(is_on(FAKE_FD4) && is_on(FAKE_FD6));
	assert_int_equal(fake.membarriers, 2);
}

/* Merging stays on while a datagram waits. A long wait without one ends it. */
static void something_waits(void **state)
{
	(void)state;
	waiting = true;
	assert_int_equal(ug_set_merging(sock, false), 0);
	assert_true(is_on(FAKE_FD4));
	assert_false(is_on(FAKE_FD6));
	assert_int_equal(fake.membarriers, 2);
	waiting = false;
	assert_int_equal(receive(0), 0);
	assert_int_equal(receive(MERGING_QUIET_MS - 1), 0);
	assert_true(is_on(FAKE_FD4));
	assert_int_equal(fake.membarriers, 2);
	/* Receive from that family. */
	assert_int_equal(ug_receive(rcv, sock, AF_INET6, views, 1, 100), 0);
	assert_true(is_on(FAKE_FD4));
	int64_t start = fake.now_ms;

	assert_int_equal(receive(MERGING_QUIET_MS), 0);
	assert_false(is_on(FAKE_FD4));
	assert_int_equal(fake.membarriers, 4);
	assert_int_equal(fake.now_ms - start, MERGING_QUIET_MS);
}

/*
 * A wait of ug_receive() that is longer than the attempt to switch off goes on
 * after the attempt, for its whole time.
 */
static void long_wait(void **state)
{
	(void)state;
	waiting = true;
	assert_int_equal(ug_set_merging(sock, false), 0);
	int64_t start = fake.now_ms;

	assert_int_equal(receive(3 * MERGING_QUIET_MS + 7), 0);
	assert_true(is_on(FAKE_FD4));
	assert_int_equal(fake.now_ms - start, 3 * MERGING_QUIET_MS + 7);
	/* Switching merging on again ends the attempts. */
	assert_int_equal(ug_set_merging(sock, true), 0);
	waiting = false;
	assert_int_equal(receive(200), 0);
	assert_true(is_on(FAKE_FD4));
}

/*
 * Another CPU queues a merged datagram when the option is off already: after
 * the first look, or during the wait. The option is on again before a receiver
 * reads.
 */
static void queued_late(void **state)
{
	(void)state;
	for (size_t at = 2; at <= 3; at++) {
		waiting = false;
		asked = 0;
		comes_at = at;
		assert_int_equal(ug_set_merging(sock, false), 0);
		assert_true(is_on(FAKE_FD4));
		assert_true(ug_merging_is_pending(&sock->families[FAMILY_V4]));
	}
	comes_at = 0;
	waiting = false;
	assert_int_equal(ug_set_merging(sock, false), 0);
	assert_false(is_on(FAKE_FD4));
}

/* An error on the socket is no datagram. */
static void error_waits(void **state)
{
	(void)state;
	other_bits = POLLERR;
	assert_int_equal(ug_set_merging(sock, false), 0);
	assert_false(is_on(FAKE_FD4));
}

/* Without membarrier(2) merging is not switched off. */
static void no_membarrier(void **state)
{
	(void)state;
	fake.no_membarrier = true;
	assert_int_equal(ug_set_merging(sock, false), -EOPNOTSUPP);
	assert_true(is_on(FAKE_FD4) && is_on(FAKE_FD6));
	assert_int_equal(receive(200), 0);
	assert_true(is_on(FAKE_FD4));
	assert_int_equal(ug_set_merging(sock, true), 0);
}

static int fails_late(void)
{
	errno = EINVAL;
	return -1;
}

static void failing_membarrier(void **state)
{
	(void)state;
	fake.membarrier = fails_late;
	assert_int_equal(ug_set_merging(sock, false), 0);
	assert_true(is_on(FAKE_FD4));
}

static int receive_meanwhile(void)
{
	size_t calls = fake.receive_calls, pauses = fake.pauses;

	/* Datagrams that may be merged are not read, and the call does not
	 * wait. */
	assert_int_equal(receive(0), 0);
	assert_int_equal(fake.receive_calls, calls);
	fake.poll = NULL;
	assert_int_equal(receive(10), 0);
	assert_int_equal(fake.receive_calls, calls);
	assert_true(fake.pauses > pauses);
	fake.poll = wait_in_full;
	return 0;
}

static void closed_gate(void **state)
{
	(void)state;
	fake.membarrier = receive_meanwhile;
	assert_int_equal(ug_set_merging(sock, false), 0);
	assert_int_equal(fake.membarriers, 2);
	assert_false(is_on(FAKE_FD4));
	size_t calls = fake.receive_calls;

	assert_int_equal(receive(0), 0);
	assert_int_equal(fake.receive_calls, calls + 2);
}

static bool switch_to;

static int switch_meanwhile(int fd, struct mmsghdr *msgs, unsigned int n)
{
	(void)msgs;
	(void)n;
	if (fd == FAKE_FD4)
		assert_int_equal(ug_set_merging(sock, switch_to), 0);
	return -EAGAIN;
}

/* With a running receiver, "off" takes effect later, "on" at once. */
static void receiver_inside(void **state)
{
	(void)state;
	fake.receive = switch_meanwhile;
	assert_int_equal(receive(0), 0);
	assert_true(is_on(FAKE_FD4));
	fake.receive = nothing_comes;
	assert_int_equal(receive(MERGING_QUIET_MS), 0);
	assert_false(is_on(FAKE_FD4));
	fake.receive = switch_meanwhile;
	switch_to = true;
	assert_int_equal(receive(0), 0);
	assert_true(is_on(FAKE_FD4));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(at_once),
		TEST(something_waits),
		TEST(long_wait),
		TEST(queued_late),
		TEST(error_waits),
		TEST(no_membarrier),
		TEST(failing_membarrier),
		TEST(closed_gate),
		TEST(receiver_inside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
