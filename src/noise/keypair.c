/* SPDX-License-Identifier: MIT */
/*
 * Keypairs and the slots of a peer. Sending counters are drawn without a lock.
 * A keypair is moved from slot to slot under the lock of the slots. If it
 * leaves the slots, its entry leaves the index table under the same lock.
 */
#include "noise/keypair.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "crypto/secret.h"
#include "noise/handshake.h"
#include "noise/local.h"

struct noise_keypair *noise_keypair_new(struct noise_local *local)
{
	struct noise_keypair *kp = calloc(1, sizeof(*kp));

	if (!kp)
		return NULL;
	kp->keys = secret_alloc(local->keypair_secrets);
	if (!kp->keys)
		goto err_free;
	atomic_init(&kp->refs, 1);
	kp->local = local;
	pthread_spin_init(&kp->replay_lock, PTHREAD_PROCESS_PRIVATE);
	pthread_spin_init(&kp->unsent_lock, PTHREAD_PROCESS_PRIVATE);
	replay_init(&kp->replay);
	return kp;

err_free:
	free(kp);
	return NULL;
}

struct noise_keypair *noise_keypair_ref(struct noise_keypair *kp)
{
	/* Relaxed: the caller has a reference already, so the keypair is
	 * alive. */
	uint32_t before =
		atomic_fetch_add_explicit(&kp->refs, 1, memory_order_relaxed);

	INVARIANT(before > 0 && before < UINT32_MAX / 2);
	return kp;
}

void noise_keypair_put(struct noise_keypair *kp)
{
	uint32_t before;

	if (!kp)
		return;
	/* Release this user's accesses; acquire those of all the others. */
	before = atomic_fetch_sub_explicit(&kp->refs, 1, memory_order_acq_rel);
	INVARIANT(before > 0);
	if (before > 1)
		return;
	secret_free(kp->local->keypair_secrets, kp->keys);
	pthread_spin_destroy(&kp->replay_lock);
	pthread_spin_destroy(&kp->unsent_lock);
	secret_zero(kp, sizeof(*kp));
	free(kp);
}

size_t noise_keypair_reserve(struct noise_keypair *kp, size_t n,
			     uint64_t *first)
{
	uint64_t next =
		atomic_load_explicit(&kp->send_counter, memory_order_relaxed);
	uint64_t left;

	/*
	 * Relaxed: no other memory depends on the counter. The counter is only
	 * exchanged for a value up to REJECT_AFTER_MESSAGES, so it cannot wrap,
	 * however often this function is called.
	 */
	do {
		if (next >= REJECT_AFTER_MESSAGES)
			atomic_store_explicit(&kp->is_unsendable, true,
					      memory_order_relaxed);
		if (atomic_load_explicit(&kp->is_unsendable,
					 memory_order_relaxed))
			return 0;
		left = REJECT_AFTER_MESSAGES - next;
		if (n > left)
			n = (size_t)left;
	} while (!atomic_compare_exchange_weak_explicit(
		&kp->send_counter, &next, next + n, memory_order_relaxed,
		memory_order_relaxed));
	if (n)
		*first = next;
	return n;
}

static unsigned int parity_of(uint64_t counter)
{
	return counter / NOISE_STRETCH % 2;
}

/* How many of @n counters from @first on lie in the stretch of the first. */
static uint32_t count_here(uint64_t first, size_t n)
{
	return (uint32_t)size_min(n, NOISE_STRETCH - first % NOISE_STRETCH);
}

/* Locked. Add @n counters from @first on to @n_unsent, those below the floor not:
 * they are not counted any more. @sign is 1 or -1. */
static void add_unsent(struct noise_keypair *kp, uint64_t first, size_t n,
		       int sign)
{
	uint32_t here = count_here(first, n), rest = (uint32_t)n - here;

	if (first >= kp->floor)
		kp->n_unsent[parity_of(first)] += (uint32_t)sign * here;
	if (rest && first + here >= kp->floor)
		kp->n_unsent[parity_of(first + here)] += (uint32_t)sign * rest;
}

/* Locked. Add a run to @n_sending; @sign is 1 or -1. */
static void add_sending(struct noise_keypair *kp, uint64_t first, size_t n,
			int sign)
{
	uint64_t last = first + n - 1;

	kp->n_sending[parity_of(first)] += (uint32_t)sign;
	if (parity_of(last) != parity_of(first))
		kp->n_sending[parity_of(last)] += (uint32_t)sign;
}

/* Locked. Does a run from @next on reach a stretch of which nothing is drawn
 * yet, while the last stretch but one before it has unsent counters? */
static bool is_far(const struct noise_keypair *kp, uint64_t next, size_t n)
{
	uint64_t last = next + n - 1;

	if (next % NOISE_STRETCH != 0 &&
	    next / NOISE_STRETCH == last / NOISE_STRETCH)
		return false;
	return kp->n_unsent[parity_of(last)];
}

/* The next counter, under the lock: only reserve() changes it. */
static uint64_t next_of(const struct noise_keypair *kp)
{
	return atomic_load_explicit(&kp->send_counter, memory_order_relaxed);
}

int noise_keypair_reserve_near(struct noise_keypair *kp, size_t *n,
			       uint64_t *first)
{
	uint64_t next;
	int r;

	INVARIANT(*n >= 1 && *n <= NOISE_STRETCH);
	pthread_spin_lock(&kp->unsent_lock);
	next = next_of(kp);
	if (next < REJECT_AFTER_MESSAGES && is_far(kp, next, *n)) {
		pthread_spin_unlock(&kp->unsent_lock);
		return NOISE_E_FAR;
	}
	*n = noise_keypair_reserve(kp, *n, first);
	if (*n)
		add_unsent(kp, *first, *n, 1);
	r = *n ? 0 : NOISE_E_NO_COUNTER;
	pthread_spin_unlock(&kp->unsent_lock);
	return r;
}

bool noise_keypair_begin_send(struct noise_keypair *kp, uint64_t first,
			      size_t n)
{
	bool may_send;

	pthread_spin_lock(&kp->unsent_lock);
	may_send = first >= kp->floor;
	if (may_send)
		add_sending(kp, first, n, 1);
	else
		add_unsent(kp, first, n, -1);
	pthread_spin_unlock(&kp->unsent_lock);
	return may_send;
}

void noise_keypair_end_send(struct noise_keypair *kp, uint64_t first, size_t n)
{
	pthread_spin_lock(&kp->unsent_lock);
	add_sending(kp, first, n, -1);
	add_unsent(kp, first, n, -1);
	pthread_spin_unlock(&kp->unsent_lock);
}

bool noise_keypair_give_up(struct noise_keypair *kp, size_t n)
{
	bool has_room = true;
	uint64_t next, last;

	pthread_spin_lock(&kp->unsent_lock);
	next = next_of(kp);
	last = next + n - 1;
	if (is_far(kp, next, n)) {
		has_room = !kp->n_sending[parity_of(last)];
		if (has_room) {
			kp->n_unsent[parity_of(last)] = 0;
			/* All of the stretch before @last's may be sent. */
			kp->floor = (last / NOISE_STRETCH - 1) * NOISE_STRETCH;
		}
	}
	pthread_spin_unlock(&kp->unsent_lock);
	return has_room;
}

bool noise_keypair_can_send(const struct noise_keypair *kp, uint64_t now)
{
	return !atomic_load_explicit(&kp->is_unsendable,
				     memory_order_relaxed) &&
	       atomic_load_explicit(&kp->send_counter, memory_order_relaxed) <
		       REJECT_AFTER_MESSAGES &&
	       noise_keypair_can_receive(kp, now);
}

bool noise_keypair_can_receive(const struct noise_keypair *kp, uint64_t now)
{
	return !clock_has_passed(kp->created_ns,
				 REJECT_AFTER_TIME * NSEC_PER_SEC, now);
}

bool noise_keypair_accept(struct noise_keypair *kp, uint64_t counter)
{
	bool is_new;

	pthread_spin_lock(&kp->replay_lock);
	is_new = replay_accept(&kp->replay, counter);
	pthread_spin_unlock(&kp->replay_lock);
	return is_new;
}

bool noise_keypair_wants_rekey_after_send(const struct noise_keypair *kp,
					  uint64_t now)
{
	if (atomic_load_explicit(&kp->send_counter, memory_order_relaxed) >
	    REKEY_AFTER_MESSAGES)
		return true;
	return kp->is_initiator &&
	       clock_has_passed(kp->created_ns, REKEY_AFTER_TIME * NSEC_PER_SEC,
				now);
}

bool noise_keypair_wants_rekey_after_receive(const struct noise_keypair *kp,
					     uint64_t now)
{
	const uint64_t age =
		(REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT) *
		NSEC_PER_SEC;

	return kp->is_initiator && clock_has_passed(kp->created_ns, age, now);
}

void noise_keypairs_init(struct noise_keypairs *kps, struct noise_local *local)
{
	memset(kps, 0, sizeof(*kps));
	pthread_mutex_init(&kps->lock, NULL);
	kps->local = local;
}

void noise_keypairs_deinit(struct noise_keypairs *kps)
{
	noise_keypairs_clear(kps);
	noise_keypairs_unreserve(kps);
	pthread_mutex_destroy(&kps->lock);
}

/* The slots have changed. */
static void unlock(struct noise_keypairs *kps)
{
	const struct noise_keypair *kp = kps->current;
	bool can_send = kp && !atomic_load_explicit(&kp->is_unsendable,
						    memory_order_relaxed);

	/* Partner: noise_keypairs_get_end(). */
	atomic_store_explicit(&kps->end_ns,
			      can_send ? kp->created_ns + REJECT_AFTER_TIME *
								  NSEC_PER_SEC
				       : 0,
			      memory_order_relaxed);
	pthread_mutex_unlock(&kps->lock);
}

/* Consumes the slot's reference; NULL is ok. */
static void drop(struct noise_keypairs *kps, struct noise_keypair *kp)
{
	if (!kp)
		return;
	kps->local->ops->drop_index(kps->local->arg, kp->local_index);
	noise_keypair_put(kp);
}

/* The keypair becomes current: the response proved that the peer has the keys.
 */
static void add_as_initiator(struct noise_keypairs *kps,
			     struct noise_keypair *kp)
{
	/* A keypair in next is newer than the current one, so the one in next
	 * becomes previous. */
	drop(kps, kps->previous);
	if (kps->next) {
		kps->previous = kps->next;
		kps->next = NULL;
		drop(kps, kps->current);
	} else {
		kps->previous = kps->current;
	}
	kps->current = kp;
}

/* The keypair becomes next: nothing may be sent with it before a message of the
 * peer has shown that the peer has the keys. */
static void add_as_responder(struct noise_keypairs *kps,
			     struct noise_keypair *kp)
{
	drop(kps, kps->next);
	kps->next = kp;
	drop(kps, kps->previous);
	kps->previous = NULL;
}

void noise_keypairs_add(struct noise_keypairs *kps, struct noise_keypair *kp)
{
	pthread_mutex_lock(&kps->lock);
	if (kp->is_initiator)
		add_as_initiator(kps, kp);
	else
		add_as_responder(kps, kp);
	unlock(kps);
}

bool noise_keypairs_confirm(struct noise_keypairs *kps,
			    const struct noise_keypair *kp)
{
	bool is_next;

	pthread_mutex_lock(&kps->lock);
	is_next = kp && kps->next == kp;
	if (is_next) {
		drop(kps, kps->previous);
		kps->previous = kps->current;
		kps->current = kps->next;
		kps->next = NULL;
	}
	unlock(kps);
	return is_next;
}

struct noise_keypair *noise_keypairs_get_current(struct noise_keypairs *kps)
{
	struct noise_keypair *kp;

	pthread_mutex_lock(&kps->lock);
	kp = kps->current;
	if (kp)
		noise_keypair_ref(kp);
	pthread_mutex_unlock(&kps->lock);
	return kp;
}

static bool has_sent(const struct noise_keypair *kp, uint32_t remote_index,
		     uint64_t counter)
{
	return kp && kp->remote_index == remote_index &&
	       counter < atomic_load_explicit(&kp->send_counter,
					      memory_order_relaxed);
}

bool noise_keypairs_have_sent(struct noise_keypairs *kps, uint32_t remote_index,
			      uint64_t counter)
{
	bool found;

	pthread_mutex_lock(&kps->lock);
	found = has_sent(kps->current, remote_index, counter) ||
		has_sent(kps->previous, remote_index, counter);
	pthread_mutex_unlock(&kps->lock);
	return found;
}

/*
 * Have the keypair draw no more counters. Relaxed is enough: counters that were
 * drawn just before may still be used. Returns true unless @kp is NULL.
 */
static bool retire(struct noise_keypair *kp)
{
	if (kp)
		atomic_store_explicit(&kp->is_unsendable, true,
				      memory_order_relaxed);
	return kp;
}

void noise_keypairs_expire_current(struct noise_keypairs *kps)
{
	pthread_mutex_lock(&kps->lock);
	drop(kps, kps->next);
	kps->next = NULL;
	retire(kps->current);
	unlock(kps);
}

/* Keypairs younger than @age_ns stay. Returns true if one was dropped. */
static bool empty_slots(struct noise_keypairs *kps, uint64_t age_ns,
			uint64_t now)
{
	struct noise_keypair **slots[] = { &kps->previous, &kps->next,
					   &kps->current };
	bool was_there = false;

	for (size_t i = 0; i < ARRAY_LEN(slots); i++) {
		struct noise_keypair *kp = *slots[i];

		if (kp && !clock_has_passed(kp->created_ns, age_ns, now))
			continue;
		was_there |= retire(kp);
		drop(kps, kp);
		*slots[i] = NULL;
	}
	return was_there;
}

bool noise_keypairs_clear(struct noise_keypairs *kps)
{
	bool was_there;

	pthread_mutex_lock(&kps->lock);
	was_there = empty_slots(kps, 0, 0);
	unlock(kps);
	return was_there;
}

bool noise_keypairs_wipe_old(struct noise_keypairs *kps, uint64_t age_ns,
			     uint64_t now)
{
	bool was_there;

	pthread_mutex_lock(&kps->lock);
	was_there = empty_slots(kps, age_ns, now);
	unlock(kps);
	return was_there;
}

/* ---------------------------------------------------- for another process */

static struct noise_keypair **slot_of(struct noise_keypairs *kps,
				      enum noise_slot slot)
{
	switch (slot) {
	case NOISE_CURRENT:
		return &kps->current;
	case NOISE_PREVIOUS:
		return &kps->previous;
	case NOISE_NEXT:
	case NOISE_SLOTS:
		break;
	}
	INVARIANT(slot == NOISE_NEXT);
	return &kps->next;
}

static void export_keypair(struct noise_keypair *kp,
			   struct noise_keypair_plain *out,
			   uint64_t words[REPLAY_WORDS])
{
	memset(out, 0, sizeof(*out));
	memcpy(out->sending, kp->keys->sending, sizeof(out->sending));
	memcpy(out->receiving, kp->keys->receiving, sizeof(out->receiving));
	out->created_ns = kp->created_ns;
	out->send_counter = next_of(kp);
	out->local_index = kp->local_index;
	out->remote_index = kp->remote_index;
	out->is_initiator = kp->is_initiator;
	out->is_unsendable =
		atomic_load_explicit(&kp->is_unsendable, memory_order_relaxed);
	pthread_spin_lock(&kp->replay_lock);
	replay_export(&kp->replay, &out->replay, words);
	pthread_spin_unlock(&kp->replay_lock);
}

bool noise_keypairs_export(struct noise_keypairs *kps, enum noise_slot slot,
			   struct noise_keypair_plain *out,
			   uint64_t words[REPLAY_WORDS])
{
	struct noise_keypair *kp;

	pthread_mutex_lock(&kps->lock);
	kp = *slot_of(kps, slot);
	if (kp)
		export_keypair(kp, out, words);
	pthread_mutex_unlock(&kps->lock);
	return kp;
}

bool noise_keypair_plain_is_sound(const struct noise_keypair_plain *plain,
				  enum noise_slot slot,
				  const uint64_t words[REPLAY_WORDS],
				  uint64_t latest)
{
	return plain->created_ns && plain->created_ns <= latest &&
	       plain->send_counter <= REJECT_AFTER_MESSAGES &&
	       plain->local_index && plain->is_initiator <= 1 &&
	       plain->is_unsendable <= 1 &&
	       /* An initiator's keypair never waits in that slot. */
	       (slot != NOISE_NEXT || !plain->is_initiator) &&
	       bytes_are_zero(plain->zero, sizeof(plain->zero)) &&
	       replay_plain_is_sound(&plain->replay, words);
}

/* Fill a keypair that no other thread uses yet. */
static void fill_keypair(struct noise_keypair *kp, void *owner,
			 const struct noise_keypair_plain *in,
			 const uint64_t words[REPLAY_WORDS])
{
	memcpy(kp->keys->sending, in->sending, sizeof(in->sending));
	memcpy(kp->keys->receiving, in->receiving, sizeof(in->receiving));
	kp->created_ns = in->created_ns;
	kp->local_index = in->local_index;
	kp->remote_index = in->remote_index;
	kp->is_initiator = in->is_initiator;
	kp->owner = owner;
	atomic_store_explicit(&kp->send_counter, in->send_counter,
			      memory_order_relaxed);
	atomic_store_explicit(&kp->is_unsendable, in->is_unsendable != 0,
			      memory_order_relaxed);
	replay_import(&kp->replay, &in->replay, words);
}

int noise_keypairs_reserve(struct noise_keypairs *kps)
{
	if (!kps->spare)
		kps->spare = noise_keypair_new(kps->local);
	return kps->spare ? 0 : -ENOMEM;
}

void noise_keypairs_unreserve(struct noise_keypairs *kps)
{
	noise_keypair_put(kps->spare);
	kps->spare = NULL;
}

/* Is @kp the keypair that was written as @in, perhaps at another time? */
static bool is_same(const struct noise_keypair *kp,
		    const struct noise_keypair_plain *in)
{
	return kp->local_index == in->local_index &&
	       kp->remote_index == in->remote_index &&
	       kp->created_ns == in->created_ns &&
	       kp->is_initiator == (in->is_initiator != 0) &&
	       memcmp(kp->keys->sending, in->sending, sizeof(in->sending)) ==
		       0 &&
	       memcmp(kp->keys->receiving, in->receiving,
		      sizeof(in->receiving)) == 0;
}

/* Fill an empty slot, under the lock. */
static int import_new(struct noise_keypairs *kps, enum noise_slot slot,
		      struct noise_handshake *hs,
		      const struct noise_keypair_plain *in,
		      const uint64_t words[REPLAY_WORDS])
{
	const struct noise_local *local = kps->local;
	struct noise_keypair *kp;
	int err = noise_keypairs_reserve(kps);

	if (err < 0)
		return err;
	kp = kps->spare;
	kps->spare = NULL;
	fill_keypair(kp, hs->owner, in, words);
	err = local->ops->insert_index(local->arg, in->local_index, hs, kp);
	if (err < 0)
		noise_keypair_put(kp);
	else
		*slot_of(kps, slot) = kp;
	return err;
}

static void empty_slot(struct noise_keypairs *kps, enum noise_slot slot)
{
	drop(kps, *slot_of(kps, slot));
	*slot_of(kps, slot) = NULL;
}

int noise_keypairs_import(struct noise_keypairs *kps, enum noise_slot slot,
			  struct noise_handshake *hs,
			  const struct noise_keypair_plain *in,
			  const uint64_t words[REPLAY_WORDS])
{
	struct noise_keypair *kp;
	int err = 0;

	pthread_mutex_lock(&kps->lock);
	kp = *slot_of(kps, slot);
	if (kp && is_same(kp, in)) {
		fill_keypair(kp, hs->owner, in, words);
	} else {
		empty_slot(kps, slot);
		err = import_new(kps, slot, hs, in, words);
	}
	unlock(kps);
	return err;
}

void noise_keypairs_import_none(struct noise_keypairs *kps,
				enum noise_slot slot)
{
	pthread_mutex_lock(&kps->lock);
	empty_slot(kps, slot);
	unlock(kps);
}
