/* SPDX-License-Identifier: MIT */
/*
 * Options that change how datagrams leave: by which interface, with which TOS, and
 * after a refusal by chance.
 *
 * A host has two uplinks to its peer, with a default route each. The peer has an address
 * behind both, from which it asks.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/io/talk.h"
#include "tests/lib/check.h"
#include "tests/lib/netns.h"

static int home, far; /* namespaces */

static int setup(void **state)
{
	home = netns_new();
	far = netns_new();
	/* The host forgets a router that does not call itself one. */
	if (home < 0 || far < 0 || netns_set("ipv6/conf/all/forwarding", "1") ||
	    netns_enter(home))
		return -1;
	return talk_setup(state);
}

static int teardown(void **state)
{
	close(home);
	close(far);
	return talk_teardown(state);
}

static struct ug_socket *opened_in(int ns, const struct ug_options *opt)
{
	assert_int_equal(netns_enter(ns), 0);
	struct ug_socket *sock = opened(opt);

	assert_int_equal(netns_enter(home), 0);
	return sock;
}

/* ---------------------------------------------------------- Two uplinks */

/* The addresses of a family: the host's on both uplinks, and the peer's. */
static const struct row {
	int family;
	const char *host[2], *peer;
} rows[] = {
	{ AF_INET, { "10.1.0.1", "10.2.0.1" }, "10.3.0.2" },
	{ AF_INET6, { "[fd00:1::1]", "[fd00:2::1]" }, "[fd00:3::2]" },
};

static const char *const names[] = { "one", "two" };

/* Is there a default route of IPv6 by this device? */
static bool has_route6(const char *device)
{
	char line[256], name[32];
	unsigned int flags;
	bool found = false;
	FILE *f = fopen("/proc/thread-self/net/ipv6_route", "re");

	assert_non_null(f);
	while (!found && fgets(line, sizeof(line), f))
		/* Destination and its length, gateway, ..., flags, device. */
		found = sscanf(line, "%*[0] 00 %*s %*s %*s %*s %*s %*s %x %31s",
			       &flags, name) == 2 &&
			(flags & RTF_GATEWAY) && !strcmp(name, device);
	fclose(f);
	return found;
}

/* The peer says by a device that it is a router (RFC 4861, section 4.2). */
static void advertise(const char *device)
{
	/* Type 134; the kernel adds the checksum. A lifetime of 1,800 seconds. */
	static const uint8_t ra[16] = { [0] = 134, [4] = 64, [6] = 0x07, 0x08 };
	struct sockaddr_in6 all = { .sin6_family = AF_INET6 };
	int hops = 255, fd;

	assert_int_equal(netns_enter(far), 0);
	fd = socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMPV6);
	assert_true(fd >= 0);
	inet_pton(AF_INET6, "ff02::1", &all.sin6_addr);
	all.sin6_scope_id = if_nametoindex(device);
	setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, &hops, sizeof(hops));
	/* The device may have no address to send from yet. */
	sendto(fd, ra, sizeof(ra), 0, (void *)&all, sizeof(all));
	close(fd);
	assert_int_equal(netns_enter(home), 0);
}

/* The host gets its default routes of IPv6 from routers, as hosts do: they have one
 * metric. */
static void add_route6(const char *device)
{
	const struct timespec pause = { .tv_nsec = 20000000 };

	for (int i = 0; !has_route6(device); i++) {
		assert_true(i < 500);
		advertise(device);
		nanosleep(&pause, NULL);
	}
}

static void make_uplinks(void)
{
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(netns_join(home, far, names[i], i + 1, 1500),
				 0);
		assert_int_equal(
			netns_ip("route add default via 10.%u.0.2 dev %s "
				 "metric %u",
				 i + 1, names[i], 100 * (i + 1)),
			0);
		add_route6(names[i]);
	}
	assert_int_equal(netns_enter(far), 0);
	assert_int_equal(netns_add_address("lo", "10.3.0.2/32"), 0);
	assert_int_equal(netns_add_address("lo", "fd00:3::2/128"), 0);
	assert_int_equal(netns_enter(home), 0);
}

static void drop_uplinks(void)
{
	for (size_t i = 0; i < 2; i++)
		netns_ip("link del %s 2>/dev/null", names[i]);
	assert_int_equal(netns_enter(far), 0);
	netns_ip("addr flush dev lo scope global");
	assert_int_equal(netns_enter(home), 0);
}

/* Ask at an address of the host from the peer's address. Return: the endpoint to
 * answer to. */
static struct ug_endpoint ask(struct ug_socket *there, struct ug_socket *here,
			      const struct row *row, const char *host)
{
	struct ug_endpoint to = at(host, ug_port(here));
	struct ug_endpoint from = at(row->peer, 1);

	assert_int_equal(ug_endpoint_pin_source(&to, &from.addr.any,
						sizeof(from.addr), 0),
			 0);
	assert_int_equal(send_text(there, &to, "ask", 1), UG_SENT);
	assert_null(ug_refused_source(batch));
	expect_text(here, "ask", 1);
	return *views[0].from;
}

/* The host answers. Return: the uplink by which a datagram has come to the peer. */
static const char *answer(struct ug_socket *here, struct ug_socket *there,
			  const struct ug_endpoint *to)
{
	static char name[IF_NAMESIZE];
	struct ug_received info;

	assert_int_equal(send_text(here, to, "answer", 10), UG_SENT);
	expect_text(there, "answer", 10);
	assert_int_equal(ug_receiver_info(rcv, &views[0], &info, sizeof(info)),
			 0);
	assert_int_equal(netns_enter(far), 0);
	assert_non_null(if_indextoname(info.ifindex, name));
	assert_int_equal(netns_enter(home), 0);
	return name;
}

/* The address that the last datagram came from. */
static void expect_from(const char *host)
{
	struct ug_endpoint wanted = at(host, 1), got = *views[0].from;

	if (got.addr.any.sa_family == AF_INET)
		got.addr.v4.sin_port = htons(1);
	else
		got.addr.v6.sin6_port = htons(1);
	assert_int_equal(ug_endpoint_compare(&wanted, &got), 0);
}

/* Without the option the routes choose one uplink for all answers. With it an answer
 * leaves by the uplink that was asked on. */
static void answer_by_uplink(void **state)
{
	struct ug_options tell = {
		.size = sizeof(tell),
		.want = UG_WANT_DESTINATION,
	};

	(void)state;
	make_uplinks();
	struct ug_socket *there = opened_in(far, &tell);

	for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
		const struct row *row = &rows[i / 2];
		struct ug_options opt = {
			.size = sizeof(opt),
			.follow_interface = i % 2,
		};
		struct ug_socket *here = opened(&opt);
		bool used[2] = { false };

		for (size_t k = 0; k < 2; k++) {
			struct ug_endpoint to =
				ask(there, here, row, row->host[k]);
			const char *by = answer(here, there, &to);

			used[!strcmp(by, names[1])] = true;
			if (opt.follow_interface)
				assert_string_equal(by, names[k]);
			expect_from(row->host[k]);
			assert_null(ug_refused_source(batch));
		}
		assert_int_equal(used[0] && used[1], opt.follow_interface);
		ug_close(here);
	}
	ug_close(there);
	drop_uplinks();
}

/* In IPv6 a route with a smaller metric wins all the same, unless the kernel chooses
 * the address, too. So says the manual page. */
static void metric_of_ipv6(void **state)
{
	static const struct in6_addr none;
	struct ug_options opt = {
		.size = sizeof(opt),
		.want = UG_WANT_DESTINATION,
		.follow_interface = true,
	};

	(void)state;
	make_uplinks();
	assert_int_equal(
		netns_ip("-6 route add default via fd00:1::2 dev one metric 1"),
		0);
	struct ug_socket *there = opened_in(far, &opt), *here = opened(&opt);
	struct ug_endpoint to = ask(there, here, &rows[1], rows[1].host[1]);

	assert_string_equal(answer(here, there, &to), "one");
	expect_from(rows[1].host[1]);
	ug_endpoint_pin_address(&to, &none, to.source.ifindex);
	assert_string_equal(answer(here, there, &to), "two");
	expect_from(rows[1].host[1]);
	assert_null(ug_refused_source(batch));
	ug_close(there);
	ug_close(here);
	drop_uplinks();
}

/* A router that checks the way back drops the answer that leaves by the first uplink. */
static void filter_of_the_way_back(void **state)
{
	(void)state;
	make_uplinks();
	assert_int_equal(netns_enter(far), 0);
	assert_int_equal(netns_set("ipv4/conf/one/rp_filter", "1"), 0);
	assert_int_equal(netns_enter(home), 0);
	struct ug_socket *there = opened_in(far, NULL);

	for (int follow = 0; follow < 2; follow++) {
		struct ug_options opt = {
			.size = sizeof(opt),
			.follow_interface = follow,
		};
		struct ug_socket *here = opened(&opt);
		struct ug_endpoint to = ask(there, here, rows, rows->host[1]);

		assert_int_equal(send_text(here, &to, "answer", 1), UG_SENT);
		if (follow)
			expect_text(there, "answer", 1);
		else
			assert_int_equal(
				ug_receive(rcv, there, AF_INET, views, 1, 200),
				0);
		ug_close(here);
	}
	ug_close(there);
	drop_uplinks();
}

/* A pinned interface decides, with an address and without one. */
static void pinned_interface(void **state)
{
	static const uint8_t none[16];
	struct ug_options opt = {
		.size = sizeof(opt),
		.want = UG_WANT_DESTINATION,
		.follow_interface = true,
	};

	(void)state;
	make_uplinks();
	struct ug_socket *there = opened_in(far, &opt), *here = opened(&opt);

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		for (size_t k = 0; k < 2; k++) {
			struct ug_endpoint to =
				at(rows[i].peer, ug_port(there));
			struct ug_endpoint from = at(rows[i].host[k], 1);

			assert_int_equal(
				ug_endpoint_pin_address(
					&to, none, if_nametoindex(names[k])),
				0);
			assert_string_equal(answer(here, there, &to), names[k]);
			/* The kernel chooses an address of that interface. */
			expect_from(rows[i].host[k]);
			/* An address of the other interface is kept. */
			assert_int_equal(ug_endpoint_pin_source(
						 &to, &from.addr.any,
						 sizeof(from.addr),
						 if_nametoindex(names[1 - k])),
					 0);
			assert_string_equal(answer(here, there, &to),
					    names[1 - k]);
			expect_from(rows[i].host[k]);
			assert_null(ug_refused_source(batch));
		}
	}
	ug_close(there);
	ug_close(here);
	drop_uplinks();
}

/* When the uplink that was asked on is down, or gone, the answer leaves by the other
 * one, and the caller is told. */
static void uplink_gone(void **state)
{
	struct ug_options opt = {
		.size = sizeof(opt),
		.want = UG_WANT_DESTINATION,
		.follow_interface = true,
	};

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
		const struct row *row = &rows[i / 2];

		make_uplinks();
		struct ug_socket *there = opened_in(far, &opt);
		struct ug_socket *here = opened(&opt);
		struct ug_endpoint to = ask(there, here, row, row->host[1]);

		assert_string_equal(answer(here, there, &to), names[1]);
		assert_int_equal(
			netns_ip(i % 2 ? "link del two" : "link set two down"),
			0);
		assert_string_equal(answer(here, there, &to), names[0]);
		expect_from(row->host[0]);
		assert_ptr_equal(ug_refused_source(batch), &to);
		/* The caller clears it. */
		ug_endpoint_clear_source(&to);
		assert_string_equal(answer(here, there, &to), names[0]);
		assert_null(ug_refused_source(batch));
		ug_close(here);
		ug_close(there);
		drop_uplinks();
	}
}

/* Over loopback an answer arrives, too, also on a socket that serves both families. */
static void over_loopback(void **state)
{
	static const char *const hosts[] = { "127.0.0.1", "[::1]" };
	struct ug_options opt = {
		.size = sizeof(opt),
		.follow_interface = true,
	};

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(hosts); i++) {
		struct ug_socket *peer = opened(&opt), *sock;

		if (i / 2)
			assert_int_equal(
				ug_open_fds(&sock, -1,
					    udp_socket(AF_INET6, false), &opt,
					    NULL),
				0);
		else
			sock = opened(&opt);
		struct ug_endpoint to = at(hosts[i % 2], ug_port(sock));

		assert_int_equal(send_text(peer, &to, "ask", 1), UG_SENT);
		expect_text(sock, "ask", 1);
		to = *views[0].from;
		assert_true(to.source.ifindex > 0);
		assert_int_equal(send_text(sock, &to, "answer", 10), UG_SENT);
		assert_null(ug_refused_source(batch));
		expect_text(peer, "answer", 10);
		ug_close(peer);
		ug_close(sock);
	}
}

/* An answer to what came to a group leaves by the interface that it came in by. */
static void asked_by_group(void **state)
{
	struct ipv6_mreq group = { 0 };
	struct ug_options opt = {
		.size = sizeof(opt),
		.want = UG_WANT_DESTINATION,
		.follow_interface = true,
	};
	struct ug_endpoint to;
	int out;

	(void)state;
	make_uplinks();
	struct ug_socket *there = opened_in(far, &opt), *here = opened(&opt);

	inet_pton(AF_INET6, "ff05::77", &group.ipv6mr_multiaddr);
	group.ipv6mr_interface = if_nametoindex("two");
	assert_int_equal(setsockopt(ug_fd(here, AF_INET6), IPPROTO_IPV6,
				    IPV6_ADD_MEMBERSHIP, &group, sizeof(group)),
			 0);
	to = at("[ff05::77]", ug_port(here));
	struct ug_endpoint from = at("[fd00:3::2]", 1);

	ug_endpoint_pin_source(&to, &from.addr.any, sizeof(from.addr), 0);
	assert_int_equal(netns_enter(far), 0);
	out = (int)if_nametoindex("two");
	assert_int_equal(netns_enter(home), 0);
	assert_int_equal(setsockopt(ug_fd(there, AF_INET6), IPPROTO_IPV6,
				    IPV6_MULTICAST_IF, &out, sizeof(out)),
			 0);
	assert_int_equal(send_text(there, &to, "group", 1), UG_SENT);
	expect_text(here, "group", 1);
	to = *views[0].from;
	assert_string_equal(answer(here, there, &to), "two");
	expect_from("[fd00:2::1]");
	assert_null(ug_refused_source(batch));
	ug_close(there);
	ug_close(here);
	drop_uplinks();
}

/* ------------------------------------------------------------- TOS and TTL */

/* A descriptor on which TOS and TTL are set for IPv4, and for IPv6 if it is an IPv6
 * one. */
static int marked_descriptor(int family)
{
	int fd = udp_socket(family, false), tos = 0x28, ttl = 33;

	setsockopt(fd, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	setsockopt(fd, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl));
	if (family == AF_INET)
		return fd;
	assert_int_equal(
		setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &tos, sizeof(tos)),
		0);
	assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, &ttl,
				    sizeof(ttl)),
			 0);
	return fd;
}

static void expect_header(struct ug_socket *peer, size_t n, uint8_t tos,
			  uint8_t ttl)
{
	struct ug_received info;

	for (; n; n--) {
		assert_int_equal(
			ug_receive(rcv, peer, AF_UNSPEC, views, 1, 2000), 1);
		assert_int_equal(views[0].tos, tos);
		assert_int_equal(
			ug_receiver_info(rcv, views, &info, sizeof(info)), 0);
		assert_int_equal(info.ttl, ttl);
	}
}

/* TOS 0 leaves the TOS of a descriptor; with the option it clears it. The TTL that is
 * set stays. */
static void tos_of_zero(void **state)
{
	static const struct {
		int family;
		const char *host;
	} ways[] = {
		{ AF_INET, "127.0.0.1" },
		{ AF_INET6, "[::1]" },
		/* IPv4 on an IPv6 socket. */
		{ AF_INET6, "127.0.0.1" },
	};
	struct ug_options tell = {
		.size = sizeof(tell),
		.want = UG_WANT_TTL,
	};
	static unsigned char bytes[2500];
	struct iovec iov = { bytes, sizeof(bytes) };

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(ways); i++) {
		int fd = marked_descriptor(ways[i / 2].family);
		struct ug_options opt = {
			.size = sizeof(opt),
			.clear_tos = i % 2,
		};
		bool v4 = ways[i / 2].family == AF_INET;
		uint8_t own = opt.clear_tos ? 0 : 0x28;
		struct ug_socket *sock, *peer = opened(&tell);
		struct ug_endpoint to = at(ways[i / 2].host, ug_port(peer));
		struct ug_train train = {
			.to = &to,
			.iov = &iov,
			.n_iov = 1,
			.segment_len = 1000,
		};

		assert_int_equal(ug_open_fds(&sock, v4 ? fd : -1, v4 ? -1 : fd,
					     &opt, NULL),
				 0);
		assert_int_equal(send_tos(sock, &to, 0), UG_SENT);
		expect_header(peer, 2, own, 33);
		assert_int_equal(send_tos(sock, &to, 0xb8), UG_SENT);
		expect_header(peer, 2, 0xb8, 33);
		assert_int_equal(ug_send_trains(sock, batch, &train,
						sizeof(train), 1, 0),
				 3);
		expect_header(peer, 3, own, 33);
		train.ttl = 7;
		assert_int_equal(ug_send_trains(sock, batch, &train,
						sizeof(train), 1, 0),
				 3);
		expect_header(peer, 3, own, 7);
		ug_close(sock);
		ug_close(peer);
	}
}

/* ------------------------------------------------------------------- EPERM */

/* A rule that refuses every other packet, the first one, too. */
static void refused_by_chance(void **state)
{
	static const char *const hosts[] = { "127.0.0.1", "[::1]" };

	(void)state;
	if (system("nft -f - 2>/dev/null <<'END'\n"
		   "table inet chance { chain out {\n"
		   "type filter hook output priority 0;\n"
		   "meta l4proto udp numgen inc mod 2 0 drop\n"
		   "}\n}\nEND\n")) {
		print_message("# no nft, or no numgen\n");
		skip();
	}
	for (size_t i = 0; i < 2 * ARRAY_LEN(hosts); i++) {
		struct ug_options opt = {
			.size = sizeof(opt),
			.retry_eperm = i % 2,
		};
		struct ug_socket *sock = opened(&opt), *peer = opened(NULL);
		struct ug_endpoint to = at(hosts[i / 2], ug_port(peer));
		size_t n_failed = 0;

		for (int k = 0; k < 20; k++) {
			int status = send_text(sock, &to, "one", 1);

			if (status == UG_SENT)
				expect_text(peer, "one", 1);
			else
				assert_int_equal(status, -EPERM);
			n_failed += status != UG_SENT;
		}
		assert_int_equal(n_failed, opt.retry_eperm ? 0 : 10);
		ug_close(sock);
		ug_close(peer);
	}
	assert_int_equal(system("nft delete table inet chance"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answer_by_uplink),
		cmocka_unit_test(metric_of_ipv6),
		cmocka_unit_test(filter_of_the_way_back),
		cmocka_unit_test(pinned_interface),
		cmocka_unit_test(uplink_gone),
		cmocka_unit_test(over_loopback),
		cmocka_unit_test(asked_by_group),
		cmocka_unit_test(tos_of_zero),
		cmocka_unit_test(refused_by_chance),
	};

	netns_require();
	return cmocka_run_group_tests(tests, setup, teardown);
}
