/* SPDX-License-Identifier: MIT */
#ifndef ENGINE_CLOCKS_H
#define ENGINE_CLOCKS_H

#include <stdint.h>
#include <time.h>

#include "base/clock.h"

static inline uint64_t time_read(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* time_now() - CLOCK_BOOTTIME in ns: goes on while the machine sleeps */
static inline uint64_t time_now(void)
{
	return time_read(CLOCK_BOOTTIME);
}

/* time_realtime() - CLOCK_REALTIME in ns since 1970 */
static inline uint64_t time_realtime(void)
{
	return time_read(CLOCK_REALTIME);
}

#endif /* ENGINE_CLOCKS_H */
