/* SPDX-License-Identifier: MIT */
/*
 * Many UDP flows through a tunnel, from one network namespace to another. The
 * 64 senders use no segmentation offload, like QUIC programs without it, or the
 * hosts behind a router.
 *
 * Each flow is a socket of the sender, with a port of its own; all send to one
 * socket of the receiver. A flow never has more than a window of datagrams on
 * the way (flow control, as QUIC has it). Without a window the sender would
 * fill a core whatever the tunnel does, most datagrams would be lost in the
 * queue of the tunnel's interface, and the rate would depend on how the
 * scheduler shares the other cores. With a window almost nothing is lost, and
 * the rate is that of the slowest part, which is the tunnel.
 *
 * The receiver acknowledges a flow after half a window. Acknowledgements for
 * all flows of a batch go in one datagram. The windows together should stay
 * below the 500 packets that the interface's queue holds for some of the
 * programs measured. Programs with a small socket buffer still lose datagrams.
 * A flow gives up datagrams that are not acknowledged for LOST_AFTER_NS, and
 * goes on.
 *
 * A window of 0 means no window. The sender then floods the tunnel, as in the
 * tests of small datagrams.
 *
 * usage: bench-flows FROM TO ADDRESS FLOWS LENGTH WINDOW MILLISECONDS
 *	FROM and TO are files of network namespaces, ADDRESS is the receiver's.
 * Prints one line of words NAME=NUMBER.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/measure.h"
#include "bench/net.h"

enum {
	/* The UDP port of the receiver. A choice. */
	PORT = 7300,
	/* Bound of the arrays. A choice. */
	MAX_FLOWS = 256,
	/* An MTU of 1,500 without the IPv4 and the UDP header. */
	MAX_LENGTH = 1472,
	/* Bound of an argument. A choice. */
	MAX_WINDOW = 64,
	/* Messages in one system call. A choice. */
	BATCH = 64,
	/* Large enough that the receiver's socket drops nothing. A choice. */
	RCVBUF_LEN = 16 << 20,
	/* A datagram without an acknowledgement for this time counts as lost.
	 * The time is many round trips. */
	LOST_AFTER_NS = 50 * 1000000,
	/* Time after which a read gives up, and after which no datagram is
	 * expected at the end. */
	WAIT_MS = 50,
	/* Time at the start that is not counted. A choice. */
	WARM_UP_MS = 300,
};

/*
 * Every datagram starts with its flow and its sequence number. An
 * acknowledgement is a list of these.
 */
struct mark {
	uint32_t flow;
	uint32_t seq;
};

/**
 * struct run - what both threads share
 * @from:	[I] the sender's namespace
 * @to:		[I] the receiver's namespace
 * @address:	[I] where to send to
 * @n_flows:	[I] number of flows
 * @length:	[I] bytes of each datagram
 * @window:	[I] datagrams of a flow that may be on the way; 0: no limit
 * @sink:	[I] the receiver's socket
 * @control:	[I] the sender's socket, for acknowledgements
 * @control_at:	[I] address of @control
 * @flows:	[I] the sender's sockets, connected
 * @n_sent:	[a] datagrams that the kernel took
 * @n_arrived:	[a] datagrams that the receiver has read
 * @n_stalls:	[a] how often a flow had to give datagrams up
 * @stop_sender: [a] no more is to be sent
 * @stop_sink:	[a] no more is to be read
 */
struct run {
	int from;
	int to;
	struct sockaddr_in address;
	uint32_t n_flows;
	uint32_t length;
	uint32_t window;
	int sink;
	int control;
	struct sockaddr_in control_at;
	int flows[MAX_FLOWS];
	_Atomic uint64_t n_sent;
	_Atomic uint64_t n_arrived;
	_Atomic uint64_t n_stalls;
	_Atomic bool stop_sender;
	_Atomic bool stop_sink;
};

static void die(const char *what)
{
	fprintf(stderr, "bench-flows: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void sleep_ms(unsigned int ms)
{
	struct timespec ts = { .tv_sec = ms / 1000,
			       .tv_nsec = (long)(ms % 1000) * 1000000 };

	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

static uint64_t get(const _Atomic uint64_t *n)
{
	return atomic_load_explicit(n, memory_order_relaxed);
}

static void add(_Atomic uint64_t *n, uint64_t more)
{
	atomic_fetch_add_explicit(n, more, memory_order_relaxed);
}

/* ---------------------------------------------------------------- sockets */

static void set_buffer(int fd, int force, int usual)
{
	int len = RCVBUF_LEN;

	if (setsockopt(fd, SOL_SOCKET, force, &len, sizeof(len)) < 0 &&
	    setsockopt(fd, SOL_SOCKET, usual, &len, sizeof(len)) < 0)
		die("buffer");
}

/* A socket that gives up waiting after WAIT_MS. */
static int make_socket(void)
{
	struct timeval wait = { .tv_usec = WAIT_MS * 1000 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0)
		die("socket");
	set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
	set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);
	return fd;
}

static void enter(int ns)
{
	int err = net_enter(ns);

	if (err) {
		errno = -err;
		die("namespace");
	}
}

/* Open all sockets, each in its namespace. */
static void open_sockets(struct run *run)
{
	socklen_t len = sizeof(run->control_at);
	const struct sockaddr *to = (const void *)&run->address;

	enter(run->to);
	run->sink = make_socket();
	if (bind(run->sink, to, sizeof(run->address)) < 0)
		die("bind");
	enter(run->from);
	for (uint32_t i = 0; i < run->n_flows; i++) {
		run->flows[i] = make_socket();
		if (connect(run->flows[i], to, sizeof(run->address)) < 0)
			die("connect");
	}
	/* The address of the sender's end is that of any of its sockets. */
	if (getsockname(run->flows[0], (void *)&run->control_at, &len) < 0)
		die("getsockname");
	run->control_at.sin_port = htons(PORT);
	run->control = make_socket();
	if (bind(run->control, (const void *)&run->control_at, len) < 0)
		die("bind");
}

/* --------------------------------------------------------------- receiver */

/**
 * struct acks - acknowledgements that are due
 * @told:	of each flow: what was acknowledged
 * @due:	marks to be sent
 * @n:		number of marks in @due
 */
struct acks {
	uint32_t told[MAX_FLOWS];
	struct mark due[BATCH];
	uint32_t n;
};

/* Note a received datagram. Some tunnels change the order. */
static void note(struct acks *acks, struct mark mark, int32_t ack_after)
{
	uint32_t next = mark.seq + 1;

	if ((int32_t)(next - acks->told[mark.flow]) < ack_after)
		return;
	acks->told[mark.flow] = next;
	acks->due[acks->n++] = mark;
}

/* Count the datagrams of a batch, and acknowledge them. */
static void take_batch(struct run *run, struct acks *acks,
		       const struct mmsghdr *msgs, int n)
{
	uint64_t n_good = 0;

	acks->n = 0;
	for (int i = 0; i < n; i++) {
		struct mark mark;

		memcpy(&mark, msgs[i].msg_hdr.msg_iov->iov_base, sizeof(mark));
		if (msgs[i].msg_len != run->length || mark.flow >= run->n_flows)
			continue;
		n_good++;
		if (run->window)
			note(acks, mark, (int32_t)(run->window + 1) / 2);
	}
	add(&run->n_arrived, n_good);
	/* The sender recovers if this acknowledgement is lost. */
	if (acks->n &&
	    sendto(run->sink, acks->due, acks->n * sizeof(acks->due[0]), 0,
		   (const void *)&run->control_at,
		   sizeof(run->control_at)) < 0 &&
	    errno != ENOBUFS)
		die("acknowledge");
}

static void *receive(void *arg)
{
	static unsigned char data[BATCH][2048];
	static struct acks acks;
	struct run *run = arg;
	struct mmsghdr msgs[BATCH];
	struct iovec iov[BATCH];

	memset(msgs, 0, sizeof(msgs));
	for (int i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){ data[i], sizeof(data[i]) };
		msgs[i].msg_hdr.msg_iov = &iov[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
	while (!atomic_load_explicit(&run->stop_sink, memory_order_relaxed)) {
		int n = recvmmsg(run->sink, msgs, BATCH, MSG_WAITFORONE, NULL);

		if (n > 0)
			take_batch(run, &acks, msgs, n);
		else if (n < 0 && errno != EAGAIN && errno != EINTR)
			die("receive");
	}
	return NULL;
}

/* ----------------------------------------------------------------- sender */

/**
 * struct sender - the sender's messages and windows
 * @next:	of each flow: the next sequence number
 * @acked:	of each flow: all datagrams below have arrived or are lost
 * @seen:	of each flow: @acked when losses were last looked for
 * @look_at_ns: when losses are looked for again
 * @msgs:	messages of one system call
 * @iov:	the vector of each message
 * @data:	the bytes of each message
 */
struct sender {
	uint32_t next[MAX_FLOWS];
	uint32_t acked[MAX_FLOWS];
	uint32_t seen[MAX_FLOWS];
	uint64_t look_at_ns;
	struct mmsghdr msgs[BATCH];
	struct iovec iov[BATCH];
	unsigned char data[BATCH][MAX_LENGTH];
};

static void sender_init(struct sender *s, uint32_t length)
{
	for (int i = 0; i < BATCH; i++) {
		s->iov[i] = (struct iovec){ s->data[i], length };
		s->msgs[i].msg_hdr.msg_iov = &s->iov[i];
		s->msgs[i].msg_hdr.msg_iovlen = 1;
	}
}

/* Send up to @n datagrams of a flow. Return: how many the kernel took. */
static uint32_t send_flow(struct run *run, struct sender *s, uint32_t flow,
			  uint32_t n)
{
	int sent;

	for (uint32_t i = 0; i < n; i++) {
		struct mark mark = { flow, s->next[flow] + i };

		memcpy(s->data[i], &mark, sizeof(mark));
	}
	sent = sendmmsg(run->flows[flow], s->msgs, n, 0);
	if (sent < 0) {
		if (errno != ENOBUFS && errno != EAGAIN && errno != EINTR)
			die("send");
		return 0;
	}
	s->next[flow] += (uint32_t)sent;
	add(&run->n_sent, (uint64_t)sent);
	return (uint32_t)sent;
}

/* Read acknowledgements; wait for one if there is nothing else to do. */
static void read_acks(struct run *run, struct sender *s, bool wait)
{
	struct mark marks[BATCH];

	for (;;) {
		ssize_t len = recv(run->control, marks, sizeof(marks),
				   wait ? 0 : MSG_DONTWAIT);

		if (len < 0)
			return;
		wait = false;
		for (size_t i = 0; i < (size_t)len / sizeof(marks[0]); i++) {
			uint32_t *acked = &s->acked[marks[i].flow];

			if ((int32_t)(marks[i].seq + 1 - *acked) > 0)
				*acked = marks[i].seq + 1;
		}
	}
}

/*
 * Give up the datagrams of flows without an acknowledgement for LOST_AFTER_NS.
 */
static void look_for_losses(struct run *run, struct sender *s)
{
	uint64_t now = bench_now_ns();

	if (now < s->look_at_ns)
		return;
	s->look_at_ns = now + LOST_AFTER_NS;
	for (uint32_t i = 0; i < run->n_flows; i++) {
		if (s->acked[i] == s->seen[i] && s->acked[i] != s->next[i]) {
			add(&run->n_stalls, 1);
			s->acked[i] = s->next[i];
		}
		s->seen[i] = s->acked[i];
	}
}

/* Fill all windows. Return: true if anything was sent. */
static bool fill_windows(struct run *run, struct sender *s)
{
	uint32_t sent = 0;

	for (uint32_t i = 0; i < run->n_flows; i++) {
		uint32_t n = run->window - (s->next[i] - s->acked[i]);

		if (n > 0)
			sent += send_flow(run, s, i, n);
	}
	return sent > 0;
}

static void *send_all(void *arg)
{
	static struct sender sender;
	struct run *run = arg;

	sender_init(&sender, run->length);
	sender.look_at_ns = bench_now_ns() + LOST_AFTER_NS;
	while (!atomic_load_explicit(&run->stop_sender, memory_order_relaxed)) {
		if (run->window) {
			bool sent = fill_windows(run, &sender);

			read_acks(run, &sender, !sent);
			look_for_losses(run, &sender);
			continue;
		}
		for (uint32_t i = 0; i < run->n_flows; i++)
			send_flow(run, &sender, i, BATCH);
	}
	return NULL;
}

/* ------------------------------------------------------------------- main */

static void measure(struct run *run, unsigned int ms)
{
	pthread_t sink, source;
	uint64_t n, start;
	double took;

	if (pthread_create(&sink, NULL, receive, run))
		die("thread");
	if (pthread_create(&source, NULL, send_all, run))
		die("thread");
	sleep_ms(WARM_UP_MS);
	start = bench_now_ns();
	n = get(&run->n_arrived);
	sleep_ms(ms);
	n = get(&run->n_arrived) - n;
	took = (double)(bench_now_ns() - start) * 1e-9;
	atomic_store_explicit(&run->stop_sender, true, memory_order_relaxed);
	pthread_join(source, NULL);
	/* Datagrams on the way may still arrive. */
	sleep_ms(WAIT_MS);
	atomic_store_explicit(&run->stop_sink, true, memory_order_relaxed);
	pthread_join(sink, NULL);
	printf("rate=%.0f sent=%" PRIu64 " arrived=%" PRIu64 " stalls=%" PRIu64
	       "\n",
	       (double)n / took, get(&run->n_sent), get(&run->n_arrived),
	       get(&run->n_stalls));
}

static int open_ns(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die(path);
	return fd;
}

static uint32_t number(const char *text, uint32_t min, uint32_t max)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end != '\0' || n < min || n > max) {
		fprintf(stderr, "bench-flows: not from %u to %u: %s\n", min,
			max, text);
		exit(2);
	}
	return (uint32_t)n;
}

int main(int argc, char **argv)
{
	static struct run run;

	if (argc != 8) {
		fprintf(stderr, "usage: bench-flows FROM TO ADDRESS FLOWS "
				"LENGTH WINDOW MILLISECONDS\n");
		return 2;
	}
	run.address.sin_family = AF_INET;
	run.address.sin_port = htons(PORT);
	if (inet_pton(AF_INET, argv[3], &run.address.sin_addr) != 1) {
		fprintf(stderr, "bench-flows: no IPv4 address: %s\n", argv[3]);
		return 2;
	}
	run.n_flows = number(argv[4], 1, MAX_FLOWS);
	run.length = number(argv[5], sizeof(struct mark), MAX_LENGTH);
	run.window = number(argv[6], 0, MAX_WINDOW);
	run.from = open_ns(argv[1]);
	run.to = open_ns(argv[2]);
	open_sockets(&run);
	measure(&run, number(argv[7], 1, 600000));
	return 0;
}
