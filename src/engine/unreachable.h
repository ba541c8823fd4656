/* SPDX-License-Identifier: MIT */
/*
 * ICMP errors for packets that no peer can get. Their sender is told, as by the
 * kernel module, that the destination is unreachable (RFC 792: host
 * unreachable; RFC 4443: address unreachable).
 *
 * The source of the error is the address that could not be reached. RFC 1812
 * (section 4.3.2.4) wants an address of this host. But the kernel treats a
 * packet that is written to a TUN as one that has arrived, and drops it if its
 * IPv4 source is an address of this host (fib_validate_source(), unless
 * net.ipv4.conf.*.accept_local is set). With rp_filter it also drops a source
 * that is not behind the interface. A raw socket could send the error from
 * our own address, but needs CAP_NET_RAW.
 *
 * A packet that is too long for the path to its peer is answered in the same way, by
 * "fragmentation needed" (RFC 1191) or "packet too big" (RFC 4443). A firewall that
 * translates addresses finds the flow by the packet that is quoted, so the quote is
 * the packet as it was read, with its true sequence number.
 */
#ifndef ENGINE_UNREACHABLE_H
#define ENGINE_UNREACHABLE_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/quota.h"
#include "tun/broadcast.h"
#include "tun/tun.h"

enum {
	/* The longest error (RFC 4443, section 2.4): IPv6's minimum MTU. */
	UNREACHABLE_MAX_LEN = 1280,
};

/**
 * struct unreachable - what decides, besides the packet itself, whether its
 *		       sender gets an error
 * @mutex:	of @quota
 * @quota:	how many errors may still be sent to each sender
 * @broadcasts:	[I] directed broadcast addresses: packets to or from them get no
 *		error; NULL: no such address is known
 */
struct unreachable {
	pthread_mutex_t mutex;
	struct quota quota;
	const struct broadcasts *broadcasts;
};

/**
 * unreachable_init() - a full quota, and no broadcast addresses
 * @u:		caller's storage, all zero
 * @key:	random bytes for quota_init()
 */
void unreachable_init(struct unreachable *u,
		      const uint8_t key[SIPHASH_KEY_LEN]);

/* unreachable_deinit() - no thread uses it any more */
void unreachable_deinit(struct unreachable *u);

/**
 * unreachable_make() - write the ICMP error for a packet
 * @out:	UNREACHABLE_MAX_LEN bytes, filled on success
 * @packet:	IP packet, of any alignment
 * @len:	its length
 * @mtu:	the longest packet that passes, at most 65,535: the packet is too
 *		long; 0: its destination is unreachable
 *
 * Some packets must not be answered with an error (RFC 1122, section 3.2.2; RFC
 * 4443, section 2.4): ICMP errors, later fragments, packets to multicast or
 * broadcast addresses, and packets from senders without an address. Any thread.
 *
 * Return: the length of the error; 0: the packet must not be answered.
 */
size_t unreachable_make(uint8_t out[UNREACHABLE_MAX_LEN], const uint8_t *packet,
			size_t len, uint32_t mtu);

/**
 * unreachable_send() - send the sender of a packet an ICMP error, if it may
 * @u:		quota and broadcast addresses
 * @tun:	TUN that the packet was read from; the error is written to it
 * @packet:	IP packet
 * @len:	its length
 * @now:	the present, in ns of CLOCK_BOOTTIME
 *
 * Not for packets to or from directed broadcast addresses. Any thread.
 */
void unreachable_send(struct unreachable *u, struct tun *tun,
		      const uint8_t *packet, size_t len, uint64_t now);

/**
 * unreachable_send_too_big() - tell the sender of a packet that it is too long
 * @u:		broadcast addresses; the quota is not used: the caller limits the
 *		rate
 * @tun:	TUN that the packet was read from; the error is written to it
 * @packet:	IP packet
 * @len:	its length
 * @mtu:	the longest packet that passes
 *
 * Any thread.
 *
 * Return: true: an error was written; false: the packet must not be answered, or the
 * kernel has not taken the error.
 */
bool unreachable_send_too_big(struct unreachable *u, struct tun *tun,
			      const uint8_t *packet, size_t len, uint32_t mtu);

#endif /* ENGINE_UNREACHABLE_H */
