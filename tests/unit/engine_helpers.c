/* SPDX-License-Identifier: MIT */
/*
 * Helpers with fake sources, which only count calls. A helper is woken once the
 * worker has been busy for a time, and not earlier. The helper works while
 * there are batches, and then sleeps.
 */
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/now.h"
#include "engine/helpers.h"
#include "tests/lib/check.h"

enum {
	/* Enough for a busy machine and a sanitizer. A choice, not measured. */
	PATIENCE_S = 60,
};

/* Data that the sources and the helpers share with the test. */
struct fixture {
	struct source source[2];
	struct sources sources;
	struct sockets sockets;
	struct helpers helpers;
	_Atomic bool has_work;
	_Atomic unsigned int n_worked;
	_Atomic unsigned int n_pokes;
};

static bool fake_take(void *arg, void *slot, void *context)
{
	struct fixture *f = arg;

	(void)slot;
	(void)context;
	return atomic_load(&f->has_work);
}

static void fake_work(void *arg, void *slot, void *context)
{
	struct fixture *f = arg;

	(void)slot;
	/* The context must be that of the helper. */
	assert_ptr_equal(context, &f->helpers.all[0].context);
	atomic_fetch_add(&f->n_worked, 1);
}

static void fake_commit(void *arg, void *slot, void *context)
{
	(void)arg;
	(void)slot;
	(void)context;
}

static const struct lane_ops ops = { .take = fake_take,
				     .work = fake_work,
				     .commit = fake_commit };

static void fake_poke(void *arg)
{
	struct fixture *f = arg;

	atomic_fetch_add(&f->n_pokes, 1);
}

static void begin(struct fixture *f)
{
	static char memory[2];

	memset(f, 0, sizeof(*f));
	for (unsigned int i = 0; i < 2; i++) {
		lane_init(&f->source[i].lane, &ops, f, (void *[]){ &memory[i] },
			  1);
		f->sources.all[f->sources.n++] = &f->source[i];
	}
	sockets_init(&f->sockets);
	f->helpers.sources = &f->sources;
	f->helpers.sockets = &f->sockets;
	f->helpers.poke = fake_poke;
	f->helpers.arg = f;
	assert_int_equal(helpers_init(&f->helpers, 1), 0);
	assert_int_equal(helpers_start(&f->helpers), 0);
}

static void end(struct fixture *f)
{
	helpers_stop(&f->helpers);
	helpers_deinit(&f->helpers);
	sockets_deinit(&f->sockets);
}

/*
 * Act as a busy worker until the helper has worked. Return: how long that took,
 * in nanoseconds.
 */
static uint64_t be_busy(struct fixture *f)
{
	uint64_t start = now_boottime();

	while (!atomic_load(&f->n_worked)) {
		helpers_tell(&f->helpers, true);
		assert_true(now_boottime() - start < PATIENCE_S * NSEC_PER_SEC);
	}
	return now_boottime() - start;
}

static void await_sleep(struct fixture *f)
{
	uint64_t start = now_boottime();

	/*
	 * The poke of the worker is the last thing that a helper does before it
	 * sleeps.
	 */
	while (!atomic_load(&f->n_pokes)) {
		assert_true(now_boottime() - start < PATIENCE_S * NSEC_PER_SEC);
		sched_yield();
	}
}

static void woken_when_busy(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	atomic_store(&f.has_work, true);
	for (int turn = 0; turn < 3; turn++) {
		/*
		 * The helper is woken only after the worker has been busy for 1
		 * ms or longer.
		 */
		assert_true(be_busy(&f) >= NSEC_PER_MSEC);
		atomic_store(&f.has_work, false);
		await_sleep(&f);
		assert_int_equal(atomic_load(&f.helpers.n_awake), 0);
		atomic_store(&f.n_worked, 0);
		atomic_store(&f.n_pokes, 0);
		atomic_store(&f.has_work, true);
		helpers_tell(&f.helpers, false);
		/*
		 * A helper that had to share its processor is not woken for a
		 * while. End that pause.
		 */
		atomic_store(&f.helpers.not_before, 0);
	}
	end(&f);
}

static void not_when_idle(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	atomic_store(&f.has_work, true);
	for (uint64_t start = now_boottime();
	     now_boottime() - start < 20 * NSEC_PER_MSEC;) {
		helpers_tell(&f.helpers, true);
		helpers_tell(&f.helpers, false);
	}
	end(&f);
	assert_int_equal(atomic_load(&f.n_worked), 0);
}

static void not_while_paused(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	atomic_store(&f.has_work, true);
	atomic_store(&f.helpers.not_before, UINT64_MAX);
	for (uint64_t start = now_boottime();
	     now_boottime() - start < 20 * NSEC_PER_MSEC;)
		helpers_tell(&f.helpers, true);
	end(&f);
	assert_int_equal(atomic_load(&f.n_worked), 0);
}

static void no_helpers(void **state)
{
	struct helpers helpers = { 0 };

	(void)state;
	assert_int_equal(helpers_init(&helpers, 0), 0);
	assert_int_equal(helpers_start(&helpers), 0);
	for (int i = 0; i < 1000; i++)
		helpers_tell(&helpers, true);
	helpers_stop(&helpers);
	helpers_deinit(&helpers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(woken_when_busy),
		cmocka_unit_test(not_when_idle),
		cmocka_unit_test(not_while_paused),
		cmocka_unit_test(no_helpers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
