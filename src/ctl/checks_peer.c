/* SPDX-License-Identifier: MIT */
/* What a peer answers: to handshakes, to pings, and to packets of full size. */
#include "ctl/checks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl/attention.h"
#include "ctl/probe.h"

enum {
	/* What was refused counts for so long, in seconds. A choice. */
	REFUSED_S = 180,
	/* How long to wait for an ICMP error and for a ping on the outer way, in
	 * ms. Choices. */
	KNOCK_MS = 500,
	OUTER_PING_MS = 1000,
	/* The same for a ping of full size, which is sent twice: one may be lost. */
	FULL_PING_MS = 700,
	FULL_TRIES = 2,
	/* Answers that we gave and nobody used, before that is odd: a session begins
	 * with the first data, which may be under way. */
	UNUSED_RESPONSES = 2,
	/* Sizes are searched in such steps: WireGuard pads to 16 bytes (paper,
	 * section 5.4.6). */
	SIZE_STEP = 8,
};

/* --------------------------------------------------------- refused handshakes */

/* A message of the handshake that was refused: the reason, and the address it came
 * from. */
struct rejection {
	char reason[32];
	char from[96];
	uint64_t at;
};

/* Did a refused message come from the peer? One without an endpoint is nowhere, so it
 * may be any. */
static bool is_from_peer(const struct ctl_diagnosis *d,
			 const struct rejection *rejection)
{
	union ctl_address endpoint, from;

	return ctl_endpoint_parse(&from, rejection->from) &&
	       (!ctl_diagnosis_endpoint(d, &endpoint) ||
		ctl_address_is_same(&from, &endpoint));
}

static void tell_wrong_key(struct ctl_diagnosis *d, const char *from)
{
	const char *own = ctl_get(&d->last.device, "own_public_key");
	char key[CTL_KEY_CAP] = "the one that wg show tells here";

	if (own)
		ctl_key_from_hex(key, own);
	ctl_advise(ctl_find(&d->findings, CTL_FAULT, "handshake",
			    "handshakes from %s were made for another public "
			    "key than ours: the other end has a wrong key for "
			    "this one",
			    from),
		   "Its section for this end needs PublicKey = %s", key);
}

static void tell_rejection(struct ctl_diagnosis *d,
			   const struct rejection *rejection)
{
	if (strcmp(rejection->reason, "not_authentic") == 0)
		tell_wrong_key(d, rejection->from);
	if (strcmp(rejection->reason, "unknown_peer") == 0)
		ctl_advise(ctl_find(&d->findings, CTL_FAULT, "handshake",
				    "handshakes from %s have a public key that "
				    "no peer has here: %s may have another key "
				    "than the one configured here",
				    rejection->from, d->title),
			   "Compare with what wg show tells there; here it is "
			   "%s",
			   d->key);
	if (strcmp(rejection->reason, "replayed") == 0)
		ctl_advise(ctl_find(&d->findings, CTL_FAULT, "handshake",
				    "handshakes from %s seem older than one "
				    "that was taken before: the clock of %s "
				    "was set back",
				    rejection->from, d->title),
			   "Set the clock of the peer right. If it was wrong "
			   "before, and too late, remove the peer here and add "
			   "it again.");
}

/*
 * Is there something wrong now? A session that began later says no. But the initiations
 * of a peer whose clock is wrong stay refused if the session began by one of ours. A
 * single initiation that came before may be one that the network has doubled.
 */
static bool is_present(const struct ctl_diagnosis *d,
		       const struct rejection *rejection, uint64_t since)
{
	if (rejection->at + REFUSED_S <= (uint64_t)time(NULL))
		return false;
	if (strcmp(rejection->reason, "replayed") == 0)
		return ctl_number(&d->last.device,
				  "handshakes_dropped_replayed") > 1;
	return rejection->at >= since;
}

/* Responses that do not decrypt are "not_authentic", too, but come from a peer that
 * knows our key: check_handshake() tells them. */
static void check_refused(struct ctl_diagnosis *d, const struct ctl_lines *peer)
{
	const struct ctl_lines *device = &d->last.device;
	uint64_t since = ctl_number(peer, "last_handshake_time_sec");

	for (size_t i = 0; i < device->n; i++) {
		struct rejection rejection;

		if (strcmp(device->all[i].key, "handshake_refused_last") != 0 ||
		    sscanf(device->all[i].value, "%31s %95s %" SCNu64,
			   rejection.reason, rejection.from,
			   &rejection.at) != 3)
			continue;
		if (is_present(d, &rejection, since) &&
		    !ctl_get(peer, "responses_refused") &&
		    is_from_peer(d, &rejection))
			tell_rejection(d, &rejection);
	}
}

/* -------------------------------------------------------------- the handshake */

/* Find out on the outer way why there is no answer. */
static void explain_silence(const struct ctl_diagnosis *d, char *out,
			    size_t cap)
{
	uint32_t mark = (uint32_t)ctl_number(&d->last.device, "fwmark");
	union ctl_address endpoint;
	unsigned int port;
	int err;

	snprintf(out, cap, "nothing tells why");
	if (!d->may_send || !d->ifindex ||
	    !ctl_diagnosis_endpoint(d, &endpoint))
		return;
	port = ctl_address_port(&endpoint);
	err = ctl_knock(&endpoint, mark, KNOCK_MS);
	if (err == -ECONNREFUSED)
		snprintf(out, cap,
			 "that host says that nobody listens on UDP port %u, "
			 "or its firewall rejects it",
			 port);
	else if (err == -EPERM)
		snprintf(out, cap,
			 "a rule of the firewall of this host forbids to send "
			 "there");
	else if (err < 0 && err != -EACCES)
		snprintf(out, cap, "on the way: %s", strerror(-err));
	else if (ctl_ping(&endpoint, CTL_PING_LEN, mark, OUTER_PING_MS) > 0)
		snprintf(out, cap,
			 "that host answers pings, so a firewall blocks UDP "
			 "port %u, no WireGuard has that port, or it does not "
			 "know our key",
			 port);
	else
		snprintf(out, cap,
			 "that host does not answer pings either: it is off, "
			 "has moved, or a firewall blocks all");
}

static void tell_silence(struct ctl_diagnosis *d, const struct ctl_lines *peer)
{
	uint64_t last = ctl_number(peer, "last_handshake_time_sec");
	const char *endpoint = ctl_get(peer, "endpoint");
	char why[CTL_FINDING_CAP / 2], ago[32], before[64] = "";

	explain_silence(d, why, sizeof(why));
	if (last)
		snprintf(before, sizeof(before), " (the last answer was %s)",
			 ctl_ago(ago, sizeof(ago), last, (uint64_t)time(NULL)));
	ctl_advise(
		ctl_find(&d->findings, CTL_FAULT, "handshake",
			 "%s does not answer handshakes at %s%s: %s", d->title,
			 endpoint ? endpoint : "its endpoint", before, why),
		"%s",
		last ? "If it has another address now, set its endpoint, or "
		       "have it send first (PersistentKeepalive there)."
		     : "The other end knows more: wiregatherctl status there "
		       "tells handshakes that it refuses, and why. If it tells "
		       "nothing, they do not arrive: look at its port, and at "
		       "the firewalls on the way.");
}

static void tell_preshared(struct ctl_diagnosis *d)
{
	ctl_advise(ctl_find(&d->findings, CTL_FAULT, "handshake",
			    "%s answers, and its answers do not decrypt: the "
			    "preshared keys differ",
			    d->title),
		   "Both ends need the same PresharedKey, or none.");
}

static void tell_incomplete(struct ctl_diagnosis *d,
			    const struct ctl_lines *peer)
{
	const char *endpoint = ctl_get(peer, "endpoint");

	ctl_advise(ctl_find(&d->findings, CTL_FAULT, "handshake",
			    "%s begins handshakes, gets our answers and does "
			    "not go on (%" PRIu64 " times): the preshared keys "
			    "differ, or our answers do not reach %s",
			    d->title, ctl_number(peer, "responses_unused"),
			    endpoint ? endpoint : "it"),
		   "Compare PresharedKey of both ends; look at the firewalls "
		   "on the way back.");
}

static void check_handshake(struct ctl_diagnosis *d,
			    const struct ctl_lines *peer)
{
	uint64_t last = ctl_number(peer, "last_handshake_time_sec");
	uint64_t now = (uint64_t)time(NULL);
	const char *state = ctl_get(peer, "state");
	bool has_session = ctl_diagnosis_has_session(d);
	char ago[32];

	ctl_ago(ago, sizeof(ago), last, now);
	if (ctl_number(peer, "responses_refused") &&
	    ctl_number(peer, "response_refused_time_sec") >= last)
		tell_preshared(d);
	else if ((state && strcmp(state, "incomplete") == 0) ||
		 (!has_session &&
		  ctl_number(peer, "responses_unused") >= UNUSED_RESPONSES))
		tell_incomplete(d, peer);
	else if (ctl_diagnosis_is_unanswered(d))
		tell_silence(d, peer);
	else if (has_session)
		ctl_find(&d->findings, CTL_FINE, "handshake",
			 "there is a session with %s since %s", d->title, ago);
	else if (last)
		ctl_find(&d->findings, CTL_NOTE, "handshake",
			 "there is no session now; the last one began %s", ago);
	else
		ctl_advise(ctl_find(&d->findings, CTL_NOTE, "handshake",
				    "no handshake with %s was tried", d->title),
			   "Name an address behind it, so that this command "
			   "can try to reach it.");
}

/* ------------------------------------------------------------- inner packets */

static void check_source(struct ctl_diagnosis *d, const struct ctl_lines *peer)
{
	const char *last = ctl_get(peer, "disallowed_source_last");
	uint64_t now = (uint64_t)time(NULL), at;
	char source[64], ago[32];

	if (!last || sscanf(last, "%63s %" SCNu64, source, &at) != 2)
		return;
	ctl_advise(ctl_find(&d->findings,
			    at + REFUSED_S > now ? CTL_FAULT : CTL_NOTE,
			    "source",
			    "packets of %s are dropped, because their source "
			    "is not in its allowed IPs here: %s (%" PRIu64
			    " packets, the last %s)",
			    d->title, source,
			    ctl_number(peer, "dropped_disallowed_source"),
			    ctl_ago(ago, sizeof(ago), at, now)),
		   "Add %s to its AllowedIPs here, or have it send from an "
		   "address that is there.",
		   source);
}

static void tell_no_answer(struct ctl_diagnosis *d, const char *target)
{
	char source[CTL_ADDRESS_CAP] = "our address";
	struct ctl_route route;

	if (ctl_route_get(&route, &d->target, 0) == 0 &&
	    route.source.any.sa_family != AF_UNSPEC)
		ctl_address_print(source, &route.source);
	ctl_advise(ctl_find(&d->findings, CTL_FAULT, "answer",
			    "%s takes our packets, but %s does not answer "
			    "pings: perhaps %s is not in the allowed IPs that "
			    "it has for this end, or its firewall drops pings",
			    d->title, target, source),
		   "wiregatherctl status there tells packets whose source is "
		   "not in the allowed IPs. Is there a host %s?",
		   target);
}

static void check_answer(struct ctl_diagnosis *d)
{
	char target[CTL_ADDRESS_CAP];

	if (!d->has_pinged) {
		ctl_find(&d->findings, CTL_SKIPPED, "answer",
			 d->may_send ? "no ping was sent: there is no address, "
				       "no way to it, or no right to ping"
				     : "no ping was sent, as --passive says");
		return;
	}
	ctl_address_print(target, &d->target);
	if (d->answer > 0)
		ctl_find(&d->findings, CTL_FINE, "answer", "%s answers pings",
			 target);
	else if (!ctl_diagnosis_has_session(d) ||
		 ctl_findings_cause(&d->findings))
		ctl_find(&d->findings, CTL_NOTE, "answer",
			 "%s does not answer pings", target);
	else if (d->answer < 0)
		ctl_find(&d->findings, CTL_FAULT, "answer",
			 "a ping to %s ends with an error: %s", target,
			 strerror(-d->answer));
	else
		tell_no_answer(d, target);
}

/* ----------------------------------------------------------------- full packets */

/* Return: 1: a ping of @len bytes has an answer; 0: it has none; -EMSGSIZE: it was
 * refused. */
static int passes(const struct ctl_diagnosis *d, size_t len)
{
	int r = 0;

	for (int i = 0; i < FULL_TRIES && r == 0; i++)
		r = ctl_ping(&d->target, len, 0, FULL_PING_MS);
	return r;
}

/* The largest size that passes, if @len does not. */
static size_t search(const struct ctl_diagnosis *d, size_t len)
{
	size_t low = CTL_PING_LEN, high = len;

	while (high - low > SIZE_STEP) {
		size_t middle =
			(low + (high - low) / 2) / SIZE_STEP * SIZE_STEP;

		if (middle <= low)
			break;
		if (passes(d, middle) > 0)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static void check_size(struct ctl_diagnosis *d)
{
	size_t mtu = (size_t)ctl_number(&d->last.device, "mtu"), most;
	int r;

	if (d->answer <= 0 || mtu <= CTL_PING_LEN)
		return;
	r = passes(d, mtu);
	if (r > 0) {
		ctl_find(&d->findings, CTL_FINE, "size",
			 "packets of %zu bytes pass", mtu);
		return;
	}
	if (r == -EMSGSIZE) {
		ctl_find(&d->findings, CTL_NOTE, "size",
			 "packets of %zu bytes are too long for the way, and "
			 "the senders are told so",
			 mtu);
		return;
	}
	most = search(d, mtu);
	/* If short ones are lost, too, the size is not the cause. */
	if (passes(d, CTL_PING_LEN) <= 0)
		return;
	ctl_advise(ctl_find(&d->findings, CTL_FAULT, "size",
			    "the MTU is too big: packets of %zu bytes are lost "
			    "without a word (ICMP is filtered), those of %zu "
			    "pass",
			    mtu, most),
		   "ip link set %s mtu %zu; for wg-quick: MTU = %zu",
		   d->interface, most, most);
}

static void check_trains(struct ctl_diagnosis *d, const struct ctl_lines *peer)
{
	const char *segments = ctl_get(&d->last.device, "segments_ipv4");

	if (ctl_number(peer, "trains_stopped"))
		ctl_advise(ctl_find(&d->findings, CTL_FAULT, "segmentation",
				    "segmented sends to %s are lost on the "
				    "way, so datagrams leave one by one: all "
				    "works, more slowly",
				    d->title),
			   "Look for a firewall or a virtual switch that drops "
			   "packets above the MTU; segmentation is tried again "
			   "by itself.");
	else if (segments)
		ctl_find(&d->findings, CTL_FINE, "segmentation",
			 "up to %s datagrams leave at once", segments);
}

void ctl_check_peer(struct ctl_diagnosis *d)
{
	const struct ctl_peer *peer = ctl_diagnosis_peer(d);

	if (!peer)
		return;
	check_refused(d, &peer->lines);
	if (ctl_get(&peer->lines, "endpoint"))
		check_handshake(d, &peer->lines);
	check_source(d, &peer->lines);
	check_answer(d);
	check_size(d);
	check_trains(d, &peer->lines);
}
