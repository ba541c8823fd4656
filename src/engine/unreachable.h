/* SPDX-License-Identifier: MIT */
/*
 * Packets that no peer can have: their sender is told by ICMP, as the kernel
 * module does it (RFC 792: destination unreachable, host; RFC 4443: address).
 *
 * The message comes "from" the address that could not be reached: the
 * interface may have none of its own, and one that is local would be dropped
 * as spoofed.
 */
#ifndef ENGINE_UNREACHABLE_H
#define ENGINE_UNREACHABLE_H

#include <stddef.h>
#include <stdint.h>

#include "tun/tun.h"

enum {
	/* The longest message: headers and what IPv6 may quote. */
	UNREACHABLE_MAX_LEN = 1280,
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
 * @tun:	where the packet came from
 * @packet:	IP packet
 * @len:	its length
 *
 * One thread at a time.
 */
void unreachable_send(struct tun *tun, const uint8_t *packet, size_t len);

#endif /* ENGINE_UNREACHABLE_H */
