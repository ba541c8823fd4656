/* SPDX-License-Identifier: MIT */
/*
 * ug_wake() over a kernel whose poll(2) calls the test. A call that is made inside of
 * that poll(2) is one of another thread, or of a signal handler, while the first thread
 * sleeps.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/fault/sending.h"
#include "tests/lib/check.h"
#include "udpgather/open.h"

static struct ug_receiver *rcv, *second;
static struct ug_view views[4];
static bool has_datagram;

static int receive_rule(int fd, struct mmsghdr *msgs, unsigned int n)
{
	struct msghdr *h = &msgs->msg_hdr;

	(void)n;
	if (!has_datagram || fake_family(fd) != AF_INET)
		return -EAGAIN;
	has_datagram = false;
	memcpy(h->msg_name, &ep_a.addr, sizeof(ep_a.addr));
	h->msg_namelen = sizeof(ep_a.addr.v4);
	h->msg_controllen = 0;
	h->msg_flags = 0;
	msgs->msg_len = 1;
	return 1;
}

static int setup(void **state)
{
	has_datagram = false;
	if (sending_setup(state) || ug_receiver_new(&rcv, 4) ||
	    ug_receiver_new(&second, 4))
		return -1;
	fake.receive = receive_rule;
	return 0;
}

static int teardown(void **state)
{
	ug_receiver_free(rcv);
	ug_receiver_free(second);
	return sending_teardown(state);
}

static int receive(int timeout_ms)
{
	return ug_receive(rcv, sock, AF_UNSPEC, views, 4, timeout_ms);
}

/* A receiver that waits in vain, and has seen all wakes then. */
static void expect_timeout(void)
{
	int64_t start = fake.now_ms;

	assert_int_equal(receive(20), 0);
	assert_int_equal(ug_receiver_why(rcv), -ETIMEDOUT);
	assert_int_equal(fake.now_ms - start, 20);
}

static void expect_woken(int timeout_ms)
{
	assert_int_equal(receive(timeout_ms), 0);
	assert_int_equal(ug_receiver_why(rcv), -ECANCELED);
}

/* Nobody sleeps, and nothing is left in the eventfd. */
static void expect_quiet(void)
{
	assert_int_equal(fake.wake_units, 0);
	assert_int_equal((uint32_t)atomic_load(&sock->wake.word), 0);
}

/* Nothing comes for the time that may be slept, but 3 ms at most. */
static int silence(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	for (nfds_t i = 0; i < n; i++)
		fds[i].revents = 0;
	assert_true(timeout_ms >= 0);
	fake.now_ms += timeout_ms;
	return 0;
}

/* A wake while the thread sleeps. */
static int wake_rule(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	(void)timeout_ms;
	for (nfds_t i = 0; i < n; i++)
		fds[i].revents = 0;
	errno = EDOM;
	ug_wake(sock);
	assert_int_equal(errno, EDOM);
	return 0;
}

static void receiver_sleeps(void **state)
{
	static const int families[] = { AF_INET, AF_INET6, AF_UNSPEC };
	struct ug_received message = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		for (int timeout_ms = -1; timeout_ms < 2000;
		     timeout_ms += 1000) {
			fake.poll = wake_rule;
			fake.polls = 0;
			assert_int_equal(ug_receive(rcv, sock, families[i],
						    views, 4, timeout_ms),
					 0);
			assert_int_equal(ug_receiver_why(rcv), -ECANCELED);
			assert_int_equal(
				ug_receive_trains(rcv, sock, families[i],
						  &message, sizeof(message), 1,
						  timeout_ms),
				-ECANCELED);
			assert_int_equal(fake.polls, 2);
			expect_quiet();
		}
		fake.poll = silence;
		expect_timeout();
	}
	/* One eventfd for all of it. */
	assert_int_equal(fake.eventfds, 1);
}

/* A wake that nobody sleeps for ends the next wait, once. */
static void kept_for_later(void **state)
{
	(void)state;
	fake.poll = silence;
	/* There is no eventfd yet, and none is needed. */
	ug_wake(sock);
	ug_wake(sock);
	assert_int_equal(fake.eventfds, 0);
	/* It is for waits only. */
	assert_int_equal(receive(0), 0);
	assert_int_equal(ug_receiver_why(rcv), -EAGAIN);
	assert_int_equal(fake.eventfds, 0);
	expect_woken(-1);
	assert_int_equal(fake.polls, 0);
	expect_timeout();
	/* Each receiver and each batch has it for itself. */
	ug_wake(sock);
	expect_woken(20);
	assert_int_equal(ug_receive(second, sock, AF_INET, views, 4, -1), 0);
	assert_int_equal(ug_receiver_why(second), -ECANCELED);
	expect_timeout();
	expect_quiet();
}

/* A datagram comes first. The wake does not end the wait after that: the program has
 * looked at its flags meanwhile. */
static void used_up(void **state)
{
	(void)state;
	ug_wake(sock);
	has_datagram = true;
	assert_int_equal(receive(-1), 1);
	fake.poll = silence;
	expect_timeout();
	/* With a timeout of 0 it is not used up. */
	ug_wake(sock);
	has_datagram = true;
	assert_int_equal(receive(0), 1);
	expect_woken(-1);
}

/* A datagram and a wake come at once. */
static int both_rule(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	wake_rule(fds, n, timeout_ms);
	fds[0].revents = POLLIN;
	has_datagram = true;
	return 1;
}

/* A socket reports something that another thread takes, and a wake comes. */
static int nothing_rule(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	both_rule(fds, n, timeout_ms);
	has_datagram = false;
	return 1;
}

static int signal_rule(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	wake_rule(fds, n, timeout_ms);
	errno = EINTR;
	return -1;
}

static void together(void **state)
{
	(void)state;
	fake.poll = both_rule;
	assert_int_equal(receive(-1), 1);
	expect_quiet();
	fake.poll = silence;
	expect_timeout();
	fake.poll = nothing_rule;
	expect_woken(-1);
	expect_quiet();
	fake.poll = signal_rule;
	assert_int_equal(receive(-1), 0);
	assert_int_equal(ug_receiver_why(rcv), -EINTR);
	expect_quiet();
	fake.poll = silence;
	expect_timeout();
}

/* A receiver that takes turns with another socket keeps no wakes. */
static void other_socket(void **state)
{
	struct ug_socket *other;

	(void)state;
	assert_int_equal(ug_socket_open_with(&fake_sys, &other, NULL, NULL), 0);
	fake.poll = silence;
	ug_wake(sock);
	expect_woken(-1);
	assert_int_equal(ug_receive(rcv, other, AF_INET, views, 4, 5), 0);
	assert_int_equal(ug_receiver_why(rcv), -ETIMEDOUT);
	ug_wake(sock);
	expect_timeout();
	ug_wake(other);
	expect_timeout();
	ug_close(other);
}

/* While the first thread sleeps, another one begins to sleep, and a third wakes both.
 * Both go, in any order. */
static size_t n_sleeping;
static bool inner_first;

static int two_rule(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	for (nfds_t i = 0; i < n; i++)
		fds[i].revents = 0;
	if (n_sleeping++) {
		if (inner_first)
			ug_wake(sock);
		else
			return silence(fds, n, timeout_ms);
		return 0;
	}
	assert_int_equal(ug_receive(second, sock, AF_INET, views, 4, 7), 0);
	assert_int_equal(ug_receiver_why(second),
			 inner_first ? -ECANCELED : -ETIMEDOUT);
	if (!inner_first)
		ug_wake(sock);
	assert_int_equal(fake.wake_units, 1);
	return 0;
}

static void two_sleepers(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		inner_first = i % 2;
		n_sleeping = 0;
		fake.poll = two_rule;
		expect_woken(-1);
		expect_quiet();
		/* Bring the second one up to date. */
		fake.poll = silence;
		ug_receive(second, sock, AF_INET, views, 4, 1);
	}
}

/*
 * The first thread was woken, and does not get to run. Another thread, for which there
 * is no wake, begins to sleep. It must neither return, nor spin, nor take the unit of
 * the first one.
 */
static int late_rule(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	int64_t start = fake.now_ms;

	if (n_sleeping++) {
		/* The sleep that found the unit takes no time. */
		if (n_sleeping % 2)
			return silence(fds, n, timeout_ms);
		return silence(fds, n, 0);
	}
	ug_wake(sock);
	assert_int_equal(fake.wake_units, 1);
	/* The wake is not new for this one, which knows it by another call. */
	has_datagram = true;
	assert_int_equal(ug_receive(second, sock, AF_INET, views, 4, 50), 1);
	assert_int_equal(ug_receive(second, sock, AF_INET, views, 4, 50), 0);
	assert_int_equal(ug_receiver_why(second), -ETIMEDOUT);
	assert_int_equal(fake.now_ms - start, 50);
	assert_int_equal(fake.wake_units, 1);
	/* A sleep and a pause for each millisecond. */
	assert_int_equal(n_sleeping, 1 + 2 * 50);
	return silence(fds, n, 0);
}

static void late_sleeper(void **state)
{
	(void)state;
	n_sleeping = 0;
	fake.poll = late_rule;
	expect_woken(-1);
	expect_quiet();
}

/* The kernel has no eventfd for us: a wake is seen within 50 ms. */
static size_t wake_at;

static int slice_rule(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	assert_in_range(timeout_ms, 1, 50);
	if (fake.polls == wake_at)
		ug_wake(sock);
	return silence(fds, n, timeout_ms);
}

static void no_eventfd(void **state)
{
	(void)state;
	fake.eventfd_err = EMFILE;
	fake.poll = slice_rule;
	wake_at = 3;
	expect_woken(-1);
	assert_int_equal(fake.polls, 3);
	fake.polls = 0;
	wake_at = 1000;
	int64_t start = fake.now_ms;

	assert_int_equal(receive(120), 0);
	assert_int_equal(ug_receiver_why(rcv), -ETIMEDOUT);
	assert_int_equal(fake.now_ms - start, 120);
	assert_int_equal(fake.polls, 3);
	/* A wake before the wait. */
	ug_wake(sock);
	expect_woken(-1);
	assert_int_equal(fake.polls, 3);
	expect_quiet();
	/* Later there is one. */
	fake.eventfd_err = 0;
	fake.poll = wake_rule;
	expect_woken(-1);
	assert_int_equal(fake.eventfds, 1);
	expect_quiet();
}

/* ---------------------------------------------------------------- Sending */

static int full_errno;

static int full_rule(const struct fake_message *m)
{
	(void)m;
	return full_errno;
}

/* A wake ends all waits of the call: that of IPv6, too. What was not sent is unsent,
 * and can be sent later. */
static void sender_sleeps(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++) {
		n_dgrams = 0;
		add(&ep_a, 10, 100);
		add(&ep_six, 10, 100);
		add(&ep_b, 200, 100);
		full_errno = EAGAIN;
		fake.rule = full_rule;
		fake.poll = wake_rule;
		fake.polls = fake.n = 0;
		assert_int_equal(ug_send(sock, batch, NULL, dgrams, n_dgrams,
					 status, i ? 5000 : -1),
				 0);
		account(0);
		expect_status(0, n_dgrams, UG_UNSENT);
		assert_int_equal(fake.polls, 1);
		expect_quiet();
		/* The next call waits again. */
		fake.poll = silence;
		int64_t start = fake.now_ms;

		assert_int_equal(ug_send(sock, batch, NULL, dgrams, n_dgrams,
					 status, 30),
				 0);
		assert_in_range(fake.now_ms - start, 30, 31);
		fake.rule = NULL;
		send_all(n_dgrams);
	}
}

/* A wake before the call, or while it waits for memory, ends it, too. */
static void sender_wakes_at_once(void **state)
{
	static const int errs[] = { EAGAIN, ENOBUFS };

	(void)state;
	add(&ep_a, 10, 100);
	fake.rule = full_rule;
	fake.poll = silence;
	for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
		full_errno = errs[i];
		fake.polls = 0;
		ug_wake(sock);
		assert_int_equal(
			ug_send(sock, batch, NULL, dgrams, 10, status, -1), 0);
		expect_status(0, 10, UG_UNSENT);
		/* Memory is waited for by a pause of 1 ms. */
		assert_int_equal(fake.polls, errs[i] == ENOBUFS);
		/* A call that has room is not touched, and uses the wake up. */
		ug_wake(sock);
		fake.rule = NULL;
		assert_int_equal(
			ug_send(sock, batch, NULL, dgrams, 10, status, 1000),
			10);
		fake.rule = full_rule;
		int64_t start = fake.now_ms;

		ug_send(sock, batch, NULL, dgrams, 10, status, 30);
		assert_in_range(fake.now_ms - start, 30, 33);
	}
}

/* The same for trains of the caller: what has left is counted. */
static size_t allowance;

static int allowance_rule(const struct fake_message *m)
{
	(void)m;
	if (!allowance)
		return EAGAIN;
	allowance--;
	return 0;
}

static void train_sender_sleeps(void **state)
{
	static unsigned char bytes[3000];
	struct iovec iov = { bytes, sizeof(bytes) };
	struct ug_train t[3];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		t[i] = (struct ug_train){
			.to = i == 2 ? &ep_six : &ep_a,
			.iov = &iov,
			.n_iov = 1,
			.segment_len = 1000,
		};
	fake.rule = allowance_rule;
	fake.poll = wake_rule;
	allowance = 1;
	assert_int_equal(
		ug_send_trains(sock, batch, t, sizeof(*t), ARRAY_LEN(t), -1),
		3);
	assert_int_equal(t[0].status, UG_SENT);
	assert_int_equal(t[1].status, UG_UNSENT);
	assert_int_equal(t[1].n_sent, 0);
	assert_int_equal(t[2].status, UG_UNSENT);
	assert_int_equal(fake.polls, 1);
	expect_quiet();
	fake.poll = silence;
	int64_t start = fake.now_ms;

	ug_send_trains(sock, batch, t, sizeof(*t), 1, 20);
	assert_in_range(fake.now_ms - start, 20, 21);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(receiver_sleeps),
		TEST(kept_for_later),
		TEST(used_up),
		TEST(together),
		TEST(other_socket),
		TEST(two_sleepers),
		TEST(late_sleeper),
		TEST(no_eventfd),
		TEST(sender_sleeps),
		TEST(sender_wakes_at_once),
		TEST(train_sender_sleeps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
