/* SPDX-License-Identifier: MIT */
/* What all threads of the engine have in common. */
#ifndef ENGINE_THREAD_H
#define ENGINE_THREAD_H

#include <pthread.h>

#include "device/peer.h"

/**
 * thread_set_first() - have all threads made from now on do something first
 * @function:	called in each of them by thread_begin(), with the thread's
 *		name; NULL: nothing
 *
 * One thread, as thread_start().
 */
void thread_set_first(void (*function)(const char *name));

/**
 * thread_start() - start a thread that gets no signals
 * @thread:	set on success
 * @main:	runs thread_begin() first and thread_end() last
 * @arg:	for @main
 *
 * From its return on, thread_begin() is done: the thread makes no more of the
 * system calls that threads are started by.
 *
 * Return: 0; -errno.
 */
int thread_start(pthread_t *thread, void *(*main)(void *arg), void *arg);

/**
 * thread_begin() - name the calling thread, register it with RCU, tell its maker
 * @name:	up to 15 bytes
 *
 * Once, in a thread that thread_start() has made.
 */
void thread_begin(const char *name);

/* thread_end() - the calling thread is about to end */
void thread_end(void);

/**
 * thread_poke() - wake the thread that reads an eventfd
 * @fd:		nonblocking eventfd
 *
 * Any thread.
 */
void thread_poke(int fd);

/**
 * thread_peer_name() - a peer for the log: the start of its public key
 * @peer:	peer
 *
 * Return: text that stays valid until the thread's next call.
 */
const char *thread_peer_name(const struct peer *peer);

#endif /* ENGINE_THREAD_H */
