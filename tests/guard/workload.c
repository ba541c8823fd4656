/* SPDX-License-Identifier: MIT */
/*
 * Fixed work in memory, whose instructions instructions.py counts. Frames as
 * read from a TUN are cut into packets, sealed, and sent to a fake socket that
 * takes everything. The messages are then opened as by the receiver, and merged
 * for its TUN. The packets are always the same. The AEAD is always that of
 * libsodium.
 *
 * Each stage that is counted is a function measured_...(). Each scenario runs
 * once before the counted run, so that work done only at the first use is not
 * counted. The program checks the packets that come out. It prints a line for
 * each scenario: its name and its number of packets.
 */
#include <string.h>

#include "tests/unit/tun_packet.h"

#include "crypto/aead.h"
#include "crypto/init.h"
#include "device/session.h"
#include "noise/replay.h"
#include "tun/merge.h"
#include "tun/segment.h"
#include "udpgather/open.h"
#include "udpgather/sys.h"

enum {
	MTU = 1420,
	HEADER_LEN = sizeof(struct message_data),
	/* More than the largest scenario needs. */
	SLAB_LEN = 256 << 10,
	MAX_PACKETS = 128,
	/* Packets of the scenarios of small ones, and their flows. Choices. */
	SMALL_PACKETS = 64,
	SMALL_FLOWS = 8,
	PACKET_LEN_MAX = 65536,
};

/**
 * struct input - a packet as a TUN hands it out
 * @hdr:	its virtio-net header
 * @pkt:	its bytes
 * @len:	number of bytes
 */
struct input {
	struct vnet_hdr hdr;
	uint8_t *pkt;
	size_t len;
};

/**
 * struct work - all that the stages use
 * @inputs:	packets as read from the TUN
 * @n_inputs:	number of @inputs
 * @slab:	memory that the inputs are cut into
 * @segs:	the packets
 * @aead:	for sealing and opening
 * @msgs:	messages
 * @key:	key of the session
 * @counter:	counter of the next message
 * @replay:	replay window of the receiver
 * @sock:	where messages are sent
 * @batch:	for sending
 * @to:		endpoint that the messages go to
 * @iov:	messages with their headers and tags
 * @dgrams:	datagrams to send
 * @status:	status of each datagram after sending
 * @n_sent:	number of datagrams that were sent
 * @n_opened:	number of authentic messages with new counters
 * @merge:	packets to write
 * @out:	bytes that were written; filled outside of the stages
 * @out_len:	length of each write
 * @n_out:	number of writes
 */
struct work {
	struct input inputs[MAX_PACKETS];
	unsigned int n_inputs;
	struct segment_slab slab;
	struct segment segs[MAX_PACKETS];
	struct aead *aead;
	struct aead_msg msgs[MAX_PACKETS];
	uint8_t key[AEAD_KEY_LEN];
	uint64_t counter;
	struct ug_socket *sock;
	struct ug_batch *batch;
	struct ug_endpoint to;
	struct iovec iov[MAX_PACKETS];
	struct ug_datagram dgrams[MAX_PACKETS];
	int status[MAX_PACKETS];
	size_t n_sent;
	struct replay replay;
	size_t n_opened;
	struct merge merge;
	const struct iovec *out[MAX_PACKETS];
	unsigned int out_cnt[MAX_PACKETS];
	unsigned int n_out;
};

static void give_up(const char *scenario, const char *what)
{
	fprintf(stderr, "workload: %s: %s\n", scenario, what);
	exit(1);
}

/* ----------------------------------------------------------------- stages */

static void cut(struct work *w)
{
	w->slab.used = 0;
	w->slab.segs_cnt = 0;
	for (unsigned int i = 0; i < w->n_inputs; i++) {
		const struct input *in = &w->inputs[i];
		struct segment_cursor cur;
		struct vnet_frame frame;

		if (vnet_parse_frame(&in->hdr, in->pkt, in->len, &frame))
			continue;
		segment_begin(&cur, in->pkt, &frame);
		w->slab.stride = HEADER_LEN +
				 session_padded_len(cur.full_len, MTU) +
				 AEAD_TAG_LEN;
		segment_cut(&cur, &w->slab);
	}
}

static void seal(struct work *w)
{
	for (unsigned int i = 0; i < w->slab.segs_cnt; i++) {
		const struct segment *seg = &w->segs[i];
		size_t padded = session_padded_len(seg->len, MTU);

		memset(seg->data + seg->len, 0, padded - seg->len);
		w->msgs[i] = (struct aead_msg){
			.key = w->key,
			.counter = w->counter++,
			.text = seg->data,
			.len = (uint32_t)padded,
		};
	}
	aead_seal_batch(w->aead, w->msgs, w->slab.segs_cnt);
}

static void send_all(struct work *w)
{
	for (unsigned int i = 0; i < w->slab.segs_cnt; i++) {
		w->iov[i] = (struct iovec){
			.iov_base = w->segs[i].data - HEADER_LEN,
			.iov_len = HEADER_LEN + w->msgs[i].len + AEAD_TAG_LEN,
		};
		w->dgrams[i] = (struct ug_datagram){
			.iov = &w->iov[i],
			.n_iov = 1,
			.to = &w->to,
		};
	}
	w->n_sent = ug_send(w->sock, w->batch, NULL, w->dgrams,
			    w->slab.segs_cnt, w->status, 0);
}

static void open_all(struct work *w)
{
	w->n_opened = 0;
	aead_open_batch(w->aead, w->msgs, w->slab.segs_cnt);
	for (unsigned int i = 0; i < w->slab.segs_cnt; i++)
		w->n_opened += w->msgs[i].is_authentic &&
			       replay_accept(&w->replay, w->msgs[i].counter);
}

static void merge(struct work *w)
{
	const struct iovec *iov;
	unsigned int cnt;

	w->n_out = 0;
	merge_reset(&w->merge, MERGE_ALL, sizeof(struct vnet_hdr));
	for (unsigned int i = 0; i < w->slab.segs_cnt; i++)
		merge_add(&w->merge, w->segs[i].data, w->segs[i].len);
	while ((cnt = merge_peek(&w->merge, &iov)) > 0) {
		w->out[w->n_out] = iov;
		w->out_cnt[w->n_out++] = cnt;
		merge_written(&w->merge);
	}
}

/*
 * callgrind finds the stages by these names, so the compiler must not inline
 * the functions.
 */
#define MEASURED(stage)                                                        \
	static __attribute__((noinline)) void measured_##stage(struct work *w) \
	{                                                                      \
		stage(w);                                                      \
		__asm__ volatile("" ::: "memory");                             \
	}

MEASURED(cut)
MEASURED(seal)
MEASURED(send_all)
MEASURED(open_all)
MEASURED(merge)

/*
 * The stages are called by volatile pointers, so the compiler makes no special
 * copies of them.
 */
static void (*volatile const stages[])(struct work *w) = {
	measured_cut,	   measured_seal,  measured_send_all,
	measured_open_all, measured_merge,
};

/* -------------------------------------------------------------- scenarios */

/* Add a packet to the input. @gso_size is the size of its segments, or 0. */
static void add_input(struct work *w, const struct spec *s, uint16_t gso_size)
{
	struct input *in = &w->inputs[w->n_inputs++];
	size_t off = packet_l4_off(s);

	*in = (struct input){ .pkt = calloc(1, PACKET_LEN_MAX) };
	if (!in->pkt)
		give_up("all", "no memory");
	in->len = packet_build(in->pkt, s);
	packet_sum_l4(in->pkt, in->len, off, s->proto, true);
	in->hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	vnet_set(in->hdr.csum_start, (uint16_t)off);
	vnet_set(in->hdr.csum_offset, (uint16_t)packet_check_off(s->proto));
	if (!gso_size)
		return;
	in->hdr.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4;
	if (s->proto == IP_PROTO_TCP)
		in->hdr.gso_type = s->version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4
						   : VIRTIO_NET_HDR_GSO_TCPV6;
	vnet_set(in->hdr.hdr_len, (uint16_t)packet_hdr_len(s));
	vnet_set(in->hdr.gso_size, gso_size);
}

static void make_tcp4(struct work *w)
{
	add_input(w,
		  &(struct spec){ .version = 4,
				  .proto = IP_PROTO_TCP,
				  .opt_len = 12,
				  .payload_len = 47 * 1368 },
		  1368);
}

static void make_tcp6(struct work *w)
{
	add_input(w,
		  &(struct spec){ .version = 6,
				  .proto = IP_PROTO_TCP,
				  .opt_len = 12,
				  .payload_len = 47 * 1348 },
		  1348);
}

static void make_udp4(struct work *w)
{
	add_input(w,
		  &(struct spec){ .version = 4,
				  .proto = IP_PROTO_UDP,
				  .payload_len = 50 * 1200 },
		  1200);
}

/* Small datagrams of several flows, one of each flow in turn. */
static void make_small(struct work *w)
{
	for (unsigned int i = 0; i < SMALL_PACKETS; i++)
		add_input(w,
			  &(struct spec){ .version = 4,
					  .proto = IP_PROTO_UDP,
					  .id = (uint16_t)(i / SMALL_FLOWS),
					  .sport = (uint16_t)(i % SMALL_FLOWS),
					  .payload_len = 64 },
			  0);
}

/* Acknowledgements, as the receiver of a stream sends them. */
static void make_acks(struct work *w)
{
	for (unsigned int i = 0; i < SMALL_PACKETS; i++)
		add_input(w,
			  &(struct spec){ .version = 4,
					  .proto = IP_PROTO_TCP,
					  .opt_len = 12,
					  .id = (uint16_t)i,
					  .ack = i * 1368 },
			  0);
}

static const struct scenario {
	const char *name;
	void (*make)(struct work *w);
	unsigned int packets; /* that the input is cut into */
	unsigned int writes;  /* after merging */
} scenarios[] = {
	{ "tcp4", make_tcp4, 47, 1 },
	{ "tcp6", make_tcp6, 47, 1 },
	{ "udp4", make_udp4, 50, 1 },
	{ "small", make_small, SMALL_PACKETS, SMALL_FLOWS },
	{ "acks", make_acks, SMALL_PACKETS, SMALL_PACKETS },
};

/* -------------------------------------------------------------------- main */

/* If the packets were merged into one, it must be the packet that was read. */
static void check(const struct work *w, const struct scenario *s)
{
	static uint8_t flat[sizeof(struct vnet_hdr) + PACKET_LEN_MAX];
	size_t len = 0;

	if (w->slab.segs_cnt != s->packets)
		give_up(s->name, "cut into another number of packets");
	if (w->n_sent != s->packets)
		give_up(s->name, "not all were sent");
	if (w->n_opened != s->packets)
		give_up(s->name, "not all were opened");
	if (w->n_out != s->writes)
		give_up(s->name, "merged into another number of writes");
	if (s->writes > 1)
		return;
	for (unsigned int i = 0; i < w->out_cnt[0]; i++) {
		const struct iovec *v = &w->out[0][i];

		if (v->iov_len > sizeof(flat) - len)
			give_up(s->name, "merged into too much");
		memcpy(flat + len, v->iov_base, v->iov_len);
		len += v->iov_len;
	}
	if (len != sizeof(struct vnet_hdr) + w->inputs[0].len ||
	    memcmp(flat + sizeof(struct vnet_hdr), w->inputs[0].pkt,
		   w->inputs[0].len) != 0)
		give_up(s->name, "what came out is not what went in");
}

static void run(struct work *w, const struct scenario *s)
{
	w->n_inputs = 0;
	s->make(w);
	cut(w);
	seal(w);
	send_all(w);
	open_all(w);
	merge(w);
	check(w, s);
	for (size_t i = 0; i < ARRAY_LEN(stages); i++)
		stages[i](w);
	check(w, s);
	printf("%s %u\n", s->name, s->packets);
	for (unsigned int i = 0; i < w->n_inputs; i++)
		free(w->inputs[i].pkt);
}

static int take_all(int fd, struct mmsghdr *msgs, unsigned int n, int flags)
{
	(void)fd;
	(void)msgs;
	(void)flags;
	return (int)n;
}

/* A socket of a fake kernel that takes all messages at once. */
static void open_sender(struct work *w)
{
	static struct ug_sys sys;

	sys = ug_sys_linux;
	sys.sendmmsg = take_all;
	if (ug_socket_open_with(&sys, &w->sock, NULL, NULL) < 0 ||
	    ug_batch_new(&w->batch, MAX_PACKETS) < 0 ||
	    ug_endpoint_parse(&w->to, "192.0.2.1:51820") < 0)
		give_up("all", "no socket");
}

int main(void)
{
	static struct work w;

	w.slab = (struct segment_slab){
		.base = malloc(SLAB_LEN),
		.cap = SLAB_LEN,
		.headroom = HEADER_LEN,
		.tailroom = MESSAGE_DATA_TAIL,
		.segs = w.segs,
		.segs_cap = MAX_PACKETS,
	};
	w.aead = aead_new(AEAD_SODIUM);
	if (crypto_init() < 0 || !w.slab.base || !w.aead)
		give_up("all", "cannot start");
	memset(w.key, 0x5a, sizeof(w.key));
	replay_init(&w.replay);
	merge_init(&w.merge);
	open_sender(&w);
	for (size_t i = 0; i < ARRAY_LEN(scenarios); i++)
		run(&w, &scenarios[i]);
	ug_batch_free(w.batch);
	ug_close(w.sock);
	aead_free(w.aead);
	free(w.slab.base);
	return 0;
}
