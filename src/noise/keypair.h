/* SPDX-License-Identifier: MIT */
/*
 * A keypair has the keys of one session, its sending counter and its replay
 * window. A peer holds its keypairs in three slots.
 *
 * Legend: [I] immutable after the keypair is published, [a] atomic,
 * [s] under the keypair's replay lock, [u] under its lock of unsent counters,
 * [m] under the slots' lock.
 *
 * A keypair counts its references: noise_keypair_ref() takes one,
 * noise_keypair_put() gives one back, and the last put wipes the keys and frees
 * the memory at once. Each slot, each batch on its way and each entry of the
 * index table holds a reference of its own. The index table is read under RCU,
 * so it drops its reference only after a grace period. As long as an entry can
 * be found, its keypair therefore has a reference, and noise_keypair_ref() is
 * safe.
 */
#ifndef NOISE_KEYPAIR_H
#define NOISE_KEYPAIR_H

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "noise/constants.h"
#include "noise/replay.h"

struct noise_handshake;
struct noise_local;

enum {
	/* noise_keypair_reserve_near() divides the counters into stretches of
	 * this many. Counters that are drawn, but not sent, lie in two
	 * neighbouring stretches, so they are less than 512 apart. The smallest
	 * replay window that is known, that of boringtun, has 1,024. */
	NOISE_STRETCH = 256,
};

/* Conditions for the caller of noise_keypair_reserve_near(). */
enum {
	NOISE_E_NO_COUNTER = 1, /* a new handshake is needed */
	NOISE_E_FAR,		/* older counters must be sent first */
};

/* Allocated in memory for secrets. */
struct noise_keypair_keys {
	uint8_t sending[NOISE_SYMMETRIC_KEY_LEN];
	uint8_t receiving[NOISE_SYMMETRIC_KEY_LEN];
};

/*
 * @refs:		[a] references
 * @is_unsendable:	[a] no counter may be drawn any more
 * @is_initiator:	[I] this side sent the initiation
 * @local_index:	[I] receiver index of messages to us
 * @remote_index:	[I] receiver index of messages to the peer
 * @created_ns:		[I] when the keys were derived
 * @keys:		[I] the two keys, in a slot of @local's secrets
 * @local:		[I] gives memory for @keys; borrowed, outlives every
 *			keypair
 * @owner:		[I] the owner of the handshake that made the keypair
 * @send_counter:	[a] next counter to send with
 * @unsent_lock:	[u] held for some loads and stores
 * @n_unsent:		[u] counters of noise_keypair_reserve_near() that are
 *			not sent yet, in stretches with an even and with an odd
 *			number
 * @n_sending:		[u] runs that are being sent, likewise; a run in two
 *			stretches counts in both
 * @floor:		[u] no counter below this one may be sent any more
 * @replay_lock:	[s] held for one update of @replay
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
	pthread_spinlock_t unsent_lock;
	uint32_t n_unsent[2];
	uint32_t n_sending[2];
	uint64_t floor;
	pthread_spinlock_t replay_lock;
	struct replay replay;
};

/**
 * noise_keypair_new() - an empty keypair with one reference
 * @local:	gives memory for the keys; borrowed
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
 * The last put wipes the keys and the window, and frees the keypair. Any
 * thread.
 */
void noise_keypair_put(struct noise_keypair *kp);

/**
 * noise_keypair_reserve() - draw a run of sending counters
 * @kp:		keypair
 * @n:		how many are wanted
 * @first:	set to the first of the run if the result is not 0
 *
 * Counters end before REJECT_AFTER_MESSAGES: @send_counter never moves past
 * that limit, so it cannot wrap. The first call that gets no counter marks the
 * keypair unsendable. A run may be shorter than wanted. Any thread; runs never
 * overlap.
 *
 * Return: how many were drawn, 0 to @n; 0 means that a new handshake is needed.
 */
size_t noise_keypair_reserve(struct noise_keypair *kp, size_t n,
			     uint64_t *first);

/**
 * noise_keypair_reserve_near() - draw a run of counters near all unsent ones
 * @kp:		keypair
 * @n:		how many are wanted, 1 to NOISE_STRETCH; set to how many were
 *		drawn: fewer only before REJECT_AFTER_MESSAGES
 * @first:	set to the first of the run on success
 *
 * For threads that send with one keypair in no common order. If one of them is
 * delayed, its messages would arrive so late that the window of the receiver
 * has moved past them. Therefore counters that are drawn, but not sent, are
 * never 2 * NOISE_STRETCH or more apart. When the messages of a run are about to
 * be sent, the caller calls noise_keypair_begin_send(). All draws from a keypair
 * are made by this function, or all by noise_keypair_reserve(). Any thread.
 *
 * Return: 0; NOISE_E_NO_COUNTER; NOISE_E_FAR: nothing was drawn; try again when
 * other threads have sent.
 */
int noise_keypair_reserve_near(struct noise_keypair *kp, size_t *n,
			       uint64_t *first);

/**
 * noise_keypair_begin_send() - a run is about to be sent, or will never be
 * @kp:		keypair
 * @first:	first counter of the run, or of runs that follow each other
 * @n:		number of counters, 1 to NOISE_STRETCH
 *
 * Once for each run. Any thread.
 *
 * Return: true: noise_keypair_end_send() has to be called; false: the counters
 * were given up, and the messages must not be sent.
 */
bool noise_keypair_begin_send(struct noise_keypair *kp, uint64_t first,
			      size_t n);

/* noise_keypair_end_send() - the run of noise_keypair_begin_send() was sent, or
 * will never be. Any thread. */
void noise_keypair_end_send(struct noise_keypair *kp, uint64_t first, size_t n);

/**
 * noise_keypair_give_up() - give up old counters that are not sent
 * @kp:		keypair
 * @n:		what noise_keypair_reserve_near() was asked for
 *
 * To be called if that function has returned NOISE_E_FAR for so long that a
 * thread with old counters must be stopped. When that thread goes on, it cannot
 * send them. Any thread.
 *
 * Return: true: try again; false: one of these runs is being sent.
 */
bool noise_keypair_give_up(struct noise_keypair *kp, size_t n);

/**
 * noise_keypair_can_send() - may messages be sealed with this keypair?
 * @kp:		keypair
 * @now:	the present
 *
 * Any thread.
 *
 * Return: true while the keypair is younger than REJECT_AFTER_TIME, is not
 * marked unsendable, and has counters left.
 */
bool noise_keypair_can_send(const struct noise_keypair *kp, uint64_t now);

/**
 * noise_keypair_can_receive() - may messages be opened with this keypair?
 * @kp:		keypair
 * @now:	the present
 *
 * Ask before decryption. After decryption noise_keypair_accept() checks the
 * counter. Any thread.
 *
 * Return: true while the keypair is younger than REJECT_AFTER_TIME.
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
 * noise_keypair_wants_rekey_after_send() - start a new handshake?
 * @kp:		the keypair just sent with
 * @now:	the present
 *
 * Any thread.
 *
 * Return: true if more than REKEY_AFTER_MESSAGES were sent, or if this side is
 * the initiator and the keypair is REKEY_AFTER_TIME old (paper, section 6.2).
 */
bool noise_keypair_wants_rekey_after_send(const struct noise_keypair *kp,
					  uint64_t now);

/**
 * noise_keypair_wants_rekey_after_receive() - start a new handshake?
 * @kp:		the peer's current keypair
 * @now:	the present
 *
 * The caller starts at most one handshake for each session because of this
 * function. Any thread.
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
 *   that the peer has the keys. The keypair in next becomes previous. If next
 *   is empty, the keypair in current becomes previous.
 * - A new keypair of a responder waits as next until the first message arrives
 *   that was sealed with it. The old keypairs in next and previous are dropped.
 * - The first message received with next makes next current, and the current
 *   keypair previous.
 *
 * A keypair that leaves the slots leaves the index table at the same time.
 *
 * @lock:	[m] short: a few stores and calls of the index table; shared by
 *		workers, handshaker and control
 * @current:	[m] sends and receives
 * @previous:	[m] receives only
 * @next:	[m] receives only, until the first message arrives
 * @spare:	for noise_keypairs_import(), and used by nothing else; NULL: none
 * @local:	[I] leads to the index table; borrowed
 * @end_ns:	[a] when @current may send no more; 0: it may not, or there is none
 */
struct noise_keypairs {
	pthread_mutex_t lock;
	struct noise_keypair *current;
	struct noise_keypair *previous;
	struct noise_keypair *next;
	struct noise_keypair *spare;
	struct noise_local *local;
	_Atomic uint64_t end_ns;
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
 * Call it once for each run of messages; it is cheap if @kp is not next. Takes
 * the slots' lock. Any thread.
 *
 * Return: true if @kp was next and is now current: the responder's session is
 * confirmed, packets that wait for it may leave, and the handshake is complete.
 */
bool noise_keypairs_confirm(struct noise_keypairs *kps,
			    const struct noise_keypair *kp);

/**
 * noise_keypairs_get_end() - until when messages may be sent to the peer
 * @kps:	slots
 *
 * For statistics: takes no lock, so the time may be that of a moment ago. The bound on
 * messages of a session (REJECT_AFTER_MESSAGES) is left out. Any thread.
 *
 * Return: a point of time as @created_ns; 0: there is no session.
 */
static inline uint64_t noise_keypairs_get_end(const struct noise_keypairs *kps)
{
	/* Partner: unlock() of keypair.c. */
	return atomic_load_explicit(&kps->end_ns, memory_order_relaxed);
}

/**
 * noise_keypairs_get_current() - the keypair to send with
 * @kps:	slots
 *
 * Takes the slots' lock. Any thread.
 *
 * Return: a new reference, or NULL. noise_keypair_can_send() tells whether the
 * keypair is still good for sending.
 */
struct noise_keypair *noise_keypairs_get_current(struct noise_keypairs *kps);

/**
 * noise_keypairs_have_sent() - did we send a data message like this?
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
 * noise_keypairs_expire_current() - stop sending with the keypairs at hand
 * @kps:	slots
 *
 * For a change of the private key. The current keypair stays, for messages that
 * are on their way to us, but draws no counter any more. The next one is
 * dropped. Takes the slots' lock. Any thread.
 */
void noise_keypairs_expire_current(struct noise_keypairs *kps);

/**
 * noise_keypairs_clear() - empty all slots
 * @kps:	slots
 *
 * The index entries go at once. No keypair draws a counter any more, and each
 * is wiped when its last user gives its reference back. Takes the slots' lock.
 * Any thread.
 *
 * Return: true if there was a keypair.
 */
bool noise_keypairs_clear(struct noise_keypairs *kps);

/**
 * noise_keypairs_wipe_old() - empty the slots whose keypair has reached an age
 * @kps:	slots
 * @age_ns:	the age
 * @now:	the present, by the clock of noise_handshake_begin_session()
 *
 * As noise_keypairs_clear(), but a keypair that another thread has just added
 * stays. Takes the slots' lock. Any thread.
 *
 * Return: true if a keypair was wiped.
 */
bool noise_keypairs_wipe_old(struct noise_keypairs *kps, uint64_t age_ns,
			     uint64_t now);

/* The slots, for another process. */
enum noise_slot {
	NOISE_CURRENT,
	NOISE_PREVIOUS,
	NOISE_NEXT,
	NOISE_SLOTS,
};

/**
 * struct noise_keypair_plain - a keypair as numbers, for another process
 *
 * Members as in struct noise_keypair and its keys; booleans are 0 or 1. Counters that
 * are drawn count as sent.
 */
struct noise_keypair_plain {
	uint8_t sending[NOISE_SYMMETRIC_KEY_LEN];
	uint8_t receiving[NOISE_SYMMETRIC_KEY_LEN];
	uint64_t created_ns;
	uint64_t send_counter;
	struct replay_plain replay;
	uint32_t local_index;
	uint32_t remote_index;
	uint8_t is_initiator;
	uint8_t is_unsendable;
	uint8_t zero[6];
};

static_assert(sizeof(struct noise_keypair_plain) == 64 + 16 + 24 + 8 + 8,
	      "no padding");

/**
 * noise_keypairs_export() - write the keypair in a slot as numbers
 * @kps:	slots
 * @slot:	which
 * @out:	filled if the slot is not empty; the caller wipes it after use
 * @words:	filled with the words of its window: see replay_export()
 *
 * Takes the slots' lock, and the keypair's replay lock. Any thread.
 *
 * Return: true; false: the slot is empty.
 */
bool noise_keypairs_export(struct noise_keypairs *kps, enum noise_slot slot,
			   struct noise_keypair_plain *out,
			   uint64_t words[REPLAY_WORDS]);

/**
 * noise_keypair_plain_is_sound() - may noise_keypairs_export() have written this?
 * @plain:	numbers of any origin
 * @slot:	for which slot
 * @words:	words of its window
 * @latest:	no point of time may lie after this one
 *
 * Return: true if noise_keypairs_import() may be given it.
 */
bool noise_keypair_plain_is_sound(const struct noise_keypair_plain *plain,
				  enum noise_slot slot,
				  const uint64_t words[REPLAY_WORDS],
				  uint64_t latest);

/**
 * noise_keypairs_reserve() - do before noise_keypairs_import() what takes most of its
 *			      time: get the memory of one keypair
 * @kps:	slots
 *
 * No other thread may use the slots yet.
 *
 * Return: 0; -ENOMEM.
 */
int noise_keypairs_reserve(struct noise_keypairs *kps);

/* noise_keypairs_unreserve() - free that memory, if noise_keypairs_import() has not used
 * it. As noise_keypairs_reserve(). */
void noise_keypairs_unreserve(struct noise_keypairs *kps);

/**
 * noise_keypairs_import() - fill a slot with a keypair that another process had
 * @kps:	slots
 * @slot:	which; a keypair in it is replaced. If it is the same one, written at
 *		another time, its counter and its window become those of @in.
 * @hs:		handshake of the same peer: the keypair gets its owner
 * @in:		keypair, sound
 * @words:	words of its window
 *
 * The index names the keypair when this returns. Takes the slots' lock. No other
 * thread may use the slots yet.
 *
 * Return: 0; -ENOMEM; -EEXIST: the index is in use; -errno of the index table. Unless it
 * is 0, the slot is empty.
 */
int noise_keypairs_import(struct noise_keypairs *kps, enum noise_slot slot,
			  struct noise_handshake *hs,
			  const struct noise_keypair_plain *in,
			  const uint64_t words[REPLAY_WORDS]);

/* noise_keypairs_import_none() - empty a slot, because the other process has no keypair in
 * it. As noise_keypairs_import(). */
void noise_keypairs_import_none(struct noise_keypairs *kps,
				enum noise_slot slot);

#endif /* NOISE_KEYPAIR_H */
