/* SPDX-License-Identifier: MIT */
/*
 * Local indices: the 32-bit numbers by which messages to us name a handshake or
 * a keypair. They are drawn at random, so they tell nobody how many peers or
 * sessions there are; 0 is never drawn.
 *
 * An entry starts with a handshake and may later be turned over to a keypair,
 * to which it then holds a reference. The look-ups are for the data path; a
 * result is valid until rcu_leave() only. The references behind it: a keypair
 * that can be found has one; a peer's memory stays for a grace period after its
 * entries were dropped.
 *
 * Legend: [I] immutable, [m] under @lock, [r] read under RCU, written under
 * @lock. @lock is the innermost one: nothing is called while it is held.
 */
#ifndef DEVICE_INDEX_H
#define DEVICE_INDEX_H

#include <pthread.h>
#include <stdint.h>

#include "device/table.h"

struct noise_handshake;
struct noise_keypair;

enum {
	/* The most entries: a handshake and three keypairs for each peer. */
	INDEX_MAX_ENTRIES = 1 << 22,
	/* How often an index that is taken is drawn again. */
	INDEX_MAX_TRIES = 64,
};

/**
 * struct index - the table
 * @lock:	writers exclude one another
 * @table:	[r] of struct index_entry, by number
 * @random:	[I] fills a buffer with random bytes
 * @arg:	[I] for @random
 */
struct index {
	pthread_mutex_t lock;
	struct table table;
	void (*random)(void *arg, void *buf, size_t len);
	void *arg;
};

/**
 * index_init() - an empty table
 * @index:	caller's storage
 * @random:	fills a buffer with bytes nobody can guess
 * @arg:	for @random
 */
void index_init(struct index *index,
		void (*random)(void *arg, void *buf, size_t len), void *arg);

/**
 * index_deinit() - free the table
 * @index:	table without entries, which nobody reads
 */
void index_deinit(struct index *index);

/**
 * index_new() - publish a handshake under a fresh number
 * @index:	table
 * @hs:		handshake
 * @idx:	set to the number
 *
 * Any thread.
 *
 * Return: 0; -ENOMEM; -ENOSPC at INDEX_MAX_ENTRIES, or if the random source
 * repeats itself.
 */
int index_new(struct index *index, struct noise_handshake *hs, uint32_t *idx);

/**
 * index_replace() - let a number name a keypair from now on
 * @index:	table
 * @idx:	number
 * @hs:		whose it must be
 * @kp:		the table takes a reference of its own, which it drops a grace
 *		period after index_drop()
 *
 * Any thread.
 *
 * Return: 0; -ENOENT if the entry is gone, or another's.
 */
int index_replace(struct index *index, uint32_t idx, struct noise_handshake *hs,
		  struct noise_keypair *kp);

/**
 * index_drop() - forget a number
 * @index:	table
 * @idx:	number; harmless if it is not there
 *
 * Any thread.
 */
void index_drop(struct index *index, uint32_t idx);

/**
 * index_lookup_keypair() - which keypair does a data message name?
 * @index:	table
 * @idx:	receiver index of the message
 *
 * Between rcu_enter() and rcu_leave(); any thread.
 *
 * Return: the keypair; NULL if there is none.
 */
struct noise_keypair *index_lookup_keypair(const struct index *index,
					   uint32_t idx);

/**
 * index_lookup_awaiting() - which handshake awaits a response?
 * @index:	table
 * @idx:	receiver index of a response
 *
 * An index that has been turned over to a keypair awaits no response. Between
 * rcu_enter() and rcu_leave(); any thread.
 *
 * Return: the handshake; NULL if there is none.
 */
struct noise_handshake *index_lookup_awaiting(const struct index *index,
					      uint32_t idx);

/**
 * index_lookup_handshake() - which handshake does a cookie reply belong to?
 * @index:	table
 * @idx:	receiver index of a cookie reply
 *
 * Also for an index that a keypair has by now: a cookie reply may answer a
 * response, whose index is a keypair's from then on. Between rcu_enter() and
 * rcu_leave(); any thread.
 *
 * Return: the handshake; NULL if there is none.
 */
struct noise_handshake *index_lookup_handshake(const struct index *index,
					       uint32_t idx);

#endif /* DEVICE_INDEX_H */
