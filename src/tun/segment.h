/* SPDX-License-Identifier: MIT */
/*
 * Cutting super-packets. A TUN with TSO and USO hands out packets of up to
 * 64 KiB, each with a segment size. A super-packet is cut into packets whose
 * payload is at most as long as the segment size. The headers of these packets
 * are those that the sender's own stack would have made.
 *
 * A cursor is a place in one super-packet. A slab is memory for the segments. If
 * the slab is full, the cursor keeps its place, and the rest is cut into the next
 * slab. Several super-packets may be cut into one slab.
 *
 * An IPv4 packet can be cut into fragments in the same way.
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
 * struct segment_slab - memory that segments are written to
 * @base:	first byte
 * @cap:	bytes at @base
 * @used:	bytes taken, 0 at first
 * @headroom:	bytes left free in front of each packet
 * @tailroom:	bytes left free at least behind each packet
 * @stride:	distance from the start of one segment to the next; 0 for the sum
 *		of headroom, packet and tailroom. A caller that wants no gaps
 *		between full segments sets the stride for each cursor.
 * @segs:	filled with the segments written; @segs_cap entries
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
 * @fragment_len: payload of each fragment; 0: the packet is not cut into fragments
 * @ip_sum:	sum of the IPv4 header without length, ID and checksum; of a
 *		tunnel super-packet, that of the inner header
 * @l4_sum:	sum of pseudo header and transport header without lengths,
 *		sequence number, flags and checksum
 * @outer_ip_sum: as @ip_sum, for the outer header of a tunnel super-packet
 * @outer_l4_sum: what all segments of a tunnel super-packet share of the sum for
 *		the outer UDP checksum
 * @seq:	TCP sequence number of the next segment
 * @ip_id:	IPv4 ID of the next segment
 * @outer_ip_id: as @ip_id, for the outer header of a tunnel super-packet
 * @done:	all of the packet was cut
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
	uint32_t fragment_len;
	uint64_t ip_sum;
	uint64_t l4_sum;
	uint64_t outer_ip_sum;
	uint64_t outer_l4_sum;
	uint32_t seq;
	uint16_t ip_id;
	uint16_t outer_ip_id;
	bool done;
};

/**
 * segment_begin() - put a cursor at the start of a packet
 * @cur:	cursor, set up here
 * @pkt:	packet, borrowed until @cur->done; not in a slab that it is cut to
 * @frame:	its description from vnet_parse_frame(); copied
 */
void segment_begin(struct segment_cursor *cur, const uint8_t *pkt,
		   const struct vnet_frame *frame);

/**
 * segment_begin_fragments() - put a cursor at the start of an IPv4 packet that is to
 *			       be cut into fragments (RFC 791, section 3.2)
 * @cur:	cursor, set up here
 * @pkt:	IPv4 packet with a whole header, of @frame->len bytes, as in
 *		segment_begin(). If it lacks its checksum, this is completed.
 * @frame:	its description; @frame->gso_size is 0
 * @limit:	longest fragment, at least 8 bytes longer than the header
 *
 * The packet may be a fragment itself.
 */
void segment_begin_fragments(struct segment_cursor *cur, uint8_t *pkt,
			     const struct vnet_frame *frame, size_t limit);

/**
 * segment_set_size() - change the length of the segments that are still to be cut
 * @cur:	cursor in a super-packet
 * @gso_size:	their payload, at least 1
 */
static inline void segment_set_size(struct segment_cursor *cur,
				    uint16_t gso_size)
{
	cur->frame.gso_size = gso_size;
	cur->full_len = cur->frame.hdr_len +
			(uint32_t)size_min(cur->payload_len, gso_size);
}

/**
 * segment_cut() - cut until the packet or the slab is used up
 * @cur:	cursor from segment_begin() or segment_begin_fragments()
 * @slab:	takes the segments, behind those it has
 *
 * Segment i of a call starts at the old @slab->used + headroom + i * stride. The
 * new @slab->used is the end of the last segment's tailroom. The bytes of
 * headroom and tailroom are not written. Tailroom is kept behind the last
 * segment of a packet, too: the last segment may be shorter, and may need more
 * padding than the stride of full segments leaves.
 *
 * At least one segment is cut if the slab has an unused entry and headroom +
 * @cur->full_len + tailroom unused bytes.
 *
 * Return: the number of segments added; 0 if the slab had no room, or the cursor
 * is done.
 */
unsigned int segment_cut(struct segment_cursor *cur, struct segment_slab *slab);

/**
 * segment_complete() - complete the checksum of a packet where it lies
 * @pkt:	packet that needs no cutting (frame->gso_size is 0)
 * @frame:	its description
 *
 * For a packet that is sent from the memory that it was read to.
 */
void segment_complete(uint8_t *pkt, const struct vnet_frame *frame);

#endif /* TUN_SEGMENT_H */
