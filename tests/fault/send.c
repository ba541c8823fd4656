/* SPDX-License-Identifier: MIT */
/* ug_send() with short counts, signals and full sockets. */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/fault/sending.h"
#include "tests/lib/check.h"
#include "udpgather/endpoint.h"
#include "udpgather/open.h"

static void plain(void **state)
{
	(void)state;
	add(&ep_a, 100, 1400);
	add(&ep_six, 20, 500);
	add(&ep_a, 1, 5);
	send_all(121);
	struct ug_send_stats s = stats();

	/* 46 * 1,400 bytes are the most that stay below 65,493. */
	assert_int_equal(s.trains[46], 2);
	assert_int_equal(s.trains[9], 1);
	assert_int_equal(s.trains[20], 1);
	assert_int_equal(s.messages, 4);
	assert_int_equal(s.calls, 2);
	assert_int_equal(s.bytes, 100 * 1400 + 20 * 500 + 5);
	assert_int_equal(s.short_calls, 0);
	assert_null(ug_refused_source(batch));
}

/* Empty datagrams go out as such, each alone. */
static void empty(void **state)
{
	(void)state;
	add(&ep_a, 2, 0);
	add(&ep_a, 2, 5);
	dgrams[1].n_iov = 0;
	dgrams[1].iov = NULL;
	assert_int_equal(ug_send(sock, batch, NULL, dgrams, 4, status, 0), 4);
	assert_int_equal(fake.n, 4);
	assert_int_equal(fake.log[0].len, 0);
	assert_int_equal(fake.log[1].len, 0);
	assert_int_equal(fake.log[2].train, 2);
}

/* More datagrams than the batch looks at together. */
static void windows(void **state)
{
	struct ug_batch *small;

	(void)state;
	add(&ep_a, 300, 10);
	send_all(300);
	assert_int_equal(fake.send_calls, 3);
	assert_int_equal(ug_batch_new(&small, 7), 0);
	fake.n = 0;
	assert_int_equal(ug_send(sock, small, &ep_a, dgrams, 300, status, 0),
			 300);
	account(300);
	ug_batch_free(small);
	assert_int_equal(ug_batch_new(&small, 0), -EINVAL);
	assert_int_equal(ug_batch_new(&small, UG_MAX_BATCH + 1), -EINVAL);
	assert_int_equal(ug_send(sock, batch, &ep_a, dgrams, 0, status, 0), 0);
}

static void bad_datagrams(void **state)
{
	struct ug_endpoint port0 = ep_a, nowhere = { 0 };

	(void)state;
	port0.addr.v4.sin_port = 0;
	add(&ep_a, 11, 100);
	dgrams[1].to = NULL;
	dgrams[2].to = &nowhere;
	dgrams[3].to = &port0;
	dgrams[4].iov = NULL;
	vectors[5].iov_len = UG_MAX_DATAGRAM_IPV4 + 1;
	vectors[6].iov_len = SIZE_MAX;
	dgrams[7].n_iov = UG_MAX_VECTORS + 1;
	dgrams[8].to = &ep_six;
	vectors[8].iov_len = UG_MAX_DATAGRAM_IPV6 + 1;
	assert_int_equal(ug_send(sock, batch, NULL, dgrams, 11, status, 0), 3);
	assert_int_equal(status[0], UG_SENT);
	assert_int_equal(status[1], -EDESTADDRREQ);
	assert_int_equal(status[2], -EAFNOSUPPORT);
	assert_int_equal(status[3], -EINVAL);
	assert_int_equal(status[4], -EINVAL);
	expect_status(5, 4, -EMSGSIZE);
	assert_int_equal(stats().failed, 8);
	/* The rest went as one train, in order. */
	assert_int_equal(fake.n, 3);
	assert_int_equal(fake.log[1].number, 9);
	assert_int_equal(fake.log[2].train, 3);
}

static void family_not_open(void **state)
{
	struct ug_options opt = {
		.size = sizeof(opt),
		.families = UG_IPV4_ONLY,
	};
	struct ug_socket *v4_only;

	(void)state;
	assert_int_equal(ug_socket_open_with(&fake_sys, &v4_only, &opt, NULL),
			 0);
	add(&ep_six, 1, 10);
	add(&ep_a, 1, 10);
	assert_int_equal(ug_send(v4_only, batch, NULL, dgrams, 2, status, 0),
			 1);
	assert_int_equal(status[0], -EAFNOSUPPORT);
	ug_close(v4_only);
}

/* The kernel takes 1, 2, 3, ... messages a call. */
static void short_counts(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		add(&ep_a, 3, 100);
		add(&ep_b, 2, 50 + (size_t)i);
	}
	for (size_t limit = 1; limit <= 45; limit++) {
		struct ug_send_stats was = stats();

		fake.short_at = limit;
		send_all(100);
		uint64_t messages = stats().messages - was.messages;

		assert_int_equal(stats().calls - was.calls,
				 (messages + limit - 1) / limit);
	}
	assert_true(stats().short_calls > 0);
}

static void interrupted(void **state)
{
	(void)state;
	fake.errs[0] = fake.errs[1] = fake.errs[3] = EINTR;
	fake.short_at = 1;
	add(&ep_a, 2, 100);
	add(&ep_b, 2, 100);
	send_all(4);
	assert_int_equal(stats().interrupted, 3);
}

static void sendmmsg_missing(void **state)
{
	(void)state;
	fake.no_mmsg = true;
	add(&ep_a, 100, 1000);
	add(&ep_b, 1, 5);
	send_all(101);
	/* 65 datagrams of 1,000 would fit, 64 may. */
	assert_int_equal(fake.send_calls, 3);
	send_all(101);
	assert_int_equal(fake.send_calls, 6);
	/* The missing call is counted once. */
	assert_int_equal(fake.mmsg_calls, 1);
	assert_int_equal(stats().calls, 7);
}

static size_t allowance;

static int full_rule(const struct fake_message *m)
{
	if (m->fd != FAKE_FD4)
		return 0;
	if (!allowance)
		return EAGAIN;
	allowance--;
	return 0;
}

static int no_buffers_rule(const struct fake_message *m)
{
	return full_rule(m) ? ENOBUFS : 0;
}

/*
 * Without a timeout the call does not sleep. The rest of that family is unsent.
 */
static void full_socket(void **state)
{
	(void)state;
	for (int err = 0; err < 2; err++) {
		fake.rule = err ? no_buffers_rule : full_rule;
		for (allowance = 0; allowance < 4; allowance++) {
			size_t before = allowance;

			n_dgrams = 0;
			add(&ep_a, 10, 100);
			add(&ep_six, 5, 100);
			add(&ep_b, 10, 100);
			add(&ep_a, 10, 200);
			add(&ep_c, 120, 100);
			send_all(5 + size_min(before * 10, 30) +
				 (before > 3 ? 64 : 0));
			expect_status(10, 5, UG_SENT);
			if (before < 3)
				expect_status(25, 130, UG_UNSENT);
			allowance = before;
		}
	}
	assert_int_equal(fake.polls, 0);
	assert_true(stats().full > 0);
	assert_true(stats().no_buffers > 0);
}

/*
 * Once the socket is full, no later datagram of that family is sent in this
 * call, even if there is room again. So datagrams keep their order.
 */
static void full_stays_full(void **state)
{
	(void)state;
	add(&ep_a, 300, 1000);
	fake.errs[1] = EAGAIN;
	send_all(128);
	expect_status(128, 172, UG_UNSENT);
	assert_int_equal(fake.send_calls, 2);
}

/* A datagram whose fragments exceed the send buffer never fits. */
static int too_large_rule(const struct fake_message *m)
{
	return m->bytes > 4000 ? ENOBUFS : full_rule(m);
}

static void never_fits(void **state)
{
	(void)state;
	fake.rule = too_large_rule;
	allowance = 1000;
	add(&ep_a, 1, 100);
	add(&ep_a, 1, 5000);
	add(&ep_b, 3, 100);
	add(&ep_c, 50, 100);
	add(&ep_a, 1, 100);
	/* While the socket has data, the datagram counts as waiting. */
	send_all(1);
	expect_status(1, 55, UG_UNSENT);
	/* The same if the amount of data is unknown. */
	fake.outq = -1;
	send_all(1);
	fake.outq = 0;
	send_all(55);
	expect_status(1, 1, -ENOBUFS);
	/* Nothing is learnt from a train that did not fit. */
	assert_int_equal(n_notices, 0);
	/* With time left, there is one wait for each failure: datagram and
	 * train. */
	fake.n = 0;
	assert_int_equal(
		ug_send(sock, batch, NULL, dgrams, n_dgrams, status, 100), 55);
	expect_status(1, 1, -ENOBUFS);
	assert_int_equal(fake.polls, 2);
}

static size_t failures;

static int soon_rule(const struct fake_message *m)
{
	(void)m;
	if (!failures)
		return 0;
	failures--;
	return ENOMEM;
}

/* A datagram that was refused once passes the next time. */
static void fits_soon(void **state)
{
	(void)state;
	fake.rule = soon_rule;
	fake.outq = 0;
	failures = 1;
	add(&ep_a, 10, 100);
	send_all(10);
	assert_int_equal(fake.log[0].train, 10);
}

/*
 * A call that takes nothing and reports no error is treated as a full socket.
 */
static void took_nothing(void **state)
{
	(void)state;
	add(&ep_a, 10, 100);
	add(&ep_b, 10, 100);
	fake.takes_nothing = true;
	send_all(0);
	expect_status(0, 20, UG_UNSENT);
	assert_int_equal(stats().full, 1);
	fake.takes_nothing = false;
	send_all(20);
}

static size_t polls_needed;

static int wait_rule(const struct fake_message *m)
{
	(void)m;
	return fake.polls < polls_needed ? EAGAIN : 0;
}

static int wait_buffers_rule(const struct fake_message *m)
{
	(void)m;
	return fake.polls < polls_needed ? ENOBUFS : 0;
}

static void waiting(void **state)
{
	(void)state;
	add(&ep_a, 10, 100);
	/* A fake poll takes 3 ms at most. */
	for (int err = 0; err < 2; err++) {
		fake.rule = err ? wait_buffers_rule : wait_rule;
		fake.n = fake.polls = 0;
		polls_needed = 3;
		assert_int_equal(
			ug_send(sock, batch, NULL, dgrams, 10, status, 100),
			10);
		account(10);
		assert_int_equal(fake.polls, 3);
	}
	/* The wait is not longer than the timeout. */
	fake.rule = wait_rule;
	fake.n = fake.polls = 0;
	polls_needed = 1000;
	int64_t start = fake.now_ms;

	assert_int_equal(ug_send(sock, batch, NULL, dgrams, 10, status, 100),
			 0);
	account(0);
	assert_int_equal(fake.now_ms - start, 100);
	expect_status(0, 10, UG_UNSENT);
	/* Wait without a limit. */
	fake.polls = 0;
	assert_int_equal(ug_send(sock, batch, NULL, dgrams, 10, status, -1),
			 10);
	account(10);
	assert_int_equal(fake.polls, 1000);
	assert_true(stats().waits > 1000);
}

static short what_stays;

static int stuck_rule(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	(void)timeout_ms;
	(void)n;
	fds->revents = what_stays;
	return 1;
}

static int always_full_rule(const struct fake_message *m)
{
	(void)m;
	return EAGAIN;
}

/* If poll(2) returns at once each time, the wait must still sleep. */
static void no_spinning(void **state)
{
	static const short stuck[] = { POLLERR, POLLHUP, POLLOUT };

	(void)state;
	add(&ep_a, 10, 100);
	fake.rule = always_full_rule;
	fake.poll = stuck_rule;
	for (size_t i = 0; i < ARRAY_LEN(stuck); i++) {
		what_stays = stuck[i];
		fake.polls = fake.pauses = 0;
		assert_int_equal(
			ug_send(sock, batch, NULL, dgrams, 10, status, 20), 0);
		expect_status(0, 10, UG_UNSENT);
		assert_int_equal(fake.pauses, 20);
		assert_in_range(fake.polls, 40, 41);
	}
	/* Messages of the error queue are dropped and counted. */
	what_stays = POLLERR;
	fake.error_queue = 100;
	fake.polls = fake.pauses = 0;
	assert_int_equal(ug_send(sock, batch, NULL, dgrams, 10, status, 20), 0);
	assert_int_equal(fake.error_queue, 0);
	assert_int_equal(fake.pauses, 20);
	assert_int_equal(fake.polls, 42);
	assert_int_equal(stats().pending_errors, 100);
}

static void modes(void **state)
{
	enum ug_reason reason;

	(void)state;
	add(&ep_a, 20, 100);
	assert_int_equal(ug_set_segments(sock, UG_SEGMENTS_OFF), 0);
	send_all(20);
	assert_int_equal(stats().trains[1], 20);
	assert_int_equal(ug_get_segments(sock, AF_INET, &reason), 1);
	assert_int_equal(reason, UG_REASON_ASKED);
	assert_int_equal(ug_set_segments(sock, 7), 0);
	send_all(20);
	assert_int_equal(stats().trains[7], 2);
	assert_int_equal(stats().trains[6], 1);
	assert_int_equal(ug_get_segments(sock, AF_INET, &reason), 7);
	assert_int_equal(ug_set_segments(sock, 65), -EINVAL);
	assert_int_equal(ug_get_segments(sock, AF_UNIX, &reason),
			 -EAFNOSUPPORT);
	assert_int_equal(ug_get_segments(sock, AF_INET, NULL), 7);
	assert_string_equal(ug_reason_text(UG_REASON_ASKED), "asked for");
}

/*
 * The kernel refuses messages at random, by errors of all kinds. Each datagram
 * must still be taken once, if its status says so, and never otherwise.
 */
static uint64_t chaos_state;

static int chaos_rule(const struct fake_message *m)
{
	static const int errs[] = { EIO,    EMSGSIZE,	  EINVAL, EHOSTUNREACH,
				    EPERM,  ECONNREFUSED, EINTR,  ENETUNREACH,
				    ENODEV, EADDRNOTAVAIL };
	struct random r = { chaos_state };
	size_t dice = random_below(&r, 40);

	chaos_state = r.state;
	(void)m;
	return dice < ARRAY_LEN(errs) ? errs[dice] : 0;
}

static void chaos(void **state)
{
	const struct ug_endpoint *all[] = { &ep_a, &ep_b, &ep_c, &ep_six };
	struct random r;

	(void)state;
	random_init(&r, 0x5eed0004);
	chaos_state = random_next(&r) | 1;
	fake.rule = chaos_rule;
	ep_a.source.state = ep_six.source.state = UG_SOURCE_PINNED;
	for (int round = 0; round < 2000; round++) {
		if (!random_below(&r, 4))
			ug_set_segments(sock,
					(unsigned int)random_below(&r, 65));
		fake.short_at = random_below(&r, 5);
		n_dgrams = 0;
		while (n_dgrams < 150)
			add(all[random_below(&r, 4)], 1 + random_below(&r, 50),
			    4 + 50 * random_below(&r, 4));
		fake.n = 0;
		size_t sent =
			ug_send(sock, batch, NULL, dgrams, n_dgrams, status, 0);

		account(sent);
		for (size_t i = 0; i < n_dgrams; i++)
			assert_true(status[i] <= 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SENDING_TEST(plain),	       SENDING_TEST(empty),
		SENDING_TEST(windows),	       SENDING_TEST(bad_datagrams),
		SENDING_TEST(family_not_open), SENDING_TEST(short_counts),
		SENDING_TEST(interrupted),     SENDING_TEST(sendmmsg_missing),
		SENDING_TEST(full_socket),     SENDING_TEST(full_stays_full),
		SENDING_TEST(never_fits),      SENDING_TEST(fits_soon),
		SENDING_TEST(took_nothing),    SENDING_TEST(waiting),
		SENDING_TEST(modes),	       SENDING_TEST(no_spinning),
		SENDING_TEST(chaos),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
