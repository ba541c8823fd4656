/* SPDX-License-Identifier: MIT */
/* Copies members to numbers and back. Numbers that come from another process are judged
 * by the functions ..._is_sound() first. */
#include "device/plain.h"

#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"

/* How far deadlines may lie behind the latest point of time: the longest persistent
 * interval is UINT16_MAX seconds, and the greetings of DEVICE_MAX_PEERS take less. */
static const uint64_t ahead_ns = (UINT64_C(1) << 17) * NSEC_PER_SEC;

static uint64_t get(const _Atomic uint64_t *from)
{
	return atomic_load_explicit(from, memory_order_relaxed);
}

static void set(_Atomic uint64_t *to, uint64_t value)
{
	atomic_store_explicit(to, value, memory_order_relaxed);
}

static uint32_t get32(const _Atomic uint32_t *from)
{
	return atomic_load_explicit(from, memory_order_relaxed);
}

static void set32(_Atomic uint32_t *to, uint32_t value)
{
	atomic_store_explicit(to, value, memory_order_relaxed);
}

static uint8_t get_flag(const _Atomic bool *from)
{
	return atomic_load_explicit(from, memory_order_relaxed);
}

static void set_flag(_Atomic bool *to, uint8_t value)
{
	atomic_store_explicit(to, value != 0, memory_order_relaxed);
}

static void export_endpoint(const struct endpoint_cell *cell,
			    uint64_t words[ENDPOINT_WORDS])
{
	struct device_endpoint ep;

	endpoint_cell_get(cell, &ep);
	memcpy(words, ep.words, sizeof(ep.words));
}

static void import_endpoint(struct endpoint_cell *cell,
			    const uint64_t words[ENDPOINT_WORDS])
{
	struct device_endpoint ep;

	memcpy(ep.words, words, sizeof(ep.words));
	endpoint_cell_set(cell, &ep);
}

/* Are these words one, or none at all? */
static bool is_endpoint_sound(const uint64_t words[ENDPOINT_WORDS],
			      plain_endpoint_fn is_endpoint)
{
	struct device_endpoint ep;

	memcpy(ep.words, words, sizeof(ep.words));
	return bytes_are_zero(&ep, sizeof(ep)) || is_endpoint(&ep);
}

/* ------------------------------------------------------------- the device */

void device_export(struct device *device, struct device_plain *out)
{
	memset(out, 0, sizeof(*out));
	(void)noise_local_get_keys(&device->local, NULL, out->public_key);
	cookie_checker_export(&device->checker, &out->checker);
	out->generation = device->generation;
	out->n_lanes = device->index.n_lanes;
	out->fwmark = device->fwmark;
	out->listen_port = device->listen_port;
	out->is_up = get_flag(&device->is_up);
}

bool device_plain_is_sound(const struct device_plain *plain, uint64_t latest)
{
	return cookie_checker_plain_is_sound(&plain->checker, latest) &&
	       plain->n_lanes >= 1 && plain->n_lanes <= INDEX_LANES_MAX &&
	       plain->is_up <= 1 &&
	       bytes_are_zero(plain->zero, sizeof(plain->zero));
}

void device_reserve_import(struct device *device)
{
	struct list *item;
	size_t n = 0;

	list_for_each(item, &device->peers) {
		struct peer *peer = container_of(item, struct peer, in_device);

		if (peer->had_session &&
		    noise_keypairs_reserve(&peer->keypairs) == 0)
			n++;
	}
	(void)index_reserve(&device->index, n);
}

/* peer_import() sets the times of greetings. Times that are planned before it would only
 * make it slow. */
static void forget_sessions(struct device *device)
{
	struct list *item;

	list_for_each(item, &device->peers)
		container_of(item, struct peer, in_device)->had_session = false;
}

int device_import(struct device *device, const struct device_plain *in,
		  uint64_t now)
{
	uint8_t own[NOISE_PUBLIC_KEY_LEN] = { 0 };
	bool is_up = get_flag(&device->is_up);

	(void)noise_local_get_keys(&device->local, NULL, own);
	if (memcmp(own, in->public_key, sizeof(own)) != 0 ||
	    device->index.n_lanes != in->n_lanes ||
	    device->fwmark != in->fwmark ||
	    device->listen_port != in->listen_port ||
	    (device->n_imported && is_up != in->is_up))
		return -ESTALE;
	cookie_checker_import(&device->checker, &in->checker);
	device->generation = in->generation;
	if (in->is_up && !is_up) {
		forget_sessions(device);
		device_set_up(device, true, now);
	}
	return 0;
}

/* -------------------------------------------------------------- the notes */

static void export_notes(const struct peer_notes *notes,
			 struct peer_notes_plain *out)
{
	out->n_bad_source = get(&notes->n_bad_source);
	out->bad_source_at = get(&notes->bad_source_at);
	out->bad_source[0] = get(&notes->bad_source[0]);
	out->bad_source[1] = get(&notes->bad_source[1]);
	out->send_error_at = get(&notes->send_error_at);
	out->n_unanswered = get(&notes->n_unanswered);
	out->initiation_at = get(&notes->initiation_at);
	out->n_undecryptable = get(&notes->n_undecryptable);
	out->undecryptable_at = get(&notes->undecryptable_at);
	out->n_moves = get(&notes->n_moves);
	out->n_returns = get(&notes->n_returns);
	out->moved_at = get(&notes->moved_at);
	export_endpoint(&notes->was, out->was);
	for (size_t i = 0; i < PEER_TRACE_LEN; i++)
		out->trace[i] = get(&notes->trace[i]);
	out->bad_source_version = get32(&notes->bad_source_version);
	out->send_error =
		atomic_load_explicit(&notes->send_error, memory_order_relaxed);
	out->n_events = get32(&notes->n_events);
	out->is_silent = get_flag(&notes->is_silent);
	out->is_incomplete = get_flag(&notes->is_incomplete);
}

static bool are_notes_sound(const struct peer_notes_plain *plain,
			    plain_endpoint_fn is_endpoint)
{
	return (plain->bad_source_version == 0 ||
		plain->bad_source_version == IP_V4 ||
		plain->bad_source_version == IP_V6) &&
	       plain->is_silent <= 1 && plain->is_incomplete <= 1 &&
	       bytes_are_zero(plain->zero, sizeof(plain->zero)) &&
	       is_endpoint_sound(plain->was, is_endpoint);
}

static void import_notes(struct peer_notes *notes,
			 const struct peer_notes_plain *in)
{
	set(&notes->n_bad_source, in->n_bad_source);
	set(&notes->bad_source_at, in->bad_source_at);
	set(&notes->bad_source[0], in->bad_source[0]);
	set(&notes->bad_source[1], in->bad_source[1]);
	set(&notes->send_error_at, in->send_error_at);
	set(&notes->n_unanswered, in->n_unanswered);
	set(&notes->initiation_at, in->initiation_at);
	set(&notes->n_undecryptable, in->n_undecryptable);
	set(&notes->undecryptable_at, in->undecryptable_at);
	set(&notes->n_moves, in->n_moves);
	set(&notes->n_returns, in->n_returns);
	set(&notes->moved_at, in->moved_at);
	import_endpoint(&notes->was, in->was);
	for (size_t i = 0; i < PEER_TRACE_LEN; i++)
		set(&notes->trace[i], in->trace[i]);
	set32(&notes->bad_source_version, in->bad_source_version);
	atomic_store_explicit(&notes->send_error, in->send_error,
			      memory_order_relaxed);
	set32(&notes->n_events, in->n_events);
	set_flag(&notes->is_silent, in->is_silent);
	set_flag(&notes->is_incomplete, in->is_incomplete);
}

/* ---------------------------------------------------------------- the peer */

static uint64_t due_of(const struct peer *peer, uint64_t now)
{
	struct device *device = peer->device;
	bool is_poked;

	if (!atomic_load_explicit(&device->is_up, memory_order_relaxed))
		return SCHEDULE_NEVER;
	pthread_mutex_lock(&device->poke_lock);
	is_poked = peer->is_poked;
	pthread_mutex_unlock(&device->poke_lock);
	return is_poked ? now : peer->due.due_ns;
}

void peer_export(struct peer *peer, uint64_t now, struct peer_plain *out)
{
	memset(out, 0, sizeof(*out));
	memcpy(out->public_key, peer->public_key, sizeof(out->public_key));
	out->tx_bytes = get(&peer->tx_bytes);
	out->rx_bytes = get(&peer->rx_bytes);
	out->last_handshake_ns = get(&peer->last_handshake_ns);
	out->returned_ns = get(&peer->returned_ns);
	/* A greeting that was done has left its time. */
	out->greet_ns = peer->had_session ? peer->greet_ns : 0;
	out->due_ns = due_of(peer, now);
	export_endpoint(&peer->endpoint, out->endpoint);
	timers_export(&peer->timers, &out->timers);
	out->lane = peer->lane;
	out->n_screened = get32(&peer->n_screened);
	out->n_checked = get32(&peer->n_checked);
	out->n_incomplete = get32(&peer->n_incomplete);
	out->did_last_minute = get_flag(&peer->did_last_minute);
	out->had_session = peer->had_session;
	noise_handshake_export(&peer->handshake, &out->handshake);
	cookie_maker_export(&peer->cookie, &out->cookie);
	export_notes(&peer->notes, &out->notes);
}

/* Nothing is under way in a device that is down. */
static bool is_idle(const struct peer_plain *plain)
{
	return plain->handshake.state == HANDSHAKE_ZEROED &&
	       plain->due_ns == SCHEDULE_NEVER;
}

static bool are_times_sound(const struct peer_plain *plain, uint64_t latest)
{
	return plain->returned_ns <= latest &&
	       (plain->had_session ? plain->greet_ns <= latest + ahead_ns
				   : !plain->greet_ns) &&
	       (plain->due_ns == SCHEDULE_NEVER ||
		plain->due_ns <= latest + ahead_ns);
}

bool peer_plain_is_sound(const struct peer_plain *plain,
			 const struct device_plain *device, uint64_t latest,
			 plain_endpoint_fn is_endpoint)
{
	const struct noise_handshake_plain *hs = &plain->handshake;

	if (plain->lane >= device->n_lanes || plain->did_last_minute > 1 ||
	    plain->had_session > 1 ||
	    !bytes_are_zero(plain->zero, sizeof(plain->zero)) ||
	    !are_times_sound(plain, latest) ||
	    !timers_plain_is_sound(&plain->timers, latest) ||
	    !noise_handshake_plain_is_sound(hs, latest) ||
	    !cookie_maker_plain_is_sound(&plain->cookie, latest))
		return false;
	if (hs->has_index &&
	    index_lane(hs->local_index, device->n_lanes) != plain->lane)
		return false;
	return (device->is_up || is_idle(plain)) &&
	       is_endpoint_sound(plain->endpoint, is_endpoint) &&
	       are_notes_sound(&plain->notes, is_endpoint);
}

int peer_import(struct peer *peer, const struct peer_plain *in,
		const struct device_plain *was)
{
	/* The lanes are chosen by a key that each process draws. The indexes of the
	 * sessions stay, so their lane counts. */
	peer->lane = in->lane;
	set(&peer->tx_bytes, in->tx_bytes);
	set(&peer->rx_bytes, in->rx_bytes);
	set(&peer->last_handshake_ns, in->last_handshake_ns);
	set(&peer->returned_ns, in->returned_ns);
	import_endpoint(&peer->endpoint, in->endpoint);
	timers_import(&peer->timers, &in->timers);
	set32(&peer->n_screened, in->n_screened);
	set32(&peer->n_checked, in->n_checked);
	set32(&peer->n_incomplete, in->n_incomplete);
	set_flag(&peer->did_last_minute, in->did_last_minute);
	peer->had_session = in->had_session;
	cookie_maker_import(&peer->cookie, &in->cookie);
	import_notes(&peer->notes, &in->notes);
	/* If the other device was down, deadlines are those of device_set_up() of this
	 * one, if it is up. */
	if (was->is_up) {
		peer->greet_ns = in->greet_ns;
		schedule_set(&peer->device->schedule, &peer->due, in->due_ns);
	}
	if (!peer->is_imported)
		peer->device->n_imported++;
	peer->is_imported = true;
	return noise_handshake_import(&peer->handshake, &in->handshake);
}

void peer_import_none(struct peer *peer)
{
	if (peer->is_imported)
		peer->device->n_imported--;
	peer->is_imported = false;
	(void)noise_keypairs_clear(&peer->keypairs);
	noise_handshake_clear(&peer->handshake);
}
