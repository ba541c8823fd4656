/* SPDX-License-Identifier: MIT */
/* The function has a file of its own, so that a test can replace it
 * (tests/netns/deathless.c). */
#include "cli/deaths.h"

#include <string.h>

#include "base/clock.h"

bool deaths_note(struct deaths *d, uint64_t now)
{
	uint64_t oldest;

	memmove(&d->at[1], &d->at[0], sizeof(d->at) - sizeof(d->at[0]));
	d->at[0] = now;
	oldest = d->at[DEATHS_MAX - 1];
	return oldest &&
	       !clock_has_passed(oldest, DEATHS_S * NSEC_PER_SEC, now);
}
