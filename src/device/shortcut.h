/* SPDX-License-Identifier: MIT */
/*
 * Shortcuts through the trie of allowed IPs.
 *
 * In a trie of a million prefixes a look-up takes twenty steps. If the nodes
 * are in no cache, each step waits for memory. Therefore a node may have a
 * shortcut: an array, and the next bits of the address (at most
 * SHORTCUT_MAX_BITS) are the index into it. A slot of the array has the result
 * of the walk over the nodes in between: the last owner among them, and the
 * first node below them. So most look-ups read one array and one node, perhaps
 * one or two nodes more.
 *
 * The trie is complete without shortcuts. shortcut_tune() builds all of them in
 * one walk over the trie. A node gets a shortcut if at least one in
 * SHORTCUT_SPARSENESS of its slots would have a node. That bounds the memory: a
 * node is in at most one slot, so there are at most SHORTCUT_SPARSENESS times
 * as many slots as nodes. Between two calls of shortcut_tune(),
 * shortcut_refresh() keeps the existing shortcuts exact. If memory for a
 * shortcut is short, the walk is longer there; the result of a look-up is the
 * same.
 *
 * A reader reads the owner of a slot, then its node. Without the shortcut the
 * reader would have met the two in the same order on its way down, so each
 * result is one that it could have had without the shortcut.
 *
 * All functions here are for the writer; lookup() in allowedips.c is the
 * reader.
 */
#ifndef DEVICE_SHORTCUT_H
#define DEVICE_SHORTCUT_H

#include <stddef.h>

#include "base/rcu.h"
#include "device/trie.h"

enum {
	/* A shorter shortcut saves too few steps for its memory. A choice, not
	 * measured. */
	SHORTCUT_MIN_BITS = 3,
	/* A choice: 4 million slots, more than a table of a million prefixes
	 * can fill (SHORTCUT_SPARSENESS). */
	SHORTCUT_MAX_BITS = 22,
	/* On average, one of this many slots has a node, or more do. A choice:
	 * a slot has 16 bytes, so a node has at most 64 bytes of slots. */
	SHORTCUT_SPARSENESS = 4,
};

/**
 * struct shortcut_slot - the result of a walk along some bits
 * @owner:	[r] owner of the last prefix between the shortcut's node and
 *		@node; NULL: none
 * @node:	[r] node at which the walk goes on; NULL: the walk ends
 */
struct shortcut_slot {
	struct allowedips_owner *owner;
	struct allowedips_node *node;
};

/**
 * struct shortcut - the array of a node
 * @rcu:	used after the shortcut was replaced
 * @n_bits:	[I] number of bits that are the index, so 2^n_bits slots
 * @slots:	the slots, by the bits of the address behind the node's prefix
 */
struct shortcut {
	struct rcu_head rcu;
	unsigned int n_bits;
	struct shortcut_slot slots[];
};

/**
 * shortcut_refresh() - make the shortcuts on the way to a prefix exact again
 * @root:	root of the trie; NULL is ok
 * @key:	prefix below which the trie was changed just now
 * @cidr:	its length
 *
 * Call it after a node was unlinked and before it is retired.
 */
void shortcut_refresh(struct allowedips_node *root, const struct key *key,
		      unsigned int cidr);

/**
 * shortcut_tune() - build all shortcuts of a trie anew
 * @root:	root of the trie; NULL is ok
 */
void shortcut_tune(struct allowedips_node *root);

/**
 * shortcut_drop() - free the shortcut of a node after the readers
 * @n:		node
 */
void shortcut_drop(struct allowedips_node *n);

#endif /* DEVICE_SHORTCUT_H */
