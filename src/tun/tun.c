/* SPDX-License-Identifier: MIT */
/*
 * This file rests on these properties of Linux (drivers/net/tun.c):
 *
 *  - TUNSETOFFLOAD refuses a set of features if the kernel lacks one of them. So
 *    the features are found by asking for smaller and smaller sets. The kernel
 *    accepts USO4 and USO6 (Linux 6.2) only together.
 *  - Tunnel super-packets (Linux 6.17) need the longer virtio-net header. Its
 *    length belongs to the device, like the features: both stay with a device
 *    that outlives its user. So both are set at the start, and set back at the
 *    end.
 *  - A read gives one whole frame, and a write takes one. The kernel cuts a frame
 *    that is longer than the buffer, and does not say so.
 *  - Errors: EBADFD means that the device was deleted. On writing, EIO means that
 *    the interface is down; EAGAIN that the send buffer is full (only if
 *    TUNSETSNDBUF set a limit); EINVAL that the virtio-net header is bad, or
 *    that the packet is no IP packet. Linux 6.6.44 and 6.10 refused good headers
 *    by EINVAL for a while.
 *  - Interface ioctls work on a socket of any family, so they also work in a
 *    kernel without IPv4.
 */
#include "tun/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "base/bytes.h"
#include "base/kernel.h"
#include "base/counter.h"

/* These came with Linux 6.2; older headers lack them. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#endif
#ifndef TUN_F_USO6
#define TUN_F_USO6 0x40
#endif

/* These came with Linux 6.17. */
#ifndef TUN_F_UDP_TUNNEL_GSO
#define TUN_F_UDP_TUNNEL_GSO	  0x80
#define TUN_F_UDP_TUNNEL_GSO_CSUM 0x100
#endif

#define TUN_PATH "/dev/net/tun"

/*
 * After REFUSALS_MAX refusals a kind is not merged any more, or a kind of a tunnel
 * is tried in its other form. Refusals are
 * forgotten after REFUSAL_FORGET merged writes that the kernel took: a single
 * odd packet must not end merging for all flows. Both numbers are choices.
 */
#define REFUSALS_MAX   2
#define REFUSAL_FORGET 1024

#define MERGE_UDP (MERGE_BIT(MERGE_UDP4) | MERGE_BIT(MERGE_UDP6))

/* An ioctl of the device's interface; fills in the name. */
static int ask_interface(const struct tun *tun, unsigned long request,
			 struct ifreq *ifr)
{
	int fd, err = 0;

	err = tun_get_name(tun, ifr->ifr_name);
	if (err < 0)
		return err;
	fd = tun->sys->socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (tun->sys->ioctl(fd, request, ifr) < 0)
		err = -errno;
	tun->sys->close(fd);
	return err;
}

int tun_get_name(const struct tun *tun, char name[IFNAMSIZ])
{
	struct ifreq ifr = { 0 };

	if (tun->sys->ioctl(tun->fd, TUNGETIFF, &ifr) < 0)
		return -errno;
	memcpy(name, ifr.ifr_name, IFNAMSIZ);
	name[IFNAMSIZ - 1] = '\0';
	return 0;
}

int tun_set_mtu(const struct tun *tun, unsigned int mtu)
{
	struct ifreq ifr = { .ifr_mtu = (int)mtu };

	return ask_interface(tun, SIOCSIFMTU, &ifr);
}

static int set_txqlen(const struct tun *tun, unsigned int len)
{
	struct ifreq ifr = { .ifr_qlen = (int)len };

	return ask_interface(tun, SIOCSIFTXQLEN, &ifr);
}

/* The TUN_F_ bits for a set of features. */
static unsigned int offload_bits(unsigned int features)
{
	unsigned int bits = 0;

	/* The kernel offers the other features only with partial checksums. */
	if (!(features & TUN_CSUM))
		return 0;
	bits = TUN_F_CSUM;
	if (features & TUN_TSO4)
		bits |= TUN_F_TSO4;
	if (features & TUN_TSO6)
		bits |= TUN_F_TSO6;
	if (features & TUN_ECN)
		bits |= TUN_F_TSO_ECN;
	if (features & TUN_USO)
		bits |= TUN_F_USO4 | TUN_F_USO6;
	/* With and without an outer checksum: both or neither. */
	if (features & TUN_TUNNEL)
		bits |= TUN_F_UDP_TUNNEL_GSO | TUN_F_UDP_TUNNEL_GSO_CSUM;
	return bits;
}

/* Ask for a set of features. Return: true if the kernel has all of them. */
static bool try_offload(const struct tun *tun, unsigned int features)
{
	unsigned long bits = offload_bits(features);

	/* The argument of TUNSETOFFLOAD is a number, and no pointer. */
	return tun->sys->ioctl(tun->fd, TUNSETOFFLOAD,
			       (void *)(uintptr_t)bits) == 0;
}

/* Choose the length of the virtio-net header. */
static int set_vnet(const struct tun *tun, size_t hdr_len)
{
	int len = (int)hdr_len;

	if (tun->sys->ioctl(tun->fd, TUNSETVNETHDRSZ, &len) < 0)
		return -errno;
	return 0;
}

/* Find what the device can do, apart from tunnels. Return: true if it knows USO,
 * even if USO is not wanted. */
static bool negotiate(struct tun *tun, unsigned int wanted)
{
	bool uso = try_offload(tun, TUN_CSUM | TUN_USO);

	if (!uso)
		wanted &= ~(unsigned int)TUN_USO;
	if (!(wanted & TUN_CSUM))
		wanted &= TUN_VNET;
	if (!(wanted & (TUN_TSO4 | TUN_TSO6)))
		wanted &= ~(unsigned int)TUN_ECN;
	if (!try_offload(tun, wanted)) {
		wanted &= ~(unsigned int)TUN_ECN;
		if (!try_offload(tun, wanted)) {
			wanted &= TUN_VNET;
			try_offload(tun, wanted);
		}
	}
	tun->features = wanted;
	return uso;
}

/*
 * Ask for tunnel super-packets. The kernel has them only beside others. If it
 * refuses, the device is as before. Return: 0; -errno if the device cannot be
 * set back.
 */
static int negotiate_tunnels(struct tun *tun)
{
	const unsigned int others = TUN_TSO4 | TUN_TSO6 | TUN_USO;
	int err;

	if (!(tun->features & others))
		return 0;
	if (set_vnet(tun, sizeof(struct vnet_tunnel_hdr)) == 0 &&
	    try_offload(tun, tun->features | TUN_TUNNEL)) {
		tun->features |= TUN_TUNNEL;
		return 0;
	}
	err = set_vnet(tun, sizeof(struct vnet_hdr));
	if (err == 0)
		try_offload(tun, tun->features);
	return err;
}

/*
 * Before Linux 6.6.26, and in 6.7 and 6.8 before 6.8.5, the kernel takes a
 * merged datagram for a VXLAN or Geneve device for one packet, and drops the
 * rest of it. A version that cannot be read counts as faulty.
 */
static bool loses_merged_udp(const struct tun_sys *sys)
{
	struct utsname uts;
	struct kernel_version v;

	if (sys->uname(&uts) < 0 || !kernel_parse(&v, uts.release))
		return true;
	if (!kernel_is_before(&v, 6, 6, 26) && kernel_is_before(&v, 6, 7, 0))
		return false;
	return kernel_is_before(&v, 6, 8, 5);
}

/* Decide what to merge. */
static void set_kinds(struct tun *tun, const struct tun_config *config,
		      bool uso)
{
	unsigned int kinds = MERGE_ALL;

	if (!(tun->features & TUN_VNET))
		return;
	/* A kernel that hands out tunnel super-packets also takes them. */
	if (!(tun->features & TUN_TUNNEL))
		kinds &= ~MERGE_TUNNELS;
	/* A kernel without USO takes no merged UDP. */
	if (!uso || loses_merged_udp(tun->sys))
		kinds &= ~MERGE_UDP;
	atomic_init(&tun->kinds, kinds & ~config->kinds_off);
}

/* Set the MTU and the queue's length. The tunnel also works if neither can be
 * set, because netlink reports the MTU. gVisor cannot set an MTU (ENOTTY,
 * release of 2025-02). */
static void set_lengths(struct tun *tun, const struct tun_config *config)
{
	if (config->mtu)
		tun->mtu_err = tun_set_mtu(tun, config->mtu);
	/* A process without the right to set the MTU leaves it to the device's
	 * maker. This is no error. */
	if (tun->mtu_err == -EPERM)
		tun->mtu_err = 0;
	if (config->txqlen)
		set_txqlen(tun, config->txqlen);
}

/* The steps that a new device and one that was handed over share. */
static int set_up_device(struct tun *tun, const struct tun_config *config,
			 unsigned int flags)
{
	struct ifreq ifr = { 0 };
	unsigned int wanted;
	bool uso = false;
	int err;

	err = tun_get_name(tun, tun->name);
	if (err < 0)
		return err;
	if (flags & IFF_VNET_HDR) {
		wanted = (TUN_FEATURES & ~config->features_off) | TUN_VNET;
		err = set_vnet(tun, sizeof(struct vnet_hdr));
		if (err < 0)
			return err;
		uso = negotiate(tun, wanted & ~(unsigned int)TUN_TUNNEL);
		if (wanted & TUN_TUNNEL)
			err = negotiate_tunnels(tun);
		if (err < 0)
			return err;
	} else {
		/* Without the header we could not recognise a super-packet. */
		try_offload(tun, 0);
	}
	set_kinds(tun, config, uso);
	if (config->is_elsewhere)
		return 0;
	err = ask_interface(tun, SIOCGIFINDEX, &ifr);
	if (err == -ENODEV)
		return 0;
	if (err < 0)
		return err;
	tun->ifindex = (unsigned int)ifr.ifr_ifindex;
	set_lengths(tun, config);
	return 0;
}

/*
 * Have the kernel make no fe80:: address when the interface goes up. The
 * kernel's WireGuard has none either. No other node would know the address, and
 * the kernel would send router solicitations into the tunnel. If this fails
 * (there is no IPv6, or /proc is read-only), the address does no harm.
 */
static void forgo_link_local(const struct tun *tun)
{
	char path[64 + IFNAMSIZ];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/addr_gen_mode",
		 tun->name);
	file = fopen(path, "we");
	if (!file)
		return;
	/* IN6_ADDR_GEN_MODE_NONE (linux/if_link.h). */
	fputs("1", file);
	fclose(file);
}

static int attach(const struct tun *tun, const char *name, unsigned int flags)
{
	struct ifreq ifr = { .ifr_flags = (short)flags };

	memcpy(ifr.ifr_name, name, strlen(name));
	return tun->sys->ioctl(tun->fd, TUNSETIFF, &ifr) < 0 ? -errno : 0;
}

/*
 * Make a device, or attach to one that exists. Linux refuses IFF_MULTI_QUEUE by
 * EINVAL if the device exists and was made without it. gVisor refuses
 * IFF_VNET_HDR by EINVAL. So further tries leave these flags out of @flags. If
 * EINVAL has another reason, they fail, too.
 */
static int attach_first(const struct tun *tun, const char *name,
			unsigned int *flags)
{
	static const unsigned int spare[] = { IFF_MULTI_QUEUE, IFF_VNET_HDR };
	int err = attach(tun, name, *flags);

	for (size_t i = 0; err == -EINVAL && i < ARRAY_LEN(spare); i++) {
		if (!(*flags & spare[i]))
			continue;
		*flags &= ~spare[i];
		err = attach(tun, name, *flags);
	}
	return err;
}

int tun_open(struct tun *tun, const struct tun_sys *sys,
	     const struct tun_config *config)
{
	unsigned int flags = IFF_TUN | IFF_NO_PI;
	int err;

	if (strlen(config->name) >= IFNAMSIZ)
		return -ENAMETOOLONG;
	if (!(config->features_off & TUN_VNET))
		flags |= IFF_VNET_HDR;
	if (config->has_queues)
		flags |= IFF_MULTI_QUEUE;
	*tun = (struct tun){ .sys = sys };
	tun->fd = sys->open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (tun->fd < 0)
		return -errno;
	err = attach_first(tun, config->name, &flags);
	if (err < 0)
		goto err_close;
	tun->has_queues = flags & IFF_MULTI_QUEUE;
	err = set_up_device(tun, config, flags);
	/* We made the interface in this namespace, so it must be here. */
	if (err == 0 && !tun->ifindex)
		err = -ENODEV;
	if (err < 0)
		goto err_close;
	forgo_link_local(tun);
	return 0;

err_close:
	sys->close(tun->fd);
	return err;
}

/* Return: 0; -ENODEV if the queue belongs to another device; -errno. */
static int check_queue(const struct tun *queue, const struct tun *tun)
{
	struct ifreq ifr = { 0 };
	int err = ask_interface(queue, SIOCGIFINDEX, &ifr);

	if (err == 0 && (unsigned int)ifr.ifr_ifindex != tun->ifindex)
		err = -ENODEV;
	return err;
}

int tun_open_queue(struct tun *queue, const struct tun *tun)
{
	/* The kernel gives the whole device the flags of the last queue. */
	unsigned int flags = IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE;
	char name[IFNAMSIZ];
	int err;

	if (!tun->has_queues)
		return -EINVAL;
	if (tun->features & TUN_VNET)
		flags |= IFF_VNET_HDR;
	err = tun_get_name(tun, name);
	if (err < 0)
		return err;
	/* Nothing has been read or written yet, so all counters are 0. */
	*queue = *tun;
	memcpy(queue->name, name, sizeof(name));
	queue->fd = tun->sys->open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (queue->fd < 0)
		return -errno;
	err = attach(queue, name, flags);
	if (err == 0)
		err = check_queue(queue, tun);
	if (err < 0)
		tun->sys->close(queue->fd);
	return err;
}

int tun_open_fd(struct tun *tun, const struct tun_sys *sys,
		const struct tun_config *config, int fd)
{
	struct ifreq ifr = { 0 };
	unsigned int flags;
	int status;

	*tun = (struct tun){ .sys = sys, .fd = fd };
	if (sys->ioctl(fd, TUNGETIFF, &ifr) < 0)
		return -errno;
	flags = (unsigned short)ifr.ifr_flags;
	if (!(flags & IFF_TUN))
		return -EINVAL;
	status = sys->get_flags(fd);
	if (status < 0 || sys->set_flags(fd, status | O_NONBLOCK) < 0)
		return -errno;
	return set_up_device(tun, config, flags);
}

void tun_close(struct tun *tun)
{
	/* If this fails, the device is gone. */
	if (tun->features & TUN_VNET && !tun->is_lent) {
		try_offload(tun, 0);
		set_vnet(tun, sizeof(struct vnet_hdr));
	}
	tun->sys->close(tun->fd);
	tun->fd = -1;
}

static int count_drop(struct tun *tun, enum vnet_drop reason)
{
	counter_add_alone(&tun->drops[reason], 1);
	return TUN_E_DROP;
}

enum vnet_drop tun_parse_frame(const struct tun *tun, const uint8_t *pkt,
			       size_t len, struct vnet_frame *frame)
{
	const void *hdr = pkt - tun_hdr_len(tun);

	if (tun->features & TUN_TUNNEL)
		return vnet_parse_tunnel_frame(hdr, pkt, len, frame);
	return vnet_parse_frame(tun->features & TUN_VNET ? hdr : NULL, pkt, len,
				frame);
}

int tun_read(struct tun *tun, uint8_t *pkt, size_t cap,
	     struct vnet_frame *frame)
{
	size_t hdr_len = tun_hdr_len(tun);
	enum vnet_drop reason;
	ssize_t n;

	do {
		n = tun->sys->read(tun->fd, pkt - hdr_len, cap + hdr_len);
	} while (n < 0 && errno == EINTR);
	if (n < 0) {
		if (errno == EAGAIN)
			return TUN_E_AGAIN;
		if (errno == EBADFD)
			return TUN_E_GONE;
		return -errno;
	}
	if ((size_t)n < hdr_len)
		return count_drop(tun, VNET_DROP_SHORT);
	reason = tun_parse_frame(tun, pkt, (size_t)n - hdr_len, frame);
	return reason == VNET_OK ? 0 : count_drop(tun, reason);
}

static void count_taken(struct tun *tun, enum merge_kind kind)
{
	struct tun_trial *trial;

	if (kind == MERGE_NONE)
		return;
	trial = &tun->trials[kind];
	if (trial->refused && ++trial->taken == REFUSAL_FORGET)
		trial->refused = 0;
}

/* @had_true_offset: the item was told the true offset of its outer UDP header. */
static void count_refused(struct tun *tun, enum merge_kind kind,
			  bool had_true_offset)
{
	struct tun_trial *trial = &tun->trials[kind];
	bool has_true_offset =
		atomic_load_explicit(&tun->true_offsets, memory_order_relaxed) &
		MERGE_BIT(kind);

	counter_add_alone(&tun->refused, 1);
	/* The batch was begun before the offset was changed. */
	if (had_true_offset != has_true_offset)
		return;
	trial->taken = 0;
	if (++trial->refused < REFUSALS_MAX)
		return;
	/* Partner: tun_begin_merge(). */
	if (!kind_is_tunnel(kind) || has_true_offset) {
		atomic_fetch_and_explicit(&tun->kinds, ~MERGE_BIT(kind),
					  memory_order_relaxed);
		return;
	}
	atomic_fetch_or_explicit(&tun->true_offsets, MERGE_BIT(kind),
				 memory_order_relaxed);
	trial->refused = 0;
}

/* A write failed with @err. Return: 0 to go on with the next write, else as
 * tun_write(). */
static int handle_error(struct tun *tun, struct merge *m, int err)
{
	enum merge_kind kind;

	switch (err) {
	case EINTR:
		return 0;
	case EAGAIN:
		return TUN_E_AGAIN;
	case EBADFD:
		counter_add_alone(&tun->dropped, merge_discard(m));
		return TUN_E_GONE;
	case EIO:
		counter_add_alone(&tun->dropped, merge_discard(m));
		return TUN_E_DOWN;
	default:
		break;
	}
	/* This includes ENOMEM: there may be memory for small packets. */
	kind = merge_undo(m);
	if (kind == MERGE_NONE) {
		counter_add_alone(&tun->dropped, 1);
		merge_written(m);
	} else if (err == EINVAL) {
		count_refused(tun, kind, m->true_offsets & MERGE_BIT(kind));
	}
	return 0;
}

int tun_write(struct tun *tun, struct merge *m)
{
	const struct iovec *iov;
	unsigned int cnt;
	int ret;

	while ((cnt = merge_peek(m, &iov)) != 0) {
		if (tun->sys->writev(tun->fd, iov, (int)cnt) >= 0) {
			counter_add_alone(&tun->written, 1);
			count_taken(tun, merge_get_kind(m));
			merge_written(m);
			continue;
		}
		ret = handle_error(tun, m, errno);
		if (ret)
			return ret;
	}
	return 0;
}

bool tun_write_packet(const struct tun *tun, uint8_t *packet, size_t len)
{
	struct vnet_tunnel_hdr hdr = { 0 };
	struct iovec iov[2] = {
		{ .iov_base = &hdr, .iov_len = tun_hdr_len(tun) },
		{ .iov_base = packet, .iov_len = len },
	};

	return tun->sys->writev(tun->fd, iov, 2) >= 0;
}
