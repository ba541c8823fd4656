/* SPDX-License-Identifier: MIT */
/*
 * Going through the peers of a device in pieces, while the configuration may change
 * between the pieces. No peer is met twice, and none is left out that was there all
 * the time.
 *
 * Control thread.
 */
#ifndef UAPI_PEERS_H
#define UAPI_PEERS_H

#include "device/device.h"

/**
 * struct peers - a place among the peers of a device
 * @device:	borrowed
 * @generation:	generation of the device that @peer belongs to
 * @serial:	serial number of the last peer met; 0: none yet
 * @peer:	the last peer met; NULL: none yet, or it was removed since
 * @n_prefixes:	how many prefixes of this peer were met
 * @pos:	the last prefix of this peer that was met
 */
struct peers {
	struct device *device;
	uint64_t generation;
	uint64_t serial;
	struct peer *peer;
	size_t n_prefixes;
	const struct allowedips_node *pos;
};

/* peers_init() - a place before the first peer; @device is borrowed */
void peers_init(struct peers *peers, struct device *device);

/* peers_next() - go on to the next peer. Return: the peer, borrowed until the
 * configuration changes; NULL: that was the last one. */
struct peer *peers_next(struct peers *peers);

/**
 * peers_next_prefix() - go on to the next prefix of the last peer
 * @peers:	place
 * @prefix:	filled on success
 *
 * Return: true; false: there are no more, or the peer was removed.
 */
bool peers_next_prefix(struct peers *peers, struct ip_prefix *prefix);

#endif /* UAPI_PEERS_H */
