/* SPDX-License-Identifier: MIT */
/*
 * A change of the configuration, as a list of operations. It is written first,
 * checked as it is written, and applied as a whole: an error changes nothing.
 *
 * config_apply() goes in three steps. It takes all the memory that the
 * operations can need; it has the sockets changed, which is the last thing that
 * can fail and which the owner of the sockets undoes itself; then it carries
 * the operations out, in their order, and nothing of that can fail.
 *
 * Operations are records in a chain of chunks: a list of a million prefixes
 * takes as much memory as its text, and no private key is left behind by a
 * realloc(). All of it is wiped in the end.
 *
 * Control thread.
 */
#ifndef DEVICE_CONFIG_H
#define DEVICE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/allowedips.h"
#include "device/device.h"

enum {
	/* Bytes of all the records of a list. */
	CONFIG_MAX_LEN = 128 << 20,
};

struct config;

/**
 * config_new() - a list without operations
 *
 * Return: the list; NULL if memory is short.
 */
struct config *config_new(void);

/**
 * config_free() - wipe and free
 * @config:	list; NULL is ok
 */
void config_free(struct config *config);

/*
 * Operations on the device. Of several ports or marks the last one counts.
 * Each returns 0; -ENOMEM; -EFBIG at CONFIG_MAX_LEN.
 */

/**
 * config_set_private_key() - take another identity
 * @config:	list
 * @key:	private key; all zero: none
 *
 * Return: see above.
 */
int config_set_private_key(struct config *config,
			   const uint8_t key[NOISE_PRIVATE_KEY_LEN]);

/**
 * config_set_listen_port() - change the UDP port
 * @config:	list
 * @port:	port; 0: choose one
 *
 * Return: see above.
 */
int config_set_listen_port(struct config *config, uint16_t port);

/**
 * config_set_fwmark() - change the mark of outer packets
 * @config:	list
 * @fwmark:	mark; 0: none
 *
 * Return: see above.
 */
int config_set_fwmark(struct config *config, uint32_t fwmark);

/**
 * config_replace_peers() - remove all peers there are so far
 * @config:	list
 *
 * Return: see above.
 */
int config_replace_peers(struct config *config);

/**
 * config_begin_peer() - the operations that follow are about this peer
 * @config:	list
 * @key:	its public key. If no such peer exists it is made, unless one of
 *		the next two says otherwise; if it is our own key, what follows
 *		is ignored.
 *
 * Return: see above.
 */
int config_begin_peer(struct config *config,
		      const uint8_t key[NOISE_PUBLIC_KEY_LEN]);

/*
 * Operations on a peer, after config_begin_peer(). The first two concern the
 * whole section, wherever they stand in it.
 */

/**
 * config_update_only() - ignore this section if the peer does not exist
 * @config:	list
 *
 * Return: see above.
 */
int config_update_only(struct config *config);

/**
 * config_remove_peer() - remove the peer, and ignore the rest of the section
 * @config:	list
 *
 * Return: see above.
 */
int config_remove_peer(struct config *config);

/**
 * config_set_preshared_key() - for the handshakes to come
 * @config:	list
 * @key:	preshared key; all zero: none
 *
 * Return: see above.
 */
int config_set_preshared_key(struct config *config,
			     const uint8_t key[NOISE_PRESHARED_KEY_LEN]);

/**
 * config_set_endpoint() - say where the peer is
 * @config:	list
 * @ep:		endpoint
 *
 * Return: see above.
 */
int config_set_endpoint(struct config *config,
			const struct device_endpoint *ep);

/**
 * config_set_persistent() - change the interval of persistent keepalives
 * @config:	list
 * @interval_s:	seconds; 0: none. Where there was none before, the first one is
 *		sent at once, to this peer.
 *
 * Return: see above.
 */
int config_set_persistent(struct config *config, uint16_t interval_s);

/**
 * config_replace_allowedips() - take all prefixes that the peer has so far
 * @config:	list
 *
 * Return: see above.
 */
int config_replace_allowedips(struct config *config);

/**
 * config_add_allowedip() - give the peer a prefix
 * @config:	list
 * @prefix:	valid prefix
 *
 * Return: see above.
 */
int config_add_allowedip(struct config *config, const struct ip_prefix *prefix);

/**
 * config_remove_allowedip() - take a prefix from the peer, if it is the peer's
 * @config:	list
 * @prefix:	valid prefix
 *
 * Return: see above.
 */
int config_remove_allowedip(struct config *config,
			    const struct ip_prefix *prefix);

/**
 * config_apply() - carry the operations out, all or none
 * @config:	list; unchanged
 * @device:	device
 * @now:	the present
 *
 * Return: 0; -ENOMEM; -ENOSPC: too many peers or prefixes; -errno of
 * device_ops.set_sockets. Then nothing has changed.
 */
int config_apply(const struct config *config, struct device *device,
		 uint64_t now);

#endif /* DEVICE_CONFIG_H */
