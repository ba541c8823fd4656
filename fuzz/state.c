/* SPDX-License-Identifier: MIT */
/*
 * A state that an enemy has handed over.
 *
 * The input makes the memory: a body, counters, and up to two peers with any of their
 * pieces, in which members have any values; the sum fits, because an enemy can make it
 * fit. Then some bytes may be changed without it. An early state may come first, made in
 * the same way. Promises: the memory is read within
 * its bounds; what is taken is applied to a device, or refused; what was applied is
 * found by its indexes, and comes back as it was when it is written again.
 */
#include "fuzz/fuzz.h"

#include <errno.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "device/config.h"
#include "fuzz/input.h"
#include "fuzz/quiet_device.h"
#include "handover/owner.h"
#include "handover/state.h"

#define NOW (UINT64_C(100000) * NSEC_PER_SEC)

enum {
	N_PEERS = 2,
	/* Bounds. Choices. */
	N_COUNTERS = 3,
	N_EDITS = 8,
	MEMORY_LEN = 16 * 1024,
	/* The bytes of a peer before its first number: its key. */
	KEY_LEN = NOISE_PUBLIC_KEY_LEN,
};

static bool is_endpoint(const struct device_endpoint *ep)
{
	return (ep->words[0] & 0xff) != 0xff;
}

/* ------------------------------------------------------------- the device */

static void make_key(uint8_t key[NOISE_PUBLIC_KEY_LEN], size_t i)
{
	memset(key, 0, NOISE_PUBLIC_KEY_LEN);
	key[0] = 9;
	key[1] = (uint8_t)i;
}

/* A device with a key and two peers, which is down. */
static void configure(struct device *device)
{
	const uint8_t own[NOISE_PRIVATE_KEY_LEN] = { 1, 2, 3 };
	uint8_t key[NOISE_PUBLIC_KEY_LEN];
	struct config *config = config_new();

	require(config && !config_set_private_key(config, own));
	require(!config_replace_peers(config));
	for (size_t i = 0; i < N_PEERS; i++) {
		make_key(key, i);
		require(!config_begin_peer(config, key));
	}
	require(!config_apply(config, device, NOW));
	config_free(config);
}

static void clear(struct device *device)
{
	struct config *config = config_new();

	device_set_up(device, false, NOW);
	require(config && !config_replace_peers(config));
	require(!config_apply(config, device, NOW));
	require(device->n_peers == 0 && device->index.table.n_entries == 0);
	config_free(config);
}

/* ------------------------------------------------------------- the memory */

/* A state that is being written: the next part begins at bytes. */
struct image {
	uint8_t *bytes;
	size_t len;
};

static void put(struct image *image, const void *from, size_t len)
{
	require(len <= MEMORY_LEN - image->len);
	memcpy(image->bytes + image->len, from, len);
	image->len += len;
}

/* Numbers at the bounds of what may be. */
static uint64_t pick(struct input *in)
{
	const uint64_t numbers[] = {
		0,
		1,
		NOW,
		NOW - NSEC_PER_SEC,
		NOW + NSEC_PER_SEC,
		NOW + NSEC_PER_SEC + 1,
		NOW + 16 * NSEC_PER_SEC,
		NOW + (UINT64_C(1) << 18) * NSEC_PER_SEC,
		REJECT_AFTER_MESSAGES,
		REJECT_AFTER_MESSAGES + 1,
		UINT64_MAX,
		UINT64_MAX / 2,
	};
	uint8_t i = input_byte(in);

	return i < ARRAY_LEN(numbers) ? numbers[i] : input_u64(in);
}

/* Changes single bytes or whole numbers behind the first @from bytes. */
static void edit(struct input *in, void *part, size_t len, size_t from)
{
	uint8_t *bytes = part;

	for (unsigned int n = input_byte(in) % N_EDITS; n; n--) {
		size_t at = from + input_u16(in) % (len - from);
		uint8_t kind = input_byte(in);
		uint64_t number;

		if (kind % 2) {
			bytes[at] = kind / 2;
			continue;
		}
		at = at / 8 * 8;
		number = pick(in);
		memcpy(bytes + at, &number, size_min(8, len - at));
	}
}

static void put_keypair(struct input *in, struct image *image, uint32_t index)
{
	struct noise_keypair_plain kp = {
		.sending = { 1 },
		.receiving = { 2 },
		.created_ns = NOW,
		.local_index = index,
	};
	uint64_t words[REPLAY_WORDS];
	size_t n = 0;

	kp.replay.next = input_u16(in);
	/* One byte for eight words of the ring: most of them are not stored. */
	for (unsigned int i = 0; i < 2 * 8; i++)
		kp.replay.stored[i / 8] |= (uint64_t)input_byte(in)
					   << i % 8 * 8;
	edit(in, &kp, sizeof(kp), 0);
	for (; n < replay_plain_count(&kp.replay); n++)
		words[n] = input_byte(in) % 2 ? UINT64_MAX - 1 : input_u64(in);
	put(image, &kp, sizeof(kp));
	put(image, words, n * sizeof(words[0]));
}

static void fill_plain(struct peer_plain *plain, size_t i, uint32_t index)
{
	*plain = (struct peer_plain){
		.tx_bytes = 1,
		.due_ns = SCHEDULE_NEVER,
		.timers = { .session_ns = NOW },
		.handshake = { .state = HANDSHAKE_CREATED_INITIATION,
			       .has_index = 1,
			       .local_index = index },
		.cookie = { .has_cookie = 1, .cookie_ns = NOW },
		.notes = { .n_moves = 1 },
	};
	make_key(plain->public_key, i);
}

/* Sets *@is_odd if a key may be that of another peer, or none. */
static void put_peer(struct input *in, struct image *image, size_t i,
		     bool *is_odd)
{
	struct state_peer head = { .pieces = input_byte(in) };
	size_t begin = image->len;
	uint32_t index = (uint32_t)(i * 4 + 1);
	struct peer_plain plain;

	fill_plain(&plain, i, index);
	edit(in, &plain, sizeof(plain), KEY_LEN);
	if (head.pieces >> 7) {
		plain.public_key[1] = input_byte(in) % 4;
		*is_odd = true;
		head.pieces &= 127;
	}
	put(image, &head, sizeof(head));
	for (unsigned int p = 0; p < STATE_KEYPAIR; p++)
		if (head.pieces >> p & 1)
			put(image,
			    (const uint8_t *)&plain + state_places[p].off,
			    state_places[p].len);
	for (unsigned int p = 0; p < NOISE_SLOTS; p++)
		if (head.pieces >> (STATE_KEYPAIR + p) & 1)
			put_keypair(in, image, index + p + 1);
	head.len = (uint32_t)(image->len - begin);
	memcpy(image->bytes + begin, &head, sizeof(head));
}

static void put_body(struct input *in, struct image *image,
		     struct device *device, bool is_early,
		     struct state_body *body)
{
	const struct state_counter counter = { "name", 1 };

	*body = (struct state_body){
		.written_ns = NOW,
		.n_counters = input_byte(in) % (N_COUNTERS + 1),
		.n_peers = N_PEERS,
		.n_all = N_PEERS,
		.is_early = is_early,
	};
	device_export(device, &body->device);
	body->device.is_up = 1;
	edit(in, body, sizeof(*body), 0);
	put(image, body, sizeof(*body));
	for (size_t i = 0; i < body->n_counters % (N_COUNTERS + 1); i++) {
		struct state_counter made = counter;

		edit(in, &made, sizeof(made), 0);
		put(image, &made, sizeof(made));
	}
}

/* Return: the order of the peers is that of the device. */
static bool make_memory(struct input *in, struct image *image,
			struct device *device, bool is_early)
{
	struct state_head head = {
		.magic = STATE_MAGIC,
		.version = STATE_VERSION,
		.owner = OWNER_PREDECESSOR,
		.build = state_build(),
	};
	struct state_body body;
	bool is_odd = false;

	image->len = sizeof(head);
	put_body(in, image, device, is_early, &body);
	for (size_t i = 0; i < N_PEERS; i++)
		put_peer(in, image, i, &is_odd);
	head.len = image->len;
	input_take(in, head.sum_key, 1);
	edit(in, &head, sizeof(head), 0);
	if (head.len >= sizeof(head) && head.len <= image->len)
		head.sum =
			state_sum(image->bytes, (size_t)head.len, head.sum_key);
	memcpy(image->bytes, &head, sizeof(head));
	return !is_odd;
}

/* ------------------------------------------------------------ the promises */

static void check_peer(struct peer *peer)
{
	const struct index *index = &peer->device->index;
	struct noise_keypair *slots[] = { peer->keypairs.current,
					  peer->keypairs.previous,
					  peer->keypairs.next };

	rcu_enter();
	for (size_t i = 0; i < ARRAY_LEN(slots); i++)
		require(!slots[i] ||
			index_lookup_keypair(index, slots[i]->local_index) ==
				slots[i]);
	require(!peer->handshake.has_index ||
		index_lookup_awaiting(index, peer->handshake.local_index) ==
			&peer->handshake);
	rcu_leave();
}

/* Use what was applied: nothing that an invariant rests on is broken. */
static void use_peers(struct device *device)
{
	struct list *item;
	uint64_t first;
	size_t n = 1;

	list_for_each(item, &device->peers) {
		struct peer *peer = container_of(item, struct peer, in_device);
		struct noise_keypair *kp = peer->keypairs.current;

		check_peer(peer);
		if (!kp)
			continue;
		(void)noise_keypair_reserve_near(kp, &n, &first);
		n = 1;
		(void)noise_keypair_accept(kp, kp->replay.next);
		(void)noise_keypair_accept(kp, kp->replay.next / 2);
	}
}

static void use(struct device *device)
{
	use_peers(device);
	device_tick(device, NOW);
	device_tick(device, NOW + 1000 * NSEC_PER_SEC);
}

/* Write it again: all behind the head must be the same. */
static void write_again(const struct state *state, struct device *device)
{
	static _Alignas(8) uint8_t bytes[MEMORY_LEN + 2 * STATE_PEER_MAX_LEN];
	struct state_counter counters[N_COUNTERS];
	struct store store = { bytes, sizeof(bytes), -1, false };
	const size_t head_len = sizeof(struct state_head);

	for (size_t i = 0; i < state->n_counters; i++)
		state_get_counter(state, i, &counters[i]);
	require(!state_write(&store, device, NULL, counters, state->n_counters,
			     state->written_ns));
	require(((struct state_head *)(void *)bytes)->len == state->len);
	require(!memcmp(bytes + head_len, state->bytes + head_len,
			state->len - head_len));
}

/* Read exactly these bytes. Return: 0: they were applied. */
static int read_memory(struct device *device, const uint8_t *bytes, size_t len,
		       struct state *state)
{
	int err;

	*state = (struct state){ .is_endpoint = is_endpoint };
	require(state_check(state, bytes, len) == !state->why);
	if (state->why)
		return -EBADMSG;
	err = state_apply(state, device, NOW);
	require(err == 0 || err == -ESTALE || err == -EINVAL);
	return err;
}

/* Have the device go on for a state that the input tells. Return: 0: it can be used. */
static int take_state(struct input *in, struct device *device, bool is_early)
{
	static _Alignas(8) uint8_t bytes[MEMORY_LEN];
	struct image image = { bytes, 0 };
	bool is_in_order = make_memory(in, &image, device, is_early);
	struct state state;
	uint8_t *copy;
	int err;

	for (unsigned int n = input_byte(in) % 4; n; n--)
		bytes[input_u16(in) % image.len] ^= input_byte(in);
	/* The memory may be shorter, and no byte of it may be read behind its end. */
	if (input_byte(in) % 8 == 7)
		image.len = input_u16(in) % image.len;
	copy = malloc(image.len + 1);
	require(copy);
	memcpy(copy, bytes, image.len);
	err = read_memory(device, copy, image.len, &state);
	if (err == 0 && is_in_order && !state.is_early &&
	    state.n_peers == N_PEERS && state.n_counters <= N_COUNTERS)
		write_again(&state, device);
	if (err == 0 && state.is_early)
		use_peers(device);
	free(copy);
	return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct device *device = quiet_device_get();
	struct input in = { data, len };
	bool has_early;
	int err = 0;

	configure(device);
	has_early = input_byte(&in) % 2;
	if (has_early)
		err = take_state(&in, device, true);
	if (err == 0)
		err = take_state(&in, device, false);
	if (err == 0)
		use(device);
	clear(device);
	return 0;
}
