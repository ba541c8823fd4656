/* SPDX-License-Identifier: MIT */
/*
 * Devices without sockets, and as many identities as are wanted: what the
 * benchmarks of handshakes share.
 */
#ifndef BENCH_IDENTITY_H
#define BENCH_IDENTITY_H

#include "device/device.h"
#include "device/handshake.h"

/* Calls of a device that nothing is asked of. */
extern const struct device_ops identity_ops;

/**
 * identity_private() - a private key; the same one in each run
 * @i:		which
 * @key:	out
 */
void identity_private(uint32_t i, uint8_t key[NOISE_PRIVATE_KEY_LEN]);

/**
 * identity_public() - the public key that goes with it
 * @i:		which
 * @key:	out
 */
void identity_public(uint32_t i, uint8_t key[NOISE_PUBLIC_KEY_LEN]);

/**
 * identity_add_peer() - have a device know somebody
 * @device:	device
 * @key:	its public key
 *
 * Return: the peer, borrowed; ends the program if memory is short.
 */
struct peer *identity_add_peer(struct device *device,
			       const uint8_t key[NOISE_PUBLIC_KEY_LEN]);

#endif /* BENCH_IDENTITY_H */
