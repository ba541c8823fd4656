/* SPDX-License-Identifier: MIT */
/*
 * Limits are raised as far as the kernel allows. The test replaces the kernel's
 * calls, because not every machine gives CAP_SYS_RESOURCE.
 */
#include "isolate/limit.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/resource.h>

#include "base/bytes.h"
#include "tests/lib/check.h"

static struct {
	struct rlimit limits[RLIM_NLIMITS];
	bool may_raise;
} kernel;

int __wrap_getrlimit(int resource, struct rlimit *limit);
int __wrap_setrlimit(int resource, const struct rlimit *limit);

int __wrap_getrlimit(int resource, struct rlimit *limit)
{
	*limit = kernel.limits[resource];
	return 0;
}

/* setrlimit(2), with the limit on descriptors that fs.nr_open sets. */
int __wrap_setrlimit(int resource, const struct rlimit *limit)
{
	/* The kernel's default for fs.nr_open. */
	const rlim_t nr_open = 1 << 20;

	errno = EPERM;
	if (limit->rlim_max > kernel.limits[resource].rlim_max &&
	    !kernel.may_raise)
		return -1;
	if (resource == RLIMIT_NOFILE && limit->rlim_max > nr_open)
		return -1;
	errno = EINVAL;
	if (limit->rlim_cur > limit->rlim_max)
		return -1;
	kernel.limits[resource] = *limit;
	return 0;
}

/* The names of these calls with _FILE_OFFSET_BITS=64. */
int __wrap_getrlimit64(int resource, struct rlimit *limit)
	__attribute__((alias("__wrap_getrlimit")));
int __wrap_setrlimit64(int resource, const struct rlimit *limit)
	__attribute__((alias("__wrap_setrlimit")));

static void raised(void **state)
{
	const rlim_t no = RLIM_INFINITY;
	static const int all[] = { RLIMIT_NPROC, RLIMIT_MEMLOCK };
	const struct {
		struct rlimit before, any, with_right, files, files_with_right;
	} rows[] = {
		{ { 5, 40 },
		  { 40, 40 },
		  { no, no },
		  { 40, 40 },
		  { 1024, 1024 } },
		{ { 40, 40 },
		  { 40, 40 },
		  { no, no },
		  { 40, 40 },
		  { 1024, 1024 } },
		{ { 1024, 4096 },
		  { 4096, 4096 },
		  { no, no },
		  { 4096, 4096 },
		  { 4096, 4096 } },
		{ { 7, 1024 },
		  { 1024, 1024 },
		  { no, no },
		  { 1024, 1024 },
		  { 1024, 1024 } },
	};

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
		const size_t row = i / 2;
		const struct rlimit *wanted, *files;

		kernel.may_raise = i % 2;
		wanted = i % 2 ? &rows[row].with_right : &rows[row].any;
		files = i % 2 ? &rows[row].files_with_right : &rows[row].files;
		for (size_t r = 0; r < RLIM_NLIMITS; r++)
			kernel.limits[r] = rows[row].before;
		limits_raise();
		for (size_t r = 0; r < ARRAY_LEN(all); r++)
			assert_memory_equal(&kernel.limits[all[r]], wanted,
					    sizeof(*wanted));
		assert_memory_equal(&kernel.limits[RLIMIT_NOFILE], files,
				    sizeof(*files));
		/* Other limits stay as they are. */
		assert_memory_equal(&kernel.limits[RLIMIT_CORE],
				    &rows[row].before, sizeof(*wanted));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(raised),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
