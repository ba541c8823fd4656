/* SPDX-License-Identifier: MIT */
/*
 * Packets that no peer can have: their sender is told by ICMP, as the kernel
 * module does it (RFC 792: destination unreachable, host; RFC 4443: address).
 *
 * The message comes "from" the address that could not be reached. A router's own
 * address would be right (RFC 1812, section 4.3.2.4), and cannot be had: the
 * kernel takes what is written to a TUN for a packet that has arrived, and drops
 * one whose IPv4 source is an address of this host (fib_validate_source(), but
 * for net.ipv4.conf.*.accept_local); another host's address would be dropped by
 * rp_filter, unless it is one behind the interface. A socket that could send the
 * message otherwise needs CAP_NET_RAW.
 */
#ifndef ENGINE_UNREACHABLE_H
#define ENGINE_UNREACHABLE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/quota.h"
#include "tun/broadcast.h"
#include "tun/tun.h"

enum {
	/* The longest message: headers and what IPv6 may quote. */
	UNREACHABLE_MAX_LEN = 1280,
};

/**
 * struct unreachable - what decides besides the packet itself
 * @quota:	who has been told how often
 * @broadcasts:	[I] addresses of which no packet is answered; NULL: none known
 */
struct unreachable {
	struct quota quota;
	const struct broadcasts *broadcasts;
};

/**
 * unreachable_make() - write the message for a packet
 * @out:	filled, UNREACHABLE_MAX_LEN bytes
 * @packet:	IP packet, of any alignment
 * @len:	its length
 *
 * None for what must not be answered (RFC 1122, section 3.2.2; RFC 4443,
 * section 2.4): ICMP errors, later fragments, groups and broadcasts, senders
 * without an address.
 *
 * Return: its length; 0 for none.
 */
size_t unreachable_make(uint8_t out[UNREACHABLE_MAX_LEN], const uint8_t *packet,
			size_t len);

/**
 * unreachable_send() - tell the sender of a packet, if not told too often
 * @u:		decides
 * @tun:	where the packet came from
 * @packet:	IP packet
 * @len:	its length
 * @now:	the present
 *
 * No packet to or from a directed broadcast address is answered, either. One thread at a
 * time.
 */
void unreachable_send(struct unreachable *u, struct tun *tun,
		      const uint8_t *packet, size_t len, uint64_t now);

#endif /* ENGINE_UNREACHABLE_H */
