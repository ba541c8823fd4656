/* SPDX-License-Identifier: MIT */
/*
 * A routing loop begins when the only route to a peer's endpoint leads through
 * the tunnel. Causes are a default route through the interface without a mark,
 * a cable that was pulled, or an endpoint among the peer's own allowed IPs. An
 * encrypted packet then comes back, is encrypted once more, and so on, as fast
 * as the machine can. Each turn adds 60 bytes. A packet that has grown beyond
 * the MTU becomes two.
 *
 * To end this, our own message is dropped the first time that it comes back. A
 * packet is our own message if it is UDP to the endpoint of the peer that it is
 * routed to, and if it holds a message that we made for that peer
 * (device/own.h). Its source address and source port decide nothing: a NAT
 * rewrites them, and a host behind us may have a WireGuard of its own that
 * talks to the same server, from the same port. If a peer's endpoint is behind
 * another peer, there is no loop: our message is routed to the other peer,
 * whose endpoint differs.
 *
 * A super-packet (UDP segmentation) may be a train of ours that comes back
 * whole; only its first segment is examined. If a packet comes in fragments,
 * only the first fragment is examined. Later fragments with the same
 * identification are dropped if the first one was.
 *
 * Longer loops are not recognised: through a second interface, or through two
 * peers, each of whose endpoints is behind the other. There our message comes
 * back encrypted inside another message.
 */
#include "engine/returned.h"

#include <string.h>

#include "base/clock.h"
#include "base/ip.h"
#include "base/log.h"
#include "device/own.h"
#include "engine/endpoint.h"

enum {
	IPV4_LEN = sizeof(struct ipv4_hdr),
	IPV6_LEN = sizeof(struct ipv6_hdr),
	UDP_LEN = sizeof(struct udp_hdr),
};

/* If no message came back for this long, the next one is logged again. A
 * choice. */
#define TELL_AGAIN_NS (60 * NSEC_PER_SEC)
/* Fragments are taken to belong to a first one for this long. A choice: the
 * fragments of a packet leave at the same time. */
#define FRAGMENTS_NS NSEC_PER_SEC

/**
 * struct outer - what the IP headers say of a packet that may be ours
 * @udp_off:	offset of the payload behind the IP headers
 * @is_first:	the packet has the UDP header: it is whole, or a first fragment
 * @has_more:	fragments follow
 * @id:		identification, which all fragments of a packet share
 * @id_len:	its length
 */
struct outer {
	size_t udp_off;
	bool is_first;
	bool has_more;
	const uint8_t *id;
	size_t id_len;
};

static bool parse4(struct outer *o, const uint8_t *p)
{
	const struct ipv4_hdr *ip = ipv4_view(p);
	uint16_t frag = be16_get(ip->frag);

	*o = (struct outer){
		.udp_off = ipv4_hdr_len(ip),
		.is_first = !(frag & IPV4_OFFSET),
		.has_more = frag & IPV4_MF,
		.id = (const void *)&ip->id,
		.id_len = sizeof(ip->id),
	};
	return o->udp_off >= IPV4_LEN;
}

static bool parse6(struct outer *o, const uint8_t *p, size_t len)
{
	const struct ipv6_fragment_hdr *fragment = (const void *)(p + IPV6_LEN);

	*o = (struct outer){ .udp_off = IPV6_LEN, .is_first = true };
	if (ipv6_view(p)->next_header == IP_PROTO_UDP)
		return true;
	if (len < IPV6_LEN + sizeof(*fragment) ||
	    fragment->next_header != IP_PROTO_UDP)
		return false;
	*o = (struct outer){
		.udp_off = IPV6_LEN + sizeof(*fragment),
		.is_first = !(be16_get(fragment->frag) & IPV6_OFFSET),
		.has_more = be16_get(fragment->frag) & IPV6_MF,
		.id = fragment->id,
		.id_len = sizeof(fragment->id),
	};
	return true;
}

/* Is the packet's destination the address of this endpoint? */
static bool is_to(const struct ug_endpoint *ep, const uint8_t *p)
{
	if (ip_get_version(p) == IP_V4)
		return ep->addr.any.sa_family == AF_INET &&
		       !memcmp(ipv4_view(p)->daddr, &ep->addr.v4.sin_addr, 4);
	return ep->addr.any.sa_family == AF_INET6 &&
	       !memcmp(ipv6_view(p)->daddr, &ep->addr.v6.sin6_addr, 16);
}

/* Is the destination port of this UDP header the port of the endpoint? */
static bool is_port_of(const struct ug_endpoint *ep, const uint8_t *udp)
{
	const in_port_t *port = ep->addr.any.sa_family == AF_INET
					? &ep->addr.v4.sin_port
					: &ep->addr.v6.sin6_port;

	return !memcmp(udp + offsetof(struct udp_hdr, dport), port, 2);
}

/* Write addresses and identification, which all fragments of a packet share.
 * Return: their length. */
static size_t make_key(uint8_t key[RETURNED_KEY_LEN], const struct outer *o,
		       const uint8_t *p)
{
	bool v4 = ip_get_version(p) == IP_V4;
	size_t off = v4 ? offsetof(struct ipv4_hdr, saddr)
			: offsetof(struct ipv6_hdr, saddr);
	size_t len = v4 ? 8 : 32;

	memcpy(key, p + off, len);
	memcpy(key + len, o->id, o->id_len);
	return len + o->id_len;
}

static void remember(struct returned *r, const struct outer *o,
		     const uint8_t *p, uint64_t now)
{
	r->key_len = make_key(r->key, o, p);
	r->seen_ns = now;
}

/* Does this later fragment follow a first one that was ours? */
static bool follows(const struct returned *r, const struct outer *o,
		    const uint8_t *p, uint64_t now)
{
	uint8_t key[RETURNED_KEY_LEN];
	size_t len = make_key(key, o, p);

	return len == r->key_len && !memcmp(key, r->key, len) &&
	       !clock_has_passed(r->seen_ns, FRAGMENTS_NS, now);
}

/* Is there a UDP header to the endpoint's port at @udp, and behind it a message
 * of ours? Of a message in fragments only the beginning is there. */
static bool has_message(struct peer *peer, const struct ug_endpoint *ep,
			const uint8_t *udp, size_t len, size_t gso_size)
{
	struct be16 udp_len;
	size_t msg_len;

	if (len < UDP_LEN + OWN_HEADER_LEN || !is_port_of(ep, udp))
		return false;
	memcpy(&udp_len, udp + offsetof(struct udp_hdr, len), sizeof(udp_len));
	if (be16_get(udp_len) < UDP_LEN)
		return false;
	/* In a super-packet the UDP length is that of all segments together. */
	msg_len = gso_size ? size_min(gso_size, len - UDP_LEN)
			   : be16_get(udp_len) - (size_t)UDP_LEN;
	return own_is_message(peer, udp + UDP_LEN, msg_len);
}

static void tell(struct peer *peer, const struct ug_endpoint *ep, uint64_t now)
{
	char text[ENDPOINT_NUMERIC_TEXT] = "";
	uint64_t last = atomic_exchange_explicit(&peer->returned_ns, now,
						 memory_order_relaxed);

	if (!last || clock_has_passed(last, TELL_AGAIN_NS, now)) {
		endpoint_print_numeric(ep, text, sizeof(text));
		log_error("packets to %s come back through this interface, and "
			  "are dropped: there is no route to it beside the "
			  "tunnel",
			  text);
	}
}

bool returned_is_own(struct returned *r, struct peer *peer,
		     const struct device_endpoint *dep, const uint8_t *p,
		     const struct vnet_frame *frame, uint64_t now)
{
	struct ug_endpoint ep;
	struct outer o;

	endpoint_from_device(&ep, dep);
	if (!is_to(&ep, p))
		return false;
	if (!(ip_get_version(p) == IP_V4 ? parse4(&o, p)
					 : parse6(&o, p, frame->len)) ||
	    o.udp_off > frame->len)
		return false;
	if (!o.is_first)
		return follows(r, &o, p, now);
	if (!has_message(peer, &ep, p + o.udp_off, frame->len - o.udp_off,
			 frame->gso_size))
		return false;
	if (o.has_more)
		remember(r, &o, p, now);
	tell(peer, &ep, now);
	return true;
}
