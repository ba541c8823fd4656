/* SPDX-License-Identifier: MIT */
/*
 * Computes what is due for a peer from the points of time that the data path
 * has stored. The essay is in timers.h.
 *
 * Each check_...() below looks at one wait. If its time has come, the check
 * adds an action to the verdict @v. If not, is_due() brings the verdict's next
 * look forward to that time. Of @random the lower 16 bits count.
 */
#include "device/timers.h"

#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "noise/constants.h"

static const uint64_t rekey_timeout_ns = REKEY_TIMEOUT * NSEC_PER_SEC;
static const uint64_t rekey_attempt_ns = REKEY_ATTEMPT_TIME * NSEC_PER_SEC;
static const uint64_t keepalive_ns = KEEPALIVE_TIMEOUT * NSEC_PER_SEC;
static const uint64_t unanswered_limit_ns =
	(KEEPALIVE_TIMEOUT + REKEY_TIMEOUT) * NSEC_PER_SEC;

static uint64_t get(const _Atomic uint64_t *at)
{
	return atomic_load_explicit(at, memory_order_relaxed);
}

static void set(_Atomic uint64_t *at, uint64_t value)
{
	atomic_store_explicit(at, value, memory_order_relaxed);
}

static void clear(_Atomic bool *flag)
{
	atomic_store_explicit(flag, false, memory_order_relaxed);
}

void timers_init(struct timers *timers)
{
	memset(timers, 0, sizeof(*timers));
}

void timers_stop(struct timers *timers)
{
	/* Another thread may store a time after this. That does no harm:
	 * peer_start() clears all of them again. */
	set(&timers->unanswered_ns, 0);
	set(&timers->owed_ns, 0);
	set(&timers->traversal_ns, 0);
	set(&timers->session_ns, 0);
	set(&timers->handshake_sent_ns, 0);
	clear(&timers->wants_handshake);
	clear(&timers->has_responded);
	clear(&timers->is_done);
	clear(&timers->has_new_wait);
	clear(&timers->armed);
	timers->is_attempting = false;
}

/* Notes that a wait was started. Returns true if the control thread must be
 * woken. */
static bool arm(struct timers *timers)
{
	/*
	 * The exchange orders the caller's store of a wait before it. Its
	 * partner is the exchange in disarm(), after which the control thread
	 * looks at the waits. So either that look sees the new wait, or this
	 * exchange sees the flag cleared and the caller wakes the thread.
	 */
	atomic_store_explicit(&timers->has_new_wait, true,
			      memory_order_relaxed);
	return !atomic_exchange_explicit(&timers->armed, true,
					 memory_order_seq_cst);
}

bool timers_note_sent(struct timers *timers, bool has_data, uint64_t now)
{
	set(&timers->traversal_ns, now);
	if (get(&timers->owed_ns))
		set(&timers->owed_ns, 0);
	if (!has_data || get(&timers->unanswered_ns))
		return false;
	set(&timers->unanswered_ns, now);
	return arm(timers);
}

bool timers_note_received(struct timers *timers, bool has_data, uint64_t now)
{
	set(&timers->traversal_ns, now);
	if (get(&timers->unanswered_ns))
		set(&timers->unanswered_ns, 0);
	if (!has_data || get(&timers->owed_ns))
		return false;
	set(&timers->owed_ns, now);
	return arm(timers);
}

bool timers_want_handshake(struct timers *timers)
{
	if (atomic_load_explicit(&timers->wants_handshake,
				 memory_order_relaxed))
		return false;
	return !atomic_exchange_explicit(&timers->wants_handshake, true,
					 memory_order_seq_cst);
}

void timers_note_handshake_sent(struct timers *timers, bool is_response,
				uint64_t now)
{
	if (is_response)
		atomic_store_explicit(&timers->has_responded, true,
				      memory_order_relaxed);
	set(&timers->handshake_sent_ns, now);
	timers_note_sent(timers, false, now);
}

void timers_note_session(struct timers *timers, uint64_t now)
{
	set(&timers->session_ns, now);
}

void timers_zero_later(struct timers *timers, uint64_t now)
{
	uint64_t never = 0;

	atomic_compare_exchange_strong_explicit(&timers->session_ns, &never,
						now, memory_order_relaxed,
						memory_order_relaxed);
}

void timers_note_handshake_done(struct timers *timers)
{
	atomic_store_explicit(&timers->wants_handshake, false,
			      memory_order_relaxed);
	/* Pairs with the exchange in check_done(). */
	atomic_store_explicit(&timers->is_done, true, memory_order_release);
}

void timers_expire_handshake(struct timers *timers)
{
	set(&timers->handshake_sent_ns, 0);
	clear(&timers->has_responded);
	if (!timers->is_attempting)
		return;
	timers->is_attempting = false;
	atomic_store_explicit(&timers->wants_handshake, true,
			      memory_order_relaxed);
}

/* A random part of a span. */
static uint64_t part_of(uint64_t span_ns, uint32_t random)
{
	return span_ns / 0x10000 * (random & 0xffff);
}

/* 0 to REKEY_TIMEOUT_JITTER_MAX_MS, in nanoseconds. */
static uint64_t jitter(uint32_t random)
{
	return part_of((REKEY_TIMEOUT_JITTER_MAX_MS + 1) * NSEC_PER_MSEC,
		       random);
}

/* Has @due_ns come? If not, @v makes the next look at that time or earlier. */
static bool is_due(uint64_t due_ns, uint64_t now, struct timers_verdict *v)
{
	if (due_ns <= now)
		return true;
	if (due_ns < v->next_ns)
		v->next_ns = due_ns;
	return false;
}

/* Takes the request for a handshake. Returns true if there was one. */
static bool take_request(struct timers *timers)
{
	return atomic_exchange_explicit(&timers->wants_handshake, false,
					memory_order_seq_cst);
}

/* The earliest time for our next message of the handshake. */
static uint64_t next_message_ns(const struct timers *timers)
{
	uint64_t sent_ns = get(&timers->handshake_sent_ns);

	return sent_ns ? sent_ns + rekey_timeout_ns : 0;
}

static void check_done(struct timers *timers)
{
	if (atomic_exchange_explicit(&timers->is_done, false,
				     memory_order_acquire))
		timers->is_attempting = false;
}

static void initiate(struct timers *timers, uint64_t now, uint32_t random,
		     struct timers_verdict *v)
{
	v->actions |= TIMERS_INITIATE;
	timers->n_tries++;
	atomic_store_explicit(&timers->has_responded, false,
			      memory_order_relaxed);
	timers->retry_ns = now + rekey_timeout_ns + jitter(random);
	(void)is_due(timers->retry_ns, now, v);
}

static void give_up(struct timers *timers, uint64_t now,
		    struct timers_verdict *v)
{
	timers->is_attempting = false;
	v->actions |= TIMERS_DROP_STAGED;
	set(&timers->owed_ns, 0);
	/* The keys of the failed handshake are wiped after the usual time. */
	timers_zero_later(timers, now);
}

/* Is another initiation due, or is the attempt over? */
static void check_attempt(struct timers *timers, uint64_t now, uint32_t random,
			  struct timers_verdict *v)
{
	if (!timers->is_attempting || !is_due(timers->retry_ns, now, v))
		return;
	if (atomic_exchange_explicit(&timers->has_responded, false,
				     memory_order_relaxed)) {
		timers->retry_ns = next_message_ns(timers) +
				   part_of(rekey_timeout_ns, random);
		if (!is_due(timers->retry_ns, now, v))
			return;
	}
	if (take_request(timers))
		timers->attempt_ns = now;
	if (clock_has_passed(timers->attempt_ns, rekey_attempt_ns, now)) {
		give_up(timers, now, v);
		return;
	}
	v->actions |= TIMERS_FORGET_SOURCE;
	if (timers->n_tries == TIMERS_SILENT_TRIES)
		v->actions |= TIMERS_SILENT;
	initiate(timers, now, random, v);
}

/* Has data gone unanswered for so long that the session counts as dead? */
static void check_unanswered(struct timers *timers, uint64_t now,
			     uint32_t random, struct timers_verdict *v)
{
	uint64_t since = get(&timers->unanswered_ns);

	if (!since ||
	    !is_due(since + unanswered_limit_ns + timers->jitter_ns, now, v))
		return;
	/* If an answer has just come, another thread has cleared the wait:
	 * then the session is not dead. */
	if (!atomic_compare_exchange_strong_explicit(
		    &timers->unanswered_ns, &since, 0, memory_order_relaxed,
		    memory_order_relaxed))
		return;
	timers->jitter_ns = jitter(random);
	v->actions |= TIMERS_FORGET_SOURCE;
	atomic_store_explicit(&timers->wants_handshake, true,
			      memory_order_relaxed);
}

/* During an attempt the request stays: the next retry takes it. */
static void check_request(struct timers *timers, uint64_t now, uint32_t random,
			  struct timers_verdict *v)
{
	if (timers->is_attempting ||
	    !atomic_load_explicit(&timers->wants_handshake,
				  memory_order_relaxed))
		return;
	if (!is_due(next_message_ns(timers), now, v))
		return;
	take_request(timers);
	timers->is_attempting = true;
	timers->n_tries = 0;
	timers->attempt_ns = now;
	initiate(timers, now, random, v);
}

/* Is a keepalive due as an answer to data? */
static void check_owed(struct timers *timers, uint64_t now,
		       struct timers_verdict *v)
{
	uint64_t since = get(&timers->owed_ns);

	if (!since || !is_due(since + keepalive_ns, now, v))
		return;
	v->actions |= TIMERS_KEEPALIVE;
	atomic_compare_exchange_strong_explicit(&timers->owed_ns, &since, 0,
						memory_order_relaxed,
						memory_order_relaxed);
}

static void check_persistent(struct timers *timers, uint64_t now,
			     struct timers_verdict *v)
{
	uint64_t interval_ns = atomic_load_explicit(&timers->persistent_s,
						    memory_order_relaxed) *
			       NSEC_PER_SEC;

	if (!interval_ns)
		return;
	if (is_due(get(&timers->traversal_ns) + interval_ns, now, v)) {
		v->actions |= TIMERS_KEEPALIVE;
		set(&timers->traversal_ns, now);
		(void)is_due(now + interval_ns, now, v);
	}
}

/* Is it time to wipe the keys? */
static void check_session(struct timers *timers, uint64_t now,
			  struct timers_verdict *v)
{
	uint64_t since = get(&timers->session_ns);

	if (!since || !is_due(since + TIMERS_ZERO_NS, now, v))
		return;
	/* Another thread may derive new keys at this moment. If it has stored
	 * the time, the exchange fails. If not, zero_keys() of device.c leaves
	 * the keys alone, because they are new. */
	if (atomic_compare_exchange_strong_explicit(&timers->session_ns, &since,
						    0, memory_order_relaxed,
						    memory_order_relaxed))
		v->actions |= TIMERS_ZERO_KEYS;
}

/* Is one of the two waits under way that the data path starts? */
static bool is_waiting(const struct timers *timers)
{
	return atomic_load_explicit(&timers->unanswered_ns,
				    memory_order_seq_cst) ||
	       atomic_load_explicit(&timers->owed_ns, memory_order_seq_cst);
}

/* Clears `armed` if no wait has begun since the last look, and none of those
 * that the data path starts is under way. */
static void disarm(struct timers *timers, uint64_t now,
		   struct timers_verdict *v)
{
	bool has_new_wait = atomic_exchange_explicit(
		&timers->has_new_wait, false, memory_order_relaxed);

	if (!has_new_wait && !is_waiting(timers)) {
		/* Pairs with arm(). */
		atomic_exchange_explicit(&timers->armed, false,
					 memory_order_seq_cst);
		if (!is_waiting(timers))
			return;
		atomic_store_explicit(&timers->armed, true,
				      memory_order_relaxed);
	}
	if (atomic_load_explicit(&timers->armed, memory_order_relaxed))
		(void)is_due(now + keepalive_ns, now, v);
}

struct timers_verdict timers_check(struct timers *timers, uint64_t now,
				   uint32_t random)
{
	struct timers_verdict v = { 0, TIMERS_NEVER };

	check_done(timers);
	check_attempt(timers, now, random, &v);
	check_unanswered(timers, now, random >> 16, &v);
	check_request(timers, now, random, &v);
	check_owed(timers, now, &v);
	check_persistent(timers, now, &v);
	check_session(timers, now, &v);
	disarm(timers, now, &v);
	return v;
}

/* ---------------------------------------------------- for another process */

static uint8_t get_flag(const _Atomic bool *flag)
{
	return atomic_load_explicit(flag, memory_order_relaxed);
}

static void set_flag(_Atomic bool *flag, uint8_t value)
{
	atomic_store_explicit(flag, value != 0, memory_order_relaxed);
}

void timers_export(const struct timers *timers, struct timers_plain *out)
{
	*out = (struct timers_plain){
		.unanswered_ns = get(&timers->unanswered_ns),
		.owed_ns = get(&timers->owed_ns),
		.traversal_ns = get(&timers->traversal_ns),
		.session_ns = get(&timers->session_ns),
		.handshake_sent_ns = get(&timers->handshake_sent_ns),
		.attempt_ns = timers->attempt_ns,
		.retry_ns = timers->retry_ns,
		.jitter_ns = timers->jitter_ns,
		.n_tries = timers->n_tries,
		.persistent_s = atomic_load_explicit(&timers->persistent_s,
						     memory_order_relaxed),
		.wants_handshake = get_flag(&timers->wants_handshake),
		.has_responded = get_flag(&timers->has_responded),
		.is_done = get_flag(&timers->is_done),
		.has_new_wait = get_flag(&timers->has_new_wait),
		.armed = get_flag(&timers->armed),
		.is_attempting = timers->is_attempting,
	};
}

static bool are_flags(const uint8_t *flags, size_t n)
{
	uint8_t all = 0;

	while (n--)
		all |= flags[n];
	return all <= 1;
}

bool timers_plain_is_sound(const struct timers_plain *plain, uint64_t latest)
{
	const uint8_t flags[] = {
		plain->wants_handshake, plain->has_responded,
		plain->is_done,		plain->has_new_wait,
		plain->armed,		plain->is_attempting
	};

	return plain->unanswered_ns <= latest && plain->owed_ns <= latest &&
	       plain->traversal_ns <= latest && plain->session_ns <= latest &&
	       plain->handshake_sent_ns <= latest &&
	       plain->attempt_ns <= latest &&
	       /* See initiate() and check_attempt(). */
	       plain->retry_ns <= latest + 3 * rekey_timeout_ns &&
	       plain->jitter_ns <= jitter(UINT32_MAX) &&
	       are_flags(flags, sizeof(flags)) &&
	       bytes_are_zero(plain->zero, sizeof(plain->zero));
}

void timers_import(struct timers *timers, const struct timers_plain *in)
{
	set(&timers->unanswered_ns, in->unanswered_ns);
	set(&timers->owed_ns, in->owed_ns);
	set(&timers->traversal_ns, in->traversal_ns);
	set(&timers->session_ns, in->session_ns);
	set(&timers->handshake_sent_ns, in->handshake_sent_ns);
	atomic_store_explicit(&timers->persistent_s, in->persistent_s,
			      memory_order_relaxed);
	set_flag(&timers->wants_handshake, in->wants_handshake);
	set_flag(&timers->has_responded, in->has_responded);
	set_flag(&timers->is_done, in->is_done);
	set_flag(&timers->has_new_wait, in->has_new_wait);
	set_flag(&timers->armed, in->armed);
	timers->is_attempting = in->is_attempting;
	timers->attempt_ns = in->attempt_ns;
	timers->retry_ns = in->retry_ns;
	timers->jitter_ns = in->jitter_ns;
	timers->n_tries = in->n_tries;
}
