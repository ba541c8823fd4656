/* SPDX-License-Identifier: MIT */
/*
 * The thread that moves packets: one event loop over the TUN and both sockets.
 * On a quiet machine nothing runs and nobody is woken across threads; under
 * load one thread that does everything costs the least. When that is not
 * enough, others help: see helpers.h.
 */
#ifndef ENGINE_WORKER_H
#define ENGINE_WORKER_H

#include <pthread.h>

#include "engine/context.h"
#include "engine/helpers.h"
#include "engine/inbound.h"
#include "engine/outbound.h"
#include "engine/sockets.h"

/**
 * struct worker - see above
 * @sockets:	[I] locked inside
 * @out:	[I] lane
 * @in4:	[I] lane
 * @in6:	[I] lane
 * @context:	[w] what it works with
 * @helpers:	its helpers; see there
 * @epoll_fd:	[I]
 * @poke_fd:	[I] eventfd: requests, other sockets, stop
 * @gone_fd:	[I] eventfd of the control thread: the TUN is gone
 * @seen:	[w] generation of the sockets
 * @ready:	[w] lanes that may have work
 * @must_rewatch: [w] a descriptor could not be watched
 * @tun_unwatched: [w] the TUN is not watched
 * @failing:	[w] lanes whose descriptor is not watched for a while, because
 *		reading it fails and it stays readable
 * @failing_until: [w] until when they are not
 * @failing_err: [w] the errno that was logged last
 * @idle_since:	[w] when nothing was left to do; 0: memory was given back
 * @helper_has_left: [a] a helper has ended: any lane may have work
 * @is_stopped:	[a]
 * @thread:	[I]
 *
 * [w] is the thread's own.
 */
struct worker {
	struct sockets *sockets;
	struct outbound_lane *out;
	struct inbound_lane *in4;
	struct inbound_lane *in6;
	struct context context;
	struct helpers helpers;
	int epoll_fd;
	int poke_fd;
	int gone_fd;
	uint64_t seen;
	unsigned int ready;
	bool must_rewatch;
	bool tun_unwatched;
	unsigned int failing;
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
