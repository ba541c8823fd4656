/* SPDX-License-Identifier: MIT */
/*
 * The worker: the thread that moves packets. It runs one event loop over the
 * descriptors of all sources (source.h), which are the TUN and the sockets of
 * both families. A single thread for all directions never has to wake another
 * one for a packet, so it costs the least CPU time per packet. If it has more
 * to do than one processor can, helpers run the same lanes: see helpers.h.
 *
 * The control thread can stop worker and helpers for a while (engine_pause()). It gives
 * the worker an order, and waits until the worker has carried it out. A worker that
 * rests waits for a poke. A poke without a new order has it enter the sockets, and rest
 * again.
 */
#ifndef ENGINE_WORKER_H
#define ENGINE_WORKER_H

#include <pthread.h>

#include "engine/context.h"
#include "engine/helpers.h"
#include "engine/pulse.h"
#include "engine/sockets.h"
#include "engine/source.h"

/* What the control thread has the worker do. */
enum worker_order {
	WORKER_RUN,
	WORKER_REST,
	/* Take the input that was read before, send and write it, then rest. No other
	 * thread runs lanes meanwhile. */
	WORKER_FINISH,
	WORKER_ORDERS,
};

/**
 * struct worker - the worker and its helpers
 * @sockets:	[I] locked inside
 * @sources:	[I] whose lanes the worker and its helpers run
 * @context:	[w] what the worker works with
 * @helpers:	locked inside
 * @epoll_fd:	[I] watches @poke_fd and the descriptors of all sources
 * @poke_fd:	[I] eventfd, written to by worker_poke(): there are requests or
 *		new sockets, or the thread is to end
 * @gone_fd:	[I] eventfd of the control thread: what a source reads is gone
 * @seen:	[w] for sockets_enter()
 * @poked:	[I] sources with has_more(): after a poke they may have work
 * @ready:	[w] sources whose lanes may have work
 * @must_rewatch: [w] a descriptor could not be watched, or failed and is to be
 *		watched again
 * @gone:	[w] sources that are gone
 * @failing:	[w] sources whose descriptors are not watched for a while,
 *		because reading fails although they are readable
 * @failing_until: [w] when @failing are watched again, in ns
 * @failing_err: [w] the -errno that was logged last
 * @idle_since:	[w] when the last turn with work ended, in ns; 0: memory was
 *		given back since
 * @was_lone:	[w] in the last turn each lane had one packet at most
 * @may_spin:	[w] after such a turn the thread does not sleep at once, because the last
 *		wait that counted was short (AT_ONCE_NS and SPIN_NS in worker.c)
 * @helper_has_left: [a] a helper went to sleep: any source may have work
 * @is_stopped:	[a] the thread is to end
 * @order:	[a] an enum worker_order, and WORKER_ORDERS times the number of the order;
 *		only the control thread writes it
 * @done:	[w] the last order but WORKER_RUN that was carried out
 * @mutex:	of @reached; a leaf
 * @rested:	signalled when @reached changes
 * @reached:	[m] @done, for the control thread
 * @pulse:	[a] written by the thread
 * @thread:	[I]
 *
 * @poked, @ready, @gone and @failing have a bit for each source. [I] immutable
 * once the thread runs, [a] atomic, [w] the thread's own, [m] under @mutex.
 */
struct worker {
	struct sockets *sockets;
	struct sources sources;
	struct context context;
	struct helpers helpers;
	int epoll_fd;
	int poke_fd;
	int gone_fd;
	uint64_t seen;
	uint32_t poked;
	uint32_t ready;
	bool must_rewatch;
	uint32_t gone;
	uint32_t failing;
	uint64_t failing_until;
	int failing_err;
	uint64_t idle_since;
	bool was_lone;
	bool may_spin;
	_Atomic bool helper_has_left;
	_Atomic bool is_stopped;
	_Atomic uint32_t order;
	uint32_t done;
	pthread_mutex_t mutex;
	pthread_cond_t rested;
	uint32_t reached;
	struct pulse pulse;
	pthread_t thread;
};

/**
 * worker_init() - make a worker and its helpers; their threads do not run yet
 * @w:		caller's storage, zero but for @sockets, @sources,
 *		@helpers.aead_choice and @helpers.are_always_awake
 * @gone_fd:	borrowed until worker_deinit(): eventfd that is written to when
 *		what a source reads is gone
 * @n_helpers:	number of helpers, 0 to WORKERS_MAX - 1
 *
 * Return: 0; -ELIBACC: the library of the backend cannot be loaded; -errno.
 * Also after an error worker_deinit() must be called.
 */
int worker_init(struct worker *w, int gone_fd, unsigned int n_helpers);

/* worker_deinit() - free all; the threads are stopped, or never started */
void worker_deinit(struct worker *w);

/* worker_start() - start the threads. Return: 0; -errno. */
int worker_start(struct worker *w);

/* worker_stop() - have the threads commit their batches, and join them */
void worker_stop(struct worker *w);

/* worker_pause() - have worker and helpers finish their batches, and rest until
 * worker_resume(). Does not wait for them. Before worker_start() or after it. Control
 * thread. */
void worker_pause(struct worker *w);

/**
 * worker_await_rest() - wait until worker and helpers rest, after worker_pause()
 * @w:		worker
 * @end_ns:	of now_monotonic()
 *
 * Afterwards all that their threads have written is visible. Control thread.
 *
 * Return: 0; -ETIMEDOUT: a thread works at @end_ns.
 */
int worker_await_rest(struct worker *w, uint64_t end_ns);

/**
 * worker_finish() - have a worker that rests send and write all that was read before
 * @w:		worker; worker_await_rest() has returned 0
 * @end_ns:	of now_monotonic()
 *
 * Nothing more is read. These are the rest of a super-packet, datagrams that one call
 * has received beyond a batch, and requests. Without sockets all that stays where it
 * is. Control thread.
 *
 * Return: 0: the worker rests again; -ETIMEDOUT.
 */
int worker_finish(struct worker *w, uint64_t end_ns);

/* worker_resume() - have worker and helpers go on. They run all lanes once. Control
 * thread. */
void worker_resume(struct worker *w);

/* worker_poke() - have the worker go once round its loop: it calls
 * sockets_enter() and runs the lanes of @poked. Any thread. */
void worker_poke(struct worker *w);

#endif /* ENGINE_WORKER_H */
