/* SPDX-License-Identifier: MIT */
#include "ctl/attention.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
	MINUTE = 60,
	HOUR = 60 * MINUTE,
	DAY = 24 * HOUR,
	/* A log whose reader has waited for so long, in seconds, is stalled. A
	 * choice. */
	STALLED_S = 2,
	/* Two hosts have the key of a peer, if its endpoint goes back so often, and
	 * has moved within so many seconds. Choices. */
	MANY_RETURNS = 3,
	MOVED_S = 60,
};

/* Where the lines go. */
struct teller {
	void (*tell)(void *arg, const char *text);
	void *arg;
	uint64_t now;
};

static void tell(const struct teller *t, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void tell(const struct teller *t, const char *format, ...)
{
	char text[CTL_ATTENTION_CAP];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	t->tell(t->arg, text);
}

const char *ctl_span(char *out, size_t cap, uint64_t s)
{
	if (s < MINUTE)
		snprintf(out, cap, "%" PRIu64 " s", s);
	else if (s < HOUR)
		snprintf(out, cap, "%" PRIu64 " min", s / MINUTE);
	else if (s < DAY)
		snprintf(out, cap, "%" PRIu64 " h %" PRIu64 " min", s / HOUR,
			 s % HOUR / MINUTE);
	else
		snprintf(out, cap, "%" PRIu64 " d %" PRIu64 " h", s / DAY,
			 s % DAY / HOUR);
	return out;
}

const char *ctl_ago(char *out, size_t cap, uint64_t then, uint64_t now)
{
	char span[24];

	/* The clock may have been set back meanwhile. */
	if (then >= now)
		snprintf(out, cap, "now");
	else
		snprintf(out, cap, "%s ago",
			 ctl_span(span, sizeof(span), now - then));
	return out;
}

const char *ctl_title(char *out, size_t cap, const struct ctl_peer *peer)
{
	if (*peer->name)
		snprintf(out, cap, "%s", peer->name);
	else
		snprintf(out, cap, "%.8s...", peer->key);
	return out;
}

static void look_at_device(const struct teller *t,
			   const struct ctl_lines *device)
{
	const char *why = ctl_get(device, "listen_error");
	uint64_t received = ctl_number(device, "udp_socket_dropped_ipv4") +
			    ctl_number(device, "udp_socket_dropped_ipv6");
	const char *limit;
	char ago[32];

	if (why)
		tell(t, "cannot listen on port %s: %s; trying each second",
		     ctl_get(device, "listen_port"), why);
	if (ctl_number(device, "log_blocked_sec") >= STALLED_S)
		tell(t,
		     "the log stalls: its reader has taken nothing for %s, and "
		     "%" PRIu64 " lines are lost; the tunnel goes on",
		     ctl_span(ago, sizeof(ago),
			      ctl_number(device, "log_blocked_sec")),
		     ctl_number(device, "log_lines_lost"));
	limit = ctl_get(device, "errmsg");
	if (limit)
		tell(t, "a configuration was refused: %s (%s)", limit,
		     ctl_ago(ago, sizeof(ago),
			     ctl_number(device, "errmsg_time_sec"), t->now));
	if (ctl_number(device, "outbound_dropped_routing_loop"))
		tell(t,
		     "%" PRIu64 " of our own datagrams came back through the "
		     "interface: the only route to an endpoint leads into "
		     "the tunnel",
		     ctl_number(device, "outbound_dropped_routing_loop"));
	if (ctl_number(device, "trains_lost") >
	    ctl_number(device, "trains_back"))
		tell(t,
		     "segmented sends are lost on the way to a peer: all works, "
		     "more slowly");
	if (ctl_number(device, "outbound_dropped_socket_full"))
		tell(t,
		     "%" PRIu64 " packets were dropped because the send buffer "
		     "of the socket was full: more is sent than the link takes",
		     ctl_number(device, "outbound_dropped_socket_full"));
	if (received)
		tell(t,
		     "%" PRIu64
		     " messages were lost because the receive buffer "
		     "of the socket was full: they came faster than this host "
		     "decrypts them",
		     received);
	if (ctl_number(device, "outbound_dropped_no_peer"))
		tell(t,
		     "%" PRIu64
		     " packets went to addresses that no peer has in "
		     "its allowed IPs",
		     ctl_number(device, "outbound_dropped_no_peer"));
	if (ctl_number(device, "outbound_dropped_no_endpoint"))
		tell(t,
		     "%" PRIu64 " packets went to peers that have no endpoint",
		     ctl_number(device, "outbound_dropped_no_endpoint"));
}

/* What a reason of refused handshakes means for people; NULL: nothing to do. */
static const char *meaning(const char *reason)
{
	static const struct {
		const char *reason, *text;
	} table[] = {
		{ "unknown_peer", "handshakes of unknown keys" },
		{ "not_authentic",
		  "handshakes that were made for another public key or with "
		  "another preshared key" },
		{ "replayed",
		  "handshakes that are not newer than earlier ones: is "
		  "the peer's clock right?" },
		{ "needs_cookie",
		  "handshakes of a flood, which got a cookie as an answer" },
		{ "rate_limited", "handshakes too many from one address" },
		{ "queue_full", "handshakes more than can be handled" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(table[i].reason, reason) == 0)
			return table[i].text;
	return NULL;
}

/* A line "REASON ADDRESS TIME" about the last refused handshake. */
static void look_at_refusal(const struct teller *t,
			    const struct ctl_lines *device, const char *value)
{
	char reason[32], address[96], key[64], ago[32];
	uint64_t then;

	if (sscanf(value, "%31s %95s %" SCNu64, reason, address, &then) != 3 ||
	    !meaning(reason))
		return;
	snprintf(key, sizeof(key), "handshakes_dropped_%s", reason);
	tell(t, "%" PRIu64 " %s (last from %s, %s)", ctl_number(device, key),
	     meaning(reason), address, ctl_ago(ago, sizeof(ago), then, t->now));
}

/* What the kernel, or the host of the peer, has against our messages. */
static void look_at_way(const struct teller *t, const struct ctl_peer *peer,
			const char *title)
{
	const char *error = ctl_get(&peer->lines, "send_error_last");
	const char *was = ctl_get(&peer->lines, "endpoint_was");
	uint64_t moved = ctl_number(&peer->lines, "endpoint_moved_time_sec");
	char ago[32];
	uint64_t then;
	int n = 0;

	if (error && sscanf(error, "%*d %" SCNu64 " %n", &then, &n) == 1 && n &&
	    then >= ctl_number(&peer->lines, "last_handshake_time_sec"))
		tell(t, "the kernel refuses to send to %s: %s (%s)", title,
		     error + n, ctl_ago(ago, sizeof(ago), then, t->now));
	if (ctl_number(&peer->lines, "responses_refused") &&
	    ctl_number(&peer->lines, "response_refused_time_sec") >=
		    ctl_number(&peer->lines, "last_handshake_time_sec"))
		tell(t,
		     "the answers of %s do not decrypt: the preshared keys "
		     "differ",
		     title);
	if (was && moved + MOVED_S > t->now &&
	    ctl_number(&peer->lines, "endpoint_returns") >= MANY_RETURNS)
		tell(t,
		     "two hosts seem to use the key of %s: its endpoint goes "
		     "back and forth between %s and %s",
		     title, ctl_get(&peer->lines, "endpoint"), was);
}

static void look_at_peer(const struct teller *t, const struct ctl_peer *peer)
{
	const char *state = ctl_get(&peer->lines, "state");
	const char *endpoint = ctl_get(&peer->lines, "endpoint");
	const char *bad = ctl_get(&peer->lines, "disallowed_source_last");
	char title[CTL_NAME_CAP], address[64], ago[32];
	uint64_t then;

	ctl_title(title, sizeof(title), peer);
	look_at_way(t, peer, title);
	if (state && strcmp(state, "silent") == 0)
		tell(t, "%s does not answer at %s", title,
		     endpoint ? endpoint : "no endpoint");
	if (state && strcmp(state, "incomplete") == 0)
		tell(t,
		     "%s does not complete handshakes: is the preshared key the "
		     "same, and do answers arrive at %s?",
		     title, endpoint ? endpoint : "no endpoint");
	if (bad && sscanf(bad, "%63s %" SCNu64, address, &then) == 2)
		tell(t,
		     "%" PRIu64
		     " packets of %s had a source that is not its own "
		     "(last %s, %s)",
		     ctl_number(&peer->lines, "dropped_disallowed_source"),
		     title, address, ctl_ago(ago, sizeof(ago), then, t->now));
}

void ctl_attention(const struct ctl_snapshot *s, uint64_t now,
		   void (*tell_line)(void *arg, const char *text), void *arg)
{
	const struct teller t = { tell_line, arg, now };

	look_at_device(&t, &s->device);
	for (size_t i = 0; i < s->device.n; i++)
		if (strcmp(s->device.all[i].key, "handshake_refused_last") == 0)
			look_at_refusal(&t, &s->device, s->device.all[i].value);
	for (size_t i = 0; i < s->n_peers; i++)
		look_at_peer(&t, &s->peers[i]);
}
