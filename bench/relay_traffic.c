/* SPDX-License-Identifier: MIT */
#include "bench/relay_traffic.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/bytes.h"
#include "bench/measure.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103 /* linux/udp.h, Linux 4.18 */
#endif
#ifndef UDP_GRO
#define UDP_GRO 104 /* linux/udp.h, Linux 5.0 */
#endif

enum {
	/* Ports of the two ends. Choices. */
	SOURCE_PORT = 4000,
	SINK_PORT = 4001,
	/* The networks of the flows' addresses, for benchmarks (RFC 2544): flow n has
	 * the n-th address of each. */
	SOURCE_NET = 0xc6120000, /* 198.18.0.0 */
	SINK_NET = 0xc6130000,	 /* 198.19.0.0 */
	/* Messages in one system call. A choice. */
	N_MESSAGES = 64,
	/* Room for a cycle of single datagrams, with the kernel's own data. */
	RCVBUF_LEN = 64 << 20,
	/* More than twice what the last cache of common processors holds. */
	OTHER_LEN = 128 << 20,
	LINE_LEN = 64,
	/* Bytes of a message that are read: all, if they are checked; else its head. */
	WHOLE_LEN = 65536 + 128,
	HEAD_LEN = 64,
	/* Bytes before those that are the same in each cycle: flow, place in the
	 * cycle. */
	HEADER_LEN = 8,
	/* The sink sleeps between two looks, and does not wait on its socket: the relay
	 * would have to wake it. A choice. */
	NAP_NS = 200000,
};

/* The relay shares its core with whatever else runs on a busy machine. Choices. */
static const uint64_t patience_ns = 5000000000, join_ns = 10000000000;

/* A message that the source sends: its addresses, and where to cut it. */
struct message {
	struct iovec iov;
	union {
		char buf[CMSG_SPACE(sizeof(struct in_pktinfo)) +
			 CMSG_SPACE(sizeof(uint16_t))];
		struct cmsghdr align;
	} control;
};

struct relay_traffic {
	int source;
	int sink;
	struct sockaddr_in relay;
	unsigned int flows;
	unsigned int burst; /* datagrams in a message */
	unsigned int next;  /* the flow of the next message */
	struct mmsghdr out[RELAY_CYCLE];
	struct message messages[RELAY_CYCLE];
	unsigned char data[RELAY_CYCLE][RELAY_SIZE];
	uint32_t last
		[RELAY_MAX_FLOWS]; /* the place of the last one that came, + 1 */
	struct mmsghdr in[N_MESSAGES];
	struct iovec in_iov[N_MESSAGES];
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} in_control[N_MESSAGES];
	unsigned char in_data[N_MESSAGES][WHOLE_LEN];
	unsigned char other[OTHER_LEN];
};

static int open_end(uint16_t port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int len = RCVBUF_LEN, on = 1;

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &len, sizeof(len)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &len, sizeof(len)) < 0 ||
	    setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof(on)) < 0)
		return -errno;
	return fd;
}

static int add_routes(const struct net *net)
{
	int err = net_ip("route add local 198.18.0.0/15 dev lo");

	if (!err)
		err = net_ip("link set lo up");
	if (!err)
		err = net_enter(net->receiver_ns);
	if (!err)
		err = net_ip("route add 198.18.0.0/15 via 192.0.2.1");
	if (!err)
		err = net_enter(net->sender_ns);
	return err;
}

int relay_traffic_new(struct relay_traffic **out, const struct net *net)
{
	struct relay_traffic *t = calloc(1, sizeof(*t));
	int err = t ? add_routes(net) : -ENOMEM;

	if (!err) {
		t->source = open_end(SOURCE_PORT);
		t->sink = open_end(SINK_PORT);
		err = t->source < 0 ? t->source : t->sink < 0 ? t->sink : 0;
	}
	if (err) {
		free(t);
		return err;
	}
	/* Pages that were never written to are all the same page. */
	memset(t->other, 1, sizeof(t->other));
	for (uint32_t i = 0; i < RELAY_CYCLE; i++)
		for (uint32_t k = HEADER_LEN; k < RELAY_SIZE; k++)
			t->data[i][k] =
				(uint8_t)((i * RELAY_SIZE + k) * 2654435761U >>
					  24);
	t->relay = net->receiver;
	*out = t;
	return 0;
}

void relay_traffic_set(struct relay_traffic *t, unsigned int flows, bool bursts)
{
	t->flows = flows;
	t->burst = bursts ? RELAY_BURST : 1;
	t->next = 0;
}

void relay_traffic_aim(struct relay_traffic *t, uint16_t port)
{
	t->relay.sin_port = htons(port);
}

static void put_number(unsigned char *at, uint32_t number)
{
	for (int i = 0; i < 4; i++)
		at[i] = (uint8_t)(number >> (24 - 8 * i));
}

static uint32_t get_number(const unsigned char *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 |
	       (uint32_t)at[2] << 8 | at[3];
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

/* Write a message to the relay from the address of a flow in one of the networks. */
static void write_message(struct relay_traffic *t, size_t i, uint32_t net,
			  uint32_t flow, const struct iovec *iov)
{
	struct message *m = &t->messages[i];
	struct msghdr *h = &t->out[i].msg_hdr;
	struct in_pktinfo info = { .ipi_spec_dst.s_addr =
					   htonl(net + flow + 1) };
	uint16_t size = RELAY_SIZE;

	m->iov = *iov;
	*h = (struct msghdr){ .msg_name = &t->relay,
			      .msg_namelen = sizeof(t->relay),
			      .msg_iov = &m->iov,
			      .msg_iovlen = 1,
			      .msg_control = m->control.buf };
	append(h, IPPROTO_IP, IP_PKTINFO, &info, sizeof(info));
	if (iov->iov_len > RELAY_SIZE)
		append(h, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size));
}

static int send_messages(struct relay_traffic *t, int fd, size_t n)
{
	for (size_t i = 0; i < n;) {
		int sent =
			sendmmsg(fd, t->out + i,
				 (unsigned int)size_min(n - i, N_MESSAGES), 0);

		if (sent < 0)
			return -errno;
		i += (size_t)sent;
	}
	return 0;
}

/* Have one end of each flow send a datagram that has nothing but the number. */
static int send_numbers(struct relay_traffic *t, int fd, uint32_t net)
{
	for (uint32_t flow = 0; flow < t->flows; flow++) {
		struct iovec iov = { t->data[flow], HEADER_LEN };

		put_number(t->data[flow], flow);
		write_message(t, flow, net, flow, &iov);
	}
	return send_messages(t, fd, t->flows);
}

static int read_sink(struct relay_traffic *t, size_t cap)
{
	for (size_t i = 0; i < N_MESSAGES; i++) {
		t->in_iov[i] = (struct iovec){ t->in_data[i], cap };
		t->in[i].msg_hdr = (struct msghdr){
			.msg_iov = &t->in_iov[i],
			.msg_iovlen = 1,
			.msg_control = t->in_control[i].buf,
			.msg_controllen = sizeof(t->in_control[i].buf),
		};
	}
	/* With MSG_TRUNC the length is that of the whole message. */
	int n = recvmmsg(t->sink, t->in, N_MESSAGES, MSG_DONTWAIT | MSG_TRUNC,
			 NULL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	return n;
}

static void nap(void)
{
	static const struct timespec ts = { .tv_nsec = NAP_NS };

	nanosleep(&ts, NULL);
}

int relay_traffic_join(struct relay_traffic *t)
{
	uint64_t end_ns = bench_now_ns() + join_ns;
	int n = 0;

	/* The relay may not listen yet: repeat until it forwards something. */
	do {
		int err = send_numbers(t, t->sink, SINK_NET);

		if (!err)
			err = send_numbers(t, t->source, SOURCE_NET);
		if (err)
			return err;
		for (int i = 0; n == 0 && i < 100; i++) {
			nap();
			n = read_sink(t, HEAD_LEN);
		}
		if (n == 0 && bench_now_ns() > end_ns)
			return -ETIMEDOUT;
	} while (n == 0);
	/* Once more, if it began to listen between two of them; then take the rest. */
	int err = send_numbers(t, t->sink, SINK_NET);

	for (int i = 0; !err && i < 100; i++) {
		nap();
		while (read_sink(t, HEAD_LEN) > 0)
			;
	}
	return err;
}

/* Read other memory, so that nothing else is left in the caches. */
static void empty_caches(const struct relay_traffic *t)
{
	const volatile unsigned char *other = t->other;

	for (size_t i = 0; i < OTHER_LEN; i += LINE_LEN)
		(void)other[i];
}

int relay_traffic_fill(struct relay_traffic *t)
{
	uint32_t place = 0;
	size_t n = 0;

	memset(t->last, 0, sizeof(t->last));
	while (place < RELAY_CYCLE) {
		struct iovec iov = { t->data[place],
				     (size_t)t->burst * RELAY_SIZE };
		uint32_t flow = t->next++ % t->flows;

		for (unsigned int i = 0; i < t->burst; i++, place++) {
			put_number(t->data[place], flow);
			put_number(t->data[place] + 4, place);
		}
		write_message(t, n++, SOURCE_NET, flow, &iov);
	}
	int err = send_messages(t, t->source, n);

	if (!err)
		empty_caches(t);
	return err;
}

/* Compare what came with what was sent. */
static bool is_right(struct relay_traffic *t, const unsigned char *data)
{
	uint32_t flow = get_number(data), place = get_number(data + 4);

	if (flow >= t->flows || place >= RELAY_CYCLE || t->last[flow] > place ||
	    memcmp(data, t->data[place], RELAY_SIZE) != 0)
		return false;
	t->last[flow] = place + 1;
	return true;
}

/* The datagrams of a message. Return: how many; -EBADMSG. */
static int64_t count_datagrams(struct relay_traffic *t, size_t i, bool check)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(&t->in[i].msg_hdr);
	size_t len = t->in[i].msg_len;
	int cut = (int)len;

	if (c && c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO)
		memcpy(&cut, CMSG_DATA(c), sizeof(cut));
	if (cut != RELAY_SIZE || len % RELAY_SIZE != 0)
		return -EBADMSG;
	for (size_t off = 0; check && off < len; off += RELAY_SIZE)
		if (!is_right(t, t->in_data[i] + off))
			return -EBADMSG;
	return (int64_t)(len / RELAY_SIZE);
}

int64_t relay_traffic_drain(struct relay_traffic *t, bool check)
{
	uint64_t last_ns = bench_now_ns();
	int64_t arrived = 0;

	while (arrived < RELAY_CYCLE &&
	       bench_now_ns() - last_ns < patience_ns) {
		int n = read_sink(t, check ? WHOLE_LEN : HEAD_LEN);

		if (n < 0)
			return n;
		for (int i = 0; i < n; i++) {
			int64_t k = count_datagrams(t, (size_t)i, check);

			if (k < 0)
				return k;
			arrived += k;
		}
		if (n > 0)
			last_ns = bench_now_ns();
		else
			nap();
	}
	return arrived;
}
