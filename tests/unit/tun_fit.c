/* SPDX-License-Identifier: MIT */
/* How packets are made to fit a path: whole, cut, in fragments, or not at all. */
#include "tun_packet.h"

#include "tun/fit.h"
#include "tun/segment.h"

/* Bytes around each fragment, as outbound packets need them. */
enum {
	HEADROOM = 16,
	TAILROOM = 31,
	SEGS_MAX = 256,
	SLAB_LEN = 1 << 18,
};

static uint8_t pkt[65536 + 64];
static uint8_t base[SLAB_LEN];
static struct segment segs[SEGS_MAX];
static struct segment_slab slab;
static struct vnet_frame frame;

static void reset_slab(void)
{
	slab = (struct segment_slab){
		.base = base,
		.cap = sizeof(base),
		.headroom = HEADROOM,
		.tailroom = TAILROOM,
		.segs = segs,
		.segs_cap = SEGS_MAX,
	};
}

/* A plain packet with its checksum, or with a part of it as the kernel has it. */
static void make(const struct spec *s, bool is_partial)
{
	size_t len = packet_build(pkt, s), off = packet_l4_off(s);
	struct vnet_hdr hdr = { 0 };

	packet_sum_l4(pkt, len, off, s->proto, is_partial);
	if (is_partial) {
		hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		vnet_set(hdr.csum_start, (uint16_t)off);
		vnet_set(hdr.csum_offset, (uint16_t)packet_check_off(s->proto));
	}
	assert_int_equal(vnet_parse_frame(&hdr, pkt, len, &frame), VNET_OK);
}

static void make_super(const struct spec *s, uint16_t size)
{
	size_t len = packet_build(pkt, s), off = packet_l4_off(s);
	struct vnet_hdr hdr = { .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
				.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4 };

	if (s->proto == IP_PROTO_TCP)
		hdr.gso_type = s->version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4
					       : VIRTIO_NET_HDR_GSO_TCPV6;
	packet_sum_l4(pkt, len, off, s->proto, true);
	vnet_set(hdr.gso_size, size);
	vnet_set(hdr.csum_start, (uint16_t)off);
	vnet_set(hdr.csum_offset, (uint16_t)packet_check_off(s->proto));
	assert_int_equal(vnet_parse_frame(&hdr, pkt, len, &frame), VNET_OK);
}

static void verdicts(void **state)
{
	static const struct {
		struct spec spec;
		uint16_t size; /* of a super-packet */
		size_t mtu, cut;
		enum fit want;
	} rows[] = {
		{ { .version = 4, .proto = 17, .payload_len = 1352 },
		  0,
		  1380,
		  1380,
		  FIT_WHOLE },
		{ { .version = 4, .proto = 17, .payload_len = 1353 },
		  0,
		  1380,
		  1380,
		  FIT_REFUSED },
		{ { .version = 4, .proto = 17, .payload_len = 1353 },
		  0,
		  0,
		  1380,
		  FIT_WHOLE },
		{ { .version = 4,
		    .proto = 17,
		    .no_df = true,
		    .payload_len = 1353 },
		  0,
		  1380,
		  1380,
		  FIT_FRAGMENTS },
		{ { .version = 6, .proto = 17, .payload_len = 1333 },
		  0,
		  1380,
		  1380,
		  FIT_REFUSED },
		{ { .version = 4, .proto = 17, .payload_len = 9000 },
		  1352,
		  1380,
		  1380,
		  FIT_WHOLE },
		{ { .version = 4, .proto = 17, .payload_len = 9000 },
		  1353,
		  1380,
		  1380,
		  FIT_REFUSED },
		{ { .version = 4,
		    .proto = 17,
		    .no_df = true,
		    .payload_len = 9000 },
		  1353,
		  1380,
		  1380,
		  FIT_SPLIT },
		{ { .version = 6, .proto = 17, .payload_len = 9000 },
		  1353,
		  1380,
		  1380,
		  FIT_REFUSED },
		{ { .version = 4, .proto = 6, .payload_len = 1340 },
		  0,
		  1380,
		  1380,
		  FIT_WHOLE },
		{ { .version = 4, .proto = 6, .payload_len = 1341 },
		  0,
		  1380,
		  1380,
		  FIT_CUT },
		{ { .version = 6, .proto = 6, .payload_len = 1321 },
		  0,
		  1380,
		  1380,
		  FIT_CUT },
		{ { .version = 4, .proto = 6, .payload_len = 9000 },
		  1341,
		  1380,
		  1380,
		  FIT_CUT },
		{ { .version = 6, .proto = 6, .payload_len = 9000 },
		  1321,
		  1380,
		  1380,
		  FIT_CUT },
		{ { .version = 4, .proto = 6, .payload_len = 9000 },
		  1340,
		  1380,
		  1380,
		  FIT_WHOLE },
		/* The last packet of a super-packet is all there is. */
		{ { .version = 4, .proto = 6, .payload_len = 100 },
		  1400,
		  1380,
		  1380,
		  FIT_WHOLE },
		/* In a trial only TCP data is cut. */
		{ { .version = 4, .proto = 6, .payload_len = 1341 },
		  0,
		  0,
		  1220,
		  FIT_CUT },
		/* A SYN with data, and urgent data, are not cut. */
		{ { .version = 4,
		    .proto = 6,
		    .flags = TCP_SYN,
		    .payload_len = 1341 },
		  0,
		  1380,
		  1380,
		  FIT_REFUSED },
		{ { .version = 4,
		    .proto = 6,
		    .flags = TCP_URG,
		    .payload_len = 1341 },
		  0,
		  1380,
		  1380,
		  FIT_REFUSED },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (rows[i].size)
			make_super(&rows[i].spec, rows[i].size);
		else
			make(&rows[i].spec, false);
		print_message("# row %zu\n", i);
		assert_int_equal(
			fit_packet(pkt, &frame, rows[i].mtu, rows[i].cut),
			rows[i].want);
	}
}

/* A TCP packet is cut into packets that are right, and carry the same bytes. */
static void cut_one(const struct spec *s, bool is_partial, size_t cut)
{
	static uint8_t was[65536];
	size_t hdr_len = packet_hdr_len(s), off = packet_l4_off(s), done = 0;
	struct segment_cursor cursor;

	make(s, is_partial);
	memcpy(was, pkt, frame.len);
	assert_int_equal(fit_packet(pkt, &frame, cut, cut), FIT_CUT);
	reset_slab();
	segment_begin(&cursor, pkt, &frame);
	segment_cut(&cursor, &slab);
	assert_true(cursor.done);
	assert_true(slab.segs_cnt > 1);
	for (unsigned int i = 0; i < slab.segs_cnt; i++) {
		const uint8_t *data = segs[i].data;
		const struct tcp_hdr *tcp = (const void *)(data + off);

		assert_true(segs[i].len <= cut);
		assert_true(packet_is_valid(data, segs[i].len, off));
		assert_int_equal(be32_get(tcp->seq), (uint32_t)(s->seq + done));
		assert_memory_equal(data + hdr_len, was + hdr_len + done,
				    segs[i].len - hdr_len);
		done += segs[i].len - hdr_len;
	}
	assert_int_equal(done, s->payload_len);
}

static void tcp(void **state)
{
	(void)state;
	for (int version = 4; version <= 6; version += 2) {
		struct spec s = {
			.version = version,
			.proto = IP_PROTO_TCP,
			.flags = TCP_ACK | TCP_PSH,
			.seq = 0xfffffff0,
			.opt_len = 12,
			.payload_len = 1360,
			.payload = 7,
		};

		cut_one(&s, false, 1300);
		cut_one(&s, true, 1300);
		cut_one(&s, true, 1220);
		cut_one(&s, false, 600);
	}
}

/* ------------------------------------------------------------------- fragments */

/* Put fragments together again, and compare them with the packet. */
static void check_fragments(const uint8_t *was, size_t len, size_t hdr_len,
			    size_t limit)
{
	static uint8_t got[65536];
	size_t at = 0;

	for (unsigned int i = 0; i < slab.segs_cnt; i++) {
		const uint8_t *data = segs[i].data;
		const struct ipv4_hdr *ip = ipv4_view(data);
		uint16_t frag = be16_get(ip->frag);
		bool is_last = i + 1 == slab.segs_cnt;

		assert_true(segs[i].len <= limit);
		assert_int_equal(be16_get(ip->total_len), segs[i].len);
		assert_int_equal(ipv4_hdr_len(ip), hdr_len);
		assert_int_equal(ref_sum(0, data, hdr_len), 0xffff);
		assert_int_equal((frag & IPV4_OFFSET) * 8u, at);
		assert_int_equal(!(frag & IPV4_MF), is_last);
		assert_memory_equal(&ip->id, was + 4, 2);
		assert_memory_equal(data + 8, was + 8, 2);
		assert_memory_equal(data + 12, was + 12, 8);
		memcpy(got + at, data + hdr_len, segs[i].len - hdr_len);
		at += segs[i].len - hdr_len;
	}
	assert_int_equal(at, len - hdr_len);
	assert_memory_equal(got, was + hdr_len, at);
}

static void fragment(size_t hdr_len, size_t limit)
{
	static uint8_t was[65536];
	struct segment_cursor cursor;

	memcpy(was, pkt, frame.len);
	reset_slab();
	segment_begin_fragments(&cursor, pkt, &frame, limit);
	/* The checksum is completed where the packet lies. */
	if (frame.needs_csum)
		memcpy(was, pkt, frame.len);
	while (!cursor.done)
		assert_true(segment_cut(&cursor, &slab) > 0);
	check_fragments(was, frame.len, hdr_len, limit);
}

static void fragments(void **state)
{
	struct spec s = {
		.version = 4,
		.proto = IP_PROTO_UDP,
		.no_df = true,
		.id = 4711,
		.payload = 3,
	};

	(void)state;
	for (uint32_t len = 1353; len < 65000; len += 1999) {
		s.payload_len = len;
		make(&s, false);
		fragment(20, 1380);
		assert_true(ref_sum(packet_pseudo(pkt, IP_PROTO_UDP, len + 8),
				    pkt + 20, len + 8) == 0xffff);
		make(&s, true);
		fragment(20, 1381);
		assert_true(ref_sum(packet_pseudo(pkt, IP_PROTO_UDP, len + 8),
				    pkt + 20, len + 8) == 0xffff);
	}
}

/* The slab is full in the middle of a packet. */
static void short_slab(void **state)
{
	struct spec s = { .version = 4,
			  .proto = IP_PROTO_UDP,
			  .no_df = true,
			  .payload_len = 10000,
			  .payload = 3 };
	struct segment_cursor cursor;

	(void)state;
	make(&s, false);
	reset_slab();
	slab.segs_cap = 3;
	segment_begin_fragments(&cursor, pkt, &frame, 1380);
	assert_int_equal(segment_cut(&cursor, &slab), 3);
	assert_false(cursor.done);
	slab.segs_cap = SEGS_MAX;
	segment_cut(&cursor, &slab);
	assert_true(cursor.done);
	check_fragments(pkt, frame.len, 20, 1380);
}

/* A fragment is cut further: its offset counts, and its flag stays. */
static void of_a_fragment(void **state)
{
	struct spec s = { .version = 4,
			  .proto = IP_PROTO_UDP,
			  .no_df = true,
			  .payload_len = 1400,
			  .payload = 3 };
	struct segment_cursor cursor;

	(void)state;
	make(&s, false);
	pkt[6] = 0x20; /* more fragments follow */
	pkt[7] = 100;  /* and this one begins at 800 */
	reset_slab();
	segment_begin_fragments(&cursor, pkt, &frame, 1300);
	segment_cut(&cursor, &slab);
	assert_int_equal(slab.segs_cnt, 2);
	assert_int_equal(be16_get(ipv4_view(segs[0].data)->frag),
			 IPV4_MF | 100);
	assert_int_equal(be16_get(ipv4_view(segs[1].data)->frag),
			 IPV4_MF | (100 + 1280 / 8));
}

/* Options: "record route" stands in the first fragment only, "router alert" in all. */
static void options(void **state)
{
	static const uint8_t list[12] = {
		7, 7, 4, 0, 0, 0, 0, 148, 4, 0, 0, 0
	};
	struct segment_cursor cursor;

	(void)state;
	memset(pkt, 0, 2000);
	pkt[0] = 0x48;
	pkt[2] = 2000 >> 8;
	pkt[3] = 2000 & 255;
	pkt[9] = 17;
	memcpy(pkt + 20, list, sizeof(list));
	frame = (struct vnet_frame){ .len = 2000, .ip_version = 4 };
	reset_slab();
	segment_begin_fragments(&cursor, pkt, &frame, 1380);
	segment_cut(&cursor, &slab);
	assert_int_equal(slab.segs_cnt, 2);
	assert_memory_equal(segs[0].data + 20, list, sizeof(list));
	assert_memory_equal(segs[1].data + 20, "\1\1\1\1\1\1\1\224\4\0\0\0",
			    sizeof(list));
	check_fragments(pkt, 2000, 32, 1380);
	/* An option without an end ends the search. */
	pkt[21] = 200;
	reset_slab();
	segment_begin_fragments(&cursor, pkt, &frame, 1380);
	segment_cut(&cursor, &slab);
	assert_memory_equal(segs[1].data + 20, "\7\310", 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verdicts),	 cmocka_unit_test(tcp),
		cmocka_unit_test(fragments),	 cmocka_unit_test(short_slab),
		cmocka_unit_test(of_a_fragment), cmocka_unit_test(options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
