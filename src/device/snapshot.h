/* SPDX-License-Identifier: MIT */
/*
 * The configuration of a device, written as a change: applied to an empty
 * device, it makes one with the same configuration. It is written in pieces,
 * first the device and then each peer, so that the lists stay short.
 *
 * Sessions, counters and timestamps are no part of it. An endpoint is the
 * current one, whether it was configured or learnt.
 *
 * Control thread.
 */
#ifndef DEVICE_SNAPSHOT_H
#define DEVICE_SNAPSHOT_H

#include <stddef.h>

#include "device/config.h"

enum {
	/* No piece of the device, and none of a peer without its prefixes, has
	 * more bytes (config_get_len()). A test makes the longest ones. */
	SNAPSHOT_PIECE_LEN = 144,
	/* Bytes of a prefix. */
	SNAPSHOT_PREFIX_LEN = 1 + sizeof(struct ip_prefix),
};

/**
 * snapshot_add_device() - add the private key, the port and the mark
 * @config:	list without a section
 * @device:	device
 *
 * Return: 0; -ENOMEM; -EFBIG.
 */
int snapshot_add_device(struct config *config, struct device *device);

/**
 * snapshot_add_peer() - add the section of a peer
 * @config:	list
 * @peer:	peer
 *
 * Return: 0; -ENOMEM; -EFBIG.
 */
int snapshot_add_peer(struct config *config, struct peer *peer);

#endif /* DEVICE_SNAPSHOT_H */
