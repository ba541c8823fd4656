/* SPDX-License-Identifier: MIT */
/*
 * Part of a wiregather that does not watch trains. The linker replaces
 * trains_note() by the function below, so the watch is told of no segment.
 */
#include "engine/trains.h"

/* The linker's option --wrap gives the function this name. */
void __wrap_trains_note(struct trains_notes *notes,
			const struct segment_cursor *cur, uint32_t off,
			unsigned int first, unsigned int n);

void __wrap_trains_note(struct trains_notes *notes,
			const struct segment_cursor *cur, uint32_t off,
			unsigned int first, unsigned int n)
{
	(void)notes;
	(void)cur;
	(void)off;
	(void)first;
	(void)n;
}
