/* SPDX-License-Identifier: MIT */
/*
 * Two properties of cutting and merging. If packets are merged and then cut,
 * each flow gets the same packets in the same order; only a UDP checksum may
 * have been added where there was none. If a super-packet is cut
 * and then merged, the same super-packet with the same header comes out.
 */
#include "tun_batch.h"
#include "tun/segment.h"

/* ROUNDS, FLOWS and PACKETS are choices, not measured. The others are large
 * enough for them; assertions fail otherwise. */
#define ROUNDS	   400
#define FLOWS	   6
#define PACKETS	   200
#define SLAB_LEN   (1U << 22)
#define KEPT_MAX   4096
#define PACKET_CAP 2048

static uint8_t frame[FRAME_MAX];
static uint8_t slab_bytes[SLAB_LEN];
static struct segment segs[KEPT_MAX];

/* Packets of one flow, put in and taken out. */
struct kept {
	unsigned int cnt;
	uint32_t len[PACKETS];
	uint8_t bytes[PACKETS][PACKET_CAP];
};
static struct kept put[FLOWS], taken[FLOWS];

/**
 * keep() - note a packet
 * @k:		where
 * @pkt:	packet
 * @len:	its length
 */
static void keep(struct kept *k, const uint8_t *pkt, size_t len)
{
	assert_true(k->cnt < PACKETS && len <= PACKET_CAP);
	k->len[k->cnt] = (uint32_t)len;
	memcpy(k->bytes[k->cnt++], pkt, len);
}

/**
 * flow_of() - the flow number, which is in the source address
 * @pkt:	packet
 */
static unsigned int flow_of(const uint8_t *pkt)
{
	return pkt[0] >> 4 == 4 ? pkt[15] : pkt[23];
}

/**
 * mutate() - make the next packet of a flow, mostly an expected one
 * @r:		source
 * @s:		spec of the flow's last packet; receives that of the next
 */
static void mutate(struct random *r, struct spec *s)
{
	s->seq += s->payload_len;
	s->flags = TCP_ACK;
	s->id++;
	s->payload = random_next(r);
	switch (random_u32(r, 40)) {
	case 0:
		s->payload_len = random_u32(r, 3) * 100;
		break;
	case 1:
		s->payload_len = 1 + random_u32(r, 1400);
		break;
	case 2:
		s->flags |= TCP_PSH;
		break;
	case 3:
		s->flags = (uint8_t)random_next(r);
		break;
	case 4:
		s->ack++;
		break;
	case 5:
		s->seq += random_u32(r, 3000);
		break;
	case 6:
		s->id = (uint16_t)random_next(r);
		break;
	case 7:
		s->tos = (uint8_t)random_u32(r, 4);
		break;
	case 8:
		s->opt_len = (uint16_t)(random_u32(r, 11) * 4);
		break;
	case 9:
		s->window++;
		break;
	case 10:
		s->no_csum = !s->no_csum;
		break;
	default:
		break;
	}
}

/**
 * same_flow() - whether a packet with a wrong bit still belongs to its flow
 * @a:		packet
 * @b:		the same, broken
 * @s:		spec
 */
static bool same_flow(const uint8_t *a, const uint8_t *b, const struct spec *s)
{
	size_t off = packet_l4_off(s);

	if (a[0] >> 4 != b[0] >> 4 || memcmp(a + off, b + off, 4))
		return false;
	if (s->version == 4)
		return a[9] == b[9] && !memcmp(a + 12, b + 12, 8);
	return a[6] == b[6] && !memcmp(a + 8, b + 8, 32);
}

/**
 * put_packet() - add a packet of a flow, sometimes a broken one
 * @r:		source
 * @s:		spec
 */
static void put_packet(struct random *r, const struct spec *s)
{
	uint8_t pkt[PACKET_CAP], bad[PACKET_CAP];
	size_t len = packet_build(pkt, s);

	memcpy(bad, pkt, len);
	if (random_u32(r, 50) == 0)
		bad[random_u32(r, (uint32_t)len)] ^=
			(uint8_t)(1 << random_u32(r, 8));
	if (same_flow(pkt, bad, s))
		memcpy(pkt, bad, len);
	keep(&put[s->host], pkt, len);
	batch_add(pkt, len);
}

/**
 * cut_frame() - cut a frame as if it had been read, and keep the packets
 * @len:	length of the frame
 */
static void cut_frame(size_t len)
{
	struct segment_slab slab = { .base = slab_bytes,
				     .cap = SLAB_LEN,
				     .segs = segs,
				     .segs_cap = KEPT_MAX };
	struct segment_cursor cur;
	struct vnet_frame f;
	const uint8_t *pkt = frame + batch_hdr_len;
	struct vnet_tunnel_hdr hdr = { 0 };

	len -= batch_hdr_len;
	memcpy(&hdr, frame, batch_hdr_len);
	assert_int_equal(vnet_parse_tunnel_frame(&hdr, pkt, len, &f), VNET_OK);
	segment_begin(&cur, pkt, &f);
	segment_cut(&cur, &slab);
	assert_true(cur.done);
	for (unsigned int i = 0; i < slab.segs_cnt; i++)
		keep(&taken[flow_of(segs[i].data)], segs[i].data, segs[i].len);
}

/**
 * expect_packet() - compare a packet with what was made of it
 * @want:	the packet that was added
 * @got:	the packet that was cut from what was written; changed
 * @len:	their length
 *
 * A datagram without a checksum may have got one, which is right then. All
 * other bytes are the same.
 *
 * Return: true if it got a checksum.
 */
static bool expect_packet(const uint8_t *want, uint8_t *got, size_t len)
{
	bool has_new = len >= 28 && want[0] == 0x45 &&
		       want[9] == IP_PROTO_UDP && !want[26] && !want[27] &&
		       (got[26] || got[27]);

	if (has_new) {
		assert_true(packet_is_valid(got, len, 20));
		memset(got + 26, 0, 2);
	}
	assert_memory_equal(want, got, len);
	return has_new;
}

static void make_flows(struct random *r, struct spec flows[FLOWS])
{
	for (unsigned int i = 0; i < FLOWS; i++) {
		flows[i] = (struct spec){
			.version = random_next(r) & 1 ? 4 : 6,
			.proto = random_u32(r, 3) ? IP_PROTO_TCP : IP_PROTO_UDP,
			.host = (uint8_t)i,
			.no_df = random_next(r) & 1,
			.id = (uint16_t)random_next(r),
			.seq = (uint32_t)random_next(r),
			.payload_len = 1 + random_u32(r, 1400),
		};
		if (flows[i].proto == IP_PROTO_UDP)
			flows[i].no_csum = random_next(r) & 1;
		if (flows[i].version == 6 && random_u32(r, 8) == 0)
			flows[i].ext_len = 8;
	}
}

static void test_cut_of_merged_is_the_same(void **state)
{
	unsigned int merged = 0, packets = 0, given = 0;
	struct random r;
	struct spec flows[FLOWS];
	size_t len;

	(void)state;
	random_seed(&r);
	for (int round = 0; round < ROUNDS; round++) {
		unsigned int cnt = random_u32(&r, PACKETS);
		unsigned int run = 0, i = 0;

		memset(put, 0, sizeof(put));
		memset(taken, 0, sizeof(taken));
		make_flows(&r, flows);
		batch_hdr_len = round & 1 ? sizeof(struct vnet_tunnel_hdr)
					  : sizeof(struct vnet_hdr);
		batch_begin(MERGE_ALL);
		while (cnt--) {
			if (run-- == 0) {
				i = random_u32(&r, FLOWS);
				run = random_u32(&r, 12);
			}
			put_packet(&r, &flows[i]);
			mutate(&r, &flows[i]);
			packets++;
		}
		while ((len = batch_next(frame)) != 0) {
			merged += frame[1] != 0;
			cut_frame(len);
		}
		for (i = 0; i < FLOWS; i++) {
			assert_int_equal(put[i].cnt, taken[i].cnt);
			for (unsigned int k = 0; k < put[i].cnt; k++) {
				assert_int_equal(put[i].len[k],
						 taken[i].len[k]);
				given += expect_packet(put[i].bytes[k],
						       taken[i].bytes[k],
						       put[i].len[k]);
			}
		}
	}
	batch_hdr_len = sizeof(struct vnet_hdr);
	assert_true(merged > packets / 100);
	assert_true(given > packets / 100);
}

/**
 * make_super() - make a random super-packet that merging could have made
 * @r:		source
 * @pkt:	where
 * @hdr:	receives its header
 *
 * Return: its length.
 */
static size_t make_super(struct random *r, uint8_t *pkt, struct vnet_hdr *hdr)
{
	struct spec s = { .version = random_next(r) & 1 ? 4 : 6,
			  .proto = random_next(r) & 1 ? IP_PROTO_TCP
						      : IP_PROTO_UDP,
			  .no_df = random_next(r) & 1,
			  .flags = TCP_ACK,
			  .id = (uint16_t)random_next(r),
			  .seq = (uint32_t)random_next(r),
			  .ack = (uint32_t)random_next(r),
			  .flow = random_u32(r, 1 << 20),
			  .tos = (uint8_t)random_next(r),
			  .payload = random_next(r) };
	uint32_t size = 1 + random_u32(r, 1400), max = 65400, off;
	size_t len;

	if (s.proto == IP_PROTO_TCP)
		s.opt_len = (uint16_t)(random_u32(r, 11) * 4);
	if (random_next(r) & 1)
		s.flags |= TCP_PSH;
	if (random_next(r) & 1)
		s.flags |= TCP_ECE;
	if (random_next(r) & 1)
		s.flags |= TCP_CWR;
	s.ae = random_next(r) & 1;
	max = (uint32_t)size_min(max, (s.proto == IP_PROTO_UDP ? 64U : 1000U) *
					      size);
	s.payload_len = size + 1 + random_u32(r, max - size);
	len = packet_build(pkt, &s);
	off = (uint32_t)packet_l4_off(&s);
	packet_sum_l4(pkt, len, off, s.proto, true);

	memset(hdr, 0, sizeof(*hdr));
	hdr->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	hdr->gso_type = VIRTIO_NET_HDR_GSO_UDP_L4;
	if (s.proto == IP_PROTO_TCP)
		hdr->gso_type = s.version == 4 ? VIRTIO_NET_HDR_GSO_TCPV4
					       : VIRTIO_NET_HDR_GSO_TCPV6;
	if (s.proto == IP_PROTO_TCP && s.flags & TCP_CWR)
		hdr->gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	vnet_set(hdr->hdr_len, (uint16_t)packet_hdr_len(&s));
	vnet_set(hdr->gso_size, (uint16_t)size);
	vnet_set(hdr->csum_start, (uint16_t)off);
	vnet_set(hdr->csum_offset, (uint16_t)packet_check_off(s.proto));
	return len;
}

static void test_merge_of_cut_is_the_same(void **state)
{
	static uint8_t pkt[65536];
	struct random r;

	(void)state;
	random_seed(&r);
	for (int round = 0; round < ROUNDS; round++) {
		struct segment_slab slab = { .base = slab_bytes,
					     .cap = SLAB_LEN,
					     .segs = segs,
					     .segs_cap = KEPT_MAX };
		struct segment_cursor cur;
		struct vnet_frame f;
		struct vnet_hdr hdr;
		size_t len = make_super(&r, pkt, &hdr);

		assert_int_equal(vnet_parse_frame(&hdr, pkt, len, &f), VNET_OK);
		segment_begin(&cur, pkt, &f);
		assert_true(segment_cut(&cur, &slab) > 1);
		assert_true(cur.done);
		batch_hdr_len = round & 1 ? sizeof(struct vnet_tunnel_hdr)
					  : sizeof(struct vnet_hdr);
		batch_begin(MERGE_ALL);
		for (unsigned int i = 0; i < slab.segs_cnt; i++)
			batch_add(segs[i].data, segs[i].len);
		assert_int_equal(batch_next(frame), batch_hdr_len + len);
		assert_memory_equal(frame, &hdr, sizeof(hdr));
		assert_memory_equal(frame + batch_hdr_len, pkt, len);
		assert_int_equal(batch_next(frame), 0);
	}
	batch_hdr_len = sizeof(struct vnet_hdr);
}

/*
 * Packets with DF may all have the same ID and still merge. After cutting,
 * their IDs count up, and nothing else differs.
 */
static void test_standing_ids(void **state)
{
	struct spec s = { .version = 4,
			  .proto = IP_PROTO_UDP,
			  .payload_len = 900 };
	uint8_t pkt[PACKET_CAP];
	size_t len = packet_build(pkt, &s);

	(void)state;
	memset(taken, 0, sizeof(taken));
	batch_begin(MERGE_ALL);
	for (int i = 0; i < 10; i++)
		batch_add(pkt, len);
	cut_frame(batch_next(frame));
	assert_int_equal(batch_next(frame), 0);
	assert_int_equal(taken[0].cnt, 10);
	for (unsigned int i = 0; i < 10; i++) {
		s.id = (uint16_t)i;
		packet_build(pkt, &s);
		assert_memory_equal(taken[0].bytes[i], pkt, len);
	}
}

/**
 * add_without_checksum() - begin a batch of three datagrams without a checksum
 * @pkt:	receives them
 *
 * Return: the length of each.
 */
static size_t add_without_checksum(uint8_t pkt[3][PACKET_CAP])
{
	struct spec s = { .version = 4,
			  .proto = IP_PROTO_UDP,
			  .no_csum = true,
			  .payload_len = 100 };
	size_t len = 0;

	batch_begin(MERGE_ALL);
	for (unsigned int i = 0; i < 3; i++) {
		s.id = (uint16_t)i;
		len = packet_build(pkt[i], &s);
		assert_memory_equal(pkt[i] + 26, "\0\0", 2);
		batch_add(pkt[i], len);
	}
	return len;
}

/**
 * expect_single() - the next write must be a packet as it was added
 * @pkt:	packet
 * @len:	its length
 */
static void expect_single(const uint8_t *pkt, size_t len)
{
	static const uint8_t zeros[10];

	assert_int_equal(batch_next(frame), 10 + len);
	assert_memory_equal(frame, zeros, 10);
	assert_memory_equal(frame + 10, pkt, len);
}

/*
 * Datagrams without a checksum merge. The field has the sum of the pseudo
 * header, as with a checksum. If the merged write is refused, the datagrams are
 * written as they came.
 */
static void test_without_checksum(void **state)
{
	uint8_t pkt[3][PACKET_CAP];
	size_t len = add_without_checksum(pkt);
	const struct iovec *iov;

	(void)state;
	assert_int_equal(batch_next(frame), 10 + 28 + 300);
	assert_int_equal(frame[0], VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_int_equal(frame[1], VIRTIO_NET_HDR_GSO_UDP_L4);
	assert_int_equal(frame[10 + 26] << 8 | frame[10 + 27],
			 packet_pseudo(frame + 10, IP_PROTO_UDP, 308));
	assert_int_equal(batch_next(frame), 0);

	add_without_checksum(pkt);
	assert_int_equal(merge_peek(batch, &iov), 3);
	assert_int_equal(merge_undo(batch), MERGE_UDP4);
	for (int i = 0; i < 3; i++)
		expect_single(pkt[i], len);
	assert_int_equal(batch_next(frame), 0);
}

/*
 * The first datagram was verified before the second was found bad. Without a
 * checksum, both are written as they came, also if the kernel refuses them.
 */
static void test_verified_without_checksum(void **state)
{
	struct spec s = { .version = 4,
			  .proto = IP_PROTO_UDP,
			  .no_csum = true,
			  .payload_len = 100 };
	uint8_t pkt[PACKET_CAP], bad[PACKET_CAP];
	size_t len = packet_build(pkt, &s);
	const struct iovec *iov;

	(void)state;
	s.id = 1;
	packet_build(bad, &s);
	bad[11] ^= 1; /* the IPv4 checksum */
	batch_begin(MERGE_ALL);
	batch_add(pkt, len);
	batch_add(bad, len);
	assert_true(batch->items[0].verified);
	assert_int_equal(merge_peek(batch, &iov), 1);
	assert_int_equal(merge_undo(batch), MERGE_NONE);
	expect_single(pkt, len);
	expect_single(bad, len);
	assert_int_equal(batch_next(frame), 0);
}

/*
 * Each write has its own header, whatever the one before had: a super-packet with
 * CWR, a packet as it came, and a super-packet without CWR. The bytes in front of
 * the packets are not zero.
 */
static void test_header_left_over(void **state)
{
	static const uint8_t types[] = { VIRTIO_NET_HDR_GSO_TCPV4 |
						 VIRTIO_NET_HDR_GSO_ECN,
					 VIRTIO_NET_HDR_GSO_NONE,
					 VIRTIO_NET_HDR_GSO_TCPV4 };
	static const struct {
		uint8_t flags;
		uint16_t sport, id;
	} pkts[] = { { TCP_ACK | TCP_CWR, 1, 0 },
		     { TCP_ACK, 1, 1 },
		     { TCP_ACK, 7, 0 },
		     { TCP_ACK, 9, 0 },
		     { TCP_ACK, 9, 1 } };

	(void)state;
	for (int longer = 0; longer < 2; longer++) {
		batch_hdr_len = longer ? sizeof(struct vnet_tunnel_hdr)
				       : sizeof(struct vnet_hdr);
		batch_begin(MERGE_ALL);
		for (size_t i = 0; i < ARRAY_LEN(pkts); i++) {
			struct spec s = { .version = 4,
					  .proto = IP_PROTO_TCP,
					  .flags = pkts[i].flags,
					  .sport = pkts[i].sport,
					  .id = pkts[i].id,
					  .seq = pkts[i].id * 100U,
					  .payload_len = 100 };

			batch_add_spec(&s);
		}
		for (size_t i = 0; i < ARRAY_LEN(types); i++) {
			struct vnet_hdr hdr;

			assert_true(batch_next(frame) > batch_hdr_len);
			memcpy(&hdr, frame, sizeof(hdr));
			assert_int_equal(hdr.gso_type, types[i]);
			assert_int_equal(hdr.flags,
					 types[i] ? VIRTIO_NET_HDR_F_NEEDS_CSUM
						  : 0);
			assert_int_equal(vnet_get(hdr.gso_size),
					 types[i] ? 100 : 0);
		}
		assert_int_equal(batch_next(frame), 0);
	}
	batch_hdr_len = sizeof(struct vnet_hdr);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cut_of_merged_is_the_same),
		cmocka_unit_test(test_merge_of_cut_is_the_same),
		cmocka_unit_test(test_standing_ids),
		cmocka_unit_test(test_header_left_over),
		cmocka_unit_test(test_without_checksum),
		cmocka_unit_test(test_verified_without_checksum),
	};

	return cmocka_run_group_tests_name("tun_roundtrip", tests, batch_make,
					   batch_free);
}
