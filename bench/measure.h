/* SPDX-License-Identifier: MIT */
/* The clocks of the benchmarks, and the median of measured values. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

static inline uint64_t bench_clock_ns(clockid_t id)
{
	struct timespec ts = { 0 };

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/**
 * bench_now_ns() - elapsed time
 *
 * Return: CLOCK_MONOTONIC in ns.
 */
static inline uint64_t bench_now_ns(void)
{
	return bench_clock_ns(CLOCK_MONOTONIC);
}

/**
 * bench_cpu_ns() - CPU time of this thread
 *
 * Return: CLOCK_THREAD_CPUTIME_ID in ns.
 */
static inline uint64_t bench_cpu_ns(void)
{
	return bench_clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static inline int bench_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/**
 * bench_median() - the median of some numbers
 * @values:	the numbers; sorted here
 * @n: number of values, at least 1
 *
 * Return: the median; of an even number of values the upper one.
 */
static inline double bench_median(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), bench_compare);
	return values[n / 2];
}

#endif /* BENCH_MEASURE_H */
