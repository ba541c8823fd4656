/* SPDX-License-Identifier: MIT */
/*
 * The life of a peer. peer.h says who can hold a peer when it is removed, and
 * what ends each of these uses.
 */
#include "device/peer.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "crypto/siphash.h"
#include "device/device.h"

struct peer *peer_new(struct device *device,
		      const uint8_t public_key[NOISE_PUBLIC_KEY_LEN])
{
	struct peer *peer = calloc(1, sizeof(*peer));

	if (!peer)
		return NULL;
	if (noise_handshake_init(&peer->handshake, &device->local, public_key,
				 peer) < 0) {
		free(peer);
		return NULL;
	}
	atomic_init(&peer->refs, 1);
	peer->device = device;
	memcpy(peer->public_key, public_key, sizeof(peer->public_key));
	if (device->index.n_lanes > 1)
		peer->lane =
			(unsigned int)(siphash(public_key, NOISE_PUBLIC_KEY_LEN,
					       device->hash_key) >>
				       32) %
			device->index.n_lanes;
	noise_keypairs_init(&peer->keypairs, &device->local);
	cookie_maker_init(&peer->cookie, public_key);
	allowedips_owner_init(&peer->allowedips);
	staged_queue_init(&peer->staged);
	timers_init(&peer->timers);
	endpoint_cell_init(&peer->endpoint);
	endpoint_cell_init(&peer->notes.was);
	list_init(&peer->poked);
	list_init(&peer->in_device);
	schedule_entry_init(&peer->due);
	return peer;
}

bool peer_get(struct peer *peer)
{
	uint32_t refs = atomic_load_explicit(&peer->refs, memory_order_relaxed);

	do {
		if (refs == 0)
			return false;
		INVARIANT(refs < UINT32_MAX / 2);
	} while (!atomic_compare_exchange_weak_explicit(
		&peer->refs, &refs, refs + 1, memory_order_relaxed,
		memory_order_relaxed));
	return true;
}

/* After the grace period: no thread can reach the peer any more. */
static void release(struct rcu_head *head)
{
	struct peer *peer = container_of(head, struct peer, rcu);

	noise_keypairs_deinit(&peer->keypairs);
	noise_handshake_deinit(&peer->handshake);
	cookie_maker_deinit(&peer->cookie);
	free(peer);
}

void peer_put(struct peer *peer)
{
	if (!peer)
		return;
	/* Release: this user's accesses come before the count goes down.
	 * Acquire: the thread that brings the count to 0 sees the accesses of
	 * all users before it frees. */
	if (atomic_fetch_sub_explicit(&peer->refs, 1, memory_order_acq_rel) > 1)
		return;
	INVARIANT(!peer->is_configured && list_is_empty(&peer->in_device));
	/* The index table points into the peer, so no entry may be made once
	 * the grace period has begun. */
	noise_handshake_close(&peer->handshake);
	noise_keypairs_clear(&peer->keypairs);
	staged_clear(peer->device->staged, &peer->staged);
	rcu_free_later(&peer->rcu, release);
}

void peer_stop(struct peer *peer)
{
	noise_handshake_close(&peer->handshake);
	noise_keypairs_clear(&peer->keypairs);
	staged_clear(peer->device->staged, &peer->staged);
	timers_stop(&peer->timers);
	schedule_set(&peer->device->schedule, &peer->due, SCHEDULE_NEVER);
}

void peer_start(struct peer *peer)
{
	/* Packets that another thread staged during peer_stop() are too old to
	 * be sent now. */
	staged_clear(peer->device->staged, &peer->staged);
	timers_stop(&peer->timers);
	noise_handshake_reopen(&peer->handshake);
}

bool peer_has_session(struct peer *peer, uint64_t now)
{
	struct noise_keypair *kp = noise_keypairs_get_current(&peer->keypairs);
	bool can_send = kp && noise_keypair_can_send(kp, now);

	noise_keypair_put(kp);
	return can_send;
}
