/* SPDX-License-Identifier: MIT */
/*
 * UDP datagrams at a steady rate from one network namespace to another. Each has a
 * number, so the receiver knows which were lost, and which came twice.
 *
 * The sender wakes up each millisecond and sends what is due. If it is late, it sends at
 * most BURST_MAX at once and leaves out the rest, because a burst would overflow the
 * queue of the tunnel's interface by itself.
 *
 * usage: bench-paced FROM TO ADDRESS RATE LENGTH MILLISECONDS
 *	FROM and TO are files of network namespaces, ADDRESS is the receiver's, IPv4 or
 *	IPv6. RATE is in datagrams a second, LENGTH in bytes.
 * Prints one line of words NAME=NUMBER: for how long datagrams were sent, in ms; how many
 * were sent, have arrived, were lost, and have arrived twice; gap_us is the longest time
 * from one arrival to the next. SIGTERM ends the sending earlier.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
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
	PORT = 7320,
	/* An MTU of 1,420 without the IPv6 and the UDP header. */
	MAX_LENGTH = 1372,
	/* Bounds of arguments. Choices. */
	MAX_RATE = 1000000,
	MAX_MS = 600000,
	/* Messages in one system call. A choice. */
	BATCH = 64,
	/* Less than half of the 500 packets that the queue of a TUN holds. */
	BURST_MAX = 200,
	/* Large enough that the receiver's socket drops nothing. A choice. */
	RCVBUF_LEN = 16 << 20,
	/* After this time without a datagram none is expected any more. A choice. */
	WAIT_MS = 500,
	STEP_NS = 1000000,
};

/**
 * struct run - what both threads share
 * @from:	[I] the sender's namespace
 * @to:		[I] the receiver's namespace
 * @address:	[I] where to send to
 * @address_len: [I] its length
 * @rate:	[I] datagrams a second
 * @length:	[I] bytes of each datagram
 * @ms:		[I] how long to send at most
 * @source:	[I] the sender's socket
 * @sink:	[I] the receiver's socket
 * @cap:	[I] more than the numbers that can be sent
 * @seen:	of each number: how often it has arrived, at most 255; the receiver's
 * @n_twice:	datagrams that had arrived before; the receiver's
 * @gap_ns:	the longest time between two arrivals; the receiver's
 * @sent_ms:	how long it has taken; the sender's
 * @is_over:	[a] all are sent
 */
struct run {
	int from;
	int to;
	struct sockaddr_storage address;
	socklen_t address_len;
	uint32_t rate;
	uint32_t length;
	uint32_t ms;
	int source;
	int sink;
	uint32_t cap;
	uint8_t *seen;
	uint64_t n_twice;
	uint64_t gap_ns;
	uint32_t sent_ms;
	_Atomic bool is_over;
};

static volatile sig_atomic_t is_told_to_end;

static void tell_to_end(int number)
{
	(void)number;
	is_told_to_end = 1;
}

static void die(const char *what)
{
	fprintf(stderr, "bench-paced: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---------------------------------------------------------------- sockets */

static int open_in(const struct run *run, int ns)
{
	struct timeval wait = { .tv_usec = WAIT_MS * 1000 };
	int err = net_enter(ns), len = RCVBUF_LEN, fd;

	if (err < 0) {
		errno = -err;
		die("namespace");
	}
	fd = socket(run->address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &len, sizeof(len)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &len, sizeof(len)) < 0)
		die("socket");
	return fd;
}

static void open_sockets(struct run *run)
{
	const struct sockaddr *to = (const void *)&run->address;

	run->sink = open_in(run, run->to);
	if (bind(run->sink, to, run->address_len) < 0)
		die("bind");
	run->source = open_in(run, run->from);
	if (connect(run->source, to, run->address_len) < 0)
		die("connect");
}

/* --------------------------------------------------------------- receiver */

static void note(struct run *run, const void *data, unsigned int len)
{
	uint32_t number;

	memcpy(&number, data, sizeof(number));
	if (len != run->length || number >= run->cap)
		return;
	run->n_twice += run->seen[number] > 0;
	if (run->seen[number] < UINT8_MAX)
		run->seen[number]++;
}

static void note_time(struct run *run, uint64_t *last)
{
	uint64_t now = bench_now_ns();

	if (*last && now - *last > run->gap_ns)
		run->gap_ns = now - *last;
	*last = now;
}

/* Until nothing comes any more. */
static void *receive(void *arg)
{
	static unsigned char data[BATCH][MAX_LENGTH + 1];
	struct mmsghdr msgs[BATCH] = { 0 };
	struct iovec iov[BATCH];
	struct run *run = arg;
	uint64_t last = 0;

	for (int i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){ data[i], sizeof(data[i]) };
		msgs[i].msg_hdr.msg_iov = &iov[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
	for (;;) {
		int n = recvmmsg(run->sink, msgs, BATCH, MSG_WAITFORONE, NULL);

		if (n > 0)
			note_time(run, &last);
		for (int i = 0; i < n; i++)
			note(run, data[i], msgs[i].msg_len);
		if (n >= 0 || errno == EINTR)
			continue;
		if (errno != EAGAIN)
			die("receive");
		if (atomic_load_explicit(&run->is_over, memory_order_relaxed))
			return NULL;
	}
}

/* ----------------------------------------------------------------- sender */

static void sleep_until(uint64_t ns)
{
	struct timespec ts = { .tv_sec = (time_t)(ns / 1000000000),
			       .tv_nsec = (long)(ns % 1000000000) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) ==
	       EINTR)
		;
}

/* Send up to BATCH datagrams from number @next on. Return: how many the kernel took. */
static uint32_t send_batch(const struct run *run, uint32_t next, uint32_t n)
{
	static unsigned char data[BATCH][MAX_LENGTH];
	struct mmsghdr msgs[BATCH] = { 0 };
	struct iovec iov[BATCH];
	int sent;

	if (n > BATCH)
		n = BATCH;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t number = next + i;

		memcpy(data[i], &number, sizeof(number));
		iov[i] = (struct iovec){ data[i], run->length };
		msgs[i].msg_hdr.msg_iov = &iov[i];
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
	sent = sendmmsg(run->source, msgs, n, 0);
	if (sent < 0 && errno != ENOBUFS && errno != EAGAIN && errno != EINTR)
		die("send");
	return sent < 0 ? 0 : (uint32_t)sent;
}

/* Return: the number of datagrams that the kernel took. */
static uint32_t send_all(struct run *run)
{
	uint64_t begun = bench_now_ns(), due = 0;
	uint32_t next = 0;

	for (uint32_t step = 1; step <= run->ms && !is_told_to_end; step++) {
		uint32_t n;

		sleep_until(begun + (uint64_t)step * STEP_NS);
		due += run->rate;
		n = (uint32_t)(due / 1000);
		due -= (uint64_t)n * 1000;
		/* The next steps are due, too: this one was late. */
		while (step < run->ms &&
		       bench_now_ns() >
			       begun + (uint64_t)(step + 1) * STEP_NS) {
			step++;
			n += run->rate / 1000;
		}
		if (n > BURST_MAX)
			n = BURST_MAX;
		while (n > 0) {
			uint32_t sent = send_batch(run, next, n);

			if (!sent)
				break;
			next += sent;
			n -= sent;
		}
	}
	run->sent_ms = (uint32_t)((bench_now_ns() - begun) / 1000000);
	return next;
}

/* ------------------------------------------------------------------- main */

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
		fprintf(stderr, "bench-paced: not from %u to %u: %s\n", min,
			max, text);
		exit(2);
	}
	return (uint32_t)n;
}

static void read_address(struct run *run, const char *text)
{
	struct sockaddr_in6 *six = (void *)&run->address;
	struct sockaddr_in *four = (void *)&run->address;

	if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(PORT);
		run->address_len = sizeof(*four);
	} else if (inet_pton(AF_INET6, text, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons(PORT);
		run->address_len = sizeof(*six);
	} else {
		fprintf(stderr, "bench-paced: no address: %s\n", text);
		exit(2);
	}
}

static void print(const struct run *run, uint32_t n_sent)
{
	uint64_t n_arrived = 0;

	for (uint32_t i = 0; i < n_sent; i++)
		n_arrived += run->seen[i] > 0;
	printf("ms=%" PRIu32 " sent=%" PRIu32 " arrived=%" PRIu64
	       " lost=%" PRIu64 " twice=%" PRIu64 " gap_us=%" PRIu64 "\n",
	       run->sent_ms, n_sent, n_arrived, n_sent - n_arrived,
	       run->n_twice, run->gap_ns / 1000);
}

int main(int argc, char **argv)
{
	static struct run run;
	pthread_t receiver;
	uint32_t n_sent;

	if (argc != 7) {
		fprintf(stderr,
			"usage: bench-paced FROM TO ADDRESS RATE LENGTH "
			"MILLISECONDS\n");
		return 2;
	}
	run.from = open_ns(argv[1]);
	run.to = open_ns(argv[2]);
	read_address(&run, argv[3]);
	run.rate = number(argv[4], 1000, MAX_RATE);
	run.length = number(argv[5], sizeof(uint32_t), MAX_LENGTH);
	run.ms = number(argv[6], 1, MAX_MS);
	run.cap = (uint32_t)((uint64_t)run.rate * run.ms / 1000 + BURST_MAX);
	run.seen = calloc(run.cap, 1);
	if (!run.seen)
		die("calloc");
	open_sockets(&run);
	signal(SIGTERM, tell_to_end);
	errno = pthread_create(&receiver, NULL, receive, &run);
	if (errno)
		die("pthread_create");
	n_sent = send_all(&run);
	atomic_store_explicit(&run.is_over, true, memory_order_relaxed);
	pthread_join(receiver, NULL);
	print(&run, n_sent);
	free(run.seen);
	return 0;
}
