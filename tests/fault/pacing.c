/* SPDX-License-Identifier: MIT */
/*
 * Pacing over a kernel of rules: which options are set, and which time each message
 * has. A real kernel paces only with the qdisc fq or etf: see tests/io/fq.c.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "tests/fault/sending.h"
#include "tests/lib/check.h"
#include "udpgather/open.h"

enum {
	TRAINS = 5,
	LEN = 1000, /* of a datagram */
	CNT = 4	    /* datagrams of a train */
};

static unsigned char bytes[TRAINS][CNT * LEN];
static uint64_t times[TRAINS * CNT];
static size_t n_times;

static int keep_time(const struct fake_message *m)
{
	assert_true(n_times < ARRAY_LEN(times));
	times[n_times++] = m->time_ns;
	return 0;
}

static int keep_time_of_one(const struct fake_message *m)
{
	return m->segment_len ? EIO : keep_time(m);
}

static void reopen(enum ug_clock clock)
{
	struct ug_options opt = { .size = sizeof(opt), .txtime_clock = clock };

	ug_close(sock);
	assert_int_equal(ug_socket_open_with(&fake_sys, &sock, &opt, NULL), 0);
}

/* Send trains to one address, each with another time. */
static void send_timed(void)
{
	struct ug_train trains[TRAINS];
	struct iovec iov[TRAINS];

	for (uint32_t k = 0; k < TRAINS; k++) {
		for (uint32_t i = 0; i < CNT; i++)
			fake_payload(bytes[k] + i * LEN, LEN, k * CNT + i);
		iov[k] = (struct iovec){ bytes[k], sizeof(bytes[k]) };
		trains[k] = (struct ug_train){
			.to = &ep_a,
			.iov = &iov[k],
			.n_iov = 1,
			.segment_len = LEN,
			.time_ns = 1000 + k,
		};
	}
	fake.n = n_times = 0;
	assert_int_equal(
		ug_send_trains(sock, batch, trains, sizeof(*trains), TRAINS, 0),
		TRAINS * CNT);
	for (size_t i = 0; i < fake.n; i++)
		assert_true(fake.log[i].whole && fake.log[i].number == i);
}

/* Trains of different times are different messages, each with its own time. */
static void times_of_trains(void **state)
{
	(void)state;
	reopen(UG_CLOCK_MONOTONIC);
	fake.rule = keep_time;
	send_timed();
	assert_int_equal(n_times, TRAINS);
	for (size_t k = 0; k < n_times; k++)
		assert_int_equal(times[k], 1000 + k);
	/* Also if each datagram has to go alone. */
	fake.rule = keep_time_of_one;
	send_timed();
	assert_int_equal(n_times, TRAINS * CNT);
	for (size_t i = 0; i < n_times; i++)
		assert_int_equal(times[i], 1000 + i / CNT);
}

/* Without a clock the kernel would refuse a time, so none is given. */
static void no_clock(void **state)
{
	struct ug_send_stats was = stats();

	(void)state;
	fake.rule = keep_time;
	send_timed();
	assert_int_equal(n_times, TRAINS);
	for (size_t k = 0; k < n_times; k++)
		assert_int_equal(times[k], 0);
	assert_int_equal(stats().split_einval, was.split_einval);
	fake.rule = keep_time_of_one;
	send_timed();
	assert_int_equal(n_times, TRAINS * CNT);
	for (size_t i = 0; i < n_times; i++)
		assert_int_equal(times[i], 0);
}

/* The options are set on both families if they were asked for, and only then. */
static void options(void **state)
{
	static const int fds[] = { FAKE_FD4, FAKE_FD6 };
	static const struct {
		enum ug_clock clock;
		int id;
	} clocks[] = {
		{ UG_CLOCK_NONE, -1 },
		{ UG_CLOCK_MONOTONIC, CLOCK_MONOTONIC },
		{ UG_CLOCK_TAI, CLOCK_TAI },
	};
	static const struct {
		uint64_t asked;
		unsigned long is;
	} rates[] = { { 0, 0 },
		      { 1250000, 1250000 },
		      { UINT64_MAX, ULONG_MAX } };

	(void)state;
	for (size_t c = 0; c < ARRAY_LEN(clocks); c++)
		for (size_t r = 0; r < ARRAY_LEN(rates); r++)
			for (size_t f = 0; f < ARRAY_LEN(fds); f++) {
				struct ug_options opt = {
					.size = sizeof(opt),
					.txtime_clock = clocks[c].clock,
					.max_pacing_rate = rates[r].asked,
				};

				ug_close(sock);
				fake_reset();
				assert_int_equal(
					ug_socket_open_with(&fake_sys, &sock,
							    &opt, NULL),
					0);
				assert_int_equal(fake_option(fds[f], SOL_SOCKET,
							     SO_TXTIME),
						 clocks[c].id);
				assert_int_equal(
					fake_option(fds[f], SOL_SOCKET,
						    SO_MAX_PACING_RATE) == -1 &&
						!fake.pacing_rate,
					!rates[r].asked);
				assert_int_equal(fake.pacing_rate, rates[r].is);
			}
}

/* A kernel that refuses an option: the report names the step, nothing stays open. */
static void refused_options(void **state)
{
	static const char *const steps[] = { "SO_MAX_PACING_RATE",
					     "SO_TXTIME" };
	struct ug_report report = { .size = sizeof(report) };
	struct ug_options opt = {
		.size = sizeof(opt),
		.txtime_clock = UG_CLOCK_TAI,
		.max_pacing_rate = 1,
	};
	size_t named[ARRAY_LEN(steps)] = { 0 };

	(void)state;
	ug_close(sock);
	for (size_t call = 1;; call++) {
		fake_reset();
		fake.fail_socket_call = call;
		fake.fail_socket_err = ENOPROTOOPT;
		int err = ug_socket_open_with(&fake_sys, &sock, &opt, &report);

		if (fake.socket_calls < call)
			break;
		if (!err) {
			ug_close(sock);
			continue;
		}
		assert_int_equal(fake.open_fds, 0);
		for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
			const char *step = report.v4.err == -ENOPROTOOPT
						   ? report.v4.step
						   : report.v6.step;

			named[i] += step && !strcmp(step, steps[i]);
		}
	}
	/* Once for each family. */
	assert_int_equal(named[0], 2);
	assert_int_equal(named[1], 2);
	ug_close(sock);
	opt.txtime_clock = UG_CLOCK_TAI + 1;
	fake_reset();
	assert_int_equal(ug_socket_open_with(&fake_sys, &sock, &opt, &report),
			 -EINVAL);
	sock = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SENDING_TEST(times_of_trains),
		SENDING_TEST(no_clock),
		SENDING_TEST(options),
		SENDING_TEST(refused_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
