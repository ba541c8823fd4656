/* SPDX-License-Identifier: MIT */
/*
 * ug_send_trains() and the copying of short vectors over real sockets, in both
 * families: every byte arrives, with TOS and TTL; pacing options are accepted.
 */
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/lib/check.h"
#include "udpgather.h"

enum {
	LEN = 40000, /* bytes of a train */
	MOST = 64,   /* datagrams of a train */
	VECTORS = 700,
	WAIT_MS =
		5000, /* far above what loopback needs, also on a busy machine */
};

static const char *const hosts[] = { "127.0.0.1", "[::1]" };
static unsigned char payload[2 * LEN + VECTORS];
static struct iovec iov[VECTORS];
static struct ug_batch *batch;
static struct ug_receiver *rcv;

static struct ug_socket *opened(const struct ug_options *opt)
{
	struct ug_socket *sock;

	assert_int_equal(ug_open(&sock, opt, NULL), 0);
	return sock;
}

static struct ug_endpoint at(const char *host, const struct ug_socket *sock)
{
	char text[UG_ENDPOINT_TEXT];
	struct ug_endpoint ep;

	snprintf(text, sizeof(text), "%s:%u", host, ug_port(sock));
	assert_int_equal(ug_endpoint_parse(&ep, text), 0);
	return ep;
}

/* Byte @i of a train. */
static unsigned char byte_at(size_t i)
{
	return (unsigned char)(i * 7 + i / 251);
}

/* Write a train in vectors of @part bytes, each apart from the next. Return: how
 * many. */
static uint32_t scatter(size_t len, size_t part)
{
	unsigned char *at = payload;
	uint32_t n = 0;

	for (size_t off = 0; off < len; n++) {
		size_t this = size_min(part, len - off);

		assert_true(n < VECTORS);
		iov[n] = (struct iovec){ at, this };
		for (size_t i = 0; i < this; i++)
			*at++ = byte_at(off++);
		at++;
	}
	return n;
}

/* Expect datagrams of @segment_len bytes, @len in all, with this TOS. */
static void expect(struct ug_socket *sock, size_t len, size_t segment_len,
		   uint8_t tos)
{
	struct ug_view view;

	for (size_t off = 0; off < len;) {
		int r = ug_receive(rcv, sock, AF_UNSPEC, &view, 1, WAIT_MS);

		assert_int_equal(r, 1);
		assert_int_equal(view.len, size_min(segment_len, len - off));
		assert_int_equal(view.tos, tos);
		for (size_t i = 0; i < view.len; i++)
			assert_int_equal(((unsigned char *)view.data)[i],
					 byte_at(off + i));
		off += view.len;
	}
}

/* Vectors of many lengths, for trains of many segment sizes. */
static void bytes_arrive(void **state)
{
	static const size_t parts[] = { LEN, 10000, 1201, 700, 60 };
	static const size_t segments[] = { 640, 1000, 1333, 20001 };
	struct ug_socket *a = opened(NULL), *b = opened(NULL);

	(void)state;
	for (size_t h = 0; h < ARRAY_LEN(hosts); h++) {
		struct ug_endpoint to = at(hosts[h], b);

		for (size_t p = 0; p < ARRAY_LEN(parts); p++)
			for (size_t s = 0; s < ARRAY_LEN(segments); s++) {
				struct ug_train train = {
					.to = &to,
					.iov = iov,
					.n_iov = scatter(LEN, parts[p]),
					.segment_len = (uint16_t)segments[s],
					.tos = (uint8_t)(4 * p),
				};
				size_t cnt =
					(LEN + segments[s] - 1) / segments[s];

				assert_int_equal(ug_send_trains(a, batch,
								&train,
								sizeof(train),
								1, WAIT_MS),
						 cnt);
				assert_int_equal(train.status, UG_SENT);
				assert_int_equal(train.n_sent, cnt);
				expect(b, LEN, segments[s], train.tos);
			}
	}
	ug_close(a);
	ug_close(b);
}

/* A plain socket that is told the TTL of what it receives. */
static int plain_socket(int family, struct ug_endpoint *ep)
{
	bool v4 = family == AF_INET;
	socklen_t len = v4 ? sizeof(ep->addr.v4) : sizeof(ep->addr.v6);
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0), on = 1;
	struct timeval wait = { .tv_sec = WAIT_MS / 1000 };

	memset(ep, 0, sizeof(*ep));
	ep->addr.any.sa_family = (sa_family_t)family;
	if (v4)
		ep->addr.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		ep->addr.v6.sin6_addr = in6addr_loopback;
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, &ep->addr.any, len), 0);
	assert_int_equal(getsockname(fd, &ep->addr.any, &len), 0);
	assert_int_equal(setsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6,
				    v4 ? IP_RECVTTL : IPV6_RECVHOPLIMIT, &on,
				    sizeof(on)),
			 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	return fd;
}

/* Return: the TTL of the next datagram. */
static int receive_ttl(int fd)
{
	_Alignas(struct cmsghdr) char control[256];
	char byte[100];
	struct iovec v = { byte, sizeof(byte) };
	struct msghdr h = {
		.msg_iov = &v,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	int ttl = -1;

	assert_true(recvmsg(fd, &h, 0) > 0);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c))
		if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL) ||
		    (c->cmsg_level == IPPROTO_IPV6 &&
		     c->cmsg_type == IPV6_HOPLIMIT))
			memcpy(&ttl, CMSG_DATA(c), sizeof(ttl));
	return ttl;
}

static void ttl_arrives(void **state)
{
	static const int families[] = { AF_INET, AF_INET6 };
	struct ug_socket *a = opened(NULL);

	(void)state;
	for (size_t f = 0; f < ARRAY_LEN(families); f++) {
		struct ug_endpoint to;
		int fd = plain_socket(families[f], &to);
		struct ug_train train = {
			.to = &to,
			.iov = iov,
			.n_iov = scatter(150, 1000),
			.segment_len = 50,
			.ttl = 7,
		};

		assert_int_equal(ug_send_trains(a, batch, &train, sizeof(train),
						1, WAIT_MS),
				 3);
		for (int i = 0; i < 3; i++)
			assert_int_equal(receive_ttl(fd), 7);
		train.ttl = 0;
		ug_send_trains(a, batch, &train, sizeof(train), 1, WAIT_MS);
		assert_int_not_equal(receive_ttl(fd), 7);
		close(fd);
	}
	ug_close(a);
}

/*
 * The kernel takes pacing options and times also if no qdisc heeds them. A time that
 * is over is no error.
 */
static void pacing_options(void **state)
{
	static const enum ug_clock clocks[] = { UG_CLOCK_MONOTONIC,
						UG_CLOCK_TAI };
	struct ug_socket *b = opened(NULL);

	(void)state;
	for (size_t c = 0; c < ARRAY_LEN(clocks); c++) {
		struct ug_options opt = {
			.size = sizeof(opt),
			.max_pacing_rate = UINT64_C(1) << 40,
			.txtime_clock = clocks[c],
		};
		struct ug_socket *a = opened(&opt);

		for (size_t h = 0; h < ARRAY_LEN(hosts); h++) {
			struct ug_endpoint to = at(hosts[h], b);
			struct ug_train train = {
				.to = &to,
				.iov = iov,
				.n_iov = scatter(3000, 5000),
				.segment_len = 1000,
				.time_ns = 1,
			};

			assert_int_equal(ug_send_trains(a, batch, &train,
							sizeof(train), 1,
							WAIT_MS),
					 3);
			expect(b, 3000, 1000, 0);
		}
		ug_close(a);
	}
	ug_close(b);
}

/* The same vectors through ug_send(): copied and gathered. */
static void short_vectors(void **state)
{
	static const size_t limits[] = { 0, 1, 10000 };
	struct ug_socket *b = opened(NULL);

	(void)state;
	for (size_t l = 0; l < ARRAY_LEN(limits); l++) {
		struct ug_options opt = {
			.size = sizeof(opt),
			.copy_below = limits[l],
		};
		struct ug_socket *a = opened(&opt);

		for (size_t h = 0; h < ARRAY_LEN(hosts); h++) {
			struct ug_endpoint to = at(hosts[h], b);
			struct ug_datagram d[MOST];
			int status[MOST];

			/* Datagrams of 600 bytes in vectors of 60. */
			scatter(LEN, 60);
			for (size_t i = 0; i < MOST; i++)
				d[i] = (struct ug_datagram){
					.iov = &iov[i * 10],
					.n_iov = 10,
				};
			assert_int_equal(ug_send(a, batch, &to, d, MOST, status,
						 WAIT_MS),
					 MOST);
			expect(b, MOST * 600, 600, 0);
		}
		ug_close(a);
	}
	ug_close(b);
}

static int set_up(void **state)
{
	(void)state;
	return ug_batch_new(&batch, 128) || ug_receiver_new(&rcv, 64);
}

static int tear_down(void **state)
{
	(void)state;
	ug_batch_free(batch);
	ug_receiver_free(rcv);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_arrive),
		cmocka_unit_test(ttl_arrives),
		cmocka_unit_test(pacing_options),
		cmocka_unit_test(short_vectors),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
