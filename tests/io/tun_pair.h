/* SPDX-License-Identifier: MIT */
/*
 * Two TUN devices in two namespaces and a pump between them, which reads, cuts,
 * merges and writes as a tunnel does, but without messages in between. Each
 * program that includes this header has its own copy, and runs it in one
 * thread.
 */
#ifndef TESTS_IO_TUN_PAIR_H
#define TESTS_IO_TUN_PAIR_H

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/check.h"
#include "tests/lib/netns.h"
#include "tun/segment.h"
#include "tun/tun.h"

enum {
	/* Room for many super-packets. Choices. */
	SLAB_CAP = 4 << 20,
	SEGS_CAP = 2048,
	/* The header of a data message. */
	HEADROOM = 16,
	/* The MTU of wiregather's interface. */
	PAIR_MTU = 1420,
	/* TUN_F_CSUM, TUN_F_USO4, TUN_F_USO6; older headers lack the last two. */
	OFFLOADS_WITH_USO = 0x01 | 0x20 | 0x40,
	/* The same, TUN_F_UDP_TUNNEL_GSO and TUN_F_UDP_TUNNEL_GSO_CSUM. */
	OFFLOADS_WITH_TUNNELS = OFFLOADS_WITH_USO | 0x80 | 0x100,
	MERGE_TCP = MERGE_BIT(MERGE_TCP4) | MERGE_BIT(MERGE_TCP6),
};

/* One end, with its counters. */
struct end {
	struct tun tun;
	int ns;
	unsigned int supers;  /* super-packets read */
	unsigned int tunnels; /* those of them that are in a tunnel */
	unsigned int packets; /* packets cut from what was read */
};

static struct end ends[2];
static int home; /* the namespace without a device */
static struct merge *pair_batch;
static uint8_t *pair_slab, *pair_frame;
static struct segment pair_segs[SEGS_CAP];

/**
 * kernel_has_uso() - whether TUN devices of this kernel segment UDP (Linux 6.2)
 *
 * Asks a device of its own, by plain system calls.
 */
static inline bool kernel_has_uso(void)
{
	struct ifreq ifr = { .ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC), err = 0;

	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	if (ioctl(fd, TUNSETOFFLOAD, (unsigned long)OFFLOADS_WITH_USO))
		err = errno;
	assert_true(!err || err == EINVAL);
	close(fd);
	if (err)
		printf("# DIFFERS: TUN has no UDP segmentation; UDP goes "
		       "packet by packet\n");
	return !err;
}

/**
 * kernel_has_tunnels() - whether TUN devices of this kernel have tunnel
 *			  super-packets (Linux 6.17)
 *
 * Asks a device of its own, by plain system calls.
 */
static inline bool kernel_has_tunnels(void)
{
	struct ifreq ifr = { .ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR };
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC), err = 0, len = 24;

	assert_true(fd >= 0);
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	assert_int_equal(ioctl(fd, TUNSETVNETHDRSZ, &len), 0);
	if (ioctl(fd, TUNSETOFFLOAD, (unsigned long)OFFLOADS_WITH_TUNNELS))
		err = errno;
	assert_true(!err || err == EINVAL);
	close(fd);
	if (err)
		printf("# DIFFERS: TUN has no tunnel super-packets; what is in "
		       "a tunnel goes packet by packet\n");
	return !err;
}

/**
 * kernel_kinds() - the kinds of packets that are to be merged on this kernel
 */
static inline unsigned int kernel_kinds(void)
{
	if (!kernel_has_uso())
		return MERGE_TCP;
	return kernel_has_tunnels() ? MERGE_ALL : MERGE_PLAIN;
}

/**
 * pair_alloc() - memory for reading, cutting and merging
 *
 * Return: 0; -1 if it is short.
 */
static inline int pair_alloc(void)
{
	pair_batch = calloc(1, sizeof(*pair_batch));
	pair_slab = malloc(SLAB_CAP);
	pair_frame = malloc(TUN_HEADROOM + IPV6_PACKET_MAX);
	if (!pair_batch || !pair_slab || !pair_frame)
		return -1;
	merge_init(pair_batch);
	return 0;
}

/**
 * pair_release() - give that memory back
 */
static inline void pair_release(void)
{
	free(pair_batch);
	free(pair_slab);
	free(pair_frame);
}

/**
 * pair_make() - group setup: memory and namespaces
 * @state:	unused
 */
static inline int pair_make(void **state)
{
	(void)state;
	if (pair_alloc())
		return -1;
	home = netns_new();
	ends[0].ns = netns_new();
	ends[1].ns = netns_new();
	return home < 0 || ends[0].ns < 0 || ends[1].ns < 0;
}

/**
 * pair_free() - group teardown
 * @state:	unused
 */
static inline int pair_free(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++)
		close(ends[i].ns);
	close(home);
	pair_release();
	return 0;
}

/* Reports a kernel without the bugs for which wiregather merges less. */
static inline int pair_uname(struct utsname *out)
{
	*out = (struct utsname){ .release = "99.0.0" };
	return 0;
}

/* pair_sys() - system calls, with a kernel version for which all is merged */
static inline const struct tun_sys *pair_sys(void)
{
	static struct tun_sys sys;

	sys = tun_sys_linux;
	sys.uname = pair_uname;
	return &sys;
}

/**
 * pair_open() - make both devices
 * @sys:	system calls
 * @config:	how
 *
 * 10.77.0.1 and fd77::1 are in the first namespace, .2 and ::2 in the other.
 */
static inline void pair_open(const struct tun_sys *sys,
			     const struct tun_config *config)
{
	char prefix[32];

	for (int i = 0; i < 2; i++) {
		struct end *e = &ends[i];

		e->supers = 0;
		e->tunnels = 0;
		e->packets = 0;
		assert_int_equal(netns_enter(e->ns), 0);
		assert_int_equal(tun_open(&e->tun, sys, config), 0);
		assert_int_equal(netns_ip("link set %s up", e->tun.name), 0);
		snprintf(prefix, sizeof(prefix), "10.77.0.%d/24", i + 1);
		assert_int_equal(netns_add_address(e->tun.name, prefix), 0);
		snprintf(prefix, sizeof(prefix), "fd77::%d/64", i + 1);
		assert_int_equal(netns_add_address(e->tun.name, prefix), 0);
	}
	assert_int_equal(netns_enter(home), 0);
}

/**
 * pair_close() - remove both devices
 */
static inline void pair_close(void)
{
	tun_close(&ends[0].tun);
	tun_close(&ends[1].tun);
}

/**
 * pair_deliver() - merge what the slab has and write it
 * @to:		end
 * @slab:	slab, emptied
 */
static inline void pair_deliver(struct end *to, struct segment_slab *slab)
{
	unsigned int i = 0;
	int ret;

	while (i < slab->segs_cnt) {
		tun_begin_merge(&to->tun, pair_batch);
		while (i < slab->segs_cnt &&
		       merge_add(pair_batch, slab->segs[i].data,
				 slab->segs[i].len) == 0)
			i++;
		do {
			ret = tun_write(&to->tun, pair_batch);
		} while (ret == TUN_E_AGAIN);
		assert_int_equal(ret, 0);
	}
	slab->segs_cnt = 0;
	slab->used = 0;
}

/**
 * pair_pump() - carry waiting packets from one end to the other
 * @from:	end
 * @to:		end
 *
 * Return: true if there were any.
 */
static inline bool pair_pump(struct end *from, struct end *to)
{
	struct segment_slab slab = { .base = pair_slab,
				     .cap = SLAB_CAP,
				     .headroom = HEADROOM,
				     .tailroom = 31,
				     .segs = pair_segs,
				     .segs_cap = SEGS_CAP };
	uint8_t *pkt = pair_frame + TUN_HEADROOM;
	bool any = false;

	for (int i = 0; i < 16; i++) {
		struct segment_cursor cur;
		struct vnet_frame frame;
		int ret = tun_read(&from->tun, pkt, IPV6_PACKET_MAX, &frame);

		if (ret == TUN_E_AGAIN)
			break;
		any = true;
		if (ret == TUN_E_DROP)
			continue;
		assert_int_equal(ret, 0);
		from->supers += frame.gso_size != 0;
		from->tunnels += frame.outer_l4_off != 0;
		segment_begin(&cur, pkt, &frame);
		while (!cur.done) {
			from->packets += segment_cut(&cur, &slab);
			if (!cur.done)
				pair_deliver(to, &slab);
		}
	}
	pair_deliver(to, &slab);
	return any;
}

/**
 * pair_run() - pump both ways, wait a little if there is nothing
 */
static inline void pair_run(void)
{
	struct pollfd fds[2] = { { .fd = ends[0].tun.fd, .events = POLLIN },
				 { .fd = ends[1].tun.fd, .events = POLLIN } };
	bool any = pair_pump(&ends[0], &ends[1]);

	any |= pair_pump(&ends[1], &ends[0]);
	if (!any)
		poll(fds, 2, 1);
}

/**
 * pair_settle() - pump until nothing comes for some rounds
 */
static inline void pair_settle(void)
{
	int quiet = 0;

	while (quiet < 5) {
		bool any = pair_pump(&ends[0], &ends[1]);

		any |= pair_pump(&ends[1], &ends[0]);
		quiet = any ? 0 : quiet + 1;
	}
}

/**
 * seconds_now() - a clock for deadlines
 */
static inline double seconds_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

#endif /* TESTS_IO_TUN_PAIR_H */
