/* SPDX-License-Identifier: MIT */
/*
 * The watch over trains (device/trainwatch.h) between the lanes. The outbound
 * lane notes the TCP segments that it cuts, and after each send tells which of
 * them left in trains; the inbound lanes tell what is acknowledged. When trains
 * to a peer are lost, the library is told to send alone to its endpoint.
 *
 * Memory is a fixed number of seats. A peer gets one when a train of TCP
 * segments leaves to it, and keeps it while trains leave, or are stopped. With
 * more peers than seats they take turns.
 *
 * Legend: [I] immutable, [a] atomic, [m] under the seat's mutex, a leaf, [l] of
 * the one who holds the outbound lane's right to commit.
 */
#ifndef ENGINE_TRAINS_H
#define ENGINE_TRAINS_H

#include <pthread.h>

#include "device/peer.h"
#include "device/trainwatch.h"
#include "engine/bounds.h"
#include "tun/segment.h"
#include "udpgather.h"

enum {
	/* Peers that are watched at a time. */
	TRAINS_SEATS = 128,
	/* How long the library is told to send alone, in ms, and how long
	 * before the end it is told again. */
	TRAINS_HOLD_MS = 60000,
	TRAINS_HOLD_MARGIN_MS = 30000,
};

/* Whether a watch wants to hear of acknowledgements. */
enum trains_attention {
	TRAINS_WANT_NONE,
	TRAINS_WANT_SOME, /* a train is on its way: now and then */
	TRAINS_WANT_ALL,  /* one may be lost */
};

/**
 * struct trains_seat - the watch over the trains to one peer
 * @mutex:	of @owner and @watch
 * @owner:	[m] compared only, never followed
 * @watch:	[m]
 * @attention:	[a] enum trains_attention
 * @is_off:	[l] trains are stopped
 * @to:		[l] the endpoint that this is about
 * @since:	[l] when the owner got the seat, ns
 * @used_at:	[l] when a train last left, or was stopped, ns
 * @held_until:	[l] until when the library sends alone, ns
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
 * @seats:	[I] TRAINS_SEATS
 * @n_off:	[l] of them with trains stopped
 * @next_claim:	[l] no seat was free: not before then, ns
 * @stopped:	[a] how often trains to a peer were stopped
 * @back:	[a] how often they came back
 */
struct trains {
	struct trains_seat *seats;
	unsigned int n_off;
	uint64_t next_claim;
	_Atomic uint64_t stopped;
	_Atomic uint64_t back;
};

/**
 * struct trains_note - TCP segments with payload that follow each other
 * @flow:	hash of the connection
 * @seq:	sequence number of the first byte
 * @len:	bytes of payload
 * @segment_len: bytes of payload of each message but the last
 * @first:	the first message, in the batch
 * @n:		how many messages
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
 * struct trains_notes - those of a batch
 * @notes:	in the order of the messages
 * @n:		how many
 */
struct trains_notes {
	struct trains_note notes[OUTBOUND_MESSAGES];
	unsigned int n;
};

/**
 * struct trains_run - messages of a batch that go to one peer
 * @peer:	the peer
 * @to:		its endpoint
 * @first:	its first message
 * @n:		how many
 */
struct trains_run {
	struct peer *peer;
	const struct ug_endpoint *to;
	unsigned int first;
	unsigned int n;
};

/* trains_init() - Return: 0; -ENOMEM. @t: caller's storage, all zero. */
int trains_init(struct trains *t);

/* trains_deinit() - free all; no thread uses it */
void trains_deinit(struct trains *t);

/**
 * trains_note() - a packet was cut
 * @notes:	gets a note, if it is TCP with payload
 * @cur:	the packet, after the cut
 * @off:	the cursor's @off before
 * @first:	the first message that was cut
 * @n:		how many
 */
void trains_note(struct trains_notes *notes, const struct segment_cursor *cur,
		 uint32_t off, unsigned int first, unsigned int n);

/**
 * trains_drop_notes() - messages were taken back
 * @notes:	notes
 * @end:	messages from here on do not leave
 */
void trains_drop_notes(struct trains_notes *notes, unsigned int end);

/**
 * trains_before() - messages are about to leave
 * @t:		trains
 * @sock:	sockets that they leave by
 * @run:	messages of one peer
 * @notes:	of the batch
 * @now:	the present
 *
 * Sees to it that the library still sends alone where that was decided. To be
 * called if @t->n_off. Right to commit.
 *
 * Return: NULL, or the note whose messages may leave as a train.
 */
const struct trains_note *trains_before(struct trains *t,
					struct ug_socket *sock,
					const struct trains_run *run,
					const struct trains_notes *notes,
					uint64_t now);

/**
 * trains_offer_begin() - let trains leave to the endpoint of a run
 * @sock:	sockets
 * @run:	for which trains_before() returned a note
 *
 * Right to commit.
 */
void trains_offer_begin(struct ug_socket *sock, const struct trains_run *run);

/* trains_offer_end() - no more, after the one. Right to commit. */
void trains_offer_end(struct trains *t, struct ug_socket *sock,
		      const struct trains_run *run, uint64_t now);

/**
 * trains_after() - messages have left
 * @t:		trains
 * @sock:	sockets that they left by
 * @run:	messages of one peer
 * @notes:	of the batch
 * @lens:	for each message of the batch, ug_set_train_lengths()
 * @offer:	what trains_before() returned and was sent as it said, or NULL
 * @now:	the present
 *
 * To be called if there are notes. Right to commit.
 */
void trains_after(struct trains *t, struct ug_socket *sock,
		  const struct trains_run *run,
		  const struct trains_notes *notes, const uint8_t *lens,
		  const struct trains_note *offer, uint64_t now);

/**
 * trains_attention() - which packets from a peer are of interest?
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
	/* Partner: the lane that gives seats. A wrong one is found out under
	 * the mutex. */
	uint16_t n =
		atomic_load_explicit(&peer->train_seat, memory_order_relaxed);

	/* Partner: set_attention(). */
	return n ? atomic_load_explicit(&t->seats[n - 1].attention,
					memory_order_relaxed)
		 : TRAINS_WANT_NONE;
}

/**
 * trains_saw() - a packet came in from a peer
 * @t:		trains
 * @peer:	the peer
 * @packet:	an IP packet
 * @len:	its length
 * @now:	the present
 *
 * Any thread.
 */
void trains_saw(struct trains *t, const struct peer *peer,
		const uint8_t *packet, size_t len, uint64_t now);

#endif /* ENGINE_TRAINS_H */
