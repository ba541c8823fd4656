/* SPDX-License-Identifier: MIT */
#include "handover_world.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "device/config.h"
#include "device/handshake.h"
#include "random.h"

const struct state_counter handover_counters[HANDOVER_COUNTERS] = {
	{ "tun_rx_packets", 7 },
	{ "dropped{reason=\"forged\"}", UINT64_MAX },
	{ "x", 0 },
};

void handover_seed(void)
{
	random_seed();
}

uint64_t handover_random(void)
{
	return random_next();
}

static void fill(void *to, size_t len)
{
	uint8_t *bytes = to;

	while (len--)
		*bytes++ = (uint8_t)random_next();
}

static bool maybe(void)
{
	return random_below(2);
}

/* A point of time in the last hour, or none. */
static uint64_t past(void)
{
	return maybe() ? HANDOVER_NOW - random_next() % (3600 * NSEC_PER_SEC)
		       : 0;
}

static void add_peers(struct config *config, size_t n_peers, uint64_t seed)
{
	for (size_t i = 0; i < n_peers; i++) {
		uint8_t key[NOISE_PUBLIC_KEY_LEN] = { 9, (uint8_t)i,
						      (uint8_t)seed };

		assert_int_equal(config_begin_peer(config, key), 0);
		assert_int_equal(config_set_persistent(config, 25), 0);
	}
}

void handover_device_init(struct device_fake *fake, size_t n_peers,
			  unsigned int n_lanes, uint64_t seed)
{
	const uint8_t key[NOISE_PRIVATE_KEY_LEN] = { 1, 2, 3 };
	struct config *config = config_new();

	assert_non_null(config);
	device_fake_init(fake);
	/* Each process draws its own. */
	fill(fake->device.hash_key, sizeof(fake->device.hash_key));
	fake->seed = random_next();
	device_set_lanes(&fake->device, n_lanes);
	assert_int_equal(config_set_private_key(config, key), 0);
	assert_int_equal(config_set_listen_port(config, 51820), 0);
	assert_int_equal(config_set_fwmark(config, 77), 0);
	add_peers(config, n_peers, seed);
	assert_int_equal(config_apply(config, &fake->device, HANDOVER_NOW), 0);
	config_free(config);
	device_set_up(&fake->device, true, HANDOVER_NOW);
	device_tick(&fake->device, HANDOVER_NOW);
}

struct peer *handover_peer(struct device_fake *fake, size_t i)
{
	struct list *item = fake->device.peers.next;

	while (i--)
		item = item->next;
	return container_of(item, struct peer, in_device);
}

/* ------------------------------------------------------------ in the middle */

static void set_endpoint(struct endpoint_cell *cell)
{
	struct device_endpoint ep = { 0 };

	if (maybe())
		return;
	snprintf((char *)ep.words, ENDPOINT_LEN, "192.0.2.%u:%u",
		 random_below(256), random_below(65536));
	ep.words[ENDPOINT_MARK] = random_below(4);
	endpoint_cell_set(cell, &ep);
}

/* A window after none, few, many messages, of which some were lost. */
static void fill_window(struct noise_keypair *kp)
{
	const unsigned int most[] = { 0, 1, 64, 100, 8128, 8192, 30000 };
	uint32_t n = most[random_below(ARRAY_LEN(most))];
	bool is_lossless = maybe();
	uint64_t from = random_below(8) ? 0 : random_next() >> 1;

	for (uint32_t i = 0; i < n; i++)
		if (is_lossless || random_below(100))
			(void)noise_keypair_accept(kp, from + i);
}

struct noise_keypair *handover_add_keypair(struct peer *peer,
					   enum noise_slot slot)
{
	struct noise_keypairs *kps = &peer->keypairs;
	struct device *device = peer->device;
	struct noise_keypair *kp = noise_keypair_new(&device->local);
	struct noise_keypair **slots[NOISE_SLOTS] = {
		[NOISE_CURRENT] = &kps->current,
		[NOISE_PREVIOUS] = &kps->previous,
		[NOISE_NEXT] = &kps->next,
	};

	assert_non_null(kp);
	fill(kp->keys, sizeof(*kp->keys));
	kp->created_ns = HANDOVER_NOW - random_next() % NSEC_PER_SEC;
	kp->owner = peer;
	kp->remote_index = (uint32_t)random_next();
	assert_int_equal(index_new(&device->index, &peer->handshake, peer->lane,
				   &kp->local_index),
			 0);
	assert_int_equal(index_replace(&device->index, kp->local_index,
				       &peer->handshake, kp),
			 0);
	assert_null(*slots[slot]);
	*slots[slot] = kp;
	if (slot == NOISE_CURRENT)
		kps->end_ns = kp->created_ns + REJECT_AFTER_TIME * NSEC_PER_SEC;
	return kp;
}

static void fill_keypairs(struct peer *peer)
{
	for (unsigned int i = 0; i < NOISE_SLOTS; i++) {
		struct noise_keypair *kp;

		if (maybe())
			continue;
		kp = handover_add_keypair(peer, i);
		kp->is_initiator = i != NOISE_NEXT && maybe();
		kp->send_counter = random_next() >> random_below(64);
		if (kp->send_counter > REJECT_AFTER_MESSAGES)
			kp->send_counter = REJECT_AFTER_MESSAGES;
		kp->is_unsendable = i == NOISE_PREVIOUS && maybe();
		fill_window(kp);
	}
}

static void make_initiation(struct peer *peer)
{
	const struct device_endpoint ep = { { 'e' } };
	struct message_initiation msg;
	struct device_endpoint to;

	endpoint_cell_set(&peer->endpoint, &ep);
	assert_int_equal(device_make_initiation(peer, HANDOVER_NOW,
						HANDOVER_NOW, &msg, &to),
			 0);
}

/* A handshake in any state. */
static void fill_handshake(struct peer *peer)
{
	struct noise_handshake *hs = &peer->handshake;

	if (maybe())
		make_initiation(peer);
	hs->taken_ns = past();
	hs->has_taken = hs->taken_ns != 0;
	fill(&hs->taken_timestamp, sizeof(hs->taken_timestamp));
	fill(&hs->sent_timestamp, sizeof(hs->sent_timestamp));
	if (hs->state == HANDSHAKE_ZEROED)
		return;
	hs->state = 1 + random_below(4);
	hs->remote_index = (uint32_t)random_next();
	fill(hs->remote_ephemeral, sizeof(hs->remote_ephemeral));
}

static void fill_cookie(struct cookie_maker *maker)
{
	maker->cookie_ns = past();
	maker->has_cookie = maker->cookie_ns != 0;
	memset(maker->cookie, 0, sizeof(maker->cookie));
	if (maker->has_cookie)
		fill(maker->cookie, sizeof(maker->cookie));
}

static void fill_timers(struct timers *timers)
{
	timers->unanswered_ns = past();
	timers->owed_ns = past();
	timers->traversal_ns = past();
	timers->session_ns = past();
	timers->handshake_sent_ns = past();
	timers->persistent_s = (uint16_t)random_next();
	timers->wants_handshake = maybe();
	timers->has_responded = maybe();
	timers->is_done = maybe();
	timers->has_new_wait = maybe();
	timers->armed = maybe();
	timers->is_attempting = maybe();
	timers->attempt_ns = past();
	timers->retry_ns = past() + 10 * NSEC_PER_SEC;
	timers->jitter_ns = random_next() % (333 * NSEC_PER_MSEC);
	timers->n_tries = (uint32_t)random_next();
}

static void fill_notes(struct peer_notes *notes)
{
	const uint32_t versions[] = { 0, 4, 6 };

	if (maybe())
		return;
	notes->n_bad_source = random_next();
	notes->bad_source_at = random_next();
	notes->bad_source[0] = random_next();
	notes->bad_source[1] = random_next();
	notes->bad_source_version = versions[random_below(3)];
	notes->is_silent = maybe();
	notes->is_incomplete = maybe();
	notes->has_lost_trains = maybe();
	notes->send_error = -(int)random_below(100);
	notes->send_error_at = random_next();
	notes->n_unanswered = random_next();
	notes->initiation_at = random_next();
	notes->n_undecryptable = random_next();
	notes->undecryptable_at = random_next();
	notes->n_moves = random_next();
	notes->n_returns = random_next();
	notes->moved_at = random_next();
	set_endpoint(&notes->was);
	notes->n_events = (uint32_t)random_next();
	for (size_t i = 0; i < PEER_TRACE_LEN; i++)
		notes->trace[i] = random_next();
}

static void fill_peer(struct peer *peer)
{
	struct schedule *schedule = &peer->device->schedule;

	set_endpoint(&peer->endpoint);
	fill_keypairs(peer);
	fill_handshake(peer);
	fill_cookie(&peer->cookie);
	fill_timers(&peer->timers);
	fill_notes(&peer->notes);
	peer->tx_bytes = random_next();
	peer->rx_bytes = random_next();
	peer->last_handshake_ns = random_next();
	peer->returned_ns = past();
	peer->n_screened = (uint32_t)random_next();
	peer->n_checked = (uint32_t)random_next();
	peer->n_incomplete = (uint32_t)random_next();
	peer->did_last_minute = maybe();
	peer->had_session = maybe();
	if (peer->had_session)
		peer->greet_ns = HANDOVER_NOW + random_next() % NSEC_PER_SEC;
	schedule_set(schedule, &peer->due,
		     maybe() ? HANDOVER_NOW + random_next() % NSEC_PER_SEC
			     : SCHEDULE_NEVER);
}

void handover_device_fill(struct device_fake *fake)
{
	struct cookie_checker *checker = &fake->device.checker;
	struct list *item;

	list_for_each(item, &fake->device.peers)
		fill_peer(container_of(item, struct peer, in_device));
	fake->device.generation = random_next();
	checker->secret_ns = past();
	checker->has_secret = checker->secret_ns != 0;
	if (checker->has_secret)
		fill(checker->secret, sizeof(checker->secret));
}

/* The keypair has sent and received more. */
static void use_keypair(struct noise_keypair *kp)
{
	if (kp->send_counter < REJECT_AFTER_MESSAGES)
		kp->send_counter++;
	if (kp->replay.next < REJECT_AFTER_MESSAGES)
		(void)noise_keypair_accept(kp, kp->replay.next);
}

size_t handover_device_change(struct device_fake *fake)
{
	size_t n = 0;

	for (size_t i = 0; i < fake->device.n_peers; i++) {
		struct peer *peer = handover_peer(fake, i);

		if (maybe())
			continue;
		n++;
		peer->tx_bytes++;
		if (maybe()) {
			if (peer->keypairs.current)
				use_keypair(peer->keypairs.current);
			if (peer->keypairs.next)
				use_keypair(peer->keypairs.next);
			continue;
		}
		noise_keypairs_clear(&peer->keypairs);
		fill_keypairs(peer);
		fill_timers(&peer->timers);
		fill_cookie(&peer->cookie);
		if (maybe())
			make_initiation(peer);
		else
			noise_handshake_clear(&peer->handshake);
	}
	return n;
}

/* -------------------------------------------------------------- comparison */

#define SAME(a, b) assert_memory_equal(&(a), &(b), sizeof(a))

static void compare_keypairs(const struct peer *a, const struct peer *b,
			     const struct noise_keypair *x,
			     const struct noise_keypair *y)
{
	assert_int_equal(!x, !y);
	if (!x)
		return;
	SAME(*x->keys, *y->keys);
	SAME(x->replay, y->replay);
	SAME(x->created_ns, y->created_ns);
	SAME(x->local_index, y->local_index);
	SAME(x->remote_index, y->remote_index);
	assert_true(x->send_counter == y->send_counter);
	assert_int_equal(x->is_initiator, y->is_initiator);
	assert_int_equal(x->is_unsendable, y->is_unsendable);
	assert_ptr_equal(x->owner, a);
	assert_ptr_equal(y->owner, b);
	/* One of the slot, one of the index. */
	assert_int_equal(y->refs, 2);
	rcu_enter();
	assert_ptr_equal(
		index_lookup_keypair(&b->device->index, y->local_index), y);
	assert_ptr_equal(
		index_lookup_handshake(&b->device->index, y->local_index),
		&b->handshake);
	rcu_leave();
}

static void compare_handshakes(const struct noise_handshake *x,
			       const struct noise_handshake *y,
			       const struct index *index)
{
	SAME(*x->secrets, *y->secrets);
	SAME(x->state, y->state);
	SAME(x->has_index, y->has_index);
	SAME(x->has_taken, y->has_taken);
	SAME(x->has_static_static, y->has_static_static);
	SAME(x->local_index, y->local_index);
	SAME(x->remote_index, y->remote_index);
	SAME(x->remote_ephemeral, y->remote_ephemeral);
	SAME(x->taken_timestamp, y->taken_timestamp);
	SAME(x->taken_ns, y->taken_ns);
	SAME(x->sent_timestamp, y->sent_timestamp);
	assert_false(y->is_closed);
	if (!y->has_index)
		return;
	rcu_enter();
	assert_ptr_equal(index_lookup_awaiting(index, y->local_index), y);
	rcu_leave();
}

static void compare_endpoints(const struct endpoint_cell *x,
			      const struct endpoint_cell *y)
{
	struct device_endpoint a, b;

	endpoint_cell_get(x, &a);
	endpoint_cell_get(y, &b);
	SAME(a, b);
}

static void compare_notes(const struct peer_notes *x,
			  const struct peer_notes *y)
{
	SAME(x->n_bad_source, y->n_bad_source);
	SAME(x->bad_source_at, y->bad_source_at);
	SAME(x->bad_source, y->bad_source);
	SAME(x->bad_source_version, y->bad_source_version);
	SAME(x->is_silent, y->is_silent);
	SAME(x->is_incomplete, y->is_incomplete);
	assert_false(y->has_lost_trains);
	SAME(x->send_error, y->send_error);
	SAME(x->send_error_at, y->send_error_at);
	SAME(x->n_unanswered, y->n_unanswered);
	SAME(x->initiation_at, y->initiation_at);
	SAME(x->n_undecryptable, y->n_undecryptable);
	SAME(x->undecryptable_at, y->undecryptable_at);
	SAME(x->n_moves, y->n_moves);
	SAME(x->n_returns, y->n_returns);
	SAME(x->moved_at, y->moved_at);
	compare_endpoints(&x->was, &y->was);
	SAME(x->n_events, y->n_events);
	SAME(x->trace, y->trace);
}

static void compare_cookies(const struct cookie_maker *x,
			    const struct cookie_maker *y)
{
	SAME(x->mac1_key, y->mac1_key);
	SAME(x->reply_key, y->reply_key);
	SAME(x->sent_mac1, y->sent_mac1);
	SAME(x->cookie, y->cookie);
	SAME(x->cookie_ns, y->cookie_ns);
	SAME(x->sent_ns, y->sent_ns);
	SAME(x->has_sent_mac1, y->has_sent_mac1);
	SAME(x->has_cookie, y->has_cookie);
}

static void compare_peers(const struct peer *a, const struct peer *b)
{
	const struct noise_keypairs *x = &a->keypairs, *y = &b->keypairs;

	SAME(a->public_key, b->public_key);
	SAME(a->lane, b->lane);
	compare_keypairs(a, b, x->current, y->current);
	compare_keypairs(a, b, x->previous, y->previous);
	compare_keypairs(a, b, x->next, y->next);
	SAME(x->end_ns, y->end_ns);
	compare_handshakes(&a->handshake, &b->handshake, &b->device->index);
	compare_cookies(&a->cookie, &b->cookie);
	SAME(a->timers, b->timers);
	compare_endpoints(&a->endpoint, &b->endpoint);
	compare_notes(&a->notes, &b->notes);
	SAME(a->tx_bytes, b->tx_bytes);
	SAME(a->rx_bytes, b->rx_bytes);
	SAME(a->last_handshake_ns, b->last_handshake_ns);
	SAME(a->returned_ns, b->returned_ns);
	SAME(a->n_screened, b->n_screened);
	SAME(a->n_checked, b->n_checked);
	SAME(a->n_incomplete, b->n_incomplete);
	SAME(a->did_last_minute, b->did_last_minute);
	SAME(a->had_session, b->had_session);
	SAME(a->greet_ns, b->greet_ns);
	SAME(a->due.due_ns, b->due.due_ns);
}

void handover_compare(struct device_fake *a, struct device_fake *b)
{
	const struct cookie_checker *x = &a->device.checker,
				    *y = &b->device.checker;

	assert_int_equal(a->device.n_peers, b->device.n_peers);
	for (size_t i = 0; i < a->device.n_peers; i++)
		compare_peers(handover_peer(a, i), handover_peer(b, i));
	assert_int_equal(a->device.index.table.n_entries,
			 b->device.index.table.n_entries);
	SAME(a->device.generation, b->device.generation);
	SAME(x->secret, y->secret);
	SAME(x->secret_ns, y->secret_ns);
	SAME(x->has_secret, y->has_secret);
}

static void make_store(struct store *store, struct device_fake *fake)
{
	size_t len = state_get_len(&fake->device, HANDOVER_COUNTERS);

	assert_int_equal(store_new(store, len, SECRET_PRIVATE), 0);
}

void handover_write(struct store *store, struct device_fake *fake)
{
	handover_write_last(store, fake, NULL);
}

void handover_write_early(struct store *store, struct device_fake *fake)
{
	make_store(store, fake);
	assert_int_equal(state_write_early(store, &fake->device, HANDOVER_NOW),
			 0);
}

void handover_write_last(struct store *store, struct device_fake *fake,
			 const struct store *early)
{
	make_store(store, fake);
	assert_int_equal(state_write(store, &fake->device, early,
				     handover_counters, HANDOVER_COUNTERS,
				     HANDOVER_NOW),
			 0);
}

bool handover_is_endpoint(const struct device_endpoint *ep)
{
	const char *text = (const char *)ep->words;

	return *text > ' ' && *text <= '~';
}
