/* SPDX-License-Identifier: MIT */
/*
 * No lock is waited for here: a thread that was stopped may hold it. A lock that cannot
 * be had counts as work, so its holder is found at the next look.
 */
#include "engine/progress.h"

#include <sys/epoll.h>

/* Compare two looks at a thread, and keep the new one. Return: true if the thread
 * stands still. */
static bool compare(struct progress_look *last, uint32_t beat, bool has_work)
{
	bool stands = last->has_work && has_work && beat == last->beat;

	*last = (struct progress_look){ .beat = beat, .has_work = has_work };
	return stands;
}

static void stop_watching(struct progress *p)
{
	if (p->is_watching)
		loop_remove(p->loop, &p->input);
	p->is_watching = false;
}

/* Packets have come for the worker. It wakes, too. */
static void input_ready(struct loop_watch *watch, uint32_t events)
{
	struct progress *p = watch->arg;

	(void)events;
	p->has_input = true;
	p->input_beat = pulse_get(&p->worker->pulse);
	stop_watching(p);
}

static void watch_input(struct progress *p)
{
	p->input = (struct loop_watch){ .fd = p->worker->epoll_fd,
					.ready = input_ready,
					.arg = p };
	/* If the kernel is short of memory, the next look tries again. */
	p->is_watching = loop_add(p->loop, &p->input, EPOLLIN) == 0;
}

static bool worker_stands(struct progress *p)
{
	uint32_t beat = pulse_get(&p->worker->pulse);
	bool has_slept = beat == p->of_worker.beat && !pulse_is_at_work(beat);
	bool has_input = p->has_input && p->input_beat == beat;

	if (has_slept && !has_input && !p->is_watching)
		watch_input(p);
	return compare(&p->of_worker, beat,
		       pulse_is_at_work(beat) || has_input);
}

/*
 * Look at each helper that works, and at the calls that no helper has taken. A call is
 * for any of them: so it counts as work of all that sleep.
 */
static bool helpers_stand(struct progress *p)
{
	struct helpers *helpers = &p->worker->helpers;
	uint32_t sum = 0;
	bool stand = false, is_called = true;

	for (unsigned int i = 0; i < helpers->n; i++) {
		uint32_t beat = pulse_get(&helpers->all[i].pulse);

		stand |= compare(&p->of_helpers[i], beat,
				 pulse_is_at_work(beat));
		sum += beat;
	}
	if (pthread_mutex_trylock(&helpers->mutex) == 0) {
		is_called = helpers->n_called > 0;
		pthread_mutex_unlock(&helpers->mutex);
	}
	return compare(&p->of_calls, sum, is_called) || stand;
}

static bool handshaker_stands(struct progress *p)
{
	struct handshaker *h = p->handshaker;
	uint32_t beat = pulse_get(&h->pulse);
	bool has_work = true;

	if (pthread_mutex_trylock(&h->mutex) == 0) {
		has_work = h->waiting.n || h->asked.n || h->is_poked;
		pthread_mutex_unlock(&h->mutex);
	}
	return compare(&p->of_handshaker, beat,
		       pulse_is_at_work(beat) || has_work);
}

void progress_init(struct progress *p, struct worker *worker,
		   struct handshaker *handshaker, struct loop *loop)
{
	*p = (struct progress){ .worker = worker,
				.handshaker = handshaker,
				.loop = loop };
}

void progress_deinit(struct progress *p)
{
	stop_watching(p);
}

const char *progress_look(struct progress *p)
{
	/* Each of them is looked at, also if another one stands still. */
	bool worker = worker_stands(p), helper = helpers_stand(p),
	     handshaker = handshaker_stands(p);

	if (worker)
		return "worker";
	if (helper)
		return "helper";
	return handshaker ? "handshaker" : NULL;
}
