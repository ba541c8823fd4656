/* SPDX-License-Identifier: MIT */
/*
 * Which of its addresses a peer's endpoint shall be. No I/O: the time, the answers of
 * the resolver and the events of the daemon are arguments.
 *
 * A peer has candidates, in order of preference: the Endpoint of its configuration, then
 * each endpoint_backup. A candidate is a name with a port, and has the addresses that
 * the name was last resolved to. They are kept in an order in which the families take
 * turns, the best address first.
 *
 * In quiet times the endpoint is left alone as long as it is an address of a candidate.
 * If the name has other addresses now, the endpoint becomes the first of them.
 *
 * Rounds. When a peer stalls, all its names are resolved again, and then each address is
 * tried, for two or three handshake initiations (CHOICE_TRY_MS): first the other addresses of
 * the first candidate, then those of the next. A session ends the round. If nothing has
 * answered, the first address is set, and the next round begins when the peer stalls
 * again, or if the timer finds that it is silent and that we still send to it.
 *
 * Roaming. An endpoint that authenticated packets have brought is better than what any
 * name says. It is not touched for CHOICE_HOLD_MS, and not as long as the session lives
 * and answers. (A session lives for REJECT_AFTER_TIME.)
 *
 * The way back. While a candidate that is not the first is in use, only a packet to the
 * first can tell whether the first answers again. If there is no session, the first is
 * simply set. If there is one, it is set for some seconds, at the time at which our next
 * packet begins a new handshake anyway (REKEY_AFTER_TIME): if the first has the old
 * session, its packets come in, and if it has not, the handshake tells. Packets from
 * the other candidate that are still under way move the endpoint back meanwhile, so it
 * is set again. If nothing comes, the endpoint is given back, and the next attempt
 * waits twice as long, up to CHOICE_RETURN_MAX_MS.
 *
 * Points of time are milliseconds of a clock that is never set.
 *
 * One thread.
 */
#ifndef CTL_CHOICE_H
#define CTL_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ctl/resolver.h"

/* A point of time that has not been yet, or does not come. */
#define CHOICE_NEVER INT64_MAX

enum {
	/* Bytes of "[ADDRESS]:PORT", with the final 0. */
	CHOICE_TEXT_CAP = RESOLVER_TEXT_CAP + 8,
	/* An address is tried for so long: at least two initiations, which are
	 * REKEY_TIMEOUT and some jitter apart, and a second for the answer. */
	CHOICE_TRY_MS = 12000,
	/* After a peer has stalled, the answers of the resolver are waited for.
	 * A choice. */
	CHOICE_ANSWERS_MS = 5000,
	/* An endpoint that packets have brought is not touched for so long. A session
	 * cannot be used for longer than this, its REJECT_AFTER_TIME. */
	CHOICE_HOLD_MS = 180000,
	/* At this age of a session the first candidate is tried: half a second before
	 * REKEY_AFTER_TIME, when our next packet begins a handshake. */
	CHOICE_PROBE_AGE_MS = 119500,
	/* It is tried for so long after something was sent. A choice: half a second
	 * before that handshake, and three seconds for its answer. */
	CHOICE_PROBE_MS = 3500,
	/* Time between two attempts to go back to the first candidate, at first and at
	 * most. Choices. */
	CHOICE_RETURN_MS = 100000,
	CHOICE_RETURN_MAX_MS = 3600000,
	/* How often the endpoint is set again within one attempt. A choice. */
	CHOICE_RESETS = 50,
	/* While it is tried, the numbers of the peer are looked at so often. */
	CHOICE_LOOK_MS = 500,
};

/* An endpoint as the UAPI has it; empty: there is none. */
struct choice_text {
	char text[CHOICE_TEXT_CAP];
};

/**
 * struct choice_candidate - a name with a port
 * @is_known:	the name was resolved at least once, or this failed
 * @n:		how many @addresses; 0: it has never been resolved with success
 * @addresses:	the addresses
 */
struct choice_candidate {
	bool is_known;
	size_t n;
	struct choice_text addresses[RESOLVER_ADDRESSES];
};

/**
 * struct choice_seen - what the daemon tells about a peer
 * @endpoint:	its endpoint; NULL: it has none
 * @handshake_ms: when its session began; CHOICE_NEVER: it has none
 * @is_silent:	it does not answer handshakes
 * @tx:		bytes sent
 * @rx:		bytes accepted
 */
struct choice_seen {
	const char *endpoint;
	int64_t handshake_ms;
	bool is_silent;
	uint64_t tx;
	uint64_t rx;
};

/**
 * struct choice_move - the endpoint shall be changed
 * @to:		the new endpoint; valid until the next call
 * @why:	why, as the end of a sentence: a constant
 */
struct choice_move {
	const char *to;
	const char *why;
};

/* All members are private. */
struct choice {
	size_t n_candidates;
	struct choice_candidate *candidates;
	/* What the daemon has, and the candidate that had it last. */
	struct choice_text now;
	size_t at;
	int64_t handshake_ms;
	bool is_initiator;
	uint64_t tx;
	uint64_t rx;
	/* When packets have brought the endpoint; CHOICE_NEVER: they have not. */
	int64_t roamed_ms;
	/* It does not answer, and a round shall begin at @answers_ms, or when there
	 * is an answer to each of @n_asked questions. */
	bool is_stalled;
	bool wants_round;
	int64_t answers_ms;
	unsigned int n_asked;
	/* A round: what is tried, and until when the last one is. */
	struct choice_text *order;
	size_t n_order;
	size_t next;
	int64_t try_until_ms;
	/* The way back: not before @return_ms. */
	int64_t return_ms;
	int64_t return_wait_ms;
	bool is_probing;
	struct choice_text first;
	struct choice_text from;
	uint64_t probe_tx;
	int64_t sent_ms;
	unsigned int n_resets;
	unsigned int n_heard;
	bool was_moved;
};

/**
 * choice_init() - a peer of which nothing is known
 * @choice:	caller's storage; choice_deinit() it
 * @n_candidates: how many candidates it has, at least 1
 *
 * Return: 0; -ENOMEM.
 */
int choice_init(struct choice *choice, size_t n_candidates);

/* choice_deinit() - free what choice_init() and later calls have made */
void choice_deinit(struct choice *choice);

/**
 * choice_answer() - a name was resolved, or could not be
 * @choice:	a peer
 * @candidate:	index of the candidate that has this name
 * @answer:	the answer; if it has no address, the earlier ones stay
 * @port:	the candidate's port
 */
void choice_answer(struct choice *choice, size_t candidate,
		   const struct resolver_answer *answer, uint16_t port);

/* choice_note_asked() - a name of this peer is being resolved: choice_answer() comes */
void choice_note_asked(struct choice *choice);

/* choice_look() - the numbers of the peer, read at @now */
void choice_look(struct choice *choice, const struct choice_seen *seen,
		 int64_t now);

/* choice_note_roamed() - packets have brought the present endpoint, at @when */
void choice_note_roamed(struct choice *choice, int64_t when);

/* choice_established() - a session began at @endpoint, by our initiation or not */
void choice_established(struct choice *choice, const char *endpoint,
			bool is_initiator, int64_t now);

/* choice_moved() - an authenticated packet has brought another endpoint */
void choice_moved(struct choice *choice, const char *endpoint, int64_t now);

/* choice_configured() - somebody, perhaps we, has configured the peer */
void choice_configured(struct choice *choice, const char *endpoint);

/**
 * choice_stalled() - the peer does not answer
 * @choice:	a peer
 * @now:	the present
 *
 * Return: true if its names are to be resolved now.
 */
bool choice_stalled(struct choice *choice, int64_t now);

/**
 * choice_decide() - shall the endpoint be changed?
 * @choice:	a peer
 * @now:	the present
 * @move:	filled if so; the caller sets the endpoint, and then calls choice_set()
 *
 * Return: true if so.
 */
bool choice_decide(struct choice *choice, int64_t now,
		   struct choice_move *move);

/* choice_set() - the endpoint was set as choice_decide() told */
void choice_set(struct choice *choice, const char *endpoint);

/* choice_due() - when to call choice_decide() again without news; CHOICE_NEVER */
int64_t choice_due(const struct choice *choice, int64_t now);

/* choice_wants_look() - shall choice_look() come each CHOICE_LOOK_MS? */
bool choice_wants_look(const struct choice *choice);

#endif /* CTL_CHOICE_H */
