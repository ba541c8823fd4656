/* SPDX-License-Identifier: MIT */
/*
 * The watch over trains, for all peers: do trains to a peer arrive? The lanes
 * report which TCP segments leave in trains and which are acknowledged;
 * device/trainwatch.h decides. If trains to a peer are lost, the library is
 * told to send datagrams to its endpoint alone. trains.c explains the parts.
 *
 * Legend: [I] immutable, [a] atomic, [m] under the seat's mutex, which is a
 * leaf, [l] of the thread that has the outbound lane's right to commit. If there
 * are several outbound lanes, that thread must also hold trains_lock(): where
 * "right to commit" stands below, it means both.
 */
#ifndef ENGINE_TRAINS_H
#define ENGINE_TRAINS_H

#include <pthread.h>

#include "device/peer.h"
#include "device/trainwatch.h"
#include "engine/bounds.h"
#include "tun/segment.h"
#include "udpgather.h"

struct events;

enum {
	/* Peers that are watched at a time. A choice: it bounds the memory, and
	 * peers take turns if there are more (SEAT_TURN). */
	TRAINS_SEATS = 128,
	/* The library is told to send alone for this long, in ms. If less than
	 * the margin is left of it, the library is told again. Choices: the
	 * library is seldom told, and a peer that is forgotten has its trains
	 * back after a minute. */
	TRAINS_HOLD_MS = 60000,
	TRAINS_HOLD_MARGIN_MS = 30000,
};

/* The packets of a peer that trains_saw() must be told of. */
enum trains_attention {
	TRAINS_WANT_NONE,
	TRAINS_WANT_SOME, /* every now and then: a train is on its way */
	TRAINS_WANT_ALL,  /* each: a train may be lost */
};

/**
 * struct trains_seat - the watch over the trains to one peer
 * @mutex:	of @owner and @watch
 * @owner:	[m] the peer, without a reference: compared, never followed;
 *		written under the right to commit, too
 * @watch:	[m] what is known, and what was decided
 * @attention:	[a] enum trains_attention
 * @is_off:	[l] the library was told to send alone
 * @to:		[l] the endpoint of the peer that the watch is about
 * @since:	[l] when the peer got the seat, in ns
 * @used_at:	[l] when a train last left, or a message while trains are
 *		stopped, in ns
 * @held_until:	[l] until when the library sends alone, in ns
 */
struct trains_seat {
	pthread_mutex_t mutex;
	const struct peer *owner;
	struct trainwatch watch;
	_Atomic uint8_t attention;
	bool is_off;
	struct ug_endpoint to;
	uint64_t since;
	uint64_t used_at;
	uint64_t held_until;
};

/**
 * struct trains - all seats
 * @is_shared:	[I] there are several outbound lanes
 * @mutex:	for trains_lock()
 * @seats:	[I] TRAINS_SEATS seats
 * @n_off:	[l] number of seats with is_off
 * @next_claim:	[l] no seat is claimed before this time, because none was free,
 *		in ns
 * @events:	[I] is told of both, or NULL; the owner sets it; locked inside
 * @stopped:	[a] how often trains to a peer were stopped
 * @back:	[a] how often trains to a peer came back
 */
struct trains {
	bool is_shared;
	pthread_mutex_t mutex;
	struct trains_seat *seats;
	unsigned int n_off;
	uint64_t next_claim;
	struct events *events;
	_Atomic uint64_t stopped;
	_Atomic uint64_t back;
};

/**
 * struct trains_note - TCP segments with payload whose sequence numbers follow
 *			each other, and the messages that carry them
 * @flow:	hash of the connection
 * @seq:	sequence number of the first byte
 * @len:	bytes of payload
 * @segment_len: bytes of payload of each message but the last
 * @first:	index of the first message in the batch
 * @n:		number of messages
 */
struct trains_note {
	uint64_t flow;
	uint32_t seq;
	uint32_t len;
	uint32_t segment_len;
	uint16_t first;
	uint16_t n;
};

/**
 * struct trains_notes - the notes of a batch
 * @notes:	the notes, in the order of the messages
 * @n:		number of notes
 */
struct trains_notes {
	struct trains_note notes[OUTBOUND_MESSAGES];
	unsigned int n;
};

/**
 * struct trains_run - messages of a batch that go to one peer
 * @peer:	the peer
 * @to:		its endpoint
 * @first:	index of the first message in the batch
 * @n:		number of messages
 */
struct trains_run {
	struct peer *peer;
	const struct ug_endpoint *to;
	unsigned int first;
	unsigned int n;
};

/* trains_init() - make the seats; @t: caller's storage, all zero. Return: 0;
 * -ENOMEM: call trains_deinit(). */
int trains_init(struct trains *t);

/* trains_deinit() - free all; no thread uses @t any more */
void trains_deinit(struct trains *t);

/* trains_lock() - of several outbound lanes, one goes on. Any thread. */
static inline void trains_lock(struct trains *t)
{
	if (t->is_shared)
		pthread_mutex_lock(&t->mutex);
}

static inline void trains_unlock(struct trains *t)
{
	if (t->is_shared)
		pthread_mutex_unlock(&t->mutex);
}

/**
 * trains_note() - a packet, or a part of it, was cut into messages
 * @notes:	gets a note if the packet is TCP with payload
 * @cur:	the cursor after the cut
 * @off:	@off of the cursor before the cut
 * @first:	index of the first message that was cut
 * @n:		number of messages that were cut
 *
 * Right to take.
 */
void trains_note(struct trains_notes *notes, const struct segment_cursor *cur,
		 uint32_t off, unsigned int first, unsigned int n);

/**
 * trains_drop_notes() - the last messages of a batch will not be sent
 * @notes:	notes of the batch
 * @end:	index of the first message that will not be sent
 *
 * Right to take.
 */
void trains_drop_notes(struct trains_notes *notes, unsigned int end);

/**
 * trains_before() - messages are about to be sent
 * @t:		trains
 * @sock:	sockets that they leave by
 * @run:	messages of one peer
 * @notes:	of the batch
 * @now:	the present
 *
 * If trains to the peer are stopped, this has the library go on sending alone.
 * To be called if @t->n_off is not 0. Right to commit.
 *
 * Return: NULL; or the offer: a note whose messages may be sent as one train.
 */
const struct trains_note *trains_before(struct trains *t,
					struct ug_socket *sock,
					const struct trains_run *run,
					const struct trains_notes *notes,
					uint64_t now);

/**
 * trains_offer_begin() - have the library send a train, the offer
 * @sock:	sockets
 * @run:	run for which trains_before() returned a note
 *
 * Right to commit.
 */
void trains_offer_begin(struct ug_socket *sock, const struct trains_run *run);

/* trains_offer_end() - the offer was sent: have the library send alone again.
 * Right to commit. */
void trains_offer_end(struct trains *t, struct ug_socket *sock,
		      const struct trains_run *run, uint64_t now);

/**
 * trains_after() - messages were sent
 * @t:		trains
 * @sock:	sockets that they were sent by
 * @run:	messages of one peer
 * @notes:	notes of the batch
 * @lens:	for each message of the batch, the number of
 *		ug_set_train_lengths()
 * @offer:	the note that was sent as an offer, or NULL
 * @now:	the present, in ns of CLOCK_BOOTTIME
 *
 * To be called if the batch has notes. Right to commit.
 */
void trains_after(struct trains *t, struct ug_socket *sock,
		  const struct trains_run *run,
		  const struct trains_notes *notes, const uint8_t *lens,
		  const struct trains_note *offer, uint64_t now);

/**
 * trains_attention() - of which packets from a peer must trains_saw() hear?
 * @t:		trains
 * @peer:	the peer
 *
 * Any thread.
 *
 * Return: enum trains_attention.
 */
static inline uint8_t trains_attention(const struct trains *t,
				       const struct peer *peer)
{
	/* Partner: claim_seat(). If the seat has another peer by now,
	 * trains_saw() finds out under the mutex. */
	uint16_t n =
		atomic_load_explicit(&peer->train_seat, memory_order_relaxed);

	/* Partner: set_attention(). */
	return n ? atomic_load_explicit(&t->seats[n - 1].attention,
					memory_order_relaxed)
		 : TRAINS_WANT_NONE;
}

/**
 * trains_read_ack() - read the acknowledgement of a packet that came in
 * @packet:	an IP packet
 * @len:	its length
 * @flow:	set on success to the hash of the acknowledged direction of the
 *		connection, as in struct trains_note
 * @ack:	set on success to the acknowledgement number
 *
 * Any thread.
 *
 * Return: true; false: it is no TCP packet, or acknowledges nothing.
 */
bool trains_read_ack(const uint8_t *packet, size_t len, uint64_t *flow,
		     uint32_t *ack);

/**
 * trains_read_data() - read the sequence number of a packet that is to leave
 * @packet:	an IP packet
 * @len:	its length
 * @flow:	set on success to the hash of the connection, as in struct
 *		trains_note
 * @seq:	set on success to its sequence number
 *
 * Any thread. Return: true; false: it is no TCP packet.
 */
bool trains_read_data(const uint8_t *packet, size_t len, uint64_t *flow,
		      uint32_t *seq);

/**
 * trains_saw() - read the acknowledgement of a packet that came in from a peer
 * @t:		trains
 * @peer:	the peer
 * @packet:	an IP packet; packets that are not TCP are ignored
 * @len:	its length
 * @now:	the present
 *
 * Any thread.
 */
void trains_saw(struct trains *t, const struct peer *peer,
		const uint8_t *packet, size_t len, uint64_t now);

#endif /* ENGINE_TRAINS_H */
