/* SPDX-License-Identifier: MIT */
/*
 * A TUN device: opening it, finding its features, reading a frame, writing a
 * batch. One thread may read while another one writes; they share only members
 * that do not change after opening. A device may have several queues; each is
 * read and written on its own.
 */
#ifndef TUN_TUN_H
#define TUN_TUN_H

#include <net/if.h>
#include <stdatomic.h>

#include "tun/merge.h"
#include "tun/sys.h"
#include "tun/vnet.h"

enum {
	/* An Ethernet's 1500, less 80 for IPv6, UDP and WireGuard. */
	TUN_MTU_DEFAULT = 1420,
	/* Bytes in front of a packet that tun_read() uses. */
	TUN_HEADROOM = sizeof(struct vnet_tunnel_hdr),
};

/* Conditions for the caller of tun_read() and tun_write(). */
enum {
	TUN_E_AGAIN = 1, /* nothing to read, or no room to write: wait */
	TUN_E_GONE,	 /* the device does not exist any more */
	TUN_E_DOWN,	 /* the interface is down; the batch was dropped */
	TUN_E_DROP,	 /* a bad frame was read and counted: read on */
};

/* What the device hands out and takes, beside plain packets. */
enum tun_feature {
	TUN_VNET = 1 << 0, /* a virtio-net header on each packet */
	TUN_CSUM = 1 << 1, /* packets with a partial checksum */
	TUN_TSO4 = 1 << 2,
	TUN_TSO6 = 1 << 3,
	TUN_ECN = 1 << 4, /* TSO with CWR */
	TUN_USO = 1 << 5, /* IPv4 and IPv6: the kernel has one switch */
	/* Tunnel super-packets, with the longer virtio-net header. */
	TUN_TUNNEL = 1 << 6,
	TUN_FEATURES = (1 << 7) - 1,
};

/**
 * struct tun_config - how to open a device
 * @name:	interface name, which may contain %d or be empty; tun_open_fd()
 *		does not use it
 * @mtu:	MTU to set, 0 to leave it
 * @txqlen:	transmit queue length to set, 0 to leave it
 * @features_off: features not to ask for
 * @kinds_off:	kinds not to merge, a set of MERGE_BIT()
 * @has_queues:	further queues are wanted: see tun_open_queue(). tun_open_fd()
 *		does not use it.
 * @is_elsewhere: for tun_open_fd(): the device is in another network namespace
 *		than the process. An interface of the same name here is another
 *		one, and is left alone.
 */
struct tun_config {
	const char *name;
	unsigned int mtu;
	unsigned int txqlen;
	unsigned int features_off;
	unsigned int kinds_off;
	bool has_queues;
	bool is_elsewhere;
};

/**
 * struct tun_trial - how the kernel took merged writes of one kind
 * @refused:	how often the kernel said EINVAL
 * @taken:	merged writes that it took since the last EINVAL
 */
struct tun_trial {
	unsigned int refused;
	unsigned int taken;
};

/**
 * struct tun - an open device
 * @sys:	[I] system calls
 * @fd:		[I] nonblocking; the caller's epoll watches it
 * @ifindex:	[I] interface index when opened; 0 if the interface was in
 *		another namespace
 * @features:	[I] the features of the device, a set of enum tun_feature
 * @has_queues:	[I] the device may have further queues (IFF_MULTI_QUEUE)
 * @is_lent:	[I] another process has the device, too, and sets it back at the end;
 *		see tun_lend()
 * @name:	[I] interface name when opened
 * @mtu_err:	[I] the -errno of setting the MTU; 0 if it was set, or if no MTU
 *		was asked for
 * @kinds:	[a] kinds that tun_write() merges, a set of MERGE_BIT(); a kind
 *		that the kernel refused twice leaves the set
 * @trials:	[w] how the kernel took each kind
 * @true_offsets: [a] kinds of tunnels for which the kernel refused another
 *		offset of the outer UDP header than the true one (merge.c)
 * @overlays:	[b] the ports of the kernel's tunnel devices
 * @drops:	[r] bad frames read, by reason
 * @written:	[w] packets or super-packets written
 * @refused:	[w] merged writes refused and split
 * @dropped:	[w] packets lost, because the interface was down or gone, or the
 *		kernel refused a packet as it came, or had no memory
 *
 * [I] immutable after opening, [r] the reading thread, [w] the writing thread, [a]
 * atomic: changed by the writing thread, [b] tun_begin_merge() and
 * tun_set_overlays(), of which one thread at a time may call one. The counters are
 * atomic, so that any thread reads them.
 */
struct tun {
	const struct tun_sys *sys;
	int fd;
	unsigned int ifindex;
	unsigned int features;
	bool has_queues;
	bool is_lent;
	char name[IFNAMSIZ];
	int mtu_err;
	_Atomic unsigned int kinds;
	struct tun_trial trials[MERGE_KINDS];
	_Atomic unsigned int true_offsets;
	struct overlays overlays;
	_Atomic uint64_t drops[VNET_DROP_CNT];
	_Atomic uint64_t written;
	_Atomic uint64_t refused;
	_Atomic uint64_t dropped;
};

/* tun_lend() - another process has the device now, too: tun_close() will close our
 * descriptor only. No thread uses the device. */
static inline void tun_lend(struct tun *tun)
{
	tun->is_lent = true;
}

/* tun_get_fd() - the descriptor, for epoll(7) only. Any thread. */
static inline int tun_get_fd(const struct tun *tun)
{
	return tun->fd;
}

/* tun_hdr_len() - length of the device's virtio-net header, 0 if it has none. Any
 * thread. */
static inline size_t tun_hdr_len(const struct tun *tun)
{
	if (!(tun->features & TUN_VNET))
		return 0;
	return tun->features & TUN_TUNNEL ? sizeof(struct vnet_tunnel_hdr)
					  : sizeof(struct vnet_hdr);
}

/* tun_begin_merge() - empty a batch, for tun_write(). Any thread, also beside the
 * writing thread, but none beside tun_set_overlays(). */
static inline void tun_begin_merge(const struct tun *tun, struct merge *m)
{
	/* Partner: count_refused() of tun.c. A batch that is begun with values that
	 * are out of date is refused once more. */
	merge_reset(m, atomic_load_explicit(&tun->kinds, memory_order_relaxed),
		    tun_hdr_len(tun));
	merge_set_overlays(
		m, &tun->overlays,
		atomic_load_explicit(&tun->true_offsets, memory_order_relaxed));
}

/**
 * tun_set_overlays() - name the ports of the kernel's tunnel devices
 * @tun:	device
 * @overlays:	the ports, in the namespace of the interface; copied
 *
 * Until the first call no ports are known. Any thread, but none beside another call,
 * or beside tun_begin_merge().
 */
static inline void tun_set_overlays(struct tun *tun,
				    const struct overlays *overlays)
{
	tun->overlays = *overlays;
}

/**
 * tun_open() - create a TUN device, or attach to a persistent one
 * @tun:	set up on success; tun_close() it then
 * @sys:	system calls, borrowed until closed
 * @config:	configuration, borrowed for the call
 *
 * Needs CAP_NET_ADMIN. The interface is left down. If further queues are wanted,
 * but the device exists and cannot have any, it is opened with one.
 *
 * Return: 0; -ENAMETOOLONG; -ENOENT if there is no /dev/net/tun; -EBUSY if a TUN
 * in use has the name; -EINVAL if another interface has it; another -errno.
 */
int tun_open(struct tun *tun, const struct tun_sys *sys,
	     const struct tun_config *config);

/**
 * tun_open_fd() - use a TUN device that someone else opened
 * @tun:	set up on success; tun_close() it then
 * @sys:	system calls, borrowed until closed
 * @config:	configuration, borrowed for the call
 * @fd:		the device; consumed on success, else still the caller's
 *
 * The device may have a virtio-net header or not. It becomes nonblocking. It
 * must not have packet information, which cannot be checked here: TUNGETIFF
 * always reports IFF_NO_PI (seen on Linux 6.18). With packet information every
 * frame is dropped as VNET_DROP_VERSION.
 *
 * Return: 0; -EBADFD if @fd is attached to no device; -ENOTTY if @fd is no TUN;
 * -EINVAL for a TAP; another -errno.
 */
int tun_open_fd(struct tun *tun, const struct tun_sys *sys,
		const struct tun_config *config, int fd);

/**
 * tun_open_queue() - open a further queue of a device
 * @queue:	set up on success; tun_close() it then
 * @tun:	device of tun_open(), in the caller's network namespace, not used
 *		yet
 *
 * A queue is a struct tun of its own: packets are read from it and written to
 * it as with the device itself. The kernel hands out each packet by one of the
 * queues. If the device was renamed or moved meanwhile, the kernel would make a
 * new device; then that one is closed again.
 *
 * Return: 0; -EINVAL if the device cannot have further queues; -ENODEV if it is
 * not in this namespace any more; another -errno.
 */
int tun_open_queue(struct tun *queue, const struct tun *tun);

/**
 * tun_close() - close a device; the interface vanishes unless it is persistent
 * @tun:	open device that no thread uses any more
 *
 * A device that stays, and is not lent, gets the virtio-net header of 10 bytes and no offloads, as
 * a new one has them: its next user may not set them.
 */
void tun_close(struct tun *tun);

/**
 * tun_read() - read a packet or super-packet
 * @tun:	device
 * @pkt:	filled; TUN_HEADROOM bytes in front of it are used, too
 * @cap:	bytes at @pkt; IPV6_PACKET_MAX is enough for every packet
 * @frame:	filled with the packet's description
 *
 * Reading thread only.
 *
 * Return: 0; TUN_E_AGAIN, TUN_E_GONE, TUN_E_DROP; -errno for an error that read(2)
 * is not known to give here.
 */
int tun_read(struct tun *tun, uint8_t *pkt, size_t cap,
	     struct vnet_frame *frame);

/**
 * tun_parse_frame() - check a frame that tun_read() has read before
 * @tun:	device
 * @pkt:	the packet, with the TUN_HEADROOM bytes in front of it as they
 *		were
 * @len:	length of the packet, may be 0
 * @frame:	filled for VNET_OK only
 *
 * Any thread.
 *
 * Return: VNET_OK, or the reason to drop the frame.
 */
enum vnet_drop tun_parse_frame(const struct tun *tun, const uint8_t *pkt,
			       size_t len, struct vnet_frame *frame);

/**
 * tun_write() - write a batch
 * @tun:	device
 * @m:		batch that tun_begin_merge() began. On TUN_E_AGAIN it keeps the
 *		packets that are not written, for another call; else it is empty
 *		afterwards.
 *
 * If the kernel refuses a merged write, the packets are written one by one, as
 * they came, so no packet is lost. If the kernel refuses the kind a second
 * time, the kind leaves @tun->kinds, which the caller may log. A kind of a tunnel
 * first goes to @tun->true_offsets, and leaves after two more refusals. Only batches
 * that were begun after that count for these. Writing thread only.
 *
 * Return: 0; TUN_E_AGAIN, TUN_E_GONE, TUN_E_DOWN.
 */
int tun_write(struct tun *tun, struct merge *m);

/**
 * tun_write_packet() - write one packet that is in no batch
 * @tun:	device
 * @packet:	IP packet with correct checksums
 * @len:	its length
 *
 * Any thread, also beside the writing thread: nothing of @tun changes.
 *
 * Return: true if the kernel took the packet. If not, the packet is lost.
 */
bool tun_write_packet(const struct tun *tun, uint8_t *packet, size_t len);

/**
 * tun_get_name() - the interface's name now
 * @tun:	device
 * @name:	filled on success; it differs from @tun->name after a rename
 *
 * Any thread.
 *
 * Return: 0; -EBADFD if the device is gone; another -errno.
 */
int tun_get_name(const struct tun *tun, char name[IFNAMSIZ]);

/**
 * tun_set_mtu() - set the interface's MTU
 * @tun:	device, in the caller's network namespace
 * @mtu:	68 to 65535
 *
 * Any thread.
 *
 * Return: 0; -ENODEV if the interface is in another namespace; -EINVAL; another
 * -errno.
 */
int tun_set_mtu(const struct tun *tun, unsigned int mtu);

#endif /* TUN_TUN_H */
