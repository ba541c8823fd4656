/* SPDX-License-Identifier: MIT */
/*
 * Arithmetic on points of time. A point is a count of nanoseconds of a clock
 * that never steps back (CLOCK_BOOTTIME); it always comes in as an argument,
 * called `now`. Two threads may have read the clock at slightly different times,
 * so a point may lie after `now`. Its age is then 0, and not a huge number.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define NSEC_PER_MSEC UINT64_C(1000000)
#define NSEC_PER_SEC  UINT64_C(1000000000)

/**
 * clock_age() - nanoseconds from one point of time to a later one
 * @since:	the earlier point
 * @now:	the later point
 *
 * Return: the difference; 0 if @since lies after @now.
 */
static inline uint64_t clock_age(uint64_t since, uint64_t now)
{
	return now > since ? now - since : 0;
}

/**
 * clock_has_passed() - has a span of time gone by?
 * @since:	the point at which the span begins
 * @span_ns:	its length
 * @now:	the present
 *
 * Return: true if @now is the end of the span or later.
 */
static inline bool clock_has_passed(uint64_t since, uint64_t span_ns,
				    uint64_t now)
{
	return clock_age(since, now) >= span_ns;
}

/* clock_earlier() - the earlier of two points */
static inline uint64_t clock_earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

#endif /* BASE_CLOCK_H */
