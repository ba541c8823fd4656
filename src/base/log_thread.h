/* SPDX-License-Identifier: MIT */
/*
 * The log thread: it alone writes lines to the log while the process runs, so
 * it alone waits for a reader that does not read. The other threads put their
 * lines into a ring of fixed size and go on. A line that finds the ring full is
 * dropped and counted, and so is each one after it until all that is in the
 * ring was written; then one line says how many were lost. Lines that write(2)
 * refuses (a full disk, a reader that has gone) are counted alike, and told
 * before the next line that is taken.
 *
 * Simpler ways do not work. A pipe that poll(2) calls writable blocks if
 * another process fills it first; RWF_NOWAIT is refused for pipes; the file
 * behind a descriptor cannot be opened a second time if it is a socket, or
 * somebody else's pipe; and O_NONBLOCK would be set for the process that
 * started this one, too.
 *
 * Both streams share the thread: while stdout's reader stalls, lines for stderr
 * wait in the ring, too.
 */
#ifndef BASE_LOG_THREAD_H
#define BASE_LOG_THREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	/* Bytes of lines that may wait. */
	LOG_RING_CAP = 65536,
	/* How long the end of the process waits for the last lines, in ms. */
	LOG_LINGER_MS = 200,
	/* Room that log_thread_teller has for its line. */
	LOG_TELL_CAP = 256,
};

/**
 * log_thread_teller - makes the line that reports lost lines
 * @buf:	filled; LOG_TELL_CAP bytes
 * @fd:		the stream that the lines were for
 * @n:		lines lost
 *
 * Called by the log thread.
 *
 * Return: the length.
 */
typedef size_t (*log_thread_teller)(char *buf, int fd, uint64_t n);

/**
 * log_thread_start() - make the log thread
 * @first:	what the thread does first, such as giving up rights; called
 *		with the thread's name, "log"; NULL: nothing
 * @teller:	see above
 *
 * Call it before the filter of system calls is installed, which forbids new
 * threads. When this returns, @first has been done.
 *
 * Return: 0; -EBUSY: there is one, or one that did not end; -errno.
 */
int log_thread_start(void (*first)(const char *name), log_thread_teller teller);

/**
 * log_thread_put() - have a line written
 * @fd:		STDOUT_FILENO or STDERR_FILENO
 * @line:	copied; with its end
 * @len:	bytes, at most LOG_LINE_CAP
 *
 * Never waits for a reader. Any thread.
 *
 * Return: false if there was never a log thread: it is for the caller to write
 * the line. Else true, also if it was dropped.
 */
bool log_thread_put(int fd, const char *line, size_t len);

/**
 * log_thread_stop() - write what is left, for LOG_LINGER_MS at most
 *
 * Does nothing without a log thread. If the thread still waits for its reader
 * after that time, it is left behind, and ends with the process. Later lines
 * are dropped. Any thread.
 */
void log_thread_stop(void);

#endif /* BASE_LOG_THREAD_H */
