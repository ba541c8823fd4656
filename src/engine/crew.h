/* SPDX-License-Identifier: MIT */
/*
 * The crew: threads that help the worker while it has more to do than one
 * processor can.
 *
 * A quiet tunnel needs one thread, and so does a busy one that a processor can
 * carry: waking another for each batch costs more than it brings. So the worker
 * tells the crew after each round whether there was work left. Once there has
 * been all the time for a millisecond, one more member is woken. A member runs
 * the lanes as the worker does, which keeps the order, until it finds nothing
 * to do; then it sleeps.
 *
 * A second thread helps only if there is a processor for it. So the worker asks
 * for a member only if it had its own processor for that millisecond, and a
 * member that has to share its processor leaves, and nobody is woken for a
 * while: twice as long each time, until one can stay.
 */
#ifndef ENGINE_CREW_H
#define ENGINE_CREW_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/bounds.h"
#include "engine/context.h"
#include "engine/inbound.h"
#include "engine/outbound.h"
#include "engine/sockets.h"

struct crew;

/**
 * struct member - a thread of the crew
 * @crew:	[I]
 * @user:	[I] of the sockets
 * @context:	[o] what it works with
 * @seen:	[o] generation of the sockets
 * @thread:	[I]
 *
 * [o] is the thread's own.
 */
struct member {
	struct crew *crew;
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
 * struct crew - see above
 * @out, @in4, @in6: [I] the lanes
 * @sockets:	[I] locked inside
 * @poke:	[I] has the worker look at everything again
 * @arg:	[I] for @poke
 * @is_eager:	[I] for tests: all are awake all the time
 * @members:	the first @n_members
 * @n_members:	[I] how many there are
 * @n_started:	[c] how many run
 * @mutex:	of @n_awake and @wake
 * @wake:	signalled when one is to wake, or all are to end
 * @n_called:	[m] wake-ups that nobody has answered yet
 * @n_awake:	[a] members at work, and those called
 * @is_stopped:	[a]
 * @not_before:	[a] nobody is woken until then
 * @pause:	[a] how long that was, the last time
 * @usage:	[w] of the worker, since it has been busy
 *
 * [w] is the worker's, [c] the control thread's.
 */
struct crew {
	struct outbound_lane *out;
	struct inbound_lane *in4;
	struct inbound_lane *in6;
	struct sockets *sockets;
	void (*poke)(void *arg);
	void *arg;
	bool is_eager;
	struct member members[WORKERS_MAX - 1];
	unsigned int n_members;
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
 * crew_init() - caller's storage, with the lanes, sockets and poke set
 * @crew:	crew
 * @n:		members, at most WORKERS_MAX - 1; may be 0
 *
 * Return: 0; -ENOMEM.
 */
int crew_init(struct crew *crew, unsigned int n);

/* crew_deinit() - stopped, or never started */
void crew_deinit(struct crew *crew);

/* crew_start() - start the threads; they sleep. Return: 0; -errno. */
int crew_start(struct crew *crew);

/* crew_stop() - have all finish their batch, end, and wait for them */
void crew_stop(struct crew *crew);

/**
 * crew_tell() - how the worker gets on
 * @crew:	crew
 * @is_busy:	after its turn there was still work
 *
 * The worker, after each turn.
 */
void crew_tell(struct crew *crew, bool is_busy);

#endif /* ENGINE_CREW_H */
