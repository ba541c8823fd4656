/* SPDX-License-Identifier: MIT */
/*
 * Whether the threads of an engine make progress: worker, helpers and handshaker.
 *
 * The control thread looks from time to time, and compares what it sees with its last
 * look. A thread stands still if it had something to do at both looks, and has not
 * begun a turn of its loop in between (engine/pulse.h). A thread has something to do if
 * it works, or if it sleeps although there is work for it. A thread that sleeps for want
 * of work makes progress, however long it sleeps, and is not woken to prove it.
 *
 * Only the kernel knows whether there is work for a worker that sleeps: packets wait at
 * a descriptor of the worker's epoll. An epoll can be watched by another. If the worker
 * has slept from one look to the next, its epoll is put into that of the control
 * thread, which the next packet then wakes, too. It is taken out again at that moment,
 * so it costs nothing while packets move, and no system call while none does.
 *
 * Control thread. It cannot see whether the control thread itself makes progress: but
 * then it does not look.
 */
#ifndef ENGINE_PROGRESS_H
#define ENGINE_PROGRESS_H

#include "engine/handshaker.h"
#include "engine/loop.h"
#include "engine/worker.h"

/**
 * struct progress_look - what was seen of a thread at the last look
 * @beat:	its beat
 * @has_work:	it had something to do
 */
struct progress_look {
	uint32_t beat;
	bool has_work;
};

/**
 * struct progress - what was seen at the last look
 * @worker:	borrowed
 * @handshaker:	borrowed
 * @loop:	borrowed
 * @input:	watches the worker's epoll
 * @is_watching: @input is in the loop
 * @has_input:	packets came for the worker while it slept ...
 * @input_beat:	... at this beat
 * @of_worker:	the last look at the worker
 * @of_helpers:	the last look at each helper
 * @of_calls:	the last look at the calls that no helper has taken
 * @of_handshaker: the last look at the handshaker
 */
struct progress {
	struct worker *worker;
	struct handshaker *handshaker;
	struct loop *loop;
	struct loop_watch input;
	bool is_watching;
	bool has_input;
	uint32_t input_beat;
	struct progress_look of_worker;
	struct progress_look of_helpers[WORKERS_MAX - 1];
	struct progress_look of_calls;
	struct progress_look of_handshaker;
};

/**
 * progress_init() - nothing was seen yet
 * @p:		caller's storage
 * @worker:	borrowed until progress_deinit(); its helpers are looked at, too
 * @handshaker:	borrowed until progress_deinit()
 * @loop:	borrowed until progress_deinit(); of the control thread
 */
void progress_init(struct progress *p, struct worker *worker,
		   struct handshaker *handshaker, struct loop *loop);

/* progress_deinit() - take everything out of the loop; before worker_deinit() */
void progress_deinit(struct progress *p);

/**
 * progress_look() - look at all threads
 * @p:		progress
 *
 * Return: the name of a thread that has stood still since the last look, a constant;
 * NULL: all make progress.
 */
const char *progress_look(struct progress *p);

#endif /* ENGINE_PROGRESS_H */
