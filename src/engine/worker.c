/* SPDX-License-Identifier: MIT */
#include "engine/worker.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/now.h"
#include "engine/thread.h"

/* Lanes that may have work, bits of struct worker's ready. */
enum {
	READY_IN4 = 1,
	READY_IN6 = 2,
	READY_OUT = 4,
	READY_ALL = READY_IN4 | READY_IN6 | READY_OUT,
};

enum {
	/* Batches of each lane between two looks at the descriptors. */
	ROUNDS = 4,
	EVENTS = 4,
	/* After so long without a packet, memory is given back. */
	RELEASE_AFTER_MS = 1000,
	/* When to try again what the kernel had no memory for. */
	AGAIN_MS = 100,
	PAUSE_MS = 10,
};

void worker_poke(struct worker *w)
{
	thread_poke(w->poke_fd);
}

static int watch(const struct worker *w, int op, int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.fd = fd };

	return epoll_ctl(w->epoll_fd, op, fd, &ev) < 0 ? -errno : 0;
}

/*
 * Watch for these events from now on. What cannot be watched for now (it takes
 * kernel memory) is tried again by poll_events(): without it the lane would be
 * dead.
 */
static void set_watch(struct worker *w, int fd, uint32_t events)
{
	int err = watch(w, EPOLL_CTL_MOD, fd, events);

	if (err == -ENOENT)
		err = watch(w, EPOLL_CTL_ADD, fd, events);
	if (err < 0)
		w->must_rewatch = true;
}

/* The main socket of a family, and its side sockets. */
static void watch_family(struct worker *w, int family)
{
	unsigned int lane = family == AF_INET ? READY_IN4 : READY_IN6;
	uint32_t events = w->failing & lane ? 0 : EPOLLIN;
	int fd = ug_fd(w->context.sock, family);

	for (unsigned int i = 0; fd >= 0; i++) {
		set_watch(w, fd, events);
		fd = ug_side_fd(w->context.sock, family, i);
	}
}

/*
 * The TUN is read only while what it gives can be sent: packets that come
 * before the sockets are open wait in its queue.
 */
static void watch_tun(struct worker *w)
{
	if (!w->tun_unwatched)
		set_watch(w, tun_get_fd(w->out->tun),
			  w->context.sock && !(w->failing & READY_OUT) ? EPOLLIN
								       : 0);
}

static void watch_sockets(struct worker *w)
{
	if (!w->context.sock)
		return;
	watch_family(w, AF_INET);
	watch_family(w, AF_INET6);
}

/* Turn to the sockets that are current. */
static void enter_sockets(struct worker *w)
{
	uint64_t seen = w->seen;
	struct ug_socket *sock =
		sockets_enter(w->sockets, SOCKETS_WORKER, &w->seen);

	/* Not by the pointer: new sockets may be where old ones were freed. */
	if (w->seen == seen)
		return;
	/* The old ones close soon after this, and leave the epoll by that:
	 * here they may be closed already. */
	w->context.sock = sock;
	watch_sockets(w);
	watch_tun(w);
	/* Requests may have come meanwhile. */
	w->ready |= READY_OUT;
}

/* Run a lane that is ready; it stays so until it was found empty. */
static void run_lane(struct worker *w, unsigned int bit, struct lane *lane)
{
	if (!(w->ready & bit))
		return;
	/* A lane that a helper has stays ready, and is looked at again soon. */
	if (lane_run(lane, &w->context) == LANE_EMPTY)
		w->ready &= ~bit;
}

/* The lanes take turns, so that none waits long for a big batch of others. */
static void run_lanes(struct worker *w)
{
	for (int i = 0; i < ROUNDS && w->ready; i++) {
		run_lane(w, READY_IN4, &w->in4->lane);
		run_lane(w, READY_IN6, &w->in6->lane);
		run_lane(w, READY_OUT, &w->out->lane);
	}
}

/* The device does not exist any more: stop listening to it, and tell. */
static void check_gone(struct worker *w)
{
	/* Partners: read_packet(), write_merged(). */
	bool gone =
		atomic_load_explicit(&w->out->is_gone, memory_order_acquire) ||
		atomic_load_explicit(&w->in4->is_gone, memory_order_acquire) ||
		atomic_load_explicit(&w->in6->is_gone, memory_order_acquire);

	if (!gone || w->tun_unwatched)
		return;
	w->tun_unwatched = true;
	watch(w, EPOLL_CTL_DEL, tun_get_fd(w->out->tun), 0);
	lane_close(&w->out->lane);
	thread_poke(w->gone_fd);
}

/* Take the error of a lane that could not read. Return: it; 0: none. */
static int take_failure(_Atomic int *err)
{
	/* Partners: read_packet(), take() of inbound.c. */
	return atomic_load_explicit(err, memory_order_relaxed)
		       ? atomic_exchange_explicit(err, 0, memory_order_relaxed)
		       : 0;
}

/*
 * Do not watch descriptors that cannot be read, for AGAIN_MS: epoll would call
 * them readable again at once. The log gets a line for the first failure, and
 * when the errno changes.
 */
static void note_failures(struct worker *w)
{
	int out = take_failure(&w->out->read_err);
	int in4 = take_failure(&w->in4->read_err);
	int in6 = take_failure(&w->in6->read_err);
	int err = out ? out : in4 ? in4 : in6;
	uint64_t now;

	if (!err)
		return;
	now = now_boottime();
	if (err != w->failing_err ||
	    clock_has_passed(w->failing_until, NSEC_PER_SEC, now))
		log_error("cannot read %s: %s",
			  out ? "the interface" : "a UDP socket",
			  strerror(-err));
	w->failing_err = err;
	w->failing_until = now + AGAIN_MS * NSEC_PER_MSEC;
	w->failing |= (out ? READY_OUT : 0U) | (in4 ? READY_IN4 : 0U) |
		      (in6 ? READY_IN6 : 0U);
	watch_sockets(w);
	watch_tun(w);
}

/* Watch descriptors again that could not be read. */
static void forgive(struct worker *w)
{
	if (!w->failing || now_boottime() < w->failing_until)
		return;
	w->failing = 0;
	w->must_rewatch = true;
}

/* Give back what a burst has left, once. */
static void release_memory(struct worker *w)
{
	if (!w->idle_since ||
	    !clock_has_passed(w->idle_since, RELEASE_AFTER_MS * NSEC_PER_MSEC,
			      now_boottime()))
		return;
	lane_release(&w->in4->lane);
	lane_release(&w->in6->lane);
	w->idle_since = 0;
}

/* Look which descriptors are ready; sleep if no lane has work left. */
static int poll_events(struct worker *w, struct epoll_event *events)
{
	int timeout = w->idle_since ? RELEASE_AFTER_MS : -1;

	forgive(w);
	if (w->must_rewatch) {
		w->must_rewatch = false;
		watch_sockets(w);
		watch_tun(w);
	}
	if (w->must_rewatch || w->failing)
		timeout = AGAIN_MS;
	int n = epoll_wait(w->epoll_fd, events, EVENTS, w->ready ? 0 : timeout);

	if (n == 0 && !w->ready)
		release_memory(w);
	/* Not known to happen, and no reason to spin. */
	if (n < 0 && errno != EINTR)
		poll(NULL, 0, PAUSE_MS);
	return n;
}

/* The lane that reads a UDP socket; 0 for an old socket, which was replaced. */
static unsigned int ready_lane(const struct worker *w, int fd)
{
	if (!w->context.sock)
		return 0;
	if (fd == ug_fd(w->context.sock, AF_INET))
		return READY_IN4;
	if (fd == ug_fd(w->context.sock, AF_INET6))
		return READY_IN6;
	switch (ug_side_ready(w->context.sock, fd)) {
	case AF_INET:
		return READY_IN4;
	case AF_INET6:
		return READY_IN6;
	default:
		return 0;
	}
}

static void handle_event(struct worker *w, const struct epoll_event *ev)
{
	uint64_t n;

	if (ev->data.fd == w->poke_fd) {
		/* Partner: poke_by_helper(). */
		w->ready |= atomic_exchange_explicit(&w->helper_has_left, false,
						     memory_order_acquire)
				    ? READY_ALL
				    : READY_OUT;
		if (read(w->poke_fd, &n, sizeof(n)) < 0)
			return;
	} else if (ev->data.fd == tun_get_fd(w->out->tun)) {
		w->ready |= READY_OUT;
		/* Told also while it is not watched for packets. */
		if (ev->events & EPOLLERR)
			atomic_store_explicit(&w->out->is_gone, true,
					      memory_order_release);
	} else {
		w->ready |= ready_lane(w, ev->data.fd);
	}
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct epoll_event events[EVENTS];

	thread_begin("worker");
	/* Partner: worker_stop(). */
	while (!atomic_load_explicit(&w->is_stopped, memory_order_acquire)) {
		int n;

		enter_sockets(w);
		n = poll_events(w, events);
		for (int i = 0; i < n; i++)
			handle_event(w, &events[i]);
		if (!w->ready) {
			helpers_tell(&w->helpers, false);
			continue;
		}
		run_lanes(w);
		/* What is left needs no event to go on. */
		if (w->context.sock && outbound_has_work(w->out))
			w->ready |= READY_OUT;
		w->idle_since = now_boottime();
		helpers_tell(&w->helpers, w->ready != 0);
		note_failures(w);
		check_gone(w);
	}
	helpers_stop(&w->helpers);
	lane_close(&w->out->lane);
	lane_close(&w->in4->lane);
	lane_close(&w->in6->lane);
	sockets_leave(w->sockets, SOCKETS_WORKER);
	thread_end();
	return NULL;
}

/*
 * A helper ends. It may leave datagrams that it has received, and not handed
 * out yet: no descriptor tells of them.
 */
static void poke_by_helper(void *arg)
{
	struct worker *w = arg;

	/* Partner: handle_event(). */
	atomic_store_explicit(&w->helper_has_left, true, memory_order_release);
	worker_poke(w);
}

int worker_init(struct worker *w, int gone_fd, unsigned int n_helpers)
{
	w->gone_fd = gone_fd;
	w->poke_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (w->poke_fd < 0 || w->epoll_fd < 0)
		return -errno;
	w->context.aead = aead_new(w->helpers.aead_choice);
	if (!w->context.aead)
		return -ELIBACC;
	w->helpers.out = w->out;
	w->helpers.in4 = w->in4;
	w->helpers.in6 = w->in6;
	w->helpers.sockets = w->sockets;
	w->helpers.poke = poke_by_helper;
	w->helpers.arg = w;
	int err = helpers_init(&w->helpers, n_helpers);

	if (err == 0)
		/* Edge-triggered: if it cannot be read, epoll does not report
		 * it again. */
		err = watch(w, EPOLL_CTL_ADD, w->poke_fd, EPOLLIN | EPOLLET);
	return err < 0 ? err
		       : watch(w, EPOLL_CTL_ADD, tun_get_fd(w->out->tun), 0);
}

void worker_deinit(struct worker *w)
{
	helpers_deinit(&w->helpers);
	aead_free(w->context.aead);
	if (w->epoll_fd >= 0)
		close(w->epoll_fd);
	if (w->poke_fd >= 0)
		close(w->poke_fd);
}

int worker_start(struct worker *w)
{
	sockets_join(w->sockets, SOCKETS_WORKER);
	int err = helpers_start(&w->helpers);

	if (err == 0)
		err = thread_start(&w->thread, worker_main, w);
	if (err < 0) {
		helpers_stop(&w->helpers);
		sockets_leave(w->sockets, SOCKETS_WORKER);
	}
	return err;
}

void worker_stop(struct worker *w)
{
	/* Partner: worker_main(). */
	atomic_store_explicit(&w->is_stopped, true, memory_order_release);
	worker_poke(w);
	pthread_join(w->thread, NULL);
}
