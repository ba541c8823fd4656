/* SPDX-License-Identifier: MIT */
/*
 * Prints the figures of a benchmark as a table on standard output and, with
 * `--csv FILE`, writes them as comma-separated values with a header row.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/**
 * struct report - the outputs of a benchmark
 * @csv:	file, or NULL
 * @is_quick:	`--quick` was given: fewer and shorter measurements
 */
struct report {
	FILE *csv;
	bool is_quick;
};

/**
 * report_open() - read the options and write the header
 * @report:	filled
 * @argc:	of main()
 * @argv:	of main(): [--quick] [--csv FILE]
 * @header:	names of the columns, separated by commas
 *
 * Return: 0; -1 after a message.
 */
int report_open(struct report *report, int argc, char **argv,
		const char *header);

/**
 * report_row() - write a row
 * @report:	opened
 * @format:	as printf(): the values, separated by commas
 */
__attribute__((format(printf, 2, 3))) void report_row(struct report *report,
						      const char *format, ...);

/**
 * report_close() - end the file
 * @report:	opened
 *
 * Return: 0; -1 after a message, if something could not be written.
 */
int report_close(struct report *report);

/**
 * bench_random() - the next pseudorandom number, the same sequence in each run
 *
 * Return: 64 bits.
 */
uint64_t bench_random(void);

#endif /* BENCH_REPORT_H */
