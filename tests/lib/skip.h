/* SPDX-License-Identifier: MIT */
/* Reports that a test program cannot run here. */
#ifndef TESTS_LIB_SKIP_H
#define TESTS_LIB_SKIP_H

/**
 * skip_program() - end the program, which cannot run here
 * @reason:	what is missing, one line
 *
 * Call it before cmocka has printed anything: a TAP plan cannot be taken
 * back, and cmocka 1.1's skip() prints a line that Meson counts as a failure.
 */
_Noreturn void skip_program(const char *reason);

#endif /* TESTS_LIB_SKIP_H */
