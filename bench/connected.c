/* SPDX-License-Identifier: MIT */
/*
 * bench-connected - what ug_connect() gains
 *
 *	bench-connected loopback|veth SLICE_MS ROUNDS
 *
 * Three sockets send the same datagrams to one receiver (udp_receiver.h): two that are
 * not connected, and one that is. They take turns in slices, in each round in another
 * order. The figure is CPU time of the sending thread for a datagram. The ratio is the
 * median of the ratios within a round; that of the two sockets that are not connected
 * is the noise. Prints a table. Needs root: it makes its own network namespaces.
 */
#include <errno.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <udpgather.h>

#include "base/bytes.h"
#include "bench/measure.h"
#include "bench/net.h"
#include "bench/udp_receiver.h"

enum {
	MAX_ROUNDS = 1000,
	MAX_BATCH = 64,
	MAX_SIZE = 1452,
	/* Calls between two looks at the clock. A choice. */
	CALLS = 16,
};

enum way {
	PLAIN,
	CONTROL,
	CONNECTED,
	WAYS
};

/* Datagrams of a size and a batch, in trains or each alone. */
static const struct row {
	size_t size;
	unsigned int batch;
	bool trains;
} rows[] = {
	{ 64, 1, false },    { 1200, 1, false }, { 64, 64, false },
	{ 1200, 64, false }, { 64, 64, true },	 { 1200, 64, true },
};

static struct net net;
static struct udp_receiver receiver;
static struct ug_endpoint to;
static struct ug_socket *socks[WAYS];
static struct ug_batch *batch;
static unsigned char payload[MAX_BATCH][MAX_SIZE];
static uint64_t n_sent;

static void check(int err, const char *what)
{
	if (err >= 0)
		return;
	fprintf(stderr, "bench-connected: %s: %s\n", what, strerror(-err));
	exit(1);
}

static void send_batch(const struct row *row, struct ug_socket *sock)
{
	struct iovec iov[MAX_BATCH];
	struct ug_datagram d[MAX_BATCH];
	int status[MAX_BATCH];

	for (unsigned int i = 0; i < row->batch; i++) {
		iov[i] = (struct iovec){ payload[i], row->size };
		d[i] = (struct ug_datagram){ .iov = &iov[i], .n_iov = 1 };
	}
	if (ug_send(sock, batch, &to, d, row->batch, status, -1) != row->batch)
		check(-EIO, "ug_send");
	n_sent += row->batch;
}

/* Send for some time. Return: CPU nanoseconds for a datagram. */
static double run_slice(const struct row *row, enum way way, uint64_t slice_ns)
{
	uint64_t window = udp_receiver_window(&receiver, row->size);
	uint64_t end = bench_now_ns() + slice_ns, cpu = 0, n = n_sent;

	while (bench_now_ns() < end) {
		uint64_t start = bench_cpu_ns();

		for (int i = 0; i < CALLS; i++)
			send_batch(row, socks[way]);
		cpu += bench_cpu_ns() - start;
		if (n_sent > window / 2 &&
		    !udp_receiver_wait(&receiver, n_sent - window / 2))
			check(-EIO, "datagrams are lost");
	}
	n = n_sent - n;
	if (!udp_receiver_wait(&receiver, n_sent))
		check(-EIO, "datagrams are lost");
	return (double)cpu / (double)n;
}

static void run_row(const struct row *row, uint64_t slice_ns,
		    unsigned int n_rounds, const char *path)
{
	static double values[WAYS][MAX_ROUNDS], gain[MAX_ROUNDS],
		noise[MAX_ROUNDS];

	atomic_store(&receiver.size, row->size);
	for (unsigned int w = 0; w < WAYS; w++) {
		check(ug_set_segments(socks[w], row->trains ? UG_SEGMENTS_AUTO
							    : UG_SEGMENTS_OFF),
		      "ug_set_segments");
		/* Warm the caches. */
		run_slice(row, (enum way)w, slice_ns);
	}
	for (unsigned int r = 0; r < n_rounds; r++) {
		for (unsigned int i = 0; i < WAYS; i++) {
			enum way way = (enum way)((i + r) % WAYS);

			values[way][r] = run_slice(row, way, slice_ns);
		}
		gain[r] = values[CONNECTED][r] / values[PLAIN][r];
		noise[r] = values[CONTROL][r] / values[PLAIN][r];
	}
	printf("| %s | %zu | %u | %s | %.0f | %.0f | %.3f | %.3f |\n", path,
	       row->size, row->batch, row->trains ? "yes" : "no",
	       bench_median(values[PLAIN], n_rounds),
	       bench_median(values[CONNECTED], n_rounds),
	       bench_median(gain, n_rounds), bench_median(noise, n_rounds));
}

/* Pin this thread to the last core. Return: the first one, for the receiver. */
static int choose_cores(void)
{
	cpu_set_t set;
	int first = -1, last = -1;

	check(sched_getaffinity(0, sizeof(set), &set) < 0 ? -errno : 0,
	      "cores");
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET((size_t)cpu, &set))
			continue;
		first = first < 0 ? cpu : first;
		last = cpu;
	}
	CPU_ZERO(&set);
	CPU_SET((size_t)last, &set);
	check(sched_setaffinity(0, sizeof(set), &set) < 0 ? -errno : 0,
	      "cores");
	return first;
}

static void open_sockets(void)
{
	const struct ug_options opt = { .size = sizeof(opt),
					.families = UG_IPV4_ONLY };

	check(ug_batch_new(&batch, MAX_BATCH), "ug_batch_new");
	check(ug_endpoint_set(&to, (struct sockaddr *)&receiver.address,
			      sizeof(receiver.address)),
	      "address");
	for (unsigned int w = 0; w < WAYS; w++)
		check(ug_open(&socks[w], &opt, NULL), "ug_open");
	check(ug_connect(socks[CONNECTED], &to), "ug_connect");
}

int main(int argc, char **argv)
{
	unsigned int slice_ms = argc > 2 ? (unsigned int)atoi(argv[2]) : 0;
	unsigned int n_rounds = argc > 3 ? (unsigned int)atoi(argv[3]) : 0;

	if (argc != 4 || !slice_ms || !n_rounds || n_rounds > MAX_ROUNDS) {
		fprintf(stderr, "usage: bench-connected loopback|veth SLICE_MS "
				"ROUNDS\n");
		return 2;
	}
	check(strcmp(argv[1], "veth") == 0 ? net_init_veth(&net)
					   : net_init_loopback(&net),
	      "network");
	int receiver_cpu = choose_cores();

	check(net_enter(net.receiver_ns), "namespace");
	check(udp_receiver_start(&receiver, &net.receiver, receiver_cpu),
	      "receiver");
	check(net_enter(net.sender_ns), "namespace");
	open_sockets();
	printf("| path | bytes | datagrams a call | trains | not connected, ns | "
	       "connected, ns | ratio | noise |\n"
	       "| --- | --- | --- | --- | --- | --- | --- | --- |\n");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		run_row(&rows[i], slice_ms * UINT64_C(1000000), n_rounds,
			argv[1]);
	for (unsigned int w = 0; w < WAYS; w++)
		ug_close(socks[w]);
	ug_batch_free(batch);
	udp_receiver_stop(&receiver);
	return 0;
}
