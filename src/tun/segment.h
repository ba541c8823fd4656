/* SPDX-License-Identifier: MIT */
/*
 * Cutting super-packets. A TUN with TSO and USO hands out packets of up to
 * 64 KiB that name a segment size; each becomes a run of packets of at most
 * that payload, with headers as if the sender's own stack had made them.
 *
 * A cursor walks one super-packet; a slab takes the segments. When the slab is
 * full the cursor keeps its place, so the rest is cut into the next slab and
 * nothing is lost. Several super-packets may be cut into one slab.
 */
#ifndef TUN_SEGMENT_H
#define TUN_SEGMENT_H

#include "tun/vnet.h"

/**
 * struct segment - a finished packet in a slab
 * @data:	its first byte
 * @len:	its length
 */
struct segment {
	uint8_t *data;
	uint32_t len;
};

/**
 * struct segment_slab - where packets are written
 * @base:	first byte
 * @cap:	bytes at @base
 * @used:	bytes taken, 0 at first
 * @headroom:	bytes left free in front of each packet
 * @tailroom:	bytes left free at least behind each packet
 * @stride:	distance from one full segment to the next, or 0 for just what
 *		headroom, packet and tailroom take; to be set for each cursor by
 *		who wants neighbours to touch
 * @segs:	receives what was written; @segs_cap entries
 * @segs_cap:	entries at @segs
 * @segs_cnt:	entries filled, 0 at first
 */
struct segment_slab {
	uint8_t *base;
	size_t cap;
	size_t used;
	size_t headroom;
	size_t tailroom;
	size_t stride;
	struct segment *segs;
	unsigned int segs_cap;
	unsigned int segs_cnt;
};

/**
 * struct segment_cursor - a place in a super-packet
 * @pkt:	the packet, borrowed until the cursor is done
 * @frame:	its description
 * @off:	payload already cut
 * @payload_len: payload in all
 * @full_len:	length of every segment but the last, which is at most as long
 * @ip_sum:	sum of the IPv4 header without length, ID and checksum
 * @l4_sum:	sum of pseudo header and transport header without lengths,
 *		sequence number, flags and checksum
 * @seq:	TCP sequence number of the next segment
 * @ip_id:	IPv4 ID of the next segment
 * @done:	everything was cut
 *
 * Set up by segment_begin(); the caller may read @pkt, @frame, @off, @full_len
 * and @done.
 */
struct segment_cursor {
	const uint8_t *pkt;
	struct vnet_frame frame;
	uint32_t off;
	uint32_t payload_len;
	uint32_t full_len;
	uint64_t ip_sum;
	uint64_t l4_sum;
	uint32_t seq;
	uint16_t ip_id;
	bool done;
};

/* See segment.c. */
void segment_begin(struct segment_cursor *cur, const uint8_t *pkt,
		   const struct vnet_frame *frame);
unsigned int segment_cut(struct segment_cursor *cur, struct segment_slab *slab);
void segment_complete(uint8_t *pkt, const struct vnet_frame *frame);

#endif /* TUN_SEGMENT_H */
