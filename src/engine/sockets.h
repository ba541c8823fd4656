/* SPDX-License-Identifier: MIT */
/*
 * The UDP sockets in use, and how they are replaced while threads use them.
 *
 * Each user (a worker, the handshaker) calls sockets_enter() at the top of
 * its loop, where it holds no pointer from before. To replace the sockets the
 * control thread publishes the new ones, pokes the users, waits until each has
 * entered since, and only then closes the old ones. The users never wait for
 * the control thread in between, so the wait ends.
 */
#ifndef ENGINE_SOCKETS_H
#define ENGINE_SOCKETS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "engine/bounds.h"
#include "udpgather.h"

/* A user: the handshaker, or SOCKETS_WORKER and the number of a worker. */
enum {
	SOCKETS_HANDSHAKER,
	SOCKETS_WORKER,
	SOCKETS_USERS = SOCKETS_WORKER + WORKERS_MAX,
};

/**
 * struct sockets - see above
 * @current:	[a] NULL while the device is down
 * @generation:	[a] counts the replacements
 * @seen:	[m] the generation that each user has entered with; UINT64_MAX
 *		for a user that does not run
 * @mutex:	of @seen and @changed
 * @changed:	signalled with each change of @seen
 */
struct sockets {
	struct ug_socket *_Atomic current;
	_Atomic uint64_t generation;
	uint64_t seen[SOCKETS_USERS];
	pthread_mutex_t mutex;
	pthread_cond_t changed;
};

void sockets_init(struct sockets *s);
void sockets_deinit(struct sockets *s);

/**
 * sockets_enter() - this user holds no socket from before
 * @s:		sockets
 * @user:	which
 * @seen:	the user's own copy of the generation; changed if it is new
 *
 * No generation is left out: each call that changes @seen returns what that
 * generation has. So a user that compares the sockets with those of its last
 * call never takes new ones for old ones, even if they are at the same address.
 *
 * Return: the sockets to use until the next call, or NULL.
 */
struct ug_socket *sockets_enter(struct sockets *s, unsigned int user,
				uint64_t *seen);

/* sockets_leave() - this user ends, or sleeps, and has no socket any more */
void sockets_leave(struct sockets *s, unsigned int user);

/* sockets_join() - this user is about to enter, for the first time or after
 * sockets_leave(). Its thread, or the one that starts it. */
void sockets_join(struct sockets *s, unsigned int user);

/* sockets_get() - the current ones. Control thread. */
static inline struct ug_socket *sockets_get(struct sockets *s)
{
	return atomic_load_explicit(&s->current, memory_order_acquire);
}

/**
 * sockets_replace() - publish others, and close the old ones
 * @s:		sockets
 * @next:	the new ones, or NULL for none
 * @poke:	wakes all users
 * @arg:	for @poke
 *
 * Control thread.
 */
void sockets_replace(struct sockets *s, struct ug_socket *next,
		     void (*poke)(void *arg), void *arg);

#endif /* ENGINE_SOCKETS_H */
