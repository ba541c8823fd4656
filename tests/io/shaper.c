/* SPDX-License-Identifier: MIT */
#include "tests/io/shaper.h"

#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "tests/lib/check.h"
#include "tests/lib/netns.h"
#include "udpgather.h"

enum {
	LINK_KBIT = 50000,
	/* Bytes that leave at once, and that wait at most: tbf(8). */
	LINK_BURST = 3000,
	LINK_QUEUE = 28000,
	/* Of a flow: a choice, 0.6 s at the average rate. */
	DATAGRAMS = 1600,
	MOST_AT_ONCE = 64,
	VIEWS = 64,
	/* Nothing has come for so long: the rest is lost. The queue is empty within
	 * 5 ms. */
	SILENCE_MS = 300,
};

int shaper_sender;
const char *const shaper_hosts[2] = { "10.2.0.2", "[fd00:2::2]" };
static int router, receiver;

double shaper_slowness(void)
{
	const char *text = getenv("LAB_SLOW");
	double factor = text ? strtod(text, NULL) : 0;

	return factor >= 1 ? factor : 1;
}

/* The routes of the two ends, and the link behind the router. */
static int set_up_routes(void)
{
	return netns_enter(shaper_sender) ||
	       netns_ip("route add default via 10.1.0.2") ||
	       netns_ip("-6 route add default via fd00:1::2") ||
	       netns_cut_early("in") || netns_enter(receiver) ||
	       netns_ip("route add default via 10.2.0.1") ||
	       netns_ip("-6 route add default via fd00:2::1") ||
	       netns_enter(router) || netns_set("ipv4/ip_forward", "1") ||
	       netns_set("ipv6/conf/all/forwarding", "1") ||
	       netns_tc("qdisc add dev out root tbf rate %dkbit burst %d "
			"limit %d",
			(int)(LINK_KBIT / shaper_slowness()), LINK_BURST,
			LINK_QUEUE);
}

int shaper_set_up(void **state)
{
	(void)state;
	shaper_sender = netns_new();
	router = netns_new();
	receiver = netns_new();
	if (shaper_sender < 0 || router < 0 || receiver < 0)
		return -1;
	return netns_join(shaper_sender, router, "in", 1, 1500) ||
	       netns_join(router, receiver, "out", 2, 1500) || set_up_routes();
}

static void pause_for(double seconds)
{
	struct timespec t = {
		.tv_sec = (time_t)seconds,
		.tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9),
	};

	nanosleep(&t, NULL);
}

/* Count what has come. Waits up to @timeout_ms for the first. */
static size_t count_arrivals(struct ug_receiver *rcv, struct ug_socket *sock,
			     int timeout_ms)
{
	struct ug_view views[VIEWS];
	size_t n = 0;

	for (;;) {
		int r = ug_receive(rcv, sock, AF_UNSPEC, views, VIEWS,
				   n ? 0 : timeout_ms);

		assert_true(r >= 0);
		if (!r)
			return n;
		n += (size_t)r;
	}
}

static struct ug_socket *opened(int ns, const struct ug_options *opt)
{
	struct ug_socket *sock;

	assert_int_equal(netns_enter(ns), 0);
	assert_int_equal(ug_open(&sock, opt, NULL), 0);
	return sock;
}

/* The first datagrams wait for neighbour discovery on both links. */
static void wait_for_path(struct ug_socket *from, struct ug_socket *to,
			  struct ug_batch *batch, struct ug_receiver *rcv,
			  const struct ug_endpoint *ep)
{
	char byte = 0;
	struct iovec v = { &byte, 1 };
	struct ug_datagram d = { .iov = &v, .n_iov = 1 };
	int status;

	for (int tries = 0; tries < 50; tries++) {
		ug_send(from, batch, ep, &d, 1, &status, 0);
		if (count_arrivals(rcv, to, 100))
			break;
	}
	while (count_arrivals(rcv, to, SILENCE_MS))
		;
}

/* Send the datagrams of a flow. Return: how many came. */
static size_t run_flow(struct ug_socket *from, struct ug_socket *to,
		       const struct shaper_flow *flow,
		       const struct ug_endpoint *ep)
{
	static unsigned char payload[MOST_AT_ONCE * SHAPER_DATAGRAM];
	struct iovec iov[MOST_AT_ONCE];
	struct ug_datagram dgrams[MOST_AT_ONCE];
	int status[MOST_AT_ONCE];
	double seconds = (double)flow->at_once * SHAPER_DATAGRAM * 8 /
			 (SHAPER_MBIT * 1e6) * shaper_slowness();
	struct ug_batch *batch;
	struct ug_receiver *rcv;
	size_t came = 0;

	assert_int_equal(ug_batch_new(&batch, MOST_AT_ONCE), 0);
	assert_int_equal(ug_receiver_new(&rcv, VIEWS), 0);
	wait_for_path(from, to, batch, rcv, ep);
	assert_int_equal(ug_batch_set_segments(batch, flow->max_segments), 0);
	for (size_t i = 0; i < flow->at_once; i++) {
		iov[i] = (struct iovec){ payload + i * SHAPER_DATAGRAM,
					 SHAPER_DATAGRAM };
		dgrams[i] = (struct ug_datagram){ .iov = &iov[i], .n_iov = 1 };
	}
	for (size_t n = 0; n < DATAGRAMS; n += flow->at_once) {
		assert_int_equal(ug_send(from, batch, ep, dgrams, flow->at_once,
					 status, 1000),
				 flow->at_once);
		/* Never earlier, also if the last pause was too long. */
		pause_for(seconds);
		came += count_arrivals(rcv, to, 0);
	}
	for (size_t n;
	     (n = count_arrivals(rcv, to,
				 (int)(SILENCE_MS * shaper_slowness())));)
		came += n;
	ug_receiver_free(rcv);
	ug_batch_free(batch);
	return came;
}

double shaper_loss(const struct shaper_flow *flow, const char *host)
{
	struct ug_options opt = {
		.size = sizeof(opt),
		.max_pacing_rate = flow->is_paced
					   ? (uint64_t)(SHAPER_MBIT * 1e6 / 8 /
							shaper_slowness())
					   : 0,
	};
	struct ug_socket *to = opened(receiver, NULL);
	struct ug_socket *from = opened(shaper_sender, &opt);
	char text[UG_ENDPOINT_TEXT];
	struct ug_endpoint ep;

	snprintf(text, sizeof(text), "%s:%u", host, ug_port(to));
	assert_int_equal(ug_endpoint_parse(&ep, text), 0);
	size_t came = run_flow(from, to, flow, &ep);
	double lost = 100.0 - 100.0 * (double)came / DATAGRAMS;

	printf("# %s: %zu at once, trains of up to %u%s: %.1f %% of %d lost\n",
	       host, flow->at_once,
	       flow->max_segments ? flow->max_segments : UG_MAX_SEGMENTS,
	       flow->is_paced ? ", paced" : "", lost, DATAGRAMS);
	ug_close(from);
	ug_close(to);
	return lost;
}
