/* SPDX-License-Identifier: MIT */
/*
 * What all handshakes of one device share: the static key pair, the memory for
 * secrets, and the calls by which this room reaches what it does not own
 * (randomness, the table of peers, the table of indices).
 *
 * Legend: [I] immutable after init, [m] under @lock.
 *
 * Lock order, outermost first: noise_local.lock, noise_handshake.lock,
 * noise_keypairs.lock; the calls of struct noise_ops may take locks of their
 * own below these and must not call back into this room, apart from
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
 * All are called with @arg of noise_local_init(), from any thread that calls
 * into this room. None may block for long.
 */
struct noise_ops {
	/**
	 * @random:	fill a buffer with bytes nobody can guess
	 */
	void (*random)(void *arg, void *buf, size_t len);
	/**
	 * @peer_get:	look a peer up by its public key
	 *
	 * Called by noise_local_consume_initiation() only, with noise_local's
	 * lock held for reading.
	 *
	 * Return: the peer's handshake, kept alive by a reference that goes
	 * back through @peer_put or to the caller of consume; NULL if there is
	 * no such peer, or none that may speak now.
	 */
	struct noise_handshake *(*peer_get)(
		void *arg, const uint8_t key[NOISE_PUBLIC_KEY_LEN]);
	/**
	 * @peer_put:	give back what @peer_get gave
	 */
	void (*peer_put)(void *arg, struct noise_handshake *hs);
	/**
	 * @index_new:	publish a handshake under a fresh random 32-bit index
	 *
	 * Called with the handshake's lock held.
	 *
	 * Return: 0 and *idx, or -errno and no index.
	 */
	int (*index_new)(void *arg, struct noise_handshake *hs, uint32_t *idx);
	/**
	 * @index_replace:	let an index name the keypair from now on
	 *
	 * The entry must still be @hs's. The table takes a reference to @kp of
	 * its own and drops it a grace period after @index_drop. Called with
	 * the handshake's lock held.
	 *
	 * Return: 0; -ENOENT if the entry is gone.
	 */
	int (*index_replace)(void *arg, uint32_t idx,
			     struct noise_handshake *hs,
			     struct noise_keypair *kp);
	/**
	 * @index_drop:	forget an index; readers may see it a grace period long
	 *
	 * Called with the handshake's or the slots' lock held.
	 */
	void (*index_drop)(void *arg, uint32_t idx);
};

/*
 * @lock:		[m] read by every handshake, written by set_private_key
 * @ops:		[I] borrowed until deinit
 * @arg:		[I] for @ops
 * @handshake_secrets:	[I] pool of struct noise_handshake_secrets
 * @keypair_secrets:	[I] pool of struct noise_keypair_keys
 * @private_key:	[m] in a slot of @handshake_secrets
 * @public_key:		[m]
 * @generation:		[m] counts changes of the key pair; handshakes compare
 *			it with the one their static-static was computed for
 * @has_key:		[m] without a key pair no handshake is made or taken
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
 * Needs crypto_init() first. Make it after daemonising: memory for secrets does
 * not cross fork().
 *
 * Return: 0; -ENOMEM.
 */
int noise_local_init(struct noise_local *local, const struct noise_ops *ops,
		     void *arg);

/**
 * noise_local_deinit() - wipe and free
 * @local:	no handshake, keypair or slot set that was made with it is left
 */
void noise_local_deinit(struct noise_local *local);

/**
 * noise_local_set_private_key() - take another static key pair, or none
 * @local:	shared part
 * @key:	private key (clamped here); NULL or all zero: none
 *
 * Waits for handshake messages being worked on. If the key is another one than
 * before, handshakes under way fail from now on, and static-static is computed
 * anew when a handshake next needs it. The caller then clears each peer's
 * handshake, expires its keypairs, and removes a peer whose public key is now
 * our own. Control thread.
 *
 * Return: true if the key is another one than before.
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
 * Return: true if there is one; false, and nothing is written, if not.
 */
bool noise_local_get_keys(struct noise_local *local,
			  uint8_t private_key[NOISE_PRIVATE_KEY_LEN],
			  uint8_t public_key[NOISE_PUBLIC_KEY_LEN]);

/**
 * noise_local_take_lock_refusal() - was memory for secrets refused its lock?
 * @local:	shared part
 *
 * For one line in the log. Any thread.
 *
 * Return: true in the first call after a refusal, false in every other.
 */
bool noise_local_take_lock_refusal(struct noise_local *local);

#endif /* NOISE_LOCAL_H */
