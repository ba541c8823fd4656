/* SPDX-License-Identifier: MIT */
/*
 * Tunnel super-packets, as the kernel hands them out: how a device is asked for
 * them, how they are checked, and how they are cut.
 */
#include "tun_fake.h"
#include "tun_tunnel.h"
#include "tun/segment.h"

/* Choices: large enough for the segments of each super-packet here. */
#define SLAB_LEN  (8 << 20)
#define SEGS_MAX  65536
#define SUPER_MAX 65536

static uint8_t *slab_base;
static struct segment *segs;

static int make_all(void **state)
{
	slab_base = malloc(SLAB_LEN);
	segs = calloc(SEGS_MAX, sizeof(*segs));
	return slab_base && segs ? batch_make(state) : -1;
}

static int free_all(void **state)
{
	free(slab_base);
	free(segs);
	return batch_free(state);
}

/**
 * cut_all() - cut a packet
 * @pkt:	packet
 * @frame:	its description
 * @cap:	segments that each call may make
 *
 * Return: number of segments, which are in segs.
 */
static unsigned int cut_all(const uint8_t *pkt, const struct vnet_frame *frame,
			    unsigned int cap)
{
	struct segment_slab slab = { .base = slab_base,
				     .cap = SLAB_LEN,
				     .headroom = 16,
				     .tailroom = 31,
				     .segs = segs };
	struct segment_cursor cur;

	segment_begin(&cur, pkt, frame);
	while (!cur.done) {
		slab.segs_cap = slab.segs_cnt + cap;
		assert_true(slab.segs_cap <= SEGS_MAX);
		assert_true(segment_cut(&cur, &slab) > 0);
	}
	return slab.segs_cnt;
}

/**
 * check_cut() - cut a super-packet, and compare with packets made singly
 * @t:		its fields
 * @size:	segment size
 * @cap:	segments that each call may make
 */
static void check_cut(const struct tunnel *t, uint16_t size, unsigned int cap)
{
	static uint8_t pkt[SUPER_MAX], want[SUPER_MAX];
	struct vnet_tunnel_hdr hdr;
	struct vnet_frame frame;
	size_t len = tunnel_super(pkt, t, size, &hdr);
	unsigned int cnt;
	uint32_t off = 0;

	assert_int_equal(vnet_parse_tunnel_frame(&hdr, pkt, len, &frame),
			 VNET_OK);
	cnt = cut_all(pkt, &frame, cap);
	for (unsigned int i = 0; i < cnt; i++) {
		size_t want_len = tunnel_expect(want, t, pkt, off, size);

		assert_int_equal(segs[i].len, want_len);
		assert_memory_equal(segs[i].data, want, want_len);
		off += (uint32_t)(want_len - tunnel_hdr_len(t));
	}
	assert_int_equal(off, t->inner.payload_len);
}

/* Every type that the kernel can hand out, with and without outer checksum. */
static void test_every_type(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 32; i++) {
		struct tunnel t = {
			.outer = { .version = i & 1 ? 6 : 4,
				   .no_csum = i & 2,
				   .no_df = true,
				   .id = 65534,
				   .sport = 40000 },
			.inner = { .version = i & 4 ? 6 : 4,
				   .proto = i & 8 ? IP_PROTO_UDP : IP_PROTO_TCP,
				   .id = 65533,
				   .seq = 0xffffff80,
				   .flags = TCP_ACK | TCP_PSH | TCP_CWR |
					    TCP_ECE,
				   .payload_len = 550 },
			.is_geneve = i & 16,
			.options_len = i & 16 ? 12 : 0,
			.vni = 0x123456,
		};

		check_cut(&t, 100, SEGS_MAX);
		check_cut(&t, 100, 1);
		/* The last segment has 50 bytes, 1 byte, and all of it. */
		check_cut(&t, 549, 1);
		check_cut(&t, 550, 1);
		check_cut(&t, 551, 1);
	}
}

static void test_random(void **state)
{
	struct random r;

	(void)state;
	random_seed(&r);
	for (int i = 0; i < 400; i++) {
		struct tunnel t = {
			.outer = { .version = i & 1 ? 6 : 4,
				   .no_csum = random_next(&r) & 1,
				   .no_df = random_next(&r) & 1,
				   .tos = (uint8_t)random_next(&r),
				   .flow = random_u32(&r, 1 << 20),
				   .id = (uint16_t)random_next(&r),
				   .sport = (uint16_t)random_next(&r) },
			.inner = { .version = i & 2 ? 6 : 4,
				   .proto = i & 4 ? IP_PROTO_UDP : IP_PROTO_TCP,
				   .tos = (uint8_t)random_next(&r),
				   .id = (uint16_t)random_next(&r),
				   .seq = (uint32_t)random_next(&r),
				   .flags =
					   (uint8_t)(TCP_ACK | random_next(&r)),
				   .payload = random_next(&r),
				   .payload_len = 1 + random_u32(&r, 60000) },
			.is_geneve = i & 8,
			.vni = random_u32(&r, 1 << 24),
		};

		if (t.inner.proto == IP_PROTO_TCP)
			t.inner.opt_len = (uint16_t)(4 * random_u32(&r, 11));
		if (t.is_geneve)
			t.options_len = (uint8_t)(4 * random_u32(&r, 64));
		if (t.inner.version == 6 && random_next(&r) & 1)
			t.inner.ext_len = (uint16_t)(8 * random_u32(&r, 4));
		if (t.outer.version == 6 && random_next(&r) & 1)
			t.outer.ext_len = (uint16_t)(8 * random_u32(&r, 4));
		check_cut(&t, (uint16_t)(200 + random_u32(&r, 1400)),
			  1 + random_u32(&r, 60));
	}
}

/*
 * An outer checksum that comes out as 0 is sent as 0xffff, and is right. An
 * inner UDP checksum that does so changes nothing of the outer one.
 */
static void test_checksums_of_0(void **state)
{
	static uint8_t pkt[SUPER_MAX];
	bool has_outer = false, has_inner = false;

	(void)state;
	for (uint32_t vni = 0; vni < 1 << 17; vni++) {
		struct tunnel t = {
			.outer = { .version = 6 },
			.inner = { .version = 4,
				   .proto = IP_PROTO_UDP,
				   .payload_len = 2 },
			.vni = vni & 0xffff,
		};
		struct vnet_tunnel_hdr hdr;
		struct vnet_frame frame;
		size_t len = tunnel_super(pkt, &t, 2, &hdr);
		size_t inner = tunnel_inner_off(&t);

		/* Two bytes of payload run through all values, too. */
		if (vni >> 16)
			tunnel_put_be16(pkt + len - 2, vni & 0xffff);
		assert_int_equal(
			vnet_parse_tunnel_frame(&hdr, pkt, len, &frame),
			VNET_OK);
		assert_int_equal(cut_all(pkt, &frame, 1), 1);
		assert_true(packet_is_valid(segs[0].data, len, 40));
		assert_true(
			packet_is_valid(segs[0].data + inner, len - inner, 20));
		has_outer |= !memcmp(segs[0].data + 46, "\xff\xff", 2);
		has_inner |= !memcmp(segs[0].data + inner + 26, "\xff\xff", 2);
	}
	assert_true(has_outer);
	assert_true(has_inner);
}

enum {
	V4 = VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4,
	V6 = VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV6,
	TCP4 = VIRTIO_NET_HDR_GSO_TCPV4,
	TCP6 = VIRTIO_NET_HDR_GSO_TCPV6,
	USO = VIRTIO_NET_HDR_GSO_UDP_L4,
	ECN = VIRTIO_NET_HDR_GSO_ECN,
	CSUM = VIRTIO_NET_HDR_F_NEEDS_CSUM,
	VALID = VIRTIO_NET_HDR_F_DATA_VALID,
	OUTER = VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM,
	/* Of TCP over IPv4 in VXLAN over IPv4. */
	INNER = 20 + 8 + 8 + 14,
	START = INNER + 20,
	ALL_LEN = START + 20 + 100,
};

/* The frame is TCP over IPv4 in VXLAN over IPv4, with 100 bytes of payload; the
 * header is what each row says. */
static void test_bad_headers(void **state)
{
	static const struct {
		const char *name;
		int flags, type, size, start, outer, inner;
		int cut; /* bytes cut off the end */
		enum vnet_drop want;
	} rows[] = {
		{ "good", CSUM, V4 | TCP4, 50, START, 20, INNER, 0, VNET_OK },
		{ "outer sum", CSUM | OUTER, V4 | TCP4, 50, START, 20, INNER, 0,
		  VNET_OK },
		{ "ecn", CSUM, V4 | TCP4 | ECN, 50, START, 20, INNER, 0,
		  VNET_OK },
		{ "no sum", 0, V4 | TCP4, 50, START, 20, INNER, 0,
		  VNET_DROP_CSUM },
		{ "verified", VALID, V4 | TCP4, 50, START, 20, INNER, 0,
		  VNET_DROP_CSUM },
		{ "outer sum of no tunnel", CSUM | OUTER, TCP4, 50, 20, 20,
		  INNER, 0, VNET_DROP_TYPE },
		{ "flag 4", CSUM | 4, V4 | TCP4, 50, START, 20, INNER, 0,
		  VNET_DROP_TYPE },
		{ "flag 16", CSUM | OUTER | 16, V4 | TCP4, 50, START, 20, INNER,
		  0, VNET_DROP_TYPE },
		{ "both versions", CSUM, V4 | V6 | TCP4, 50, START, 20, INNER,
		  0, VNET_DROP_TYPE },
		{ "tunnel of nothing", CSUM, V4, 50, START, 20, INNER, 0,
		  VNET_DROP_TYPE },
		{ "ufo", CSUM, V4 | 3, 50, START, 20, INNER, 0,
		  VNET_DROP_TYPE },
		{ "size 0", CSUM, V4 | TCP4, 0, START, 20, INNER, 0,
		  VNET_DROP_SIZE },
		{ "outer v6", CSUM, V6 | TCP4, 50, START, 20, INNER, 0,
		  VNET_DROP_PROTO },
		{ "inner v6", CSUM, V4 | TCP6, 50, START, 20, INNER, 0,
		  VNET_DROP_PROTO },
		{ "inner udp", CSUM, V4 | USO, 50, START, 20, INNER, 0,
		  VNET_DROP_PROTO },
		{ "outer at 0", CSUM, V4 | TCP4, 50, START, 0, INNER, 0,
		  VNET_DROP_PROTO },
		{ "outer at 34", CSUM, V4 | TCP4, 50, START, 34, INNER, 0,
		  VNET_DROP_PROTO },
		{ "inner at 0", CSUM, V4 | TCP4, 50, START, 20, 0, 0,
		  VNET_DROP_PROTO },
		{ "inner in the udp header", CSUM, V4 | TCP4, 50, START, 20, 26,
		  0, VNET_DROP_PROTO },
		{ "inner odd", CSUM, V4 | TCP4, 50, START, 20, INNER + 1, 0,
		  VNET_DROP_PROTO },
		{ "inner at another place", CSUM, V4 | TCP4, 50, START, 20,
		  INNER - 2, 0, VNET_DROP_VERSION },
		{ "inner behind", CSUM, V4 | TCP4, 50, START, 20, ALL_LEN + 2,
		  0, VNET_DROP_SHORT },
		{ "inner at the end", CSUM, V4 | TCP4, 50, START, 20, ALL_LEN,
		  0, VNET_DROP_SHORT },
		{ "inner far away", CSUM, V4 | TCP4, 50, START, 20, 65534, 0,
		  VNET_DROP_SHORT },
		{ "start elsewhere", CSUM, V4 | TCP4, 50, START + 4, 20, INNER,
		  0, VNET_DROP_CSUM },
		{ "start outside", CSUM, V4 | TCP4, 50, 20, 20, INNER, 0,
		  VNET_DROP_CSUM },
		{ "inner header cut", CSUM, V4 | TCP4, 50, START - 20, 20,
		  INNER, ALL_LEN - INNER - 19, VNET_DROP_SHORT },
		{ "tcp header cut", CSUM, V4 | TCP4, 50, START, 20, INNER, 101,
		  VNET_DROP_SHORT },
		{ "outer udp cut", CSUM, V4 | TCP4, 50, 20, 20, 28,
		  ALL_LEN - 40, VNET_DROP_VERSION },
	};
	struct tunnel t = { .outer = { .version = 4 },
			    .inner = { .version = 4,
				       .proto = IP_PROTO_TCP,
				       .payload_len = 100 } };
	uint8_t pkt[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct vnet_tunnel_hdr hdr;
		struct vnet_frame frame = { .len = 4711 };
		size_t len =
			tunnel_super(pkt, &t, 50, &hdr) - (size_t)rows[i].cut;
		uint8_t *tight = malloc(len);
		enum vnet_drop got;

		hdr.base.flags = (uint8_t)rows[i].flags;
		hdr.base.gso_type = (uint8_t)rows[i].type;
		vnet_set_le(hdr.base.gso_size, (uint16_t)rows[i].size);
		vnet_set_le(hdr.base.csum_start, (uint16_t)rows[i].start);
		vnet_set_le(hdr.outer_l4_off, (uint16_t)rows[i].outer);
		vnet_set_le(hdr.inner_off, (uint16_t)rows[i].inner);
		/* In memory of just this length a sanitizer sees a read beyond
		 * the packet. */
		memcpy(tight, pkt, len);
		got = vnet_parse_tunnel_frame(&hdr, tight, len, &frame);
		if (got != rows[i].want)
			print_error("%s: %s, not %s\n", rows[i].name,
				    vnet_drop_name(got),
				    vnet_drop_name(rows[i].want));
		assert_int_equal(got, rows[i].want);
		assert_int_equal(frame.len, got == VNET_OK ? len : 4711);
		/* The short header knows no tunnels. */
		if (rows[i].type & (V4 | V6))
			assert_int_not_equal(
				vnet_parse_frame(&hdr.base, tight, len, &frame),
				VNET_OK);
		free(tight);
	}
}

/* Packets that cannot be tunnel super-packets. */
static void test_bad_packets(void **state)
{
	struct tunnel t = { .outer = { .version = 4 },
			    .inner = { .version = 4,
				       .proto = IP_PROTO_TCP,
				       .payload_len = 100 } };
	static const struct {
		size_t off;
		uint8_t byte;
		enum vnet_drop want;
	} rows[] = {
		{ 0, 0x46, VNET_DROP_PROTO }, /* outer options */
		{ 6, 0x20, VNET_DROP_PROTO }, /* an outer fragment */
		{ 9, IP_PROTO_TCP, VNET_DROP_PROTO },
		{ INNER, 0x55, VNET_DROP_VERSION },
		{ INNER, 0x65, VNET_DROP_PROTO },
		{ INNER, 0x44, VNET_DROP_PROTO },
		{ INNER + 6, 0x20, VNET_DROP_PROTO }, /* an inner fragment */
		{ INNER + 9, IP_PROTO_UDP, VNET_DROP_PROTO },
		{ START + 12, 0x40, VNET_DROP_PROTO },
	};
	struct vnet_tunnel_hdr hdr;
	struct vnet_frame frame;
	uint8_t pkt[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		size_t len = tunnel_super(pkt, &t, 50, &hdr);

		pkt[rows[i].off] = rows[i].byte;
		assert_int_equal(
			vnet_parse_tunnel_frame(&hdr, pkt, len, &frame),
			rows[i].want);
	}
	/* An outer packet that has yet to visit another node: the sum of its
	 * pseudo header is not known. */
	t.outer.version = 6;
	t.outer.ext_len = 8;
	for (int left = 0; left < 2; left++) {
		size_t len = tunnel_super(pkt, &t, 50, &hdr);

		pkt[6] = IP_PROTO_ROUTING;
		pkt[43] = (uint8_t)left;
		assert_int_equal(
			vnet_parse_tunnel_frame(&hdr, pkt, len, &frame),
			left ? VNET_DROP_PROTO : VNET_OK);
	}
}

static void test_description(void **state)
{
	struct tunnel t = { .outer = { .version = 6 },
			    .inner = { .version = 4,
				       .proto = IP_PROTO_TCP,
				       .opt_len = 12,
				       .payload_len = 100 },
			    .is_geneve = true,
			    .options_len = 8 };
	struct vnet_tunnel_hdr hdr;
	struct vnet_frame f;
	uint8_t pkt[512];
	size_t len = tunnel_super(pkt, &t, 50, &hdr);

	(void)state;
	assert_int_equal(vnet_parse_tunnel_frame(&hdr, pkt, len, &f), VNET_OK);
	assert_int_equal(f.len, len);
	assert_int_equal(f.gso_size, 50);
	assert_int_equal(f.outer_l4_off, 40);
	assert_int_equal(f.outer_version, 6);
	assert_true(f.outer_csum);
	assert_int_equal(f.ip_off, 40 + 8 + 16 + 14);
	assert_int_equal(f.ip_version, 4);
	assert_int_equal(f.l4_off, f.ip_off + 20);
	assert_int_equal(f.l4_proto, IP_PROTO_TCP);
	assert_int_equal(f.hdr_len, f.l4_off + 32);
	assert_int_equal(f.csum_start, f.l4_off);
	assert_int_equal(f.csum_field, f.l4_off + 16);

	/* A packet that is not in a tunnel, with garbage behind the short
	 * header. */
	memset(&hdr, 0xff, sizeof(hdr));
	memset(&hdr, 0, sizeof(hdr.base));
	assert_int_equal(vnet_parse_tunnel_frame(&hdr, pkt, len, &f), VNET_OK);
	assert_int_equal(f.outer_l4_off, 0);
	assert_int_equal(f.ip_off, 0);
	assert_int_equal(f.ip_version, 6);
	assert_int_equal(f.gso_size, 0);
}

/* Long inner extension headers: offsets stay within 16 bits. */
static void test_offsets_are_bounded(void **state)
{
	static uint8_t pkt[IPV6_PACKET_MAX];
	struct tunnel t = { .outer = { .version = 6 },
			    .inner = { .version = 6, .proto = IP_PROTO_TCP } };
	struct vnet_tunnel_hdr hdr;
	struct vnet_frame frame;
	size_t inner = 65534;

	(void)state;
	tunnel_super(pkt, &t, 50, &hdr);
	memcpy(pkt + inner, pkt + tunnel_inner_off(&t), 40);
	vnet_set_le(hdr.inner_off, (uint16_t)inner);
	assert_int_equal(
		vnet_parse_tunnel_frame(&hdr, pkt, sizeof(pkt), &frame),
		VNET_DROP_LONG);
	pkt[inner] = 0x45;
	memset(pkt + inner + 6, 0, 2);
	pkt[inner + 9] = IP_PROTO_TCP;
	hdr.base.gso_type = V6 | TCP4;
	assert_int_equal(
		vnet_parse_tunnel_frame(&hdr, pkt, sizeof(pkt), &frame),
		VNET_DROP_LONG);
}

/*
 * Random bytes: each frame that can be parsed is cut, and no byte outside of it
 * is read.
 */
static void test_garbage(void **state)
{
	static const uint8_t types[] = { 1, 4, 5, 0x81, 0x84 };
	struct random r;
	unsigned int parsed = 0;

	(void)state;
	random_seed(&r);
	for (int i = 0; i < 200000; i++) {
		size_t len = 60 + random_u32(&r, 200);
		uint8_t *pkt = malloc(len);
		struct vnet_tunnel_hdr hdr;
		struct vnet_frame frame;
		size_t outer = i & 1 ? 20 : 40, inner = outer + 22;

		random_fill(&r, pkt, len);
		random_fill(&r, (void *)&hdr, sizeof(hdr));
		hdr.base.flags &= OUTER | CSUM;
		hdr.base.gso_type =
			(uint8_t)((i & 1 ? V4 : V6) | types[random_u32(&r, 5)]);
		vnet_set_le(hdr.base.gso_size, (uint16_t)random_u32(&r, 100));
		if (random_u32(&r, 8))
			vnet_set_le(hdr.outer_l4_off, (uint16_t)outer);
		if (random_u32(&r, 8))
			vnet_set_le(hdr.inner_off, (uint16_t)inner);
		vnet_set_le(hdr.base.csum_start,
			    (uint16_t)(inner + (i & 2 ? 20 : 40)));
		vnet_set_le(hdr.base.csum_offset, i & 4 ? 16 : 6);
		pkt[0] = i & 1 ? 0x45 : 0x60;
		memset(pkt + 6, 0, 2);
		pkt[i & 1 ? 9 : 6] = IP_PROTO_UDP;
		if (len > inner + 10) {
			pkt[inner] = i & 2 ? 0x45 : 0x60;
			memset(pkt + inner + 6, 0, 2);
			pkt[inner + (i & 2 ? 9 : 6)] = i & 4 ? 6 : 17;
		}
		if (vnet_parse_tunnel_frame(&hdr, pkt, len, &frame) ==
		    VNET_OK) {
			parsed += frame.outer_l4_off != 0;
			cut_all(pkt, &frame, SEGS_MAX);
		}
		free(pkt);
	}
	assert_true(parsed > 1000);
}

/*
 * Tunnel super-packets are asked for last, with the longer header. If the kernel
 * refuses one of both, the device is as without them.
 */
static void test_tunnels(void **state)
{
	static const struct {
		const char *name;
		unsigned int known, off, features, offload;
		int bad_hdr_len, hdr_len;
	} rows[] = {
		{ "all", ALL | TUNNELS, 0, TUN_FEATURES, ALL | TUNNELS, 0, 24 },
		{ "before 6.17", ALL, 0, NO_TUNNEL, ALL, 0, 10 },
		{ "no outer checksum", ALL | 0x80, 0, NO_TUNNEL, ALL, 0, 10 },
		{ "no longer header", ALL | TUNNELS, 0, NO_TUNNEL, ALL, 24,
		  10 },
		{ "off", ALL | TUNNELS, TUN_TUNNEL, NO_TUNNEL, ALL, 0, 10 },
		{ "uso off", ALL | TUNNELS, TUN_USO, TUN_FEATURES & ~TUN_USO,
		  (ALL & ~0x60U) | TUNNELS, 0, 24 },
		{ "no other super-packets", ALL | TUNNELS,
		  TUN_USO | TUN_TSO4 | TUN_TSO6, TUN_VNET | TUN_CSUM,
		  TUN_F_CSUM, 0, 10 },
		{ "csum off", ALL | TUNNELS, TUN_CSUM, TUN_VNET, 0, 0, 10 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tun_config config = { .name = "wg0",
					     .features_off = rows[i].off };
		struct tun tun;

		reset(rows[i].known);
		k.bad_hdr_len = rows[i].bad_hdr_len;
		assert_int_equal(tun_open(&tun, &fake, &config), 0);
		if (tun.features != rows[i].features ||
		    k.offload != rows[i].offload ||
		    k.vnet_len != rows[i].hdr_len)
			print_error("%s: %x %x %d\n", rows[i].name,
				    tun.features, k.offload, k.vnet_len);
		assert_int_equal(tun.features, rows[i].features);
		assert_int_equal(k.offload, rows[i].offload);
		assert_int_equal(k.vnet_len, rows[i].hdr_len);
		assert_int_equal(tun_hdr_len(&tun), rows[i].hdr_len);
		tun_close(&tun);
		assert_int_equal(k.vnet_len, 10);
		assert_int_equal(k.offload, 0);
	}
	/* A device that keeps the longer header cannot be used. */
	{
		struct tun_config config = { .name = "wg0" };
		struct tun tun;

		reset(ALL);
		k.bad_hdr_len = 10;
		k.bad_hdr_after = 1;
		assert_int_equal(tun_open(&tun, &fake, &config), -EINVAL);
		assert_int_equal(k.closed, 1);
	}
}

/* With the longer header, which is an entry of the vector of its own. */
static void test_longer_header(void **state)
{
	struct spec s = { .version = 4, .proto = 17, .payload_len = 100 };
	static uint8_t buf[TUN_HEADROOM + IPV6_PACKET_MAX], in[24 + 256];
	uint8_t *pkt = buf + TUN_HEADROOM, packet[60] = { 0x45, [59] = 7 };
	struct tun_config config = { .name = "wg0" };
	size_t len = packet_build(in + 24, &s);
	struct vnet_frame frame;
	struct tun tun;

	(void)state;
	reset(ALL | TUNNELS);
	assert_int_equal(tun_open(&tun, &fake, &config), 0);
	k.frame = in;
	k.frame_len = (ssize_t)(24 + len);
	assert_int_equal(tun_read(&tun, pkt, IPV6_PACKET_MAX, &frame), 0);
	assert_int_equal(frame.len, len);
	assert_memory_equal(pkt, in + 24, len);
	assert_int_equal(tun_parse_frame(&tun, pkt, len, &frame), VNET_OK);
	/* The kernel leaves garbage behind the short header of a packet that is
	 * not in a tunnel. */
	memset(in + 10, 0xff, 14);
	k.reads = 0;
	assert_int_equal(tun_read(&tun, pkt, IPV6_PACKET_MAX, &frame), 0);
	k.reads = 0;
	k.frame_len = 23;
	assert_int_equal(tun_read(&tun, pkt, IPV6_PACKET_MAX, &frame),
			 TUN_E_DROP);
	assert_int_equal(tun.drops[VNET_DROP_SHORT], 1);

	fill(&tun, MERGE_TCP4);
	assert_int_equal(tun_write(&tun, batch), 0);
	assert_int_equal(k.writes, 2);
	assert_int_equal(k.write_iovs[0], 4);
	assert_int_equal(k.write_len[0], 24 + 340);
	assert_int_equal(k.write_iovs[1], 2);
	assert_int_equal(k.write_len[1], 24 + 140);
	assert_true(tun_write_packet(&tun, packet, sizeof(packet)));
	assert_int_equal(k.write_len[2], 24 + sizeof(packet));
	assert_int_equal(k.write_byte[2], 7);

	/* Packets are counted, not entries. */
	fill(&tun, MERGE_TCP4);
	k.write_errno[0] = EIO;
	assert_int_equal(tun_write(&tun, batch), TUN_E_DOWN);
	assert_int_equal(tun.dropped, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_type),
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_checksums_of_0),
		cmocka_unit_test(test_bad_headers),
		cmocka_unit_test(test_bad_packets),
		cmocka_unit_test(test_description),
		cmocka_unit_test(test_offsets_are_bounded),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_tunnels),
		cmocka_unit_test(test_longer_header),
	};

	return cmocka_run_group_tests_name("tun_tunnel", tests, make_all,
					   free_all);
}
