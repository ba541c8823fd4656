/* SPDX-License-Identifier: MIT */
/*
 * Allowed IPs: which peer an inner address belongs to.
 *
 * There is one binary trie for each family, with compressed paths. A node
 * stands for a prefix, and has at most two children, whose prefixes are longer.
 * A node without an owner is called glue: it exists only because two prefixes
 * fork there, so it always has two children. Therefore n prefixes need at most
 * 2n - 1 nodes. A node takes 56 bytes (IPv4) or 68 (IPv6).
 *
 * A look-up walks down from the root as long as the node's prefix covers the
 * address, and remembers the last owner that it passed. That takes at most 33
 * steps (IPv4) or 129 (IPv6). In a large table, shortcuts (shortcut.h) leap
 * over most of these steps; a slot of a shortcut takes 16 bytes.
 *
 * Readers walk under RCU, without a lock. The writer makes each insertion and
 * each removal visible by one store of a pointer, so a reader sees the trie
 * either before it or after it. A node that leaves the trie keeps its children
 * and its owner until no reader can be on it.
 *
 * An owner is embedded in the peer, and lists its prefixes in the order in
 * which they were inserted. This file knows nothing else of peers. The memory
 * of an owner must stay for a grace period after its prefixes were removed.
 *
 * Legend: [r] read under RCU, written by the writer; [w] used by the writer
 * only. The writer is the control thread.
 */
#ifndef DEVICE_ALLOWEDIPS_H
#define DEVICE_ALLOWEDIPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ip.h"
#include "base/list.h"
#include "base/rcu.h"

enum {
	/* The most prefixes of one device. A choice: four for each of
	 * DEVICE_MAX_PEERS. */
	ALLOWEDIPS_MAX_PREFIXES = 1 << 22,
	/* The most nodes that an insertion adds: its own, and a glue node. */
	ALLOWEDIPS_NODES_PER_PREFIX = 2,
};

/**
 * struct ip_prefix - an address, and how many of its leading bits count
 * @family:	IP_V4 or IP_V6
 * @cidr:	number of these bits: 0 to 32 (IPv4) or 0 to 128 (IPv6)
 * @addr:	network order; of an IPv4 address the first four bytes are used
 */
struct ip_prefix {
	uint8_t family;
	uint8_t cidr;
	uint8_t addr[16];
};

struct allowedips_node;

/**
 * struct allowedips_owner - an owner of prefixes, embedded in the peer
 * @prefixes:	[w] nodes of its prefixes, oldest first
 * @n_prefixes:	[w] length of that list
 */
struct allowedips_owner {
	struct list prefixes;
	size_t n_prefixes;
};

/**
 * struct allowedips - the prefixes of all peers
 * @roots:	[r] root of the IPv4 trie, root of the IPv6 trie
 * @spare:	[w] nodes set aside by allowedips_reserve(), by family
 * @n_spare:	[w] their number, by family
 * @n_prefixes:	[w] prefixes of both families
 * @n_changes:	[w] changes since the shortcuts were built
 */
struct allowedips {
	struct allowedips_node *roots[2];
	struct allowedips_node *spare[2];
	size_t n_spare[2];
	size_t n_prefixes;
	size_t n_changes;
};

/**
 * allowedips_init() - an empty table
 * @table:	caller's storage
 */
void allowedips_init(struct allowedips *table);

/**
 * allowedips_deinit() - free the spare nodes
 * @table:	a table without prefixes, which no thread reads
 */
void allowedips_deinit(struct allowedips *table);

/**
 * allowedips_owner_init() - an owner without prefixes
 * @owner:	caller's storage
 */
void allowedips_owner_init(struct allowedips_owner *owner);

/**
 * allowedips_reserve() - set memory aside, so that insertions cannot fail
 * @table:	the table
 * @family:	family of the prefixes that will be inserted
 * @n:		how many insertions
 *
 * The writer. After the insertions, and after an error, give the rest back with
 * allowedips_unreserve().
 *
 * Return: 0; -ENOMEM; -ENOSPC if the table might come to hold more than
 * ALLOWEDIPS_MAX_PREFIXES.
 */
int allowedips_reserve(struct allowedips *table, enum ip_family family,
		       size_t n);

/**
 * allowedips_unreserve() - free what allowedips_reserve() set aside
 * @table:	the table
 */
void allowedips_unreserve(struct allowedips *table);

/**
 * allowedips_insert() - give a prefix to an owner
 * @table:	the table
 * @prefix:	valid prefix; host bits are ignored
 * @owner:	gets the prefix, at the end of its list. If another owner had
 *		the prefix, it is taken from that owner.
 *
 * The writer.
 *
 * Return: 0; -ENOMEM; -ENOSPC at ALLOWEDIPS_MAX_PREFIXES.
 */
int allowedips_insert(struct allowedips *table, const struct ip_prefix *prefix,
		      struct allowedips_owner *owner);

/**
 * allowedips_remove() - take a prefix from its owner
 * @table:	the table
 * @prefix:	valid prefix; host bits are ignored
 * @owner:	the owner that the prefix must have
 *
 * Allocates nothing. The writer.
 *
 * Return: true; false, and nothing has changed, if @owner does not have the
 * prefix.
 */
bool allowedips_remove(struct allowedips *table, const struct ip_prefix *prefix,
		       struct allowedips_owner *owner);

/**
 * allowedips_remove_owner() - take all its prefixes from an owner
 * @table:	the table
 * @owner:	the owner
 *
 * Allocates nothing. The writer.
 */
void allowedips_remove_owner(struct allowedips *table,
			     struct allowedips_owner *owner);

/**
 * allowedips_settle() - build the shortcuts anew, if enough has changed
 * @table:	the table
 *
 * Call it after a series of insertions and removals. It makes look-ups faster;
 * their results do not depend on it. If 64 prefixes and a sixteenth of the
 * table have changed since the last time, it walks over the whole table; else
 * it does nothing. If memory is short it leaves shortcuts out. The writer.
 */
void allowedips_settle(struct allowedips *table);

/**
 * allowedips_lookup() - find the owner of an address
 * @table:	the table
 * @family:	family of the address
 * @addr:	4 or 16 bytes in network order, of any alignment
 *
 * Between rcu_enter() and rcu_leave(); any thread.
 *
 * Return: the owner of the longest prefix that covers the address, valid until
 * rcu_leave(); NULL if none does.
 */
struct allowedips_owner *allowedips_lookup(const struct allowedips *table,
					   enum ip_family family,
					   const uint8_t *addr);

/**
 * allowedips_next() - walk over the prefixes of an owner, oldest first
 * @owner:	the owner
 * @pos:	position of the walk, updated by each call; NULL at its start
 * @prefix:	filled with the next one, host bits zero
 *
 * The writer; the owner's prefixes do not change during the walk.
 *
 * Return: true; false at the end.
 */
bool allowedips_next(const struct allowedips_owner *owner,
		     const struct allowedips_node **pos,
		     struct ip_prefix *prefix);

/**
 * ip_prefix_is_valid() - are the family and the number of bits possible?
 * @prefix:	a prefix from an untrusted source
 *
 * Return: true if the family is IP_V4 or IP_V6 and @prefix->cidr is at most 32
 * or 128.
 */
bool ip_prefix_is_valid(const struct ip_prefix *prefix);

#endif /* DEVICE_ALLOWEDIPS_H */
