/* SPDX-License-Identifier: MIT */
/* Random numbers. With TEST_SEED in the environment a test repeats a run. */
#ifndef TESTS_RANDOM_H
#define TESTS_RANDOM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

static uint64_t random_state;

/* SplitMix64 and its constants, from Steele, Lea and Flood, "Fast splittable
 * pseudorandom number generators" (2014). */
static inline uint64_t random_next(void)
{
	uint64_t z = (random_state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static inline uint32_t random_below(uint32_t n)
{
	return (uint32_t)(random_next() % n);
}

static inline void random_seed(void)
{
	const char *seed = getenv("TEST_SEED");

	random_state = seed ? strtoull(seed, NULL, 0) : 20260901;
	print_message("# TEST_SEED=%llu\n", (unsigned long long)random_state);
}

#endif /* TESTS_RANDOM_H */
