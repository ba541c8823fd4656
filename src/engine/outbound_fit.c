/* SPDX-License-Identifier: MIT */
/*
 * The outbound lane and packets that are too long for the path to their peer
 * (--pmtu=discover), and the MSS of connections (--clamp-mss). paths.h knows the path,
 * tun/fit.h decides what is done. Everything here is for the thread that has the right
 * to take.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/counter.h"
#include "engine/outbound_slot.h"
#include "engine/paths.h"
#include "tun/fit.h"
#include "tun/mss.h"

enum {
	/* The pieces of a UDP super-packet that are longer than
	 * PATHS_INNER_MIN are at most 53, and have at most 140 bytes of headers
	 * each, VXLAN's and IPv6's included. */
	PIECES_MAX = 64,
	PIECES_LEN = 80 << 10,
};
static_assert(IPV4_PACKET_MAX / PATHS_INNER_MIN < PIECES_MAX,
	      "a super-packet whose packets do not fit");

/**
 * struct outbound_pieces - the packets of a UDP super-packet, each of which is to be
 *			    cut into fragments
 * @slab:	memory for the packets
 * @segs:	where each is
 * @next:	index of the next that is to be sent
 */
struct outbound_pieces {
	struct segment_slab slab;
	struct segment segs[PIECES_MAX];
	unsigned int next;
};

int outbound_pieces_new(struct outbound_pieces **out)
{
	struct outbound_pieces *pieces = calloc(1, sizeof(*pieces));

	if (!pieces)
		return -ENOMEM;
	pieces->slab = (struct segment_slab){
		.base = malloc(PIECES_LEN),
		.cap = PIECES_LEN,
		.segs = pieces->segs,
		.segs_cap = PIECES_MAX,
	};
	if (!pieces->slab.base) {
		free(pieces);
		return -ENOMEM;
	}
	*out = pieces;
	return 0;
}

void outbound_pieces_free(struct outbound_pieces *pieces)
{
	if (pieces)
		free(pieces->slab.base);
	free(pieces);
}

bool outbound_next_piece(struct outbound_lane *ol)
{
	struct outbound_pieces *pieces = ol->pieces;
	const struct segment *seg;
	struct vnet_frame frame = { .ip_version = IP_V4 };

	if (pieces->next >= pieces->slab.segs_cnt)
		return false;
	seg = &pieces->segs[pieces->next++];
	frame.len = seg->len;
	if (seg->len <= ol->fit.mtu)
		segment_begin(&ol->cursor, seg->data, &frame);
	else
		segment_begin_fragments(&ol->cursor, seg->data, &frame,
					ol->fit.mtu);
	return true;
}

void outbound_drop_pieces(struct outbound_lane *ol)
{
	if (ol->pieces)
		ol->pieces->slab.segs_cnt = 0;
}

/* Cut a UDP super-packet into its packets, and begin the first. */
static void split(struct outbound_lane *ol, const struct vnet_frame *frame)
{
	struct outbound_pieces *pieces = ol->pieces;
	struct segment_cursor cursor;

	pieces->slab.used = 0;
	pieces->slab.segs_cnt = 0;
	pieces->next = 0;
	segment_begin(&cursor, outbound_packet(ol), frame);
	segment_cut(&cursor, &pieces->slab);
	(void)outbound_next_piece(ol);
}

/* Tell the sender of the packet in the read buffer what fits. */
static void answer(struct outbound_lane *ol, const struct vnet_frame *frame,
		   uint32_t mtu, bool is_cut, uint64_t now)
{
	const uint8_t *pkt = outbound_packet(ol);

	if (!fit_has_df(pkt) ||
	    !paths_may_answer(ol->paths, ol->peer, is_cut, now))
		return;
	if (unreachable_send_too_big(&ol->first->unreachable, ol->tun, pkt,
				     frame->len, mtu))
		counter_add(&ol->paths->stats.answered, 1);
}

/* Begin a TCP packet that is cut shorter than its sender wants. */
static void begin_cut(struct outbound_lane *ol, const struct vnet_frame *was,
		      const struct vnet_frame *cut,
		      const struct paths_limits *limits)
{
	size_t size =
		was->gso_size ? was->gso_size : (size_t)cut->len - cut->hdr_len;
	size_t probe =
		limits->probe > cut->hdr_len ? limits->probe - cut->hdr_len : 0;

	segment_begin(&ol->cursor, outbound_packet(ol), cut);
	counter_add(&ol->paths->stats.cut, 1);
	ol->fit.mtu = limits->cut;
	if (probe <= cut->gso_size || probe > size ||
	    probe > ol->cursor.payload_len ||
	    !paths_may_probe(ol->paths, ol->peer, ol->cursor.pkt, cut->len))
		return;
	/* The first segment is longer, to find out whether that passes. */
	ol->fit.rest_size = cut->gso_size;
	ol->fit.rest_mtu = ol->fit.mtu;
	ol->fit.mtu = limits->probe;
	segment_set_size(&ol->cursor, (uint16_t)probe);
}

/* The length that padding keeps to, for packets of this length. */
static uint32_t padded_to(const struct paths_limits *limits, uint32_t len)
{
	if (len <= limits->cut)
		return limits->cut;
	return len <= limits->whole ? limits->whole : 0;
}

bool outbound_fit(struct outbound_lane *ol, const struct vnet_frame *frame,
		  uint64_t now)
{
	struct vnet_frame fitted = *frame;
	struct paths_limits limits;
	uint8_t *pkt = outbound_packet(ol);

	paths_get_limits(ol->paths, ol->peer, &limits, now);
	ol->fit = (struct outbound_fit){ .mtu = limits.whole };
	switch (fit_packet(pkt, &fitted, limits.mtu, limits.cut)) {
	case FIT_CUT:
		/* In a trial nothing was learnt yet. */
		if (limits.mtu)
			answer(ol, frame, limits.mtu, true, now);
		begin_cut(ol, frame, &fitted, &limits);
		break;
	case FIT_FRAGMENTS:
		segment_begin_fragments(&ol->cursor, pkt, frame, limits.whole);
		counter_add(&ol->paths->stats.fragmented, 1);
		break;
	case FIT_SPLIT:
		split(ol, frame);
		counter_add(&ol->paths->stats.fragmented, 1);
		break;
	case FIT_REFUSED:
		answer(ol, frame, limits.mtu, false, now);
		counter_add(&ol->paths->stats.refused, 1);
		return false;
	case FIT_WHOLE:
	default:
		segment_begin(&ol->cursor, pkt, frame);
	}
	if (!ol->fit.rest_size)
		ol->fit.mtu = padded_to(&limits, ol->cursor.full_len);
	ol->fit.needs_fragments =
		limits.is_tiny || (limits.whole && !ol->fit.mtu);
	return true;
}

void outbound_clamp(struct outbound_lane *ol, const struct vnet_frame *frame,
		    uint64_t now)
{
	/* Partner: lanes_set_mtu(). */
	uint32_t mtu = atomic_load_explicit(&ol->mtu, memory_order_relaxed);

	if (mss_is_syn(outbound_packet(ol), frame->len))
		mss_clamp(outbound_packet(ol), frame->len,
			  paths_clamp(ol->paths, ol->peer, mtu, now),
			  frame->needs_csum);
}
