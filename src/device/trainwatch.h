/* SPDX-License-Identifier: MIT */
/*
 * Whether trains to a peer arrive. The library sends several datagrams as one
 * train. Some middleboxes, drivers and kernels lose trains and let single
 * datagrams pass, and the socket reports no error. A tunnel can see the loss in
 * the TCP connections that it carries. This file watches a few of them for one
 * peer, and decides whether datagrams to this peer have to leave alone.
 *
 * The caller reports each TCP segment that leaves, with its sequence numbers
 * and whether it left in a train, and the acknowledgement number of each
 * segment that comes in.
 *
 *	lost	A train counts as lost if its first and its last segment leave
 *		once more. One of them is not enough: a train may arrive and
 *		lose a single datagram, which is ordinary loss. (If a sender
 *		repeats several segments they leave as a train again, which is
 *		lost again.)
 *	sign	A sign is a lost train whose first segment then left alone, was
 *		acknowledged, and did not leave again for two round trips. TCP
 *		brings signs about: after a timeout it sends one segment, which
 *		leaves alone and passes. A lost train and a single datagram that
 *		passed are the proof that trains are lost and datagrams are not.
 *		After a sign, a train that left before the single datagram of
 *		that sign makes no new sign. Therefore a timeout after which TCP
 *		repeats all its data counts once, and so does an outage that
 *		many connections notice.
 *	arrived	A train has arrived if its last segment was acknowledged, had
 *		not been sent before that train, and the train does not count as
 *		lost. A train that has arrived voids all signs. (A train of
 *		repeated data proves nothing: the receiver may have had the data
 *		already.)
 *
 * After TRAINWATCH_SIGNS signs in a row, datagrams leave alone for a pause.
 * After the pause one train is offered. If it arrives, trains leave again. If
 * it counts as lost, the pause doubles, from TRAINWATCH_PAUSE_MIN to
 * TRAINWATCH_PAUSE_MAX. If its fate stays unknown, another train is offered
 * after the same pause.
 *
 * Trains that would fit one packet of 1,500 bytes prove nothing about longer
 * trains, and are not watched.
 *
 * No I/O, clock, lock or allocation: the caller brings `now` in nanoseconds,
 * and calls from one thread at a time.
 */
#ifndef DEVICE_TRAINWATCH_H
#define DEVICE_TRAINWATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

enum {
	/* Connections of one peer that are watched at a time. A choice: it
	 * bounds the memory of a watch. */
	TRAINWATCH_FLOWS = 4,
	/* Trains of one connection that are watched at a time. A choice, for
	 * the same reason. */
	TRAINWATCH_TRAINS = 6,
	/* Signs in a row that stop trains. A choice: with it the watch meets
	 * the bounds of tests/sim/trainwatch.c on lossy paths and on obstacles.
	 */
	TRAINWATCH_SIGNS = 3,
	/* Trains of at most this many bytes of TCP payload are not watched.
	 * 1,500 is the MTU of Ethernet. */
	TRAINWATCH_MIN_LEN = 1500,
};

/* The pause in which datagrams leave alone, in nanoseconds. This and the
 * following times are choices. The longest pause is half of the time within
 * which trains have to be back when an obstacle has gone
 * (tests/sim/trainwatch.c). */
#define TRAINWATCH_PAUSE_MIN (1 * NSEC_PER_SEC)
#define TRAINWATCH_PAUSE_MAX (30 * NSEC_PER_SEC)
/* After this time the fate of an offered train counts as unknown. */
#define TRAINWATCH_OFFER_WAIT (5 * NSEC_PER_SEC)
/* If trains stop again within this time after they came back, the pause is twice
 * the last one. */
#define TRAINWATCH_MEMORY (60 * NSEC_PER_SEC)
/* A connection that has sent no segment for this long gives its place to another
 * connection. */
#define TRAINWATCH_FLOW_IDLE (1 * NSEC_PER_SEC)
/* The same, for a connection with a train whose fate is open. */
#define TRAINWATCH_FLOW_STUCK (10 * NSEC_PER_SEC)

/**
 * struct trainwatch_segments - TCP segments that left together
 * @flow:	the connection and direction, as a hash
 * @first:	sequence number of the first byte
 * @last:	sequence number of the first byte of the last segment
 * @end:	sequence number behind the last byte
 * @in_train:	the segments left in a train; else each left alone
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
 * @alone:	when its first segment left again, if it left alone that time;
 *		else 0
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
 * @used_at:	when a segment of it last left; 0: this place is free
 * @rtt:	smoothed round trip in nanoseconds, 0: not known
 * @next:	sequence number behind the last byte that has left
 * @acked:	the highest acknowledgement number
 * @has_acked:	@acked is set
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
	TRAINWATCH_OFFERED, /* datagrams leave alone; a train was offered */
};

/* The action that the caller has to take. */
enum trainwatch_event {
	TRAINWATCH_NOTHING,
	TRAINWATCH_STOP, /* trains are lost: from now on datagrams leave alone */
	TRAINWATCH_AGAIN, /* the offered train was lost: datagrams leave alone */
	TRAINWATCH_BACK,  /* the offered train arrived: trains leave again */
};

/**
 * struct trainwatch - the watch over the trains to one peer; all zero at first
 * @flows:	connections
 * @state:	enum trainwatch_state
 * @signs:	signs in a row
 * @last_alone:	when the single datagram of the last sign left
 * @until:	end of the pause, or of the wait for the offered train
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
 * trainwatch_left() - report TCP segments that have left
 * @w:		watch
 * @s:		the segments; each has payload
 * @now:	the present, in nanoseconds, never 0
 *
 * Return: what to do. TRAINWATCH_STOP and TRAINWATCH_AGAIN are returned once
 * for each time that they happen.
 */
enum trainwatch_event trainwatch_left(struct trainwatch *w,
				      const struct trainwatch_segments *s,
				      uint64_t now);

/**
 * trainwatch_acked() - report an acknowledgement that has come in
 * @w:		watch
 * @flow:	the connection, as in struct trainwatch_segments: with the
 *		direction of the acknowledged data
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
 * Return: true if a train may be offered; then ask trainwatch_may_offer().
 */
bool trainwatch_is_due(struct trainwatch *w, uint64_t now);

/**
 * trainwatch_may_offer() - may these segments leave as a train again?
 * @w:		watch for which trainwatch_is_due() said yes
 * @s:		segments that are about to leave
 *
 * Only new data of a watched connection can prove something.
 *
 * Return: true if they may. If they then leave as a train, call
 * trainwatch_offered().
 */
bool trainwatch_may_offer(struct trainwatch *w,
			  const struct trainwatch_segments *s);

/**
 * trainwatch_offered() - report that the offered train has left
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

/**
 * trainwatch_is_open() - is the fate of a train open?
 * @w:		watch
 *
 * Return: true if it is; then trainwatch_acked() is of use.
 */
bool trainwatch_is_open(const struct trainwatch *w);

/**
 * trainwatch_is_in_doubt() - may a train be lost, or is one offered?
 * @w:		watch
 *
 * A train may be lost if its first segment has left again.
 *
 * Return: true if so; then no acknowledgement may be left out.
 */
bool trainwatch_is_in_doubt(const struct trainwatch *w);

#endif /* DEVICE_TRAINWATCH_H */
