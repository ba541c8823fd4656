/* SPDX-License-Identifier: MIT */
/* The predecessor's side of a state. Keypairs are written to the memory at once, so
 * their keys are in no other place; all else of a peer is first gathered in a struct
 * peer_plain, whose pieces are copied unless they are all zero. */
#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "crypto/secret.h"
#include "handover/owner.h"
#include "handover/state.h"

/* Where the next part goes: @left bytes from @at on. */
struct writer {
	uint8_t *at;
	size_t left;
};

static void put(struct writer *w, const void *bytes, size_t len)
{
	INVARIANT(len <= w->left);
	memcpy(w->at, bytes, len);
	w->at += len;
	w->left -= len;
}

/* Returns true if the slot is not empty. */
static bool put_keypair(struct writer *w, struct noise_keypairs *kps,
			enum noise_slot slot)
{
	struct noise_keypair_plain *plain = (void *)w->at;
	size_t len;

	INVARIANT(w->left >= STATE_KEYPAIR_MAX_LEN);
	if (!noise_keypairs_export(kps, slot, plain, (void *)(plain + 1)))
		return false;
	len = sizeof(*plain) +
	      replay_plain_count(&plain->replay) * sizeof(uint64_t);
	w->at += len;
	w->left -= len;
	return true;
}

/* There is room for STATE_PEER_MAX_LEN. */
static void put_peer(struct writer *w, struct peer *peer,
		     const struct peer_plain *plain)
{
	struct state_peer *head = (void *)w->at;

	put(w, &(struct state_peer){ 0 }, sizeof(*head));
	for (unsigned int i = 0; i < STATE_KEYPAIR; i++) {
		const struct state_place *place = &state_places[i];
		const uint8_t *piece = (const uint8_t *)plain + place->off;

		if (bytes_are_zero(piece, place->len))
			continue;
		head->pieces |= 1U << i;
		put(w, piece, place->len);
	}
	for (unsigned int i = 0; i < NOISE_SLOTS; i++)
		if (put_keypair(w, &peer->keypairs, i))
			head->pieces |= 1U << (STATE_KEYPAIR + i);
}

static int put_peers(struct writer *w, struct device *device, uint64_t now)
{
	struct peer_plain plain = { 0 };
	struct list *item;
	int err = 0;

	list_for_each(item, &device->peers) {
		struct peer *peer = container_of(item, struct peer, in_device);

		if (w->left < STATE_PEER_MAX_LEN) {
			err = -ENOSPC;
			break;
		}
		peer_export(peer, now, &plain);
		put_peer(w, peer, &plain);
	}
	secret_zero(&plain, sizeof(plain));
	return err;
}

static int put_body(struct writer *w, struct device *device,
		    const struct state_counter *counters, size_t n_counters,
		    uint64_t now)
{
	struct state_body body = {
		.written_ns = now,
		.n_counters = (uint32_t)n_counters,
		.n_peers = (uint32_t)device->n_peers,
	};

	if (w->left < sizeof(body) ||
	    w->left - sizeof(body) < n_counters * sizeof(*counters))
		return -ENOSPC;
	device_export(device, &body.device);
	put(w, &body, sizeof(body));
	secret_zero(&body, sizeof(body));
	put(w, counters, n_counters * sizeof(*counters));
	return put_peers(w, device, now);
}

int state_write(struct store *store, struct device *device,
		const struct state_counter *counters, size_t n_counters,
		uint64_t now)
{
	struct state_head *head = (void *)store->bytes;
	struct writer w;
	int err;

	INVARIANT(n_counters <= STATE_COUNTERS_MAX);
	if (store->len < sizeof(*head))
		return -ENOSPC;
	w.at = store->bytes + sizeof(*head);
	w.left = size_min(store->len, STATE_MAX_LEN) - sizeof(*head);
	err = put_body(&w, device, counters, n_counters, now);
	if (err < 0) {
		secret_zero(store->bytes, (size_t)(w.at - store->bytes));
		return err;
	}
	head->version = STATE_VERSION;
	head->build = state_build();
	head->len = (uint64_t)(w.at - store->bytes);
	device->ops->random(device->arg, head->sum_key, sizeof(head->sum_key));
	head->sum = state_sum(store->bytes, (size_t)head->len, head->sum_key);
	/* Partner: owner_take(). */
	atomic_store_explicit(&head->owner, OWNER_PREDECESSOR,
			      memory_order_relaxed);
	/* Partner: state_check() in the successor. */
	atomic_store_explicit(&head->magic, STATE_MAGIC, memory_order_release);
	return 0;
}

/* ---------------------------------------------------------------- length */

static size_t measure_keypairs(struct peer *peer)
{
	struct noise_keypair_plain plain;
	uint64_t words[REPLAY_WORDS];
	size_t len = 0;

	for (unsigned int i = 0; i < NOISE_SLOTS; i++)
		if (noise_keypairs_export(&peer->keypairs, i, &plain, words))
			len += sizeof(plain) +
			       replay_plain_count(&plain.replay) *
				       sizeof(words[0]);
	secret_zero(&plain, sizeof(plain));
	return len;
}

size_t state_get_len(struct device *device, size_t n_counters)
{
	/* The last peer is written only if there is room for a peer of any length.
	 * The number is a choice: windows of that many sessions may fill up. */
	size_t spare = 64 * (size_t)STATE_PEER_MAX_LEN;
	size_t len = sizeof(struct state_head) + sizeof(struct state_body) +
		     n_counters * sizeof(struct state_counter);
	struct list *item;

	list_for_each(item, &device->peers) {
		len += sizeof(struct state_peer) + sizeof(struct peer_plain);
		len += measure_keypairs(
			container_of(item, struct peer, in_device));
	}
	return size_min(len + len / 4 + spare, STATE_MAX_LEN);
}
