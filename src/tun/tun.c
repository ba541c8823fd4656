/* SPDX-License-Identifier: MIT */
/*
 * What this file knows of Linux (drivers/net/tun.c):
 *
 *  - TUNSETOFFLOAD refuses a set with a bit that the kernel does not know, so
 *    what there is can be found by asking for less and less. USO4 and USO6
 *    (Linux 6.2) are accepted together or not at all.
 *  - A read gives one frame and a write takes one; there are no short counts.
 *    A frame longer than the buffer would be cut without a word.
 *  - EBADFD: the device was deleted. EIO on writing: the interface is down.
 *    EINVAL on writing: a bad virtio-net header, or what the kernel takes for
 *    one (6.6.44 and 6.10 refused good ones for a while), or no IP packet.
 *    EAGAIN on writing: the send buffer is full, if TUNSETSNDBUF made it
 *    finite.
 *  - Device ioctls work on a socket of any family, so also where there is no
 *    IPv4.
 */
#include "tun/tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "base/kernel.h"

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#endif
#ifndef TUN_F_USO6
#define TUN_F_USO6 0x40
#endif

#define TUN_PATH "/dev/net/tun"

/*
 * A kind goes off at this many refusals, unless that many merged writes went
 * well since the last: one odd packet must not cost everybody merging.
 */
#define REFUSALS_MAX   2
#define REFUSAL_FORGET 1024

#define MERGE_UDP (MERGE_BIT(MERGE_UDP4) | MERGE_BIT(MERGE_UDP6))

/**
 * ask_interface() - an interface ioctl by name
 * @tun:	device
 * @request:	SIOC...
 * @ifr:	its argument; the name is filled in from the device
 *
 * Return: 0 or -errno.
 */
static int ask_interface(const struct tun *tun, unsigned long request,
			 struct ifreq *ifr)
{
	int fd, err = 0;

	err = tun_get_name(tun, ifr->ifr_name);
	if (err)
		return err;
	fd = tun->sys->socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (tun->sys->ioctl(fd, request, ifr) < 0)
		err = -errno;
	tun->sys->close(fd);
	return err;
}

/**
 * tun_get_name() - the interface's name now
 * @tun:	device
 * @name:	receives it; another than @tun->name after a rename
 *
 * Return: 0, or -errno: -EBADFD if the device is gone. Any thread.
 */
int tun_get_name(const struct tun *tun, char name[IFNAMSIZ])
{
	struct ifreq ifr = { 0 };

	if (tun->sys->ioctl(tun->fd, TUNGETIFF, &ifr) < 0)
		return -errno;
	memcpy(name, ifr.ifr_name, IFNAMSIZ);
	name[IFNAMSIZ - 1] = '\0';
	return 0;
}

/**
 * tun_set_mtu() - set the interface's MTU
 * @tun:	device, in the caller's network namespace
 * @mtu:	68 to 65535
 *
 * Return: 0, or -errno: -ENODEV if it is in another namespace, -EINVAL.
 */
int tun_set_mtu(const struct tun *tun, unsigned int mtu)
{
	struct ifreq ifr = { .ifr_mtu = (int)mtu };

	return ask_interface(tun, SIOCSIFMTU, &ifr);
}

/**
 * set_txqlen() - set the interface's transmit queue length
 * @tun:	device
 * @len:	packets
 *
 * Return: 0 or -errno.
 */
static int set_txqlen(const struct tun *tun, unsigned int len)
{
	struct ifreq ifr = { .ifr_qlen = (int)len };

	return ask_interface(tun, SIOCSIFTXQLEN, &ifr);
}

/**
 * offload_bits() - what to ask TUNSETOFFLOAD for
 * @features:	features wanted
 *
 * Return: TUN_F_ bits.
 */
static unsigned int offload_bits(unsigned int features)
{
	unsigned int bits = 0;

	/* Everything rests on partial checksums. */
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
	return bits;
}

/**
 * try_offload() - ask for a set of features
 * @tun:	device
 * @features:	features wanted
 *
 * Return: true if the kernel has them.
 */
static bool try_offload(const struct tun *tun, unsigned int features)
{
	unsigned long bits = offload_bits(features);

	/* The argument is the number itself. */
	return tun->sys->ioctl(tun->fd, TUNSETOFFLOAD,
			       (void *)(uintptr_t)bits) == 0;
}

/**
 * negotiate() - find what the device can do
 * @tun:	device; receives features
 * @wanted:	features wanted, with TUN_VNET
 *
 * Return: true if it knows USO, wanted or not.
 */
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

/**
 * loses_merged_udp() - whether this kernel loses merged datagrams
 * @sys:	system calls
 *
 * Until Linux 6.8.5 (and 6.6.26) a merged datagram for a VXLAN or Geneve
 * device was taken for one packet, and the rest of it dropped.
 *
 * Return: true if so, or if the version cannot be read.
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

/**
 * set_kinds() - decide what to merge
 * @tun:	device with features
 * @config:	what the user wants
 * @uso:	the kernel knows USO
 */
static void set_kinds(struct tun *tun, const struct tun_config *config,
		      bool uso)
{
	if (!(tun->features & TUN_VNET))
		return;
	tun->kinds = MERGE_ALL;
	/* What it would not hand out it cannot take either. */
	if (!uso || loses_merged_udp(tun->sys))
		tun->kinds &= ~MERGE_UDP;
	tun->kinds &= ~config->kinds_off;
}

/**
 * set_vnet() - have a virtio-net header of the length that is used here
 * @tun:	device with IFF_VNET_HDR
 *
 * Return: 0 or -errno.
 */
static int set_vnet(const struct tun *tun)
{
	int len = sizeof(struct vnet_hdr);

	if (tun->sys->ioctl(tun->fd, TUNSETVNETHDRSZ, &len) < 0)
		return -errno;
	return 0;
}

/**
 * set_lengths() - set the MTU and the length of the queue
 * @tun:	device in the caller's network namespace; receives mtu_err
 * @config:	configuration
 *
 * The tunnel works without both: netlink tells the MTU that the interface has.
 * gVisor cannot set an MTU (ENOTTY, release of 2025-02).
 */
static void set_lengths(struct tun *tun, const struct tun_config *config)
{
	if (config->mtu)
		tun->mtu_err = tun_set_mtu(tun, config->mtu);
	/* A device that was handed over: they are for its maker to set. */
	if (tun->mtu_err == -EPERM)
		tun->mtu_err = 0;
	if (config->txqlen)
		set_txqlen(tun, config->txqlen);
}

/**
 * set_up_device() - all that a fresh or a given device needs
 * @tun:	device with fd
 * @config:	configuration
 * @flags:	IFF_ flags of the device
 *
 * Return: 0 or -errno.
 */
static int set_up_device(struct tun *tun, const struct tun_config *config,
			 unsigned int flags)
{
	struct ifreq ifr = { 0 };
	bool uso = false;
	int err;

	err = tun_get_name(tun, tun->name);
	if (err)
		return err;
	if (flags & IFF_VNET_HDR) {
		err = set_vnet(tun);
		if (err)
			return err;
		uso = negotiate(tun, (TUN_FEATURES & ~config->features_off) |
					     TUN_VNET);
	} else {
		/* Without the header a super-packet could not be told. */
		try_offload(tun, 0);
	}
	set_kinds(tun, config, uso);
	err = ask_interface(tun, SIOCGIFINDEX, &ifr);
	if (err == -ENODEV)
		return 0;
	if (err)
		return err;
	tun->ifindex = (unsigned int)ifr.ifr_ifindex;
	set_lengths(tun, config);
	return 0;
}

/**
 * forgo_link_local() - have no fe80:: address made when the interface goes up
 * @tun:	new device
 *
 * As with the kernel's WireGuard: nobody on the link would know the address,
 * and router solicitations would go into the tunnel. Where it cannot be set (no
 * IPv6, /proc read-only) the address is a blemish, not an error.
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

/**
 * attach() - attach a descriptor of /dev/net/tun to an interface
 * @tun:	device with fd
 * @name:	of the interface
 * @flags:	IFF_ flags wanted; receives those that it was made with
 *
 * gVisor refuses IFF_VNET_HDR by EINVAL. Linux returns EINVAL for other
 * reasons, such as a name that is taken, and returns it again without the flag.
 * So a second try leaves out the flag.
 *
 * Return: 0 or -errno.
 */
static int attach(const struct tun *tun, const char *name, unsigned int *flags)
{
	struct ifreq ifr = { .ifr_flags = (short)*flags };
	int err;

	memcpy(ifr.ifr_name, name, strlen(name));
	if (tun->sys->ioctl(tun->fd, TUNSETIFF, &ifr) == 0)
		return 0;
	err = -errno;
	if (err != -EINVAL || !(*flags & IFF_VNET_HDR))
		return err;
	*flags &= ~(unsigned int)IFF_VNET_HDR;
	ifr.ifr_flags = (short)*flags;
	return tun->sys->ioctl(tun->fd, TUNSETIFF, &ifr) < 0 ? -errno : 0;
}

/**
 * tun_open() - create a TUN device, or attach to a persistent one
 * @tun:	set up here; to be closed by tun_close() only on success
 * @sys:	system calls, borrowed until closed
 * @config:	how; borrowed for the call
 *
 * Needs CAP_NET_ADMIN. The interface is left down.
 *
 * Return: 0, or -errno: -ENAMETOOLONG for the name; -ENOENT if there is no
 * /dev/net/tun; -EBUSY if the name is taken by an interface in use, -EINVAL if
 * by one that is no TUN.
 */
int tun_open(struct tun *tun, const struct tun_sys *sys,
	     const struct tun_config *config)
{
	unsigned int flags = IFF_TUN | IFF_NO_PI;
	int err;

	if (strlen(config->name) >= IFNAMSIZ)
		return -ENAMETOOLONG;
	if (!(config->features_off & TUN_VNET))
		flags |= IFF_VNET_HDR;
	*tun = (struct tun){ .sys = sys };
	tun->fd = sys->open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (tun->fd < 0)
		return -errno;
	err = attach(tun, config->name, &flags);
	if (err)
		goto err_close;
	err = set_up_device(tun, config, flags);
	/* It was made here, so it must be here. */
	if (!err && !tun->ifindex)
		err = -ENODEV;
	if (err)
		goto err_close;
	forgo_link_local(tun);
	return 0;

err_close:
	sys->close(tun->fd);
	return err;
}

/**
 * tun_open_fd() - use a TUN device that someone else opened
 * @tun:	set up here; to be closed by tun_close() only on success
 * @sys:	system calls, borrowed until closed
 * @config:	how; borrowed for the call
 * @fd:		the device, ours on success, else still the caller's
 *
 * With or without a virtio-net header, as it is; made nonblocking. That it has
 * no packet information is for the one who opened it to see to: TUNGETIFF says
 * IFF_NO_PI in any case (seen on Linux 6.18). If it has, all that is read drops
 * as VNET_DROP_VERSION.
 *
 * Return: 0, or -errno: -EBADFD if @fd has no device, -ENOTTY if it is
 * something else, -EINVAL for a TAP.
 */
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

/**
 * tun_close() - close a device; it vanishes unless it is persistent
 * @tun:	open device that no thread uses any more
 */
void tun_close(struct tun *tun)
{
	tun->sys->close(tun->fd);
	tun->fd = -1;
}

/**
 * count_drop() - count a bad frame
 * @tun:	device
 * @reason:	why
 *
 * Return: TUN_E_DROP.
 */
static int count_drop(struct tun *tun, enum vnet_drop reason)
{
	tun->drops[reason]++;
	return TUN_E_DROP;
}

/**
 * tun_read() - read a packet or super-packet
 * @tun:	device
 * @pkt:	receives the packet; TUN_HEADROOM bytes in front are used too
 * @cap:	bytes at @pkt; IPV6_PACKET_MAX holds whatever there is
 * @frame:	receives the packet's description
 *
 * Return: 0; TUN_E_AGAIN, TUN_E_GONE, TUN_E_DROP; -errno for what is not known
 * to happen. Reading thread only.
 */
int tun_read(struct tun *tun, uint8_t *pkt, size_t cap,
	     struct vnet_frame *frame)
{
	size_t hdr_len = tun->features & TUN_VNET ? sizeof(struct vnet_hdr) : 0;
	struct vnet_hdr *hdr = (void *)(pkt - hdr_len);
	enum vnet_drop reason;
	ssize_t n;

	do {
		n = tun->sys->read(tun->fd, hdr, cap + hdr_len);
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
	reason = vnet_parse_frame(hdr_len ? hdr : NULL, pkt,
				  (size_t)n - hdr_len, frame);
	return reason == VNET_OK ? 0 : count_drop(tun, reason);
}

/**
 * count_taken() - note that the kernel took a merged write
 * @tun:	device
 * @kind:	kind of what was written
 */
static void count_taken(struct tun *tun, enum merge_kind kind)
{
	struct tun_trial *trial;

	if (kind == MERGE_NONE)
		return;
	trial = &tun->trials[kind];
	if (trial->refused && ++trial->taken == REFUSAL_FORGET)
		trial->refused = 0;
}

/**
 * count_refused() - note that the kernel refused a merged write
 * @tun:	device
 * @kind:	kind of what was written
 */
static void count_refused(struct tun *tun, enum merge_kind kind)
{
	struct tun_trial *trial = &tun->trials[kind];

	tun->refused++;
	trial->taken = 0;
	if (++trial->refused == REFUSALS_MAX)
		tun->kinds &= ~MERGE_BIT(kind);
}

/**
 * handle_error() - what to do about a write that failed
 * @tun:	device
 * @m:		batch; its pending write failed
 * @err:	errno
 *
 * Return: 0 to go on with the next write, else as tun_write().
 */
static int handle_error(struct tun *tun, struct merge *m, int err)
{
	enum merge_kind kind;

	switch (err) {
	case EINTR:
		return 0;
	case EAGAIN:
		return TUN_E_AGAIN;
	case EBADFD:
		tun->dropped += merge_discard(m);
		return TUN_E_GONE;
	case EIO:
		tun->dropped += merge_discard(m);
		return TUN_E_DOWN;
	default:
		break;
	}
	/* Also for want of memory: small packets may find some. */
	kind = merge_undo(m);
	if (kind == MERGE_NONE) {
		tun->dropped++;
		merge_written(m);
	} else if (err == EINVAL) {
		count_refused(tun, kind);
	}
	return 0;
}

/**
 * tun_write() - write a batch
 * @tun:	device
 * @m:		batch that tun_begin_merge() has emptied before it was filled; on
 *		TUN_E_AGAIN it keeps what is not written, for another call, else
 *		nothing is left in it
 *
 * A merged write that the kernel refuses is done again packet by packet, as
 * they came; nothing is lost. A kind that it refuses again goes out of
 * @tun->kinds, which the caller may want to log.
 *
 * Return: 0; TUN_E_AGAIN, TUN_E_GONE, TUN_E_DOWN. Writing thread only.
 */
int tun_write(struct tun *tun, struct merge *m)
{
	const struct iovec *iov;
	unsigned int cnt;
	int ret;

	while ((cnt = merge_peek(m, &iov)) != 0) {
		if (tun->sys->writev(tun->fd, iov, (int)cnt) >= 0) {
			tun->written++;
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

/**
 * tun_write_packet() - write one packet that is in no batch
 * @tun:	device
 * @packet:	IP packet with correct checksums
 * @len:	its length
 *
 * Any thread, also beside the writing thread: nothing of @tun changes.
 *
 * Return: true if the kernel took it. If not, it is lost.
 */
bool tun_write_packet(const struct tun *tun, uint8_t *packet, size_t len)
{
	struct vnet_hdr hdr = { 0 };
	bool vnet = tun->features & TUN_VNET;
	struct iovec iov[2] = {
		{ .iov_base = &hdr, .iov_len = vnet ? sizeof(hdr) : 0 },
		{ .iov_base = packet, .iov_len = len },
	};

	return tun->sys->writev(tun->fd, iov, 2) >= 0;
}
