/* SPDX-License-Identifier: MIT */
/* See lack.h. */
#include "tests/lib/lack.h"

#include <stdbool.h>
#include <stddef.h>

long lack_left = -1;

void *__real_malloc(size_t len);
void *__real_calloc(size_t n, size_t len);
void *__real_reallocarray(void *p, size_t n, size_t len);
void *__wrap_malloc(size_t len);
void *__wrap_calloc(size_t n, size_t len);
void *__wrap_reallocarray(void *p, size_t n, size_t len);

static bool is_refused(void)
{
	if (lack_left > 0)
		lack_left--;
	return lack_left == 0;
}

void *__wrap_malloc(size_t len)
{
	return is_refused() ? NULL : __real_malloc(len);
}

void *__wrap_calloc(size_t n, size_t len)
{
	return is_refused() ? NULL : __real_calloc(n, len);
}

void *__wrap_reallocarray(void *p, size_t n, size_t len)
{
	return is_refused() ? NULL : __real_reallocarray(p, n, len);
}
