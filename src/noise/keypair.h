/* SPDX-License-Identifier: MIT */
/*
 * Keypairs: the keys of one session and what is counted about it, and the
 * three slots of a peer that hold them.
 *
 * Legend: [I] immutable after the keypair is published, [a] atomic,
 * [s] under the keypair's replay lock, [m] under the slots' lock.
 *
 * A keypair is counted: noise_keypair_ref() takes, noise_keypair_put() gives
 * back, and the last put wipes the keys and frees the memory at once. Each slot
 * holds one reference, each user (a batch on its way, an entry of the index
 * table) its own. A table read under RCU therefore drops its reference only
 * after a grace period: while an entry can be found, its keypair has a
 * reference, and noise_keypair_ref() on it is safe.
 */
#ifndef NOISE_KEYPAIR_H
#define NOISE_KEYPAIR_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "noise/constants.h"
#include "noise/replay.h"

struct noise_local;

/* Lives in memory for secrets. */
struct noise_keypair_keys {
	uint8_t sending[NOISE_SYMMETRIC_KEY_LEN];
	uint8_t receiving[NOISE_SYMMETRIC_KEY_LEN];
};

/*
 * @refs:		[a] references
 * @is_unsendable:	[a] never again draws a counter
 * @is_initiator:	[I] this side sent the initiation
 * @local_index:	[I] receiver index of messages to us
 * @remote_index:	[I] receiver index of messages to the peer
 * @created_ns:		[I] when the keys were derived
 * @keys:		[I] the two keys, in a slot of @local's secrets
 * @local:		[I] whose secrets, borrowed: outlives every keypair
 * @owner:		[I] the @owner of the handshake it came from
 * @send_counter:	[a] next counter to send with
 * @replay_lock:	[s] short: one window update
 * @replay:		[s] counters received
 */
struct noise_keypair {
	_Atomic uint32_t refs;
	_Atomic bool is_unsendable;
	bool is_initiator;
	uint32_t local_index;
	uint32_t remote_index;
	uint64_t created_ns;
	struct noise_keypair_keys *keys;
	struct noise_local *local;
	void *owner;
	_Atomic uint64_t send_counter;
	pthread_spinlock_t replay_lock;
	struct replay replay;
};

/**
 * noise_keypair_new() - an empty keypair with one reference
 * @local:	whose memory for secrets its keys come from; borrowed
 *
 * The caller (the handshake, or a test) fills the [I] members before it
 * publishes the keypair.
 *
 * Return: the keypair; NULL if memory is short.
 */
struct noise_keypair *noise_keypair_new(struct noise_local *local);

/**
 * noise_keypair_ref() - take one more reference
 * @kp:		keypair that the caller knows to be alive
 *
 * Any thread.
 *
 * Return: @kp.
 */
struct noise_keypair *noise_keypair_ref(struct noise_keypair *kp);

/**
 * noise_keypair_put() - give a reference back
 * @kp:		keypair; consumed. NULL is ok
 *
 * The last put wipes the keys and the window and frees. Any thread.
 */
void noise_keypair_put(struct noise_keypair *kp);

/**
 * noise_keypair_reserve() - draw a run of sending counters
 * @kp:		keypair
 * @n:		how many are wanted
 * @first:	set to the first of the run if the result is not 0
 *
 * Counters end before REJECT_AFTER_MESSAGES and never wrap, however often it is
 * called after that: the counter never moves past the limit, and the keypair is
 * marked unsendable at the first refusal. A run may come back shorter than
 * wanted. Any thread; runs never overlap.
 *
 * Return: how many were drawn, 0 to @n; 0 is "needs a new handshake".
 */
size_t noise_keypair_reserve(struct noise_keypair *kp, size_t n,
			     uint64_t *first);

/**
 * noise_keypair_can_send() - may messages be sealed with this keypair?
 * @kp:		keypair
 * @now:	the present
 *
 * Return: true while it is younger than REJECT_AFTER_TIME, not marked
 * unsendable, and has counters left.
 */
bool noise_keypair_can_send(const struct noise_keypair *kp, uint64_t now);

/**
 * noise_keypair_can_receive() - may messages be opened with this keypair?
 * @kp:		keypair
 * @now:	the present
 *
 * Ask before decryption. Counters are judged by noise_keypair_accept().
 *
 * Return: true while it is younger than REJECT_AFTER_TIME.
 */
bool noise_keypair_can_receive(const struct noise_keypair *kp, uint64_t now);

/**
 * noise_keypair_accept() - take the counter of an authentic message
 * @kp:		keypair that opened the message
 * @counter:	its counter
 *
 * Any thread; takes the keypair's replay lock for one window update.
 *
 * Return: true if the counter is new, false if the message must be dropped.
 */
bool noise_keypair_accept(struct noise_keypair *kp, uint64_t counter);

/**
 * noise_keypair_wants_rekey_after_send() - time to start a new handshake?
 * @kp:		the keypair just sent with
 * @now:	the present
 *
 * Return: true if more than REKEY_AFTER_MESSAGES were sent, or if this side is
 * the initiator and the keypair is REKEY_AFTER_TIME old (paper, section 6.2).
 */
bool noise_keypair_wants_rekey_after_send(const struct noise_keypair *kp,
					  uint64_t now);

/**
 * noise_keypair_wants_rekey_after_receive() - the last minute for a handshake?
 * @kp:		the peer's current keypair
 * @now:	the present
 *
 * The caller makes sure that this starts at most one handshake a session.
 *
 * Return: true if this side is the initiator and the keypair is older than
 * REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT (paper, section 6.2).
 */
bool noise_keypair_wants_rekey_after_receive(const struct noise_keypair *kp,
					     uint64_t now);

/*
 * The slots of one peer. The rules are the kernel module's:
 *
 * - A new keypair of an initiator becomes current at once: the response proved
 *   that the peer has it. A waiting next, else the current one, becomes
 *   previous.
 * - A new keypair of a responder waits as next until the first message arrives
 *   that was sealed with it; previous and the old next go.
 * - The first message received with next makes it current, and current previous.
 *
 * A keypair that leaves the slots leaves the index table in the same moment.
 *
 * @lock:	[m] short: a few stores and calls of the index table; shared by
 *		workers, handshaker and control
 * @current:	[m] sends and receives
 * @previous:	[m] receives only
 * @next:	[m] receives only, until something arrives
 * @local:	[I] whose index table; borrowed
 */
struct noise_keypairs {
	pthread_mutex_t lock;
	struct noise_keypair *current;
	struct noise_keypair *previous;
	struct noise_keypair *next;
	struct noise_local *local;
};

/**
 * noise_keypairs_init() - three empty slots
 * @kps:	caller's storage
 * @local:	borrowed until noise_keypairs_deinit()
 */
void noise_keypairs_init(struct noise_keypairs *kps, struct noise_local *local);

/**
 * noise_keypairs_deinit() - drop what the slots hold
 * @kps:	slots that no other thread can reach any more
 */
void noise_keypairs_deinit(struct noise_keypairs *kps);

/**
 * noise_keypairs_add() - put a new keypair in its place
 * @kps:	slots
 * @kp:		keypair; its reference is consumed
 *
 * Takes the slots' lock. Any thread.
 */
void noise_keypairs_add(struct noise_keypairs *kps, struct noise_keypair *kp);

/**
 * noise_keypairs_confirm() - an authentic message came with this keypair
 * @kps:	slots
 * @kp:		keypair that opened the message and accepted its counter
 *
 * Cheap when nothing is to be done: call it once for each run of messages.
 * Takes the slots' lock. Any thread.
 *
 * Return: true if @kp was next and is now current: the responder's session is
 * confirmed, its staged packets may go, and the handshake is complete.
 */
bool noise_keypairs_confirm(struct noise_keypairs *kps,
			    const struct noise_keypair *kp);

/**
 * noise_keypairs_get_current() - the keypair to send with
 * @kps:	slots
 *
 * Takes the slots' lock. Any thread.
 *
 * Return: a new reference, or NULL. It may be unfit for sending: see
 * noise_keypair_can_send().
 */
struct noise_keypair *noise_keypairs_get_current(struct noise_keypairs *kps);

/**
 * noise_keypairs_have_sent() - was this sent with one of the keypairs?
 * @kps:	slots
 * @remote_index: receiver index of a data message
 * @counter:	its counter
 *
 * Takes the slots' lock. Any thread.
 *
 * Return: true if a keypair with that index has drawn that counter.
 */
bool noise_keypairs_have_sent(struct noise_keypairs *kps, uint32_t remote_index,
			      uint64_t counter);

/**
 * noise_keypairs_expire_current() - stop sending with what is there
 * @kps:	slots
 *
 * For a change of the private key: current stays for what is on its way to us
 * but draws no counter any more, next goes. Takes the slots' lock.
 */
void noise_keypairs_expire_current(struct noise_keypairs *kps);

/**
 * noise_keypairs_clear() - empty all slots
 * @kps:	slots
 *
 * Index entries go at once; each keypair is wiped when its last user is done.
 * Until then it draws no counter any more. Takes the slots' lock. Any thread.
 *
 * Return: true if there was a keypair.
 */
bool noise_keypairs_clear(struct noise_keypairs *kps);

/**
 * noise_keypairs_wipe_old() - empty the slots whose keypairs have this age or
 * more
 * @kps:	slots
 * @age_ns:	age, by the clock of noise_handshake_begin_session()
 * @now:	the present
 *
 * As noise_keypairs_clear(), but keys that another thread derives meanwhile are
 * left alone.
 */
void noise_keypairs_wipe_old(struct noise_keypairs *kps, uint64_t age_ns,
			     uint64_t now);

#endif /* NOISE_KEYPAIR_H */
