/* SPDX-License-Identifier: MIT */
/*
 * An array of sources, run in turn: which lanes run, which stay ready, and what
 * sources_run() returns.
 */
#include <string.h>

#include "engine/source.h"
#include "tests/lib/check.h"

enum {
	N = SOURCES_MAX,
	LAST = N - 1,
};

struct fake_source {
	struct source source;
	unsigned int n_batches; /* left to be taken */
	unsigned int n_looks;
	bool is_drained; /* by each batch */
};

struct fixture {
	struct fake_source fakes[N];
	struct sources sources;
	struct context context;
};

static bool fake_take(void *arg, void *slot, void *context)
{
	struct fake_source *f = arg;

	(void)slot;
	(void)context;
	f->n_looks++;
	if (!f->n_batches)
		return false;
	f->n_batches--;
	if (f->is_drained)
		lane_drained(&f->source.lane);
	return true;
}

static void fake_step(void *arg, void *slot, void *context)
{
	(void)arg;
	(void)slot;
	(void)context;
}

static const struct lane_ops ops = { .take = fake_take,
				     .work = fake_step,
				     .commit = fake_step };

static int setup(void **state)
{
	static struct fixture f;
	static char memory[N];

	memset(&f, 0, sizeof(f));
	for (int i = 0; i < N; i++) {
		struct fake_source *s = &f.fakes[i];

		lane_init(&s->source.lane, &ops, s, (void *[]){ &memory[i] },
			  1);
		f.sources.all[f.sources.n++] = &s->source;
	}
	*state = &f;
	return 0;
}

static void all_have_a_bit(void **state)
{
	struct fixture *f = *state;

	for (unsigned int n = 1; n <= N; n++) {
		f->sources.n = n;
		assert_int_equal(sources_all(&f->sources), (1U << n) - 1);
	}
}

static void only_those_of_the_set(void **state)
{
	struct fixture *f = *state;
	uint32_t ready = 1U << 1 | 1U << LAST;

	for (int i = 0; i < N; i++)
		f->fakes[i].n_batches = 1;
	assert_true(sources_run(&f->sources, &ready, &f->context));
	assert_int_equal(ready, 1U << 1 | 1U << LAST);
	for (int i = 0; i < N; i++)
		assert_int_equal(f->fakes[i].n_looks, i == 1 || i == LAST);
	/* Sources that were found empty leave the set. */
	assert_false(sources_run(&f->sources, &ready, &f->context));
	assert_int_equal(ready, 0);
	assert_false(sources_run(&f->sources, &ready, &f->context));
	assert_int_equal(f->fakes[1].n_looks, 2);
}

static void one_is_enough_to_be_busy(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < N; i++) {
		uint32_t ready = sources_all(&f->sources);

		f->fakes[i].n_batches = 1;
		assert_true(sources_run(&f->sources, &ready, &f->context));
		assert_int_equal(ready, 1U << i);
	}
}

/*
 * Another thread takes from the lane. The lane may have more batches, but this
 * thread has done no work.
 */
static void a_held_lane_stays_ready(void **state)
{
	struct fixture *f = *state;
	uint32_t ready = sources_all(&f->sources);

	atomic_store(&f->fakes[2].source.lane.taking, true);
	assert_false(sources_run(&f->sources, &ready, &f->context));
	assert_int_equal(ready, 1U << 2);
	assert_int_equal(f->fakes[2].n_looks, 0);
}

/* A drained lane has done work, but is not looked at again. */
static void a_drained_lane_leaves_the_set(void **state)
{
	struct fixture *f = *state;
	uint32_t ready = 1U << 1 | 1U << 2;

	f->fakes[1].n_batches = f->fakes[2].n_batches = 2;
	f->fakes[1].is_drained = true;
	assert_true(sources_run(&f->sources, &ready, &f->context));
	assert_int_equal(ready, 1U << 2);
	assert_true(sources_run(&f->sources, &ready, &f->context));
	assert_int_equal(f->fakes[1].n_looks, 1);
	assert_int_equal(f->fakes[2].n_looks, 2);
}

static void an_error_is_taken_once(void **state)
{
	struct fixture *f = *state;
	struct source *s = &f->fakes[0].source;

	assert_int_equal(source_take_error(s), 0);
	source_note_error(s, -5);
	assert_int_equal(source_take_error(s), -5);
	assert_int_equal(source_take_error(s), 0);
	assert_false(source_is_gone(s));
	source_note_gone(s);
	assert_true(source_is_gone(s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(all_have_a_bit, setup),
		cmocka_unit_test_setup(only_those_of_the_set, setup),
		cmocka_unit_test_setup(one_is_enough_to_be_busy, setup),
		cmocka_unit_test_setup(a_held_lane_stays_ready, setup),
		cmocka_unit_test_setup(a_drained_lane_leaves_the_set, setup),
		cmocka_unit_test_setup(an_error_is_taken_once, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
