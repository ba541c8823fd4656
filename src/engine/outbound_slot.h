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
 * @mtu:	the longest packet; padding keeps to it
 * @needs_fragments: its datagrams are sent without DF: see paths.h
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
	unsigned int mtu;
	bool needs_fragments;
	bool has_data;
	bool is_staged;
	bool is_sending;
};

/**
 * struct slot - a batch
 * @mtu:	of the interface when the batch was taken
 * @slab:	memory that packets are cut into
 * @segs:	the cut segments: where each is in the slab
 * @tos:	outer TOS of each segment
 * @runs:	the closed runs: those that have their counters
 * @n_runs:	number of closed runs
 * @peer:	peer of the run that is still open, with a reference, or NULL
 * @first:	index of the first message of the open run
 * @run_mtu:	its @mtu
 * @run_needs_fragments: its @needs_fragments
 * @needs_fragments: a run of the batch has this
 * @msgs:	the messages, for aead_seal_batch()
 * @iov:	the bytes of each datagram
 * @dgrams:	the datagrams, for ug_send()
 * @run_of:	for each datagram, the index of its run
 * @n_dgrams:	number of datagrams
 * @status:	for each datagram, its status from ug_send()
 * @notes:	notes on the TCP segments among the messages, for trains.h
 * @train_lens:	for each message, how many messages its train had, itself
 *		included; 0: it was not sent
 * @told_too_long: the last run of which a datagram was refused as too long
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
	unsigned int run_mtu;
	bool run_needs_fragments;
	bool needs_fragments;
	struct aead_msg msgs[OUTBOUND_MESSAGES];
	struct iovec iov[OUTBOUND_MESSAGES];
	struct ug_datagram dgrams[OUTBOUND_MESSAGES];
	uint16_t run_of[OUTBOUND_MESSAGES];
	unsigned int n_dgrams;
	int status[OUTBOUND_MESSAGES];
	struct trains_notes notes;
	uint8_t train_lens[OUTBOUND_MESSAGES];
	const struct run *told_too_long;
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

/* outbound_packet() - the packet in the read buffer: behind the virtio-net header */
static inline uint8_t *outbound_packet(const struct outbound_lane *ol)
{
	return ol->read_buf + TUN_HEADROOM;
}

/* outbound_pieces_new() - memory for split packets. Return: 0; -ENOMEM. */
int outbound_pieces_new(struct outbound_pieces **out);

/* outbound_pieces_free() - NULL is ok */
void outbound_pieces_free(struct outbound_pieces *pieces);

/**
 * outbound_fit() - begin the packet in the read buffer, so that it fits the path
 * @ol:		lane; its cursor is set up, and @fit. The path of its peer has a limit.
 * @frame:	description of the packet
 * @now:	the present
 *
 * Right to take.
 *
 * Return: true; false: the packet does not fit, and its sender was told.
 */
bool outbound_fit(struct outbound_lane *ol, const struct vnet_frame *frame,
		  uint64_t now);

/* outbound_next_piece() - begin the next piece of a packet that was split. Return:
 * false: there is none. To be called if the lane has @pieces. Right to take. */
bool outbound_next_piece(struct outbound_lane *ol);

/* outbound_drop_pieces() - forget the pieces that are left. Right to take. */
void outbound_drop_pieces(struct outbound_lane *ol);

/* outbound_clamp() - lower the MSS of the packet in the read buffer, if it is a SYN.
 * Right to take. */
void outbound_clamp(struct outbound_lane *ol, const struct vnet_frame *frame,
		    uint64_t now);

/* outbound_commit() - the step commit of the lane, for struct lane_ops */
void outbound_commit(void *arg, void *slot, void *context);

#endif /* ENGINE_OUTBOUND_SLOT_H */
