/* SPDX-License-Identifier: MIT */
/* The way of a packet on this host: from its address to a peer, from the peer to its
 * endpoint, and from there to the route by which the outer packet leaves. */
#include "ctl/checks.h"

#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/attention.h"
#include "ctl/conf.h"
#include "ctl/names.h"

enum {
	/* Bytes that the tunnel adds: the outer IP and UDP headers, and 32 of
	 * WireGuard (paper, section 5.4.6). */
	OVERHEAD_IPV4 = 20 + 8 + 32,
	OVERHEAD_IPV6 = 40 + 8 + 32,
	/* An endpoint that moves back to the last one so often within the time, in
	 * seconds, belongs to two hosts. A choice: a telephone that changes between
	 * two networks does so less often. */
	MANY_MOVES = 3,
	MOVES_S = 300,
	/* A refusal of the kernel counts for so long, in seconds. A choice. */
	ERROR_S = 60,
	/* A move is worth a note for so long, in seconds. A choice. */
	MOVED_S = 600,
};

/* ------------------------------------------------------------- to the peer */

static void check_owner(struct ctl_diagnosis *d)
{
	const struct ctl_peer *peer = ctl_diagnosis_peer(d);
	char text[CTL_ADDRESS_CAP];

	if (!*d->key) {
		ctl_advise(ctl_find(&d->findings, CTL_FAULT, "allowed IPs",
				    "no peer has %s in its allowed IPs, so "
				    "packets to it are dropped",
				    ctl_address_print(text, &d->target)),
			   "Add it to the AllowedIPs of the peer that it "
			   "belongs to.");
		return;
	}
	if (!peer) {
		ctl_advise(ctl_find(&d->findings, CTL_FAULT, "peer",
				    "no peer of %s has the public key %s",
				    d->interface, d->key),
			   "Compare the keys: wg show %s peers", d->interface);
		return;
	}
	if (d->target.any.sa_family != AF_UNSPEC && !d->is_chosen)
		ctl_find(&d->findings, CTL_FINE, "allowed IPs",
			 "%s belongs to %s",
			 ctl_address_print(text, &d->target), d->title);
}

static void check_prefixes(struct ctl_diagnosis *d)
{
	const struct ctl_peer *peer = NULL;

	for (size_t i = 0; i < d->allowed.n_peers; i++)
		if (strcmp(d->allowed.peers[i].key, d->key) == 0)
			peer = &d->allowed.peers[i];
	if (peer && !peer->lines.n)
		ctl_advise(ctl_find(&d->findings, CTL_FAULT, "allowed IPs",
				    "%s has no allowed IPs: no packet goes to "
				    "it, and none of it is taken",
				    d->title),
			   "Give it AllowedIPs. If two peers are given the "
			   "same prefix, the last one has it.");
}

/* Do packets to the target go into the tunnel? */
static void check_way_in(struct ctl_diagnosis *d)
{
	char text[CTL_ADDRESS_CAP];
	struct ctl_route route;
	int err;

	if (!d->ifindex || d->target.any.sa_family == AF_UNSPEC)
		return;
	err = ctl_route_get(&route, &d->target, 0);
	ctl_address_print(text, &d->target);
	if (err < 0)
		ctl_advise(ctl_find(&d->findings, CTL_FAULT, "route inside",
				    "this host has no route to %s: %s", text,
				    strerror(-err)),
			   "ip route add %s dev %s", text, d->interface);
	else if (route.is_local)
		ctl_find(&d->findings, CTL_NOTE, "route inside",
			 "%s is an address of this host itself", text);
	else if (route.ifindex != d->ifindex)
		ctl_advise(ctl_find(&d->findings, CTL_FAULT, "route inside",
				    "packets to %s leave by %s, and not by %s",
				    text, route.device, d->interface),
			   "ip route add %s dev %s; ip route get %s shows "
			   "which route is used",
			   text, d->interface, text);
	else if (route.source.any.sa_family == AF_UNSPEC &&
		 !ctl_network_has_address(d->target.any.sa_family, d->interface,
					  NULL))
		ctl_find(&d->findings, CTL_NOTE, "route inside",
			 "%s has no %s address, so packets to %s have a "
			 "source of another interface",
			 d->interface,
			 d->target.any.sa_family == AF_INET ? "IPv4" : "IPv6",
			 text);
}

/* ---------------------------------------------------------------- the endpoint */

/* The host that the configuration of wg-quick(8) has as the endpoint of the peer.
 * Return: false: there is none. */
static bool read_host(struct ctl_diagnosis *d, char host[CONF_HOST_CAP])
{
	char path[sizeof(CTL_CONFIGURATION) + sizeof(d->last.interface) + 8];
	char error[CONF_ERROR_CAP];
	bool has = false;
	struct conf conf;
	uint16_t port;
	int err;

	snprintf(path, sizeof(path), "%s/%s.conf", CTL_CONFIGURATION,
		 d->last.interface);
	err = conf_read(&conf, path, error);
	if (err == -EINVAL)
		ctl_find(&d->findings, CTL_NOTE, "configuration", "%s: %s",
			 path, error);
	if (err < 0)
		return false;
	for (size_t i = 0; i < conf.n_peers; i++) {
		const struct conf_section *peer = &conf.peers[i];
		const char *endpoint = conf_get(peer, CONF_ENDPOINT);

		if (endpoint &&
		    strcmp(conf_get(peer, CONF_PUBLIC_KEY), d->key) == 0)
			has = conf_split_endpoint(endpoint, host, &port);
	}
	conf_free(&conf);
	return has;
}

static bool is_among(const struct addrinfo *all, const union ctl_address *one)
{
	for (; all; all = all->ai_next) {
		union ctl_address a = { 0 };

		if (all->ai_addrlen > sizeof(a))
			continue;
		memcpy(&a, all->ai_addr, all->ai_addrlen);
		if (ctl_address_is_same(&a, one))
			return true;
	}
	return false;
}

/* The name leads somewhere else than packets go. */
static void tell_other(struct ctl_diagnosis *d, const char *name,
		       const struct addrinfo *all,
		       const union ctl_address *endpoint)
{
	bool works =
		ctl_diagnosis_has_session(d) && !ctl_diagnosis_is_unanswered(d);
	char is[CTL_ADDRESS_CAP], goes[CTL_ADDRESS_CAP];
	union ctl_address first = { 0 };

	memcpy(&first, all->ai_addr, all->ai_addrlen);
	ctl_advise(
		ctl_find(&d->findings, works ? CTL_NOTE : CTL_FAULT, "name",
			 "the configured endpoint of %s, %s (%s), is not where "
			 "it is spoken to: %s",
			 d->title, name, ctl_address_print(is, &first),
			 ctl_address_print(goes, endpoint)),
		"%s",
		works ? "It has moved, or sends from another address."
		      : "If that is right, set it: wiregatherctl reresolve "
			"--once; the daemon resolves no names.");
}

static void check_name(struct ctl_diagnosis *d)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_DGRAM };
	char host[CONF_HOST_CAP];
	struct addrinfo *all = NULL;
	union ctl_address endpoint;
	bool has_endpoint = ctl_diagnosis_endpoint(d, &endpoint);
	int err;

	if (!read_host(d, host))
		return;
	/* The library of GNU reads this: a server that is silent is asked once, for
	 * two seconds. */
	setenv("RES_OPTIONS", "timeout:2 attempts:1", 0);
	err = getaddrinfo(host, NULL, &hints, &all);
	if (err)
		ctl_advise(ctl_find(&d->findings,
				    ctl_diagnosis_has_session(d) ? CTL_NOTE
								 : CTL_FAULT,
				    "name",
				    "the name %s of its endpoint does not "
				    "resolve: %s",
				    host, gai_strerror(err)),
			   "Correct the name in %s/%s.conf, or look at the "
			   "name servers (/etc/resolv.conf): they must be "
			   "reached without the tunnel.",
			   CTL_CONFIGURATION, d->interface);
	else if (has_endpoint && !is_among(all, &endpoint))
		tell_other(d, host, all, &endpoint);
	if (all)
		freeaddrinfo(all);
}

/* How often the endpoint has moved of late. */
static unsigned int count_moves(const struct ctl_diagnosis *d, uint64_t now)
{
	unsigned int n = 0;

	for (size_t i = 0; i < d->trace.n_peers; i++) {
		const struct ctl_peer *peer = &d->trace.peers[i];

		if (strcmp(peer->key, d->key) != 0)
			continue;
		for (size_t k = 0; k < peer->lines.n; k++) {
			uint64_t at;

			n += sscanf(peer->lines.all[k].value,
				    "endpoint %" SCNu64, &at) == 1 &&
			     at / 1000 + MOVES_S > now;
		}
	}
	return n;
}

static void check_moves(struct ctl_diagnosis *d, const struct ctl_lines *peer)
{
	uint64_t at = ctl_number(peer, "endpoint_moved_time_sec");
	const char *was = ctl_get(peer, "endpoint_was");
	const char *is = ctl_get(peer, "endpoint");
	uint64_t now = (uint64_t)time(NULL);
	char ago[32];

	if (!was || !is || at + MOVED_S < now)
		return;
	ctl_ago(ago, sizeof(ago), at, now);
	if (count_moves(d, now) >= MANY_MOVES &&
	    ctl_number(peer, "endpoint_returns") + 1 >= MANY_MOVES)
		ctl_advise(ctl_find(&d->findings, CTL_FAULT, "endpoint",
				    "two hosts seem to use the key of %s: its "
				    "endpoint goes back and forth between %s "
				    "and %s",
				    d->title, is, was),
			   "Give each host a key pair of its own, and a peer "
			   "section.");
	else if (ctl_diagnosis_is_unanswered(d))
		ctl_advise(ctl_find(&d->findings, CTL_FAULT, "endpoint",
				    "%s has roamed from %s to %s (%s), and "
				    "does not answer there",
				    d->title, was, is, ago),
			   "It has moved on, or the way back to %s is closed: "
			   "look at routes and firewalls.",
			   is);
	else
		ctl_find(&d->findings, CTL_NOTE, "endpoint",
			 "%s has roamed from %s to %s (%s)", d->title, was, is,
			 ago);
}

/* Return: false: there is no endpoint, or none that can be used. */
static bool check_family(struct ctl_diagnosis *d,
			 const union ctl_address *endpoint)
{
	bool is_v6 = endpoint->any.sa_family == AF_INET6;
	const char *family = is_v6 ? "IPv6" : "IPv4";
	struct ctl_finding *f = NULL;

	if (ctl_number(&d->last.device, "listening") &&
	    !ctl_number(&d->last.device,
			is_v6 ? "segments_ipv6" : "segments_ipv4"))
		f = ctl_find(&d->findings, CTL_FAULT, "endpoint",
			     "the endpoint of %s is %s, and the daemon has no "
			     "%s socket: this kernel has no %s",
			     d->title, family, family, family);
	else if (is_v6 && d->ifindex && !ctl_network_has_ipv6())
		f = ctl_find(&d->findings, CTL_FAULT, "endpoint",
			     "the endpoint of %s is IPv6, and IPv6 is switched "
			     "off on this host",
			     d->title);
	else if (d->ifindex && !ctl_network_has_address(endpoint->any.sa_family,
							NULL, d->interface))
		f = ctl_find(&d->findings, CTL_FAULT, "endpoint",
			     "the endpoint of %s is of the wrong family: it is "
			     "%s, and this host has no %s address",
			     d->title, family, family);
	ctl_advise(f,
		   "Use an endpoint of the other family, or give this host "
		   "%s%s.",
		   family,
		   is_v6 ? " (sysctl net.ipv6.conf.all.disable_ipv6)" : "");
	return !f;
}

/* ------------------------------------------------------------- the outer route */

/* Bytes of an outer packet around an inner one. */
static unsigned int overhead_of(const union ctl_address *endpoint)
{
	return endpoint->any.sa_family == AF_INET6 ? OVERHEAD_IPV6
						   : OVERHEAD_IPV4;
}

/* Does the daemon find the path MTUs of peers (--pmtu=discover)? */
static bool is_discovering(const struct ctl_diagnosis *d)
{
	return ctl_get(&d->last.device, "path_mtu_learnt");
}

static void tell_route(struct ctl_diagnosis *d, const char *to,
		       const struct ctl_route *route, unsigned int overhead)
{
	unsigned int mtu = (unsigned int)ctl_number(&d->last.device, "mtu");
	unsigned int len = mtu + overhead;

	ctl_find(&d->findings, CTL_FINE, "route outside",
		 "%s is reached by %s (MTU %u)", to, route->device, route->mtu);
	if (route->mtu && len > route->mtu && !is_discovering(d))
		ctl_advise(ctl_find(&d->findings, CTL_NOTE, "route outside",
				    "full packets of %s have %u bytes outside, "
				    "and %s takes %u: they travel in "
				    "fragments, which some networks drop",
				    d->interface, len, route->device,
				    route->mtu),
			   "ip link set %s mtu %u", d->interface,
			   route->mtu - overhead);
}

/* Tell the path MTU that the daemon has found. */
static void check_path_mtu(struct ctl_diagnosis *d,
			   const struct ctl_lines *peer, unsigned int overhead)
{
	unsigned int path = (unsigned int)ctl_number(peer, "path_mtu");

	if (path <= overhead ||
	    path - overhead >= ctl_number(&d->last.device, "mtu"))
		return;
	ctl_find(&d->findings, CTL_NOTE, "path MTU",
		 "the path to %s takes outer packets of %u bytes, so inner "
		 "packets of more than %u are cut, or their senders are told",
		 d->title, path, path - overhead);
}

static void check_route(struct ctl_diagnosis *d,
			const union ctl_address *endpoint)
{
	char to[CTL_ADDRESS_CAP];
	struct ctl_route route;
	int err =
		ctl_route_get(&route, endpoint,
			      (uint32_t)ctl_number(&d->last.device, "fwmark"));

	ctl_address_print(to, endpoint);
	if (err < 0)
		ctl_advise(ctl_find(&d->findings, CTL_FAULT, "route outside",
				    "there is no route to the endpoint %s: %s",
				    to, strerror(-err)),
			   "ip route get %s; add a route, or use an endpoint "
			   "that this host reaches.",
			   to);
	else if (route.ifindex == d->ifindex)
		ctl_advise(ctl_find(&d->findings, CTL_FAULT, "route outside",
				    "a loop: the route to the endpoint %s "
				    "leads into %s itself",
				    to, d->interface),
			   "Add a route to it beside the tunnel: ip route add "
			   "%s via GATEWAY; or a mark and a rule, as wg-quick "
			   "does.",
			   to);
	else
		tell_route(d, to, &route, overhead_of(endpoint));
}

static void check_loop_count(struct ctl_diagnosis *d)
{
	uint64_t n = ctl_diagnosis_grew(d, "outbound_dropped_routing_loop");

	if (n && !ctl_findings_cause(&d->findings))
		ctl_find(&d->findings, CTL_FAULT, "route outside",
			 "a loop: %" PRIu64 " of our own datagrams came back "
			 "through %s",
			 n, d->interface);
}

/* The kernel has refused to send to the peer. */
static void check_refusal(struct ctl_diagnosis *d, const struct ctl_lines *peer,
			  const char *endpoint)
{
	const char *last = ctl_get(peer, "send_error_last");
	uint64_t at;
	int err, n = 0;

	if (!last || sscanf(last, "%d %" SCNu64 " %n", &err, &at, &n) != 2 ||
	    at + ERROR_S < (uint64_t)time(NULL) ||
	    at < ctl_number(peer, "last_handshake_time_sec"))
		return;
	ctl_advise(ctl_find(&d->findings, CTL_FAULT, "sending",
			    "the kernel refuses to send to %s: %s%s", endpoint,
			    last + n,
			    err == EPERM || err == EACCES
				    ? "; a rule of the firewall of this host "
				      "forbids it"
				    : ""),
		   err == EPERM || err == EACCES
			   ? "nft list ruleset, iptables -L OUTPUT: look for "
			     "rules on UDP, on the port, or on the user of the "
			     "daemon."
			   : "Look at the route and at the interface that it "
			     "leaves by.");
}

void ctl_check_way(struct ctl_diagnosis *d)
{
	const struct ctl_peer *peer = ctl_diagnosis_peer(d);
	union ctl_address endpoint;

	check_owner(d);
	check_way_in(d);
	if (!peer)
		return;
	check_prefixes(d);
	check_name(d);
	if (!ctl_diagnosis_endpoint(d, &endpoint)) {
		ctl_advise(ctl_find(&d->findings, CTL_FAULT, "endpoint",
				    "%s has no endpoint, and was not heard "
				    "yet",
				    d->title),
			   "Configure Endpoint here, or have the other side "
			   "begin: it needs one of the two.");
		return;
	}
	check_moves(d, &peer->lines);
	if (check_family(d, &endpoint) && d->ifindex) {
		check_route(d, &endpoint);
		check_path_mtu(d, &peer->lines, overhead_of(&endpoint));
		check_loop_count(d);
	}
	check_refusal(d, &peer->lines, ctl_get(&peer->lines, "endpoint"));
}
