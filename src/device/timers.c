/* SPDX-License-Identifier: MIT */
#include "device/timers.h"

#include <string.h>

#include "base/clock.h"
#include "noise/constants.h"

static const uint64_t rekey_timeout_ns = REKEY_TIMEOUT * NSEC_PER_SEC;
static const uint64_t rekey_attempt_ns = REKEY_ATTEMPT_TIME * NSEC_PER_SEC;
static const uint64_t keepalive_ns = KEEPALIVE_TIMEOUT * NSEC_PER_SEC;
static const uint64_t unanswered_limit_ns =
	(KEEPALIVE_TIMEOUT + REKEY_TIMEOUT) * NSEC_PER_SEC;

/**
 * get() - read what another thread may write
 * @at:		where
 *
 * Return: the value.
 */
static uint64_t get(const _Atomic uint64_t *at)
{
	return atomic_load_explicit(at, memory_order_relaxed);
}

/**
 * set() - write what another thread may read
 * @at:		where
 * @value:	value
 */
static void set(_Atomic uint64_t *at, uint64_t value)
{
	atomic_store_explicit(at, value, memory_order_relaxed);
}

/**
 * clear() - write false
 * @flag:	flag
 */
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
	/* Others may still be about to store: they do it to no effect, since
	 * whoever starts the peer again clears once more. */
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

/**
 * arm() - a wait was started
 * @timers:	timers
 *
 * The exchange orders the stores before it against the control thread's look
 * after its own exchange in disarm(): either that look sees them, or this sees
 * the flag cleared and the caller wakes it.
 *
 * Return: true if the control thread must be woken.
 */
static bool arm(struct timers *timers)
{
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

/**
 * part_of() - a part of a span, by chance
 * @span_ns:	span
 * @random:	random bits, of which the lower 16 count
 *
 * Return: 0 up to the span.
 */
static uint64_t part_of(uint64_t span_ns, uint32_t random)
{
	return span_ns / 0x10000 * (random & 0xffff);
}

/**
 * jitter() - 0 to REKEY_TIMEOUT_JITTER_MAX_MS, by chance
 * @random:	random bits, of which the lower 16 count
 *
 * Return: nanoseconds.
 */
static uint64_t jitter(uint32_t random)
{
	return part_of((REKEY_TIMEOUT_JITTER_MAX_MS + 1) * NSEC_PER_MSEC,
		       random);
}

/**
 * is_due() - has a deadline come?
 * @due_ns:	deadline
 * @now:	the present
 * @v:		verdict: its next_ns becomes the deadline if that is earlier
 *
 * Return: true if so; false if not, and it is noted in the verdict.
 */
static bool is_due(uint64_t due_ns, uint64_t now, struct timers_verdict *v)
{
	if (due_ns <= now)
		return true;
	if (due_ns < v->next_ns)
		v->next_ns = due_ns;
	return false;
}

/**
 * take_wish() - take the wish for a handshake, if there is one
 * @timers:	timers
 *
 * Return: true if there was.
 */
static bool take_wish(struct timers *timers)
{
	return atomic_exchange_explicit(&timers->wants_handshake, false,
					memory_order_seq_cst);
}

/**
 * gate_ns() - the earliest time for another message of the handshake
 * @timers:	timers
 *
 * Return: the time.
 */
static uint64_t gate_ns(const struct timers *timers)
{
	uint64_t sent_ns = get(&timers->handshake_sent_ns);

	return sent_ns ? sent_ns + rekey_timeout_ns : 0;
}

/**
 * check_done() - has a handshake succeeded?
 * @timers:	timers
 */
static void check_done(struct timers *timers)
{
	if (atomic_exchange_explicit(&timers->is_done, false,
				     memory_order_acquire))
		timers->is_attempting = false;
}

/**
 * initiate() - send an initiation, and see to the next
 * @timers:	timers
 * @now:	the present
 * @random:	random bits, of which the lower 16 count
 * @v:		verdict: its next_ns becomes the deadline if that is earlier
 */
static void initiate(struct timers *timers, uint64_t now, uint32_t random,
		     struct timers_verdict *v)
{
	v->actions |= TIMERS_INITIATE;
	atomic_store_explicit(&timers->has_responded, false,
			      memory_order_relaxed);
	timers->retry_ns = now + rekey_timeout_ns + jitter(random);
	(void)is_due(timers->retry_ns, now, v);
}

/**
 * give_up() - end an attempt
 * @timers:	timers
 * @now:	the present
 * @v:		verdict: its next_ns becomes the deadline if that is earlier
 */
static void give_up(struct timers *timers, uint64_t now,
		    struct timers_verdict *v)
{
	timers->is_attempting = false;
	v->actions |= TIMERS_DROP_STAGED;
	set(&timers->owed_ns, 0);
	/* What is left of the handshake is wiped in due time as well. */
	timers_zero_later(timers, now);
}

/**
 * check_attempt() - is another initiation due, or the attempt over?
 * @timers:	timers
 * @now:	the present
 * @random:	random bits, of which the lower 16 count
 * @v:		verdict: its next_ns becomes the deadline if that is earlier
 */
static void check_attempt(struct timers *timers, uint64_t now, uint32_t random,
			  struct timers_verdict *v)
{
	if (!timers->is_attempting || !is_due(timers->retry_ns, now, v))
		return;
	if (atomic_exchange_explicit(&timers->has_responded, false,
				     memory_order_relaxed)) {
		timers->retry_ns =
			gate_ns(timers) + part_of(rekey_timeout_ns, random);
		if (!is_due(timers->retry_ns, now, v))
			return;
	}
	if (take_wish(timers))
		timers->attempt_ns = now;
	if (clock_has_passed(timers->attempt_ns, rekey_attempt_ns, now)) {
		give_up(timers, now, v);
		return;
	}
	v->actions |= TIMERS_FORGET_SOURCE;
	initiate(timers, now, random, v);
}

/**
 * check_unanswered() - has data gone unanswered for too long?
 * @timers:	timers
 * @now:	the present
 * @random:	random bits, of which the lower 16 count
 * @v:		verdict: its next_ns becomes the deadline if that is earlier
 */
static void check_unanswered(struct timers *timers, uint64_t now,
			     uint32_t random, struct timers_verdict *v)
{
	uint64_t since = get(&timers->unanswered_ns);

	if (!since ||
	    !is_due(since + unanswered_limit_ns + timers->jitter_ns, now, v))
		return;
	/* Should an answer come in this very moment, it is left alone. */
	if (!atomic_compare_exchange_strong_explicit(
		    &timers->unanswered_ns, &since, 0, memory_order_relaxed,
		    memory_order_relaxed))
		return;
	timers->jitter_ns = jitter(random);
	v->actions |= TIMERS_FORGET_SOURCE;
	atomic_store_explicit(&timers->wants_handshake, true,
			      memory_order_relaxed);
}

/**
 * check_wish() - has somebody asked for a handshake?
 * @timers:	timers
 * @now:	the present
 * @random:	random bits, of which the lower 16 count
 * @v:		verdict: its next_ns becomes the deadline if that is earlier
 *
 * While attempting, the wish stays for the next retry to find.
 */
static void check_wish(struct timers *timers, uint64_t now, uint32_t random,
		       struct timers_verdict *v)
{
	if (timers->is_attempting ||
	    !atomic_load_explicit(&timers->wants_handshake,
				  memory_order_relaxed))
		return;
	if (!is_due(gate_ns(timers), now, v))
		return;
	take_wish(timers);
	timers->is_attempting = true;
	timers->attempt_ns = now;
	initiate(timers, now, random, v);
}

/**
 * check_owed() - is a keepalive due as an answer?
 * @timers:	timers
 * @now:	the present
 * @v:		verdict: its next_ns becomes the deadline if that is earlier
 */
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

/**
 * check_persistent() - is a persistent keepalive due?
 * @timers:	timers
 * @now:	the present
 * @v:		verdict: its next_ns becomes the deadline if that is earlier
 */
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

/**
 * check_session() - is it time to wipe the keys?
 * @timers:	timers
 * @now:	the present
 * @v:		verdict: its next_ns becomes the deadline if that is earlier
 */
static void check_session(struct timers *timers, uint64_t now,
			  struct timers_verdict *v)
{
	uint64_t since = get(&timers->session_ns);

	if (!since || !is_due(since + TIMERS_ZERO_NS, now, v))
		return;
	/* Keys that another thread derives at this moment are left alone: here
	 * by the exchange, in zero_keys() of device.c by their age. */
	if (atomic_compare_exchange_strong_explicit(&timers->session_ns, &since,
						    0, memory_order_relaxed,
						    memory_order_relaxed))
		v->actions |= TIMERS_ZERO_KEYS;
}

/**
 * is_waiting() - is one of the waits under way that the data path starts?
 * @timers:	timers
 *
 * Return: true if so.
 */
static bool is_waiting(const struct timers *timers)
{
	return atomic_load_explicit(&timers->unanswered_ns,
				    memory_order_seq_cst) ||
	       atomic_load_explicit(&timers->owed_ns, memory_order_seq_cst);
}

/**
 * disarm() - without activity since the last look, the next will have to wake
 *	us
 * @timers:	timers
 * @now:	the present
 * @v:		verdict: its next_ns becomes the deadline if that is earlier
 */
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
	check_wish(timers, now, random, &v);
	check_owed(timers, now, &v);
	check_persistent(timers, now, &v);
	check_session(timers, now, &v);
	disarm(timers, now, &v);
	return v;
}
