/* SPDX-License-Identifier: MIT */
/*
 * Tests of the timers as tables: an event at a second, and the actions that the
 * timers must return then. Random bits are 0, so there is no jitter, unless a
 * case says otherwise.
 */
#include "device/timers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/clock.h"

/* Second 0 of a table. */
#define ORIGIN_NS (UINT64_C(5000) * NSEC_PER_SEC)

enum {
	NEVER = -1,
	/* More than the longest table has. */
	MAX_STEPS = 16,
};

enum event {
	NOTHING,
	SEND_DATA,
	SEND_KEEPALIVE,
	RECEIVE_DATA,
	RECEIVE_KEEPALIVE,
	WANT,
	SENT_INITIATION,
	SENT_RESPONSE,
	SESSION,
	DONE,
	STOP,
	PERSIST_25,
	EXPIRE,
};

/* A step without an event, actions and a next time ends the table. */
struct step {
	int at_s;
	enum event event;
	unsigned int actions;
	int next_s;
};

static bool note_event(struct timers *t, enum event event, uint64_t now)
{
	switch (event) {
	case NOTHING:
		break;
	case SEND_DATA:
		return timers_note_sent(t, true, now);
	case SEND_KEEPALIVE:
		return timers_note_sent(t, false, now);
	case RECEIVE_DATA:
		return timers_note_received(t, true, now);
	case RECEIVE_KEEPALIVE:
		return timers_note_received(t, false, now);
	case WANT:
		return timers_want_handshake(t);
	case SENT_INITIATION:
		timers_note_handshake_sent(t, false, now);
		break;
	case SENT_RESPONSE:
		timers_note_handshake_sent(t, true, now);
		break;
	case SESSION:
		timers_note_session(t, now);
		break;
	case DONE:
		timers_note_handshake_done(t);
		break;
	case STOP:
		timers_stop(t);
		break;
	case PERSIST_25:
		t->persistent_s = 25;
		break;
	case EXPIRE:
		timers_expire_handshake(t);
		break;
	}
	return false;
}

static const struct {
	const char *name;
	struct step steps[MAX_STEPS];
} cases[] = {
	{ "nothing is never due", { { 0, NOTHING, 0, NEVER } } },
	{ "a keepalive answers data, once",
	  {
		  { 0, RECEIVE_DATA, 0, 10 },
		  { 3, RECEIVE_DATA, 0, 10 },
		  { 10, NOTHING, TIMERS_KEEPALIVE, NEVER },
		  { 10, SEND_KEEPALIVE, 0, NEVER },
		  { 20, NOTHING, 0, NEVER },
	  } },
	{ "sending anything pays what is owed",
	  {
		  { 0, RECEIVE_DATA, 0, 10 },
		  { 9, SEND_KEEPALIVE, 0, NEVER },
		  { 10, NOTHING, 0, NEVER },
	  } },
	{ "keepalives are not answered",
	  { { 0, RECEIVE_KEEPALIVE, 0, NEVER },
	    { 50, SEND_KEEPALIVE, 0, NEVER } } },
	{ "unanswered data asks for a handshake after 15 s",
	  {
		  { 0, SEND_DATA, 0, 10 },
		  { 10, SEND_DATA, 0, 15 },
		  { 15, NOTHING, TIMERS_INITIATE | TIMERS_FORGET_SOURCE, 20 },
		  { 15, SENT_INITIATION, 0, 20 },
		  { 20, NOTHING, TIMERS_INITIATE | TIMERS_FORGET_SOURCE, 25 },
	  } },
	{ "an answer ends the wait",
	  {
		  { 0, SEND_DATA, 0, 10 },
		  { 14, RECEIVE_KEEPALIVE, 0, NEVER },
		  { 15, NOTHING, 0, NEVER },
	  } },
	{ "a wish is granted at once, and done ends it",
	  {
		  { 0, WANT, TIMERS_INITIATE, 5 },
		  { 0, SENT_INITIATION, 0, 5 },
		  { 1, SESSION, 0, 5 },
		  { 1, DONE, 0, 541 },
	  } },
	{ "five seconds lie between two initiations",
	  {
		  { 0, WANT, TIMERS_INITIATE, 5 },
		  { 0, SENT_INITIATION, 0, 5 },
		  { 1, DONE, 0, NEVER },
		  { 2, WANT, 0, 5 },
		  { 5, NOTHING, TIMERS_INITIATE, 10 },
	  } },
	{ "a response counts as well",
	  {
		  { 0, SENT_RESPONSE, 0, NEVER },
		  { 1, WANT, 0, 5 },
		  { 5, NOTHING, TIMERS_INITIATE, 10 },
	  } },
	{ "a session that comes meanwhile fulfils the wish",
	  {
		  { 0, SENT_RESPONSE, 0, NEVER },
		  { 1, WANT, 0, 5 },
		  { 2, DONE, 0, NEVER },
	  } },
	{ "a new private key does not wait",
	  {
		  { 0, SENT_INITIATION, 0, NEVER },
		  { 1, WANT, 0, 5 },
		  { 1, EXPIRE, TIMERS_INITIATE, 6 },
	  } },
	{ "who has answered meanwhile waits once more",
	  {
		  { 0, WANT, TIMERS_INITIATE, 5 },
		  { 0, SENT_INITIATION, 0, 5 },
		  { 2, SENT_RESPONSE, 0, 5 },
		  { 5, NOTHING, 0, 7 },
		  { 7, NOTHING, TIMERS_INITIATE | TIMERS_FORGET_SOURCE, 12 },
	  } },
	{ "keys are wiped at 540 s",
	  {
		  { 0, SESSION, 0, 540 },
		  { 539, NOTHING, 0, 540 },
		  { 540, NOTHING, TIMERS_ZERO_KEYS, NEVER },
		  { 541, NOTHING, 0, NEVER },
	  } },
	{ "a newer session moves that",
	  {
		  { 0, SESSION, 0, 540 },
		  { 120, SESSION, 0, 660 },
		  { 540, NOTHING, 0, 660 },
		  { 660, NOTHING, TIMERS_ZERO_KEYS, NEVER },
	  } },
	{ "persistent keepalives follow silence",
	  {
		  { 0, PERSIST_25, TIMERS_KEEPALIVE, 25 },
		  { 0, SEND_KEEPALIVE, 0, 25 },
		  { 20, RECEIVE_KEEPALIVE, 0, 45 },
		  { 45, NOTHING, TIMERS_KEEPALIVE, 70 },
	  } },
	{ "stopped is stopped",
	  {
		  { 0, SEND_DATA, 0, 10 },
		  { 1, RECEIVE_DATA, 0, 11 },
		  { 2, WANT, TIMERS_INITIATE, 7 },
		  { 2, SESSION, 0, 7 },
		  { 3, STOP, 0, NEVER },
		  { 600, NOTHING, 0, NEVER },
	  } },
	{ "at the same second, everything",
	  {
		  { 0, RECEIVE_DATA, 0, 10 },
		  { 0, SESSION, 0, 10 },
		  { 540, PERSIST_25, TIMERS_KEEPALIVE | TIMERS_ZERO_KEYS, 565 },
	  } },
};

static void run_case(size_t i)
{
	struct timers t;

	timers_init(&t);
	for (size_t k = 0; k < MAX_STEPS; k++) {
		const struct step *s = &cases[i].steps[k];
		uint64_t now = ORIGIN_NS + (uint64_t)s->at_s * NSEC_PER_SEC;
		struct timers_verdict v;
		uint64_t next_ns = TIMERS_NEVER;

		if (!s->event && !s->actions && !s->next_s)
			break;
		note_event(&t, s->event, now);
		v = timers_check(&t, now, 0);
		/* Skip checks of a busy peer in between: the tables have only
		 * the times at which something is due. */
		if (s->next_s != NEVER)
			next_ns =
				ORIGIN_NS + (uint64_t)s->next_s * NSEC_PER_SEC;
		if (s->next_s == NEVER && v.next_ns != TIMERS_NEVER)
			v = timers_check(&t, now, 0);
		if (v.actions != s->actions || v.next_ns != next_ns)
			print_error("case %zu (%s), step %zu: actions %x, "
				    "next %lld s\n",
				    i, cases[i].name, k, v.actions,
				    (long long)(v.next_ns - ORIGIN_NS) /
					    (long long)NSEC_PER_SEC);
		assert_int_equal(v.actions, s->actions);
		assert_true(v.next_ns == next_ns);
	}
}

static void test_tables(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		run_case(i);
}

static void test_giving_up(void **state)
{
	struct timers_verdict v;
	struct timers t;
	uint64_t now = ORIGIN_NS;
	unsigned int n = 0;

	(void)state;
	timers_init(&t);
	timers_want_handshake(&t);
	do {
		v = timers_check(&t, now, UINT32_MAX);
		if (v.actions & TIMERS_INITIATE) {
			n++;
			timers_note_handshake_sent(&t, false, now);
		}
		if (!(v.actions & TIMERS_DROP_STAGED))
			now = v.next_ns;
	} while (!(v.actions & TIMERS_DROP_STAGED));
	/* With the longest jitter, initiations are 5.333 s apart, for 90 s. */
	assert_int_equal(n, 17);
	assert_true(now - ORIGIN_NS >= 90 * NSEC_PER_SEC);
	assert_true(now - ORIGIN_NS < 96 * NSEC_PER_SEC);
	/* At the end the keys are wiped, and no time is due. */
	assert_true(v.next_ns == now + 540 * NSEC_PER_SEC);
	v = timers_check(&t, v.next_ns, 0);
	assert_int_equal(v.actions, TIMERS_ZERO_KEYS);
	assert_true(v.next_ns == TIMERS_NEVER);
}

static void test_asking_again_prolongs(void **state)
{
	struct timers_verdict v = { 0, ORIGIN_NS };
	struct timers t;
	unsigned int n = 0;

	(void)state;
	timers_init(&t);
	timers_want_handshake(&t);
	while (v.next_ns < ORIGIN_NS + 600 * NSEC_PER_SEC) {
		v = timers_check(&t, v.next_ns, 0);
		assert_false(v.actions & TIMERS_DROP_STAGED);
		n += v.actions & TIMERS_INITIATE;
		timers_want_handshake(&t);
	}
	assert_int_equal(n, 120);
}

static void test_jitter_is_bounded(void **state)
{
	struct timers_verdict v;
	struct timers t;
	uint64_t wait_ns;

	(void)state;
	for (uint32_t random = 0; random < 0x10000; random += 13) {
		timers_init(&t);
		timers_want_handshake(&t);
		v = timers_check(&t, ORIGIN_NS, random);
		wait_ns = v.next_ns - ORIGIN_NS;
		assert_true(wait_ns >= 5 * NSEC_PER_SEC);
		assert_true(wait_ns < 5 * NSEC_PER_SEC + 334 * NSEC_PER_MSEC);
	}
}

/* A stream of packets wakes the control thread once, not once a packet. */
static void test_wake_ups(void **state)
{
	struct timers_verdict v = { 0, TIMERS_NEVER };
	struct timers t;
	uint64_t now = ORIGIN_NS;
	size_t n_wakes = 0;
	size_t n_looks = 0;

	(void)state;
	timers_init(&t);
	for (size_t i = 0; i < 100000; i++, now += NSEC_PER_MSEC) {
		bool must_wake = timers_note_sent(&t, true, now);

		must_wake |= timers_note_received(&t, true, now);
		n_wakes += must_wake;
		if (must_wake || v.next_ns <= now) {
			v = timers_check(&t, now, 0);
			n_looks++;
		}
		assert_true(v.next_ns <= now + 10 * NSEC_PER_SEC);
	}
	assert_int_equal(n_wakes, 1);
	assert_true(n_looks <= 12);
	/* The first packet after a silence wakes the control thread again. */
	timers_note_sent(&t, false, now);
	timers_note_received(&t, false, now);
	while (v.next_ns != TIMERS_NEVER) {
		now = v.next_ns;
		v = timers_check(&t, now, 0);
		assert_int_equal(v.actions, 0);
	}
	assert_true(timers_note_sent(&t, true, now));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_giving_up),
		cmocka_unit_test(test_asking_again_prolongs),
		cmocka_unit_test(test_jitter_is_bounded),
		cmocka_unit_test(test_wake_ups),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
