/* SPDX-License-Identifier: MIT */
/* A check for threads of a test: cmocka's assertions work in the main thread only. */
#ifndef TESTS_LIB_REQUIRE_H
#define TESTS_LIB_REQUIRE_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* REQUIRE() - end the program with a line on stderr if @x is not true. Any thread. */
#define REQUIRE(x) require(x, #x, __FILE__, __LINE__)

static inline void require(bool is_true, const char *what, const char *file,
			   int line)
{
	if (is_true)
		return;
	fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
	abort();
}

#endif /* TESTS_LIB_REQUIRE_H */
