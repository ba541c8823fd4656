/* SPDX-License-Identifier: MIT */
/*
 * The timers of one peer (WireGuard paper, sections 6.1 to 6.5).
 *
 * They are lazy. The data path sets no timer: it stores when something
 * happened, and the control thread computes from that what is due and when to
 * look again. What is stored is not "the last packet" but the start of each
 * wait, so a steady stream of packets stores nothing:
 *
 *	unanswered	the first data sent since something authentic arrived.
 *			KEEPALIVE_TIMEOUT + REKEY_TIMEOUT (and jitter) later the
 *			session is taken for dead: new handshake.
 *	owed		the first data received since anything authentic was
 *			sent. KEEPALIVE_TIMEOUT later: a keepalive.
 *	traversal	the last authentic packet either way. The persistent
 *			interval later: a keepalive.
 *	session		when keys were last derived. Three times
 *			REJECT_AFTER_TIME later: they are wiped.
 *
 * Data is what carries a packet; keepalives are authentic but no data, so two
 * idle peers do not keep each other awake. (The kernel module sends a second
 * keepalive after the first if more than one packet had come in before; one
 * answers them all, so there is no such second one here.)
 *
 * Handshakes are asked for by a flag. The control thread turns it into an
 * attempt: an initiation, and another each REKEY_TIMEOUT and jitter, until
 * there is a session or REKEY_ATTEMPT_TIME has gone by without anybody asking
 * again. Between two messages of the handshake that we send REKEY_TIMEOUT goes
 * by at least; a wish that comes earlier waits.
 *
 * When two initiations cross, each side drops its own to answer the other's,
 * and no session comes of either. If both tried again after about the same
 * time they would cross again, and for ever on a path whose delay is longer
 * than the jitter. So who has answered while its own initiation was out waits
 * longer, up to another REKEY_TIMEOUT, by chance.
 *
 * How the control thread learns of a new deadline: the flag `armed` says that
 * it will look at this peer within KEEPALIVE_TIMEOUT, the shortest wait there
 * is, in any case. The data path sets it when it starts a wait, and wakes the
 * control thread only if it was not set before. timers_check() leaves it set
 * while there was activity, and clears it, and looks once more, when there was
 * none: so a busy peer costs a look in ten seconds and no wake-ups, an idle one
 * nothing at all.
 *
 * All points of time are nanoseconds of CLOCK_BOOTTIME and not 0, which stands
 * for "not waiting" or "never".
 *
 * Legend: [a] atomic, [c] control thread only.
 */
#ifndef DEVICE_TIMERS_H
#define DEVICE_TIMERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "noise/constants.h"

/* "No deadline"; the same as SCHEDULE_NEVER. */
#define TIMERS_NEVER UINT64_MAX

/* Keys are wiped so long after the last were derived (paper, section 6). */
#define TIMERS_ZERO_NS (3 * (uint64_t)REJECT_AFTER_TIME * NSEC_PER_SEC)

/* What is to be done; any number of these. */
enum timers_action {
	/* Send an initiation. */
	TIMERS_INITIATE = 1,
	/* Let the route choose the local address again. */
	TIMERS_FORGET_SOURCE = 2,
	/* Send a keepalive, if nothing else is waiting to be sent. */
	TIMERS_KEEPALIVE = 4,
	/* The attempt has failed: drop staged packets. */
	TIMERS_DROP_STAGED = 8,
	/*
	 * Wipe keypairs that are TIMERS_ZERO_NS old, and the handshake, unless
	 * that is under way: then timers_zero_later().
	 */
	TIMERS_ZERO_KEYS = 16,
};

/**
 * struct timers_verdict - what timers_check() finds
 * @actions:	or of enum timers_action
 * @next_ns:	when to look again; TIMERS_NEVER
 */
struct timers_verdict {
	unsigned int actions;
	uint64_t next_ns;
};

/**
 * struct timers - when what happened
 * @unanswered_ns:	[a] see above
 * @owed_ns:		[a]
 * @traversal_ns:	[a]
 * @session_ns:		[a]
 * @handshake_sent_ns:	[a] last initiation or response that we sent
 * @persistent_s:	[a] interval of persistent keepalives, 0: none
 * @wants_handshake:	[a] somebody has asked for one
 * @has_responded:	[a] a response has left since the last initiation
 * @is_done:		[a] a handshake has succeeded since the last check
 * @has_new_wait:	[a] a wait was started since the last check
 * @armed:		[a] see above
 * @is_attempting:	[c] initiations are being sent
 * @attempt_ns:		[c] since when; moves on when somebody asks again
 * @retry_ns:		[c] when the next one is due
 * @jitter_ns:		[c] added to the wait for an answer
 */
struct timers {
	_Atomic uint64_t unanswered_ns;
	_Atomic uint64_t owed_ns;
	_Atomic uint64_t traversal_ns;
	_Atomic uint64_t session_ns;
	_Atomic uint64_t handshake_sent_ns;
	_Atomic uint16_t persistent_s;
	_Atomic bool wants_handshake;
	_Atomic bool has_responded;
	_Atomic bool is_done;
	_Atomic bool has_new_wait;
	_Atomic bool armed;
	bool is_attempting;
	uint64_t attempt_ns;
	uint64_t retry_ns;
	uint64_t jitter_ns;
};

/**
 * timers_init() - nothing has happened, no persistent keepalive
 * @timers:	caller's storage
 */
void timers_init(struct timers *timers);

/**
 * timers_stop() - forget everything that was waiting; the interval stays
 * @timers:	timers of a peer that begins nothing new
 *
 * Control thread.
 */
void timers_stop(struct timers *timers);

/**
 * timers_note_sent() - messages were sealed and handed to the socket
 * @timers:	timers
 * @has_data:	not only keepalives
 * @now:	the present
 *
 * Also for messages of the handshake. Once for a batch. Any thread.
 *
 * Return: true if the control thread must be woken for this peer.
 */
bool timers_note_sent(struct timers *timers, bool has_data, uint64_t now);

/**
 * timers_note_received() - authentic messages have arrived
 * @timers:	timers
 * @has_data:	not only keepalives
 * @now:	the present
 *
 * Also for messages of the handshake. Once for a batch. Any thread.
 *
 * Return: true if the control thread must be woken for this peer.
 */
bool timers_note_received(struct timers *timers, bool has_data, uint64_t now);

/**
 * timers_want_handshake() - ask for a new handshake
 * @timers:	timers
 *
 * Any thread.
 *
 * Return: true if the control thread must be woken for this peer.
 */
bool timers_want_handshake(struct timers *timers);

/**
 * timers_note_handshake_sent() - an initiation or a response leaves
 * @timers:	timers
 * @is_response: which of the two
 * @now:	the present
 *
 * Handshaker or control thread.
 */
void timers_note_handshake_sent(struct timers *timers, bool is_response,
				uint64_t now);

/**
 * timers_zero_later() - have remaining keys wiped TIMERS_ZERO_NS from now
 * @timers:	timers
 * @now:	the present
 *
 * Does nothing if they are to be wiped sooner anyway. Control thread.
 */
void timers_zero_later(struct timers *timers, uint64_t now);

/**
 * timers_note_session() - keys were derived
 * @timers:	timers
 * @now:	the present
 *
 * Any thread. The caller wakes the control thread.
 */
void timers_note_session(struct timers *timers, uint64_t now);

/**
 * timers_note_handshake_done() - both sides have the keys
 * @timers:	timers
 *
 * Any thread. The caller wakes the control thread.
 */
void timers_note_handshake_done(struct timers *timers);

/**
 * timers_expire_handshake() - the initiation that was sent is void
 * @timers:	timers
 *
 * The next initiation need not wait for REKEY_TIMEOUT to go by. An attempt that
 * is under way begins anew at the next timers_check(), with its whole time.
 * Called after a change of the private key, and by device_renew(). Control
 * thread; the caller has to call device_poke_peer().
 */
void timers_expire_handshake(struct timers *timers);

/**
 * timers_check() - what is due?
 * @timers:	timers
 * @now:	the present
 * @random:	32 random bits, for jitter
 *
 * What is in the result counts as done. Control thread.
 *
 * Return: actions, and when to look again.
 */
struct timers_verdict timers_check(struct timers *timers, uint64_t now,
				   uint32_t random);

#endif /* DEVICE_TIMERS_H */
