/* SPDX-License-Identifier: MIT */
/*
 * Opening, reading and writing with a fake kernel, which has the features and
 * the faults that each test asks for.
 */
#include "tun_fake.h"

static void test_open(void **state)
{
	struct tun_config config = { .name = "wg%d",
				     .mtu = TUN_MTU_DEFAULT,
				     .txqlen = 1000 };
	struct tun tun;

	(void)state;
	reset(ALL);
	assert_int_equal(tun_open(&tun, &fake, &config), 0);
	assert_int_equal((unsigned short)k.flags,
			 IFF_TUN | IFF_NO_PI | IFF_VNET_HDR);
	assert_string_equal(tun.name, "wg%d");
	assert_int_equal(tun.ifindex, 77);
	assert_int_equal(tun.features, NO_TUNNEL);
	assert_int_equal(tun.kinds, MERGE_PLAIN);
	assert_int_equal(k.offload, ALL);
	assert_int_equal(k.vnet_len, 10);
	assert_int_equal(k.mtu, 1420);
	assert_int_equal(k.qlen, 1000);
	assert_int_equal(k.closed, 0);
	tun_close(&tun);
	assert_int_equal(k.closed, 1);

	config = (struct tun_config){ .name = "" };
	reset(ALL);
	assert_int_equal(tun_open(&tun, &fake, &config), 0);
	assert_string_equal(tun.name, "tun7");
	assert_int_equal(k.mtu, 0);
	assert_int_equal(k.qlen, 0);
}

static void test_features(void **state)
{
	static const struct {
		const char *name;
		unsigned int known, off, kinds_off, features, kinds, offload;
	} rows[] = {
		{ "all", ALL, 0, 0, NO_TUNNEL, MERGE_PLAIN, ALL },
		{ "before 6.2", ALL & ~0x60U, 0, 0, NO_TUNNEL & ~TUN_USO,
		  TCP_KINDS, ALL & ~0x60U },
		{ "no ecn", OLD, 0, 0, NO_TUNNEL & ~(TUN_USO | TUN_ECN),
		  TCP_KINDS, OLD },
		{ "no tso", TUN_F_CSUM, 0, 0, TUN_VNET, TCP_KINDS, 0 },
		{ "nothing", 0, 0, 0, TUN_VNET, TCP_KINDS, 0 },
		{ "header off", ALL, TUN_VNET, 0, 0, 0, 0 },
		{ "csum off", ALL, TUN_CSUM, 0, TUN_VNET, MERGE_PLAIN, 0 },
		{ "tso off", ALL, TUN_TSO4 | TUN_TSO6, 0,
		  TUN_VNET | TUN_CSUM | TUN_USO, MERGE_PLAIN,
		  TUN_F_CSUM | 0x60 },
		{ "tso4 off", ALL, TUN_TSO4, 0, NO_TUNNEL & ~TUN_TSO4,
		  MERGE_PLAIN, ALL & ~TUN_F_TSO4 },
		{ "uso off", ALL, TUN_USO, 0, NO_TUNNEL & ~TUN_USO, MERGE_PLAIN,
		  ALL & ~0x60U },
		{ "udp merging off", ALL, 0,
		  MERGE_PLAIN & ~(unsigned int)TCP_KINDS, NO_TUNNEL, TCP_KINDS,
		  ALL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tun_config config = { .name = "wg0",
					     .features_off = rows[i].off,
					     .kinds_off = rows[i].kinds_off };
		struct tun tun;

		reset(rows[i].known);
		assert_int_equal(tun_open(&tun, &fake, &config), 0);
		if (tun.features != rows[i].features ||
		    tun.kinds != rows[i].kinds || k.offload != rows[i].offload)
			print_error("%s: %x %x %x\n", rows[i].name,
				    tun.features, tun.kinds, k.offload);
		assert_int_equal(tun.features, rows[i].features);
		assert_int_equal(tun.kinds, rows[i].kinds);
		assert_int_equal(k.offload, rows[i].offload);
	}
}

static void test_kernels_that_lose_merged_udp(void **state)
{
	static const struct {
		const char *release;
		bool merges;
	} rows[] = {
		{ "5.15.0-91-generic", false },
		{ "6.2.0", false },
		{ "6.6.25", false },
		{ "6.6.26", true },
		{ "6.7.12", false },
		{ "6.8.4-arch1-1", false },
		{ "6.8.5", true },
		{ "6.9-rc1", true },
		{ "6.18.0", true },
		{ "7.0.0", true },
		{ "strange", false },
		{ NULL, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tun_config config = { .name = "wg0" };
		struct tun tun;

		reset(ALL);
		k.release = rows[i].release;
		assert_int_equal(tun_open(&tun, &fake, &config), 0);
		assert_int_equal(tun.kinds == MERGE_PLAIN, rows[i].merges);
	}
}

static void test_open_fails(void **state)
{
	static const struct {
		unsigned long request;
		int err, want;
	} rows[] = {
		{ TUNSETIFF, EBUSY, -EBUSY },
		{ TUNGETIFF, EBADFD, -EBADFD },
		{ TUNSETVNETHDRSZ, EINVAL, -EINVAL },
		{ SIOCGIFINDEX, EPERM, -EPERM },
		/* With the virtio-net header and without it. */
		{ TUNSETIFF, EINVAL, -EINVAL },
	};
	struct tun_config config = { .name = "wg0", .mtu = 1, .txqlen = 1 };
	struct tun tun;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		reset(ALL);
		k.bad_ioctl = rows[i].request;
		k.bad_ioctl_errno = rows[i].err;
		assert_int_equal(tun_open(&tun, &fake, &config), rows[i].want);
		assert_int_equal(k.closed, 1);
	}
	config.name = "a-name-too-long-";
	assert_int_equal(tun_open(&tun, &fake, &config), -ENAMETOOLONG);
}

/* gVisor refuses IFF_VNET_HDR, and lacks some of the ioctls. */
static void test_gvisor(void **state)
{
	struct tun_config config = { .name = "wg0", .mtu = 1, .txqlen = 1 };
	struct tun tun;

	(void)state;
	reset(ALL);
	k.no_vnet_hdr = true;
	k.bad_ioctl = SIOCSIFMTU;
	k.bad_ioctl_errno = ENOTTY;
	assert_int_equal(tun_open(&tun, &fake, &config), 0);
	assert_int_equal((unsigned short)k.flags, IFF_TUN | IFF_NO_PI);
	assert_string_equal(tun.name, "wg0");
	assert_int_equal(tun.features, 0);
	assert_int_equal(tun.kinds, 0);
	assert_int_equal(tun.mtu_err, -ENOTTY);
	assert_int_equal(k.qlen, 1);

	reset(ALL);
	k.bad_ioctl = SIOCSIFTXQLEN;
	k.bad_ioctl_errno = EINVAL;
	assert_int_equal(tun_open(&tun, &fake, &config), 0);
	assert_int_equal(tun.features, NO_TUNNEL);
	assert_int_equal(tun.mtu_err, 0);
	assert_int_equal(k.mtu, 1);
}

static void test_given_fd(void **state)
{
	static const struct {
		int flags, want;
		unsigned int features, kinds;
	} rows[] = {
		{ IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, 0, NO_TUNNEL,
		  MERGE_PLAIN },
		{ IFF_TUN | IFF_NO_PI, 0, 0, 0 },
		{ IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, -EINVAL, 0, 0 },
	};
	struct tun_config config = { .mtu = 1400 };
	struct tun tun;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		reset(ALL);
		k.flags = (short)rows[i].flags;
		memcpy(k.name, "given", 6);
		k.offload = 4711; /* must be replaced */
		assert_int_equal(tun_open_fd(&tun, &fake, &config, FD),
				 rows[i].want);
		assert_int_equal(k.closed, 0);
		if (rows[i].want)
			continue;
		assert_int_equal(tun.features, rows[i].features);
		assert_int_equal(tun.kinds, rows[i].kinds);
		assert_int_equal(k.offload, rows[i].features ? ALL : 0);
		assert_int_equal(k.status_flags, O_RDWR | O_NONBLOCK);
		assert_string_equal(tun.name, "given");
	}
	/*
	 * A device in another namespace has no index here, and its MTU is not
	 * set.
	 */
	reset(ALL);
	k.flags = (short)(IFF_TUN | IFF_NO_PI);
	k.bad_ioctl = SIOCGIFINDEX;
	k.bad_ioctl_errno = ENODEV;
	assert_int_equal(tun_open_fd(&tun, &fake, &config, FD), 0);
	assert_int_equal(tun.ifindex, 0);
	assert_int_equal(k.mtu, 0);
	k.bad_ioctl = TUNGETIFF;
	k.bad_ioctl_errno = ENOTTY;
	assert_int_equal(tun_open_fd(&tun, &fake, &config, FD), -ENOTTY);
}

static void test_read(void **state)
{
	struct spec s = { .version = 4, .proto = 17, .payload_len = 100 };
	static uint8_t buf[TUN_HEADROOM + IPV6_PACKET_MAX];
	uint8_t *pkt = buf + TUN_HEADROOM, in[10 + 256] = { 0 };
	size_t len = packet_build(in + 10, &s);
	struct tun tun = open_default();
	struct vnet_frame frame;

	(void)state;
	k.frame = in;
	k.frame_len = (ssize_t)(10 + len);
	k.read_errno[0] = EINTR;
	assert_int_equal(tun_read(&tun, pkt, IPV6_PACKET_MAX, &frame), 0);
	assert_int_equal(frame.len, len);
	assert_memory_equal(pkt, in + 10, len);

	for (k.frame_len = 0; k.frame_len < 30; k.frame_len++) {
		k.reads = 1;
		assert_int_equal(tun_read(&tun, pkt, IPV6_PACKET_MAX, &frame),
				 TUN_E_DROP);
	}
	assert_int_equal(tun.drops[VNET_DROP_SHORT], 30);
	in[10] = 0;
	k.reads = 1;
	assert_int_equal(tun_read(&tun, pkt, IPV6_PACKET_MAX, &frame),
			 TUN_E_DROP);
	assert_int_equal(tun.drops[VNET_DROP_VERSION], 1);
	in[10] = 0x45;

	k.reads = 0;
	k.read_errno[0] = EAGAIN;
	assert_int_equal(tun_read(&tun, pkt, 1500, &frame), TUN_E_AGAIN);
	k.reads = 0;
	k.read_errno[0] = EBADFD;
	assert_int_equal(tun_read(&tun, pkt, 1500, &frame), TUN_E_GONE);
	k.reads = 0;
	k.read_errno[0] = EFAULT;
	assert_int_equal(tun_read(&tun, pkt, 1500, &frame), -EFAULT);

	/* Without a virtio-net header the packet is read to the same place. */
	tun.features = 0;
	k.reads = 1;
	k.frame = in + 10;
	k.frame_len = (ssize_t)len;
	memset(buf, 0, sizeof(buf));
	assert_int_equal(tun_read(&tun, pkt, 1500, &frame), 0);
	assert_memory_equal(pkt, in + 10, len);
}

static void test_write(void **state)
{
	struct tun tun = open_default();

	(void)state;
	fill(&tun, MERGE_TCP4);
	assert_int_equal(tun_write(&tun, batch), 0);
	assert_int_equal(k.writes, 2);
	assert_int_equal(k.write_iovs[0], 3);
	assert_int_equal(k.write_len[0], 10 + 340);
	assert_int_equal(k.write_len[1], 10 + 140);
	assert_int_equal(tun.written, 2);
	assert_int_equal(tun_write(&tun, batch), 0);
	assert_int_equal(k.writes, 2);
}

/*
 * tun_write_packet() writes one packet without a batch, and changes nothing in
 * struct tun.
 */
static void test_write_packet(void **state)
{
	uint8_t packet[60] = { 0x45, [59] = 7 };

	(void)state;
	for (int vnet = 0; vnet < 2; vnet++) {
		struct tun tun = open_default(), before;

		if (!vnet)
			tun.features &= ~(unsigned int)TUN_VNET;
		before = tun;
		k.writes = 0;
		assert_true(tun_write_packet(&tun, packet, sizeof(packet)));
		assert_int_equal(k.writes, 1);
		assert_int_equal(k.write_len[0],
				 (vnet ? 10 : 0) + sizeof(packet));
		assert_int_equal(k.write_byte[0], 7);
		k.write_errno[1] = EIO;
		assert_false(tun_write_packet(&tun, packet, sizeof(packet)));
		assert_int_equal(k.writes, 2);
		assert_memory_equal(&tun, &before, sizeof(tun));
	}
}

/*
 * If the kernel refuses merged packets, they are written singly and in order.
 * After the second refusal packets of that kind no longer merge.
 */
static void test_merged_write_refused(void **state)
{
	(void)state;
	for (int kind = 0; kind < MERGE_TUNNEL44; kind++) {
		struct tun tun = open_default();
		uint8_t last[4];

		k.refuse_merged = true;
		for (int i = 0; i < 2; i++) {
			assert_int_equal(tun.kinds, MERGE_PLAIN);
			fill(&tun, kind);
			for (int p = 0; p < 4; p++)
				last[p] = batch->pkts[p]
						  .data[batch->pkts[p].len - 1];
			assert_int_equal(tun_write(&tun, batch), 0);
			assert_int_equal(k.writes, 5);
			assert_int_equal(k.write_iovs[0], 3);
			for (int p = 0; p < 4; p++) {
				assert_int_equal(k.write_iovs[1 + p], 1);
				assert_int_equal(k.write_byte[1 + p], last[p]);
			}
		}
		assert_int_equal(tun.kinds, MERGE_PLAIN & ~MERGE_BIT(kind));
		assert_int_equal(tun.refused, 2);
		assert_int_equal(tun.written, 8);
		assert_int_equal(tun.dropped, 0);
		fill(&tun, kind);
		assert_int_equal(tun_write(&tun, batch), 0);
		assert_int_equal(k.writes, 4);
	}
}

/* A refusal is forgotten after many writes that succeed. */
static void test_refusal_is_forgotten(void **state)
{
	struct tun tun = open_default();

	(void)state;
	for (int round = 0; round < 4; round++) {
		k.refuse_merged = true;
		fill(&tun, MERGE_TCP6);
		tun_write(&tun, batch);
		k.refuse_merged = false;
		/* REFUSAL_FORGET of tun.c. */
		for (int i = 0; i < 1024; i++) {
			fill(&tun, MERGE_TCP6);
			assert_int_equal(tun_write(&tun, batch), 0);
		}
	}
	assert_int_equal(tun.kinds, MERGE_PLAIN);
	assert_int_equal(tun.refused, 4);
}

/*
 * Each write in turn fails with EAGAIN or EINTR. Every packet is written all
 * the same, and only once.
 */
static void test_write_continues(void **state)
{
	static const int errs[] = { EAGAIN, EINTR };

	(void)state;
	for (int refuse = 0; refuse < 2; refuse++) {
		for (int e = 0; e < 2; e++) {
			for (int n = 0; n < 5; n++) {
				struct tun tun = open_default();
				unsigned int want = refuse ? 4 : 2;
				int ret;

				k.refuse_merged = refuse;
				fill(&tun, MERGE_UDP4);
				k.write_errno[n] = errs[e];
				do {
					ret = tun_write(&tun, batch);
				} while (ret == TUN_E_AGAIN);
				assert_int_equal(ret, 0);
				assert_int_equal(tun.written, want);
				assert_int_equal(tun.dropped, 0);
			}
		}
	}
}

static void test_write_errors(void **state)
{
	struct tun tun = open_default();

	(void)state;
	/*
	 * If the device is down or gone, the rest of the batch is dropped and
	 * counted.
	 */
	fill(&tun, MERGE_TCP4);
	k.write_errno[0] = EIO;
	assert_int_equal(tun_write(&tun, batch), TUN_E_DOWN);
	assert_int_equal(tun.dropped, 4);
	assert_int_equal(tun_write(&tun, batch), 0);
	assert_int_equal(k.writes, 1);
	fill(&tun, MERGE_TCP4);
	k.write_errno[0] = EINVAL;
	k.write_errno[2] = EBADFD;
	assert_int_equal(tun_write(&tun, batch), TUN_E_GONE);
	assert_int_equal(tun.dropped, 4 + 3);
	/* If the kernel refuses one packet, only that one is dropped. */
	tun = open_default();
	fill(&tun, MERGE_TCP4);
	k.write_errno[1] = EINVAL;
	assert_int_equal(tun_write(&tun, batch), 0);
	assert_int_equal(tun.dropped, 1);
	assert_int_equal(tun.written, 1);
	/*
	 * If the kernel has no memory for a merged packet, its packets are
	 * written singly. Packets of that kind still merge later.
	 */
	tun = open_default();
	for (int i = 0; i < 3; i++) {
		fill(&tun, MERGE_TCP4);
		k.write_errno[0] = ENOMEM;
		k.write_errno[2] = ENOMEM;
		assert_int_equal(tun_write(&tun, batch), 0);
		assert_int_equal(k.writes, 5);
	}
	assert_int_equal(tun.dropped, 3);
	assert_int_equal(tun.written, 9);
	assert_int_equal(tun.kinds, MERGE_PLAIN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_features),
		cmocka_unit_test(test_kernels_that_lose_merged_udp),
		cmocka_unit_test(test_open_fails),
		cmocka_unit_test(test_gvisor),
		cmocka_unit_test(test_given_fd),
		cmocka_unit_test(test_read),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_write_packet),
		cmocka_unit_test(test_merged_write_refused),
		cmocka_unit_test(test_refusal_is_forgotten),
		cmocka_unit_test(test_write_continues),
		cmocka_unit_test(test_write_errors),
	};

	return cmocka_run_group_tests_name("tun_device", tests, batch_make,
					   batch_free);
}
