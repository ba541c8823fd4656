/* SPDX-License-Identifier: MIT */
/*
 * What is believed of a path MTU: reports, hints, and TCP data that is lost while it is
 * long. tests/sim/pmtu.c has the rules for losses between models of TCP and of paths.
 */
#include "device/pmtu.h"
#include "tests/lib/check.h"

#define SEC  NSEC_PER_SEC
#define MSEC NSEC_PER_MSEC

enum {
	INDEX = 0x12345678,
	FULL = 1480, /* an outer packet of a tunnel of 1,420 */
	FLOW = 77,
};

static struct pmtu p;
static uint64_t now;

static int setup(void **state)
{
	(void)state;
	p = (struct pmtu){ 0 };
	now = 1000 * SEC;
	return 0;
}

static uint32_t mtu_now(void)
{
	struct pmtu_limits limits;

	pmtu_get_limits(&p, &limits, now);
	return limits.mtu;
}

static uint32_t cut_now(void)
{
	struct pmtu_limits limits;

	pmtu_get_limits(&p, &limits, now);
	return limits.cut;
}

static void send_to(uint64_t counter, uint64_t n)
{
	pmtu_sent(&p, INDEX, counter, n, FULL, now);
}

/* A report of a message that was just sent. */
static enum pmtu_event report(uint64_t counter, uint32_t mtu)
{
	return pmtu_report(&p, INDEX, counter, mtu, now);
}

static void lessons(void **state)
{
	(void)state;
	assert_int_equal(report(0, 1400), PMTU_REFUSED);
	send_to(5, 10);
	assert_int_equal(report(4, 1400), PMTU_REFUSED);
	assert_int_equal(report(15, 1400), PMTU_REFUSED);
	assert_int_equal(pmtu_report(&p, INDEX + 1, 5, 1400, now),
			 PMTU_REFUSED);
	assert_int_equal(mtu_now(), 0);
	assert_int_equal(report(14, 1400), PMTU_LEARNT);
	assert_int_equal(mtu_now(), 1400);
	/* Only a smaller one takes its place. */
	assert_int_equal(report(5, 1450), PMTU_NOTHING);
	assert_int_equal(report(5, 1400), PMTU_NOTHING);
	assert_int_equal(report(5, 1399), PMTU_LEARNT);
	assert_int_equal(mtu_now(), 1399);
}

/* A router does not refuse what fits its link. */
static void reports_without_sense(void **state)
{
	(void)state;
	send_to(0, 1);
	assert_int_equal(report(0, FULL), PMTU_NOTHING);
	assert_int_equal(report(0, 9000), PMTU_NOTHING);
	assert_int_equal(mtu_now(), 0);
}

static void floor_of_lessons(void **state)
{
	struct pmtu_limits limits;

	(void)state;
	send_to(0, 1);
	assert_int_equal(report(0, 576), PMTU_LEARNT);
	pmtu_get_limits(&p, &limits, now);
	assert_int_equal(limits.mtu, PMTU_MIN);
	assert_true(limits.is_tiny);
	assert_int_equal(report(0, 1), PMTU_NOTHING);
	assert_int_equal(mtu_now(), PMTU_MIN);
}

/* Old routers tell no number: then the next lower one of RFC 1191 is tried. */
static void no_number(void **state)
{
	(void)state;
	pmtu_sent(&p, INDEX, 0, 1, 9000, now);
	assert_int_equal(report(0, 0), PMTU_LEARNT);
	assert_int_equal(mtu_now(), 8166);
	assert_int_equal(report(0, 0), PMTU_LEARNT);
	assert_int_equal(mtu_now(), 4352);
	assert_int_equal(report(0, 0), PMTU_LEARNT);
	assert_int_equal(report(0, 0), PMTU_LEARNT);
	assert_int_equal(report(0, 0), PMTU_LEARNT);
	assert_int_equal(mtu_now(), PMTU_MIN);
	assert_int_equal(report(0, 0), PMTU_NOTHING);
}

/* A quote counts for 7.5 s at least, and for 10 s at most. */
static void old_quotes(void **state)
{
	(void)state;
	/* A message every 100 ms; message i leaves at i * 100 ms. */
	for (uint64_t i = 0; i < 300; i++) {
		now = 1000 * SEC + i * 100 * MSEC;
		send_to(i, 1);
		if (i < 120)
			continue;
		assert_int_not_equal(report(i - 75, 1400), PMTU_REFUSED);
		assert_int_equal(report(i - 101, 1400), PMTU_REFUSED);
	}
	/* After a pause nothing counts, and then only what is new. */
	now += 20 * SEC;
	assert_int_equal(report(299, 1300), PMTU_REFUSED);
	send_to(300, 5);
	assert_int_equal(report(299, 1300), PMTU_REFUSED);
	assert_int_equal(report(304, 1300), PMTU_LEARNT);
}

/* With a new session, quotes of the old one do not count. */
static void new_session(void **state)
{
	(void)state;
	send_to(1000, 10);
	pmtu_sent(&p, INDEX + 1, 0, 3, FULL, now);
	assert_int_equal(report(1005, 1400), PMTU_REFUSED);
	assert_int_equal(pmtu_report(&p, INDEX + 1, 3, 1400, now),
			 PMTU_REFUSED);
	assert_int_equal(pmtu_report(&p, INDEX + 1, 2, 1400, now), PMTU_LEARNT);
}

static void ten_minutes(void **state)
{
	(void)state;
	send_to(0, 1);
	assert_int_equal(report(0, 1400), PMTU_LEARNT);
	now += 599 * SEC;
	assert_int_equal(mtu_now(), 1400);
	now += 1 * SEC;
	assert_int_equal(mtu_now(), 0);
}

static void of_the_interface(void **state)
{
	(void)state;
	assert_int_equal(pmtu_local(&p, 1492, now), PMTU_LEARNT);
	assert_int_equal(pmtu_local(&p, 1500, now), PMTU_NOTHING);
	assert_int_equal(mtu_now(), 1492);
}

/* Ten thousand hints change nothing but how soon the path is doubted. */
static void hints(void **state)
{
	(void)state;
	send_to(0, 1);
	for (uint32_t i = 0; i < 10000; i++) {
		pmtu_hint(&p, i, now);
		assert_int_equal(cut_now(), 0);
	}
}

/* -------------------------------------------------------------- TCP in the tunnel */

static void leave(uint32_t seq, uint32_t bytes, uint32_t len)
{
	const struct pmtu_segment s = {
		.flow = FLOW,
		.first = seq,
		.end = seq + bytes,
		.len = len,
	};

	pmtu_segment_left(&p, &s, now);
}

static enum pmtu_event ack(uint32_t seq)
{
	return pmtu_acked(&p, FLOW, seq, now);
}

/* The connection has sent all that is before @seq. */
static void begin_flow(uint32_t seq)
{
	leave(seq - 100, 100, 200);
}

/* A long segment leaves three times, which begins a trial. */
static void lose(uint32_t seq, int times)
{
	begin_flow(seq);
	for (int i = 0; i < times; i++) {
		assert_int_equal(cut_now(), 0);
		leave(seq, 1368, FULL);
		now += 200 * MSEC;
	}
	assert_int_equal(cut_now(), PMTU_MIN);
	leave(seq, 1168, PMTU_MIN);
	now += 20 * MSEC;
}

/* Send one segment of the search, if it is time for one. Return: its length. */
static uint32_t probe(uint32_t seq)
{
	struct pmtu_limits limits;

	now += PMTU_PROBE_PAUSE;
	pmtu_get_limits(&p, &limits, now);
	if (limits.probe && pmtu_may_probe(&p, FLOW, seq))
		leave(seq, limits.probe - 112, limits.probe);
	return limits.probe;
}

/* Halving finds the limit, and nothing longer than what passes is lost. */
static void search(uint32_t seq, uint32_t limit)
{
	uint32_t len;
	int n = 0;

	while ((len = probe(seq)) != 0) {
		assert_true(++n < 30);
		assert_in_range(len, mtu_now() + 1, FULL);
		if (len <= limit) {
			assert_int_equal(ack(seq + 1368), PMTU_RAISED);
			assert_int_equal(mtu_now(), len);
		} else {
			leave(seq, 1168, mtu_now());
		}
		seq += 1368;
	}
	assert_in_range(mtu_now(), limit - PMTU_FINE, limit);
}

static void black_hole_of(uint32_t limit)
{
	uint32_t seq = 0xffffff00;

	lose(seq, 3);
	assert_int_equal(ack(seq + 1168), PMTU_NOTHING);
	assert_int_equal(mtu_now(), 0);
	seq += 1168;
	lose(seq, 2);
	assert_int_equal(ack(seq + 1168), PMTU_NOTHING);
	assert_int_equal(mtu_now(), 0);
	seq += 1168;
	lose(seq, 2);
	assert_int_equal(ack(seq + 1168), PMTU_LOST);
	assert_int_equal(mtu_now(), PMTU_MIN);
	assert_false(pmtu_may_tell(&p, now));
	search(seq + 2 * 1368, limit);
	assert_true(pmtu_may_tell(&p, now));
	assert_false(pmtu_may_tell(&p, now));
}

static void black_hole(void **state)
{
	(void)state;
	for (uint32_t limit = PMTU_MIN; limit < FULL; limit++) {
		setup(NULL);
		black_hole_of(limit);
	}
}

/* Ten minutes later one segment of full length is sent. */
static void end_of_a_black_hole(void **state)
{
	(void)state;
	black_hole_of(1400);
	uint32_t mtu = mtu_now();

	now += PMTU_LESSON;
	assert_int_equal(mtu_now(), mtu);
	begin_flow(500000);
	assert_int_equal(probe(500000), FULL);
	leave(500000, 1168, mtu);
	assert_int_equal(probe(502000), FULL);
	leave(502000, 1168, mtu);
	/* It is lost: the limit may have risen all the same. */
	assert_int_equal(mtu_now(), mtu);
	search(504000, 1430);
	mtu = mtu_now();
	now += PMTU_LESSON;
	assert_int_equal(mtu_now(), mtu);
	assert_int_equal(probe(700000), FULL);
	assert_int_equal(ack(701368), PMTU_RAISED);
	assert_int_equal(mtu_now(), 0);
}

/* With a hint, its number is tried, and one sign is enough. */
static void hint_and_loss(void **state)
{
	(void)state;
	pmtu_hint(&p, 1400, now);
	begin_flow(0);
	leave(0, 1368, FULL);
	now += 200 * MSEC;
	leave(0, 1368, FULL);
	assert_int_equal(cut_now(), 1400);
	assert_int_equal(mtu_now(), 0);
	now += 400 * MSEC;
	leave(0, 1288, 1400);
	assert_int_equal(ack(1288), PMTU_LOST);
	assert_int_equal(mtu_now(), 1400);
}

/* An outage is no black hole: short segments do not pass, or long ones do later. */
static void outage(void **state)
{
	(void)state;
	lose(0, 3);
	now += PMTU_TRIAL_WAIT;
	assert_int_equal(cut_now(), 0);
	assert_int_equal(ack(1168), PMTU_NOTHING);
	lose(1168, 3);
	assert_int_equal(ack(1168 + 1), PMTU_NOTHING);
	leave(2536, 1368, FULL);
	assert_int_equal(ack(2536 + 1368), PMTU_NOTHING);
	/* The sign is void: a trial takes three losses again. */
	lose(5000, 3);
	assert_int_equal(ack(5001), PMTU_NOTHING);
	assert_int_equal(mtu_now(), 0);
}

/* Segments behind one that is lost leave again, too. Only the first one counts. */
static void behind_a_loss(void **state)
{
	(void)state;
	begin_flow(0);
	leave(0, 1368, FULL);
	assert_int_equal(ack(1368), PMTU_NOTHING);
	leave(2 * 1368, 1368, FULL);
	for (int i = 0; i < 2; i++) {
		now += 200 * MSEC;
		leave(1368, 1368, FULL);
		leave(2 * 1368, 1368, FULL);
		assert_int_equal(cut_now(), 0);
	}
	now += 200 * MSEC;
	leave(1368, 1368, FULL);
	assert_int_equal(cut_now(), PMTU_MIN);
}

/* Data that leaves again may have arrived before: it proves nothing. */
static void old_data(void **state)
{
	(void)state;
	lose(0, 3);
	assert_int_equal(ack(1168), PMTU_NOTHING);
	assert_int_equal(p.signs, 1);
	begin_flow(9000);
	leave(1169, 1368, FULL);
	assert_int_equal(ack(1169 + 1368), PMTU_NOTHING);
	assert_int_equal(p.signs, 1);
	leave(9000, 1368, FULL);
	assert_int_equal(ack(9000 + 1368), PMTU_NOTHING);
	assert_int_equal(p.signs, 0);
}

/* The last long segment arrives after all, when a trial has begun. */
static void late(void **state)
{
	(void)state;
	begin_flow(0);
	for (int i = 0; i < 3; i++)
		leave(0, 1368, FULL);
	assert_int_equal(cut_now(), PMTU_MIN);
	assert_int_equal(ack(1368), PMTU_NOTHING);
	assert_int_equal(cut_now(), 0);
	assert_int_equal(p.signs, 0);
}

/* Short segments that are lost say nothing. */
static void short_ones(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		leave(0, 1000, PMTU_MIN);
		now += 200 * MSEC;
		assert_int_equal(cut_now(), 0);
		assert_false(pmtu_wants_acks(&p));
	}
}

static void buckets(void **state)
{
	int n = 0;

	(void)state;
	for (int i = 0; i < 1000; i++)
		n += pmtu_may_answer(&p, now);
	assert_int_equal(n, PMTU_ANSWERS);
	now += 1 * SEC;
	for (int i = 0; i < 1000; i++)
		n += pmtu_may_answer(&p, now);
	assert_int_equal(n, 2 * PMTU_ANSWERS);
	assert_true(pmtu_may_tell(&p, now));
	now += 999 * MSEC;
	assert_false(pmtu_may_tell(&p, now));
	now += 1 * MSEC;
	assert_true(pmtu_may_tell(&p, now));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(lessons, setup),
		cmocka_unit_test_setup(reports_without_sense, setup),
		cmocka_unit_test_setup(floor_of_lessons, setup),
		cmocka_unit_test_setup(no_number, setup),
		cmocka_unit_test_setup(old_quotes, setup),
		cmocka_unit_test_setup(new_session, setup),
		cmocka_unit_test_setup(ten_minutes, setup),
		cmocka_unit_test_setup(of_the_interface, setup),
		cmocka_unit_test_setup(hints, setup),
		cmocka_unit_test_setup(black_hole, setup),
		cmocka_unit_test_setup(end_of_a_black_hole, setup),
		cmocka_unit_test_setup(hint_and_loss, setup),
		cmocka_unit_test_setup(outage, setup),
		cmocka_unit_test_setup(behind_a_loss, setup),
		cmocka_unit_test_setup(old_data, setup),
		cmocka_unit_test_setup(late, setup),
		cmocka_unit_test_setup(short_ones, setup),
		cmocka_unit_test_setup(buckets, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
