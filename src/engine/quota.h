/* SPDX-License-Identifier: MIT */
/*
 * The quota of ICMP errors: how many are sent in all, to each source, and to
 * each socket of a source. A program whose packets have no peer must not use up
 * the errors of other programs. The quota has a fixed amount of memory.
 *
 * It has no locks: it is used under the mutex of struct unreachable.
 */
#ifndef ENGINE_QUOTA_H
#define ENGINE_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/siphash.h"

enum {
	/* Errors a second for all sources, which is also the size of the burst.
	 * The kernel has the same limit for its own errors
	 * (net.ipv4.icmp_msgs_per_sec). */
	QUOTA_ALL = 1000,
	/* For an IPv4 address, or an IPv6 /64. A choice: one source leaves half
	 * of QUOTA_ALL to the others. */
	QUOTA_SOURCE = 500,
	/* For one socket of a source. A choice, not measured: a source needs 20
	 * sockets to use up its own quota. */
	QUOTA_SOCKET = 25,
	/* The table of buckets: sets, and places in each set. A choice: the 256
	 * buckets take 4 KiB. If a set is full, a new bucket replaces one. */
	QUOTA_SETS = 64,
	QUOTA_WAYS = 4,
};

/**
 * struct quota_bucket - a token bucket
 * @hash:	of the source or the socket
 * @full_ns:	when it is full again, in ns; the past: it is full
 */
struct quota_bucket {
	uint64_t hash;
	uint64_t full_ns;
};

/**
 * struct quota - the buckets
 * @key:	of the hash
 * @all:	bucket for all
 * @sets:	buckets of sources and sockets
 */
struct quota {
	uint8_t key[SIPHASH_KEY_LEN];
	struct quota_bucket all;
	struct quota_bucket sets[QUOTA_SETS][QUOTA_WAYS];
};

/**
 * quota_init() - all buckets are full
 * @q:		caller's storage
 * @key:	random bytes, copied; a sender who does not know them cannot
 *		choose the set that it falls into
 */
void quota_init(struct quota *q, const uint8_t key[SIPHASH_KEY_LEN]);

/**
 * quota_allow() - may the sender of this packet be sent one more error?
 * @q:		quota
 * @packet:	IPv4 or IPv6 packet with a whole header
 * @len:	its length
 * @now:	the present, in ns of CLOCK_BOOTTIME
 *
 * Return: true: a token was taken from each of the three buckets (of the socket,
 * of the source, and of all); false: no token was taken.
 */
bool quota_allow(struct quota *q, const uint8_t *packet, size_t len,
		 uint64_t now);

#endif /* ENGINE_QUOTA_H */
