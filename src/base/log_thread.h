/* SPDX-License-Identifier: MIT */
/*
 * The log thread is the only thread that writes lines to the log while the
 * process runs. So only this thread waits for a reader that does not read. The
 * other threads put their lines into a ring of fixed size and go on. If the ring
 * is full, lines are dropped and counted until the ring is empty; then one line
 * says how many were lost. Lines that write(2) refuses (a full disk, a reader
 * that has gone) are counted, too, and reported before the next line that is
 * written.
 *
 * Simpler ways do not work. A write to a pipe that poll(2) calls writable
 * blocks if another process fills the pipe first. RWF_NOWAIT is refused for
 * pipes. The file behind a descriptor cannot be opened a second time if it is a
 * socket, or a pipe of another user. O_NONBLOCK would be set for the process
 * that started this one, too.
 *
 * The log thread writes both stdout and stderr. While the reader of stdout does
 * not read, lines for stderr wait in the ring, too.
 */
#ifndef BASE_LOG_THREAD_H
#define BASE_LOG_THREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	/* Bytes of lines that may wait. A choice: 63 lines of the greatest
	 * length, or some 600 lines of 100 bytes. */
	LOG_RING_CAP = 65536,
	/* How long the end of the process waits for the last lines, in ms. A
	 * choice, not measured. */
	LOG_LINGER_MS = 200,
	/* Room that log_thread_teller has for its line, which has fewer than
	 * 150 bytes. */
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
 * @first:	function that the thread calls first, such as to give up rights;
 *		its argument is the thread's name, "log"; or NULL
 * @teller:	makes the line that reports lost lines
 *
 * Call it before the filter of system calls is installed, which forbids new
 * threads. When this returns, @first has been done.
 *
 * Return: 0; -EBUSY if there is a log thread, or one that did not end; -errno.
 */
int log_thread_start(void (*first)(const char *name), log_thread_teller teller);

/**
 * log_thread_put() - have a line written
 * @fd:		STDOUT_FILENO or STDERR_FILENO
 * @line:	the line with its end; copied
 * @len:	bytes, at most LOG_LINE_CAP
 *
 * Never waits for a reader. Any thread.
 *
 * Return: false if there was never a log thread: then the caller writes the
 * line itself. Otherwise true, even if the line was dropped.
 */
bool log_thread_put(int fd, const char *line, size_t len);

/**
 * struct log_thread_state - how the log is getting on
 * @n_lost:	lines lost since the thread was started, both streams
 * @blocked_ns:	for how long the thread has waited for the reader of the line that
 *		it writes; 0: it writes none
 */
struct log_thread_state {
	uint64_t n_lost;
	uint64_t blocked_ns;
};

/* log_thread_get_state() - read the state; all zero without a log thread. Any
 * thread. */
void log_thread_get_state(struct log_thread_state *state);

/**
 * log_thread_stop() - write the waiting lines, for at most LOG_LINGER_MS
 *
 * Does nothing without a log thread. If the thread still waits for its reader
 * after that time, it is left behind, and ends with the process. Later lines
 * are dropped. Any thread.
 */
void log_thread_stop(void);

#endif /* BASE_LOG_THREAD_H */
