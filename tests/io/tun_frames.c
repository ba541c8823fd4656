/* SPDX-License-Identifier: MIT */
/*
 * A real device apart from its usual traffic: odd frames from AF_PACKET, link
 * down, deletion, inherited descriptors, changes of the name.
 */
#include <net/ethernet.h> /* with musl before the kernel's headers */

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "tests/unit/tun_packet.h"
#include "tun_pair.h"

static struct tun tun;
static struct tun_config config;
static int ns;

static int make_tun(void **state)
{
	(void)state;
	if (pair_alloc())
		return -1;
	ns = netns_new();
	config = (struct tun_config){ .name = "wg0",
				      .mtu = TUN_MTU_DEFAULT,
				      .txqlen = 1000 };
	if (ns < 0 || tun_open(&tun, pair_sys(), &config))
		return -1;
	return netns_ip("link set wg0 up") ||
	       netns_add_address("wg0", "10.0.0.1/24");
}

static int drop_tun(void **state)
{
	(void)state;
	tun_close(&tun);
	close(ns);
	pair_release();
	return 0;
}

static int ask(const char *name, unsigned long request)
{
	struct ifreq ifr = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int err;

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	err = ioctl(fd, request, &ifr);
	close(fd);
	return err ? -errno : ifr.ifr_mtu; /* a union */
}

static void test_opened(void **state)
{
	(void)state;
	assert_string_equal(tun.name, "wg0");
	assert_int_equal(tun.ifindex, if_nametoindex("wg0"));
	assert_int_equal(ask("wg0", SIOCGIFMTU), 1420);
	assert_int_equal(ask("wg0", SIOCGIFTXQLEN), 1000);
	assert_int_equal(fcntl(tun.fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	assert_int_equal(fcntl(tun.fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(tun.features & TUN_VNET, TUN_VNET);
	assert_int_equal((tun.features & TUN_USO) != 0, kernel_has_uso());
	assert_int_equal((tun.features & TUN_TUNNEL) != 0,
			 kernel_has_tunnels());
	assert_int_equal(tun.kinds, kernel_kinds());
}

/**
 * read_all() - read and cut until nothing is left
 *
 * Return: the number of frames that were good.
 */
static unsigned int read_all(void)
{
	struct segment_slab slab = { .base = pair_slab,
				     .cap = SLAB_CAP,
				     .segs = pair_segs,
				     .segs_cap = SEGS_CAP };
	unsigned int good = 0;
	struct segment_cursor cur;
	struct vnet_frame frame;
	int ret;

	while ((ret = tun_read(&tun, pair_frame + TUN_HEADROOM, IPV6_PACKET_MAX,
			       &frame)) != TUN_E_AGAIN) {
		if (ret == TUN_E_DROP)
			continue;
		assert_int_equal(ret, 0);
		good++;
		segment_begin(&cur, pair_frame + TUN_HEADROOM, &frame);
		while (!cur.done) {
			slab.segs_cnt = 0;
			slab.used = 0;
			assert_true(segment_cut(&cur, &slab) > 0);
		}
	}
	return good;
}

static int open_packet(void)
{
	struct sockaddr_ll sa = { .sll_family = AF_PACKET,
				  .sll_protocol = htons(ETH_P_IP),
				  .sll_ifindex = (int)tun.ifindex };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (void *)&sa, sizeof(sa)), 0);
	return fd;
}

/* A frame of one byte must not end the reading. */
static void test_short_frames(void **state)
{
	static const uint8_t firsts[] = { 0x00, 0x45, 0x60, 0xff };
	int fd = open_packet();
	uint64_t dropped = 0;
	unsigned int sent = 0;

	(void)state;
	read_all();
	for (int i = 0; i < VNET_DROP_CNT; i++)
		dropped -= tun.drops[i];
	for (size_t f = 0; f < sizeof(firsts); f++) {
		for (size_t len = 0; len < 50; len++) {
			uint8_t bytes[50] = { firsts[f] };

			sent += send(fd, bytes, len, 0) == (ssize_t)len;
		}
		sent -= read_all();
	}
	for (int i = 0; i < VNET_DROP_CNT; i++)
		dropped += tun.drops[i];
	assert_true(sent > 50);
	assert_int_equal(dropped, sent);
	close(fd);
}

static void test_random_frames(void **state)
{
	int fd = open_packet(), on = 1;
	unsigned int good = 0;
	struct random r;

	(void)state;
	random_init(&r, 1);
	assert_int_equal(
		setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)),
		0);
	for (int i = 0; i < 20000; i++) {
		static const uint8_t types[] = { 0, 1, 3, 4, 5, 0x81, 0x84 };
		uint8_t bytes[10 + 300];
		struct vnet_hdr *hdr = (void *)bytes;
		size_t len = random_below(&r, 300);

		for (size_t k = 0; k < sizeof(bytes); k++)
			bytes[k] = (uint8_t)random_next(&r);
		hdr->flags = random_next(&r) & 1;
		hdr->gso_type = types[random_below(&r, sizeof(types))];
		vnet_set(hdr->hdr_len, (uint16_t)random_below(&r, len + 1));
		vnet_set(hdr->gso_size, (uint16_t)random_below(&r, 200));
		vnet_set(hdr->csum_start, i & 1 ? 20 : 40);
		vnet_set(hdr->csum_offset, i & 2 ? 16 : 6);
		bytes[10] = i & 1 ? 0x45 : 0x60;
		bytes[16] = i & 2 ? IP_PROTO_TCP : IP_PROTO_UDP;
		bytes[17] = 0;
		bytes[19] = bytes[16];
		bytes[42] = 0x50;
		bytes[62] = 0x50;
		/* The kernel itself refuses many of these frames. */
		if (send(fd, bytes, 10 + len, 0) > 0)
			good += read_all();
	}
	assert_true(good > 100);
	close(fd);
}

static void send_one(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(9),
				  .sin_addr.s_addr = htonl(0x0a000002) };

	assert_int_equal(sendto(fd, "x", 1, 0, (void *)&to, sizeof(to)), 1);
	close(fd);
}

static void test_still_alive(void **state)
{
	(void)state;
	read_all();
	send_one();
	assert_int_equal(read_all(), 1);
}

static int write_one(void)
{
	static uint8_t bytes[MERGE_HEADROOM + 28] = {
		[10] = 0x45, [13] = 28, [18] = 64, [19] = 253,
		[22] = 10,   [25] = 2,	[26] = 10, [29] = 1,
	};

	tun_begin_merge(&tun, pair_batch);
	assert_int_equal(merge_add(pair_batch, bytes + 10, 28), 0);
	return tun_write(&tun, pair_batch);
}

static void test_down(void **state)
{
	uint64_t dropped = tun.dropped;

	(void)state;
	assert_int_equal(write_one(), 0);
	assert_int_equal(netns_ip("link set wg0 down"), 0);
	assert_int_equal(write_one(), TUN_E_DOWN);
	assert_int_equal(tun.dropped, dropped + 1);
	assert_int_equal(read_all(), 0);
	assert_int_equal(netns_ip("link set wg0 up"), 0);
	assert_int_equal(write_one(), 0);
}

static void test_rename(void **state)
{
	char name[IFNAMSIZ];

	(void)state;
	assert_int_equal(netns_rename("wg0", "wg9"), 0);
	assert_int_equal(tun_get_name(&tun, name), 0);
	assert_string_equal(name, "wg9");
	assert_int_equal(tun_set_mtu(&tun, 1300), 0);
	assert_int_equal(ask("wg9", SIOCGIFMTU), 1300);
	assert_int_equal(tun_set_mtu(&tun, 10), -EINVAL);
	assert_int_equal(netns_rename("wg9", "wg0"), 0);
}

static void test_elsewhere(void **state)
{
	int there = netns_new();

	(void)state;
	assert_int_equal(netns_enter(ns), 0);
	assert_int_equal(netns_move("wg0", there), 0);
	assert_int_equal(tun_set_mtu(&tun, 1300), -ENODEV);
	assert_int_equal(netns_enter(there), 0);
	assert_int_equal(tun_set_mtu(&tun, 1300), 0);
	assert_int_equal(netns_move("wg0", ns), 0);
	assert_int_equal(netns_enter(ns), 0);
	close(there);
	assert_int_equal(netns_ip("link set wg0 up"), 0);
	assert_int_equal(write_one(), 0);
}

/**
 * read_proto() - read a packet of a protocol, and skip IPv6's own messages
 * @out:	device
 * @pkt:	receives the packet, 2000 bytes
 * @proto:	protocol wanted
 * @frame:	receives its description
 */
static void read_proto(struct tun *out, uint8_t *pkt, uint8_t proto,
		       struct vnet_frame *frame)
{
	do {
		assert_int_equal(tun_read(out, pkt, 2000, frame), 0);
	} while (pkt[pkt[0] >> 4 == 4 ? 9 : 6] != proto);
}

/**
 * forward() - write merged packets, and read them as the kernel forwards them
 * @out:	the device that they are forwarded to
 * @s:		the first packet; two more follow it
 * @merges:	packets of this kind are merged
 *
 * The kernel cuts them for a device without offload. They come out unchanged,
 * except for the hop limit. CWR is in the first packet only. Merged datagrams
 * that had no checksum have one that is right.
 */
static void forward(struct tun *out, struct spec s, bool merges)
{
	static uint8_t in[3][16 + 1024], want[1024], got[2048];
	const uint8_t flags = s.flags;
	struct vnet_frame frame;
	size_t len = 0;

	tun_begin_merge(&tun, pair_batch);
	s.ttl = 64;
	for (unsigned int i = 0; i < 3; i++) {
		if (i == 1)
			s.flags &= (uint8_t)~TCP_CWR;
		len = packet_build(in[i] + 16, &s);
		assert_int_equal(merge_add(pair_batch, in[i] + 16, len), 0);
		s.id++;
		s.seq += s.payload_len;
		s.payload++;
	}
	assert_int_equal(pair_batch->items_cnt, merges ? 1 : 3);
	assert_int_equal(tun_write(&tun, pair_batch), 0);
	s.ttl = 63;
	if (merges)
		s.no_csum = false;
	s.id = (uint16_t)(s.id - 3);
	s.seq -= 3 * s.payload_len;
	s.payload -= 3;
	s.flags = flags;
	for (unsigned int i = 0; i < 3; i++) {
		if (i == 1)
			s.flags &= (uint8_t)~TCP_CWR;
		read_proto(out, got + 16, s.proto, &frame);
		assert_int_equal(packet_build(want, &s), frame.len);
		assert_memory_equal(got + 16, want, frame.len);
		s.id++;
		s.seq += s.payload_len;
		s.payload++;
	}
}

static void test_forwarded(void **state)
{
	struct tun_config plain = { .name = "out", .features_off = TUN_CSUM };
	bool merges_udp = kernel_has_uso();
	struct tun out;

	(void)state;
	assert_int_equal(tun_open(&out, &tun_sys_linux, &plain), 0);
	assert_int_equal(netns_ip("link set dev out up"), 0);
	assert_int_equal(netns_ip("addr add 10.9.8.1/24 dev out"), 0);
	assert_int_equal(netns_ip("route add 10.1.2.0/24 dev wg0"), 0);
	assert_int_equal(netns_add_address("out", "fd00::1/64"), 0);
	assert_int_equal(netns_set("ipv4/ip_forward", "1"), 0);
	assert_int_equal(netns_set("ipv6/conf/all/forwarding", "1"), 0);
	for (int i = 0; i < 9; i++) {
		struct spec s = { .version = i & 1 ? 6 : 4,
				  .proto = i >= 2 && i < 5 ? IP_PROTO_UDP
							   : IP_PROTO_TCP,
				  .no_csum = i == 4,
				  .ae = i >= 7,
				  .flags = i < 5   ? TCP_ACK
					   : i < 7 ? TCP_ACK | TCP_CWR
						   : TCP_ACK | TCP_ECE,
				  .host = 5,
				  .id = 77,
				  .flow = 7,
				  .payload_len = 300 };

		forward(&out, s, s.proto == IP_PROTO_TCP || merges_udp);
	}
	tun_close(&out);
}

static void test_open_fails(void **state)
{
	struct tun other;

	(void)state;
	assert_int_equal(tun_open(&other, &tun_sys_linux, &config), -EBUSY);
	config.name = "lo";
	assert_int_equal(tun_open(&other, &tun_sys_linux, &config), -EINVAL);
	config.name = "a/b";
	assert_int_equal(tun_open(&other, &tun_sys_linux, &config), -EINVAL);
	config.name = "wg0";
}

/* An inherited descriptor, with unchanged settings. */
static void test_given_fd(void **state)
{
	static const int flags[] = { IFF_TUN | IFF_NO_PI | IFF_VNET_HDR,
				     IFF_TUN | IFF_NO_PI, IFF_TAP | IFF_NO_PI };
	unsigned int kinds = kernel_kinds();
	struct tun given;
	int len = 12;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		struct ifreq ifr = { .ifr_name = "given",
				     .ifr_flags = (short)flags[i] };
		int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

		assert_true(fd >= 0);
		assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
		if (i == 0)
			assert_int_equal(ioctl(fd, TUNSETVNETHDRSZ, &len), 0);
		else
			ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4);
		if (i >= 2) {
			assert_int_equal(tun_open_fd(&given, &tun_sys_linux,
						     &config, fd),
					 -EINVAL);
			close(fd);
			continue;
		}
		assert_int_equal(
			tun_open_fd(&given, &tun_sys_linux, &config, fd), 0);
		assert_int_equal(given.features & TUN_VNET, i == 0);
		assert_int_equal(given.kinds, i == 0 ? kinds : 0);
		assert_int_equal(ask("given", SIOCGIFMTU), 1420);
		assert_string_equal(given.name, "given");
		tun_close(&given);
	}
	assert_int_equal(tun_open_fd(&given, &tun_sys_linux, &config, 0),
			 -ENOTTY);
}

/* The length of the virtio-net header of a device, by its name. The device is
 * attached to for this. */
static int read_hdr_len(const char *name)
{
	struct ifreq ifr = { .ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC), len = 0;

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	assert_int_equal(ioctl(fd, TUNGETVNETHDRSZ, &len), 0);
	close(fd);
	return len;
}

/* Whether the kernel hands out TCP super-packets of a device. */
static bool has_tso(const char *name)
{
	struct ethtool_value value = { .cmd = ETHTOOL_GTSO };
	struct ifreq ifr = { .ifr_data = (void *)&value };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	assert_int_equal(ioctl(fd, SIOCETHTOOL, &ifr), 0);
	close(fd);
	return value.data != 0;
}

/*
 * A persistent device keeps the length of its virtio-net header and its
 * offloads. tun_close() sets both back. If a user ended without this, the next
 * one sets the length that it needs.
 */
static void test_persistent(void **state)
{
	struct tun_config own = { .name = "stays" };
	struct tun stays;
	int len;

	(void)state;
	for (int i = 0; i < 3; i++) {
		own.features_off = i == 2 ? TUN_TUNNEL : 0;
		assert_int_equal(tun_open(&stays, &tun_sys_linux, &own), 0);
		assert_int_equal(ioctl(stays.fd, TUNSETPERSIST, 1), 0);
		assert_int_equal(ioctl(stays.fd, TUNGETVNETHDRSZ, &len), 0);
		assert_int_equal(len, tun_hdr_len(&stays));
		assert_int_equal(len, stays.features & TUN_TUNNEL ? 24 : 10);
		assert_true(has_tso("stays"));
		if (i == 1) {
			/* As if the process had been killed. */
			close(stays.fd);
			assert_int_equal(read_hdr_len("stays"), len);
			continue;
		}
		tun_close(&stays);
		assert_int_equal(read_hdr_len("stays"), 10);
		assert_false(has_tso("stays"));
	}
	assert_int_equal(netns_ip("link del stays"), 0);
}

static void test_gone(void **state)
{
	char name[IFNAMSIZ];
	struct vnet_frame frame;

	(void)state;
	assert_int_equal(netns_ip("link del wg0"), 0);
	assert_int_equal(write_one(), TUN_E_GONE);
	assert_int_equal(tun_read(&tun, pair_frame + TUN_HEADROOM,
				  IPV6_PACKET_MAX, &frame),
			 TUN_E_GONE);
	assert_int_equal(tun_get_name(&tun, name), -EBADFD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_opened),
		cmocka_unit_test(test_short_frames),
		cmocka_unit_test(test_random_frames),
		cmocka_unit_test(test_still_alive),
		cmocka_unit_test(test_down),
		cmocka_unit_test(test_rename),
		cmocka_unit_test(test_elsewhere),
		cmocka_unit_test(test_forwarded),
		cmocka_unit_test(test_open_fails),
		cmocka_unit_test(test_given_fd),
		cmocka_unit_test(test_persistent),
		cmocka_unit_test(test_gone),
	};

	netns_require();
	return cmocka_run_group_tests_name("tun_frames", tests, make_tun,
					   drop_tun);
}
