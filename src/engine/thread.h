/* SPDX-License-Identifier: MIT */
/*
 * What all threads of the engine have in common: how they start and end, how
 * they are woken, and how a log line names a peer.
 */
#ifndef ENGINE_THREAD_H
#define ENGINE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "device/peer.h"

/**
 * thread_set_first() - have each thread that is started later call a function
 * @function:	thread_begin() calls it with the thread's name; NULL: no call
 *
 * Only the thread that calls thread_start() may call this.
 */
void thread_set_first(void (*function)(const char *name));

/**
 * thread_start() - start a thread that gets no signals
 * @thread:	set on success
 * @main:	runs thread_begin() first and thread_end() last
 * @arg:	for @main
 *
 * Returns when the new thread has done thread_begin(). After that the thread
 * makes no system call that only the start of a thread needs.
 *
 * Return: 0; -errno.
 */
int thread_start(pthread_t *thread, void *(*main)(void *arg), void *arg);

/**
 * thread_begin() - name the calling thread, and register it with RCU
 * @name:	up to 15 bytes
 *
 * Lets thread_start() return. To be called once, in a thread that
 * thread_start() has made.
 */
void thread_begin(const char *name);

/* thread_end() - the calling thread ends: unregister it with RCU */
void thread_end(void);

/**
 * thread_poke() - wake the thread that reads an eventfd
 * @fd:		nonblocking eventfd
 *
 * Any thread. Does not wait.
 */
void thread_poke(int fd);

/* thread_init_condition() - make a condition variable for thread_wait_until() */
void thread_init_condition(pthread_cond_t *condition);

/**
 * thread_wait_until() - pthread_cond_wait() with an end
 * @condition:	made by thread_init_condition()
 * @mutex:	held by the caller
 * @end_ns:	of now_monotonic()
 *
 * Any thread.
 *
 * Return: true: @condition may have been signalled; false: it is @end_ns or later.
 */
bool thread_wait_until(pthread_cond_t *condition, pthread_mutex_t *mutex,
		       uint64_t end_ns);

/**
 * thread_peer_name() - name a peer for the log by the start of its public key
 * @peer:	peer
 *
 * Any thread.
 *
 * Return: text that stays valid until this thread calls this again.
 */
const char *thread_peer_name(const struct peer *peer);

#endif /* ENGINE_THREAD_H */
