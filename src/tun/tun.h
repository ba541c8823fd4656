/* SPDX-License-Identifier: MIT */
/*
 * A TUN device: opening it, what it was found able to do, one frame in, a
 * batch out. A struct tun is used by one thread at a time, but that reading
 * and writing may go on at once in two threads: they share only what
 * tun_open() has set.
 */
#ifndef TUN_TUN_H
#define TUN_TUN_H

#include <net/if.h>

#include "tun/merge.h"
#include "tun/sys.h"
#include "tun/vnet.h"

enum {
	TUN_MTU_DEFAULT = 1420,
	/* Bytes in front of a packet that tun_read() uses. */
	TUN_HEADROOM = sizeof(struct vnet_hdr),
};

/* Conditions for the caller of tun_read() and tun_write(). */
enum {
	TUN_E_AGAIN = 1, /* nothing to read, or no room: wait in epoll */
	TUN_E_GONE,	 /* the device does not exist any more */
	TUN_E_DOWN,	 /* the interface is down; what was to be written is
			  * dropped */
	TUN_E_DROP,	 /* a bad frame was read and counted: read on */
};

/* What the device hands out and takes, beyond plain packets. */
enum tun_feature {
	TUN_VNET = 1 << 0, /* a virtio-net header on each packet */
	TUN_CSUM = 1 << 1, /* packets with a partial checksum */
	TUN_TSO4 = 1 << 2,
	TUN_TSO6 = 1 << 3,
	TUN_ECN = 1 << 4, /* TSO with CWR */
	TUN_USO = 1 << 5, /* IPv4 and IPv6: the kernel has one switch */
	TUN_FEATURES = (1 << 6) - 1,
};

/**
 * struct tun_config - how to open a device
 * @name:	interface name, may hold %d or be empty; unused for a given fd
 * @mtu:	MTU to set, 0 to leave it
 * @txqlen:	transmit queue length to set, 0 to leave it
 * @features_off: features not to ask for
 * @kinds_off:	kinds not to merge, a set of MERGE_BIT()
 */
struct tun_config {
	const char *name;
	unsigned int mtu;
	unsigned int txqlen;
	unsigned int features_off;
	unsigned int kinds_off;
};

/**
 * struct tun_trial - how merged writes of one kind fare
 * @refused:	how often the kernel said EINVAL
 * @taken:	how often it did not, since then
 */
struct tun_trial {
	unsigned int refused;
	unsigned int taken;
};

/**
 * struct tun - an open device
 * @sys:	[I] system calls
 * @fd:		[I] nonblocking; the caller's epoll watches it
 * @ifindex:	[I] interface index when opened, 0 if it is in a namespace that
 *		is not ours
 * @features:	[I] tun_feature set that the device has
 * @name:	[I] interface name when opened
 * @mtu_err:	[I] why the MTU could not be set; 0: it was set, or none was
 *		wanted
 * @kinds:	[w] what tun_write() can merge; a kind that the kernel keeps
 *		refusing leaves the set
 * @trials:	[w] by kind
 * @drops:	[r] bad frames read, by reason
 * @written:	[w] packets or super-packets written
 * @refused:	[w] merged writes refused and split
 * @dropped:	[w] packets lost: the interface was down, or the kernel refused
 *		a packet as it came, or had no memory
 *
 * [I] immutable after opening, [r] the reading thread, [w] the writing thread.
 */
struct tun {
	const struct tun_sys *sys;
	int fd;
	unsigned int ifindex;
	unsigned int features;
	char name[IFNAMSIZ];
	int mtu_err;
	unsigned int kinds;
	struct tun_trial trials[MERGE_KINDS];
	uint64_t drops[VNET_DROP_CNT];
	uint64_t written;
	uint64_t refused;
	uint64_t dropped;
};

/* tun_get_fd() - the descriptor, for epoll(7) only. Any thread. */
static inline int tun_get_fd(const struct tun *tun)
{
	return tun->fd;
}

/* tun_begin_merge() - empty a batch, for tun_write(). Writing thread only. */
static inline void tun_begin_merge(const struct tun *tun, struct merge *m)
{
	merge_reset(m, tun->kinds, tun->features & TUN_VNET);
}

/* See tun.c. */
int tun_open(struct tun *tun, const struct tun_sys *sys,
	     const struct tun_config *config);
int tun_open_fd(struct tun *tun, const struct tun_sys *sys,
		const struct tun_config *config, int fd);
void tun_close(struct tun *tun);
int tun_read(struct tun *tun, uint8_t *pkt, size_t cap,
	     struct vnet_frame *frame);
int tun_write(struct tun *tun, struct merge *m);
bool tun_write_packet(const struct tun *tun, uint8_t *packet, size_t len);
int tun_get_name(const struct tun *tun, char name[IFNAMSIZ]);
int tun_set_mtu(const struct tun *tun, unsigned int mtu);

#endif /* TUN_TUN_H */
