/* SPDX-License-Identifier: MIT */
/*
 * The ring: items come out in the order they went in, while its places wrap
 * around.
 */
#include "base/ring.h"
#include "tests/lib/check.h"

enum {
	/* A choice: no power of two. */
	CAP = 5,
	/* A choice: the places wrap around many times. */
	STEPS = 10000
};

static void fills_and_empties(void **state)
{
	struct ring ring;

	(void)state;
	ring_init(&ring, CAP);
	for (uint32_t round = 0; round < 3; round++) {
		assert_int_equal(ring.n, 0);
		for (uint32_t i = 0; i < CAP; i++) {
			assert_false(ring_is_full(&ring));
			assert_int_equal(ring_push(&ring), i);
			assert_int_equal(ring_last(&ring), i);
		}
		assert_true(ring_is_full(&ring));
		for (uint32_t i = 0; i < CAP; i++)
			assert_int_equal(ring_pop(&ring), i);
	}
}

/* A ring with one place always uses this place. */
static void has_one_place(void **state)
{
	struct ring ring;

	(void)state;
	ring_init(&ring, 1);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(ring_push(&ring), 0);
		assert_true(ring_is_full(&ring));
		assert_int_equal(ring_pop(&ring), 0);
	}
}

/* Numbers come out in order, for any mix of pushes and pops. */
static void keeps_the_order(void **state)
{
	uint32_t places[CAP], next_in = 0, next_out = 0;
	struct random random;
	struct ring ring;

	(void)state;
	random_init(&random, 7);
	ring_init(&ring, CAP);
	for (int i = 0; i < STEPS; i++) {
		bool is_push = random_below(&random, 2);

		assert_int_equal(ring.n, next_in - next_out);
		if (is_push && !ring_is_full(&ring)) {
			places[ring_push(&ring)] = next_in++;
			assert_int_equal(places[ring_last(&ring)], next_in - 1);
		} else if (!is_push && ring.n) {
			assert_int_equal(places[ring_pop(&ring)], next_out++);
		}
	}
	assert_true(next_out > STEPS / 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fills_and_empties),
		cmocka_unit_test(has_one_place),
		cmocka_unit_test(keeps_the_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
