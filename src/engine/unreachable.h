/* SPDX-License-Identifier: MIT */
/*
 * Packets that no peer can have: their sender is told by ICMP, as the kernel
 * module does it (RFC 792: destination unreachable, host; RFC 4443: address).
 *
 * The source of the message is the address that could not be reached. RFC 1812
 * (section 4.3.2.4) wants an address of this host. But the kernel treats a
 * packet that is written to a TUN as one that has arrived, and drops it if its
 * IPv4 source is an address of this host (fib_validate_source(), unless
 * net.ipv4.conf.*.accept_local is set). With rp_filter it also drops a source
 * that is not behind the interface. A raw socket could send the message, but
 * needs CAP_NET_RAW.
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
 * @quota:	how many errors may still be sent, and to whom
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
 * A packet to or from a directed broadcast address is not answered. One thread
 * at a time.
 */
void unreachable_send(struct unreachable *u, struct tun *tun,
		      const uint8_t *packet, size_t len, uint64_t now);

#endif /* ENGINE_UNREACHABLE_H */
