/* SPDX-License-Identifier: MIT */
/* How often engines have died lately. Main thread of the keeper. */
#ifndef CLI_DEATHS_H
#define CLI_DEATHS_H

#include <stdbool.h>
#include <stdint.h>

enum {
	/* When DEATHS_MAX engines have died within DEATHS_S seconds, no other one is
	 * started. Choices. */
	DEATHS_MAX = 5,
	DEATHS_S = 60,
};

/**
 * struct deaths - the last deaths
 * @at:		when they were, of now_monotonic(), the last one first; 0: never
 *
 * All of it is 0 at first.
 */
struct deaths {
	uint64_t at[DEATHS_MAX];
};

/**
 * deaths_note() - an engine has died
 * @deaths:	deaths
 * @now:	of now_monotonic()
 *
 * Return: true: DEATHS_MAX engines have died within DEATHS_S seconds, this one among them.
 */
bool deaths_note(struct deaths *deaths, uint64_t now);

#endif /* CLI_DEATHS_H */
