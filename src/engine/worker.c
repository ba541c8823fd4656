/* SPDX-License-Identifier: MIT */
/*
 * A turn of the worker's loop: enter the sockets, ask epoll which descriptors
 * are ready, run the lanes of these sources for some rounds. The set @ready
 * holds the sources whose lanes may have work: an event adds a source, and
 * LANE_EMPTY or LANE_LAST removes it. The loop waits for events only if @ready
 * is empty.
 */
#include "engine/worker.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/now.h"
#include "engine/thread.h"

enum {
	/* Batches of each lane in one turn. A choice: the worker looks for new
	 * events only between turns, so a turn must not take long. */
	ROUNDS = 4,
	/* Events that one epoll_wait(2) returns at most. A choice: the TUN, the
	 * main socket of each family, and @poke_fd. Further events stay ready
	 * for the next turn. */
	EVENTS = 4,
	/* An event holds the number of its source; the events of @poke_fd hold
	 * this number instead. */
	POKE = SOURCES_MAX,
	/* Free slots give memory back after this long without work. A choice,
	 * not measured. */
	RELEASE_AFTER_MS = 1000,
	/* The time after which a descriptor is watched again that could not be
	 * watched or read. A choice: ten attempts a second cost little. */
	AGAIN_MS = 100,
	/* The longest wait in which the worker does not sleep. Measured: with
	 * 20 us pings over a virtual cable are not faster, with 60 us they take
	 * 0.4 of the time (docs/performance.md). */
	SPIN_NS = 60 * 1000,
	/* A wait shorter than this does not count, because the event was there
	 * before it: a packet that was written to the TUN often has an answer at
	 * once. A choice. */
	AT_ONCE_NS = 5 * 1000,
	/* The pause after epoll_wait(2) has failed. A choice, as in loop.c. */
	PAUSE_MS = 10,
};

void worker_poke(struct worker *w)
{
	thread_poke(w->poke_fd);
}

/* epoll_ctl(2), with descriptor and source in the event. Return: 0; -errno. */
static int watch(const struct worker *w, int op, unsigned int source, int fd,
		 uint32_t events)
{
	struct epoll_event ev = {
		.events = events,
		.data.u64 = (uint64_t)source << 32 | (uint32_t)fd,
	};

	return epoll_ctl(w->epoll_fd, op, fd, &ev) < 0 ? -errno : 0;
}

/*
 * Watch a descriptor for these events from now on. If that fails (the kernel is
 * short of memory), poll_events() tries again. An unwatched descriptor would
 * never make its lane ready.
 */
static void set_watch(struct worker *w, unsigned int source, int fd,
		      uint32_t events)
{
	int err = watch(w, EPOLL_CTL_MOD, source, fd, events);

	if (err == -ENOENT)
		err = watch(w, EPOLL_CTL_ADD, source, fd, events);
	if (err < 0)
		w->must_rewatch = true;
}

static bool has(uint32_t set, unsigned int source)
{
	return set & UINT32_C(1) << source;
}

/* Return: descriptor @i of a source; negative: there are fewer. */
static int get_fd(const struct worker *w, unsigned int source, unsigned int i)
{
	const struct source *s = w->sources.all[source];

	return s->ops->get_fd(s, w->context.group, i);
}

/*
 * Watch the descriptors of all sources. While the sockets are closed, they are
 * watched for no events: packets from the TUN wait in its queue.
 */
static void watch_sources(struct worker *w)
{
	for (unsigned int s = 0; s < w->sources.n; s++) {
		bool is_read = w->context.sock && !has(w->failing, s);
		int fd;

		if (has(w->gone, s))
			continue;
		for (unsigned int i = 0; (fd = get_fd(w, s, i)) >= 0; i++)
			set_watch(w, s, fd, is_read ? EPOLLIN : 0);
	}
}

/* Use the current sockets. If they are new, watch their descriptors. */
static void enter_sockets(struct worker *w)
{
	uint64_t seen = w->seen;
	struct sock_group *group =
		sockets_enter(w->sockets, SOCKETS_WORKER, &w->seen);

	/* The pointer does not tell: new sockets may have the address of old
	 * ones that were freed. */
	if (w->seen == seen)
		return;
	/* The old sockets need no EPOLL_CTL_DEL: the control thread closes
	 * them, perhaps already has, and closing removes them from epoll. */
	context_set_group(&w->context, group);
	watch_sources(w);
	/* Requests may have come while there were no sockets. */
	w->ready |= w->poked;
}

static uint32_t get_order(const struct worker *w)
{
	/* Partner: give_order(). */
	return atomic_load_explicit(&w->order, memory_order_acquire);
}

static bool is_stopped(const struct worker *w)
{
	/* Partner: worker_stop(). */
	return atomic_load_explicit(&w->is_stopped, memory_order_acquire);
}

/* Is the worker to run lanes? */
static bool is_running(const struct worker *w)
{
	return get_order(w) % WORKER_ORDERS == WORKER_RUN;
}

/* The lanes take turns, batch by batch, so that no lane waits long. A pause does not
 * wait for all rounds. */
static void run_lanes(struct worker *w)
{
	sources_run(&w->sources, &w->ready, &w->context);
	w->was_lone = !w->ready;
	for (int i = 1; i < ROUNDS && w->ready && is_running(w); i++)
		sources_run(&w->sources, &w->ready, &w->context);
}

/* Add the sources that have more to take without an event. */
static void note_more(struct worker *w)
{
	for (unsigned int i = 0; w->context.sock && i < w->sources.n; i++) {
		const struct source *s = w->sources.all[i];

		if (has(w->poked, i) && s->ops->has_more(s))
			w->ready |= UINT32_C(1) << i;
	}
}

/* Close the lane of a source that is gone, and tell the control thread. */
static void check_gone(struct worker *w)
{
	for (unsigned int s = 0; s < w->sources.n; s++) {
		int fd;

		if (has(w->gone, s) || !source_is_gone(w->sources.all[s]))
			continue;
		w->gone |= UINT32_C(1) << s;
		for (unsigned int i = 0; (fd = get_fd(w, s, i)) >= 0; i++)
			watch(w, EPOLL_CTL_DEL, s, fd, 0);
		lane_close(&w->sources.all[s]->lane);
		thread_poke(w->gone_fd);
	}
}

/*
 * If reading a source fails, do not watch its descriptors for AGAIN_MS: epoll
 * would report them as readable again at once. The log gets a line for the
 * first failure, and when the errno changes.
 */
static void note_failures(struct worker *w)
{
	const char *name = NULL;
	int err = 0;
	uint64_t now;

	for (unsigned int i = 0; i < w->sources.n; i++) {
		struct source *s = w->sources.all[i];
		int failure = source_take_error(s);

		if (failure == 0)
			continue;
		err = failure;
		name = s->name;
		w->failing |= UINT32_C(1) << i;
	}
	if (err == 0)
		return;
	now = now_boottime();
	if (err != w->failing_err ||
	    clock_has_passed(w->failing_until, NSEC_PER_SEC, now))
		log_error("cannot read %s: %s", name, strerror(-err));
	w->failing_err = err;
	w->failing_until = now + AGAIN_MS * NSEC_PER_MSEC;
	watch_sources(w);
}

/* Watch the descriptors that could not be read again, if it is time. */
static void forgive(struct worker *w)
{
	if (!w->failing || now_boottime() < w->failing_until)
		return;
	w->failing = 0;
	w->must_rewatch = true;
}

/* After a time without work, give back the memory of free slots, once. */
static void release_memory(struct worker *w)
{
	if (!w->idle_since ||
	    !clock_has_passed(w->idle_since, RELEASE_AFTER_MS * NSEC_PER_MSEC,
			      now_boottime()))
		return;
	for (unsigned int i = 0; i < w->sources.n; i++)
		lane_release(&w->sources.all[i]->lane);
	w->idle_since = 0;
}

/*
 * Look for events until SPIN_NS after the last work, without sleeping. Other threads
 * that want this processor go first.
 */
static int spin(const struct worker *w, struct epoll_event *events)
{
	uint64_t end = w->idle_since + SPIN_NS;
	int n;

	do {
		n = epoll_wait(w->epoll_fd, events, EVENTS, 0);
		if (n != 0)
			break;
		sched_yield();
	} while (now_boottime() < end);
	return n;
}

/*
 * Wait for events. A lone packet often has an answer, and that one another: if the
 * last wait after one was shorter than SPIN_NS, the worker does not sleep at once. To
 * sleep and to be woken takes longer than such a wait, above all on a virtual machine.
 * After a longer wait it sleeps, so packets that come seldom cost nothing.
 */
static int wait_for_events(struct worker *w, struct epoll_event *events,
			   int timeout)
{
	uint64_t waited;
	int n = 0;

	pulse_rest(&w->pulse);
	if (!w->was_lone)
		return epoll_wait(w->epoll_fd, events, EVENTS, timeout);
	if (w->may_spin)
		n = spin(w, events);
	if (n == 0)
		n = epoll_wait(w->epoll_fd, events, EVENTS, timeout);
	waited = now_boottime() - w->idle_since;
	if (waited >= AT_ONCE_NS)
		w->may_spin = waited < SPIN_NS;
	return n;
}

/* Look which descriptors are ready; wait if no lane has work left. */
static int poll_events(struct worker *w, struct epoll_event *events)
{
	int timeout = w->idle_since ? RELEASE_AFTER_MS : -1;

	forgive(w);
	if (w->must_rewatch) {
		w->must_rewatch = false;
		watch_sources(w);
	}
	if (w->must_rewatch || w->failing)
		timeout = AGAIN_MS;
	int n = w->ready ? epoll_wait(w->epoll_fd, events, EVENTS, 0)
			 : wait_for_events(w, events, timeout);

	pulse_turn(&w->pulse);
	if (n == 0 && !w->ready)
		release_memory(w);
	/* epoll_wait(2) should not fail; if it does, do not spin. */
	if (n < 0 && errno != EINTR)
		poll(NULL, 0, PAUSE_MS);
	return n;
}

/* A failed read does no harm: @poke_fd is edge-triggered. */
static void handle_poke(struct worker *w)
{
	uint64_t n;

	/* Partner: poke_by_helper(). */
	w->ready |= atomic_exchange_explicit(&w->helper_has_left, false,
					     memory_order_acquire)
			    ? sources_all(&w->sources)
			    : w->poked;
	if (read(w->poke_fd, &n, sizeof(n)) < 0)
		return;
}

static void handle_event(struct worker *w, const struct epoll_event *ev)
{
	unsigned int i = (unsigned int)(ev->data.u64 >> 32);
	struct source *s;

	if (i == POKE) {
		handle_poke(w);
		return;
	}
	s = w->sources.all[i];
	if (s->ops->is_ready(s, w->context.group, (int)(uint32_t)ev->data.u64,
			     ev->events))
		w->ready |= UINT32_C(1) << i;
}

/* ------------------------------------------------------------------ pauses */

/* Take, send and write what was read before. Ends early with another order. */
static void finish(struct worker *w, uint32_t order)
{
	w->context.reads_nothing = true;
	while (w->context.sock && sources_have_left(&w->sources) &&
	       get_order(w) == order && !is_stopped(w)) {
		uint32_t all = sources_all(&w->sources);

		sources_run(&w->sources, &all, &w->context);
	}
	w->context.reads_nothing = false;
}

static void report_rest(struct worker *w, uint32_t order)
{
	pthread_mutex_lock(&w->mutex);
	/* Partner: await_order(). */
	w->reached = order;
	pthread_cond_signal(&w->rested);
	pthread_mutex_unlock(&w->mutex);
}

/* Carry out an order of the control thread, and wait for a poke. */
static void rest(struct worker *w, uint32_t order)
{
	struct pollfd poked = { .fd = w->poke_fd, .events = POLLIN };
	uint64_t n;

	if (order != w->done) {
		helpers_tell(&w->helpers, false);
		if (order % WORKER_ORDERS == WORKER_FINISH)
			finish(w, order);
		w->done = order;
		report_rest(w, order);
	}
	pulse_rest(&w->pulse);
	/* During the rest events are not read, so afterwards all lanes are run. */
	w->ready = sources_all(&w->sources);
	w->was_lone = false;
	if (poll(&poked, 1, -1) < 0 && errno != EINTR)
		poll(NULL, 0, PAUSE_MS);
	if (read(w->poke_fd, &n, sizeof(n)) < 0)
		return;
}

/* The control thread gives an order. */
static void give_order(struct worker *w, enum worker_order order)
{
	uint32_t last = atomic_load_explicit(&w->order, memory_order_relaxed);

	/* Partner: get_order(). The number of the order may wrap. */
	atomic_store_explicit(&w->order,
			      last - last % WORKER_ORDERS + WORKER_ORDERS +
				      (uint32_t)order,
			      memory_order_release);
	worker_poke(w);
}

/* Wait until the order is carried out. Return: 0; -ETIMEDOUT. */
static int await_order(struct worker *w, uint64_t end_ns)
{
	uint32_t order = get_order(w);
	int err = 0;

	pthread_mutex_lock(&w->mutex);
	/* Partner: report_rest(). */
	while (err == 0 && w->reached != order)
		if (!thread_wait_until(&w->rested, &w->mutex, end_ns))
			err = -ETIMEDOUT;
	pthread_mutex_unlock(&w->mutex);
	return err;
}

void worker_pause(struct worker *w)
{
	helpers_pause(&w->helpers);
	give_order(w, WORKER_REST);
}

int worker_await_rest(struct worker *w, uint64_t end_ns)
{
	int err = helpers_await_sleep(&w->helpers, end_ns);

	return err < 0 ? err : await_order(w, end_ns);
}

int worker_finish(struct worker *w, uint64_t end_ns)
{
	if (!sources_have_left(&w->sources))
		return 0;
	give_order(w, WORKER_FINISH);
	return await_order(w, end_ns);
}

void worker_resume(struct worker *w)
{
	give_order(w, WORKER_RUN);
	helpers_resume(&w->helpers);
}

/* ---------------------------------------------------------------- the loop */

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct epoll_event events[EVENTS];

	thread_begin("worker");
	while (!is_stopped(w)) {
		uint32_t order = get_order(w);
		int n;

		enter_sockets(w);
		if (order % WORKER_ORDERS != WORKER_RUN) {
			rest(w, order);
			continue;
		}
		n = poll_events(w, events);
		for (int i = 0; i < n; i++)
			handle_event(w, &events[i]);
		if (!w->ready) {
			helpers_tell(&w->helpers, false);
			continue;
		}
		run_lanes(w);
		note_more(w);
		w->idle_since = now_boottime();
		helpers_tell(&w->helpers, w->ready != 0);
		note_failures(w);
		check_gone(w);
	}
	helpers_stop(&w->helpers);
	for (unsigned int i = 0; i < w->sources.n; i++)
		lane_close(&w->sources.all[i]->lane);
	sockets_leave(w->sockets, SOCKETS_WORKER);
	thread_end();
	return NULL;
}

/*
 * A helper goes to sleep. The receiver of a slot may still hold datagrams,
 * which no descriptor reports: have the worker run all lanes.
 */
static void poke_by_helper(void *arg)
{
	struct worker *w = arg;

	/* Partner: handle_poke(). */
	atomic_store_explicit(&w->helper_has_left, true, memory_order_release);
	worker_poke(w);
}

/* Add @poke_fd and the TUN to epoll; the TUN is watched for no events yet. */
static int watch_first(struct worker *w)
{
	/* Edge-triggered: if reading it fails, epoll does not report it again
	 * and again. */
	int err = watch(w, EPOLL_CTL_ADD, POKE, w->poke_fd, EPOLLIN | EPOLLET);
	int fd;

	for (unsigned int s = 0; s < w->sources.n; s++) {
		if (w->sources.all[s]->ops->has_more)
			w->poked |= UINT32_C(1) << s;
		for (unsigned int i = 0; (fd = get_fd(w, s, i)) >= 0; i++)
			if (err == 0)
				err = watch(w, EPOLL_CTL_ADD, s, fd, 0);
	}
	return err;
}

int worker_init(struct worker *w, int gone_fd, unsigned int n_helpers)
{
	w->gone_fd = gone_fd;
	pthread_mutex_init(&w->mutex, NULL);
	thread_init_condition(&w->rested);
	w->poke_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (w->poke_fd < 0 || w->epoll_fd < 0)
		return -errno;
	w->context.aead = aead_new(w->helpers.aead_choice);
	if (!w->context.aead)
		return -ELIBACC;
	w->helpers.sources = &w->sources;
	w->helpers.sockets = w->sockets;
	w->helpers.poke = poke_by_helper;
	w->helpers.arg = w;
	int err = helpers_init(&w->helpers, n_helpers);

	return err < 0 ? err : watch_first(w);
}

void worker_deinit(struct worker *w)
{
	helpers_deinit(&w->helpers);
	aead_free(w->context.aead);
	if (w->epoll_fd >= 0)
		close(w->epoll_fd);
	if (w->poke_fd >= 0)
		close(w->poke_fd);
	pthread_cond_destroy(&w->rested);
	pthread_mutex_destroy(&w->mutex);
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
	/* Partner: is_stopped(). */
	atomic_store_explicit(&w->is_stopped, true, memory_order_release);
	worker_poke(w);
	pthread_join(w->thread, NULL);
}
