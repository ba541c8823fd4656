/* SPDX-License-Identifier: MIT */
/*
 * A peer: its keys, its sessions, its endpoint, the packets that wait for it,
 * and its counters.
 *
 * References. The device's set of peers holds one while the peer is configured.
 * A thread that uses a peer after rcu_leave() takes one with peer_get().
 *
 * Removal. device_remove_peer() first takes the peer out of the set and out of
 * the trie, closes its handshake and empties its three slots for keypairs. From
 * then on no look-up by key, address or index finds the peer, and no session or
 * index can begin. Then it gives the reference of the set back. Until its
 * memory is freed these contexts can still use the peer:
 *
 *  (1) Readers between rcu_enter() and rcu_leave() that found the peer before.
 *	They may still take a reference, as long as the count is not 0. Each
 *	ends with its rcu_leave().
 *  (2) Threads and queues with a reference: a batch in a lane, a handshake in
 *	work, an engine's queue of peers that have something to send, and the
 *	list device.poked. Each ends with its peer_put(). The control thread
 *	finds that the peer is not configured and does nothing for it.
 *  (3) The keypairs, which name the peer as their owner. A slot or an index
 *	entry that is emptied gives its reference back, and so does a batch when
 *	it is through. With the last reference the keys are wiped.
 *
 * The peer_put() that brings the count to 0 ends (2). Another thread may have
 * staged a packet after the removal, and a peer that never was in the set has
 * an open handshake, so peer_put() closes and empties everything once more.
 * Then it hands the memory to RCU, which frees it when the readers of (1) have
 * left.
 *
 * Legend: [I] immutable after peer_new(), [a] atomic, [c] control thread only,
 * [m] under device.poke_lock. Members without a letter are locked inside.
 */
#ifndef DEVICE_PEER_H
#define DEVICE_PEER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/rcu.h"
#include "device/allowedips.h"
#include "device/endpoint.h"
#include "device/schedule.h"
#include "device/staged.h"
#include "device/timers.h"
#include "noise/cookie.h"
#include "noise/handshake.h"
#include "noise/keypair.h"

struct device;

enum {
	/* Events of a peer that are kept for later. A choice. */
	PEER_TRACE_LEN = 8,
};

/**
 * struct peer_notes - what the engine notes about a peer for its statistics
 * @n_bad_source:	packets dropped because their inner source is not the peer's
 * @bad_source_at:	when the last one came, in ns of CLOCK_REALTIME
 * @bad_source:		its source, in network order
 * @bad_source_version:	4 or 6; 0: there was none
 * @is_silent:		it does not answer our initiations
 * @is_incomplete:	it does not complete handshakes that we answer
 * @n_unanswered:	our initiations since a session with it last began
 * @initiation_at:	when the last of them left, in ns of CLOCK_REALTIME
 * @n_undecryptable:	its responses that did not decrypt; counted by the device
 * @undecryptable_at:	when the last one came, in ns of CLOCK_REALTIME
 * @send_error:		errno of the last message to it that the kernel refused
 * @send_error_at:	when that was, in ns of CLOCK_REALTIME; 0: never
 * @has_lost_trains:	trains to it are stopped, because they are lost on the way
 * @n_moves:		how often a message moved its endpoint
 * @n_returns:		how often its endpoint moved back to the one before
 * @moved_at:		when it last moved, in ns of CLOCK_REALTIME
 * @was:		the endpoint before that; sequence lock inside
 * @n_events:		events so far; number i is at i modulo PEER_TRACE_LEN
 * @trace:		the last events, each as ms of CLOCK_REALTIME shifted left
 *			by 16, or'ed with a number that the engine chooses
 *
 * All others are atomic. A reader may see the parts of two packets mixed; nothing but
 * what people read depends on them.
 */
struct peer_notes {
	_Atomic uint64_t n_bad_source;
	_Atomic uint64_t bad_source_at;
	_Atomic uint64_t bad_source[2];
	_Atomic uint32_t bad_source_version;
	_Atomic bool is_silent;
	_Atomic bool is_incomplete;
	_Atomic bool has_lost_trains;
	_Atomic int send_error;
	_Atomic uint64_t send_error_at;
	_Atomic uint64_t n_unanswered;
	_Atomic uint64_t initiation_at;
	_Atomic uint64_t n_undecryptable;
	_Atomic uint64_t undecryptable_at;
	_Atomic uint64_t n_moves;
	_Atomic uint64_t n_returns;
	_Atomic uint64_t moved_at;
	struct endpoint_cell was;
	_Atomic uint32_t n_events;
	_Atomic uint64_t trace[PEER_TRACE_LEN];
};

/**
 * struct peer - a peer
 * @rcu:		used after the last put
 * @refs:		[a] count of references
 * @device:		[I] borrowed: outlives every peer
 * @public_key:		[I]
 * @lane:		[I] the lane that its messages belong to (device_set_lanes())
 * @handshake:		locked inside
 * @keypairs:		locked inside
 * @cookie:		locked inside
 * @allowedips:		read under RCU, written by the control thread
 * @staged:		under the staged pool's lock
 * @timers:		see struct timers
 * @endpoint:		sequence lock inside
 * @tx_bytes:		[a] UDP payload handed to the socket: data, keepalives
 *			and messages of the handshake, but no cookie replies
 * @rx_bytes:		[a] UDP payload of messages that were authentic, new,
 *			and whose packet, if any, has an inner source that the
 *			peer owns
 * @last_handshake_ns:	[a] wall clock of the last session, 0: none
 * @returned_ns:	[a] when a message to this peer last came back through our
 *			own interface, 0: never
 * @n_screened:		[a] responses to the last initiation that have passed
 *			device_screen_handshake()
 * @n_checked:		[a] responses to the last initiation whose macs the
 *			handshaker has checked
 * @n_incomplete:	[a] our responses since a session with the peer last
 *			began
 * @did_last_minute:	[a] for this session a new handshake was asked for,
 *			because the session is about to end
 * @train_seat:		[a] for the engine: 1 plus the number of the peer's seat
 *			in struct trains; 0: it has no seat yet
 * @path_seat:		[a] for the engine: the same, in struct paths
 * @notes:		for the engine's statistics
 * @had_session:	[c] another process, for which this one goes on, had a
 *			session with the peer, and this one has not greeted it
 * @greet_ns:		[c] with @had_session, while the device is up: when to
 *			greet the peer
 * @record_seat:	for the recorder, under its lock: 1 plus the number of the
 *			peer's place in its memory; 0: none
 * @n_flushes:		[a] for the engine, if it has several outbound lanes:
 *			while this is not 0, staged packets of the peer are
 *			about to be sent by the first of them
 * @is_poked:		[m] is in device.poked
 * @poked:		[m] link of device.poked
 * @in_device:		[c] link of device.peers
 * @serial:		[c] grows in the order in which peers were added
 * @due:		[c] when the timers must be looked at
 * @is_configured:	[c] is in the device's set
 * @is_imported:	[c] another process was as this peer is (device/plain.h)
 */
struct peer {
	struct rcu_head rcu;
	_Atomic uint32_t refs;
	unsigned int lane;
	struct device *device;
	uint8_t public_key[NOISE_PUBLIC_KEY_LEN];
	struct noise_handshake handshake;
	struct noise_keypairs keypairs;
	struct cookie_maker cookie;
	struct allowedips_owner allowedips;
	struct staged_queue staged;
	struct timers timers;
	struct endpoint_cell endpoint;
	_Atomic uint64_t tx_bytes;
	_Atomic uint64_t rx_bytes;
	_Atomic uint64_t last_handshake_ns;
	_Atomic uint64_t returned_ns;
	_Atomic uint32_t n_screened;
	_Atomic uint32_t n_checked;
	_Atomic uint32_t n_incomplete;
	_Atomic bool did_last_minute;
	_Atomic uint16_t train_seat;
	_Atomic uint16_t path_seat;
	bool had_session;
	bool is_poked;
	bool is_configured;
	bool is_imported;
	struct peer_notes notes;
	uint64_t greet_ns;
	uint32_t record_seat;
	_Atomic uint32_t n_flushes;
	struct list poked;
	struct list in_device;
	uint64_t serial;
	struct schedule_entry due;
};

/**
 * peer_new() - make a peer that is not configured yet
 * @device:	device it will belong to
 * @public_key:	its key
 *
 * Control thread.
 *
 * Return: the peer with one reference; NULL if memory is short.
 */
struct peer *peer_new(struct device *device,
		      const uint8_t public_key[NOISE_PUBLIC_KEY_LEN]);

/**
 * peer_get() - take a reference, unless the count is 0
 * @peer:	peer found under RCU, or held already
 *
 * Any thread.
 *
 * Return: true; false if the last reference has gone.
 */
bool peer_get(struct peer *peer);

/**
 * peer_put() - give a reference back
 * @peer:	peer; the reference is consumed; NULL is ok
 *
 * Not between rcu_enter() and rcu_leave(). Any registered thread.
 */
void peer_put(struct peer *peer);

/**
 * peer_stop() - end sessions and timers, and drop staged packets
 * @peer:	peer
 *
 * Nothing starts again before peer_start(). Control thread.
 */
void peer_stop(struct peer *peer);

/**
 * peer_start() - let handshakes begin again
 * @peer:	stopped peer, or a new one
 *
 * Control thread.
 */
void peer_start(struct peer *peer);

/**
 * peer_has_session() - can a packet be sent now?
 * @peer:	peer
 * @now:	the present
 *
 * Any thread.
 *
 * Return: true if the current keypair is fit for sending.
 */
bool peer_has_session(struct peer *peer, uint64_t now);

/**
 * peer_count_sent() - count datagrams that the socket took for this peer
 * @peer:	peer
 * @len:	sum of their UDP payload
 *
 * Any thread.
 */
static inline void peer_count_sent(struct peer *peer, size_t len)
{
	atomic_fetch_add_explicit(&peer->tx_bytes, len, memory_order_relaxed);
}

/**
 * peer_count_received() - count accepted datagrams of this peer
 * @peer:	peer
 * @len:	sum of their UDP payload
 *
 * Any thread.
 */
static inline void peer_count_received(struct peer *peer, size_t len)
{
	atomic_fetch_add_explicit(&peer->rx_bytes, len, memory_order_relaxed);
}

#endif /* DEVICE_PEER_H */
