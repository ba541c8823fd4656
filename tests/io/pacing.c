/* SPDX-License-Identifier: MIT */
/*
 * Bursts through a slow link with a short queue (shaper.h). A program that sends 64
 * datagrams at once loses many; one that sends 16 at once, at the same average rate,
 * loses nearly none. So the length of a train is what a program has to choose, and
 * ug_batch_set_segments() keeps trains that short.
 */
#include "base/bytes.h"
#include "tests/io/shaper.h"
#include "tests/lib/check.h"
#include "tests/lib/netns.h"

enum {
	/* Percent. About 60 is seen; below this the link is not what it should be. */
	MANY = 25,
	/* Attempts on a busy machine, where the timer of the link may be late. */
	TRIES = 5,
};

/* Sixteen at once: less than 1 % is lost, for both families. */
static void short_trains(void **state)
{
	static const struct shaper_flow flow = { .at_once = 16,
						 .max_segments = 16 };

	(void)state;
	for (size_t h = 0; h < ARRAY_LEN(shaper_hosts); h++) {
		double lost = 100;

		for (int t = 0; t < TRIES && lost >= 1; t++)
			lost = shaper_loss(&flow, shaper_hosts[h]);
		assert_true(lost < 1);
	}
}

/* Sixty-four at once: the same link loses many. Else the test above proves nothing. */
static void long_trains(void **state)
{
	static const struct shaper_flow flow = { .at_once = 64 };

	(void)state;
	for (size_t h = 0; h < ARRAY_LEN(shaper_hosts); h++)
		assert_true(shaper_loss(&flow, shaper_hosts[h]) > MANY);
}

/* Short trains that leave one right after the other are lost like long ones: the
 * limit does not pace by itself, and the manual says so. */
static void short_trains_at_once(void **state)
{
	static const struct shaper_flow flow = { .at_once = 64,
						 .max_segments = 16 };

	(void)state;
	assert_true(shaper_loss(&flow, shaper_hosts[0]) > MANY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_trains),
		cmocka_unit_test(long_trains),
		cmocka_unit_test(short_trains_at_once),
	};

	netns_require();
	return cmocka_run_group_tests(tests, shaper_set_up, NULL);
}
