/* SPDX-License-Identifier: MIT */
/*
 * A host with several addresses answers a peer from the address that the peer's
 * packets came to. This address is the *source* of the peer's endpoint. A
 * source holds until the host loses the address, or until packets from it would
 * leave by another interface. While it holds it must be used: a NAT or a
 * firewall would keep packets from another address away from the peer, and the
 * peer would learn an address that it was perhaps not meant to know.
 *
 * The rule is that of the kernel module (send4() and send6() in
 * drivers/net/wireguard/socket.c):
 *
 *  - IPv4: the address is local, and the route of a packet from it leaves by
 *    the interface that the peer's packet came in by.
 *  - IPv6: the address is local. The interface does not count.
 *
 * The kernel module checks this for each packet. Here a check is a system call.
 * So sources are checked only when something may have changed: in a *pass* over
 * all peers that have a source, on the control thread. The data path never
 * checks one.
 *
 *  - For IPv4 a check asks the kernel, by RTM_GETROUTE, for the route of the
 *    packet that would be sent. The question names ports, protocol, mark and
 *    the user of the socket, so rules of policy routing give the same answer as
 *    for the packet. If there is no route from the source, and no route without
 *    it either, the source is not to blame, and nothing changes.
 *  - For IPv6 a check looks into the list of all addresses of the host. A pass
 *    asks the kernel for that list at most once.
 *  - If the answer says nothing about the source (the kernel is short of
 *    memory, or the route is one that prohibits), nothing changes.
 *
 * The verdict becomes the mark of the endpoint (enum endpoint_mark). A void
 * source is not cleared: packets of the peer that are still on their way to the
 * old address would bring it back, and both ends would go on changing addresses
 * for as long as traffic lasts. A source that is marked void keeps this mark
 * until a pass finds that it holds again, or until the peer writes to another
 * address.
 *
 * Two more events begin a pass. A packet has brought a new source: on a host
 * that answers by another interface than packets come in by, that source does
 * not hold, and without a check it would be used until the network changes. And
 * the kernel has refused to send from a source: some kernels refuse a train
 * with the errno that also means a missing address, so the source may still
 * hold.
 *
 * Changes often come in pairs, such as a route that is removed and added again.
 * So a pass begins 50 ms after an event. Passes are at least 250 ms apart. The
 * pause after a pass is at least 200 times the CPU time that the pass took, up
 * to 5 s: so thousands of events a second cost half a percent of a core. (A
 * pass over 1,001 peers takes 3.4 ms in a virtual machine, Linux 6.18.) A long
 * pass is done in pieces, so that the control thread can do other work in
 * between.
 */
#include "engine/sticky.h"

#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/now.h"
#include "engine/endpoint.h"
#include "engine/thread.h"

/* Time from an event to the pass, and between the beginnings of two passes. An
 * event seldom comes alone, so one pass serves all that come within SETTLE_NS.
 * Both times are choices, far below KEEPALIVE_TIMEOUT. */
#define SETTLE_NS (50 * NSEC_PER_MSEC)
#define APART_NS  (250 * NSEC_PER_MSEC)

/* The pause after a pass: PAUSE_TIMES its CPU time, up to PAUSE_MAX_NS. So
 * passes take at most half a percent of a core, or more if a pass takes more
 * than 25 ms. Both numbers are choices. */
#define PAUSE_TIMES  UINT64_C(200)
#define PAUSE_MAX_NS (5 * NSEC_PER_SEC)

/* A piece of a pass ends when its cost is PIECE_COST. A peer that is checked
 * costs QUESTION_COST, another one costs 1. So a piece checks 1,024 peers and
 * takes some milliseconds. The next piece comes after PIECE_WAIT_NS. All three
 * are choices. */
#define PIECE_COST    16384
#define QUESTION_COST 16
#define PIECE_WAIT_NS (10 * NSEC_PER_MSEC)

/* The result of checking a source. */
enum verdict {
	UNKNOWN, /* nothing changes */
	HOLDS,
	VOID,
};

/**
 * struct batch - peers whose sources are asked about by one call
 * @n:		their number
 * @peers:	the peers, borrowed from the device
 * @was:	their endpoints
 * @questions:	about their sources
 */
struct batch {
	unsigned int n;
	struct peer *peers[RIGHTS_QUESTIONS_MAX];
	struct device_endpoint was[RIGHTS_QUESTIONS_MAX];
	struct rights_question questions[RIGHTS_QUESTIONS_MAX];
};

void sticky_init(struct sticky *s, struct device *device,
		 struct sockets *sockets, const struct rights *rights)
{
	*s = (struct sticky){ .device = device,
			      .sockets = sockets,
			      .rights = rights };
	atomic_init(&s->has_new, false);
}

void sticky_deinit(struct sticky *s)
{
	peer_put(s->next);
	s->next = NULL;
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

bool sticky_note_change(struct sticky *s, unsigned int families, uint64_t now)
{
	s->changed |= families;
	if (s->due)
		return false;
	s->due = later(now + SETTLE_NS, s->earliest);
	return true;
}

bool sticky_note_new(struct sticky *s)
{
	/* Partners: begin_pass(), which clears it before the endpoints are
	 * read; sticky_tick(). */
	return !atomic_exchange_explicit(&s->has_new, true,
					 memory_order_acq_rel);
}

/* ------------------------------------------------------- one peer */

static void fill_question(struct rights_question *q, struct ug_socket *sock,
			  const struct ug_endpoint *ep)
{
	bool v4 = ep->addr.any.sa_family == AF_INET;

	*q = (struct rights_question){
		.is_v6 = !v4,
		.source_port = ug_port(sock),
		.ifindex = ep->source.ifindex,
	};
	memcpy(q->source, ep->source.addr, v4 ? 4 : 16);
	if (!v4)
		return;
	q->destination_port = ntohs(ep->addr.v4.sin_port);
	memcpy(q->destination, &ep->addr.v4.sin_addr, 4);
}

/* Add a peer to the batch if this pass has to check its source. Return: true if it
 * was added. */
static bool choose_peer(const struct sticky *s, struct batch *batch,
			struct peer *peer, struct ug_socket *sock)
{
	struct device_endpoint *was = &batch->was[batch->n];
	struct ug_endpoint ep;
	uint64_t mark;

	if (!endpoint_cell_get(&peer->endpoint, was))
		return false;
	mark = endpoint_learnt(&ep, was);
	bool v4 = ep.addr.any.sa_family == AF_INET;

	if (ep.source.state <= UG_SOURCE_PINNED ||
	    (mark != ENDPOINT_NEW && mark != ENDPOINT_REFUSED &&
	     !(s->asked & (v4 ? RIGHTS_IPV4 : RIGHTS_IPV6))))
		return false;
	fill_question(&batch->questions[batch->n], sock, &ep);
	batch->peers[batch->n++] = peer;
	return true;
}

static void tell(const struct peer *peer, enum verdict verdict)
{
	static struct log_limit limit;

	log_limited(&limit, "%s: %s", thread_peer_name(peer),
		    verdict == VOID
			    ? "its source address does not hold any more"
			    : "its source address holds again");
}

static enum verdict judge(const struct rights_question *q,
			  const struct rights_answer *a)
{
	switch (a->kind) {
	case RIGHTS_WAY:
		return q->is_v6 || a->ifindex == q->ifindex ? HOLDS : VOID;
	case RIGHTS_NO_WAY:
		return VOID;
	case RIGHTS_UNKNOWN:
	default:
		return UNKNOWN;
	}
}

static void mark_peer(struct peer *peer, const struct device_endpoint *was,
		      enum verdict verdict)
{
	struct device_endpoint next = *was;
	uint64_t mark = was->words[ENDPOINT_MARK];

	if (verdict == UNKNOWN)
		return;
	next.words[ENDPOINT_MARK] =
		verdict == VOID ? ENDPOINT_VOID : ENDPOINT_HOLDS;
	if (next.words[ENDPOINT_MARK] == mark)
		return;
	if (endpoint_cell_replace(&peer->endpoint, was, &next) &&
	    (verdict == VOID || mark >= ENDPOINT_REFUSED))
		tell(peer, verdict);
}

/* Ask about the peers of the batch, mark them, and empty the batch. */
static void check_batch(const struct sticky *s, struct batch *batch,
			uint32_t fwmark)
{
	struct rights_answer answers[RIGHTS_QUESTIONS_MAX];

	if (batch->n)
		s->rights->ops->ask(s->rights->arg, fwmark, batch->questions,
				    answers, batch->n);
	for (unsigned int i = 0; i < batch->n; i++)
		mark_peer(batch->peers[i], &batch->was[i],
			  judge(&batch->questions[i], &answers[i]));
	batch->n = 0;
}

void sticky_refuse(struct device *device, struct peer *peer,
		   struct ug_endpoint *to)
{
	struct device_endpoint was, next;

	endpoint_to_device(&was, to);
	next = was;
	next.words[ENDPOINT_MARK] = ENDPOINT_REFUSED;
	ug_endpoint_clear_source(to);
	if (endpoint_cell_replace(&peer->endpoint, &was, &next))
		device->ops->endpoint_learnt(device->arg);
}

/* ------------------------------------------------------- a pass */

static struct peer *first_peer(const struct sticky *s)
{
	struct list *peers = &s->device->peers;

	return list_is_empty(peers)
		       ? NULL
		       : container_of(peers->next, struct peer, in_device);
}

static struct peer *peer_behind(const struct sticky *s, const struct peer *peer)
{
	struct list *next = peer->in_device.next;

	return next == &s->device->peers
		       ? NULL
		       : container_of(next, struct peer, in_device);
}

/* Return: the peer to go on with, borrowed from the device; NULL: no peer. */
static struct peer *resume(struct sticky *s)
{
	struct peer *peer = s->next;

	s->next = NULL;
	/* The peer has been removed meanwhile: begin with the first again. */
	if (peer && !peer->is_configured) {
		peer_put(peer);
		return first_peer(s);
	}
	/* The device keeps a reference while the peer is configured. */
	peer_put(peer);
	return peer;
}

static struct peer *begin_pass(struct sticky *s, struct ug_socket *sock,
			       uint64_t now)
{
	s->began = now;
	s->spent_ns = 0;
	s->asked = s->changed;
	s->changed = 0;
	/* Partner: sticky_note_new(), after the endpoint was written. */
	atomic_exchange_explicit(&s->has_new, false, memory_order_acq_rel);
	/* The network has changed, and path MTUs may have, too. */
	if (s->asked)
		ug_paths_changed(sock);
	return first_peer(s);
}

static void end_pass(struct sticky *s, uint64_t now)
{
	uint64_t pause = s->spent_ns * PAUSE_TIMES;

	if (pause > PAUSE_MAX_NS)
		pause = PAUSE_MAX_NS;
	s->earliest = later(s->began + APART_NS, now + pause);
	s->due = s->changed ? s->earliest : 0;
}

/* Do a piece of a pass: begin a pass, or go on with the one under way. */
static void go_on(struct sticky *s, struct ug_socket *sock, uint32_t fwmark,
		  uint64_t now)
{
	uint64_t before = now_read(CLOCK_THREAD_CPUTIME_ID);
	struct peer *peer = s->next ? resume(s) : begin_pass(s, sock, now);
	struct batch batch = { .n = 0 };
	unsigned int cost = 0;

	for (; peer && cost < PIECE_COST; peer = peer_behind(s, peer)) {
		cost += choose_peer(s, &batch, peer, sock) ? QUESTION_COST : 1;
		if (batch.n == RIGHTS_QUESTIONS_MAX)
			check_batch(s, &batch, fwmark);
	}
	check_batch(s, &batch, fwmark);
	if (peer && peer_get(peer))
		s->next = peer;
	s->spent_ns += now_read(CLOCK_THREAD_CPUTIME_ID) - before;
	if (s->next)
		s->due = now + PIECE_WAIT_NS;
	else
		end_pass(s, now);
}

uint64_t sticky_tick(struct sticky *s, uint32_t fwmark, uint64_t now)
{
	struct ug_socket *sock = sockets_get(s->sockets);

	/* Partner: sticky_note_new(). */
	if (!s->due && atomic_load_explicit(&s->has_new, memory_order_acquire))
		s->due = later(now, s->earliest);
	if (!sock) {
		/* The sockets are closed: nothing is sent from any source. */
		s->due = s->changed = 0;
		atomic_store_explicit(&s->has_new, false, memory_order_relaxed);
		peer_put(s->next);
		s->next = NULL;
	} else if (s->due && s->due <= now) {
		go_on(s, sock, fwmark, now);
		if (!s->due &&
		    atomic_load_explicit(&s->has_new, memory_order_acquire))
			s->due = s->earliest;
	}
	return s->due ? s->due : SCHEDULE_NEVER;
}
