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
 * commit One ug_send(). Datagrams for which the socket has no room are dropped,
 *	as by any full queue of a network: if the lane waited for room, the
 *	packets to all other peers would wait, too.
 *
 *	If trains to a peer are stopped, the batch is sent in up to three calls:
 *	see send_offer().
 */
#include "engine/outbound.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/counter.h"
#include "base/log.h"
#include "base/now.h"
#include "engine/ecn.h"
#include "engine/endpoint.h"
#include "engine/events.h"
#include "engine/sticky.h"
#include "engine/thread.h"

enum {
	HEADER_LEN = sizeof(struct message_data),
	/* Bytes for one packet that is read from the TUN. */
	READ_CAP = 65536,
};

/**
 * struct run - neighbouring messages to one peer
 * @send:	the counters, and references to the peer and its keypair
 * @to:		endpoint of the peer
 * @first:	index of its first message in the batch
 * @n:		number of its messages
 * @sent_len:	bytes of its datagrams that were sent
 * @has_data:	at least one of its messages is no keepalive
 */
struct run {
	struct send_run send;
	struct ug_endpoint to;
	unsigned int first;
	unsigned int n;
	size_t sent_len;
	bool has_data;
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

/* -------------------------------------------------------------- requests */

/* Let has_more() see how full the ring is. Under the mutex. */
static void note_requests(struct outbound_requests *r)
{
	/* Partners: has_more(), pop_request(). */
	atomic_store_explicit(&r->n, r->ring.n, memory_order_release);
}

bool outbound_request(struct outbound_lane *ol, struct peer *peer,
		      bool keepalive)
{
	struct outbound_requests *r = &ol->requests;
	bool taken = false;

	if (!peer_get(peer))
		return true;
	pthread_mutex_lock(&r->mutex);
	if (!ring_is_full(&r->ring)) {
		r->places[ring_push(&r->ring)] =
			(struct outbound_request){ peer, keepalive };
		note_requests(r);
		taken = true;
	}
	pthread_mutex_unlock(&r->mutex);
	if (!taken)
		peer_put(peer);
	return taken;
}

static bool pop_request(struct outbound_lane *ol, struct outbound_request *out)
{
	struct outbound_requests *r = &ol->requests;
	bool taken = false;

	/* Partner: note_requests(). Usually the ring is empty, and the mutex is
	 * not taken. */
	if (!atomic_load_explicit(&r->n, memory_order_acquire))
		return false;
	pthread_mutex_lock(&r->mutex);
	if (r->ring.n) {
		*out = r->places[ring_pop(&r->ring)];
		note_requests(r);
		taken = true;
	}
	pthread_mutex_unlock(&r->mutex);
	return taken;
}

/* ------------------------------------------------------------------ take */

static void reset_slot(struct slot *slot)
{
	slot->slab.used = 0;
	slot->slab.segs_cnt = 0;
	slot->n_runs = 0;
	slot->n_dgrams = 0;
	slot->first = 0;
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
	*run = (struct run){ .first = slot->first };
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

/* Open a run for this peer, if it is not open already. */
static void open_run(struct outbound_lane *ol, struct slot *slot,
		     struct peer *peer, uint64_t now)
{
	if (slot->peer == peer)
		return;
	close_run(ol, slot, now);
	if (peer_get(peer))
		slot->peer = peer;
}

/* Cut as much of the cursor's packet as there is room for. */
static void cut(struct outbound_lane *ol, struct slot *slot, uint64_t now)
{
	struct segment_slab *slab = &slot->slab;
	uint32_t off = ol->cursor.off;
	unsigned int first;

	open_run(ol, slot, ol->peer, now);
	first = slab->segs_cnt;
	/* Full segments stand side by side, so they leave as one vector. */
	slab->stride = HEADER_LEN +
		       session_padded_len(ol->cursor.full_len, slot->mtu) +
		       AEAD_TAG_LEN;
	segment_cut(&ol->cursor, slab);
	trains_note(&slot->notes, &ol->cursor, off, first,
		    slab->segs_cnt - first);
	memset(slot->tos + first, ol->tos, slab->segs_cnt - first);
	if (!ol->cursor.done)
		return;
	peer_put(ol->peer);
	ol->peer = NULL;
}

/* Add a message without a packet in it. */
static void add_keepalive(struct outbound_lane *ol, struct slot *slot,
			  struct peer *peer, uint64_t now)
{
	struct segment_slab *slab = &slot->slab;

	open_run(ol, slot, peer, now);
	slot->tos[slab->segs_cnt] = 0;
	slab->segs[slab->segs_cnt++] = (struct segment){
		.data = slab->base + slab->used + HEADER_LEN,
	};
	slab->used += HEADER_LEN + MESSAGE_DATA_TAIL;
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

/* The place of the packet in the read buffer: behind the virtio-net header. */
static uint8_t *packet_of(const struct outbound_lane *ol)
{
	return ol->read_buf + TUN_HEADROOM;
}

/* The packet in the read buffer is for this peer: cut() goes on with it. */
static void begin_packet(struct outbound_lane *ol, struct peer *peer,
			 const struct vnet_frame *frame)
{
	ol->peer = peer;
	ol->tos = ecn_encapsulate(packet_of(ol));
	segment_begin(&ol->cursor, packet_of(ol), frame);
}

/*
 * No peer can get this packet: count it, and tell its sender by ICMP. @peer: the
 * peer that has no endpoint, or NULL.
 */
static void refuse(struct outbound_lane *ol, const struct vnet_frame *frame,
		   const struct peer *peer, uint64_t now)
{
	counter_add(peer ? &ol->stats.no_endpoint : &ol->stats.no_peer, 1);
	if (ip_identify(packet_of(ol), frame->len))
		events_no_way(ol->events, packet_of(ol), peer);
	unreachable_send(&ol->unreachable, ol->tun, packet_of(ol), frame->len,
			 now);
}

/* Route a packet that was read from the TUN; then drop, stage or begin it. */
static void take_packet(struct outbound_lane *ol,
			const struct vnet_frame *frame, uint64_t now)
{
	struct device_endpoint ep;
	struct peer *peer =
		session_route(ol->device, packet_of(ol), frame->len);

	if (!peer) {
		refuse(ol, frame, NULL, now);
		return;
	}
	if (!endpoint_cell_get(&peer->endpoint, &ep)) {
		refuse(ol, frame, peer, now);
	} else if (returned_may_be(packet_of(ol)) &&
		   returned_is_own(&ol->returned, peer, &ep, packet_of(ol),
				   frame, now)) {
		counter_add(&ol->stats.returned, 1);
	} else if (!staged_is_empty(&peer->staged)) {
		/* Keep the order: older packets to this peer still wait. */
		stage(ol, peer, frame->len, now);
		if (peer_has_session(peer, now))
			outbound_request(ol, peer, false);
	} else if (!peer_has_session(peer, now)) {
		stage(ol, peer, frame->len, now);
	} else {
		begin_packet(ol, peer, frame);
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
	r = tun_read(ol->tun, packet_of(ol), READ_CAP, &frame);
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
	    tun_parse_frame(ol->tun, packet_of(ol), (size_t)len - TUN_HEADROOM,
			    &frame) == VNET_OK) {
		if (peer_get(peer))
			begin_packet(ol, peer, &frame);
		return true;
	}
	if (len > 0)
		return true;
	peer_put(peer);
	ol->flush = NULL;
	return false;
}

/* Serve a request. Return: false if there is none. */
static bool serve_request(struct outbound_lane *ol, struct slot *slot,
			  uint64_t now)
{
	struct outbound_request request;

	if (ol->flush)
		return pop_staged(ol, now) || serve_request(ol, slot, now);
	if (!pop_request(ol, &request))
		return false;
	if (!staged_is_empty(&request.peer->staged)) {
		ol->flush = request.peer;
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

	reset_slot(slot);
	/* While the link is down packets wait in the TUN's queue. */
	if (!ctx->sock)
		return false;
	/* Partner: set_mtu() of the control thread. */
	slot->mtu = atomic_load_explicit(&ol->mtu, memory_order_relaxed);
	for (unsigned int reads = 0; reads < OUTBOUND_READS; reads++) {
		if (!has_room(slot, ol->peer ? ol->cursor.full_len : 0))
			break;
		if (ol->peer)
			cut(ol, slot, now);
		else if (!serve_request(ol, slot, now) && !read_packet(ol, now))
			break;
	}
	close_run(ol, slot, now);
	/* Partner: has_more(). */
	atomic_store_explicit(&ol->has_left, ol->peer || ol->flush,
			      memory_order_release);
	return slot->n_runs > 0;
}

/* ------------------------------------------------------------------ work */

/* Write the header and the padding of message @i of a run. */
static void frame_message(struct slot *slot, const struct run *run,
			  unsigned int i)
{
	const struct segment *seg = &slot->segs[run->first + i];
	struct aead_msg *msg = &slot->msgs[run->first + i];
	size_t padded = session_padded_len(seg->len, slot->mtu);
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

/* ---------------------------------------------------------------- commit */

static bool has_sent(const struct slot *slot, unsigned int r)
{
	for (unsigned int i = 0; i < slot->n_dgrams; i++)
		if (slot->run_of[i] == r && slot->status[i] == UG_SENT)
			return true;
	return false;
}

/* The kernel refused to send from the source of the endpoint @refused. */
static void refuse_source(struct outbound_lane *ol, struct slot *slot,
			  const struct ug_endpoint *refused)
{
	for (unsigned int r = 0; r < slot->n_runs; r++) {
		struct run *run = &slot->runs[r];

		if (&run->to == refused && has_sent(slot, r))
			sticky_refuse(ol->device, run->send.peer, &run->to);
	}
}

/* Count what became of each datagram, and the bytes sent for each run. */
static void count_results(struct outbound_lane *ol, struct slot *slot)
{
	static struct log_limit limit;

	for (unsigned int i = 0; i < slot->n_dgrams; i++) {
		struct run *run = &slot->runs[slot->run_of[i]];

		if (slot->status[i] == UG_SENT) {
			run->sent_len += slot->dgrams[i].iov->iov_len;
		} else if (slot->status[i] == UG_UNSENT) {
			counter_add(&ol->stats.full_drops, 1);
		} else {
			counter_add(&ol->stats.send_errors, 1);
			log_limited(&limit, "cannot send to %s: %s",
				    thread_peer_name(run->send.peer),
				    strerror(-slot->status[i]));
		}
	}
}

static struct trains_run trains_run(const struct run *run)
{
	return (struct trains_run){
		.peer = run->send.peer,
		.to = &run->to,
		.first = run->first,
		.n = run->n,
	};
}

/* Send datagrams @from to @to - 1. Return: how many were sent. */
static size_t send_part(struct outbound_lane *ol, struct slot *slot,
			struct ug_socket *sock, unsigned int from,
			unsigned int to)
{
	const struct ug_endpoint *refused;
	size_t sent;

	ug_set_train_lengths(ol->batch, slot->train_lens + from, to - from);
	sent = ug_send(sock, ol->batch, NULL, slot->dgrams + from, to - from,
		       slot->status + from, 0);
	refused = ug_refused_source(ol->batch);
	if (refused)
		refuse_source(ol, slot, refused);
	return sent;
}

/*
 * Send a batch in which the datagrams of one note may leave as a train,
 * although trains to their peer are stopped. One call sends the datagrams
 * before them, one the train, one the datagrams behind.
 */
static size_t send_offer(struct outbound_lane *ol, struct slot *slot,
			 struct ug_socket *sock, const struct trains_run *run,
			 const struct trains_note *offer)
{
	size_t per_message = slot->iov[offer->first].iov_len;
	unsigned int first = offer->first;
	unsigned int end = first + (unsigned int)size_min(
					   size_min(offer->n, UG_MAX_SEGMENTS),
					   UG_MAX_TRAIN_IPV6 / per_message);
	size_t sent = 0;

	/* refuse_source() reads the status of all datagrams after each part. */
	for (unsigned int i = 0; i < slot->n_dgrams; i++)
		slot->status[i] = UG_UNSENT;
	if (first)
		sent = send_part(ol, slot, sock, 0, first);
	trains_offer_begin(sock, run);
	sent += send_part(ol, slot, sock, first, end);
	trains_offer_end(&ol->trains, sock, run, now_boottime());
	if (end < slot->n_dgrams)
		sent += send_part(ol, slot, sock, end, slot->n_dgrams);
	return sent;
}

/* Send a batch. Return: how many datagrams were sent. */
static size_t send_batch(struct outbound_lane *ol, struct slot *slot,
			 struct ug_socket *sock)
{
	slot->offer = NULL;
	for (unsigned int r = 0; ol->trains.n_off && r < slot->n_runs; r++) {
		struct trains_run run = trains_run(&slot->runs[r]);
		const struct trains_note *offer = trains_before(
			&ol->trains, sock, &run, &slot->notes, now_boottime());

		/* At most one offer is made in a batch. */
		if (!offer)
			continue;
		slot->offer = offer;
		return send_offer(ol, slot, sock, &run, offer);
	}
	return send_part(ol, slot, sock, 0, slot->n_dgrams);
}

static void watch_trains(struct outbound_lane *ol, struct slot *slot,
			 struct ug_socket *sock, uint64_t now)
{
	for (unsigned int r = 0; r < slot->n_runs; r++) {
		struct trains_run run = trains_run(&slot->runs[r]);

		trains_after(&ol->trains, sock, &run, &slot->notes,
			     slot->train_lens, slot->offer, now);
	}
}

static void commit(void *arg, void *slot_arg, void *context)
{
	const struct context *ctx = context;
	struct outbound_lane *ol = arg;
	struct slot *slot = slot_arg;
	uint64_t now;

	if (ctx->sock && slot->n_dgrams) {
		size_t sent = send_batch(ol, slot, ctx->sock);

		if (sent < slot->n_dgrams || slot->n_runs > 1)
			count_results(ol, slot);
		else
			for (unsigned int i = 0; i < slot->n_dgrams; i++)
				slot->runs[0].sent_len += slot->iov[i].iov_len;
	}
	now = now_boottime();
	if (ctx->sock && slot->notes.n)
		watch_trains(ol, slot, ctx->sock, now);
	for (unsigned int r = 0; r < slot->n_runs; r++) {
		struct run *run = &slot->runs[r];

		send_run_end(&run->send, run->sent_len, run->has_data, now);
	}
	slot->n_runs = 0;
}

/* ----------------------------------------------------------- life */

static int get_fd(const struct source *s, const struct ug_socket *sock,
		  unsigned int i)
{
	const struct outbound_lane *ol = s->lane.arg;

	(void)sock;
	return i ? -ENOENT : tun_get_fd(ol->tun);
}

static bool is_ready(struct source *s, struct ug_socket *sock, int fd,
		     uint32_t events)
{
	(void)sock;
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

	/* Partners: take(), outbound_request(). */
	return atomic_load_explicit(&ol->has_left, memory_order_acquire) ||
	       atomic_load_explicit(&ol->requests.n, memory_order_acquire);
}

static const struct source_ops source_ops = {
	.get_fd = get_fd,
	.is_ready = is_ready,
	.has_more = has_more,
};

static void *slot_new(void)
{
	struct slot *slot = calloc(1, sizeof(*slot));

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
	.commit = commit,
	.slot_new = slot_new,
	.slot_free = slot_free,
};

int outbound_lane_init(struct outbound_lane *ol, struct device *device,
		       struct tun *tun, unsigned int n_slots)
{
	ol->device = device;
	ol->tun = tun;
	quota_init(&ol->unreachable.quota, device->hash_key);
	atomic_init(&ol->mtu, TUN_MTU_DEFAULT);
	pthread_mutex_init(&ol->requests.mutex, NULL);
	ring_init(&ol->requests.ring, OUTBOUND_REQUESTS);
	ol->requests.places =
		calloc(OUTBOUND_REQUESTS, sizeof(*ol->requests.places));
	ol->read_buf = malloc(TUN_HEADROOM + READ_CAP);
	ol->source.ops = &source_ops;
	ol->source.name = "the interface";
	if (lane_new(&ol->source.lane, &ops, ol, n_slots) < 0 ||
	    !ol->requests.places || !ol->read_buf ||
	    trains_init(&ol->trains) < 0 ||
	    ug_batch_new(&ol->batch, OUTBOUND_MESSAGES) < 0) {
		outbound_lane_deinit(ol);
		return -ENOMEM;
	}
	return 0;
}

void outbound_lane_deinit(struct outbound_lane *ol)
{
	struct outbound_request request;

	while (pop_request(ol, &request))
		peer_put(request.peer);
	peer_put(ol->peer);
	peer_put(ol->flush);
	lane_free(&ol->source.lane);
	ug_batch_free(ol->batch);
	trains_deinit(&ol->trains);
	free(ol->read_buf);
	free(ol->requests.places);
	pthread_mutex_destroy(&ol->requests.mutex);
}
