/* SPDX-License-Identifier: MIT */
/*
 * What the options clear_tos and follow_interface change in the messages that the
 * kernel gets, for datagrams and for trains, in both families.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/fault/sending.h"
#include "tests/lib/check.h"
#include "udpgather/open.h"

static struct ug_endpoint *const targets[] = { &ep_a, &ep_six };

/* Send a train of the caller with this TOS and TTL. */
static void send_train(const struct ug_endpoint *to, uint8_t tos, uint8_t ttl)
{
	static unsigned char bytes[3000];
	struct iovec iov = { bytes, sizeof(bytes) };
	struct ug_train t = {
		.to = to,
		.iov = &iov,
		.n_iov = 1,
		.segment_len = 1000,
		.tos = tos,
		.ttl = ttl,
	};

	fake.n = 0;
	assert_int_equal(ug_send_trains(sock, batch, &t, sizeof(t), 1, 0), 3);
	assert_int_equal(fake.n, 3);
}

static int no_trains(const struct fake_message *m)
{
	return m->segment_len ? EIO : 0;
}

/* The TOS of @tos as the kernel gets it, by each way of sending. */
static void expect_tos(const struct ug_endpoint *to, uint8_t tos, int expected)
{
	n_dgrams = 0;
	add(to, 5, 100);
	for (size_t i = 0; i < n_dgrams; i++)
		dgrams[i].tos = tos;
	fake.rule = NULL;
	send_all(5);
	assert_int_equal(fake.log[0].train, 5);
	assert_int_equal(fake.log[0].tos, expected);
	assert_int_equal(fake.log[0].ttl, -1);
	send_train(to, tos, 0);
	assert_int_equal(fake.log[0].train, 3);
	assert_int_equal(fake.log[0].tos, expected);
	assert_int_equal(fake.log[0].ttl, -1);
	send_train(to, tos, 9);
	assert_int_equal(fake.log[0].tos, expected);
	assert_int_equal(fake.log[0].ttl, 9);
	/* A train that was cut. */
	fake.rule = no_trains;
	send_train(to, tos, 9);
	for (size_t i = 0; i < fake.n; i++) {
		assert_int_equal(fake.log[i].train, 1);
		assert_int_equal(fake.log[i].tos, expected);
		assert_int_equal(fake.log[i].ttl, 9);
	}
	ug_paths_changed(sock);
}

/* Without the option, 0 leaves the socket's own TOS; with it, 0 is sent. */
static void tos_of_zero(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
		open_anew((struct ug_options){ 0 });
		expect_tos(targets[i], 0, -1);
		expect_tos(targets[i], 0xb8, 0xb8);
		open_anew((struct ug_options){ .clear_tos = true });
		expect_tos(targets[i], 0, 0);
		expect_tos(targets[i], 0xb8, 0xb8);
	}
}

/* The interface of the source as the kernel gets it. */
static void expect_interface(const struct ug_endpoint *to, uint32_t expected)
{
	n_dgrams = 0;
	add(to, 5, 100);
	send_all(5);
	assert_true(fake.log[0].has_source);
	assert_int_equal(fake.log[0].ifindex, expected);
	send_train(to, 0, 0);
	assert_true(fake.log[0].has_source);
	assert_int_equal(fake.log[0].ifindex, expected);
}

/* The interface goes with each source only with the option; with a link-local one
 * always. Datagrams by two interfaces are not in one train. */
static void interface_of_source(void **state)
{
	static const uint8_t four[4] = { 10, 0, 0, 9 }, six[16] = { 0xfd };
	static const uint8_t local[16] = { 0xfe, 0x80, [15] = 1 };
	struct ug_endpoint other;

	(void)state;
	for (uint32_t follow = 0; follow < 2; follow++) {
		open_anew((struct ug_options){ .follow_interface = follow });
		ug_endpoint_pin_address(&ep_a, four, 7);
		expect_interface(&ep_a, follow * 7);
		ug_endpoint_pin_address(&ep_six, six, 8);
		expect_interface(&ep_six, follow * 8);
		ug_endpoint_pin_address(&ep_six, local, 9);
		expect_interface(&ep_six, 9);
	}
	other = ep_a;
	other.source.ifindex = 6;
	n_dgrams = 0;
	add(&ep_a, 3, 100);
	add(&other, 2, 100);
	send_all(5);
	assert_int_equal(fake.log[2].train, 3);
	assert_int_equal(fake.log[2].ifindex, 7);
	assert_int_equal(fake.log[3].train, 2);
	assert_int_equal(fake.log[3].ifindex, 6);
}

static int gone_errno;

static int gone_rule(const struct fake_message *m)
{
	return m->control.source.ifindex ? gone_errno : 0;
}

/* If the interface is gone, the datagrams leave without the source, and the caller is
 * told, also for a train of the caller. */
static void interface_gone(void **state)
{
	/* Of Linux: there is no such interface; it is down; and, in IPv6, it has lost
	 * the address. */
	static const int errs[] = { ENODEV, ENETUNREACH, EINVAL };
	static const uint8_t addr[16] = { 10, 0, 0, 9 };

	(void)state;
	open_anew((struct ug_options){ .follow_interface = true });
	for (size_t i = 0; i < ARRAY_LEN(targets) * ARRAY_LEN(errs); i++) {
		struct ug_endpoint *to = targets[i % 2];

		gone_errno = errs[i / 2];
		fake.rule = gone_rule;
		ug_endpoint_pin_address(to, addr, 7);
		n_dgrams = 0;
		add(to, 5, 100);
		send_all(5);
		assert_false(fake.log[0].has_source);
		assert_int_equal(fake.log[0].train, 5);
		assert_ptr_equal(ug_refused_source(batch), to);
		send_train(to, 0, 0);
		assert_false(fake.log[0].has_source);
		assert_ptr_equal(ug_refused_source(batch), to);
	}
	assert_int_equal(n_notices, 0);
}

/* --------------------------------------------------------------- Receiving */

static struct ug_source arrived; /* packet info of what comes */

static int arrive(int fd, struct mmsghdr *msgs, unsigned int n)
{
	const struct ug_endpoint *from = targets[fake_family(fd) == AF_INET6];
	struct msghdr *h = &msgs->msg_hdr;

	(void)n;
	memcpy(h->msg_name, &from->addr, sizeof(from->addr));
	h->msg_namelen = fake_family(fd) == AF_INET ? sizeof(from->addr.v4)
						    : sizeof(from->addr.v6);
	h->msg_flags = 0;
	h->msg_controllen = ug_control_build(
		h->msg_control, &(struct control_out){
					.source = &arrived,
					.family = fake_family(fd),
					.flags = CONTROL_FOLLOW_INTERFACE,
				});
	msgs->msg_len = 1;
	return 1;
}

/* Receive one datagram that was sent to an address. Return: its endpoint. */
static struct ug_endpoint receive_at(struct ug_receiver *rcv, int family,
				     const uint8_t addr[16])
{
	struct ug_view view;

	arrived = (struct ug_source){ .ifindex = 5 };
	memcpy(arrived.addr, addr, 16);
	assert_int_equal(ug_receive(rcv, sock, family, &view, 1, 0), 1);
	return *view.from;
}

/* What came to a group has no address to answer from, but an interface. */
static void asked_by_a_group(void **state)
{
	static const uint8_t four[16] = { 10, 0, 0, 9 }, none[16] = { 0 };
	static const uint8_t group[16] = { 0xff, 2, [15] = 1 };
	struct ug_receiver *rcv;
	struct ug_endpoint from;

	(void)state;
	assert_int_equal(ug_receiver_new(&rcv, 4), 0);
	fake.receive = arrive;
	from = receive_at(rcv, AF_INET6, group);
	assert_int_equal(from.source.state, UG_SOURCE_NONE);
	from = receive_at(rcv, AF_INET, none);
	assert_int_equal(from.source.state, UG_SOURCE_NONE);

	open_anew((struct ug_options){ .follow_interface = true });
	from = receive_at(rcv, AF_INET6, group);
	assert_memory_equal(from.source.addr, none, 16);
	expect_interface(&from, 5);
	from = receive_at(rcv, AF_INET, none);
	expect_interface(&from, 5);
	from = receive_at(rcv, AF_INET, four);
	assert_memory_equal(from.source.addr, four, 16);
	expect_interface(&from, 5);
	ug_receiver_free(rcv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SENDING_TEST(tos_of_zero),
		SENDING_TEST(interface_of_source),
		SENDING_TEST(interface_gone),
		SENDING_TEST(asked_by_a_group),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
