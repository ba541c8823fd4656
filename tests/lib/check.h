/* SPDX-License-Identifier: MIT */
/*
 * cmocka with the headers that it needs, and a seeded random generator for all
 * tests.
 */
#ifndef TESTS_LIB_CHECK_H
#define TESTS_LIB_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/**
 * struct random - a small generator, with a seed that is printed, so a
 *		   failure can be repeated
 *
 * The generator is xorshift64* (Vigna 2016), with the shifts and the factor of
 * that paper.
 */
struct random {
	uint64_t state;
};

static inline uint64_t random_next(struct random *r)
{
	r->state ^= r->state >> 12;
	r->state ^= r->state << 25;
	r->state ^= r->state >> 27;
	return r->state * 0x2545f4914f6cdd1d;
}

/*
 * random_below() - a number from 0 to @n - 1
 *
 * The numbers are not quite equally likely. For a small @n the difference is
 * negligible. The lowest bits of this generator are its weakest, so the lowest
 * 16 are left out; 16 is a choice, not measured.
 */
static inline size_t random_below(struct random *r, size_t n)
{
	return (size_t)(random_next(r) >> 16) % n;
}

/* random_init() - seed from TEST_SEED if that is set, else from @fallback */
static inline void random_init(struct random *r, uint64_t fallback)
{
	const char *text = getenv("TEST_SEED");

	r->state = text ? strtoull(text, NULL, 0) : fallback;
	/* A state of 0 would stay 0. */
	if (!r->state)
		r->state = 1;
	fprintf(stderr, "TEST_SEED=%#llx\n", (unsigned long long)r->state);
}

#endif /* TESTS_LIB_CHECK_H */
