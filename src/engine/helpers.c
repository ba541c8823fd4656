/* SPDX-License-Identifier: MIT */
/*
 * Helpers are woken by the worker, and go to sleep by themselves. Both
 * decisions rest on one measurement, struct usage: the share of its processor
 * that a thread has had. The kernel does not say whether a processor is free.
 * But if a thread has to share its own, most likely no other is free.
 */
#include "engine/helpers.h"

#include <errno.h>
#include <sched.h>

#include "base/now.h"
#include "engine/thread.h"

enum {
	/* Work must be left for this long before a helper is woken. 10 or 30 ms
	 * made no difference beyond noise (docs/performance.md). */
	BUSY_NS = NSEC_PER_MSEC,
	/* The time between two looks of a helper at its CPU share. A choice,
	 * not measured. */
	LOOK_NS = 10 * NSEC_PER_MSEC,
	/* CPU share, in percent, above which a thread counts as having a
	 * processor to itself. A choice, not measured. */
	OWN_CORE_PERCENT = 90,
	/* Rounds without work before a helper sleeps: some 10 microseconds. A
	 * choice, not measured. */
	IDLE_ROUNDS = 50,
};

/* Bounds of the pause after a helper had to share its processor, in ns. Both
 * are choices. A helper finds that out after LOOK_NS, which is 0.2 % of the
 * longest pause. */
static const uint64_t pause_min = 50 * NSEC_PER_MSEC;
static const uint64_t pause_max = 5 * NSEC_PER_SEC;

/* ----------------------------------------------------------------- usage */

static void usage_begin(struct usage *u)
{
	u->since = now_boottime();
	u->cpu = now_read(CLOCK_THREAD_CPUTIME_ID);
}

/* Has the thread had its processor to itself since usage_begin()? */
static bool has_own_core(const struct usage *u, uint64_t now)
{
	uint64_t cpu = now_read(CLOCK_THREAD_CPUTIME_ID) - u->cpu;

	return cpu * 100 >= (now - u->since) * OWN_CORE_PERCENT;
}

/* ------------------------------------------------------------ the worker */

static void call_one(struct helpers *helpers)
{
	pthread_mutex_lock(&helpers->mutex);
	helpers->n_called++;
	atomic_fetch_add_explicit(&helpers->n_awake, 1, memory_order_relaxed);
	pthread_cond_signal(&helpers->wake);
	pthread_mutex_unlock(&helpers->mutex);
}

void helpers_tell(struct helpers *helpers, bool is_busy)
{
	struct usage *u = &helpers->usage;
	uint64_t now;

	if (!is_busy || helpers->are_always_awake || !helpers->n) {
		u->since = 0;
		return;
	}
	if (!u->since) {
		usage_begin(u);
		return;
	}
	now = now_boottime();
	if (now - u->since < BUSY_NS)
		return;
	/* Partners: helper_main(), leave(). Values that are out of date cost
	 * one wake-up too many. */
	if (atomic_load_explicit(&helpers->n_awake, memory_order_relaxed) <
		    helpers->n &&
	    now >= atomic_load_explicit(&helpers->not_before,
					memory_order_relaxed) &&
	    has_own_core(u, now))
		call_one(helpers);
	u->since = 0;
}

/* ------------------------------------------------------------- a helper */

static bool is_stopped(const struct helpers *helpers)
{
	/* Partner: helpers_stop(). */
	return atomic_load_explicit(&helpers->is_stopped, memory_order_acquire);
}

static bool is_paused(const struct helpers *helpers)
{
	/* Partners: helpers_pause(), helpers_resume(). */
	return atomic_load_explicit(&helpers->is_paused, memory_order_acquire);
}

/* Is there a reason to sleep? Under the mutex. */
static bool must_sleep(const struct helpers *helpers)
{
	return !is_stopped(helpers) &&
	       (is_paused(helpers) ||
		(!helpers->n_called && !helpers->are_always_awake));
}

/* Sleep until called. Return: false if it is time to end. */
static bool await_call(struct helper *helper)
{
	struct helpers *helpers = helper->helpers;

	pulse_rest(&helper->pulse);
	pthread_mutex_lock(&helpers->mutex);
	helpers->n_asleep++;
	if (is_paused(helpers))
		pthread_cond_signal(&helpers->slept);
	while (must_sleep(helpers))
		pthread_cond_wait(&helpers->wake, &helpers->mutex);
	helpers->n_asleep--;
	if (helpers->n_called)
		helpers->n_called--;
	pthread_mutex_unlock(&helpers->mutex);
	pulse_turn(&helper->pulse);
	return !is_stopped(helpers);
}

/* No processor is free: begin a pause in which no helper is woken. */
static void leave(struct helpers *helpers, uint64_t now)
{
	uint64_t pause =
		2 * atomic_load_explicit(&helpers->pause, memory_order_relaxed);

	if (pause < pause_min)
		pause = pause_min;
	if (pause > pause_max)
		pause = pause_max;
	atomic_store_explicit(&helpers->pause, pause, memory_order_relaxed);
	/* Partner: helpers_tell(). */
	atomic_store_explicit(&helpers->not_before, now + pause,
			      memory_order_relaxed);
}

/* Has this helper had its processor to itself? If not, it must sleep. */
static bool may_stay(struct helpers *helpers, struct usage *u)
{
	uint64_t now = now_boottime();

	if (helpers->are_always_awake || now - u->since < LOOK_NS)
		return true;
	if (!has_own_core(u, now)) {
		leave(helpers, now);
		return false;
	}
	atomic_store_explicit(&helpers->pause, 0, memory_order_relaxed);
	usage_begin(u);
	return true;
}

/* Work until there is nothing to do, or no processor is free. */
static void run_until_idle(struct helper *helper)
{
	struct helpers *helpers = helper->helpers;
	unsigned int idle = 0;
	struct usage usage;
	uint32_t all;

	helper->seen = 0;
	sockets_join(helpers->sockets, helper->user);
	usage_begin(&usage);
	while (!is_stopped(helpers) && !is_paused(helpers) &&
	       may_stay(helpers, &usage)) {
		context_set_group(&helper->context,
				  sockets_enter(helpers->sockets, helper->user,
						&helper->seen));
		all = sources_all(helpers->sources);
		pulse_turn(&helper->pulse);
		if (sources_run(helpers->sources, &all, &helper->context)) {
			idle = 0;
			continue;
		}
		if (++idle == IDLE_ROUNDS && !helpers->are_always_awake)
			break;
		sched_yield();
	}
	context_set_group(&helper->context, NULL);
	sockets_leave(helpers->sockets, helper->user);
}

static void *helper_main(void *arg)
{
	struct helper *helper = arg;
	struct helpers *helpers = helper->helpers;

	thread_begin("helper");
	while (await_call(helper)) {
		run_until_idle(helper);
		if (!helpers->are_always_awake)
			atomic_fetch_sub_explicit(&helpers->n_awake, 1,
						  memory_order_relaxed);
		/* A lane may still have work that the worker does not know of:
		 * have it look. */
		helpers->poke(helpers->arg);
	}
	thread_end();
	return NULL;
}

/* ----------------------------------------------------------------- pauses */

static void set_paused(struct helpers *helpers, bool yes)
{
	pthread_mutex_lock(&helpers->mutex);
	/* Partner: is_paused(). */
	atomic_store_explicit(&helpers->is_paused, yes, memory_order_release);
	if (!yes)
		pthread_cond_broadcast(&helpers->wake);
	pthread_mutex_unlock(&helpers->mutex);
}

void helpers_pause(struct helpers *helpers)
{
	set_paused(helpers, true);
}

int helpers_await_sleep(struct helpers *helpers, uint64_t end_ns)
{
	int err = 0;

	pthread_mutex_lock(&helpers->mutex);
	while (err == 0 && helpers->n_asleep < helpers->n_started)
		if (!thread_wait_until(&helpers->slept, &helpers->mutex,
				       end_ns))
			err = -ETIMEDOUT;
	pthread_mutex_unlock(&helpers->mutex);
	return err;
}

void helpers_resume(struct helpers *helpers)
{
	set_paused(helpers, false);
}

/* ------------------------------------------------------------------ life */

int helpers_init(struct helpers *helpers, unsigned int n)
{
	pthread_mutex_init(&helpers->mutex, NULL);
	pthread_cond_init(&helpers->wake, NULL);
	thread_init_condition(&helpers->slept);
	for (unsigned int i = 0; i < n; i++) {
		struct helper *helper = &helpers->all[i];

		*helper = (struct helper){
			.helpers = helpers,
			.user = SOCKETS_WORKER + 1 + i,
			.context.aead = aead_new(helpers->aead_choice),
		};
		if (!helper->context.aead)
			return -ENOMEM;
		helpers->n++;
	}
	return 0;
}

void helpers_deinit(struct helpers *helpers)
{
	for (unsigned int i = 0; i < helpers->n; i++)
		aead_free(helpers->all[i].context.aead);
	pthread_cond_destroy(&helpers->slept);
	pthread_cond_destroy(&helpers->wake);
	pthread_mutex_destroy(&helpers->mutex);
}

int helpers_start(struct helpers *helpers)
{
	while (helpers->n_started < helpers->n) {
		struct helper *helper = &helpers->all[helpers->n_started];
		int err = thread_start(&helper->thread, helper_main, helper);

		if (err < 0) {
			helpers_stop(helpers);
			return err;
		}
		helpers->n_started++;
	}
	return 0;
}

void helpers_stop(struct helpers *helpers)
{
	pthread_mutex_lock(&helpers->mutex);
	/* Partner: is_stopped(). */
	atomic_store_explicit(&helpers->is_stopped, true, memory_order_release);
	pthread_cond_broadcast(&helpers->wake);
	pthread_mutex_unlock(&helpers->mutex);
	while (helpers->n_started)
		pthread_join(helpers->all[--helpers->n_started].thread, NULL);
}
