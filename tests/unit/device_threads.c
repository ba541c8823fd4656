/* SPDX-License-Identifier: MIT */
/*
 * The configuration changes while packets are routed and staged, handshakes are
 * made and endpoints change. Sanitizers report the faults that this test is
 * for: use of a freed peer, and unordered accesses of two threads to a member.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "crypto/init.h"
#include "device/config.h"
#include "device/handshake.h"
#include "device/session.h"
#include "tests/lib/quiet_ops.h"

/* Choices, not measured: few peers, so that threads often meet at one. */
enum {
	N_PEERS = 16,
	N_CHANGES = 1500,
	N_REBUILDS = 40,
	N_WORKERS = 2,
	PACKET_LEN = 64,
};

struct shared {
	struct device device;
	_Atomic bool is_over;
	_Atomic uint64_t n_routed;
	_Atomic uint64_t n_initiations;
};

static __thread uint64_t seed = 1;

static uint32_t random_below(uint32_t n)
{
	/* Knuth's linear congruential generator (MMIX). */
	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t)(seed >> 33) % n;
}

static void op_random(void *arg, void *buf, size_t len)
{
	uint8_t *bytes = buf;

	(void)arg;
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)random_below(256);
}

static void op_forget_source(void *arg, struct device_endpoint *ep)
{
	(void)arg;
	ep->words[1] = 0;
}

static const struct device_ops ops = {
	.random = op_random,
	.wake = quiet_wake,
	.forget_source = op_forget_source,
	.endpoint_learnt = quiet_wake,
	.send_initiation = quiet_send,
	.send_keepalive = quiet_send,
	.session_ready = quiet_session_ready,
	.set_sockets = quiet_set_sockets,
};

static void key_of(uint32_t i, uint8_t key[32])
{
	memset(key, 0, 32);
	key[0] = 9; /* the base point; any key would do */
	key[1] = (uint8_t)i;
}

/* Make a packet to the address of peer @i. */
static void packet_to(uint32_t i, uint8_t packet[PACKET_LEN])
{
	memset(packet, 0, PACKET_LEN);
	packet[0] = 0x45;
	packet[3] = PACKET_LEN;
	packet[16] = 10;
	packet[19] = (uint8_t)i;
}

/* Make an endpoint of equal words: different words show a torn copy. */
static struct device_endpoint endpoint_of(uint64_t n)
{
	struct device_endpoint ep;

	for (size_t i = 0; i < ENDPOINT_WORDS; i++)
		ep.words[i] = n + 1;
	ep.words[1] = 0;
	return ep;
}

static void check_endpoint(struct peer *peer)
{
	struct device_endpoint ep;

	if (!endpoint_cell_get(&peer->endpoint, &ep))
		return;
	for (size_t i = 2; i < ENDPOINT_WORDS; i++)
		if (ep.words[i] != ep.words[0])
			abort();
}

static void use_peer(struct shared *shared, struct peer *peer,
		     const uint8_t *packet)
{
	struct device_endpoint ep = endpoint_of(random_below(1000));
	struct send_run out;
	size_t n_dropped;

	endpoint_cell_set(&peer->endpoint, &ep);
	check_endpoint(peer);
	if (!send_run_begin(peer, 3, 1 + shared->n_routed, &out))
		send_run_end(&out, 96, true, 1 + shared->n_routed);
	else
		session_stage(peer, packet, PACKET_LEN, 1, &n_dropped);
	timers_note_received(&peer->timers, true, 1 + shared->n_routed);
	shared->n_routed++;
	peer_put(peer);
}

static void *work(void *arg)
{
	struct shared *shared = arg;
	uint8_t packet[PACKET_LEN];
	struct receive_run in;
	struct peer *peer;

	rcu_register();
	seed = (uint64_t)(uintptr_t)&packet;
	while (!shared->is_over) {
		packet_to(random_below(N_PEERS), packet);
		peer = session_route(&shared->device, packet, sizeof(packet));
		if (peer)
			use_peer(shared, peer, packet);
		if (!receive_run_begin(&shared->device,
				       random_below(UINT32_MAX), 1, &in)) {
			receive_run_move(&in);
			receive_run_end(&in, 1, 1);
		}
	}
	rcu_unregister();
	return NULL;
}

static void *make_initiations(void *arg)
{
	struct shared *shared = arg;
	struct message_initiation msg;
	struct device_endpoint to;
	struct peer *peer;
	uint8_t key[32];

	rcu_register();
	seed = 3;
	while (!shared->is_over) {
		key_of(random_below(N_PEERS), key);
		rcu_enter();
		peer = device_lookup_peer(&shared->device, key);
		if (peer && !peer_get(peer))
			peer = NULL;
		rcu_leave();
		if (!peer)
			continue;
		if (!device_make_initiation(peer, 1, NSEC_PER_SEC, &msg, &to))
			shared->n_initiations++;
		peer_put(peer);
	}
	rcu_unregister();
	return NULL;
}

static void change(struct shared *shared, uint32_t n)
{
	struct config *config = config_new();
	struct ip_prefix prefix = { .family = IP_V4, .cidr = 32 };
	struct device_endpoint ep = endpoint_of(n);
	uint32_t i = random_below(N_PEERS);
	uint8_t key[32];

	key_of(i, key);
	if (n % 97 == 0)
		config_replace_peers(config);
	if (n % 31 == 0) {
		op_random(NULL, key, sizeof(key));
		config_set_private_key(config, key);
		key_of(i, key);
	}
	config_begin_peer(config, key);
	if (random_below(3) == 0)
		config_remove_peer(config);
	prefix.addr[0] = 10;
	prefix.addr[3] = (uint8_t)i;
	config_add_allowedip(config, &prefix);
	prefix.addr[3] = (uint8_t)random_below(N_PEERS);
	prefix.cidr = (uint8_t)(24 + random_below(9));
	config_add_allowedip(config, &prefix);
	config_set_endpoint(config, &ep);
	assert_int_equal(config_apply(config, &shared->device, 1 + n), 0);
	config_free(config);
	if (n % 50 == 0)
		device_set_up(&shared->device, n % 100 != 0, 1 + n);
	device_tick(&shared->device, 1 + n * NSEC_PER_SEC);
}

static void test_changes_under_traffic(void **state)
{
	static struct shared shared;
	pthread_t workers[N_WORKERS];
	pthread_t handshaker;

	(void)state;
	assert_int_equal(device_init(&shared.device, &ops, NULL), 0);
	device_set_up(&shared.device, true, 1);
	for (size_t i = 0; i < N_WORKERS; i++)
		pthread_create(&workers[i], NULL, work, &shared);
	pthread_create(&handshaker, NULL, make_initiations, &shared);
	for (uint32_t n = 1;
	     n <= N_CHANGES || !shared.n_routed || !shared.n_initiations; n++)
		change(&shared, n);
	shared.is_over = true;
	for (size_t i = 0; i < N_WORKERS; i++)
		pthread_join(workers[i], NULL);
	pthread_join(handshaker, NULL);
	print_message("# %llu packets, %llu initiations meanwhile\n",
		      (unsigned long long)shared.n_routed,
		      (unsigned long long)shared.n_initiations);
	device_deinit(&shared.device);
}

struct readers {
	struct allowedips table;
	struct allowedips_owner owners[2];
	_Atomic bool is_over;
	_Atomic uint64_t n_read;
	_Atomic uint64_t n_wrong;
};

/* The addresses 10.0.x.1 belong to the first owner all the time. */
static void *read_always(void *arg)
{
	struct readers *r = arg;
	struct allowedips_owner *owner;
	uint8_t addr[4] = { 10, 0, 0, 1 };

	rcu_register();
	while (!r->is_over) {
		addr[2]++;
		rcu_enter();
		owner = allowedips_lookup(&r->table, IP_V4, addr);
		r->n_wrong += owner != &r->owners[0];
		rcu_leave();
		r->n_read++;
	}
	rcu_unregister();
	return NULL;
}

/* Add and remove prefixes around the addresses that readers look up. Shortcuts
 * are made and removed with them. */
static void change_prefixes(struct readers *r, size_t n)
{
	struct ip_prefix p = { .family = IP_V4, .cidr = 32, .addr = { 10 } };

	for (size_t i = 0; i < n; i++) {
		p.addr[2] = (uint8_t)random_below(256);
		p.addr[3] = (uint8_t)random_below(256);
		p.cidr = (uint8_t)(random_below(8) ? 32 : random_below(32));
		if (p.cidr == 32 && p.addr[3] == 1)
			continue;
		if (random_below(2))
			allowedips_insert(&r->table, &p, &r->owners[1]);
		else
			allowedips_remove(&r->table, &p, &r->owners[1]);
	}
	if (random_below(4) == 0)
		allowedips_remove_owner(&r->table, &r->owners[1]);
	allowedips_settle(&r->table);
}

static void test_readers_beside_a_writer(void **state)
{
	static struct readers r;
	struct ip_prefix p = { .family = IP_V4,
			       .cidr = 32,
			       .addr = { 10, 0, 0, 1 } };
	pthread_t threads[2];

	(void)state;
	allowedips_init(&r.table);
	for (size_t i = 0; i < 2; i++)
		allowedips_owner_init(&r.owners[i]);
	for (unsigned int i = 0; i < 256; i++) {
		p.addr[2] = (uint8_t)i;
		allowedips_insert(&r.table, &p, &r.owners[0]);
	}
	for (size_t i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, read_always, &r);
	for (size_t i = 0; i < N_REBUILDS || r.n_read < N_REBUILDS; i++)
		change_prefixes(&r, 500);
	r.is_over = true;
	for (size_t i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(r.n_wrong, 0);
	for (size_t i = 0; i < 2; i++)
		allowedips_remove_owner(&r.table, &r.owners[i]);
	allowedips_deinit(&r.table);
	rcu_drain();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_changes_under_traffic),
		cmocka_unit_test(test_readers_beside_a_writer),
	};

	if (crypto_init())
		return 77;
	rcu_register();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
