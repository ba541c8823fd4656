/* SPDX-License-Identifier: MIT */
/*
 * A batch of the outbound lane, for the files that make the steps of the lane:
 * outbound.c and outbound_commit.c.
 */
#ifndef ENGINE_OUTBOUND_SLOT_H
#define ENGINE_OUTBOUND_SLOT_H

#include "engine/outbound.h"

/**
 * struct run - neighbouring messages to one peer
 * @send:	the counters, and references to the peer and its keypair
 * @to:		endpoint of the peer
 * @first:	index of its first message in the batch
 * @n:		number of its messages
 * @sent_len:	bytes of its datagrams that were sent
 * @has_data:	at least one of its messages is no keepalive
 * @is_staged:	with several lanes: its packets were staged
 * @is_sending:	with several lanes: it has begun to be sent, and not ended
 */
struct run {
	struct send_run send;
	struct ug_endpoint to;
	unsigned int first;
	unsigned int n;
	size_t sent_len;
	bool has_data;
	bool is_staged;
	bool is_sending;
};

/**
 * struct slot - a batch
 * @mtu:	of the interface when the batch was taken; padding keeps to it
 * @slab:	memory that packets are cut into
 * @segs:	the cut segments: where each is in the slab
 * @tos:	outer TOS of each segment
 * @runs:	the closed runs: those that have their counters
 * @n_runs:	number of closed runs
 * @peer:	peer of the run that is still open, with a reference, or NULL
 * @first:	index of the first message of the open run
 * @msgs:	the messages, for aead_seal_batch()
 * @iov:	the bytes of each datagram
 * @dgrams:	the datagrams, for ug_send()
 * @run_of:	for each datagram, the index of its run
 * @n_dgrams:	number of datagrams
 * @status:	for each datagram, its status from ug_send()
 * @notes:	notes on the TCP segments among the messages, for trains.h
 * @train_lens:	for each message, how many messages its train had, itself
 *		included; 0: it was not sent
 * @offer:	the note that was sent as a train although trains to its peer
 *		are stopped; NULL: there is none
 */
struct slot {
	unsigned int mtu;
	struct segment_slab slab;
	struct segment segs[OUTBOUND_MESSAGES];
	uint8_t tos[OUTBOUND_MESSAGES];
	struct run runs[OUTBOUND_MESSAGES];
	unsigned int n_runs;
	struct peer *peer;
	unsigned int first;
	struct aead_msg msgs[OUTBOUND_MESSAGES];
	struct iovec iov[OUTBOUND_MESSAGES];
	struct ug_datagram dgrams[OUTBOUND_MESSAGES];
	uint16_t run_of[OUTBOUND_MESSAGES];
	unsigned int n_dgrams;
	int status[OUTBOUND_MESSAGES];
	struct trains_notes notes;
	uint8_t train_lens[OUTBOUND_MESSAGES];
	const struct trains_note *offer;
};

/* outbound_begin_flush() - staged packets of a peer are about to be sent by the
 * first of several lanes */
static inline void outbound_begin_flush(const struct outbound_lane *ol,
					struct peer *peer)
{
	/* Partner: must_follow(). */
	if (ol->first->has_others)
		atomic_fetch_add_explicit(&peer->n_flushes, 1,
					  memory_order_release);
}

/* outbound_end_flush() - those packets are sent, or others keep the peer's count
 * above 0 */
static inline void outbound_end_flush(const struct outbound_lane *ol,
				      struct peer *peer)
{
	/* Partner: must_follow(). */
	if (ol->first->has_others)
		atomic_fetch_sub_explicit(&peer->n_flushes, 1,
					  memory_order_release);
}

/* outbound_commit() - the step commit of the lane, for struct lane_ops */
void outbound_commit(void *arg, void *slot, void *context);

#endif /* ENGINE_OUTBOUND_SLOT_H */
