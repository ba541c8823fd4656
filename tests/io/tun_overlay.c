/* SPDX-License-Identifier: MIT */
/*
 * The kernel's VXLAN over two real TUN devices. Every byte arrives, with and
 * without checksums, over IPv4 and IPv6, and where the kernel has tunnel
 * super-packets they are used.
 */
#include "tests/lib/skip.h"
#include "tun_stream.h"

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

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(vxlans); i++) {
		const struct vxlan *v = &vxlans[i / 2];
		struct tun_config config = default_config();

		if (i & 1)
			config.features_off = TUN_TUNNEL;
		pair_open(pair_sys(), &config);
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
		}
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
	};

	netns_require();
	require_vxlan();
	stream_init();
	stream_net4 = 0x0a4e0000;
	stream_net6 = "fd78";
	return cmocka_run_group_tests_name("tun_overlay", tests, pair_make,
					   pair_free);
}
