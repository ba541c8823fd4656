/* SPDX-License-Identifier: MIT */
/*
 * The part that all handshakes of one device share: the static key pair, the
 * memory for secrets, and the calls by which this room reaches things that it
 * does not own (random bytes, the table of peers, the table of indices).
 *
 * Legend: [I] immutable after init, [m] under @lock.
 *
 * Lock order, outermost first: noise_local.lock, noise_handshake.lock,
 * noise_keypairs.lock. The calls of struct noise_ops may take locks of their
 * own inside of these. They must not call back into this room, except for
 * noise_keypair_ref() and noise_keypair_put().
 */
#ifndef NOISE_LOCAL_H
#define NOISE_LOCAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "noise/constants.h"

struct noise_handshake;
struct noise_keypair;
struct secret_pool;

/**
 * struct noise_ops - what this room asks of its owner
 *
 * Each call gets the @arg of noise_local_init(), and comes from any thread that
 * calls into this room. No call may block for long.
 */
struct noise_ops {
	/**
	 * @random:	fill a buffer with bytes that nobody can guess
	 */
	void (*random)(void *arg, void *buf, size_t len);
	/**
	 * @find_peer:	look a peer up by its public key
	 *
	 * Called by noise_local_consume_initiation() only, with noise_local's
	 * lock held for reading.
	 *
	 * Return: the peer's handshake, with a reference to the peer; NULL if
	 * there is no such peer or it is being removed. If the initiation is
	 * taken, the reference goes on to the caller of
	 * noise_local_consume_initiation(); if not, it goes back by @release_peer.
	 */
	struct noise_handshake *(*find_peer)(
		void *arg, const uint8_t key[NOISE_PUBLIC_KEY_LEN]);
	/**
	 * @release_peer:	give back the reference that @find_peer took
	 */
	void (*release_peer)(void *arg, struct noise_handshake *hs);
	/**
	 * @publish_index:	publish a handshake under a fresh random 32-bit index
	 *
	 * Called with the handshake's lock held.
	 *
	 * Return: 0, and *idx is set; -errno, and no index is taken.
	 */
	int (*publish_index)(void *arg, struct noise_handshake *hs,
			     uint32_t *idx);
	/**
	 * @index_replace:	let an index name the keypair from now on
	 *
	 * The index must still name @hs. The table takes a reference of its own
	 * to @kp, and drops it a grace period after @drop_index. Called with
	 * the handshake's lock held.
	 *
	 * Return: 0; -ENOENT if the index no longer names @hs.
	 */
	int (*index_replace)(void *arg, uint32_t idx,
			     struct noise_handshake *hs,
			     struct noise_keypair *kp);
	/**
	 * @insert_index:	publish a handshake, and its keypair if @kp is not
	 *			NULL, under an index that another process has drawn
	 *
	 * The table takes a reference of its own to @kp, as for @index_replace.
	 * Called with the handshake's or the slots' lock held.
	 *
	 * Return: 0; -EEXIST if the index is in use; -EINVAL if it is none for
	 * this handshake; -errno.
	 */
	int (*insert_index)(void *arg, uint32_t idx, struct noise_handshake *hs,
			    struct noise_keypair *kp);
	/**
	 * @drop_index:	take an index out of the table
	 *
	 * Readers may still find it until a grace period has passed. Called
	 * with the handshake's or the slots' lock held.
	 */
	void (*drop_index)(void *arg, uint32_t idx);
};

/*
 * @lock:		[m] read by every handshake, written by set_private_key
 * @ops:		[I] borrowed until deinit
 * @arg:		[I] for @ops
 * @handshake_secrets:	[I] pool of struct noise_handshake_secrets
 * @keypair_secrets:	[I] pool of struct noise_keypair_keys
 * @private_key:	[m] our private key, in a slot of @handshake_secrets
 * @public_key:		[m] our public key
 * @generation:		[m] counts changes of the key pair; handshakes compare
 *			it with the one their static-static was computed for
 * @has_key:		[m] there is a key pair; without one no handshake is
 *			made or taken
 */
struct noise_local {
	pthread_rwlock_t lock;
	const struct noise_ops *ops;
	void *arg;
	struct secret_pool *handshake_secrets;
	struct secret_pool *keypair_secrets;
	uint8_t *private_key;
	uint8_t public_key[NOISE_PUBLIC_KEY_LEN];
	uint64_t generation;
	bool has_key;
};

/**
 * noise_local_init() - the shared part, without a key pair
 * @local:	caller's storage
 * @ops:	all members set; borrowed until noise_local_deinit()
 * @arg:	for @ops
 *
 * Call crypto_init() before this function, and this function after daemonising:
 * a child process does not inherit memory for secrets.
 *
 * Return: 0; -ENOMEM.
 */
int noise_local_init(struct noise_local *local, const struct noise_ops *ops,
		     void *arg);

/**
 * noise_local_deinit() - wipe and free
 * @local:	shared part; no handshake, keypair or slots use it any more
 */
void noise_local_deinit(struct noise_local *local);

/**
 * noise_local_set_private_key() - take another static key pair, or none
 * @local:	shared part
 * @key:	private key (clamped here); NULL or all zero: none
 *
 * Waits until no thread is working on a handshake message. If the key has
 * changed, handshakes under way fail from now on, and each handshake computes
 * its static-static secret again when it next needs that secret. The caller
 * then clears each peer's handshake and expires its keypairs. If a peer's
 * public key is now our own, the caller removes that peer. Control thread.
 *
 * Return: true if the key has changed.
 */
bool noise_local_set_private_key(struct noise_local *local,
				 const uint8_t key[NOISE_PRIVATE_KEY_LEN]);

/**
 * noise_local_get_keys() - read the static key pair
 * @local:		shared part
 * @private_key:	out, or NULL; the caller wipes it after use
 * @public_key:		out, or NULL
 *
 * Any thread.
 *
 * Return: true if there is a key pair; false if not, and nothing is written.
 */
bool noise_local_get_keys(struct noise_local *local,
			  uint8_t private_key[NOISE_PRIVATE_KEY_LEN],
			  uint8_t public_key[NOISE_PUBLIC_KEY_LEN]);

/**
 * noise_local_reserve_keypairs() - have memory for the keys of sessions
 * @local:	shared part
 * @n:		how many sessions will be made by noise_keypairs_import()
 *
 * Without it they are made more slowly. Any thread.
 */
void noise_local_reserve_keypairs(struct noise_local *local, size_t n);

/**
 * noise_local_take_lock_refusal() - could memory for secrets not be locked?
 * @local:	shared part
 *
 * The caller writes one line about mlock(2) to the log. Any thread.
 *
 * Return: true in the first call after mlock(2) has failed; false in all
 * others.
 */
bool noise_local_take_lock_refusal(struct noise_local *local);

#endif /* NOISE_LOCAL_H */
