/* SPDX-License-Identifier: MIT */
/*
 * The steps of a data message in both directions; session.h has their order.
 * Other threads may change the peer meanwhile: its keypairs, endpoint, timers
 * and staged packets are atomic or locked inside.
 */
#include "device/session.h"

#include <string.h>

#include "base/bytes.h"
#include "base/ip.h"

/* The length of the packet, as its IP header says it. */
static size_t packet_total_len(const uint8_t *packet, unsigned int version)
{
	if (version == IP_V4)
		return be16_get(ipv4_view(packet)->total_len);
	return (size_t)be16_get(ipv6_view(packet)->payload_len) +
	       sizeof(struct ipv6_hdr);
}

struct peer *session_route(struct device *device, const uint8_t *packet,
			   size_t len)
{
	unsigned int version = ip_identify(packet, len);
	struct allowedips_owner *owner;
	struct peer *peer = NULL;

	if (!version)
		return NULL;
	rcu_enter();
	if (version == IP_V4)
		owner = allowedips_lookup(&device->allowedips, IP_V4,
					  ipv4_view(packet)->daddr);
	else
		owner = allowedips_lookup(&device->allowedips, IP_V6,
					  ipv6_view(packet)->daddr);
	if (owner) {
		peer = container_of(owner, struct peer, allowedips);
		if (!peer_get(peer))
			peer = NULL;
	}
	rcu_leave();
	return peer;
}

void session_request(struct peer *peer)
{
	if (timers_want_handshake(&peer->timers))
		device_poke_peer(peer);
}

int send_run_begin(struct peer *peer, size_t n, uint64_t now,
		   struct send_run *run)
{
	struct noise_keypair *kp = noise_keypairs_get_current(&peer->keypairs);
	size_t n_drawn = 0;
	uint64_t first = 0;

	if (kp && noise_keypair_can_send(kp, now))
		n_drawn = noise_keypair_reserve(kp, n, &first);
	if (!n_drawn || !peer_get(peer)) {
		noise_keypair_put(kp);
		session_request(peer);
		return DEVICE_E_NO_SESSION;
	}
	*run = (struct send_run){ peer, kp, first, n_drawn };
	return 0;
}

int send_run_begin_near(struct peer *peer, size_t n, uint64_t now,
			struct send_run *run)
{
	struct noise_keypair *kp = noise_keypairs_get_current(&peer->keypairs);
	int r = NOISE_E_NO_COUNTER;
	uint64_t first = 0;

	if (kp && noise_keypair_can_send(kp, now))
		r = noise_keypair_reserve_near(kp, &n, &first);
	if (r == 0 && peer_get(peer)) {
		*run = (struct send_run){ peer, kp, first, n };
		return 0;
	}
	if (r == 0 && noise_keypair_begin_send(kp, first, n))
		noise_keypair_end_send(kp, first, n);
	noise_keypair_put(kp);
	if (r == NOISE_E_FAR)
		return DEVICE_E_FAR;
	session_request(peer);
	return DEVICE_E_NO_SESSION;
}

bool send_run_join(struct send_run *run, struct send_run *next)
{
	if (run->kp != next->kp || run->counter + run->n != next->counter)
		return false;
	run->n += next->n;
	noise_keypair_put(next->kp);
	peer_put(next->peer);
	memset(next, 0, sizeof(*next));
	return true;
}

bool send_run_begin_send(const struct send_run *run)
{
	return noise_keypair_begin_send(run->kp, run->counter, run->n);
}

void send_run_end_send(const struct send_run *run)
{
	noise_keypair_end_send(run->kp, run->counter, run->n);
}

bool send_run_give_up(struct peer *peer, size_t n)
{
	struct noise_keypair *kp = noise_keypairs_get_current(&peer->keypairs);
	bool has_room = kp && noise_keypair_give_up(kp, n);

	noise_keypair_put(kp);
	return has_room;
}

int session_stage(struct peer *peer, const void *packet, size_t len,
		  uint64_t now, size_t *n_dropped)
{
	int err = staged_push(peer->device->staged, &peer->staged, packet, len,
			      n_dropped);

	if (err < 0)
		return err;
	/* The session may have begun after send_run_begin(), and the thread
	 * that then sent the staged packets may have come before the push. */
	return peer_has_session(peer, now) ? DEVICE_E_FLUSH : 0;
}

uint64_t send_run_header(const struct send_run *run, size_t i,
			 struct message_data *msg)
{
	msg->type = le32_make(MESSAGE_DATA);
	msg->receiver = le32_make(run->kp->remote_index);
	msg->counter = le64_make(run->counter + i);
	return run->counter + i;
}

size_t session_padded_len(size_t len, size_t mtu)
{
	size_t last = mtu && len > mtu ? len % mtu : len;
	size_t padded =
		(last + MESSAGE_PADDING - 1) & ~(size_t)(MESSAGE_PADDING - 1);

	if (mtu)
		padded = size_min(padded, mtu);
	return len - last + padded;
}

void send_run_end(struct send_run *run, size_t len, bool has_data, uint64_t now)
{
	struct peer *peer = run->peer;

	peer_count_sent(peer, len);
	if (timers_note_sent(&peer->timers, has_data, now))
		device_poke_peer(peer);
	if (noise_keypair_wants_rekey_after_send(run->kp, now))
		session_request(peer);
	noise_keypair_put(run->kp);
	peer_put(peer);
	memset(run, 0, sizeof(*run));
}

enum drop_reason receive_run_begin(struct device *device, uint32_t receiver,
				   uint64_t now, struct receive_run *run)
{
	struct noise_keypair *kp;
	struct peer *peer = NULL;

	rcu_enter();
	kp = index_lookup_keypair(&device->index, receiver);
	if (kp) {
		peer = kp->owner;
		if (peer_get(peer))
			noise_keypair_ref(kp);
		else
			kp = NULL;
	}
	rcu_leave();
	if (!kp)
		return DROP_NO_INDEX;
	if (!noise_keypair_can_receive(kp, now)) {
		noise_keypair_put(kp);
		peer_put(peer);
		return DROP_EXPIRED;
	}
	memset(run, 0, sizeof(*run));
	run->peer = peer;
	run->kp = kp;
	return DROP_NONE;
}

/* Is the peer the owner of the longest prefix that covers the source? */
static bool is_source_allowed(const struct peer *peer, const uint8_t *packet,
			      unsigned int version)
{
	const struct allowedips *table = &peer->device->allowedips;
	const struct allowedips_owner *owner;

	rcu_enter();
	if (version == IP_V4)
		owner = allowedips_lookup(table, IP_V4,
					  ipv4_view(packet)->saddr);
	else
		owner = allowedips_lookup(table, IP_V6,
					  ipv6_view(packet)->saddr);
	rcu_leave();
	return owner == &peer->allowedips;
}

/* Sets @packet_len to the length without padding. */
static enum drop_reason check_packet(const struct peer *peer,
				     const uint8_t *packet, size_t len,
				     size_t *packet_len)
{
	unsigned int version = ip_identify(packet, len);
	size_t total;

	if (!version)
		return DROP_BAD_PACKET;
	total = packet_total_len(packet, version);
	if (total > len ||
	    (version == IP_V4 && total < sizeof(struct ipv4_hdr)))
		return DROP_BAD_PACKET;
	if (!is_source_allowed(peer, packet, version))
		return DROP_BAD_SOURCE;
	*packet_len = total;
	return DROP_NONE;
}

enum drop_reason receive_run_take(struct receive_run *run, uint64_t counter,
				  const uint8_t *text, size_t text_len,
				  const struct device_endpoint *from,
				  size_t *packet_len)
{
	enum drop_reason reason;

	if (!noise_keypair_accept(run->kp, counter))
		return DROP_REPLAYED;
	/* The message is authentic and new, so the peer roams to its source,
	 * even if the packet inside is dropped below. */
	run->from = *from;
	run->n_taken++;
	if (text_len) {
		run->has_data = true;
		reason = check_packet(run->peer, text, text_len, packet_len);
		if (reason)
			return reason;
	} else {
		*packet_len = 0;
	}
	run->len += text_len + MESSAGE_DATA_OVERHEAD;
	return DROP_NONE;
}

/* If this run is the first to use a keypair that we made as responder, the
 * peer has the keys: make the keypair current. */
static void confirm(const struct receive_run *run, uint64_t realtime)
{
	struct peer *peer = run->peer;
	struct device *device = peer->device;

	if (!noise_keypairs_confirm(&peer->keypairs, run->kp))
		return;
	atomic_store_explicit(&peer->n_incomplete, 0, memory_order_relaxed);
	atomic_store_explicit(&peer->did_last_minute, false,
			      memory_order_relaxed);
	atomic_store_explicit(&peer->last_handshake_ns, realtime,
			      memory_order_relaxed);
	timers_note_handshake_done(&peer->timers);
	device_poke_peer(peer);
	device->ops->session_ready(device->arg, peer, false);
}

/* Asks for a new handshake, once, if the session is about to end while
 * packets still come in. */
static void check_last_minute(const struct receive_run *run, uint64_t now)
{
	struct peer *peer = run->peer;
	struct noise_keypair *current;

	if (!noise_keypair_wants_rekey_after_receive(run->kp, now))
		return;
	current = noise_keypairs_get_current(&peer->keypairs);
	if (current == run->kp &&
	    !atomic_exchange_explicit(&peer->did_last_minute, true,
				      memory_order_relaxed))
		session_request(peer);
	noise_keypair_put(current);
}

void receive_run_move(const struct receive_run *run)
{
	if (run->n_taken)
		device_learn_endpoint(run->peer, &run->from);
}

void receive_run_end(struct receive_run *run, uint64_t now, uint64_t realtime)
{
	struct peer *peer = run->peer;

	if (run->n_taken) {
		peer_count_received(peer, run->len);
		if (timers_note_received(&peer->timers, run->has_data, now))
			device_poke_peer(peer);
		confirm(run, realtime);
		check_last_minute(run, now);
	}
	noise_keypair_put(run->kp);
	peer_put(peer);
	memset(run, 0, sizeof(*run));
}
