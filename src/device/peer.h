/* SPDX-License-Identifier: MIT */
/*
 * A peer: its keys, its sessions, where it is, what waits for it, and what was
 * counted.
 *
 * References. The device's set holds one as long as the peer is configured;
 * whoever uses a peer beyond rcu_leave() takes one with peer_get(). Removing a
 * peer (device_remove_peer()) closes its handshake and empties its slots first,
 * so nothing new starts and no index names it any more; the last peer_put()
 * then hands the memory to RCU, because a reader may still be looking at what
 * an index entry or the trie pointed to. The keys are wiped when the slots are
 * emptied and the last batch that holds a keypair is through.
 *
 * Legend: [I] immutable after peer_new(), [a] atomic, [c] control thread only,
 * [m] under device.poke_lock. The rest is members with locks of their own.
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

/**
 * struct peer - see above
 * @rcu:		after the last put
 * @refs:		[a]
 * @device:		[I] borrowed: outlives every peer
 * @public_key:		[I]
 * @handshake:		locked inside
 * @keypairs:		locked inside
 * @cookie:		locked inside
 * @allowedips:		read under RCU, written by the control thread
 * @staged:		under the staged pool's lock
 * @timers:		atomic, or the control thread's
 * @endpoint:		sequence counter inside
 * @tx_bytes:		[a] UDP payload handed to the socket: data, keepalives
 *			and messages of the handshake, but no cookie replies
 * @rx_bytes:		[a] UDP payload of messages that were authentic, new,
 *			and (for packets) from an address the peer may use
 * @last_handshake_ns:	[a] wall clock of the last session, 0: none
 * @returned_ns:	when a message to this peer last came back through our
 *			own interface, 0: never; belongs to the thread that has
 *			the right to take of the outbound lane
 * @n_screened:		[a] responses to the last initiation that were screened
 * @n_checked:		[a] responses to the last initiation whose macs the
 *		handshaker has checked
 * @did_last_minute:	[a] asked for a handshake because the session is about
 *			to end; once a session
 * @train_seat:		[a] the engine's: 1 plus the number of its seat in
 *			struct trains, 0: none yet
 * @is_poked:		[m] is in device.poked
 * @poked:		[m] link of device.poked
 * @in_device:		[c] link of device.peers
 * @serial:		[c] grows in the order in which peers were added
 * @due:		[c] when the timers must be looked at
 * @is_configured:	[c] is in the device's set
 */
struct peer {
	struct rcu_head rcu;
	_Atomic uint32_t refs;
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
	uint64_t returned_ns;
	_Atomic uint32_t n_screened;
	_Atomic uint32_t n_checked;
	_Atomic bool did_last_minute;
	_Atomic uint16_t train_seat;
	bool is_poked;
	struct list poked;
	struct list in_device;
	uint64_t serial;
	struct schedule_entry due;
	bool is_configured;
};

/**
 * peer_new() - a peer that is not configured yet
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
 * peer_get() - take a reference, if it is not too late
 * @peer:	peer found under RCU, or held already
 *
 * Any thread.
 *
 * Return: true; false if the last reference has gone.
 */
bool peer_get(struct peer *peer);

/**
 * peer_put() - give a reference back
 * @peer:	consumed; NULL is ok
 *
 * Not between rcu_enter() and rcu_leave(). Any registered thread.
 */
void peer_put(struct peer *peer);

/**
 * peer_stop() - end sessions, waits and what is staged
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
 * peer_has_session() - could something be sent now?
 * @peer:	peer
 * @now:	the present
 *
 * Any thread.
 *
 * Return: true if the current keypair is fit for sending.
 */
bool peer_has_session(struct peer *peer, uint64_t now);

/**
 * peer_count_sent() - the socket took datagrams for this peer
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
 * peer_count_received() - datagrams of this peer were accepted
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
