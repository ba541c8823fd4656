/* SPDX-License-Identifier: MIT */
/*
 * Indexes: the 32-bit numbers by which a message to us names a handshake or a
 * keypair. They are drawn at random, so they tell an observer nothing about the
 * number of peers or sessions. 0 is never drawn.
 *
 * If there are several inbound lanes, a number also says which lane its peer belongs
 * to, in its lowest byte (index_lane()): a program in the kernel reads it there. Then an
 * observer can see that two sessions may, or cannot, be of one peer.
 *
 * An entry begins with a handshake. When the session begins, index_replace()
 * gives it the keypair, to which it then holds a reference. The look-ups are
 * for the data path, and their result is valid until rcu_leave(). That is safe,
 * because the keypair that is found has the entry's reference until a grace
 * period after the entry was dropped, and because the memory of a peer stays
 * for a grace period after its entries were dropped.
 *
 * Legend: [I] immutable, [m] under @lock, [r] read under RCU, written under
 * @lock. @lock is the innermost lock: a thread that holds it takes no other
 * lock.
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
	/* The most draws for one index: a number may be in use already. With
	 * INDEX_MAX_ENTRIES that happens to one draw in 1,024, so 64 failures
	 * in a row mean that the numbers are not random. */
	INDEX_MAX_TRIES = 64,
	/* The most lanes: they are told apart by a byte of the number. */
	INDEX_LANES_MAX = 256,
};

/**
 * struct index - the table
 * @lock:	held by writers
 * @table:	[r] entries (struct index_entry) by their number
 * @n_lanes:	[I] 1 to INDEX_LANES_MAX
 * @random:	[I] fills a buffer with random bytes
 * @arg:	[I] for @random
 */
struct index {
	pthread_mutex_t lock;
	struct table table;
	unsigned int n_lanes;
	void (*random)(void *arg, void *buf, size_t len);
	void *arg;
};

/**
 * index_init() - make an empty table, with one lane
 * @index:	caller's storage
 * @random:	fills a buffer with unpredictable bytes
 * @arg:	for @random
 */
void index_init(struct index *index,
		void (*random)(void *arg, void *buf, size_t len), void *arg);

/**
 * index_deinit() - free the table
 * @index:	table without entries, which no thread reads
 */
void index_deinit(struct index *index);

/**
 * index_new() - publish a handshake under a fresh number
 * @index:	table
 * @hs:		handshake
 * @lane:	the lane that the number shall belong to, less than @n_lanes
 * @idx:	set to the number
 *
 * Any thread.
 *
 * Return: 0; -ENOMEM; -ENOSPC at INDEX_MAX_ENTRIES, or if INDEX_MAX_TRIES
 * numbers in a row are in use.
 */
int index_new(struct index *index, struct noise_handshake *hs,
	      unsigned int lane, uint32_t *idx);

/**
 * index_reserve() - make room, so that index_insert() need not
 * @index:	table
 * @n:		how many entries are to be inserted
 *
 * Any thread.
 *
 * Return: 0; -ENOMEM.
 */
int index_reserve(struct index *index, size_t n);

/**
 * index_insert() - publish a handshake under a number that another process has drawn
 * @index:	table
 * @hs:		handshake
 * @kp:		its keypair, as for index_replace(); NULL: none yet
 * @lane:	the lane that the number must belong to
 * @idx:	the number
 *
 * For a process that goes on for the other one. Any thread.
 *
 * Return: 0; -EINVAL: @idx is 0, or of another lane; -EEXIST: @idx is in use;
 * -ENOMEM; -ENOSPC at INDEX_MAX_ENTRIES.
 */
int index_insert(struct index *index, struct noise_handshake *hs,
		 struct noise_keypair *kp, unsigned int lane, uint32_t idx);

/* index_lane() - the lane that a number of index_new() belongs to, if there are @n */
static inline unsigned int index_lane(uint32_t idx, unsigned int n)
{
	return (idx & 255) % n;
}

/**
 * index_replace() - let a number name a keypair from now on
 * @index:	table
 * @idx:	number
 * @hs:		handshake that the entry must have
 * @kp:		keypair; the entry takes a reference, and gives it back a grace
 *		period after index_drop()
 *
 * Any thread.
 *
 * Return: 0; -ENOENT if there is no such entry, if it has another handshake, or
 * if it has a keypair already.
 */
int index_replace(struct index *index, uint32_t idx, struct noise_handshake *hs,
		  struct noise_keypair *kp);

/**
 * index_drop() - remove an entry
 * @index:	table
 * @idx:	its number; nothing happens if there is no such entry
 *
 * Any thread.
 */
void index_drop(struct index *index, uint32_t idx);

/**
 * index_lookup_keypair() - find the keypair that a data message names
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
 * index_lookup_awaiting() - find the handshake that awaits a response
 * @index:	table
 * @idx:	receiver index of a response
 *
 * An index that names a keypair awaits no response. Between
 * rcu_enter() and rcu_leave(); any thread.
 *
 * Return: the handshake; NULL if there is none.
 */
struct noise_handshake *index_lookup_awaiting(const struct index *index,
					      uint32_t idx);

/**
 * index_lookup_handshake() - find the handshake that a cookie reply belongs to
 * @index:	table
 * @idx:	receiver index of a cookie reply
 *
 * It also finds an index that names a keypair. A cookie reply may answer our
 * response, and the index of a response names a keypair as soon as we have sent
 * it. Between rcu_enter() and rcu_leave(); any thread.
 *
 * Return: the handshake; NULL if there is none.
 */
struct noise_handshake *index_lookup_handshake(const struct index *index,
					       uint32_t idx);

#endif /* DEVICE_INDEX_H */
