/* SPDX-License-Identifier: MIT */
/*
 * Becoming a daemon. The process forks before it has done anything; the child
 * does all the work, and tells the parent through a pipe that the interface can
 * be used, or in one line why not. So a script that has seen the parent end
 * with 0 can go on at once, and one that has seen it end with 1 has the reason
 * before it.
 *
 * In the foreground there is no parent, and the line goes to stderr.
 */
#ifndef CLI_DAEMON_H
#define CLI_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum {
	/* The longest line. */
	DAEMON_LINE_CAP = 512,
};

/**
 * struct daemon - the two ends
 * @child:	in the parent: the other process; 0 in the child
 * @fd:		the pipe; -1: in the foreground
 */
struct daemon {
	pid_t child;
	int fd;
};

/**
 * daemon_fork() - split in two
 * @daemon:	filled in both processes
 *
 * SIGCHLD is no longer ignored after this, if it was.
 *
 * Return: 0; -errno.
 */
int daemon_fork(struct daemon *daemon);

/**
 * daemon_await() - the parent's part: wait until the child is ready, or ends
 * @daemon:	consumed
 *
 * Prints the child's line if it is not.
 *
 * Return: what the parent exits with.
 */
int daemon_await(struct daemon *daemon);

/**
 * daemon_close_others() - close what was inherited, such as a script's lock file
 * @keep:	descriptors to leave open, besides 0 to 2; -1 is none
 * @n_keep:	their count
 *
 * An isolated process can open no file, but can still read and write open ones.
 * So inherited descriptors are closed in the foreground, too. They are closed
 * by close_range(2). If that call is missing (before Linux 5.9) or forbidden,
 * they are closed one by one as /proc lists them; without /proc all are closed,
 * up to RLIMIT_NOFILE or 65535.
 *
 * Call it before opening descriptors that are to stay. Main thread, while it is
 * the only one.
 *
 * Return: 0; -E2BIG: more than 8 to keep.
 */
int daemon_close_others(const int *keep, size_t n_keep);

/**
 * daemon_detach() - the child's part: let go of the caller
 * @keeps_output:	leave stdout and stderr
 *
 * Return: 0; -errno.
 */
int daemon_detach(bool keeps_output);

/**
 * daemon_report_ready() - the interface can be used
 * @daemon:	consumed
 * @line:	printed to the caller's stdout, with a line's end; NULL: nothing
 *
 * Return: 0; -EPIPE: nobody wants it any more, the parent was killed; -errno.
 */
int daemon_report_ready(struct daemon *daemon, const char *line);

/**
 * daemon_report_failure() - this is why it cannot be used
 * @daemon:	consumed
 * @fmt:	one line, without its end
 */
void daemon_report_failure(struct daemon *daemon, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/**
 * daemon_open_standard() - have something open as 0, 1 and 2
 *
 * A program may be started without these three. A file that it opens would then
 * get one of the numbers, and be written to as its stderr, or be replaced by
 * daemon_detach().
 *
 * Return: 0; -errno.
 */
int daemon_open_standard(void);

#endif /* CLI_DAEMON_H */
