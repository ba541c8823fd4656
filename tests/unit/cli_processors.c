/* SPDX-License-Identifier: MIT */
/* How many workers and queues there are by default. */
#include "cli/processors.h"

#include <sched.h>

#include "base/bytes.h"
#include "tests/lib/check.h"

static void rules(void **state)
{
	static const struct {
		unsigned int processors, workers, queues;
	} rows[] = {
		{ 1, 1, 1 },  { 2, 2, 1 },   { 3, 3, 1 },    { 4, 4, 1 },
		{ 7, 4, 1 },  { 8, 4, 2 },   { 11, 4, 2 },   { 12, 4, 3 },
		{ 16, 4, 4 }, { 31, 4, 7 },  { 32, 4, 8 },   { 33, 4, 8 },
		{ 64, 4, 8 }, { 256, 4, 8 }, { 1024, 4, 8 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		unsigned int n = rows[i].processors;
		unsigned int workers = processors_get_workers(n);
		unsigned int queues = processors_get_queues(n);

		if (workers != rows[i].workers || queues != rows[i].queues)
			print_message(
				"# %u processors: %u workers, %u queues\n", n,
				workers, queues);
		assert_int_equal(workers, rows[i].workers);
		assert_int_equal(queues, rows[i].queues);
	}
}

/* Only those count that the process may run on. */
static void counting(void **state)
{
	cpu_set_t all, one;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	assert_int_equal(processors_count(), CPU_COUNT(&all));
	CPU_ZERO(&one);
	for (size_t i = 0; i < CPU_SETSIZE && !CPU_COUNT(&one); i++)
		if (CPU_ISSET(i, &all))
			CPU_SET(i, &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	assert_int_equal(processors_count(), 1);
	assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rules),
		cmocka_unit_test(counting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
