/* SPDX-License-Identifier: MIT */
/*
 * The UDP sockets in use, and how they are replaced while threads use them.
 *
 * The users are the worker, each helper and the handshaker. A user calls
 * sockets_enter() at the top of its loop, where it holds no pointer to sockets
 * any more. To replace the sockets the control thread publishes the new ones,
 * pokes the users, waits until each user has called sockets_enter() once more,
 * and only then closes the old ones. A user never waits for the control thread,
 * so the control thread does not wait for ever.
 */
#ifndef ENGINE_SOCKETS_H
#define ENGINE_SOCKETS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "engine/sock_group.h"

/* The numbers of the users; helper i, from 0, is SOCKETS_WORKER + 1 + i. */
enum {
	SOCKETS_HANDSHAKER,
	SOCKETS_WORKER,
	SOCKETS_USERS = SOCKETS_WORKER + WORKERS_MAX,
};

/**
 * struct sockets - the sockets in use, and what each user has seen of them
 * @current:	[a] the sockets to use; NULL while the link is down
 * @generation:	[a] how often @current was replaced
 * @seen:	[m] the generation that each user saw in its last
 *		sockets_enter(); UINT64_MAX for a user that does not run
 * @mutex:	of @seen; a leaf
 * @changed:	signalled with each change of @seen
 * @rights:	[c] how sockets are closed, or NULL; see rights_close()
 * @drops:	[c] messages that the kernel dropped for sockets that are closed, less
 *		those that others have counted (sockets_skip_drops()): of IPv4, of IPv6
 *
 * [a] atomic, [m] under @mutex, [c] control thread only.
 */
struct sockets {
	struct sock_group *_Atomic current;
	_Atomic uint64_t generation;
	uint64_t seen[SOCKETS_USERS];
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	const struct rights *rights;
	uint64_t drops[2];
};

/* sockets_init() - no sockets and no users yet; caller's storage */
void sockets_init(struct sockets *s);

/* sockets_deinit() - close the sockets, if there are any; no user runs */
void sockets_deinit(struct sockets *s);

/**
 * sockets_enter() - get the current sockets, and let go of those from before
 * @s:		sockets
 * @user:	number of the calling user
 * @seen:	the user's own copy of the generation, 0 at first; changed if
 *		the sockets were replaced
 *
 * New sockets may have the address of sockets that were freed. A user that
 * wants to know if they are new compares @seen, not the pointer. The user's
 * thread.
 *
 * Return: the sockets to use until the next call, or NULL.
 */
struct sock_group *sockets_enter(struct sockets *s, unsigned int user,
				 uint64_t *seen);

/* sockets_leave() - this user ends, or sleeps, and uses no sockets until it
 * calls sockets_join(). Its thread. */
void sockets_leave(struct sockets *s, unsigned int user);

/* sockets_join() - this user will call sockets_enter() from now on. To be
 * called at first, and after sockets_leave(). Its thread, or the one that
 * starts it. */
void sockets_join(struct sockets *s, unsigned int user);

/* sockets_get_all() - the current sockets, or NULL. Control thread. */
static inline struct sock_group *sockets_get_all(struct sockets *s)
{
	return atomic_load_explicit(&s->current, memory_order_acquire);
}

/* sockets_get() - the current main socket, or NULL. Control thread. */
static inline struct ug_socket *sockets_get(struct sockets *s)
{
	return sock_group_main(sockets_get_all(s));
}

/**
 * sockets_replace() - publish new sockets, and close the old ones
 * @s:		sockets
 * @next:	the new sockets, owned by @s from now on; NULL: only close
 * @poke:	wakes all users, so that they call sockets_enter()
 * @arg:	for @poke
 *
 * Waits until no user has the old sockets. Control thread.
 */
void sockets_replace(struct sockets *s, struct sock_group *next,
		     void (*poke)(void *arg), void *arg);

/**
 * sockets_count_drops() - messages that the kernel dropped instead of delivering them
 * @s:		sockets
 * @drops:	set to those of IPv4 and of IPv6, of all sockets since
 *		sockets_init(); before Linux 4.12 they stay 0
 *
 * Control thread.
 */
void sockets_count_drops(struct sockets *s, uint64_t drops[2]);

/* sockets_skip_drops() - do not count what the kernel has dropped so far for these
 * sockets, which are about to be published: another process has counted it. Control
 * thread. */
void sockets_skip_drops(struct sockets *s, const struct sock_group *group);

#endif /* ENGINE_SOCKETS_H */
