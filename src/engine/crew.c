/* SPDX-License-Identifier: MIT */
#include "engine/crew.h"

#include <errno.h>
#include <sched.h>

#include "engine/clocks.h"
#include "engine/thread.h"

enum {
	/* The worker has been busy for so long before a member is woken. */
	BUSY_NS = NSEC_PER_MSEC,
	/* A member looks after so long whether it has had its processor. */
	LOOK_NS = 10 * NSEC_PER_MSEC,
	/* Percent of a processor that is a processor. */
	WHOLE = 90,
	/* Rounds without work before a member sleeps: some 10 microseconds. */
	IDLE_ROUNDS = 50,
};

/* How long nobody is woken after a member had to share its processor. */
static const uint64_t pause_min = 50 * NSEC_PER_MSEC;
static const uint64_t pause_max = 5 * NSEC_PER_SEC;

/* ----------------------------------------------------------------- usage */

static void usage_begin(struct usage *u)
{
	u->since = time_now();
	u->cpu = time_read(CLOCK_THREAD_CPUTIME_ID);
}

/* Has the thread had its processor to itself since usage_begin()? */
static bool usage_is_whole(const struct usage *u, uint64_t now)
{
	uint64_t cpu = time_read(CLOCK_THREAD_CPUTIME_ID) - u->cpu;

	return cpu * 100 >= (now - u->since) * WHOLE;
}

/* ------------------------------------------------------------ the worker */

/* Have one more member work. */
static void call_one(struct crew *crew)
{
	pthread_mutex_lock(&crew->mutex);
	crew->n_called++;
	atomic_fetch_add_explicit(&crew->n_awake, 1, memory_order_relaxed);
	pthread_cond_signal(&crew->wake);
	pthread_mutex_unlock(&crew->mutex);
}

void crew_tell(struct crew *crew, bool is_busy)
{
	struct usage *u = &crew->usage;
	uint64_t now;

	if (!is_busy || crew->is_eager || !crew->n_members) {
		u->since = 0;
		return;
	}
	if (!u->since) {
		usage_begin(u);
		return;
	}
	now = time_now();
	if (now - u->since < BUSY_NS)
		return;
	/* Partner: leave(). Seen late they cost one wake-up more. */
	if (atomic_load_explicit(&crew->n_awake, memory_order_relaxed) <
		    crew->n_members &&
	    now >= atomic_load_explicit(&crew->not_before,
					memory_order_relaxed) &&
	    usage_is_whole(u, now))
		call_one(crew);
	u->since = 0;
}

/* ------------------------------------------------------------- a member */

static bool is_stopped(const struct crew *crew)
{
	/* Partner: crew_stop(). */
	return atomic_load_explicit(&crew->is_stopped, memory_order_acquire);
}

/* Sleep until called. Return: false if it is time to end. */
static bool await_call(struct crew *crew)
{
	pthread_mutex_lock(&crew->mutex);
	while (!crew->n_called && !is_stopped(crew) && !crew->is_eager)
		pthread_cond_wait(&crew->wake, &crew->mutex);
	if (crew->n_called)
		crew->n_called--;
	pthread_mutex_unlock(&crew->mutex);
	return !is_stopped(crew);
}

/* Run each lane once. Return: true if there was work. */
static bool run_lanes(struct member *m)
{
	struct crew *crew = m->crew;
	bool any = false;

	any |= lane_run(&crew->in4->lane, &m->context) == LANE_BUSY;
	any |= lane_run(&crew->in6->lane, &m->context) == LANE_BUSY;
	any |= lane_run(&crew->out->lane, &m->context) == LANE_BUSY;
	return any;
}

/* There is no processor to spare: let nobody be woken for a while. */
static void leave(struct crew *crew, uint64_t now)
{
	uint64_t pause =
		2 * atomic_load_explicit(&crew->pause, memory_order_relaxed);

	if (pause < pause_min)
		pause = pause_min;
	if (pause > pause_max)
		pause = pause_max;
	atomic_store_explicit(&crew->pause, pause, memory_order_relaxed);
	/* Partner: crew_tell(). */
	atomic_store_explicit(&crew->not_before, now + pause,
			      memory_order_relaxed);
}

/* May this member stay at work, as far as its processor is concerned? */
static bool may_stay(struct crew *crew, struct usage *u)
{
	uint64_t now = time_now();

	if (crew->is_eager || now - u->since < LOOK_NS)
		return true;
	if (!usage_is_whole(u, now)) {
		leave(crew, now);
		return false;
	}
	atomic_store_explicit(&crew->pause, 0, memory_order_relaxed);
	usage_begin(u);
	return true;
}

/* Work until there is nothing to do, or no processor to do it with. */
static void work(struct member *m)
{
	struct crew *crew = m->crew;
	unsigned int idle = 0;
	struct usage usage;

	m->seen = 0;
	sockets_join(crew->sockets, m->user);
	usage_begin(&usage);
	while (!is_stopped(crew) && may_stay(crew, &usage)) {
		m->context.sock =
			sockets_enter(crew->sockets, m->user, &m->seen);
		if (run_lanes(m)) {
			idle = 0;
			continue;
		}
		if (++idle == IDLE_ROUNDS && !crew->is_eager)
			break;
		sched_yield();
	}
	m->context.sock = NULL;
	sockets_leave(crew->sockets, m->user);
}

static void *member_main(void *arg)
{
	struct member *m = arg;
	struct crew *crew = m->crew;

	thread_begin("helper");
	while (await_call(crew)) {
		work(m);
		if (!crew->is_eager)
			atomic_fetch_sub_explicit(&crew->n_awake, 1,
						  memory_order_relaxed);
		/* What it left, the worker may not know of. */
		crew->poke(crew->arg);
	}
	thread_end();
	return NULL;
}

/* ------------------------------------------------------------------ life */

int crew_init(struct crew *crew, unsigned int n)
{
	pthread_mutex_init(&crew->mutex, NULL);
	pthread_cond_init(&crew->wake, NULL);
	for (unsigned int i = 0; i < n; i++) {
		struct member *m = &crew->members[i];

		*m = (struct member){
			.crew = crew,
			.user = SOCKETS_WORKER + 1 + i,
			.context.aead = aead_new(crew->aead_choice),
		};
		if (!m->context.aead)
			return -ENOMEM;
		crew->n_members++;
	}
	return 0;
}

void crew_deinit(struct crew *crew)
{
	for (unsigned int i = 0; i < crew->n_members; i++)
		aead_free(crew->members[i].context.aead);
	pthread_cond_destroy(&crew->wake);
	pthread_mutex_destroy(&crew->mutex);
}

int crew_start(struct crew *crew)
{
	while (crew->n_started < crew->n_members) {
		struct member *m = &crew->members[crew->n_started];
		int err = thread_start(&m->thread, member_main, m);

		if (err < 0) {
			crew_stop(crew);
			return err;
		}
		crew->n_started++;
	}
	return 0;
}

void crew_stop(struct crew *crew)
{
	pthread_mutex_lock(&crew->mutex);
	/* Partner: is_stopped(). */
	atomic_store_explicit(&crew->is_stopped, true, memory_order_release);
	pthread_cond_broadcast(&crew->wake);
	pthread_mutex_unlock(&crew->mutex);
	while (crew->n_started)
		pthread_join(crew->members[--crew->n_started].thread, NULL);
}
