/* SPDX-License-Identifier: MIT */
/*
 * The log: one line an event, errors to stderr, the rest to stdout, with the
 * interface's name. What a stranger can cause is rate-limited. Never a key.
 *
 * A line is "ERROR: (wg0) 2026/11/22 16:00:00 text", which is how wireguard-go
 * writes it, so that what reads its log reads this one. Each is one write(2).
 * Nothing here changes errno.
 *
 * From log_start() to log_stop() the log thread (base/log_thread.h) writes the
 * lines, so a reader that does not read stops nobody. Before that the caller
 * writes its line itself, and gives up after 200 ms (base/direct.h).
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum {
	/* How many lines of one kind a window of 5 s may have. */
	LOG_BURST = 10,
	/* The longest line with its end; what is longer is cut. */
	LOG_LINE_CAP = 1024,
};

enum log_level {
	LOG_SILENT = 0,
	LOG_ERROR,
	LOG_VERBOSE,
};

/**
 * struct log_limit - at most LOG_BURST lines of a kind in a window of 5 s
 * @window_ns:		when the window began
 * @n:			lines in it, so far
 * @n_suppressed:	lines not printed since the last one that was
 *
 * Static storage, all zero; any thread.
 */
struct log_limit {
	uint64_t window_ns;
	uint32_t n;
	uint32_t n_suppressed;
};

/**
 * log_init() - say what is printed, and for whom
 * @level:	lines above it are not printed
 * @name:	copied: the interface's name
 *
 * Call it before there are other threads; log_set_name() changes the name.
 * Until then errors are printed, without a name.
 */
void log_init(enum log_level level, const char *name);

/**
 * log_start() - have a thread write the lines from now on
 * @first:	what the thread does first, such as giving up rights; called
 *		with the thread's name, "log"; NULL: nothing
 *
 * Return: 0; -EBUSY: there is one; -errno.
 */
int log_start(void (*first)(const char *name));

/**
 * log_stop() - write the lines that wait, for at most 200 ms, then no more
 *
 * The last thing before the process ends. Any thread; does nothing if there was
 * no log_start().
 */
void log_stop(void);

/* log_set_name() - after a rename. Any thread. */
void log_set_name(const char *name);

/* log_error() - something failed. Any thread. */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* log_event() - something happened; printed with LOG_VERBOSE. Any thread. */
void log_event(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * log_limited() - an event that strangers can cause. Any thread. The first line
 * after some that were not printed says how many.
 */
void log_limited(struct log_limit *limit, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* log_error_limited() - the same, of a failure; printed with LOG_ERROR, too */
void log_error_limited(struct log_limit *limit, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/**
 * log_limit_take() - may one more line be printed?
 * @limit:		limit; one thread at a time
 * @now:		the present, in nanoseconds
 * @n_suppressed:	set with true: lines that were not, since the last one
 *
 * What log_limited() asks.
 *
 * Return: true if it may.
 */
bool log_limit_take(struct log_limit *limit, uint64_t now,
		    uint32_t *n_suppressed);

#endif /* BASE_LOG_H */
