/* SPDX-License-Identifier: MIT */
/*
 * Allowed IPs: which peer an inner address belongs to.
 *
 * One binary trie for each family, with paths compressed: a node stands for a
 * prefix, and has at most two children, whose prefixes are longer. A node
 * without an owner ("glue") is there only to fork, so it always has two
 * children, and n prefixes need at most 2n - 1 nodes. A look-up walks down from
 * the root while the node's prefix covers the address and remembers the last
 * owner it passed: at most 33 or 129 steps. In a large table, shortcuts
 * (shortcut.h) leap over most of them. A node takes 56 bytes (IPv4) or 68
 * (IPv6), a slot of a shortcut 16.
 *
 * Readers walk under RCU without a lock. The writer changes one pointer at a
 * time, such that a reader sees the trie either before or after each insertion
 * and removal. A node that leaves the trie keeps its children and its owner
 * until no reader can be on it.
 *
 * An owner is embedded in the peer and lists its prefixes in the order in which
 * they were inserted. This file knows nothing else of peers. An owner's memory
 * must stay for a grace period after its prefixes were removed.
 *
 * Legend: [r] read under RCU, written by the writer; [w] the writer's alone.
 * The writer is the control thread.
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
	/* The most prefixes of one device. */
	ALLOWEDIPS_MAX_PREFIXES = 1 << 22,
	/* The most that an insertion may add. */
	ALLOWEDIPS_NODES_PER_PREFIX = 2,
};

/**
 * struct ip_prefix - an address and how many leading bits of it count
 * @family:	IP_V4 or IP_V6
 * @cidr:	0 to 32 or 128
 * @addr:	network order; four bytes count for IPv4
 */
struct ip_prefix {
	uint8_t family;
	uint8_t cidr;
	uint8_t addr[16];
};

struct allowedips_node;

/**
 * struct allowedips_owner - embedded in whoever owns prefixes
 * @prefixes:	[w] nodes, oldest first
 * @n_prefixes:	[w]
 */
struct allowedips_owner {
	struct list prefixes;
	size_t n_prefixes;
};

/**
 * struct allowedips - the prefixes of all peers
 * @roots:	[r] of the IPv4 and of the IPv6 trie
 * @spare:	[w] nodes set aside by allowedips_reserve(), by family
 * @n_spare:	[w]
 * @n_prefixes:	[w]
 * @n_changes:	[w] since the shortcuts were built
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
 * allowedips_deinit() - free what is left
 * @table:	a table whose owners were all removed and which nobody reads
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
 * @family:	of the prefixes to come
 * @n:		how many insertions
 *
 * The writer. Give back what is left with allowedips_unreserve().
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
 * @owner:	gets it, at the end of its list. If another owner had it, that
 *		one has it no more.
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
 * @owner:	whose it must be
 *
 * Needs no memory. The writer.
 *
 * Return: true; false if @owner has no such prefix, and nothing has changed.
 */
bool allowedips_remove(struct allowedips *table, const struct ip_prefix *prefix,
		       struct allowedips_owner *owner);

/**
 * allowedips_remove_owner() - take all prefixes of an owner
 * @table:	the table
 * @owner:	whose
 *
 * Needs no memory. The writer.
 */
void allowedips_remove_owner(struct allowedips *table,
			     struct allowedips_owner *owner);

/**
 * allowedips_settle() - after some insertions and removals: look-ups to come
 *	shall be quick
 * @table:	the table
 *
 * Look-ups are right without it. It walks over the whole table if that has
 * changed by a part of it, and does nothing else. What it would need memory for
 * it leaves undone if there is none. The writer.
 */
void allowedips_settle(struct allowedips *table);

/**
 * allowedips_lookup() - whose is an address?
 * @table:	the table
 * @family:	of the address
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
 * allowedips_next() - walk the prefixes of an owner, oldest first
 * @owner:	whose
 * @pos:	where the walk is; NULL at its start. Updated.
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
 * ip_prefix_is_valid() - is this a family and a length that goes with it?
 * @prefix:	what came from outside
 *
 * Return: true if so.
 */
bool ip_prefix_is_valid(const struct ip_prefix *prefix);

#endif /* DEVICE_ALLOWEDIPS_H */
