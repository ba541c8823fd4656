/* SPDX-License-Identifier: MIT */
/*
 * A frame as any program with an AF_PACKET socket may write it. The frame is
 * checked, then cut in one call and a second time in many calls. The results
 * must be equal.
 * Input: the number of segments that a slab takes (a byte), virtio-net header,
 * packet.
 */
#include "fuzz/fuzz.h"
#include "tun/checksum.h"
#include "tun/segment.h"

/* A packet has less than 65,536 bytes of payload, so not more segments. */
#define SLAB_LEN (24U << 20)
#define SEGS_CAP 65536

static uint8_t *one_go, *piecemeal;
static struct segment *segs;

static void check_segment(const struct segment_cursor *cur,
			  const struct segment *seg)
{
	const struct ipv4_hdr *ip4 = (const void *)seg->data;
	const struct ipv6_hdr *ip6 = (const void *)seg->data;

	require(seg->len <= cur->full_len);
	if (cur->frame.gso_size == 0)
		return;
	require(seg->len >= cur->frame.hdr_len);
	require(seg->len - cur->frame.hdr_len <= cur->frame.gso_size);
	if (cur->frame.ip_version == 6) {
		require(be16_get(ip6->payload_len) == seg->len - 40);
		return;
	}
	require(be16_get(ip4->total_len) == seg->len);
	require(checksum_fold(checksum_add(0, ip4, cur->frame.l4_off)) ==
		0xffff);
}

/**
 * cut() - cut a frame
 * @base: receives the segments, back to back
 * @frame:	its description
 * @pkt:	packet
 * @cap:	segments per slab
 *
 * Return: length of all segments.
 */
static size_t cut(uint8_t *base, const struct vnet_frame *frame,
		  const uint8_t *pkt, unsigned int cap)
{
	struct segment_cursor cur;
	uint32_t payload = 0;
	size_t total = 0;

	segment_begin(&cur, pkt, frame);
	while (!cur.done) {
		struct segment_slab slab = { .base = base + total,
					     .cap = SLAB_LEN - total,
					     .segs = segs,
					     .segs_cap = cap };

		require(segment_cut(&cur, &slab) > 0);
		for (unsigned int i = 0; i < slab.segs_cnt; i++) {
			require(segs[i].data == base + total);
			check_segment(&cur, &segs[i]);
			total += segs[i].len;
			payload += segs[i].len - frame->hdr_len;
		}
	}
	if (frame->gso_size)
		require(payload == frame->len - frame->hdr_len);
	else
		require(total == frame->len);
	return total;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct vnet_frame frame;
	struct vnet_hdr hdr;
	uint8_t *copy;
	size_t total;

	if (!segs) {
		one_go = malloc(SLAB_LEN);
		piecemeal = malloc(SLAB_LEN);
		segs = calloc(SEGS_CAP, sizeof(*segs));
		require(one_go && piecemeal && segs);
	}
	if (len < 1 + sizeof(hdr))
		return 0;
	memcpy(&hdr, data + 1, sizeof(hdr));
	if (vnet_parse_frame(&hdr, data + 11, len - 11, &frame) != VNET_OK)
		return 0;
	/* Long headers with one byte of payload each would not fit the
	 * buffer. */
	if (frame.gso_size &&
	    (frame.len / frame.gso_size + 1) * (size_t)frame.hdr_len >
		    SLAB_LEN / 2)
		return 0;
	total = cut(one_go, &frame, data + 11, SEGS_CAP);
	require(cut(piecemeal, &frame, data + 11, data[0] % 7 + 1U) == total);
	require(!memcmp(one_go, piecemeal, total));
	if (frame.gso_size == 0) {
		copy = malloc(frame.len);
		require(copy != NULL);
		memcpy(copy, data + 11, frame.len);
		segment_complete(copy, &frame);
		require(!memcmp(copy, one_go, total));
		free(copy);
	}
	return 0;
}
