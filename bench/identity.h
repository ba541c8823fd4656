/* SPDX-License-Identifier: MIT */
/*
 * Devices without sockets, and any number of identities, for the benchmarks of
 * handshakes.
 */
#ifndef BENCH_IDENTITY_H
#define BENCH_IDENTITY_H

#include "device/device.h"
#include "device/handshake.h"

/* Operations of a device that do nothing. */
extern const struct device_ops identity_ops;

/**
 * identity_private() - the private key of an identity, the same in each run
 * @i:		which
 * @key:	out
 */
void identity_private(uint32_t i, uint8_t key[NOISE_PRIVATE_KEY_LEN]);

/**
 * identity_public() - the public key of an identity
 * @i:		which
 * @key:	out
 */
void identity_public(uint32_t i, uint8_t key[NOISE_PUBLIC_KEY_LEN]);

/**
 * identity_add_peer() - add a peer to a device
 * @device:	device
 * @key: public key of the peer
 *
 * Return: the peer, borrowed; ends the program if memory is short.
 */
struct peer *identity_add_peer(struct device *device,
			       const uint8_t key[NOISE_PUBLIC_KEY_LEN]);

#endif /* BENCH_IDENTITY_H */
