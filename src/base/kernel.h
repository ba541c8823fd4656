/* SPDX-License-Identifier: MIT */
/* The version of the kernel, for faults that only a range of versions has. */
#ifndef BASE_KERNEL_H
#define BASE_KERNEL_H

#include <stdbool.h>
#include <stdio.h>

/**
 * struct kernel_version - the first numbers of a release
 * @numbers:	6, 8 and 5 in 6.8.5-rc1
 */
struct kernel_version {
	unsigned int numbers[3];
};

/**
 * kernel_parse() - read a version
 * @version:	filled; a number that is not there is 0
 * @release:	the release that uname(2) gives; some have no third number, such
 *		as 6.9-rc1
 *
 * Return: false if there are fewer than two numbers.
 */
static inline bool kernel_parse(struct kernel_version *version,
				const char *release)
{
	unsigned int *n = version->numbers;

	*version = (struct kernel_version){ 0 };
	return sscanf(release, "%u.%u.%u", &n[0], &n[1], &n[2]) >= 2;
}

/* kernel_is_before() - is @v earlier than the version of these numbers? */
static inline bool kernel_is_before(const struct kernel_version *v,
				    unsigned int first, unsigned int second,
				    unsigned int third)
{
	if (v->numbers[0] != first)
		return v->numbers[0] < first;
	if (v->numbers[1] != second)
		return v->numbers[1] < second;
	return v->numbers[2] < third;
}

#endif /* BASE_KERNEL_H */
