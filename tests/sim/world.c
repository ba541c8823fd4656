/* SPDX-License-Identifier: MIT */
#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "crypto/init.h"
#include "crypto/secret.h"
#include "crypto/x25519.h"

enum {
	IPV4_HEADER_LEN = 20,
	PPM = 1000000,
	/* A host's clock at the start of the world, and the time by which its
	 * wall clock is ahead. Choices. */
	START_S = 1000,
	START_REALTIME_S = 1700000000,
};

enum event_kind {
	ARRIVE,
	APPEAR,
};

struct sim_event {
	uint64_t at_ns;
	uint64_t order;
	enum event_kind kind;
	/* ARRIVE */
	uint64_t source;
	uint64_t destination;
	size_t len;
	/* APPEAR: a packet, repeated every @every_ns until @until_ns */
	unsigned int from;
	unsigned int to;
	uint64_t every_ns;
	uint64_t until_ns;
	uint8_t buf[];
};

int sim_prepare(uint64_t *seed, uint64_t usual)
{
	const char *text = getenv("TEST_SEED");

	*seed = text ? strtoull(text, NULL, 0) : usual;
	print_message("# TEST_SEED=%llu\n", (unsigned long long)*seed);
	if (crypto_init())
		return -1;
	rcu_register();
	return 0;
}

/* Steele, Lea and Flood, "Fast splittable pseudorandom number generators". */
uint64_t world_random(struct world *world)
{
	uint64_t z = (world->seed += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint32_t world_random_below(struct world *world, uint32_t n)
{
	return (uint32_t)(world_random(world) % n);
}

static bool is_earlier(const struct sim_event *a, const struct sim_event *b)
{
	if (a->at_ns != b->at_ns)
		return a->at_ns < b->at_ns;
	return a->order < b->order;
}

static void event_push(struct world *world, struct sim_event *event)
{
	size_t pos = world->n_events++;
	size_t parent;

	if (world->n_events > world->cap_events) {
		world->cap_events = world->n_events * 2;
		world->events = reallocarray(world->events, world->cap_events,
					     sizeof(struct sim_event *));
		assert_non_null(world->events);
	}
	event->order = world->n_made++;
	while (pos && is_earlier(event, world->events[(pos - 1) / 2])) {
		parent = (pos - 1) / 2;
		world->events[pos] = world->events[parent];
		pos = parent;
	}
	world->events[pos] = event;
}

static struct sim_event *event_pop(struct world *world)
{
	struct sim_event *first = world->events[0];
	struct sim_event *last = world->events[--world->n_events];
	size_t pos = 0;
	size_t child;

	while ((child = pos * 2 + 1) < world->n_events) {
		if (child + 1 < world->n_events &&
		    is_earlier(world->events[child + 1], world->events[child]))
			child++;
		if (!is_earlier(world->events[child], last))
			break;
		world->events[pos] = world->events[child];
		pos = child;
	}
	world->events[pos] = last;
	return first;
}

void world_inject(struct world *world, uint64_t source, uint64_t destination,
		  const void *buf, size_t len)
{
	struct sim_event *event = calloc(1, sizeof(*event) + len);

	assert_non_null(event);
	event->kind = ARRIVE;
	event->at_ns = world->now + world->delay_ns;
	if (world->jitter_ns)
		event->at_ns += world_random(world) % world->jitter_ns;
	event->source = source;
	event->destination = destination;
	event->len = len;
	memcpy(event->buf, buf, len);
	event_push(world, event);
}

static bool happens(struct world *world, uint32_t ppm)
{
	return ppm && world_random_below(world, PPM) < ppm;
}

static void transmit(struct world *world, uint64_t source, uint64_t destination,
		     const void *buf, size_t len)
{
	if (world->is_cut)
		return;
	if (!happens(world, world->loss_ppm))
		world_inject(world, source, destination, buf, len);
	if (happens(world, world->double_ppm))
		world_inject(world, source, destination, buf, len);
}

/*
 * The opaque bytes of an endpoint are the address, then whether a local address
 * is known.
 */
static uint64_t endpoint_address(const struct device_endpoint *ep)
{
	return ep->words[0];
}

static struct device_endpoint endpoint_make(uint64_t address)
{
	struct device_endpoint ep = { { address, 1 } };

	return ep;
}

static uint64_t realtime(const struct sim_host *host)
{
	return (uint64_t)((int64_t)(host->world->now +
				    SIM_SEC(START_REALTIME_S)) +
			  host->realtime_offset_ns);
}

static unsigned int number_of(const struct world *world,
			      const struct peer *peer)
{
	for (unsigned int i = 0; i < SIM_HOSTS; i++)
		if (!memcmp(world->hosts[i].public_key, peer->public_key, 32))
			return i;
	fail();
	return 0;
}

static void count_sent(struct sim_host *host, const uint8_t *buf, size_t len)
{
	switch (message_check(buf, len)) {
	case MESSAGE_INITIATION:
		host->sent.initiations++;
		break;
	case MESSAGE_RESPONSE:
		host->sent.responses++;
		break;
	case MESSAGE_COOKIE:
		host->sent.cookies++;
		break;
	case MESSAGE_DATA:
		if (len == MESSAGE_MIN_LEN)
			host->sent.keepalives++;
		else
			host->sent.data++;
		break;
	default:
		fail();
	}
}

static void host_transmit(struct sim_host *host, uint64_t destination,
			  const uint8_t *buf, size_t len)
{
	struct world *world = host->world;

	count_sent(host, buf, len);
	if (world->tap)
		world->tap(world->tap_arg, host->number, buf, len);
	transmit(world, host->address, destination, buf, len);
}

/* No counter may be used twice with one key. */
static void check_counter(struct sim_host *host, uint32_t receiver,
			  uint64_t counter)
{
	struct world *world = host->world;
	struct sim_session *s = world->sessions;
	size_t i;

	for (i = world->n_sessions; i > 0; i--) {
		s = &world->sessions[i - 1];
		if (s->from == host->number && s->receiver == receiver)
			break;
	}
	if (i == 0) {
		assert_true(world->n_sessions < SIM_MAX_SESSIONS);
		s = &world->sessions[world->n_sessions++];
		s->from = host->number;
		s->receiver = receiver;
		s->next = 0;
	}
	assert_true(counter >= s->next);
	s->next = counter + 1;
}

/* Seal one packet, or a keepalive, with a run of one. */
static void host_seal(struct sim_host *host, struct send_run *out,
		      const uint8_t *packet, size_t len)
{
	uint8_t buf[SIM_MAX_DATAGRAM] = { 0 };
	struct message_data header;
	struct device_endpoint ep;
	struct aead_msg msg = {
		.key = out->kp->keys->sending,
		.text = buf + sizeof(header),
		.len = (uint32_t)session_padded_len(len, 1420),
	};
	size_t total = msg.len + MESSAGE_DATA_OVERHEAD;

	assert_true(host->world->now - out->kp->created_ns <
		    SIM_SEC(REJECT_AFTER_TIME));
	msg.counter = send_run_header(out, 0, &header);
	check_counter(host, out->kp->remote_index, msg.counter);
	memcpy(buf, &header, sizeof(header));
	if (len)
		memcpy(msg.text, packet, len);
	aead_seal_batch(host->aead, &msg, 1);
	if (endpoint_cell_get(&out->peer->endpoint, &ep))
		host_transmit(host, endpoint_address(&ep), buf, total);
	else
		total = 0;
	send_run_end(out, total, len > 0, host->world->now);
}

/* Send the staged packets. Return: true if there were any. */
static bool host_flush(struct sim_host *host, struct peer *peer)
{
	uint8_t packet[SIM_MAX_DATAGRAM];
	struct send_run out;
	bool was_any = false;
	long len;

	while (!staged_is_empty(&peer->staged)) {
		was_any = true;
		if (send_run_begin(peer, 1, host->world->now, &out))
			break;
		len = staged_pop(host->device.staged, &peer->staged, packet,
				 sizeof(packet));
		assert_true(len > 0);
		host_seal(host, &out, packet, (size_t)len);
	}
	return was_any;
}

static void host_keepalive(struct sim_host *host, struct peer *peer)
{
	struct send_run out;

	if (host_flush(host, peer))
		return;
	if (!send_run_begin(peer, 1, host->world->now, &out))
		host_seal(host, &out, NULL, 0);
}

static void host_send(struct sim_host *host, const uint8_t *packet, size_t len)
{
	struct peer *peer = session_route(&host->device, packet, len);
	struct send_run out;
	size_t n_dropped;

	assert_non_null(peer);
	host_flush(host, peer);
	if (!send_run_begin(peer, 1, host->world->now, &out))
		host_seal(host, &out, packet, len);
	else
		assert_int_equal(session_stage(peer, packet, len,
					       host->world->now, &n_dropped),
				 0);
	peer_put(peer);
}

static void op_random(void *arg, void *buf, size_t len)
{
	struct sim_host *host = arg;
	uint8_t *bytes = buf;

	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(world_random(host->world) >> 24);
}

static void op_wake(void *arg)
{
	struct sim_host *host = arg;

	host->is_woken = true;
}

static void op_forget_source(void *arg, struct device_endpoint *ep)
{
	struct sim_host *host = arg;

	host->has_forgotten_source = true;
	ep->words[1] = 0;
}

static void op_send_initiation(void *arg, struct peer *peer)
{
	struct sim_host *host = arg;
	struct world *world = host->world;
	struct message_initiation msg;
	struct device_endpoint to;
	uint64_t *last = &host->initiated_ns[number_of(world, peer)];

	if (device_make_initiation(peer, world->now, realtime(host), &msg, &to))
		return;
	assert_true(!*last || world->now - *last >= SIM_SEC(REKEY_TIMEOUT));
	*last = world->now;
	peer_count_sent(peer, sizeof(msg));
	host_transmit(host, endpoint_address(&to), (const uint8_t *)&msg,
		      sizeof(msg));
}

static void op_send_keepalive(void *arg, struct peer *peer)
{
	host_keepalive(arg, peer);
}

static void op_session_ready(void *arg, struct peer *peer, bool confirm)
{
	if (confirm)
		host_keepalive(arg, peer);
	else
		host_flush(arg, peer);
}

static int op_set_sockets(void *arg, const struct device_sockets *want,
			  uint16_t *port)
{
	struct sim_host *host = arg;

	if (host->set_sockets_err)
		return host->set_sockets_err;
	if (want->has_port)
		*port = want->port;
	return 0;
}

static void op_event(void *arg, enum device_event event, struct peer *peer,
		     const struct device_endpoint *was)
{
	struct sim_host *host = arg;

	assert_int_equal(was != NULL, event == DEVICE_ENDPOINT_CHANGED);
	host->told[number_of(host->world, peer)][event]++;
}

static const struct device_ops ops = {
	.random = op_random,
	.wake = op_wake,
	.forget_source = op_forget_source,
	.endpoint_learnt = op_wake,
	.send_initiation = op_send_initiation,
	.send_keepalive = op_send_keepalive,
	.session_ready = op_session_ready,
	.set_sockets = op_set_sockets,
	.event = op_event,
};

/* Write a packet: an IPv4 header, its number, and padding to SIM_PACKET_LEN. */
static void packet_write(uint8_t packet[SIM_PACKET_LEN], unsigned int from,
			 unsigned int to, size_t number)
{
	const uint64_t n = number;

	memset(packet, 0, SIM_PACKET_LEN);
	packet[0] = 0x45;
	packet[3] = SIM_PACKET_LEN;
	packet[12] = 10;
	packet[15] = (uint8_t)(from + 1);
	packet[16] = 10;
	packet[19] = (uint8_t)(to + 1);
	memcpy(packet + IPV4_HEADER_LEN, &n, sizeof(n));
}

static void packet_deliver(struct sim_host *host, const uint8_t *packet,
			   size_t len)
{
	struct world *world = host->world;
	uint64_t n;

	assert_int_equal(len, SIM_PACKET_LEN);
	assert_int_equal(packet[19], host->number + 1);
	memcpy(&n, packet + IPV4_HEADER_LEN, sizeof(n));
	assert_true(n < world->n_packets);
	/* Replay protection: no packet is delivered twice, even if the network
	 * doubles datagrams. */
	assert_int_equal(world->arrived[n], 0);
	world->arrived[n]++;
	host->delivered++;
}

/* A host receives data; @buf is opened in place. */
static enum drop_reason host_receive_data(struct sim_host *host,
					  uint64_t source, uint8_t *buf,
					  size_t buf_len)
{
	struct world *world = host->world;
	struct device_endpoint from = endpoint_make(source);
	struct message_data header;
	struct aead_msg msg = { 0 };
	enum drop_reason reason = DROP_FORGED;
	struct receive_run in;
	size_t len;

	memcpy(&header, buf, sizeof(header));
	enum drop_reason begun = receive_run_begin(
		&host->device, le32_get(header.receiver), world->now, &in);
	if (begun)
		return begun;
	assert_true(world->now - in.kp->created_ns <
		    SIM_SEC(REJECT_AFTER_TIME));
	msg.key = in.kp->keys->receiving;
	msg.counter = le64_get(header.counter);
	msg.text = buf + sizeof(header);
	msg.len = (uint32_t)message_data_text_len(buf_len);
	if (aead_open_batch(host->aead, &msg, 1))
		reason = receive_run_take(&in, msg.counter, msg.text, msg.len,
					  &from, &len);
	receive_run_move(&in);
	if (!reason && len)
		packet_deliver(host, msg.text, len);
	receive_run_end(&in, world->now, realtime(host));
	return reason;
}

static enum drop_reason host_receive_handshake(struct sim_host *host,
					       uint64_t source,
					       const uint8_t *buf, size_t len)
{
	struct device_origin from = {
		.source_len = 6,
		.is_under_load = host->is_loaded,
	};
	struct device_answer answer;
	enum drop_reason reason;
	bool is_proven;

	if (message_check(buf, len) == MESSAGE_COOKIE)
		return device_take_cookie(&host->device, buf, host->world->now);
	from.endpoint = endpoint_make(source);
	memcpy(from.source, &source, from.source_len);
	reason = device_screen_handshake(&host->device, buf, len, &from,
					 host->world->now, &is_proven);
	if (reason)
		return reason;
	reason = device_receive_handshake(&host->device, buf, len, &from,
					  host->world->now, realtime(host),
					  &answer);
	if (answer.len)
		host_transmit(host, source, answer.buf, answer.len);
	if (answer.peer) {
		peer_count_sent(answer.peer, answer.len);
		peer_put(answer.peer);
	}
	return reason;
}

enum drop_reason world_deliver(struct world *world, unsigned int to,
			       uint64_t source, uint8_t *buf, size_t len)
{
	struct sim_host *host = &world->hosts[to];
	enum drop_reason reason;

	switch (message_check(buf, len)) {
	case MESSAGE_DATA:
		reason = host_receive_data(host, source, buf, len);
		break;
	case MESSAGE_INVALID:
		reason = DROP_BAD_MESSAGE;
		break;
	default:
		reason = host_receive_handshake(host, source, buf, len);
	}
	host->drops[reason]++;
	return reason;
}

static void arrive(struct world *world, struct sim_event *event)
{
	for (unsigned int i = 0; i < SIM_HOSTS; i++)
		if (world->hosts[i].address == event->destination) {
			world_deliver(world, i, event->source, event->buf,
				      event->len);
			return;
		}
}

size_t world_send(struct world *world, unsigned int from, unsigned int to)
{
	return world_send_as(world, from, from, to);
}

size_t world_send_as(struct world *world, unsigned int from,
		     unsigned int claimed, unsigned int to)
{
	uint8_t packet[SIM_PACKET_LEN];
	size_t number = world->n_packets++;

	if (number >= world->cap_packets) {
		world->cap_packets = (number + 1) * 2;
		world->arrived = realloc(world->arrived, world->cap_packets);
		assert_non_null(world->arrived);
	}
	world->arrived[number] = 0;
	packet_write(packet, claimed, to, number);
	host_send(&world->hosts[from], packet, sizeof(packet));
	return number;
}

static void appear(struct world *world, const struct sim_event *event)
{
	struct sim_event *next;

	world_send(world, event->from, event->to);
	if (world->now + event->every_ns > event->until_ns)
		return;
	next = calloc(1, sizeof(*next));
	assert_non_null(next);
	*next = *event;
	next->at_ns = world->now + event->every_ns +
		      world_random(world) % (event->every_ns / 10 + 1);
	event_push(world, next);
}

void world_stream(struct world *world, unsigned int from, unsigned int to,
		  uint64_t every_ns, uint64_t duration_ns)
{
	struct sim_event *event = calloc(1, sizeof(*event));

	assert_non_null(event);
	event->kind = APPEAR;
	event->at_ns = world->now;
	event->from = from;
	event->to = to;
	event->every_ns = every_ns;
	event->until_ns = world->now + duration_ns;
	event_push(world, event);
}

/* Let every host do its pending and due work. */
static uint64_t tick_hosts(struct world *world)
{
	uint64_t due_ns = SCHEDULE_NEVER;

	for (size_t i = 0; i < SIM_HOSTS; i++) {
		struct sim_host *host = &world->hosts[i];

		if (!host->world)
			continue;
		while (host->is_woken || host->due_ns <= world->now) {
			host->is_woken = false;
			host->due_ns = device_tick(&host->device, world->now);
			assert_true(host->due_ns > world->now);
		}
		if (host->due_ns < due_ns)
			due_ns = host->due_ns;
	}
	return due_ns;
}

void world_run(struct world *world, uint64_t duration_ns)
{
	uint64_t end_ns = world->now + duration_ns;
	struct sim_event *event;
	uint64_t due_ns;

	for (;;) {
		due_ns = tick_hosts(world);
		if (world->n_events && world->events[0]->at_ns <= due_ns)
			due_ns = world->events[0]->at_ns;
		if (due_ns > end_ns)
			break;
		world->now = due_ns;
		if (!world->n_events || world->events[0]->at_ns > due_ns)
			continue;
		event = event_pop(world);
		if (event->kind == ARRIVE)
			arrive(world, event);
		else
			appear(world, event);
		free(event);
	}
	world->now = end_ns;
}

size_t world_count_arrived(const struct world *world, size_t first)
{
	size_t n = 0;

	for (size_t i = first; i < world->n_packets; i++)
		n += world->arrived[i];
	return n;
}

static void configure_host(struct world *world, struct sim_host *host,
			   unsigned int n_hosts)
{
	struct config *config = config_new();
	struct ip_prefix prefix = { IP_V4, 32, { 10 } };
	struct device_endpoint ep;

	assert_non_null(config);
	config_set_private_key(config, host->private_key);
	for (unsigned int i = 0; i < n_hosts; i++) {
		if (i == host->number)
			continue;
		config_begin_peer(config, world->hosts[i].public_key);
		prefix.addr[3] = (uint8_t)(i + 1);
		config_add_allowedip(config, &prefix);
		ep = endpoint_make(world->hosts[i].address);
		config_set_endpoint(config, &ep);
	}
	assert_int_equal(config_apply(config, &host->device, world->now), 0);
	config_free(config);
}

static void host_start(struct sim_host *host, struct world *world,
		       unsigned int n_hosts)
{
	assert_int_equal(device_init(&host->device, &ops, host), 0);
	host->aead = aead_new(AEAD_SODIUM);
	assert_non_null(host->aead);
	host->due_ns = SCHEDULE_NEVER;
	if (!world->prepare || !world->prepare(world->prepare_arg, host))
		configure_host(world, host, n_hosts);
	device_set_up(&host->device, true, world->now);
}

struct world *world_new(uint64_t seed, unsigned int n_hosts)
{
	struct world *world = calloc(1, sizeof(*world));
	struct sim_host *host;

	assert_non_null(world);
	world->seed = seed;
	world->now = SIM_SEC(START_S);
	world->delay_ns = SIM_MSEC(20);
	for (unsigned int i = 0; i < n_hosts; i++) {
		host = &world->hosts[i];
		host->world = world;
		host->number = i;
		host->address = 0x0a000001 + ((uint64_t)i << 32);
		op_random(host, host->private_key, sizeof(host->private_key));
		x25519_clamp(host->private_key);
		x25519_public(host->public_key, host->private_key);
	}
	for (unsigned int i = 0; i < n_hosts; i++)
		host_start(&world->hosts[i], world, n_hosts);
	return world;
}

static void host_stop(struct sim_host *host)
{
	device_deinit(&host->device);
	aead_free(host->aead);
}

void world_free(struct world *world)
{
	while (world->n_events)
		free(event_pop(world));
	for (size_t i = 0; i < SIM_HOSTS; i++)
		if (world->hosts[i].world)
			host_stop(&world->hosts[i]);
	free(world->events);
	free(world->arrived);
	free(world);
}

void world_restart(struct world *world, unsigned int number)
{
	struct sim_host *host = &world->hosts[number];
	unsigned int n_hosts = 0;

	while (n_hosts < SIM_HOSTS && world->hosts[n_hosts].world)
		n_hosts++;
	host_stop(host);
	host->is_woken = false;
	memset(host->initiated_ns, 0, sizeof(host->initiated_ns));
	host_start(host, world, n_hosts);
}

void world_rebind(struct world *world, unsigned int number)
{
	world->hosts[number].address += 0x10000;
}

struct peer *world_peer(struct world *world, unsigned int of, unsigned int to)
{
	struct peer *peer = device_lookup_peer(&world->hosts[of].device,
					       world->hosts[to].public_key);

	assert_non_null(peer);
	return peer;
}

uint64_t world_believed_address(struct world *world, unsigned int of,
				unsigned int to)
{
	struct device_endpoint ep;

	endpoint_cell_get(&world_peer(world, of, to)->endpoint, &ep);
	return endpoint_address(&ep);
}

void world_configure_peer(struct world *world, unsigned int of, unsigned int to,
			  void (*fill)(struct config *config, void *arg),
			  void *arg)
{
	struct config *config = config_new();

	assert_non_null(config);
	config_begin_peer(config, world->hosts[to].public_key);
	fill(config, arg);
	assert_int_equal(
		config_apply(config, &world->hosts[of].device, world->now), 0);
	config_free(config);
}

size_t sim_count_all(const struct sim_counts *counts)
{
	return counts->initiations + counts->responses + counts->cookies +
	       counts->keepalives + counts->data;
}

struct sim_counts world_sum(const struct world *world)
{
	struct sim_counts sum = { 0 };

	for (size_t i = 0; i < SIM_HOSTS; i++) {
		const struct sim_counts *sent = &world->hosts[i].sent;

		sum.initiations += sent->initiations;
		sum.responses += sent->responses;
		sum.cookies += sent->cookies;
		sum.keepalives += sent->keepalives;
		sum.data += sent->data;
	}
	return sum;
}

size_t world_count_sent(const struct world *world)
{
	struct sim_counts sum = world_sum(world);

	return sim_count_all(&sum);
}

void world_forge_source(struct world *world, uint64_t source)
{
	for (size_t i = 0; i < world->n_events; i++)
		world->events[i]->source = source;
}
