/* SPDX-License-Identifier: MIT */
/*
 * A write(2) that a timer interrupts. The timer goes off again and again: the
 * first signal might come just before the thread enters write(2), and would
 * then not interrupt it.
 */
#include "base/direct.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/now.h"

/* Older headers of the C library do not name this member. */
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* The first signal comes after DIRECT_MS, and the next ones this long after each
 * other. A choice: if one comes too early, the line takes a tenth longer. */
#define AGAIN_NS (20 * NSEC_PER_MSEC)

enum {
	/* Pause between writes to a full descriptor that does not block. A
	 * choice: 40 attempts within DIRECT_MS. */
	PAUSE_MS = 5,
};

/* One thread at a time: the action of a signal belongs to the whole process. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Nothing to do: the signal has made write(2) return. */
static void on_alarm(int number)
{
	(void)number;
}

/**
 * struct alarm - a timer that interrupts the calling thread
 * @timer:	the timer
 * @action:	the action that the signal had before
 * @mask:	the signal mask that the thread had before
 * @is_set:	the timer could be made
 */
struct alarm {
	timer_t timer;
	struct sigaction action;
	sigset_t mask;
	bool is_set;
};

/* The timer of direct_prepare(), which may have found no memory for one. */
static struct alarm lasting;
static bool has_lasting;

static void make_alarm(struct alarm *alarm)
{
	const struct sigaction action = { .sa_handler = on_alarm };
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID,
		.sigev_signo = SIGALRM,
	};
	sigset_t set;

	event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
	sigaction(SIGALRM, &action, &alarm->action);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	pthread_sigmask(SIG_UNBLOCK, &set, &alarm->mask);
	/* Without a timer (no memory for it) the write may block. */
	alarm->is_set = !timer_create(CLOCK_MONOTONIC, &event, &alarm->timer);
}

static void start_alarm(const struct alarm *alarm)
{
	const struct itimerspec when = {
		.it_value.tv_nsec = DIRECT_MS * (long)NSEC_PER_MSEC,
		.it_interval.tv_nsec = AGAIN_NS,
	};

	if (alarm->is_set)
		timer_settime(alarm->timer, 0, &when, NULL);
}

static void stop_alarm(const struct alarm *alarm)
{
	const struct itimerspec never = { 0 };

	if (alarm->is_set)
		timer_settime(alarm->timer, 0, &never, NULL);
}

/* After timer_delete(2) has returned, the timer sends no more signals. */
static void remove_alarm(struct alarm *alarm)
{
	if (alarm->is_set)
		timer_delete(alarm->timer);
	pthread_sigmask(SIG_SETMASK, &alarm->mask, NULL);
	sigaction(SIGALRM, &alarm->action, NULL);
}

static bool write_until(int fd, const char *data, size_t len, uint64_t end)
{
	while (len) {
		ssize_t n = write(fd, data, len);

		if (n >= 0) {
			data += n;
			len -= (size_t)n;
			continue;
		}
		if (errno != EINTR && errno != EAGAIN)
			return false;
		if (now_monotonic() >= end) {
			errno = EAGAIN;
			return false;
		}
		if (errno == EAGAIN)
			poll(NULL, 0, PAUSE_MS);
	}
	return true;
}

void direct_prepare(void)
{
	make_alarm(&lasting);
	has_lasting = true;
}

bool direct_write(int fd, const void *data, size_t len)
{
	struct alarm own = { .is_set = false };
	bool is_written;
	int saved;

	pthread_mutex_lock(&lock);
	if (!has_lasting)
		make_alarm(&own);
	start_alarm(has_lasting ? &lasting : &own);
	is_written = write_until(fd, data, len,
				 now_monotonic() + DIRECT_MS * NSEC_PER_MSEC);
	saved = errno;
	stop_alarm(has_lasting ? &lasting : &own);
	if (!has_lasting)
		remove_alarm(&own);
	errno = saved;
	pthread_mutex_unlock(&lock);
	return is_written;
}
