/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

enum {
	/* Longer than any row. */
	ROW_CAP = 512,
	/* Width of a column. A choice. */
	COLUMN = 16,
};

/**
 * print_row() - write a row with aligned columns
 * @row:	values, separated by commas; cut into pieces here
 */
static void print_row(char *row)
{
	char *value;

	while ((value = strsep(&row, ",")))
		printf("%-*s ", COLUMN, value);
	putchar('\n');
	fflush(stdout);
}

int report_open(struct report *report, int argc, char **argv,
		const char *header)
{
	memset(report, 0, sizeof(*report));
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--quick")) {
			report->is_quick = true;
		} else if (!strcmp(argv[i], "--csv") && i + 1 < argc) {
			report->csv = fopen(argv[++i], "we");
			if (!report->csv) {
				fprintf(stderr, "%s: %s: %s\n", argv[0],
					argv[i], strerror(errno));
				return -1;
			}
		} else {
			fprintf(stderr, "usage: %s [--quick] [--csv FILE]\n",
				argv[0]);
			return -1;
		}
	}
	report_row(report, "%s", header);
	return 0;
}

void report_row(struct report *report, const char *format, ...)
{
	char row[ROW_CAP];
	va_list args;

	va_start(args, format);
	vsnprintf(row, sizeof(row), format, args);
	va_end(args);
	if (report->csv)
		fprintf(report->csv, "%s\n", row);
	print_row(row);
}

int report_close(struct report *report)
{
	if (report->csv && (ferror(report->csv) | fclose(report->csv))) {
		fputs("the CSV file could not be written\n", stderr);
		return -1;
	}
	return 0;
}

/* splitmix64, public domain by its author (Sebastiano Vigna). */
uint64_t bench_random(void)
{
	static uint64_t state = 1;
	uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}
