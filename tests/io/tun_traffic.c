/* SPDX-License-Identifier: MIT */
/*
 * Real connections through two real TUN devices. Every byte arrives with all
 * combinations of features, even if the kernel refuses merged packets.
 */
#include "tun_stream.h"

static struct tun_config default_config(void)
{
	return (struct tun_config){ .name = "tun%d",
				    .mtu = PAIR_MTU,
				    .txqlen = 1000 };
}

/*
 * Each feature and each kind of merging is switched off in turn. Then no
 * super-packet or merged packet of this kind may be seen.
 */
static void test_tcp(void **state)
{
	static const struct {
		const char *name;
		unsigned int features_off, kinds_off;
		bool supers, merges;
	} rows[] = {
		{ "all on", 0, 0, true, true },
		{ "no ecn", TUN_ECN, 0, true, true },
		{ "no uso", TUN_USO, 0, true, true },
		{ "no tso", TUN_TSO4 | TUN_TSO6, 0, false, true },
		{ "no csum", TUN_CSUM, 0, false, true },
		{ "no merging", 0, MERGE_ALL, true, false },
		{ "no header", TUN_VNET, 0, false, false },
	};

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
		struct tun_config config = default_config();
		size_t row = i / 2;

		config.features_off = rows[row].features_off;
		config.kinds_off = rows[row].kinds_off;
		pair_open(pair_sys(), &config);
		run_tcp(i & 1 ? AF_INET6 : AF_INET);
		for (int e = 0; e < 2; e++) {
			bool merges = ends[e].tun.written <
				      ends[!e].packets * 3UL / 4;

			if (rows[row].supers != (ends[e].supers > 0) ||
			    rows[row].merges != merges)
				print_error("%s: %u supers, %u packets, %llu "
					    "written\n",
					    rows[row].name, ends[e].supers,
					    ends[!e].packets,
					    (unsigned long long)ends[e]
						    .tun.written);
			assert_int_equal(ends[e].supers > 0, rows[row].supers);
			assert_int_equal(merges, rows[row].merges);
			assert_int_equal(ends[e].tun.refused, 0);
			assert_int_equal(ends[e].tun.dropped, 0);
		}
		pair_close();
	}
}

/* Switching a feature off for one family does not affect the other. */
static void test_tcp_one_family_off(void **state)
{
	(void)state;
	for (int off = 0; off < 2; off++) {
		struct tun_config config = default_config();

		config.features_off = off ? TUN_TSO6 : TUN_TSO4;
		config.kinds_off = MERGE_BIT(off ? MERGE_TCP6 : MERGE_TCP4);
		pair_open(pair_sys(), &config);
		run_tcp(off ? AF_INET6 : AF_INET);
		assert_int_equal(ends[0].supers + ends[1].supers, 0);
		assert_true(ends[0].tun.written >= ends[1].packets);
		run_tcp(off ? AF_INET : AF_INET6);
		assert_true(ends[0].supers > 0);
		pair_close();
	}
}

/* A kernel that refuses all merged packets, or some of them. */
static unsigned int refuse_every, merged_writes;

static ssize_t refusing_writev(int fd, const struct iovec *iov, int cnt)
{
	const struct vnet_hdr *hdr = iov->iov_base;

	if (hdr->gso_type && merged_writes++ % refuse_every == 0) {
		errno = EINVAL;
		return -1;
	}
	return writev(fd, iov, cnt);
}

static void test_refused(void **state)
{
	struct tun_config config = default_config();
	struct tun_sys sys = *pair_sys();
	unsigned int kinds = kernel_kinds();

	(void)state;
	sys.writev = refusing_writev;
	for (int i = 0; i < 4; i++) {
		merged_writes = 0;
		refuse_every = i < 2 ? 1 : 50;
		pair_open(&sys, &config);
		run_tcp(i & 1 ? AF_INET6 : AF_INET);
		assert_int_equal(ends[0].tun.dropped, 0);
		assert_int_equal(ends[1].tun.dropped, 0);
		assert_true(ends[1].tun.refused > 0);
		if (refuse_every == 1)
			assert_int_equal(ends[1].tun.kinds,
					 kinds & ~MERGE_BIT(i & 1));
		pair_close();
	}
}

/*
 * Sends a train, or its datagrams one by one. Older kernels refuse a train if
 * the device makes no checksums, as a TUN device without the header.
 */
static void send_train(int fd, const uint8_t *bytes, size_t len)
{
	ssize_t n;

	set_segment(fd, SEGMENT);
	n = send(fd, bytes, len, 0);
	if (n >= 0) {
		assert_int_equal(n, len);
		return;
	}
	assert_int_equal(errno, EIO);
	assert_int_equal(ends[0].tun.features & TUN_CSUM, 0);
	set_segment(fd, 0);
	for (size_t off = 0; off < len; off += SEGMENT)
		assert_true(send(fd, bytes + off, size_min(len - off, SEGMENT),
				 0) > 0);
}

/* Trains of UDP_SEGMENT arrive as trains, or as datagrams if USO is off. */
static void test_udp_trains(void **state)
{
	static const struct {
		const char *name;
		unsigned int features_off, kinds_off;
		bool supers, trains;
	} rows[] = {
		{ "all on", 0, 0, true, true },
		{ "no uso", TUN_USO, 0, false, true },
		{ "no merging", 0, MERGE_ALL, true, false },
		{ "no header", TUN_VNET, 0, false, false },
	};
	static uint8_t buf[65536];
	bool has_uso = kernel_has_uso();

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
		struct tun_config config = default_config();
		size_t row = i / 2, total = 0;
		unsigned int trains;
		int fds[2];

		config.features_off = rows[row].features_off;
		config.kinds_off = rows[row].kinds_off;
		pair_open(pair_sys(), &config);
		open_udp(i & 1 ? AF_INET6 : AF_INET, fds);
		for (size_t k = 1; k <= 40; k++) {
			/* A train of 1 to 40 full segments and a shorter
			 * one. */
			size_t len = k * SEGMENT + k * 7 % SEGMENT;

			fill_stream(buf, total, len);
			send_train(fds[0], buf, len);
			total += len;
			if (k % 8 == 0)
				pair_pump(&ends[0], &ends[1]);
		}
		trains = receive_all(fds[1], total);
		assert_int_equal(ends[0].supers > 0,
				 rows[row].supers && has_uso);
		assert_int_equal(trains > 0, rows[row].trains && has_uso);
		assert_int_equal(ends[1].tun.refused, 0);
		close(fds[0]);
		close(fds[1]);
		pair_close();
	}
}

/* Sizes 100, 0, 100: a datagram without payload stays in its place. */
static void test_udp_order(void **state)
{
	struct tun_config config = default_config();
	static const size_t sizes[] = { 100, 0, 100, 100, 50, 0, 0, 1, 1200 };
	static uint8_t buf[65536], in[1200];
	int fds[2], size;

	(void)state;
	for (int family = AF_INET; family <= AF_INET6;
	     family += AF_INET6 - AF_INET) {
		pair_open(pair_sys(), &config);
		open_udp(family, fds);
		close(fds[1]);
		fds[1] = make_socket(1, family, SOCK_DGRAM);
		{
			struct address to = address_of(1, family);

			assert_int_equal(bind(fds[1], (void *)&to.sa, to.len),
					 0);
		}
		for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
			assert_int_equal(send(fds[0], in, sizes[i], 0),
					 sizes[i]);
		pair_settle();
		for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
			assert_int_equal(receive_udp(fds[1], buf, &size),
					 sizes[i]);
		assert_int_equal(receive_udp(fds[1], buf, &size), -1);
		close(fds[0]);
		close(fds[1]);
		pair_close();
	}
}

/*
 * Datagrams without a checksum are merged like others. If the kernel takes no
 * merged datagrams, they are written as they came.
 */
static void test_udp_without_checksum(void **state)
{
	struct tun_config config = default_config();
	static uint8_t buf[1000];
	unsigned int trains;
	int fds[2], on = 1;
	size_t total = 0;

	(void)state;
	pair_open(pair_sys(), &config);
	open_udp(AF_INET, fds);
	assert_int_equal(
		setsockopt(fds[0], SOL_SOCKET, SO_NO_CHECK, &on, sizeof(on)),
		0);
	for (int i = 0; i < 50; i++) {
		fill_stream(buf, total, sizeof(buf));
		assert_int_equal(send(fds[0], buf, sizeof(buf), 0),
				 sizeof(buf));
		total += sizeof(buf);
	}
	trains = receive_all(fds[1], total);
	assert_int_equal(ends[1].tun.refused, 0);
	if (kernel_kinds() & MERGE_BIT(MERGE_UDP4)) {
		assert_true(trains > 0);
		assert_true(ends[1].tun.written < ends[0].packets);
	} else {
		assert_int_equal(trains, 0);
		assert_int_equal(ends[1].tun.written, ends[0].packets);
	}
	close(fds[0]);
	close(fds[1]);
	pair_close();
}

/*
 * A TCP connection with ECN uses super-packets. Only the first segment of a
 * super-packet has the flag CWR, and the connection does not stall.
 */
static void test_tcp_ecn(void **state)
{
	struct tun_config config = default_config();

	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(netns_enter(ends[i].ns), 0);
		assert_int_equal(netns_set("ipv4/tcp_ecn", "1"), 0);
	}
	assert_int_equal(netns_enter(home), 0);
	pair_open(pair_sys(), &config);
	run_tcp(AF_INET);
	run_tcp(AF_INET6);
	assert_int_equal(ends[0].tun.drops[VNET_DROP_TYPE], 0);
	pair_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tcp),
		cmocka_unit_test(test_tcp_one_family_off),
		cmocka_unit_test(test_tcp_ecn),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_udp_trains),
		cmocka_unit_test(test_udp_order),
		cmocka_unit_test(test_udp_without_checksum),
	};

	netns_require();
	stream_init();
	return cmocka_run_group_tests_name("tun_traffic", tests, pair_make,
					   pair_free);
}
