/* SPDX-License-Identifier: MIT */
#include "engine/loop.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
	/* How often in a row waiting may fail, and the pause after each. */
	FAILURES_MAX = 100,
	PAUSE_MS = 10,
};

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

	return epoll_ctl(loop->epoll_fd, op, watch->fd, &ev) < 0 ? -errno : 0;
}

int loop_add(struct loop *loop, struct loop_watch *watch, uint32_t events)
{
	return control(loop, EPOLL_CTL_ADD, watch, events);
}

int loop_modify(struct loop *loop, struct loop_watch *watch, uint32_t events)
{
	return control(loop, EPOLL_CTL_MOD, watch, events);
}

void loop_remove(struct loop *loop, struct loop_watch *watch)
{
	control(loop, EPOLL_CTL_DEL, watch, 0);
}

int loop_run(struct loop *loop)
{
	int n_failures = 0;

	while (!loop->is_stopped) {
		/* One at a time, so that a watch removed by the handler of
		 * another is never called. */
		struct epoll_event ev;
		int n = epoll_wait(loop->epoll_fd, &ev, 1, -1);

		if (n < 0 && errno != EINTR) {
			/* Nothing is known to fail but for a while. */
			if (++n_failures == FAILURES_MAX)
				return -errno;
			poll(NULL, 0, PAUSE_MS);
		}
		if (n > 0) {
			n_failures = 0;
			struct loop_watch *watch = ev.data.ptr;

			watch->ready(watch, ev.events);
		}
	}
	return loop->status;
}

void loop_stop(struct loop *loop, int status)
{
	if (!loop->is_stopped)
		loop->status = status;
	loop->is_stopped = true;
}
