/* SPDX-License-Identifier: MIT */
/*
 * relay PORT - forward datagrams between pairs of endpoints
 *
 * The first four bytes of each datagram are the number of a flow, most significant
 * byte first. The first two endpoints that send with a number are the two ends of the
 * flow, and what one of them sends goes to the other. Merged trains come in, and go
 * out as trains: the program copies no payload.
 *
 * A relay on the open Internet must also authenticate its users, and forget flows
 * that are not used any more. This one shows how the library is used, and no more.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <udpgather.h>

enum {
	/* Messages that are taken at once. A choice. */
	SLOTS = 64,
	/* Trains that they become: more if neighbours in a message belong to
	 * different flows. */
	TRAINS = 1024,
	/* Flows that the table has room for. A choice. */
	FLOWS = 1 << 16,
	NUMBER_LEN = 4
};

struct flow {
	struct ug_endpoint ends[2];
	int n_ends;
};

struct relay {
	struct ug_socket *sock;
	struct ug_receiver *rcv;
	struct ug_batch *batch;
	struct flow *flows;
	struct ug_train trains[TRAINS];
	struct iovec iov[TRAINS];
	size_t n;
};

/* Send what waits. What does not fit the send buffer within 10 ms is dropped. */
static void flush_trains(struct relay *r)
{
	ug_send_trains(r->sock, r->batch, r->trains, sizeof(r->trains[0]), r->n,
		       10);
	r->n = 0;
}

/*
 * The other end of a flow, to send to; NULL if it is not known, or if the datagram
 * comes from a third endpoint. The source of an end is kept up to date: answers leave
 * from the address that the end sends to.
 */
static const struct ug_endpoint *other_end(struct flow *flow,
					   const struct ug_endpoint *from)
{
	int i = 0;

	while (i < flow->n_ends &&
	       ug_endpoint_compare(&flow->ends[i], from) != 0)
		i++;
	if (i == 2)
		return NULL;
	flow->ends[i] = *from;
	if (i == flow->n_ends)
		flow->n_ends++;
	return flow->n_ends == 2 ? &flow->ends[!i] : NULL;
}

static uint32_t number_of(const unsigned char *data, size_t len)
{
	if (len < NUMBER_LEN)
		return UINT32_MAX;
	return (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 |
	       (uint32_t)data[2] << 8 | data[3];
}

/* The part of a message from @off on that belongs to one flow. Return: its length. */
static size_t same_flow(const struct ug_received *in, size_t off,
			uint32_t number)
{
	const unsigned char *data = in->data;
	size_t end = off, step = in->segment_len ? in->segment_len : in->len;

	do
		end += step < in->len - end ? step : in->len - end;
	while (end < in->len && number_of(data + end, in->len - end) == number);
	return end - off;
}

/* Forward a message. */
static void forward(struct relay *r, const struct ug_received *in)
{
	unsigned char *data = in->data;

	for (size_t off = 0, len; off < in->len; off += len) {
		uint32_t number = number_of(data + off, in->len - off);

		len = same_flow(in, off, number);
		const struct ug_endpoint *to =
			number < FLOWS ? other_end(&r->flows[number], in->from)
				       : NULL;

		if (!to)
			continue;
		r->iov[r->n] = (struct iovec){ data + off, len };
		r->trains[r->n] = (struct ug_train){
			.to = to,
			.iov = &r->iov[r->n],
			.n_iov = 1,
			.segment_len = (uint16_t)in->segment_len,
			.tos = in->tos,
		};
		if (++r->n == TRAINS)
			flush_trains(r);
	}
}

/* Return: -errno. */
static int run(struct relay *r)
{
	struct ug_received in[SLOTS];

	for (;;) {
		memset(in, 0, sizeof(in));
		int n = ug_receive_trains(r->rcv, r->sock, AF_UNSPEC, in,
					  sizeof(in[0]), SLOTS, -1);

		if (n < 0 && n != -EINTR && n != -EBUSY && n != -EAGAIN)
			return n;
		for (int i = 0; i < n; i++)
			forward(r, &in[i]);
		flush_trains(r);
	}
}

int main(int argc, char **argv)
{
	static struct relay r;
	struct ug_options opt = { .size = sizeof(opt) };

	opt.port = (uint16_t)(argc > 1 ? atoi(argv[1]) : 0);
	r.flows = calloc(FLOWS, sizeof(*r.flows));
	if (!opt.port || !r.flows || ug_open(&r.sock, &opt, NULL) < 0 ||
	    ug_receiver_new(&r.rcv, SLOTS) < 0 ||
	    ug_batch_new(&r.batch, 128) < 0) {
		fprintf(stderr, "usage: relay PORT\n");
		return 1;
	}
	fprintf(stderr, "relay: %s\n", strerror(-run(&r)));
	return 1;
}
