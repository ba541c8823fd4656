/* SPDX-License-Identifier: MIT */
/* TUN devices, opened by plain system calls. */
#ifndef TESTS_PLATFORM_TUN_H
#define TESTS_PLATFORM_TUN_H

/* Checksums, TCP and UDP segments; <linux/if_tun.h> may be older than USO. */
enum {
	TUN_OFFLOADS = 0x01 | 0x02 | 0x04,
	TUN_OFFLOADS_USO = TUN_OFFLOADS | 0x20 | 0x40,
};

/* tun_require() - end the program as skipped if TUN devices are missing. */
void tun_require(void);

/**
 * tun_open() - make a TUN device in the current namespace
 * @name:	its name
 * @offloads:	for TUNSETOFFLOAD
 *
 * The descriptor does not block, carries no packet information, and a
 * virtio_net_hdr of 10 bytes before each packet. The device goes with it.
 *
 * Return: the descriptor; -errno.
 */
int tun_open(const char *name, unsigned int offloads);

#endif /* TESTS_PLATFORM_TUN_H */
