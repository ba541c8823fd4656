/* SPDX-License-Identifier: MIT */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The entry point of a target: returns 0; a broken promise aborts. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* A promise was broken: say which, and stop where it happened. */
static inline __attribute__((noreturn)) void
require_failed(const char *promise, const char *file, int line)
{
	fprintf(stderr, "%s:%d: broken: %s\n", file, line, promise);
	abort();
}

/* require() - like assert(), also in builds without it */
#define require(promise) \
	((promise) ? (void)0 : require_failed(#promise, __FILE__, __LINE__))

#endif /* FUZZ_FUZZ_H */
