/* SPDX-License-Identifier: MIT */
/*
 * How many ICMP errors are sent, and to whom: in all, for each source, and for
 * each socket of a source, so that a program that sends to nobody does not take
 * the errors from others. Memory is fixed, whatever is sent. See quota.c.
 *
 * No locks: whoever holds the right to take of the outbound lane owns it.
 */
#ifndef ENGINE_QUOTA_H
#define ENGINE_QUOTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/siphash.h"

enum {
	/* Errors a second, which is also the burst. In all it is what the kernel
	 * allows itself (net.ipv4.icmp_msgs_per_sec). */
	QUOTA_ALL = 1000,
	/* For an IPv4 address, or an IPv6 /64. */
	QUOTA_SOURCE = 500,
	/* For one socket of it. */
	QUOTA_SOCKET = 25,
	QUOTA_SETS = 64,
	QUOTA_WAYS = 4,
};

/**
 * struct quota_bucket - a token bucket
 * @hash:	of what it is for
 * @full_ns:	when it is full again; the past: it is full
 */
struct quota_bucket {
	uint64_t hash;
	uint64_t full_ns;
};

/**
 * struct quota - see above
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
 * @key:	random bytes, copied: nobody can aim at a set
 */
void quota_init(struct quota *q, const uint8_t key[SIPHASH_KEY_LEN]);

/**
 * quota_allow() - may the sender of this packet be sent one more error?
 * @q:		quota
 * @packet:	IPv4 or IPv6 packet with a whole header
 * @len:	its length
 * @now:	the present
 *
 * Return: true, and the tokens are taken; false, and none is.
 */
bool quota_allow(struct quota *q, const uint8_t *packet, size_t len,
		 uint64_t now);

#endif /* ENGINE_QUOTA_H */
