/* SPDX-License-Identifier: MIT */
/*
 * Some networks lose trains, and the kernel does not tell. This file connects
 * the lanes with device/trainwatch.h, which decides from TCP segments and their
 * acknowledgements whether trains to a peer are lost. The decision has no lock
 * and no I/O; both are here.
 *
 * A peer that is watched has a *seat*: its watch, a mutex, and the state of
 * what was done about it. There is a fixed number of seats, so that memory is
 * bounded. A peer claims a seat when a train of TCP segments leaves to it. A
 * seat whose peer has sent no train for a while may be claimed by another peer.
 * A seat compares the pointer to its peer, and never follows it: so it holds no
 * reference, and a peer that was removed simply never comes again.
 *
 *  take	The outbound lane cuts a packet into segments. trains_note() reads
 *	its TCP header and adds a *note* to the batch: which sequence numbers
 *	went into which messages.
 *  commit	If trains to a peer are stopped, trains_before() has the library
 *	go on sending alone to it. If it is time to try whether trains arrive
 *	again, it returns a note, the *offer*. The lane sends the messages of
 *	that note as one train, between trains_offer_begin() and
 *	trains_offer_end(). After the send, trains_after() tells the watch of
 *	each note which segments left in a train, and which left alone.
 *  in	An inbound lane hands a packet of the peer to trains_saw(), which reads
 *	the acknowledgement and tells the watch. That costs time for each
 *	packet, so trains_attention() says first whether the watch needs to
 *	hear of it: of no packet, of some, or of all.
 *
 * A watch may change its mind on the way in, but only the outbound lane tells
 * the library. So there are two states: watch.state is what was decided, under
 * the mutex; is_off is what the library was told, under the right to commit.
 * follow() compares the two and tells the library.
 *
 * The library is told to send alone for a minute at most. While trains are
 * stopped, the lane tells it again half a minute before that ends (hold()). If
 * this program forgets a peer, trains therefore come back by themselves.
 */
#include "engine/trains.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"
#include "engine/events.h"
#include "engine/thread.h"

/* A seat may be claimed if no train to its peer left for this long. This time
 * and the next three are choices, not measured. */
#define SEAT_IDLE (10 * NSEC_PER_SEC)
/* The same, if trains to its peer are stopped and no message left. */
#define SEAT_OFF_IDLE (600 * NSEC_PER_SEC)
/* A peer that has had its seat for this long gives it up even if trains leave,
 * unless they are stopped or there are signs that they are lost. */
#define SEAT_TURN (30 * NSEC_PER_SEC)
/* If no seat was free, no peer claims one for this long. */
#define CLAIM_PAUSE (100 * NSEC_PER_MSEC)

/* ------------------------------------------------------------ TCP headers */

/**
 * struct tcp_facts - what the watch needs to know of a TCP segment
 * @from:	its source address and port, hashed
 * @to:		its destination address and port, hashed
 * @seq:	sequence number
 * @ack:	acknowledgement number
 * @hdr_len:	length of all headers
 * @flags:	enum tcp_flag
 */
struct tcp_facts {
	uint64_t from;
	uint64_t to;
	uint32_t seq;
	uint32_t ack;
	uint32_t hdr_len;
	uint8_t flags;
};

static uint64_t mix(uint64_t a, uint64_t b)
{
	a = (a ^ b) * UINT64_C(0x9e3779b97f4a7c15);
	return a ^ a >> 32;
}

static uint64_t hash_end(const uint8_t *addr, size_t len, struct be16 port)
{
	uint64_t h = be16_get(port);

	for (size_t i = 0; i < len; i += 4) {
		struct be32 word;

		memcpy(&word, addr + i, sizeof(word));
		h = mix(h, be32_get(word));
	}
	return h;
}

/* A hash of the connection and the direction; never 0. */
static uint64_t flow_of(uint64_t from, uint64_t to)
{
	return mix(from * 3, to) | 1;
}

/* Return: false: no TCP, a fragment, or IPv6 with extension headers. */
static bool read_tcp(const uint8_t *pkt, size_t len, struct tcp_facts *out)
{
	const struct ipv4_hdr *ip4 = ipv4_view(pkt);
	const struct ipv6_hdr *ip6 = ipv6_view(pkt);
	const uint8_t *from, *to;
	size_t off, addr_len;

	if (len < sizeof(*ip4) + sizeof(struct tcp_hdr))
		return false;
	if (ip_get_version(pkt) == IP_V4) {
		off = ipv4_hdr_len(ip4);
		if (ip4->proto != IP_PROTO_TCP || off < sizeof(*ip4) ||
		    be16_get(ip4->frag) & (IPV4_MF | IPV4_OFFSET))
			return false;
		from = ip4->saddr;
		to = ip4->daddr;
		addr_len = sizeof(ip4->saddr);
	} else {
		off = sizeof(*ip6);
		if (ip_get_version(pkt) != IP_V6 ||
		    ip6->next_header != IP_PROTO_TCP)
			return false;
		from = ip6->saddr;
		to = ip6->daddr;
		addr_len = sizeof(ip6->saddr);
	}
	if (len < off + sizeof(struct tcp_hdr))
		return false;
	const struct tcp_hdr *tcp = (const void *)(pkt + off);

	*out = (struct tcp_facts){
		.from = hash_end(from, addr_len, tcp->sport),
		.to = hash_end(to, addr_len, tcp->dport),
		.seq = be32_get(tcp->seq),
		.ack = be32_get(tcp->ack),
		.hdr_len = (uint32_t)(off + tcp_hdr_len(tcp)),
		.flags = tcp->flags,
	};
	return out->hdr_len <= len;
}

/* ----------------------------------------------------------------- notes */

/*
 * Join a note to the one before, if its segments follow those of that note. TCP
 * repeats each lost segment in a packet of its own, but several of them may leave
 * as one train.
 */
static bool extend(struct trains_note *last, const struct trains_note *note)
{
	if (last->flow != note->flow || last->seq + last->len != note->seq ||
	    last->first + last->n != note->first ||
	    last->len != last->n * last->segment_len ||
	    note->segment_len > last->segment_len ||
	    (note->n > 1 && note->segment_len != last->segment_len))
		return false;
	last->len += note->len;
	last->n = (uint16_t)(last->n + note->n);
	return true;
}

void trains_note(struct trains_notes *notes, const struct segment_cursor *cur,
		 uint32_t off, unsigned int first, unsigned int n)
{
	uint32_t len = cur->off - off, size = cur->frame.gso_size;
	struct tcp_facts tcp;

	if (!n || notes->n == OUTBOUND_MESSAGES || cur->fragment_len ||
	    !read_tcp(cur->pkt, cur->frame.len, &tcp))
		return;
	if (!size)
		size = len = cur->frame.len - tcp.hdr_len;
	if (!len)
		return;
	struct trains_note note = {
		.flow = flow_of(tcp.from, tcp.to),
		.seq = tcp.seq + off,
		.len = len,
		.segment_len = size,
		.first = (uint16_t)first,
		.n = (uint16_t)n,
	};

	if (notes->n && extend(&notes->notes[notes->n - 1], &note))
		return;
	notes->notes[notes->n++] = note;
}

void trains_drop_notes(struct trains_notes *notes, unsigned int end)
{
	while (notes->n) {
		struct trains_note *note = &notes->notes[notes->n - 1];

		if (note->first + note->n <= end)
			return;
		notes->n--;
	}
}

/* Segments @from to @to - 1 of a note, for the watch. */
static struct trainwatch_segments part_of(const struct trains_note *note,
					  unsigned int from, unsigned int to,
					  bool in_train)
{
	uint32_t end = to < note->n ? to * note->segment_len : note->len;

	return (struct trainwatch_segments){
		.flow = note->flow,
		.first = note->seq + from * note->segment_len,
		.last = note->seq + (to - 1) * note->segment_len,
		.end = note->seq + end,
		.in_train = in_train,
	};
}

/* ----------------------------------------------------------------- seats */

/* Let trains_attention() know what the watch needs. Under the seat's mutex. */
static void set_attention(struct trains_seat *seat)
{
	uint8_t want = TRAINS_WANT_NONE;

	if (trainwatch_is_in_doubt(&seat->watch))
		want = TRAINS_WANT_ALL;
	else if (trainwatch_is_open(&seat->watch))
		want = TRAINS_WANT_SOME;
	/* Partner: trains_attention(). */
	atomic_store_explicit(&seat->attention, want, memory_order_relaxed);
}

/* Give a seat to a peer, or begin its watch anew. Right to commit. */
static void clear_seat(struct trains *t, struct trains_seat *seat,
		       const struct peer *owner)
{
	t->n_off -= seat->is_off;
	seat->is_off = false;
	pthread_mutex_lock(&seat->mutex);
	seat->owner = owner;
	memset(&seat->watch, 0, sizeof(seat->watch));
	set_attention(seat);
	pthread_mutex_unlock(&seat->mutex);
}

/* Nothing is known of the way to a peer. */
static void watch_anew(struct peer *peer)
{
	atomic_store_explicit(&peer->notes.has_lost_trains, false,
			      memory_order_relaxed);
}

/* Right to commit. */
static struct trains_seat *find_seat(struct trains *t, struct peer *peer)
{
	/* Partner: claim_seat(), which the same right guards. */
	uint16_t n =
		atomic_load_explicit(&peer->train_seat, memory_order_relaxed);

	if (!n || t->seats[n - 1].owner != peer)
		return NULL;
	return &t->seats[n - 1];
}

static bool may_be_taken(const struct trains_seat *seat, uint64_t now)
{
	if (!seat->owner)
		return true;
	if (seat->is_off)
		return now - seat->used_at >= SEAT_OFF_IDLE;
	return now - seat->used_at >= SEAT_IDLE ||
	       (now - seat->since >= SEAT_TURN && !seat->watch.signs);
}

static struct trains_seat *
claim_seat(struct trains *t, const struct trains_run *run, uint64_t now)
{
	if (now < t->next_claim)
		return NULL;
	for (unsigned int i = 0; i < TRAINS_SEATS; i++) {
		struct trains_seat *seat = &t->seats[i];

		if (!may_be_taken(seat, now))
			continue;
		clear_seat(t, seat, run->peer);
		watch_anew(run->peer);
		seat->to = *run->to;
		seat->since = now;
		seat->used_at = now;
		/* Partner: trains_attention(). */
		atomic_store_explicit(&run->peer->train_seat, (uint16_t)(i + 1),
				      memory_order_relaxed);
		return seat;
	}
	t->next_claim = now + CLAIM_PAUSE;
	return NULL;
}

/* The seat of a run's peer, or NULL. If the peer has another endpoint now, its
 * watch begins anew. */
static struct trains_seat *seat_of(struct trains *t,
				   const struct trains_run *run)
{
	struct trains_seat *seat = find_seat(t, run->peer);

	if (seat && ug_endpoint_compare(&seat->to, run->to) != 0) {
		clear_seat(t, seat, run->peer);
		watch_anew(run->peer);
		seat->to = *run->to;
	}
	return seat;
}

/* ---------------------------------------------------------------- sending */

/* Have the library send alone to an endpoint for another minute. */
static void hold(struct trains_seat *seat, struct ug_socket *sock,
		 const struct ug_endpoint *to, uint64_t now)
{
	/* The call fails if the family is not open: then nothing is sent. */
	(void)ug_send_alone(sock, to, TRAINS_HOLD_MS);
	seat->held_until = now + TRAINS_HOLD_MS * NSEC_PER_MSEC;
}

/* Tell the library what the watch has decided, if it was not told yet. */
static void follow(struct trains *t, struct trains_seat *seat,
		   struct ug_socket *sock, const struct trains_run *run,
		   uint64_t now)
{
	static struct log_limit limit;
	bool is_off;

	pthread_mutex_lock(&seat->mutex);
	is_off = seat->watch.state != TRAINWATCH_ON;
	pthread_mutex_unlock(&seat->mutex);
	if (is_off == seat->is_off)
		return;
	seat->is_off = is_off;
	atomic_store_explicit(&run->peer->notes.has_lost_trains, is_off,
			      memory_order_relaxed);
	if (is_off) {
		t->n_off++;
		hold(seat, sock, run->to, now);
		atomic_fetch_add_explicit(&t->stopped, 1, memory_order_relaxed);
		events_path(t->events, run->to, true);
		/* Somebody should look at that path: the tunnel is slower. */
		log_error_limited(&limit,
				  "segmented sends to %s are lost on the way: "
				  "sending without segmentation",
				  thread_peer_name(run->peer));
	} else {
		t->n_off--;
		(void)ug_send_alone(sock, run->to, 0);
		atomic_fetch_add_explicit(&t->back, 1, memory_order_relaxed);
		events_path(t->events, run->to, false);
		log_limited(&limit, "segmented sends to %s arrive again",
			    thread_peer_name(run->peer));
	}
}

/* The first note of a run that may be offered, or NULL. */
static const struct trains_note *find_offer(struct trains_seat *seat,
					    const struct trains_run *run,
					    const struct trains_notes *notes,
					    uint64_t now)
{
	const struct trains_note *found = NULL;

	pthread_mutex_lock(&seat->mutex);
	if (trainwatch_is_due(&seat->watch, now)) {
		for (unsigned int i = 0; i < notes->n && !found; i++) {
			const struct trains_note *note = &notes->notes[i];
			struct trainwatch_segments s =
				part_of(note, 0, note->n, true);

			if (note->first >= run->first &&
			    note->first < run->first + run->n &&
			    trainwatch_may_offer(&seat->watch, &s))
				found = note;
		}
	}
	pthread_mutex_unlock(&seat->mutex);
	return found;
}

const struct trains_note *trains_before(struct trains *t,
					struct ug_socket *sock,
					const struct trains_run *run,
					const struct trains_notes *notes,
					uint64_t now)
{
	struct trains_seat *seat = seat_of(t, run);

	if (!seat || !seat->is_off)
		return NULL;
	follow(t, seat, sock, run, now);
	if (!seat->is_off)
		return NULL;
	seat->used_at = now;
	if (seat->held_until < now + TRAINS_HOLD_MARGIN_MS * NSEC_PER_MSEC)
		hold(seat, sock, run->to, now);
	return find_offer(seat, run, notes, now);
}

void trains_offer_begin(struct ug_socket *sock, const struct trains_run *run)
{
	(void)ug_send_alone(sock, run->to, 0);
}

void trains_offer_end(struct trains *t, struct ug_socket *sock,
		      const struct trains_run *run, uint64_t now)
{
	struct trains_seat *seat = find_seat(t, run->peer);

	if (seat)
		hold(seat, sock, run->to, now);
}

/*
 * Tell the watch what became of the segments of one note. Neighbours that left in
 * trains are one report, and neighbours that left alone are another. Segments
 * that were not sent are not reported. Under the seat's mutex. Return: true if
 * segments left in a train.
 */
static bool tell(struct trains_seat *seat, const struct trains_note *note,
		 const uint8_t *lens, bool is_offer, uint64_t now)
{
	bool any_train = false;

	for (unsigned int from = 0, to; from < note->n; from = to) {
		uint8_t len = lens[note->first + from];
		struct trainwatch_segments s;

		for (to = from + 1; to < note->n; to++) {
			uint8_t next = lens[note->first + to];

			if ((next > 1) != (len > 1) || !next != !len)
				break;
		}
		if (!len)
			continue;
		s = part_of(note, from, to, len > 1);
		if (is_offer && !from && len > 1)
			trainwatch_offered(&seat->watch, &s, now);
		else
			trainwatch_left(&seat->watch, &s, now);
		any_train |= len > 1;
	}
	return any_train;
}

/* Did a train of TCP segments leave to the peer of this run? */
static bool has_train(const struct trains_notes *notes,
		      const struct trains_run *run, const uint8_t *lens)
{
	for (unsigned int i = 0; i < notes->n; i++) {
		const struct trains_note *note = &notes->notes[i];

		if (note->first >= run->first && note->n > 1 &&
		    note->first < run->first + run->n && lens[note->first] > 1)
			return true;
	}
	return false;
}

void trains_after(struct trains *t, struct ug_socket *sock,
		  const struct trains_run *run,
		  const struct trains_notes *notes, const uint8_t *lens,
		  const struct trains_note *offer, uint64_t now)
{
	struct trains_seat *seat = seat_of(t, run);
	bool any_train = false;

	if (!seat && has_train(notes, run, lens))
		seat = claim_seat(t, run, now);
	if (!seat)
		return;
	pthread_mutex_lock(&seat->mutex);
	for (unsigned int i = 0; i < notes->n; i++) {
		const struct trains_note *note = &notes->notes[i];

		if (note->first >= run->first &&
		    note->first < run->first + run->n)
			any_train |= tell(seat, note, lens, note == offer, now);
	}
	set_attention(seat);
	pthread_mutex_unlock(&seat->mutex);
	if (any_train)
		seat->used_at = now;
	/* A train left although trains are stopped: new sockets, or a change of
	 * routes, have made the library forget. */
	if (seat->is_off && any_train && !offer)
		hold(seat, sock, run->to, now);
	follow(t, seat, sock, run, now);
}

/* -------------------------------------------------------------- receiving */

bool trains_read_data(const uint8_t *packet, size_t len, uint64_t *flow,
		      uint32_t *seq)
{
	struct tcp_facts tcp;

	if (!read_tcp(packet, len, &tcp))
		return false;
	*flow = flow_of(tcp.from, tcp.to);
	*seq = tcp.seq;
	return true;
}

bool trains_read_ack(const uint8_t *packet, size_t len, uint64_t *flow,
		     uint32_t *ack)
{
	struct tcp_facts tcp;

	if (!read_tcp(packet, len, &tcp) || !(tcp.flags & TCP_ACK))
		return false;
	*flow = flow_of(tcp.to, tcp.from);
	*ack = tcp.ack;
	return true;
}

void trains_saw(struct trains *t, const struct peer *peer,
		const uint8_t *packet, size_t len, uint64_t now)
{
	/* Partner: claim_seat(). */
	uint16_t n =
		atomic_load_explicit(&peer->train_seat, memory_order_relaxed);
	struct tcp_facts tcp;

	if (!n || !read_tcp(packet, len, &tcp) || !(tcp.flags & TCP_ACK))
		return;
	struct trains_seat *seat = &t->seats[n - 1];

	pthread_mutex_lock(&seat->mutex);
	if (seat->owner == peer) {
		/* follow() of the outbound lane does what was decided. */
		(void)trainwatch_acked(&seat->watch, flow_of(tcp.to, tcp.from),
				       tcp.ack, now);
		set_attention(seat);
	}
	pthread_mutex_unlock(&seat->mutex);
}

/* ------------------------------------------------------------------- life */

int trains_init(struct trains *t)
{
	pthread_mutex_init(&t->mutex, NULL);
	t->seats = calloc(TRAINS_SEATS, sizeof(*t->seats));
	if (!t->seats)
		return -ENOMEM;
	for (unsigned int i = 0; i < TRAINS_SEATS; i++)
		pthread_mutex_init(&t->seats[i].mutex, NULL);
	return 0;
}

void trains_deinit(struct trains *t)
{
	for (unsigned int i = 0; t->seats && i < TRAINS_SEATS; i++)
		pthread_mutex_destroy(&t->seats[i].mutex);
	free(t->seats);
	pthread_mutex_destroy(&t->mutex);
}
