/* SPDX-License-Identifier: MIT */
/*
 * Each kind of line has a limit of its own, so that a flood of one kind hides no
 * other kind. docs/wiregather.md has a table of the lines.
 *
 * Most events cost nothing if nobody wants to know: no line is printed, and the feed
 * has no reader. Only the notes are always made.
 */
#include "engine/events.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/counter.h"
#include "base/ip.h"
#include "base/now.h"
#include "engine/endpoint.h"
#include "engine/thread.h"

/*
 * Why a message was dropped: the name that the statistics have, which never changes,
 * and the words of the log.
 */
static const struct {
	const char *name;
	const char *words;
} reasons[DROP_REASONS] = {
	[DROP_NONE] = { "queue_full", "more messages than can be handled" },
	[DROP_BAD_MESSAGE] = { "malformed", "it is no message of WireGuard" },
	[DROP_NO_INDEX] = { "unknown_index",
			    "it belongs to no session or handshake here" },
	[DROP_EXPIRED] = { "expired", "its session is too old" },
	[DROP_FORGED] = { "not_authentic", "it does not decrypt" },
	[DROP_REPLAYED] = { "replayed", "it came before, or is too old" },
	[DROP_BAD_PACKET] = { "not_ip", "there is no IP packet inside" },
	[DROP_BAD_SOURCE] = { "disallowed_source",
			      "its inner source is not the peer's" },
	[DROP_UNKNOWN_PEER] = { "unknown_peer", "no peer has its public key" },
	[DROP_RATE_LIMIT] = { "rate_limited", "too many handshakes" },
	[DROP_NEEDS_COOKIE] = { "needs_cookie",
				"under load it must show a cookie first" },
	[DROP_BAD_HANDSHAKE] = { "unexpected",
				 "it was not expected now, or its "
				 "key is unusable" },
	[DROP_NO_MEMORY] = { "no_memory", "no memory" },
};

const char *events_reason(enum drop_reason reason)
{
	return reasons[reason].name;
}

void events_init(struct events *ev, void (*wake)(void *arg), void *arg)
{
	memset(ev, 0, sizeof(*ev));
	pthread_mutex_init(&ev->mutex, NULL);
	feed_init(&ev->feed, wake, arg);
}

void events_deinit(struct events *ev)
{
	feed_deinit(&ev->feed);
	pthread_mutex_destroy(&ev->mutex);
}

bool events_get_last(struct events *ev, enum drop_reason reason,
		     struct events_last *last)
{
	pthread_mutex_lock(&ev->mutex);
	*last = ev->last[reason];
	pthread_mutex_unlock(&ev->mutex);
	return last->realtime != 0;
}

/* ------------------------------------------------------------ for the feed */

static bool is_read(const struct events *ev)
{
	return ev && feed_is_read(&ev->feed);
}

static void put(struct events *ev, const struct feed_event *event)
{
	if (is_read(ev))
		feed_put(&ev->feed, event);
}

static void name_peer(struct feed_event *event, const struct peer *peer)
{
	memcpy(event->peer, peer->public_key, sizeof(event->peer));
	event->has_peer = true;
}

/* An event about a peer, for the feed and for the peer's trace. */
static void put_peer(struct events *ev, struct feed_event *event,
		     struct peer *peer)
{
	struct peer_notes *notes = &peer->notes;
	uint32_t i = atomic_fetch_add_explicit(&notes->n_events, 1,
					       memory_order_relaxed);

	atomic_store_explicit(&notes->trace[i % PEER_TRACE_LEN],
			      now_realtime() / NSEC_PER_MSEC << 16 |
				      (uint64_t)event->kind,
			      memory_order_relaxed);
	name_peer(event, peer);
	put(ev, event);
}

/*
 * Count @n drops for the feed. Return: true if the feed may tell them now; then
 * event->value is how many there were since it told the last ones.
 */
static bool take_drops(struct events *ev, enum events_drop what,
		       enum drop_reason reason, unsigned int n,
		       struct feed_event *event)
{
	struct events_drops *drops = &ev->drops[what][reason];
	uint32_t n_suppressed;
	bool may;

	pthread_mutex_lock(&ev->mutex);
	drops->n += n;
	may = log_limit_take(&drops->limit, now_monotonic(), &n_suppressed);
	if (may) {
		event->value = drops->n;
		drops->n = 0;
	}
	pthread_mutex_unlock(&ev->mutex);
	event->reason = reasons[reason].name;
	return may;
}

/* ------------------------------------------------------------------- words */

static const char *print(const struct ug_endpoint *ep,
			 char text[ENDPOINT_NUMERIC_TEXT])
{
	if (ep->addr.any.sa_family == AF_UNSPEC)
		return "nowhere";
	endpoint_print_numeric(ep, text, ENDPOINT_NUMERIC_TEXT);
	return text;
}

/* The peer's present endpoint; all zero if it has none. */
static struct ug_endpoint endpoint_of(const struct peer *peer)
{
	struct ug_endpoint ep = { 0 };
	struct device_endpoint now;

	if (endpoint_cell_get(&peer->endpoint, &now))
		endpoint_learnt(&ep, &now);
	return ep;
}

/* The source or the destination of a packet. */
static const uint8_t *inner(const uint8_t *packet, bool is_source)
{
	if (*packet >> 4 == IP_V4)
		return is_source ? ipv4_view(packet)->saddr
				 : ipv4_view(packet)->daddr;
	return is_source ? ipv6_view(packet)->saddr : ipv6_view(packet)->daddr;
}

static const char *print_inner(const uint8_t *packet, bool is_source,
			       char text[INET6_ADDRSTRLEN])
{
	return inet_ntop(*packet >> 4 == IP_V4 ? AF_INET : AF_INET6,
			 inner(packet, is_source), text, INET6_ADDRSTRLEN);
}

static void set_inner(struct feed_event *event, const uint8_t *packet,
		      bool is_source)
{
	event->inner_version = *packet >> 4;
	memcpy(event->inner, inner(packet, is_source),
	       event->inner_version == IP_V4 ? 4 : 16);
}

/* --------------------------------------------------------------- the events */

static void note_move(struct peer *peer, const struct device_endpoint *was,
		      const struct ug_endpoint *now)
{
	struct peer_notes *notes = &peer->notes;
	struct device_endpoint before;
	struct ug_endpoint ep;

	if (endpoint_cell_get(&notes->was, &before)) {
		endpoint_learnt(&ep, &before);
		if (!ug_endpoint_compare(&ep, now))
			counter_add(&notes->n_returns, 1);
	}
	endpoint_cell_set(&notes->was, was);
	counter_add(&notes->n_moves, 1);
	atomic_store_explicit(&notes->moved_at, now_realtime(),
			      memory_order_relaxed);
}

/* A new endpoint may have the old address and port, and a new source only. */
static void tell_endpoint(struct events *ev, struct peer *peer,
			  const struct device_endpoint *was)
{
	static struct log_limit limit;
	char before[ENDPOINT_NUMERIC_TEXT], after[ENDPOINT_NUMERIC_TEXT];
	struct feed_event event = { .kind = FEED_ENDPOINT };

	event.endpoint = endpoint_of(peer);
	endpoint_learnt(&event.was, was);
	if (!ug_endpoint_compare(&event.was, &event.endpoint))
		return;
	/* A peer without an endpoint has not moved: it is heard for the first
	 * time. */
	if (event.was.addr.any.sa_family != AF_UNSPEC)
		note_move(peer, was, &event.endpoint);
	put_peer(ev, &event, peer);
	if (log_has_events())
		log_limited(&limit, "endpoint of %s is now %s, was %s",
			    thread_peer_name(peer),
			    print(&event.endpoint, after),
			    print(&event.was, before));
}

/* The event of the feed for an event of the device. */
static enum feed_kind kind_of(enum device_event event)
{
	switch (event) {
	case DEVICE_PEER_ADDED:
		return FEED_PEER_ADDED;
	case DEVICE_PEER_CHANGED:
		return FEED_PEER_CHANGED;
	case DEVICE_PEER_REMOVED:
		return FEED_PEER_REMOVED;
	case DEVICE_HANDSHAKES_INCOMPLETE:
		return FEED_INCOMPLETE;
	case DEVICE_SESSION_ENDED:
		return FEED_ENDED;
	case DEVICE_ENDPOINT_CHANGED:
	case DEVICE_PEER_SILENT:
	case DEVICE_ATTEMPT_ENDED:
	default:
		return FEED_STALLED;
	}
}

static void log_peer(enum device_event event, const struct peer *peer)
{
	static struct log_limit changes, silent, ended, incomplete, sessions;
	const struct ug_endpoint ep = endpoint_of(peer);
	const char *name = thread_peer_name(peer);
	char at[ENDPOINT_NUMERIC_TEXT];

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
	case DEVICE_PEER_SILENT:
		log_limited(
			&silent,
			"%s does not answer: %d handshake initiations to %s "
			"had no response",
			name, TIMERS_SILENT_TRIES, print(&ep, at));
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
			name, DEVICE_INCOMPLETE_HANDSHAKES, print(&ep, at));
		break;
	case DEVICE_SESSION_ENDED:
		log_limited(&sessions, "session with %s ended: not renewed",
			    name);
		break;
	case DEVICE_ENDPOINT_CHANGED:
	default:
		break;
	}
}

void events_tell(struct events *ev, enum device_event event, struct peer *peer,
		 const struct device_endpoint *was)
{
	struct feed_event told = { .kind = kind_of(event) };

	if (event == DEVICE_ENDPOINT_CHANGED) {
		tell_endpoint(ev, peer, was);
		return;
	}
	if (event == DEVICE_PEER_SILENT)
		atomic_store_explicit(&peer->notes.is_silent, true,
				      memory_order_relaxed);
	if (event == DEVICE_HANDSHAKES_INCOMPLETE)
		atomic_store_explicit(&peer->notes.is_incomplete, true,
				      memory_order_relaxed);
	told.endpoint = endpoint_of(peer);
	put_peer(ev, &told, peer);
	if (log_has_events())
		log_peer(event, peer);
}

void events_initiated(struct peer *peer)
{
	static struct log_limit limit;

	counter_add(&peer->notes.n_unanswered, 1);
	atomic_store_explicit(&peer->notes.initiation_at, now_realtime(),
			      memory_order_relaxed);
	log_limited(&limit, "sent handshake initiation to %s",
		    thread_peer_name(peer));
}

void events_send_failed(struct peer *peer, int err)
{
	static struct log_limit limit;

	atomic_store_explicit(&peer->notes.send_error, -err,
			      memory_order_relaxed);
	atomic_store_explicit(&peer->notes.send_error_at, now_realtime(),
			      memory_order_relaxed);
	log_limited(&limit, "cannot send to %s: %s", thread_peer_name(peer),
		    strerror(-err));
}

void events_established(struct events *ev, struct peer *peer, bool is_initiator)
{
	static struct log_limit limit;
	struct feed_event event = {
		.kind = FEED_ESTABLISHED,
		.reason = is_initiator ? "initiator" : "responder",
		.endpoint = endpoint_of(peer),
	};

	atomic_store_explicit(&peer->notes.is_silent, false,
			      memory_order_relaxed);
	atomic_store_explicit(&peer->notes.is_incomplete, false,
			      memory_order_relaxed);
	atomic_store_explicit(&peer->notes.n_unanswered, 0,
			      memory_order_relaxed);
	put_peer(ev, &event, peer);
	log_limited(&limit, "session with %s established as %s",
		    thread_peer_name(peer), event.reason);
}

/* What an initiation or a response is refused for. */
static const char *refusal(const void *msg, size_t len, enum drop_reason reason)
{
	if (reason != DROP_FORGED)
		return reasons[reason].words;
	return message_check(msg, len) == MESSAGE_INITIATION
		       ? "it was not made for our public key, or is damaged"
		       : "it does not decrypt; is the preshared key the same?";
}

static void note_refused(struct events *ev, const struct ug_endpoint *from,
			 enum drop_reason reason)
{
	struct feed_event event = { .kind = FEED_REFUSED, .endpoint = *from };

	pthread_mutex_lock(&ev->mutex);
	ev->last[reason].from = *from;
	ev->last[reason].realtime = now_realtime();
	pthread_mutex_unlock(&ev->mutex);
	if (is_read(ev) && take_drops(ev, EVENTS_REFUSED, reason, 1, &event))
		put(ev, &event);
}

void events_refused(struct events *ev, const struct ug_endpoint *from,
		    const void *msg, size_t len, enum drop_reason reason)
{
	static struct log_limit limits[DROP_REASONS];
	char text[ENDPOINT_NUMERIC_TEXT];
	const char *kind = "cookie reply";

	if (ev)
		note_refused(ev, from, reason);
	if (!log_has_events())
		return;
	if (message_check(msg, len) == MESSAGE_INITIATION)
		kind = "handshake initiation";
	else if (message_check(msg, len) == MESSAGE_RESPONSE)
		kind = "handshake response";
	log_limited(&limits[reason], "refused %s from %s: %s", kind,
		    print(from, text), refusal(msg, len, reason));
}

static void note_bad_source(struct peer *peer, const uint8_t *packet,
			    unsigned int n)
{
	struct peer_notes *notes = &peer->notes;
	uint64_t words[2] = { 0 };

	memcpy(words, inner(packet, true), *packet >> 4 == IP_V4 ? 4 : 16);
	atomic_fetch_add_explicit(&notes->n_bad_source, n,
				  memory_order_relaxed);
	atomic_store_explicit(&notes->bad_source[0], words[0],
			      memory_order_relaxed);
	atomic_store_explicit(&notes->bad_source[1], words[1],
			      memory_order_relaxed);
	atomic_store_explicit(&notes->bad_source_version,
			      (uint32_t)*packet >> 4, memory_order_relaxed);
	atomic_store_explicit(&notes->bad_source_at, now_realtime(),
			      memory_order_relaxed);
}

void events_dropped(struct events *ev, struct peer *peer,
		    const struct ug_endpoint *from, const uint8_t *packet,
		    enum drop_reason reason, unsigned int n)
{
	static struct log_limit limits[DROP_REASONS];
	const char *s = n == 1 ? "" : "s", *name = thread_peer_name(peer);
	struct feed_event event = { .kind = FEED_DROPPED, .endpoint = *from };
	char at[ENDPOINT_NUMERIC_TEXT], source[INET6_ADDRSTRLEN];

	if (reason == DROP_BAD_SOURCE) {
		note_bad_source(peer, packet, n);
		set_inner(&event, packet, true);
	}
	name_peer(&event, peer);
	if (is_read(ev) && take_drops(ev, EVENTS_DATA, reason, n, &event))
		put(ev, &event);
	if (!log_has_events())
		return;
	if (reason == DROP_BAD_SOURCE)
		log_limited(
			&limits[reason],
			"dropped %u packet%s of %s: source %s is not its own",
			n, s, name, print_inner(packet, true, source));
	else
		log_limited(&limits[reason],
			    "dropped %u message%s of %s from %s: %s", n, s,
			    name, print(from, at), reasons[reason].words);
}

void events_stranger(struct events *ev, const struct ug_endpoint *from,
		     enum drop_reason reason)
{
	static struct log_limit limits[DROP_REASONS];
	struct feed_event event = { .kind = FEED_DROPPED, .endpoint = *from };
	char text[ENDPOINT_NUMERIC_TEXT];

	if (is_read(ev) && take_drops(ev, EVENTS_STRANGER, reason, 1, &event))
		put(ev, &event);
	if (log_has_events())
		log_limited(&limits[reason], "dropped a datagram from %s: %s",
			    print(from, text), reasons[reason].words);
}

void events_no_way(struct events *ev, const uint8_t *packet,
		   const struct peer *peer)
{
	static struct log_limit no_peer, no_endpoint;
	struct feed_event event = { .kind = FEED_DROPPED };
	char to[INET6_ADDRSTRLEN];

	set_inner(&event, packet, false);
	if (peer)
		name_peer(&event, peer);
	if (is_read(ev) &&
	    take_drops(ev, EVENTS_OUTBOUND,
		       peer ? DROP_BAD_PACKET : DROP_UNKNOWN_PEER, 1, &event)) {
		event.reason = peer ? "no_endpoint" : "no_peer";
		put(ev, &event);
	}
	if (!log_has_events())
		return;
	if (peer)
		log_limited(&no_endpoint,
			    "dropped a packet to %s: %s has no endpoint",
			    print_inner(packet, false, to),
			    thread_peer_name(peer));
	else
		log_limited(
			&no_peer,
			"dropped a packet to %s: no peer has it in its allowed "
			"IPs",
			print_inner(packet, false, to));
}

void events_listening(struct events *ev, uint16_t port)
{
	const struct feed_event event = { .kind = FEED_LISTENING,
					  .value = port };

	put(ev, &event);
}

void events_segmentation(struct events *ev, const struct ug_endpoint *ep,
			 const char *what, int value)
{
	const struct feed_event event = {
		.kind = FEED_SEGMENTATION,
		.endpoint = *ep,
		.reason = what,
		.value = (uint64_t)value,
	};

	put(ev, &event);
}

void events_path(struct events *ev, const struct ug_endpoint *ep, bool is_lost)
{
	const struct feed_event event = {
		.kind = FEED_PATH,
		.endpoint = *ep,
		.reason = is_lost ? "trains_lost" : "trains_back",
	};

	put(ev, &event);
}

void events_path_mtu(struct events *ev, const struct ug_endpoint *ep,
		     const char *reason, uint32_t mtu)
{
	const struct feed_event event = {
		.kind = FEED_PATH,
		.endpoint = *ep,
		.reason = reason,
		.value = mtu,
	};

	put(ev, &event);
}
