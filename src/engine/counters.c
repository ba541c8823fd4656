/* SPDX-License-Identifier: MIT */
/* Each table below has the names of one part. A test compares the names with the
 * table of docs/statistics.md. */
#include "engine/counters.h"

#include "base/counter.h"
#include "engine/events.h"

/* Bytes of a name that is put together. */
#define NAME_CAP 64

static void put(const struct counters *c, const char *name, uint64_t value)
{
	c->put(c->arg, name, value);
}

/* A name of two parts. */
static void put_joined(const struct counters *c, const char *first,
		       const char *last, uint64_t value)
{
	char name[NAME_CAP];

	snprintf(name, sizeof(name), "%s%s", first, last);
	put(c, name, value);
}

static void visit_drops(const struct counters *c)
{
	for (int i = DROP_NONE + 1; i < DROP_REASONS; i++) {
		const char *reason = events_reason((enum drop_reason)i);

		put_joined(c, "inbound_dropped_", reason,
			   counter_get(&c->in4->drops[i]) +
				   counter_get(&c->in6->drops[i]));
		put_joined(c, "handshakes_dropped_", reason,
			   counter_get(&c->handshaker->drops[i]));
	}
	put(c, "inbound_dropped_ecn_not_capable",
	    counter_get(&c->in4->congested) + counter_get(&c->in6->congested));
	put(c, "handshakes_received", counter_get(&c->handshaker->received));
	put(c, "handshakes_dropped_queue_full",
	    counter_get(&c->handshaker->overflows));
}

static void visit_outbound(const struct counters *c)
{
	const struct outbound_stats *s = &c->out->stats;

	put(c, "outbound_dropped_no_peer", counter_get(&s->no_peer));
	put(c, "outbound_dropped_no_endpoint", counter_get(&s->no_endpoint));
	put(c, "outbound_dropped_queue_full", counter_get(&s->staged_drops));
	put(c, "outbound_dropped_bad_frame", counter_get(&s->bad_frames));
	put(c, "outbound_dropped_send_error", counter_get(&s->send_errors));
	put(c, "outbound_dropped_socket_full", counter_get(&s->full_drops));
	put(c, "outbound_dropped_session_ended", counter_get(&s->no_counters));
	put(c, "outbound_dropped_routing_loop", counter_get(&s->returned));
	put(c, "trains_lost", counter_get(&c->out->trains.stopped));
	put(c, "trains_back", counter_get(&c->out->trains.back));
}

static void visit_tun(const struct counters *c)
{
	for (int i = VNET_OK + 1; i < VNET_DROP_CNT; i++)
		put_joined(c, "tun_read_dropped_",
			   vnet_drop_name((enum vnet_drop)i),
			   counter_get(&c->tun->drops[i]));
	put(c, "tun_written", counter_get(&c->tun->written));
	put(c, "tun_write_refused", counter_get(&c->tun->refused));
	put(c, "tun_write_dropped", counter_get(&c->tun->dropped));
}

/* Messages by their number of datagrams: "prefix" and the largest number of the
 * class, a power of two. */
static void put_trains(const struct counters *c, const char *prefix,
		       const uint64_t *trains, unsigned int n)
{
	unsigned int i = 1;

	for (unsigned int top = 1; i < n; top *= 2) {
		char number[16];
		uint64_t sum = 0;

		for (; i <= top && i < n; i++)
			sum += trains[i];
		snprintf(number, sizeof(number), "%u", top);
		put_joined(c, prefix, number, sum);
	}
}

static void visit_sent(const struct counters *c)
{
	struct ug_send_stats s;

	ug_get_send_stats(c->out->batch, &s, sizeof(s));
	put(c, "udp_sent_datagrams", s.datagrams);
	put(c, "udp_sent_messages", s.messages);
	put(c, "udp_sent_bytes", s.bytes);
	put(c, "udp_send_calls", s.calls);
	put(c, "udp_send_full", s.full);
	put(c, "udp_send_no_buffers", s.no_buffers);
	put(c, "udp_send_refused_sources", s.refused_sources);
	put(c, "udp_send_split_eio", s.split_eio);
	put(c, "udp_send_split_emsgsize", s.split_emsgsize);
	put(c, "udp_send_split_einval", s.split_einval);
	put(c, "udp_send_split_other", s.split_other);
	put(c, "udp_send_set_aside", s.set_aside);
	put_trains(c, "udp_sent_trains_", s.trains, UG_MAX_SEGMENTS + 1);
}

static void visit_received(const struct counters *c)
{
	struct ug_receive_stats s = { 0 };

	inbound_lane_count(c->in4, &s);
	inbound_lane_count(c->in6, &s);
	put(c, "udp_received_datagrams", s.datagrams);
	put(c, "udp_received_messages", s.messages);
	put(c, "udp_received_bytes", s.bytes);
	put(c, "udp_receive_calls", s.calls);
	put(c, "udp_receive_truncated", s.truncated);
	put(c, "udp_receive_malformed", s.malformed);
	put(c, "udp_receive_errors", s.errors);
	put_trains(c, "udp_received_trains_", s.trains, UG_RECEIVED_CLASSES);
}

void counters_visit(const struct counters *c)
{
	visit_drops(c);
	visit_outbound(c);
	visit_tun(c);
	visit_sent(c);
	visit_received(c);
}
