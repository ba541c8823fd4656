/* SPDX-License-Identifier: MIT */
/*
 * A bug of the kernel (Linux 6.17 and 6.18). For a tunnel super-packet that is
 * written to a TUN, virtio_net_hdr_tnl_to_skb() (include/linux/virtio_net.h)
 * computes the least offset of the outer UDP header as
 *
 *	outer_l3min = ETH_HLEN + virtio_l3min(outer_isv6);
 *
 * ETH_HLEN belongs to packets with an Ethernet header. A packet that is written
 * to a TUN has none, so the true offset is refused with EINVAL. An offset that is
 * too large by ETH_HLEN is taken. The tunnel writes that one (tun/merge.c).
 */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tests/lib/check.h"
#include "tests/lib/netns.h"
#include "tests/lib/skip.h"
#include "tests/platform/datagram.h"
#include "tests/platform/tun.h"

enum {
	/* TUN_F_UDP_TUNNEL_GSO, TUN_F_UDP_TUNNEL_GSO_CSUM. */
	TUNNEL_OFFLOADS = 0x80 | 0x100,
	/* VIRTIO_NET_HDR_GSO_UDP_TUNNEL_IPV4 and _IPV6. */
	TUNNEL_IPV4 = 0x20,
	TUNNEL_IPV6 = 0x40,
	IPV4_LEN = 20,
	IPV6_LEN = 40,
	VXLAN_LEN = 8,
	/* Two segments of this length. A choice. */
	SEGMENT = 500,
};

/* struct virtio_net_hdr_v1_hash_tunnel, which older headers lack. */
struct tunnel_hdr {
	struct virtio_net_hdr plain;
	uint8_t unused[10];
	uint16_t outer_th_offset;
	uint16_t inner_nh_offset;
};

static_assert(sizeof(struct tunnel_hdr) == 24, "the length on the wire");

static int tun_fd;

/* Write TCP over IPv4 in VXLAN, with a wrong offset of the outer UDP header if
 * @excess is not 0. Returns 0 or -errno. No field matters but those that the
 * kernel checks in the write; later it drops the packet. */
static int write_super_packet(bool is_v6, size_t excess)
{
	static uint8_t packet[2048];
	const size_t outer = is_v6 ? IPV6_LEN : IPV4_LEN;
	const size_t inner =
		outer + sizeof(struct udphdr) + VXLAN_LEN + ETH_HLEN;
	const size_t len =
		inner + IPV4_LEN + sizeof(struct tcphdr) + 2 * SEGMENT;
	const struct tunnel_hdr hdr = {
		.plain = {
			.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
			.gso_type = (uint8_t)(VIRTIO_NET_HDR_GSO_TCPV4 |
					      (is_v6 ? TUNNEL_IPV6
						     : TUNNEL_IPV4)),
			.hdr_len = (uint16_t)(len - (size_t)2 * SEGMENT),
			.gso_size = SEGMENT,
			.csum_start = (uint16_t)(inner + IPV4_LEN),
			.csum_offset = offsetof(struct tcphdr, check),
		},
		.outer_th_offset = htole16((uint16_t)(outer + excess)),
		.inner_nh_offset = htole16((uint16_t)inner),
	};

	memset(packet, 0, sizeof(packet));
	memcpy(packet, &hdr, sizeof(hdr));
	packet[sizeof(hdr)] = is_v6 ? 6 << 4 : 4 << 4 | IPV4_LEN / 4;
	packet[sizeof(hdr) + inner] = 4 << 4 | IPV4_LEN / 4;
	if (write(tun_fd, packet, sizeof(hdr) + len) < 0)
		return -errno;
	return 0;
}

static void test_offset_of_the_outer_header(void **state)
{
	(void)state;
	for (int is_v6 = 0; is_v6 < 2; is_v6++) {
		int true_err = write_super_packet(is_v6, 0);
		int long_err = write_super_packet(is_v6, ETH_HLEN);

		seen(true_err == -EINVAL, "IPv%d: the true offset gives %s",
		     is_v6 ? 6 : 4,
		     true_err ? strerror(-true_err) : "no error");
		seen(long_err == 0, "IPv%d: the offset and %d gives %s",
		     is_v6 ? 6 : 4, ETH_HLEN,
		     long_err ? strerror(-long_err) : "no error");
		/* The tunnel tries both. */
		assert_true(true_err == 0 || long_err == 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_offset_of_the_outer_header),
	};
	int len = sizeof(struct tunnel_hdr);

	netns_require();
	tun_require();
	if (netns_new() < 0)
		return 1;
	tun_fd = tun_open("tunnel", TUN_OFFLOADS);
	if (tun_fd < 0 || ioctl(tun_fd, TUNSETVNETHDRSZ, &len) ||
	    netns_ip("link set dev tunnel up"))
		return 1;
	if (ioctl(tun_fd, TUNSETOFFLOAD, TUN_OFFLOADS_USO | TUNNEL_OFFLOADS))
		skip_program("this kernel's TUN has no tunnel super-packets "
			     "(Linux 6.17)");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
