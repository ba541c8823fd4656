/* SPDX-License-Identifier: MIT */
#include "bench/udp_sender.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <udpgather.h>

#include "base/bytes.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103 /* linux/udp.h, Linux 4.18 */
#endif

enum {
	/* Bytes of the IPv4 and the UDP header. */
	IPV4_HEADERS = 28,
	CACHE_LINE = 64,
	PAGE = 4096,
	/* The size that ug_open() asks for, so that all sockets are alike. */
	SNDBUF_LEN = 7 << 20,
};

/**
 * struct library - the state of one way of using the library
 * @sock:	its socket
 * @batch:	its batch, which counts the system calls of this way alone
 */
struct library {
	struct ug_socket *sock;
	struct ug_batch *batch;
};

/**
 * struct udp_sender - see udp_sender_new()
 * @fd:		the socket of the ways without the library
 * @to:		where to send to
 * @ep:		the same for the library
 * @size:	bytes of each datagram
 * @n:		datagrams in a batch
 * @train:	how many datagrams go in one message of WAY_COPIED
 * @stride:	from one slot to the next in @slots
 * @slots:	the datagrams with gaps between them
 * @packed:	the datagrams without gaps
 * @copies:	where WAY_COPIED copies to
 * @gathered:	the library as WAY_GATHERED uses it
 * @fused:	the library as WAY_FUSED uses it
 * @counts:	totals of each way; calls and messages of the library's ways
 *		are not counted here
 * @msgs:	message headers of the batch
 * @iov:	its vectors
 * @control:	its control data
 * @dgrams:	the batch as the library takes it
 * @status:	the status of each datagram after ug_send()
 */
struct udp_sender {
	int fd;
	struct sockaddr_in to;
	struct ug_endpoint ep;
	size_t size;
	unsigned int n;
	unsigned int train;
	size_t stride;
	unsigned char *slots;
	unsigned char *packed;
	unsigned char *copies;
	struct library gathered;
	struct library fused;
	struct udp_sender_counts counts[N_WAYS];
	struct mmsghdr msgs[SENDER_MAX_BATCH];
	struct iovec iov[SENDER_MAX_BATCH];
	union {
		char buf[CMSG_SPACE(sizeof(uint16_t))];
		struct cmsghdr align;
	} control[SENDER_MAX_BATCH];
	struct ug_datagram dgrams[SENDER_MAX_BATCH];
	int status[SENDER_MAX_BATCH];
};

const char *way_name(enum way way)
{
	static const char *const names[N_WAYS] = {
		[WAY_SENDTO] = "sendto", [WAY_SENDMMSG] = "sendmmsg",
		[WAY_COPIED] = "copied", [WAY_GATHERED] = "gathered",
		[WAY_FUSED] = "fused",	 [WAY_CONTROL] = "control",
	};

	return names[way];
}

static int send_one_by_one(struct udp_sender *s,
			   struct udp_sender_counts *counts)
{
	for (unsigned int i = 0; i < s->n; i++) {
		ssize_t len =
			sendto(s->fd, s->slots + i * s->stride, s->size, 0,
			       (struct sockaddr *)&s->to, sizeof(s->to));

		counts->calls++;
		if (len < 0)
			return -errno;
		if ((size_t)len != s->size)
			return -EIO;
		counts->messages++;
		counts->sent++;
	}
	return 0;
}

/**
 * message_fill() - write the header of one message
 * @s:		the sender
 * @idx:	which message
 * @base:	its bytes
 * @n:		datagrams in it; more than one make it a train
 */
static void message_fill(struct udp_sender *s, unsigned int idx, void *base,
			 unsigned int n)
{
	struct msghdr *hdr = &s->msgs[idx].msg_hdr;
	struct cmsghdr *c;
	uint16_t cut = (uint16_t)s->size;

	s->iov[idx].iov_base = base;
	s->iov[idx].iov_len = n * s->size;
	*hdr = (struct msghdr){ .msg_name = &s->to,
				.msg_namelen = sizeof(s->to),
				.msg_iov = &s->iov[idx],
				.msg_iovlen = 1 };
	if (n == 1)
		return;
	hdr->msg_control = s->control[idx].buf;
	hdr->msg_controllen = sizeof(s->control[idx].buf);
	c = CMSG_FIRSTHDR(hdr);
	c->cmsg_level = IPPROTO_UDP;
	c->cmsg_type = UDP_SEGMENT;
	c->cmsg_len = CMSG_LEN(sizeof(cut));
	memcpy(CMSG_DATA(c), &cut, sizeof(cut));
}

/* Send the first @n messages, all of them. */
static int messages_send(struct udp_sender *s, struct udp_sender_counts *counts,
			 unsigned int n)
{
	unsigned int done = 0;

	while (done < n) {
		int took = sendmmsg(s->fd, s->msgs + done, n - done, 0);

		counts->calls++;
		if (took < 0)
			return -errno;
		counts->messages += (unsigned int)took;
		for (int i = 0; i < took; i++, done++) {
			if (s->msgs[done].msg_len != s->iov[done].iov_len)
				return -EIO;
			counts->sent += s->msgs[done].msg_len / s->size;
		}
	}
	return 0;
}

static int send_messages(struct udp_sender *s, struct udp_sender_counts *counts)
{
	for (unsigned int i = 0; i < s->n; i++)
		message_fill(s, i, s->slots + i * s->stride, 1);
	return messages_send(s, counts, s->n);
}

/* Copy @n datagrams from the slots to where they are neighbours. */
static unsigned char *train_copy(struct udp_sender *s, unsigned int first,
				 unsigned int n)
{
	unsigned char *base = s->copies + first * s->size;

	for (unsigned int i = 0; i < n; i++)
		memcpy(base + i * s->size, s->slots + (first + i) * s->stride,
		       s->size);
	return base;
}

static int send_copied(struct udp_sender *s, struct udp_sender_counts *counts)
{
	unsigned int n_msgs = 0;
	unsigned int n;

	for (unsigned int i = 0; i < s->n; i += n) {
		unsigned char *base = s->slots + i * s->stride;

		n = s->n - i < s->train ? s->n - i : s->train;
		if (n > 1)
			base = train_copy(s, i, n);
		message_fill(s, n_msgs++, base, n);
	}
	return messages_send(s, counts, n_msgs);
}

/* Return: the first bad status as an error. */
static int status_check(const struct udp_sender *s)
{
	for (unsigned int i = 0; i < s->n; i++) {
		if (s->status[i] == UG_UNSENT)
			return -EAGAIN;
		if (s->status[i] != UG_SENT)
			return s->status[i] < 0 ? s->status[i] : -EIO;
	}
	return -EIO; /* count and statuses disagree */
}

static int send_library(struct udp_sender *s, struct udp_sender_counts *counts,
			const struct library *lib, unsigned char *first,
			size_t stride)
{
	size_t sent;

	for (unsigned int i = 0; i < s->n; i++) {
		s->iov[i].iov_base = first + i * stride;
		s->iov[i].iov_len = s->size;
		s->dgrams[i] =
			(struct ug_datagram){ .iov = &s->iov[i], .n_iov = 1 };
	}
	sent = ug_send(lib->sock, lib->batch, &s->ep, s->dgrams, s->n,
		       s->status, -1);
	counts->sent += sent;
	return sent == s->n ? 0 : status_check(s);
}

int udp_sender_send(struct udp_sender *s, enum way way)
{
	struct udp_sender_counts *counts = &s->counts[way];

	counts->asked += s->n;
	switch (way) {
	case WAY_SENDTO:
		return send_one_by_one(s, counts);
	case WAY_SENDMMSG:
		return send_messages(s, counts);
	case WAY_COPIED:
	case WAY_CONTROL:
		return send_copied(s, counts);
	case WAY_GATHERED:
		return send_library(s, counts, &s->gathered, s->slots,
				    s->stride);
	case WAY_FUSED:
		return send_library(s, counts, &s->fused, s->packed, s->size);
	case N_WAYS:
		break;
	}
	return -EINVAL;
}

struct udp_sender_counts udp_sender_get_counts(const struct udp_sender *s,
					       enum way way)
{
	struct udp_sender_counts counts = s->counts[way];
	struct ug_send_stats stats;

	if (way == WAY_GATHERED || way == WAY_FUSED) {
		ug_get_send_stats(way == WAY_FUSED ? s->fused.batch
						   : s->gathered.batch,
				  &stats, sizeof(stats));
		counts.calls = stats.calls;
		counts.messages = stats.messages;
	}
	return counts;
}

/* Page-aligned memory for a batch, every page of it written to. */
static unsigned char *batch_alloc(size_t stride)
{
	size_t len = SENDER_MAX_BATCH * stride;
	unsigned char *p = aligned_alloc(PAGE, (len + PAGE - 1) / PAGE * PAGE);

	if (p)
		memset(p, 0x5a, len);
	return p;
}

static void library_close(struct library *lib)
{
	ug_batch_free(lib->batch);
	ug_close(lib->sock);
}

static int library_open(struct library *lib)
{
	const struct ug_options opt = { .size = sizeof(opt),
					.families = UG_IPV4_ONLY };
	int err;

	err = ug_open(&lib->sock, &opt, NULL);
	if (err)
		return err;
	return ug_batch_new(&lib->batch, SENDER_MAX_BATCH);
}

static int plain_open(struct udp_sender *s)
{
	static const int len = SNDBUF_LEN;

	s->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0 || setsockopt(s->fd, SOL_SOCKET, SO_SNDBUFFORCE, &len,
				    sizeof(len)) < 0)
		return -errno;
	return 0;
}

static unsigned int train_len(size_t mtu, size_t size)
{
	if (size + IPV4_HEADERS > mtu)
		return 1;
	return (unsigned int)size_min(UG_MAX_SEGMENTS,
				      UG_MAX_TRAIN_IPV4 / size);
}

int udp_sender_new(struct udp_sender **out, const struct sockaddr_in *to,
		   size_t mtu, size_t size, unsigned int n)
{
	struct udp_sender *s = calloc(1, sizeof(*s));
	int err = -ENOMEM;

	if (!s)
		return err;
	s->fd = -1;
	s->to = *to;
	s->size = size;
	s->n = n;
	s->train = train_len(mtu, size);
	/* At least a line between two datagrams. */
	s->stride = (size + 2 * CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
	s->slots = batch_alloc(s->stride);
	s->packed = batch_alloc(s->size);
	s->copies = batch_alloc(s->size);
	if (!s->slots || !s->packed || !s->copies)
		goto err_sender;
	err = plain_open(s);
	if (err)
		goto err_sender;
	err = ug_endpoint_set(&s->ep, (const struct sockaddr *)to, sizeof(*to));
	if (err)
		goto err_sender;
	err = library_open(&s->gathered);
	if (err)
		goto err_sender;
	err = library_open(&s->fused);
	if (err)
		goto err_sender;
	*out = s;
	return 0;

err_sender:
	udp_sender_free(s);
	return err;
}

void udp_sender_free(struct udp_sender *s)
{
	if (!s)
		return;
	library_close(&s->fused);
	library_close(&s->gathered);
	if (s->fd >= 0)
		close(s->fd);
	free(s->copies);
	free(s->packed);
	free(s->slots);
	free(s);
}
