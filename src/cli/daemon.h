/* SPDX-License-Identifier: MIT */
/*
 * Becoming a daemon. The process forks before it does anything else, and the
 * child does all the work. Through a pipe the child tells its parent that the
 * interface can be used, or why it cannot be used. The reason is one line. A
 * script that has started the program can go on as soon as the parent has ended
 * with status 0. A parent that ends with status 1 has printed the reason.
 *
 * In the foreground there is no parent, and the reason goes to stderr.
 *
 * Main thread. It forks before it makes other threads.
 */
#ifndef CLI_DAEMON_H
#define CLI_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum {
	/* Bytes of the longest line. More than TUNNEL_WHY_CAP, and less than
	 * PIPE_BUF, so that the pipe carries a line in one piece. */
	DAEMON_LINE_CAP = 512,
};

/**
 * struct daemon - one end of the pipe between child and parent
 * @child:	the child, in the parent; 0 in the child
 * @fd:		the pipe; -1: in the foreground
 */
struct daemon {
	pid_t child;
	int fd;
};

/**
 * daemon_fork() - fork, with a pipe from the child to the parent
 * @daemon:	filled in both processes
 *
 * Afterwards SIGCHLD has its default action.
 *
 * Return: 0; -errno.
 */
int daemon_fork(struct daemon *daemon);

/**
 * daemon_await() - the parent's part: wait until the child is ready, or ends
 * @daemon:	consumed
 *
 * Prints the child's line: on stdout if the child is ready, on stderr if not.
 *
 * Return: the status that the parent exits with.
 */
int daemon_await(struct daemon *daemon);

/**
 * daemon_close_others() - close what was inherited, such as a script's lock file
 * @keep:	descriptors to leave open, besides 0 to 2; -1: no descriptor
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
 * daemon_detach() - the child's part: leave the caller's session and directory
 * @keeps_output:	leave stdout and stderr as they are
 *
 * Return: 0; -errno.
 */
int daemon_detach(bool keeps_output);

/**
 * daemon_report_ready() - the interface can be used
 * @daemon:	consumed
 * @line:	printed to the caller's stdout, with a line's end; NULL: nothing
 *
 * Return: 0; -EPIPE: the parent was killed; -errno.
 */
int daemon_report_ready(struct daemon *daemon, const char *line);

/**
 * daemon_report_failure() - say why the interface cannot be used
 * @daemon:	consumed
 * @fmt:	one line, without its end
 */
void daemon_report_failure(struct daemon *daemon, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/**
 * daemon_open_standard() - make sure that descriptors 0, 1 and 2 are open
 *
 * A program may be started with these closed. A file that it then opens gets
 * one of these numbers, and would be written to as stderr, or be replaced by
 * daemon_detach().
 *
 * Return: 0; -errno.
 */
int daemon_open_standard(void);

#endif /* CLI_DAEMON_H */
