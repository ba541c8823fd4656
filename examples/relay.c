/* SPDX-License-Identifier: MIT */
/*
 * relay PORT - forward datagrams between pairs of endpoints
 *
 * The first four bytes of each datagram are the number of a flow, most significant
 * byte first. The first two endpoints that send with a number are the two ends of the
 * flow, and what one of them sends goes to the other. Merged trains come in. What goes
 * to one end is gathered into long trains, which go out: the program copies no payload,
 * and the library none of a train that came in.
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
	/* Takes every message. The other bytes keep two slots from using the same lines
	 * of the processor's cache. */
	SLOT_LEN = 65536 + 128,
	/* Trains that they become: more if neighbours in a message belong to
	 * different flows. */
	TRAINS = 512,
	/* Flows that the table has room for. A choice. */
	FLOWS = 1 << 16,
	NUMBER_LEN = 4
};

/**
 * struct end - one end of a flow
 * @ep:		where it is
 * @last:	the number of the train that was begun last for it. The train may have
 *		left, or be one for another end by now.
 */
struct end {
	struct ug_endpoint ep;
	uint32_t last;
};

/* With many flows each look-up waits for memory. So a flow begins with a line of the
 * processor's cache, and takes no more than two. */
struct flow {
	_Alignas(64) struct end ends[2];
	int n_ends;
};

/**
 * struct part - datagrams of a message that lie side by side and go to one end
 * @data:	the first of them
 * @len:	bytes of all
 * @segment_len: the size of each but the last, which may be shorter
 * @tos:	the TOS or traffic class that they came with
 */
struct part {
	unsigned char *data;
	size_t len;
	size_t segment_len;
	uint8_t tos;
};

/* The bytes of a train, and the parts that it is gathered from. */
struct gathered {
	size_t len;
	struct iovec iov[UG_MAX_SEGMENTS];
};

struct relay {
	struct flow flows[FLOWS];
	struct ug_socket *sock;
	struct ug_receiver *rcv;
	struct ug_batch *batch;
	struct ug_train trains[TRAINS];
	struct gathered gathered[TRAINS];
	size_t n;
	/* The kernel writes to memory of the program: it fills all of it in one call.
	 * Slots of the receiver would take less memory, because the library fills few
	 * of them with long messages. */
	unsigned char slots[SLOTS][SLOT_LEN];
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
static struct end *other_end(struct flow *flow, const struct ug_endpoint *from)
{
	int i = 0;

	while (i < flow->n_ends &&
	       ug_endpoint_compare(&flow->ends[i].ep, from) != 0)
		i++;
	if (i == 2)
		return NULL;
	flow->ends[i].ep = *from;
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

/* The part of a message from @off on that belongs to one flow. */
static struct part same_flow(const struct ug_received *in, size_t off,
			     uint32_t number)
{
	unsigned char *data = in->data;
	size_t end = off, step = in->segment_len ? in->segment_len : in->len;

	do
		end += step < in->len - end ? step : in->len - end;
	while (end < in->len && number_of(data + end, in->len - end) == number);
	return (struct part){ data + off, end - off,
			      step < end - off ? step : end - off, in->tos };
}

/* Can a part follow the datagrams of a train? The last of them must be a whole one. */
static bool can_join(const struct ug_train *t, const struct gathered *g,
		     const struct part *p)
{
	size_t cap = (size_t)t->segment_len * UG_MAX_SEGMENTS;

	if (cap > UG_MAX_TRAIN_IPV6)
		cap = UG_MAX_TRAIN_IPV6;
	return t->tos == p->tos && t->n_iov < UG_MAX_SEGMENTS &&
	       g->len % t->segment_len == 0 &&
	       (p->segment_len == t->segment_len ||
		(p->segment_len == p->len && p->len < t->segment_len)) &&
	       g->len < cap && p->len <= cap - g->len;
}

/*
 * Put a part behind what waits for its end, or begin a train. A train that a part
 * cannot join stays before those that are begun later, so the order is kept.
 */
static void add_part(struct relay *r, struct end *to, const struct part *p)
{
	struct ug_train *t = &r->trains[to->last];
	struct gathered *g = &r->gathered[to->last];

	if (to->last >= r->n || t->to != &to->ep || !can_join(t, g, p)) {
		if (r->n == TRAINS)
			flush_trains(r);
		to->last = (uint32_t)r->n++;
		t = &r->trains[to->last];
		g = &r->gathered[to->last];
		g->len = 0;
		*t = (struct ug_train){
			.to = &to->ep,
			.iov = g->iov,
			.segment_len = (uint16_t)p->segment_len,
			.tos = p->tos,
		};
	}
	g->iov[t->n_iov++] = (struct iovec){ p->data, p->len };
	g->len += p->len;
}

/* Forward a message. */
static void forward(struct relay *r, const struct ug_received *in)
{
	const unsigned char *data = in->data;
	struct part part;

	for (size_t off = 0; off < in->len; off += part.len) {
		uint32_t number = number_of(data + off, in->len - off);

		part = same_flow(in, off, number);
		struct end *to =
			number < FLOWS ? other_end(&r->flows[number], in->from)
				       : NULL;

		if (to)
			add_part(r, to, &part);
	}
}

/* Return: -errno. */
static int run(struct relay *r)
{
	struct ug_received in[SLOTS];

	for (;;) {
		for (int i = 0; i < SLOTS; i++)
			in[i] = (struct ug_received){ .data = r->slots[i],
						      .cap = SLOT_LEN };
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

	/* Datagrams that came one by one leave together. Up to a little more than the
	 * usual MTU, a copy in the library is faster than a vector for each of them:
	 * docs/performance.md. Trains are longer, and not copied. */
	opt.copy_below = 1536;
	/* The ends look for the path MTU; a relay that fragments would hide it. */
	opt.pmtu4 = opt.pmtu6 = UG_PMTU_PROBE;
	opt.port = (uint16_t)(argc > 1 ? atoi(argv[1]) : 0);
	if (!opt.port || ug_open(&r.sock, &opt, NULL) < 0 ||
	    ug_receiver_new(&r.rcv, SLOTS) < 0 ||
	    ug_batch_new(&r.batch, 128) < 0) {
		fprintf(stderr, "usage: relay PORT\n");
		return 1;
	}
	fprintf(stderr, "relay: %s\n", strerror(-run(&r)));
	return 1;
}
