/* SPDX-License-Identifier: MIT */
/* Making threads that get no signals: the main thread gets all signals. */
#ifndef BASE_SPAWN_H
#define BASE_SPAWN_H

#include <pthread.h>
#include <signal.h>

/**
 * spawn_thread() - make a thread that gets no signals
 * @thread:	set on success
 * @main:	function that the thread runs
 * @arg:	for @main
 *
 * Any thread.
 *
 * Return: 0; -errno.
 */
static inline int spawn_thread(pthread_t *thread, void *(*main)(void *arg),
			       void *arg)
{
	sigset_t all, old;
	int err;

	/* A new thread inherits the signal mask of its maker. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(thread, NULL, main, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -err;
}

#endif /* BASE_SPAWN_H */
