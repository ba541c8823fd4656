/* SPDX-License-Identifier: MIT */
/*
 * What each backend of the AEAD takes on this machine, so that a user can see
 * whether the choice that is made by fixed rules is right for it.
 */
#ifndef CLI_BENCH_CRYPTO_H
#define CLI_BENCH_CRYPTO_H

#include <stdbool.h>
#include <stdio.h>

/* As many as a median over a noisy machine needs; an odd number. */
#define BENCH_CRYPTO_ROUNDS 101

/**
 * bench_crypto() - measure and print
 * @out:	where to
 * @is_csv:	lines for programs instead of tables
 * @rounds:	1 to BENCH_CRYPTO_ROUNDS; fewer are run if they take over 5 s
 *
 * Takes one or two seconds of CPU time for all rounds. The backends take turns,
 * so what else runs meanwhile hits all of them; the time is that of this
 * thread's CPU, and each figure is a median. Needs crypto_init().
 *
 * Return: 0; -errno.
 */
int bench_crypto(FILE *out, bool is_csv, int rounds);

#endif /* CLI_BENCH_CRYPTO_H */
