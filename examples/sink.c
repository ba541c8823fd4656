/* SPDX-License-Identifier: MIT */
/* sink PORT - count datagrams until none has come for two seconds */
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
	/* 16 trains of 64 datagrams fill 1,024 views. All three are choices. */
	enum {
		SLOTS = 16,
		VIEWS = 1024,
		IDLE_MS = 2000
	};
	static struct ug_view views[VIEWS];
	struct ug_options opt = { .size = sizeof(opt) };
	struct ug_receive_stats now = { 0 }, last = { 0 };
	struct ug_socket *sock;
	struct ug_receiver *rcv;
	int n;

	opt.port = (uint16_t)(argc > 1 ? atoi(argv[1]) : 0);
	if (!opt.port || ug_open(&sock, &opt, NULL) < 0 ||
	    ug_receiver_new(&rcv, SLOTS) < 0) {
		fprintf(stderr, "usage: sink PORT\n");
		return 1;
	}
	/* Wait for the first datagram without a limit. */
	n = ug_receive(rcv, sock, AF_UNSPEC, views, VIEWS, -1);
	for (double tick = now_s(), t = tick; n > 0; t = now_s()) {
		n = ug_receive(rcv, sock, AF_UNSPEC, views, VIEWS, IDLE_MS);
		if (t - tick < 1)
			continue;
		ug_get_receive_stats(rcv, &now, sizeof(now));
		printf("received %6.2f Gbit/s in trains of %4.1f datagrams\n",
		       (double)(now.bytes - last.bytes) * 8e-9 / (t - tick),
		       (double)(now.datagrams - last.datagrams) /
			       (double)(now.messages - last.messages + 1));
		fflush(stdout);
		last = now;
		tick = t;
	}
	ug_get_receive_stats(rcv, &now, sizeof(now));
	printf("received %" PRIu64 " datagrams in %" PRIu64 " system calls\n",
	       now.datagrams, now.calls);
	ug_receiver_free(rcv);
	ug_close(sock);
	return 0;
}
