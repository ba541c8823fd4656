/* SPDX-License-Identifier: MIT */
/*
 * The helpers: threads that help the worker while it has more to do than one
 * processor can.
 *
 * A quiet tunnel needs one thread, and so does a busy one that a processor can
 * carry: waking another for each batch costs more than it brings. After each
 * round the worker calls helpers_tell() and says whether work is left. If work
 * was left for a whole millisecond, one more helper is woken. A helper runs the
 * lanes as the worker does, which keeps the order, until it finds nothing to
 * do; then it sleeps.
 *
 * A second thread helps only if there is a processor for it. A helper is woken
 * only if the worker had its processor to itself for that millisecond. A helper
 * that has to share its processor sleeps again, and for a while no helper is
 * woken: twice as long each time, until a helper has a processor to itself.
 */
#ifndef ENGINE_HELPERS_H
#define ENGINE_HELPERS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/bounds.h"
#include "engine/context.h"
#include "engine/sockets.h"
#include "engine/source.h"

struct helpers;

/**
 * struct helper - a thread that helps
 * @helpers:	[I] all of them
 * @user:	[I] of the sockets
 * @context:	[o] what it works with
 * @seen:	[o] generation of the sockets
 * @thread:	[I]
 *
 * [o] is the thread's own.
 */
struct helper {
	struct helpers *helpers;
	unsigned int user;
	struct context context;
	uint64_t seen;
	pthread_t thread;
};

/**
 * struct usage - how much of its processor a thread has had
 * @since:	start of the time looked at, 0: not begun
 * @cpu:	processor time of the thread then
 */
struct usage {
	uint64_t since;
	uint64_t cpu;
};

/**
 * struct helpers - see above
 * @sources:	[I] borrowed: those of the worker
 * @sockets:	[I] locked inside
 * @poke:	[I] has the worker look at everything again
 * @arg:	[I] for @poke
 * @aead_choice: [I] who encrypts
 * @are_always_awake: [I] for tests: all are awake all the time
 * @all:	the first @n
 * @n:		[I] how many there are
 * @n_started:	[c] how many run
 * @mutex:	of @n_awake and @wake
 * @wake:	signalled when one is to wake, or all are to end
 * @n_called:	[m] wake-ups that no helper has answered yet
 * @n_awake:	[a] helpers that are at work or called
 * @is_stopped:	[a]
 * @not_before:	[a] no helper is woken until then
 * @pause:	[a] how long that was, the last time
 * @usage:	[w] of the worker, since it has been busy
 *
 * [w] is the worker's, [c] the control thread's.
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
	unsigned int n_called;
	_Atomic unsigned int n_awake;
	_Atomic bool is_stopped;
	_Atomic uint64_t not_before;
	_Atomic uint64_t pause;
	struct usage usage;
};

/**
 * helpers_init() - caller's storage, with sources, sockets and poke set
 * @helpers:	helpers
 * @n:		how many, at most WORKERS_MAX - 1; may be 0
 *
 * Return: 0; -ENOMEM.
 */
int helpers_init(struct helpers *helpers, unsigned int n);

/* helpers_deinit() - stopped, or never started */
void helpers_deinit(struct helpers *helpers);

/* helpers_start() - start the threads; they sleep. Return: 0; -errno. */
int helpers_start(struct helpers *helpers);

/* helpers_stop() - have all finish their batch, end, and wait for them */
void helpers_stop(struct helpers *helpers);

/**
 * helpers_tell() - how the worker gets on
 * @helpers:	helpers
 * @is_busy:	after its turn there was still work
 *
 * The worker, after each turn.
 */
void helpers_tell(struct helpers *helpers, bool is_busy);

#endif /* ENGINE_HELPERS_H */
