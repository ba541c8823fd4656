/* SPDX-License-Identifier: MIT */
/* What all threads of the engine have in common. */
#ifndef ENGINE_THREAD_H
#define ENGINE_THREAD_H

#include <pthread.h>

#include "device/peer.h"

/**
 * thread_start() - start a thread that gets no signals
 * @thread:	set on success
 * @main:	runs thread_begin() first and thread_end() last
 * @arg:	for @main
 *
 * Return: 0; -errno.
 */
int thread_start(pthread_t *thread, void *(*main)(void *arg), void *arg);

/* thread_begin() - name the calling thread, register it with RCU */
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
