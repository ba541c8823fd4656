/* SPDX-License-Identifier: MIT */
/*
 * sink [PORT] - receive datagrams and count them
 *
 * Ends after Ctrl-C, or when nothing came for 3 seconds after something did.
 * The numbers that blast writes into its datagrams tell what was lost.
 */
#include <endian.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <udpgather.h>

enum {
	SLOTS = 16,
	VIEWS = 1024,
	IDLE_S = 3,
	LATE = 10000 /* a datagram is not overtaken by more */
};

static struct ug_view views[VIEWS];
static volatile sig_atomic_t stopped;

static void stop(int sig)
{
	(void)sig;
	stopped = 1;
}

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Print what came between two readings of the counters. */
static void report(double at, const struct ug_receive_stats *old,
		   const struct ug_receive_stats *now, double seconds)
{
	double n = (double)(now->datagrams - old->datagrams);
	double messages = (double)(now->messages - old->messages);

	double gbit = (double)(now->bytes - old->bytes) * 8e-9;

	printf("%6.1f s %10.0f datagrams %6.2f Gbit/s %8.0f calls "
	       "%5.1f datagrams/message\n",
	       at, n, seconds > 0 ? gbit / seconds : 0,
	       (double)(now->calls - old->calls), n / messages);
	fflush(stdout);
}

static void die(const char *what, int err)
{
	fprintf(stderr, "sink: %s: %s\n", what, strerror(-err));
	exit(1);
}

/* Return how many datagrams are missing before this one; -1 if it is late. */
static int64_t gap_before(const struct ug_view *view)
{
	static uint64_t next;
	uint64_t seq, expected;

	if (view->len < sizeof(seq))
		return 0;
	memcpy(&seq, view->data, sizeof(seq));
	seq = be64toh(seq);
	/* What was sent before we listened is not lost, and a number from far
	 * back is another blast's. */
	expected = next && seq + LATE > next ? next : seq;
	if (seq < expected)
		return -1;
	next = seq + 1;
	return (int64_t)(seq - expected);
}

int main(int argc, char **argv)
{
	struct ug_options opt = { .size = sizeof(opt), .port = 9999 };
	struct ug_receive_stats none = { 0 }, last = none, stats = none;
	struct ug_socket *sock;
	struct ug_receiver *rcv;
	double start = 0, tick = 0, latest = 0;
	double lost = 0;
	int n;

	if (argc > 1)
		opt.port = (uint16_t)atoi(argv[1]);
	if (argc > 2 || !opt.port) {
		fprintf(stderr, "usage: sink [PORT]\n");
		return 2;
	}
	n = ug_open(&sock, &opt, NULL);
	if (n < 0)
		die("open", n);
	n = ug_receiver_new(&rcv, SLOTS);
	if (n < 0)
		die("receiver", n);
	signal(SIGINT, stop);
	printf("receiving on port %u\n", ug_port(sock));
	fflush(stdout);

	while (!stopped && (start <= 0 || now_s() - latest < IDLE_S)) {
		n = ug_receive(rcv, sock, AF_UNSPEC, views, VIEWS, 1000);
		if (n < 0)
			die("receive", n);
		if (n == 0)
			continue;
		latest = now_s();
		if (start <= 0)
			start = tick = latest;
		for (int i = 0; i < n; i++)
			lost += (double)gap_before(&views[i]);
		if (latest - tick < 1)
			continue;
		ug_get_receive_stats(rcv, &stats, sizeof(stats));
		report(latest - start, &last, &stats, latest - tick);
		last = stats;
		tick = latest;
	}
	ug_get_receive_stats(rcv, &stats, sizeof(stats));
	if (stats.datagrams > 0) {
		printf("In all:\n");
		report(latest - start, &none, &stats, latest - start);
		printf("%.3f %% lost\n",
		       100 * lost / (lost + (double)stats.datagrams));
	}
	ug_receiver_free(rcv);
	ug_close(sock);
	return 0;
}
