/* SPDX-License-Identifier: MIT */
#include "tests/io/talk.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/bytes.h"
#include "tests/lib/check.h"

struct ug_batch *batch;
struct ug_receiver *rcv;
struct ug_view views[64];
int send_timeout_ms;

struct ug_endpoint at(const char *host, uint16_t port)
{
	char text[UG_ENDPOINT_TEXT];
	struct ug_endpoint ep;

	snprintf(text, sizeof(text), "%s:%u", host, port);
	assert_int_equal(ug_endpoint_parse(&ep, text), 0);
	return ep;
}

struct ug_socket *opened(const struct ug_options *opt)
{
	struct ug_report report = { .size = sizeof(report) };
	struct ug_socket *sock;

	assert_int_equal(ug_open(&sock, opt, &report), 0);
	assert_int_equal(report.port, ug_port(sock));
	return sock;
}

int udp_socket(int family, bool v6only)
{
	int fd = socket(family, SOCK_DGRAM, 0), one = v6only;
	struct ug_endpoint any = { 0 };

	any.addr.any.sa_family = (sa_family_t)family;
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	assert_int_equal(bind(fd, &any.addr.any, sizeof(any.addr)), 0);
	return fd;
}

int send_text(struct ug_socket *sock, const struct ug_endpoint *to,
	      const char *text, size_t n)
{
	struct iovec iov = { unconst(text), strlen(text) };
	struct ug_datagram d[64] = { 0 };
	int status[64];

	assert_true(n >= 1 && n <= ARRAY_LEN(d));
	for (size_t i = 0; i < n; i++)
		d[i] = (struct ug_datagram){ .iov = &iov, .n_iov = 1 };
	ug_send(sock, batch, to, d, n, status, send_timeout_ms);
	for (size_t i = 1; i < n; i++)
		assert_int_equal(status[i], status[0]);
	return status[0];
}

int send_tos(struct ug_socket *sock, const struct ug_endpoint *to, uint8_t tos)
{
	struct iovec iov = { unconst("tos"), 3 };
	struct ug_datagram d[2];
	int status[2];

	d[0] = d[1] = (struct ug_datagram){
		.iov = &iov,
		.n_iov = 1,
		.tos = tos,
	};
	ug_send(sock, batch, to, d, 2, status, send_timeout_ms);
	assert_int_equal(status[0], status[1]);
	return status[0];
}

void expect_text(struct ug_socket *sock, const char *text, size_t n)
{
	while (n) {
		int r = ug_receive(rcv, sock, AF_UNSPEC, views, 1, 2000);

		assert_int_equal(r, 1);
		assert_int_equal(views[0].len, strlen(text));
		assert_memory_equal(views[0].data, text, strlen(text));
		n--;
	}
}

int talk_setup(void **state)
{
	(void)state;
	return ug_batch_new(&batch, 64) < 0 || ug_receiver_new(&rcv, 16) < 0
		       ? -1
		       : 0;
}

int talk_teardown(void **state)
{
	(void)state;
	ug_batch_free(batch);
	ug_receiver_free(rcv);
	return 0;
}
