/* SPDX-License-Identifier: MIT */
/*
 * The effect of SO_TXTIME and SO_MAX_PACING_RATE, where the kernel has the qdisc fq;
 * and of SO_TXTIME on CLOCK_TAI, where it has etf. A message may come late on a busy
 * machine, so the tests look only for what comes too early.
 */
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "tests/io/shaper.h"
#include "tests/lib/check.h"
#include "tests/lib/netns.h"
#include "tests/lib/skip.h"
#include "udpgather.h"

enum {
	TRAINS = 4,
	CNT = 3, /* datagrams of a train */
	LEN = 1000,
	/* From now to the time of the first train, and between two. etf drops what
	 * has a time that is over. */
	FIRST_MS = 400,
	STEP_MS = 150,
	/* etf sends so much early, to be in time. An emulated machine needs much. */
	ETF_DELTA_MS = 100,
	WAIT_MS = 20000,
	/* Percent; see pacing.c. */
	MANY = 25,
	FEW = 10,
	TRIES = 5,
};

static const char *const hosts[] = { "10.3.0.2", "[fd00:3::2]" };
static int near_ns, far_ns;
static bool has_etf;
static struct ug_batch *batch;
static struct ug_receiver *rcv;
static unsigned char payload[256 * LEN];

static int64_t read_clock(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct ug_socket *opened(int ns, const struct ug_options *opt)
{
	struct ug_socket *sock;

	assert_int_equal(netns_enter(ns), 0);
	assert_int_equal(ug_open(&sock, opt, NULL), 0);
	return sock;
}

static struct ug_endpoint at(const char *host, const struct ug_socket *sock)
{
	char text[UG_ENDPOINT_TEXT];
	struct ug_endpoint ep;

	snprintf(text, sizeof(text), "%s:%u", host, ug_port(sock));
	assert_int_equal(ug_endpoint_parse(&ep, text), 0);
	return ep;
}

/* Send one train of datagrams whose first byte is @mark. */
static void send_train(struct ug_socket *sock, const struct ug_endpoint *to,
		       unsigned char mark, size_t cnt, int64_t time_ns)
{
	struct iovec v = { payload, cnt * LEN };
	struct ug_train t = {
		.to = to,
		.iov = &v,
		.n_iov = 1,
		.segment_len = LEN,
		.time_ns = (uint64_t)time_ns,
	};

	for (size_t i = 0; i < cnt; i++)
		payload[i * LEN] = mark;
	assert_int_equal(ug_send_trains(sock, batch, &t, sizeof(t), 1, 1000),
			 cnt);
}

/* Wait for a datagram. Return: its first byte. */
static unsigned char next_mark(struct ug_socket *sock)
{
	struct ug_view view;

	assert_int_equal(ug_receive(rcv, sock, AF_UNSPEC, &view, 1, WAIT_MS),
			 1);
	assert_int_equal(view.len, LEN);
	return *(unsigned char *)view.data;
}

/*
 * No train comes earlier than @early_ms before its time. If @untimed, one without a
 * time is sent last and comes first.
 */
static void check_times(enum ug_clock clock, clockid_t id, int early_ms,
			bool untimed)
{
	struct ug_options opt = { .size = sizeof(opt), .txtime_clock = clock };

	for (size_t h = 0; h < ARRAY_LEN(hosts); h++) {
		struct ug_socket *to = opened(far_ns, NULL);
		struct ug_socket *from = opened(near_ns, &opt);
		struct ug_endpoint ep = at(hosts[h], to);
		int64_t first = read_clock(id) + FIRST_MS * INT64_C(1000000);
		int64_t step = STEP_MS * INT64_C(1000000);

		for (unsigned int k = 0; k < TRAINS; k++)
			send_train(from, &ep, (unsigned char)k, CNT,
				   first + k * step);
		if (untimed) {
			send_train(from, &ep, TRAINS, CNT, 0);
			for (int i = 0; i < CNT; i++)
				assert_int_equal(next_mark(to), TRAINS);
		}
		for (unsigned int k = 0; k < TRAINS; k++)
			for (int i = 0; i < CNT; i++) {
				assert_int_equal(next_mark(to), k);
				int64_t late =
					read_clock(id) - first - k * step;

				if (!i)
					printf("# %s: train %d came %.3f ms "
					       "after its time\n",
					       hosts[h], k, (double)late / 1e6);
				assert_true(late >=
					    early_ms * INT64_C(-1000000));
			}
		ug_close(from);
		ug_close(to);
	}
}

static void times_of_fq(void **state)
{
	(void)state;
	check_times(UG_CLOCK_MONOTONIC, CLOCK_MONOTONIC, 0, true);
}

/* etf drops what has no time, so neighbours must be known before. */
static void times_of_etf(void **state)
{
	(void)state;
	if (!has_etf) {
		printf("# no qdisc etf here: CLOCK_TAI is not tested\n");
		return;
	}
	assert_int_equal(netns_enter(near_ns), 0);
	assert_int_equal(netns_tc("qdisc replace dev wire root etf "
				  "clockid CLOCK_TAI delta %d",
				  ETF_DELTA_MS * 1000000),
			 0);
	check_times(UG_CLOCK_TAI, CLOCK_TAI, ETF_DELTA_MS, false);
	assert_int_equal(netns_enter(near_ns), 0);
	assert_int_equal(netns_tc("qdisc replace dev wire root fq"), 0);
}

/* Bytes leave at the rate that the socket has; fq lets some 18 kB go at first. */
static void rate_of_fq(void **state)
{
	/* Trains of ten, in the time that this rate takes for them. */
	struct ug_options opt = {
		.size = sizeof(opt),
		.max_pacing_rate = 1000000,
	};
	enum {
		N = 25,
		AT_ONCE = 10,
		EXPECTED_MS = (N - 1) * AT_ONCE * LEN / 1000 - 20,
	};

	(void)state;
	for (size_t h = 0; h < ARRAY_LEN(hosts); h++) {
		struct ug_socket *to = opened(far_ns, NULL);
		struct ug_socket *from = opened(near_ns, &opt);
		struct ug_endpoint ep = at(hosts[h], to);
		int64_t start = read_clock(CLOCK_MONOTONIC);

		for (unsigned int k = 0; k < N; k++)
			send_train(from, &ep, (unsigned char)k, AT_ONCE, 0);
		for (int i = 0; i < N * AT_ONCE; i++)
			assert_int_equal(next_mark(to), i / AT_ONCE);
		double ms = (double)(read_clock(CLOCK_MONOTONIC) - start) / 1e6;

		printf("# %s: %d bytes at 1 MB/s took %.0f ms\n", hosts[h],
		       N * AT_ONCE * LEN, ms);
		assert_true(ms >= EXPECTED_MS);
		ug_close(from);
		ug_close(to);
	}
}

/*
 * With a limit for trains and a rate for the socket, the program may send 64 datagrams
 * at once. Without the limit fq sends a train of 64 as it is, and the link loses most
 * of it.
 */
static void limit_and_rate(void **state)
{
	static const struct shaper_flow limited = { 64, 16, 1 },
					unlimited = { 64, 0, 1 };

	(void)state;
	assert_int_equal(netns_enter(shaper_sender), 0);
	/* By default fq lets the first 15 kB of a flow go at once. */
	assert_int_equal(netns_tc("qdisc replace dev in root fq "
				  "initial_quantum 1514 quantum 1514"),
			 0);
	for (size_t h = 0; h < ARRAY_LEN(shaper_hosts); h++) {
		double lost = 100;

		for (int t = 0; t < TRIES && lost >= 1; t++)
			lost = shaper_loss(&limited, shaper_hosts[h]);
		/* fq catches up when an emulated machine is late. */
		assert_true(lost < FEW);
		assert_true(shaper_loss(&unlimited, shaper_hosts[h]) > MANY);
	}
}

/* Let both ends learn of their neighbours. */
static int meet(void)
{
	struct ug_socket *to = opened(far_ns, NULL);
	struct ug_socket *from = opened(near_ns, NULL);

	for (size_t h = 0; h < ARRAY_LEN(hosts); h++) {
		struct ug_endpoint ep = at(hosts[h], to);

		send_train(from, &ep, 0, 1, 0);
		next_mark(to);
	}
	ug_close(from);
	ug_close(to);
	return 0;
}

static int set_up(void **state)
{
	near_ns = netns_new();
	far_ns = netns_new();
	if (near_ns < 0 || far_ns < 0 || ug_batch_new(&batch, 64) ||
	    ug_receiver_new(&rcv, 64) ||
	    netns_join(near_ns, far_ns, "wire", 3, 1500))
		return -1;
	has_etf = netns_tc("qdisc add dev lo root etf clockid CLOCK_TAI "
			   "delta 100000 2>/dev/null") == 0;
	netns_tc("qdisc del dev lo root 2>/dev/null");
	if (netns_tc("qdisc replace dev wire root fq") || meet())
		return -1;
	return shaper_set_up(state);
}

static int tear_down(void **state)
{
	(void)state;
	ug_batch_free(batch);
	ug_receiver_free(rcv);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times_of_fq),
		cmocka_unit_test(rate_of_fq),
		cmocka_unit_test(times_of_etf),
		cmocka_unit_test(limit_and_rate),
	};

	netns_require();
	/* The namespace that netns_require() has made is used for nothing else. */
	if (netns_tc("qdisc replace dev lo root fq 2>/dev/null"))
		skip_program("this kernel has no qdisc fq");
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
