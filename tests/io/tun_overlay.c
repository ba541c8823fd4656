/* SPDX-License-Identifier: MIT */
/*
 * The kernel's VXLAN over two real TUN devices. Every byte arrives, with and
 * without checksums, over IPv4 and IPv6, and where the kernel has tunnel
 * super-packets they are used.
 */
#include "tests/lib/skip.h"
#include "tests/unit/tun_tunnel.h"
#include "tun_stream.h"
#include "tun/routes.h"

/* The options of a VXLAN device, at the first end and at the second. */
struct vxlan {
	const char *name;
	const char *options[2];
};

static const struct vxlan vxlans[] = {
	{ "IPv4",
	  { "local 10.77.0.1 remote 10.77.0.2 noudpcsum",
	    "local 10.77.0.2 remote 10.77.0.1 noudpcsum" } },
	{ "IPv4 with checksums",
	  { "local 10.77.0.1 remote 10.77.0.2 udpcsum",
	    "local 10.77.0.2 remote 10.77.0.1 udpcsum" } },
	{ "IPv6 without checksums",
	  { "local fd77::1 remote fd77::2 udp6zerocsumtx udp6zerocsumrx",
	    "local fd77::2 remote fd77::1 udp6zerocsumtx udp6zerocsumrx" } },
	{ "IPv6",
	  { "local fd77::1 remote fd77::2 udpcsum",
	    "local fd77::2 remote fd77::1 udpcsum" } },
};

static struct tun_config default_config(void)
{
	return (struct tun_config){ .name = "tun%d",
				    .mtu = PAIR_MTU,
				    .txqlen = 1000 };
}

/* Writes of tunnel super-packets that the kernel took and refused. */
static unsigned int tunnel_writes, tunnel_refusals;

static ssize_t counting_writev(int fd, const struct iovec *iov, int cnt)
{
	const struct vnet_hdr *hdr = iov->iov_base;
	bool is_tunnel = hdr->gso_type & VIRTIO_NET_HDR_GSO_UDP_TUNNEL;
	ssize_t n = writev(fd, iov, cnt);

	tunnel_writes += is_tunnel && n >= 0;
	tunnel_refusals += is_tunnel && n < 0;
	return n;
}

static const struct tun_sys *counting_sys(void)
{
	static struct tun_sys sys;

	sys = *pair_sys();
	sys.writev = counting_writev;
	tunnel_writes = tunnel_refusals = 0;
	return &sys;
}

/* Tell both ends the ports of their tunnel devices. Returns the number at the
 * first end. */
static unsigned int read_overlays(void)
{
	struct overlays set[2];

	for (int i = 0; i < 2; i++) {
		struct routes routes;

		assert_int_equal(netns_enter(ends[i].ns), 0);
		assert_int_equal(routes_open(&routes), 0);
		assert_int_equal(routes_read_overlays(&routes, &set[i]), 0);
		routes_close(&routes);
		tun_set_overlays(&ends[i].tun, &set[i]);
	}
	assert_int_equal(netns_enter(home), 0);
	return set[0].cnt;
}

/**
 * open_vxlan() - make a VXLAN device at each end
 * @v:		what kind
 *
 * Return: 0; an error if the kernel has none.
 */
static int open_vxlan(const struct vxlan *v)
{
	char prefix[32];
	int err = 0;

	for (int i = 0; i < 2 && err == 0; i++) {
		assert_int_equal(netns_enter(ends[i].ns), 0);
		err = netns_ip("link add vx0 type vxlan id 7 dstport 4789 %s",
			       v->options[i]);
		if (err)
			break;
		assert_int_equal(netns_ip("link set vx0 mtu 1350 up"), 0);
		snprintf(prefix, sizeof(prefix), "10.78.0.%d/24", i + 1);
		assert_int_equal(netns_add_address("vx0", prefix), 0);
		snprintf(prefix, sizeof(prefix), "fd78::%d/64", i + 1);
		assert_int_equal(netns_add_address("vx0", prefix), 0);
	}
	assert_int_equal(netns_enter(home), 0);
	if (err == 0)
		assert_int_equal(read_overlays(), 1);
	return err;
}

static void close_vxlan(void)
{
	for (int i = 0; i < 2; i++) {
		assert_int_equal(netns_enter(ends[i].ns), 0);
		assert_int_equal(netns_ip("link del vx0"), 0);
	}
	assert_int_equal(netns_enter(home), 0);
}

/*
 * Without tunnel super-packets the second end merges the datagrams as UDP, with
 * and without checksums. The devices over IPv6 here take datagrams without one.
 */
static void expect_merged_as_udp(const struct vxlan *v, unsigned int kinds)
{
	bool is_v6 = strncmp(v->name, "IPv6", 4) == 0;
	bool may = kinds & MERGE_BIT(is_v6 ? MERGE_UDP6 : MERGE_UDP4);
	unsigned int written = (unsigned int)ends[1].tun.written;

	print_message("# %s: %u packets, %u writes\n", v->name, ends[0].packets,
		      written);
	if (may)
		assert_true(written < ends[0].packets / 2);
	else
		assert_int_equal(written, ends[0].packets);
}

static void expect_no_drops(void)
{
	for (int i = 0; i < 2; i++) {
		for (int reason = 0; reason < VNET_DROP_CNT; reason++)
			assert_int_equal(ends[i].tun.drops[reason], 0);
		assert_int_equal(ends[i].tun.refused, 0);
		assert_int_equal(ends[i].tun.dropped, 0);
	}
}

/* TCP over IPv4 and IPv6 in each kind of VXLAN, with the offload and without. */
static void test_tcp(void **state)
{
	bool has_tunnels = kernel_has_tunnels();
	unsigned int kinds = kernel_kinds();

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(vxlans); i++) {
		const struct vxlan *v = &vxlans[i / 2];
		struct tun_config config = default_config();

		if (i & 1) {
			config.features_off = TUN_TUNNEL;
			config.kinds_off = MERGE_TUNNELS;
		}
		pair_open(counting_sys(), &config);
		assert_int_equal(open_vxlan(v), 0);
		for (int family = AF_INET; family <= AF_INET6;
		     family += AF_INET6 - AF_INET) {
			bool expected = has_tunnels && !(i & 1);

			ends[0].tunnels = ends[1].tunnels = 0;
			run_tcp(family);
			if (expected != (ends[0].tunnels > 0))
				print_error("%s: %u tunnel super-packets\n",
					    v->name, ends[0].tunnels);
			assert_int_equal(ends[0].tunnels > 0, expected);
			assert_int_equal(ends[1].tunnels > 0, expected);
			assert_int_equal(tunnel_writes > 0, expected);
			tunnel_writes = 0;
		}
		if (!has_tunnels || i & 1)
			expect_merged_as_udp(v, kinds);
		assert_int_equal(tunnel_refusals, 0);
		expect_no_drops();
		close_vxlan();
		pair_close();
	}
}

/* Trains of UDP in VXLAN. */
static void test_udp(void **state)
{
	static uint8_t buf[65536];
	bool has_tunnels = kernel_has_tunnels();

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(vxlans); i++) {
		struct tun_config config = default_config();
		size_t total = 0;
		int fds[2];

		pair_open(pair_sys(), &config);
		assert_int_equal(open_vxlan(&vxlans[i / 2]), 0);
		ends[0].tunnels = 0;
		open_udp(i & 1 ? AF_INET6 : AF_INET, fds);
		set_segment(fds[0], SEGMENT);
		for (size_t k = 1; k <= 40; k++) {
			size_t len = k * SEGMENT + k * 7 % SEGMENT;

			fill_stream(buf, total, len);
			assert_int_equal(send(fds[0], buf, len, 0), len);
			total += len;
			if (k % 8 == 0)
				pair_settle();
		}
		receive_all(fds[1], total);
		assert_int_equal(ends[0].tunnels > 0, has_tunnels);
		expect_no_drops();
		close(fds[0]);
		close(fds[1]);
		close_vxlan();
		pair_close();
	}
}

/*
 * A tunnel super-packet must not reach a program's socket, which would get all
 * of it as one datagram. So without a VXLAN device that is up, datagrams of
 * VXLAN arrive as they were sent.
 */
static void test_socket(void **state)
{
	static const char *const devices[] = {
		NULL,
		/* Down, on another port, of another IP version. */
		"id 7 dstport 4789 local 10.77.0.2",
		"id 7 dstport 4790 local 10.77.0.2",
		"id 7 dstport 4789 local fd77::2",
	};
	struct tun_config config = default_config();

	(void)state;
	for (size_t row = 0; row < ARRAY_LEN(devices); row++) {
		struct tunnel t = { .outer = { .version = 4, .sport = 40000 },
				    .inner = { .version = 4,
					       .proto = IP_PROTO_TCP,
					       .payload_len = 1200 } };
		static uint8_t pkt[2000], got[65536];
		struct address to, from;
		size_t len;
		int fds[2];

		pair_open(counting_sys(), &config);
		assert_int_equal(netns_enter(ends[1].ns), 0);
		if (devices[row])
			assert_int_equal(netns_ip("link add vx0 type vxlan %s",
						  devices[row]),
					 0);
		if (row >= 2)
			assert_int_equal(netns_ip("link set vx0 up"), 0);
		assert_int_equal(netns_enter(home), 0);
		read_overlays();
		stream_net4 = 0x0a4d0000;
		to = address_of(1, AF_INET);
		((struct sockaddr_in *)&to.sa)->sin_port = htons(VXLAN_PORT);
		from = address_of(0, AF_INET);
		stream_net4 = 0x0a4e0000;
		fds[0] = make_socket(0, AF_INET, SOCK_DGRAM);
		fds[1] = make_socket(1, AF_INET, SOCK_DGRAM);
		assert_int_equal(bind(fds[0], (void *)&from.sa, from.len), 0);
		assert_int_equal(bind(fds[1], (void *)&to.sa, to.len), 0);
		for (int i = 0; i < 40; i++) {
			len = tunnel_build(pkt, &t) - 28;
			assert_int_equal(sendto(fds[0], pkt + 28, len, 0,
						(void *)&to.sa, to.len),
					 len);
			t.inner.id++;
			t.inner.seq += t.inner.payload_len;
		}
		pair_settle();
		t.inner.id = 0;
		t.inner.seq = 0;
		for (int i = 0; i < 40; i++) {
			len = tunnel_build(pkt, &t) - 28;
			assert_int_equal(recv(fds[1], got, sizeof(got), 0),
					 len);
			assert_memory_equal(got, pkt + 28, len);
			t.inner.id++;
			t.inner.seq += t.inner.payload_len;
		}
		assert_int_equal(tunnel_writes, 0);
		close(fds[0]);
		close(fds[1]);
		if (devices[row]) {
			assert_int_equal(netns_enter(ends[1].ns), 0);
			assert_int_equal(netns_ip("link del vx0"), 0);
			assert_int_equal(netns_enter(home), 0);
		}
		pair_close();
	}
}

/**
 * read_udp() - read the next UDP packet, and skip IPv6's own messages
 * @out:	device
 * @pkt:	receives the packet, with room for the header in front of it
 *
 * Return: its length.
 */
static size_t read_udp(struct tun *out, uint8_t *pkt)
{
	struct vnet_frame frame;

	do {
		assert_int_equal(tun_read(out, pkt, 2000, &frame), 0);
	} while (pkt[pkt[0] >> 4 == 4 ? 9 : 6] != IP_PROTO_UDP);
	return frame.len;
}

/*
 * The kernel forwards a tunnel super-packet to a device without offloads, and so
 * cuts it. The packets come out byte for byte, except for the hop limit: an
 * outer checksum of 0 stays 0. Geneve is cut by the same code of the kernel, so
 * it needs no Geneve device.
 */
static void test_forwarded(void **state)
{
	static const struct overlays ports = {
		.cnt = 2,
		.list = { { .port = { { 0x12, 0xb5 } },
			    .versions = OVERLAY_V4 | OVERLAY_V6 },
			  { .port = { { 0x17, 0xc1 } },
			    .versions = OVERLAY_V4 | OVERLAY_V6,
			    .is_geneve = true } },
	};
	struct tun_config config = { .name = "in" };
	struct tun_config plain = { .name = "out", .features_off = TUN_VNET };
	static uint8_t in[3][TUN_HEADROOM + 1024], want[1024], got[4096];
	bool has_tunnels = kernel_has_tunnels();
	struct tun tun, out;
	int ns = netns_new();

	(void)state;
	assert_true(ns >= 0);
	assert_int_equal(tun_open(&tun, counting_sys(), &config), 0);
	assert_int_equal(tun_open(&out, &tun_sys_linux, &plain), 0);
	assert_int_equal(netns_ip("link set in up"), 0);
	assert_int_equal(netns_ip("link set out up"), 0);
	assert_int_equal(netns_add_address("in", "10.1.9.1/24"), 0);
	assert_int_equal(netns_ip("addr add 10.9.8.1/24 dev out"), 0);
	assert_int_equal(netns_ip("route add 10.1.2.0/24 dev in"), 0);
	assert_int_equal(netns_add_address("out", "fd00::1/64"), 0);
	assert_int_equal(netns_set("ipv4/ip_forward", "1"), 0);
	assert_int_equal(netns_set("ipv6/conf/all/forwarding", "1"), 0);
	tun_set_overlays(&tun, &ports);
	for (int i = 0; i < 16 && has_tunnels; i++) {
		struct tunnel first = {
			.outer = { .version = i & 1 ? 6 : 4,
				   .no_csum = i & 4,
				   .no_df = true,
				   .host = 5,
				   .id = 77,
				   .ttl = 64,
				   .flow = 7,
				   .sport = 40000 },
			.inner = { .version = i & 2 ? 6 : 4,
				   .proto = IP_PROTO_TCP,
				   .id = 65534,
				   .payload_len = 300 },
			.is_geneve = i & 8,
			.options_len = i & 8 ? 12 : 0,
			.vni = 0xabcdef,
		};
		struct tunnel t = first;
		size_t len;

		tunnel_writes = 0;
		tun_begin_merge(&tun, pair_batch);
		for (int n = 0; n < 3; n++) {
			uint8_t *pkt = in[n] + TUN_HEADROOM;

			t.inner.flags = n == 2 ? TCP_ACK | TCP_PSH : TCP_ACK;
			len = tunnel_build(pkt, &t);
			assert_int_equal(merge_add(pair_batch, pkt, len), 0);
			t.outer.id++;
			t.inner.id++;
			t.inner.seq += t.inner.payload_len;
			t.inner.payload++;
		}
		assert_int_equal(pair_batch->items_cnt, 1);
		assert_int_equal(tun_write(&tun, pair_batch), 0);
		assert_int_equal(tunnel_writes, 1);
		t = first;
		t.outer.ttl = 63;
		for (int n = 0; n < 3; n++) {
			t.inner.flags = n == 2 ? TCP_ACK | TCP_PSH : TCP_ACK;
			len = tunnel_build(want, &t);
			assert_int_equal(read_udp(&out, got + TUN_HEADROOM),
					 len);
			assert_memory_equal(got + TUN_HEADROOM, want, len);
			t.outer.id++;
			t.inner.id++;
			t.inner.seq += t.inner.payload_len;
			t.inner.payload++;
		}
	}
	assert_int_equal(tunnel_refusals, 0);
	tun_close(&out);
	tun_close(&tun);
	close(ns);
	assert_int_equal(netns_enter(home), 0);
}

/* A kernel without VXLAN has nothing that this program could test. */
static void require_vxlan(void)
{
	int ns = netns_new();

	if (ns < 0 ||
	    netns_ip("link add vx0 type vxlan id 7 dstport 4789 local "
		     "127.0.0.1"))
		skip_program("the kernel has no VXLAN");
	close(ns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tcp),
		cmocka_unit_test(test_udp),
		cmocka_unit_test(test_socket),
		cmocka_unit_test(test_forwarded),
	};

	netns_require();
	require_vxlan();
	stream_init();
	stream_net4 = 0x0a4e0000;
	stream_net6 = "fd78";
	return cmocka_run_group_tests_name("tun_overlay", tests, pair_make,
					   pair_free);
}
