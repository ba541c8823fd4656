/* SPDX-License-Identifier: MIT */
/*
 * A change of the configuration, as a list of operations. The caller writes the
 * list first, with valid values only. config_apply() then applies the list as a
 * whole: an error changes nothing.
 *
 * config_apply() works in two phases. The first phase can fail and leaves the
 * device as it is:
 *
 *  (1) Take all the memory that the operations can need: nodes of the trie for
 *	each prefix, a peer for each section that may have to make one, and room
 *	in the set of peers and in the schedule. After a failure, or if some of it
 *	was not needed, it is given back.
 *  (2) Have the owner of the sockets change port and mark. This is the last step
 *	that can fail, because the owner undoes its own failure.
 *
 * The second phase carries the operations out in their order. It allocates
 * nothing and cannot fail. Other threads see each operation when it is carried
 * out, so for a moment they see a part of the change.
 *
 * The list consists of sections, as the UAPI's text does: operations on the
 * device come first, and config_begin_peer() begins the section of a peer.
 *
 * Operations are records in a chain of chunks. So a list of a million prefixes
 * takes about as much memory as its text, and no realloc() leaves a copy of a
 * private key behind. The list is wiped when it is freed.
 *
 * All functions: control thread.
 */
#ifndef DEVICE_CONFIG_H
#define DEVICE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/allowedips.h"
#include "device/device.h"

enum {
	/* The most bytes of a list, counted in whole chunks. A choice: a list
	 * with ALLOWEDIPS_MAX_PREFIXES prefixes takes 76 MiB. */
	CONFIG_MAX_LEN = 128 << 20,
};

struct config;

/**
 * config_new() - make a list without operations
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
 * Operations on the device. If a list sets the port or the mark twice, the last
 * value counts. -EFBIG means that the list has CONFIG_MAX_LEN bytes.
 */

/**
 * config_set_private_key() - take another identity
 * @config:	list
 * @key:	private key; all zero: none
 *
 * Return: 0; -ENOMEM; -EFBIG.
 */
int config_set_private_key(struct config *config,
			   const uint8_t key[NOISE_PRIVATE_KEY_LEN]);

/**
 * config_set_listen_port() - change the UDP port
 * @config:	list
 * @port:	port; 0: choose one
 *
 * Return: 0; -ENOMEM; -EFBIG.
 */
int config_set_listen_port(struct config *config, uint16_t port);

/**
 * config_set_fwmark() - change the mark of outer packets
 * @config:	list
 * @fwmark:	mark; 0: none
 *
 * Return: 0; -ENOMEM; -EFBIG.
 */
int config_set_fwmark(struct config *config, uint32_t fwmark);

/**
 * config_replace_peers() - remove all peers that exist so far
 * @config:	list
 *
 * Return: 0; -ENOMEM; -EFBIG.
 */
int config_replace_peers(struct config *config);

/**
 * config_begin_peer() - the operations that follow are about this peer
 * @config:	list
 * @key:	its public key
 *
 * If no such peer exists it is made, unless the section has
 * config_update_only() or config_remove_peer(). If the key is our own, the
 * section is ignored.
 *
 * Return: 0; -ENOMEM; -EFBIG.
 */
int config_begin_peer(struct config *config,
		      const uint8_t key[NOISE_PUBLIC_KEY_LEN]);

/*
 * Operations on a peer, after config_begin_peer(). config_update_only() and
 * config_remove_peer() count for the whole section, also for the operations
 * before them.
 */

/**
 * config_update_only() - ignore this section if the peer does not exist
 * @config:	list
 *
 * Return: 0.
 */
int config_update_only(struct config *config);

/**
 * config_remove_peer() - remove the peer, and ignore the rest of the section
 * @config:	list
 *
 * Return: 0.
 */
int config_remove_peer(struct config *config);

/**
 * config_set_preshared_key() - change the preshared key of later handshakes
 * @config:	list
 * @key:	preshared key; all zero: none
 *
 * Return: 0; -ENOMEM; -EFBIG.
 */
int config_set_preshared_key(struct config *config,
			     const uint8_t key[NOISE_PRESHARED_KEY_LEN]);

/**
 * config_set_endpoint() - change the endpoint of the peer
 * @config:	list
 * @ep:		endpoint
 *
 * Return: 0; -ENOMEM; -EFBIG.
 */
int config_set_endpoint(struct config *config,
			const struct device_endpoint *ep);

/**
 * config_set_persistent() - change the interval of persistent keepalives
 * @config:	list
 * @interval_s:	seconds; 0: none. If it was 0 before, the first keepalive is
 *		sent at once.
 *
 * Return: 0; -ENOMEM; -EFBIG.
 */
int config_set_persistent(struct config *config, uint16_t interval_s);

/**
 * config_replace_allowedips() - take all its prefixes from the peer
 * @config:	list
 *
 * Return: 0; -ENOMEM; -EFBIG.
 */
int config_replace_allowedips(struct config *config);

/**
 * config_add_allowedip() - give the peer a prefix
 * @config:	list
 * @prefix:	valid prefix
 *
 * Return: 0; -ENOMEM; -EFBIG.
 */
int config_add_allowedip(struct config *config, const struct ip_prefix *prefix);

/**
 * config_remove_allowedip() - take a prefix from the peer, if it is the peer's
 * @config:	list
 * @prefix:	valid prefix
 *
 * Return: 0; -ENOMEM; -EFBIG.
 */
int config_remove_allowedip(struct config *config,
			    const struct ip_prefix *prefix);

/*
 * A list as bytes, for a process that goes on for this one. The bytes are those
 * of the records in memory, so only a program of the same build can read them;
 * who keeps the bytes makes sure of that.
 */

/**
 * config_get_len() - how many bytes config_write() writes
 * @config:	list
 *
 * Return: the length; 0: the list has no operation.
 */
size_t config_get_len(const struct config *config);

/**
 * config_write() - write a list as bytes
 * @config:	list
 * @buf:	config_get_len() bytes, filled; they may hold secrets
 */
void config_write(const struct config *config, void *buf);

/**
 * config_read() - read a list from bytes
 * @out:	set on success; config_free() it
 * @buf:	bytes of any origin
 * @len:	their count
 * @is_endpoint: says whether an endpoint is one that the owner of the sockets
 *		may have made
 *
 * Return: 0; -EBADMSG: the bytes are not what config_write() writes; -ENOMEM;
 * -EFBIG.
 */
int config_read(struct config **out, const void *buf, size_t len,
		bool (*is_endpoint)(const struct device_endpoint *ep));

/**
 * config_count_new_peers() - how many peers config_apply() may add
 * @config:	list
 * @device:	device that it is to be applied to
 *
 * Return: their number, at most.
 */
size_t config_count_new_peers(const struct config *config,
			      const struct device *device);

/**
 * config_each_peer() - call a function for the peer of each section
 * @config:	list
 * @device:	device that it was applied to
 * @fn:		gets a peer, borrowed; it may get one several times
 * @arg:	for @fn
 */
void config_each_peer(const struct config *config, const struct device *device,
		      void (*fn)(void *arg, struct peer *peer), void *arg);

/**
 * config_apply() - carry out all operations, or none
 * @config:	list; it is not changed
 * @device:	device
 * @now:	the present
 *
 * Return: 0; -ENOMEM; -ENOSPC: too many peers or prefixes; -errno of
 * device_ops.set_sockets. After an error nothing has changed.
 */
int config_apply(const struct config *config, struct device *device,
		 uint64_t now);

/**
 * config_replay() - as config_apply(), for one of many changes in a row, which another
 *		     process has accepted
 * @config:	list; it is not changed
 * @device:	device that no other thread uses
 * @now:	the present
 *
 * The shortcuts of the allowed IPs are left as they are. After the last change call
 * config_end_replay(). config_apply() would build them anew again and again while the
 * table grows, which takes longer than all the rest.
 *
 * Return: as config_apply().
 */
int config_replay(const struct config *config, struct device *device,
		  uint64_t now);

/* config_end_replay() - make look-ups fast after calls of config_replay() */
void config_end_replay(struct device *device);

#endif /* DEVICE_CONFIG_H */
