/* SPDX-License-Identifier: MIT */
/* Which packets are recognised as messages that we sent ourselves, whole or in
 * fragments. */
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "crypto/init.h"
#include "device/device.h"
#include "engine/endpoint.h"
#include "engine/returned.h"
#include "noise/wire.h"
#include "tests/lib/check.h"
#include "tests/lib/quiet_ops.h"

enum {
	/* Choices: any port, any receiver index, and a few messages sent. */
	PORT = 51820,
	REMOTE_INDEX = 0x01020304,
	N_SENT = 10,
	IPV4_LEN = 20,
	IPV6_LEN = 40,
	FRAGMENT_LEN = 8,
	UDP_LEN = 8,
	/* Longer than any packet here. */
	PACKET_CAP = 2000,
};

#define NOW NSEC_PER_SEC

static struct random rnd;
static struct device device;
static struct peer *peer;
static uint32_t own_index;
static struct message_cookie reply;

static void fill_random(void *arg, void *buf, size_t len)
{
	uint8_t *bytes = buf;

	(void)arg;
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)random_next(&rnd);
}

static const struct device_ops ops = {
	.random = fill_random,
	.wake = quiet_wake,
	.forget_source = quiet_forget_source,
	.send_initiation = quiet_send,
	.send_keepalive = quiet_send,
	.session_ready = quiet_session_ready,
	.set_sockets = quiet_set_sockets,
};

/*
 * A peer with a session, an initiation that has no answer yet, and a cookie
 * reply that we have sent.
 */
static int set_up(void **state)
{
	static const uint8_t key[NOISE_PUBLIC_KEY_LEN] = { 9 };
	const struct message_initiation asked = { .type = { { 1 } } };
	struct noise_keypair *kp;

	(void)state;
	random_init(&rnd, 1);
	assert_int_equal(crypto_init(), 0);
	rcu_register();
	assert_int_equal(device_init(&device, &ops, NULL), 0);
	peer = peer_new(&device, key);
	assert_non_null(peer);
	kp = noise_keypair_new(&device.local);
	assert_non_null(kp);
	kp->is_initiator = true;
	kp->remote_index = REMOTE_INDEX;
	atomic_store(&kp->send_counter, N_SENT);
	noise_keypairs_add(&peer->keypairs, kp);
	assert_int_equal(
		index_new(&device.index, &peer->handshake, 0, &own_index), 0);
	cookie_checker_make_reply(&device.checker, &asked, sizeof(asked),
				  (const uint8_t *)"source", 6, NOW, &reply);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	index_drop(&device.index, own_index);
	peer_put(peer);
	device_deinit(&device);
	return 0;
}

/* --------------------------------------------------------------- packets */

/*
 * Fields of a packet to be made. ours() gives those of a message of our own,
 * and a test changes some.
 */
struct plan {
	int version;
	size_t option_len; /* IPv4 */
	bool is_fragmented;
	unsigned int offset; /* of a fragment, in units of 8 bytes */
	uint32_t id;
	uint8_t last_octet; /* of the destination */
	uint16_t port;
	const void *msg;
	size_t len;
	size_t gso_size;
};

static struct plan ours(int version, const void *msg, size_t len)
{
	return (struct plan){ .version = version,
			      .id = 77,
			      .last_octet = 2,
			      .port = PORT,
			      .msg = msg,
			      .len = len };
}

static void put16(uint8_t *at, size_t n)
{
	at[0] = (uint8_t)(n >> 8);
	at[1] = (uint8_t)n;
}

static size_t put_ip4(uint8_t *p, const struct plan *plan)
{
	size_t len = IPV4_LEN + plan->option_len;

	p[0] = (uint8_t)(0x40 | len / 4);
	put16(p + 4, plan->id);
	put16(p + 6, plan->offset | (plan->is_fragmented ? 0x2000u : 0));
	p[9] = 17;
	memcpy(p + 12, "\xc0\0\2\1\xc0\0\2", 7);
	p[19] = plan->last_octet;
	return len;
}

static size_t put_ip6(uint8_t *p, const struct plan *plan)
{
	p[0] = 0x60;
	p[6] = plan->is_fragmented ? 44 : 17;
	p[8] = p[24] = 0xfd;
	p[23] = 1;
	p[39] = plan->last_octet;
	if (!plan->is_fragmented)
		return IPV6_LEN;
	p[IPV6_LEN] = 17;
	put16(p + IPV6_LEN + 2, plan->offset << 3 | 1);
	put16(p + IPV6_LEN + 6, plan->id);
	return IPV6_LEN + FRAGMENT_LEN;
}

static struct device_endpoint endpoint_of(int version)
{
	struct device_endpoint dep;
	struct ug_endpoint ep;

	assert_int_equal(ug_endpoint_parse(&ep, version == 4
							? "192.0.2.2:51820"
							: "[fd00::2]:51820"),
			 0);
	endpoint_to_device(&dep, &ep);
	return dep;
}

/* Judge the first @cap bytes of a packet, in a buffer of that length. */
static bool judge_part(struct returned *r, const struct plan *plan, size_t cap,
		       uint64_t now)
{
	struct device_endpoint ep = endpoint_of(plan->version);
	uint8_t packet[PACKET_CAP] = { 0 };
	struct vnet_frame frame = {
		.ip_version = (uint8_t)plan->version,
		.gso_size = (uint16_t)plan->gso_size,
	};
	size_t len = plan->version == 4 ? put_ip4(packet, plan)
					: put_ip6(packet, plan);
	bool result = false;
	uint8_t *exact;

	if (!plan->offset) {
		put16(packet + len + 2, plan->port);
		put16(packet + len + 4, UDP_LEN + plan->len);
		len += UDP_LEN;
	}
	assert_true(plan->len < PACKET_CAP - len);
	memcpy(packet + len, plan->msg, plan->len);
	len = size_min(len + plan->len, cap);
	frame.len = (uint32_t)len;
	exact = malloc(len);
	assert_non_null(exact);
	memcpy(exact, packet, len);
	if (returned_may_be(exact))
		result = returned_is_own(r, peer, &ep, exact, &frame, now);
	free(exact);
	return result;
}

static bool judge(const struct plan *plan)
{
	struct returned r = { 0 };

	return judge_part(&r, plan, SIZE_MAX, NOW);
}

static void make_data(uint8_t msg[100], uint32_t receiver, uint64_t counter)
{
	struct message_data *data = (void *)msg;

	memset(msg, 0xab, 100);
	data->type = le32_make(MESSAGE_DATA);
	data->receiver = le32_make(receiver);
	data->counter = le64_make(counter);
}

/* ----------------------------------------------------------------- tests */

static void data(void **state)
{
	uint8_t msg[100];

	(void)state;
	for (int version = 4; version <= 6; version += 2) {
		struct plan plan = ours(version, msg, sizeof(msg));

		make_data(msg, REMOTE_INDEX, 0);
		assert_true(judge(&plan));
		make_data(msg, REMOTE_INDEX, N_SENT - 1);
		assert_true(judge(&plan));
		/* A counter not used for sending, and another session. */
		make_data(msg, REMOTE_INDEX, N_SENT);
		assert_false(judge(&plan));
		make_data(msg, REMOTE_INDEX + 1, 0);
		assert_false(judge(&plan));
		/*
		 * Another address, another port, and a packet too short for a
		 * message.
		 */
		make_data(msg, REMOTE_INDEX, 0);
		plan.last_octet = 3;
		assert_false(judge(&plan));
		plan.last_octet = 2;
		plan.port++;
		assert_false(judge(&plan));
		plan.port--;
		plan.len = MESSAGE_MIN_LEN;
		assert_true(judge(&plan));
		plan.len--;
		assert_false(judge(&plan));
	}
}

static void options(void **state)
{
	uint8_t msg[100];
	struct plan plan = ours(4, msg, sizeof(msg));

	(void)state;
	make_data(msg, REMOTE_INDEX, 0);
	plan.option_len = 40;
	assert_true(judge(&plan));
}

static void handshakes(void **state)
{
	uint8_t msg[sizeof(struct message_initiation)] = { 0 };
	struct message_initiation *initiation = (void *)msg;

	(void)state;
	for (int version = 4; version <= 6; version += 2) {
		struct plan plan = ours(version, msg, sizeof(msg));

		initiation->type = le32_make(MESSAGE_INITIATION);
		initiation->sender = le32_make(own_index);
		assert_true(judge(&plan));
		initiation->sender = le32_make(own_index ^ 1);
		assert_false(judge(&plan));
		initiation->sender = le32_make(own_index);
		initiation->type = le32_make(MESSAGE_RESPONSE);
		assert_false(judge(&plan));
		plan.len = sizeof(struct message_response);
		assert_true(judge(&plan));
		plan = ours(version, &reply, sizeof(reply));
		assert_true(judge(&plan));
		reply.nonce[0] ^= 1;
		assert_false(judge(&plan));
		reply.nonce[0] ^= 1;
	}
}

/* A super-packet is judged by the bytes and the length of its first segment. */
static void super_packets(void **state)
{
	uint8_t msg[400] = { 0 };
	struct plan plan = ours(4, msg, sizeof(msg));

	(void)state;
	memset(msg, 0xab, sizeof(msg));
	make_data(msg, REMOTE_INDEX, 0);
	plan.gso_size = 100;
	assert_true(judge(&plan));
	make_data(msg, REMOTE_INDEX, N_SENT);
	assert_false(judge(&plan));
	make_data(msg, REMOTE_INDEX, 0);
	plan.gso_size = MESSAGE_MIN_LEN - 1;
	assert_false(judge(&plan));
}

static void fragments(void **state)
{
	uint8_t msg[800];

	(void)state;
	memset(msg, 0xab, sizeof(msg));
	make_data(msg, REMOTE_INDEX, 0);
	for (int version = 4; version <= 6; version += 2) {
		struct plan first = ours(version, msg, sizeof(msg));
		struct plan later = first;
		struct returned r = { 0 };

		later.is_fragmented = first.is_fragmented = true;
		later.offset = 100;
		/* Before the first fragment nothing is known of a later one. */
		assert_false(judge_part(&r, &later, SIZE_MAX, NOW));
		/* The first fragment has the start of the message. */
		assert_true(judge_part(&r, &first, 200, NOW));
		assert_true(judge_part(&r, &later, SIZE_MAX, NOW));
		later.id++;
		assert_false(judge_part(&r, &later, SIZE_MAX, NOW));
		later.id--;
		assert_false(
			judge_part(&r, &later, SIZE_MAX, NOW + NSEC_PER_SEC));
		/* The first fragment is not ours, so no later one is. */
		first.port++;
		r = (struct returned){ 0 };
		assert_false(judge_part(&r, &first, 200, NOW));
		assert_false(judge_part(&r, &later, SIZE_MAX, NOW));
	}
}

/* A packet that is cut at any length is not read beyond its end. */
static void cut_off(void **state)
{
	uint8_t msg[100];

	(void)state;
	make_data(msg, REMOTE_INDEX, 0);
	for (int version = 4; version <= 6; version += 2)
		for (int is_fragmented = 0; is_fragmented < 2;
		     is_fragmented++) {
			size_t ip_len = version == 4 ? IPV4_LEN : IPV6_LEN;
			struct plan plan = ours(version, msg, sizeof(msg));
			struct returned r = { 0 };

			plan.is_fragmented = is_fragmented;
			for (size_t cap = ip_len; cap < 200; cap++)
				judge_part(&r, &plan, cap, NOW);
			assert_true(judge_part(&r, &plan, 200, NOW));
		}
}

/* The line in the log names the zone by its number: only the control thread may
 * open the socket that tells its name. */
static void zones(void **state)
{
	char text[ENDPOINT_NUMERIC_TEXT];
	struct ug_endpoint ep;

	(void)state;
	assert_int_equal(ug_endpoint_parse(&ep, "[fe80::1%1]:51820"), 0);
	endpoint_print_numeric(&ep, text, sizeof(text));
	assert_string_equal(text, "[fe80::1]:51820 (interface 1)");
	assert_int_equal(ug_endpoint_parse(&ep, "192.0.2.1:9"), 0);
	endpoint_print_numeric(&ep, text, sizeof(text));
	assert_string_equal(text, "192.0.2.1:9");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(data),	      cmocka_unit_test(options),
		cmocka_unit_test(handshakes), cmocka_unit_test(super_packets),
		cmocka_unit_test(fragments),  cmocka_unit_test(cut_off),
		cmocka_unit_test(zones),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
