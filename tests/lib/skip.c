/* SPDX-License-Identifier: MIT */
#include "tests/lib/skip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	/* The exit status that Automake and Meson count as "skipped", outside
	 * of TAP. */
	EXIT_SKIPPED = 77,
};

_Noreturn void skip_program(const char *reason)
{
	const char *output = getenv("CMOCKA_MESSAGE_OUTPUT");

	/* Under TAP an exit code other than 0 is an error to Meson. */
	printf("1..0 # SKIP %s\n", reason);
	fflush(stdout);
	exit(output && !strcmp(output, "TAP") ? EXIT_SUCCESS : EXIT_SKIPPED);
}
