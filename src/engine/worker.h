/* SPDX-License-Identifier: MIT */
/*
 * The thread that moves packets: one event loop over the descriptors of all
 * sources (source.h), which are the TUN and the sockets of both families.
 * On a quiet machine nothing runs and nobody is woken across threads; under
 * load one thread that does everything costs the least. When that is not
 * enough, others help: see helpers.h.
 */
#ifndef ENGINE_WORKER_H
#define ENGINE_WORKER_H

#include <pthread.h>

#include "engine/context.h"
#include "engine/helpers.h"
#include "engine/sockets.h"
#include "engine/source.h"

/**
 * struct worker - see above
 * @sockets:	[I] locked inside
 * @sources:	[I] whose lanes it runs
 * @context:	[w] what it works with
 * @helpers:	its helpers; see there
 * @epoll_fd:	[I]
 * @poke_fd:	[I] eventfd: requests, other sockets, stop
 * @gone_fd:	[I] eventfd of the control thread: what a source reads is gone
 * @seen:	[w] generation of the sockets
 * @poked:	[I] sources that a poke concerns: those with has_more()
 * @ready:	[w] sources whose lanes may have work
 * @must_rewatch: [w] a descriptor could not be watched
 * @gone:	[w] sources that are gone
 * @failing:	[w] sources whose descriptors are not watched for a while, because
 *		reading fails and they stay readable
 * @failing_until: [w] until when they are not
 * @failing_err: [w] the errno that was logged last
 * @idle_since:	[w] when nothing was left to do; 0: memory was given back
 * @helper_has_left: [a] a helper has ended: any source may have work
 * @is_stopped:	[a]
 * @thread:	[I]
 *
 * @poked, @ready, @gone and @failing have a bit for each source. [w] is the
 * thread's own.
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
	_Atomic bool helper_has_left;
	_Atomic bool is_stopped;
	pthread_t thread;
};

/**
 * worker_init() - caller's storage, with what is borrowed and chosen set
 * @w:		worker
 * @gone_fd:	borrowed
 * @n_helpers:	threads that help when it is busy
 *
 * Return: 0; -ELIBACC: the backend is not there; -errno.
 */
int worker_init(struct worker *w, int gone_fd, unsigned int n_helpers);

/* worker_deinit() - stopped, or never started */
void worker_deinit(struct worker *w);

/* worker_start() - start the threads. Return: 0; -errno. */
int worker_start(struct worker *w);

/* worker_stop() - finish what is in flight, end the threads, wait for them */
void worker_stop(struct worker *w);

/* worker_poke() - have it go once round its loop. Any thread. */
void worker_poke(struct worker *w);

#endif /* ENGINE_WORKER_H */
