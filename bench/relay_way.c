/* SPDX-License-Identifier: MIT */
/*
 * bench-relay-way single|copied|bare|bare-batch PORT - the relays that examples/relay.c
 * is compared with
 *
 * They forward as the example does: the first four bytes of a datagram are the number
 * of a flow, and its two ends are the first two endpoints that send with that number.
 * They have IPv4 only.
 *
 * "single" takes and sends one datagram with each system call, recvmsg(2) and
 * sendmsg(2).
 *
 * "copied" takes merged messages (UDP_GRO), copies the datagrams of a flow side by side
 * into one buffer, and sends that with UDP_SEGMENT.
 *
 * As the example does, both answer from the address that was asked, and hand the TOS on.
 * The next two do less: the kernel chooses the address that answers leave from, and the
 * TOS is lost.
 *
 * "bare" takes and sends one datagram with each system call, recvfrom(2) and sendto(2).
 *
 * "bare-batch" takes and sends many datagrams with each system call, recvmmsg(2) and
 * sendmmsg(2), and makes no trains. It shows what batches alone can save.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103 /* linux/udp.h, Linux 4.18 */
#endif
#ifndef UDP_GRO
#define UDP_GRO 104 /* linux/udp.h, Linux 5.0 */
#endif

enum {
	FLOWS = 1 << 16,
	NUMBER_LEN = 4,
	/* Bytes of socket buffer, as the library asks for. */
	BUFFER_LEN = 7 << 20,
	/* Messages that "copied" takes with one call: as many as the example. */
	SLOTS = 64,
	/* The other bytes keep two slots from using the same lines of the cache. */
	SLOT_LEN = 65536 + 128,
	/* Trains that "copied" makes of them. */
	TRAINS = 1024,
	MAX_SEGMENTS = 64, /* of Linux before 6.9 */
	MAX_TRAIN = 65507,
};

struct end {
	struct sockaddr_in addr;
	struct in_addr source; /* the local address that it sends to */
	size_t last; /* the number of the train that was begun last for it */
};

struct flow {
	struct end ends[2];
	int n_ends;
};

static struct flow flows[FLOWS];

static void fail(const char *what)
{
	fprintf(stderr, "bench-relay-way: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The other end of the flow of a datagram that came to @source, or NULL. */
static struct end *other_end(const unsigned char *data, size_t len,
			     const struct sockaddr_in *from,
			     struct in_addr source)
{
	uint32_t number;
	int i = 0;

	if (len < NUMBER_LEN)
		return NULL;
	number = (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 |
		 (uint32_t)data[2] << 8 | data[3];
	if (number >= FLOWS)
		return NULL;
	struct flow *f = &flows[number];

	while (i < f->n_ends &&
	       (f->ends[i].addr.sin_addr.s_addr != from->sin_addr.s_addr ||
		f->ends[i].addr.sin_port != from->sin_port))
		i++;
	if (i == 2)
		return NULL;
	if (i == f->n_ends) {
		f->ends[i].addr = *from;
		f->n_ends++;
	}
	f->ends[i].source = source;
	return f->n_ends == 2 ? &f->ends[!i] : NULL;
}

static int open_socket(uint16_t port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int len = BUFFER_LEN, probe = IP_PMTUDISC_PROBE;

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &probe, sizeof(probe)) <
		    0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &len, sizeof(len)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &len, sizeof(len)) < 0)
		fail("the port cannot be opened");
	return fd;
}

/* Control data of a message: local address, TOS, and segment size. */
union control {
	char buf[CMSG_SPACE(sizeof(struct in_pktinfo)) +
		 2 * CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

/* A slot, and a train. */
static struct {
	struct mmsghdr msgs[SLOTS];
	struct iovec iov[SLOTS];
	struct sockaddr_in from[SLOTS];
	union control control[SLOTS];
	unsigned char data[SLOTS][SLOT_LEN];
} in;

static struct {
	struct mmsghdr msgs[TRAINS];
	struct iovec iov[TRAINS];
	union control control[TRAINS];
	size_t segment_len[TRAINS];
	uint8_t tos[TRAINS];
	struct end *to[TRAINS];
	unsigned char data[TRAINS][SLOT_LEN];
	size_t n;
} out;

/* Prepare a slot to be filled: the kernel has overwritten the lengths. */
static void set_up_slot(size_t i)
{
	in.iov[i] = (struct iovec){ in.data[i], SLOT_LEN };
	in.msgs[i].msg_hdr = (struct msghdr){
		.msg_name = &in.from[i],
		.msg_namelen = sizeof(in.from[i]),
		.msg_iov = &in.iov[i],
		.msg_iovlen = 1,
		.msg_control = in.control[i].buf,
		.msg_controllen = sizeof(in.control[i].buf),
	};
}

/* Append a control message. */
static void append(struct msghdr *h, int level, int type, const void *data,
		   size_t len)
{
	struct cmsghdr head = { .cmsg_level = level,
				.cmsg_type = type,
				.cmsg_len = CMSG_LEN(len) };
	char *at = (char *)h->msg_control + h->msg_controllen;

	memcpy(at, &head, sizeof(head));
	memcpy(at + CMSG_LEN(0), data, len);
	h->msg_controllen += CMSG_SPACE(len);
}

static void write_message(size_t i)
{
	struct msghdr *h = &out.msgs[i].msg_hdr;
	struct in_pktinfo info = { .ipi_spec_dst = out.to[i]->source };
	uint16_t segment_len = (uint16_t)out.segment_len[i];
	int tos = out.tos[i];

	*h = (struct msghdr){ .msg_name = &out.to[i]->addr,
			      .msg_namelen = sizeof(out.to[i]->addr),
			      .msg_iov = &out.iov[i],
			      .msg_iovlen = 1,
			      .msg_control = out.control[i].buf };
	append(h, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	if (tos)
		append(h, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	if (out.iov[i].iov_len > segment_len)
		append(h, IPPROTO_UDP, UDP_SEGMENT, &segment_len,
		       sizeof(segment_len));
}

static void flush_trains(int fd)
{
	for (size_t i = 0; i < out.n; i++)
		write_message(i);
	for (size_t i = 0; i < out.n;) {
		int n = sendmmsg(fd, out.msgs + i, (unsigned int)(out.n - i),
				 0);

		if (n < 0)
			fail("sendmmsg");
		i += (size_t)n;
	}
	out.n = 0;
}

/* Copy a datagram behind what waits for its end, or begin a train. */
static void add_datagram(int fd, struct end *to, uint8_t tos,
			 const unsigned char *data, size_t len)
{
	size_t k = to->last;

	if (k >= out.n || out.to[k] != to || out.tos[k] != tos ||
	    len > out.segment_len[k] ||
	    out.iov[k].iov_len % out.segment_len[k] != 0 ||
	    out.iov[k].iov_len >= out.segment_len[k] * MAX_SEGMENTS ||
	    len > MAX_TRAIN - out.iov[k].iov_len) {
		if (out.n == TRAINS)
			flush_trains(fd);
		k = to->last = out.n++;
		out.iov[k] = (struct iovec){ out.data[k], 0 };
		out.segment_len[k] = len;
		out.to[k] = to;
		out.tos[k] = tos;
	}
	memcpy(out.data[k] + out.iov[k].iov_len, data, len);
	out.iov[k].iov_len += len;
}

/* The control data of a message that was received. */
struct told {
	struct in_addr source;
	size_t segment_len;
	uint8_t tos;
};

static struct told read_control(struct msghdr *h, size_t len)
{
	struct told t = { .segment_len = len };
	struct in_pktinfo info;
	int value;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
			memcpy(&t.tos, CMSG_DATA(c), 1);
		} else if (c->cmsg_level == IPPROTO_IP &&
			   c->cmsg_type == IP_PKTINFO) {
			memcpy(&info, CMSG_DATA(c), sizeof(info));
			t.source = info.ipi_spec_dst;
		} else if (c->cmsg_level == IPPROTO_UDP &&
			   c->cmsg_type == UDP_GRO) {
			memcpy(&value, CMSG_DATA(c), sizeof(value));
			t.segment_len = (size_t)value;
		}
	}
	return t;
}

static void forward(int fd, size_t i)
{
	size_t len = in.msgs[i].msg_len, n;
	struct told told = read_control(&in.msgs[i].msg_hdr, len);

	for (size_t off = 0; off < len; off += n) {
		n = len - off < told.segment_len ? len - off : told.segment_len;
		struct end *to = other_end(in.data[i] + off, n, &in.from[i],
					   told.source);

		if (to)
			add_datagram(fd, to, told.tos, in.data[i] + off, n);
	}
}

/* Have the kernel tell the local address and the TOS of what comes. */
static void ask_for_details(int fd)
{
	int on = 1;

	if (setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &on, sizeof(on)) < 0)
		fail("setsockopt");
}

static void run_single(int fd)
{
	struct msghdr *h = &in.msgs[0].msg_hdr;

	ask_for_details(fd);
	for (;;) {
		set_up_slot(0);
		ssize_t len = recvmsg(fd, h, 0);

		if (len < 0) {
			if (errno != EINTR)
				fail("recvmsg");
			continue;
		}
		struct told told = read_control(h, (size_t)len);
		struct end *to = other_end(in.data[0], (size_t)len, &in.from[0],
					   told.source);

		if (!to)
			continue;
		out.iov[0] = (struct iovec){ in.data[0], (size_t)len };
		out.segment_len[0] = (size_t)len;
		out.to[0] = to;
		out.tos[0] = told.tos;
		write_message(0);
		if (sendmsg(fd, &out.msgs[0].msg_hdr, 0) < 0)
			fail("sendmsg");
	}
}

static void run_bare(int fd)
{
	static unsigned char data[SLOT_LEN];
	const struct in_addr none = { 0 };
	struct sockaddr_in from = { 0 };

	for (;;) {
		socklen_t from_len = sizeof(from);
		ssize_t len = recvfrom(fd, data, sizeof(data), 0,
				       (struct sockaddr *)&from, &from_len);

		if (len < 0) {
			if (errno != EINTR)
				fail("recvfrom");
			continue;
		}
		const struct end *to =
			other_end(data, (size_t)len, &from, none);

		if (to && sendto(fd, data, (size_t)len, 0,
				 (const struct sockaddr *)&to->addr,
				 sizeof(to->addr)) < 0)
			fail("sendto");
	}
}

/* Send the datagrams of the slots, with nothing but an address. */
static void send_bare(int fd, int n)
{
	const struct in_addr none = { 0 };
	unsigned int cnt = 0;

	for (int i = 0; i < n; i++) {
		size_t len = in.msgs[i].msg_len;
		struct end *to = other_end(in.data[i], len, &in.from[i], none);

		if (!to)
			continue;
		out.iov[cnt] = (struct iovec){ in.data[i], len };
		out.msgs[cnt].msg_hdr = (struct msghdr){
			.msg_name = &to->addr,
			.msg_namelen = sizeof(to->addr),
			.msg_iov = &out.iov[cnt],
			.msg_iovlen = 1,
		};
		cnt++;
	}
	for (unsigned int i = 0; i < cnt;) {
		int sent = sendmmsg(fd, out.msgs + i, cnt - i, 0);

		if (sent < 0)
			fail("sendmmsg");
		i += (unsigned int)sent;
	}
}

static void run_bare_batch(int fd)
{
	for (;;) {
		for (size_t i = 0; i < SLOTS; i++) {
			set_up_slot(i);
			in.msgs[i].msg_hdr.msg_controllen = 0;
		}
		int n = recvmmsg(fd, in.msgs, SLOTS, MSG_WAITFORONE, NULL);

		if (n < 0 && errno != EINTR)
			fail("recvmmsg");
		send_bare(fd, n);
	}
}

static void run_copied(int fd)
{
	int on = 1;

	if (setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)) < 0)
		fail("setsockopt");
	ask_for_details(fd);
	for (;;) {
		for (size_t i = 0; i < SLOTS; i++)
			set_up_slot(i);
		int n = recvmmsg(fd, in.msgs, SLOTS, MSG_WAITFORONE, NULL);

		if (n < 0 && errno != EINTR)
			fail("recvmmsg");
		for (int i = 0; i < n; i++)
			forward(fd, (size_t)i);
		if (out.n)
			flush_trains(fd);
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(int fd);
	} ways[] = {
		{ "single", run_single },
		{ "copied", run_copied },
		{ "bare", run_bare },
		{ "bare-batch", run_bare_batch },
	};
	int port = argc == 3 ? atoi(argv[2]) : 0;

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (port > 0 && port < 65536 &&
		    strcmp(argv[1], ways[i].name) == 0)
			ways[i].run(open_socket((uint16_t)port));
	fprintf(stderr, "usage: bench-relay-way single|copied|bare|bare-batch "
			"PORT\n");
	return 2;
}
