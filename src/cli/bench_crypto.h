/* SPDX-License-Identifier: MIT */
/*
 * Measures each backend of the AEAD on this machine. The daemon chooses a
 * backend by fixed rules, and the result shows a user whether the rules choose
 * well.
 */
#ifndef CLI_BENCH_CRYPTO_H
#define CLI_BENCH_CRYPTO_H

#include <stdbool.h>
#include <stdio.h>

/* Rounds of the whole measurement. A choice: odd, so that one round is in the
 * middle, and enough for a median on a busy machine. */
#define BENCH_CRYPTO_ROUNDS 101

/**
 * bench_crypto() - measure and print
 * @out:	the result is written to it
 * @is_csv:	lines for programs instead of tables
 * @rounds:	1 to BENCH_CRYPTO_ROUNDS; fewer are run if they take over 5 s
 *
 * Takes one or two seconds of CPU time for all rounds. The backends take turns,
 * so other load on the machine disturbs them all alike. Times are CPU time of
 * this thread, and each figure is the median of the rounds. Call crypto_init()
 * before.
 *
 * Return: 0; -errno.
 */
int bench_crypto(FILE *out, bool is_csv, int rounds);

#endif /* CLI_BENCH_CRYPTO_H */
