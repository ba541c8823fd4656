/* SPDX-License-Identifier: MIT */
/*
 * Opening a socket, with each step failing in turn. After a failure no
 * descriptor stays open.
 */
#include <errno.h>
#include <netinet/udp.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/lib/check.h"
#include "tests/lib/fakesys.h"
#include "udpgather/open.h"

static struct ug_report report;

static int setup(void **state)
{
	(void)state;
	fake_reset();
	memset(&report, 0x55, sizeof(report));
	report.size = sizeof(report);
	return 0;
}

static int open_with(const struct ug_options *opt, struct ug_socket **out)
{
	*out = NULL;
	return ug_socket_open_with(&fake_sys, out, opt, &report);
}

/* The report of a family that is not open has its error and its step only. */
static void expect_failed(const struct ug_family_report *r)
{
	assert_true(r->err < 0);
	assert_int_equal(r->step == NULL, r->err == -ENOENT);
	assert_int_equal(r->rcvbuf, 0);
	assert_int_equal(r->sndbuf, 0);
	assert_false(r->segments || r->merges);
}

static void expect_nothing_open(void)
{
	assert_int_equal(report.port, 0);
	expect_failed(&report.v4);
	expect_failed(&report.v6);
}

static void expect_closed(int err, int expected)
{
	assert_int_equal(err, expected);
	assert_int_equal(fake.open_fds, 0);
	expect_nothing_open();
}

static void both(void **state)
{
	struct ug_options opt = { .size = sizeof(opt), .port = 51820 };
	struct ug_socket *sock;

	(void)state;
	assert_int_equal(open_with(&opt, &sock), 0);
	assert_int_equal(fake.open_fds, 2);
	assert_int_equal(report.port, 51820);
	assert_int_equal(ug_port(sock), 51820);
	assert_int_equal(report.tries, 1);
	assert_int_equal(report.v4.err, 0);
	assert_int_equal(report.v6.err, 0);
	assert_null(report.v4.step);
	assert_true(report.v4.segments && report.v6.merges);
	assert_int_equal(report.v4.rcvbuf, 7 << 20);
	assert_int_equal(report.v6.sndbuf, 7 << 20);
	assert_int_equal(ug_fd(sock, AF_INET), FAKE_FD4);
	assert_int_equal(ug_fd(sock, AF_INET6), FAKE_FD6);
	assert_int_equal(ug_fd(sock, AF_UNIX), -EAFNOSUPPORT);
	ug_close(sock);
	ug_close(NULL);
	assert_int_equal(fake.open_fds, 0);
}

/* The right port is reported whichever family is missing. */
static void missing_family(void **state)
{
	static const int families[] = { AF_INET, AF_INET6 };
	struct ug_options opt = { .size = sizeof(opt) };
	struct ug_socket *sock;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		for (int port = 0; port <= 7777; port += 7777) {
			struct ug_family_report *r =
				i ? &report.v6 : &report.v4;

			fake.lacks_family = families[i];
			opt.port = (uint16_t)port;
			assert_int_equal(open_with(&opt, &sock), 0);
			assert_int_equal(r->err, -EAFNOSUPPORT);
			assert_string_equal(r->step, "socket");
			expect_failed(r);
			assert_int_equal(fake.open_fds, 1);
			assert_true(report.port > 0);
			assert_int_equal(report.port, ug_port(sock));
			if (port)
				assert_int_equal(report.port, port);
			assert_int_equal(ug_fd(sock, families[i]),
					 -EAFNOSUPPORT);
			ug_close(sock);
		}
	}
	/* A family that is requested alone must be available. */
	fake.lacks_family = AF_INET6;
	opt.families = UG_IPV6_ONLY;
	expect_closed(open_with(&opt, &sock), -EAFNOSUPPORT);
	assert_int_equal(report.v4.err, -ENOENT);
	opt.families = UG_IPV4_ONLY;
	assert_int_equal(open_with(&opt, &sock), 0);
	assert_int_equal(report.v6.err, -ENOENT);
	assert_null(report.v6.step);
	ug_close(sock);
}

static void busy_port(void **state)
{
	struct ug_options opt = { .size = sizeof(opt), .port = 500 };
	struct ug_socket *sock;

	(void)state;
	fake.busy_from = 0;
	fake.busy_to = 1000;
	expect_closed(open_with(&opt, &sock), -EADDRINUSE);
	assert_int_equal(report.tries, 1);
	assert_string_equal(report.v6.step, "bind");
	assert_int_equal(report.v4.err, -ECANCELED);

	/* Without a requested port a free one is searched. */
	opt.port = 0;
	assert_int_equal(open_with(&opt, &sock), 0);
	uint16_t next = (uint16_t)(report.port + 1);

	ug_close(sock);
	fake.busy_from = next;
	fake.busy_to = (uint16_t)(next + 40);
	assert_int_equal(open_with(&opt, &sock), 0);
	assert_int_equal(report.tries, 42);
	assert_int_equal(report.port, next + 41);
	assert_int_equal(fake.open_fds, 2);
	ug_close(sock);

	fake.busy_to = UINT16_MAX;
	expect_closed(open_with(&opt, &sock), -EADDRINUSE);
	assert_int_equal(report.tries, 100);

	/* The family that was not requested has no error. */
	opt.families = UG_IPV6_ONLY;
	opt.port = 500;
	fake.busy_from = 0;
	expect_closed(open_with(&opt, &sock), -EADDRINUSE);
	assert_int_equal(report.v4.err, -ENOENT);
	opt.families = UG_IPV4_ONLY;
	fake.fail_socket_call = 1;
	fake.socket_calls = 0;
	fake.fail_socket_err = EMFILE;
	expect_closed(open_with(&opt, &sock), -EMFILE);
	assert_int_equal(report.v6.err, -ENOENT);
}

/*
 * For each n, the n-th call fails: the result is an error with its step, or a
 * socket without an optional feature.
 */
static void each_step(void **state)
{
	struct ug_endpoint at4, at6;
	struct ug_options opt = {
		.size = sizeof(opt),
		.port = 5,
		.bind4 = &at4,
		.bind6 = &at6,
		.device = "eth0",
		.mark = 7,
		.pmtu4 = UG_PMTU_DONT,
		.pmtu6 = UG_PMTU_PROBE,
	};
	struct ug_socket *sock;
	size_t failed = 0, calls;

	(void)state;
	ug_endpoint_parse(&at4, "127.0.0.1:1");
	ug_endpoint_parse(&at6, "[::1]:1");
	assert_int_equal(open_with(&opt, &sock), 0);
	calls = fake.socket_calls;
	ug_close(sock);
	assert_int_equal(fake_option(FAKE_FD4, SOL_SOCKET, SO_MARK), 7);
	assert_int_equal(fake_option(FAKE_FD6, SOL_SOCKET, SO_MARK), 7);
	for (size_t i = 1; i <= calls; i++) {
		setup(NULL);
		fake.fail_socket_call = i;
		fake.fail_socket_err = EACCES;
		int err = open_with(&opt, &sock);

		if (err == 0) {
			assert_int_equal(fake.open_fds, 2);
			ug_close(sock);
			continue;
		}
		expect_closed(err, -EACCES);
		assert_non_null(report.v4.err == -EACCES ? report.v4.step
							 : report.v6.step);
		failed++;
	}
	/* socket, packet info, TOS, path MTU, device, mark, bind, name; and
	 * V6ONLY. */
	assert_int_equal(failed, 8 + 9);
}

/* What a program wants to be told costs nothing otherwise: no option is set. */
static void wanted(void **state)
{
	static const struct {
		uint32_t bit;
		int fd, level, name;
		const char *step;
	} rows[] = {
		{ UG_WANT_TIME, FAKE_FD4, SOL_SOCKET, SO_TIMESTAMPNS,
		  "SO_TIMESTAMPNS" },
		{ UG_WANT_TIME, FAKE_FD6, SOL_SOCKET, SO_TIMESTAMPNS,
		  "SO_TIMESTAMPNS" },
		{ UG_WANT_TTL, FAKE_FD4, IPPROTO_IP, IP_RECVTTL, "IP_RECVTTL" },
		{ UG_WANT_TTL, FAKE_FD6, IPPROTO_IPV6, IPV6_RECVHOPLIMIT,
		  "IPV6_RECVHOPLIMIT" },
		{ UG_WANT_ERRORS, FAKE_FD4, IPPROTO_IP, IP_RECVERR,
		  "IP_RECVERR" },
		{ UG_WANT_ERRORS, FAKE_FD6, IPPROTO_IPV6, IPV6_RECVERR,
		  "IPV6_RECVERR" },
	};
	struct ug_options opt = { .size = sizeof(opt) };
	struct ug_socket *sock;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		setup(NULL);
		opt.want = 0;
		assert_int_equal(open_with(&opt, &sock), 0);
		ug_close(sock);
		assert_int_equal(
			fake_option(rows[i].fd, rows[i].level, rows[i].name),
			-1);
		opt.want = rows[i].bit;
		setup(NULL);
		assert_int_equal(open_with(&opt, &sock), 0);
		ug_close(sock);
		assert_int_equal(
			fake_option(rows[i].fd, rows[i].level, rows[i].name),
			1);
		/* One of the calls that fail names the step. */
		size_t calls = fake.socket_calls, n_named = 0;

		for (size_t k = 1; k <= calls; k++) {
			const struct ug_family_report *r =
				rows[i].fd == FAKE_FD4 ? &report.v4
						       : &report.v6;

			setup(NULL);
			fake.fail_socket_call = k;
			fake.fail_socket_err = ENOPROTOOPT;
			int err = open_with(&opt, &sock);

			if (err == 0)
				ug_close(sock);
			else if (r->err == -ENOPROTOOPT)
				n_named += strcmp(r->step, rows[i].step) == 0;
		}
		assert_int_equal(n_named, 1);
	}
	opt.want = 1u << 31;
	assert_int_equal(open_with(&opt, &sock), -EINVAL);
}

/* The size that was set: the kernel doubles it, and so does the fake one. */
static int buffer_of(int fd, int name)
{
	return fake_option(fd, SOL_SOCKET, name) / 2;
}

/* Each buffer has its own number, the number for both, or stays as it is. */
static void buffers(void **state)
{
	static const struct {
		size_t both, rcv, snd; /* the options */
		int expect_rcv, expect_snd;
	} rows[] = {
		{ 0, 0, 0, 7 << 20, 7 << 20 },
		{ 5000, 0, 0, 5000, 5000 },
		{ 5000, 6000, 0, 6000, 5000 },
		{ 0, 0, 6000, 7 << 20, 6000 },
		{ UG_BUFFER_KEEP, 0, 0, 111, 222 },
		{ UG_BUFFER_KEEP, 6000, 0, 6000, 222 },
		{ 0, UG_BUFFER_KEEP, 6000, 111, 6000 },
		{ 0, 0, UG_BUFFER_KEEP, 7 << 20, 222 },
	};
	static const int fds[] = { FAKE_FD4, FAKE_FD6 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct ug_options opt = {
			.size = sizeof(opt),
			.buffer_len = rows[i].both,
			.rcvbuf_len = rows[i].rcv,
			.sndbuf_len = rows[i].snd,
		};
		struct ug_socket *sock;

		setup(NULL);
		for (size_t f = 0; f < 2; f++) {
			fake_set_option(fds[f], SOL_SOCKET, SO_RCVBUF, 222);
			fake_set_option(fds[f], SOL_SOCKET, SO_SNDBUF, 444);
		}
		assert_int_equal(open_with(&opt, &sock), 0);
		for (size_t f = 0; f < 2; f++) {
			const struct ug_family_report *r =
				f ? &report.v6 : &report.v4;

			assert_int_equal(buffer_of(fds[f], SO_RCVBUF),
					 rows[i].expect_rcv);
			assert_int_equal(buffer_of(fds[f], SO_SNDBUF),
					 rows[i].expect_snd);
			assert_int_equal(r->rcvbuf, rows[i].expect_rcv);
			assert_int_equal(r->sndbuf, rows[i].expect_snd);
		}
		ug_close(sock);
	}
}

/* Side sockets have the same numbers, up to their own limit. */
static void buffers_of_sides(void **state)
{
	struct ug_options opt = {
		.size = sizeof(opt),
		.port = 5,
		.rcvbuf_len = UG_BUFFER_KEEP,
		.sndbuf_len = 8 << 20,
		.side_sockets = 1,
	};
	struct ug_socket *sock;

	(void)state;
	fake_set_option(FAKE_FD4 + FAKE_NEXT, SOL_SOCKET, SO_RCVBUF, 222);
	assert_int_equal(open_with(&opt, &sock), 0);
	assert_int_equal(ug_side_fd(sock, AF_INET, 0), FAKE_FD4 + FAKE_NEXT);
	assert_int_equal(buffer_of(FAKE_FD4 + FAKE_NEXT, SO_RCVBUF), 111);
	assert_int_equal(buffer_of(FAKE_FD4 + FAKE_NEXT, SO_SNDBUF), 1 << 20);
	ug_close(sock);
	opt.sndbuf_len = 4096;
	assert_int_equal(open_with(&opt, &sock), 0);
	assert_int_equal(buffer_of(FAKE_FD4 + FAKE_NEXT, SO_SNDBUF), 4096);
	ug_close(sock);
}

static void features(void **state)
{
	struct ug_socket *sock;
	enum ug_reason reason;

	(void)state;
	fake.gro_unreadable = fake.no_segment = true;
	assert_int_equal(open_with(NULL, &sock), 0);
	assert_false(report.v4.merges);
	assert_false(report.v6.segments);
	/* The library could not recognise merged datagrams, so merging is off.
	 */
	assert_int_equal(fake_option(FAKE_FD4, IPPROTO_UDP, UDP_GRO), 0);
	assert_int_equal(fake_option(FAKE_FD6, IPPROTO_UDP, UDP_GRO), 0);
	assert_int_equal(ug_get_segments(sock, AF_INET, &reason), 1);
	assert_int_equal(reason, UG_REASON_UNSUPPORTED);
	assert_int_equal(ug_set_segments(sock, 64), 0);
	assert_int_equal(ug_get_segments(sock, AF_INET, &reason), 1);
	assert_int_equal(ug_set_merging(sock, true), -EOPNOTSUPP);
	assert_int_equal(ug_set_merging(sock, false), 0);
	ug_close(sock);
}

static void bad_kernels(void **state)
{
	static const struct {
		const char *release;
		bool bad;
	} table[] = {
		{ "7.0.0", true },   { "7.0.0-rc1", true },
		{ "7.0-rc3", true }, { "7.0.17-generic", true },
		{ "7.1.0", true },   { "7.1.4-pve", true },
		{ "7.1", true },     { "7.1.5", false },
		{ "7.1.40", false }, { "7.2.0", false },
		{ "7.10.1", false }, { "6.18.44", false },
		{ "8.0.1", false },  { "17.0.1", false },
		{ "", false },	     { "linux", false },
	};
	enum ug_reason reason;
	struct ug_socket *sock;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		fake.release = table[i].release;
		assert_int_equal(open_with(NULL, &sock), 0);
		assert_int_equal(ug_get_segments(sock, AF_INET, &reason), 64);
		assert_int_equal(reason, table[i].bad ? UG_REASON_BAD_KERNEL
						      : UG_REASON_NONE);
		/* An explicit number is used. */
		assert_int_equal(ug_set_segments(sock, 64), 0);
		assert_int_equal(ug_get_segments(sock, AF_INET, &reason), 64);
		assert_int_equal(reason, UG_REASON_ASKED);
		ug_close(sock);
	}
}

static void options(void **state)
{
	struct {
		struct ug_options opt;
		char later[16];
	} newer = { .opt = { .size = sizeof(newer) } };
	struct ug_endpoint at6;
	struct ug_options bad[] = {
		{ .size = 0 },
		{ .size = sizeof(size_t) },
		{ .size = sizeof(*bad), .families = (enum ug_families)3 },
		{ .size = sizeof(*bad), .pmtu4 = (enum ug_pmtu)7 },
		{ .size = sizeof(*bad), .pmtu6 = (enum ug_pmtu)99 },
		{ .size = sizeof(*bad), .bind4 = &at6 },
		{ .size = sizeof(*bad), .device = "" },
		{ .size = sizeof(*bad), .device = "sixteen-letters-" },
	};
	struct ug_socket *sock;

	(void)state;
	ug_endpoint_parse(&at6, "[::1]:1");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(open_with(&bad[i], &sock), -EINVAL);
	bad[1] = (struct ug_options){ .size = sizeof(*bad) };
	bad[1].device = "fifteen-letters";
	assert_int_equal(open_with(&bad[1], &sock), 0);
	ug_close(sock);
	/* A newer caller may have fields that this version does not know, as
	 * long as they say nothing. */
	assert_int_equal(open_with(&newer.opt, &sock), 0);
	ug_close(sock);
	newer.later[15] = 1;
	assert_int_equal(open_with(&newer.opt, &sock), -EINVAL);

	/* The report of an older caller is shorter. */
	memset(&report, 0x55, sizeof(report));
	report.size = offsetof(struct ug_report, v4);
	assert_int_equal(open_with(NULL, &sock), 0);
	assert_int_equal(report.size, offsetof(struct ug_report, v4));
	assert_int_equal(report.tries, 1);
	assert_int_equal(report.v4.err, 0x55555555);
	ug_close(sock);
}

static int adopt(struct ug_socket **out, int fd4, int fd6)
{
	const int fds[FAMILIES] = { fd4, fd6 };

	*out = NULL;
	fake.open_fds = 2;
	fake_bound_port[0] = fake_bound_port[1] = 7;
	return ug_socket_adopt_with(&fake_sys, out, fds, NULL, &report);
}

/* Descriptors stay the caller's when anything fails. */
static void adopted(void **state)
{
	struct ug_socket *sock;
	size_t calls, failed = 0;

	(void)state;
	assert_int_equal(adopt(&sock, -1, -1), -EINVAL);
	expect_nothing_open();
	assert_int_equal(report.v4.err, -ENOENT);
	assert_int_equal(report.v6.err, -ENOENT);
	fake.socket_calls = 0;
	assert_int_equal(adopt(&sock, FAKE_FD4, FAKE_FD6), 0);
	assert_int_equal(ug_fd(sock, AF_INET6), FAKE_FD6);
	calls = fake.socket_calls;
	ug_close(sock);
	assert_int_equal(fake.open_fds, 0);
	/* An IPv6 socket alone serves IPv4, too, unless it is IPV6_V6ONLY. */
	assert_int_equal(adopt(&sock, -1, FAKE_FD6), 0);
	assert_int_equal(ug_fd(sock, AF_INET), FAKE_FD6);
	assert_int_equal(fake_option(FAKE_FD6, IPPROTO_IP, IP_PKTINFO), 1);
	ug_close(sock);
	fake_set_option(FAKE_FD6, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	assert_int_equal(adopt(&sock, -1, FAKE_FD6), 0);
	assert_int_equal(ug_fd(sock, AF_INET), -EAFNOSUPPORT);
	assert_int_equal(report.v4.err, -ENOENT);
	ug_close(sock);
	/* No port, and the wrong family. */
	const int unbound[FAMILIES] = { FAKE_FD4, -1 };

	fake_bound_port[0] = 0;
	fake.open_fds = 2;
	assert_int_equal(
		ug_socket_adopt_with(&fake_sys, &sock, unbound, NULL, &report),
		-EINVAL);
	assert_string_equal(report.v4.step, "getsockname");
	expect_nothing_open();
	assert_int_equal(report.v6.err, -ENOENT);
	assert_int_equal(adopt(&sock, FAKE_FD6, -1), -EINVAL);
	assert_int_equal(fake.open_fds, 2);
	for (size_t i = 1; i <= calls; i++) {
		setup(NULL);
		fake.fail_socket_call = i;
		fake.fail_socket_err = EACCES;
		int err = adopt(&sock, FAKE_FD4, FAKE_FD6);

		if (err == 0) {
			ug_close(sock);
			continue;
		}
		assert_int_equal(err, -EACCES);
		assert_int_equal(fake.open_fds, 2);
		expect_nothing_open();
		/* The socket's owner would not expect merged datagrams. */
		assert_int_not_equal(
			fake_option(FAKE_FD4, IPPROTO_UDP, UDP_GRO), 1);
		assert_int_not_equal(
			fake_option(FAKE_FD6, IPPROTO_UDP, UDP_GRO), 1);
		failed++;
	}
	/* Domain, type, protocol, packet info, TOS and port of both; and packet
	 * info of IPv4 on the IPv6 socket. */
	assert_int_equal(failed, 6 + 7);
}

/* Options of the former owner that would change what is sent are cleared. */
static void adopted_options(void **state)
{
	static const int names[] = { UDP_SEGMENT, UDP_CORK };
	struct ug_socket *sock;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		fake_set_option(FAKE_FD4, IPPROTO_UDP, names[i], 500);
		fake_set_option(FAKE_FD6, IPPROTO_UDP, names[i], 500);
	}
	assert_int_equal(adopt(&sock, FAKE_FD4, FAKE_FD6), 0);
	ug_close(sock);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		assert_int_equal(fake_option(FAKE_FD4, IPPROTO_UDP, names[i]),
				 0);
		assert_int_equal(fake_option(FAKE_FD6, IPPROTO_UDP, names[i]),
				 0);
	}
}

/* Both families have the new mark, or both the old one. */
static void marks(void **state)
{
	struct ug_socket *sock;
	size_t calls;

	(void)state;
	assert_int_equal(open_with(NULL, &sock), 0);
	fake.socket_calls = 0;
	assert_int_equal(ug_set_mark(sock, 5), 0);
	calls = fake.socket_calls;
	assert_int_equal(calls, 3);
	for (size_t i = 1; i <= calls; i++) {
		fake.socket_calls = 0;
		fake.fail_socket_call = i;
		fake.fail_socket_err = EPERM;
		assert_int_equal(ug_set_mark(sock, 6), -EPERM);
		assert_int_equal(fake_option(FAKE_FD4, SOL_SOCKET, SO_MARK), 5);
		assert_int_equal(fake_option(FAKE_FD6, SOL_SOCKET, SO_MARK), 5);
	}
	ug_close(sock);
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(both),
		TEST(missing_family),
		TEST(busy_port),
		TEST(each_step),
		TEST(features),
		TEST(bad_kernels),
		TEST(options),
		TEST(adopted),
		TEST(marks),
		TEST(adopted_options),
		TEST(wanted),
		TEST(buffers),
		TEST(buffers_of_sides),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
