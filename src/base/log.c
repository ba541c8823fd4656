/* SPDX-License-Identifier: MIT */
/*
 * Lines of the log are made here, in memory of the calling thread, and handed to
 * the log thread whole (base/log_thread.h).
 */
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/direct.h"
#include "base/log_thread.h"
#include "base/now.h"

/* The window of struct log_limit: see LOG_BURST. */
#define WINDOW_NS (5 * NSEC_PER_SEC)

/* A line that is being made. One byte stays free for its end. */
struct line {
	char text[LOG_LINE_CAP];
	size_t len;
};

/* [a] relaxed: the level says nothing about other memory. */
static _Atomic int max_level = LOG_ERROR;
/* Protects the name and all limits. It is held for a few loads and stores. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char if_name[IFNAMSIZ];

static bool is_printed(enum log_level level)
{
	return (int)level <=
	       atomic_load_explicit(&max_level, memory_order_relaxed);
}

void log_set_name(const char *name)
{
	pthread_mutex_lock(&lock);
	snprintf(if_name, sizeof(if_name), "%s", name);
	pthread_mutex_unlock(&lock);
}

void log_init(enum log_level level, const char *name)
{
	atomic_store_explicit(&max_level, (int)level, memory_order_relaxed);
	log_set_name(name);
	/* Read the time zone now: later its file may be out of reach. */
	tzset();
}

static void put_args(struct line *line, const char *fmt, va_list args)
	__attribute__((format(printf, 2, 0)));

static void put_args(struct line *line, const char *fmt, va_list args)
{
	size_t room = sizeof(line->text) - line->len;
	int n = vsnprintf(line->text + line->len, room, fmt, args);

	if (n > 0)
		line->len += size_min((size_t)n, room - 1);
}

static void put(struct line *line, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void put(struct line *line, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	put_args(line, fmt, args);
	va_end(args);
}

/* Write the beginning of a line. @kind: its first word. */
static void put_head(struct line *line, const char *kind)
{
	time_t seconds = time(NULL);
	struct tm tm = { 0 };
	char when[32];

	localtime_r(&seconds, &tm);
	strftime(when, sizeof(when), "%Y/%m/%d %H:%M:%S", &tm);
	put(line, "%s: ", kind);
	pthread_mutex_lock(&lock);
	if (*if_name)
		put(line, "(%s) ", if_name);
	pthread_mutex_unlock(&lock);
	put(line, "%s ", when);
}

/* Print a line. A failure cannot be logged, so it is ignored. */
static void finish(struct line *line, int fd)
{
	/* A name or token may hold control characters, such as a line's end. */
	for (size_t i = 0; i < line->len; i++)
		if ((unsigned char)line->text[i] < ' ' || line->text[i] == 0x7f)
			line->text[i] = '?';
	line->text[line->len++] = '\n';
	if (!log_thread_put(fd, line->text, line->len))
		direct_write(fd, line->text, line->len);
}

static size_t tell_loss(char *buf, int fd, uint64_t n)
{
	struct line line = { .len = 0 };

	put_head(&line, fd == STDERR_FILENO ? "ERROR" : "DEBUG");
	put(&line,
	    "%" PRIu64 " line%s of the log lost: the reader was too slow, or "
	    "writing failed",
	    n, n == 1 ? "" : "s");
	line.text[line.len++] = '\n';
	memcpy(buf, line.text, line.len);
	return line.len;
}

int log_start(void (*first)(const char *name))
{
	return log_thread_start(first, tell_loss);
}

void log_stop(void)
{
	log_thread_stop();
}

void log_error(const char *fmt, ...)
{
	struct line line = { .len = 0 };
	int saved = errno;
	va_list args;

	if (!is_printed(LOG_ERROR))
		return;
	put_head(&line, "ERROR");
	va_start(args, fmt);
	put_args(&line, fmt, args);
	va_end(args);
	finish(&line, STDERR_FILENO);
	errno = saved;
}

void log_event(const char *fmt, ...)
{
	struct line line = { .len = 0 };
	int saved = errno;
	va_list args;

	if (!is_printed(LOG_VERBOSE))
		return;
	put_head(&line, "DEBUG");
	va_start(args, fmt);
	put_args(&line, fmt, args);
	va_end(args);
	finish(&line, STDOUT_FILENO);
	errno = saved;
}

bool log_limit_take(struct log_limit *limit, uint64_t now,
		    uint32_t *n_suppressed)
{
	if (clock_has_passed(limit->window_ns, WINDOW_NS, now)) {
		limit->window_ns = now;
		limit->n = 0;
	}
	if (limit->n == LOG_BURST) {
		if (limit->n_suppressed < UINT32_MAX)
			limit->n_suppressed++;
		return false;
	}
	limit->n++;
	*n_suppressed = limit->n_suppressed;
	limit->n_suppressed = 0;
	return true;
}

static void put_limited(enum log_level level, struct log_limit *limit,
			const char *fmt, va_list args)
	__attribute__((format(printf, 3, 0)));

static void put_limited(enum log_level level, struct log_limit *limit,
			const char *fmt, va_list args)
{
	struct line line = { .len = 0 };
	uint32_t n_suppressed = 0;
	int saved = errno;
	bool may;

	if (!is_printed(level))
		return;
	pthread_mutex_lock(&lock);
	may = log_limit_take(limit, now_monotonic(), &n_suppressed);
	pthread_mutex_unlock(&lock);
	if (!may)
		return;
	put_head(&line, level == LOG_ERROR ? "ERROR" : "DEBUG");
	put_args(&line, fmt, args);
	if (n_suppressed)
		put(&line, " (%" PRIu32 " suppressed)", n_suppressed);
	finish(&line, level == LOG_ERROR ? STDERR_FILENO : STDOUT_FILENO);
	errno = saved;
}

void log_limited(struct log_limit *limit, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	put_limited(LOG_VERBOSE, limit, fmt, args);
	va_end(args);
}

void log_error_limited(struct log_limit *limit, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	put_limited(LOG_ERROR, limit, fmt, args);
	va_end(args);
}
