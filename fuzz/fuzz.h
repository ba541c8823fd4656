/* SPDX-License-Identifier: MIT */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The entry point of a target: returns 0; a broken promise aborts. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* require() - like assert(), also in builds without it */
static inline void require(int promise)
{
	if (!promise)
		abort();
}

#endif /* FUZZ_FUZZ_H */
