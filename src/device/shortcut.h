/* SPDX-License-Identifier: MIT */
/*
 * Shortcuts through the trie of allowed IPs.
 *
 * In a trie of a million prefixes a look-up takes twenty steps, and where the
 * nodes are in no cache each step waits for memory. A node may therefore have a
 * shortcut: an array that the next bits of the address lead into, up to
 * SHORTCUT_MAX_BITS at once. A slot says what the walk over the nodes between
 * would have found: the last owner among them, and the first node that lies
 * below all of these bits. So most look-ups are: an array, a node, perhaps one
 * or two more.
 *
 * The trie stays what it was and is complete without shortcuts. They are built
 * by shortcut_tune() in one walk over the whole trie, wherever enough nodes lie
 * below a node to fill one slot of SHORTCUT_SPARSENESS, which also bounds their
 * memory: a node is in at most one slot, so there are at most
 * SHORTCUT_SPARSENESS times as many slots as nodes. In between,
 * shortcut_refresh() keeps those that are there exact. If there is no memory for
 * one, the walk is longer there, and nothing else is different.
 *
 * A reader reads the owner of a slot, then its node. That is the order in which
 * it would have met them on its way down, so it sees nothing that it might not
 * have seen without the shortcut.
 *
 * The writer, but for what lookup() in allowedips.c does.
 */
#ifndef DEVICE_SHORTCUT_H
#define DEVICE_SHORTCUT_H

#include <stddef.h>

#include "base/rcu.h"
#include "device/trie.h"

enum {
	/* Shorter ones are not worth their memory. */
	SHORTCUT_MIN_BITS = 3,
	SHORTCUT_MAX_BITS = 22,
	/* At least one of so many slots has a node. */
	SHORTCUT_SPARSENESS = 4,
};

/**
 * struct shortcut_slot - where some bits lead
 * @owner:	[r] of the last prefix between the shortcut's node and @node, or
 *		NULL: none
 * @node:	[r] the next node, or NULL: none
 */
struct shortcut_slot {
	struct allowedips_owner *owner;
	struct allowedips_node *node;
};

/**
 * struct shortcut - the array of a node
 * @rcu:	once it is replaced
 * @n_bits:	[I] it has 2 to this power slots
 * @slots:	by the bits of the address that follow the node's
 */
struct shortcut {
	struct rcu_head rcu;
	unsigned int n_bits;
	struct shortcut_slot slots[];
};

/**
 * shortcut_refresh() - make the shortcuts on the way to a prefix exact again
 * @root:	of the trie; NULL is ok
 * @key:	prefix below which the trie was changed just now
 * @cidr:	its length
 *
 * Between unlinking a node and retiring it.
 */
void shortcut_refresh(struct allowedips_node *root, const struct key *key,
		      unsigned int cidr);

/**
 * shortcut_tune() - build all shortcuts of a trie anew
 * @root:	of the trie; NULL is ok
 */
void shortcut_tune(struct allowedips_node *root);

/**
 * shortcut_drop() - free the shortcut of a node after the readers
 * @n:		node
 */
void shortcut_drop(struct allowedips_node *n);

#endif /* DEVICE_SHORTCUT_H */
