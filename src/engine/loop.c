/* SPDX-License-Identifier: MIT */
/*
 * The control thread's event loop, on epoll. A descriptor that stays ready
 * while using it fails is taken out of the epoll for a while: it rests. The
 * lists of resting watches and of timers give epoll_wait(2) its timeout.
 */
#include "engine/loop.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/log.h"
#include "base/now.h"

enum {
	/* How often in a row epoll_wait(2) may fail, and the pause after each
	 * failure: one second in all, then the loop ends. */
	FAILURES_MAX = 100,
	PAUSE_MS = 10,
};

/* The shortest and the longest rest. Choices: a watch that fails all the time
 * is tried once a second. */
#define REST_MIN_NS (10 * NSEC_PER_MSEC)
#define REST_MAX_NS NSEC_PER_SEC
/* If no failure comes for this long after a rest, the next rest is REST_MIN_NS
 * long again. A choice. */
#define FORGET_NS (2 * NSEC_PER_SEC)

int loop_init(struct loop *loop)
{
	*loop = (struct loop){ .epoll_fd = epoll_create1(EPOLL_CLOEXEC) };
	return loop->epoll_fd < 0 ? -errno : 0;
}

void loop_deinit(struct loop *loop)
{
	close(loop->epoll_fd);
	loop->epoll_fd = -1;
}

static int control(struct loop *loop, int op, struct loop_watch *watch,
		   uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = watch };

	watch->events = events;
	/* end_rests() will watch a resting descriptor for these events. */
	if (watch->is_resting)
		return 0;
	return epoll_ctl(loop->epoll_fd, op, watch->fd, &ev) < 0 ? -errno : 0;
}

int loop_add(struct loop *loop, struct loop_watch *watch, uint32_t events)
{
	watch->is_resting = false;
	watch->err = 0;
	watch->pause_ns = watch->until_ns = 0;
	int err = control(loop, EPOLL_CTL_ADD, watch, events);

	/* An earlier removal has failed. */
	return err == -EEXIST ? control(loop, EPOLL_CTL_MOD, watch, events)
			      : err;
}

int loop_modify(struct loop *loop, struct loop_watch *watch, uint32_t events)
{
	return control(loop, EPOLL_CTL_MOD, watch, events);
}

void loop_remove(struct loop *loop, struct loop_watch *watch)
{
	struct loop_watch **at = &loop->resting;

	control(loop, EPOLL_CTL_DEL, watch, 0);
	while (*at && *at != watch)
		at = &(*at)->next;
	if (*at)
		*at = watch->next;
	watch->is_resting = false;
}

static void rest(struct loop *loop, struct loop_watch *watch, uint64_t now)
{
	watch->until_ns = now + watch->pause_ns;
	watch->is_resting = true;
	watch->next = loop->resting;
	loop->resting = watch;
}

void loop_fail(struct loop *loop, struct loop_watch *watch, const char *what,
	       int err)
{
	uint64_t now = now_monotonic(), pause = watch->pause_ns * 2;
	uint32_t events = watch->events;
	bool is_new = !watch->err ||
		      clock_has_passed(watch->until_ns, FORGET_NS, now);

	if (watch->is_resting)
		return;
	if (is_new)
		pause = REST_MIN_NS;
	if (is_new || err != watch->err)
		log_error("%s: %s", what, strerror(-err));
	watch->err = err;
	watch->pause_ns = pause < REST_MAX_NS ? pause : REST_MAX_NS;
	control(loop, EPOLL_CTL_DEL, watch, events);
	rest(loop, watch, now);
}

/* Put each watch whose rest is over back into the epoll. Return: milliseconds
 * until the next rest is over; -1: no watch rests. */
static int end_rests(struct loop *loop)
{
	struct loop_watch *watch = loop->resting, *next;
	uint64_t now, first = UINT64_MAX;

	if (!watch)
		return -1;
	now = now_monotonic();
	loop->resting = NULL;
	for (; watch; watch = next) {
		uint32_t events = watch->events;

		next = watch->next;
		watch->is_resting = false;
		if (now < watch->until_ns) {
			watch->is_resting = true;
			watch->next = loop->resting;
			loop->resting = watch;
		} else if (control(loop, EPOLL_CTL_ADD, watch, events) < 0) {
			/* The kernel is short of memory: rest once more. */
			rest(loop, watch, now);
		}
		if (watch->is_resting && watch->until_ns < first)
			first = watch->until_ns;
	}
	return loop->resting ? (int)(clock_age(now, first) / NSEC_PER_MSEC) + 1
			     : -1;
}

void loop_clear_timer(struct loop *loop, struct loop_timer *timer)
{
	struct loop_timer **at = &loop->timers;

	while (*at && *at != timer)
		at = &(*at)->next;
	if (*at)
		*at = timer->next;
	timer->is_set = false;
}

void loop_set_timer(struct loop *loop, struct loop_timer *timer, uint64_t at_ns)
{
	loop_clear_timer(loop, timer);
	timer->at_ns = at_ns;
	timer->is_set = true;
	timer->next = loop->timers;
	loop->timers = timer;
}

/* Return: a timer whose time has come; NULL: there is none. */
static struct loop_timer *find_due(const struct loop *loop, uint64_t now)
{
	for (struct loop_timer *t = loop->timers; t; t = t->next)
		if (now >= t->at_ns)
			return t;
	return NULL;
}

/* Call the timers whose time has come. */
static void run_timers(struct loop *loop)
{
	struct loop_timer *timer;
	uint64_t now;

	if (!loop->timers)
		return;
	now = now_monotonic();
	while (!loop->is_stopped && (timer = find_due(loop, now))) {
		loop_clear_timer(loop, timer);
		timer->ready(timer);
	}
}

/* Return: @timeout, or the milliseconds until the first timer, if that is sooner.
 * -1: no end. */
static int shorten(const struct loop *loop, int timeout)
{
	uint64_t first = UINT64_MAX, ms;

	if (!loop->timers)
		return timeout;
	for (const struct loop_timer *t = loop->timers; t; t = t->next)
		if (t->at_ns < first)
			first = t->at_ns;
	/* Rounded up, so that the timer is due when the wait is over. */
	ms = (clock_age(now_monotonic(), first) + NSEC_PER_MSEC - 1) /
	     NSEC_PER_MSEC;
	if (ms > INT_MAX)
		ms = INT_MAX;
	return timeout < 0 || (int)ms < timeout ? (int)ms : timeout;
}

int loop_run(struct loop *loop)
{
	int n_failures = 0;

	while (!loop->is_stopped) {
		/* One at a time, so that a watch removed by the handler of
		 * another is never called. */
		struct epoll_event ev;
		int n = epoll_wait(loop->epoll_fd, &ev, 1,
				   shorten(loop, end_rests(loop)));

		if (n < 0 && errno != EINTR) {
			/* A failure is taken to be a passing one at first. */
			if (++n_failures == FAILURES_MAX)
				return -errno;
			poll(NULL, 0, PAUSE_MS);
		}
		if (n > 0) {
			n_failures = 0;
			struct loop_watch *watch = ev.data.ptr;

			watch->ready(watch, ev.events);
		}
		run_timers(loop);
	}
	return loop->status;
}

void loop_stop(struct loop *loop, int status)
{
	if (!loop->is_stopped)
		loop->status = status;
	loop->is_stopped = true;
}
