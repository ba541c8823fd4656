/* SPDX-License-Identifier: MIT */
/*
 * The trie's one writer: insertion and removal, one pointer at a time, and the
 * look-up that runs beside them. The rules for readers are in allowedips.h, the
 * node is in trie.h.
 */
#include "device/allowedips.h"

#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "device/shortcut.h"
#include "device/trie.h"

enum {
	/*
	 * Shortcuts are built anew after SETTLE_MIN + prefixes / SETTLE_PART
	 * changes. After fewer changes the shortcuts that exist are kept exact,
	 * and a new table is so small that it needs none. Both numbers are
	 * choices, not measured.
	 */
	SETTLE_MIN = 64,
	SETTLE_PART = 16,
};

/*
 * A place in the trie where a node hangs or could hang.
 * @slot:	the pointer to the node
 * @parent:	the node above; NULL at the root
 * @parent_slot: the pointer to @parent
 * @has_shortcut: a node on the way down has a shortcut
 */
struct place {
	struct allowedips_node **slot;
	struct allowedips_node *parent;
	struct allowedips_node **parent_slot;
	bool has_shortcut;
};

/* The place of a family in the arrays of struct allowedips. */
static size_t family_slot(enum ip_family family)
{
	return family == IP_V4 ? 0 : 1;
}

/* Word @i of an address in network order, in host order. */
static uint32_t word_at(const uint8_t *addr, unsigned int i)
{
	struct be32 word;

	memcpy(&word, addr + i * sizeof(word), sizeof(word));
	return be32_get(word);
}

/* The prefix as the trie compares it: host bits are 0. */
static struct key key_of_prefix(const struct ip_prefix *prefix)
{
	struct key key = { { 0 } };
	unsigned int i;

	for (i = 0; i < family_words(prefix->family); i++)
		key.bits[i] =
			word_at(prefix->addr, i) & word_mask(i, prefix->cidr);
	return key;
}

static struct allowedips_node *node_alloc(enum ip_family family)
{
	/* Without the padding at the end of the struct, which would cost 16
	 * bytes more of heap for each node. */
	return malloc(offsetof(struct allowedips_node, bits) +
		      family_words(family) * sizeof(uint32_t));
}

/* Takes a node that was set aside, else one from the heap. */
static struct allowedips_node *node_get(struct allowedips *table,
					enum ip_family family)
{
	size_t i = family_slot(family);
	struct allowedips_node *n = table->spare[i];

	if (!n)
		return node_alloc(family);
	table->spare[i] = n->child[0];
	table->n_spare[i]--;
	return n;
}

static void node_set_aside(struct allowedips *table, enum ip_family family,
			   struct allowedips_node *n)
{
	size_t i = family_slot(family);

	n->child[0] = table->spare[i];
	table->spare[i] = n;
	table->n_spare[i]++;
}

/* Makes a node without owner and children. */
static void node_fill(struct allowedips_node *n, enum ip_family family,
		      const struct key *key, unsigned int cidr)
{
	unsigned int i;

	n->child[0] = NULL;
	n->child[1] = NULL;
	n->owner = NULL;
	n->shortcut = NULL;
	list_init(&n->of_owner);
	n->cidr = (uint8_t)cidr;
	n->family = (uint8_t)family;
	for (i = 0; i < family_words(family); i++)
		n->bits[i] = key->bits[i] & word_mask(i, cidr);
}

static void node_release(struct rcu_head *head)
{
	free(container_of(head, struct allowedips_node, rcu));
}

/* Frees a node after the readers. */
static void node_retire(struct allowedips_node *n)
{
	shortcut_drop(n);
	rcu_free_later(&n->rcu, node_release);
}

/* n->owner stays: a reader that is on the node may still return the old
 * owner. */
static void node_disown(struct allowedips *table, struct allowedips_node *n)
{
	if (!n->owner)
		return;
	n->owner->n_prefixes--;
	table->n_prefixes--;
	list_remove(&n->of_owner);
}

static void node_own(struct allowedips *table, struct allowedips_node *n,
		     struct allowedips_owner *owner)
{
	node_disown(table, n);
	list_push(&owner->prefixes, &n->of_owner);
	owner->n_prefixes++;
	table->n_prefixes++;
	rcu_store(n->owner, owner);
}

void allowedips_init(struct allowedips *table)
{
	memset(table, 0, sizeof(*table));
}

void allowedips_deinit(struct allowedips *table)
{
	allowedips_unreserve(table);
	INVARIANT(!table->roots[0] && !table->roots[1]);
}

void allowedips_owner_init(struct allowedips_owner *owner)
{
	list_init(&owner->prefixes);
	owner->n_prefixes = 0;
}

int allowedips_reserve(struct allowedips *table, enum ip_family family,
		       size_t n)
{
	size_t n_spare = table->n_spare[0] + table->n_spare[1];
	size_t n_planned = n_spare / ALLOWEDIPS_NODES_PER_PREFIX;
	struct allowedips_node *node;
	size_t i;

	if (n > ALLOWEDIPS_MAX_PREFIXES ||
	    table->n_prefixes + n_planned > ALLOWEDIPS_MAX_PREFIXES - n)
		return -ENOSPC;
	for (i = 0; i < n * ALLOWEDIPS_NODES_PER_PREFIX; i++) {
		node = node_alloc(family);
		if (!node)
			return -ENOMEM;
		node_set_aside(table, family, node);
	}
	return 0;
}

void allowedips_unreserve(struct allowedips *table)
{
	struct allowedips_node *n;
	size_t i;

	for (i = 0; i < ARRAY_LEN(table->spare); i++) {
		while ((n = table->spare[i])) {
			table->spare[i] = n->child[0];
			free(n);
		}
		table->n_spare[i] = 0;
	}
}

/* Afterwards *@place->slot is the node of the prefix, or NULL, or the first
 * node on the way down that does not cover the prefix. */
static void find_place(struct allowedips *table, enum ip_family family,
		       const struct key *key, unsigned int cidr,
		       struct place *place)
{
	struct allowedips_node *n;

	place->slot = &table->roots[family_slot(family)];
	place->parent = NULL;
	place->parent_slot = NULL;
	place->has_shortcut = false;
	while ((n = *place->slot) && n->cidr < cidr &&
	       node_covers(n, key->bits)) {
		place->parent_slot = place->slot;
		place->parent = n;
		place->has_shortcut |= n->shortcut != NULL;
		place->slot = &n->child[bit_at(key->bits, n->cidr)];
	}
}

/* Does @n, which may be NULL, stand for exactly this prefix? */
static bool node_is(const struct allowedips_node *n, const struct key *key,
		    unsigned int cidr)
{
	return n && n->cidr == cidr && node_covers(n, key->bits);
}

/* Puts @fresh above @below, which hangs at @slot. If @fresh does not cover
 * @below, @glue gets both as children; readers see all three nodes at once. */
static void hang_above(struct allowedips_node **slot,
		       struct allowedips_node *fresh,
		       struct allowedips_node *below,
		       struct allowedips_node *glue, unsigned int n_common)
{
	unsigned int side = bit_at(below->bits, n_common);

	if (!glue) {
		fresh->child[side] = below;
		rcu_store(*slot, fresh);
		return;
	}
	glue->child[side] = below;
	glue->child[!side] = fresh;
	rcu_store(*slot, glue);
}

/* For a prefix that has no node yet. It takes one node, or two if a fork is
 * needed. */
static int insert_fresh(struct allowedips *table,
			const struct ip_prefix *prefix, const struct key *key,
			struct allowedips_owner *owner, struct place *place)
{
	struct allowedips_node *below = *place->slot;
	struct allowedips_node *glue = NULL;
	struct allowedips_node *fresh;
	unsigned int n_common = prefix->cidr;

	fresh = node_get(table, prefix->family);
	if (!fresh)
		return -ENOMEM;
	if (below)
		n_common =
			common_bits(below->bits, key->bits,
				    below->cidr < prefix->cidr ? below->cidr
							       : prefix->cidr);
	if (n_common < prefix->cidr) {
		glue = node_get(table, prefix->family);
		if (!glue) {
			free(fresh);
			return -ENOMEM;
		}
		node_fill(glue, prefix->family, key, n_common);
	}
	node_fill(fresh, prefix->family, key, prefix->cidr);
	node_own(table, fresh, owner);
	if (below)
		hang_above(place->slot, fresh, below, glue, n_common);
	else
		rcu_store(*place->slot, fresh);
	return 0;
}

/* To be called after a change, with the place from before it: makes the
 * shortcuts on the way exact again. */
static void changed(struct allowedips *table, enum ip_family family,
		    const struct key *key, unsigned int cidr,
		    const struct place *place)
{
	table->n_changes++;
	if (place->has_shortcut)
		shortcut_refresh(table->roots[family_slot(family)], key, cidr);
}

int allowedips_insert(struct allowedips *table, const struct ip_prefix *prefix,
		      struct allowedips_owner *owner)
{
	struct key key = key_of_prefix(prefix);
	struct place place;
	int err;

	INVARIANT(ip_prefix_is_valid(prefix));
	find_place(table, prefix->family, &key, prefix->cidr, &place);
	if (node_is(*place.slot, &key, prefix->cidr) &&
	    ((*place.slot)->owner ||
	     table->n_prefixes < ALLOWEDIPS_MAX_PREFIXES)) {
		node_own(table, *place.slot, owner);
		changed(table, prefix->family, &key, prefix->cidr, &place);
		return 0;
	}
	if (table->n_prefixes >= ALLOWEDIPS_MAX_PREFIXES)
		return -ENOSPC;
	err = insert_fresh(table, prefix, &key, owner, &place);
	if (err == 0)
		changed(table, prefix->family, &key, prefix->cidr, &place);
	return err;
}

/* A node with two children stays, as glue. A single child replaces its node.
 * If the removed leaf hangs below glue, its sibling replaces the glue. */
static void remove_at(struct allowedips *table, const struct place *place)
{
	struct allowedips_node *n = *place->slot;
	struct allowedips_node *glue = NULL;
	struct allowedips_node *child;
	struct key key = key_of_node(n);

	node_disown(table, n);
	if (n->child[0] && n->child[1]) {
		rcu_store(n->owner, NULL);
		changed(table, n->family, &key, n->cidr, place);
		return;
	}
	child = n->child[0] ? n->child[0] : n->child[1];
	rcu_store(*place->slot, child);
	if (!child && place->parent && !place->parent->owner) {
		glue = place->parent;
		child = glue->child[0] ? glue->child[0] : glue->child[1];
		rcu_store(*place->parent_slot, child);
	}
	changed(table, n->family, &key, n->cidr, place);
	node_retire(n);
	if (glue)
		node_retire(glue);
}

bool allowedips_remove(struct allowedips *table, const struct ip_prefix *prefix,
		       struct allowedips_owner *owner)
{
	struct key key = key_of_prefix(prefix);
	struct place place;

	INVARIANT(ip_prefix_is_valid(prefix));
	find_place(table, prefix->family, &key, prefix->cidr, &place);
	if (!node_is(*place.slot, &key, prefix->cidr) ||
	    (*place.slot)->owner != owner)
		return false;
	remove_at(table, &place);
	return true;
}

void allowedips_remove_owner(struct allowedips *table,
			     struct allowedips_owner *owner)
{
	struct allowedips_node *n;
	struct place place;
	struct key key;

	while (!list_is_empty(&owner->prefixes)) {
		n = container_of(owner->prefixes.next, struct allowedips_node,
				 of_owner);
		key = key_of_node(n);
		find_place(table, n->family, &key, n->cidr, &place);
		INVARIANT(*place.slot == n);
		remove_at(table, &place);
	}
}

void allowedips_settle(struct allowedips *table)
{
	size_t few = SETTLE_MIN + table->n_prefixes / SETTLE_PART;

	if (table->n_changes < few)
		return;
	table->n_changes = 0;
	for (size_t i = 0; i < ARRAY_LEN(table->roots); i++)
		shortcut_tune(table->roots[i]);
}

/* Follows a shortcut that begins behind the first @from bits of @key. Sets
 * @best to the owner of the slot, if it has one. */
static inline const struct allowedips_node *leap(const struct shortcut *s,
						 unsigned int from,
						 const struct key *key,
						 struct allowedips_owner **best)
{
	const struct shortcut_slot *slot =
		&s->slots[key_window(key, from, s->n_bits)];
	struct allowedips_owner *owner = rcu_load(slot->owner);

	if (owner)
		*best = owner;
	return rcu_load(slot->node);
}

/* @family is a constant at each call, so the compiler makes a loop for each. */
static inline __attribute__((always_inline)) struct allowedips_owner *
lookup(const struct allowedips_node *n, const struct key *key,
       enum ip_family family)
{
	struct allowedips_owner *best = NULL;
	struct allowedips_owner *owner;
	const struct shortcut *shortcut;

	while (n && node_covers(n, key->bits)) {
		owner = rcu_load(n->owner);
		if (owner)
			best = owner;
		if (n->cidr == family_bits(family))
			break;
		shortcut = rcu_load(n->shortcut);
		if (shortcut)
			n = leap(shortcut, n->cidr, key, &best);
		else
			n = rcu_load(n->child[bit_at(key->bits, n->cidr)]);
	}
	return best;
}

struct allowedips_owner *allowedips_lookup(const struct allowedips *table,
					   enum ip_family family,
					   const uint8_t *addr)
{
	struct key key = { { 0 } };
	unsigned int i;

	for (i = 0; i < family_words(family); i++)
		key.bits[i] = word_at(addr, i);
	if (family == IP_V4)
		return lookup(rcu_load(table->roots[0]), &key, IP_V4);
	return lookup(rcu_load(table->roots[1]), &key, IP_V6);
}

bool allowedips_next(const struct allowedips_owner *owner,
		     const struct allowedips_node **pos,
		     struct ip_prefix *prefix)
{
	const struct list *next =
		*pos ? (*pos)->of_owner.next : owner->prefixes.next;
	const struct allowedips_node *n;
	struct be32 word;
	unsigned int i;

	if (next == &owner->prefixes)
		return false;
	n = container_of(unconst(next), struct allowedips_node, of_owner);
	memset(prefix, 0, sizeof(*prefix));
	prefix->family = n->family;
	prefix->cidr = n->cidr;
	for (i = 0; i < family_words(n->family); i++) {
		word = be32_make(n->bits[i]);
		memcpy(prefix->addr + i * sizeof(word), &word, sizeof(word));
	}
	*pos = n;
	return true;
}

bool ip_prefix_is_valid(const struct ip_prefix *prefix)
{
	if (prefix->family != IP_V4 && prefix->family != IP_V6)
		return false;
	return prefix->cidr <= family_bits(prefix->family);
}
