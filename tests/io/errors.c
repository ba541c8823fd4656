/* SPDX-License-Identifier: MIT */
/*
 * Errors of the real kernel, as ug_receive_errors() hands them out: of dead ports, of
 * datagrams that are too long here or behind a router. What the kernel knows of the
 * path's MTU, and what it dropped.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/io/talk.h"
#include "tests/lib/check.h"
#include "tests/lib/netns.h"
#include "tests/platform/datagram.h"
#include "udpgather.h"

enum {
	/* MTU of the cable to the router, and of the one behind it. */
	NEAR_MTU = 1500,
	FAR_MTU = 1300,
	/* How long to wait for an error. A choice. */
	PATIENCE_MS = 5000,
};

/* Both families: loopback, the router's near end, a host behind it. */
static const struct {
	int family;
	const char *loopback;
	const char *router;
	const char *behind;
	uint8_t unreachable[2]; /* type and code: no program has the port */
	uint8_t too_big[2];
	size_t headers;
} families[] = {
	{ AF_INET,
	  "127.0.0.1",
	  "10.11.0.2",
	  "10.12.0.2",
	  { 3, 3 },
	  { 3, 4 },
	  28 },
	{ AF_INET6,
	  "[::1]",
	  "[fd00:11::2]",
	  "[fd00:12::2]",
	  { 1, 4 },
	  { 2, 0 },
	  48 },
};

static int home, router, behind;
static struct ug_error got[64];

static struct ug_socket *opened_wanting(enum ug_pmtu pmtu)
{
	struct ug_options opt = {
		.size = sizeof(opt),
		.want = UG_WANT_ERRORS,
		.pmtu4 = pmtu,
		.pmtu6 = pmtu,
	};

	return opened(&opt);
}

/* Make a socket of the library of a descriptor. */
static struct ug_socket *adopted(int fd, bool v4, uint32_t want)
{
	struct ug_options opt = { .size = sizeof(opt), .want = want };
	struct ug_socket *sock;

	assert_int_equal(
		ug_open_fds(&sock, v4 ? fd : -1, v4 ? -1 : fd, &opt, NULL), 0);
	return sock;
}

/* Send one datagram of @len bytes. Return: its status. */
/* The beginning of what send_len() sends. */
static const char beginning[] = "The quick brown fox jumps over it";

static int send_len(struct ug_socket *sock, const struct ug_endpoint *to,
		    size_t len)
{
	static char bytes[4096];
	struct iovec iov = { bytes, len };
	struct ug_datagram d = { .iov = &iov, .n_iov = 1 };
	int status;

	assert_true(len <= sizeof(bytes));
	memcpy(bytes, beginning, sizeof(beginning));
	ug_send(sock, batch, to, &d, 1, &status, 0);
	return status;
}

/* There is one error now; it is got[0]. */
static void expect_one(struct ug_socket *sock)
{
	assert_int_equal(
		ug_receive_errors(sock, got, sizeof(got[0]), ARRAY_LEN(got)),
		1);
}

/* Wait for an error, as a program with a loop of its own does; it is got[0]. */
static void expect_error(struct ug_socket *sock, int family)
{
	struct pollfd p = { .fd = ug_fd(sock, family) };

	assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
	assert_true(p.revents & POLLERR);
	expect_one(sock);
	/* Nothing is left to poll for. */
	assert_int_equal(poll(&p, 1, 0), 0);
}

/* Is it the same address, whatever the port? */
static void expect_host(const struct ug_endpoint *found,
			const struct ug_endpoint *wanted)
{
	assert_int_equal(found->addr.any.sa_family, wanted->addr.any.sa_family);
	if (wanted->addr.any.sa_family == AF_INET)
		assert_int_equal(found->addr.v4.sin_addr.s_addr,
				 wanted->addr.v4.sin_addr.s_addr);
	else
		assert_memory_equal(&found->addr.v6.sin6_addr,
				    &wanted->addr.v6.sin6_addr, 16);
}

/* An endpoint on loopback that no program has. */
static struct ug_endpoint dead_endpoint(const char *host)
{
	struct ug_socket *gone = opened(NULL);
	struct ug_endpoint to = at(host, ug_port(gone));

	ug_close(gone);
	return to;
}

/* ---------------------------------------------------------------- dead ports */

static void expect_dead(struct ug_socket *sock, size_t i)
{
	struct ug_endpoint to = dead_endpoint(families[i].loopback);
	struct ug_endpoint host = at(families[i].loopback, 1);

	assert_int_equal(send_len(sock, &to, 9), UG_SENT);
	expect_error(sock, families[i].family);
	assert_int_equal(ug_endpoint_compare(&got[0].to, &to), 0);
	assert_int_equal(got[0].err, ECONNREFUSED);
	assert_int_equal(got[0].origin, families[i].family == AF_INET
						? UG_ORIGIN_ICMP
						: UG_ORIGIN_ICMP6);
	assert_int_equal(got[0].icmp_type, families[i].unreachable[0]);
	assert_int_equal(got[0].icmp_code, families[i].unreachable[1]);
	assert_int_equal(got[0].mtu, 0);
	assert_int_equal(got[0].quote_len, 9);
	assert_memory_equal(got[0].quote, beginning, 9);
	expect_host(&got[0].offender, &host);
	/* Taking the entry took the errno off the socket, too. */
	assert_int_equal(send_len(sock, &host, 9), UG_SENT);
}

/* Sockets of the library, and not connected ones of the program. */
static void dead_ports(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		bool v4 = families[i].family == AF_INET;
		struct ug_socket *own = opened_wanting(UG_PMTU_DEFAULT);
		struct ug_socket *other =
			adopted(udp_socket(families[i].family, true), v4,
				UG_WANT_ERRORS);
		struct ug_socket *dual = adopted(udp_socket(AF_INET6, false),
						 false, UG_WANT_ERRORS);

		expect_dead(own, i);
		expect_dead(other, i);
		expect_dead(dual, i);
		ug_close(own);
		ug_close(other);
		ug_close(dual);
	}
}

/* An IPv4-mapped address, which ug_endpoint_parse() would unmap. @port is in network
 * order. */
static struct ug_endpoint mapped_to(const char *host, in_port_t port)
{
	struct ug_endpoint ep = { 0 };

	ep.addr.v6.sin6_family = AF_INET6;
	ep.addr.v6.sin6_port = port;
	assert_int_equal(inet_pton(AF_INET6, host, &ep.addr.v6.sin6_addr), 1);
	return ep;
}

/* Connected sockets; IPv4 also as an IPv4-mapped address. */
static void connected(void **state)
{
	static const struct {
		size_t i;
		int family;
	} rows[] = { { 0, AF_INET }, { 1, AF_INET6 }, { 0, AF_INET6 } };

	(void)state;
	for (size_t k = 0; k < ARRAY_LEN(rows); k++) {
		size_t i = rows[k].i;
		bool is_mapped = rows[k].family != families[i].family;
		struct ug_endpoint to = dead_endpoint(families[i].loopback),
				   peer = to;
		int fd = udp_socket(rows[k].family, !is_mapped);

		if (is_mapped)
			peer = mapped_to("::ffff:127.0.0.1",
					 to.addr.v4.sin_port);
		assert_int_equal(connect(fd, &peer.addr.any, sizeof(peer.addr)),
				 0);
		struct ug_socket *sock =
			adopted(fd, rows[k].family == AF_INET, UG_WANT_ERRORS);

		assert_int_equal(send_len(sock, &to, 9), UG_SENT);
		expect_error(sock, families[i].family);
		assert_int_equal(ug_endpoint_compare(&got[0].to, &to), 0);
		assert_int_equal(got[0].err, ECONNREFUSED);
		assert_int_equal(got[0].icmp_type, families[i].unreachable[0]);
		assert_int_equal(got[0].icmp_code, families[i].unreachable[1]);
		/* If the error was not taken, the next datagram has it. */
		struct pollfd p = { .fd = fd };

		assert_int_equal(send_len(sock, &to, 9), UG_SENT);
		assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
		assert_int_equal(send_len(sock, &to, 9), -ECONNREFUSED);
		expect_one(sock);
		ug_close(sock);
	}
}

/* Errors never keep a call from waiting, and datagrams come between them. */
static void waiting(void **state)
{
	static struct ug_received entry;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		struct ug_socket *sock = opened_wanting(UG_PMTU_DEFAULT);
		struct ug_socket *peer = opened(NULL);
		struct ug_endpoint dead = dead_endpoint(families[i].loopback);
		struct ug_endpoint to = at(families[i].loopback, ug_port(sock));
		struct ug_receive_stats was, now;

		ug_get_receive_stats(rcv, &was, sizeof(was));
		assert_int_equal(send_len(sock, &dead, 9), UG_SENT);
		assert_int_equal(ug_receive(rcv, sock, families[i].family,
					    views, 1, 200),
				 0);
		assert_int_equal(ug_receiver_why(rcv), -ETIMEDOUT);
		assert_int_equal(send_len(sock, &dead, 9), UG_SENT);
		assert_int_equal(ug_receive_trains(rcv, sock,
						   families[i].family, &entry,
						   sizeof(entry), 1, 200),
				 -ETIMEDOUT);
		ug_get_receive_stats(rcv, &now, sizeof(now));
		printf("# %ju waits\n", (uintmax_t)(now.waits - was.waits));
		assert_true(now.waits - was.waits < 50);
		assert_int_equal(send_len(sock, &dead, 9), UG_SENT);
		assert_int_equal(send_len(peer, &to, 33), UG_SENT);
		assert_int_equal(ug_receive(rcv, sock, families[i].family,
					    views, 1, PATIENCE_MS),
				 1);
		assert_int_equal(views[0].len, 33);
		assert_int_equal(ug_receive_errors(sock, got, sizeof(got[0]),
						   ARRAY_LEN(got)),
				 3);
		ug_close(sock);
		ug_close(peer);
	}
}

/* Without UG_WANT_ERRORS a descriptor with IP_RECVERR is what it was. */
static void not_wanted(void **state)
{
	static const int level[] = { IPPROTO_IP, IPPROTO_IPV6 };
	static const int name[] = { IP_RECVERR, IPV6_RECVERR };
	static struct ug_received entry;
	const int on = 1;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		int fd = udp_socket(families[i].family, true);
		struct ug_endpoint dead = dead_endpoint(families[i].loopback);

		assert_int_equal(
			setsockopt(fd, level[i], name[i], &on, sizeof(on)), 0);
		struct ug_socket *sock = adopted(fd, i == 0, 0);

		assert_int_equal(send_len(sock, &dead, 9), UG_SENT);
		assert_int_equal(
			ug_receive_trains(rcv, sock, families[i].family, &entry,
					  sizeof(entry), 1, PATIENCE_MS),
			-EBADMSG);
		assert_int_equal(
			ug_receive_errors(sock, got, sizeof(got[0]), 1),
			-EOPNOTSUPP);
		assert_int_equal(
			ug_receive(rcv, sock, families[i].family, views, 1, 50),
			0);
		ug_close(sock);
	}
}

/* More errors than are kept: all others are counted. */
static void many_errors(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		struct ug_socket *sock = opened_wanting(UG_PMTU_DEFAULT);
		struct ug_endpoint dead = dead_endpoint(families[i].loopback);
		struct ug_socket_stats stats;
		size_t n = 0;
		int r;

		for (size_t k = 0; k < 3000; k++)
			send_len(sock, &dead, 9);
		do {
			r = ug_receive_errors(sock, got, sizeof(got[0]),
					      ARRAY_LEN(got));
			assert_in_range(r, 0, ARRAY_LEN(got));
			n += (size_t)r;
		} while (r);
		assert_int_equal(
			ug_get_socket_stats(sock, &stats, sizeof(stats)), 0);
		printf("# %ju errors, %zu handed out, %ju lost\n",
		       (uintmax_t)stats.errors, n,
		       (uintmax_t)stats.errors_lost);
		assert_true(stats.errors > 600);
		assert_int_equal(stats.errors, n + stats.errors_lost);
		ug_close(sock);
	}
}

/* ------------------------------------------------------- the MTU of the path */

/* A host behind a router, with a smaller MTU there. */
static void build_path(void)
{
	assert_int_equal(netns_join(router, behind, "far", 12, FAR_MTU), 0);
	assert_int_equal(netns_join(home, router, "near", 11, NEAR_MTU), 0);
	assert_int_equal(
		netns_ip("route add 10.12.0.0/24 via 10.11.0.2 dev near"), 0);
	assert_int_equal(
		netns_ip("-6 route add fd00:12::/64 via fd00:11::2 dev near"),
		0);
	assert_int_equal(netns_enter(router), 0);
	assert_int_equal(netns_set("ipv4/ip_forward", "1"), 0);
	assert_int_equal(netns_set("ipv6/conf/all/forwarding", "1"), 0);
	assert_int_equal(netns_enter(behind), 0);
	assert_int_equal(
		netns_ip("route add 10.11.0.0/24 via 10.12.0.1 dev far"), 0);
	assert_int_equal(
		netns_ip("-6 route add fd00:11::/64 via fd00:12::1 dev far"),
		0);
	assert_int_equal(netns_enter(home), 0);
}

/* A datagram that is too long for the cable; the kernel says so at once. */
static void too_long_here(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		struct ug_socket *sock = opened_wanting(UG_PMTU_DO);
		struct ug_endpoint to = at(families[i].router, 4);
		size_t most = NEAR_MTU - families[i].headers;

		assert_int_equal(send_len(sock, &to, most + 1), -EMSGSIZE);
		expect_one(sock);
		expect_host(&got[0].to, &to);
		assert_int_equal(got[0].err, EMSGSIZE);
		assert_int_equal(got[0].origin, UG_ORIGIN_LOCAL);
		assert_int_equal(got[0].mtu, NEAR_MTU);
		assert_int_equal(got[0].offender.addr.any.sa_family, AF_UNSPEC);
		assert_int_equal(ug_path_mtu(sock, &to), NEAR_MTU);
		ug_close(sock);
	}
}

/* A router sends the datagram back: its error has the MTU, and the kernel keeps it. */
static void too_long_there(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		struct ug_socket *sock = opened_wanting(UG_PMTU_DO);
		struct ug_endpoint to = at(families[i].behind, 4);
		struct ug_endpoint by = at(families[i].router, 4);
		size_t most = FAR_MTU - families[i].headers;

		assert_int_equal(ug_path_mtu(sock, &to), NEAR_MTU);
		assert_int_equal(send_len(sock, &to, most + 1), UG_SENT);
		expect_error(sock, families[i].family);
		assert_int_equal(ug_endpoint_compare(&got[0].to, &to), 0);
		assert_int_equal(got[0].err, EMSGSIZE);
		assert_int_equal(got[0].icmp_type, families[i].too_big[0]);
		assert_int_equal(got[0].icmp_code, families[i].too_big[1]);
		assert_int_equal(got[0].mtu, FAR_MTU);
		assert_int_equal(got[0].quote_len, UG_ERROR_QUOTE);
		assert_memory_equal(got[0].quote, beginning, UG_ERROR_QUOTE);
		expect_host(&got[0].offender, &by);
		assert_int_equal(ug_path_mtu(sock, &to), FAR_MTU);
		/* Now the machine itself refuses such a datagram. */
		assert_int_equal(send_len(sock, &to, most + 1), -EMSGSIZE);
		expect_one(sock);
		assert_int_equal(got[0].origin, UG_ORIGIN_LOCAL);
		assert_int_equal(got[0].mtu, FAR_MTU);
		assert_int_equal(got[0].quote_len, 0);
		ug_close(sock);
	}
}

/*
 * A probe that is too long says nothing against a datagram that is not: neither in the
 * status, nor by trains that stop.
 */
static void probes(void **state)
{
	(void)state;
	assert_int_equal(netns_enter(behind), 0);
	struct ug_socket *there = opened(NULL);

	assert_int_equal(netns_enter(home), 0);
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		struct ug_socket *sock = opened_wanting(UG_PMTU_PROBE);
		struct ug_endpoint to = at(families[i].behind, ug_port(there));
		struct pollfd p = { .fd = ug_fd(sock, families[i].family) };

		for (int k = 0; k < 20; k++) {
			assert_int_equal(send_len(sock, &to, 1400), UG_SENT);
			assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
			assert_int_equal(send_text(sock, &to, "short", 20),
					 UG_SENT);
			expect_text(there, "short", 20);
			expect_one(sock);
			assert_int_equal(got[0].mtu, FAR_MTU);
		}
		ug_close(sock);
	}
	ug_close(there);
}

/* Device, mark and source decide the route, and so the MTU. */
static void path_of_a_socket(void **state)
{
	static const char *const source[] = { "10.11.0.9", "[fd00:11::9]" };
	static const char *const prefix[] = { "10.11.0.9/24", "fd00:11::9/64" };
	static const char *const bare[] = { "10.11.0.9", "fd00:11::9" };
	static const char *const net[] = { "10.12.0.0/24", "fd00:12::/64" };
	static const char *const via[] = { "10.11.0.2", "fd00:11::2" };
	struct ug_options opt = { .size = sizeof(opt), .mark = 5 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		int v = i ? 6 : 4;
		struct ug_socket *sock = opened(NULL), *marked = opened(&opt);
		struct ug_endpoint to = at(families[i].router, 4), far;
		struct ug_endpoint from = at(source[i], 4);
		struct ug_endpoint nowhere =
			at(i ? "[fd00:99::1]" : "10.99.0.1", 4);

		assert_int_equal(netns_add_address("near", prefix[i]), 0);
		assert_int_equal(
			netns_ip("-%d rule add from %s table 7", v, bare[i]),
			0);
		assert_int_equal(netns_ip("-%d rule add fwmark 5 table 8", v),
				 0);
		assert_int_equal(netns_ip("-%d route add %s via %s dev near "
					  "mtu 1411 table 7",
					  v, net[i], via[i]),
				 0);
		assert_int_equal(netns_ip("-%d route add %s via %s dev near "
					  "mtu 1422 table 8",
					  v, net[i], via[i]),
				 0);
		/* An address that nothing was sent to yet. */
		far = at(i ? "[fd00:12::77]" : "10.12.0.77", 4);
		assert_int_equal(ug_path_mtu(sock, &far), NEAR_MTU);
		assert_int_equal(ug_path_mtu(marked, &far), 1422);
		far.source.state = UG_SOURCE_PINNED;
		memcpy(far.source.addr,
		       i ? (void *)&from.addr.v6.sin6_addr
			 : (void *)&from.addr.v4.sin_addr,
		       i ? 16 : 4);
		assert_int_equal(ug_path_mtu(sock, &far), 1411);
		far.source.addr[1] ^= 1;
		assert_int_equal(ug_path_mtu(sock, &far), -EADDRNOTAVAIL);
		assert_int_equal(ug_path_mtu(sock, &nowhere), -ENETUNREACH);
		ug_close(sock);
		ug_close(marked);
		opt.device = "lo";
		opt.mark = 0;
		sock = opened(&opt);
		/* IPv4 takes any address for one on that interface. */
		assert_int_not_equal(ug_path_mtu(sock, &to), NEAR_MTU);
		ug_close(sock);
		opt.device = NULL;
		opt.mark = 5;
	}
}

/* --------------------------------------------------- what the kernel dropped */

/* Read until nothing comes. Return: messages. */
static size_t drain(struct ug_socket *sock)
{
	static struct ug_received entry;
	size_t n = 0;

	while (ug_receive_trains(rcv, sock, AF_UNSPEC, &entry, sizeof(entry), 1,
				 50) == 1) {
		entry.cap = 0;
		n++;
	}
	return n;
}

static void drops(void **state)
{
	struct ug_options opt = { .size = sizeof(opt), .buffer_len = 4096 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(families); i++) {
		struct ug_socket *sock = opened(&opt), *peer = opened(NULL);
		struct ug_endpoint to = at(families[i].loopback, ug_port(sock));
		struct ug_socket_stats s;
		const uint64_t *mine = i ? s.drops_v6 : s.drops_v4;
		const uint64_t *other = i ? s.drops_v4 : s.drops_v6;

		for (int k = 0; k < 100; k++)
			assert_int_equal(send_len(peer, &to, 900), UG_SENT);
		size_t came = drain(sock);

		assert_int_equal(ug_get_socket_stats(sock, &s, sizeof(s)), 0);
		printf("# 100 sent, %zu came, %ju dropped\n", came,
		       (uintmax_t)mine[0]);
		assert_true(came < 100);
		assert_int_equal(mine[0] + came, 100);
		assert_int_equal(other[0], 0);
		/* A train counts once. */
		for (int k = 0; k < 50; k++)
			assert_int_equal(send_text(peer, &to, "123456789", 50),
					 UG_SENT);
		came = drain(sock);
		uint64_t before = mine[0];

		assert_int_equal(ug_get_socket_stats(sock, &s, sizeof(s)), 0);
		printf("# 50 trains sent, %zu messages came, %ju dropped\n",
		       came, (uintmax_t)(mine[0] - before));
		assert_true(mine[0] > before);
		if (device_takes_trains("lo"))
			assert_int_equal(mine[0] - before + came, 50);
		ug_close(sock);
		ug_close(peer);
	}
}

static int setup(void **state)
{
	router = netns_new();
	behind = netns_new();
	home = netns_new();
	if (router < 0 || behind < 0 || home < 0)
		return -1;
	build_path();
	return talk_setup(state);
}

static int teardown(void **state)
{
	close(router);
	close(behind);
	close(home);
	return talk_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dead_ports),
		cmocka_unit_test(connected),
		cmocka_unit_test(waiting),
		cmocka_unit_test(not_wanted),
		cmocka_unit_test(many_errors),
		cmocka_unit_test(too_long_here),
		cmocka_unit_test(too_long_there),
		cmocka_unit_test(probes),
		cmocka_unit_test(path_of_a_socket),
		cmocka_unit_test(drops),
	};

	netns_require();
	return cmocka_run_group_tests(tests, setup, teardown);
}
