/* SPDX-License-Identifier: MIT */
/* Which address a peer's endpoint is to be, with a clock of the test's. */
#include "ctl/choice.h"

#include <netdb.h>
#include <string.h>

#include "tests/lib/check.h"

#define A4 "192.0.2.1:51820"
#define A6 "[2001:db8::1]:51820"
#define B4 "198.51.100.1:443"

enum {
	SECOND = 1000,
	MINUTE = 60 * SECOND,
};

/* A peer, and the time. The time begins at any point. */
struct world {
	struct choice choice;
	int64_t now;
	uint64_t tx, rx;
	int64_t handshake_ms;
	bool is_silent;
	struct choice_text endpoint;
};

static void begin(struct world *w, size_t n_candidates)
{
	*w = (struct world){ .now = 1000 * MINUTE,
			     .handshake_ms = CHOICE_NEVER };
	assert_int_equal(choice_init(&w->choice, n_candidates), 0);
}

static void end(struct world *w)
{
	choice_deinit(&w->choice);
}

/* The name of a candidate has these addresses: words with blanks between them. */
static void answer(struct world *w, size_t candidate, const char *addresses,
		   uint16_t port)
{
	struct resolver_answer a = { 0 };
	char text[512], *rest = text, *word;

	snprintf(text, sizeof(text), "%s", addresses);
	while ((word = strsep(&rest, " ")) && *word)
		snprintf(a.addresses[a.n++].text, RESOLVER_TEXT_CAP, "%s",
			 word);
	a.error = a.n ? 0 : EAI_NONAME;
	choice_answer(&w->choice, candidate, &a, port);
}

static void look(struct world *w)
{
	const struct choice_seen seen = {
		.endpoint = *w->endpoint.text ? w->endpoint.text : NULL,
		.handshake_ms = w->handshake_ms,
		.is_silent = w->is_silent,
		.tx = w->tx,
		.rx = w->rx,
	};

	choice_look(&w->choice, &seen, w->now);
}

static void have(struct world *w, const char *endpoint)
{
	snprintf(w->endpoint.text, sizeof(w->endpoint.text), "%s", endpoint);
	look(w);
}

/* The daemon is told the endpoint that is decided on; NULL: none must be. */
static void expect(struct world *w, const char *endpoint)
{
	struct choice_move move = { NULL, "" };
	bool has_move = choice_decide(&w->choice, w->now, &move);

	if (!endpoint) {
		if (has_move)
			fail_msg("moves to %s: %s", move.to, move.why);
		return;
	}
	if (!has_move)
		fail_msg("does not move to %s", endpoint);
	assert_string_equal(move.to, endpoint);
	assert_true(*move.why);
	snprintf(w->endpoint.text, sizeof(w->endpoint.text), "%s", move.to);
	choice_set(&w->choice, move.to);
	choice_configured(&w->choice, endpoint);
	assert_false(choice_decide(&w->choice, w->now, &move));
}

static void establish(struct world *w, const char *endpoint)
{
	w->handshake_ms = w->now;
	w->is_silent = false;
	snprintf(w->endpoint.text, sizeof(w->endpoint.text), "%s", endpoint);
	choice_established(&w->choice, endpoint, true, w->now);
}

static void roam(struct world *w, const char *endpoint)
{
	snprintf(w->endpoint.text, sizeof(w->endpoint.text), "%s", endpoint);
	choice_moved(&w->choice, endpoint, w->now);
}

static void stall(struct world *w)
{
	w->is_silent = true;
	choice_stalled(&w->choice, w->now);
}

/* ------------------------------------------------------------------- names */

static void first_time(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 2);
	expect(&w, NULL);
	/* The backup is known first, but the name may still have an address. */
	answer(&w, 1, "198.51.100.1", 443);
	expect(&w, NULL);
	answer(&w, 0, "192.0.2.1 2001:db8::1", 51820);
	expect(&w, A4);
	end(&w);
	/* The name has none: the backup. */
	begin(&w, 2);
	answer(&w, 1, "198.51.100.1", 443);
	answer(&w, 0, "", 51820);
	expect(&w, B4);
	end(&w);
}

static void name_changes(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 1);
	have(&w, A4);
	answer(&w, 0, "192.0.2.1", 51820);
	expect(&w, NULL);
	/* One of several is as good as another. */
	answer(&w, 0, "2001:db8::1 192.0.2.1", 51820);
	expect(&w, NULL);
	establish(&w, A4);
	answer(&w, 0, "192.0.2.9 192.0.2.8", 51820);
	expect(&w, "192.0.2.9:51820");
	/* The server is gone, or the name: the addresses stay. */
	answer(&w, 0, "", 51820);
	expect(&w, NULL);
	stall(&w);
	expect(&w, "192.0.2.8:51820");
	end(&w);
}

static void families_take_turns(void **state)
{
	static const char *const wanted[] = {
		"[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1",
		"192.0.2.2:1",	   "192.0.2.3:1",
	};
	struct world w;

	(void)state;
	begin(&w, 1);
	answer(&w, 0, "2001:db8::1 2001:db8::2 192.0.2.1 192.0.2.2 192.0.2.3",
	       1);
	expect(&w, wanted[0]);
	stall(&w);
	for (size_t i = 1; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		expect(&w, wanted[i]);
		w.now += CHOICE_TRY_MS - 1;
		expect(&w, NULL);
		w.now++;
	}
	expect(&w, wanted[0]);
	w.now += MINUTE;
	expect(&w, NULL);
	end(&w);
}

/* ------------------------------------------------------------------ rounds */

static void waits_for_answers(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 1);
	answer(&w, 0, "192.0.2.1 2001:db8::1", 51820);
	expect(&w, A4);
	assert_true(choice_stalled(&w.choice, w.now));
	choice_note_asked(&w.choice);
	expect(&w, NULL);
	assert_true(choice_due(&w.choice, w.now) == w.now + CHOICE_ANSWERS_MS);
	/* The name has moved: this is tried first. */
	answer(&w, 0, "192.0.2.9", 51820);
	expect(&w, "192.0.2.9:51820");
	end(&w);
	/* No answer comes: what is known is tried. */
	begin(&w, 1);
	answer(&w, 0, "192.0.2.1 2001:db8::1", 51820);
	expect(&w, A4);
	choice_stalled(&w.choice, w.now);
	choice_note_asked(&w.choice);
	w.now += CHOICE_ANSWERS_MS;
	expect(&w, A6);
	assert_true(choice_due(&w.choice, w.now) == w.now + CHOICE_TRY_MS);
	end(&w);
}

static void one_address(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 1);
	answer(&w, 0, "192.0.2.1", 51820);
	expect(&w, A4);
	for (int i = 0; i < 3; i++) {
		stall(&w);
		expect(&w, NULL);
		w.now += MINUTE;
	}
	end(&w);
}

static void silent_peer(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 1);
	answer(&w, 0, "192.0.2.1 2001:db8::1", 51820);
	expect(&w, A4);
	look(&w);
	stall(&w);
	expect(&w, A6);
	w.now += CHOICE_TRY_MS;
	expect(&w, A4);
	/* Nothing is sent: no round. */
	w.tx = 148;
	look(&w);
	w.now += MINUTE;
	look(&w);
	expect(&w, NULL);
	/* Initiations leave. */
	w.tx += 148;
	look(&w);
	expect(&w, A6);
	/* It answers: the round ends there. */
	w.now += SECOND;
	establish(&w, A6);
	w.now += MINUTE;
	look(&w);
	expect(&w, NULL);
	end(&w);
}

/* ----------------------------------------------------------------- roaming */

static void roamed(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 1);
	answer(&w, 0, "192.0.2.1", 51820);
	expect(&w, A4);
	establish(&w, A4);
	w.now += SECOND;
	roam(&w, "203.0.113.5:1000");
	answer(&w, 0, "192.0.2.9", 51820);
	expect(&w, NULL);
	/* Not even if it stalls. */
	w.now += MINUTE;
	stall(&w);
	expect(&w, NULL);
	assert_true(choice_due(&w.choice, w.now) ==
		    w.now - MINUTE + CHOICE_HOLD_MS);
	/* Some minutes later it may. */
	w.now += CHOICE_HOLD_MS - MINUTE;
	expect(&w, "192.0.2.9:51820");
	end(&w);
}

static void roamed_and_alive(void **state)
{
	struct world w;

	(void)state;
	begin(&w, 1);
	answer(&w, 0, "192.0.2.1", 51820);
	expect(&w, A4);
	roam(&w, "203.0.113.5:1000");
	for (int i = 0; i < 10; i++) {
		establish(&w, "203.0.113.5:1000");
		w.now += 2 * MINUTE;
		look(&w);
		expect(&w, NULL);
	}
	/* The session has ended by age. */
	w.now += 2 * MINUTE;
	look(&w);
	expect(&w, A4);
	end(&w);
	/* The same is known from a trace. */
	begin(&w, 1);
	w.handshake_ms = w.now;
	have(&w, "203.0.113.5:1000");
	choice_note_roamed(&w.choice, w.now - SECOND);
	answer(&w, 0, "192.0.2.1", 51820);
	expect(&w, NULL);
	end(&w);
}

/* ---------------------------------------------------------------- way back */

/* The backup is in use, after a round, with a session that is @age_ms old. */
static void use_backup(struct world *w, int64_t age_ms)
{
	begin(w, 2);
	answer(w, 0, "192.0.2.1", 51820);
	answer(w, 1, "198.51.100.1", 443);
	w->tx = 148;
	expect(w, A4);
	stall(w);
	expect(w, B4);
	establish(w, B4);
	look(w);
	w->now += age_ms;
}

static void no_session(void **state)
{
	struct world w;

	(void)state;
	use_backup(&w, CHOICE_HOLD_MS - 1);
	w.choice.is_initiator = false;
	expect(&w, NULL);
	w.now++;
	expect(&w, A4);
	/* It does not answer: the backup again, and the next attempt waits longer. */
	w.now += SECOND;
	stall(&w);
	expect(&w, B4);
	establish(&w, B4);
	w.choice.is_initiator = false;
	w.handshake_ms = w.now - CHOICE_HOLD_MS;
	look(&w);
	w.now += CHOICE_RETURN_MS - 2 * SECOND;
	expect(&w, NULL);
	w.now += CHOICE_RETURN_MS;
	expect(&w, A4);
	/* It answers: all is as in the beginning. */
	establish(&w, A4);
	assert_true(w.choice.return_wait_ms == CHOICE_RETURN_MS);
	w.now += 60 * MINUTE;
	look(&w);
	expect(&w, NULL);
	end(&w);
}

static void probe_with_handshake(void **state)
{
	struct world w;

	(void)state;
	use_backup(&w, CHOICE_PROBE_AGE_MS - 1);
	expect(&w, NULL);
	assert_true(choice_due(&w.choice, w.now) == w.now + 1);
	w.now++;
	assert_false(choice_wants_look(&w.choice));
	expect(&w, A4);
	assert_true(choice_wants_look(&w.choice));
	w.now += SECOND;
	w.tx += 148;
	look(&w);
	/* Packets that are under way move the endpoint back. */
	roam(&w, B4);
	expect(&w, A4);
	w.now += SECOND;
	establish(&w, A4);
	assert_false(choice_wants_look(&w.choice));
	w.now += MINUTE;
	look(&w);
	expect(&w, NULL);
	end(&w);
}

static void probe_with_old_session(void **state)
{
	struct world w;

	(void)state;
	use_backup(&w, CHOICE_PROBE_AGE_MS);
	expect(&w, A4);
	/* Packets come in, but from the other one. */
	w.rx += 100;
	roam(&w, B4);
	expect(&w, A4);
	look(&w);
	assert_true(choice_wants_look(&w.choice));
	/* Two looks with packets, and no other endpoint. */
	w.rx += 100;
	look(&w);
	assert_true(choice_wants_look(&w.choice));
	w.now += SECOND;
	w.rx += 100;
	look(&w);
	assert_false(choice_wants_look(&w.choice));
	w.now += MINUTE;
	expect(&w, NULL);
	end(&w);
}

static void probe_fails(void **state)
{
	struct world w;
	int64_t waited = 0;

	(void)state;
	use_backup(&w, CHOICE_PROBE_AGE_MS);
	for (int i = 0; i < 4; i++) {
		expect(&w, A4);
		w.now += SECOND;
		w.tx += 148;
		look(&w);
		w.now += CHOICE_PROBE_MS - 1;
		expect(&w, NULL);
		w.now++;
		expect(&w, B4);
		assert_false(choice_wants_look(&w.choice));
		/* New sessions until the next attempt may begin. */
		for (waited = 0; waited < w.choice.return_wait_ms / 2 - MINUTE;
		     waited += 2 * MINUTE) {
			establish(&w, B4);
			look(&w);
			w.now += MINUTE;
			expect(&w, NULL);
			w.now += MINUTE;
		}
		w.now = w.choice.return_ms > w.now ? w.choice.return_ms : w.now;
		w.handshake_ms = w.now - CHOICE_PROBE_AGE_MS;
		look(&w);
	}
	end(&w);
}

/* Nothing is sent while the first candidate is tried: it ends with the session. */
static void probe_without_traffic(void **state)
{
	struct world w;

	(void)state;
	use_backup(&w, CHOICE_PROBE_AGE_MS);
	expect(&w, A4);
	w.now += MINUTE - 10 * SECOND;
	look(&w);
	expect(&w, NULL);
	w.now += 10 * SECOND;
	expect(&w, B4);
	end(&w);
}

static void probe_and_roaming(void **state)
{
	struct world w;

	(void)state;
	use_backup(&w, CHOICE_PROBE_AGE_MS);
	expect(&w, A4);
	roam(&w, "203.0.113.5:1000");
	expect(&w, NULL);
	assert_false(choice_wants_look(&w.choice));
	w.now += MINUTE;
	expect(&w, NULL);
	end(&w);
}

static void backup_changes(void **state)
{
	struct world w;

	(void)state;
	use_backup(&w, MINUTE);
	answer(&w, 1, "198.51.100.2", 443);
	expect(&w, "198.51.100.2:443");
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_time),
		cmocka_unit_test(name_changes),
		cmocka_unit_test(families_take_turns),
		cmocka_unit_test(waits_for_answers),
		cmocka_unit_test(one_address),
		cmocka_unit_test(silent_peer),
		cmocka_unit_test(roamed),
		cmocka_unit_test(roamed_and_alive),
		cmocka_unit_test(no_session),
		cmocka_unit_test(probe_with_handshake),
		cmocka_unit_test(probe_with_old_session),
		cmocka_unit_test(probe_fails),
		cmocka_unit_test(probe_without_traffic),
		cmocka_unit_test(probe_and_roaming),
		cmocka_unit_test(backup_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
