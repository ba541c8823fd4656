/* SPDX-License-Identifier: MIT */
/*
 * ug_connect() over a kernel of rules: which messages have an address, which sources
 * are named, what errors of the peer are told, and the steps of connecting, each
 * failing in turn.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/fault/sending.h"
#include "tests/lib/check.h"
#include "udpgather/endpoint.h"
#include "udpgather/open.h"

/* Datagrams of the log that went with an address. */
static size_t count_names(void)
{
	size_t n = 0;

	for (size_t i = 0; i < fake.n; i++)
		n += fake.log[i].has_name;
	return n;
}

static size_t count_sources(void)
{
	size_t n = 0;

	for (size_t i = 0; i < fake.n; i++)
		n += fake.log[i].has_source;
	return n;
}

/* The source that a view of a connected socket has. */
static struct ug_source source_of(const char *address, uint32_t ifindex)
{
	char text[UG_ENDPOINT_TEXT];
	struct ug_endpoint ep;
	struct ug_source s = { .ifindex = ifindex, .state = UG_SOURCE_PINNED };

	snprintf(text, sizeof(text), strchr(address, ':') ? "[%s]:1" : "%s:1",
		 address);
	assert_int_equal(ug_endpoint_parse(&ep, text), 0);
	if (ug_endpoint_family(&ep) == AF_INET)
		memcpy(s.addr, &ep.addr.v4.sin_addr, 4);
	else
		memcpy(s.addr, &ep.addr.v6.sin6_addr, 16);
	return s;
}

static void start(void)
{
	fake.n = n_dgrams = fake.send_calls = 0;
	memset(fake.errs, 0, sizeof(fake.errs));
}

/* Messages to the peer have no address, all others have. */
static void names(void **state)
{
	struct ug_endpoint twin = ep_a;

	(void)state;
	/* Connected to nobody. */
	add(&ep_a, 3, 100);
	send_all(3);
	assert_int_equal(count_names(), 3);
	assert_int_equal(ug_connect(sock, &ep_a), 0);
	start();
	add(&ep_a, 3, 100);
	add(&twin, 3, 100);
	send_all(6);
	assert_int_equal(count_names(), 0);
	assert_int_equal(fake.log[0].train, 6);
	start();
	twin.addr.v4.sin_port++;
	add(&ep_b, 2, 100);
	add(&twin, 2, 100);
	add(&ep_six, 2, 100);
	send_all(6);
	assert_int_equal(count_names(), 6);
	/* The other family may have a peer of its own. */
	assert_int_equal(ug_connect(sock, &ep_six), 0);
	start();
	add(&ep_a, 2, 100);
	add(&ep_six, 2, 100);
	send_all(4);
	assert_int_equal(count_names(), 0);
	/* The end of both. */
	assert_int_equal(ug_connect(sock, NULL), 0);
	start();
	add(&ep_a, 2, 100);
	add(&ep_six, 2, 100);
	send_all(4);
	assert_int_equal(count_names(), 4);
}

/* Send @n datagrams that name no endpoint by both calls. Return: the status. */
static int send_unnamed(size_t n)
{
	struct ug_train t = { .n_sent = 99 };
	int first;

	start();
	add(NULL, n, 100);
	size_t sent = ug_send(sock, batch, NULL, dgrams, n, status, 0);

	first = status[0];
	assert_int_equal(sent, first == UG_SENT ? n : 0);
	for (size_t i = 1; i < n; i++)
		assert_int_equal(status[i], first);
	t.iov = vectors;
	t.n_iov = (uint32_t)n;
	t.segment_len = 100;
	sent = ug_send_trains(sock, batch, &t, sizeof(t), 1, 0);
	assert_int_equal(sent, first == UG_SENT ? n : 0);
	assert_int_equal(t.n_sent, sent);
	assert_int_equal(t.status, first);
	return first;
}

/* Datagrams that name no endpoint go to the peer, if there is exactly one. */
static void no_endpoint(void **state)
{
	(void)state;
	assert_int_equal(send_unnamed(3), -EDESTADDRREQ);
	assert_int_equal(ug_connect(sock, &ep_six), 0);
	assert_int_equal(send_unnamed(3), UG_SENT);
	assert_int_equal(fake.n, 6);
	assert_int_equal(count_names(), 0);
	for (size_t i = 0; i < fake.n; i++) {
		assert_int_equal(ug_endpoint_compare(&fake.log[i].to, &ep_six),
				 0);
		assert_true(fake.log[i].whole);
		assert_int_equal(fake.log[i].train, 3);
	}
	assert_int_equal(ug_connect(sock, &ep_a), 0);
	assert_int_equal(send_unnamed(3), -EDESTADDRREQ);
	assert_int_equal(ug_connect(sock, NULL), 0);
	assert_int_equal(send_unnamed(3), -EDESTADDRREQ);
	/* The argument of ug_send() comes before the peer. */
	assert_int_equal(ug_connect(sock, &ep_a), 0);
	start();
	add(NULL, 1, 100);
	assert_int_equal(ug_send(sock, batch, &ep_b, dgrams, 1, status, 0), 1);
	assert_int_equal(ug_endpoint_compare(&fake.log[0].to, &ep_b), 0);
	/* By the long way, too. */
	assert_int_equal(ug_set_segments(sock, UG_SEGMENTS_OFF), 0);
	assert_int_equal(send_unnamed(3), UG_SENT);
	assert_int_equal(fake.log[5].train, 1);
}

/* The socket's own address is not named as source, any other is. */
static void sources(void **state)
{
	struct ug_endpoint to4 = ep_a, to6 = ep_six;

	(void)state;
	assert_int_equal(ug_connect(sock, &ep_a), 0);
	assert_int_equal(ug_connect(sock, &ep_six), 0);
	to4.source = source_of(FAKE_LOCAL4, 3);
	to6.source = source_of(FAKE_LOCAL6, 3);
	start();
	add(&to4, 2, 100);
	add(&ep_a, 1, 100);
	add(&to6, 2, 100);
	add(&ep_six, 1, 100);
	send_all(6);
	assert_int_equal(count_sources(), 0);
	/* They go together with datagrams that name no source. */
	assert_int_equal(fake.log[0].train, 3);
	assert_int_equal(fake.log[3].train, 3);
	to4.source = source_of("10.0.0.78", 3);
	to6.source = source_of("fd00::78", 3);
	start();
	add(&to4, 2, 100);
	add(&to6, 2, 100);
	send_all(4);
	assert_int_equal(count_sources(), 4);
	assert_int_equal(count_names(), 0);
	/* To others the own address is named, as on any socket. */
	to4 = ep_b;
	to4.source = source_of(FAKE_LOCAL4, 3);
	start();
	add(&to4, 2, 100);
	send_all(2);
	assert_int_equal(count_sources(), 2);
	assert_int_equal(count_names(), 2);
	/* A train of the caller is treated alike. */
	struct ug_train t = {
		.to = &to6,
		.iov = vectors,
		.n_iov = 2,
		.segment_len = 100,
	};

	start();
	add(&to6, 2, 100);
	assert_int_equal(ug_send_trains(sock, batch, &t, sizeof(t), 1, 0), 2);
	assert_int_equal(count_sources(), 2);
	to6.source = source_of(FAKE_LOCAL6, 9);
	start();
	add(&to6, 2, 100);
	assert_int_equal(ug_send_trains(sock, batch, &t, sizeof(t), 1, 0), 2);
	assert_int_equal(count_sources(), 0);
}

/* If the interface of a source counts, the source is named. */
static void interfaces(void **state)
{
	struct ug_options opt = { .size = sizeof(opt),
				  .follow_interface = true };
	struct ug_endpoint to = ep_a;

	(void)state;
	ug_close(sock);
	assert_int_equal(ug_socket_open_with(&fake_sys, &sock, &opt, NULL), 0);
	assert_int_equal(ug_connect(sock, &ep_a), 0);
	to.source = source_of(FAKE_LOCAL4, 3);
	start();
	add(&to, 2, 100);
	send_all(2);
	assert_int_equal(count_sources(), 2);
	assert_int_equal(fake.log[0].ifindex, 3);
	assert_int_equal(count_names(), 0);
	/* An interface without an address. */
	to.source = source_of("0.0.0.0", 4);
	start();
	add(&to, 2, 100);
	send_all(2);
	assert_int_equal(count_sources(), 2);
	assert_int_equal(fake.log[0].ifindex, 4);
}

/* An error of the peer is told once, and costs one datagram, as in the kernel. */
static void errors_of_the_peer(void **state)
{
	static const int errs[] = { ECONNREFUSED, EHOSTUNREACH, ENETUNREACH,
				    EPROTO, ENOPROTOOPT };

	(void)state;
	assert_int_equal(ug_connect(sock, &ep_a), 0);
	for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
		/* One datagram. */
		start();
		fake.errs[0] = errs[i];
		add(&ep_a, 1, 100);
		send_all(0);
		expect_status(0, 1, -errs[i]);
		assert_int_equal(fake.send_calls, 1);
		/* A train, and others behind it. */
		start();
		fake.errs[0] = errs[i];
		add(&ep_a, 64, 1000);
		add(&ep_b, 2, 100);
		send_all(65);
		expect_status(0, 1, -errs[i]);
		expect_status(1, 65, UG_SENT);
		assert_int_equal(fake.log[0].train, 63);
		/* Nothing is learned about trains. */
		start();
		add(&ep_a, 64, 1000);
		send_all(64);
		assert_int_equal(fake.log[0].train, 64);
	}
	assert_int_equal(stats().pending_errors, 0);
	/* An error that may have other causes is not told at once. */
	start();
	fake.errs[0] = EMSGSIZE;
	add(&ep_a, 1, 100);
	send_all(1);
	/* Messages to others are not blamed. */
	start();
	fake.errs[0] = ECONNREFUSED;
	add(&ep_b, 2, 100);
	send_all(2);
	/* After the end of the connection all is as before. */
	assert_int_equal(ug_connect(sock, NULL), 0);
	start();
	fake.errs[0] = ECONNREFUSED;
	add(&ep_a, 2, 100);
	send_all(2);
}

static void errors_of_trains(void **state)
{
	struct ug_train t[2];

	(void)state;
	assert_int_equal(ug_connect(sock, &ep_six), 0);
	for (int k = 0; k < 2; k++) {
		start();
		add(&ep_six, 20, 100);
		for (size_t i = 0; i < 2; i++)
			t[i] = (struct ug_train){
				.to = i ? &ep_six : NULL,
				.iov = vectors + 10 * i,
				.n_iov = 10,
				.segment_len = 100,
			};
		fake.errs[k] = ECONNREFUSED;
		fake.short_at = 1;
		assert_int_equal(
			ug_send_trains(sock, batch, t, sizeof(*t), 2, 0), 19);
		assert_int_equal(t[k].status, -ECONNREFUSED);
		assert_int_equal(t[k].n_sent, 9);
		assert_int_equal(t[!k].status, UG_SENT);
		assert_int_equal(t[!k].n_sent, 10);
		/* The first datagram of train @k is missing. */
		for (size_t i = 0; i < fake.n; i++)
			assert_int_not_equal(fake.log[i].number, 10 * k);
		assert_int_equal(fake.n, 19);
	}
}

/* What a receiving call finds: errors, and then nothing. */
static int coming_err;

static int receive_rule(int fd, struct mmsghdr *msgs, unsigned int n)
{
	int err = coming_err;

	(void)fd;
	(void)msgs;
	(void)n;
	coming_err = 0;
	return err ? -err : -EAGAIN;
}

/* Receive by both calls. Return: what both returned, or what the 0 of the first one
 * means. */
static int receive_error(int err)
{
	struct ug_receiver *rcv;
	struct ug_received whole = { 0 };
	struct ug_view view;

	fake.receive = receive_rule;
	assert_int_equal(ug_receiver_new(&rcv, 4), 0);
	coming_err = err;
	int first = ug_receive(rcv, sock, AF_UNSPEC, &view, 1, 0);

	if (!first)
		first = ug_receiver_why(rcv);
	coming_err = err;
	assert_int_equal(ug_receive_trains(rcv, sock, AF_INET, &whole,
					   sizeof(whole), 1, 0),
			 first);
	ug_receiver_free(rcv);
	return first;
}

static void errors_received(void **state)
{
	(void)state;
	assert_int_equal(receive_error(ECONNREFUSED), -EAGAIN);
	assert_int_equal(ug_connect(sock, &ep_a), 0);
	assert_int_equal(receive_error(ECONNREFUSED), -ECONNREFUSED);
	assert_int_equal(receive_error(EHOSTUNREACH), -EHOSTUNREACH);
	assert_int_equal(receive_error(EMSGSIZE), -EAGAIN);
	assert_int_equal(receive_error(0), -EAGAIN);
	assert_int_equal(ug_connect(sock, NULL), 0);
	assert_int_equal(receive_error(ECONNREFUSED), -EAGAIN);
}

/* The socket keeps its port and its interface over the end of a connection. */
static void ended(void **state)
{
	struct ug_options opt = { .size = sizeof(opt), .device = "eth0" };
	uint16_t port = ug_port(sock);

	(void)state;
	ug_close(sock);
	for (int i = 0; i < 2; i++) {
		/* A port of the kernel's choice, and a certain one. */
		opt.port = i ? 77 : 0;
		opt.families = UG_IPV4_ONLY;
		assert_int_equal(
			ug_socket_open_with(&fake_sys, &sock, &opt, NULL), 0);
		port = ug_port(sock);
		size_t n_bound = fake.n_bound;

		assert_int_equal(ug_connect(sock, &ep_a), 0);
		assert_int_equal(ug_connect(sock, &ep_b), 0);
		assert_int_equal(fake.port_of[0][0], port);
		assert_string_equal(fake.device_of[0][0], "eth0");
		assert_int_equal(
			ug_endpoint_compare(&fake.peer_of[0][0], &ep_b), 0);
		assert_int_equal(ug_connect(sock, NULL), 0);
		assert_int_equal(fake.port_of[0][0], port);
		assert_string_equal(fake.device_of[0][0], "eth0");
		assert_int_equal(ug_endpoint_family(&fake.peer_of[0][0]), 0);
		/* Once it is bound to a certain port, that stays. */
		assert_int_equal(fake.n_bound - n_bound, i ? 0 : 1);
		/* There is nothing to end. */
		size_t calls = fake.n_connects;

		assert_int_equal(ug_connect(sock, NULL), 0);
		assert_int_equal(fake.n_connects, calls);
		if (!i)
			ug_close(sock);
	}
}

/* After a link-local peer that cannot be reached, the socket is as before. */
static void unreachable(void **state)
{
	struct ug_options opt = { .size = sizeof(opt), .device = "eth0" };
	struct ug_endpoint near;

	(void)state;
	ug_endpoint_parse(&near, "[fe80::1%7]:1");
	ug_close(sock);
	assert_int_equal(ug_socket_open_with(&fake_sys, &sock, &opt, NULL), 0);
	/* The first call asks for the interface, the second one takes an error, the
	 * third one connects. */
	fake.socket_calls = 0;
	fake.fail_socket_call = 3;
	fake.fail_socket_err = ENETUNREACH;
	assert_int_equal(ug_connect(sock, &near), -ENETUNREACH);
	assert_int_equal(fake.n_connects, 1); /* with AF_UNSPEC */
	assert_string_equal(fake.device_of[1][0], "eth0");
	assert_int_equal(fake.port_of[1][0], ug_port(sock));
	/* An address that is not link-local leaves nothing to undo. */
	fake.socket_calls = 0;
	assert_int_equal(ug_connect(sock, &ep_six), -ENETUNREACH);
	assert_int_equal(fake.n_connects, 1);
}

static void refused(void **state)
{
	struct ug_endpoint bad = ep_a;
	struct ug_options opt = { .size = sizeof(opt), .side_sockets = 1 };
	struct ug_socket *other;

	(void)state;
	bad.addr.v4.sin_port = 0;
	assert_int_equal(ug_connect(sock, &bad), -EINVAL);
	bad.addr.any.sa_family = AF_UNIX;
	assert_int_equal(ug_connect(sock, &bad), -EAFNOSUPPORT);
	bad.addr.any.sa_family = AF_UNSPEC;
	assert_int_equal(ug_connect(sock, &bad), 0);
	assert_int_equal(ug_socket_open_with(&fake_sys, &other, &opt, NULL), 0);
	assert_int_equal(ug_connect(other, &ep_a), -EOPNOTSUPP);
	assert_int_equal(ug_connect(other, NULL), 0);
	ug_close(other);
	opt = (struct ug_options){
		.size = sizeof(opt),
		.families = UG_IPV4_ONLY,
	};
	assert_int_equal(ug_socket_open_with(&fake_sys, &other, &opt, NULL), 0);
	assert_int_equal(ug_connect(other, &ep_six), -EAFNOSUPPORT);
	ug_close(other);
	assert_int_equal(fake.n_connects, 0);
}

/* Each call to the kernel fails in turn: afterwards there is a peer, or none. */
static void each_step(void **state)
{
	(void)state;
	assert_int_equal(ug_connect(sock, &ep_b), 0);
	fake.chose_port[0][0] = true;
	fake.socket_calls = 0;
	assert_int_equal(ug_connect(sock, &ep_a), 0);
	size_t calls = fake.socket_calls, n_failed = 0;

	for (size_t k = 1; k <= calls; k++) {
		fake.fail_socket_call = 0;
		assert_int_equal(ug_connect(sock, NULL), 0);
		assert_int_equal(ug_connect(sock, &ep_b), 0);
		/* A failure to bind again has left it without a port. */
		fake.port_of[0][0] = ug_port(sock);
		fake.chose_port[0][0] = true;
		fake.socket_calls = 0;
		fake.fail_socket_call = k;
		fake.fail_socket_err = ENETUNREACH;
		int err = ug_connect(sock, &ep_a);

		fake.fail_socket_call = 0;
		assert_true(err == 0 || err == -ENETUNREACH);
		n_failed += err != 0;
		/* If the connection to the first peer is over, none is left. */
		bool has_peer = ug_endpoint_family(&fake.peer_of[0][0]) != 0;

		assert_true(has_peer || err);
		start();
		add(NULL, 2, 100);
		assert_int_equal(
			ug_send(sock, batch, NULL, dgrams, 2, status, 0),
			has_peer ? 2 : 0);
		if (has_peer)
			assert_int_equal(
				ug_endpoint_compare(&fake.log[0].to,
						    err ? &ep_b : &ep_a),
				0);
	}
	/* Ending: name, connect, name, bind. Beginning: connect. */
	assert_int_equal(n_failed, 5);
}

/* A descriptor that somebody has connected: errors are counted, as ever. */
static void adopted(void **state)
{
	static const int fds[FAMILIES] = { FAKE_FD4, FAKE_FD6 };
	struct ug_endpoint to = ep_a;

	(void)state;
	ug_close(sock);
	fake.open_fds = 2;
	fake_bound_port[0] = fake_bound_port[1] = 7;
	fake.peer_of[0][0] = ep_a;
	assert_int_equal(
		ug_socket_adopt_with(&fake_sys, &sock, fds, NULL, NULL), 0);
	to.source = source_of(FAKE_LOCAL4, 1);
	start();
	fake.errs[0] = ECONNREFUSED;
	add(&to, 2, 100);
	send_all(2);
	assert_int_equal(count_names() + count_sources(), 0);
	assert_int_equal(receive_error(ECONNREFUSED), -EAGAIN);
	assert_int_equal(send_unnamed(2), UG_SENT);
	/* From ug_connect() on they are told. */
	assert_int_equal(ug_connect(sock, &ep_a), 0);
	assert_int_equal(receive_error(ECONNREFUSED), -ECONNREFUSED);
	start();
	fake.errs[0] = ECONNREFUSED;
	add(&ep_a, 2, 100);
	send_all(1);
}

/* An IPv6 descriptor that carries IPv4, too, has one peer, of either family. */
static void dual(void **state)
{
	static const int fds[FAMILIES] = { -1, FAKE_FD6 };
	struct ug_endpoint to = ep_a;

	(void)state;
	ug_close(sock);
	fake.open_fds = 1;
	fake_bound_port[1] = 7;
	fake_set_option(FAKE_FD6, IPPROTO_IPV6, IPV6_V6ONLY, 0);
	assert_int_equal(
		ug_socket_adopt_with(&fake_sys, &sock, fds, NULL, NULL), 0);
	assert_int_equal(ug_connect(sock, &ep_a), 0);
	assert_int_equal(send_unnamed(3), UG_SENT);
	assert_int_equal(ug_endpoint_compare(&fake.log[0].to, &ep_a), 0);
	to.source = source_of(FAKE_LOCAL4, 1);
	start();
	add(&to, 2, 100);
	send_all(2);
	assert_int_equal(count_names() + count_sources(), 0);
	assert_int_equal(ug_connect(sock, &ep_six), 0);
	assert_int_equal(send_unnamed(3), UG_SENT);
	assert_int_equal(ug_endpoint_compare(&fake.log[0].to, &ep_six), 0);
	start();
	add(&ep_a, 2, 100);
	send_all(2);
	assert_int_equal(count_names(), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SENDING_TEST(names),
		SENDING_TEST(no_endpoint),
		SENDING_TEST(sources),
		SENDING_TEST(interfaces),
		SENDING_TEST(errors_of_the_peer),
		SENDING_TEST(errors_of_trains),
		SENDING_TEST(errors_received),
		SENDING_TEST(ended),
		SENDING_TEST(unreachable),
		SENDING_TEST(refused),
		SENDING_TEST(each_step),
		SENDING_TEST(adopted),
		SENDING_TEST(dual),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
