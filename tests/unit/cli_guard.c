/* SPDX-License-Identifier: MIT */
/* Whether an engine hangs, told from the answers that it gives, and from those that it
 * does not. The test calls the guard's timer itself, on time or too late. */
#include "cli/guard.h"

#include <string.h>

#include "base/now.h"
#include "tests/lib/check.h"

#define PERIOD_NS (3 * NSEC_PER_SEC)

struct fixture {
	struct loop loop;
	struct guard guard;
	unsigned int n_asked;
	unsigned int n_well;
	unsigned int n_hung;
	char hung[REQUEST_NAME_CAP];
};

static void ask(void *arg)
{
	struct fixture *f = arg;

	f->n_asked++;
}

static void well(void *arg)
{
	struct fixture *f = arg;

	f->n_well++;
}

static void hung(void *arg, const char *name)
{
	struct fixture *f = arg;

	f->n_hung++;
	strcpy(f->hung, name);
}

static const struct guard_ops ops = { .ask = ask, .well = well, .hung = hung };

static void begin(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	assert_int_equal(loop_init(&f->loop), 0);
	guard_init(&f->guard, &f->loop, PERIOD_NS, &ops, f);
	guard_start(&f->guard);
	assert_int_equal(f->n_well, 1);
	assert_int_equal(f->n_asked, 0);
}

static void end(struct fixture *f)
{
	guard_stop(&f->guard);
	assert_null(f->loop.timers);
	loop_deinit(&f->loop);
}

/* The time for an answer is over; the loop notices it in time, or much too late. */
static void pass_chance(struct fixture *f, bool is_late)
{
	assert_true(f->guard.timer.is_set);
	loop_clear_timer(&f->loop, &f->guard.timer);
	/* A second on top, because this test may be stopped as well. */
	f->guard.due = is_late ? 0 : now_monotonic() + NSEC_PER_SEC;
	f->guard.timer.ready(&f->guard.timer);
}

/* One question for each turn, no timer behind the answer. */
static void all_is_well(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	for (unsigned int i = 1; i < 5; i++) {
		assert_null(guard_turn(&f.guard));
		assert_int_equal(f.n_asked, i);
		guard_hear(&f.guard, "");
		assert_int_equal(f.n_well, i + 1);
		assert_null(f.loop.timers);
	}
	/* An answer to no question. */
	guard_hear(&f.guard, "worker");
	guard_hear(&f.guard, "worker");
	assert_null(guard_turn(&f.guard));
	assert_int_equal(f.n_hung, 0);
	end(&f);
}

static void no_answer(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	assert_null(guard_turn(&f.guard));
	pass_chance(&f, false);
	assert_int_equal(f.n_asked, 2);
	assert_int_equal(f.n_hung, 0);
	pass_chance(&f, false);
	assert_int_equal(f.n_hung, 1);
	assert_string_equal(f.hung, "control thread");
	assert_null(f.loop.timers);
	/* It is not asked again, and not ended again. */
	assert_string_equal(guard_turn(&f.guard), "control thread");
	assert_int_equal(f.n_asked, 2);
	guard_hear(&f.guard, "");
	assert_string_equal(guard_turn(&f.guard), "control thread");
	/* Another one takes its place. */
	guard_stop(&f.guard);
	assert_non_null(guard_turn(&f.guard));
	assert_int_equal(f.n_asked, 2);
	guard_start(&f.guard);
	assert_null(guard_turn(&f.guard));
	assert_int_equal(f.n_asked, 3);
	end(&f);
}

static void late_answer(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	for (int i = 0; i < 10; i++) {
		assert_null(guard_turn(&f.guard));
		pass_chance(&f, false);
		guard_hear(&f.guard, "");
		assert_null(f.loop.timers);
	}
	/* The turn comes before the second chance is over. */
	assert_null(guard_turn(&f.guard));
	pass_chance(&f, false);
	assert_non_null(guard_turn(&f.guard));
	assert_int_equal(f.n_asked, 22);
	guard_hear(&f.guard, "");
	assert_null(guard_turn(&f.guard));
	assert_int_equal(f.n_hung, 0);
	end(&f);
}

static void a_thread_stands(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	assert_null(guard_turn(&f.guard));
	guard_hear(&f.guard, "worker");
	assert_int_equal(f.n_hung, 0);
	pass_chance(&f, false);
	assert_int_equal(f.n_asked, 2);
	guard_hear(&f.guard, "worker");
	assert_int_equal(f.n_hung, 1);
	assert_string_equal(f.hung, "worker");
	end(&f);
}

/* A second look sees that it goes on, or that another one stands. */
static void a_thread_was_slow(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	assert_null(guard_turn(&f.guard));
	guard_hear(&f.guard, "worker");
	pass_chance(&f, false);
	guard_hear(&f.guard, "");
	assert_null(guard_turn(&f.guard));
	guard_hear(&f.guard, "worker");
	pass_chance(&f, false);
	guard_hear(&f.guard, "handshaker");
	assert_int_equal(f.n_hung, 0);
	pass_chance(&f, false);
	guard_hear(&f.guard, "handshaker");
	assert_int_equal(f.n_hung, 1);
	assert_string_equal(f.hung, "handshaker");
	end(&f);
}

/* The keeper stood still, too: the questions begin anew. */
static void all_was_stopped(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	assert_null(guard_turn(&f.guard));
	for (int i = 0; i < 5; i++) {
		pass_chance(&f, false);
		pass_chance(&f, true);
		assert_int_equal(f.n_hung, 0);
	}
	pass_chance(&f, false);
	pass_chance(&f, false);
	assert_int_equal(f.n_hung, 1);
	end(&f);
}

/* An engine in the place of another one has more time, and no second chance. */
static void a_start(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	guard_stop(&f.guard);
	guard_expect(&f.guard);
	assert_null(guard_turn(&f.guard));
	assert_non_null(guard_turn(&f.guard));
	guard_hear(&f.guard, "worker");
	pass_chance(&f, true);
	assert_int_equal(f.n_asked, 0);
	assert_int_equal(f.n_hung, 0);
	pass_chance(&f, false);
	assert_int_equal(f.n_hung, 1);
	assert_string_equal(f.hung, "new engine");
	guard_stop(&f.guard);
	guard_expect(&f.guard);
	assert_true(f.guard.timer.is_set);
	guard_start(&f.guard);
	assert_null(f.loop.timers);
	assert_null(guard_turn(&f.guard));
	assert_int_equal(f.n_asked, 1);
	end(&f);
}

static void least_time(void **state)
{
	struct fixture f;

	(void)state;
	memset(&f, 0, sizeof(f));
	guard_init(&f.guard, &f.loop, NSEC_PER_MSEC, &ops, &f);
	assert_int_equal(f.guard.chance_ns, GUARD_CHANCE_NS);
	guard_init(&f.guard, &f.loop, 15 * NSEC_PER_SEC, &ops, &f);
	assert_int_equal(f.guard.chance_ns, 5 * NSEC_PER_SEC);
	assert_int_equal(f.guard.start_ns, 20 * NSEC_PER_SEC);
	guard_init(&f.guard, &f.loop, 0, &ops, &f);
	assert_int_equal(f.guard.start_ns, 60 * NSEC_PER_SEC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_is_well),
		cmocka_unit_test(no_answer),
		cmocka_unit_test(late_answer),
		cmocka_unit_test(a_thread_stands),
		cmocka_unit_test(a_thread_was_slow),
		cmocka_unit_test(all_was_stopped),
		cmocka_unit_test(a_start),
		cmocka_unit_test(least_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
