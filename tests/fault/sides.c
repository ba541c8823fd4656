/* SPDX-License-Identifier: MIT */
/*
 * Side sockets: endpoints behind slow links, and their effect on others. Time
 * passes in steps of a millisecond. In each step datagrams are sent to some
 * endpoints, and the ones that the kernel took are counted.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/fault/sending.h"
#include "tests/lib/check.h"
#include "tests/lib/fakelink.h"
#include "udpgather/open.h"

/* The control data of a message without TTL and time. */
static size_t build_control(struct control *c, int family, bool mapped,
			    const struct ug_source *source, uint8_t tos,
			    size_t segment_len)
{
	return ug_control_build(c, &(struct control_out){
					   .source = source,
					   .segment_len = segment_len,
					   .family = family,
					   .mapped = mapped,
					   .tos = tos,
				   });
}

enum {
	/* Side sockets of a family, and bytes of a datagram. Choices. */
	SIDES = 4,
	LEN = 1300,
	/* A link of 2 Mbit/s, in bytes a millisecond, and 40 Mbit/s to send, in
	 * datagrams a millisecond. */
	SLOW = 250,
	FLOOD = 4,
	/* More flows than any test has. */
	FLOWS = 16,
};

/* An endpoint with its traffic and its results. */
struct flow {
	const struct ug_endpoint *to;
	size_t per_ms;
	size_t sent;
	size_t unsent;
};

static void open_with(unsigned int sides, size_t buffer_len)
{
	struct ug_options opt = {
		.size = sizeof(opt),
		.side_sockets = sides,
		.buffer_len = buffer_len,
		.notice = sending_notice,
		.notice_arg = notices,
	};

	ug_close(sock);
	assert_int_equal(fake.open_fds, 0);
	fake.n_bound = 0;
	assert_int_equal(ug_socket_open_with(&fake_sys, &sock, &opt, NULL), 0);
	fake_link_reset();
	fake.rule = fake_link_rule;
	fake.outq_of = fake_link_outq;
}

/* Send to all flows for @ms, and count results from @count_from_ms on. */
static void run(struct flow *flows, size_t n, int64_t ms, int64_t count_from_ms)
{
	for (int64_t t = 0; t < ms; t++, fake.now_ms++) {
		size_t first[FLOWS] = { 0 };

		assert_true(n <= FLOWS);
		n_dgrams = fake.n = 0;
		for (size_t i = 0; i < n; i++) {
			first[i] = n_dgrams;
			add(flows[i].to, flows[i].per_ms, LEN);
		}
		ug_send(sock, batch, NULL, dgrams, n_dgrams, status, 0);
		for (size_t i = 0; i < n && t >= count_from_ms; i++)
			for (size_t k = 0; k < flows[i].per_ms; k++) {
				int s = status[first[i] + k];

				assert_in_range(s, UG_SENT, UG_UNSENT);
				flows[i].sent += s == UG_SENT;
				flows[i].unsent += s == UG_UNSENT;
			}
	}
}

/*
 * Return: the socket by which a datagram to an endpoint leaves now; 0 if by
 * none.
 */
static int fd_of(const struct ug_endpoint *to)
{
	n_dgrams = fake.n = 0;
	add(to, 1, 100);
	ug_send(sock, batch, NULL, dgrams, 1, status, 0);
	return fake.n ? fake.log[0].fd : 0;
}

static bool is_side(int fd)
{
	for (unsigned int i = 0; i < SIDES; i++)
		if (fd == ug_side_fd(sock, fake_family(fd), i))
			return true;
	return false;
}

static void expect_no_loss(const struct flow *f, const char *who)
{
	if (f->unsent)
		fail_msg("%s: %zu sent, %zu not", who, f->sent, f->unsent);
	assert_true(f->sent > 0);
}

/* ---------------------------------------------------------------- opening */

/*
 * The main socket is bound last in IPv4, and first in IPv6. In the end no other
 * socket can be bound to the port.
 */
static void order(void **state)
{
	(void)state;
	open_with(SIDES, 0);
	assert_int_equal(fake.n_bound, 2 * (SIDES + 1));
	assert_int_equal(fake.bound[SIDES], FAKE_FD4);
	assert_int_equal(fake.bound[SIDES + 1], FAKE_FD6);
	assert_int_equal(ug_fd(sock, AF_INET), FAKE_FD4);
	assert_int_equal(ug_fd(sock, AF_INET6), FAKE_FD6);
	for (size_t i = 0; i < fake.n_bound; i++) {
		assert_int_equal(
			fake_option(fake.bound[i], SOL_SOCKET, SO_REUSEPORT),
			0);
		assert_int_equal(fake.port_of[i > SIDES][i % (SIDES + 1)],
				 ug_port(sock));
	}
	assert_int_equal(ug_side_fd(sock, AF_INET, SIDES), -ENOENT);
	assert_int_equal(ug_side_fd(sock, AF_UNSPEC, 0), -EAFNOSUPPORT);
	assert_int_equal(ug_side_ready(sock, FAKE_FD4), -ENOENT);
	assert_int_equal(ug_side_ready(sock, ug_side_fd(sock, AF_INET6, 1)),
			 AF_INET6);
	/* Side sockets have the same options, smaller buffers, and no
	 * merging. */
	assert_int_equal(fake_option(ug_side_fd(sock, AF_INET, 0), SOL_SOCKET,
				     SO_SNDBUF),
			 2 << 20);
	assert_int_equal(
		fake_option(ug_side_fd(sock, AF_INET, 0), IPPROTO_UDP, UDP_GRO),
		-1);
	assert_int_equal(fake_option(ug_side_fd(sock, AF_INET6, 0),
				     IPPROTO_IPV6, IPV6_RECVPKTINFO),
			 1);
}

/* Whichever call fails, the socket opens, with or without side sockets. */
static void opens_without(void **state)
{
	struct ug_options opt = {
		.size = sizeof(opt),
		.side_sockets = SIDES,
	};
	size_t calls, n_with = 0, n_without = 0, n_failed = 0;

	(void)state;
	ug_close(sock);
	fake.socket_calls = 0;
	assert_int_equal(ug_socket_open_with(&fake_sys, &sock, &opt, NULL), 0);
	calls = fake.socket_calls;
	ug_close(sock);
	for (size_t i = 1; i <= calls; i++) {
		fake_reset();
		fake.fail_socket_call = i;
		fake.fail_socket_err = EACCES;
		if (ug_socket_open_with(&fake_sys, &sock, &opt, NULL) < 0) {
			n_failed++;
			assert_int_equal(fake.open_fds, 0);
			continue;
		}
		bool both = ug_side_fd(sock, AF_INET, 0) >= 0 &&
			    ug_side_fd(sock, AF_INET6, 0) >= 0;

		n_with += both;
		n_without += !both;
		assert_int_equal(fake.open_fds,
				 both ? 2 * (SIDES + 1) : SIDES + 2);
		ug_close(sock);
	}
	/* Buffers and merging are optional, so ug_open() succeeds whichever
	 * single call fails. */
	assert_int_equal(n_failed, 0);
	assert_true(n_with > 0 && n_without > n_with);
	fake_reset();
	assert_int_equal(ug_socket_open_with(&fake_sys, &sock, NULL, NULL), 0);
}

static void bad_options(void **state)
{
	struct ug_socket *other;
	struct ug_options opt = {
		.size = sizeof(opt),
		.side_sockets = UG_MAX_SIDE_SOCKETS + 1,
	};

	(void)state;
	assert_int_equal(ug_socket_open_with(&fake_sys, &other, &opt, NULL),
			 -EINVAL);
}

/* A port that is in use is refused as without side sockets. */
static void busy_port(void **state)
{
	struct ug_socket *other;
	struct ug_options opt = {
		.size = sizeof(opt),
		.side_sockets = SIDES,
	};
	struct ug_report report = { .size = sizeof(report) };

	(void)state;
	opt.port = ug_port(sock);
	assert_int_equal(ug_socket_open_with(&fake_sys, &other, &opt, &report),
			 -EADDRINUSE);
	assert_string_equal(report.v4.step, "bind");
	assert_int_equal(fake.open_fds, 2);
}

/* -------------------------------------------------------------- slow links */

/* Main buffers: what the library asks for, and what a system grants at least. */
static const size_t buffers[] = { 0, 212992 };

/* After two seconds B loses nothing, and before that almost nothing. */
static void one_slow(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(buffers); i++) {
		struct flow flows[] = { { .to = &ep_a, .per_ms = FLOOD },
					{ .to = &ep_b, .per_ms = 1 } };

		open_with(SIDES, buffers[i]);
		fake_link_add(&ep_a, SLOW);
		run(flows, 2, 20000, 0);
		expect_no_loss(&flows[1], "B");
		/* A gets as much as its link takes, at 2,068 bytes a
		 * datagram. */
		assert_in_range(flows[0].sent, 20000 * SLOW / 2068,
				20000 * SLOW / 2068 + 6000);
		assert_int_equal(fd_of(&ep_b), FAKE_FD4);
	}
	assert_true(stats().side_full > 0);
	assert_int_equal(stats().set_aside, 2);
	assert_int_equal(notices[0].what, UG_NOTICE_ENDPOINT_ASIDE);
	assert_int_equal(ug_endpoint_compare(&notices[0].ep, &ep_a), 0);
}

static void one_slow_six(void **state)
{
	struct ug_endpoint ep_other_six;
	struct flow flows[] = { { .to = &ep_six, .per_ms = FLOOD },
				{ .to = &ep_b, .per_ms = 1 },
				{ .to = &ep_other_six, .per_ms = 1 } };

	(void)state;
	ug_endpoint_parse(&ep_other_six, "[fd00::2]:1");
	open_with(SIDES, 0);
	fake_link_add(&ep_six, SLOW);
	run(flows, 3, 10000, 0);
	expect_no_loss(&flows[1], "IPv4");
	expect_no_loss(&flows[2], "IPv6");
	assert_true(stats().side_full > 0);
}

/*
 * C has the most traffic and a fast link: it is moved first, and loses nothing.
 */
static void wrong_one_first(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(buffers); i++) {
		struct flow flows[] = { { .to = &ep_a, .per_ms = FLOOD },
					{ .to = &ep_b, .per_ms = 1 },
					{ .to = &ep_c, .per_ms = 40 } };

		n_notices = 0;
		open_with(SIDES, buffers[i]);
		fake_link_add(&ep_a, SLOW);
		run(flows, 3, 10000, 0);
		expect_no_loss(&flows[1], "B");
		expect_no_loss(&flows[2], "C");
		assert_true(n_notices >= 2);
		assert_int_equal(ug_endpoint_compare(&notices[0].ep, &ep_c), 0);
		assert_int_equal(ug_endpoint_compare(&notices[1].ep, &ep_a), 0);
	}
}

/* As many slow endpoints as side sockets. */
static void several_slow(void **state)
{
	struct flow flows[] = { { .to = &ep_a, .per_ms = FLOOD },
				{ .to = &ep_c, .per_ms = FLOOD },
				{ .to = &ep_d, .per_ms = FLOOD },
				{ .to = &ep_e, .per_ms = FLOOD },
				{ .to = &ep_b, .per_ms = 1 } };

	(void)state;
	open_with(SIDES, 0);
	for (size_t i = 0; i < 4; i++)
		fake_link_add(flows[i].to, SLOW);
	run(flows, 5, 10000, 0);
	expect_no_loss(&flows[4], "B");
	for (size_t i = 0; i < 4; i++)
		assert_true(flows[i].sent >= 10000 * SLOW / 2068);
}

/* Twice as many slow endpoints share the side sockets. */
static void more_slow_than_sides(void **state)
{
	struct ug_endpoint slow[8];
	struct flow flows[9] = { { .to = &ep_b, .per_ms = 1 } };

	(void)state;
	open_with(SIDES, 0);
	for (unsigned int i = 0; i < 8; i++) {
		slow[i] = ep_a;
		slow[i].addr.v4.sin_port = htons((uint16_t)(100 + i));
		flows[i + 1] = (struct flow){ .to = &slow[i], .per_ms = 2 };
		fake_link_add(&slow[i], SLOW);
	}
	run(flows, 9, 10000, 2000);
	expect_no_loss(&flows[0], "B");
}

/* If nothing waited for a second, an endpoint returns to the main socket. */
static void comes_back(void **state)
{
	struct flow flows[] = { { .to = &ep_a, .per_ms = FLOOD },
				{ .to = &ep_b, .per_ms = 1 } };

	(void)state;
	open_with(SIDES, 0);
	fake_link_add(&ep_a, SLOW);
	run(flows, 2, 5000, 5000);
	assert_int_not_equal(fd_of(&ep_a), FAKE_FD4);
	/* The 14 MB and 2 MB of the two buffers leave at 250 bytes a
	 * millisecond. */
	run(&flows[1], 1, 60000, 0);
	expect_no_loss(&flows[1], "B");
	assert_int_equal(fd_of(&ep_a), FAKE_FD4);
	/* The endpoint is moved a second time. */
	run(flows, 2, 5000, 0);
	expect_no_loss(&flows[1], "B");
	assert_int_not_equal(fd_of(&ep_a), FAKE_FD4);
	/* An endpoint without traffic costs no calls, and returns as well. */
	fake.now_ms += 100000;
	fd_of(&ep_b);
	fake.now_ms += 1000;
	fd_of(&ep_b);
	assert_int_equal(fd_of(&ep_a), FAKE_FD4);
}

/* A train that has to wait stays whole, and nothing overtakes it. */
static void order_is_kept(void **state)
{
	struct flow flows[] = { { .to = &ep_a, .per_ms = FLOOD } };

	(void)state;
	open_with(SIDES, 0);
	fake_link_add(&ep_a, SLOW);
	run(flows, 1, 5000, 5000);
	n_dgrams = fake.n = 0;
	for (int i = 0; i < 20; i++) {
		add(&ep_a, 3, LEN);
		add(&ep_b, 2, LEN);
		add(&ep_a, 1, 40);
	}
	size_t sent = ug_send(sock, batch, NULL, dgrams, n_dgrams, status, 0);

	account(sent);
	assert_in_range(sent, 40, 60);
	/* After an unsent datagram of A, all later ones of A are unsent. */
	bool full = false;

	for (size_t i = 0; i < n_dgrams; i++) {
		if (dgrams[i].to == &ep_b)
			assert_int_equal(status[i], UG_SENT);
		else if (status[i] == UG_UNSENT)
			full = true;
		else
			assert_false(full);
	}
	assert_true(full);
}

/* An urgent datagram passes by the main socket, and by any if that is full. */
static void urgent(void **state)
{
	struct flow flows[] = { { .to = &ep_a, .per_ms = FLOOD } };

	(void)state;
	open_with(SIDES, 0);
	fake_link_add(&ep_a, SLOW);
	run(flows, 1, 5000, 5000);
	/* A's side socket is full. */
	run(flows, 1, 1, 0);
	assert_int_equal(flows[0].unsent, FLOOD);
	ug_batch_set_urgent(batch, true);
	assert_int_equal(fd_of(&ep_a), FAKE_FD4);
	assert_int_equal(fd_of(&ep_b), FAKE_FD4);
	ug_batch_set_urgent(batch, false);
	assert_int_equal(fd_of(&ep_a), 0);

	/* No endpoint was moved yet, and the main socket is full. */
	open_with(SIDES, 0);
	fake_set_option(FAKE_FD4, SOL_SOCKET, SO_SNDBUF, 0);
	ug_batch_set_urgent(batch, true);
	assert_true(is_side(fd_of(&ep_b)));
	/* All side sockets are full. */
	for (unsigned int i = 0; i < SIDES; i++)
		fake_set_option(ug_side_fd(sock, AF_INET, i), SOL_SOCKET,
				SO_SNDBUF, 0);
	assert_int_equal(fd_of(&ep_b), 0);
	assert_int_equal(status[0], UG_UNSENT);
}

/*
 * While the socket is not crowded, its queue is read once per eighth of the
 * buffer.
 */
static size_t looks;

static int counting_outq(int fd)
{
	looks++;
	return fake_link_outq(fd);
}

static void quiet_costs_nothing(void **state)
{
	struct flow flows[] = { { .to = &ep_a, .per_ms = 10 } };

	(void)state;
	open_with(SIDES, 0);
	fake.outq_of = counting_outq;
	looks = 0;
	run(flows, 1, 10000, 0);
	expect_no_loss(&flows[0], "A");
	/* 10 x 1,812 bytes are sent in each of 10,000 ms. The queue is read
	 * once for each eighth of the buffer of 14 MiB. */
	assert_in_range(looks, 1, 110);
}

/*
 * If SIOCOUTQ fails, everything leaves by the main socket, which does not
 * block.
 */
static void no_outq(void **state)
{
	struct flow flows[] = { { .to = &ep_b, .per_ms = 1 } };

	(void)state;
	open_with(SIDES, 0);
	fake.outq_of = NULL;
	fake.outq = -1;
	run(flows, 1, 100, 0);
	expect_no_loss(&flows[0], "B");
	assert_int_equal(fd_of(&ep_b), FAKE_FD4);
}

static unsigned int n_too_long;

/* The route of every socket takes 1,000 bytes of a segment. */
static int small_route(const struct fake_message *m)
{
	if (m->segment_len <= 1000)
		return fake_link_rule(m);
	n_too_long++;
	return EMSGSIZE;
}

/* Five datagrams to A leave by its side socket, alone. */
static void expect_alone_aside(void)
{
	n_dgrams = fake.n = 0;
	add(&ep_a, 5, LEN);
	assert_int_equal(ug_send(sock, batch, NULL, dgrams, 5, status, 0), 5);
	assert_int_equal(fake.n, 5);
	for (size_t i = 0; i < 5; i++) {
		assert_true(is_side(fake.log[i].fd));
		assert_int_equal(fake.log[i].train, 1);
	}
}

/*
 * Refusals on a side socket are judged as on the main one. The same address
 * with another port is another endpoint, which is not slow.
 */
static void refused_aside(void **state)
{
	struct flow flow = { .to = &ep_a, .per_ms = FLOOD };
	struct ug_endpoint moved = ep_a;

	(void)state;
	open_with(SIDES, 212992);
	fake_link_add(&ep_a, SLOW);
	run(&flow, 1, 5000, 0);
	/* A part of the side socket's buffer is free again. */
	fake.now_ms += 200;
	n_too_long = 0;
	fake.rule = small_route;
	expect_alone_aside();
	assert_true(n_too_long > 0);
	/* The length is remembered. */
	n_too_long = 0;
	expect_alone_aside();
	assert_int_equal(n_too_long, 0);
	moved.addr.v4.sin_port = htons(2);
	assert_int_equal(fd_of(&moved), FAKE_FD4);
}

/* ------------------------------------------------------------------- marks */

static void marks(void **state)
{
	(void)state;
	open_with(SIDES, 0);
	assert_int_equal(ug_set_mark(sock, 7), 0);
	for (size_t i = 0; i < fake.n_bound; i++)
		assert_int_equal(
			fake_option(fake.bound[i], SOL_SOCKET, SO_MARK), 7);
	/* The eighth of ten setsockopt calls fails: all marks are as before. */
	fake.socket_calls = 0;
	fake.fail_socket_call = 9;
	fake.fail_socket_err = EPERM;
	assert_int_equal(ug_set_mark(sock, 8), -EPERM);
	for (size_t i = 0; i < fake.n_bound; i++)
		assert_int_equal(
			fake_option(fake.bound[i], SOL_SOCKET, SO_MARK), 7);
}

/* --------------------------------------------------------------- receiving */

static int input_fd;   /* the socket that datagrams wait in */
static int n_waiting;  /* number of these datagrams */
static int n_asked[2]; /* receive calls on main and on side sockets */

static int receive_rule(int fd, struct mmsghdr *msgs, unsigned int n)
{
	struct msghdr *h = &msgs[0].msg_hdr;
	struct ug_source source = { .addr = { 10, 0, 0, 9 } };

	(void)n;
	n_asked[fd != FAKE_FD4]++;
	if (fd != input_fd || !n_waiting)
		return -EAGAIN;
	n_waiting--;
	memcpy(h->msg_name, &ep_a.addr, sizeof(ep_a.addr.v4));
	h->msg_namelen = sizeof(ep_a.addr.v4);
	h->msg_controllen =
		build_control(h->msg_control, AF_INET, false, &source, 0, 0);
	h->msg_flags = 0;
	msgs[0].msg_len = 5;
	return 1;
}

static int poll_rule(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	int ready = 0;

	fake.now_ms += timeout_ms;
	for (nfds_t i = 0; i < n; i++) {
		fds[i].revents =
			fds[i].fd == input_fd && n_waiting ? POLLIN : 0;
		ready += fds[i].revents != 0;
	}
	return ready;
}

/* Datagrams that the kernel delivers to a side socket are received, too. */
static void side_input(void **state)
{
	struct ug_receiver *rcv;
	struct ug_view views[4];

	(void)state;
	open_with(SIDES, 0);
	fake.receive = receive_rule;
	fake.poll = poll_rule;
	assert_int_equal(ug_receiver_new(&rcv, 4), 0);
	input_fd = ug_side_fd(sock, AF_INET, 2);
	n_waiting = 2;
	/* Without an event, side sockets cost no receive calls. */
	assert_int_equal(ug_receive(rcv, sock, AF_INET, views, 4, 0), 0);
	assert_int_equal(n_asked[1], 0);
	assert_int_equal(ug_side_ready(sock, input_fd), AF_INET);
	assert_int_equal(ug_receive(rcv, sock, AF_INET, views, 4, 0), 1);
	assert_int_equal(ug_receive(rcv, sock, AF_INET, views, 4, 0), 1);
	assert_int_equal(views[0].len, 5);
	assert_int_equal(ug_receive(rcv, sock, AF_INET, views, 4, 0), 0);
	assert_int_equal(n_asked[1], 3);
	/* Input on a side socket does not delay the main socket. */
	input_fd = FAKE_FD4;
	n_waiting = 1;
	ug_side_ready(sock, ug_side_fd(sock, AF_INET, 0));
	assert_int_equal(ug_receive(rcv, sock, AF_INET, views, 4, 0), 1);
	/* Input on a side socket wakes a waiting receiver. */
	input_fd = ug_side_fd(sock, AF_INET, 3);
	n_waiting = 1;
	assert_int_equal(ug_receive(rcv, sock, AF_UNSPEC, views, 4, 100), 1);
	ug_receiver_free(rcv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SENDING_TEST(order),
		SENDING_TEST(opens_without),
		SENDING_TEST(bad_options),
		SENDING_TEST(busy_port),
		SENDING_TEST(one_slow),
		SENDING_TEST(one_slow_six),
		SENDING_TEST(wrong_one_first),
		SENDING_TEST(several_slow),
		SENDING_TEST(more_slow_than_sides),
		SENDING_TEST(comes_back),
		SENDING_TEST(order_is_kept),
		SENDING_TEST(urgent),
		SENDING_TEST(quiet_costs_nothing),
		SENDING_TEST(no_outq),
		SENDING_TEST(refused_aside),
		SENDING_TEST(marks),
		SENDING_TEST(side_input),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
