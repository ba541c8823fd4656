/* SPDX-License-Identifier: MIT */
/*
 * Real sockets that ug_connect() connects: who can reach them, from which address they
 * send, what errors of the peer they tell, and what is left when the connection ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/io/talk.h"
#include "tests/lib/check.h"
#include "tests/lib/netns.h"
#include "udpgather.h"

static int home, far;

static const char *const loopbacks[] = { "127.0.0.1", "[::1]" };
static const int families[] = { AF_INET, AF_INET6 };

static struct ug_socket *opened_in(int ns)
{
	assert_int_equal(netns_enter(ns), 0);
	struct ug_socket *sock = opened(NULL);

	assert_int_equal(netns_enter(home), 0);
	return sock;
}

static void expect_nothing(struct ug_socket *sock)
{
	assert_int_equal(ug_receive(rcv, sock, AF_UNSPEC, views, 1, 0), 0);
	assert_int_equal(ug_receiver_why(rcv), -EAGAIN);
}

/* Only the peer reaches a connected socket, in its family. */
static void only_the_peer(void **state)
{
	(void)state;
	for (size_t f = 0; f < ARRAY_LEN(families); f++) {
		struct ug_socket *sock = opened(NULL), *peer = opened(NULL),
				 *other = opened(NULL);
		struct ug_endpoint to = at(loopbacks[f], ug_port(sock));
		struct ug_endpoint back = at(loopbacks[f], ug_port(peer));
		struct ug_endpoint to_other = at(loopbacks[f], ug_port(other));
		struct ug_endpoint across = at(loopbacks[!f], ug_port(sock));

		assert_int_equal(ug_connect(sock, &back), 0);
		assert_int_equal(send_text(peer, &to, "peer", 20), UG_SENT);
		expect_text(sock, "peer", 20);
		(void)send_text(other, &to, "other", 2);
		expect_nothing(sock);
		/* The other family receives from everybody. */
		assert_int_equal(send_text(other, &across, "across", 2),
				 UG_SENT);
		expect_text(sock, "across", 2);
		/* It sends to its peer without and with an endpoint, and to
		 * others. */
		assert_int_equal(send_text(sock, NULL, "unnamed", 20), UG_SENT);
		expect_text(peer, "unnamed", 20);
		assert_int_equal(send_text(sock, &back, "named", 20), UG_SENT);
		expect_text(peer, "named", 20);
		assert_int_equal(send_text(sock, &to_other, "aside", 20),
				 UG_SENT);
		expect_text(other, "aside", 20);
		/* When the connection is over, others reach it again. */
		assert_int_equal(ug_connect(sock, NULL), 0);
		assert_int_equal(send_text(other, &to, "again", 2), UG_SENT);
		expect_text(sock, "again", 2);
		assert_int_equal(send_text(sock, NULL, "nobody", 1),
				 -EDESTADDRREQ);
		ug_close(sock);
		ug_close(peer);
		ug_close(other);
	}
}

/* Both families may have a peer; trains and marks arrive as on any socket. */
static void both_families(void **state)
{
	struct ug_socket *sock = opened(NULL), *peer = opened(NULL);
	static unsigned char bytes[40000];
	struct iovec iov = { bytes, sizeof(bytes) };
	struct ug_endpoint back[2];

	(void)state;
	for (size_t f = 0; f < 2; f++) {
		back[f] = at(loopbacks[f], ug_port(peer));
		assert_int_equal(ug_connect(sock, &back[f]), 0);
	}
	assert_int_equal(send_text(sock, NULL, "which", 1), -EDESTADDRREQ);
	for (size_t f = 0; f < 2; f++) {
		struct ug_train t = {
			.to = &back[f],
			.iov = &iov,
			.n_iov = 1,
			.segment_len = 1000,
		};
		int n = 0;

		assert_int_equal(
			ug_send_trains(sock, batch, &t, sizeof(t), 1, 1000),
			40);
		while (n < 40) {
			int r = ug_receive(rcv, peer, families[f], views, 40,
					   2000);

			assert_true(r > 0);
			for (int i = 0; i < r; i++)
				assert_int_equal(views[i].len, 1000);
			n += r;
		}
		assert_int_equal(send_tos(sock, &back[f], 0xb8), UG_SENT);
		for (int i = 0; i < 2; i++) {
			expect_text(peer, "tos", 1);
			assert_int_equal(views[0].tos, 0xb8);
		}
	}
	ug_close(sock);
	ug_close(peer);
}

/* Answers to a view of a connected socket: its source is the socket's own. */
static void answers(void **state)
{
	(void)state;
	for (size_t f = 0; f < ARRAY_LEN(families); f++) {
		struct ug_socket *sock = opened(NULL), *peer = opened(NULL);
		struct ug_endpoint to = at(loopbacks[f], ug_port(sock));
		struct ug_endpoint back = at(loopbacks[f], ug_port(peer));

		assert_int_equal(ug_connect(sock, &back), 0);
		assert_int_equal(send_text(peer, &to, "ask", 1), UG_SENT);
		expect_text(sock, "ask", 1);
		back = *views[0].from;
		assert_int_not_equal(back.source.state, UG_SOURCE_NONE);
		assert_int_equal(send_text(sock, &back, "answer", 30), UG_SENT);
		expect_text(peer, "answer", 30);
		ug_close(sock);
		ug_close(peer);
	}
}

/* An endpoint that nobody listens at. */
static struct ug_endpoint nobody(size_t f)
{
	struct ug_socket *gone = opened(NULL);
	struct ug_endpoint to = at(loopbacks[f], ug_port(gone));

	ug_close(gone);
	return to;
}

/* ECONNREFUSED is told once for each datagram that was refused, by the next call. */
static void refusals(void **state)
{
	(void)state;
	for (size_t f = 0; f < ARRAY_LEN(families); f++) {
		struct ug_socket *sock = opened(NULL);
		struct ug_endpoint to = nobody(f);

		assert_int_equal(ug_connect(sock, &to), 0);
		/* By sending. */
		assert_int_equal(send_text(sock, NULL, "one", 1), UG_SENT);
		assert_int_equal(send_text(sock, NULL, "two", 1),
				 -ECONNREFUSED);
		assert_int_equal(send_text(sock, NULL, "three", 1), UG_SENT);
		/* By receiving, without and with a timeout. */
		assert_int_equal(ug_receive(rcv, sock, AF_UNSPEC, views, 1, 0),
				 -ECONNREFUSED);
		expect_nothing(sock);
		assert_int_equal(send_text(sock, NULL, "four", 1), UG_SENT);
		assert_int_equal(
			ug_receive(rcv, sock, families[f], views, 1, 60000),
			-ECONNREFUSED);
		/* By sending and receiving trains. */
		struct iovec iov = { unconst("abcdef"), 6 };
		struct ug_train t = {
			.iov = &iov,
			.n_iov = 1,
			.segment_len = 2,
		};
		struct ug_received got = { 0 };

		assert_int_equal(send_text(sock, NULL, "five", 1), UG_SENT);
		assert_int_equal(
			ug_send_trains(sock, batch, &t, sizeof(t), 1, 0), 2);
		assert_int_equal(t.status, -ECONNREFUSED);
		assert_int_equal(t.n_sent, 2);
		assert_int_equal(ug_receive_trains(rcv, sock, families[f], &got,
						   sizeof(got), 1, 60000),
				 -ECONNREFUSED);
		/* A datagram to somebody else is not blamed. */
		struct ug_socket *good = opened(NULL);
		struct ug_endpoint to_good = at(loopbacks[f], ug_port(good));

		assert_int_equal(send_text(sock, NULL, "six", 1), UG_SENT);
		assert_int_equal(send_text(sock, &to_good, "fine", 1), UG_SENT);
		expect_text(good, "fine", 1);
		ug_close(good);
		ug_close(sock);
	}
}

/* A connected socket sends from the address of the route to its peer, also after
 * another peer. */
static void another_peer(void **state)
{
	static const struct {
		const char *near, *far, *own;
	} table[] = {
		{ "127.0.0.1", "10.7.0.2", "10.7.0.1" },
		{ "[::1]", "[fd00:7::2]", "[fd00:7::1]" },
	};

	(void)state;
	assert_int_equal(netns_join(home, far, "veth7", 7, 1500), 0);
	for (size_t f = 0; f < ARRAY_LEN(table); f++) {
		struct ug_socket *sock = opened(NULL), *here = opened(NULL);
		struct ug_socket *there = opened_in(far);
		struct ug_endpoint first = at(table[f].near, ug_port(here));
		struct ug_endpoint second = at(table[f].far, ug_port(there));
		struct ug_endpoint own = at(table[f].own, ug_port(sock));

		assert_int_equal(ug_connect(sock, &first), 0);
		assert_int_equal(send_text(sock, NULL, "first", 2), UG_SENT);
		expect_text(here, "first", 2);
		assert_int_equal(ug_connect(sock, &second), 0);
		assert_int_equal(send_text(sock, NULL, "second", 2), UG_SENT);
		expect_text(there, "second", 2);
		assert_int_equal(ug_endpoint_compare(views[0].from, &own), 0);
		/* An error of the peer before is not told of the next one. */
		struct ug_endpoint gone = nobody(f);

		assert_int_equal(ug_connect(sock, &gone), 0);
		assert_int_equal(send_text(sock, NULL, "refused", 1), UG_SENT);
		assert_int_equal(ug_connect(sock, &second), 0);
		assert_int_equal(send_text(sock, NULL, "next", 2), UG_SENT);
		expect_text(there, "next", 2);
		expect_nothing(sock);
		/* A peer without a route: then there is none. */
		struct ug_endpoint lost =
			at(f ? "[2001:db8::1]" : "192.0.2.1", 9);

		assert_int_equal(ug_connect(sock, &lost), -ENETUNREACH);
		assert_int_equal(send_text(sock, NULL, "none", 1),
				 -EDESTADDRREQ);
		assert_int_equal(send_text(sock, &second, "named", 2), UG_SENT);
		expect_text(there, "named", 2);
		ug_close(sock);
		ug_close(here);
		ug_close(there);
	}
	assert_int_equal(netns_ip("link del veth7"), 0);
}

static void get_device(const struct ug_socket *sock, int family, char *name)
{
	socklen_t len = IFNAMSIZ;

	name[0] = 0;
	assert_int_equal(getsockopt(ug_fd(sock, family), SOL_SOCKET,
				    SO_BINDTODEVICE, name, &len),
			 0);
}

/* The end of a connection takes neither the port nor the interface. */
static void kept(void **state)
{
	char name[IFNAMSIZ];

	(void)state;
	for (size_t f = 0; f < ARRAY_LEN(families); f++) {
		struct ug_options opt = {
			.size = sizeof(opt),
			.families = f ? UG_IPV6_ONLY : UG_IPV4_ONLY,
			.device = "lo",
		};
		struct ug_socket *sock = opened(&opt), *peer = opened(NULL);
		struct ug_endpoint to = at(loopbacks[f], ug_port(sock));
		struct ug_endpoint back = at(loopbacks[f], ug_port(peer));

		for (int i = 0; i < 3; i++) {
			assert_int_equal(ug_connect(sock, &back), 0);
			assert_int_equal(ug_connect(sock, NULL), 0);
		}
		get_device(sock, families[f], name);
		assert_string_equal(name, "lo");
		assert_int_equal(send_text(peer, &to, "still", 2), UG_SENT);
		expect_text(sock, "still", 2);
		assert_int_equal(send_text(sock, &back, "here", 2), UG_SENT);
		expect_text(peer, "here", 2);
		assert_int_equal(ug_endpoint_compare(views[0].from, &to), 0);
		ug_close(sock);
		ug_close(peer);
	}
}

/* A link-local peer binds the socket to its interface, as long as it is the peer. */
static void link_local(void **state)
{
	char name[IFNAMSIZ];

	(void)state;
	assert_int_equal(netns_join(home, far, "veth8", 8, 1500), 0);
	assert_int_equal(netns_add_address("veth8", "fe80::a/64"), 0);
	assert_int_equal(netns_enter(far), 0);
	assert_int_equal(netns_add_address("veth8", "fe80::b/64"), 0);
	assert_int_equal(netns_enter(home), 0);
	struct ug_socket *sock = opened(NULL), *there = opened_in(far);
	struct ug_socket *peer = opened(NULL);
	struct ug_endpoint to = at("[fe80::b%veth8]", ug_port(there));

	assert_int_equal(ug_connect(sock, &to), 0);
	assert_int_equal(send_text(sock, NULL, "zone", 10), UG_SENT);
	expect_text(there, "zone", 10);
	/* The answer, and an answer to it. */
	to = *views[0].from;
	assert_int_equal(send_text(there, &to, "back", 2), UG_SENT);
	expect_text(sock, "back", 2);
	to = *views[0].from;
	assert_int_equal(send_text(sock, &to, "forth", 10), UG_SENT);
	expect_text(there, "forth", 10);
	/* Another peer is on another interface. */
	to = at("[::1]", ug_port(peer));
	assert_int_equal(ug_connect(sock, &to), 0);
	get_device(sock, AF_INET6, name);
	assert_string_equal(name, "");
	assert_int_equal(send_text(sock, NULL, "loop", 2), UG_SENT);
	expect_text(peer, "loop", 2);
	/* If a link-local peer cannot be reached, nothing is left of the try. */
	to = at("[fe80::b%veth8]", ug_port(there));
	assert_int_equal(netns_ip("link set veth8 down"), 0);
	assert_int_equal(ug_connect(sock, &to), -ENETUNREACH);
	get_device(sock, AF_INET6, name);
	assert_string_equal(name, "");
	to = at("[::1]", ug_port(peer));
	assert_int_equal(send_text(sock, &to, "loop", 2), UG_SENT);
	expect_text(peer, "loop", 2);
	ug_close(sock);
	ug_close(there);
	ug_close(peer);
	assert_int_equal(netns_ip("link del veth8"), 0);
}

/* One IPv6 descriptor with a peer of either family. */
static void dual_stack(void **state)
{
	struct ug_socket *sock, *peer = opened(NULL), *other = opened(NULL);
	int fd = udp_socket(AF_INET6, false);

	(void)state;
	assert_int_equal(ug_open_fds(&sock, -1, fd, NULL, NULL), 0);
	for (size_t i = 0; i < 4; i++) {
		size_t f = i % 2;
		struct ug_endpoint to = at(loopbacks[f], ug_port(sock));
		struct ug_endpoint across = at(loopbacks[!f], ug_port(sock));
		struct ug_endpoint back = at(loopbacks[f], ug_port(peer));

		assert_int_equal(ug_connect(sock, &back), 0);
		assert_int_equal(send_text(sock, NULL, "dual", 20), UG_SENT);
		expect_text(peer, "dual", 20);
		assert_int_equal(ug_endpoint_compare(views[0].from, &to), 0);
		assert_int_equal(send_text(peer, &to, "back", 2), UG_SENT);
		expect_text(sock, "back", 2);
		assert_int_equal(ug_endpoint_compare(views[0].from, &back), 0);
		back = *views[0].from;
		assert_int_equal(send_text(sock, &back, "again", 20), UG_SENT);
		expect_text(peer, "again", 20);
		(void)send_text(other, &to, "no", 1);
		(void)send_text(other, &across, "no", 1);
		expect_nothing(sock);
	}
	struct ug_endpoint to = nobody(0);

	assert_int_equal(ug_connect(sock, &to), 0);
	assert_int_equal(send_text(sock, NULL, "one", 1), UG_SENT);
	assert_int_equal(send_text(sock, NULL, "two", 1), -ECONNREFUSED);
	ug_close(sock);
	ug_close(peer);
	ug_close(other);
}

/* A descriptor that its owner has connected, with the port that connect(2) gave. */
static void connected_descriptor(void **state)
{
	(void)state;
	for (size_t f = 0; f < ARRAY_LEN(families); f++) {
		struct ug_socket *peer = opened(NULL), *sock;
		struct ug_endpoint back = at(loopbacks[f], ug_port(peer));
		int fd = socket(families[f], SOCK_DGRAM, 0);

		assert_int_equal(connect(fd, &back.addr.any, sizeof(back.addr)),
				 0);
		assert_int_equal(ug_open_fds(&sock, f ? -1 : fd, f ? fd : -1,
					     NULL, NULL),
				 0);
		uint16_t port = ug_port(sock);

		assert_int_equal(send_text(sock, NULL, "unnamed", 20), UG_SENT);
		expect_text(peer, "unnamed", 20);
		assert_int_equal(send_text(sock, &back, "named", 20), UG_SENT);
		expect_text(peer, "named", 20);
		/* The port stays when the connection ends. */
		assert_int_equal(ug_connect(sock, NULL), 0);
		assert_int_equal(send_text(sock, &back, "later", 2), UG_SENT);
		expect_text(peer, "later", 2);
		back = at(loopbacks[f], port);
		assert_int_equal(ug_endpoint_compare(views[0].from, &back), 0);
		ug_close(sock);
		/* Its errors are counted and not told. */
		back = nobody(f);
		fd = socket(families[f], SOCK_DGRAM, 0);
		assert_int_equal(connect(fd, &back.addr.any, sizeof(back.addr)),
				 0);
		assert_int_equal(ug_open_fds(&sock, f ? -1 : fd, f ? fd : -1,
					     NULL, NULL),
				 0);
		for (int i = 0; i < 3; i++)
			assert_int_equal(send_text(sock, NULL, "quiet", 1),
					 UG_SENT);
		expect_nothing(sock);
		ug_close(sock);
		ug_close(peer);
	}
}

/* A socket of a group that is connected gets what its peer sends, the other one
 * all the rest. */
static void in_a_group(void **state)
{
	(void)state;
	for (size_t f = 0; f < ARRAY_LEN(families); f++) {
		struct ug_socket *socks[2], *peer = opened(NULL);
		struct ug_endpoint back = at(loopbacks[f], ug_port(peer));

		assert_int_equal(ug_open_group(socks, 2, NULL, NULL), 0);
		struct ug_endpoint to = at(loopbacks[f], ug_port(socks[0]));

		assert_int_equal(ug_connect(socks[1], &back), 0);
		assert_int_equal(send_text(peer, &to, "peer", 10), UG_SENT);
		expect_text(socks[1], "peer", 10);
		for (int i = 0; i < 20; i++) {
			struct ug_socket *other = opened(NULL);

			assert_int_equal(send_text(other, &to, "other", 1),
					 UG_SENT);
			expect_text(socks[0], "other", 1);
			ug_close(other);
		}
		expect_nothing(socks[0]);
		expect_nothing(socks[1]);
		ug_close(socks[0]);
		ug_close(socks[1]);
		ug_close(peer);
	}
}

static atomic_bool is_over;

/* Receive all the time. Return: how many datagrams came. */
static void *receive_all(void *arg)
{
	struct ug_socket *sock = arg;
	struct ug_receiver *own;
	struct ug_view view[8];
	size_t n = 0;
	int r;

	assert_int_equal(ug_receiver_new(&own, 8), 0);
	do {
		r = ug_receive(own, sock, AF_UNSPEC, view, ARRAY_LEN(view), 5);
		n += r > 0 ? (size_t)r : 0;
	} while (r > 0 || !atomic_load(&is_over));
	ug_receiver_free(own);
	return (void *)n;
}

/* Another thread receives while connections begin and end. */
static void beside_a_receiver(void **state)
{
	struct ug_socket *sock = opened(NULL), *peer = opened(NULL);
	pthread_t thread;
	void *n;

	(void)state;
	atomic_store(&is_over, false);
	assert_int_equal(pthread_create(&thread, NULL, receive_all, sock), 0);
	for (size_t i = 0; i < 200; i++) {
		struct ug_endpoint to = at(loopbacks[i % 2], ug_port(sock));
		struct ug_endpoint back = at(loopbacks[i % 2], ug_port(peer));
		struct ug_endpoint gone = nobody(i % 2);

		assert_int_equal(ug_connect(sock, &gone), 0);
		/* The refusal goes to this thread, or to the other one. */
		(void)send_text(sock, NULL, "refused", 1);
		assert_int_equal(ug_connect(sock, &back), 0);
		assert_int_equal(send_text(sock, NULL, "out", 1), UG_SENT);
		expect_text(peer, "out", 1);
		assert_int_equal(send_text(peer, &to, "in", 3), UG_SENT);
		assert_int_equal(ug_connect(sock, NULL), 0);
	}
	atomic_store(&is_over, true);
	pthread_join(thread, &n);
	assert_int_equal((size_t)n, 200 * 3);
	ug_close(sock);
	ug_close(peer);
}

static int setup(void **state)
{
	far = netns_new();
	home = netns_new();
	return far >= 0 && home >= 0 ? talk_setup(state) : -1;
}

static int teardown(void **state)
{
	close(far);
	close(home);
	return talk_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_the_peer),
		cmocka_unit_test(both_families),
		cmocka_unit_test(answers),
		cmocka_unit_test(refusals),
		cmocka_unit_test(another_peer),
		cmocka_unit_test(kept),
		cmocka_unit_test(link_local),
		cmocka_unit_test(dual_stack),
		cmocka_unit_test(connected_descriptor),
		cmocka_unit_test(in_a_group),
		cmocka_unit_test(beside_a_receiver),
	};

	netns_require();
	return cmocka_run_group_tests(tests, setup, teardown);
}
