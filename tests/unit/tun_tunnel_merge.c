/* SPDX-License-Identifier: MIT */
/*
 * Packets to the kernel's tunnel devices are merged into tunnel super-packets.
 * Cutting them gives the packets back, and merging what was cut gives the
 * super-packet back.
 */
#include "tun_fake.h"
#include "tun_tunnel.h"
#include "tun/segment.h"

static const struct overlays ports = {
	.cnt = 2,
	.list = { { .port = { { 0x12, 0xb5 } },
		    .versions = OVERLAY_V4 | OVERLAY_V6 },
		  { .port = { { 0x17, 0xc1 } },
		    .versions = OVERLAY_V4 | OVERLAY_V6,
		    .is_geneve = true } },
};

/* Choices: enough for what each test makes. */
enum {
	SUPER_MAX = 65536,
	SLAB_CAP = 1 << 20,
	SEGS_CAP = 2048
};

/* Length of the longer virtio-net header. */
enum {
	HDR = sizeof(struct vnet_tunnel_hdr)
};

static uint8_t frame[FRAME_MAX];

static void begin(unsigned int true_offsets)
{
	batch_hdr_len = HDR;
	batch_begin(MERGE_ALL);
	merge_set_overlays(batch, &ports, true_offsets);
}

/* Add a packet, and keep a copy. */
static size_t add(uint8_t *copy, const struct tunnel *t)
{
	static uint8_t pkt[SUPER_MAX];
	size_t len = tunnel_build(pkt, t);

	if (copy)
		memcpy(copy, pkt, len);
	batch_add(pkt, len);
	return len;
}

static void expect_single(const uint8_t *pkt, size_t len)
{
	static const uint8_t zeros[HDR];

	assert_int_equal(batch_next(frame), HDR + len);
	assert_memory_equal(frame, zeros, HDR);
	assert_memory_equal(frame + HDR, pkt, len);
}

/* A packet with DF in neither header, and 100 bytes of payload. */
static struct tunnel plain(unsigned int i)
{
	return (struct tunnel){
		.outer = { .version = i & 1 ? 6 : 4,
			   .no_csum = i & 4,
			   .no_df = true,
			   .id = 65535,
			   .sport = 40000 },
		.inner = { .version = i & 2 ? 6 : 4,
			   .proto = IP_PROTO_TCP,
			   .id = 7,
			   .no_df = true,
			   .payload_len = 100 },
		.is_geneve = i & 8,
		.options_len = i & 8 ? 8 : 0,
		.vni = 5,
	};
}

/* The packet that follows. */
static struct tunnel next(const struct tunnel *t)
{
	struct tunnel n = *t;

	n.outer.id++;
	n.inner.id++;
	n.inner.seq += t->inner.payload_len;
	return n;
}

static const enum merge_kind kinds[] = { MERGE_TUNNEL44, MERGE_TUNNEL64,
					 MERGE_TUNNEL46, MERGE_TUNNEL66 };

/* The header and the packet are those of the super-packet that the kernel would
 * hand out, apart from the outer offset. */
static void test_header(void **state)
{
	static uint8_t want[SUPER_MAX];

	(void)state;
	for (unsigned int i = 0; i < 32; i++) {
		struct tunnel t = plain(i), n = next(&t);
		struct vnet_tunnel_hdr hdr;
		size_t len;

		begin(i & 16 ? MERGE_TUNNELS : 0);
		add(NULL, &t);
		n.inner.flags = TCP_ACK | TCP_PSH;
		n.inner.payload_len = 60;
		add(NULL, &n);
		assert_int_equal(batch->items_cnt, 1);
		t.inner.payload_len = 160;
		t.inner.flags = TCP_ACK | TCP_PSH;
		len = tunnel_super(want, &t, 100, &hdr);
		if (!(i & 16))
			vnet_set_le(hdr.outer_l4_off, i & 1 ? 54 : 34);
		assert_int_equal(batch_next(frame), HDR + len);
		assert_memory_equal(frame, &hdr, HDR);
		assert_memory_equal(frame + HDR, want, tunnel_hdr_len(&t));
		assert_int_equal(batch_next(frame), 0);
	}
}

/* Change one thing of the second packet: then it does not join. */
static void test_differences(void **state)
{
	enum {
		VNI,
		MAC,
		OPTIONS,
		OUTER_TOS,
		OUTER_TTL,
		OUTER_ID,
		OUTER_SUM,
		INNER_TOS,
		INNER_TTL,
		INNER_ID,
		INNER_HOST,
		INNER_PORT,
		SEQ_GAP,
		ACK,
		LONGER,
		FLAGS,
		OUTER_PORT,
		OUTER_HOST,
		OUTER_FLOW,
		DIFFERENCES
	};

	(void)state;
	for (unsigned int i = 0; i < 16; i++) {
		for (int what = 0; what <= DIFFERENCES; what++) {
			struct tunnel t = plain(i), n = next(&t);
			bool same = what == DIFFERENCES;
			uint8_t a[512], b[512];
			size_t a_len, b_len;

			switch (what) {
			case VNI:
				n.vni++;
				break;
			case MAC:
				n.mac++;
				break;
			case OPTIONS:
				n.options_len = (uint8_t)(n.options_len + 4);
				same = !t.is_geneve;
				if (same)
					n.options_len = 0;
				break;
			case OUTER_TOS:
				n.outer.tos++;
				break;
			case OUTER_TTL:
				n.outer.ttl = 63;
				break;
			case OUTER_ID:
				n.outer.id++;
				same = t.outer.version == 6;
				break;
			case OUTER_SUM:
				n.outer.no_csum = !n.outer.no_csum;
				break;
			case INNER_TOS:
				n.inner.tos++;
				break;
			case INNER_TTL:
				n.inner.ttl = 63;
				break;
			case INNER_ID:
				n.inner.id++;
				same = t.inner.version == 6;
				break;
			case INNER_HOST:
				n.inner.host++;
				break;
			case INNER_PORT:
				n.inner.sport++;
				break;
			case SEQ_GAP:
				n.inner.seq++;
				break;
			case ACK:
				n.inner.ack++;
				break;
			case LONGER:
				n.inner.payload_len++;
				break;
			case FLAGS:
				n.inner.flags = TCP_ACK | TCP_URG;
				break;
			case OUTER_PORT:
				n.outer.sport++;
				break;
			case OUTER_HOST:
				n.outer.host++;
				break;
			case OUTER_FLOW:
				n.outer.flow++;
				same = t.outer.version == 4;
				break;
			default:
				break;
			}
			begin(0);
			a_len = add(a, &t);
			b_len = add(b, &n);
			if (batch->items_cnt != (same ? 1 : 2))
				print_error("difference %d of %u\n", what, i);
			assert_int_equal(batch->items_cnt, same ? 1 : 2);
			if (same)
				continue;
			expect_single(a, a_len);
			expect_single(b, b_len);
		}
	}
}

/* A packet in which one bit is wrong is written as it came, and both beside it
 * as well if they are alone then. */
static void test_broken(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 16; i++) {
		struct tunnel t = plain(i), n = next(&t);
		size_t offs[] = { packet_l4_off(&t.outer) + 6,
				  tunnel_inner_off(&t) + 1,
				  tunnel_inner_off(&t) + 11,
				  tunnel_hdr_len(&t) + 50, 11 };

		for (size_t which = 0; which < ARRAY_LEN(offs); which++) {
			uint8_t a[512], b[512];
			size_t len = tunnel_build(a, &t);

			tunnel_build(b, &n);
			/* Byte 11 of IPv6 is a part of an address. */
			if (which == 0 && t.outer.no_csum)
				continue;
			b[offs[which]] ^= 1;
			begin(0);
			batch_add(a, len);
			batch_add(b, len);
			assert_int_equal(batch->items_cnt, 2);
			expect_single(a, len);
			expect_single(b, len);
		}
	}
}

/* The first was verified before the second was found bad. */
static void test_verified_single(void **state)
{
	const struct iovec *iov;

	(void)state;
	for (unsigned int i = 0; i < 16; i++) {
		struct tunnel t = plain(i), n = next(&t);
		uint8_t a[512], b[512];
		size_t len = tunnel_build(a, &t);

		tunnel_build(b, &n);
		b[len - 1] ^= 1;
		begin(0);
		batch_add(a, len);
		batch_add(b, len);
		assert_true(batch->items[0].verified);
		assert_int_equal(merge_peek(batch, &iov), 2);
		assert_int_equal(merge_undo(batch), MERGE_NONE);
		expect_single(a, len);
		expect_single(b, len);
	}
}

/* After a split every packet is written as it was added. */
static void test_split(void **state)
{
	const struct iovec *iov;

	(void)state;
	for (unsigned int i = 0; i < 16; i++) {
		struct tunnel t = plain(i);
		uint8_t pkt[3][512];
		size_t len = 0;

		begin(0);
		for (int which = 0; which < 3; which++) {
			if (which == 2)
				t.inner.flags = TCP_ACK | TCP_PSH;
			len = add(pkt[which], &t);
			t = next(&t);
		}
		assert_int_equal(merge_peek(batch, &iov), 4);
		assert_int_equal(merge_get_kind(batch), kinds[i & 3]);
		assert_int_equal(merge_undo(batch), kinds[i & 3]);
		for (int which = 0; which < 3; which++)
			expect_single(pkt[which], len);
		assert_int_equal(batch_next(frame), 0);
	}
}

/*
 * Only to a known port, only with the longer header, and only if the kind may
 * merge, packets merge as a tunnel. Else they merge as the UDP that they are.
 */
static void test_only_where_known(void **state)
{
	enum {
		KNOWN,
		OTHER_PORT,
		SHORT_HEADER,
		KIND_OFF,
		NO_OVERLAYS,
		CASES
	};

	(void)state;
	for (int how = 0; how < CASES; how++) {
		struct tunnel t = plain(0), n;

		if (how == OTHER_PORT)
			t.port = 4788;
		n = next(&t);
		begin(0);
		if (how == SHORT_HEADER)
			batch_hdr_len = sizeof(struct vnet_hdr);
		if (how == SHORT_HEADER || how == KIND_OFF ||
		    how == NO_OVERLAYS)
			batch_begin(how == KIND_OFF ? MERGE_PLAIN : MERGE_ALL);
		if (how != NO_OVERLAYS)
			merge_set_overlays(batch, &ports, 0);
		add(NULL, &t);
		add(NULL, &n);
		assert_int_equal(batch->items_cnt, 1);
		assert_int_equal(batch->items[0].kind,
				 how == KNOWN ? MERGE_TUNNEL44 : MERGE_UDP4);
	}
	batch_hdr_len = HDR;
}

/* The numbers of packets in each item. */
static void expect_items(const char *want)
{
	char got[64] = "";
	size_t len = 0;

	for (unsigned int i = 0; i < batch->items_cnt; i++)
		len += (size_t)snprintf(
			got + len, sizeof(got) - len, "%d%c ",
			batch->items[i].cnt,
			kind_is_tunnel(batch->items[i].kind) ? 't' : 'u');
	assert_string_equal(got, want);
}

/*
 * Nothing overtakes anything else of the same outer flow: neither what is no TCP
 * nor what cannot be parsed. Other outer flows do not matter.
 */
static void test_order(void **state)
{
	struct tunnel t = plain(0), u, other;

	(void)state;
	/* Inner UDP, and TCP behind an IPv6 extension header. Both merge as UDP. */
	for (int how = 0; how < 2; how++) {
		begin(0);
		t = plain(0);
		for (int i = 0; i < 6; i++) {
			u = t;
			if (i == 2 || i == 3) {
				u.inner.proto =
					how ? IP_PROTO_TCP : IP_PROTO_UDP;
				if (how)
					u.inner.ext_len = 8;
				u.inner.version = how ? 6 : 4;
			}
			add(NULL, &u);
			t = next(&t);
		}
		expect_items("2t 2u 2t ");
	}
	/* A kind that does not merge stays in its place, too. */
	batch_begin(MERGE_TUNNELS);
	merge_set_overlays(batch, &ports, 0);
	t = plain(0);
	for (int i = 0; i < 5; i++) {
		u = t;
		if (i == 2)
			u.inner.proto = IP_PROTO_UDP;
		add(NULL, &u);
		t = next(&t);
	}
	expect_items("2t 1u 2t ");
	/* Two outer flows. */
	begin(0);
	t = plain(0);
	other = plain(0);
	other.outer.sport = 50000;
	for (int i = 0; i < 3; i++) {
		add(NULL, &t);
		add(NULL, &other);
		t = next(&t);
		other = next(&other);
	}
	expect_items("3t 3t ");
	/* Acknowledgements between data. */
	begin(0);
	t = plain(0);
	for (int i = 0; i < 5; i++) {
		u = t;
		if (i == 2)
			u.inner.payload_len = 0;
		add(NULL, &u);
		t = next(&t);
	}
	expect_items("2t 1u 2t ");
}

/* IPv6 without an outer checksum: as a tunnel always, as UDP only if the device
 * takes that. */
static void test_unsummed6(void **state)
{
	struct overlays some = ports;

	(void)state;
	for (int i = 0; i < 4; i++) {
		struct tunnel t = plain(1 | 4), n = next(&t);

		some.list[0].takes_unsummed6 = i & 1;
		begin(0);
		if (i & 2)
			batch_begin(MERGE_PLAIN);
		merge_set_overlays(batch, &some, 0);
		add(NULL, &t);
		add(NULL, &n);
		expect_items(!(i & 2) ? "2t " : i & 1 ? "2u " : "1u 1u ");
	}
}

/* At most 65535 bytes, and at most as many vectors as one write takes. */
static void test_caps(void **state)
{
	struct tunnel t = plain(0);

	(void)state;
	begin(0);
	t.inner.payload_len = 1318;
	for (int i = 0; i < 60; i++) {
		add(NULL, &t);
		t = next(&t);
	}
	assert_int_equal(batch->items[0].cnt,
			 (65535 - tunnel_hdr_len(&t)) / 1318);
	begin(0);
	t = plain(0);
	t.inner.payload_len = 1;
	for (int i = 0; i < MERGE_PACKETS_MAX; i++) {
		add(NULL, &t);
		t = next(&t);
	}
	assert_int_equal(batch->items[0].cnt, MERGE_PACKETS_MAX - 1);
	assert_int_equal(batch_next(frame),
			 HDR + tunnel_hdr_len(&t) + MERGE_PACKETS_MAX - 1);
}

/* -------------------------------------------------- split and merge back */

enum {
	ROUNDS = 300,
	PACKETS = 60,
	CAP = 2048
};

static uint8_t put[PACKETS][CAP];
static size_t put_len[PACKETS];
static struct segment segs[SEGS_CAP];
static uint8_t slab_bytes[SLAB_CAP];

static unsigned int cut(const uint8_t *pkt, size_t len,
			const struct vnet_tunnel_hdr *hdr)
{
	struct segment_slab slab = { .base = slab_bytes,
				     .cap = SLAB_CAP,
				     .headroom = 16,
				     .segs = segs,
				     .segs_cap = SEGS_CAP };
	struct segment_cursor cur;
	struct vnet_frame f;

	assert_int_equal(vnet_parse_tunnel_frame(hdr, pkt, len, &f), VNET_OK);
	segment_begin(&cur, pkt, &f);
	segment_cut(&cur, &slab);
	assert_true(cur.done);
	return slab.segs_cnt;
}

/* A random packet in a tunnel. */
static struct tunnel draw(struct random *r)
{
	struct tunnel t = plain(random_u32(r, 16));

	t.outer.no_df = random_next(r) & 1;
	t.inner.no_df = random_next(r) & 1;
	t.outer.id = (uint16_t)random_next(r);
	t.inner.id = (uint16_t)random_next(r);
	t.inner.seq = (uint32_t)random_next(r);
	t.inner.opt_len = (uint16_t)(4 * random_u32(r, 11));
	t.inner.payload_len = 1 + random_u32(r, 1300);
	t.inner.payload = random_next(r);
	t.inner.flow = random_u32(r, 1 << 20);
	t.outer.flow = random_u32(r, 1 << 20);
	if (t.is_geneve)
		t.options_len = (uint8_t)(4 * random_u32(r, 64));
	return t;
}

/* The packet that follows, mostly an expected one. */
static struct tunnel mutate(struct random *r, const struct tunnel *t)
{
	struct tunnel n = next(t);

	n.inner.flags = TCP_ACK;
	n.inner.payload = random_next(r);
	switch (random_u32(r, 30)) {
	case 0:
		n.inner.payload_len = 1 + random_u32(r, 1300);
		break;
	case 1:
		n.inner.flags |= TCP_PSH;
		break;
	case 2:
		n.inner.flags = (uint8_t)(random_next(r) | 1);
		break;
	case 3:
		n.outer.id = (uint16_t)(n.outer.id + 1 + random_u32(r, 60000));
		break;
	case 4:
		n.inner.id = (uint16_t)(n.inner.id + 1 + random_u32(r, 60000));
		break;
	case 5:
		n.outer.no_csum = !n.outer.no_csum;
		break;
	case 6:
		n.vni = random_u32(r, 2);
		break;
	case 7:
		n.inner.proto = n.inner.proto == IP_PROTO_TCP ? IP_PROTO_UDP
							      : IP_PROTO_TCP;
		break;
	case 8:
		n.inner.payload_len = 0;
		break;
	case 9:
		n.inner.tos = (uint8_t)random_u32(r, 4);
		break;
	default:
		break;
	}
	return n;
}

/* Compare with the packet that was put. Only merging as UDP adds a checksum. */
static void expect_put(unsigned int i, uint8_t *got, size_t len, bool as_udp)
{
	size_t off = got[0] >> 4 == 4 ? 20 : 40;

	assert_int_equal(len, put_len[i]);
	if (as_udp && !put[i][off + 6] && !put[i][off + 7]) {
		assert_true(packet_is_valid(got, len, off));
		memset(got + off + 6, 0, 2);
	}
	assert_memory_equal(got, put[i], len);
}

/* Cut what was merged: the same packets, in the same order, byte for byte. */
static void test_cut_of_merged_is_the_same(void **state)
{
	unsigned int tunnels = 0, packets = 0;
	struct random r;
	size_t len;

	(void)state;
	random_seed(&r);
	for (int round = 0; round < ROUNDS; round++) {
		unsigned int cnt = 1 + random_u32(&r, PACKETS - 1), done = 0;
		struct tunnel t = draw(&r);

		begin(MERGE_TUNNELS);
		for (unsigned int i = 0; i < cnt; i++) {
			size_t bit;

			put_len[i] = tunnel_build(put[i], &t);
			/* Of a broken packet the flow must stay: not the
			 * addresses and ports, nor what says where they are. */
			bit = packet_l4_off(&t.outer) + 4;
			bit += random_u32(&r, put_len[i] - bit);
			if (random_u32(&r, 40) == 0)
				put[i][bit] ^=
					(uint8_t)(1 << random_u32(&r, 8));
			batch_add(put[i], put_len[i]);
			t = mutate(&r, &t);
		}
		packets += cnt;
		while ((len = batch_next(frame)) != 0) {
			struct vnet_tunnel_hdr hdr;
			unsigned int n;

			memcpy(&hdr, frame, sizeof(hdr));
			n = cut(frame + HDR, len - HDR, &hdr);
			if (hdr.base.gso_type & VIRTIO_NET_HDR_GSO_UDP_TUNNEL)
				tunnels += n;
			for (unsigned int i = 0; i < n; i++)
				expect_put(done++, segs[i].data, segs[i].len,
					   hdr.base.gso_type ==
						   VIRTIO_NET_HDR_GSO_UDP_L4);
		}
		assert_int_equal(done, cnt);
	}
	assert_true(tunnels > packets / 10);
}

/* Merge what was cut: the same super-packet with the same header. */
static void test_merge_of_cut_is_the_same(void **state)
{
	static uint8_t pkt[SUPER_MAX];
	struct random r;

	(void)state;
	random_seed(&r);
	for (int round = 0; round < ROUNDS; round++) {
		struct tunnel t = draw(&r);
		uint16_t size = (uint16_t)(64 + random_u32(&r, 1300));
		struct vnet_tunnel_hdr hdr;
		unsigned int cnt;
		size_t len;

		t.inner.flags = TCP_ACK | (random_next(&r) & 1 ? TCP_PSH : 0) |
				(random_next(&r) & 1 ? TCP_ECE : 0) |
				(random_next(&r) & 1 ? TCP_CWR : 0);
		t.inner.payload_len = size + 1U + random_u32(&r, 50000);
		len = tunnel_super(pkt, &t, size, &hdr);
		cnt = cut(pkt, len, &hdr);
		begin(MERGE_TUNNELS);
		for (unsigned int i = 0; i < cnt; i++)
			batch_add(segs[i].data, segs[i].len);
		assert_int_equal(batch_next(frame), HDR + len);
		assert_memory_equal(frame, &hdr, HDR);
		assert_memory_equal(frame + HDR, pkt, len);
		assert_int_equal(batch_next(frame), 0);
	}
}

/* -------------------------------------------------------------- device */

/* Two refusals switch the form of the header, two more end the kind. */
static void test_refused(void **state)
{
	struct tun_config config = { .name = "wg0" };
	struct tun tun;

	(void)state;
	reset(ALL | TUNNELS);
	assert_int_equal(tun_open(&tun, &fake, &config), 0);
	assert_int_equal(tun.kinds, MERGE_ALL);
	tun_set_overlays(&tun, &ports);
	k.refuse_gso = true;
	for (unsigned int refused = 1; refused <= 5; refused++) {
		struct tunnel t = plain(0), n = next(&t);

		k.writes = 0;
		tun_begin_merge(&tun, batch);
		arena_used = 0;
		add(NULL, &t);
		add(NULL, &n);
		assert_int_equal(batch->items_cnt, 1);
		assert_int_equal(tun_write(&tun, batch), 0);
		assert_int_equal(k.writes, 3);
		assert_int_equal(tun.refused, refused);
		assert_int_equal(tun.true_offsets,
				 refused < 2 ? 0 : MERGE_BIT(MERGE_TUNNEL44));
		assert_int_equal(
			tun.kinds,
			refused < 4 ? MERGE_ALL
				    : MERGE_ALL & ~MERGE_BIT(MERGE_TUNNEL44));
		assert_int_equal(tun.dropped, 0);
	}
}

/* Refusals of a batch that was begun before the form was switched say nothing about
 * the new form. */
static void test_refused_of_before(void **state)
{
	struct tun_config config = { .name = "wg0" };
	struct tun tun;

	(void)state;
	reset(ALL | TUNNELS);
	assert_int_equal(tun_open(&tun, &fake, &config), 0);
	tun_set_overlays(&tun, &ports);
	k.refuse_gso = true;
	tun_begin_merge(&tun, batch);
	arena_used = 0;
	for (uint16_t i = 0; i < 8; i++) {
		struct tunnel t = plain(0), n;

		t.outer.sport = (uint16_t)(t.outer.sport + i);
		n = next(&t);
		add(NULL, &t);
		add(NULL, &n);
	}
	assert_int_equal(batch->items_cnt, 8);
	assert_int_equal(tun_write(&tun, batch), 0);
	assert_int_equal(k.writes, 8 * 3);
	assert_int_equal(tun.refused, 8);
	assert_int_equal(tun.true_offsets, MERGE_BIT(MERGE_TUNNEL44));
	assert_int_equal(tun.kinds, MERGE_ALL);
	assert_int_equal(tun.dropped, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_differences),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_verified_single),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_only_where_known),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_unsummed6),
		cmocka_unit_test(test_caps),
		cmocka_unit_test(test_cut_of_merged_is_the_same),
		cmocka_unit_test(test_merge_of_cut_is_the_same),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_refused_of_before),
	};

	return cmocka_run_group_tests_name("tun_tunnel_merge", tests,
					   batch_make, batch_free);
}
