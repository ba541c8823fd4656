/* SPDX-License-Identifier: MIT */
/* Two devices with one configuration: one that is in the middle of everything, and one
 * that goes on for it. */
#ifndef TESTS_HANDOVER_WORLD_H
#define TESTS_HANDOVER_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "device_fake.h"
#include "handover/state.h"

/* The present. A choice: some time after 0. */
#define HANDOVER_NOW (UINT64_C(100000) * NSEC_PER_SEC)

enum {
	HANDOVER_COUNTERS = 3,
};

extern const struct state_counter handover_counters[HANDOVER_COUNTERS];

/* Random numbers: see random.h. */
void handover_seed(void);
uint64_t handover_random(void);

/* A device with a key, a port, a mark and peers of random keys, which is up. Two calls
 * with one @seed make the same configuration. */
void handover_device_init(struct device_fake *fake, size_t n_peers,
			  unsigned int n_lanes, uint64_t seed);

/* Have all peers in the middle of everything, at random. */
void handover_device_fill(struct device_fake *fake);

/* Go on at random with some peers. Return: how many. */
size_t handover_device_change(struct device_fake *fake);

/* Give a peer a keypair with an index and random keys, which has no window yet. */
struct noise_keypair *handover_add_keypair(struct peer *peer,
					   enum noise_slot slot);

/* The @i-th peer. */
struct peer *handover_peer(struct device_fake *fake, size_t i);

/* Fails unless both are the same, but for what is not handed over. */
void handover_compare(struct device_fake *a, struct device_fake *b);

/* Write a state to new memory, which the caller closes. */
void handover_write(struct store *store, struct device_fake *fake);

/* Write an early state to new memory, which the caller closes. */
void handover_write_early(struct store *store, struct device_fake *fake);

/* Write what differs from an early state to new memory, which the caller closes. */
void handover_write_last(struct store *store, struct device_fake *fake,
			 const struct store *early);

/* The endpoint of device_fake_codec: its first byte is printable. */
bool handover_is_endpoint(const struct device_endpoint *ep);

#endif /* TESTS_HANDOVER_WORLD_H */
