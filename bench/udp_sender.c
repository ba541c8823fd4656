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
	/* Cold memory: larger than the caches of the machines that we measure on. */
	COLD_LEN = 64 << 20,
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
 * @plan:	what to send
 * @ep:		where to send to
 * @ring:	batches in @slots and in @packed
 * @at:		the batch that is sent now
 * @train:	how many datagrams go in one message of WAY_COPIED
 * @stride:	from one slot to the next in @slots
 * @slots:	the datagrams with gaps between them
 * @packed:	the datagrams without gaps
 * @headers:	the headers, a cache line apart
 * @copies:	where WAY_COPIED copies to
 * @gathered:	the library as WAY_GATHERED uses it
 * @fused:	the library as WAY_FUSED uses it
 * @chosen:	the library as WAY_CHOSEN uses it
 * @trains:	the library as WAY_TRAINS uses it
 * @counts:	totals of each way; calls and messages of the library's ways
 *		are not counted here
 * @msgs:	message headers of the batch
 * @iov:	its vectors
 * @control:	its control data
 * @dgrams:	the batch as the library takes it
 * @status:	the status of each datagram after ug_send()
 * @own:	the batch as trains
 */
struct udp_sender {
	int fd;
	struct udp_sender_plan plan;
	struct ug_endpoint ep;
	size_t ring;
	size_t at;
	unsigned int train;
	size_t stride;
	unsigned char *slots;
	unsigned char *packed;
	unsigned char *headers;
	unsigned char *copies;
	struct library gathered;
	struct library fused;
	struct library chosen;
	struct library trains;
	struct udp_sender_counts counts[N_WAYS];
	struct mmsghdr msgs[SENDER_MAX_BATCH];
	struct iovec iov[2 * SENDER_MAX_BATCH];
	union {
		char buf[CMSG_SPACE(sizeof(uint16_t))];
		struct cmsghdr align;
	} control[SENDER_MAX_BATCH];
	struct ug_datagram dgrams[SENDER_MAX_BATCH];
	int status[SENDER_MAX_BATCH];
	struct ug_train own[SENDER_MAX_BATCH];
};

const char *way_name(enum way way)
{
	static const char *const names[N_WAYS] = {
		[WAY_SENDTO] = "sendto", [WAY_SENDMMSG] = "sendmmsg",
		[WAY_COPIED] = "copied", [WAY_GATHERED] = "gathered",
		[WAY_FUSED] = "fused",	 [WAY_CHOSEN] = "chosen",
		[WAY_TRAINS] = "trains", [WAY_CONTROL] = "control",
	};

	return names[way];
}

/* Datagram @i of the batch, in its slot. */
static unsigned char *slot(const struct udp_sender *s, unsigned int i)
{
	return s->slots + (s->at * s->plan.n + i) * s->stride;
}

/* Datagram @i of the batch, beside its neighbours. */
static unsigned char *packed(const struct udp_sender *s, unsigned int i)
{
	return s->packed + (s->at * s->plan.n + i) * s->plan.size;
}

static int send_one_by_one(struct udp_sender *s,
			   struct udp_sender_counts *counts)
{
	for (unsigned int i = 0; i < s->plan.n; i++) {
		ssize_t len = sendto(s->fd, slot(s, i), s->plan.size, 0,
				     (struct sockaddr *)&s->plan.to,
				     sizeof(s->plan.to));

		counts->calls++;
		if (len < 0)
			return -errno;
		if ((size_t)len != s->plan.size)
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
	uint16_t cut = (uint16_t)s->plan.size;

	s->iov[idx].iov_base = base;
	s->iov[idx].iov_len = n * s->plan.size;
	*hdr = (struct msghdr){ .msg_name = &s->plan.to,
				.msg_namelen = sizeof(s->plan.to),
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
			counts->sent += s->msgs[done].msg_len / s->plan.size;
		}
	}
	return 0;
}

static int send_messages(struct udp_sender *s, struct udp_sender_counts *counts)
{
	for (unsigned int i = 0; i < s->plan.n; i++)
		message_fill(s, i, slot(s, i), 1);
	return messages_send(s, counts, s->plan.n);
}

/* Copy @n datagrams from the slots to where they are neighbours. */
static unsigned char *train_copy(struct udp_sender *s, unsigned int first,
				 unsigned int n)
{
	size_t head = s->plan.header_len;
	unsigned char *base = s->copies + first * s->plan.size, *at = base;

	for (unsigned int i = first; i < first + n; i++) {
		memcpy(at, s->headers + i * CACHE_LINE, head);
		memcpy(at + head, slot(s, i), s->plan.size - head);
		at += s->plan.size;
	}
	return base;
}

static int send_copied(struct udp_sender *s, struct udp_sender_counts *counts)
{
	unsigned int n_msgs = 0;
	unsigned int n;

	for (unsigned int i = 0; i < s->plan.n; i += n) {
		unsigned char *base = slot(s, i);

		n = s->plan.n - i < s->train ? s->plan.n - i : s->train;
		if (n > 1 || s->plan.header_len)
			base = train_copy(s, i, n);
		message_fill(s, n_msgs++, base, n);
	}
	return messages_send(s, counts, n_msgs);
}

/* Return: the first bad status as an error. */
static int status_check(const struct udp_sender *s)
{
	for (unsigned int i = 0; i < s->plan.n; i++) {
		if (s->status[i] == UG_UNSENT)
			return -EAGAIN;
		if (s->status[i] != UG_SENT)
			return s->status[i] < 0 ? s->status[i] : -EIO;
	}
	return -EIO; /* count and statuses disagree */
}

static int send_library(struct udp_sender *s, struct udp_sender_counts *counts,
			const struct library *lib)
{
	size_t sent = ug_send(lib->sock, lib->batch, &s->ep, s->dgrams,
			      s->plan.n, s->status, -1);

	counts->sent += sent;
	return sent == s->plan.n ? 0 : status_check(s);
}

/* Each datagram is in its slot; with a header there are two vectors. */
static int send_slots(struct udp_sender *s, struct udp_sender_counts *counts,
		      const struct library *lib)
{
	size_t head = s->plan.header_len;
	struct iovec *v = s->iov;

	for (unsigned int i = 0; i < s->plan.n; i++) {
		s->dgrams[i] =
			(struct ug_datagram){ .iov = v, .n_iov = head ? 2 : 1 };
		if (head)
			*v++ = (struct iovec){ s->headers + i * CACHE_LINE,
					       head };
		*v++ = (struct iovec){ slot(s, i), s->plan.size - head };
	}
	return send_library(s, counts, lib);
}

static int send_packed(struct udp_sender *s, struct udp_sender_counts *counts,
		       const struct library *lib)
{
	for (unsigned int i = 0; i < s->plan.n; i++) {
		s->iov[i] = (struct iovec){ packed(s, i), s->plan.size };
		s->dgrams[i] =
			(struct ug_datagram){ .iov = &s->iov[i], .n_iov = 1 };
	}
	return send_library(s, counts, lib);
}

static int send_trains(struct udp_sender *s, struct udp_sender_counts *counts)
{
	unsigned int n_trains = 0, n;

	for (unsigned int i = 0; i < s->plan.n; i += n) {
		n = (unsigned int)size_min(s->plan.n - i, s->train);
		s->iov[n_trains] =
			(struct iovec){ packed(s, i), n * s->plan.size };
		s->own[n_trains] = (struct ug_train){
			.to = &s->ep,
			.iov = &s->iov[n_trains],
			.n_iov = 1,
			.segment_len = (uint16_t)s->plan.size,
		};
		n_trains++;
	}
	size_t sent = ug_send_trains(s->trains.sock, s->trains.batch, s->own,
				     sizeof(s->own[0]), n_trains, -1);

	counts->sent += sent;
	for (unsigned int i = 0; i < n_trains; i++)
		if (s->own[i].status != UG_SENT)
			return s->own[i].status < 0 ? s->own[i].status
						    : -EAGAIN;
	return sent == s->plan.n ? 0 : -EIO;
}

int udp_sender_send(struct udp_sender *s, enum way way)
{
	struct udp_sender_counts *counts = &s->counts[way];

	counts->asked += s->plan.n;
	s->at = (s->at + 1) % s->ring;
	switch (way) {
	case WAY_SENDTO:
		return send_one_by_one(s, counts);
	case WAY_SENDMMSG:
		return send_messages(s, counts);
	case WAY_COPIED:
	case WAY_CONTROL:
		return send_copied(s, counts);
	case WAY_GATHERED:
		return send_slots(s, counts, &s->gathered);
	case WAY_CHOSEN:
		return send_slots(s, counts, &s->chosen);
	case WAY_FUSED:
		return send_packed(s, counts, &s->fused);
	case WAY_TRAINS:
		return send_trains(s, counts);
	case N_WAYS:
		break;
	}
	return -EINVAL;
}

/* The library's state of a way, or NULL for a way without the library. */
static const struct library *library_of(const struct udp_sender *s,
					enum way way)
{
	switch (way) {
	case WAY_GATHERED:
		return &s->gathered;
	case WAY_CHOSEN:
		return &s->chosen;
	case WAY_FUSED:
		return &s->fused;
	case WAY_TRAINS:
		return &s->trains;
	default:
		return NULL;
	}
}

struct udp_sender_counts udp_sender_get_counts(const struct udp_sender *s,
					       enum way way)
{
	struct udp_sender_counts counts = s->counts[way];
	const struct library *lib = library_of(s, way);
	struct ug_send_stats stats;

	if (lib) {
		ug_get_send_stats(lib->batch, &stats, sizeof(stats));
		counts.calls = stats.calls;
		counts.messages = stats.messages;
	}
	return counts;
}

/* Page-aligned memory for @n datagrams, every page of it written to. */
static unsigned char *batch_alloc(size_t n, size_t stride)
{
	size_t len = n * stride;
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

static int library_open(struct library *lib, size_t copy_below)
{
	const struct ug_options opt = { .size = sizeof(opt),
					.families = UG_IPV4_ONLY,
					.copy_below = copy_below };
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

static int allocate(struct udp_sender *s)
{
	size_t n = s->ring * s->plan.n;

	s->slots = batch_alloc(n, s->stride);
	s->packed = batch_alloc(n, s->plan.size);
	s->copies = batch_alloc(s->plan.n, s->plan.size);
	s->headers = batch_alloc(s->plan.n, CACHE_LINE);
	return s->slots && s->packed && s->copies && s->headers ? 0 : -ENOMEM;
}

static int open_all(struct udp_sender *s)
{
	int err = plain_open(s);

	if (!err)
		err = ug_endpoint_set(&s->ep,
				      (const struct sockaddr *)&s->plan.to,
				      sizeof(s->plan.to));
	if (!err)
		err = library_open(&s->gathered, 1);
	if (!err)
		err = library_open(&s->chosen, 0);
	if (!err)
		err = library_open(&s->fused, 1);
	if (!err)
		err = library_open(&s->trains, 0);
	return err;
}

int udp_sender_new(struct udp_sender **out, const struct udp_sender_plan *plan)
{
	struct udp_sender *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->fd = -1;
	s->plan = *plan;
	s->train = train_len(plan->mtu, plan->size);
	/* At least a line between two datagrams. */
	s->stride = (plan->size + 2 * CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
	s->ring = plan->cold ? COLD_LEN / (plan->n * s->stride) : 1;
	int err = allocate(s);

	if (!err)
		err = open_all(s);
	if (err) {
		udp_sender_free(s);
		return err;
	}
	*out = s;
	return 0;
}

void udp_sender_free(struct udp_sender *s)
{
	if (!s)
		return;
	library_close(&s->trains);
	library_close(&s->fused);
	library_close(&s->chosen);
	library_close(&s->gathered);
	if (s->fd >= 0)
		close(s->fd);
	free(s->headers);
	free(s->copies);
	free(s->packed);
	free(s->slots);
	free(s);
}
