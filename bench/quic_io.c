/* SPDX-License-Identifier: MIT */
/* The functions below have the names and contracts of the library's header, and take its
 * place in this program. */
#include "bench/quic_io.h"

#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>

#include <udpgather.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103 /* linux/udp.h, Linux 4.18 */
#endif
#ifndef UDP_GRO
#define UDP_GRO 104 /* linux/udp.h, Linux 5.0 */
#endif

enum {
	/* As many as the example has. */
	MAX_TRAINS = UG_MAX_SEGMENTS,
	MAX_SLOTS = 32,
	/* The other bytes keep two slots from using the same lines of the cache. */
	SLOT_LEN = 65536 + 128,
};

union control {
	char buf[CMSG_SPACE(sizeof(struct in_pktinfo)) +
		 2 * CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

static struct {
	struct mmsghdr msgs[MAX_TRAINS];
	struct sockaddr_in to[MAX_TRAINS];
	struct iovec iov[MAX_TRAINS];
	union control control[MAX_TRAINS];
	struct ug_send_stats stats;
} out;

static struct {
	struct mmsghdr msgs[MAX_SLOTS];
	struct iovec iov[MAX_SLOTS];
	union control control[MAX_SLOTS];
	struct ug_endpoint from[MAX_SLOTS];
	unsigned char data[MAX_SLOTS][SLOT_LEN];
	struct ug_receive_stats stats;
} in;

/* The descriptor. At the first call merging is switched as it has to be. */
static int prepare(struct ug_socket *sock)
{
	static bool is_prepared;
	int fd = ug_fd(sock, AF_INET), merge = QUIC_IO_TRAINS;

	if (!is_prepared)
		setsockopt(fd, IPPROTO_UDP, UDP_GRO, &merge, sizeof(merge));
	is_prepared = true;
	return fd;
}

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

/* Write the head of a message with datagrams of a train. */
static void write_head(size_t i, const struct ug_train *t,
		       const struct iovec *iov, size_t segment_len)
{
	struct msghdr *h = &out.msgs[i].msg_hdr;
	struct in_pktinfo info = { 0 };
	int tos = t->tos;
	uint16_t size = (uint16_t)segment_len;

	out.to[i] = t->to->addr.v4;
	out.iov[i] = *iov;
	*h = (struct msghdr){
		.msg_name = &out.to[i],
		.msg_namelen = sizeof(out.to[i]),
		.msg_iov = &out.iov[i],
		.msg_iovlen = 1,
		.msg_control = out.control[i].buf,
	};
	if (t->to->source.state != UG_SOURCE_NONE) {
		memcpy(&info.ipi_spec_dst, t->to->source.addr, 4);
		append(h, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	}
	if (tos)
		append(h, IPPROTO_IP, IP_TOS, &tos, sizeof(tos));
	if (size && iov->iov_len > size)
		append(h, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size));
	if (!h->msg_controllen)
		h->msg_control = NULL;
}

/* A message was not sent. Return: true to try again. */
static bool again(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	if (errno == EINTR)
		return true;
	return errno == EAGAIN && poll(&p, 1, timeout_ms) > 0;
}

static void count_sent(size_t messages, size_t bytes, size_t segment_len)
{
	out.stats.messages += messages;
	out.stats.datagrams += (bytes + segment_len - 1) / segment_len;
}

/* Each datagram of a train alone. */
static size_t send_single(int fd, const struct ug_train *t, int timeout_ms)
{
	unsigned char *data = t->iov->iov_base;
	size_t len, sent = 0;

	for (size_t off = 0; off < t->iov->iov_len; off += len) {
		len = t->iov->iov_len - off;
		if (len > t->segment_len)
			len = t->segment_len;
		struct iovec iov = { data + off, len };

		write_head(0, t, &iov, 0);
		while (sendmsg(fd, &out.msgs->msg_hdr, 0) < 0)
			if (!again(fd, timeout_ms))
				return sent;
		count_sent(1, len, len);
		sent++;
	}
	return sent;
}

/* All trains, as many as possible with one call. */
static size_t send_manual(int fd, const struct ug_train *trains, size_t n,
			  int timeout_ms)
{
	size_t sent = 0;

	for (size_t i = 0; i < n; i++)
		write_head(i, &trains[i], trains[i].iov, trains[i].segment_len);
	for (size_t i = 0; i < n;) {
		int r = sendmmsg(fd, out.msgs + i, (unsigned int)(n - i), 0);

		if (r < 0 && again(fd, timeout_ms))
			continue;
		/* The first message was refused: it is lost. */
		if (r < 0)
			i++;
		for (int k = 0; k < r; k++, i++) {
			count_sent(1, trains[i].iov->iov_len,
				   trains[i].segment_len);
			sent++;
		}
	}
	return sent;
}

size_t ug_send_trains(struct ug_socket *sock, struct ug_batch *batch,
		      struct ug_train *trains, size_t size, size_t n,
		      int timeout_ms)
{
	int fd = prepare(sock);
	size_t sent = 0;

	(void)batch;
	(void)size;
	if (QUIC_IO_TRAINS)
		return send_manual(fd, trains, n, timeout_ms);
	for (size_t i = 0; i < n; i++)
		sent += send_single(fd, &trains[i], timeout_ms);
	return sent;
}

/* Take the control data of a message. */
static void parse(size_t i, struct ug_received *r)
{
	struct msghdr *h = &in.msgs[i].msg_hdr;
	struct in_pktinfo info;
	int size;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
			memcpy(&r->tos, CMSG_DATA(c), 1);
		} else if (c->cmsg_level == IPPROTO_IP &&
			   c->cmsg_type == IP_PKTINFO) {
			memcpy(&info, CMSG_DATA(c), sizeof(info));
			memcpy(in.from[i].source.addr, &info.ipi_spec_dst, 4);
			in.from[i].source.state = UG_SOURCE_PINNED;
		} else if (c->cmsg_level == IPPROTO_UDP &&
			   c->cmsg_type == UDP_GRO) {
			memcpy(&size, CMSG_DATA(c), sizeof(size));
			r->segment_len = (uint32_t)size;
		}
	}
}

/* Read messages. Return: how many; -errno. */
static int read_messages(int fd, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		in.iov[i] = (struct iovec){ in.data[i], SLOT_LEN };
		in.msgs[i].msg_hdr = (struct msghdr){
			.msg_name = &in.from[i].addr,
			.msg_namelen = sizeof(in.from[i].addr),
			.msg_iov = &in.iov[i],
			.msg_iovlen = 1,
			.msg_control = in.control[i].buf,
			.msg_controllen = sizeof(in.control[i].buf),
		};
	}
	if (QUIC_IO_TRAINS) {
		int r = recvmmsg(fd, in.msgs, (unsigned int)n, 0, NULL);

		return r < 0 ? -errno : r;
	}
	for (size_t i = 0; i < n; i++) {
		ssize_t len = recvmsg(fd, &in.msgs[i].msg_hdr, 0);

		if (len < 0)
			return i ? (int)i : -errno;
		in.msgs[i].msg_len = (unsigned int)len;
	}
	return (int)n;
}

int ug_receive_trains(struct ug_receiver *rcv, struct ug_socket *sock,
		      int family, struct ug_received *received, size_t size,
		      size_t n, int timeout_ms)
{
	int fd = prepare(sock);
	struct pollfd p = { .fd = fd, .events = POLLIN };

	(void)rcv;
	(void)family;
	(void)size;
	if (n > MAX_SLOTS)
		n = MAX_SLOTS;
	int got = read_messages(fd, n);

	if (got == -EAGAIN && timeout_ms) {
		if (poll(&p, 1, timeout_ms) <= 0)
			return -ETIMEDOUT;
		got = read_messages(fd, n);
	}
	for (int i = 0; i < got; i++) {
		struct ug_received *r = &received[i];
		size_t len = in.msgs[i].msg_len;

		*r = (struct ug_received){ .data = in.data[i],
					   .len = len,
					   .from = &in.from[i],
					   .segment_len = (uint32_t)len };
		parse((size_t)i, r);
		r->n = len ? (uint32_t)((len + r->segment_len - 1) /
					r->segment_len)
			   : 1;
		in.stats.messages++;
		in.stats.datagrams += r->n;
	}
	return got;
}

void ug_get_send_stats(const struct ug_batch *batch,
		       struct ug_send_stats *stats, size_t size)
{
	(void)batch;
	memcpy(stats, &out.stats, size);
}

void ug_get_receive_stats(const struct ug_receiver *rcv,
			  struct ug_receive_stats *stats, size_t size)
{
	(void)rcv;
	memcpy(stats, &in.stats, size);
}
