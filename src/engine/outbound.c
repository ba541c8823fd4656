/* SPDX-License-Identifier: MIT */
/*
 * The outbound lane: what each of its three steps (lane.h) does with a batch.
 *
 * take	Packets come from three places, in this order: the rest of a
 *	super-packet that did not fit into the last batch; requests, which are
 *	for staged packets of a peer that has got a session, or for a keepalive;
 *	the TUN. A packet is routed, then cut into the slab of the slot. Each
 *	segment has room for its header in front, and for padding and tag
 *	behind. Neighbouring segments to one peer form a run. A run draws its
 *	counters when the next run begins or the batch ends, so the counters
 *	have the order of the packets.
 *
 *	If a peer has no session, its packets are staged as they were read,
 *	virtio-net header included. When it gets one, a request is made, and the
 *	staged packets leave before any new packet to that peer.
 *
 * work	Headers and padding are written, and one call seals all messages.
 *
 * commit One ug_send(): see outbound_commit.c.
 *
 * If the TUN has several queues, several lanes send to the same peers. Three
 * rules keep that in order:
 *
 *  - The kernel keeps each inner flow in one queue, so in one lane.
 *  - A receiver drops messages whose counters are too far behind the newest.
 *    So a lane draws the counters of each packet when it is cut, and only if
 *    they are near all counters that other lanes have drawn and not yet sent:
 *    see noise_keypair_reserve_near(). Else the lane keeps the packet, and reads
 *    no other one meanwhile. If a thread with old counters has been stopped for
 *    HOLD_NS, its messages are given up (send_run_give_up()).
 *  - Staged packets leave by the first lane. The other lanes keep packets to
 *    that peer until the staged ones, which are older, are sent.
 */
#include "engine/outbound.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/counter.h"
#include "base/now.h"
#include "engine/ecn.h"
#include "engine/endpoint.h"
#include "engine/events.h"
#include "engine/outbound_slot.h"

enum {
	HEADER_LEN = sizeof(struct message_data),
	/* Bytes for one packet that is read from the TUN. */
	READ_CAP = 65536,
	/* How long a packet waits for other lanes, and how long no packet waits
	 * after one has waited in vain, in ns. Choices: a scheduler seldom
	 * stops a thread for longer; and packets to other peers, which wait
	 * behind it, have most of the time. */
	HOLD_NS = 20 * NSEC_PER_MSEC,
	HOLD_PAUSE_NS = 5 * HOLD_NS,
};
static_assert((int)OUTBOUND_MESSAGES <= (int)NOISE_STRETCH,
	      "the counters of a packet are drawn at once");

bool outbound_request(struct outbound_lane *ol, struct peer *peer,
		      bool keepalive)
{
	return requests_push(&ol->first->requests, peer, keepalive);
}

/* ------------------------------------------------------------------ take */

static void reset_slot(struct slot *slot)
{
	slot->slab.used = 0;
	slot->slab.segs_cnt = 0;
	slot->n_runs = 0;
	slot->n_dgrams = 0;
	slot->first = 0;
	slot->needs_fragments = false;
	slot->notes.n = 0;
}

static bool has_room(const struct slot *slot, size_t len)
{
	const struct segment_slab *slab = &slot->slab;

	return slab->segs_cnt < slab->segs_cap &&
	       HEADER_LEN + len + MESSAGE_DATA_TAIL <= slab->cap - slab->used;
}

/* Draw the counters of the open run. Messages that get none are dropped. */
static void close_run(struct outbound_lane *ol, struct slot *slot, uint64_t now)
{
	struct device_endpoint ep;
	struct run *run = &slot->runs[slot->n_runs];
	unsigned int n = slot->slab.segs_cnt - slot->first;
	struct peer *peer = slot->peer;

	if (!peer)
		return;
	slot->peer = NULL;
	*run = (struct run){
		.first = slot->first,
		.mtu = slot->run_mtu,
		.needs_fragments = slot->run_needs_fragments,
	};
	if (n && endpoint_cell_get(&peer->endpoint, &ep) &&
	    send_run_begin(peer, n, now, &run->send) == 0) {
		endpoint_from_device(&run->to, &ep);
		run->n = (unsigned int)run->send.n;
		slot->n_runs++;
	}
	/* A run gets fewer counters than asked if its session ends: there is no
	 * session any more, or the session's counters are used up. */
	counter_add(&ol->stats.no_counters, n - run->n);
	slot->slab.segs_cnt = slot->first + run->n;
	slot->first = slot->slab.segs_cnt;
	if (run->n < n)
		trains_drop_notes(&slot->notes, slot->first);
	peer_put(peer);
}

/* The longest packet of the run that the packet at the cursor belongs to. */
static unsigned int mtu_of(const struct outbound_lane *ol,
			   const struct slot *slot)
{
	return ol->fit.mtu && ol->fit.mtu < slot->mtu ? ol->fit.mtu : slot->mtu;
}

/* Open a run for this peer, if it is not open already. */
static void open_run(struct outbound_lane *ol, struct slot *slot,
		     struct peer *peer, uint64_t now)
{
	unsigned int mtu = mtu_of(ol, slot);

	if (slot->peer == peer && slot->run_mtu == mtu &&
	    slot->run_needs_fragments == ol->fit.needs_fragments)
		return;
	close_run(ol, slot, now);
	slot->run_mtu = mtu;
	slot->run_needs_fragments = ol->fit.needs_fragments;
	slot->needs_fragments |= ol->fit.needs_fragments;
	if (peer_get(peer))
		slot->peer = peer;
}

/* --------------------------------------------------------- several lanes */

/* Has the packet in the read buffer waited so long for other lanes that a thread
 * with a batch of theirs must be stopped? */
static bool has_waited(const struct hold *hold, uint64_t now)
{
	return hold->since && now - hold->since >= HOLD_NS;
}

/* The packet in the read buffer cannot be sent yet. Return: true: it waits;
 * false: drop it, because packets to other peers wait behind it. */
static bool may_wait(struct hold *hold, uint64_t now)
{
	if (has_waited(hold, now)) {
		hold->since = 0;
		hold->not_before = now + HOLD_PAUSE_NS;
	}
	if (now < hold->not_before)
		return false;
	if (!hold->since)
		hold->since = now;
	return true;
}

/* Is the first lane about to send older packets to this peer? */
static bool must_follow(const struct outbound_lane *ol, const struct peer *peer)
{
	/* Partners: outbound_begin_flush(), outbound_end_flush(). */
	return ol->first != ol &&
	       atomic_load_explicit(&peer->n_flushes, memory_order_acquire);
}

/* Get counters for @n messages. @is_late: for the sake of this peer's messages no
 * other lane is waited for any more. Return: as send_run_begin_near(). */
static int begin_run(struct outbound_lane *ol, struct peer *peer,
		     unsigned int n, bool is_late, uint64_t now,
		     struct run *run)
{
	struct device_endpoint ep;
	int r;

	if (must_follow(ol, peer) && now >= ol->hold.not_before) {
		if (!is_late)
			return DEVICE_E_FAR;
		ol->hold.not_before = now + HOLD_PAUSE_NS;
	}
	if (!endpoint_cell_get(&peer->endpoint, &ep))
		return DEVICE_E_NO_SESSION;
	endpoint_from_device(&run->to, &ep);
	r = send_run_begin_near(peer, n, now, &run->send);
	if (r == DEVICE_E_FAR && is_late && send_run_give_up(peer, n))
		r = send_run_begin_near(peer, n, now, &run->send);
	return r;
}

/* Add a run that has its counters, or make it a part of the one before. */
static void add_run(const struct outbound_lane *ol, struct slot *slot,
		    struct run *run)
{
	struct run *last = slot->n_runs ? run - 1 : NULL;

	if (last && last->is_staged == run->is_staged &&
	    last->mtu == run->mtu &&
	    last->needs_fragments == run->needs_fragments &&
	    send_run_join(&last->send, &run->send)) {
		last->n += run->n;
		return;
	}
	if (run->is_staged)
		outbound_begin_flush(ol, run->send.peer);
	slot->n_runs++;
}

/*
 * Draw counters for the last segments, from @first on. Segments that get none,
 * because the session has ended, are dropped. Return: false: other lanes have to
 * send first; the segments were taken back.
 */
static bool draw(struct outbound_lane *ol, struct slot *slot, struct peer *peer,
		 unsigned int first, uint64_t now)
{
	struct segment_slab *slab = &slot->slab;
	struct run *run = &slot->runs[slot->n_runs];
	unsigned int n = slab->segs_cnt - first;
	int r;

	if (!n)
		return true;
	*run = (struct run){
		.first = first,
		.mtu = mtu_of(ol, slot),
		.needs_fragments = ol->fit.needs_fragments,
		.is_staged = ol->flush == peer,
	};
	slot->needs_fragments |= run->needs_fragments;
	r = begin_run(ol, peer, n, has_waited(&ol->hold, now), now, run);
	if (r == DEVICE_E_FAR) {
		slab->used = (size_t)(slab->segs[first].data - HEADER_LEN -
				      slab->base);
		slab->segs_cnt = first;
		return false;
	}
	ol->hold.since = 0;
	run->n = r == 0 ? (unsigned int)run->send.n : 0;
	slab->segs_cnt = first + run->n;
	counter_add(&ol->stats.no_counters, n - run->n);
	if (run->n)
		add_run(ol, slot, run);
	return true;
}

/* ------------------------------------------------------- cutting, staging */

static void end_packet(struct outbound_lane *ol)
{
	if (ol->pieces && outbound_next_piece(ol))
		return;
	peer_put(ol->peer);
	ol->peer = NULL;
	ol->fit = (struct outbound_fit){ 0 };
}

/* Cut segments: all that there is room for, or, if the first one is of another length
 * than the rest, this one. */
static void cut_segments(struct outbound_lane *ol, struct segment_slab *slab)
{
	unsigned int cap = slab->segs_cap;

	if (ol->fit.rest_size)
		slab->segs_cap = slab->segs_cnt + 1;
	segment_cut(&ol->cursor, slab);
	slab->segs_cap = cap;
}

/* The first segment was cut: the others have another length. */
static void go_on_with_rest(struct outbound_lane *ol)
{
	segment_set_size(&ol->cursor, ol->fit.rest_size);
	ol->fit.mtu = ol->fit.rest_mtu;
	ol->fit.rest_size = 0;
}

/*
 * Cut as much of the cursor's packet as there is room for. Return: false: the
 * packet has to wait for other lanes.
 */
static bool cut(struct outbound_lane *ol, struct slot *slot, uint64_t now)
{
	struct segment_slab *slab = &slot->slab;
	const struct segment_cursor before = ol->cursor;
	unsigned int first;

	if (!ol->first->has_others)
		open_run(ol, slot, ol->peer, now);
	first = slab->segs_cnt;
	/* Full segments stand side by side, so they leave as one vector. */
	slab->stride =
		HEADER_LEN +
		session_padded_len(ol->cursor.full_len, mtu_of(ol, slot)) +
		AEAD_TAG_LEN;
	cut_segments(ol, slab);
	if (ol->first->has_others && !draw(ol, slot, ol->peer, first, now)) {
		ol->cursor = before;
		if (may_wait(&ol->hold, now))
			return false;
		counter_add(&ol->stats.held_drops, 1);
		outbound_drop_pieces(ol);
		end_packet(ol);
		return true;
	}
	trains_note(&slot->notes, &ol->cursor, before.off, first,
		    slab->segs_cnt - first);
	memset(slot->tos + first, ol->tos, slab->segs_cnt - first);
	if (ol->cursor.done)
		end_packet(ol);
	else if (ol->fit.rest_size && slab->segs_cnt > first)
		go_on_with_rest(ol);
	return true;
}

/* Add a message without a packet in it. */
static void add_keepalive(struct outbound_lane *ol, struct slot *slot,
			  struct peer *peer, uint64_t now)
{
	struct segment_slab *slab = &slot->slab;
	unsigned int first;

	if (!ol->first->has_others)
		open_run(ol, slot, peer, now);
	first = slab->segs_cnt;
	slot->tos[slab->segs_cnt] = 0;
	slab->segs[slab->segs_cnt++] = (struct segment){
		.data = slab->base + slab->used + HEADER_LEN,
	};
	slab->used += HEADER_LEN + MESSAGE_DATA_TAIL;
	/* If other lanes have to send first, no keepalive is needed. */
	if (ol->first->has_others)
		(void)draw(ol, slot, peer, first, now);
}

/* Copy the packet in the read buffer to the peer's staged packets. */
static void stage(struct outbound_lane *ol, struct peer *peer, size_t len,
		  uint64_t now)
{
	const uint8_t *frame = ol->read_buf;
	size_t n_dropped = 0;
	int r = session_stage(peer, frame, TUN_HEADROOM + len, now, &n_dropped);

	counter_add(&ol->stats.staged_drops, n_dropped);
	if (r == DEVICE_E_FLUSH)
		outbound_request(ol, peer, false);
	else
		session_request(peer);
}

/* The packet in the read buffer is for this peer: cut() goes on with it. */
static void begin_packet(struct outbound_lane *ol, struct peer *peer,
			 const struct vnet_frame *frame, uint64_t now)
{
	ol->peer = peer;
	ol->tos = ecn_encapsulate(outbound_packet(ol));
	if (ol->clamps_mss)
		outbound_clamp(ol, frame, now);
	if (!ol->paths || !paths_have_limit(ol->paths, peer))
		segment_begin(&ol->cursor, outbound_packet(ol), frame);
	else if (!outbound_fit(ol, frame, now))
		end_packet(ol);
}

/*
 * No peer can get this packet: count it, and tell its sender by ICMP. @peer: the
 * peer that has no endpoint, or NULL.
 */
static void refuse(struct outbound_lane *ol, const struct vnet_frame *frame,
		   const struct peer *peer, uint64_t now)
{
	counter_add(peer ? &ol->stats.no_endpoint : &ol->stats.no_peer, 1);
	if (ip_identify(outbound_packet(ol), frame->len))
		events_no_way(ol->events, outbound_packet(ol), peer);
	unreachable_send(&ol->first->unreachable, ol->tun, outbound_packet(ol),
			 frame->len, now);
}

/* Route a packet that was read from the TUN; then drop, stage or begin it. */
static void take_packet(struct outbound_lane *ol,
			const struct vnet_frame *frame, uint64_t now)
{
	struct device_endpoint ep;
	struct peer *peer =
		session_route(ol->device, outbound_packet(ol), frame->len);

	if (!peer) {
		refuse(ol, frame, NULL, now);
		return;
	}
	if (!endpoint_cell_get(&peer->endpoint, &ep)) {
		refuse(ol, frame, peer, now);
	} else if (returned_may_be(outbound_packet(ol)) &&
		   returned_is_own(&ol->returned, peer, &ep,
				   outbound_packet(ol), frame, now)) {
		counter_add(&ol->stats.returned, 1);
	} else if (!staged_is_empty(&peer->staged)) {
		/* Keep the order: older packets to this peer still wait. */
		stage(ol, peer, frame->len, now);
		if (peer_has_session(peer, now))
			outbound_request(ol, peer, false);
	} else if (!peer_has_session(peer, now)) {
		stage(ol, peer, frame->len, now);
	} else {
		begin_packet(ol, peer, frame, now);
		return;
	}
	peer_put(peer);
}

/* Read a packet from the TUN. Return: false if there is none. */
static bool read_packet(struct outbound_lane *ol, uint64_t now)
{
	struct vnet_frame frame;
	int r;

	/* A staged packet has room for the longest virtio-net header. Bytes in
	 * front of the TUN's own header are 0. */
	memset(ol->read_buf, 0, TUN_HEADROOM);
	r = tun_read(ol->tun, outbound_packet(ol), READ_CAP, &frame);
	switch (r) {
	case 0:
		take_packet(ol, &frame, now);
		return true;
	case TUN_E_DROP:
		counter_add(&ol->stats.bad_frames, 1);
		return true;
	case TUN_E_GONE:
		source_note_gone(&ol->source);
		return false;
	case TUN_E_AGAIN:
		return false;
	default:
		source_note_error(&ol->source, r);
		return false;
	}
}

/* Begin the next staged packet of @flush. Return: false if there is none. */
static bool pop_staged(struct outbound_lane *ol, uint64_t now)
{
	struct peer *peer = ol->flush;
	struct vnet_frame frame;
	long len = 0;

	if (peer_has_session(peer, now))
		len = staged_pop(ol->device->staged, &peer->staged,
				 ol->read_buf, TUN_HEADROOM + READ_CAP);
	if (len > TUN_HEADROOM &&
	    tun_parse_frame(ol->tun, outbound_packet(ol),
			    (size_t)len - TUN_HEADROOM, &frame) == VNET_OK) {
		if (peer_get(peer))
			begin_packet(ol, peer, &frame, now);
		return true;
	}
	if (len > 0)
		return true;
	outbound_end_flush(ol, peer);
	peer_put(peer);
	ol->flush = NULL;
	return false;
}

/* Serve a request. Return: false if there is none. */
static bool serve_request(struct outbound_lane *ol, struct slot *slot,
			  uint64_t now)
{
	struct request request;

	if (ol->flush)
		return pop_staged(ol, now) || serve_request(ol, slot, now);
	if (ol->first != ol || !requests_pop(&ol->requests, &request))
		return false;
	if (!staged_is_empty(&request.peer->staged)) {
		ol->flush = request.peer;
		outbound_begin_flush(ol, ol->flush);
		return true;
	}
	if (request.keepalive && peer_has_session(request.peer, now))
		add_keepalive(ol, slot, request.peer, now);
	else if (request.keepalive)
		/* The initiator of a handshake sends a keepalive when it has
		 * the keys (op_session_ready()), so this request ends here. */
		session_request(request.peer);
	peer_put(request.peer);
	return true;
}

static bool take(void *arg, void *slot_arg, void *context)
{
	const struct context *ctx = context;
	struct outbound_lane *ol = arg;
	struct slot *slot = slot_arg;
	uint64_t now = now_boottime();
	bool is_empty = false;

	reset_slot(slot);
	if (ol->first->has_others)
		slot->slab.segs_cap = OUTBOUND_SHARED_MESSAGES;
	/* While the link is down packets wait in the TUN's queue. */
	if (!ctx->sock)
		return false;
	/* Partner: set_mtu() of the control thread. */
	slot->mtu = atomic_load_explicit(&ol->mtu, memory_order_relaxed);
	for (unsigned int reads = 0; reads < OUTBOUND_READS; reads++) {
		if (!has_room(slot, ol->peer ? ol->cursor.full_len : 0))
			break;
		if (ol->peer) {
			if (!cut(ol, slot, now))
				break;
		} else if (!serve_request(ol, slot, now) &&
			   (ctx->reads_nothing || !read_packet(ol, now))) {
			is_empty = true;
			break;
		}
	}
	close_run(ol, slot, now);
	/* Partner: has_more(). */
	atomic_store_explicit(&ol->has_left, ol->peer || ol->flush,
			      memory_order_release);
	/* After a lone packet the TUN is seldom ready at once. Behind several
	 * packets more may have come, and the worker is busy. */
	if (is_empty && slot->slab.segs_cnt == 1)
		lane_drained(&ol->source.lane);
	return slot->n_runs > 0;
}

/* ------------------------------------------------------------------ work */

/* Write the header and the padding of message @i of a run. */
static void frame_message(struct slot *slot, const struct run *run,
			  unsigned int i)
{
	const struct segment *seg = &slot->segs[run->first + i];
	struct aead_msg *msg = &slot->msgs[run->first + i];
	size_t padded = session_padded_len(seg->len, run->mtu);
	uint8_t *header = seg->data - HEADER_LEN;

	memset(seg->data + seg->len, 0, padded - seg->len);
	*msg = (struct aead_msg){
		.key = run->send.kp->keys->sending,
		.counter = send_run_header(&run->send, i, (void *)header),
		.text = seg->data,
		.len = (uint32_t)padded,
	};
	slot->iov[run->first + i] = (struct iovec){
		.iov_base = header,
		.iov_len = HEADER_LEN + padded + AEAD_TAG_LEN,
	};
}

static void work(void *arg, void *slot_arg, void *context)
{
	const struct context *ctx = context;
	struct slot *slot = slot_arg;
	unsigned int n = 0;

	(void)arg;

	for (unsigned int r = 0; r < slot->n_runs; r++) {
		struct run *run = &slot->runs[r];

		for (unsigned int i = 0; i < run->n; i++, n++) {
			frame_message(slot, run, i);
			run->has_data |= slot->segs[n].len > 0;
			slot->dgrams[n] = (struct ug_datagram){
				.iov = &slot->iov[n],
				.n_iov = 1,
				.tos = slot->tos[n],
				.to = &run->to,
			};
			slot->run_of[n] = (uint16_t)r;
		}
	}
	aead_seal_batch(ctx->aead, slot->msgs, n);
	slot->n_dgrams = n;
}

/* ----------------------------------------------------------- life */

static int get_fd(const struct source *s, const struct sock_group *group,
		  unsigned int i)
{
	const struct outbound_lane *ol = s->lane.arg;

	(void)group;
	return i ? -ENOENT : tun_get_fd(ol->tun);
}

static bool is_ready(struct source *s, const struct sock_group *group, int fd,
		     uint32_t events)
{
	(void)group;
	(void)fd;
	/* epoll reports EPOLLERR even if it watches for no events. */
	if (events & EPOLLERR)
		source_note_gone(s);
	return true;
}

/* Is there a request, or did the last batch leave packets behind? */
static bool has_more(const struct source *s)
{
	const struct outbound_lane *ol = s->lane.arg;

	/* Partner: take(). */
	return atomic_load_explicit(&ol->has_left, memory_order_acquire) ||
	       (ol->first == ol && requests_wait(&ol->requests));
}

static const struct source_ops source_ops = {
	.get_fd = get_fd,
	.is_ready = is_ready,
	.has_more = has_more,
};

static void *slot_new(void *arg)
{
	struct slot *slot = calloc(1, sizeof(*slot));

	(void)arg;
	if (!slot)
		return NULL;
	slot->slab = (struct segment_slab){
		.base = malloc(OUTBOUND_SLAB_LEN),
		.cap = OUTBOUND_SLAB_LEN,
		.headroom = HEADER_LEN,
		.tailroom = MESSAGE_DATA_TAIL,
		.segs = slot->segs,
		.segs_cap = OUTBOUND_MESSAGES,
	};
	if (!slot->slab.base) {
		free(slot);
		return NULL;
	}
	return slot;
}

static void slot_free(void *arg)
{
	struct slot *slot = arg;

	for (unsigned int r = 0; r < slot->n_runs; r++)
		send_run_end(&slot->runs[r].send, slot->runs[r].sent_len, false,
			     now_boottime());
	free(slot->slab.base);
	free(slot);
}

static const struct lane_ops ops = {
	.take = take,
	.work = work,
	.commit = outbound_commit,
	.slot_new = slot_new,
	.slot_free = slot_free,
};

/* Make what several lanes have in common, or use that of the first lane. */
static int init_shared(struct outbound_lane *ol)
{
	int err;

	if (ol->first) {
		ol->first->has_others = true;
		ol->first->trains.is_shared = true;
		return 0;
	}
	ol->first = ol;
	unreachable_init(&ol->unreachable, ol->device->hash_key);
	err = requests_init(&ol->requests);
	return err < 0 ? err : trains_init(&ol->trains);
}

int outbound_lane_init(struct outbound_lane *ol, struct device *device,
		       struct tun *tun, unsigned int n_slots)
{
	ol->device = device;
	ol->tun = tun;
	atomic_init(&ol->mtu, TUN_MTU_DEFAULT);
	ol->read_buf = malloc(TUN_HEADROOM + READ_CAP);
	ol->source.ops = &source_ops;
	ol->source.name = "the interface";
	if (lane_new(&ol->source.lane, &ops, ol, n_slots) < 0 ||
	    !ol->read_buf ||
	    (ol->paths && outbound_pieces_new(&ol->pieces) < 0) ||
	    init_shared(ol) < 0 ||
	    ug_batch_new(&ol->batch, OUTBOUND_MESSAGES) < 0) {
		outbound_lane_deinit(ol);
		return -ENOMEM;
	}
	return 0;
}

void outbound_lane_deinit(struct outbound_lane *ol)
{
	peer_put(ol->peer);
	peer_put(ol->flush);
	lane_free(&ol->source.lane);
	ug_batch_free(ol->batch);
	if (ol->first == ol) {
		requests_deinit(&ol->requests);
		trains_deinit(&ol->trains);
		unreachable_deinit(&ol->unreachable);
	}
	outbound_pieces_free(ol->pieces);
	free(ol->read_buf);
}
