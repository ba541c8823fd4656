/* SPDX-License-Identifier: MIT */
/*
 * The kernel's VXLAN and Geneve devices: on which UDP ports they listen. Only a
 * packet to such a port may be written to the TUN as a part of a tunnel
 * super-packet, because only the kernel's own tunnel devices take those apart. A
 * socket of a program would get one datagram in place of many.
 */
#ifndef TUN_OVERLAY_H
#define TUN_OVERLAY_H

#include <stdbool.h>

#include "base/ip.h"

enum {
	/* Most ports that are known; further ones are ignored. A choice: each
	 * UDP packet is compared with all of them. */
	OVERLAYS_MAX = 16,
	/* IP versions, as a set. */
	OVERLAY_V4 = 1 << 0,
	OVERLAY_V6 = 1 << 1,
};

/**
 * struct overlay - a port, as one device listens on it
 * @port:	UDP port
 * @is_geneve:	Geneve, else VXLAN
 * @versions:	IP versions of the packets, a set of OVERLAY_V4 and OVERLAY_V6
 * @takes_unsummed6: the device takes IPv6 datagrams without a checksum
 * @local_len:	length of @local: 4 or 16; 0: any address
 * @local:	the address that packets must be to
 */
struct overlay {
	struct be16 port;
	bool is_geneve;
	uint8_t versions;
	bool takes_unsummed6;
	uint8_t local_len;
	uint8_t local[16];
};

/**
 * struct overlays - all ports
 * @cnt:	number of entries
 * @list:	the entries, no two of them equal
 */
struct overlays {
	unsigned int cnt;
	struct overlay list[OVERLAYS_MAX];
};

/**
 * overlays_parse() - read a part of the answer to a question for all links
 * @set:	entries are added to it
 * @buf:	rtnetlink messages, aligned to 4 bytes; any bytes will do
 * @len:	their length
 * @seq:	sequence number of the question
 *
 * Counted are devices that are up, since only these have a socket. Left out are
 * devices whose socket is in another namespace, and those of VXLAN-GPE, which
 * do not carry Ethernet.
 *
 * Return: 0 if this was the last part; -EAGAIN if there is more; -EBADMSG for an
 * error.
 */
int overlays_parse(struct overlays *set, const void *buf, size_t len,
		   uint32_t seq);

/**
 * overlays_lookup() - the entry that a packet is for
 * @set:	entries
 * @pkt:	UDP packet, without IPv4 options or IPv6 extension headers
 *
 * Any thread that has @set.
 *
 * Return: the entry; NULL if there is none.
 */
const struct overlay *overlays_lookup(const struct overlays *set,
				      const uint8_t *pkt);

/**
 * overlay_inner_off() - where the IP packet in a tunnel packet is
 * @overlay:	entry that the packet is for
 * @pkt:	the packet
 * @len:	its length
 * @udp_off:	offset of its UDP header, which is there
 *
 * Any thread.
 *
 * Return: the offset, less than @len; 0 if there is no plain Ethernet frame with
 * a plain IP packet (also if the frame has a VLAN tag).
 */
size_t overlay_inner_off(const struct overlay *overlay, const uint8_t *pkt,
			 size_t len, size_t udp_off);

#endif /* TUN_OVERLAY_H */
