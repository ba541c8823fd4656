/* SPDX-License-Identifier: MIT */
/* A state of any bytes, in steps: whatever was read before, each step stays within the
 * memory. */
#include "any.h"

#include "handover/state_read.c"

/* The calls out of the file. Each reads no more than it was given, and decides in any
 * way. */

uint64_t siphash(const void *in, size_t len, const uint8_t key[SIPHASH_KEY_LEN])
{
	//@ check sum: \valid_read((uint8_t *)in + (0 .. len - 1));
	//@ check key: \valid_read(key + (0 .. SIPHASH_KEY_LEN - 1));
	return Frama_C_unsigned_long_interval(0, UINT64_MAX);
}

void secret_zero(void *buf, size_t len)
{
	memset(buf, 0, len);
}

bool device_plain_is_sound(const struct device_plain *plain, uint64_t latest)
{
	//@ check device: \initialized(plain);
	return Frama_C_nondet(0, 1);
}

bool peer_plain_is_sound(const struct peer_plain *plain,
			 const struct device_plain *device, uint64_t latest,
			 plain_endpoint_fn is_endpoint)
{
	//@ check peer: \initialized(plain);
	return Frama_C_nondet(0, 1);
}

bool noise_keypair_plain_is_sound(const struct noise_keypair_plain *plain,
				  enum noise_slot slot,
				  const uint64_t words[REPLAY_WORDS],
				  uint64_t latest)
{
	//@ check keypair: \initialized(plain);
	return Frama_C_nondet(0, 1);
}

/* A reader that has come to any place: @left bytes are left. */
static struct reader any_reader(uint8_t *bytes, size_t len, size_t left)
{
	struct reader r = { .bytes = bytes, .len = len, .off = len - left };

	Frama_C_make_unknown((char *)&r.body, sizeof(r.body));
	/* See device_plain_is_sound(). */
	r.body.device.n_lanes =
		Frama_C_unsigned_int_interval(1, INDEX_LANES_MAX);
	return r;
}

static void prove_keypair(size_t left)
{
	uint8_t *bytes = any_bytes(left);
	struct reader r = any_reader(bytes, left, left);
	struct keypair_copy kp;
	struct peer_copy peer;

	Frama_C_make_unknown((char *)&peer.plain, sizeof(peer.plain));
	(void)read_keypair(&r, &peer, NOISE_CURRENT, &kp);
	//@ check place: r.off <= r.len;
	free(bytes);
}

static void prove_plain(size_t left)
{
	uint8_t *bytes = any_bytes(left);
	struct reader r = any_reader(bytes, left, left);
	struct peer_copy peer;

	peer.pieces = Frama_C_unsigned_int_interval(0, 127);
	(void)read_plain(&r, &peer);
	//@ check place: r.off <= r.len;
	free(bytes);
}

static void prove_head(size_t len)
{
	uint8_t *bytes = any_bytes(len);
	struct state state;

	if (!open_state(&state, bytes, len)) {
		//@ check length: sizeof(struct state_head) <= state.len <= len;
	}
	free(bytes);
}

/* Of a whole state: one counter, and the head of one peer. */
static void prove_all(size_t len)
{
	uint8_t *bytes = any_bytes(len);
	struct state state = { .is_endpoint = NULL };

	(void)state_check(&state, bytes, len);
	free(bytes);
}

static void prove_counter(size_t n)
{
	const size_t begin =
		sizeof(struct state_head) + sizeof(struct state_body);
	size_t len = begin + n * sizeof(struct state_counter);
	uint8_t *bytes = any_bytes(len);
	struct state state = { .bytes = bytes, .len = len };
	struct state_counter counter;

	state.n_counters = n;
	for (size_t i = 0; i < n; i++)
		state_get_counter(&state, i, &counter);
	free(bytes);
}

int main(void)
{
	const size_t core = state_places[STATE_CORE].len;
	const size_t begin =
		sizeof(struct state_head) + sizeof(struct state_body);

	for (size_t len = 0; len <= sizeof(struct state_head) + 8; len++)
		prove_head(len);
	for (size_t left = 0; left <= 8; left++) {
		prove_keypair(left);
		prove_keypair(sizeof(struct noise_keypair_plain) - 4 + left);
		prove_plain(left);
		prove_plain(core - 4 + left);
		prove_plain(sizeof(struct peer_plain) - 4 + left);
	}
	prove_all(0);
	prove_all(sizeof(struct state_head));
	prove_all(begin - 1);
	prove_all(begin);
	prove_all(begin + sizeof(struct state_counter) - 1);
	prove_all(begin + sizeof(struct state_counter));
	prove_counter(2);
	prove_keypair(STATE_KEYPAIR_MAX_LEN - 8);
	prove_keypair(STATE_KEYPAIR_MAX_LEN);
	must_be_reached();
	return 0;
}
