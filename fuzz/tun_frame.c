/* SPDX-License-Identifier: MIT */
/*
 * A frame as any program with an AF_PACKET socket may write it. The frame is
 * checked, then cut in one call and a second time in many calls. The results
 * must be equal.
 * Input: a byte, of which the remainder decides how many segments a slab takes,
 * and bit 7 whether the virtio-net header is the longer one; virtio-net header;
 * packet.
 */
#include "fuzz/fuzz.h"
#include "tun/checksum.h"
#include "tun/segment.h"

/* A packet has less than 65,536 bytes of payload, so not more segments. */
#define SLAB_LEN (24U << 20)
#define SEGS_CAP 65536
/* The bit of the first byte for the longer virtio-net header. */
#define LONGER 0x80

static uint8_t *one_go, *piecemeal;
static struct segment *segs;

/* Check the lengths and the checksum of an IP header. */
static void check_ip(const uint8_t *hdr, unsigned int version, size_t hdr_len,
		     size_t len)
{
	const struct ipv4_hdr *ip4 = (const void *)hdr;
	const struct ipv6_hdr *ip6 = (const void *)hdr;

	if (version == 6) {
		require(be16_get(ip6->payload_len) == len - 40);
		return;
	}
	require(be16_get(ip4->total_len) == len);
	require(checksum_fold(checksum_add(0, ip4, hdr_len)) == 0xffff);
}

/* Check the outer headers of a segment in a tunnel. The checksum must be right
 * even if the sum of the inner pseudo header, which the input chose, is not. */
static void check_outer(const struct vnet_frame *f, const struct segment *seg)
{
	const struct udp_hdr *udp = (const void *)(seg->data + f->outer_l4_off);
	size_t len = seg->len - f->outer_l4_off;
	uint64_t sum;

	check_ip(seg->data, f->outer_version, f->outer_l4_off, seg->len);
	require(be16_get(udp->len) == len);
	require(udp_has_checksum(udp) == f->outer_csum);
	if (!f->outer_csum)
		return;
	if (f->outer_version == 4)
		sum = checksum_pseudo4(seg->data + 12, seg->data + 16,
				       IP_PROTO_UDP, len);
	else
		sum = checksum_pseudo6(seg->data + 8, seg->data + 24,
				       IP_PROTO_UDP, len);
	require(checksum_fold(checksum_add(sum, udp, len)) == 0xffff);
}

static void check_segment(const struct segment_cursor *cur,
			  const struct segment *seg)
{
	const struct vnet_frame *f = &cur->frame;

	require(seg->len <= cur->full_len);
	if (f->gso_size == 0)
		return;
	require(seg->len >= f->hdr_len);
	require(seg->len - f->hdr_len <= f->gso_size);
	check_ip(seg->data + f->ip_off, f->ip_version,
		 (size_t)(f->l4_off - f->ip_off), seg->len - f->ip_off);
	if (f->outer_l4_off)
		check_outer(f, seg);
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

/* Check the frame of an input. Return: offset of its packet; 0 if the frame is
 * bad. */
static size_t parse(const uint8_t *data, size_t len, struct vnet_frame *frame)
{
	union {
		struct vnet_hdr base;
		struct vnet_tunnel_hdr tunnel;
	} hdr;
	bool is_long = len && data[0] & LONGER;
	size_t off = 1 + (is_long ? sizeof(hdr.tunnel) : sizeof(hdr.base));
	enum vnet_drop reason;

	if (len < off)
		return 0;
	memcpy(&hdr, data + 1, off - 1);
	if (is_long)
		reason = vnet_parse_tunnel_frame(&hdr.tunnel, data + off,
						 len - off, frame);
	else
		reason = vnet_parse_frame(&hdr.base, data + off, len - off,
					  frame);
	return reason == VNET_OK ? off : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct vnet_frame frame;
	uint8_t *copy;
	size_t total, off;

	if (!segs) {
		one_go = malloc(SLAB_LEN);
		piecemeal = malloc(SLAB_LEN);
		segs = calloc(SEGS_CAP, sizeof(*segs));
		require(one_go && piecemeal && segs);
	}
	off = parse(data, len, &frame);
	if (off == 0)
		return 0;
	/* Long headers with one byte of payload each would not fit the
	 * buffer. */
	if (frame.gso_size &&
	    (frame.len / frame.gso_size + 1) * (size_t)frame.hdr_len >
		    SLAB_LEN / 2)
		return 0;
	total = cut(one_go, &frame, data + off, SEGS_CAP);
	require(cut(piecemeal, &frame, data + off, data[0] % 7 + 1U) == total);
	require(!memcmp(one_go, piecemeal, total));
	if (frame.gso_size == 0) {
		copy = malloc(frame.len);
		require(copy != NULL);
		memcpy(copy, data + off, frame.len);
		segment_complete(copy, &frame);
		require(!memcmp(copy, one_go, total));
		free(copy);
	}
	return 0;
}
