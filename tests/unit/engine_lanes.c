/* SPDX-License-Identifier: MIT */
/*
 * The inbound lanes of a port with two sockets, and of one with a single socket. Real
 * sockets on loopback bring messages of two peers, each of which belongs to a lane of
 * its own. The steps of the lanes are called one by one, so a lane can be stopped in
 * the middle, as if its thread had lost its processor.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/udp.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/now.h"
#include "crypto/init.h"
#include "device/config.h"
#include "engine/endpoint.h"
#include "engine/lanes.h"
#include "tests/lib/check.h"
#include "tests/lib/quiet_ops.h"

enum {
	QUEUES = 2,
	PEERS = 2,
	SLOTS = 2,
	PACKET_LEN = 48,
	MESSAGE_LEN = sizeof(struct message_data) + PACKET_LEN + AEAD_TAG_LEN,
	/* Messages of a train, which fits a page: the receiver reads fewer long ones
	 * at once. */
	TRAIN = 40,
	/* Trains that are sent before the next are received: they fill eight calls of
	 * a receiver, which then reads twice as many at once. */
	TRAINS = 64,
	/* Keys that are tried until each lane has a peer. */
	KEYS = 100,
};

static struct device device;
static struct handshaker handshaker;
static struct sockets sockets;
static struct lanes lanes;
static struct context context;
static struct tun tuns[QUEUES];
static struct peer *peers[PEERS];  /* peer i belongs to lane i */
static uint8_t second_byte[PEERS]; /* of the peer's inner addresses */
static uint32_t indexes[PEERS];
static uint64_t counters[PEERS];
static int sender;

/* What was written to each queue of the TUN: packets, and the peer of the last. */
static unsigned int n_written[QUEUES];
static uint8_t last_written[QUEUES];

static ssize_t fake_read(int fd, void *buf, size_t len)
{
	(void)fd;
	(void)buf;
	(void)len;
	errno = EAGAIN;
	return -1;
}

/* Where the peer of the last packet was when it was written. */
static struct ug_endpoint written_from;

static ssize_t fake_writev(int fd, const struct iovec *iov, int cnt)
{
	const uint8_t *packet = iov[cnt - 1].iov_base;
	struct device_endpoint from;

	n_written[fd]++;
	last_written[fd] = packet[13];
	memset(&written_from, 0, sizeof(written_from));
	for (int i = 0; i < PEERS; i++)
		if (second_byte[i] == packet[13] &&
		    endpoint_cell_get(&peers[i]->endpoint, &from))
			endpoint_learnt(&written_from, &from);
	return PACKET_LEN;
}

static const struct tun_sys sys = { .read = fake_read, .writev = fake_writev };

static void op_random(void *arg, void *buf, size_t len)
{
	static uint8_t next;

	(void)arg;
	for (size_t i = 0; i < len; i++)
		((uint8_t *)buf)[i] = (uint8_t)(next++ * 31);
}

static const struct device_ops ops = {
	.random = op_random,
	QUIET_OPS,
};

/* Add peers until each lane has one. */
static void add_peers(void)
{
	for (uint8_t i = 1; i <= KEYS && !(peers[0] && peers[1]); i++) {
		const uint8_t key[NOISE_PUBLIC_KEY_LEN] = { 9, i };
		struct ip_prefix prefix = { .family = IP_V4,
					    .cidr = 16,
					    .addr = { 10, i } };
		struct config *config = config_new();
		struct peer *peer;

		assert_non_null(config);
		assert_int_equal(config_begin_peer(config, key), 0);
		assert_int_equal(config_add_allowedip(config, &prefix), 0);
		assert_int_equal(config_apply(config, &device, now_boottime()),
				 0);
		config_free(config);
		peer = device_lookup_peer(&device, key);
		assert_non_null(peer);
		assert_in_range(peer->lane, 0, QUEUES - 1);
		if (peers[peer->lane])
			continue;
		peers[peer->lane] = peer;
		second_byte[peer->lane] = i;
	}
	assert_true(peers[0] && peers[1]);
}

/* Begin a session, under a number as a handshake would have drawn it. */
static void begin_session(unsigned int i)
{
	struct noise_keypair *kp = noise_keypair_new(&device.local);
	struct peer *peer = peers[i];

	assert_non_null(kp);
	kp->is_initiator = true;
	kp->created_ns = now_boottime();
	kp->owner = peer;
	assert_int_equal(index_new(&device.index, &peer->handshake, peer->lane,
				   &indexes[i]),
			 0);
	kp->local_index = indexes[i];
	assert_int_equal(index_lane(indexes[i], QUEUES), i);
	assert_int_equal(
		index_replace(&device.index, indexes[i], &peer->handshake, kp),
		0);
	noise_keypairs_add(&peer->keypairs, kp);
	counters[i] = 0;
}

static void open_all(unsigned int n_sockets, bool is_steered)
{
	const struct ug_options opt = { .size = sizeof(opt),
					.families = UG_IPV4_ONLY };
	struct lanes_config config = {
		.device = &device,
		.tuns = tuns,
		.handshaker = &handshaker,
		.n_queues = QUEUES,
		.is_steered = is_steered,
		.n_slots = SLOTS,
	};
	struct sock_group *group;

	memset(&device, 0, sizeof(device));
	memset(&handshaker, 0, sizeof(handshaker));
	memset(&lanes, 0, sizeof(lanes));
	memset(peers, 0, sizeof(peers));
	memset(n_written, 0, sizeof(n_written));
	assert_int_equal(device_init(&device, &ops, NULL), 0);
	device_set_lanes(&device, QUEUES);
	device_set_up(&device, true, now_boottime());
	sockets_init(&sockets);
	assert_int_equal(handshaker_init(&handshaker, &device, &sockets), 0);
	for (int i = 0; i < QUEUES; i++)
		tuns[i] = (struct tun){ .sys = &sys, .fd = i };
	assert_int_equal(lanes_init(&lanes, &config), 0);
	assert_int_equal(sock_group_open(&group, NULL, n_sockets, &opt, NULL),
			 0);
	assert_int_equal(group->n, n_sockets);
	context_set_group(&context, group);
	context.aead = aead_new(AEAD_BEST);
	assert_non_null(context.aead);
	sender = socket(AF_INET, SOCK_DGRAM, 0);
	assert_true(sender >= 0);
	add_peers();
	for (unsigned int i = 0; i < PEERS; i++)
		begin_session(i);
}

static void close_all(void)
{
	close(sender);
	lanes_deinit(&lanes);
	handshaker_deinit(&handshaker);
	device_deinit(&device);
	sockets_deinit(&sockets);
	sock_group_close(context.group);
	aead_free(context.aead);
}

/* Make a message of a peer, with a packet of the peer's inside. */
static void make_message(unsigned int peer, uint8_t msg[MESSAGE_LEN])
{
	struct message_data *header = (void *)msg;
	uint8_t *packet = msg + sizeof(*header);
	const uint8_t key[AEAD_KEY_LEN] = { 0 };
	struct aead_msg sealed = {
		.key = key,
		.counter = counters[peer]++,
		.text = packet,
		.len = PACKET_LEN,
	};

	memset(msg, 0, MESSAGE_LEN);
	msg[0] = MESSAGE_DATA;
	header->receiver = le32_make(indexes[peer]);
	header->counter = le64_make(sealed.counter);
	packet[0] = 0x45;
	packet[3] = PACKET_LEN;
	packet[9] = 59;
	packet[12] = packet[16] = 10;
	packet[13] = second_byte[peer];
	packet[17] = 200;
	aead_seal_batch(context.aead, &sealed, 1);
}

static void send_bytes(const uint8_t *bytes, size_t len)
{
	struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(ug_port(context.sock)),
	};

	assert_int_equal(sendto(sender, bytes, len, 0, (void *)&to, sizeof(to)),
			 len);
}

static void send_message(unsigned int peer)
{
	uint8_t msg[MESSAGE_LEN];

	make_message(peer, msg);
	send_bytes(msg, sizeof(msg));
}

/* Messages of a peer, as one train. */
static void send_train(unsigned int peer)
{
	uint8_t msgs[TRAIN][MESSAGE_LEN];
	int size = MESSAGE_LEN;

	for (int i = 0; i < TRAIN; i++)
		make_message(peer, msgs[i]);
	assert_int_equal(setsockopt(sender, IPPROTO_UDP, UDP_SEGMENT, &size,
				    sizeof(size)),
			 0);
	send_bytes(&msgs[0][0], sizeof(msgs));
}

/* The lane of IPv4 that belongs to a socket. */
static struct lane *lane_of(unsigned int number)
{
	return &lanes.in[2 * number].source.lane;
}

static bool take(unsigned int number)
{
	struct lane *l = lane_of(number);

	return l->ops->take(l->arg, l->slots[0], &context);
}

static void finish(unsigned int number)
{
	struct lane *l = lane_of(number);

	l->ops->work(l->arg, l->slots[0], &context);
	l->ops->commit(l->arg, l->slots[0], &context);
	if (l->ops->deliver)
		l->ops->deliver(l->arg, &context);
}

static void expect_written(unsigned int queue, unsigned int n)
{
	assert_int_equal(n_written[queue], n);
	if (n)
		assert_int_equal(last_written[queue], second_byte[queue]);
}

/* Each peer's messages come by its lane, and are written by its queue. */
static void each_has_its_lane(void **state)
{
	(void)state;
	for (int is_steered = 0; is_steered < 2; is_steered++) {
		open_all(QUEUES, is_steered);
		for (unsigned int i = 0; i < PEERS; i++) {
			send_message(i);
			assert_false(take(!i));
			assert_true(take(i));
			finish(i);
			expect_written(i, 1);
			assert_int_equal(n_written[!i], i);
		}
		close_all();
	}
}

/* Act as a thread that has the right to write to a queue, and is stopped. */
static void stop_writing(unsigned int queue)
{
	atomic_store(&lanes.writers[queue].is_writing, true);
}

/* That thread goes on, and finds nothing that it has not written. */
static void go_on_writing(unsigned int queue)
{
	atomic_store(&lanes.writers[queue].is_writing, false);
}

static enum lane_result run(unsigned int number)
{
	return lane_run(lane_of(number), &context);
}

/*
 * A thread is stopped while it writes to its queue: the other lane goes on, and its
 * own lane commits until no slot is free. Then all is written in order.
 */
static void a_stopped_lane_stops_nobody(void **state)
{
	(void)state;
	open_all(QUEUES, true);
	stop_writing(0);
	for (unsigned int i = 0; i < SLOTS; i++) {
		send_message(0);
		assert_int_equal(run(0), LANE_LAST);
		/* It was committed, but not written. */
		assert_int_equal(atomic_load(&lane_of(0)->tail), i + 1);
		assert_false(lane_is_idle(lane_of(0)));
	}
	send_message(0);
	for (unsigned int i = 1; i < 10; i++) {
		assert_int_equal(run(0), LANE_HELD);
		send_message(1);
		assert_int_equal(run(1), LANE_LAST);
		expect_written(1, i);
	}
	expect_written(0, 0);
	go_on_writing(0);
	/* Nothing was free yet when this began. */
	assert_int_equal(run(0), LANE_HELD);
	expect_written(0, SLOTS);
	assert_true(lane_is_idle(lane_of(0)));
	assert_int_equal(run(0), LANE_LAST);
	expect_written(0, SLOTS + 1);
	assert_true(lane_is_idle(lane_of(0)));
	close_all();
}

/* A batch has packets for two queues, and one of them stands still: the other packets
 * are written, and the slot is free when all are. */
static void a_batch_for_two_queues(void **state)
{
	(void)state;
	open_all(1, false);
	for (unsigned int stopped = 0; stopped < QUEUES; stopped++) {
		stop_writing(stopped);
		for (unsigned int i = 0; i < PEERS; i++)
			send_message(i);
		assert_int_equal(run(0), LANE_BUSY);
		expect_written(!stopped, stopped + 1);
		expect_written(stopped, stopped);
		assert_false(lane_is_idle(lane_of(0)));
		go_on_writing(stopped);
		assert_int_equal(run(0), LANE_EMPTY);
		expect_written(0, stopped + 1);
		expect_written(1, stopped + 1);
		assert_true(lane_is_idle(lane_of(0)));
	}
	close_all();
}

/* A peer has moved before its packet is written: the answer may leave at once. */
static void a_peer_moves_first(void **state)
{
	(void)state;
	open_all(QUEUES, true);
	for (int turn = 0; turn < 2; turn++) {
		struct sockaddr_in own;
		socklen_t len = sizeof(own);

		send_message(0);
		assert_int_equal(getsockname(sender, (void *)&own, &len), 0);
		assert_true(take(0));
		finish(0);
		assert_int_equal(written_from.addr.v4.sin_port, own.sin_port);
		assert_int_equal(written_from.addr.v4.sin_addr.s_addr,
				 htonl(INADDR_LOOPBACK));
		close(sender);
		sender = socket(AF_INET, SOCK_DGRAM, 0);
		assert_true(sender >= 0);
	}
	close_all();
}

/* Take batches until a call has brought more messages than a batch holds. Return: how
 * many messages were sent. */
static unsigned int receive_too_many(void)
{
	struct lane *lane = lane_of(0);
	unsigned int n_sent = 0;

	/* The receiver reads more at once when many messages have come. */
	for (int i = 0; i < 100 && !lane_has_kept(lane); i++) {
		for (int k = 0; k < TRAINS; k++, n_sent += TRAIN)
			send_train(0);
		while (!lane_has_kept(lane) && take(0))
			finish(0);
	}
	assert_true(lane_has_kept(lane));
	finish(0);
	return n_sent;
}

/* A lane that is to read nothing more takes what a call has brought beyond a batch. */
static void what_was_read_before(void **state)
{
	unsigned int n_sent, n;

	(void)state;
	open_all(1, false);
	assert_int_equal(ug_set_merging(context.sock, true), 0);
	context.reads_nothing = true;
	send_message(0);
	assert_false(take(0));
	context.reads_nothing = false;
	assert_true(take(0));
	finish(0);
	expect_written(0, 1);
	n_sent = 1 + receive_too_many();
	send_message(0);
	n = n_written[0];
	context.reads_nothing = true;
	assert_true(take(0));
	finish(0);
	assert_in_range(n_written[0], n + 1, n_sent);
	n = n_written[0];
	assert_false(take(0));
	assert_int_equal(n_written[0], n);
	context.reads_nothing = false;
	while (take(0))
		finish(0);
	expect_written(0, n_sent + 1);
	close_all();
}

/* With a single socket the lanes of further ones have nothing, no descriptor either;
 * each peer's packets are written by its queue if the kernel does not steer. */
static void one_socket(void **state)
{
	(void)state;
	open_all(1, false);
	for (unsigned int i = 0; i < PEERS; i++) {
		send_message(i);
		assert_false(take(1));
		assert_true(take(0));
		finish(0);
		expect_written(i, 1);
	}
	for (unsigned int i = 0; i < lanes.n_in; i++) {
		const struct source *s = &lanes.in[i].source;

		assert_int_equal(s->ops->get_fd(s, context.group, 0) >= 0,
				 i == 0);
		assert_true(s->ops->get_fd(s, NULL, 0) < 0);
	}
	close_all();
}

/* A message that came to the socket of another lane is handled there. */
static void a_stray_message(void **state)
{
	struct sock_filter code[] = { BPF_STMT(BPF_RET | BPF_K, 0) };
	const struct sock_fprog program = { ARRAY_LEN(code), code };

	(void)state;
	open_all(QUEUES, false);
	assert_int_equal(ug_set_steering(context.sock, AF_INET, &program), 0);
	for (int i = 0; i < 20; i++)
		send_message(1);
	assert_false(take(1));
	while (take(0))
		finish(0);
	expect_written(1, 20);
	expect_written(0, 0);
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_has_its_lane),
		cmocka_unit_test(a_stopped_lane_stops_nobody),
		cmocka_unit_test(a_batch_for_two_queues),
		cmocka_unit_test(a_peer_moves_first),
		cmocka_unit_test(what_was_read_before),
		cmocka_unit_test(one_socket),
		cmocka_unit_test(a_stray_message),
	};

	if (crypto_init() < 0)
		return 1;
	rcu_register();
	log_init(LOG_SILENT, "test");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
