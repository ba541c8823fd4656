/* SPDX-License-Identifier: MIT */
/*
 * What programs print and files hold, copied into a report. All of it is bounded in
 * size and time. A text that is too long is cut behind a whole line.
 *
 * One thread.
 */
#ifndef CTL_COLLECT_H
#define CTL_COLLECT_H

#include <stdio.h>

enum {
	/* Bytes of one program or file at most. A choice. */
	CTL_COLLECT_CAP = 256 << 10,
	/* A program that runs for longer is ended. A choice. */
	CTL_COLLECT_S = 10,
};

/**
 * ctl_collect_program() - run a program and copy what it prints
 * @out:	report; it gets the command line, both outputs, and what went wrong
 * @command:	words with one blank between; the program is looked for in PATH
 */
void ctl_collect_program(FILE *out, const char *command);

/**
 * ctl_collect_lines() - copy lines of a file
 * @out:	report; it gets the path, the lines, and what went wrong
 * @path:	file
 * @words:	the beginnings of the lines that are copied, the last one NULL; NULL: all
 *		lines
 */
void ctl_collect_lines(FILE *out, const char *path, const char *const *words);

/**
 * ctl_collect_end() - copy the last lines of a regular file
 * @out:	report
 * @path:	file; nothing is copied if it is another kind of file
 *
 * Return: 0; -errno; -EINVAL: it is no regular file.
 */
int ctl_collect_end(FILE *out, const char *path);

#endif /* CTL_COLLECT_H */
