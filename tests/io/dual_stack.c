/* SPDX-License-Identifier: MIT */
/* An IPv6 socket that carries IPv4, too: see ug_open_fds(). */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/bytes.h"
#include "tests/io/talk.h"
#include "tests/lib/check.h"

/* One IPv6 socket serves both families, IPv4 by mapped addresses. */
static void dual_stack_descriptor(void **state)
{
	struct ug_options opt = {
		.size = sizeof(opt),
		.pmtu4 = UG_PMTU_PROBE,
		.pmtu6 = UG_PMTU_DO,
	};
	struct ug_socket *sock, *peer = opened(NULL);
	int fd = udp_socket(AF_INET6, false), value = 1;
	socklen_t len = sizeof(value);
	struct ug_endpoint to;

	(void)state;
	setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &value, sizeof(value));
	assert_int_equal(ug_open_fds(&sock, -1, fd, &opt, NULL), 0);
	getsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &value, &len);
	assert_int_equal(value, IP_PMTUDISC_PROBE);
	getsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &value, &len);
	assert_int_equal(value, IPV6_PMTUDISC_DO);
	to = at("127.0.0.1", ug_port(sock));
	assert_int_equal(send_text(peer, &to, "mapped", 2), UG_SENT);
	expect_text(sock, "mapped", 2);
	to = *views[0].from;
	assert_int_equal(to.addr.any.sa_family, AF_INET);
	assert_memory_equal(to.source.addr, "\x7f\0\0\1", 4);
	assert_int_equal(send_text(sock, &to, "back", 4), UG_SENT);
	expect_text(peer, "back", 4);
	/* The TOS arrives in the IPv4 or IPv6 header. */
	assert_int_equal(send_tos(sock, &to, 0xb8), UG_SENT);
	expect_text(peer, "tos", 2);
	assert_int_equal(views[0].tos, 0xb8);
	to = at("127.0.0.1", ug_port(sock));
	assert_int_equal(send_tos(peer, &to, 0x2c), UG_SENT);
	expect_text(sock, "tos", 2);
	assert_int_equal(views[0].tos, 0x2c);
	assert_null(ug_refused_source(batch));
	to = at("[::1]", ug_port(sock));
	assert_int_equal(send_tos(peer, &to, 0x4c), UG_SENT);
	expect_text(sock, "tos", 2);
	assert_int_equal(views[0].tos, 0x4c);
	to = *views[0].from;
	assert_int_equal(send_tos(sock, &to, 0x6c), UG_SENT);
	expect_text(peer, "tos", 2);
	assert_int_equal(views[0].tos, 0x6c);
	ug_close(sock);
	ug_close(peer);
}

static struct ug_socket *opened_dual(void)
{
	struct ug_socket *sock;

	assert_int_equal(
		ug_open_fds(&sock, -1, udp_socket(AF_INET6, false), NULL, NULL),
		0);
	return sock;
}

/* An IPv4 peer of a dual-stack socket has one form, whatever it was made from. */
static void one_form_of_an_address(void **state)
{
	struct ug_socket *sock = opened_dual(), *peer = opened(NULL);
	struct ug_endpoint to = at("127.0.0.1", ug_port(sock)), from, same;
	char text[UG_ENDPOINT_TEXT], wanted[UG_ENDPOINT_TEXT];

	(void)state;
	assert_int_equal(send_text(peer, &to, "hello", 1), UG_SENT);
	expect_text(sock, "hello", 1);
	from = *views[0].from;
	/* A view's own socket address, as programs keep it. */
	assert_int_equal(
		ug_endpoint_set(&same, &from.addr.any, sizeof(from.addr)), 0);
	assert_int_equal(ug_endpoint_compare(&from, &same), 0);
	assert_int_equal(ug_endpoint_hash(&from, 1),
			 ug_endpoint_hash(&same, 1));
	assert_int_equal(send_text(sock, &same, "set", 3), UG_SENT);
	expect_text(peer, "set", 3);
	/* As text. */
	snprintf(wanted, sizeof(wanted), "127.0.0.1:%u", ug_port(peer));
	assert_true(ug_endpoint_print(&from, text, sizeof(text)) > 0);
	assert_string_equal(text, wanted);
	assert_int_equal(ug_endpoint_parse(&same, text), 0);
	assert_int_equal(ug_endpoint_compare(&from, &same), 0);
	assert_int_equal(ug_endpoint_set_source(&same, &from), 0);
	assert_int_equal(send_text(sock, &same, "parsed", 3), UG_SENT);
	expect_text(peer, "parsed", 3);
	/* In the mapped form, made by hand. */
	struct ug_endpoint mapped = { .addr.v6 = {
					      .sin6_family = AF_INET6,
					      .sin6_port = htons(ug_port(peer)),
					      .sin6_addr
						      .s6_addr = { [10] = 0xff,
								   0xff,
								   127,
								   0,
								   0,
								   1 },
				      } };

	assert_int_equal(send_text(sock, &mapped, "mapped", 3), UG_SENT);
	expect_text(peer, "mapped", 3);
	/* Both families have one descriptor. */
	assert_int_equal(ug_fd(sock, AF_INET), ug_fd(sock, AF_INET6));
	assert_int_equal(ug_get_segments(sock, AF_INET, NULL),
			 ug_get_segments(sock, AF_INET6, NULL));
	assert_int_equal(send_text(peer, &to, "family", 1), UG_SENT);
	assert_int_equal(ug_receive(rcv, sock, AF_INET, views, 1, 2000), 1);
	ug_close(sock);
	ug_close(peer);
}

/* The source of an answer to a multicast datagram is our address, not the group. */
static void dual_stack_multicast(void **state)
{
	struct ug_socket *sock = opened_dual(), *peer = opened(NULL);
	struct ip_mreq group = { 0 };
	struct ug_endpoint to = at("239.1.2.3", ug_port(sock)), from;

	(void)state;
	inet_pton(AF_INET, "239.1.2.3", &group.imr_multiaddr);
	inet_pton(AF_INET, "127.0.0.1", &group.imr_interface);
	assert_int_equal(setsockopt(ug_fd(sock, AF_INET), IPPROTO_IP,
				    IP_ADD_MEMBERSHIP, &group, sizeof(group)),
			 0);
	assert_int_equal(setsockopt(ug_fd(peer, AF_INET), IPPROTO_IP,
				    IP_MULTICAST_IF, &group.imr_interface,
				    sizeof(group.imr_interface)),
			 0);
	assert_int_equal(send_text(peer, &to, "group", 1), UG_SENT);
	expect_text(sock, "group", 1);
	from = *views[0].from;
	assert_memory_equal(from.source.addr, "\x7f\0\0\1", 4);
	assert_int_equal(send_text(sock, &from, "answer", 1), UG_SENT);
	expect_text(peer, "answer", 1);
	assert_null(ug_refused_source(batch));
	ug_close(sock);
	ug_close(peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dual_stack_descriptor),
		cmocka_unit_test(one_form_of_an_address),
		cmocka_unit_test(dual_stack_multicast),
	};

	return cmocka_run_group_tests(tests, talk_setup, talk_teardown);
}
