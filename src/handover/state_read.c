/* SPDX-License-Identifier: MIT */
/* The successor's side of a state. Each part is copied out of the memory, and judged,
 * before a number of it is used; state_check() and state_apply() do this by the same
 * functions. */
#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "crypto/secret.h"
#include "handover/owner.h"
#include "handover/state.h"

/* Two threads read the clock at slightly different times. A choice. */
static const uint64_t slack_ns = NSEC_PER_SEC;
/* No clock gets there: 146 years. So sums of times do not overflow. */
static const uint64_t max_ns = UINT64_C(1) << 62;

/* A keypair that was copied out. */
struct keypair_copy {
	struct noise_keypair_plain plain;
	uint64_t words[REPLAY_WORDS];
};

/*
 * A peer that was copied out.
 *
 * @pieces:	as in struct state_peer
 * @plain:	pieces that are not there are zero
 * @keypairs:	filled if the piece is there
 */
struct peer_copy {
	uint32_t pieces;
	struct peer_plain plain;
	struct keypair_copy keypairs[NOISE_SLOTS];
};

/*
 * Where the reading is.
 *
 * @bytes, @len:	the state
 * @off:		where the next part begins, at most @len
 * @is_endpoint:	judges endpoints
 * @body:		copied out and judged
 */
struct reader {
	const uint8_t *bytes;
	size_t len;
	size_t off;
	plain_endpoint_fn is_endpoint;
	struct state_body body;
};

/* Copies the next @len bytes out. Returns false if there are fewer. */
static bool take(struct reader *r, void *to, size_t len)
{
	if (len > r->len - r->off)
		return false;
	memcpy(to, r->bytes + r->off, len);
	/* The copy is made here, and the memory is not read again. */
	atomic_signal_fence(memory_order_seq_cst);
	r->off += len;
	return true;
}

/* ------------------------------------------------------------------ head */

static const char *check_head(const struct state_head *head, size_t len)
{
	if (head->magic != STATE_MAGIC)
		return "it was not finished, or is none";
	if (head->version != STATE_VERSION || head->build != state_build())
		return "it has the form of another version of the program; a "
		       "restart of the tunnel is needed";
	if (head->owner != OWNER_PREDECESSOR)
		return "the engine that has written it goes on";
	if (head->len > len || head->len < sizeof(*head))
		return "it was cut off";
	if (head->zero)
		return "its head makes no sense";
	return NULL;
}

/* Reads the head. Returns what is wrong, or NULL. */
static const char *open_state(struct state *state, const uint8_t *bytes,
			      size_t len)
{
	struct reader r = { .bytes = bytes, .len = len };
	struct state_head head;
	const char *why;

	if (!take(&r, &head, sizeof(head)))
		return "it was cut off";
	why = check_head(&head, len);
	if (why)
		return why;
	if (state_sum(bytes, (size_t)head.len, head.sum_key) != head.sum)
		return "it is damaged";
	state->bytes = bytes;
	state->len = (size_t)head.len;
	return NULL;
}

/* ------------------------------------------------------------------ body */

/* No point of time but a deadline lies after this one. */
static uint64_t latest_of(const struct reader *r)
{
	return r->body.written_ns + slack_ns;
}

static const char *check_body(const struct reader *r)
{
	const struct state_body *body = &r->body;

	if (!body->written_ns || body->written_ns > max_ns)
		return "its time makes no sense";
	if (body->n_counters > STATE_COUNTERS_MAX ||
	    body->n_all > DEVICE_MAX_PEERS || body->n_peers > body->n_all)
		return "it has too many parts";
	if (body->is_early > 1)
		return "its body makes no sense";
	if (!device_plain_is_sound(&body->device, latest_of(r)))
		return "its device makes no sense";
	return NULL;
}

/* Begins behind the head. Returns what is wrong, or NULL. The caller wipes @r. */
static const char *open_reader(struct reader *r, const struct state *state)
{
	*r = (struct reader){
		.bytes = state->bytes,
		.len = state->len,
		.off = sizeof(struct state_head),
		.is_endpoint = state->is_endpoint,
	};
	if (!take(r, &r->body, sizeof(r->body)))
		return "it was cut off";
	return check_body(r);
}

static bool is_counter_sound(const struct state_counter *counter)
{
	size_t len = strnlen(counter->name, sizeof(counter->name));

	for (size_t i = 0; i < len; i++)
		if (counter->name[i] <= ' ' || counter->name[i] > '~')
			return false;
	return len && len < sizeof(counter->name) &&
	       bytes_are_zero(counter->name + len, sizeof(counter->name) - len);
}

static const char *read_counters(struct reader *r)
{
	struct state_counter counter;

	for (uint32_t i = 0; i < r->body.n_counters; i++) {
		if (!take(r, &counter, sizeof(counter)))
			return "it was cut off";
		if (!is_counter_sound(&counter))
			return "a counter makes no sense";
	}
	return NULL;
}

/* ----------------------------------------------------------------- peers */

static bool has_piece(const struct peer_copy *peer, unsigned int piece)
{
	return peer->pieces >> piece & 1;
}

static const char *read_plain(struct reader *r, struct peer_copy *peer)
{
	for (unsigned int i = 0; i < STATE_KEYPAIR; i++) {
		const struct state_place *place = &state_places[i];
		uint8_t *piece = (uint8_t *)&peer->plain + place->off;

		if (!has_piece(peer, i)) {
			memset(piece, 0, place->len);
			continue;
		}
		if (!take(r, piece, place->len))
			return "it was cut off";
		if (bytes_are_zero(piece, place->len))
			return "a piece of a peer is empty";
	}
	if (!has_piece(peer, STATE_CORE) ||
	    !peer_plain_is_sound(&peer->plain, &r->body.device, latest_of(r),
				 r->is_endpoint))
		return "a peer makes no sense";
	return NULL;
}

static const char *read_keypair(struct reader *r, const struct peer_copy *peer,
				enum noise_slot slot, struct keypair_copy *kp)
{
	const struct device_plain *device = &r->body.device;
	size_t n_words;

	if (!take(r, &kp->plain, sizeof(kp->plain)))
		return "it was cut off";
	n_words = replay_plain_count(&kp->plain.replay);
	if (n_words && !take(r, kp->words, n_words * sizeof(kp->words[0])))
		return "it was cut off";
	if (!device->is_up ||
	    !noise_keypair_plain_is_sound(&kp->plain, slot, kp->words,
					  latest_of(r)) ||
	    index_lane(kp->plain.local_index, device->n_lanes) !=
		    peer->plain.lane)
		return "a keypair makes no sense";
	return NULL;
}

static const char *read_pieces(struct reader *r, struct peer_copy *peer)
{
	const char *why = read_plain(r, peer);

	for (unsigned int i = 0; !why && i < NOISE_SLOTS; i++)
		if (has_piece(peer, STATE_KEYPAIR + i))
			why = read_keypair(r, peer, i, &peer->keypairs[i]);
	return why;
}

/* Reads the next peer. Returns what is wrong, or NULL. *@end: where the peer after it
 * begins; 0: this is not known, because the head of the peer is wrong. */
static const char *read_peer(struct reader *r, struct peer_copy *peer,
			     size_t *end)
{
	size_t left = r->len - r->off;
	struct state_peer head;
	const char *why;

	*end = 0;
	if (!take(r, &head, sizeof(head)))
		return "it was cut off";
	if (head.len < sizeof(head) || head.len > left ||
	    head.pieces >> STATE_PIECES)
		return "the head of a peer makes no sense";
	*end = r->off - sizeof(head) + head.len;
	peer->pieces = head.pieces;
	why = read_pieces(r, peer);
	return !why && r->off != *end ? "the length of a peer is wrong" : why;
}

/* Counts the sessions. Returns what is wrong, or NULL. */
static const char *read_peers(struct reader *r, uint32_t *n_sessions)
{
	struct peer_copy peer;
	const char *why = NULL;
	size_t end;

	*n_sessions = 0;
	for (uint32_t i = 0; !why && i < r->body.n_peers; i++) {
		why = read_peer(r, &peer, &end);
		if (!why && has_piece(&peer, STATE_KEYPAIR + NOISE_CURRENT))
			++*n_sessions;
	}
	secret_zero(&peer, sizeof(peer));
	if (!why && r->off != r->len)
		return "there is more behind its end";
	return why;
}

/* Reads all behind the head. Returns what is wrong, or NULL. */
static const char *read_all(struct state *state)
{
	struct reader r;
	const char *why = open_reader(&r, state);

	if (!why)
		why = read_counters(&r);
	if (!why && !r.body.is_early)
		why = read_peers(&r, &state->n_sessions);
	state->written_ns = r.body.written_ns;
	state->n_counters = r.body.n_counters;
	state->n_peers = r.body.n_peers;
	state->is_early = r.body.is_early;
	state->is_up = r.body.device.is_up;
	secret_zero(&r, sizeof(r));
	return why;
}

bool state_check(struct state *state, const uint8_t *bytes, size_t len)
{
	*state = (struct state){ .is_endpoint = state->is_endpoint };
	state->why = open_state(state, bytes, len);
	if (!state->why)
		state->why = read_all(state);
	return !state->why;
}

void state_get_counter(const struct state *state, size_t i,
		       struct state_counter *out)
{
	INVARIANT(i < state->n_counters);
	memcpy(out,
	       state->bytes + sizeof(struct state_head) +
		       sizeof(struct state_body) + i * sizeof(*out),
	       sizeof(*out));
	out->name[sizeof(out->name) - 1] = 0;
}

/* ----------------------------------------------------------------- apply */

/* Finds the peer of a key. *@next is the peer that comes next in the device, which is
 * the one if both devices have their peers in one order. */
static struct peer *match(struct device *device, struct list **next,
			  const uint8_t key[NOISE_PUBLIC_KEY_LEN])
{
	struct peer *peer = NULL;

	if (*next != &device->peers)
		peer = container_of(*next, struct peer, in_device);
	if (!peer || memcmp(peer->public_key, key, NOISE_PUBLIC_KEY_LEN) != 0)
		peer = device_lookup_peer(device, key);
	if (peer)
		*next = peer->in_device.next;
	return peer;
}

static int apply_peer(struct peer *peer, const struct peer_copy *copy,
		      const struct device_plain *was)
{
	int err = peer_import(peer, &copy->plain, was);

	for (unsigned int i = 0; err == 0 && i < NOISE_SLOTS; i++)
		if (has_piece(copy, STATE_KEYPAIR + i))
			err = noise_keypairs_import(&peer->keypairs, i,
						    &peer->handshake,
						    &copy->keypairs[i].plain,
						    copy->keypairs[i].words);
		else
			noise_keypairs_import_none(&peer->keypairs, i);
	noise_keypairs_unreserve(&peer->keypairs);
	if (err < 0)
		peer_import_none(peer);
	/* Only what is in the memory can be wrong. */
	return err == -EEXIST ? -EINVAL : err;
}

/* In an early state a peer may be wrong that has changed while it was written. It will
 * come again. */
static int apply_next(struct reader *r, struct device *device,
		      struct list **next, struct peer_copy *copy)
{
	size_t end;
	const char *why = read_peer(r, copy, &end);
	struct peer *peer;
	int err = -EINVAL;

	if (!end)
		return err;
	if (!why) {
		peer = match(device, next, copy->plain.public_key);
		err = peer ? apply_peer(peer, copy, &r->body.device) : -ESTALE;
	}
	r->off = end;
	return err == -EINVAL && r->body.is_early ? 0 : err;
}

static int apply_peers(struct reader *r, struct device *device)
{
	struct list *next = device->peers.next;
	struct peer_copy copy;
	int err = 0;

	for (uint32_t i = 0; err == 0 && i < r->body.n_peers; i++)
		err = apply_next(r, device, &next, &copy);
	secret_zero(&copy, sizeof(copy));
	return err;
}

void state_prepare(struct device *device)
{
	noise_local_reserve_keypairs(&device->local, device->n_peers);
	device_reserve_import(device);
}

static int apply_all(struct reader *r, struct device *device, uint64_t now)
{
	int err;

	if (r->body.written_ns > now + slack_ns || read_counters(r))
		return -EINVAL;
	if (r->body.n_all != device->n_peers)
		return -ESTALE;
	err = device_import(device, &r->body.device, now);
	if (err == 0)
		err = apply_peers(r, device);
	if (err == 0 && !r->body.is_early &&
	    device->n_imported != device->n_peers)
		err = -EINVAL;
	return err;
}

int state_apply(const struct state *state, struct device *device, uint64_t now)
{
	struct reader r;
	int err = open_reader(&r, state) ? -EINVAL : 0;

	if (err == 0)
		err = apply_all(&r, device, now);
	secret_zero(&r, sizeof(r));
	if (err < 0 || state->is_early)
		return err;
	/* For the deadlines of peers, and for sources that were not checked yet. */
	device->ops->wake(device->arg);
	device->ops->endpoint_learnt(device->arg);
	return 0;
}
