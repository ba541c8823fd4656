/* SPDX-License-Identifier: MIT */
/* Answers are written in pieces, a peer or an event at a time, as the socket takes
 * them. The numbers of the device are one piece. */
#include "uapi/stats.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/counter.h"
#include "base/ip.h"
#include "base/log_thread.h"
#include "base/now.h"
#include "udpgather.h"

enum {
	/* Room that a peer, a trace, a prefix or an event needs at most. */
	PIECE_CAP = 2048,
};

enum step {
	STEP_DEVICE,
	STEP_PEERS,
	STEP_PREFIXES,
	STEP_STATUS,
	STEP_END,
};

/* ----------------------------------------------------------------- requests */

static enum stats_kind kind_of(const char *line)
{
	static const struct {
		const char *line;
		enum stats_kind kind;
	} table[] = {
		{ "get=stats", STATS_GET },
		{ "get=trace", STATS_TRACE },
		{ "get=allowed_ips", STATS_ALLOWED_IPS },
		{ "get=events", STATS_EVENTS },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (strcmp(line, table[i].line) == 0)
			return table[i].kind;
	return STATS_BAD;
}

/* A line has ended. Return: true if it is the empty one that ends a request. */
static bool take_line(struct stats_parser *p)
{
	size_t len = size_min(p->len, STATS_MAX_LINE);
	enum stats_kind kind;

	p->line[len] = 0;
	p->len = 0;
	if (!len)
		return p->kind != STATS_NONE;
	/* A second line is as wrong as an unknown first one. */
	kind = p->kind == STATS_NONE ? kind_of(p->line) : STATS_BAD;
	if (kind == STATS_BAD && p->kind != STATS_BAD)
		for (size_t i = 0; i <= len; i++)
			p->token[i] = !p->line[i] || isprint((unsigned char)
								     p->line[i])
					      ? p->line[i]
					      : '?';
	p->kind = kind;
	return false;
}

enum stats_kind stats_parse(struct stats_parser *p, const char *data,
			    size_t len, size_t *n_used)
{
	for (size_t i = 0; i < len; i++) {
		if (data[i] == '\n') {
			if (!take_line(p))
				continue;
			enum stats_kind kind = p->kind;

			p->kind = STATS_NONE;
			*n_used = i + 1;
			return kind;
		}
		if (p->len < STATS_MAX_LINE)
			p->line[p->len] = data[i];
		/* A line that is too long is wrong. It is cut, and one byte is
		 * enough to make it so. */
		if (p->len <= STATS_MAX_LINE)
			p->len++;
	}
	*n_used = len;
	return STATS_NONE;
}

/* ------------------------------------------------------------------- the device */

static void put_counter(void *arg, const char *name, uint64_t value)
{
	text_put_word(arg, name);
	text_put_number_line(arg, "=", value);
}

/* Seconds of a time in ns. */
static uint64_t seconds(uint64_t ns)
{
	return ns / NSEC_PER_SEC;
}

static void put_udp(struct text *t, const char *name,
		    const struct ug_endpoint *ep)
{
	char text[UG_ENDPOINT_TEXT];

	if (ug_endpoint_print(ep, text, sizeof(text)) >= 0)
		text_put(t, "%s%s", name, text);
}

static void put_refusals(struct text *t, const struct stats_source *source)
{
	struct events *events = engine_get_events(source->engine);
	struct events_last last;

	for (int i = 0; i < DROP_REASONS; i++) {
		if (!events_get_last(events, (enum drop_reason)i, &last))
			continue;
		text_put(t, "handshake_refused_last=%s",
			 events_reason((enum drop_reason)i));
		put_udp(t, " ", &last.from);
		text_put(t, " %" PRIu64 "\n", seconds(last.realtime));
	}
	if (source->refusal->realtime) {
		text_put(t, "errmsg=%s\n", source->refusal->text);
		text_put(t, "errmsg_time_sec=%" PRIu64 "\n",
			 seconds(source->refusal->realtime));
	}
}

static void put_log(struct text *t)
{
	struct log_thread_state state;

	log_thread_get_state(&state);
	text_put(t, "log_lines_lost=%" PRIu64 "\nlog_blocked_sec=%" PRIu64 "\n",
		 state.n_lost, seconds(state.blocked_ns));
}

static void put_device(struct text *t, const struct stats_source *source)
{
	static const char *const families[] = { "ipv4", "ipv6" };
	struct device *device = engine_get_device(source->engine);
	uint8_t public_key[NOISE_PUBLIC_KEY_LEN];
	struct engine_state state;

	engine_get_state(source->engine, &state);
	text_put(t, "version=%s\ninterface=%s\nup=%d\nmtu=%u\n",
		 source->version, state.name, state.is_up, state.mtu);
	text_put(t, "started_time_sec=%" PRIu64 "\nworkers=%u\naead=%s\n",
		 seconds(state.started), state.n_workers, state.aead);
	if (noise_local_get_keys(&device->local, NULL, public_key))
		text_put_key(t, "own_public_key=", public_key);
	text_put(t, "fwmark=%" PRIu32 "\n", device->fwmark);
	text_put(t, "listen_port=%u\nlistening=%d\n", device->listen_port,
		 state.has_sockets);
	if (state.err)
		text_put(t, "listen_error=%s\n", strerror(-state.err));
	for (int i = 0; i < 2; i++) {
		text_put(t, "segments_%s=%d\n", families[i], state.segments[i]);
		if (state.why[i])
			text_put(t, "segments_%s_limit=%s\n", families[i],
				 state.why[i]);
	}
	text_put(t, "peers=%zu\n", device->n_peers);
	put_log(t);
	engine_each_counter(source->engine, put_counter, t);
	put_refusals(t, source);
}

/* --------------------------------------------------------------------- a peer */

static const char *print_inner(const void *addr, unsigned int version,
			       char text[INET6_ADDRSTRLEN])
{
	return inet_ntop(version == IP_V4 ? AF_INET : AF_INET6, addr, text,
			 INET6_ADDRSTRLEN);
}

static void put_bad_source(struct text *t, struct peer_notes *notes)
{
	unsigned int version = atomic_load_explicit(&notes->bad_source_version,
						    memory_order_relaxed);
	char text[INET6_ADDRSTRLEN];

	text_put_number_line(t, "dropped_disallowed_source=",
			     counter_get(&notes->n_bad_source));
	if (!version)
		return;

	const uint64_t words[2] = { counter_get(&notes->bad_source[0]),
				    counter_get(&notes->bad_source[1]) };

	text_put(t, "disallowed_source_last=%s %" PRIu64 "\n",
		 print_inner(words, version, text),
		 seconds(counter_get(&notes->bad_source_at)));
}

/* A line for a number, unless it is 0. */
static inline void put_some(struct text *t, const char *name, uint64_t value)
{
	if (value)
		text_put_number_line(t, name, value);
}

/* What is out of the ordinary. */
static void put_troubles(struct text *t, struct peer *peer,
			 const struct uapi_codec *codec)
{
	struct peer_notes *notes = &peer->notes;
	uint64_t error_at = counter_get(&notes->send_error_at);
	int err =
		atomic_load_explicit(&notes->send_error, memory_order_relaxed);

	put_some(t,
		 "initiations_unanswered=", counter_get(&notes->n_unanswered));
	put_some(t, "last_initiation_time_sec=",
		 seconds(counter_get(&notes->initiation_at)));
	put_some(t, "responses_unused=",
		 atomic_load_explicit(&peer->n_incomplete,
				      memory_order_relaxed));
	put_some(t, "responses_refused=", counter_get(&notes->n_undecryptable));
	put_some(t, "response_refused_time_sec=",
		 seconds(counter_get(&notes->undecryptable_at)));
	if (error_at)
		text_put(t, "send_error_last=%d %" PRIu64 " %s\n", err,
			 seconds(error_at), strerror(err));
	put_some(t, "trains_stopped=",
		 atomic_load_explicit(&notes->has_lost_trains,
				      memory_order_relaxed));
	put_some(t, "endpoint_moves=", counter_get(&notes->n_moves));
	put_some(t, "endpoint_returns=", counter_get(&notes->n_returns));
	put_some(t, "endpoint_moved_time_sec=",
		 seconds(counter_get(&notes->moved_at)));
	text_put_endpoint(t, "endpoint_was=", &notes->was, codec);
}

static const char *state_of(const struct peer *peer, uint64_t now)
{
	if (atomic_load_explicit(&peer->notes.is_incomplete,
				 memory_order_relaxed))
		return "incomplete";
	if (atomic_load_explicit(&peer->notes.is_silent, memory_order_relaxed))
		return "silent";
	return now < noise_keypairs_get_end(&peer->keypairs) ? "established"
							     : "none";
}

static void put_peer(struct text *t, struct peer *peer,
		     const struct stats_source *source, uint64_t now)
{
	uint64_t handshake_ns = counter_get(&peer->last_handshake_ns);

	text_put_key(t, "public_key=", peer->public_key);
	text_put_endpoint(t, "endpoint=", &peer->endpoint, source->codec);
	put_some(t,
		 "path_mtu=", engine_get_path_mtu(source->engine, peer, now));
	text_put_word(t, "state=");
	text_put_word(t, state_of(peer, now));
	text_put_number_line(
		t, "\nlast_handshake_time_sec=", seconds(handshake_ns));
	text_put_number_line(
		t, "last_handshake_time_nsec=", handshake_ns % NSEC_PER_SEC);
	text_put_number_line(t, "tx_bytes=", counter_get(&peer->tx_bytes));
	text_put_number_line(t, "rx_bytes=", counter_get(&peer->rx_bytes));
	put_some(t, "persistent_keepalive_interval=",
		 atomic_load_explicit(&peer->timers.persistent_s,
				      memory_order_relaxed));
	put_bad_source(t, &peer->notes);
	put_troubles(t, peer, source->codec);
}

static const char *const kinds[FEED_KINDS] = {
	[FEED_ESTABLISHED] = "established",
	[FEED_ENDPOINT] = "endpoint",
	[FEED_STALLED] = "stalled",
	[FEED_INCOMPLETE] = "incomplete",
	[FEED_ENDED] = "ended",
	[FEED_PEER_ADDED] = "peer-added",
	[FEED_PEER_CHANGED] = "peer-changed",
	[FEED_PEER_REMOVED] = "peer-removed",
	[FEED_DROPPED] = "dropped",
	[FEED_REFUSED] = "refused",
	[FEED_LISTENING] = "listening",
	[FEED_SEGMENTATION] = "segmentation",
	[FEED_PATH] = "path",
};

/* The last events of a peer, the oldest first. */
static void put_trace(struct text *t, struct peer *peer)
{
	struct peer_notes *notes = &peer->notes;
	uint32_t n =
		atomic_load_explicit(&notes->n_events, memory_order_relaxed);
	uint32_t first = n > PEER_TRACE_LEN ? n - PEER_TRACE_LEN : 0;

	text_put_key(t, "public_key=", peer->public_key);
	for (uint32_t i = first; i < n; i++) {
		uint64_t word = counter_get(&notes->trace[i % PEER_TRACE_LEN]);
		size_t kind = word & 0xffff;

		if (word && kind < FEED_KINDS)
			text_put(t, "trace=%s %" PRIu64 "\n", kinds[kind],
				 word >> 16);
	}
}

/* -------------------------------------------------------------------- events */

static void put_event(struct text *t, const struct feed_event *event)
{
	char inner[INET6_ADDRSTRLEN];

	text_put(t, "event=%s time_ms=%" PRIu64, kinds[event->kind],
		 event->realtime / NSEC_PER_MSEC);
	if (event->has_peer) {
		text_put(t, " public_key=");
		text_put_hex(t, event->peer);
	}
	if (event->endpoint.addr.any.sa_family != AF_UNSPEC)
		put_udp(t, " endpoint=", &event->endpoint);
	if (event->was.addr.any.sa_family != AF_UNSPEC)
		put_udp(t, " was=", &event->was);
	if (event->inner_version)
		text_put(
			t, " address=%s",
			print_inner(event->inner, event->inner_version, inner));
	if (event->reason)
		text_put(t, " reason=%s", event->reason);
	if (event->value)
		text_put(t, " value=%" PRIu64, event->value);
	text_put(t, "\n");
}

/* Write the next event of the feed. Return: false if there is none. */
static bool step_event(struct stats_reply *reply, struct text *t)
{
	struct events *events = engine_get_events(reply->source->engine);
	struct feed_event event;
	uint64_t n_lost;
	bool has_event = feed_take(&events->feed, &reply->at, &event, &n_lost);

	if (n_lost)
		text_put(t, "event=lost value=%" PRIu64 "\n", n_lost);
	if (has_event)
		put_event(t, &event);
	return has_event;
}

/* ------------------------------------------------------------------- answers */

int stats_reply_begin(struct stats_reply *reply,
		      const struct stats_source *source, enum stats_kind kind,
		      const char *token)
{
	struct events *events = engine_get_events(source->engine);

	*reply = (struct stats_reply){
		.source = source,
		.kind = kind,
		.step = kind == STATS_GET ? STEP_DEVICE : STEP_PEERS,
	};
	snprintf(reply->token, sizeof(reply->token), "%s", token);
	if (kind == STATS_BAD)
		reply->step = STEP_STATUS;
	peers_init(&reply->peers, engine_get_device(source->engine));
	return kind == STATS_EVENTS ? feed_open(&events->feed, &reply->at) : 0;
}

void stats_reply_end(struct stats_reply *reply)
{
	if (reply->kind == STATS_EVENTS)
		feed_close(&engine_get_events(reply->source->engine)->feed);
	reply->kind = STATS_NONE;
}

static void put_status(struct stats_reply *reply, struct text *t)
{
	if (reply->kind == STATS_BAD)
		text_put(t, "errmsg=no such request: %s\n", reply->token);
	text_put(t, "errno=%d\n\n", reply->kind == STATS_BAD ? EINVAL : 0);
}

static void step_peer(struct stats_reply *reply, struct text *t, uint64_t now)
{
	struct peer *peer = peers_next(&reply->peers);

	if (!peer) {
		reply->step = STEP_STATUS;
	} else if (reply->kind == STATS_ALLOWED_IPS) {
		text_put_key(t, "public_key=", peer->public_key);
		reply->step = STEP_PREFIXES;
	} else if (reply->kind == STATS_TRACE) {
		put_trace(t, peer);
	} else {
		put_peer(t, peer, reply->source, now);
	}
}

static void write_next(struct stats_reply *reply, struct text *t, uint64_t now)
{
	struct ip_prefix prefix;

	switch (reply->step) {
	case STEP_DEVICE:
		put_device(t, reply->source);
		reply->step = STEP_PEERS;
		break;
	case STEP_PEERS:
		step_peer(reply, t, now);
		break;
	case STEP_PREFIXES:
		if (peers_next_prefix(&reply->peers, &prefix))
			text_put_prefix(t, &prefix);
		else
			reply->step = STEP_PEERS;
		break;
	case STEP_STATUS:
	default:
		put_status(reply, t);
		reply->step = STEP_END;
	}
}

size_t stats_reply_fill(struct stats_reply *reply, char *buf, size_t cap)
{
	struct text t = { buf, cap, 0 };
	uint64_t now = now_boottime();

	if (reply->kind == STATS_EVENTS) {
		while (t.cap - t.len >= PIECE_CAP && step_event(reply, &t))
			;
		return t.len;
	}
	while (reply->step != STEP_END && t.cap - t.len >= PIECE_CAP)
		write_next(reply, &t, now);
	return t.len;
}
