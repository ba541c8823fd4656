/* SPDX-License-Identifier: MIT */
/*
 * A host with several addresses answers a peer from the address that the peer
 * wrote to: the peer's *source*. A source holds until the address is gone, or
 * until packets from it would leave by another interface. It must not be given
 * up sooner: a NAT or a firewall keeps packets from another address away from
 * the peer, and the peer would learn an address that it was perhaps not meant
 * to know.
 *
 * The rule is that of the kernel module (send4() and send6() in
 * drivers/net/wireguard/socket.c):
 *
 *  - IPv4: the address is local, and the route of a packet from it leaves by
 *    the interface that the peer's packet came in by.
 *  - IPv6: the address is local. The interface does not count.
 *
 * The kernel module asks for each packet. Here the question is a system call,
 * so it is asked only when something may have changed: in a *pass* over all
 * peers that have a learnt source, on the control thread. The data path never
 * asks.
 *
 *  - For IPv4 the question is RTM_GETROUTE, for exactly the packet that would
 *    be sent. It names ports, protocol, mark and the user of the socket, so
 *    rules of policy routing give the same answer as for the packet. If there
 *    is no route from the source, and none without it either, the source is not
 *    to blame and stays.
 *  - For IPv6 the question is for the list of all addresses. A pass asks it at
 *    most once.
 *  - An answer that says nothing about routes (no memory, a route that
 *    prohibits) changes nothing.
 *
 * The verdict is the mark of the endpoint (device/endpoint.h). The source
 * itself is not cleared: packets of the peer that are still under way to the
 * old address would bring it back, and both ends would go on changing addresses
 * for as long as traffic lasts. A source that is marked void stays so until a
 * pass finds that it holds again, or until the peer writes to another address.
 * A new source is checked soon, too. Otherwise, on a host whose answers leave
 * by another interface than questions come in by, the source would change at
 * the next event, which has nothing to do with it. A source that the kernel has
 * refused in sending is also checked: some kernels refuse a train with the same
 * errno as a missing address.
 *
 * Time. Changes often come in pairs, such as a route that is removed and added
 * again, so a pass begins 50 ms after the event. Passes are at least 250 ms
 * apart. The pause after a pass is at least 200 times the CPU time that the
 * pass took, up to 5 s: so thousands of events a second cost half a percent of
 * a core. (A pass over 1,001 peers takes 3.4 ms in a virtual machine, Linux
 * 6.18.) A long pass is done in pieces, so that the control thread can do other
 * work in between.
 */
#include "engine/sticky.h"

#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/now.h"
#include "engine/endpoint.h"
#include "engine/thread.h"

/* Time from an event to the pass, and from one pass to the next. */
#define SETTLE_NS (50 * NSEC_PER_MSEC)
#define APART_NS  (250 * NSEC_PER_MSEC)

/* The pause after a pass: so many times its CPU time, and at most so long. */
#define PAUSE_TIMES  UINT64_C(200)
#define PAUSE_MAX_NS (5 * NSEC_PER_SEC)

/* A piece of a pass takes some milliseconds. It may cost PIECE_COST: a peer
 * that is passed over costs 1, a question QUESTION_COST. Then comes a pause. */
#define PIECE_COST    16384
#define QUESTION_COST 16
#define PIECE_WAIT_NS (10 * NSEC_PER_MSEC)

/* What is known of a source. */
enum verdict {
	UNKNOWN,
	HOLDS,
	VOID,
};

int sticky_init(struct sticky *s, struct device *device,
		struct sockets *sockets)
{
	*s = (struct sticky){ .device = device, .sockets = sockets };
	atomic_init(&s->has_new, false);
	return routes_open(&s->routes);
}

void sticky_deinit(struct sticky *s)
{
	peer_put(s->next);
	s->next = NULL;
	routes_close(&s->routes);
}

void sticky_start(struct sticky *s)
{
	s->uid = (uint32_t)geteuid();
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
	/* Partner: begin_pass(), which reads the endpoints after it. */
	return !atomic_exchange_explicit(&s->has_new, true,
					 memory_order_acq_rel);
}

/* ------------------------------------------------------- one peer */

static enum verdict ask_ipv4(struct sticky *s, struct ug_socket *sock,
			     const struct ug_endpoint *ep, uint32_t fwmark)
{
	struct routes_packet packet = {
		.source_port = ug_port(sock),
		.destination_port = ntohs(ep->addr.v4.sin_port),
		.mark = fwmark,
		.uid = s->uid,
	};
	uint32_t ifindex;
	int r;

	memcpy(packet.source, ep->source.addr, sizeof(packet.source));
	memcpy(packet.destination, &ep->addr.v4.sin_addr,
	       sizeof(packet.destination));
	r = routes_lookup(&s->routes, &packet, &ifindex);
	if (r < 0)
		return UNKNOWN;
	if (r == 0)
		return ifindex == ep->source.ifindex ? HOLDS : VOID;
	memset(packet.source, 0, sizeof(packet.source));
	return routes_lookup(&s->routes, &packet, &ifindex) == 0 ? VOID
								 : UNKNOWN;
}

static enum verdict ask_ipv6(struct sticky *s, const struct ug_endpoint *ep)
{
	if (!s->knows_ipv6 && !s->has_failed) {
		s->knows_ipv6 = routes_read_addresses(&s->routes) == 0;
		s->has_failed = !s->knows_ipv6;
	}
	if (!s->knows_ipv6)
		return UNKNOWN;
	return routes_has_address(&s->routes, ep->source.addr,
				  ep->source.ifindex)
		       ? HOLDS
		       : VOID;
}

static void tell(const struct peer *peer, enum verdict verdict)
{
	static struct log_limit limit;

	log_limited(&limit, "%s: %s", thread_peer_name(peer),
		    verdict == VOID
			    ? "its source address does not hold any more"
			    : "its source address holds again");
}

/* Check a peer's source if this pass has to. Return: true if it did. */
static bool check_peer(struct sticky *s, struct peer *peer,
		       struct ug_socket *sock, uint32_t fwmark)
{
	struct device_endpoint was, next;
	struct ug_endpoint ep;
	enum verdict verdict;
	uint64_t mark;

	if (!endpoint_cell_get(&peer->endpoint, &was))
		return false;
	mark = endpoint_learnt(&ep, &was);
	bool v4 = ep.addr.any.sa_family == AF_INET;

	if (ep.source.state <= UG_SOURCE_PINNED ||
	    (mark != ENDPOINT_NEW && mark != ENDPOINT_REFUSED &&
	     !(s->asked & (v4 ? STICKY_IPV4 : STICKY_IPV6))))
		return false;
	verdict = v4 ? ask_ipv4(s, sock, &ep, fwmark) : ask_ipv6(s, &ep);
	if (verdict == UNKNOWN)
		return true;
	next = was;
	next.words[ENDPOINT_MARK] =
		verdict == VOID ? ENDPOINT_VOID : ENDPOINT_HOLDS;
	if (next.words[ENDPOINT_MARK] == mark)
		return true;
	if (endpoint_cell_replace(&peer->endpoint, &was, &next) &&
	    (verdict == VOID || mark >= ENDPOINT_REFUSED))
		tell(peer, verdict);
	return true;
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

/* Take the peer to go on with. Return: it, with no reference; NULL: none. */
static struct peer *resume(struct sticky *s)
{
	struct peer *peer = s->next;

	s->next = NULL;
	/* The next peer has been removed: begin with the first again. */
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
	s->knows_ipv6 = s->has_failed = false;
	/* Partner: sticky_note_new(), after the endpoint was written. */
	atomic_exchange_explicit(&s->has_new, false, memory_order_acq_rel);
	/* The path MTUs may have changed, too. */
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

/* A piece of a pass. */
static void go_on(struct sticky *s, struct ug_socket *sock, uint32_t fwmark,
		  uint64_t now)
{
	uint64_t before = now_read(CLOCK_THREAD_CPUTIME_ID);
	struct peer *peer = s->next ? resume(s) : begin_pass(s, sock, now);
	unsigned int cost = 0;

	for (; peer && cost < PIECE_COST; peer = peer_behind(s, peer))
		cost += check_peer(s, peer, sock, fwmark) ? QUESTION_COST : 1;
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
		/* Other sockets do not use the sources learnt by these. */
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
