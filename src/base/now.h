/* SPDX-License-Identifier: MIT */
/*
 * Reading the clocks. The rooms of the protocol (noise, device) do not include
 * this file: they get the time as an argument.
 */
#ifndef BASE_NOW_H
#define BASE_NOW_H

#include <stdint.h>
#include <time.h>

#include "base/clock.h"

/* now_read() - a clock in nanoseconds. Any thread, and in signal handlers. */
static inline uint64_t now_read(clockid_t clock)
{
	struct timespec ts = { 0 };

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* now_boottime() - the protocol's clock, which goes on while the machine sleeps */
static inline uint64_t now_boottime(void)
{
	return now_read(CLOCK_BOOTTIME);
}

/* now_realtime() - nanoseconds since 1970; this clock may be set back */
static inline uint64_t now_realtime(void)
{
	return now_read(CLOCK_REALTIME);
}

/*
 * now_monotonic() - the clock for all other purposes, such as the log's limits;
 * it stands still while the machine sleeps
 */
static inline uint64_t now_monotonic(void)
{
	return now_read(CLOCK_MONOTONIC);
}

/* now_monotonic_ms() - the same in milliseconds, for timeouts */
static inline int64_t now_monotonic_ms(void)
{
	return (int64_t)(now_monotonic() / NSEC_PER_MSEC);
}

/* now_others_cpu() - CPU time of all threads but the caller */
static inline uint64_t now_others_cpu(void)
{
	uint64_t own = now_read(CLOCK_THREAD_CPUTIME_ID);

	return now_read(CLOCK_PROCESS_CPUTIME_ID) - own;
}

#endif /* BASE_NOW_H */
