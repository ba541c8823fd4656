/* SPDX-License-Identifier: MIT */
/* A library to preload into a program: its CLOCK_REALTIME is ahead by SHIFTCLOCK
 * seconds. */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef int (*reader)(clockid_t id, struct timespec *t);

static time_t shift;

__attribute__((constructor)) static void read_shift(void)
{
	const char *text = getenv("SHIFTCLOCK");

	if (text)
		shift = (time_t)strtol(text, NULL, 10);
}

int clock_gettime(clockid_t id, struct timespec *t)
{
	static _Atomic(void *) next;
	void *found = atomic_load(&next);
	reader read_clock;
	int r;

	if (!found) {
		found = dlsym(RTLD_NEXT, "clock_gettime");
		atomic_store(&next, found);
	}
	memcpy(&read_clock, &found, sizeof(read_clock));
	r = read_clock(id, t);
	if (r == 0 && id == CLOCK_REALTIME)
		t->tv_sec += shift;
	return r;
}
