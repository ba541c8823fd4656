/* SPDX-License-Identifier: MIT */
/*
 * The largest number of UDP segments in a packet that is written to a TUN
 * device (USO): the kernel's limit for UDP_SEGMENT. Above it the write fails
 * with EINVAL.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/virtio_net.h>
#include <netinet/ip6.h>
#include <netinet/udp.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "tests/lib/netns.h"
#include "tests/lib/skip.h"
#include "tests/lib/check.h"
#include "tests/platform/datagram.h"
#include "tests/platform/tun.h"

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

enum {
	/* Small, so that many segments fit a packet. A choice. */
	SEGMENT = 100,
	/* As many segments as fit an IP packet, far above the limit. */
	SEGMENTS_TRIED = 600,
	/* A choice. */
	REMOTE_PORT = 7777,
	IPV4_LEN = 20,
	TTL = 64,
};

static int tun_fd;
static uint8_t bytes[MESSAGE_CAP];

/* The Internet checksum's sum of @len bytes, on top of @sum, not folded. */
static uint32_t sum_add(uint32_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;
	size_t i;

	for (i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)(p[i] << 8 | p[i + 1]);
	return sum;
}

/* Folds a sum, in network order. */
static uint16_t sum_fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)sum);
}

/* Writes an IPv4 header for @len bytes of UDP; returns its length. */
static size_t put_ipv4(uint8_t *p, const union address *from,
		       const union address *to, size_t len)
{
	const uint16_t total = htons((uint16_t)(IPV4_LEN + len));
	uint16_t check;

	memset(p, 0, IPV4_LEN);
	p[0] = 4 << 4 | IPV4_LEN / 4;
	memcpy(p + 2, &total, sizeof(total));
	p[8] = TTL;
	p[9] = IPPROTO_UDP;
	memcpy(p + 12, &from->v4.sin_addr, 4);
	memcpy(p + 16, &to->v4.sin_addr, 4);
	check = (uint16_t)~sum_fold(sum_add(0, p, IPV4_LEN));
	memcpy(p + 10, &check, sizeof(check));
	return IPV4_LEN;
}

/* Writes an IPv6 header for @len bytes of UDP; returns its length. */
static size_t put_ipv6(uint8_t *p, const union address *from,
		       const union address *to, size_t len)
{
	struct ip6_hdr ip = {
		.ip6_flow = htonl(6u << 28),
		.ip6_plen = htons((uint16_t)len),
		.ip6_nxt = IPPROTO_UDP,
		.ip6_hlim = TTL,
		.ip6_src = from->v6.sin6_addr,
		.ip6_dst = to->v6.sin6_addr,
	};

	memcpy(p, &ip, sizeof(ip));
	return sizeof(ip);
}

/* The sum that a NEEDS_CSUM packet has in place of its checksum. */
static uint16_t pseudo_sum(const union address *from, const union address *to,
			   size_t len)
{
	uint32_t sum = IPPROTO_UDP + (uint32_t)len;

	if (to->any.sa_family == AF_INET) {
		sum = sum_add(sum, &from->v4.sin_addr, 4);
		return sum_fold(sum_add(sum, &to->v4.sin_addr, 4));
	}
	sum = sum_add(sum, &from->v6.sin6_addr, 16);
	return sum_fold(sum_add(sum, &to->v6.sin6_addr, 16));
}

/* Writes a packet of @cnt segments to the device; returns 0 or -errno. */
static int write_segments(const union address *from, const union address *to,
			  size_t cnt)
{
	static uint8_t packet[MESSAGE_CAP];
	const bool is_v4 = to->any.sa_family == AF_INET;
	const size_t len = sizeof(struct udphdr) + cnt * SEGMENT;
	struct virtio_net_hdr vnet = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4,
		.gso_size = SEGMENT,
		.csum_offset = offsetof(struct udphdr, check),
	};
	struct udphdr udp = {
		.source = htons(REMOTE_PORT),
		.dest = is_v4 ? to->v4.sin_port : to->v6.sin6_port,
		.len = htons((uint16_t)len),
		.check = pseudo_sum(from, to, len),
	};
	size_t off = sizeof(vnet);

	off += is_v4 ? put_ipv4(packet + off, from, to, len)
		     : put_ipv6(packet + off, from, to, len);
	vnet.csum_start = (uint16_t)(off - sizeof(vnet));
	vnet.hdr_len = (uint16_t)(vnet.csum_start + sizeof(udp));
	memcpy(packet, &vnet, sizeof(vnet));
	memcpy(packet + off, &udp, sizeof(udp));
	off += sizeof(udp);
	memcpy(packet + off, bytes, cnt * SEGMENT);
	off += cnt * SEGMENT;
	return write(tun_fd, packet, off) < 0 ? -errno : 0;
}

/* Writes packets of more and more segments, until the kernel refuses one. */
static void look_at_limit(const char *local, const char *remote)
{
	static uint8_t buf[MESSAGE_CAP];
	const union address from = address_set(remote, REMOTE_PORT);
	struct arrival in;
	union address to;
	int fd, err = 0;
	size_t cnt;

	fd = udp_open(local, true, &to);
	for (cnt = 2; cnt < SEGMENTS_TRIED; cnt++) {
		err = write_segments(&from, &to, cnt);
		if (err)
			break;
		udp_receive(fd, buf, &in);
		assert_int_equal(in.len, cnt * SEGMENT);
		assert_int_equal(in.segment, SEGMENT);
		assert_memory_equal(buf, bytes, in.len);
	}
	seen(err == -EINVAL && (cnt == 65 || cnt == 129),
	     "%s: a packet of %zu segments gives %s", local, cnt,
	     err ? strerror(-err) : "no error");
	assert_true(cnt > SEGMENTS_SAFE);
	assert_true(udp_is_empty(fd));
	close(fd);
}

static void test_ipv4_segments(void **state)
{
	(void)state;
	look_at_limit("10.5.0.1", "10.5.0.2");
}

static void test_ipv6_segments(void **state)
{
	(void)state;
	look_at_limit("fd00:5::1", "fd00:5::2");
}

static int setup(void **state)
{
	(void)state;
	bytes_fill(bytes, sizeof(bytes));
	if (netns_ip("link set dev uso up") ||
	    netns_add_address("uso", "10.5.0.1/24") ||
	    netns_add_address("uso", "fd00:5::1/64"))
		return -1;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ipv4_segments),
		cmocka_unit_test(test_ipv6_segments),
	};

	netns_require();
	tun_require();
	if (netns_new() < 0)
		return 1;
	tun_fd = tun_open("uso", TUN_OFFLOADS_USO);
	if (tun_fd == -EINVAL)
		skip_program("this kernel's TUN has no USO (Linux 6.2)");
	return cmocka_run_group_tests(tests, setup, NULL);
}
