/* SPDX-License-Identifier: MIT */
#include "device/schedule.h"

#include "random.h"

/* Choices, not measured. */
enum {
	N = 300,
	N_STEPS = 200000,
};

static uint64_t earliest(const struct schedule_entry entries[N])
{
	uint64_t due_ns = SCHEDULE_NEVER;

	for (size_t i = 0; i < N; i++)
		if (entries[i].due_ns < due_ns)
			due_ns = entries[i].due_ns;
	return due_ns;
}

static void test_random_against_model(void **state)
{
	struct schedule_entry entries[N];
	struct schedule schedule;

	(void)state;
	schedule_init(&schedule);
	assert_null(schedule_first(&schedule));
	assert_int_equal(schedule_reserve(&schedule, N), 0);
	for (size_t i = 0; i < N; i++)
		schedule_entry_init(&entries[i]);
	for (size_t step = 0; step < N_STEPS; step++) {
		struct schedule_entry *entry = &entries[random_below(N)];
		const struct schedule_entry *first;
		uint64_t due_ns =
			random_below(3) ? random_below(1000) : SCHEDULE_NEVER;

		schedule_set(&schedule, entry, due_ns);
		assert_true(entry->due_ns == due_ns);
		first = schedule_first(&schedule);
		assert_true((first ? first->due_ns : SCHEDULE_NEVER) ==
			    earliest(entries));
	}
	schedule_deinit(&schedule);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_against_model),
	};

	random_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
