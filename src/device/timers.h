/* SPDX-License-Identifier: MIT */
/*
 * The timers of one peer (WireGuard paper, sections 6.1 to 6.5).
 *
 * The data path sets no timer. It stores when something happened; the control
 * thread computes from these times what is due, and when it has to look again.
 * The data path does not store the time of each packet, only the time at which
 * a wait began, so a steady stream of packets stores almost nothing:
 *
 *	unanswered	when the first data was sent since the last authentic
 *			message came in. KEEPALIVE_TIMEOUT + REKEY_TIMEOUT (and
 *			jitter) later the session counts as dead, and a new
 *			handshake begins.
 *	owed		when the first data came in since the last authentic
 *			message was sent. KEEPALIVE_TIMEOUT later a keepalive is
 *			sent.
 *	traversal	when the last authentic message was sent or came in. The
 *			persistent interval later a keepalive is sent.
 *	session		when keys were last derived. Three times
 *			REJECT_AFTER_TIME later the keys are wiped.
 *
 * Data is a message that carries a packet. A keepalive is authentic but no
 * data, so two idle peers do not keep each other awake. (If more than one
 * packet had come in, the kernel module sends a second keepalive after the
 * first. One keepalive answers all packets, so this code sends only one.)
 *
 * A handshake is requested by the flag `wants_handshake`. The control thread
 * turns the request into an attempt. The attempt sends an initiation, and
 * another one after each REKEY_TIMEOUT and jitter. It ends when there is a
 * session, or when REKEY_ATTEMPT_TIME has passed since the last request.
 * Between two messages of the handshake that we send at least REKEY_TIMEOUT
 * passes; a request that comes earlier waits.
 *
 * When two initiations cross, each side drops its own to answer the other's,
 * and neither leads to a session. If both sides tried again after about the
 * same time, the initiations would cross again, and for ever on a path whose
 * delay is longer than the jitter. Therefore a side that has sent a response
 * while its own initiation was under way waits longer, by a random part of
 * REKEY_TIMEOUT.
 *
 * How the control thread learns of a new deadline: the flag `armed` says that
 * the control thread will look at this peer within KEEPALIVE_TIMEOUT, which is
 * the shortest wait. The data path sets the flag when it begins a wait, and
 * wakes the control thread only if the flag was clear. timers_check() leaves
 * the flag set as long as waits began or are under way. Otherwise it clears the
 * flag and looks once more. Therefore a busy peer costs one look in ten seconds
 * and no wake-up, and an idle peer costs nothing.
 *
 * All points of time are nanoseconds of CLOCK_BOOTTIME. 0 stands for "not
 * waiting" or "never", so no point of time is 0.
 *
 * Legend: [a] atomic, [c] control thread only.
 */
#ifndef DEVICE_TIMERS_H
#define DEVICE_TIMERS_H

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "noise/constants.h"

/* "No deadline"; the same as SCHEDULE_NEVER. */
#define TIMERS_NEVER UINT64_MAX

/* Time from the last derivation of keys until they are wiped (paper, section
 * 6). */
#define TIMERS_ZERO_NS (3 * (uint64_t)REJECT_AFTER_TIME * NSEC_PER_SEC)

/* Actions for the caller of timers_check(), which are or'ed. */
enum timers_action {
	/* Send an initiation. */
	TIMERS_INITIATE = 1,
	/* Let the route choose the local address again. */
	TIMERS_FORGET_SOURCE = 2,
	/* Send the staged packets, or a keepalive if there are none. */
	TIMERS_KEEPALIVE = 4,
	/* The attempt has failed: drop staged packets. */
	TIMERS_DROP_STAGED = 8,
	/*
	 * Wipe keypairs that are TIMERS_ZERO_NS old, and the handshake. If the
	 * handshake is under way, keep it and call timers_zero_later().
	 */
	TIMERS_ZERO_KEYS = 16,
	/* TIMERS_SILENT_TRIES initiations in a row had no response: say so. */
	TIMERS_SILENT = 32,
};

enum {
	/* See TIMERS_SILENT. A choice: after about 15 s a lost packet is not the
	 * reason any more. */
	TIMERS_SILENT_TRIES = 3,
};

/**
 * struct timers_verdict - the result of timers_check()
 * @actions:	or of enum timers_action
 * @next_ns:	when to look again; TIMERS_NEVER: no deadline
 */
struct timers_verdict {
	unsigned int actions;
	uint64_t next_ns;
};

/**
 * struct timers - the times that the timers of a peer are computed from
 * @unanswered_ns:	[a] the four waits of the essay; 0: not waiting
 * @owed_ns:		[a]
 * @traversal_ns:	[a]
 * @session_ns:		[a]
 * @handshake_sent_ns:	[a] when we last sent an initiation or a response
 * @persistent_s:	[a] interval of persistent keepalives, 0: none
 * @wants_handshake:	[a] a handshake was requested
 * @has_responded:	[a] a response has left since the last initiation
 * @is_done:		[a] a handshake has succeeded since the last check
 * @has_new_wait:	[a] a wait was started since the last check
 * @armed:		[a] the control thread looks within KEEPALIVE_TIMEOUT
 * @is_attempting:	[c] initiations are being sent
 * @attempt_ns:		[c] time of the last request that began or prolonged the
 *			attempt
 * @retry_ns:		[c] when the next initiation of the attempt is due
 * @jitter_ns:		[c] added to the wait for an answer to data
 * @n_tries:		[c] initiations that the attempt has sent
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
	uint32_t n_tries;
};

/**
 * timers_init() - begin without waits and without persistent keepalives
 * @timers:	caller's storage
 */
void timers_init(struct timers *timers);

/**
 * timers_stop() - clear all waits and the attempt; the interval stays
 * @timers:	timers of a peer whose handshake is closed
 *
 * Control thread.
 */
void timers_stop(struct timers *timers);

/**
 * timers_note_sent() - note that messages were sealed and handed to the socket
 * @timers:	timers
 * @has_data:	one of them carried a packet
 * @now:	the present
 *
 * One call is enough for a run. Also for messages of the handshake. Any thread.
 *
 * Return: true if the control thread must be woken for this peer.
 */
bool timers_note_sent(struct timers *timers, bool has_data, uint64_t now);

/**
 * timers_note_received() - note that authentic messages have arrived
 * @timers:	timers
 * @has_data:	one of them carried a packet
 * @now:	the present
 *
 * One call is enough for a run. Also for messages of the handshake. Any thread.
 *
 * Return: true if the control thread must be woken for this peer.
 */
bool timers_note_received(struct timers *timers, bool has_data, uint64_t now);

/**
 * timers_want_handshake() - request a handshake
 * @timers:	timers
 *
 * Any thread.
 *
 * Return: true if the control thread must be woken for this peer.
 */
bool timers_want_handshake(struct timers *timers);

/**
 * timers_note_handshake_sent() - note that we send an initiation or a response
 * @timers:	timers
 * @is_response: true: a response; false: an initiation
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
 * Does nothing if they are due to be wiped earlier. Control thread.
 */
void timers_zero_later(struct timers *timers, uint64_t now);

/**
 * timers_note_session() - note that the keys of a session were derived
 * @timers:	timers
 * @now:	the present
 *
 * Any thread. The caller wakes the control thread.
 */
void timers_note_session(struct timers *timers, uint64_t now);

/**
 * timers_note_handshake_done() - note that both sides have the keys
 * @timers:	timers
 *
 * Any thread. The caller wakes the control thread.
 */
void timers_note_handshake_done(struct timers *timers);

/**
 * timers_expire_handshake() - let the next initiation leave without a wait
 * @timers:	timers
 *
 * For an initiation that can lead to no session any more: after a change of the
 * private key, after device_renew(), or if a peer gets its first endpoint. The
 * next initiation does not wait until REKEY_TIMEOUT has passed. An attempt that
 * is under way begins anew at the next timers_check(), with its whole time.
 * Control thread; the caller has to call device_poke_peer().
 */
void timers_expire_handshake(struct timers *timers);

/**
 * timers_check() - find out what is due
 * @timers:	timers
 * @now:	the present
 * @random:	32 random bits, for jitter
 *
 * The actions of the result count as done, so the caller has to do them.
 * Control thread.
 *
 * Return: actions, and when to look again.
 */
struct timers_verdict timers_check(struct timers *timers, uint64_t now,
				   uint32_t random);

/**
 * struct timers_plain - timers as numbers, for another process
 *
 * Members as in struct timers; booleans are 0 or 1.
 */
struct timers_plain {
	uint64_t unanswered_ns;
	uint64_t owed_ns;
	uint64_t traversal_ns;
	uint64_t session_ns;
	uint64_t handshake_sent_ns;
	uint64_t attempt_ns;
	uint64_t retry_ns;
	uint64_t jitter_ns;
	uint32_t n_tries;
	uint16_t persistent_s;
	uint8_t wants_handshake;
	uint8_t has_responded;
	uint8_t is_done;
	uint8_t has_new_wait;
	uint8_t armed;
	uint8_t is_attempting;
	uint8_t zero[4];
};

static_assert(sizeof(struct timers_plain) == 8 * 8 + 4 + 2 + 6 + 4,
	      "no padding");

/* timers_export() - write timers as numbers. Control thread; no other thread uses the
 * timers meanwhile. */
void timers_export(const struct timers *timers, struct timers_plain *out);

/**
 * timers_plain_is_sound() - may timers_export() have written this?
 * @plain:	numbers of any origin
 * @latest:	no point of time may lie after this one, except deadlines, which may
 *		lie as far behind it as timers_check() sets them
 *
 * Return: true if timers_import() may be given it.
 */
bool timers_plain_is_sound(const struct timers_plain *plain, uint64_t latest);

/* timers_import() - go on with the timers of another process. @in is sound. Control
 * thread; no other thread uses the timers yet. */
void timers_import(struct timers *timers, const struct timers_plain *in);

#endif /* DEVICE_TIMERS_H */
