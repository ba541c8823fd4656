/* SPDX-License-Identifier: MIT */
/*
 * A batch is the 47 messages of a super-packet of 64 KiB. The step take copies them, as
 * the kernel does from the socket. The step work opens them. The step commit checks the
 * replay window and merges the packets again. The step deliver copies the super-packet,
 * as the kernel does when the TUN is written to. What else the kernel does in these calls
 * is missing.
 */
#include "bench/lane_inbound.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/measure.h"
#include "bench/super_packet.h"
#include "crypto/aead.h"
#include "engine/bounds.h"
#include "engine/lane.h"
#include "engine/writer.h"
#include "noise/replay.h"
#include "noise/wire.h"
#include "tun/segment.h"
#include "tun/tun.h"

enum {
	/* As in lane.c. */
	PAYLOAD = 1368,
	SEGMENTS = 47,
	PACKET_LEN = 40 + PAYLOAD,
	SUPER_LEN = 40 + SEGMENTS * PAYLOAD,
	/* Header, packet, tag. */
	MESSAGE_LEN = sizeof(struct message_data) + PACKET_LEN + AEAD_TAG_LEN,
	BATCH_LEN = SEGMENTS * MESSAGE_LEN,
};

struct inbound {
	struct lane lane;
	struct tun tun;
	struct writer writer;
	struct writer_batch packets;
	struct replay replay;
	uint64_t next_counter;
	uint64_t take_ns, work_ns, commit_ns, write_ns;
	uint64_t n_batches;
	struct aead_msg msgs[SEGMENTS];
	uint8_t batch[BATCH_LEN];
	uint8_t sink[SUPER_LEN + sizeof(struct vnet_hdr)];
};

static struct inbound lanes[QUEUES_MAX];
static uint8_t sealed[BATCH_LEN];
static const uint8_t key[AEAD_KEY_LEN] = { 4, 5, 6 };

static void fail(const char *why)
{
	fprintf(stderr, "bench-lane: inbound: %s\n", why);
	exit(1);
}

/* One write has one super-packet. */
static ssize_t copy_out(int fd, const struct iovec *iov, int cnt)
{
	struct inbound *in = &lanes[fd];
	size_t len = 0;

	for (int i = 0; i < cnt; i++) {
		if (iov[i].iov_len > sizeof(in->sink) - len)
			fail("a write is too long");
		memcpy(in->sink + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	if (len != sizeof(in->sink))
		fail("the packets were not merged");
	return (ssize_t)len;
}

static const struct tun_sys sys = { .writev = copy_out };

static bool take(void *arg, void *slot, void *context)
{
	struct inbound *in = arg;
	uint64_t since = bench_cpu_ns();

	(void)slot;
	(void)context;
	memcpy(in->batch, sealed, BATCH_LEN);
	for (unsigned int i = 0; i < SEGMENTS; i++) {
		uint8_t *msg = in->batch + i * MESSAGE_LEN;

		if (message_check(msg, MESSAGE_LEN) != MESSAGE_DATA)
			fail("no data message");
		in->msgs[i] = (struct aead_msg){
			.key = key,
			.counter = i,
			.text = msg + sizeof(struct message_data),
			.len = PACKET_LEN,
		};
	}
	in->take_ns += bench_cpu_ns() - since;
	return true;
}

static void work(void *arg, void *slot, void *context)
{
	struct inbound *in = arg;
	uint64_t since = bench_cpu_ns();

	(void)slot;
	aead_open_batch(context, in->msgs, SEGMENTS);
	in->work_ns += bench_cpu_ns() - since;
}

static void commit(void *arg, void *slot, void *context)
{
	struct inbound *in = arg;
	uint64_t since = bench_cpu_ns();

	(void)slot;
	(void)context;
	writer_begin(&in->writer, &in->packets);
	for (unsigned int i = 0; i < SEGMENTS; i++) {
		if (!in->msgs[i].is_authentic ||
		    !replay_accept(&in->replay, in->next_counter++))
			fail("a message is refused");
		if (merge_add(&in->packets.merge, in->msgs[i].text, PACKET_LEN))
			fail("a packet is refused");
	}
	writer_push(&in->writer, &in->packets);
	in->commit_ns += bench_cpu_ns() - since;
}

/* The packets are written: the lane has one slot. */
static void written(void *arg)
{
	struct inbound *in = arg;

	in->n_batches++;
	lane_give_back(&in->lane, in->lane.slots[0]);
}

static void deliver(void *arg, void *context)
{
	struct inbound *in = arg;
	uint64_t since = bench_cpu_ns();

	(void)context;
	writer_run(&in->writer);
	in->write_ns += bench_cpu_ns() - since;
}

static const struct lane_ops ops = {
	.take = take,
	.work = work,
	.commit = commit,
	.deliver = deliver,
};

/* Seal the packets of a super-packet. */
static void make_batch(struct aead *aead)
{
	static uint8_t super[SUPER_LEN], slab_bytes[BATCH_LEN];
	static struct segment segs[SEGMENTS];
	struct aead_msg msgs[SEGMENTS];
	struct segment_slab slab = {
		.base = slab_bytes,
		.cap = sizeof(slab_bytes),
		.segs = segs,
		.segs_cap = SEGMENTS,
		.stride = PACKET_LEN,
	};
	struct segment_cursor cursor;
	struct vnet_frame frame;

	super_packet_make(super, SUPER_LEN, IP_PROTO_TCP, PAYLOAD, &frame);
	segment_begin(&cursor, super, &frame);
	segment_cut(&cursor, &slab);
	if (slab.segs_cnt != SEGMENTS)
		fail("other segments than expected");
	for (unsigned int i = 0; i < SEGMENTS; i++) {
		uint8_t *msg = sealed + i * MESSAGE_LEN;
		struct message_data *header = (void *)msg;

		memset(header, 0, sizeof(*header));
		msg[0] = MESSAGE_DATA;
		memcpy(msg + sizeof(*header), segs[i].data, PACKET_LEN);
		msgs[i] = (struct aead_msg){
			.key = key,
			.counter = i,
			.text = msg + sizeof(*header),
			.len = PACKET_LEN,
		};
	}
	aead_seal_batch(aead, msgs, SEGMENTS);
}

struct lane_steps lane_inbound_run(unsigned int n, struct aead *aead,
				   double seconds)
{
	uint64_t end = bench_now_ns() + (uint64_t)(seconds * 1e9);
	struct lane_steps sum = { 0 };
	static char slots[QUEUES_MAX];
	double batches = 0;

	make_batch(aead);
	for (unsigned int i = 0; i < n; i++) {
		struct inbound *in = &lanes[i];
		void *slot = &slots[i];

		memset(in, 0, sizeof(*in));
		in->tun = (struct tun){
			.sys = &sys,
			.fd = (int)i,
			.features = TUN_VNET,
			.kinds = MERGE_BIT(MERGE_TCP4),
		};
		replay_init(&in->replay);
		merge_init(&in->packets.merge);
		in->packets.done = written;
		in->packets.arg = in;
		writer_init(&in->writer, &in->tun, NULL);
		lane_init(&in->lane, &ops, in, &slot, 1);
	}
	while (bench_now_ns() < end)
		for (unsigned int i = 0; i < n; i++)
			lane_run(&lanes[i].lane, aead);
	for (unsigned int i = 0; i < n; i++) {
		sum.take += (double)lanes[i].take_ns;
		sum.work += (double)lanes[i].work_ns;
		sum.commit += (double)lanes[i].commit_ns;
		sum.write += (double)lanes[i].write_ns;
		batches += (double)lanes[i].n_batches;
		writer_deinit(&lanes[i].writer);
	}
	batches *= 1e3;
	return (struct lane_steps){ .take = sum.take / batches,
				    .work = sum.work / batches,
				    .commit = sum.commit / batches,
				    .write = sum.write / batches };
}
