/* SPDX-License-Identifier: MIT */
/*
 * The queue of the handshaker under floods: which messages get a place in its
 * ring, and which senders have to show a cookie. The handshaker's thread does
 * not run, so the content of the ring after a flood does not depend on the
 * speed of the machine.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "engine/endpoint.h"
#include "engine/handshaker.h"
#include "engine/outbound.h"
#include "noise/cookie.h"
#include "tests/lib/fakesys.h"
#include "udpgather/open.h"
#include "world.h"

enum {
	/* Messages of a flood: many times the places of the ring. A choice. */
	FLOOD = 50 * 1000
};

#define LOADED_NS SIM_SEC(LOADED_BY_FAILED_S)

static uint64_t seed;

/* Host 0 of a world of three, and a handshaker for it. */
struct crowd {
	struct world *world;
	struct sockets sockets;
	struct handshaker handshaker;
	struct recorder {
		size_t len;
		uint8_t bytes[MESSAGE_HANDSHAKE_MAX_LEN];
	} last;
};

static void keep_last(void *arg, unsigned int from, const uint8_t *buf,
		      size_t len)
{
	struct crowd *crowd = arg;

	if (from == 0 || len > sizeof(crowd->last.bytes))
		return;
	crowd->last.len = len;
	memcpy(crowd->last.bytes, buf, len);
}

/* CPU time of the threads that a daemon has beside the handshaker. */
static uint64_t others_ns;

static uint64_t others_cpu(void)
{
	return others_ns;
}

static struct crowd *crowd_new(uint64_t number)
{
	struct crowd *crowd = calloc(1, sizeof(*crowd));

	assert_non_null(crowd);
	crowd->world = world_new(number, 3);
	crowd->world->tap = keep_last;
	crowd->world->tap_arg = crowd;
	sockets_init(&crowd->sockets);
	assert_int_equal(handshaker_init(&crowd->handshaker,
					 &crowd->world->hosts[0].device,
					 &crowd->sockets),
			 0);
	crowd->handshaker.others_cpu = others_cpu;
	return crowd;
}

static void crowd_free(struct crowd *crowd)
{
	handshaker_deinit(&crowd->handshaker);
	sockets_deinit(&crowd->sockets);
	world_free(crowd->world);
	free(crowd);
}

static struct ug_endpoint source4(uint32_t addr, uint16_t port)
{
	struct ug_endpoint ep;

	memset(&ep, 0, sizeof(ep));
	ep.addr.v4.sin_family = AF_INET;
	ep.addr.v4.sin_addr.s_addr = addr;
	ep.addr.v4.sin_port = port;
	return ep;
}

/* Pass a message from a source to the handshaker. */
static void receive(struct crowd *crowd, const void *msg, size_t len,
		    uint32_t addr)
{
	struct ug_endpoint from = source4(addr, 4242);

	handshaker_receive(&crowd->handshaker, msg, len, &from,
			   crowd->world->now);
}

static void scribble(struct world *world, void *buf, size_t len)
{
	uint8_t *bytes = buf;

	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(world_random(world) >> 40);
}

/*
 * Make a false initiation; @has_mac1: with a right mac1, which needs only our
 * public key.
 */
static void make_false(struct world *world, bool has_mac1,
		       struct message_initiation *msg)
{
	struct cookie_maker maker;

	scribble(world, msg, sizeof(*msg));
	msg->type = le32_make(MESSAGE_INITIATION);
	if (!has_mac1)
		return;
	cookie_maker_init(&maker, world->hosts[0].public_key);
	cookie_maker_add_macs(&maker, msg, sizeof(*msg), world->now);
	cookie_maker_deinit(&maker);
}

/*
 * Make host 1 send its initiation, which the world loses and keep_last() keeps.
 */
static void make_initiation(struct crowd *crowd)
{
	crowd->last.len = 0;
	crowd->world->is_cut = true;
	world_send(crowd->world, 1, 0);
	world_run(crowd->world, SIM_MSEC(1));
	crowd->world->is_cut = false;
	assert_int_equal(crowd->last.len, sizeof(struct message_initiation));
}

/* Is the last message in the ring this one? */
static bool is_last(const struct handshaker *h, const void *msg, size_t len)
{
	const struct handshake_message *m;

	if (!h->waiting.n)
		return false;
	m = &h->messages[ring_last(&h->waiting)];
	return m->len == len && !memcmp(m->bytes, msg, len);
}

static void test_wrong_mac1_takes_no_place(void **state)
{
	struct crowd *crowd = crowd_new(seed);
	struct handshaker *h = &crowd->handshaker;
	struct message_initiation msg;

	(void)state;
	for (size_t i = 0; i < FLOOD; i++) {
		make_false(crowd->world, false, &msg);
		receive(crowd, &msg, sizeof(msg), (uint32_t)i);
	}
	assert_int_equal(h->waiting.n, 0);
	assert_int_equal(h->drops[DROP_FORGED], FLOOD);
	make_initiation(crowd);
	receive(crowd, crowd->last.bytes, crowd->last.len, 1);
	assert_int_equal(h->waiting.n, 1);
	assert_true(is_last(h, crowd->last.bytes, crowd->last.len));
	crowd_free(crowd);
}

/*
 * Responses and cookie replies to initiations that we have not sent. Anybody
 * can make them: a cookie reply has no mac, and the mac1 of a response needs
 * only our public key.
 */
static void test_answers_to_nothing_take_no_place(void **state)
{
	struct crowd *crowd = crowd_new(seed + 1);
	struct world *world = crowd->world;
	struct handshaker *h = &crowd->handshaker;
	struct message_response response;
	struct message_cookie cookie;
	struct cookie_maker maker;

	(void)state;
	cookie_maker_init(&maker, world->hosts[0].public_key);
	for (size_t i = 0; i < FLOOD / 2; i++) {
		scribble(world, &cookie, sizeof(cookie));
		cookie.type = le32_make(MESSAGE_COOKIE);
		receive(crowd, &cookie, sizeof(cookie), (uint32_t)i);
		scribble(world, &response, sizeof(response));
		response.type = le32_make(MESSAGE_RESPONSE);
		cookie_maker_add_macs(&maker, &response, sizeof(response),
				      world->now);
		receive(crowd, &response, sizeof(response), (uint32_t)i);
	}
	cookie_maker_deinit(&maker);
	assert_int_equal(h->waiting.n, 0);
	assert_int_equal(h->drops[DROP_NO_INDEX], FLOOD);
	crowd_free(crowd);
}

/* The index of a session of host 0. Each message to host 0 has it in clear. */
static uint32_t live_index(struct crowd *crowd)
{
	struct noise_keypair *kp;

	world_send(crowd->world, 1, 0);
	world_run(crowd->world, SIM_SEC(1));
	kp = world_peer(crowd->world, 0, 1)->keypairs.current;
	assert_non_null(kp);
	return kp->local_index;
}

/* The index of an initiation from host 0 to host 1, which never arrives. */
static uint32_t awaiting_index(struct crowd *crowd)
{
	struct message_initiation msg;
	struct device_endpoint to;

	assert_int_equal(device_make_initiation(
				 world_peer(crowd->world, 0, 1),
				 crowd->world->now,
				 crowd->world->now + SIM_SEC(1000), &msg, &to),
			 0);
	return le32_get(msg.sender);
}

/* Make a false response, which needs only our public key and an index. */
static void make_response(struct world *world, uint32_t idx,
			  struct message_response *msg)
{
	struct cookie_maker maker;

	scribble(world, msg, sizeof(*msg));
	msg->type = le32_make(MESSAGE_RESPONSE);
	msg->receiver = le32_make(idx);
	cookie_maker_init(&maker, world->hosts[0].public_key);
	cookie_maker_add_macs(&maker, msg, sizeof(*msg), world->now);
	cookie_maker_deinit(&maker);
}

static void test_index_of_a_session_takes_no_place(void **state)
{
	struct crowd *crowd = crowd_new(seed + 7);
	struct world *world = crowd->world;
	struct handshaker *h = &crowd->handshaker;
	const uint32_t idx = live_index(crowd);
	struct message_response response;
	struct message_cookie cookie;

	(void)state;
	for (size_t i = 0; i < FLOOD / 10; i++) {
		scribble(world, &cookie, sizeof(cookie));
		cookie.type = le32_make(MESSAGE_COOKIE);
		cookie.receiver = le32_make(idx);
		receive(crowd, &cookie, sizeof(cookie), (uint32_t)i);
		make_response(world, idx, &response);
		receive(crowd, &response, sizeof(response), (uint32_t)i);
	}
	assert_int_equal(h->waiting.n, 0);
	assert_int_equal(h->drops[DROP_FORGED], FLOOD / 10);
	assert_int_equal(h->drops[DROP_NO_INDEX], FLOOD / 10);
	assert_int_equal(h->n_failed, 0);
	crowd_free(crowd);
}

/*
 * An observer reads the index of our initiation on its way and answers it FLOOD
 * times. Eight of these responses get places in the last quarter of the ring.
 * The others share the remaining three quarters, count as load, and then need a
 * cookie.
 */
static void test_index_of_an_initiation(void **state)
{
	enum {
		FREE = 8
	};
	struct crowd *crowd = crowd_new(seed + 8);
	struct world *world = crowd->world;
	struct handshaker *h = &crowd->handshaker;
	const uint32_t idx = awaiting_index(crowd);
	uint64_t now = world->now;
	struct message_response response;

	(void)state;
	for (size_t i = 0; i < FLOOD; i++) {
		make_response(world, idx, &response);
		receive(crowd, &response, sizeof(response), (uint32_t)i);
	}
	assert_int_equal(h->waiting.n, HANDSHAKE_CROWDED);
	for (uint32_t i = 0; i < HANDSHAKE_CROWDED; i++)
		handshaker_round(h, NULL, now);
	assert_int_equal(h->loaded_until, now + NSEC_PER_SEC);
	/* The first responses need no cookie and each cost a key agreement. */
	assert_int_equal(h->drops[DROP_FORGED], FREE);
	assert_int_equal(h->drops[DROP_NEEDS_COOKIE], HANDSHAKE_CROWDED - FREE);
	crowd_free(crowd);
}

/* For each initiation of ours, the first eight responses need no cookie. */
static void test_first_responses_need_no_cookie(void **state)
{
	struct crowd *crowd = crowd_new(seed + 9);
	struct world *world = crowd->world;
	struct handshaker *h = &crowd->handshaker;
	struct message_response response;

	(void)state;
	h->loaded_until = world->now + SIM_SEC(60);
	for (size_t turn = 1; turn <= 3; turn++) {
		const uint32_t idx = awaiting_index(crowd);

		for (size_t i = 0; i < 20; i++) {
			make_response(world, idx, &response);
			receive(crowd, &response, sizeof(response), 7);
			handshaker_round(h, NULL, world->now);
		}
		assert_int_equal(h->drops[DROP_FORGED], turn * 8);
		assert_int_equal(h->drops[DROP_NEEDS_COOKIE], turn * 12);
	}

	/* The true response is one of the eight. */
	crowd->last.len = 0;
	world_run(world, SIM_SEC(REKEY_TIMEOUT + 1));
	world_send(world, 0, 1);
	world_run(world, world->delay_ns + SIM_MSEC(1));
	assert_int_equal(crowd->last.len, sizeof(struct message_response));
	receive(crowd, crowd->last.bytes, crowd->last.len, 1);
	handshaker_round(h, NULL, world->now);
	assert_int_equal(h->drops[DROP_NEEDS_COOKIE], 3 * 12);
	assert_non_null(world_peer(world, 0, 1)->keypairs.current);
	crowd_free(crowd);
}

/*
 * Messages with a right mac1 from forged sources fill three quarters of the
 * ring.
 */
static void test_a_cookie_has_a_place(void **state)
{
	struct crowd *crowd = crowd_new(seed + 2);
	struct world *world = crowd->world;
	struct handshaker *h = &crowd->handshaker;
	struct device_origin origin = { .source_len = 6 };
	struct message_initiation msg;
	struct message_cookie reply;
	const uint32_t addr = 0x0a0b0c0d;
	const uint16_t port = 4242;

	(void)state;
	for (size_t i = 0; i < FLOOD; i++) {
		make_false(world, true, &msg);
		if (i % 2)
			scribble(world, msg.macs.mac2, sizeof(msg.macs.mac2));
		receive(crowd, &msg, sizeof(msg), (uint32_t)i);
	}
	assert_int_equal(h->waiting.n, HANDSHAKE_CROWDED);
	assert_true(HANDSHAKE_CROWDED >= HANDSHAKE_LOADED);
	assert_int_equal(h->overflows, FLOOD - HANDSHAKE_CROWDED);

	/* Without a cookie the peer gets no place either. */
	make_initiation(crowd);
	receive(crowd, crowd->last.bytes, crowd->last.len, addr);
	assert_int_equal(h->waiting.n, HANDSHAKE_CROWDED);

	/* With a cookie it gets a place. */
	memcpy(origin.source, &addr, sizeof(addr));
	memcpy(origin.source + sizeof(addr), &port, sizeof(port));
	cookie_checker_make_reply(&world->hosts[0].device.checker,
				  crowd->last.bytes, crowd->last.len,
				  origin.source, origin.source_len, world->now,
				  &reply);
	assert_int_equal(world_deliver(world, 1, world->hosts[0].address,
				       (uint8_t *)&reply, sizeof(reply)),
			 DROP_NONE);
	crowd->last.len = 0;
	world->is_cut = true;
	world_run(world, SIM_SEC(REKEY_TIMEOUT + 1));
	world->is_cut = false;
	assert_int_equal(crowd->last.len, sizeof(msg));
	receive(crowd, crowd->last.bytes, crowd->last.len, addr);
	assert_int_equal(h->waiting.n, HANDSHAKE_CROWDED + 1);
	assert_true(is_last(h, crowd->last.bytes, crowd->last.len));
	/* The cookie holds for the peer's own address only. */
	receive(crowd, crowd->last.bytes, crowd->last.len, addr + 1);
	assert_int_equal(h->waiting.n, HANDSHAKE_CROWDED + 1);
	crowd_free(crowd);
}

/* Make the handshaker process a false initiation with a right mac1. */
static void answer_false(struct crowd *crowd, uint64_t now)
{
	struct message_initiation msg;

	make_false(crowd->world, true, &msg);
	receive(crowd, &msg, sizeof(msg), 1);
	handshaker_round(&crowd->handshaker, NULL, now);
	assert_int_equal(crowd->handshaker.waiting.n, 0);
}

/*
 * False initiations are processed at once, so the ring stays empty. Failed key
 * agreements alone have to cause load.
 */
static void test_failed_agreements_are_load(void **state)
{
	struct crowd *crowd = crowd_new(seed + 5);
	struct handshaker *h = &crowd->handshaker;
	uint64_t now = crowd->world->now;
	const uint64_t step = NSEC_PER_SEC / (AGREEMENTS_FAILED - 1);

	(void)state;
	/* One failed agreement a second less than the limit: no cookie is asked
	 * for. */
	for (size_t i = 0; i < 2 * AGREEMENTS_FAILED; i++, now += step + 1)
		answer_false(crowd, now);
	assert_int_equal(h->drops[DROP_NEEDS_COOKIE], 0);

	now += NSEC_PER_SEC;
	for (size_t i = 0; i < 2 * AGREEMENTS_FAILED; i++)
		answer_false(crowd, now);
	assert_int_equal(h->drops[DROP_NEEDS_COOKIE], AGREEMENTS_FAILED);

	/* A real peer has to show a cookie during load, and is accepted after
	 * it. */
	make_initiation(crowd);
	receive(crowd, crowd->last.bytes, crowd->last.len, 2);
	handshaker_round(h, NULL, now + LOADED_NS - 1);
	assert_int_equal(h->drops[DROP_NEEDS_COOKIE], AGREEMENTS_FAILED + 1);
	assert_null(world_peer(crowd->world, 0, 1)->keypairs.next);
	receive(crowd, crowd->last.bytes, crowd->last.len, 2);
	handshaker_round(h, NULL, now + LOADED_NS);
	assert_int_equal(h->drops[DROP_NEEDS_COOKIE], AGREEMENTS_FAILED + 1);
	assert_non_null(world_peer(crowd->world, 0, 1)->keypairs.next);
	crowd_free(crowd);
}

/*
 * Answer @n false initiations within a second or a little more, while the other
 * threads use @percent of a core.
 */
static void answer_beside_others(struct crowd *crowd, unsigned int n,
				 unsigned int percent, uint64_t *now)
{
	const uint64_t step = NSEC_PER_SEC / n + 1;

	for (unsigned int i = 0; i < n; i++, *now += step) {
		answer_false(crowd, *now);
		others_ns += step * percent / 100;
	}
}

/* If sessions need the CPU, a smaller flood is load already. */
static void test_busy_workers_are_load_sooner(void **state)
{
	struct crowd *crowd = crowd_new(seed + 10);
	struct handshaker *h = &crowd->handshaker;
	uint64_t now = crowd->world->now;

	(void)state;
	/* Neither is load: one agreement less than the busy limit with busy
	 * threads, and many more with threads that are not quite busy. */
	answer_beside_others(crowd, AGREEMENTS_FAILED_BUSY - 1, 90, &now);
	answer_beside_others(crowd, AGREEMENTS_FAILED - 1, OTHERS_BUSY - 1,
			     &now);
	assert_int_equal(h->loaded_until, 0);
	assert_int_equal(h->drops[DROP_NEEDS_COOKIE], 0);
	now += NSEC_PER_SEC;
	answer_beside_others(crowd, AGREEMENTS_FAILED_BUSY + 100,
			     OTHERS_BUSY + 1, &now);
	assert_true(h->loaded_until > now);
	assert_int_equal(h->drops[DROP_NEEDS_COOKIE], 100);
	/* Load ends after the flood, even if the threads stay busy. */
	now += LOADED_NS;
	answer_false(crowd, now);
	assert_int_equal(h->drops[DROP_NEEDS_COOKIE], 100);
	crowd_free(crowd);
}

/*
 * A stranger with a real address and a right cookie gets only the handshakes
 * that the rate limit allows its address, and cannot prolong the load state.
 */
static void test_load_does_not_feed_itself(void **state)
{
	struct crowd *crowd = crowd_new(seed + 6);
	struct handshaker *h = &crowd->handshaker;
	struct device *device = &crowd->world->hosts[0].device;
	struct device_origin origin = { .source_len = 6 };
	const uint32_t addr = 0x0a0b0c0d;
	const uint16_t port = 4242;
	uint64_t now = crowd->world->now;
	struct message_initiation msg;
	struct cookie_maker maker;
	struct message_cookie reply;

	(void)state;
	for (size_t i = 0; i < AGREEMENTS_FAILED; i++)
		answer_false(crowd, now);
	assert_int_equal(h->loaded_until, now + LOADED_NS);

	make_false(crowd->world, false, &msg);
	cookie_maker_init(&maker, crowd->world->hosts[0].public_key);
	cookie_maker_add_macs(&maker, &msg, sizeof(msg), now);
	memcpy(origin.source, &addr, sizeof(addr));
	memcpy(origin.source + sizeof(addr), &port, sizeof(port));
	cookie_checker_make_reply(&device->checker, &msg, sizeof(msg),
				  origin.source, origin.source_len, now,
				  &reply);
	assert_true(cookie_maker_consume_reply(&maker, &reply, now));
	cookie_maker_add_macs(&maker, &msg, sizeof(msg), now);
	cookie_maker_deinit(&maker);
	for (size_t i = 1; i <= 2 * AGREEMENTS_FAILED; i++) {
		receive(crowd, &msg, sizeof(msg), addr);
		handshaker_round(h, NULL, now + i);
	}
	assert_int_equal(h->drops[DROP_NEEDS_COOKIE], 0);
	assert_true(h->drops[DROP_RATE_LIMIT] > AGREEMENTS_FAILED);
	assert_int_equal(h->loaded_until, now + LOADED_NS);
	crowd_free(crowd);
}

/* The true response to our own initiation gets a place, too. */
static void test_an_answer_has_a_place(void **state)
{
	struct crowd *crowd = crowd_new(seed + 3);
	struct world *world = crowd->world;
	struct handshaker *h = &crowd->handshaker;
	struct message_initiation msg;

	(void)state;
	for (size_t i = 0; i < FLOOD; i++) {
		make_false(world, true, &msg);
		receive(crowd, &msg, sizeof(msg), (uint32_t)i);
	}
	crowd->last.len = 0;
	world_send(world, 0, 1);
	/* The initiation arrives at host 1; the response is still on its
	 * way. */
	world_run(world, world->delay_ns + SIM_MSEC(1));
	assert_int_equal(crowd->last.len, sizeof(struct message_response));
	receive(crowd, crowd->last.bytes, crowd->last.len, 1);
	assert_int_equal(h->waiting.n, HANDSHAKE_CROWDED + 1);
	assert_true(is_last(h, crowd->last.bytes, crowd->last.len));
	crowd_free(crowd);
}

/*
 * A peer with valid keys that sends 10,000 initiations a second has fifty of
 * them accepted. It takes no more index entries than other peers, and another
 * peer's initiation is accepted meanwhile.
 */
static void test_a_peer_that_cannot_stop(void **state)
{
	struct crowd *crowd = crowd_new(seed + 4);
	struct world *world = crowd->world;
	struct peer *to_us = world_peer(world, 2, 0);
	const size_t n_before = world->hosts[0].device.index.table.n_used;
	const uint64_t start_ns = world->now;
	struct message_initiation msg;
	struct device_endpoint to;
	size_t n_taken = 0;

	(void)state;
	world->is_cut = true;
	make_initiation(crowd);
	world->is_cut = true;
	for (size_t i = 0; i < 10000; i++) {
		uint64_t now = start_ns + i * (NSEC_PER_SEC / 10000);

		world->now = now;
		assert_int_equal(device_make_initiation(to_us, now,
							now + i * SIM_MSEC(20),
							&msg, &to),
				 0);
		n_taken += !world_deliver(world, 0, world->hosts[2].address,
					  (uint8_t *)&msg, sizeof(msg));
		if (i == 5000)
			assert_int_equal(world_deliver(world, 0,
						       world->hosts[1].address,
						       crowd->last.bytes,
						       crowd->last.len),
					 DROP_NONE);
	}
	assert_in_range(n_taken, 2, INITIATIONS_PER_SECOND + 1);
	assert_true(world_peer(world, 0, 1)->keypairs.next);
	assert_true(world->hosts[0].drops[DROP_RATE_LIMIT] > 9000);
	/* Marks of removed entries stay until the table is next rebuilt. */
	assert_true(world->hosts[0].device.index.table.n_used <
		    n_before + 2 * (INITIATIONS_PER_SECOND + 4));
	crowd_free(crowd);
}

static int refuse_source(const struct fake_message *m)
{
	return m->control.has_source ? EINVAL : 0;
}

/*
 * If the kernel refuses the source of an initiation, the initiation leaves
 * without a source. The source is not used again before it was checked.
 */
static void test_refused_source(void **state)
{
	struct crowd *crowd = crowd_new(seed);
	struct handshaker *h = &crowd->handshaker;
	struct peer *peer = world_peer(crowd->world, 0, 1);
	struct ug_endpoint to = source4(htonl(0xc0000202), htons(51820));
	struct ug_socket *sock;
	struct device_endpoint ep;

	(void)state;
	fake_reset();
	fake.rule = refuse_source;
	assert_int_equal(ug_socket_open_with(&fake_sys, &sock, NULL, NULL), 0);
	to.source = (struct ug_source){ .addr = { 192, 0, 2, 1 },
					.state = UG_SOURCE_PINNED };
	endpoint_to_device(&ep, &to);
	endpoint_cell_set(&peer->endpoint, &ep);
	handshaker_initiate(h, peer);
	handshaker_round(h, sock, crowd->world->now);
	assert_int_equal(fake.n, 1);
	assert_false(fake.log[0].has_source);
	assert_true(endpoint_cell_get(&peer->endpoint, &ep));
	assert_int_equal(ep.words[ENDPOINT_MARK], ENDPOINT_REFUSED);
	ug_close(sock);
	crowd_free(crowd);
}

/*
 * If the ring of requests for initiations is full, another request is refused,
 * and no reference to its peer is kept.
 */
static void test_full_ring_of_requests(void **state)
{
	struct crowd *crowd = crowd_new(seed);
	struct peer *peer = world_peer(crowd->world, 0, 1);
	struct outbound_lane out = { 0 };
	struct tun tun = { .fd = -1 };
	uint32_t refs = atomic_load(&peer->refs);

	(void)state;
	assert_int_equal(outbound_lane_init(
				 &out, &crowd->world->hosts[0].device, &tun, 1),
			 0);
	for (int i = 0; i < HANDSHAKE_INITIATIONS + 10; i++)
		handshaker_initiate(&crowd->handshaker, peer);
	for (int i = 0; i < OUTBOUND_REQUESTS + 10; i++)
		assert_int_equal(outbound_request(&out, peer, true),
				 i < OUTBOUND_REQUESTS);
	assert_int_equal(atomic_load(&peer->refs),
			 refs + HANDSHAKE_INITIATIONS + OUTBOUND_REQUESTS);
	/* After one request was handled there is a place again. */
	handshaker_round(&crowd->handshaker, NULL, crowd->world->now);
	handshaker_initiate(&crowd->handshaker, peer);
	assert_int_equal(crowd->handshaker.asked.n, HANDSHAKE_INITIATIONS);
	outbound_lane_deinit(&out);
	assert_int_equal(atomic_load(&peer->refs),
			 refs + HANDSHAKE_INITIATIONS);
	crowd_free(crowd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wrong_mac1_takes_no_place),
		cmocka_unit_test(test_answers_to_nothing_take_no_place),
		cmocka_unit_test(test_index_of_a_session_takes_no_place),
		cmocka_unit_test(test_index_of_an_initiation),
		cmocka_unit_test(test_first_responses_need_no_cookie),
		cmocka_unit_test(test_a_cookie_has_a_place),
		cmocka_unit_test(test_failed_agreements_are_load),
		cmocka_unit_test(test_busy_workers_are_load_sooner),
		cmocka_unit_test(test_load_does_not_feed_itself),
		cmocka_unit_test(test_an_answer_has_a_place),
		cmocka_unit_test(test_a_peer_that_cannot_stop),
		cmocka_unit_test(test_refused_source),
		cmocka_unit_test(test_full_ring_of_requests),
	};

	if (sim_prepare(&seed, 20261122))
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
