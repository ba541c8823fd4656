/* SPDX-License-Identifier: MIT */
/*
 * A fake kernel for a TUN device, which has the features and the faults that a
 * test asks for. Each program that includes this header has its own.
 */
#ifndef TESTS_TUN_FAKE_H
#define TESTS_TUN_FAKE_H

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "tun_batch.h"
#include "tun/tun.h"

/* Choices: any descriptors, and more writes than a test makes. */
#define FD	42
#define SOCK_FD 43
#define LOG_MAX 128

static struct {
	/* Features and faults of the fake kernel. */
	unsigned int known; /* TUN_F_ bits that the kernel knows */
	unsigned long bad_ioctl;
	int bad_ioctl_errno;
	short flags; /* of a device that is handed over */
	const char *release;
	/* The results of writes: an errno for each, or 0 for success. */
	int write_errno[LOG_MAX];
	bool refuse_merged;
	bool refuse_gso;  /* refuses super-packets, by their type */
	bool no_vnet_hdr; /* refuses IFF_VNET_HDR */
	/* A length of the header that is refused, and how often it is first
	 * taken. */
	int bad_hdr_len, bad_hdr_after;
	/* The results of reads. */
	const uint8_t *frame;
	ssize_t frame_len;
	int read_errno[4];
	/* Calls that were made. */
	unsigned int offload;
	int mtu, qlen, closed, vnet_len, status_flags, reads;
	char name[IFNAMSIZ];
	unsigned int writes;
	size_t write_len[LOG_MAX];
	unsigned int write_iovs[LOG_MAX];
	uint8_t write_byte[LOG_MAX]; /* last byte of the packet */
} k;

static inline int fake_open(const char *path, int flags)
{
	assert_string_equal(path, "/dev/net/tun");
	assert_int_equal(flags, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	return FD;
}

static inline int fake_close(int fd)
{
	k.closed += fd == FD;
	return 0;
}

static inline int set_offload(unsigned int bits)
{
	unsigned int uso = 0x60; /* TUN_F_USO4 and TUN_F_USO6 */

	if (bits & ~k.known || (bits && !(bits & TUN_F_CSUM)))
		return -1;
	if ((bits & uso) && (bits & uso) != uso)
		return -1;
	/* Tunnels only beside other super-packets. */
	if ((bits & 0x180) && !(bits & (uso | TUN_F_TSO4 | TUN_F_TSO6)))
		return -1;
	k.offload = bits;
	return 0;
}

static inline int fake_ioctl(int fd, unsigned long request, void *arg)
{
	struct ifreq *ifr = arg;

	assert_true(fd == FD || fd == SOCK_FD);
	errno = k.bad_ioctl_errno;
	if (request == k.bad_ioctl)
		return -1;
	switch (request) {
	case TUNSETIFF:
		errno = EINVAL;
		if (k.no_vnet_hdr && (ifr->ifr_flags & IFF_VNET_HDR))
			return -1;
		k.flags = ifr->ifr_flags;
		memcpy(k.name, *ifr->ifr_name ? ifr->ifr_name : "tun7", 5);
		break;
	case TUNGETIFF:
		memcpy(ifr->ifr_name, k.name, sizeof(k.name));
		ifr->ifr_flags = k.flags;
		break;
	case TUNSETVNETHDRSZ:
		errno = EINVAL;
		if (*(int *)arg == k.bad_hdr_len && k.bad_hdr_after-- <= 0)
			return -1;
		k.vnet_len = *(int *)arg;
		break;
	case TUNSETOFFLOAD:
		errno = EINVAL;
		return set_offload((unsigned int)(uintptr_t)arg);
	case SIOCGIFINDEX:
		assert_string_equal(ifr->ifr_name, k.name);
		ifr->ifr_ifindex = 77;
		break;
	case SIOCSIFMTU:
		k.mtu = ifr->ifr_mtu;
		break;
	case SIOCSIFTXQLEN:
		k.qlen = ifr->ifr_qlen;
		break;
	default:
		fail_msg("ioctl %lx", request);
	}
	return 0;
}

static inline int fake_get_flags(int fd)
{
	return fd == FD ? O_RDWR : -1;
}

static inline int fake_set_flags(int fd, int flags)
{
	assert_int_equal(fd, FD);
	k.status_flags = flags;
	return 0;
}

static inline int fake_socket(int family, int type, int protocol)
{
	(void)family;
	(void)protocol;
	assert_true(type & SOCK_CLOEXEC);
	return SOCK_FD;
}

static inline ssize_t fake_read(int fd, void *buf, size_t len)
{
	int err = k.read_errno[k.reads++];

	assert_int_equal(fd, FD);
	errno = err;
	if (err)
		return -1;
	assert_true(len >= (size_t)k.frame_len);
	memcpy(buf, k.frame, (size_t)k.frame_len);
	return k.frame_len;
}

static inline ssize_t fake_writev(int fd, const struct iovec *iov, int cnt)
{
	const struct iovec *last = &iov[cnt - 1];
	size_t len = 0;

	assert_int_equal(fd, FD);
	assert_true(k.writes < LOG_MAX);
	errno = k.write_errno[k.writes];
	if (cnt > 1 && k.refuse_merged)
		errno = EINVAL;
	if (k.refuse_gso && ((const struct vnet_hdr *)iov->iov_base)->gso_type)
		errno = EINVAL;
	for (int i = 0; i < cnt; i++)
		len += iov[i].iov_len;
	k.write_len[k.writes] = len;
	k.write_iovs[k.writes] = (unsigned int)cnt;
	k.write_byte[k.writes++] =
		((const uint8_t *)last->iov_base)[last->iov_len - 1];
	return errno ? -1 : (ssize_t)len;
}

static inline int fake_uname(struct utsname *out)
{
	if (!k.release)
		return -1;
	snprintf(out->release, sizeof(out->release), "%s", k.release);
	return 0;
}

static const struct tun_sys fake = {
	.open = fake_open,
	.close = fake_close,
	.ioctl = fake_ioctl,
	.get_flags = fake_get_flags,
	.set_flags = fake_set_flags,
	.socket = fake_socket,
	.read = fake_read,
	.writev = fake_writev,
	.uname = fake_uname,
};

enum {
	OLD = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6,
	/* 0x60: TUN_F_USO4 and TUN_F_USO6, which older headers lack. */
	ALL = OLD | TUN_F_TSO_ECN | 0x60,
	/* TUN_F_UDP_TUNNEL_GSO and TUN_F_UDP_TUNNEL_GSO_CSUM. */
	TUNNELS = 0x180,
	NO_TUNNEL = TUN_FEATURES & ~(unsigned int)TUN_TUNNEL,
	TCP_KINDS = MERGE_BIT(MERGE_TCP4) | MERGE_BIT(MERGE_TCP6),
};

static inline void reset(unsigned int known)
{
	memset(&k, 0, sizeof(k));
	k.known = known;
	k.release = "6.18.1";
}

static inline struct tun open_default(void)
{
	struct tun_config config = { .name = "wg0" };
	struct tun tun;

	reset(ALL);
	assert_int_equal(tun_open(&tun, &fake, &config), 0);
	return tun;
}

/**
 * fill() - a batch of 3 packets that merge and 1 that does not
 * @tun:	device
 * @kind:	TCP4 to UDP6
 */
static inline void fill(const struct tun *tun, int kind)
{
	struct spec s = { .version = kind & 1 ? 6 : 4,
			  .proto = kind & 2 ? IP_PROTO_UDP : IP_PROTO_TCP,
			  .payload_len = 100 };

	tun_begin_merge(tun, batch);
	arena_used = 0;
	for (unsigned int i = 0; i < 4; i++) {
		s.id = (uint16_t)i;
		s.seq = i * 100;
		s.payload = i;
		s.sport = i == 3;
		batch_add_spec(&s);
	}
	k.writes = 0;
}

#endif /* TESTS_TUN_FAKE_H */
