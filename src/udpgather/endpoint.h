/* SPDX-License-Identifier: MIT */
/* The parts of endpoints that only the library uses: family, key, and hash. */
#ifndef UDPGATHER_ENDPOINT_H
#define UDPGATHER_ENDPOINT_H

#include "udpgather.h"

/* ug_endpoint_family() - AF_INET or AF_INET6; a bad endpoint has any number */
static inline int ug_endpoint_family(const struct ug_endpoint *ep)
{
	return ep->addr.any.sa_family;
}

/**
 * ug_endpoint_key() - address and zone of an endpoint, which decide its path
 * @ep:		the endpoint
 * @key:	set to the address (as IPv6, IPv4 mapped) and the zone
 */
void ug_endpoint_key(const struct ug_endpoint *ep, uint64_t key[3]);

/**
 * ug_endpoint_fold() - multiply 64 by 64 to 128 bits, and fold the halves
 * @a:		a number
 * @b:		another one
 *
 * Every bit of @a affects every bit of the result. This function multiplies 32
 * bits at a time, for compilers without a type of 128 bits.
 */
static inline uint64_t ug_endpoint_fold(uint64_t a, uint64_t b)
{
	uint64_t a0 = (uint32_t)a, a1 = a >> 32;
	uint64_t b0 = (uint32_t)b, b1 = b >> 32;
	uint64_t low = a0 * b0;
	uint64_t mid = a1 * b0 + (low >> 32); /* cannot overflow */
	uint64_t mid2 = a0 * b1 + (uint32_t)mid;
	uint64_t high = a1 * b1 + (mid >> 32) + (mid2 >> 32);

	return high ^ (mid2 << 32 | (uint32_t)low);
}

#ifdef __SIZEOF_INT128__
/* ug_endpoint_fold_wide() - the same, by one multiplication */
static inline uint64_t ug_endpoint_fold_wide(uint64_t a, uint64_t b)
{
	__extension__ unsigned __int128 wide = (unsigned __int128)a * b;

	return (uint64_t)wide ^ (uint64_t)(wide >> 64);
}
#define ENDPOINT_FOLD ug_endpoint_fold_wide
#else
#define ENDPOINT_FOLD ug_endpoint_fold
#endif

/* ug_endpoint_mix() - hash one word more; @hash is the hash of the words before
 * it, or a seed */
uint64_t ug_endpoint_mix(uint64_t hash, uint64_t word);

/**
 * ug_endpoint_ask_by() - ask about interfaces by an open socket
 * @fd:		a socket of any family, borrowed for good; -1: a new one each time
 *
 * For a process that may open no sockets. Call it before there are other threads.
 */
void ug_endpoint_ask_by(int fd);

#endif /* UDPGATHER_ENDPOINT_H */
