/* SPDX-License-Identifier: MIT */
/*
 * The path MTU of one peer: the longest IP packet that reaches it. Outer packets
 * carry DF ("do not fragment"), so a router that cannot forward one drops it, and
 * tells its own limit by ICMP (RFC 1191, RFC 8201), or says nothing. This file
 * decides what is believed, and what the path MTU is. It has no I/O, clock, lock or
 * allocation: the caller brings `now` in nanoseconds, and calls from one thread at
 * a time.
 *
 *	lesson	A path MTU that is believed. It holds for ten minutes (RFC 1191,
 *		section 6.3; RFC 8201, section 4), and only a smaller one takes
 *		its place. There are three reasons to believe one: see below.
 *	report	An ICMP message that quotes a data message of ours: its receiver
 *		index, and a counter that was drawn in the last ten seconds. Only
 *		somebody who sees the packets can know both (RFC 8899, section
 *		4.6.1: a program has to validate what ICMP messages quote). So a
 *		report is a lesson. It must be below the length of what was sent.
 *	local	The kernel has refused a packet that is longer than the MTU of
 *		the interface: a lesson.
 *	hint	An ICMP message that quotes too little, or a message that we did
 *		not send: everybody can forge it. A hint is never a lesson. For
 *		some seconds a path with a hint is doubted sooner, and the number
 *		in it is tried first.
 *
 * A path that loses long packets and tells nothing is a black hole. As RFC 4821
 * proposes, the TCP connections in the tunnel show it: what is long is sent again
 * and again, and what is short is acknowledged. The caller reports the TCP segments
 * that leave and the acknowledgements that come in, as for trainwatch.h.
 *
 *	doubt	A long segment has left PMTU_TRIES times and was not
 *		acknowledged. It is the first that is not: TCP sends that one
 *		again, whatever was lost behind it. Then a trial begins: for up to PMTU_TRIAL_WAIT all
 *		TCP data is cut to the length of the trial, which is PMTU_MIN or
 *		that of a hint.
 *	sign	The segment is acknowledged after it has left shorter. That ends
 *		the trial, and long segments leave again. If one of them arrives,
 *		the sign is void: there was an outage, and no black hole. If they are
 *		lost again and shorter ones pass again, there is another sign. With
 *		the third in a row the length of the trial is a lesson. With a hint
 *		one sign is enough.
 *	search	The true limit is between the lesson and the length that was
 *		lost. It is found by halving: now and then one segment is sent
 *		that is half way between. If it is acknowledged, the lesson rises
 *		to its length. If it has to be sent again twice, its length is
 *		the new upper end. Less than PMTU_FINE is not searched for.
 *
 * Only the acknowledgement of new data shows that a long segment has arrived, or that
 * of the data behind the last acknowledgement: what else leaves once more may have
 * arrived the first time.
 *
 * When a lesson by loss is ten minutes old, one segment of the full length is sent
 * in the same way. If it arrives, the lesson ends.
 */
#ifndef DEVICE_PMTU_H
#define DEVICE_PMTU_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

enum {
	/* The smallest path MTU that is believed: every link of IPv6 has it (RFC
	 * 8200, section 5), and in fact those of IPv4, too. */
	PMTU_MIN = 1280,
	/* Points of time at which the counter is noted. Between two lie at least
	 * PMTU_RECENT / PMTU_MARKS, so a counter that counts is at most
	 * PMTU_RECENT old, and one that is three quarters as old counts. */
	PMTU_MARKS = 4,
	/* How often a long segment has left when a trial begins; and the same if
	 * there is a hint or a sign already. Choices: TCP sends a segment for the
	 * third time after 0.6 s. */
	PMTU_TRIES = 3,
	PMTU_TRIES_DOUBT = 2,
	/* Signs in a row that make a lesson. A choice, as for hints. In
	 * tests/sim/pmtu.c no loss by chance makes a lesson with it. Outages of more
	 * than half of the time make one in less than one run of a hundred. Then the
	 * search finds that long packets pass. */
	PMTU_SIGNS = 3,
	/* Bytes that are acknowledged after a sign, while long segments leave, and that
	 * make it void. A choice: a trial sends a few segments at a time. */
	PMTU_PROGRESS = 16 * 1024,
	/* The search ends when the limit is known to within so many bytes, which
	 * are one percent of a packet. A choice. */
	PMTU_FINE = 16,
	/* Losses of segments of one length that end the search above it. */
	PMTU_PROBE_TRIES = 2,
	/* Connections of which the end of what has left is noted. A choice. */
	PMTU_FLOWS = 4,
	/* ICMP errors a second into the tunnel, to senders of packets that do not
	 * fit and were dropped, for each peer; also the size of a burst. A
	 * choice: a sender needs one. */
	PMTU_ANSWERS = 20,
};

/* How long ago a message was sent that a report may quote. */
#define PMTU_RECENT (10 * NSEC_PER_SEC)
/* How long a lesson holds. */
#define PMTU_LESSON (600 * NSEC_PER_SEC)
/* How long a hint counts. The next times are choices, too. */
#define PMTU_HINT (10 * NSEC_PER_SEC)
/* After this time, a trial in which nothing was acknowledged ends: short packets
 * do not pass either. */
#define PMTU_TRIAL_WAIT (10 * NSEC_PER_SEC)
/* A segment that was not sent again for this long is not watched any more. */
#define PMTU_WATCH_IDLE (10 * NSEC_PER_SEC)
/* The time between two segments of the search, and how long to wait for the
 * acknowledgement of one. */
#define PMTU_PROBE_PAUSE (100 * NSEC_PER_MSEC)
#define PMTU_PROBE_WAIT	 (5 * NSEC_PER_SEC)
/* The time between two ICMP errors for data that was cut. */
#define PMTU_TELL_PAUSE (1 * NSEC_PER_SEC)

/* The consequence of a report, for the caller. */
enum pmtu_event {
	PMTU_NOTHING, /* nothing has changed */
	PMTU_REFUSED, /* the quote is of no message that was sent lately */
	PMTU_LEARNT,  /* there is a new lesson, by ICMP or from the kernel */
	PMTU_LOST,    /* there is a new lesson: longer packets are lost */
	PMTU_RAISED,  /* the lesson rises, because longer packets arrive */
};

/**
 * struct pmtu_mark - a point of time, and the counter that was drawn then
 * @at:		when; 0: this place is free
 * @counter:	the counter
 */
struct pmtu_mark {
	uint64_t at;
	uint64_t counter;
};

/**
 * struct pmtu_segment - TCP data that has left in packets of one length
 * @flow:	the connection and direction, as a hash
 * @first:	sequence number of the first byte
 * @end:	sequence number behind the last byte
 * @len:	length of the longest outer packet
 */
struct pmtu_segment {
	uint64_t flow;
	uint32_t first;
	uint32_t end;
	uint32_t len;
};

/**
 * struct pmtu_watch - a TCP segment whose fate is open
 * @flow:	its connection; 0: this place is free
 * @seq:	sequence number of its first byte
 * @len:	length of the outer packet
 * @n:		how often it has left
 * @at:		when it last left
 * @is_new:	its acknowledgement shows that it has arrived
 * @was_short:	it has left once more in a trial, cut
 */
struct pmtu_watch {
	uint64_t flow;
	uint32_t seq;
	uint32_t len;
	unsigned int n;
	uint64_t at;
	bool is_new;
	bool was_short;
};

/**
 * struct pmtu_flow - how far a connection has come
 * @flow:	the connection
 * @end:	sequence number behind the last byte that has left
 */
struct pmtu_flow {
	uint64_t flow;
	uint32_t end;
};

/* The state of a path. */
enum pmtu_state {
	PMTU_OPEN,    /* long packets leave, up to the lesson if there is one */
	PMTU_TRIAL,   /* for a while TCP data is cut shorter */
	PMTU_SEARCH,  /* a lesson by loss, and the limit is looked for */
	PMTU_SETTLED, /* a lesson by loss, and the limit is known well enough */
};

/**
 * struct pmtu - the path MTU of one peer; all zero at first
 * @index:	receiver index of the session that @marks are of
 * @marks:	the latest first
 * @next:	counter behind the last one that was drawn
 * @longest:	length of the longest outer packet of this session
 * @mtu:	the lesson; 0: there is none
 * @learnt_at:	when it was learnt
 * @is_tiny:	a router has told less than PMTU_MIN
 * @hint:	the number of the last hint; 0: there was none
 * @hint_at:	when it came
 * @state:	enum pmtu_state
 * @trial:	length of the trial
 * @trial_at:	when it began
 * @signs:	signs in a row
 * @sign_flow:	the connection that the last sign came from
 * @sign_ack:	the number of the acknowledgement that was the sign
 * @watch:	a long segment; in PMTU_SEARCH the one that was sent to find the
 *		limit
 * @acked_flow:	the connection of the last acknowledgement
 * @acked:	its number
 * @flows:	the last connections, by their hash
 * @fails:	upper end of the search: so long packets are lost
 * @top:	the longest packet that was lost: full length
 * @n_fails:	losses of segments of the length that is tried
 * @probe_at:	when the next segment of the search may leave
 * @answers_full: when the bucket of ICMP errors is full again
 * @told_at:	when an ICMP error for data that was cut was last sent
 */
struct pmtu {
	uint32_t index;
	struct pmtu_mark marks[PMTU_MARKS];
	uint64_t next;
	uint32_t longest;
	uint32_t mtu;
	uint64_t learnt_at;
	bool is_tiny;
	uint32_t hint;
	uint64_t hint_at;
	enum pmtu_state state;
	uint32_t trial;
	uint64_t trial_at;
	unsigned int signs;
	uint64_t sign_flow;
	uint32_t sign_ack;
	struct pmtu_watch watch;
	uint64_t acked_flow;
	uint32_t acked;
	struct pmtu_flow flows[PMTU_FLOWS];
	uint32_t fails;
	uint32_t top;
	unsigned int n_fails;
	uint64_t probe_at;
	uint64_t answers_full;
	uint64_t told_at;
};

/**
 * pmtu_sent() - note that data messages have left
 * @p:		path
 * @index:	their receiver index
 * @counter:	counter of the first
 * @n:		how many
 * @longest:	length of the longest outer packet
 * @now:	the present, in nanoseconds, never 0
 *
 * Messages of several lanes may come in any order.
 */
void pmtu_sent(struct pmtu *p, uint32_t index, uint64_t counter, uint64_t n,
	       uint32_t longest, uint64_t now);

/**
 * pmtu_report() - judge an ICMP message that quotes a data message
 * @p:		path of a peer whose receiver index the message has
 * @index:	the receiver index that it quotes
 * @counter:	the counter that it quotes
 * @mtu:	the MTU that it tells; 0: an old router tells none, and the next
 *		lower one of RFC 1191, section 7.1 is tried
 * @now:	the present
 *
 * Return: PMTU_NOTHING, PMTU_REFUSED or PMTU_LEARNT.
 */
enum pmtu_event pmtu_report(struct pmtu *p, uint32_t index, uint64_t counter,
			    uint32_t mtu, uint64_t now);

/* pmtu_local() - the kernel has refused a packet longer than @mtu, the MTU of its
 * interface. Return: PMTU_NOTHING or PMTU_LEARNT. */
enum pmtu_event pmtu_local(struct pmtu *p, uint32_t mtu, uint64_t now);

/* pmtu_hint() - an ICMP message that proves nothing tells @mtu, 0 for none */
void pmtu_hint(struct pmtu *p, uint32_t mtu, uint64_t now);

/**
 * pmtu_segment_left() - report TCP data that has left
 * @p:		path
 * @s:		the data; all of it has payload
 * @now:	the present
 */
void pmtu_segment_left(struct pmtu *p, const struct pmtu_segment *s,
		       uint64_t now);

/* pmtu_may_probe() - is this new data, which may be sent to find the limit? @first:
 * sequence number of its first byte. What was lost must not be lost again. */
bool pmtu_may_probe(const struct pmtu *p, uint64_t flow, uint32_t first);

/**
 * pmtu_acked() - report an acknowledgement that has come in
 * @p:		path
 * @flow:	the connection, with the direction of the acknowledged data
 * @ack:	its acknowledgement number
 * @now:	the present
 *
 * Return: PMTU_NOTHING, PMTU_LOST or PMTU_RAISED.
 */
enum pmtu_event pmtu_acked(struct pmtu *p, uint64_t flow, uint32_t ack,
			   uint64_t now);

/* pmtu_wants_acks() - is the fate of a segment open? Else pmtu_acked() is of no
 * use. */
static inline bool pmtu_wants_acks(const struct pmtu *p)
{
	return p->watch.flow != 0;
}

/**
 * struct pmtu_limits - the lengths that outer packets may have now; 0: any
 * @mtu:	the lesson
 * @cut:	the length to cut TCP data to: that of a trial, or @mtu
 * @probe:	a length that one segment of TCP data may have, to find the limit,
 *		if pmtu_may_probe() says so
 * @is_tiny:	the path may take even less than @mtu
 */
struct pmtu_limits {
	uint32_t mtu;
	uint32_t cut;
	uint32_t probe;
	bool is_tiny;
};

/**
 * pmtu_get_limits() - the limits now
 * @p:		path; what has expired is forgotten
 * @out:	filled
 * @now:	the present
 */
void pmtu_get_limits(struct pmtu *p, struct pmtu_limits *out, uint64_t now);

/**
 * pmtu_get_end() - when the lesson is forgotten, if nothing leaves to the peer before
 * @p:		path
 *
 * Return: a point of time; UINT64_MAX: not for the time that has passed.
 */
uint64_t pmtu_get_end(const struct pmtu *p);

/* pmtu_may_answer() - may the sender of a packet that does not fit, and was dropped,
 * be sent an ICMP error? Takes it off the peer's bucket. */
bool pmtu_may_answer(struct pmtu *p, uint64_t now);

/* pmtu_may_tell() - the same for a sender whose data was cut: once a second, and not
 * while a search goes on, in which the limit may rise. */
bool pmtu_may_tell(struct pmtu *p, uint64_t now);

#endif /* DEVICE_PMTU_H */
