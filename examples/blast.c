/* SPDX-License-Identifier: MIT */
/*
 * blast HOST:PORT [SECONDS [SIZE]] - send datagrams as fast as the kernel takes
 * them
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <udpgather.h>

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	/* 128 datagrams are two trains of 64, the most in one. 9,000 bytes are
	 * the usual MTU of jumbo frames. Both are choices. */
	enum {
		BATCH = 128,
		MOST = 9000
	};
	static char payload[BATCH][MOST];
	struct iovec iov[BATCH];
	struct ug_datagram dgrams[BATCH];
	int status[BATCH];
	struct ug_send_stats now = { 0 }, last = { 0 };
	struct ug_endpoint to;
	struct ug_socket *sock;
	struct ug_batch *batch;
	int seconds = argc > 2 ? atoi(argv[2]) : 5;
	size_t size = argc > 3 ? strtoul(argv[3], NULL, 10) : 1200;

	if (argc < 2 || ug_endpoint_parse(&to, argv[1]) < 0 || size > MOST ||
	    ug_open(&sock, NULL, NULL) < 0 || ug_batch_new(&batch, BATCH) < 0) {
		fprintf(stderr, "usage: blast HOST:PORT [SECONDS [SIZE]]\n");
		return 1;
	}
	for (int i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){ payload[i], size };
		dgrams[i] = (struct ug_datagram){ .iov = &iov[i], .n_iov = 1 };
	}
	double start = now_s(), tick = start, t = start;

	for (; t - start < seconds; t = now_s()) {
		ug_send(sock, batch, &to, dgrams, BATCH, status, 1000);
		if (t - tick < 1)
			continue;
		ug_get_send_stats(batch, &now, sizeof(now));
		printf("sent     %6.2f Gbit/s in trains of %4.1f datagrams\n",
		       (double)(now.bytes - last.bytes) * 8e-9 / (t - tick),
		       (double)(now.datagrams - last.datagrams) /
			       (double)(now.messages - last.messages + 1));
		fflush(stdout);
		last = now;
		tick = t;
	}
	ug_get_send_stats(batch, &now, sizeof(now));
	printf("sent %" PRIu64 " datagrams in %" PRIu64 " system calls\n",
	       now.datagrams, now.calls);
	ug_batch_free(batch);
	ug_close(sock);
	return 0;
}
