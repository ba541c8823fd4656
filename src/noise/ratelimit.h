/* SPDX-License-Identifier: MIT */
/*
 * How many handshakes a source may ask for while the device is under load:
 * RATELIMIT_PER_SECOND, RATELIMIT_BURST at once, for each IPv4 address and each
 * IPv6 /64; and RATELIMIT_SITE_PER_SECOND, RATELIMIT_SITE_BURST at once, for each
 * IPv6 /48, of which one customer may have 65,536 /64s. Fixed memory, whatever
 * arrives.
 *
 * No locks: one thread (the handshaker) owns it.
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
 * Half a megabyte of address space, of which only what is used is resident.
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
 * @len:	4 (IPv4) or 16 (IPv6, of which the first 8 and the first 6 count)
 * @now:	the present
 *
 * Return: true and a token is taken from each bucket of the source; false, and
 * none is taken, if one of them is empty or no entry can be found for it among
 * those in use.
 */
bool ratelimit_allow(struct ratelimit *rl, const uint8_t *addr, size_t len,
		     uint64_t now);

#endif /* NOISE_RATELIMIT_H */
