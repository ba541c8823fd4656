/* SPDX-License-Identifier: MIT */
/* Each kind of line has a limit of its own, so that a flood of one kind hides no
 * other kind. docs/wiregather.md has a table of the lines. */
#include "engine/events.h"

#include <arpa/inet.h>

#include "base/ip.h"
#include "base/log.h"
#include "engine/endpoint.h"
#include "engine/thread.h"

/* Why a message was dropped, in words. */
static const char *const reasons[DROP_REASONS] = {
	[DROP_NONE] = "more messages than can be handled",
	[DROP_BAD_MESSAGE] = "it is no message of WireGuard",
	[DROP_NO_INDEX] = "it belongs to no session or handshake here",
	[DROP_EXPIRED] = "its session is too old",
	[DROP_FORGED] = "it does not decrypt",
	[DROP_REPLAYED] = "it came before, or is too old",
	[DROP_BAD_PACKET] = "there is no IP packet inside",
	[DROP_BAD_SOURCE] = "its inner source is not the peer's",
	[DROP_UNKNOWN_PEER] = "no peer has its public key",
	[DROP_RATE_LIMIT] = "too many handshakes",
	[DROP_NEEDS_COOKIE] = "under load it must show a cookie first",
	[DROP_BAD_HANDSHAKE] =
		"it was not expected now, or its key is unusable",
	[DROP_NO_MEMORY] = "no memory",
};

static const char *print(const struct ug_endpoint *ep,
			 char text[ENDPOINT_NUMERIC_TEXT])
{
	if (ep->addr.any.sa_family == AF_UNSPEC)
		return "nowhere";
	endpoint_print_numeric(ep, text, ENDPOINT_NUMERIC_TEXT);
	return text;
}

/* The peer's present endpoint, in words. */
static const char *where(const struct peer *peer,
			 char text[ENDPOINT_NUMERIC_TEXT])
{
	struct device_endpoint now;
	struct ug_endpoint ep = { 0 };

	if (endpoint_cell_get(&peer->endpoint, &now))
		endpoint_learnt(&ep, &now);
	return print(&ep, text);
}

/* A new endpoint may have the old address and port, and a new source only. */
static void tell_endpoint(const struct peer *peer,
			  const struct device_endpoint *was)
{
	static struct log_limit limit;
	char before[ENDPOINT_NUMERIC_TEXT], after[ENDPOINT_NUMERIC_TEXT];
	struct device_endpoint now;
	struct ug_endpoint old, new;

	if (!endpoint_cell_get(&peer->endpoint, &now))
		return;
	endpoint_learnt(&old, was);
	endpoint_learnt(&new, &now);
	if (ug_endpoint_compare(&old, &new))
		log_limited(&limit, "endpoint of %s is now %s, was %s",
			    thread_peer_name(peer), print(&new, after),
			    print(&old, before));
}

void events_tell(enum device_event event, struct peer *peer,
		 const struct device_endpoint *was)
{
	static struct log_limit changes, silent, ended, incomplete, sessions;
	const char *name = thread_peer_name(peer);
	char at[ENDPOINT_NUMERIC_TEXT];

	if (!log_has_events())
		return;
	switch (event) {
	case DEVICE_PEER_ADDED:
		log_limited(&changes, "peer %s added", name);
		break;
	case DEVICE_PEER_CHANGED:
		log_limited(&changes, "peer %s changed", name);
		break;
	case DEVICE_PEER_REMOVED:
		log_limited(&changes, "peer %s removed", name);
		break;
	case DEVICE_ENDPOINT_CHANGED:
		tell_endpoint(peer, was);
		break;
	case DEVICE_PEER_SILENT:
		log_limited(
			&silent,
			"%s does not answer: %d handshake initiations to %s "
			"had no response",
			name, TIMERS_SILENT_TRIES, where(peer, at));
		break;
	case DEVICE_ATTEMPT_ENDED:
		log_limited(
			&ended,
			"%s did not answer for %d s: waiting packets are "
			"dropped, no more initiations until there are new ones",
			name, REKEY_ATTEMPT_TIME);
		break;
	case DEVICE_HANDSHAKES_INCOMPLETE:
		log_limited(
			&incomplete,
			"%s does not complete handshakes: %d initiations were "
			"answered, and no session began; is the preshared key "
			"the same, and do answers arrive at %s?",
			name, DEVICE_INCOMPLETE_HANDSHAKES, where(peer, at));
		break;
	case DEVICE_SESSION_ENDED:
		log_limited(&sessions, "session with %s ended: not renewed",
			    name);
		break;
	}
}

/* What an initiation or a response is refused for. */
static const char *refusal(const void *msg, size_t len, enum drop_reason reason)
{
	if (reason != DROP_FORGED)
		return reasons[reason];
	return message_check(msg, len) == MESSAGE_INITIATION
		       ? "it was not made for our public key, or is damaged"
		       : "it does not decrypt; is the preshared key the same?";
}

void events_refused(const struct ug_endpoint *from, const void *msg, size_t len,
		    enum drop_reason reason)
{
	static struct log_limit limits[DROP_REASONS];
	char text[ENDPOINT_NUMERIC_TEXT];
	const char *kind = "cookie reply";

	if (!log_has_events())
		return;
	if (message_check(msg, len) == MESSAGE_INITIATION)
		kind = "handshake initiation";
	else if (message_check(msg, len) == MESSAGE_RESPONSE)
		kind = "handshake response";
	log_limited(&limits[reason], "refused %s from %s: %s", kind,
		    print(from, text), refusal(msg, len, reason));
}

/* The source or the destination of a packet, in words. */
static const char *inner(const uint8_t *packet, bool is_source,
			 char text[INET6_ADDRSTRLEN])
{
	if (*packet >> 4 == IP_V4)
		return inet_ntop(AF_INET,
				 is_source ? ipv4_view(packet)->saddr
					   : ipv4_view(packet)->daddr,
				 text, INET6_ADDRSTRLEN);
	return inet_ntop(AF_INET6,
			 is_source ? ipv6_view(packet)->saddr
				   : ipv6_view(packet)->daddr,
			 text, INET6_ADDRSTRLEN);
}

void events_dropped(const struct peer *peer, const struct ug_endpoint *from,
		    const uint8_t *packet, enum drop_reason reason,
		    unsigned int n)
{
	static struct log_limit limits[DROP_REASONS];
	const char *s = n == 1 ? "" : "s", *name = thread_peer_name(peer);
	char at[ENDPOINT_NUMERIC_TEXT], source[INET6_ADDRSTRLEN];

	if (!log_has_events())
		return;
	if (reason == DROP_BAD_SOURCE)
		log_limited(
			&limits[reason],
			"dropped %u packet%s of %s: source %s is not its own",
			n, s, name, inner(packet, true, source));
	else
		log_limited(&limits[reason],
			    "dropped %u message%s of %s from %s: %s", n, s,
			    name, print(from, at), reasons[reason]);
}

void events_stranger(const struct ug_endpoint *from, enum drop_reason reason)
{
	static struct log_limit limits[DROP_REASONS];
	char text[ENDPOINT_NUMERIC_TEXT];

	if (!log_has_events())
		return;
	log_limited(&limits[reason], "dropped a datagram from %s: %s",
		    print(from, text), reasons[reason]);
}

void events_no_way(const uint8_t *packet, const struct peer *peer)
{
	static struct log_limit no_peer, no_endpoint;
	char to[INET6_ADDRSTRLEN];

	if (!log_has_events())
		return;
	if (peer)
		log_limited(&no_endpoint,
			    "dropped a packet to %s: %s has no endpoint",
			    inner(packet, false, to), thread_peer_name(peer));
	else
		log_limited(
			&no_peer,
			"dropped a packet to %s: no peer has it in its allowed "
			"IPs",
			inner(packet, false, to));
}
