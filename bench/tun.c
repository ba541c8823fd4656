/* SPDX-License-Identifier: MIT */
/*
 * The cost of cutting and merging, in nanoseconds per segment of a 64 KiB
 * super-packet, beside a memcpy() of the same bytes. The shortest time of
 * several rounds counts, because other work on the machine makes a round
 * longer.
 *
 * usage: bench-tun [payload per segment]
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench/measure.h"
#include "bench/super_packet.h"
#include "tun/checksum.h"
#include "tun/merge.h"
#include "tun/segment.h"

enum {
	/* Rounds, and super-packets in each. Choices. */
	ROUNDS = 15,
	REPEAT = 2000,
	/* Just below the most bytes of an IP packet. */
	SUPER_LEN = 65000,
	/* Larger than any super-packet needs. Choices. */
	SEGS_CAP = 1024,
	SLAB_CAP = 1 << 20,
	/* The header of a data message. */
	HEADROOM = 16,
	/* Up to 15 bytes of padding, and the tag of 16. */
	TAILROOM = 31,
};

/* A measured operation; each run handles one super-packet. */
struct work {
	const char *name;
	unsigned int (*run)(void);
};

static uint8_t super[SUPER_LEN], slab_bytes[SLAB_CAP], copy[SLAB_CAP];
static struct segment segs[SEGS_CAP];
static struct vnet_frame frame;
static struct merge *batch;
static unsigned int segs_cnt, gso_size = 1368;

static void make_super(uint8_t proto)
{
	size_t len = SUPER_LEN;

	/* Merging joins at most 64 UDP datagrams, so no more are cut. */
	if (proto == IP_PROTO_UDP)
		len = size_min(len, 28 + 64UL * gso_size);
	super_packet_make(super, len, proto, (uint16_t)gso_size, &frame);
}

static unsigned int run_memcpy(void)
{
	size_t off = frame.hdr_len, len;
	unsigned int i = 0;

	for (; off < frame.len; off += len, i++) {
		len = size_min(gso_size, frame.len - off);
		memcpy(copy + i * (gso_size + 88), super + off, len);
		__asm__ volatile("" ::: "memory");
	}
	return i;
}

static unsigned int run_copy_sum(void)
{
	size_t off = frame.hdr_len, len;
	uint64_t sum = 0;
	unsigned int i = 0;

	for (; off < frame.len; off += len, i++) {
		len = size_min(gso_size, frame.len - off);
		sum += checksum_copy(0, copy + i * (gso_size + 88), super + off,
				     len);
	}
	__asm__ volatile("" ::"r"(sum));
	return i;
}

static unsigned int run_sum(void)
{
	size_t off = frame.hdr_len, len;
	uint64_t sum = 0;
	unsigned int i = 0;

	for (; off < frame.len; off += len, i++) {
		len = size_min(gso_size, frame.len - off);
		sum += checksum_add(0, super + off, len);
	}
	__asm__ volatile("" ::"r"(sum));
	return i;
}

static unsigned int run_cut(void)
{
	struct segment_slab slab = { .base = slab_bytes,
				     .cap = SLAB_CAP,
				     .headroom = HEADROOM,
				     .tailroom = TAILROOM,
				     .segs = segs,
				     .segs_cap = SEGS_CAP };
	struct segment_cursor cur;

	segment_begin(&cur, super, &frame);
	segs_cnt = segment_cut(&cur, &slab);
	return segs_cnt;
}

/*
 * Merge the segments that run_cut() left, up to the vector that would be
 * written.
 */
static unsigned int run_merge(void)
{
	const struct iovec *iov;
	unsigned int cnt = 0, n;

	merge_reset(batch, MERGE_ALL, sizeof(struct vnet_hdr));
	for (unsigned int i = 0; i < segs_cnt; i++)
		merge_add(batch, segs[i].data, segs[i].len);
	while ((n = merge_peek(batch, &iov)) != 0) {
		/* Undo the merge, so that the next round finds the same
		 * packets. */
		if (merge_undo(batch) == MERGE_NONE)
			abort();
		merge_discard(batch);
		cnt += n;
	}
	return cnt;
}

/* A single small packet, such as an acknowledgement. */
static unsigned int run_single(void)
{
	const struct iovec *iov;

	merge_reset(batch, MERGE_ALL, sizeof(struct vnet_hdr));
	merge_add(batch, segs[0].data, segs[0].len);
	if (merge_peek(batch, &iov) != 1)
		abort();
	merge_written(batch);
	return 1;
}

/**
 * measure() - print the best time per segment
 * @proto:	transport, for the print-out
 * @w:		work
 */
static void measure(const char *proto, const struct work *w)
{
	double best = 1e18;
	unsigned int cnt = 1;

	for (int round = 0; round < ROUNDS; round++) {
		uint64_t start = bench_now_ns();
		double ns;

		for (int i = 0; i < REPEAT; i++)
			cnt = w->run();
		ns = (double)(bench_now_ns() - start) / REPEAT / cnt;
		if (ns < best)
			best = ns;
	}
	printf("%s,%s,%u,%u,%.1f\n", proto, w->name, gso_size, cnt, best);
}

int main(int argc, char **argv)
{
	static const struct work works[] = {
		{ "memcpy", run_memcpy },     { "sum", run_sum },
		{ "copy+sum", run_copy_sum }, { "cut", run_cut },
		{ "merge", run_merge },	      { "single", run_single },
	};

	if (argc > 1)
		gso_size = (unsigned int)strtoul(argv[1], NULL, 10);
	batch = calloc(1, sizeof(*batch));
	if (!batch || gso_size < 64 || gso_size > 9000)
		return 1;
	merge_init(batch);
	puts("proto,what,payload,segments,ns_per_segment");
	for (int udp = 0; udp < 2; udp++) {
		make_super(udp ? IP_PROTO_UDP : IP_PROTO_TCP);
		for (size_t i = 0; i < ARRAY_LEN(works); i++)
			measure(udp ? "udp" : "tcp", &works[i]);
	}
	free(batch);
	return 0;
}
