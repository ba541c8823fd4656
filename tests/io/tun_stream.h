/* SPDX-License-Identifier: MIT */
/*
 * Streams and datagrams between sockets at the two ends of tun_pair.h.
 */
#ifndef TESTS_IO_TUN_STREAM_H
#define TESTS_IO_TUN_STREAM_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include "tun_pair.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

/* Bytes of a stream, seconds of a test, a port, bytes of a segment: choices. */
#define TCP_BYTES (4 << 20)
#define DEADLINE  20.0
#define PORT	  4433
#define SEGMENT	  1200

static uint8_t data[1 << 20];

/* The networks whose addresses 1 and 2 the ends have. */
static uint32_t stream_net4 = 0x0a4d0000;
static const char *stream_net6 = "fd77";

/* An address of an end, for either family. */
struct address {
	struct sockaddr_storage sa;
	socklen_t len;
};

static inline struct address address_of(int end, int family)
{
	struct address a = { 0 };
	struct sockaddr_in *in = (void *)&a.sa;
	struct sockaddr_in6 *in6 = (void *)&a.sa;
	char text[32];

	if (family == AF_INET) {
		in->sin_family = AF_INET;
		in->sin_port = htons(PORT);
		in->sin_addr.s_addr =
			htonl(stream_net4 + 1U + (unsigned int)end);
		a.len = sizeof(*in);
		return a;
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(PORT);
	snprintf(text, sizeof(text), "%s::%d", stream_net6, end + 1);
	inet_pton(AF_INET6, text, &in6->sin6_addr);
	a.len = sizeof(*in6);
	return a;
}

static inline int make_socket(int end, int family, int type)
{
	int fd;

	assert_int_equal(netns_enter(ends[end].ns), 0);
	fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(netns_enter(home), 0);
	return fd;
}

/**
 * connect_tcp() - connect the ends
 * @family:	address family
 * @fds:	receives a socket at each end
 */
static inline void connect_tcp(int family, int fds[2])
{
	struct address to = address_of(1, family);
	int listener = make_socket(1, family, SOCK_STREAM), on = 1;
	double deadline = seconds_now() + DEADLINE;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	assert_int_equal(bind(listener, (void *)&to.sa, to.len), 0);
	assert_int_equal(listen(listener, 1), 0);
	fds[0] = make_socket(0, family, SOCK_STREAM);
	connect(fds[0], (void *)&to.sa, to.len);
	do {
		pair_run();
		fds[1] = accept4(listener, NULL, NULL,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);
	} while (fds[1] < 0 && seconds_now() < deadline);
	assert_true(fds[1] >= 0);
	close(listener);
}

/*
 * Write the stream's bytes from an offset; each offset has its own pattern, so
 * a displaced byte is found.
 */
static inline void fill_stream(uint8_t *dst, size_t off, size_t len)
{
	for (size_t i = 0; i < len; i++)
		dst[i] = data[(off + i) * 31 % sizeof(data)];
}

/**
 * exchange_tcp() - send TCP_BYTES both ways and compare
 * @fds:	connected sockets
 */
static inline void exchange_tcp(const int fds[2])
{
	static uint8_t buf[65536], want[65536];
	size_t sent[2] = { 0 }, got[2] = { 0 };
	double deadline = seconds_now() + DEADLINE;

	while (got[0] < TCP_BYTES || got[1] < TCP_BYTES) {
		for (int i = 0; i < 2; i++) {
			size_t len = size_min(sizeof(buf), TCP_BYTES - sent[i]);
			ssize_t n;

			fill_stream(buf, sent[i], len);
			n = len ? send(fds[i], buf, len, MSG_NOSIGNAL) : 0;
			if (n > 0)
				sent[i] += (size_t)n;
			while ((n = recv(fds[i], buf, sizeof(buf), 0)) > 0) {
				fill_stream(want, got[i], (size_t)n);
				assert_memory_equal(buf, want, (size_t)n);
				got[i] += (size_t)n;
			}
			assert_true(n < 0 && errno == EAGAIN);
		}
		pair_run();
		if (seconds_now() > deadline)
			fail_msg("%zu and %zu bytes came", got[0], got[1]);
	}
}

static inline void run_tcp(int family)
{
	int fds[2];

	connect_tcp(family, fds);
	exchange_tcp(fds);
	close(fds[0]);
	close(fds[1]);
	pair_settle();
}

/**
 * open_udp() - a sender at the first end, a receiver at the second
 * @family:	address family
 * @fds:	receives both, connected
 */
static inline void open_udp(int family, int fds[2])
{
	struct address to = address_of(1, family);
	int on = 1, len = 4 << 20;

	fds[0] = make_socket(0, family, SOCK_DGRAM);
	fds[1] = make_socket(1, family, SOCK_DGRAM);
	assert_int_equal(bind(fds[1], (void *)&to.sa, to.len), 0);
	assert_int_equal(connect(fds[0], (void *)&to.sa, to.len), 0);
	setsockopt(fds[1], SOL_SOCKET, SO_RCVBUFFORCE, &len, sizeof(len));
	setsockopt(fds[1], IPPROTO_UDP, UDP_GRO, &on, sizeof(on));
}

/**
 * receive_udp() - take a datagram or a train
 * @fd:		socket
 * @buf:	65536 bytes
 * @size:	receives the segment size, 0 for a single datagram
 */
static inline ssize_t receive_udp(int fd, uint8_t *buf, int *size)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { buf, 65536 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	ssize_t n = recvmsg(fd, &msg, 0);
	struct cmsghdr *cmsg = n < 0 ? NULL : CMSG_FIRSTHDR(&msg);

	*size = 0;
	if (cmsg && cmsg->cmsg_type == UDP_GRO)
		memcpy(size, CMSG_DATA(cmsg), sizeof(*size));
	return n;
}

/**
 * receive_all() - pump, and compare the bytes of all datagrams
 * @fd:		socket
 * @total:	bytes to come
 *
 * Return: the number of trains received.
 */
static inline unsigned int receive_all(int fd, size_t total)
{
	static uint8_t buf[65536], want[65536];
	double deadline = seconds_now() + DEADLINE;
	unsigned int trains = 0;
	size_t got = 0;
	ssize_t n;
	int size;

	while (got < total) {
		pair_run();
		while ((n = receive_udp(fd, buf, &size)) >= 0) {
			fill_stream(want, got, (size_t)n);
			assert_memory_equal(buf, want, (size_t)n);
			got += (size_t)n;
			trains += size > 0 && n > size;
		}
		assert_int_equal(errno, EAGAIN);
		if (seconds_now() > deadline)
			fail_msg("%zu of %zu bytes came", got, total);
	}
	assert_int_equal(got, total);
	return trains;
}

static inline void set_segment(int fd, int size)
{
	assert_int_equal(
		setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)),
		0);
}

/**
 * stream_init() - make the bytes that are sent
 */
static inline void stream_init(void)
{
	struct random r;

	random_init(&r, 20261122);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)random_next(&r);
}

#endif /* TESTS_IO_TUN_STREAM_H */
