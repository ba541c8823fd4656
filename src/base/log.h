/* SPDX-License-Identifier: MIT */
/*
 * The log: one line an event, errors to stderr, the rest to stdout, with the
 * interface's name. What a stranger can cause is rate-limited. Never a key.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdint.h>

enum log_level {
	LOG_SILENT = 0,
	LOG_ERROR,
	LOG_VERBOSE,
};

/**
 * struct log_limit - at most LOG_BURST lines of a kind in a window of 5 s
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
 */
void log_init(enum log_level level, const char *name);

/* log_set_name() - after a rename. Any thread. */
void log_set_name(const char *name);

/* log_error() - something failed. Any thread. */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* log_event() - something happened; printed with LOG_VERBOSE. Any thread. */
void log_event(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* log_limited() - an event that strangers can cause. Any thread. */
void log_limited(struct log_limit *limit, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif /* BASE_LOG_H */
