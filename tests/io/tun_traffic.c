/* SPDX-License-Identifier: MIT */
/*
 * Real connections through two real TUN devices. Every byte arrives with all
 * combinations of features, even if the kernel refuses merged packets.
 */
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

/* The address of an end, for either family. */
struct address {
	struct sockaddr_storage sa;
	socklen_t len;
};

static struct address address_of(int end, int family)
{
	struct address a = { 0 };
	struct sockaddr_in *in = (void *)&a.sa;
	struct sockaddr_in6 *in6 = (void *)&a.sa;

	if (family == AF_INET) {
		in->sin_family = AF_INET;
		in->sin_port = htons(PORT);
		in->sin_addr.s_addr = htonl(0x0a4d0001U + (unsigned int)end);
		a.len = sizeof(*in);
		return a;
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(PORT);
	inet_pton(AF_INET6, end ? "fd77::2" : "fd77::1", &in6->sin6_addr);
	a.len = sizeof(*in6);
	return a;
}

static int make_socket(int end, int family, int type)
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
static void connect_tcp(int family, int fds[2])
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
static void fill_stream(uint8_t *dst, size_t off, size_t len)
{
	for (size_t i = 0; i < len; i++)
		dst[i] = data[(off + i) * 31 % sizeof(data)];
}

/**
 * exchange_tcp() - send TCP_BYTES both ways and compare
 * @fds:	connected sockets
 */
static void exchange_tcp(const int fds[2])
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

static void run_tcp(int family)
{
	int fds[2];

	connect_tcp(family, fds);
	exchange_tcp(fds);
	close(fds[0]);
	close(fds[1]);
	pair_settle();
}

static struct tun_config default_config(void)
{
	return (struct tun_config){ .name = "tun%d",
				    .mtu = PAIR_MTU,
				    .txqlen = 1000 };
}

/*
 * Each feature and each kind of merging is switched off in turn. Then no
 * super-packet or merged packet of this kind may be seen.
 */
static void test_tcp(void **state)
{
	static const struct {
		const char *name;
		unsigned int features_off, kinds_off;
		bool supers, merges;
	} rows[] = {
		{ "all on", 0, 0, true, true },
		{ "no ecn", TUN_ECN, 0, true, true },
		{ "no uso", TUN_USO, 0, true, true },
		{ "no tso", TUN_TSO4 | TUN_TSO6, 0, false, true },
		{ "no csum", TUN_CSUM, 0, false, true },
		{ "no merging", 0, MERGE_ALL, true, false },
		{ "no header", TUN_VNET, 0, false, false },
	};

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
		struct tun_config config = default_config();
		size_t row = i / 2;

		config.features_off = rows[row].features_off;
		config.kinds_off = rows[row].kinds_off;
		pair_open(pair_sys(), &config);
		run_tcp(i & 1 ? AF_INET6 : AF_INET);
		for (int e = 0; e < 2; e++) {
			bool merges = ends[e].tun.written <
				      ends[!e].packets * 3UL / 4;

			if (rows[row].supers != (ends[e].supers > 0) ||
			    rows[row].merges != merges)
				print_error("%s: %u supers, %u packets, %llu "
					    "written\n",
					    rows[row].name, ends[e].supers,
					    ends[!e].packets,
					    (unsigned long long)ends[e]
						    .tun.written);
			assert_int_equal(ends[e].supers > 0, rows[row].supers);
			assert_int_equal(merges, rows[row].merges);
			assert_int_equal(ends[e].tun.refused, 0);
			assert_int_equal(ends[e].tun.dropped, 0);
		}
		pair_close();
	}
}

/* Switching a feature off for one family does not affect the other. */
static void test_tcp_one_family_off(void **state)
{
	(void)state;
	for (int off = 0; off < 2; off++) {
		struct tun_config config = default_config();

		config.features_off = off ? TUN_TSO6 : TUN_TSO4;
		config.kinds_off = MERGE_BIT(off ? MERGE_TCP6 : MERGE_TCP4);
		pair_open(pair_sys(), &config);
		run_tcp(off ? AF_INET6 : AF_INET);
		assert_int_equal(ends[0].supers + ends[1].supers, 0);
		assert_true(ends[0].tun.written >= ends[1].packets);
		run_tcp(off ? AF_INET : AF_INET6);
		assert_true(ends[0].supers > 0);
		pair_close();
	}
}

/* A kernel that refuses all merged packets, or some of them. */
static unsigned int refuse_every, merged_writes;

static ssize_t refusing_writev(int fd, const struct iovec *iov, int cnt)
{
	if (cnt > 1 && merged_writes++ % refuse_every == 0) {
		errno = EINVAL;
		return -1;
	}
	return writev(fd, iov, cnt);
}

static void test_refused(void **state)
{
	struct tun_config config = default_config();
	struct tun_sys sys = *pair_sys();
	unsigned int kinds = kernel_kinds();

	(void)state;
	sys.writev = refusing_writev;
	for (int i = 0; i < 4; i++) {
		merged_writes = 0;
		refuse_every = i < 2 ? 1 : 50;
		pair_open(&sys, &config);
		run_tcp(i & 1 ? AF_INET6 : AF_INET);
		assert_int_equal(ends[0].tun.dropped, 0);
		assert_int_equal(ends[1].tun.dropped, 0);
		assert_true(ends[1].tun.refused > 0);
		if (refuse_every == 1)
			assert_int_equal(ends[1].tun.kinds,
					 kinds & ~MERGE_BIT(i & 1));
		pair_close();
	}
}

/**
 * open_udp() - a sender at the first end, a receiver at the second
 * @family:	address family
 * @fds:	receives both, connected
 */
static void open_udp(int family, int fds[2])
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
static ssize_t receive_udp(int fd, uint8_t *buf, int *size)
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
static unsigned int receive_all(int fd, size_t total)
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

static void set_segment(int fd, int size)
{
	assert_int_equal(
		setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)),
		0);
}

/*
 * Sends a train, or its datagrams one by one. Older kernels refuse a train if
 * the device makes no checksums, as a TUN device without the header.
 */
static void send_train(int fd, const uint8_t *bytes, size_t len)
{
	ssize_t n;

	set_segment(fd, SEGMENT);
	n = send(fd, bytes, len, 0);
	if (n >= 0) {
		assert_int_equal(n, len);
		return;
	}
	assert_int_equal(errno, EIO);
	assert_int_equal(ends[0].tun.features & TUN_CSUM, 0);
	set_segment(fd, 0);
	for (size_t off = 0; off < len; off += SEGMENT)
		assert_true(send(fd, bytes + off, size_min(len - off, SEGMENT),
				 0) > 0);
}

/* Trains of UDP_SEGMENT arrive as trains, or as datagrams if USO is off. */
static void test_udp_trains(void **state)
{
	static const struct {
		const char *name;
		unsigned int features_off, kinds_off;
		bool supers, trains;
	} rows[] = {
		{ "all on", 0, 0, true, true },
		{ "no uso", TUN_USO, 0, false, true },
		{ "no merging", 0, MERGE_ALL, true, false },
		{ "no header", TUN_VNET, 0, false, false },
	};
	static uint8_t buf[65536];
	bool has_uso = kernel_has_uso();

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
		struct tun_config config = default_config();
		size_t row = i / 2, total = 0;
		unsigned int trains;
		int fds[2];

		config.features_off = rows[row].features_off;
		config.kinds_off = rows[row].kinds_off;
		pair_open(pair_sys(), &config);
		open_udp(i & 1 ? AF_INET6 : AF_INET, fds);
		for (size_t k = 1; k <= 40; k++) {
			/* A train of 1 to 40 full segments and a shorter
			 * one. */
			size_t len = k * SEGMENT + k * 7 % SEGMENT;

			fill_stream(buf, total, len);
			send_train(fds[0], buf, len);
			total += len;
			if (k % 8 == 0)
				pair_pump(&ends[0], &ends[1]);
		}
		trains = receive_all(fds[1], total);
		assert_int_equal(ends[0].supers > 0,
				 rows[row].supers && has_uso);
		assert_int_equal(trains > 0, rows[row].trains && has_uso);
		assert_int_equal(ends[1].tun.refused, 0);
		close(fds[0]);
		close(fds[1]);
		pair_close();
	}
}

/* Sizes 100, 0, 100: a datagram without payload stays in its place. */
static void test_udp_order(void **state)
{
	struct tun_config config = default_config();
	static const size_t sizes[] = { 100, 0, 100, 100, 50, 0, 0, 1, 1200 };
	static uint8_t buf[65536], in[1200];
	int fds[2], size;

	(void)state;
	for (int family = AF_INET; family <= AF_INET6;
	     family += AF_INET6 - AF_INET) {
		pair_open(pair_sys(), &config);
		open_udp(family, fds);
		close(fds[1]);
		fds[1] = make_socket(1, family, SOCK_DGRAM);
		{
			struct address to = address_of(1, family);

			assert_int_equal(bind(fds[1], (void *)&to.sa, to.len),
					 0);
		}
		for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
			assert_int_equal(send(fds[0], in, sizes[i], 0),
					 sizes[i]);
		pair_settle();
		for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
			assert_int_equal(receive_udp(fds[1], buf, &size),
					 sizes[i]);
		assert_int_equal(receive_udp(fds[1], buf, &size), -1);
		close(fds[0]);
		close(fds[1]);
		pair_close();
	}
}

/*
 * Datagrams without a checksum are merged like others. If the kernel takes no
 * merged datagrams, they are written as they came.
 */
static void test_udp_without_checksum(void **state)
{
	struct tun_config config = default_config();
	static uint8_t buf[1000];
	unsigned int trains;
	int fds[2], on = 1;
	size_t total = 0;

	(void)state;
	pair_open(pair_sys(), &config);
	open_udp(AF_INET, fds);
	assert_int_equal(
		setsockopt(fds[0], SOL_SOCKET, SO_NO_CHECK, &on, sizeof(on)),
		0);
	for (int i = 0; i < 50; i++) {
		fill_stream(buf, total, sizeof(buf));
		assert_int_equal(send(fds[0], buf, sizeof(buf), 0),
				 sizeof(buf));
		total += sizeof(buf);
	}
	trains = receive_all(fds[1], total);
	assert_int_equal(ends[1].tun.refused, 0);
	if (kernel_kinds() & MERGE_BIT(MERGE_UDP4)) {
		assert_true(trains > 0);
		assert_true(ends[1].tun.written < ends[0].packets);
	} else {
		assert_int_equal(trains, 0);
		assert_int_equal(ends[1].tun.written, ends[0].packets);
	}
	close(fds[0]);
	close(fds[1]);
	pair_close();
}

/*
 * A TCP connection with ECN uses super-packets. Only the first segment of a
 * super-packet has the flag CWR, and the connection does not stall.
 */
static void test_tcp_ecn(void **state)
{
	struct tun_config config = default_config();

	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(netns_enter(ends[i].ns), 0);
		assert_int_equal(netns_set("ipv4/tcp_ecn", "1"), 0);
	}
	assert_int_equal(netns_enter(home), 0);
	pair_open(pair_sys(), &config);
	run_tcp(AF_INET);
	run_tcp(AF_INET6);
	assert_int_equal(ends[0].tun.drops[VNET_DROP_TYPE], 0);
	pair_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tcp),
		cmocka_unit_test(test_tcp_one_family_off),
		cmocka_unit_test(test_tcp_ecn),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_udp_trains),
		cmocka_unit_test(test_udp_order),
		cmocka_unit_test(test_udp_without_checksum),
	};
	struct random r;

	netns_require();
	random_init(&r, 20261122);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)random_next(&r);
	return cmocka_run_group_tests_name("tun_traffic", tests, pair_make,
					   pair_free);
}
