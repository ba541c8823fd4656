/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "tun_batch.h"
#include "tun/checksum.h"

static uint8_t frame[FRAME_MAX];

/*
 * An IPv4 packet with DF and 100 bytes of payload, except for the members that
 * are given.
 */
#define TCP(...)                                   \
	{                                          \
		.proto = IP_PROTO_TCP, __VA_ARGS__ \
	}
#define UDP(...)                                   \
	{                                          \
		.proto = IP_PROTO_UDP, __VA_ARGS__ \
	}
#define OTHER(n, ...)                     \
	{                                 \
		.proto = (n), __VA_ARGS__ \
	}
#define EMPTY UINT32_MAX

/**
 * complete() - put the defaults in a spec
 * @s:		spec; EMPTY for no payload
 */
static struct spec complete(const struct spec *s)
{
	struct spec full = *s;

	if (full.version == 0)
		full.version = 4;
	if (full.payload_len == 0)
		full.payload_len = 100;
	if (full.payload_len == EMPTY)
		full.payload_len = 0;
	return full;
}

/**
 * build() - make a packet
 * @pkt:	where
 * @s:		spec, to be completed
 *
 * Return: its length.
 */
static size_t build(uint8_t *pkt, const struct spec *s)
{
	struct spec full = complete(s);

	return packet_build(pkt, &full);
}

/**
 * add() - add a packet
 * @s:		spec, to be completed
 */
static void add(const struct spec *s)
{
	struct spec full = complete(s);

	batch_add_spec(&full);
}

/**
 * count_writes() - take all writes and note the lengths of their parts
 * @text:	receives "n" or "a+b+c" for each write, with spaces between writes;
 *		the first part is the headers and the first payload
 * @cap:	bytes at @text
 */
static void count_writes(char *text, size_t cap)
{
	const struct iovec *iov;
	unsigned int cnt;
	size_t len = 0;

	text[0] = '\0';
	while ((cnt = merge_peek(batch, &iov)) != 0) {
		for (unsigned int i = 0; i < cnt; i++) {
			size_t part = iov[i].iov_len;

			if (i == 0)
				part -= sizeof(struct vnet_hdr);
			len += (size_t)snprintf(text + len, cap - len, "%s%zu",
						i ? "+" : (len ? " " : ""),
						part);
			assert_true(len < cap);
		}
		merge_written(batch);
	}
}

/**
 * expect() - add packets and compare the writes
 * @name:	name of the row
 * @specs:	packets
 * @cnt:	how many
 * @want:	the text that count_writes() must give
 */
static void expect(const char *name, const struct spec *specs, size_t cnt,
		   const char *want)
{
	char got[4096];

	batch_begin(MERGE_ALL);
	for (size_t i = 0; i < cnt; i++)
		add(&specs[i]);
	count_writes(got, sizeof(got));
	if (strcmp(got, want))
		print_error("%s: %s, not %s\n", name, got, want);
	assert_string_equal(got, want);
}

/* Two packets, of which the second differs in one thing. */
static void test_pairs(void **state)
{
	static const struct {
		const char *name;
		struct spec a, b;
		const char *want;
	} rows[] = {
		{ "next", TCP(.id = 7), TCP(.id = 8, .seq = 100), "140+100" },
		{ "shorter", TCP(), TCP(.id = 1, .seq = 100, .payload_len = 1),
		  "140+1" },
		{ "longer", TCP(), TCP(.id = 1, .seq = 100, .payload_len = 101),
		  "140 141" },
		{ "again", TCP(), TCP(.id = 1), "140 140" },
		{ "gap", TCP(), TCP(.id = 1, .seq = 101), "140 140" },
		{ "backwards", TCP(.seq = 100), TCP(.id = 1), "140 140" },
		{ "seq wraps", TCP(.seq = 0xffffffce), TCP(.id = 1, .seq = 50),
		  "140+100" },
		{ "ack", TCP(), TCP(.id = 1, .seq = 100, .ack = 1), "140 140" },
		{ "window", TCP(), TCP(.id = 1, .seq = 100, .window = 1),
		  "140 140" },
		{ "port", TCP(), TCP(.id = 1, .seq = 100, .sport = 1),
		  "140 140" },
		{ "address", TCP(), TCP(.id = 1, .seq = 100, .host = 1),
		  "140 140" },
		{ "tos", TCP(), TCP(.id = 1, .seq = 100, .tos = 3), "140 140" },
		{ "ttl", TCP(), TCP(.id = 1, .seq = 100, .ttl = 63),
		  "140 140" },
		{ "df", TCP(), TCP(.id = 1, .seq = 100, .no_df = true),
		  "140 140" },
		{ "id wraps", TCP(.id = 65535), TCP(.seq = 100), "140+100" },
		{ "id leaps", TCP(.id = 7), TCP(.id = 9, .seq = 100),
		  "140 140" },
		{ "id back", TCP(.id = 7), TCP(.id = 6, .seq = 100),
		  "140 140" },
		{ "id stands, df", TCP(), TCP(.seq = 100), "140+100" },
		{ "id stands", TCP(.no_df = true),
		  TCP(.no_df = true, .seq = 100), "140 140" },
		{ "id counts, no df", TCP(.no_df = true),
		  TCP(.no_df = true, .id = 1, .seq = 100), "140+100" },
		{ "empty second", TCP(),
		  TCP(.id = 1, .seq = 100, .payload_len = EMPTY), "140 40" },
		{ "empty first", TCP(.payload_len = EMPTY), TCP(.id = 1),
		  "40 140" },
		{ "options", TCP(.opt_len = 12),
		  TCP(.id = 1, .seq = 100, .opt_len = 12), "152+100" },
		{ "option length", TCP(.opt_len = 12),
		  TCP(.id = 1, .seq = 100, .opt_len = 8), "152 148" },
		{ "psh first", TCP(.flags = TCP_ACK | TCP_PSH),
		  TCP(.id = 1, .seq = 100), "140 140" },
		{ "psh second", TCP(),
		  TCP(.id = 1, .seq = 100, .flags = TCP_ACK | TCP_PSH),
		  "140+100" },
		{ "fin second", TCP(),
		  TCP(.id = 1, .seq = 100, .flags = TCP_ACK | TCP_FIN),
		  "140+100" },
		{ "fin first", TCP(.flags = TCP_ACK | TCP_FIN),
		  TCP(.id = 1, .seq = 100), "140 140" },
		{ "cwr first", TCP(.flags = TCP_ACK | TCP_CWR),
		  TCP(.id = 1, .seq = 100), "140+100" },
		{ "cwr both", TCP(.flags = TCP_ACK | TCP_CWR),
		  TCP(.id = 1, .seq = 100, .flags = TCP_ACK | TCP_CWR),
		  "140 140" },
		{ "ae both", TCP(.ae = true),
		  TCP(.id = 1, .seq = 100, .ae = true), "140+100" },
		{ "ae and ece both",
		  TCP(.ae = true, .flags = TCP_ACK | TCP_ECE),
		  TCP(.id = 1, .seq = 100, .ae = true,
		      .flags = TCP_ACK | TCP_ECE),
		  "140+100" },
		{ "ae second", TCP(), TCP(.id = 1, .seq = 100, .ae = true),
		  "140 140" },
		{ "cwr second", TCP(),
		  TCP(.id = 1, .seq = 100, .flags = TCP_ACK | TCP_CWR),
		  "140 140" },
		{ "ece both", TCP(.flags = TCP_ACK | TCP_ECE),
		  TCP(.id = 1, .seq = 100, .flags = TCP_ACK | TCP_ECE),
		  "140+100" },
		{ "ece second", TCP(),
		  TCP(.id = 1, .seq = 100, .flags = TCP_ACK | TCP_ECE),
		  "140 140" },
		{ "urg", TCP(.flags = TCP_ACK | TCP_URG),
		  TCP(.id = 1, .seq = 100, .flags = TCP_ACK | TCP_URG),
		  "140 140" },
		{ "syn", TCP(.flags = TCP_SYN), TCP(.id = 1, .seq = 100),
		  "140 140" },
		{ "rst", TCP(), TCP(.id = 1, .seq = 100, .flags = TCP_RST),
		  "140 140" },
		{ "no ack", TCP(.flags = TCP_PSH),
		  TCP(.id = 1, .seq = 100, .flags = TCP_PSH), "140 140" },

		{ "v6", TCP(.version = 6), TCP(.version = 6, .seq = 100),
		  "160+100" },
		{ "v6 class", TCP(.version = 6),
		  TCP(.version = 6, .seq = 100, .tos = 1), "160 160" },
		{ "v6 flow label", TCP(.version = 6),
		  TCP(.version = 6, .seq = 100, .flow = 1), "160 160" },
		{ "v6 hop limit", TCP(.version = 6),
		  TCP(.version = 6, .seq = 100, .ttl = 1), "160 160" },
		{ "v6 address", TCP(.version = 6),
		  TCP(.version = 6, .seq = 100, .host = 1), "160 160" },
		{ "v6 extension", TCP(.version = 6, .ext_len = 8),
		  TCP(.version = 6, .ext_len = 8, .seq = 100), "168 168" },

		{ "udp", UDP(), UDP(.id = 1), "128+100" },
		{ "udp shorter", UDP(), UDP(.id = 1, .payload_len = 1),
		  "128+1" },
		{ "udp longer", UDP(), UDP(.id = 1, .payload_len = 101),
		  "128 129" },
		{ "udp port", UDP(), UDP(.id = 1, .sport = 9), "128 128" },
		{ "udp empty", UDP(), UDP(.id = 1, .payload_len = EMPTY),
		  "128 28" },
		{ "udp6", UDP(.version = 6), UDP(.version = 6), "148+100" },
		{ "udp no checksum", UDP(.no_csum = true),
		  UDP(.id = 1, .no_csum = true), "128+100" },
		{ "udp one checksum", UDP(), UDP(.id = 1, .no_csum = true),
		  "128 128" },
		{ "udp other checksum", UDP(.no_csum = true), UDP(.id = 1),
		  "128 128" },
		{ "udp6 no checksum", UDP(.version = 6, .no_csum = true),
		  UDP(.version = 6, .no_csum = true), "148 148" },
		{ "udp and tcp", UDP(), TCP(.id = 1), "128 140" },
		{ "v4 and v6", TCP(), TCP(.version = 6, .seq = 100),
		  "140 160" },
		{ "another protocol", OTHER(132), OTHER(132, .id = 1),
		  "128 128" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct spec pair[2] = { rows[i].a, rows[i].b };

		expect(rows[i].name, pair, 2, rows[i].want);
		expect(rows[i].name, pair, 2, rows[i].want);
	}
}

static void test_runs(void **state)
{
	static const struct spec order[] = {
		UDP(.id = 0),
		UDP(.id = 1, .payload_len = EMPTY),
		UDP(.id = 2),
	};
	static const struct spec psh[] = {
		TCP(.id = 0),
		TCP(.id = 1, .seq = 100, .flags = TCP_ACK | TCP_PSH),
		TCP(.id = 2, .seq = 200),
		TCP(.id = 3, .seq = 300, .flags = TCP_ACK | TCP_PSH),
	};
	static const struct spec shorter_ends[] = {
		UDP(.id = 0),
		UDP(.id = 1, .payload_len = 50),
		UDP(.id = 2, .payload_len = 50),
		UDP(.id = 3, .payload_len = 50),
	};
	static const struct spec never_before[] = {
		TCP(.id = 1, .seq = 100),
		TCP(.id = 0, .seq = 0),
		TCP(.id = 2, .seq = 200),
	};
	static const struct spec id_step[] = {
		TCP(.id = 5),
		TCP(.id = 5, .seq = 100),
		TCP(.id = 6, .seq = 200),
	};
	static const struct spec two_flows[] = {
		TCP(.id = 0),
		TCP(.id = 0, .sport = 1),
		TCP(.id = 1, .seq = 100),
		UDP(.id = 0),
		TCP(.id = 1, .seq = 100, .sport = 1),
		UDP(.id = 1),
		TCP(.id = 2, .seq = 200),
	};
	static const struct spec ack_between[] = {
		TCP(.id = 0),
		TCP(.id = 1, .seq = 100, .payload_len = EMPTY, .ack = 1),
		TCP(.id = 2, .seq = 100, .ack = 1),
		TCP(.id = 3, .seq = 200, .ack = 1),
	};

	(void)state;
	expect("100 0 100", order, 3, "128 28 128");
	expect("psh", psh, 4, "140+100 140+100");
	expect("shorter ends", shorter_ends, 4, "128+50 78+50");
	expect("never before", never_before, 3, "140 140 140");
	expect("id step", id_step, 3, "140+100 140");
	expect("two flows", two_flows, 7, "140+100+100 140+100 128+100");
	expect("ack between", ack_between, 4, "140 40 140+100");
}

static void test_caps(void **state)
{
	struct spec udp = UDP(), tcp = TCP(.payload_len = 1400);
	char text[16384];

	(void)state;
	batch_begin(MERGE_ALL);
	for (int i = 0; i < 66; i++) {
		udp.id = (uint16_t)i;
		add(&udp);
	}
	assert_int_equal(batch->items_cnt, 2);
	assert_int_equal(batch->items[0].cnt, 64);
	assert_int_equal(batch->items[1].cnt, 2);
	count_writes(text, sizeof(text));

	/* 40 + 46 * 1400 = 64440; one more would be 65840. */
	batch_begin(MERGE_ALL);
	for (int i = 0; i < 48; i++) {
		tcp.id = (uint16_t)i;
		tcp.seq = (uint32_t)i * 1400;
		add(&tcp);
	}
	assert_int_equal(batch->items_cnt, 2);
	assert_int_equal(batch->items[0].cnt, 46);

	/* Five payloads and 40 bytes of headers are exactly 65535. */
	batch_begin(MERGE_ALL);
	tcp.payload_len = 65495 / 5;
	for (int i = 0; i < 6; i++) {
		tcp.id = (uint16_t)i;
		tcp.seq = (uint32_t)i * 13099;
		add(&tcp);
	}
	assert_int_equal(batch->items_cnt, 2);
	assert_int_equal(batch->items[0].len, 65535);
	assert_int_equal(batch_next(frame), 10 + 65535);

	/* Eight payloads and 40 bytes of headers are 65536, one too many. */
	batch_begin(MERGE_ALL);
	tcp.payload_len = (65536 - 40) / 8;
	for (int i = 0; i < 8; i++) {
		tcp.id = (uint16_t)i;
		tcp.seq = (uint32_t)i * 8187;
		add(&tcp);
	}
	assert_int_equal(batch->items_cnt, 2);
	assert_int_equal(batch->items[0].cnt, 7);
}

static void test_full(void **state)
{
	struct spec tcp = TCP(.payload_len = 1);
	static uint8_t pkt[128];
	struct spec full = complete(&tcp);
	size_t len = packet_build(pkt, &full);
	const struct iovec *iov;

	(void)state;
	batch_begin(MERGE_ALL);
	for (uint32_t i = 0; i < MERGE_PACKETS_MAX; i++) {
		tcp.id = (uint16_t)i;
		tcp.seq = i;
		add(&tcp);
	}
	assert_int_equal(merge_add(batch, pkt + 32, len), MERGE_E_FULL);
	assert_int_equal(merge_peek(batch, &iov), MERGE_PACKETS_MAX);
	merge_written(batch);
	assert_int_equal(merge_peek(batch, &iov), 0);
	merge_written(batch);
	assert_int_equal(merge_undo(batch), MERGE_NONE);

	/* The longer header takes an entry of the vector. */
	batch_hdr_len = sizeof(struct vnet_tunnel_hdr);
	batch_begin(MERGE_ALL);
	for (uint32_t i = 0; i < MERGE_PACKETS_MAX; i++) {
		tcp.id = (uint16_t)i;
		tcp.seq = i;
		add(&tcp);
	}
	assert_int_equal(merge_peek(batch, &iov), MERGE_PACKETS_MAX);
	assert_int_equal(iov[0].iov_len, sizeof(struct vnet_tunnel_hdr));
	merge_written(batch);
	assert_int_equal(merge_peek(batch, &iov), 2);
	merge_written(batch);
	assert_int_equal(merge_peek(batch, &iov), 0);
	batch_hdr_len = sizeof(struct vnet_hdr);

	batch_begin(MERGE_ALL);
	assert_int_equal(merge_add(batch, pkt, 0), -EINVAL);
	assert_int_equal(merge_add(batch, pkt, 65576), -EINVAL);
	assert_int_equal(merge_peek(batch, &iov), 0);
}

static void test_header(void **state)
{
	struct spec s = TCP(.opt_len = 12);
	struct spec t = TCP(.opt_len = 12, .id = 1, .seq = 100,
			    .payload_len = 60, .flags = TCP_ACK | TCP_PSH);
	struct vnet_hdr hdr;
	size_t len;

	(void)state;
	batch_begin(MERGE_ALL);
	add(&s);
	add(&t);
	len = batch_next(frame);
	assert_int_equal(len, 10 + 52 + 160);
	memcpy(&hdr, frame, sizeof(hdr));
	assert_int_equal(hdr.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_int_equal(hdr.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	assert_int_equal(vnet_get(hdr.hdr_len), 52);
	assert_int_equal(vnet_get(hdr.gso_size), 100);
	assert_int_equal(vnet_get(hdr.csum_start), 20);
	assert_int_equal(vnet_get(hdr.csum_offset), 16);
	assert_int_equal(frame[10 + 33], TCP_ACK | TCP_PSH);
	assert_int_equal(frame[10 + 2] << 8 | frame[10 + 3], 212);
	assert_int_equal(ref_sum(0, frame + 10, 20), 0xffff);
	assert_int_equal(frame[10 + 36] << 8 | frame[10 + 37],
			 packet_pseudo(frame + 10, IP_PROTO_TCP, 192));
	assert_int_equal(batch_next(frame), 0);
}

static bool all_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

/*
 * A single packet is not looked at. It is written unchanged behind a header of
 * zeros, even if its checksum is wrong.
 */
static void test_single_is_untouched(void **state)
{
	struct spec s = TCP(.no_csum = true);
	uint8_t pkt[256];
	size_t len = build(pkt, &s);

	(void)state;
	batch_begin(MERGE_ALL);
	batch_add(pkt, len);
	memset(frame, 0xff, sizeof(frame));
	assert_int_equal(batch_next(frame), 10 + len);
	assert_true(all_zero(frame, 10));
	assert_memory_equal(frame + 10, pkt, len);
}

/*
 * A packet with a bad checksum is written alone, unchanged and in its place.
 * The packets on both sides of it merge.
 */
static void test_bad_checksum(void **state)
{
	(void)state;
	for (int kind = 0; kind < 5; kind++) {
		for (unsigned int bad = 0; bad < 5; bad++) {
			struct spec s = TCP(.version = kind & 1 ? 6 : 4);
			struct spec full;
			uint8_t pkt[5][256];
			size_t len = 0;
			unsigned int off;

			if (kind & 2)
				s.proto = IP_PROTO_UDP;
			batch_begin(MERGE_ALL);
			for (unsigned int i = 0; i < 5; i++) {
				s.id = (uint16_t)i;
				s.seq = i * 100;
				len = build(pkt[i], &s);
				/* The last kind: the IPv4 checksum is bad. */
				if (i == bad && kind < 4)
					pkt[i][len - 1] ^= 1;
				else if (i == bad)
					pkt[i][11] ^= 1;
				batch_add(pkt[i], len);
			}
			full = complete(&s);
			off = (unsigned int)packet_hdr_len(&full);
			if (bad > 0) {
				assert_int_equal(batch_next(frame),
						 10 + off + bad * 100);
				assert_int_equal(frame[0], 1);
				assert_int_equal(frame[1] != 0, bad > 1);
			}
			assert_int_equal(batch_next(frame), 10 + len);
			assert_true(all_zero(frame, 10));
			assert_memory_equal(frame + 10, pkt[bad], len);
			if (bad < 4)
				assert_int_equal(batch_next(frame),
						 10 + off + (4 - bad) * 100);
			assert_int_equal(batch_next(frame), 0);
		}
	}
}

/*
 * The checksum of the first packet was verified before the second was found
 * bad. The first is written alone, and the kernel need not verify it again.
 */
static void test_verified_single(void **state)
{
	struct spec s = UDP();
	uint8_t pkt[256], bad[256];
	size_t len = build(pkt, &s);
	struct vnet_hdr hdr;

	(void)state;
	s.id = 1;
	build(bad, &s);
	bad[len - 1] ^= 1;
	batch_begin(MERGE_ALL);
	batch_add(pkt, len);
	batch_add(bad, len);
	assert_int_equal(batch_next(frame), 10 + len);
	memcpy(&hdr, frame, sizeof(hdr));
	assert_int_equal(hdr.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_int_equal(hdr.gso_type, VIRTIO_NET_HDR_GSO_NONE);
	assert_int_equal(vnet_get(hdr.gso_size), 0);
	packet_sum_l4(frame + 10, len, 20, IP_PROTO_UDP, false);
	assert_memory_equal(frame + 10, pkt, len);
	assert_int_equal(batch_next(frame), 10 + len);
	assert_true(all_zero(frame, 10));
	assert_memory_equal(frame + 10, bad, len);
}

/* If a packet does not show its flow, no packet overtakes it. */
static void test_barriers(void **state)
{
	struct spec s = UDP(.no_df = true);
	uint8_t pkt[4][256];
	size_t len;

	(void)state;
	for (int how = 0; how < 6; how++) {
		struct spec odd = s;
		uint8_t b[256];

		/* Another port, or other bytes in the place of the port. */
		odd.id = 50;
		odd.sport = 9;
		if (how == 5) {
			odd.version = 6;
			odd.ext_len = 8;
		}
		len = build(b, &odd);
		if (how == 0)
			b[6] = 0x20; /* the first fragment */
		else if (how == 1)
			b[7] = 3; /* a later one */
		else if (how == 2)
			b[0] = 0x46; /* options */
		else if (how == 3)
			b[3]--; /* padded */
		else if (how == 4)
			b[6] = 0x80; /* reserved bit */
		batch_begin(MERGE_ALL);
		for (int i = 0; i < 4; i++) {
			s.id = (uint16_t)i;
			build(pkt[i], &s);
			batch_add(pkt[i], 128);
			if (i == 1)
				batch_add(b, len);
		}
		assert_int_equal(batch_next(frame), 10 + 228);
		assert_int_equal(batch_next(frame), 10 + len);
		assert_true(all_zero(frame, 10));
		assert_memory_equal(frame + 10, b, len);
		assert_int_equal(batch_next(frame), 10 + 228);
		assert_int_equal(batch_next(frame), 0);
	}
}

/* Packets with right checksums do not merge if cutting the merged packet could
 * not make them again. */
static void test_summed_but_not_the_same(void **state)
{
	struct spec s = TCP(.id = 0);
	uint8_t a[256], b[256];
	size_t len = build(a, &s);

	(void)state;
	/* A length field that is less than the length of the packet. */
	s.id = 1;
	s.seq = 100;
	build(b, &s);
	b[3]--;
	packet_sum_ipv4(b);
	batch_begin(MERGE_ALL);
	batch_add(a, len);
	batch_add(b, len);
	assert_int_equal(batch_next(frame), 10 + len);
	assert_int_equal(batch_next(frame), 10 + len);
	assert_memory_equal(frame + 10, b, len);

	/* No UDP checksum, in a packet whose checksum would be 0xffff. */
	s = (struct spec)UDP(.version = 6);
	len = build(a, &s);
	memset(a + 48, 0, 2);
	packet_sum_l4(a, len, 40, IP_PROTO_UDP, false);
	memcpy(a + 48, a + 46, 2);
	packet_sum_l4(a, len, 40, IP_PROTO_UDP, false);
	assert_memory_equal(a + 46, "\xff\xff", 2);
	for (int sum = 0; sum < 2; sum++) {
		if (sum)
			memset(a + 46, 0, 2);
		batch_begin(MERGE_ALL);
		batch_add(a, len);
		batch_add(a, len);
		assert_int_equal(batch_next(frame), 10 + len + (sum ? 0 : 100));
	}
}

static void test_other_traffic_is_no_barrier(void **state)
{
	static const struct spec ping[] = {
		TCP(.id = 0),
		OTHER(1, .id = 0),
		TCP(.id = 1, .seq = 100),
		OTHER(58, .version = 6),
		TCP(.id = 2, .seq = 200),
	};

	(void)state;
	expect("ping", ping, 5, "140+100+100 128 148");
}

static void test_kinds_off(void **state)
{
	struct spec s = TCP();
	struct spec t = TCP(.id = 1, .seq = 100);
	struct spec u = UDP(), v = UDP(.id = 1);
	char text[256];
	const struct iovec *iov;

	(void)state;
	batch_begin(MERGE_ALL & ~MERGE_BIT(MERGE_TCP4));
	add(&s);
	add(&t);
	add(&u);
	add(&v);
	count_writes(text, sizeof(text));
	assert_string_equal(text, "140 140 128+100");

	/*
	 * If the device has no virtio-net header, nothing merges, and no header
	 * is written.
	 */
	batch_begin(MERGE_ALL);
	merge_reset(batch, MERGE_ALL, 0);
	add(&s);
	add(&t);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(merge_peek(batch, &iov), 1);
		assert_int_equal(iov[0].iov_len, 140);
		assert_int_equal(*(uint8_t *)iov[0].iov_base, 0x45);
		merge_written(batch);
	}
	assert_int_equal(merge_peek(batch, &iov), 0);
}

/* After a split every packet is written as it was added. */
static void test_split(void **state)
{
	(void)state;
	for (int kind = 0; kind < MERGE_TUNNEL44; kind++) {
		struct spec s = TCP(.version = kind & 1 ? 6 : 4);
		uint8_t pkt[4][256];
		const struct iovec *iov;
		size_t len = 0;

		if (kind & 2)
			s.proto = IP_PROTO_UDP;
		batch_begin(MERGE_ALL);
		for (unsigned int i = 0; i < 4; i++) {
			s.id = (uint16_t)i;
			s.seq = i * 100;
			if (i == 2)
				s.flags = TCP_ACK | TCP_PSH;
			if (i == 3)
				s.sport = 7;
			len = build(pkt[i], &s);
			batch_add(pkt[i], len);
		}
		assert_int_equal(merge_peek(batch, &iov), 3);
		assert_int_equal(merge_peek(batch, &iov), 3);
		assert_int_equal(merge_undo(batch), kind);
		for (int i = 0; i < 3; i++) {
			assert_int_equal(merge_peek(batch, &iov), 1);
			assert_int_equal(merge_undo(batch), MERGE_NONE);
			assert_int_equal(batch_next(frame), 10 + len);
			assert_true(all_zero(frame, 10));
			assert_memory_equal(frame + 10, pkt[i], len);
		}
		assert_int_equal(merge_peek(batch, &iov), 1);
		assert_int_equal(merge_undo(batch), MERGE_NONE);
		assert_int_equal(batch_next(frame), 10 + len);
		assert_memory_equal(frame + 10, pkt[3], len);
		assert_int_equal(batch_next(frame), 0);
	}
}

/*
 * With more flows than the table of flows has places, the packets of each flow
 * stay in order, but fewer packets may merge.
 */
static void test_many_flows(void **state)
{
	static uint16_t next[500];
	unsigned int writes = 0, packets = 0;
	size_t len;

	(void)state;
	batch_begin(MERGE_ALL);
	for (uint32_t round = 0; round < 2; round++) {
		for (uint16_t i = 0; i < 500; i++) {
			struct spec s = TCP(.sport = i, .id = (uint16_t)round,
					    .seq = round * 100);

			add(&s);
		}
	}
	memset(next, 0, sizeof(next));
	while ((len = batch_next(frame)) != 0) {
		unsigned int port = (unsigned int)(frame[30] << 8 | frame[31]);

		writes++;
		assert_int_equal(frame[15], next[port]);
		next[port]++;
		if (len == 250)
			next[port]++;
		packets += len == 250 ? 2 : 1;
	}
	assert_int_equal(packets, 1000);
	assert_true(writes >= 500 && writes <= 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_runs),
		cmocka_unit_test(test_caps),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_single_is_untouched),
		cmocka_unit_test(test_bad_checksum),
		cmocka_unit_test(test_verified_single),
		cmocka_unit_test(test_barriers),
		cmocka_unit_test(test_summed_but_not_the_same),
		cmocka_unit_test(test_other_traffic_is_no_barrier),
		cmocka_unit_test(test_kinds_off),
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_many_flows),
	};

	return cmocka_run_group_tests_name("tun_merge", tests, batch_make,
					   batch_free);
}
