/* SPDX-License-Identifier: MIT */
/*
 * Do trains arrive? The library sends several datagrams as one train, and some
 * middleboxes, drivers and kernels lose trains without a word while they let
 * single datagrams through. The socket hears nothing of it. A tunnel can see
 * it in the TCP connections that it carries: this file watches a few of them
 * for one peer and decides from what it sees whether trains are to stop.
 *
 * Input is each TCP segment that leaves, with its sequence numbers and whether
 * it left in a train, and the acknowledgement number of segments that come in.
 *
 *	lost	A train counts as lost if its first and its last segment leave
 *		once more. (Both, because a single lost datagram of a train that
 *		arrived otherwise is ordinary loss. When a sender repairs several
 *		segments they leave in a train, too, and are lost, too.)
 *	sign	A lost train whose first segment then left alone, was
 *		acknowledged, and did not leave again for two round trips. After
 *		a timeout TCP sends one segment: it leaves alone and passes, and
 *		that pair of a lost train and a single datagram that passed is
 *		the proof. A train that left before the single datagram of the
 *		last sign is no new sign: so a timeout after which TCP repeats
 *		all that it had sent counts once, and so does an outage that many
 *		connections notice.
 *	arrived	A train whose last segment was acknowledged, was sent for the
 *		first time in it, and which does not count as lost. It voids all
 *		signs. (A repair proves nothing: the receiver may have had it.)
 *
 * After TRAINWATCH_SIGNS signs in a row datagrams leave alone, for a pause.
 * Then one train is offered. If it arrives, trains are back; if it counts as
 * lost the pause doubles, from TRAINWATCH_PAUSE_MIN to TRAINWATCH_PAUSE_MAX;
 * if nothing is heard of it, another is offered after the same pause.
 *
 * Trains that would fit one ordinary packet prove nothing about longer ones,
 * and are not looked at.
 *
 * No I/O, no clock, no lock, no allocation: the caller brings `now` in
 * nanoseconds, and sees to it that one thread at a time is in here.
 */
#ifndef DEVICE_TRAINWATCH_H
#define DEVICE_TRAINWATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

enum {
	/* Connections of one peer that are watched at a time. */
	TRAINWATCH_FLOWS = 4,
	/* Trains of one connection that are watched at a time. */
	TRAINWATCH_TRAINS = 6,
	/* Signs in a row that stop trains. */
	TRAINWATCH_SIGNS = 3,
	/* Trains with no more bytes of TCP payload are not looked at. */
	TRAINWATCH_MIN_LEN = 1500,
};

/* Nanoseconds. */
#define TRAINWATCH_PAUSE_MIN (1 * NSEC_PER_SEC)
#define TRAINWATCH_PAUSE_MAX (30 * NSEC_PER_SEC)
/* How long the fate of a train that was offered is waited for. */
#define TRAINWATCH_OFFER_WAIT (5 * NSEC_PER_SEC)
/* Trains that stop again so soon after they were back have the longer pause. */
#define TRAINWATCH_MEMORY (60 * NSEC_PER_SEC)
/* A connection gives its place to another after so long without a segment. */
#define TRAINWATCH_FLOW_IDLE (1 * NSEC_PER_SEC)
/* The same, while the fate of a train is open. */
#define TRAINWATCH_FLOW_STUCK (10 * NSEC_PER_SEC)

/**
 * struct trainwatch_segments - TCP segments that left together
 * @flow:	the connection and direction, as a hash
 * @first:	sequence number of the first byte
 * @last:	sequence number of the first byte of the last segment
 * @end:	sequence number behind the last byte
 * @in_train:	they left in a train; else each left alone
 */
struct trainwatch_segments {
	uint64_t flow;
	uint32_t first;
	uint32_t last;
	uint32_t end;
	bool in_train;
};

/**
 * struct trainwatch_train - a train whose fate is open
 * @left:	when it left
 * @alone:	when its first segment last left again and alone, 0: it did not
 * @first:	sequence number of its first byte
 * @last:	sequence number of the first byte of its last segment
 * @in_use:	this place is taken
 * @is_new:	its last segment had not left before
 * @first_again: its first segment has left again
 * @last_again:	its last segment has left again
 * @is_offer:	it was offered after a pause
 */
struct trainwatch_train {
	uint64_t left;
	uint64_t alone;
	uint32_t first;
	uint32_t last;
	bool in_use;
	bool is_new;
	bool first_again;
	bool last_again;
	bool is_offer;
};

/**
 * struct trainwatch_flow - a connection that is watched
 * @key:	its hash
 * @used_at:	when a segment last left; 0: this place is free
 * @rtt:	smoothed round trip in nanoseconds, 0: not known
 * @next:	sequence number behind all that has left
 * @acked:	the highest acknowledgement number
 * @has_acked:	there was one
 * @trains:	its trains
 */
struct trainwatch_flow {
	uint64_t key;
	uint64_t used_at;
	uint64_t rtt;
	uint32_t next;
	uint32_t acked;
	bool has_acked;
	struct trainwatch_train trains[TRAINWATCH_TRAINS];
};

enum trainwatch_state {
	TRAINWATCH_ON,	    /* trains leave */
	TRAINWATCH_OFF,	    /* datagrams leave alone */
	TRAINWATCH_OFFERED, /* the same, and a train was offered */
};

/* What the caller has to do. */
enum trainwatch_event {
	TRAINWATCH_NOTHING,
	TRAINWATCH_STOP, /* trains are lost: from now on datagrams leave alone */
	TRAINWATCH_AGAIN, /* the train that was offered was lost, too */
	TRAINWATCH_BACK,  /* it arrived: trains leave again */
};

/**
 * struct trainwatch - what is known of the trains to one peer; all zero at
 *		       first
 * @flows:	connections
 * @state:	see above
 * @signs:	in a row
 * @last_alone:	when the single datagram of the last sign left
 * @until:	end of the pause, or of the wait for the train that was offered
 * @pause:	length of the last pause
 * @back_at:	when trains came back, 0: never
 */
struct trainwatch {
	struct trainwatch_flow flows[TRAINWATCH_FLOWS];
	enum trainwatch_state state;
	unsigned int signs;
	uint64_t last_alone;
	uint64_t until;
	uint64_t pause;
	uint64_t back_at;
};

/**
 * trainwatch_left() - TCP segments have left
 * @w:		watch
 * @s:		the segments, with payload
 * @now:	the present
 *
 * Return: what to do. TRAINWATCH_STOP and TRAINWATCH_AGAIN are told once.
 */
enum trainwatch_event trainwatch_left(struct trainwatch *w,
				      const struct trainwatch_segments *s,
				      uint64_t now);

/**
 * trainwatch_acked() - a segment has come in
 * @w:		watch
 * @flow:	the connection, with the direction of what it acknowledges
 * @ack:	its acknowledgement number
 * @now:	the present
 *
 * Return: what to do.
 */
enum trainwatch_event trainwatch_acked(struct trainwatch *w, uint64_t flow,
				       uint32_t ack, uint64_t now);

/**
 * trainwatch_is_due() - is the pause over?
 * @w:		watch
 * @now:	the present
 *
 * Return: true if trainwatch_may_offer() should be asked.
 */
bool trainwatch_is_due(struct trainwatch *w, uint64_t now);

/**
 * trainwatch_may_offer() - may these segments leave as a train again?
 * @w:		watch for which trainwatch_is_due() said yes
 * @s:		segments that are about to leave
 *
 * Only new data of a connection that is watched can prove something.
 *
 * Return: true if so; then trainwatch_offered() is to be called, if they did.
 */
bool trainwatch_may_offer(struct trainwatch *w,
			  const struct trainwatch_segments *s);

/**
 * trainwatch_offered() - a train left after the pause
 * @w:		watch
 * @s:		its segments, for which trainwatch_may_offer() said yes
 * @now:	the present
 */
void trainwatch_offered(struct trainwatch *w,
			const struct trainwatch_segments *s, uint64_t now);

/**
 * trainwatch_is_watchable() - could these segments prove anything as a train?
 * @s:		the segments
 *
 * Return: true if they are two or more, and longer than one packet.
 */
static inline bool trainwatch_is_watchable(const struct trainwatch_segments *s)
{
	return s->first != s->last && s->end - s->first > TRAINWATCH_MIN_LEN;
}

/* trainwatch_is_open() - is the fate of a train open, so that
 * acknowledgements are of use? */
bool trainwatch_is_open(const struct trainwatch *w);

/* trainwatch_is_in_doubt() - has part of such a train left again? Then every
 * acknowledgement counts. */
bool trainwatch_is_in_doubt(const struct trainwatch *w);

#endif /* DEVICE_TRAINWATCH_H */
