/* SPDX-License-Identifier: MIT */
/*
 * Datagrams of UDP, by flow. Each endpoint that sends to the published port gets a
 * socket of its own on the inner side, which is connected to the program, and what comes
 * back by it goes to that endpoint, from the address that the endpoint has written to.
 * Trains stay trains.
 *
 * A program may listen at the loopback address or at that of the tunnel. If nobody
 * listens at one, the kernel says so by an ICMP error, in most cases before the call that
 * sends has returned (the loopback device hands packets over at once). Then the same
 * datagrams are sent to the other address, and new flows of the port begin there.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "ctl/forward.h"

#include <udpgather.h>

enum {
	/* Flows of a port. A choice: if there are more, the one that has been silent
	 * longest goes. */
	FLOWS_MAX = 256,
	/* Messages taken at once. */
	SLOTS = 64,
	/* Datagrams that a batch looks at together. */
	BATCH = 128,
	/* How long to wait for room in a send buffer before datagrams are dropped. */
	SEND_MS = 0,
};

/**
 * struct flow - an endpoint outside, and its socket inside
 * @watch:	the socket in the loop; @fd -1: the place is free
 * @port:	whose flow it is
 * @from:	the endpoint, with the address to answer from
 * @inner:	the socket
 * @target:	the address that it is connected to
 * @last:	when something moved, in seconds
 */
struct flow {
	struct forward_watch watch;
	struct datagrams *port;
	struct ug_endpoint from;
	struct ug_socket *inner;
	unsigned int target;
	time_t last;
};

/**
 * struct datagrams - the flows of a port
 * @forward:	the loop
 * @port:	the port
 * @watch:	its socket in the loop
 * @receiver:	memory to receive into
 * @batch:	memory to send
 * @target:	the address that new flows are connected to
 * @flows:	the flows
 */
struct datagrams {
	struct forward *forward;
	struct publish_port *port;
	struct forward_watch watch;
	struct ug_receiver *receiver;
	struct ug_batch *batch;
	unsigned int target;
	struct flow flows[FLOWS_MAX];
};

static time_t now(void)
{
	struct timespec time = { 0 };

	clock_gettime(CLOCK_BOOTTIME, &time);
	return time.tv_sec;
}

/* Send messages as they came, all to one endpoint; NULL: to the peer of the socket. */
static void pass(struct datagrams *d, struct ug_socket *to_socket,
		 const struct ug_endpoint *to, const struct ug_received *in,
		 size_t n)
{
	struct ug_train trains[SLOTS];
	struct iovec iov[SLOTS];

	for (size_t i = 0; i < n; i++) {
		iov[i] = (struct iovec){ in[i].data, in[i].len };
		trains[i] = (struct ug_train){
			.to = to,
			.iov = &iov[i],
			.n_iov = 1,
			.segment_len =
				(uint16_t)(in[i].n > 1 ? in[i].segment_len : 0),
			.tos = in[i].tos,
		};
	}
	/* What does not fit a buffer is dropped, as by a router. */
	ug_send_trains(to_socket, d->batch, trains, sizeof(trains[0]), n,
		       SEND_MS);
}

static int connect_flow(struct flow *f)
{
	const struct publish_address *to = &f->port->port->targets[f->target];
	struct ug_endpoint ep;
	int err = ug_endpoint_set(&ep, &to->addr.any, to->len);

	return err < 0 ? err : ug_connect(f->inner, &ep);
}

/* Nobody listens there. Connect the flow to the other address. Return: is there one? */
static bool turn(struct flow *f)
{
	unsigned int other = (f->target + 1) % PUBLISH_TARGETS;

	if (!f->port->port->targets[other].len)
		return false;
	f->target = f->port->target = other;
	return connect_flow(f) == 0;
}

/* Has the kernel refused what was sent? The error is taken from the socket. */
static bool is_refused(const struct flow *f)
{
	int err = 0;
	socklen_t len = sizeof(err);

	return getsockopt(f->watch.fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0 &&
	       err == ECONNREFUSED;
}

/* Send datagrams to the program. */
static void pass_in(struct flow *f, const struct ug_received *in, size_t n)
{
	pass(f->port, f->inner, NULL, in, n);
	if (is_refused(f) && turn(f))
		pass(f->port, f->inner, NULL, in, n);
}

/* Answers of the program. */
static void flow_ready(struct forward_watch *watch, uint32_t events)
{
	struct flow *f = watch->arg;
	struct datagrams *d = f->port;
	struct ug_received in[SLOTS];
	int n;

	(void)events;
	/* An event of this turn, after the flow has gone. */
	if (watch->fd < 0)
		return;
	memset(in, 0, sizeof(in));
	n = ug_receive_trains(d->receiver, f->inner, AF_UNSPEC, in,
			      sizeof(in[0]), SLOTS, 0);
	if (n == -ECONNREFUSED)
		turn(f);
	if (n <= 0)
		return;
	f->last = now();
	pass(d, d->port->socket, &f->from, in, (size_t)n);
}

static void close_flow(struct flow *f)
{
	if (f->watch.fd < 0)
		return;
	forward_remove(f->port->forward, &f->watch);
	ug_close(f->inner);
	f->watch.fd = -1;
}

static int open_flow(struct flow *f, const struct ug_endpoint *from)
{
	bool is_v4 = from->addr.any.sa_family == AF_INET;
	const struct ug_options opt = {
		.size = sizeof(opt),
		.families = is_v4 ? UG_IPV4_ONLY : UG_IPV6_ONLY,
	};
	int err = ug_open(&f->inner, &opt, NULL);

	if (err < 0)
		return err;
	f->from = *from;
	f->target = f->port->target;
	f->last = now();
	f->watch = (struct forward_watch){
		.fd = ug_fd(f->inner, from->addr.any.sa_family),
		.ready = flow_ready,
		.arg = f,
	};
	err = connect_flow(f);
	if (err == 0)
		err = forward_add(f->port->forward, &f->watch, EPOLLIN);
	if (err < 0) {
		ug_close(f->inner);
		f->watch.fd = -1;
	}
	return err;
}

/* The flow of an endpoint, which may be made. NULL: it cannot be made. */
static struct flow *find_flow(struct datagrams *d,
			      const struct ug_endpoint *from)
{
	struct flow *oldest = &d->flows[0];

	for (size_t i = 0; i < FLOWS_MAX; i++) {
		struct flow *f = &d->flows[i];

		if (f->watch.fd >= 0 &&
		    ug_endpoint_compare(&f->from, from) == 0) {
			/* The address to answer from may have changed. */
			f->from = *from;
			f->last = now();
			return f;
		}
		if (f->watch.fd < 0 ||
		    (oldest->watch.fd >= 0 && f->last < oldest->last))
			oldest = f;
	}
	close_flow(oldest);
	return open_flow(oldest, from) < 0 ? NULL : oldest;
}

/* Datagrams from outside. Neighbours of one flow leave together. */
static void port_ready(struct forward_watch *watch, uint32_t events)
{
	struct datagrams *d = watch->arg;
	struct ug_received in[SLOTS];
	int n;

	(void)events;
	memset(in, 0, sizeof(in));
	n = ug_receive_trains(d->receiver, d->port->socket, AF_UNSPEC, in,
			      sizeof(in[0]), SLOTS, 0);
	for (int i = 0, first = 0; i < n; i++) {
		struct flow *f;

		if (i + 1 < n &&
		    ug_endpoint_compare(in[i].from, in[i + 1].from) == 0)
			continue;
		f = find_flow(d, in[i].from);
		if (f)
			pass_in(f, in + first, (size_t)(i + 1 - first));
		first = i + 1;
	}
}

int forward_datagrams(struct forward *forward, struct publish_port *port)
{
	struct datagrams *d = calloc(1, sizeof(*d));
	int err = d ? 0 : -ENOMEM;

	if (err == 0)
		err = ug_receiver_new(&d->receiver, SLOTS);
	if (err == 0)
		err = ug_batch_new(&d->batch, BATCH);
	if (err < 0)
		return err;
	d->forward = forward;
	d->port = port;
	for (size_t i = 0; i < FLOWS_MAX; i++)
		d->flows[i] = (struct flow){ .watch.fd = -1, .port = d };
	d->watch = (struct forward_watch){
		.fd = ug_fd(port->socket, port->outer.addr.any.sa_family),
		.ready = port_ready,
		.arg = d,
	};
	return forward_add(forward, &d->watch, EPOLLIN);
}
