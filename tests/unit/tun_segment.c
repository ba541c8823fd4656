/* SPDX-License-Identifier: MIT */
#include "tun_packet.h"
#include "tun/segment.h"

/* Choices: large enough for the segments of each super-packet here. */
#define SLAB_LEN (8 << 20)
#define SEGS_MAX 65536
/* As outbound packets need: a header of 16 bytes in front; padding and a tag,
 * 15 and 16 bytes, behind. */
#define TAILROOM 31
#define HEADROOM 16
/* The slab is filled with this byte. A choice. */
#define UNTOUCHED 0xa5

static uint8_t *slab_base;
static struct segment *segs;

static int make_slab(void **state)
{
	(void)state;
	slab_base = malloc(SLAB_LEN);
	segs = calloc(SEGS_MAX, sizeof(*segs));
	return slab_base && segs ? 0 : -1;
}

static int free_slab(void **state)
{
	(void)state;
	free(slab_base);
	free(segs);
	return 0;
}

static struct segment_slab new_slab(void)
{
	memset(slab_base, UNTOUCHED, 1 << 17);
	return (struct segment_slab){ .base = slab_base,
				      .cap = SLAB_LEN,
				      .headroom = HEADROOM,
				      .tailroom = TAILROOM,
				      .segs = segs,
				      .segs_cap = SEGS_MAX };
}

/**
 * super_frame() - make a super-packet as the kernel would
 * @pkt:	where
 * @s:		spec
 * @size:	segment size
 * @frame:	receives the description of the super-packet
 *
 * Return: its length.
 */
static size_t super_frame(uint8_t *pkt, const struct spec *s, uint16_t size,
			  struct vnet_frame *frame)
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
	assert_int_equal(vnet_parse_frame(&hdr, pkt, len, frame), VNET_OK);
	return len;
}

/**
 * check_segments() - compare segments with packets that are made singly
 * @s:		spec of the super-packet
 * @pkt:	the super-packet
 * @size:	segment size
 * @cnt:	segments made
 */
static void check_segments(const struct spec *s, const uint8_t *pkt,
			   uint16_t size, unsigned int cnt)
{
	static uint8_t want[65536];
	struct spec one = *s;
	size_t hdr_len = packet_hdr_len(s), off = packet_l4_off(s);
	uint32_t done = 0;

	for (unsigned int i = 0; i < cnt; i++) {
		one.payload_len =
			(uint32_t)size_min(size, s->payload_len - done);
		one.id = (uint16_t)(s->id + i);
		one.seq = s->seq + done;
		one.flags = s->flags;
		if (i > 0)
			one.flags &= (uint8_t)~TCP_CWR;
		if (i + 1 < cnt)
			one.flags &= (uint8_t) ~(TCP_FIN | TCP_PSH);
		packet_build(want, &one);
		memcpy(want + hdr_len, pkt + hdr_len + done, one.payload_len);
		packet_sum_l4(want, hdr_len + one.payload_len, off, s->proto,
			      false);
		assert_int_equal(segs[i].len, hdr_len + one.payload_len);
		assert_memory_equal(segs[i].data, want, segs[i].len);
		assert_true(packet_is_valid(segs[i].data, segs[i].len, off));
		done += one.payload_len;
	}
	assert_int_equal(done, s->payload_len);
}

static void test_table(void **state)
{
	static const struct {
		struct spec spec;
		uint16_t size;
		unsigned int want;
	} rows[] = {
		{ { .version = 4, .proto = 6, .payload_len = 200 }, 100, 2 },
		{ { .version = 6, .proto = 6, .payload_len = 200 }, 100, 2 },
		{ { .version = 4, .proto = 17, .payload_len = 200 }, 100, 2 },
		{ { .version = 6, .proto = 17, .payload_len = 200 }, 100, 2 },
		{ { .version = 4, .proto = 6, .payload_len = 201 }, 100, 3 },
		{ { .version = 4, .proto = 6, .payload_len = 99 }, 100, 1 },
		{ { .version = 4, .proto = 17, .payload_len = 7 }, 1, 7 },
		/* IPv4 ID and sequence number wrap. */
		{ { .version = 4,
		    .proto = 6,
		    .id = 65534,
		    .seq = 0xffffff80,
		    .payload_len = 500 },
		  100,
		  5 },
		/*
		 * FIN and PSH are on the last segment only, CWR on the first,
		 * ECE on all.
		 */
		{ { .version = 4,
		    .proto = 6,
		    .flags = TCP_ACK | TCP_PSH | TCP_FIN | TCP_CWR | TCP_ECE,
		    .payload_len = 250 },
		  100,
		  3 },
		{ { .version = 6,
		    .proto = 6,
		    .flags = TCP_ACK | TCP_PSH | TCP_CWR,
		    .opt_len = 12,
		    .payload_len = 250 },
		  100,
		  3 },
		/* Extension headers count in the payload length. */
		{ { .version = 6,
		    .proto = 6,
		    .ext_len = 16,
		    .payload_len = 250 },
		  100,
		  3 },
		{ { .version = 6,
		    .proto = 17,
		    .ext_len = 2048,
		    .payload_len = 250 },
		  100,
		  3 },
		{ { .version = 4,
		    .proto = 6,
		    .opt_len = 40,
		    .payload_len = 65000 },
		  1,
		  65000 },
	};
	static uint8_t pkt[65536];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct segment_slab slab = new_slab();
		struct segment_cursor cur;
		struct vnet_frame frame;

		super_frame(pkt, &rows[i].spec, rows[i].size, &frame);
		segment_begin(&cur, pkt, &frame);
		assert_int_equal(segment_cut(&cur, &slab), rows[i].want);
		assert_true(cur.done);
		assert_int_equal(slab.segs_cnt, rows[i].want);
		check_segments(&rows[i].spec, pkt, rows[i].size, rows[i].want);
		assert_int_equal(segment_cut(&cur, &slab), 0);
	}
}

static void test_no_payload_makes_one(void **state)
{
	struct spec s = { .version = 4,
			  .proto = IP_PROTO_TCP,
			  .flags = TCP_ACK | TCP_FIN };
	struct segment_slab slab = new_slab();
	struct segment_cursor cur;
	struct vnet_frame frame;
	uint8_t pkt[64];

	(void)state;
	super_frame(pkt, &s, 100, &frame);
	segment_begin(&cur, pkt, &frame);
	assert_int_equal(segment_cut(&cur, &slab), 1);
	assert_int_equal(segs[0].len, 40);
	assert_true(packet_is_valid(segs[0].data, 40, 20));
	assert_int_equal(segs[0].data[33], TCP_ACK | TCP_FIN);
}

/*
 * With DATA_VALID the packet has no sum of the pseudo header. Cutting then
 * computes that sum.
 */
static void test_without_partial_sum(void **state)
{
	for (int version = 4; version <= 6; version += 2) {
		struct spec s = { .version = version,
				  .proto = IP_PROTO_TCP,
				  .payload_len = 250 };
		struct vnet_hdr hdr = { .flags = VIRTIO_NET_HDR_F_DATA_VALID };
		struct segment_slab slab = new_slab();
		struct segment_cursor cur;
		struct vnet_frame frame;
		uint8_t pkt[512];
		size_t len = packet_build(pkt, &s);

		(void)state;
		hdr.gso_type = version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4
					    : VIRTIO_NET_HDR_GSO_TCPV6;
		vnet_set(hdr.gso_size, 100);
		assert_int_equal(vnet_parse_frame(&hdr, pkt, len, &frame),
				 VNET_OK);
		segment_begin(&cur, pkt, &frame);
		assert_int_equal(segment_cut(&cur, &slab), 3);
		check_segments(&s, pkt, 100, 3);
	}
}

/*
 * With a routing header only the kernel knows the last destination. Its sum of
 * the pseudo header must be used.
 */
static void test_routing_header(void **state)
{
	struct spec s = { .version = 6,
			  .proto = IP_PROTO_UDP,
			  .ext_len = 24,
			  .payload_len = 150 };
	struct segment_slab slab = new_slab();
	struct segment_cursor cur;
	struct vnet_frame frame;
	uint8_t pkt[512], hop;

	(void)state;
	super_frame(pkt, &s, 100, &frame);
	pkt[6] = IP_PROTO_ROUTING;
	pkt[43] = 1;
	hop = pkt[39] ^ 0x55; /* the next hop is not the destination */
	pkt[39] ^= hop;
	segment_begin(&cur, pkt, &frame);
	assert_int_equal(segment_cut(&cur, &slab), 2);
	for (int i = 0; i < 2; i++) {
		segs[i].data[39] ^= hop;
		segs[i].data[6] = IP_PROTO_HOPOPTS;
		assert_true(packet_is_valid(segs[i].data, segs[i].len, 64));
	}
}

static void test_udp_checksum_is_never_0(void **state)
{
	struct spec s = { .version = 6,
			  .proto = IP_PROTO_UDP,
			  .payload_len = 20 };
	struct segment_slab slab = new_slab();
	struct segment_cursor cur;
	struct vnet_frame frame;
	uint8_t pkt[128];
	size_t len;

	(void)state;
	/* A word of payload that brings the first segment's sum to 0xffff. */
	s.payload_len = 10;
	len = packet_build(pkt, &s);
	memcpy(pkt + 48, "\0\0", 2);
	packet_sum_l4(pkt, len, 40, IP_PROTO_UDP, false);
	memcpy(pkt + 48, pkt + 46, 2);
	packet_sum_l4(pkt, len, 40, IP_PROTO_UDP, false);
	assert_memory_equal(pkt + 46, "\xff\xff", 2);
	memcpy(pkt + 58, pkt + 48, 10);
	len += 10;
	memcpy(pkt + 4, (uint8_t[]){ 0, (uint8_t)(len - 40) }, 2);
	packet_sum_l4(pkt, len, 40, IP_PROTO_UDP, true);
	frame = (struct vnet_frame){ .len = (uint32_t)len,
				     .gso_size = 10,
				     .hdr_len = 48,
				     .l4_off = 40,
				     .csum_start = 40,
				     .csum_field = 46,
				     .ip_version = 6,
				     .l4_proto = IP_PROTO_UDP,
				     .needs_csum = true };
	segment_begin(&cur, pkt, &frame);
	assert_int_equal(segment_cut(&cur, &slab), 2);
	assert_memory_equal(segs[0].data + 46, "\xff\xff", 2);
	assert_memory_equal(segs[1].data + 46, "\xff\xff", 2);
}

static void test_whole_packets(void **state)
{
	struct random r;

	(void)state;
	random_seed(&r);
	for (int i = 0; i < 2000; i++) {
		struct spec s = { .version = i & 1 ? 4 : 6,
				  .proto = i & 2 ? IP_PROTO_TCP : IP_PROTO_UDP,
				  .payload_len = random_u32(&r, 1500),
				  .payload = random_next(&r) };
		struct vnet_frame frame = { .ip_version = (uint8_t)s.version };
		struct segment_slab slab = new_slab();
		struct segment_cursor cur;
		uint8_t want[2048], pkt[2048];
		size_t len = packet_build(want, &s), off = packet_l4_off(&s);

		memcpy(pkt, want, len);
		frame.len = (uint32_t)len;
		frame.csum_start = (uint16_t)off;
		frame.csum_field = (uint16_t)(off + packet_check_off(s.proto));
		segment_complete(pkt, &frame);
		assert_memory_equal(pkt, want, len);
		if (i & 4) {
			frame.needs_csum = true;
			packet_sum_l4(pkt, len, off, s.proto, true);
		}
		segment_begin(&cur, pkt, &frame);
		assert_int_equal(cur.full_len, len);
		assert_int_equal(segment_cut(&cur, &slab), 1);
		assert_true(cur.done);
		assert_int_equal(segs[0].len, len);
		assert_memory_equal(segs[0].data, want, len);
		segment_complete(pkt, &frame);
		assert_memory_equal(pkt, want, len);
	}
}

static void test_room(void **state)
{
	struct spec s = { .version = 4, .proto = 6, .payload_len = 250 };
	size_t one = HEADROOM + 140 + TAILROOM;
	struct segment_slab slab = new_slab();
	struct segment_cursor cur;
	struct vnet_frame frame;
	uint8_t pkt[512];

	(void)state;
	super_frame(pkt, &s, 100, &frame);
	segment_begin(&cur, pkt, &frame);
	slab.cap = one - 1;
	assert_int_equal(segment_cut(&cur, &slab), 0);
	slab.cap = 2 * one;
	assert_int_equal(segment_cut(&cur, &slab), 2);
	assert_false(cur.done);
	assert_ptr_equal(segs[0].data, slab_base + HEADROOM);
	assert_ptr_equal(segs[1].data, slab_base + one + HEADROOM);
	assert_int_equal(slab.used, 2 * one);
	/* Cutting does not write to headroom and tailroom. */
	for (size_t i = 0; i < HEADROOM; i++)
		assert_int_equal(slab_base[one + i], UNTOUCHED);
	for (size_t i = 0; i < TAILROOM; i++)
		assert_int_equal(slab_base[one - TAILROOM + i], UNTOUCHED);
	slab = new_slab();
	slab.segs_cap = 1;
	assert_int_equal(segment_cut(&cur, &slab), 1);
	assert_true(cur.done);
	assert_int_equal(segs[0].len, 90);
	assert_int_equal(slab.used, HEADROOM + 90 + TAILROOM);
}

/*
 * Segments may be as close as the stride allows: headroom, packet with padding,
 * tag.
 */
static void test_stride(void **state)
{
	struct spec s = { .version = 4, .proto = 6, .payload_len = 250 };
	struct segment_slab slab = new_slab();
	struct segment_cursor cur;
	struct vnet_frame frame;
	uint8_t pkt[512];

	(void)state;
	super_frame(pkt, &s, 100, &frame);
	segment_begin(&cur, pkt, &frame);
	slab.stride = 16 + 144 + 16;
	assert_int_equal(segment_cut(&cur, &slab), 3);
	assert_ptr_equal(segs[1].data, segs[0].data + 176);
	assert_ptr_equal(segs[2].data, segs[1].data + 176);
	check_segments(&s, pkt, 100, 3);
	/* Packets must not overlap, even if the stride is too small. */
	slab = new_slab();
	slab.stride = 1;
	segment_begin(&cur, pkt, &frame);
	assert_int_equal(segment_cut(&cur, &slab), 3);
	check_segments(&s, pkt, 100, 3);
}

/*
 * If the slab fills up, cutting continues later. The segments are the same as
 * in one go.
 */
static void test_continuation(void **state)
{
	static uint8_t pkt[65536], all[1 << 20];
	struct random r;

	(void)state;
	random_seed(&r);
	for (int i = 0; i < 300; i++) {
		struct spec s = { .version = i & 1 ? 4 : 6,
				  .proto = i & 2 ? IP_PROTO_TCP : IP_PROTO_UDP,
				  .flags = (uint8_t)(TCP_ACK | random_next(&r)),
				  .id = (uint16_t)random_next(&r),
				  .seq = (uint32_t)random_next(&r),
				  .payload_len = 1 + random_u32(&r, 60000),
				  .payload = random_next(&r) };
		uint16_t size = (uint16_t)(300 + random_u32(&r, 2000));
		struct segment_slab slab = new_slab();
		struct segment_cursor cur;
		struct vnet_frame frame;
		size_t all_len = 0, off = 0;

		super_frame(pkt, &s, size, &frame);
		segment_begin(&cur, pkt, &frame);
		segment_cut(&cur, &slab);
		assert_true(cur.done);
		for (unsigned int k = 0; k < slab.segs_cnt; k++) {
			memcpy(all + all_len, segs[k].data, segs[k].len);
			all_len += segs[k].len;
		}
		segment_begin(&cur, pkt, &frame);
		while (!cur.done) {
			slab = new_slab();
			slab.segs_cap = 1 + random_u32(&r, 5);
			slab.cap = HEADROOM + cur.full_len + TAILROOM +
				   random_u32(&r, 9000);
			assert_true(segment_cut(&cur, &slab) > 0);
			for (unsigned int k = 0; k < slab.segs_cnt; k++) {
				assert_memory_equal(all + off, segs[k].data,
						    segs[k].len);
				off += segs[k].len;
			}
		}
		assert_int_equal(off, all_len);
	}
}

/*
 * Random bytes: each frame that can be parsed is cut, and no byte outside of it
 * is read or written.
 */
static void test_garbage(void **state)
{
	struct random r;
	unsigned int parsed = 0;

	(void)state;
	random_seed(&r);
	for (int i = 0; i < 200000; i++) {
		size_t len = random_u32(&r, 200);
		uint8_t *pkt = malloc(len + 1);
		struct segment_slab slab = { .base = slab_base,
					     .cap = SLAB_LEN,
					     .segs = segs,
					     .segs_cap = SEGS_MAX };
		struct segment_cursor cur;
		struct vnet_frame frame;
		struct vnet_hdr hdr;

		random_fill(&r, pkt, len);
		random_fill(&r, (void *)&hdr, sizeof(hdr));
		if (i & 1) {
			static const uint8_t types[] = { 0, 1, 4, 5 };

			hdr.flags &= 1;
			hdr.gso_type = types[random_u32(&r, 4)];
			vnet_set(hdr.gso_size, (uint16_t)random_u32(&r, 100));
			vnet_set(hdr.csum_start, i & 2 ? 20 : 40);
			vnet_set(hdr.csum_offset, i & 4 ? 16 : 6);
			if (len > 10) {
				pkt[0] = i & 2 ? 0x45 : 0x60;
				pkt[6] = i & 4 ? 6 : 17;
				pkt[7] = 0;
				pkt[9] = i & 4 ? 6 : 17;
			}
		}
		if (vnet_parse_frame(&hdr, pkt, len, &frame) == VNET_OK) {
			parsed++;
			segment_begin(&cur, pkt, &frame);
			segment_cut(&cur, &slab);
			assert_true(cur.done);
		}
		free(pkt);
	}
	assert_true(parsed > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_no_payload_makes_one),
		cmocka_unit_test(test_without_partial_sum),
		cmocka_unit_test(test_routing_header),
		cmocka_unit_test(test_udp_checksum_is_never_0),
		cmocka_unit_test(test_whole_packets),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_stride),
		cmocka_unit_test(test_continuation),
		cmocka_unit_test(test_garbage),
	};

	return cmocka_run_group_tests_name("tun_segment", tests, make_slab,
					   free_slab);
}
