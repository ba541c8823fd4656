/* SPDX-License-Identifier: MIT */
/*
 * The seats of paths.h: how a peer gets one, and how errors, segments and
 * acknowledgements find it. Lengths of outer packets count the IP header; device/pmtu.h
 * knows no others.
 */
#include "engine/paths.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/counter.h"
#include "base/log.h"
#include "engine/bounds.h"
#include "engine/endpoint.h"
#include "noise/wire.h"

enum {
	/* Errors that are read at a time, and at most in one call. */
	ERRORS = 32,
	ERRORS_MAX = 1024,
};

/* The bits of paths_seat.shown that have the path MTU. The time may be 65 us too
 * early. */
#define SHOWN_MTU UINT64_C(0xffff)

/* Bytes in front of the UDP payload. */
static uint32_t outer_headers(const struct ug_endpoint *to)
{
	return (uint32_t)((to->addr.any.sa_family == AF_INET
				   ? sizeof(struct ipv4_hdr)
				   : sizeof(struct ipv6_hdr)) +
			  sizeof(struct udp_hdr));
}

/* The longest inner packet for outer packets of @len bytes; 0 for 0. */
static uint32_t inner_of(const struct ug_endpoint *to, uint32_t len)
{
	uint32_t headers = outer_headers(to) + MESSAGE_DATA_OVERHEAD;

	return len > headers ? len - headers : 0;
}

struct paths *paths_new(uint64_t seed)
{
	struct paths *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	pthread_mutex_init(&p->mutex, NULL);
	p->seed = seed;
	p->seats = calloc(PATHS_SEATS, sizeof(*p->seats));
	p->by_index = calloc(PATHS_KEYS, sizeof(*p->by_index));
	p->by_endpoint = calloc(PATHS_KEYS, sizeof(*p->by_endpoint));
	if (p->seats && p->by_index && p->by_endpoint)
		return p;
	paths_free(p);
	return NULL;
}

void paths_free(struct paths *p)
{
	if (!p)
		return;
	pthread_mutex_destroy(&p->mutex);
	free(p->seats);
	free(p->by_index);
	free(p->by_endpoint);
	free(p);
}

/* ------------------------------------------------------------------ seats */

/* The place of a receiver index in @by_index. The peer has drawn it at random; a peer
 * that chooses it can only make the lessons of another one be forgotten, if it knows
 * the seed. */
static size_t key_of_index(const struct paths *p, uint32_t idx)
{
	uint64_t h = (idx ^ p->seed) * UINT64_C(0x9e3779b97f4a7c15);

	return (size_t)(h >> 32) % PATHS_KEYS;
}

static size_t key_of_endpoint(const struct paths *p,
			      const struct ug_endpoint *to)
{
	return (size_t)(ug_endpoint_hash(to, p->seed) % PATHS_KEYS);
}

static const struct peer *owner_of(const struct paths_seat *seat)
{
	return atomic_load_explicit(&seat->owner, memory_order_relaxed);
}

/* The value of paths_seat.shown. */
static uint64_t shown_of(const struct paths_seat *seat)
{
	uint32_t mtu = seat->pmtu.mtu;

	return mtu ? (pmtu_get_end(&seat->pmtu) & ~SHOWN_MTU) |
			       (mtu < SHOWN_MTU ? mtu : SHOWN_MTU)
		   : 0;
}

/* Let the functions without a lock know. Under the mutex. */
static void publish(struct paths_seat *seat, uint64_t now)
{
	struct pmtu_limits limits;

	pmtu_get_limits(&seat->pmtu, &limits, now);
	/* Partner: paths_get_mtu(). */
	atomic_store_explicit(&seat->shown, shown_of(seat),
			      memory_order_relaxed);
	/* Partners: paths_have_limit(), paths_want_acks(). */
	atomic_store_explicit(&seat->has_limit,
			      limits.cut || limits.probe || limits.is_tiny,
			      memory_order_relaxed);
	atomic_store_explicit(&seat->wants_acks, pmtu_wants_acks(&seat->pmtu),
			      memory_order_relaxed);
}

/* A seat for another peer: a free one, or the one of a few that was not used for the
 * longest time. Under the mutex. */
static struct paths_seat *choose_seat(struct paths *p, uint64_t now)
{
	struct paths_seat *best = NULL;

	for (unsigned int i = 0; i < PATHS_LOOKS; i++) {
		struct paths_seat *seat = &p->seats[p->next_seat];

		p->next_seat = (p->next_seat + 1) % PATHS_SEATS;
		if (!owner_of(seat) ||
		    clock_has_passed(seat->used_at, PATHS_IDLE, now))
			return seat;
		if (!best || seat->used_at < best->used_at)
			best = seat;
	}
	return best;
}

/* Begin anew: another peer, or another endpoint. Under the mutex. */
static void clear_seat(struct paths *p, struct paths_seat *seat,
		       const struct trains_run *run, uint64_t now)
{
	memset(&seat->pmtu, 0, sizeof(seat->pmtu));
	seat->to = *run->to;
	seat->used_at = now;
	/* Partner: paths_find(). */
	atomic_store_explicit(&seat->owner, run->peer, memory_order_relaxed);
	publish(seat, now);
	p->by_endpoint[key_of_endpoint(p, run->to)] =
		(uint16_t)(seat - p->seats + 1);
}

/* The seat of the peer of a run, which gets one if it has none. Under the mutex. */
static struct paths_seat *claim(struct paths *p, const struct trains_run *run,
				uint64_t now)
{
	struct paths_seat *seat = paths_find(p, run->peer);

	if (!seat) {
		seat = choose_seat(p, now);
		clear_seat(p, seat, run, now);
		/* Partner: paths_find(). */
		atomic_store_explicit(&run->peer->path_seat,
				      (uint16_t)(seat - p->seats + 1),
				      memory_order_release);
	} else if (ug_endpoint_compare(&seat->to, run->to) != 0) {
		clear_seat(p, seat, run, now);
	}
	return seat;
}

/* ---------------------------------------------------------------- lessons */

/* Tell what was learnt about a path. Under the mutex. */
static void tell(struct paths *p, const struct paths_seat *seat,
		 enum pmtu_event event, const char *reason)
{
	static struct log_limit limit;
	char text[ENDPOINT_NUMERIC_TEXT] = "";
	uint32_t mtu = seat->pmtu.mtu;

	if (event == PMTU_NOTHING || event == PMTU_REFUSED)
		return;
	if (event == PMTU_LEARNT)
		counter_add(&p->stats.learnt, 1);
	else if (event == PMTU_LOST)
		counter_add(&p->stats.lost, 1);
	else
		counter_add(&p->stats.raised, 1);
	events_path_mtu(p->events, &seat->to, reason, mtu);
	endpoint_print_numeric(&seat->to, text, sizeof(text));
	if (!mtu)
		log_limited(&limit, "path to %s: long packets arrive again",
			    text);
	else
		log_limited(&limit, "path to %s: MTU is %u: %s", text, mtu,
			    event == PMTU_LEARNT ? "it was told"
			    : event == PMTU_LOST
				    ? "longer packets are lost"
				    : "longer packets are lost, "
				      "those of this length arrive");
}

/* A message of ours that an ICMP message quotes: is it a data message? */
static const struct message_data *quoted_message(const struct ug_error *e)
{
	const struct message_data *msg = (const void *)e->quote;

	return e->quote_len >= sizeof(*msg) &&
			       le32_get(msg->type) == MESSAGE_DATA
		       ? msg
		       : NULL;
}

/* An ICMP message that quotes a data message. */
static void take_report(struct paths *p, const struct ug_error *e,
			const struct message_data *msg, uint64_t now)
{
	uint32_t idx = le32_get(msg->receiver);
	uint16_t n = p->by_index[key_of_index(p, idx)];
	enum pmtu_event event = PMTU_REFUSED;
	struct paths_seat *seat = n ? &p->seats[n - 1] : NULL;

	if (seat && owner_of(seat) &&
	    seat->to.addr.any.sa_family == e->to.addr.any.sa_family)
		event = pmtu_report(&seat->pmtu, idx, le64_get(msg->counter),
				    e->mtu, now);
	if (event == PMTU_REFUSED) {
		counter_add(&p->stats.forged, 1);
		return;
	}
	publish(seat, now);
	tell(p, seat, event, "mtu_told");
}

/* An ICMP message that quotes no more than a UDP header, or something else than a
 * data message. */
static void take_hint(struct paths *p, const struct ug_error *e, uint64_t now)
{
	uint16_t n = p->by_endpoint[key_of_endpoint(p, &e->to)];
	struct paths_seat *seat = n ? &p->seats[n - 1] : NULL;

	counter_add(&p->stats.hints, 1);
	if (seat && owner_of(seat) &&
	    ug_endpoint_compare(&seat->to, &e->to) == 0)
		pmtu_hint(&seat->pmtu, e->mtu, now);
}

static void take_error(struct paths *p, const struct ug_error *e, uint64_t now)
{
	const struct message_data *msg = quoted_message(e);

	if (e->err != EMSGSIZE)
		return;
	if (e->origin == UG_ORIGIN_LOCAL)
		p->locals[p->n_locals++ % PATHS_LOCALS] =
			(struct paths_local){ e->to, e->mtu, now };
	else if (e->origin == UG_ORIGIN_ICMP || e->origin == UG_ORIGIN_ICMP6)
		msg ? take_report(p, e, msg, now) : take_hint(p, e, now);
}

/* Under the mutex. */
static void take_errors(struct paths *p, struct ug_socket *sock, uint64_t now)
{
	struct ug_error errors[ERRORS];
	int n = ERRORS;

	for (int sum = 0; n == ERRORS && sum < ERRORS_MAX; sum += n) {
		n = ug_receive_errors(sock, errors, sizeof(errors[0]), ERRORS);
		for (int i = 0; i < n; i++)
			take_error(p, &errors[i], now);
	}
}

void paths_take_errors(struct paths *p, struct ug_socket *sock, uint64_t now)
{
	/* Partner: paths_look(). */
	atomic_store_explicit(&p->looked_at, now, memory_order_relaxed);
	pthread_mutex_lock(&p->mutex);
	take_errors(p, sock, now);
	pthread_mutex_unlock(&p->mutex);
}

/* Is this the same address? The kernel tells no port of a local error of IPv4. */
static bool is_address_of(const struct ug_endpoint *a,
			  const struct ug_endpoint *b)
{
	if (a->addr.any.sa_family != b->addr.any.sa_family)
		return false;
	return a->addr.any.sa_family == AF_INET
		       ? a->addr.v4.sin_addr.s_addr ==
				 b->addr.v4.sin_addr.s_addr
		       : !memcmp(&a->addr.v6.sin6_addr, &b->addr.v6.sin6_addr,
				 sizeof(a->addr.v6.sin6_addr));
}

void paths_refused(struct paths *p, struct ug_socket *sock,
		   const struct trains_run *run, uint64_t now)
{
	struct paths_seat *seat;

	pthread_mutex_lock(&p->mutex);
	take_errors(p, sock, now);
	seat = claim(p, run, now);
	for (unsigned int i = 0; i < PATHS_LOCALS; i++) {
		const struct paths_local *local = &p->locals[i];

		if (!local->at ||
		    clock_has_passed(local->at, NSEC_PER_SEC, now) ||
		    !is_address_of(&local->to, run->to))
			continue;
		tell(p, seat, pmtu_local(&seat->pmtu, local->mtu, now),
		     "mtu_of_interface");
	}
	publish(seat, now);
	pthread_mutex_unlock(&p->mutex);
}

/* ---------------------------------------------------------------- sending */

/* The length of the longest outer packet of a run. */
static uint32_t longest_of(const struct trains_run *run,
			   const struct iovec *iov)
{
	size_t longest = 0;

	for (unsigned int i = run->first; i < run->first + run->n; i++)
		longest = size_max(longest, iov[i].iov_len);
	return (uint32_t)longest + outer_headers(run->to);
}

/* Report the TCP segments of a run. Under the mutex. */
static void report_segments(struct paths_seat *seat,
			    const struct trains_run *run,
			    const struct iovec *iov,
			    const struct trains_notes *notes, uint64_t now)
{
	uint32_t headers = outer_headers(run->to);

	for (unsigned int i = 0; i < notes->n; i++) {
		const struct trains_note *note = &notes->notes[i];

		if (note->first < run->first ||
		    note->first >= run->first + run->n)
			continue;
		const struct pmtu_segment s = {
			.flow = note->flow,
			.first = note->seq,
			.end = note->seq + note->len,
			.len = (uint32_t)iov[note->first].iov_len + headers,
		};

		pmtu_segment_left(&seat->pmtu, &s, now);
	}
}

void paths_after(struct paths *p, const struct trains_run *run,
		 const struct send_run *send, const struct iovec *iov,
		 const struct trains_notes *notes, uint64_t now)
{
	uint32_t longest = longest_of(run, iov);
	struct paths_seat *seat;

	/* Every path takes packets of PMTU_MIN, or is known not to. In a trial
	 * they count, too. */
	if (longest <= PMTU_MIN && !paths_want_acks(p, run->peer))
		return;
	pthread_mutex_lock(&p->mutex);
	seat = claim(p, run, now);
	seat->used_at = now;
	pmtu_sent(&seat->pmtu, send->kp->remote_index, send->counter, send->n,
		  longest, now);
	p->by_index[key_of_index(p, send->kp->remote_index)] =
		(uint16_t)(seat - p->seats + 1);
	p->by_endpoint[key_of_endpoint(p, run->to)] =
		(uint16_t)(seat - p->seats + 1);
	report_segments(seat, run, iov, notes, now);
	publish(seat, now);
	pthread_mutex_unlock(&p->mutex);
}

void paths_get_limits(struct paths *p, const struct peer *peer,
		      struct paths_limits *out, uint64_t now)
{
	struct paths_seat *seat;
	struct pmtu_limits limits;

	*out = (struct paths_limits){ 0 };
	pthread_mutex_lock(&p->mutex);
	seat = paths_find(p, peer);
	if (seat) {
		pmtu_get_limits(&seat->pmtu, &limits, now);
		*out = (struct paths_limits){
			.mtu = inner_of(&seat->to, limits.mtu),
			.whole = inner_of(&seat->to, limits.mtu),
			.cut = inner_of(&seat->to, limits.cut),
			.probe = inner_of(&seat->to, limits.probe),
			.is_tiny = limits.is_tiny,
		};
		publish(seat, now);
	}
	pthread_mutex_unlock(&p->mutex);
	if (out->mtu && out->mtu < PATHS_INNER_MIN)
		out->mtu = PATHS_INNER_MIN;
}

uint32_t paths_clamp(struct paths *p, const struct peer *peer, uint32_t mtu,
		     uint64_t now)
{
	struct paths_limits limits;

	if (!p || !paths_have_limit(p, peer))
		return mtu;
	paths_get_limits(p, peer, &limits, now);
	return limits.whole && limits.whole < mtu ? limits.whole : mtu;
}

bool paths_may_answer(struct paths *p, const struct peer *peer, bool is_cut,
		      uint64_t now)
{
	struct paths_seat *seat;
	bool may = false;

	pthread_mutex_lock(&p->mutex);
	seat = paths_find(p, peer);
	if (seat)
		may = is_cut ? pmtu_may_tell(&seat->pmtu, now)
			     : pmtu_may_answer(&seat->pmtu, now);
	pthread_mutex_unlock(&p->mutex);
	return may;
}

bool paths_may_probe(struct paths *p, const struct peer *peer,
		     const uint8_t *packet, size_t len)
{
	const struct paths_seat *seat;
	bool may = false;
	uint64_t flow;
	uint32_t seq;

	if (!trains_read_data(packet, len, &flow, &seq))
		return false;
	pthread_mutex_lock(&p->mutex);
	seat = paths_find(p, peer);
	if (seat)
		may = pmtu_may_probe(&seat->pmtu, flow, seq);
	pthread_mutex_unlock(&p->mutex);
	return may;
}

uint32_t paths_get_mtu(const struct paths *p, const struct peer *peer,
		       uint64_t now)
{
	const struct paths_seat *seat = p ? paths_find(p, peer) : NULL;
	uint64_t shown;

	if (!seat)
		return 0;
	/* Partner: publish(). */
	shown = atomic_load_explicit(&seat->shown, memory_order_relaxed);
	return now < (shown & ~SHOWN_MTU) ? (uint32_t)(shown & SHOWN_MTU) : 0;
}

/* -------------------------------------------------------------- receiving */

void paths_saw(struct paths *p, const struct peer *peer, const uint8_t *packet,
	       size_t len, uint64_t now)
{
	struct paths_seat *seat;
	enum pmtu_event event;
	uint64_t flow;
	uint32_t ack;

	if (!trains_read_ack(packet, len, &flow, &ack))
		return;
	pthread_mutex_lock(&p->mutex);
	seat = paths_find(p, peer);
	if (seat) {
		event = pmtu_acked(&seat->pmtu, flow, ack, now);
		tell(p, seat, event,
		     event == PMTU_LOST ? "mtu_lost" : "mtu_raised");
		publish(seat, now);
	}
	pthread_mutex_unlock(&p->mutex);
}

/* --------------------------------------------------------------------- DF */

static void set_option(int fd, int level, int name, int value)
{
	/* If it fails, datagrams are too long for the path as before. */
	(void)setsockopt(fd, level, name, &value, sizeof(value));
}

static void set_df_of(int fd, int family, bool is_on)
{
	if (family == AF_INET) {
		set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER,
			   is_on ? IP_PMTUDISC_PROBE : IP_PMTUDISC_DONT);
		return;
	}
	/* IPv6 is cut by its sender only, and what the kernel knows of the path
	 * may be too much: every path takes PMTU_MIN. 0 ends this limit. */
	if (!is_on)
		set_option(fd, IPPROTO_IPV6, IPV6_MTU, PMTU_MIN);
	set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER,
		   is_on ? IPV6_PMTUDISC_PROBE : IPV6_PMTUDISC_DONT);
	if (is_on)
		set_option(fd, IPPROTO_IPV6, IPV6_MTU, 0);
}

void paths_set_df(const struct ug_socket *sock, int family, bool is_on)
{
	int fd = ug_fd(sock, family);

	for (unsigned int i = 0; fd >= 0; i++) {
		set_df_of(fd, family, is_on);
		fd = ug_side_fd(sock, family, i);
	}
}
