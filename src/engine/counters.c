/* SPDX-License-Identifier: MIT */
/* Each table below has the names of one part. A test compares the names with the
 * table of docs/statistics.md. */
#include "engine/counters.h"

#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/counter.h"
#include "engine/events.h"

static void put(struct counters *c, const char *name, uint64_t value)
{
	INVARIANT(c->n < COUNTERS_MAX);
	if (c->base)
		value += c->base->values[c->n];
	c->n++;
	c->put(c->arg, name, value);
}

/* A name of two parts. */
static void put_joined(struct counters *c, const char *first, const char *last,
		       uint64_t value)
{
	char name[COUNTERS_NAME_CAP];

	snprintf(name, sizeof(name), "%s%s", first, last);
	put(c, name, value);
}

/* Messages that the inbound lanes dropped for a reason. */
static uint64_t count_inbound(const struct counters *c, enum drop_reason reason)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < c->lanes->n_in; i++)
		sum += counter_get(&c->lanes->in[i].drops[reason]);
	return sum;
}

static void visit_drops(struct counters *c)
{
	uint64_t congested = 0;

	for (int i = DROP_NONE + 1; i < DROP_REASONS; i++) {
		const char *reason = events_reason((enum drop_reason)i);

		put_joined(c, "inbound_dropped_", reason,
			   count_inbound(c, (enum drop_reason)i));
		put_joined(c, "handshakes_dropped_", reason,
			   counter_get(&c->handshaker->drops[i]));
	}
	for (unsigned int i = 0; i < c->lanes->n_in; i++)
		congested += counter_get(&c->lanes->in[i].congested);
	put(c, "inbound_dropped_ecn_not_capable", congested);
	put(c, "handshakes_received", counter_get(&c->handshaker->received));
	put(c, "handshakes_dropped_queue_full",
	    counter_get(&c->handshaker->overflows));
}

/* The names of struct outbound_stats, in its order. */
static const char *const outbound_names[] = {
	"outbound_dropped_no_peer",	  "outbound_dropped_no_endpoint",
	"outbound_dropped_queue_full",	  "outbound_dropped_bad_frame",
	"outbound_dropped_send_error",	  "outbound_dropped_socket_full",
	"outbound_dropped_session_ended", "outbound_dropped_routing_loop",
	"outbound_dropped_lane_stopped",
};
static_assert(sizeof(struct outbound_stats) ==
		      ARRAY_LEN(outbound_names) * sizeof(_Atomic uint64_t),
	      "a name for each");

static void visit_outbound(struct counters *c)
{
	const struct trains *trains = &c->lanes->out[0].trains;

	for (size_t i = 0; i < ARRAY_LEN(outbound_names); i++) {
		uint64_t sum = 0;

		for (unsigned int q = 0; q < c->lanes->n_queues; q++) {
			const _Atomic uint64_t *first =
				&c->lanes->out[q].stats.no_peer;

			sum += counter_get(&first[i]);
		}
		put(c, outbound_names[i], sum);
	}
	put(c, "trains_lost", counter_get(&trains->stopped));
	put(c, "trains_back", counter_get(&trains->back));
}

/* The names of struct paths_stats, in its order. */
static const char *const paths_names[] = {
	"path_mtu_learnt",     "path_mtu_lost",
	"path_mtu_raised",     "path_mtu_hints",
	"path_mtu_forged",     "path_mtu_answered",
	"path_mtu_cut",	       "path_mtu_refused",
	"path_mtu_fragmented", "path_mtu_outer_fragments",
};
static_assert(sizeof(struct paths_stats) ==
		      ARRAY_LEN(paths_names) * sizeof(_Atomic uint64_t),
	      "a name for each");

static void visit_paths(struct counters *c)
{
	const struct paths *paths = c->lanes->paths;

	for (size_t i = 0; i < ARRAY_LEN(paths_names); i++) {
		const _Atomic uint64_t *first = &paths->stats.learnt;

		put(c, paths_names[i], counter_get(&first[i]));
	}
}

static void visit_tun(struct counters *c)
{
	uint64_t drops[VNET_DROP_CNT] = { 0 }, written = 0, refused = 0;
	uint64_t dropped = 0;

	for (unsigned int q = 0; q < c->lanes->n_queues; q++) {
		const struct tun *tun = c->lanes->out[q].tun;

		for (int i = VNET_OK + 1; i < VNET_DROP_CNT; i++)
			drops[i] += counter_get(&tun->drops[i]);
		written += counter_get(&tun->written);
		refused += counter_get(&tun->refused);
		dropped += counter_get(&tun->dropped);
	}
	for (int i = VNET_OK + 1; i < VNET_DROP_CNT; i++)
		put_joined(c, "tun_read_dropped_",
			   vnet_drop_name((enum vnet_drop)i), drops[i]);
	put(c, "tun_written", written);
	put(c, "tun_write_refused", refused);
	put(c, "tun_write_dropped", dropped);
}

/* Messages by their number of datagrams: "prefix" and the largest number of the
 * class, a power of two. */
static void put_trains(struct counters *c, const char *prefix,
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

static void visit_sent(struct counters *c)
{
	struct ug_send_stats s = { 0 };

	lanes_add_stats(c->lanes, &s);
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

static void visit_received(struct counters *c)
{
	struct ug_receive_stats s = { 0 };

	for (unsigned int i = 0; i < c->lanes->n_in; i++)
		inbound_lane_count(&c->lanes->in[i], &s);
	put(c, "udp_received_datagrams", s.datagrams);
	put(c, "udp_received_messages", s.messages);
	put(c, "udp_received_bytes", s.bytes);
	put(c, "udp_receive_calls", s.calls);
	put(c, "udp_receive_truncated", s.truncated);
	put(c, "udp_receive_malformed", s.malformed);
	put(c, "udp_receive_errors", s.errors);
	put_trains(c, "udp_received_trains_", s.trains, UG_RECEIVED_CLASSES);
}

static void visit_sockets(struct counters *c)
{
	uint64_t drops[2];

	sockets_count_drops(c->sockets, drops);
	put(c, "udp_socket_dropped_ipv4", drops[0]);
	put(c, "udp_socket_dropped_ipv6", drops[1]);
}

void counters_visit(struct counters *c)
{
	c->n = 0;
	visit_drops(c);
	visit_outbound(c);
	if (c->lanes->paths)
		visit_paths(c);
	visit_tun(c);
	visit_sent(c);
	visit_received(c);
	visit_sockets(c);
}

static void note_name(void *arg, const char *name, uint64_t value)
{
	struct counters_base *base = arg;

	(void)value;
	snprintf(base->names[base->n++], COUNTERS_NAME_CAP, "%s", name);
}

void counters_add_base(const struct counters *c, struct counters_base *base,
		       const char *name, uint64_t value)
{
	struct counters all = *c;

	all.base = NULL;
	all.put = note_name;
	all.arg = base;
	if (!base->n)
		counters_visit(&all);
	for (unsigned int i = 0; i < base->n; i++)
		if (strcmp(base->names[i], name) == 0)
			base->values[i] += value;
}
