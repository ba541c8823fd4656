/* SPDX-License-Identifier: MIT */
/*
 * blast HOST:PORT [SECONDS [SIZE]] - send datagrams as fast as one thread can
 *
 * Each begins with a number, by which sink sees what was lost.
 */
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <udpgather.h>

enum {
	BATCH = 128
};

static unsigned char payload[BATCH * UG_MAX_DATAGRAM_IPV4];
static struct iovec iov[BATCH];
static struct ug_datagram dgrams[BATCH];
static int status[BATCH];

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* Print what was sent between two readings of the counters. */
static void report(double at, const struct ug_send_stats *old,
		   const struct ug_send_stats *now, double seconds)
{
	double n = (double)(now->datagrams - old->datagrams);
	double messages = (double)(now->messages - old->messages);

	printf("%6.1f s %10.0f datagrams %6.2f Gbit/s %8.0f calls "
	       "%5.1f datagrams/message\n",
	       at, n, (double)(now->bytes - old->bytes) * 8e-9 / seconds,
	       (double)(now->calls - old->calls), n / messages);
	fflush(stdout);
}

static void die(const char *what, int err)
{
	fprintf(stderr, "blast: %s: %s\n", what, strerror(-err));
	exit(1);
}

/* Number the datagrams and send them all, however long that takes. */
static void send_batch(struct ug_socket *sock, struct ug_batch *batch,
		       const struct ug_endpoint *to)
{
	static uint64_t seq;

	for (int i = 0; i < BATCH; i++) {
		uint64_t wire = htobe64(seq++);

		memcpy(iov[i].iov_base, &wire, sizeof(wire));
	}
	if (ug_send(sock, batch, to, dgrams, BATCH, status, -1) == BATCH)
		return;
	for (int i = 0; i < BATCH; i++)
		if (status[i] < 0)
			die("send", status[i]);
}

int main(int argc, char **argv)
{
	double seconds = argc > 2 ? atof(argv[2]) : 10;
	int size = argc > 3 ? atoi(argv[3]) : 1200;
	struct ug_send_stats none = { 0 }, last = none, stats;
	struct ug_endpoint to;
	struct ug_socket *sock;
	struct ug_batch *batch;
	double start, tick, now;
	int err;

	if (argc < 2 || seconds <= 0 || size < 8 ||
	    size > UG_MAX_DATAGRAM_IPV4 || ug_endpoint_parse(&to, argv[1])) {
		fprintf(stderr, "usage: blast HOST:PORT [SECONDS [SIZE]]\n");
		return 2;
	}
	for (int i = 0; i < BATCH; i++) {
		iov[i].iov_base = payload + i * size;
		iov[i].iov_len = (size_t)size;
		dgrams[i].iov = &iov[i];
		dgrams[i].n_iov = 1;
	}
	err = ug_open(&sock, NULL, NULL);
	if (err)
		die("open", err);
	err = ug_batch_new(&batch, BATCH);
	if (err)
		die("batch", err);

	start = tick = now = now_s();
	while (now - start < seconds) {
		send_batch(sock, batch, &to);
		now = now_s();
		if (now - tick < 1)
			continue;
		ug_get_send_stats(batch, &stats, sizeof(stats));
		report(now - start, &last, &stats, now - tick);
		last = stats;
		tick = now;
	}
	ug_get_send_stats(batch, &stats, sizeof(stats));
	printf("In all:\n");
	report(now - start, &none, &stats, now - start);
	ug_batch_free(batch);
	ug_close(sock);
	return 0;
}
