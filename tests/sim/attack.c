/* SPDX-License-Identifier: MIT */
/*
 * Attacks on the receiving path by a host between two peers, or by a peer that
 * lies: datagrams of all types are replayed, doubled, cut, lengthened, spliced,
 * and have bits flipped, by the million (fewer under sanitizers). None of these
 * datagrams may be accepted, answered or delivered, and the state of the
 * receiving host must not change by a byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/lib/sanitized.h"
#include "world.h"

enum {
#ifdef IS_SANITIZED
	/* Fewer, because a sanitizer makes each datagram much slower. Both
	 * numbers are choices. */
	N_DATAGRAMS = 100 * 1000,
#else
	N_DATAGRAMS = 2 * 1000 * 1000,
#endif
	/* The state is compared after this many datagrams. */
	CHECK_EVERY = 500,
	/* Datagrams of each type that are kept. A choice. */
	N_RECORDED = 64,
	/* The longest payload of UDP over IPv4. */
	MAX_DATAGRAM = 65507,
	/* An address that no host has. */
	STRANGER = 0x77,
};

static uint64_t seed;

/* Datagrams that crossed the network, by the type of their message. */
struct recorded {
	size_t len;
	uint8_t bytes[256];
};

struct recorder {
	size_t n[5];
	struct recorded all[5][N_RECORDED];
};

/* The whole state of a peer at the receiving host. */
struct snapshot {
	struct device_endpoint endpoint;
	struct timers timers;
	struct noise_handshake_secrets secrets;
	enum handshake_state state;
	bool has_index;
	uint32_t indices[2];
	struct tai64n timestamps[2];
	uint64_t taken_ns;
	uint64_t bytes[2];
	uint64_t last_handshake_ns;
	bool did_last_minute;
	bool has_cookie;
	uint8_t cookie[COOKIE_LEN];
	const void *keypairs[3];
	uint64_t counter[3];
	struct replay replay[3];
	struct sim_counts sent;
	size_t delivered;
	size_t n_entries;
	uint32_t n_free;
};

static void record(void *arg, unsigned int from, const uint8_t *buf, size_t len)
{
	struct recorder *r = arg;
	enum message_type type = message_check(buf, len);
	struct recorded *slot;

	(void)from;
	assert_true(len <= sizeof(slot->bytes));
	slot = &r->all[type][r->n[type]++ % N_RECORDED];
	slot->len = len;
	memcpy(slot->bytes, buf, len);
}

static void take_keypair(struct snapshot *s, size_t i,
			 const struct noise_keypair *kp)
{
	s->keypairs[i] = kp;
	if (!kp)
		return;
	s->counter[i] = kp->send_counter;
	s->replay[i] = kp->replay;
}

static void snapshot_take(struct world *world, unsigned int of, unsigned int to,
			  struct snapshot *s)
{
	const struct sim_host *host = &world->hosts[of];
	struct peer *peer = world_peer(world, of, to);
	const struct noise_handshake *hs = &peer->handshake;

	memset(s, 0, sizeof(*s));
	endpoint_cell_get(&peer->endpoint, &s->endpoint);
	memcpy(&s->timers, &peer->timers, sizeof(s->timers));
	s->secrets = *hs->secrets;
	s->state = hs->state;
	s->has_index = hs->has_index;
	s->indices[0] = hs->local_index;
	s->indices[1] = hs->remote_index;
	s->timestamps[0] = hs->taken_timestamp;
	s->timestamps[1] = hs->sent_timestamp;
	s->taken_ns = hs->taken_ns;
	s->bytes[0] = peer->rx_bytes;
	s->bytes[1] = peer->tx_bytes;
	s->last_handshake_ns = peer->last_handshake_ns;
	s->did_last_minute = peer->did_last_minute;
	s->has_cookie = peer->cookie.has_cookie;
	memcpy(s->cookie, peer->cookie.cookie, sizeof(s->cookie));
	take_keypair(s, 0, peer->keypairs.current);
	take_keypair(s, 1, peer->keypairs.previous);
	take_keypair(s, 2, peer->keypairs.next);
	s->sent = host->sent;
	s->delivered = host->delivered;
	s->n_entries = host->device.index.table.n_used;
	s->n_free = staged_get_free(host->device.staged);
}

/* Write a random recorded datagram to @buf. Return: its length. */
static size_t pick(struct world *world, const struct recorder *r, uint8_t *buf)
{
	const struct recorded *slot;
	size_t type, n;

	do {
		type = 1 + world_random_below(world, 4);
		n = r->n[type] < N_RECORDED ? r->n[type] : N_RECORDED;
	} while (!n);
	slot = &r->all[type][world_random_below(world, (uint32_t)n)];
	memcpy(buf, slot->bytes, slot->len);
	return slot->len;
}

static void scribble(struct world *world, uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(world_random(world) >> 40);
}

static void flip(struct world *world, uint8_t *buf, size_t len)
{
	uint32_t bit = world_random_below(world, (uint32_t)len * 8);

	buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
}

/* The length of a lengthened datagram, sometimes the largest possible. */
static size_t longer(struct world *world, size_t len)
{
	uint32_t dice = world_random_below(world, 512);

	if (!dice)
		return MAX_DATAGRAM;
	if (dice < 4)
		return len + world_random_below(world, MAX_DATAGRAM - 300);
	return len + 1 + world_random_below(world, 200);
}

/* Write a datagram that no host may accept. Return: its length. */
static size_t make_bad(struct world *world, const struct recorder *r,
		       uint8_t *buf)
{
	uint8_t other[256] = { 0 };
	size_t len = pick(world, r, buf);
	size_t n;

	switch (world_random_below(world, 32)) {
	case 0: /* unchanged: the host has received it before */
		return len;
	case 1 ... 8:
		for (n = 1 + world_random_below(world, 3); n > 0; n--)
			flip(world, buf, len);
		/* If a bit is flipped twice, the datagram is a replay, which is
		 * allowed. */
		return len;
	case 9 ... 14:
		return world_random_below(world, (uint32_t)len);
	case 15 ... 18:
		n = longer(world, len);
		scribble(world, buf + len, n - len);
		return n;
	case 19 ... 22: /* the head of one, the tail of another */
		n = pick(world, r, other);
		n = world_random_below(world, (uint32_t)(n < len ? n : len));
		memcpy(buf, other, n);
		return len;
	case 23 ... 25: /* the index of a session, then random bytes */
		n = 16 + world_random_below(world, 200);
		scribble(world, buf + 8, n);
		return n;
	case 26 ... 28: /* another type */
		buf[0] = (uint8_t)world_random_below(world, 6);
		return len;
	case 29: /* a random counter, which was not used yet */
		scribble(world, buf + 8, 8);
		return len;
	default:
		n = world_random_below(world, 256);
		scribble(world, buf, n);
		return n;
	}
}

/* Deliver recorded datagrams and changed ones to a host. */
static void storm(struct world *world, const struct recorder *r,
		  unsigned int to, unsigned int from, size_t n_datagrams)
{
	static uint8_t buf[MAX_DATAGRAM + 1];
	struct snapshot before, after;
	enum drop_reason reason;

	snapshot_take(world, to, from, &before);
	for (size_t i = 0; i < n_datagrams; i++) {
		size_t len = make_bad(world, r, buf);

		reason = world_deliver(world, to, STRANGER, buf, len);
		if (reason == DROP_NONE)
			fail_msg("datagram %zu of %zu bytes was taken", i, len);
		if (i % CHECK_EVERY && i + 1 < n_datagrams)
			continue;
		snapshot_take(world, to, from, &after);
		if (memcmp(&before, &after, sizeof(after)) != 0)
			fail_msg("state changed, up to datagram %zu", i);
	}
}

/* A world with an old and a new session between hosts 0 and 1. */
static struct world *make_world(struct recorder *r, uint64_t number)
{
	struct world *world = world_new(number, 2);

	memset(r, 0, sizeof(*r));
	world->tap = record;
	world->tap_arg = r;
	/* Host 1 is under load, so that it sends cookie replies. */
	world->hosts[1].is_loaded = true;
	world_send(world, 0, 1);
	world_run(world, SIM_SEC(10));
	world->hosts[1].is_loaded = false;
	world_stream(world, 0, 1, SIM_MSEC(700), SIM_SEC(200));
	world_stream(world, 1, 0, SIM_MSEC(900), SIM_SEC(200));
	/* All messages arrive, so that each recorded one is a replay. */
	world_run(world, SIM_SEC(201));
	assert_int_equal(world_count_arrived(world, 0), world->n_packets);
	for (size_t type = 1; type <= 4; type++)
		assert_true(r->n[type] > 0);
	world->tap = NULL;
	return world;
}

static void test_nothing_is_taken(void **state)
{
	static struct recorder r;
	struct world *world = make_world(&r, seed);

	(void)state;
	for (unsigned int to = 0; to < 2; to++)
		storm(world, &r, to, 1 - to, N_DATAGRAMS / 2);
	for (size_t i = 0; i < DROP_REASONS; i++)
		print_message("# reason %zu: %zu\n", i,
			      world->hosts[0].drops[i] +
				      world->hosts[1].drops[i]);
	/* Both hosts can still exchange packets. */
	size_t first = world->n_packets;

	world_stream(world, 0, 1, SIM_MSEC(700), SIM_SEC(300));
	world_stream(world, 1, 0, SIM_MSEC(900), SIM_SEC(300));
	world_run(world, SIM_SEC(302));
	assert_int_equal(world_count_arrived(world, first),
			 world->n_packets - first);
	world_free(world);
}

/*
 * Attacks before the original arrives: host 0 has sent an initiation that is
 * still on its way. Changed copies that arrive first must not keep the original
 * from being accepted.
 */
static void test_originals_are_taken_after_it(void **state)
{
	static struct recorder r;
	struct world *world = world_new(seed + 1, 2);
	struct recorded original;
	uint8_t buf[256];

	(void)state;
	memset(&r, 0, sizeof(r));
	world->tap = record;
	world->tap_arg = &r;
	world->is_cut = true;
	world_send(world, 0, 1);
	world_run(world, SIM_MSEC(1));
	assert_int_equal(r.n[MESSAGE_INITIATION], 1);
	original = r.all[MESSAGE_INITIATION][0];
	world->tap = NULL;
	for (size_t i = 0; i < 5000; i++) {
		size_t len = original.len;

		memcpy(buf, original.bytes, len);
		/* mac2 is not changed: it counts under load only. */
		flip(world, buf, len - COOKIE_LEN);
		if (i % 3 == 0)
			len = world_random_below(world, (uint32_t)len);
		assert_int_not_equal(
			world_deliver(world, 1, STRANGER, buf, len), DROP_NONE);
	}
	world->is_cut = false;
	memcpy(buf, original.bytes, original.len);
	assert_int_equal(world_deliver(world, 1, world->hosts[0].address, buf,
				       original.len),
			 DROP_NONE);
	world_run(world, SIM_SEC(1));
	assert_int_equal(world_count_arrived(world, 0), 1);
	/* The original is accepted only once. */
	memcpy(buf, original.bytes, original.len);
	assert_int_equal(world_deliver(world, 1, STRANGER, buf, original.len),
			 DROP_REPLAYED);
	world_free(world);
}

/*
 * Packets that are doubled, and shuffled within the window, are each delivered
 * once.
 */
static void test_shuffled_and_doubled(void **state)
{
	struct world *world = world_new(seed + 2, 2);

	(void)state;
	world_send(world, 0, 1);
	world_run(world, SIM_SEC(1));
	world->jitter_ns = SIM_SEC(2);
	world->double_ppm = 1000000;
	/* About 4,000 packets are on their way at once; the window holds twice
	 * that. */
	world_stream(world, 0, 1, SIM_MSEC(1) / 2, SIM_SEC(10));
	world_run(world, SIM_SEC(15));
	assert_true(world->n_packets > 15000);
	/* world.c fails if a packet is delivered twice. */
	assert_int_equal(world_count_arrived(world, 0), world->n_packets);
	assert_true(world->hosts[1].drops[DROP_REPLAYED] >=
		    world->n_packets - 1);
	world_free(world);
}

/*
 * A peer uses another's inner address: nothing is delivered, no byte counted.
 */
static void test_peer_with_the_address_of_another(void **state)
{
	struct world *world = world_new(seed + 3, 3);
	struct snapshot before, after;
	struct sim_host *host = &world->hosts[0];
	size_t first, delivered;
	uint64_t rx_bytes;

	(void)state;
	world_send(world, 1, 0);
	world_send(world, 2, 0);
	world_run(world, SIM_SEC(20));
	assert_int_equal(world_count_arrived(world, 0), 2);
	snapshot_take(world, 0, 1, &before);
	delivered = host->delivered;
	rx_bytes = world_peer(world, 0, 2)->rx_bytes;
	first = world->n_packets;
	for (size_t i = 0; i < 10000; i++)
		world_send_as(world, 2, 1, 0);
	world_run(world, SIM_SEC(1));
	assert_int_equal(host->drops[DROP_BAD_SOURCE], 10000);
	assert_int_equal(world_count_arrived(world, first), 0);
	assert_int_equal(host->delivered, delivered);
	assert_int_equal(world_peer(world, 0, 2)->rx_bytes, rx_bytes);
	snapshot_take(world, 0, 1, &after);
	assert_memory_equal(&before, &after, sizeof(after));
	/* Packets from its own inner address still arrive. */
	world_send(world, 2, 0);
	world_run(world, SIM_SEC(1));
	assert_int_equal(host->delivered, delivered + 1);
	world_free(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_is_taken),
		cmocka_unit_test(test_originals_are_taken_after_it),
		cmocka_unit_test(test_shuffled_and_doubled),
		cmocka_unit_test(test_peer_with_the_address_of_another),
	};

	if (sim_prepare(&seed, 20261122))
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
