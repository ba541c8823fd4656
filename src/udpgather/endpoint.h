/* SPDX-License-Identifier: MIT */
#ifndef UDPGATHER_ENDPOINT_H
#define UDPGATHER_ENDPOINT_H

#include "udpgather.h"

/* endpoint_family() - AF_INET, AF_INET6, or anything for a bad endpoint */
static inline int endpoint_family(const struct ug_endpoint *ep)
{
	return ep->addr.any.sa_family;
}

/**
 * endpoint_key() - what the path to an endpoint depends on: all but its port
 * @ep:		the endpoint
 * @key:	set to the address (as IPv6, IPv4 mapped) and the zone
 */
void endpoint_key(const struct ug_endpoint *ep, uint64_t key[3]);

/* endpoint_mix() - one step of the hash: multiply, fold the halves */
uint64_t endpoint_mix(uint64_t hash, uint64_t word);

#endif /* UDPGATHER_ENDPOINT_H */
