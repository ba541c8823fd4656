/* SPDX-License-Identifier: MIT */
/*
 * The log: one line for each event, with the interface's name. Errors and
 * warnings go to stderr, other lines to stdout. Lines that a stranger can cause
 * are limited in rate. No line contains a key.
 *
 * A line is "ERROR: (wg0) 2026/11/22 16:00:00 text". This is the format of
 * wireguard-go, so a program that reads its log can read this one. A warning
 * begins with WARNING, an event with DEBUG. Each line is one write(2). No function
 * of this file changes errno.
 *
 * If the stream is systemd's journal, a line is "<3>wg0: text" instead. The
 * number is the priority of syslog(3): 3 for an error, 4 for a warning, 6 for an
 * event. The journal takes it off, and adds the time itself (sd-daemon(3)).
 * JOURNAL_STREAM in the environment says which stream that is (systemd.exec(5)).
 *
 * From log_start() to log_stop() the log thread (base/log_thread.h) writes the
 * lines, so a reader that does not read stops no other thread. Before that, the
 * caller writes its line itself, and gives up after 200 ms (base/direct.h).
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum {
	/* How many lines of one kind a window of 5 s may have. A choice: enough
	 * to see what happens, too few to fill a disk. The kernel has the same
	 * limit for its log (include/linux/ratelimit_types.h). */
	LOG_BURST = 10,
	/* The longest line with its end; longer lines are cut. A choice. */
	LOG_LINE_CAP = 1024,
};

/* The level of the log. Each level prints the lines of those before it, too. */
enum log_level {
	LOG_SILENT = 0,
	LOG_ERROR, /* errors and warnings */
	LOG_VERBOSE,
};

/**
 * struct log_limit - at most LOG_BURST lines of a kind in a window of 5 s
 * @window_ns:		when the window began
 * @n:			lines in that window, so far
 * @n_suppressed:	lines left out since the last line that was printed
 *
 * Static storage, all zero; any thread.
 */
struct log_limit {
	uint64_t window_ns;
	uint32_t n;
	uint32_t n_suppressed;
};

/**
 * log_init() - set the level of the log and the interface's name
 * @level:	lines above this level are not printed
 * @name:	the interface's name, copied; log_set_name() changes it
 *
 * Call it before there are other threads. Before this call errors are printed,
 * without a name.
 */
void log_init(enum log_level level, const char *name);

/**
 * log_start() - from now on a thread writes the lines
 * @first:	function that the thread calls first, such as to give up rights;
 *		its argument is the thread's name, "log"; or NULL
 *
 * Return: 0; -EBUSY if there is a log thread already; -errno.
 */
int log_start(void (*first)(const char *name));

/**
 * log_stop() - write the waiting lines, for at most 200 ms, and stop the thread
 *
 * Call it last before the process ends: later lines are dropped. Does nothing if
 * there was no log_start(). Any thread.
 */
void log_stop(void);

/* log_set_name() - set the interface's name, after a rename. Any thread. */
void log_set_name(const char *name);

/* log_error() - something failed. Any thread. */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* log_warning() - all works, but not as well as it could; printed with LOG_ERROR.
 * Any thread. */
void log_warning(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* log_event() - something happened; printed with LOG_VERBOSE. Any thread. */
void log_event(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * log_limited() - an event that strangers can cause; printed with LOG_VERBOSE.
 * If lines were left out, the next line that is printed says how many. Any
 * thread.
 */
void log_limited(struct log_limit *limit, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* log_error_limited() - as log_limited(), for a failure that strangers can
 * cause; printed with LOG_ERROR, too */
void log_error_limited(struct log_limit *limit, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* log_has_events() - are events printed? A caller asks first if the text of a line
 * costs time, and strangers can cause many. Any thread. */
bool log_has_events(void);

/**
 * log_limit_take() - may one more line be printed?
 * @limit:		limit; one thread at a time
 * @now:		the present, in nanoseconds
 * @n_suppressed:	set if the line may be printed: lines that were left out
 *			since the last one
 *
 * log_limited() decides by this function.
 *
 * Return: true if the line may be printed.
 */
bool log_limit_take(struct log_limit *limit, uint64_t now,
		    uint32_t *n_suppressed);

#endif /* BASE_LOG_H */
