/* SPDX-License-Identifier: MIT */
/*
 * A caller may know more than the kernel about a path. The library tells it
 * which datagrams left in trains. The caller can have an endpoint sent no
 * trains until a given time.
 */
#include <arpa/inet.h>
#include <errno.h>

#include "base/bytes.h"
#include "tests/fault/sending.h"
#include "tests/lib/check.h"

static uint8_t lens[MOST];

static void expect_lens(size_t first, size_t n, unsigned int expected)
{
	for (size_t i = first; i < first + n; i++)
		if (lens[i] != expected)
			fail_msg("datagram %zu left with %u, not with %u", i,
				 lens[i], expected);
}

static int no_trains(const struct fake_message *m)
{
	return m->segment_len ? EPERM : 0;
}

static int nothing(const struct fake_message *m)
{
	(void)m;
	return EAGAIN;
}

/*
 * The length of its train is reported for each datagram, also with several
 * endpoints.
 */
static void lengths(void **state)
{
	(void)state;
	ug_set_train_lengths(batch, lens, MOST);
	memset(lens, 0xff, sizeof(lens));
	add(&ep_a, 10, 1000);
	add(&ep_b, 1, 1000);
	add(&ep_a, 5, 1000);
	add(&ep_six, 2, 700);
	add(&ep_six, 1, 800);
	send_all(n_dgrams);
	expect_lens(0, 10, 15);
	expect_lens(10, 1, 1);
	expect_lens(11, 5, 15);
	expect_lens(16, 2, 2);
	expect_lens(18, 1, 1);
	expect_lens(19, MOST - 19, 0xff);
}

/*
 * Datagrams of refused trains are reported with length 1, unsent ones with 0.
 */
static void lengths_after_refusals(void **state)
{
	(void)state;
	ug_set_train_lengths(batch, lens, MOST);
	memset(lens, 0xff, sizeof(lens));
	add(&ep_a, 10, 1000);
	fake.rule = no_trains;
	send_all(10);
	expect_lens(0, 10, 1);
	fake.rule = nothing;
	n_dgrams = 0;
	add(&ep_b, 10, 1000);
	assert_int_equal(ug_send(sock, batch, NULL, dgrams, 10, status, 0), 0);
	expect_lens(0, 10, 0);
}

/*
 * More datagrams than a window, more than the array holds, and reporting
 * switched off.
 */
static void lengths_and_windows(void **state)
{
	(void)state;
	add(&ep_a, MOST, 100);
	ug_set_train_lengths(batch, lens, MOST);
	memset(lens, 0xff, sizeof(lens));
	send_all(MOST);
	for (size_t i = 0; i < MOST; i++)
		assert_in_range(lens[i], 1, UG_MAX_SEGMENTS);
	ug_set_train_lengths(batch, lens, MOST - 1);
	memset(lens, 0xff, sizeof(lens));
	send_all(MOST);
	expect_lens(0, MOST, 0xff);
	ug_set_train_lengths(batch, NULL, 0);
	send_all(MOST);
	expect_lens(0, MOST, 0xff);
}

/* Send to an endpoint. Return: the train length of the first datagram. */
static unsigned int go(const struct ug_endpoint *to)
{
	n_dgrams = 0;
	add(to, 20, 1000);
	ug_set_train_lengths(batch, lens, MOST);
	send_all(20);
	return lens[0];
}

static void alone_for_a_while(void **state)
{
	static const struct ug_endpoint *const eps[] = { &ep_a, &ep_six };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(eps); i++) {
		struct ug_endpoint ep = *eps[i];

		assert_int_equal(go(&ep), 20);
		assert_int_equal(ug_send_alone(sock, &ep, 5000), 0);
		/* No train is tried meanwhile, and other endpoints are not
		 * affected. */
		for (int k = 0; k < 49; k++) {
			assert_int_equal(go(&ep), 1);
			assert_int_equal(go(&ep_b), 20);
			fake.now_ms += 100;
		}
		/* The call holds for all ports of the address. */
		ep.addr.v4.sin_port = htons(2);
		assert_int_equal(go(&ep), 1);
		fake.now_ms += 101;
		assert_int_equal(go(&ep), 20);
		assert_int_equal(n_notices, 0);
	}
}

static void alone_ends_early(void **state)
{
	(void)state;
	ug_send_alone(sock, &ep_a, 5000);
	ug_send_alone(sock, &ep_b, 5000);
	assert_int_equal(go(&ep_a), 1);
	ug_send_alone(sock, &ep_a, 0);
	assert_int_equal(go(&ep_a), 20);
	assert_int_equal(go(&ep_b), 1);
	ug_network_changed(sock);
	assert_int_equal(go(&ep_b), 20);
	/* A later call replaces an earlier one. A call that ends the time, for
	 * an endpoint that gets trains already, is no error. */
	assert_int_equal(ug_send_alone(sock, &ep_a, 0), 0);
	ug_send_alone(sock, &ep_a, 10000);
	ug_send_alone(sock, &ep_a, 1000);
	fake.now_ms += 1001;
	assert_int_equal(go(&ep_a), 20);
}

/* ug_send_alone() changes nothing that was learnt from refusals. */
static void alone_and_lessons(void **state)
{
	(void)state;
	fake.rule = no_trains;
	for (int i = 0; i < 3; i++)
		assert_int_equal(go(&ep_a), 1);
	assert_int_equal(n_notices, 1);
	ug_send_alone(sock, &ep_a, 100000);
	fake.rule = NULL;
	fake.now_ms += 99999;
	assert_int_equal(go(&ep_a), 1);
	/* After the given time, the try that the refusal had scheduled
	 * passes. */
	fake.now_ms += 2;
	assert_int_equal(go(&ep_a), 20);
	assert_int_equal(go(&ep_a), 20);
}

static void alone_where_nothing_is_open(void **state)
{
	struct ug_endpoint none = { 0 };

	(void)state;
	assert_int_equal(ug_send_alone(sock, &none, 1000), -EAFNOSUPPORT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SENDING_TEST(lengths),
		SENDING_TEST(lengths_after_refusals),
		SENDING_TEST(lengths_and_windows),
		SENDING_TEST(alone_for_a_while),
		SENDING_TEST(alone_ends_early),
		SENDING_TEST(alone_and_lessons),
		SENDING_TEST(alone_where_nothing_is_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
