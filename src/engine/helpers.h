/* SPDX-License-Identifier: MIT */
/*
 * The helpers: threads that run the lanes beside the worker while one processor
 * is not enough.
 *
 * One thread is enough for a quiet tunnel, and for a busy one that a single
 * processor can carry: waking a second thread for each batch costs more than it
 * brings. After each turn the worker calls helpers_tell() and says whether work
 * is left. If work was left after each turn for a whole millisecond, one more
 * helper is woken. A helper runs the lanes as the worker does (a lane keeps the
 * order, whichever threads run it) until it finds nothing to do. Then it
 * sleeps.
 *
 * A second thread helps only if there is a processor for it. Therefore a helper
 * is woken only if the worker had its processor to itself for that millisecond.
 * A helper that has to share its processor sleeps again, and for a pause no
 * helper is woken. The first pause is 50 ms. Each further one is twice as long,
 * up to 5 s, until a helper has had a processor to itself.
 *
 * While the engine is paused (engine_pause()) all helpers sleep. A helper that was at
 * work then is woken again as any other.
 */
#ifndef ENGINE_HELPERS_H
#define ENGINE_HELPERS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/bounds.h"
#include "engine/context.h"
#include "engine/pulse.h"
#include "engine/sockets.h"
#include "engine/source.h"

struct helpers;

/**
 * struct helper - one helper
 * @helpers:	[I] all helpers
 * @user:	[I] its number as a user of the sockets
 * @context:	[o] what it works with
 * @seen:	[o] for sockets_enter()
 * @pulse:	written by the thread
 * @thread:	[I]
 *
 * [o] is the thread's own.
 */
struct helper {
	struct helpers *helpers;
	unsigned int user;
	struct context context;
	uint64_t seen;
	struct pulse pulse;
	pthread_t thread;
};

/**
 * struct usage - to measure which share of its processor a thread has had
 * @since:	start of the measurement, in ns; 0: there is none
 * @cpu:	CPU time of the thread at that start, in ns
 */
struct usage {
	uint64_t since;
	uint64_t cpu;
};

/**
 * struct helpers - all helpers
 * @sources:	[I] borrowed: the sources that the worker runs
 * @sockets:	[I] locked inside
 * @poke:	[I] wakes the worker, and has it run all lanes
 * @arg:	[I] for @poke
 * @aead_choice: [I] the backend that encrypts and decrypts
 * @are_always_awake: [I] helpers never sleep; for tests
 * @all:	the helpers: the first @n places
 * @n:		[I] number of helpers
 * @n_started:	[s] number of helpers whose threads exist
 * @mutex:	of the members with [m]; a leaf
 * @wake:	signalled when one helper is to wake, or all are to end
 * @slept:	signalled when a helper sleeps during a pause
 * @n_called:	[m] wake-ups that no helper has taken yet
 * @n_asleep:	[m] helpers that sleep
 * @n_awake:	[a] helpers that work, or are about to wake
 * @is_stopped:	[a] the helpers are to end
 * @is_paused:	[a] written under @mutex: the helpers are to sleep
 * @not_before:	[a] end of the pause in which no helper is woken, in ns
 * @pause:	[a] length of the last such pause, in ns; 0: a helper has had a
 *		processor to itself since
 * @usage:	[w] of the worker, since its turns have left work
 *
 * [I] immutable once the threads run, [a] atomic, [m] under @mutex, [w] the
 * worker's, [s] belongs to the thread that starts or stops the helpers.
 */
struct helpers {
	const struct sources *sources;
	struct sockets *sockets;
	void (*poke)(void *arg);
	void *arg;
	enum aead_choice aead_choice;
	bool are_always_awake;
	struct helper all[WORKERS_MAX - 1];
	unsigned int n;
	unsigned int n_started;
	pthread_mutex_t mutex;
	pthread_cond_t wake;
	pthread_cond_t slept;
	unsigned int n_called;
	unsigned int n_asleep;
	_Atomic unsigned int n_awake;
	_Atomic bool is_stopped;
	_Atomic bool is_paused;
	_Atomic uint64_t not_before;
	_Atomic uint64_t pause;
	struct usage usage;
};

/**
 * helpers_init() - make the helpers; their threads do not run yet
 * @helpers:	caller's storage, zero but for @sources, @sockets, @poke, @arg,
 *		@aead_choice and @are_always_awake
 * @n:		how many, 0 to WORKERS_MAX - 1
 *
 * Return: 0; -ENOMEM.
 */
int helpers_init(struct helpers *helpers, unsigned int n);

/* helpers_deinit() - free all; the threads are stopped, or never started */
void helpers_deinit(struct helpers *helpers);

/* helpers_start() - start the threads; they sleep. Return: 0; -errno. */
int helpers_start(struct helpers *helpers);

/* helpers_stop() - have all helpers finish their batch, and join the threads */
void helpers_stop(struct helpers *helpers);

/* helpers_pause() - have all helpers finish their batch, and sleep until
 * helpers_resume(). Does not wait for them. Control thread. */
void helpers_pause(struct helpers *helpers);

/**
 * helpers_await_sleep() - wait until all helpers sleep, after helpers_pause()
 * @helpers:	helpers
 * @end_ns:	of now_monotonic()
 *
 * Control thread.
 *
 * Return: 0; -ETIMEDOUT: one works at @end_ns.
 */
int helpers_await_sleep(struct helpers *helpers, uint64_t end_ns);

/* helpers_resume() - let the helpers wake again. Control thread. */
void helpers_resume(struct helpers *helpers);

/**
 * helpers_tell() - the worker tells whether its turn has left work
 * @helpers:	helpers
 * @is_busy:	work is left
 *
 * Wakes a helper if one is needed. The worker's thread, after each turn.
 */
void helpers_tell(struct helpers *helpers, bool is_busy);

#endif /* ENGINE_HELPERS_H */
