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

/*
 * Where the next part goes: @left bytes from @at on.
 *
 * @early:	peers that were written before, in the same order: @early_left bytes. The
 *		successor may write to them, so nothing in them is taken on trust.
 */
struct writer {
	uint8_t *at;
	size_t left;
	const uint8_t *early;
	size_t early_left;
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
	head->len = (uint32_t)(w->at - (const uint8_t *)head);
}

/* Is the peer of @len bytes that is written last the next one of the early state? */
static bool is_as_before(struct writer *w, size_t len)
{
	struct state_peer early;
	bool is_same;

	if (w->early_left < sizeof(early))
		return false;
	memcpy(&early, w->early, sizeof(early));
	if (early.len < sizeof(early) || early.len > w->early_left)
		return false;
	is_same = early.len == len && memcmp(w->early, w->at - len, len) == 0;
	w->early += early.len;
	w->early_left -= early.len;
	return is_same;
}

/* Writes the peers that are not in the early state as they are now. */
static int put_peers(struct writer *w, struct device *device, uint64_t now,
		     uint32_t *n)
{
	struct peer_plain plain = { 0 };
	struct list *item;
	int err = 0;

	*n = 0;
	list_for_each(item, &device->peers) {
		struct peer *peer = container_of(item, struct peer, in_device);
		const uint8_t *begin = w->at;
		size_t len;

		if (w->left < STATE_PEER_MAX_LEN) {
			err = -ENOSPC;
			break;
		}
		peer_export(peer, now, &plain);
		put_peer(w, peer, &plain);
		len = (size_t)(w->at - begin);
		if (is_as_before(w, len)) {
			/* The next peer, or state_close(), overwrites it. */
			w->at -= len;
			w->left += len;
		} else {
			++*n;
		}
	}
	secret_zero(&plain, sizeof(plain));
	return err;
}

/* The parts of a state that are not of the device. */
struct extra {
	const struct state_counter *counters;
	size_t n_counters;
	bool is_early;
};

static int put_body(struct writer *w, struct device *device,
		    const struct extra *extra, uint64_t now)
{
	struct state_body *at = (void *)w->at;
	struct state_body body = {
		.written_ns = now,
		.n_counters = (uint32_t)extra->n_counters,
		.n_all = (uint32_t)device->n_peers,
		.is_early = extra->is_early,
	};

	if (w->left < sizeof(body) ||
	    w->left - sizeof(body) <
		    extra->n_counters * sizeof(*extra->counters))
		return -ENOSPC;
	device_export(device, &body.device);
	put(w, &body, sizeof(body));
	secret_zero(&body, sizeof(body));
	if (extra->n_counters)
		put(w, extra->counters,
		    extra->n_counters * sizeof(*extra->counters));
	return put_peers(w, device, now, &at->n_peers);
}

/* Partner: state_check() in the successor. */
static void finish(struct state_head *head, struct device *device, size_t len)
{
	head->version = STATE_VERSION;
	head->build = state_build();
	head->len = len;
	device->ops->random(device->arg, head->sum_key, sizeof(head->sum_key));
	head->sum = state_sum((const uint8_t *)head, len, head->sum_key);
	/* Partner: owner_take(). */
	atomic_store_explicit(&head->owner, OWNER_PREDECESSOR,
			      memory_order_relaxed);
	atomic_store_explicit(&head->magic, STATE_MAGIC, memory_order_release);
}

static int write_state(struct store *store, struct device *device,
		       struct writer *w, const struct extra *extra,
		       uint64_t now)
{
	int err;

	INVARIANT(extra->n_counters <= STATE_COUNTERS_MAX);
	if (store->len < sizeof(struct state_head))
		return -ENOSPC;
	w->at = store->bytes + sizeof(struct state_head);
	w->left =
		size_min(store->len, STATE_MAX_LEN) - sizeof(struct state_head);
	err = put_body(w, device, extra, now);
	if (err < 0)
		secret_zero(store->bytes, (size_t)(w->at - store->bytes));
	else
		finish((void *)store->bytes, device,
		       (size_t)(w->at - store->bytes));
	return err;
}

int state_write_early(struct store *store, struct device *device, uint64_t now)
{
	const struct extra extra = { .is_early = true };
	struct writer w = { 0 };

	return write_state(store, device, &w, &extra, now);
}

int state_write(struct store *store, struct device *device,
		const struct store *early, const struct state_counter *counters,
		size_t n_counters, uint64_t now)
{
	const struct extra extra = {
		.counters = counters,
		.n_counters = n_counters,
	};
	size_t begin = sizeof(struct state_head) + sizeof(struct state_body);
	struct writer w = { 0 };

	if (early && early->len > begin) {
		w.early = early->bytes + begin;
		w.early_left = early->len - begin;
	}
	return write_state(store, device, &w, &extra, now);
}

void state_close(struct store *store)
{
	secret_zero(store->bytes, store->len);
	store_close(store);
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
	/* put_peers() writes a peer only if there is room for the longest one. The
	 * number is a choice: 64 peers may become as long as that. */
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
