/* SPDX-License-Identifier: MIT */
/*
 * Path MTUs between the lanes and the library's errors: which peer an ICMP message is
 * about, and which messages say nothing. The errors come from the kernel of fakesys.
 */
#include "engine/paths.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "base/counter.h"
#include "noise/wire.h"
#include "tests/lib/check.h"
#include "tests/lib/fakesys.h"
#include "udpgather/open.h"

#define SEC NSEC_PER_SEC

enum {
	PEERS = PATHS_SEATS + 100,
	LEN = 1452,   /* UDP payload of an inner packet of 1,420 */
	FULL4 = 1480, /* the same as an IPv4 packet */
};

static struct peer *peers;
static struct noise_keypair *keypairs;
static struct ug_endpoint *endpoints;
static struct paths *paths;
static struct ug_socket *sock;
static uint64_t now;

static int setup(void **state)
{
	struct ug_options opt = {
		.size = sizeof(opt),
		.want = UG_WANT_ERRORS,
	};

	(void)state;
	fake_reset();
	now = 1000 * SEC;
	peers = calloc(PEERS, sizeof(*peers));
	keypairs = calloc(PEERS, sizeof(*keypairs));
	endpoints = calloc(PEERS, sizeof(*endpoints));
	paths = paths_new(4711);
	if (!peers || !keypairs || !endpoints || !paths ||
	    ug_socket_open_with(&fake_sys, &sock, &opt, NULL) < 0)
		return -1;
	for (uint32_t i = 0; i < PEERS; i++) {
		endpoints[i].addr.v4 = (struct sockaddr_in){
			.sin_family = AF_INET,
			.sin_port = htons(51820),
			.sin_addr.s_addr = htonl(0xcb007100 + i),
		};
		keypairs[i].remote_index = 0x10000000 + i * 7;
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ug_close(sock);
	paths_free(paths);
	free(peers);
	free(keypairs);
	free(endpoints);
	return 0;
}

/* A TCP packet from a peer that acknowledges what is before @seq. */
static void make_ack(uint8_t p[40], uint32_t seq)
{
	memset(p, 0, 40);
	p[0] = 0x45;
	p[3] = 40;
	p[9] = IP_PROTO_TCP;
	memcpy(p + 12, "\x0a\0\0\2\x0a\0\0\1", 8);
	p[20] = p[22] = 7;
	for (int i = 0; i < 4; i++)
		p[28 + i] = (uint8_t)(seq >> (24 - 8 * i));
	p[32] = 0x50;
	p[33] = TCP_ACK;
}

/* The connection that such a packet acknowledges. */
static uint64_t acked_flow(void)
{
	uint8_t p[40];
	uint64_t flow = 0;
	uint32_t ack;

	make_ack(p, 0);
	assert_true(trains_read_ack(p, sizeof(p), &flow, &ack));
	return flow;
}

/* Send messages of a length to a peer, with counters from @counter on. */
static void send_to(uint32_t i, uint64_t counter, size_t len)
{
	struct trains_run run = { &peers[i], &endpoints[i], 0, 2 };
	struct send_run send = { &peers[i], &keypairs[i], counter, 2 };
	struct iovec iov[2] = { { NULL, len }, { NULL, len } };
	static struct trains_notes notes;

	paths_after(paths, &run, &send, iov, &notes, now);
}

/* An ICMP message about a datagram to a peer. */
static struct fake_error icmp(uint32_t i, uint32_t mtu)
{
	return (struct fake_error){
		.fd = ug_fd(sock, AF_INET),
		.error = { .to = endpoints[i],
			   .err = EMSGSIZE,
			   .origin = UG_ORIGIN_ICMP,
			   .icmp_type = 3,
			   .icmp_code = 4 },
		.info = mtu,
	};
}

static void quote(struct fake_error *e, uint32_t idx, uint64_t counter)
{
	struct message_data msg = {
		.type = le32_make(MESSAGE_DATA),
		.receiver = le32_make(idx),
		.counter = le64_make(counter),
	};

	memcpy(e->error.quote, &msg, sizeof(msg));
	e->error.quote_len = sizeof(msg);
}

/* An ICMP message that quotes a message to a peer. */
static void report(uint32_t i, uint64_t counter, uint32_t mtu)
{
	struct fake_error e = icmp(i, mtu);

	quote(&e, keypairs[i].remote_index, counter);
	fake_push_error(&e);
	paths_take_errors(paths, sock, now);
}

/* While another thread has the lock: statistics do not wait for it. */
static uint32_t mtu_of(uint32_t i)
{
	uint32_t mtu;

	pthread_mutex_lock(&paths->mutex);
	mtu = paths_get_mtu(paths, &peers[i], now);
	pthread_mutex_unlock(&paths->mutex);
	return mtu;
}

static void one_of_two(void **state)
{
	struct paths_limits limits;

	(void)state;
	send_to(0, 10, LEN);
	send_to(1, 10, LEN);
	assert_false(paths_have_limit(paths, &peers[0]));
	report(0, 11, 1400);
	assert_int_equal(mtu_of(0), 1400);
	assert_int_equal(mtu_of(1), 0);
	assert_true(paths_have_limit(paths, &peers[0]));
	assert_false(paths_have_limit(paths, &peers[1]));
	paths_get_limits(paths, &peers[0], &limits, now);
	/* 60 bytes are IPv4, UDP and WireGuard. */
	assert_int_equal(limits.mtu, 1340);
	assert_int_equal(limits.cut, 1340);
	assert_int_equal(limits.whole, 1340);
	assert_int_equal(paths_clamp(paths, &peers[0], 1420, now), 1340);
	assert_int_equal(paths_clamp(paths, &peers[1], 1420, now), 1420);
	assert_int_equal(paths_clamp(NULL, &peers[0], 1420, now), 1420);
	now += 600 * SEC;
	assert_int_equal(mtu_of(0), 0);
	paths_get_limits(paths, &peers[0], &limits, now);
	assert_int_equal(limits.cut, 0);
	assert_false(paths_have_limit(paths, &peers[0]));
}

/* Packets of 1,280 bytes pass, whatever was told. */
static void floor_inside(void **state)
{
	struct paths_limits limits;

	(void)state;
	send_to(0, 10, LEN);
	report(0, 10, 1000);
	paths_get_limits(paths, &peers[0], &limits, now);
	assert_int_equal(limits.mtu, 1280);
	assert_int_equal(limits.whole, 1220);
	assert_int_equal(limits.cut, 1220);
	assert_true(limits.is_tiny);
}

/* Messages that prove nothing: none of them changes a limit of any peer. */
static void forged(void **state)
{
	struct fake_error e;

	(void)state;
	for (uint32_t i = 0; i < 100; i++)
		send_to(i, 10, LEN);
	for (uint32_t n = 0; n < 20000; n++) {
		e = icmp(n % 100, 1280);
		switch (n % 5) {
		case 0: /* 8 bytes of the datagram */
			break;
		case 1: /* another index */
			quote(&e, n, 10);
			break;
		case 2: /* a counter that was not drawn */
			quote(&e, keypairs[n % 100].remote_index, 12 + n);
			break;
		case 3: /* or long ago */
			quote(&e, keypairs[n % 100].remote_index, n % 10);
			break;
		default: /* a message of the handshake */
			quote(&e, keypairs[n % 100].remote_index, 10);
			e.error.quote[0] = 1;
		}
		fake_push_error(&e);
		if (n % 50 == 49)
			paths_take_errors(paths, sock, now);
	}
	for (uint32_t i = 0; i < 100; i++) {
		assert_false(paths_have_limit(paths, &peers[i]));
		assert_int_equal(mtu_of(i), 0);
	}
	assert_int_equal(counter_get(&paths->stats.learnt), 0);
	assert_int_equal(counter_get(&paths->stats.hints), 8000);
	assert_int_equal(counter_get(&paths->stats.forged), 12000);
}

/* Of more peers than there are seats, the latest have one. */
static void many_peers(void **state)
{
	unsigned int n = 0;

	(void)state;
	for (uint32_t i = 0; i < PEERS; i++) {
		now += 1000;
		send_to(i, 10, LEN);
		report(i, 10, 1300 + i % 100);
		assert_int_equal(mtu_of(i), 1300 + i % 100);
	}
	for (uint32_t i = 0; i < PEERS; i++) {
		uint32_t mtu = mtu_of(i);

		assert_true(mtu == 0 || mtu == 1300 + i % 100);
		n += mtu != 0;
	}
	assert_int_equal(n, PATHS_SEATS);
	/* Who has lost his seat gets one again, and learns again. */
	assert_int_equal(mtu_of(0), 0);
	send_to(0, 20, LEN);
	report(0, 20, 1310);
	assert_int_equal(mtu_of(0), 1310);
}

/* A peer that has moved has another path. */
static void moved(void **state)
{
	(void)state;
	send_to(0, 10, LEN);
	report(0, 10, 1400);
	endpoints[0].addr.v4.sin_port = htons(1);
	send_to(0, 12, LEN);
	assert_int_equal(mtu_of(0), 0);
	assert_false(paths_have_limit(paths, &peers[0]));
}

/* The kernel refuses a datagram, and tells the MTU of the interface. */
static void of_the_interface(void **state)
{
	struct trains_run run = { &peers[0], &endpoints[0], 0, 2 };
	struct fake_error e = icmp(0, 1400);

	(void)state;
	e.error.origin = UG_ORIGIN_LOCAL;
	e.error.icmp_type = e.error.icmp_code = 0;
	/* IPv4 tells no port, and this is another address. */
	e.error.to.addr.v4.sin_port = 0;
	e.error.to.addr.v4.sin_addr.s_addr ^= htonl(1 << 20);
	fake_push_error(&e);
	paths_refused(paths, sock, &run, now);
	assert_int_equal(mtu_of(0), 0);
	e.error.to.addr.v4.sin_addr = endpoints[0].addr.v4.sin_addr;
	fake_push_error(&e);
	paths_refused(paths, sock, &run, now);
	assert_int_equal(mtu_of(0), 1400);
}

/* A TCP segment of a peer leaves in one message of @len bytes. */
static void send_segment(uint32_t seq, size_t len)
{
	struct trains_run run = { &peers[0], &endpoints[0], 0, 1 };
	struct send_run send = { &peers[0], &keypairs[0], 10, 1 };
	struct iovec iov = { NULL, len };
	static struct trains_notes notes;

	notes.n = 1;
	notes.notes[0] = (struct trains_note){
		.flow = acked_flow(),
		.seq = seq,
		.len = 1000,
		.segment_len = 1000,
		.n = 1,
	};
	paths_after(paths, &run, &send, &iov, &notes, now);
	now += 200 * NSEC_PER_MSEC;
}

/* Long segments are lost, and pass when they are cut to PMTU_MIN. */
static void black_hole(void **state)
{
	uint8_t ack[40];

	(void)state;
	for (uint32_t seq = 5; seq < 5 + PMTU_SIGNS; seq++) {
		for (int i = 0; i < 3 && !paths_have_limit(paths, &peers[0]);
		     i++)
			send_segment(seq, LEN);
		assert_true(paths_have_limit(paths, &peers[0]));
		assert_int_equal(mtu_of(0), 0);
		send_segment(seq, PMTU_MIN - 28);
		assert_true(paths_want_acks(paths, &peers[0]));
		make_ack(ack, seq + 1);
		paths_saw(paths, &peers[0], ack, sizeof(ack), now);
	}
	assert_int_equal(mtu_of(0), PMTU_MIN);
	assert_int_equal(counter_get(&paths->stats.lost), 1);
	/* What was found by losses is tried again, and not forgotten. */
	now += 2 * PMTU_LESSON;
	assert_int_equal(mtu_of(0), PMTU_MIN);
}

/* Peers to which only short datagrams leave need no seat. */
static void short_datagrams(void **state)
{
	(void)state;
	send_to(0, 10, PMTU_MIN - 28);
	assert_null(paths_find(paths, &peers[0]));
	send_to(0, 12, PMTU_MIN - 27);
	assert_non_null(paths_find(paths, &peers[0]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_of_two, setup, teardown),
		cmocka_unit_test_setup_teardown(floor_inside, setup, teardown),
		cmocka_unit_test_setup_teardown(forged, setup, teardown),
		cmocka_unit_test_setup_teardown(many_peers, setup, teardown),
		cmocka_unit_test_setup_teardown(moved, setup, teardown),
		cmocka_unit_test_setup_teardown(of_the_interface, setup,
						teardown),
		cmocka_unit_test_setup_teardown(black_hole, setup, teardown),
		cmocka_unit_test_setup_teardown(short_datagrams, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
