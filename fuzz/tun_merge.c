/* SPDX-License-Identifier: MIT */
/*
 * Packets as a peer may send them are merged, then cut again. Promise: every
 * packet comes out unchanged, and those of a flow in order. An IPv4 datagram
 * without a checksum may get one, which is right then. Input: a byte; per packet a
 * byte of options, two of length (big endian), and the packet. Option 1 writes
 * the right IPv4 checksum, 2 the right transport checksum, 4 the right lengths,
 * so that a fuzzer need not guess them. Option 8 does all this to a packet in
 * VXLAN or Geneve first. The first byte of the input says which kinds of packets
 * do not merge (upper half), whether the kernel refuses what is merged (1), and
 * whether it has tunnel devices (2).
 */
#include "fuzz/fuzz.h"
#include "tun/checksum.h"
#include "tun/merge.h"
#include "tun/segment.h"

/* Packets of an input, their length, and segments of a merged one. Choices. */
#define PACKETS_MAX 48
#define PACKET_CAP  2048
#define SEGS_CAP    1024

enum {
	VXLAN = 4789,
	GENEVE = 6081
};

struct packet {
	uint32_t len;
	int matched;
	uint8_t bytes[PACKET_CAP];
};

static struct merge *m;
static struct packet in[PACKETS_MAX];
static unsigned int in_cnt;
static uint8_t slots[PACKETS_MAX][MERGE_HEADROOM + PACKET_CAP];
static uint8_t flat[1 << 17], cut[1 << 19];
static struct segment segs[SEGS_CAP];

/* The transport protocol if it starts right behind a plain header, or -1. */
static int plain_proto(const struct packet *p)
{
	if (p->len >= 28 && p->bytes[0] == 0x45 && !(p->bytes[6] & 0xbf) &&
	    p->bytes[7] == 0)
		return p->bytes[9];
	if (p->len >= 48 && p->bytes[0] >> 4 == 6)
		return p->bytes[6];
	return -1;
}

/* Offset of the IP packet in a packet of VXLAN or Geneve; 0: there is none. */
static size_t inner_off(const struct packet *p)
{
	size_t off = p->bytes[0] >> 4 == 4 ? 20 : 40, hdr_len = 8;
	unsigned int port;

	if (plain_proto(p) != IP_PROTO_UDP || p->len < off + 8 + 8)
		return 0;
	port = (unsigned int)(p->bytes[off + 2] << 8 | p->bytes[off + 3]);
	if (port == GENEVE)
		hdr_len += (size_t)(p->bytes[off + 8] & 0x3f) * 4;
	else if (port != VXLAN)
		return 0;
	off += 8 + hdr_len + 14;
	return p->len > off ? off : 0;
}

static size_t l4_off(const struct packet *p)
{
	return p->bytes[0] >> 4 == 4 ? 20 : 40;
}

static void mend_lengths(struct packet *p)
{
	size_t off = l4_off(p);
	struct be16 len = be16_make((uint16_t)p->len);

	if (off == 20)
		memcpy(p->bytes + 2, &len, 2);
	len = be16_make((uint16_t)(p->len - off));
	if (off == 40)
		memcpy(p->bytes + 4, &len, 2);
	if (plain_proto(p) == IP_PROTO_UDP)
		memcpy(p->bytes + off + 4, &len, 2);
}

static void mend_checksum(struct packet *p, int proto)
{
	size_t off = l4_off(p), field = proto == IP_PROTO_TCP ? 16 : 6;
	struct be16 check = be16_make(0);
	uint64_t sum;

	if (p->len < off + field + 2)
		return;
	memcpy(p->bytes + off + field, &check, 2);
	if (off == 20)
		sum = checksum_pseudo4(p->bytes + 12, p->bytes + 16,
				       (uint8_t)proto, p->len - off);
	else
		sum = checksum_pseudo6(p->bytes + 8, p->bytes + 24,
				       (uint8_t)proto, p->len - off);
	sum = checksum_add(sum, p->bytes + off, p->len - off);
	check = proto == IP_PROTO_UDP ? checksum_finish_udp(sum)
				      : checksum_finish(sum);
	memcpy(p->bytes + off + field, &check, 2);
}

static void mend(struct packet *p, uint8_t options);

/* Mend the packet in a tunnel. */
static void mend_inner(struct packet *p)
{
	static struct packet inner;
	size_t off = inner_off(p);

	if (!off)
		return;
	inner.len = p->len - (uint32_t)off;
	memcpy(inner.bytes, p->bytes + off, inner.len);
	mend(&inner, 7);
	memcpy(p->bytes + off, inner.bytes, inner.len);
}

static void mend(struct packet *p, uint8_t options)
{
	int proto = plain_proto(p);
	struct be16 check = be16_make(0);

	if (proto != IP_PROTO_TCP && proto != IP_PROTO_UDP)
		return;
	if (options & 8)
		mend_inner(p);
	if (options & 4)
		mend_lengths(p);
	if (options & 1 && l4_off(p) == 20) {
		memcpy(p->bytes + 10, &check, 2);
		check = checksum_finish(checksum_add(0, p->bytes, 20));
		memcpy(p->bytes + 10, &check, 2);
	}
	if (options & 2)
		mend_checksum(p, proto);
}

/* Make equivalent packets equal: IDs under DF, and a TCP checksum of 0xffff; also
 * in a tunnel. An outer checksum does not depend on them. */
static void normalise(const struct packet *p, struct packet *out)
{
	size_t off = inner_off(p);

	memcpy(out->bytes, p->bytes, p->len);
	out->len = p->len;
	if (off) {
		static struct packet inner, same;

		inner.len = p->len - (uint32_t)off;
		memcpy(inner.bytes, p->bytes + off, inner.len);
		if (!inner_off(&inner))
			normalise(&inner, &same);
		else
			same = inner;
		memcpy(out->bytes + off, same.bytes, inner.len);
	}
	if (plain_proto(p) == IP_PROTO_TCP && p->len >= l4_off(p) + 20 &&
	    !memcmp(p->bytes + l4_off(p) + 16, "\xff\xff", 2))
		memset(out->bytes + l4_off(p) + 16, 0, 2);
	if (p->len >= 20 && p->bytes[0] == 0x45 && p->bytes[6] == 0x40) {
		memset(out->bytes + 4, 0, 2);
		memset(out->bytes + 10, 0, 2);
	}
}

/* Did the datagram @before get the checksum that @after has, and is it right? */
static int has_got_checksum(const struct packet *before,
			    const struct packet *after)
{
	uint64_t sum;

	if (plain_proto(before) != IP_PROTO_UDP || l4_off(before) != 20 ||
	    before->bytes[26] || before->bytes[27])
		return 0;
	sum = checksum_pseudo4(after->bytes + 12, after->bytes + 16,
			       IP_PROTO_UDP, after->len - 20);
	return checksum_fold(checksum_add(sum, after->bytes + 20,
					  after->len - 20)) == 0xffff;
}

/* Is @after what may become of @before? */
static int equal(const struct packet *before, const struct packet *after)
{
	static struct packet x, y;

	if (before->len != after->len)
		return 0;
	normalise(before, &x);
	normalise(after, &y);
	if (has_got_checksum(before, after))
		memset(y.bytes + 26, 0, 2);
	return !memcmp(x.bytes, y.bytes, before->len);
}

static int same_flow(const struct packet *a, const struct packet *b)
{
	int proto = plain_proto(a);

	if ((proto != IP_PROTO_TCP && proto != IP_PROTO_UDP) ||
	    plain_proto(b) != proto || l4_off(a) != l4_off(b))
		return 0;
	if (l4_off(a) == 20)
		return !memcmp(a->bytes + 12, b->bytes + 12, 12);
	return !memcmp(a->bytes + 8, b->bytes + 8, 36);
}

/* This packet must be the first of its flow that has not come out yet. */
static void match(const uint8_t *pkt, size_t len)
{
	static struct packet out;

	require(len <= PACKET_CAP);
	out.len = (uint32_t)len;
	memcpy(out.bytes, pkt, len);
	for (unsigned int i = 0; i < in_cnt; i++) {
		if (in[i].matched)
			continue;
		if (equal(&in[i], &out)) {
			in[i].matched = 1;
			return;
		}
		require(!same_flow(&in[i], &out));
	}
	require(0);
}

static void take_frame(size_t len)
{
	struct segment_slab slab = { .base = cut,
				     .cap = sizeof(cut),
				     .segs = segs,
				     .segs_cap = SEGS_CAP };
	struct segment_cursor cur;
	const uint8_t *pkt = flat + m->hdr_len;
	struct vnet_tunnel_hdr hdr = { 0 };
	struct vnet_frame frame;

	len -= m->hdr_len;
	memcpy(&hdr, flat, m->hdr_len);
	if (hdr.base.flags == 0) {
		match(pkt, len);
		return;
	}
	require(vnet_parse_tunnel_frame(&hdr, pkt, len, &frame) == VNET_OK);
	segment_begin(&cur, pkt, &frame);
	segment_cut(&cur, &slab);
	require(cur.done);
	for (unsigned int i = 0; i < slab.segs_cnt; i++)
		match(segs[i].data, segs[i].len);
}

static void add_all(const uint8_t *data, size_t len)
{
	in_cnt = 0;
	while (len >= 4 && in_cnt < PACKETS_MAX) {
		struct packet *p = &in[in_cnt];
		uint8_t *slot = slots[in_cnt] + MERGE_HEADROOM;

		p->len = (uint32_t)(data[1] << 8 | data[2]);
		p->len = (uint32_t)size_min(p->len,
					    size_min(len - 3, PACKET_CAP));
		p->matched = 0;
		memcpy(p->bytes, data + 3, p->len);
		mend(p, data[0]);
		memcpy(slot, p->bytes, p->len);
		data += 3 + p->len;
		len -= 3 + p->len;
		if (merge_add(m, slot, p->len) == 0)
			in_cnt++;
	}
}

static void begin(uint8_t options)
{
	static const struct overlays devices = {
		.cnt = 2,
		.list = { { .port = { { VXLAN >> 8, VXLAN & 0xff } },
			    .versions = OVERLAY_V4 | OVERLAY_V6 },
			  { .port = { { GENEVE >> 8, GENEVE & 0xff } },
			    .versions = OVERLAY_V4 | OVERLAY_V6,
			    .is_geneve = true } },
	};
	bool has_tunnels = options & 2;

	merge_reset(m, MERGE_ALL & ~(options >> 4),
		    has_tunnels ? sizeof(struct vnet_tunnel_hdr)
				: sizeof(struct vnet_hdr));
	/* The parser takes the true offsets only. */
	if (has_tunnels)
		merge_set_overlays(m, &devices, MERGE_TUNNELS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const struct iovec *iov;
	unsigned int cnt;

	if (len == 0)
		return 0;
	if (!m) {
		m = calloc(1, sizeof(*m));
		require(m != NULL);
		merge_init(m);
	}
	begin(data[0]);
	add_all(data + 1, len - 1);
	while ((cnt = merge_peek(m, &iov)) != 0) {
		size_t total = 0;

		/* In some inputs the kernel refuses the merged packet. */
		if (data[0] & 1 && merge_undo(m) != MERGE_NONE)
			continue;
		for (unsigned int i = 0; i < cnt; i++) {
			memcpy(flat + total, iov[i].iov_base, iov[i].iov_len);
			total += iov[i].iov_len;
		}
		take_frame(total);
		merge_written(m);
	}
	for (unsigned int i = 0; i < in_cnt; i++)
		require(in[i].matched);
	return 0;
}
