/* SPDX-License-Identifier: MIT */
/*
 * The limit on handshakes that a source may ask for while the device is under
 * load. Each IPv4 address and each IPv6 /64 gets RATELIMIT_PER_SECOND, and
 * RATELIMIT_BURST at once. One customer may have an IPv6 /48, which is 65,536
 * /64s, so each /48 gets RATELIMIT_SITE_PER_SECOND, and RATELIMIT_SITE_BURST at
 * once. The memory is fixed, whatever arrives.
 *
 * No locks: one thread (the handshaker) owns the table.
 */
#ifndef NOISE_RATELIMIT_H
#define NOISE_RATELIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ratelimit;

/**
 * ratelimit_new() - a table without entries
 * @seed:	16 random bytes; copied
 *
 * Takes half a megabyte of address space; pages become resident when used.
 *
 * Return: the table; NULL if memory is short.
 */
struct ratelimit *ratelimit_new(const uint8_t seed[16]);

/**
 * ratelimit_free() - give the table back
 * @rl:		table; NULL is ok
 */
void ratelimit_free(struct ratelimit *rl);

/**
 * ratelimit_allow() - may this source have one more handshake now?
 * @rl:		table
 * @addr:	source address, network order, without port
 * @len:	4 for IPv4, 16 for IPv6
 * @now:	the present
 *
 * Return: true, and a token is taken from each bucket of the source; false if a
 * bucket is empty or the table has no free place for it, and no token is taken.
 */
bool ratelimit_allow(struct ratelimit *rl, const uint8_t *addr, size_t len,
		     uint64_t now);

#endif /* NOISE_RATELIMIT_H */
