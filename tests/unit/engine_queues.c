/* SPDX-License-Identifier: MIT */
/*
 * Two outbound lanes that send to the same peers. Their steps are called one by
 * one, so a batch can be stopped between its steps, as if its thread had lost
 * its processor. The messages go to a socket on loopback, where their counters
 * are read.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "crypto/init.h"
#include "device/config.h"
#include "engine/endpoint.h"
#include "engine/outbound.h"
#include "tests/lib/check.h"
#include "tests/lib/quiet_ops.h"

enum {
	LANES = 2,
	SLOTS = 2,
	PEERS = 2,
	/* More than any test pushes. A choice. */
	PACKETS_CAP = 1024,
	PACKET_LEN = 40,
	/* The bound that the engine promises. */
	APART = 512,
	/* Longer than a packet waits for another lane, and than the pause after
	 * it has waited in vain. */
	HOLD_MS = 21,
	PAUSE_MS = 101,
	MESSAGE_CAP = 256,
};

/* Linked with --wrap=clock_gettime. */
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);

static uint64_t now;

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	(void)clock;
	ts->tv_sec = (time_t)(now / NSEC_PER_SEC);
	ts->tv_nsec = (long)(now % NSEC_PER_SEC);
	return 0;
}

static struct device device;
static struct peer *peers[PEERS];
static struct outbound_lane lanes[LANES];
static struct tun tuns[LANES];
static struct context context;
static int receivers[PEERS];

/* The packets that wait in each queue of the TUN: the number of the peer. */
static struct {
	uint8_t peer[PACKETS_CAP];
	unsigned int first;
	unsigned int n;
} queues[LANES];

static void push(unsigned int lane, unsigned int peer, unsigned int n)
{
	while (n--)
		queues[lane].peer[queues[lane].n++] = (uint8_t)peer;
}

static ssize_t fake_read(int fd, void *buf, size_t len)
{
	uint8_t *p = buf;

	if (queues[fd].first == queues[fd].n) {
		errno = EAGAIN;
		return -1;
	}
	assert_true(len >= PACKET_LEN);
	memset(p, 0, PACKET_LEN);
	p[0] = 0x45;
	p[3] = PACKET_LEN;
	p[9] = 59;
	p[16] = 10;
	p[17] = queues[fd].peer[queues[fd].first++];
	return PACKET_LEN;
}

static ssize_t fake_writev(int fd, const struct iovec *iov, int cnt)
{
	(void)fd;
	(void)iov;
	(void)cnt;
	return 0;
}

static const struct tun_sys sys = { .read = fake_read, .writev = fake_writev };

/* -------------------------------------------------------------- the world */

static void op_random(void *arg, void *buf, size_t len)
{
	static uint8_t next;

	(void)arg;
	memset(buf, ++next, len);
}

static const struct device_ops ops = {
	.random = op_random,
	QUIET_OPS,
};

/* A socket on loopback, and its address as an endpoint. */
static int open_receiver(struct device_endpoint *out)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), room = 1 << 20;
	socklen_t len = sizeof(to);
	struct ug_endpoint ep;

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	assert_int_equal(bind(fd, (void *)&to, len), 0);
	assert_int_equal(getsockname(fd, (void *)&to, &len), 0);
	assert_int_equal(ug_endpoint_set(&ep, (void *)&to, len), 0);
	endpoint_to_device(out, &ep);
	return fd;
}

static void add_peers(void)
{
	struct config *config = config_new();

	assert_non_null(config);
	for (unsigned int i = 0; i < PEERS; i++) {
		const uint8_t key[NOISE_PUBLIC_KEY_LEN] = { 9, (uint8_t)i };
		struct ip_prefix prefix = { .family = IP_V4,
					    .cidr = 16,
					    .addr = { 10, (uint8_t)i } };
		struct device_endpoint ep;

		receivers[i] = open_receiver(&ep);
		assert_int_equal(config_begin_peer(config, key), 0);
		assert_int_equal(config_set_endpoint(config, &ep), 0);
		assert_int_equal(config_add_allowedip(config, &prefix), 0);
	}
	assert_int_equal(config_apply(config, &device, now), 0);
	config_free(config);
	for (unsigned int i = 0; i < PEERS; i++) {
		uint8_t packet[PACKET_LEN] = {
			0x45, [3] = PACKET_LEN, [16] = 10, [17] = (uint8_t)i
		};

		peers[i] = session_route(&device, packet, sizeof(packet));
		assert_non_null(peers[i]);
	}
}

static struct noise_keypair *begin_session(struct peer *peer)
{
	struct noise_keypair *kp = noise_keypair_new(&device.local);

	assert_non_null(kp);
	kp->is_initiator = true;
	kp->created_ns = now;
	kp->owner = peer;
	noise_keypairs_add(&peer->keypairs, kp);
	return kp;
}

static int set_up(void **state)
{
	(void)state;
	now += 1000 * NSEC_PER_SEC;
	assert_int_equal(device_init(&device, &ops, NULL), 0);
	device_set_up(&device, true, now);
	add_peers();
	memset(queues, 0, sizeof(queues));
	memset(lanes, 0, sizeof(lanes));
	for (int i = 0; i < LANES; i++) {
		tuns[i] = (struct tun){ .sys = &sys, .fd = i };
		lanes[i].first = i ? &lanes[0] : NULL;
		assert_int_equal(
			outbound_lane_init(&lanes[i], &device, &tuns[i], SLOTS),
			0);
	}
	context.aead = aead_new(AEAD_BEST);
	assert_non_null(context.aead);
	assert_int_equal(ug_open(&context.sock, NULL, NULL), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (int i = LANES; i--;)
		outbound_lane_deinit(&lanes[i]);
	for (int i = 0; i < PEERS; i++) {
		peer_put(peers[i]);
		close(receivers[i]);
	}
	device_deinit(&device);
	ug_close(context.sock);
	aead_free(context.aead);
	return 0;
}

/* -------------------------------------------------------------- the steps */

static bool take(unsigned int lane)
{
	struct lane *l = &lanes[lane].source.lane;

	return l->ops->take(l->arg, l->slots[0], &context);
}

static void finish(unsigned int lane)
{
	struct lane *l = &lanes[lane].source.lane;

	l->ops->work(l->arg, l->slots[0], &context);
	l->ops->commit(l->arg, l->slots[0], &context);
}

/* Run a lane until it takes nothing. */
static void run(unsigned int lane)
{
	while (take(lane))
		finish(lane);
}

static bool has_more(unsigned int lane)
{
	return lanes[lane].source.ops->has_more(&lanes[lane].source);
}

/* The messages that have arrived at a peer: their counters. */
struct arrived {
	unsigned int n;
	uint64_t counters[PACKETS_CAP];
};

static const struct arrived *arrived_at(unsigned int peer)
{
	static struct arrived a;
	struct pollfd wait = { .fd = receivers[peer], .events = POLLIN };
	uint8_t msg[MESSAGE_CAP];

	a.n = 0;
	while (poll(&wait, 1, 0) == 1) {
		ssize_t len = recv(receivers[peer], msg, sizeof(msg), 0);

		assert_true(len >= (ssize_t)sizeof(struct message_data));
		assert_true(a.n < PACKETS_CAP);
		a.counters[a.n++] = le64_get(
			((const struct message_data *)(void *)msg)->counter);
	}
	return &a;
}

/* Exactly these messages have arrived, in order. */
static void assert_arrived(unsigned int peer, uint64_t first, unsigned int n)
{
	const struct arrived *a = arrived_at(peer);

	assert_int_equal(a->n, n);
	for (unsigned int i = 0; i < n; i++)
		assert_int_equal(a->counters[i], first + i);
}

/* -------------------------------------------------------------- the tests */

static void a_delayed_lane_is_waited_for(void **state)
{
	(void)state;
	begin_session(peers[0]);
	push(0, 0, 1);
	assert_true(take(0));
	push(1, 0, 700);
	run(1);
	/* Lane 0 has counter 0. */
	assert_arrived(0, 1, APART - 1);
	assert_true(has_more(1));
	run(1);
	assert_arrived(0, 0, 0);
	finish(0);
	assert_arrived(0, 0, 1);
	run(1);
	assert_arrived(0, APART, 700 - (APART - 1));
	assert_false(has_more(1));
	assert_int_equal(lanes[1].stats.held_drops, 0);
}

/* A lane that is to read nothing more sends what it has read, and serves requests. */
static void what_was_read_before(void **state)
{
	unsigned int read;

	(void)state;
	begin_session(peers[0]);
	push(0, 0, 1);
	assert_true(take(0));
	push(1, 0, 700);
	run(1);
	assert_arrived(0, 1, APART - 1);
	finish(0);
	assert_arrived(0, 0, 1);
	/* One packet was read, and is not sent yet. */
	read = queues[1].first;
	assert_int_equal(read, APART);
	assert_true(has_more(1));
	push(0, 0, 5);
	assert_true(outbound_request(&lanes[1], peers[0], true));
	context.reads_nothing = true;
	run(1);
	run(0);
	assert_false(has_more(0));
	assert_false(has_more(1));
	assert_int_equal(queues[0].first, 1);
	assert_int_equal(queues[1].first, read);
	/* The packet, and a keepalive. */
	assert_arrived(0, APART, 2);
	context.reads_nothing = false;
	run(0);
	run(1);
	assert_arrived(0, APART + 2, 5 + 700 - read);
}

static void a_lane_alone_does_not_wait(void **state)
{
	(void)state;
	begin_session(peers[0]);
	begin_session(peers[1]);
	push(1, 0, 700);
	push(1, 1, 100);
	run(1);
	assert_arrived(0, 0, 700);
	assert_arrived(1, 0, 100);
}

static void a_stopped_lane_stops_nobody(void **state)
{
	(void)state;
	begin_session(peers[0]);
	begin_session(peers[1]);
	push(0, 0, 10);
	assert_true(take(0));
	push(1, 0, 600);
	push(1, 1, 5);
	run(1);
	assert_arrived(0, 10, APART - 10);
	assert_arrived(1, 0, 0);
	now += HOLD_MS * NSEC_PER_MSEC;
	run(1);
	assert_arrived(0, APART, 600 - (APART - 10));
	assert_arrived(1, 0, 5);
	/* The messages of lane 0 come too late. */
	finish(0);
	assert_arrived(0, 0, 0);
	assert_int_equal(lanes[0].stats.held_drops, 10);
	assert_int_equal(lanes[1].stats.held_drops, 0);
	/* Then all goes on. */
	push(0, 0, 300);
	run(0);
	assert_int_equal(arrived_at(0)->n, 300);
}

/* A lane is stopped in the middle of a system call: its messages may leave at any
 * time, so nothing can be sent to the peer. */
static void stopped_while_it_sends(void **state)
{
	struct noise_keypair *kp = begin_session(peers[0]);

	(void)state;
	begin_session(peers[1]);
	push(0, 0, 10);
	assert_true(take(0));
	assert_true(noise_keypair_begin_send(kp, 0, 10));
	push(1, 0, 600);
	push(1, 1, 5);
	run(1);
	assert_arrived(0, 10, APART - 10);
	now += HOLD_MS * NSEC_PER_MSEC;
	run(1);
	/* All others to this peer are lost, and packets to others go on. */
	assert_arrived(0, 0, 0);
	assert_arrived(1, 0, 5);
	assert_int_equal(lanes[1].stats.held_drops, 600 - (APART - 10));
	push(1, 0, 1);
	push(1, 1, 1);
	run(1);
	assert_arrived(1, 5, 1);
	assert_false(has_more(1));
	noise_keypair_end_send(kp, 0, 10);
	push(1, 0, 1);
	run(1);
	assert_arrived(0, APART, 1);
	now += PAUSE_MS * NSEC_PER_MSEC;
}

/* A packet that waited for the session leaves before a later one. */
static void staged_packets_leave_first(void **state)
{
	(void)state;
	begin_session(peers[1]);
	push(1, 0, 3);
	run(1);
	assert_int_equal(peers[0]->staged.n_packets, 3);
	begin_session(peers[0]);
	/* Only the first lane serves requests. */
	assert_true(outbound_request(&lanes[1], peers[0], false));
	assert_false(has_more(1));
	assert_true(has_more(0));
	assert_true(take(0));
	assert_true(staged_is_empty(&peers[0]->staged));
	push(1, 0, 2);
	push(1, 1, 1);
	run(1);
	assert_arrived(0, 0, 0);
	assert_true(has_more(1));
	finish(0);
	assert_arrived(0, 0, 3);
	run(1);
	assert_arrived(0, 3, 2);
	assert_arrived(1, 0, 1);
	assert_int_equal(peers[0]->n_flushes, 0);
}

/* The same, but the first lane is stopped: it is not waited for any longer. */
static void staged_packets_that_do_not_leave(void **state)
{
	(void)state;
	push(1, 0, 3);
	run(1);
	begin_session(peers[0]);
	assert_true(outbound_request(&lanes[1], peers[0], false));
	assert_true(take(0));
	push(1, 0, 2);
	run(1);
	assert_arrived(0, 0, 0);
	now += HOLD_MS * NSEC_PER_MSEC;
	run(1);
	assert_arrived(0, 3, 2);
	finish(0);
	assert_arrived(0, 0, 3);
	assert_int_equal(peers[0]->n_flushes, 0);
}

/* The session ends under a packet: it is dropped, and counted. */
static void no_session_any_more(void **state)
{
	struct noise_keypair *kp = begin_session(peers[0]);

	(void)state;
	atomic_store(&kp->send_counter, REJECT_AFTER_MESSAGES - 2);
	push(1, 0, 1);
	run(1);
	assert_arrived(0, REJECT_AFTER_MESSAGES - 2, 1);
	push(1, 0, 2);
	run(1);
	assert_arrived(0, REJECT_AFTER_MESSAGES - 1, 1);
	assert_int_equal(
		peers[0]->staged.n_packets + lanes[1].stats.no_counters, 1);
}

/* A keepalive leaves by the first lane. */
static void keepalive(void **state)
{
	(void)state;
	begin_session(peers[0]);
	assert_true(outbound_request(&lanes[1], peers[0], true));
	run(1);
	assert_arrived(0, 0, 0);
	run(0);
	assert_arrived(0, 0, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_delayed_lane_is_waited_for,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_was_read_before, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_lane_alone_does_not_wait,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_stopped_lane_stops_nobody,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(stopped_while_it_sends, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(staged_packets_leave_first,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			staged_packets_that_do_not_leave, set_up, tear_down),
		cmocka_unit_test_setup_teardown(no_session_any_more, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(keepalive, set_up, tear_down),
	};

	if (crypto_init() < 0)
		return 1;
	rcu_register();
	log_init(LOG_SILENT, "test");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
