/* SPDX-License-Identifier: MIT */
/*
 * A socket with UG_WANT_ERRORS over a kernel with error queues: what is handed out,
 * and which refused messages are believed to be at fault.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/fault/sending.h"
#include "tests/lib/check.h"
#include "udpgather/errors.h"
#include "udpgather/open.h"
#include "udpgather/path.h"

static struct ug_error got[1200];
static struct ug_receiver *rcv;

static void open_wanting(uint32_t want, unsigned int sides)
{
	struct ug_options opt = {
		.size = sizeof(opt),
		.want = want,
		.side_sockets = sides,
		.notice = sending_notice,
		.notice_arg = notices,
	};

	ug_close(sock);
	assert_int_equal(fake.open_fds, 0);
	assert_int_equal(ug_socket_open_with(&fake_sys, &sock, &opt, NULL), 0);
}

static int setup(void **state)
{
	int r = sending_setup(state);

	if (r < 0)
		return r;
	open_wanting(UG_WANT_ERRORS, 0);
	return ug_receiver_new(&rcv, 4);
}

static int teardown(void **state)
{
	ug_receiver_free(rcv);
	return sending_teardown(state);
}

/* An ICMP message "port unreachable" about a datagram to an endpoint. */
static struct fake_error refused_by(const struct ug_endpoint *to)
{
	bool v4 = to->addr.any.sa_family == AF_INET;
	struct fake_error e = {
		.fd = v4 ? FAKE_FD4 : FAKE_FD6,
		.error = {
			.to = *to,
			.offender = *to,
			.err = ECONNREFUSED,
			.origin = v4 ? UG_ORIGIN_ICMP : UG_ORIGIN_ICMP6,
			.icmp_type = v4 ? 3 : 1,
			.icmp_code = v4 ? 3 : 4,
		},
	};

	if (v4)
		e.error.offender.addr.v4.sin_port = 0;
	else
		e.error.offender.addr.v6.sin6_port = 0;
	return e;
}

/* This machine finds a datagram too long. IPv4 does not tell the port. */
static struct fake_error too_long_by(const struct ug_endpoint *to)
{
	struct fake_error e = refused_by(to);

	e.error.err = EMSGSIZE;
	e.error.origin = UG_ORIGIN_LOCAL;
	e.error.icmp_type = e.error.icmp_code = 0;
	e.error.mtu = e.info = 1280;
	memset(&e.error.offender, 0, sizeof(e.error.offender));
	if (to->addr.any.sa_family == AF_INET)
		e.error.to.addr.v4.sin_port = 0;
	return e;
}

static int take(size_t n)
{
	return ug_receive_errors(sock, got, sizeof(got[0]), n);
}

static struct ug_socket_stats socket_stats(void)
{
	struct ug_socket_stats s;

	assert_int_equal(ug_get_socket_stats(sock, &s, sizeof(s)), 0);
	return s;
}

/* ------------------------------------------------------------- the options */

static void options(void **state)
{
	static const int fds[] = { FAKE_FD4, FAKE_FD4 + FAKE_NEXT, FAKE_FD6,
				   FAKE_FD6 + FAKE_NEXT };

	(void)state;
	for (int wanted = 0; wanted < 2; wanted++) {
		fake.n_options = 0;
		open_wanting(wanted ? UG_WANT_ERRORS : 0, 1);
		for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
			bool v4 = fake_family(fds[i]) == AF_INET;

			assert_int_equal(
				fake_option(fds[i],
					    v4 ? IPPROTO_IP : IPPROTO_IPV6,
					    v4 ? IP_RECVERR : IPV6_RECVERR),
				wanted ? 1 : -1);
		}
	}
	open_wanting(0, 0);
	assert_int_equal(take(1), -EOPNOTSUPP);
}

/* An IPv4-mapped address, which ug_endpoint_parse() would unmap. */
static struct ug_endpoint mapped_to(const char *host, uint16_t port)
{
	struct ug_endpoint ep = { 0 };

	ep.addr.v6.sin6_family = AF_INET6;
	ep.addr.v6.sin6_port = htons(port);
	assert_int_equal(inet_pton(AF_INET6, host, &ep.addr.v6.sin6_addr), 1);
	return ep;
}

/* An IPv6 descriptor that carries IPv4, too, has the errors of both. */
static void dual_stack(void **state)
{
	struct ug_options opt = {
		.size = sizeof(opt),
		.want = UG_WANT_ERRORS,
	};
	int fds[FAMILIES] = { -1, fake_sys.socket(AF_INET6,
						  SOCK_DGRAM | SOCK_CLOEXEC,
						  IPPROTO_UDP) };

	(void)state;
	ug_close(sock);
	fake.port_of[1][1] = 7; /* the second one of IPv6 */
	fake_set_option(fds[1], IPPROTO_IPV6, IPV6_V6ONLY, 0);
	assert_int_equal(
		ug_socket_adopt_with(&fake_sys, &sock, fds, &opt, NULL), 0);
	assert_int_equal(fake_option(fds[1], IPPROTO_IPV6, IPV6_RECVERR), 1);
	assert_int_equal(fake_option(fds[1], IPPROTO_IP, IP_RECVERR), 1);
	struct fake_error e = refused_by(&ep_a);

	e.fd = fds[1];
	fake_push_error(&e);
	assert_int_equal(take(2), 1);
	assert_memory_equal(&got[0], &e.error, sizeof(got[0]));
	/* An endpoint of AF_INET, and the same one as IPv4-mapped. */
	struct ug_endpoint mapped = mapped_to("::ffff:10.0.0.1", 1);
	const struct ug_endpoint *both[] = { &ep_a, &mapped };

	for (size_t i = 0; i < ARRAY_LEN(both); i++) {
		fake.send_calls = 0;
		fake.errs[0] = ECONNREFUSED;
		fake_push_error(&e);
		n_dgrams = 0;
		add(both[i], 1, 100);
		send_all(0);
		assert_int_equal(status[0], -ECONNREFUSED);
		assert_int_equal(take(2), 1);
	}
}

/* ------------------------------------------------------------- handing out */

/* Entries of both families and of side sockets, in order, with all members. */
static void handed_out(void **state)
{
	struct fake_error e[] = { refused_by(&ep_a), too_long_by(&ep_b),
				  refused_by(&ep_six), too_long_by(&ep_six),
				  refused_by(&ep_c) };

	(void)state;
	open_wanting(UG_WANT_ERRORS, 1);
	e[4].fd = FAKE_FD4 + FAKE_NEXT;
	for (size_t i = 0; i < ARRAY_LEN(e); i++)
		fake_push_error(&e[i]);
	memset(got, 0x55, sizeof(got));
	assert_int_equal(take(2), 2);
	assert_memory_equal(&got[0], &e[0].error, sizeof(got[0]));
	assert_memory_equal(&got[1], &e[1].error, sizeof(got[0]));
	assert_int_equal(take(2), 2);
	assert_memory_equal(&got[0], &e[4].error, sizeof(got[0]));
	assert_memory_equal(&got[1], &e[2].error, sizeof(got[0]));
	assert_int_equal(take(2), 1);
	assert_memory_equal(&got[0], &e[3].error, sizeof(got[0]));
	assert_int_equal(take(2), 0);
	assert_int_equal(socket_stats().errors, 5);
	assert_int_equal(socket_stats().errors_lost, 0);
}

/* Programs of a later version, whose entries are longer, and of version 1.0, whose
 * entries are shorter; and wrong arguments. */
static void sizes(void **state)
{
	struct {
		struct ug_error e;
		uint64_t more;
	} longer[2];
	struct fake_error e = refused_by(&ep_a);
	/* The last member of version 1.0 was @icmp_code. */
	const size_t align = _Alignof(struct ug_error);
	const size_t len_1_0 =
		(offsetof(struct ug_error, quote_len) + align - 1) / align *
		align;

	(void)state;
	fake_push_error(&e);
	fake_push_error(&e);
	memset(longer, 0x55, sizeof(longer));
	assert_int_equal(
		ug_receive_errors(sock, &longer[0].e, sizeof(longer[0]), 2), 2);
	for (size_t i = 0; i < 2; i++) {
		assert_memory_equal(&longer[i].e, &e.error, sizeof(e.error));
		assert_int_equal(longer[i].more, 0);
	}
	memset(got, 0x55, 2 * sizeof(got[0]));
	fake_push_error(&e);
	assert_int_equal(ug_receive_errors(sock, got, len_1_0, 1), 1);
	assert_memory_equal(got, &e.error, len_1_0);
	assert_int_equal(((unsigned char *)got)[len_1_0], 0x55);
	assert_int_equal(take(0), -EINVAL);
	assert_int_equal(ug_receive_errors(sock, got, len_1_0 - 1, 1), -EINVAL);
}

/* If nobody asks, the last entries are kept, and the others counted. */
static void too_many(void **state)
{
	struct fake_error e = refused_by(&ep_b);

	(void)state;
	for (uint16_t i = 0; i < 600; i++) {
		e.error.to.addr.v4.sin_port = htons((uint16_t)(i + 1));
		fake_push_error(&e);
	}
	/* Two refusals have the queue emptied, in two steps. */
	fake.errs[0] = fake.errs[1] = ECONNREFUSED;
	add(&ep_a, 1, 100);
	send_all(1);
	assert_int_equal(fake.n_errors, 0);
	assert_int_equal(socket_stats().errors, 600);
	assert_int_equal(socket_stats().errors_lost, 600 - ERRORS_CAP);
	assert_int_equal(take(1200), ERRORS_CAP);
	for (int i = 0; i < ERRORS_CAP; i++)
		assert_int_equal(ntohs(got[i].to.addr.v4.sin_port),
				 600 - ERRORS_CAP + i + 1);
	/* If somebody asks, none is lost, however many wait. */
	for (uint16_t i = 0; i < 1000; i++)
		fake_push_error(&e);
	assert_int_equal(take(1200), 1000);
	assert_int_equal(socket_stats().errors_lost, 600 - ERRORS_CAP);
}

/* Entries without an address, without an end, and of another kind. */
static void odd_entries(void **state)
{
	struct fake_error nameless = refused_by(&ep_a), broken = nameless,
			  other = nameless, stamp = nameless;

	(void)state;
	nameless.nameless = true;
	broken.broken = true;
	other.error.offender.addr.any.sa_family = AF_UNIX;
	stamp.error.origin = 4; /* SO_EE_ORIGIN_TIMESTAMPING */
	stamp.error.err = ENOMSG;
	stamp.info = 2;
	fake_push_error(&nameless);
	fake_push_error(&broken);
	fake_push_error(&other);
	fake_push_error(&stamp);
	assert_int_equal(take(5), 3);
	assert_int_equal(got[0].to.addr.any.sa_family, AF_UNSPEC);
	assert_int_equal(got[0].err, ECONNREFUSED);
	assert_int_equal(got[1].offender.addr.any.sa_family, AF_UNSPEC);
	assert_int_equal(got[2].origin, 4);
	assert_int_equal(got[2].mtu, 0);
	assert_int_equal(socket_stats().errors, 4);
	assert_int_equal(socket_stats().errors_lost, 1);
}

/* ----------------------------------------------------------------- sending */

static size_t refusals_left, refusals_each;
static int refusal_errno;
static const struct ug_endpoint *refused;
static const struct fake_error *explanation;
static bool is_taken_by_another;

/* Refuse messages to an endpoint, so many times, and leave an entry each time. */
static int refuse_rule(const struct fake_message *m)
{
	if (ug_endpoint_compare(refused, &m->to))
		return 0;
	if (!refusals_left) {
		refusals_left = refusals_each;
		return 0;
	}
	refusals_left--;
	if (explanation)
		fake_push_error(explanation);
	if (is_taken_by_another)
		assert_int_equal(take(1), 1);
	return refusal_errno;
}

static void refuse(const struct ug_endpoint *to, int err, size_t times,
		   const struct fake_error *e)
{
	fake.rule = refuse_rule;
	fake.send_calls = 0;
	refused = to;
	refusal_errno = err;
	refusals_left = times;
	refusals_each = 0;
	explanation = e;
	is_taken_by_another = false;
}

/* An entry for the destination: its message has failed, the others are sent. */
static void destination_refuses(void **state)
{
	struct fake_error e4 = refused_by(&ep_b), e6 = refused_by(&ep_six);

	(void)state;
	add(&ep_a, 10, 100);
	add(&ep_b, 10, 100);
	add(&ep_c, 10, 100);
	refuse(&ep_b, ECONNREFUSED, SIZE_MAX, &e4);
	send_all(20);
	expect_status(10, 10, -ECONNREFUSED);
	/* The first message, at which the call stops short; the one that is refused;
	 * and the last one. */
	assert_int_equal(fake.send_calls, 3);
	assert_int_equal(take(9), 2);
	/* In IPv6 with another errno. An ICMP message is no sign against trains. */
	n_dgrams = 0;
	add(&ep_six, 10, 100);
	e6.error.err = EACCES;
	for (int i = 0; i < 5; i++) {
		refuse(&ep_six, EACCES, 1, &e6);
		send_all(0);
		expect_status(0, 10, -EACCES);
		assert_int_equal(fake.send_calls, 1);
	}
	assert_int_equal(n_notices, 0);
	assert_int_equal(stats().split_other, 0);
}

/* Entries of another destination: the message goes again until it passes. */
static void others_refuse(void **state)
{
	struct fake_error e = refused_by(&ep_b);

	(void)state;
	add(&ep_a, 10, 100);
	refuse(&ep_a, ECONNREFUSED, REFUSALS_OF_OTHERS - 1, &e);
	send_all(10);
	assert_int_equal(fake.log[0].train, 10);
	assert_int_equal(fake.send_calls, REFUSALS_OF_OTHERS);
	assert_int_equal(stats().pending_errors, REFUSALS_OF_OTHERS - 1);
	/* Another port of the address is another destination. */
	n_dgrams = 0;
	add(&ep_a, 10, 100);
	e = refused_by(&ep_a);
	e.error.to.addr.v4.sin_port = htons(2);
	refuse(&ep_a, ECONNREFUSED, 50, &e);
	send_all(10);
	/* The same when another thread has taken the entry. */
	refuse(&ep_a, ECONNREFUSED, 50, &e);
	while (take(1200) > 0)
		;
	is_taken_by_another = true;
	send_all(10);
	assert_int_equal(fake.send_calls, 51);
}

/* If that does not end, the datagrams are unsent: there is nothing against them. */
static void others_never_stop(void **state)
{
	struct fake_error e = refused_by(&ep_b);

	(void)state;
	add(&ep_a, 10, 100);
	add(&ep_six, 10, 100);
	refuse(&ep_a, ECONNREFUSED, SIZE_MAX, &e);
	send_all(10);
	expect_status(0, 10, UG_UNSENT);
	/* One call more, for the other family. */
	assert_int_equal(fake.send_calls, REFUSALS_OF_OTHERS + 1);
	/* With a timeout the call sleeps, and goes on. */
	refuse(&ep_a, ECONNREFUSED, 2 * REFUSALS_OF_OTHERS, &e);
	fake.n = 0;
	assert_int_equal(
		ug_send(sock, batch, NULL, dgrams, n_dgrams, status, 100), 20);
	account(20);
	assert_int_equal(fake.pauses, 2);
	refuse(&ep_a, ECONNREFUSED, SIZE_MAX, &e);
	fake.n = 0;
	assert_int_equal(
		ug_send(sock, batch, NULL, dgrams, n_dgrams, status, 5), 10);
	account(10);
	expect_status(0, 10, UG_UNSENT);
}

/* No entry: seven refusals may be those of others, the eighth is the message's. */
static void unexplained(void **state)
{
	static const int errs[] = { ECONNREFUSED, EHOSTUNREACH, ENETUNREACH,
				    EPROTO,	  ENOPROTOOPT,	EOPNOTSUPP,
				    EHOSTDOWN,	  ENONET };
	struct fake_error e = refused_by(&ep_b);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(errs); i++) {
		n_dgrams = 0;
		add(&ep_a, 10, 100);
		add(&ep_c, 1, 100);
		refuse(&ep_a, errs[i], REFUSALS_UNEXPLAINED - 1, NULL);
		send_all(11);
		assert_int_equal(fake.log[0].train, 10);
		refuse(&ep_a, errs[i], SIZE_MAX, NULL);
		send_all(1);
		expect_status(0, 10, -errs[i]);
		assert_int_equal(fake.send_calls, REFUSALS_UNEXPLAINED + 1);
		/* An entry with another errno explains nothing. */
		e.error.err = errs[i] == EPROTO ? ECONNREFUSED : EPROTO;
		refuse(&ep_a, errs[i], SIZE_MAX, &e);
		send_all(1);
		expect_status(0, 10, -errs[i]);
		assert_int_equal(fake.send_calls, REFUSALS_UNEXPLAINED + 1);
	}
	/* Each message has its own account. */
	n_dgrams = 0;
	add(&ep_a, 1, 100);
	add(&ep_a, 1, 200);
	add(&ep_a, 1, 300);
	refuse(&ep_a, ECONNREFUSED, 5, NULL);
	refusals_each = 5;
	for (int i = 0; i < 3; i++)
		send_all(3);
	assert_int_equal(n_notices, 0);
}

/* A source that is gone is dropped as on any socket, but not for an ICMP message. */
static void sources(void **state)
{
	struct fake_error e = refused_by(&ep_a);

	(void)state;
	ep_a.source.state = UG_SOURCE_PINNED;
	add(&ep_a, 10, 100);
	refuse(&ep_a, ENETUNREACH, REFUSALS_UNEXPLAINED, NULL);
	send_all(10);
	assert_false(fake.log[0].has_source);
	assert_int_equal(stats().refused_sources, 1);
	e.error.err = ENETUNREACH;
	refuse(&ep_a, ENETUNREACH, 1, &e);
	send_all(0);
	expect_status(0, 10, -ENETUNREACH);
	assert_int_equal(stats().refused_sources, 1);
}

/* EMSGSIZE: of this machine with and without an entry, and by an ICMP message. */
static void too_long(void **state)
{
	struct fake_error own = too_long_by(&ep_a), icmp = refused_by(&ep_a);

	(void)state;
	icmp.error.err = EMSGSIZE;
	icmp.info = 1280;
	icmp.error.icmp_code = 4;
	/* An earlier datagram was too long for the path. This train may fit. */
	add(&ep_a, 10, 1000);
	refuse(&ep_a, EMSGSIZE, 1, &icmp);
	send_all(10);
	assert_int_equal(fake.log[0].train, 10);
	assert_int_equal(take(9), 1);
	assert_int_equal(got[0].mtu, 1280);
	/* A single datagram that is too long. */
	n_dgrams = 0;
	add(&ep_a, 1, 1400);
	add(&ep_b, 1, 1400);
	refuse(&ep_a, EMSGSIZE, SIZE_MAX, &own);
	send_all(1);
	expect_status(0, 1, -EMSGSIZE);
	assert_int_equal(fake.send_calls, 2);
	assert_int_equal(n_notices, 0);
	/* A train whose segments are too long: the kernel makes no entry. */
	n_dgrams = 0;
	add(&ep_a, 3, 1400);
	refuse(&ep_a, EMSGSIZE, REFUSALS_UNEXPLAINED, NULL);
	send_all(3);
	assert_int_equal(fake.log[0].train, 1);
	assert_int_equal(n_notices, 1);
	assert_int_equal(notices[0].what, UG_NOTICE_ENDPOINT_CAPPED);
}

/* As long as an entry waits, poll(2) returns at once. */
static int error_poll_rule(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	int ready = 0;

	for (nfds_t i = 0; i < n; i++) {
		fds[i].revents = 0;
		for (size_t k = 0; k < fake.n_errors; k++)
			if (fake.errors[k].fd == fds[i].fd)
				fds[i].revents = POLLERR;
		ready += fds[i].revents != 0;
	}
	if (!ready)
		fake.now_ms += timeout_ms;
	return ready;
}

/* The queue does not fill up, whatever happens to the errno. */
static void queue_stays_short(void **state)
{
	struct fake_error e = refused_by(&ep_b);
	struct ug_train train = { .to = &ep_a };

	(void)state;
	/* A call that stops short has met an error, which is gone then. */
	add(&ep_a, 5, 100);
	add(&ep_c, 5, 100);
	fake.short_at = 1;
	fake_push_error(&e);
	send_all(10);
	assert_int_equal(fake.n_errors, 0);
	fake.short_at = 0;
	/* A train by the short way, and by the long one. */
	train.iov = vectors;
	train.n_iov = 1;
	for (size_t times = 1; times < 5; times++) {
		refuse(&ep_a, ECONNREFUSED, times, &e);
		assert_int_equal(ug_send_trains(sock, batch, &train,
						sizeof(train), 1, 0),
				 1);
		assert_int_equal(fake.n_errors, 0);
	}
	train.to = &ep_b;
	refuse(&ep_b, ECONNREFUSED, SIZE_MAX, &e);
	assert_int_equal(
		ug_send_trains(sock, batch, &train, sizeof(train), 1, 0), 0);
	assert_int_equal(train.status, -ECONNREFUSED);
	/* A call that waits for room. */
	fake.rule = NULL;
	fake.send_calls = 0;
	fake.errs[0] = fake.errs[1] = EAGAIN;
	fake_push_error(&e);
	fake.poll = error_poll_rule;
	fake.pauses = 0;
	assert_int_equal(ug_send(sock, batch, NULL, dgrams, 1, status, 50), 1);
	assert_int_equal(fake.n_errors, 0);
	assert_int_equal(fake.pauses, 0);
}

/* --------------------------------------------------------------- receiving */

static size_t errors_to_come;
static bool datagram_comes;

/* The socket's own error first, as the kernel does; then a datagram; then nothing. */
static int receive_rule(int fd, struct mmsghdr *msgs, unsigned int n)
{
	assert_true(n > 0);
	if (fd != FAKE_FD4)
		return -EAGAIN;
	if (errors_to_come) {
		errors_to_come--;
		return -ECONNREFUSED;
	}
	if (!datagram_comes)
		return -EAGAIN;
	datagram_comes = false;
	memcpy(msgs->msg_hdr.msg_name, &ep_a.addr, sizeof(ep_a.addr));
	msgs->msg_hdr.msg_namelen = sizeof(ep_a.addr.v4);
	msgs->msg_hdr.msg_controllen = 0;
	msgs->msg_hdr.msg_flags = 0;
	msgs->msg_len = 9;
	return 1;
}

static int receive(bool whole, int timeout_ms)
{
	static struct ug_received entry;
	static struct ug_view view;

	if (whole)
		return ug_receive_trains(rcv, sock, AF_INET, &entry,
					 sizeof(entry), 1, timeout_ms);
	int n = ug_receive(rcv, sock, AF_INET, &view, 1, timeout_ms);

	return n ? n : ug_receiver_why(rcv);
}

static void receiving(void **state)
{
	struct fake_error e = refused_by(&ep_b), six = refused_by(&ep_six);

	(void)state;
	fake.receive = receive_rule;
	fake.poll = error_poll_rule;
	for (int whole = 0; whole < 2; whole++) {
		/* An error, its entry, and a datagram behind it. */
		fake_push_error(&e);
		errors_to_come = 1;
		datagram_comes = true;
		assert_int_equal(receive(whole, 0), 1);
		assert_int_equal(fake.n_errors, 0);
		assert_int_equal(take(9), 1);
		/* A call that waits keeps waiting, and does not spin. */
		for (int i = 0; i < 3; i++)
			fake_push_error(&e);
		fake.polls = fake.pauses = 0;
		assert_int_equal(receive(whole, 50), -ETIMEDOUT);
		assert_true(fake.polls <= 3);
		assert_int_equal(fake.pauses, 0);
		assert_int_equal(take(9), 3);
		/* Errors of the other family stay where they are. */
		fake_push_error(&six);
		assert_int_equal(receive(whole, 50), -ETIMEDOUT);
		assert_int_equal(fake.n_errors, 1);
		assert_int_equal(take(9), 1);
	}
	struct ug_receive_stats s;

	ug_get_receive_stats(rcv, &s, sizeof(s));
	/* Errors of the socket; entries that are kept do not count here. */
	assert_int_equal(s.errors, 2);
}

/* The errors of a peer of ug_connect() are told at once, and handed out, too. */
static void connected(void **state)
{
	struct fake_error e = refused_by(&ep_a);
	struct ug_train train = { .iov = vectors, .n_iov = 1 };

	(void)state;
	assert_int_equal(ug_connect(sock, &ep_a), 0);
	add(&ep_a, 1, 100);
	fake.send_calls = 0;
	fake.errs[0] = ECONNREFUSED;
	fake_push_error(&e);
	send_all(0);
	expect_status(0, 1, -ECONNREFUSED);
	assert_int_equal(fake.send_calls, 1);
	assert_int_equal(fake.n_errors, 0);
	fake.send_calls = 0;
	fake_push_error(&e);
	assert_int_equal(
		ug_send_trains(sock, batch, &train, sizeof(train), 1, 0), 0);
	assert_int_equal(train.status, -ECONNREFUSED);
	assert_int_equal(fake.n_errors, 0);
	fake.receive = receive_rule;
	errors_to_come = 1;
	fake_push_error(&e);
	assert_int_equal(receive(true, 0), -ECONNREFUSED);
	assert_int_equal(fake.n_errors, 0);
	assert_int_equal(take(9), 3);
}

/* -------------------------------------------- what the kernel knows of a path */

static void path_mtu(void **state)
{
	int next4 = FAKE_FD4 + FAKE_NEXT, next6 = FAKE_FD6 + FAKE_NEXT;

	(void)state;
	strcpy(fake.device_of[0][0], "eth7");
	fake_set_option(FAKE_FD4, SOL_SOCKET, SO_MARK, 42);
	fake_set_option(next4, IPPROTO_IP, IP_MTU, 1400);
	fake_set_option(next6, IPPROTO_IPV6, IPV6_MTU, 1280);
	assert_int_equal(ug_path_mtu(sock, &ep_a), 1400);
	assert_string_equal(fake.device_of[0][1], "eth7");
	assert_int_equal(fake_option(next4, SOL_SOCKET, SO_MARK), 42);
	assert_int_equal(ug_endpoint_compare(&fake.peer_of[0][1], &ep_a), 0);
	assert_int_equal(ug_path_mtu(sock, &ep_six), 1280);
	assert_int_equal(ug_endpoint_compare(&fake.peer_of[1][1], &ep_six), 0);
	assert_int_equal(fake_option(next6, SOL_SOCKET, SO_MARK), -1);
	/* From the endpoint's source, if it holds. */
	ep_a.source.state = UG_SOURCE_PINNED;
	memcpy(ep_a.source.addr, "\x0a\x09\x08\x07", 4);
	assert_int_equal(ug_path_mtu(sock, &ep_a), 1400);
	assert_memory_equal(&fake.bound_to.addr.v4.sin_addr, "\x0a\x09\x08\x07",
			    4);
	assert_int_equal(fake.bound_to.addr.v4.sin_port, 0);
	ep_six.source.state = UG_SOURCE_PINNED;
	ep_six.source.addr[0] = 0xfe;
	ep_six.source.addr[1] = 0x80;
	ep_six.source.ifindex = 5;
	assert_int_equal(ug_path_mtu(sock, &ep_six), 1280);
	assert_memory_equal(&fake.bound_to.addr.v6.sin6_addr,
			    ep_six.source.addr, 16);
	assert_int_equal(fake.bound_to.addr.v6.sin6_scope_id, 5);
	ep_a.source.state = UINT32_MAX; /* of another generation */
	assert_int_equal(ug_path_mtu(sock, &ep_a), 1400);
	assert_int_equal(fake.bound_to.addr.v4.sin_addr.s_addr, 0);
	/* Each call that fails ends it, and no descriptor is left. */
	int open = fake.open_fds;
	size_t calls = 0, failed = 0;

	fake.socket_calls = 0;
	assert_int_equal(ug_path_mtu(sock, &ep_a), 1400);
	calls = fake.socket_calls;
	for (size_t i = 1; i <= calls; i++) {
		fake.socket_calls = 0;
		fake.fail_socket_call = i;
		fake.fail_socket_err = EDOM;
		failed += ug_path_mtu(sock, &ep_a) == -EDOM;
		assert_int_equal(fake.open_fds, open);
	}
	assert_int_equal(failed, calls);
	/* A family that is not open. */
	struct ug_endpoint none = { 0 };

	assert_int_equal(ug_path_mtu(sock, &none), -EAFNOSUPPORT);
}

static void drops(void **state)
{
	struct ug_socket_stats s;

	(void)state;
	open_wanting(0, 2);
	fake_set_option(FAKE_FD4, SOL_SOCKET, SO_MEMINFO, 5);
	fake_set_option(ug_side_fd(sock, AF_INET, 1), SOL_SOCKET, SO_MEMINFO,
			6);
	fake_set_option(ug_side_fd(sock, AF_INET6, 0), SOL_SOCKET, SO_MEMINFO,
			7);
	memset(&s, 0x55, sizeof(s));
	assert_int_equal(ug_get_socket_stats(sock, &s, sizeof(s)), 0);
	assert_int_equal(s.drops_v4[0], 5);
	assert_int_equal(s.drops_v4[1], 0);
	assert_int_equal(s.drops_v4[2], 6);
	assert_int_equal(s.drops_v4[3], 0);
	assert_int_equal(s.drops_v6[0], 0);
	assert_int_equal(s.drops_v6[1], 7);
	assert_int_equal(s.errors, 0);
	/* Versions with shorter and longer structs. */
	memset(&s, 0x55, sizeof(s));
	assert_int_equal(ug_get_socket_stats(sock, &s, 8), 0);
	assert_int_equal(s.drops_v4[0], 5);
	assert_int_equal(s.drops_v4[1], 0x5555555555555555);
	uint64_t longer[sizeof(s) / 8 + 1] = { 0 };

	longer[sizeof(s) / 8] = 1;
	assert_int_equal(
		ug_get_socket_stats(sock, (void *)longer, sizeof(longer)), 0);
	assert_int_equal(longer[0], 5);
	assert_int_equal(longer[sizeof(s) / 8], 0);
	/* The kernel is too old. */
	fake.socket_calls = 0;
	fake.fail_socket_call = 4;
	fake.fail_socket_err = ENOPROTOOPT;
	assert_int_equal(ug_get_socket_stats(sock, &s, sizeof(s)),
			 -ENOPROTOOPT);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(options),
		TEST(dual_stack),
		TEST(handed_out),
		TEST(sizes),
		TEST(too_many),
		TEST(odd_entries),
		TEST(destination_refuses),
		TEST(others_refuse),
		TEST(others_never_stop),
		TEST(unexplained),
		TEST(sources),
		TEST(too_long),
		TEST(queue_stays_short),
		TEST(receiving),
		TEST(connected),
		TEST(path_mtu),
		TEST(drops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
