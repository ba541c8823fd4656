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
#include <stdlib.h>
#include <sys/stat.h>
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
/* Is a descriptor's stream the journal? Written by log_init() only. */
static bool is_in_journal[STDERR_FILENO + 1];

static bool is_printed(enum log_level level)
{
	return (int)level <=
	       atomic_load_explicit(&max_level, memory_order_relaxed);
}

bool log_has_events(void)
{
	return is_printed(LOG_VERBOSE);
}

void log_set_name(const char *name)
{
	pthread_mutex_lock(&lock);
	snprintf(if_name, sizeof(if_name), "%s", name);
	pthread_mutex_unlock(&lock);
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

/* The kinds of lines, and what a line begins with. */
enum kind {
	KIND_ERROR,
	KIND_WARNING,
	KIND_EVENT,
};

static const struct {
	const char *word;
	int priority; /* of syslog(3), for the journal */
	enum log_level level;
	int fd;
} kinds[] = {
	[KIND_ERROR] = { "ERROR", 3, LOG_ERROR, STDERR_FILENO },
	[KIND_WARNING] = { "WARNING", 4, LOG_ERROR, STDERR_FILENO },
	[KIND_EVENT] = { "DEBUG", 6, LOG_VERBOSE, STDOUT_FILENO },
};

/* Is @fd the stream that JOURNAL_STREAM names by device and inode? */
static bool is_journal(int fd)
{
	const char *text = getenv("JOURNAL_STREAM");
	uintmax_t device, inode;
	struct stat st;
	char end;

	return text && sscanf(text, "%ju:%ju%c", &device, &inode, &end) == 2 &&
	       fstat(fd, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void log_init(enum log_level level, const char *name)
{
	atomic_store_explicit(&max_level, (int)level, memory_order_relaxed);
	log_set_name(name);
	for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++)
		is_in_journal[fd] = is_journal(fd);
	/* Read the time zone now: later its file may be out of reach. */
	tzset();
}

/* Write "wg0: " or "(wg0) ", if there is a name. */
static void put_name(struct line *line, const char *before, const char *after)
{
	pthread_mutex_lock(&lock);
	if (*if_name)
		put(line, "%s%s%s ", before, if_name, after);
	pthread_mutex_unlock(&lock);
}

/* Write the beginning of a line. */
static void put_head(struct line *line, enum kind kind)
{
	struct timespec now = { 0 };
	struct tm tm = { 0 };
	char when[32];

	if (is_in_journal[kinds[kind].fd]) {
		put(line, "<%d>", kinds[kind].priority);
		put_name(line, "", ":");
		return;
	}
	/* Not time(2), which the keeper's filter does not have. */
	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &tm);
	strftime(when, sizeof(when), "%Y/%m/%d %H:%M:%S", &tm);
	put(line, "%s: ", kinds[kind].word);
	put_name(line, "(", ")");
	put(line, "%s ", when);
}

/* Print a line. A failure cannot be logged, so it is ignored. */
static void finish(struct line *line, enum kind kind)
{
	int fd = kinds[kind].fd;

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

	put_head(&line, fd == STDERR_FILENO ? KIND_ERROR : KIND_EVENT);
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

static void put_line(enum kind kind, const char *fmt, va_list args)
	__attribute__((format(printf, 2, 0)));

static void put_line(enum kind kind, const char *fmt, va_list args)
{
	struct line line = { .len = 0 };
	int saved = errno;

	if (!is_printed(kinds[kind].level))
		return;
	put_head(&line, kind);
	put_args(&line, fmt, args);
	finish(&line, kind);
	errno = saved;
}

void log_error(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	put_line(KIND_ERROR, fmt, args);
	va_end(args);
}

void log_warning(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	put_line(KIND_WARNING, fmt, args);
	va_end(args);
}

void log_event(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	put_line(KIND_EVENT, fmt, args);
	va_end(args);
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

static void put_limited(enum kind kind, struct log_limit *limit,
			const char *fmt, va_list args)
	__attribute__((format(printf, 3, 0)));

static void put_limited(enum kind kind, struct log_limit *limit,
			const char *fmt, va_list args)
{
	struct line line = { .len = 0 };
	uint32_t n_suppressed = 0;
	int saved = errno;
	bool may;

	if (!is_printed(kinds[kind].level))
		return;
	pthread_mutex_lock(&lock);
	may = log_limit_take(limit, now_monotonic(), &n_suppressed);
	pthread_mutex_unlock(&lock);
	if (!may)
		return;
	put_head(&line, kind);
	put_args(&line, fmt, args);
	if (n_suppressed)
		put(&line, " (%" PRIu32 " suppressed)", n_suppressed);
	finish(&line, kind);
	errno = saved;
}

void log_limited(struct log_limit *limit, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	put_limited(KIND_EVENT, limit, fmt, args);
	va_end(args);
}

void log_error_limited(struct log_limit *limit, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	put_limited(KIND_ERROR, limit, fmt, args);
	va_end(args);
}
