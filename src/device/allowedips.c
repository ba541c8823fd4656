/* SPDX-License-Identifier: MIT */
#include "device/allowedips.h"

#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/bytes.h"

enum {
	WORD_BITS = 32,
	MAX_WORDS = 4,
};

/*
 * @child:	[r] longer prefixes whose next bit is 0 or 1; as long as the
 *		node is spare, child[0] chains it
 * @owner:	[r] NULL: glue
 * @of_owner:	[w] in the owner's list, if there is an owner
 * @rcu:	once the node has left trie and list
 * @cidr:	[I]
 * @family:	[I]
 * @bits:	[I] one word (IPv4) or four, most significant first, host order;
 *		those behind the first cidr bits are zero
 */
struct allowedips_node {
	struct allowedips_node *child[2];
	struct allowedips_owner *owner;
	union {
		struct list of_owner;
		struct rcu_head rcu;
	};
	uint8_t cidr;
	uint8_t family;
	uint32_t bits[];
};

/* An address as the trie compares it. */
struct key {
	uint32_t bits[MAX_WORDS];
};

/* Where a node hangs: the pointer to it, its parent and the pointer to that. */
struct place {
	struct allowedips_node **slot;
	struct allowedips_node *parent;
	struct allowedips_node **parent_slot;
};

/**
 * family_slot() - which of two
 * @family:	IP_V4 or IP_V6
 *
 * Return: 0 for IPv4, 1 for IPv6.
 */
static size_t family_slot(enum ip_family family)
{
	return family == IP_V4 ? 0 : 1;
}

/**
 * family_words() - how many words an address has
 * @family:	IP_V4 or IP_V6
 *
 * Return: 1 or 4.
 */
static unsigned int family_words(enum ip_family family)
{
	return family == IP_V4 ? 1 : MAX_WORDS;
}

/**
 * family_bits() - how many bits an address has
 * @family:	IP_V4 or IP_V6
 *
 * Return: 32 or 128.
 */
static unsigned int family_bits(enum ip_family family)
{
	return family_words(family) * WORD_BITS;
}

/**
 * word_at() - a word of an address
 * @addr:	address in network order
 * @i:		which
 *
 * Return: the word in host order.
 */
static uint32_t word_at(const uint8_t *addr, unsigned int i)
{
	struct be32 word;

	memcpy(&word, addr + i * sizeof(word), sizeof(word));
	return be32_get(word);
}

/**
 * word_mask() - which bits of a word belong to a prefix
 * @i:		which
 * @cidr:	how many bits of it count
 *
 * Return: ones for the first @cidr bits, as far as they are in word @i.
 */
static uint32_t word_mask(unsigned int i, unsigned int cidr)
{
	if (cidr <= i * WORD_BITS)
		return 0;
	if (cidr >= (i + 1) * WORD_BITS)
		return UINT32_MAX;
	return ~(UINT32_MAX >> (cidr - i * WORD_BITS));
}

/**
 * key_of_prefix() - a prefix as the trie compares it
 * @prefix:	prefix
 *
 * Return: its bits, host bits zero.
 */
static struct key key_of_prefix(const struct ip_prefix *prefix)
{
	struct key key = { { 0 } };
	unsigned int i;

	for (i = 0; i < family_words(prefix->family); i++)
		key.bits[i] =
			word_at(prefix->addr, i) & word_mask(i, prefix->cidr);
	return key;
}

/**
 * bit_at() - one bit of an address
 * @bits:	address
 * @i:		which
 *
 * Return: 0 or 1.
 */
static unsigned int bit_at(const uint32_t *bits, unsigned int i)
{
	return bits[i / WORD_BITS] >> (WORD_BITS - 1 - i % WORD_BITS) & 1;
}

/**
 * common_bits() - how many leading bits two addresses share
 * @a:		the one
 * @b:		the other
 * @max:	most that counts
 *
 * Return: the number, @max at most.
 */
static unsigned int common_bits(const uint32_t *a, const uint32_t *b,
				unsigned int max)
{
	unsigned int i;
	unsigned int n;

	for (i = 0; i * WORD_BITS < max; i++) {
		if (a[i] == b[i])
			continue;
		n = i * WORD_BITS + (unsigned int)__builtin_clz(a[i] ^ b[i]);
		return n < max ? n : max;
	}
	return max;
}

/**
 * node_covers() - does a node stand for a prefix of an address?
 * @n:		node
 * @bits:	address
 *
 * Return: true if so.
 */
static bool node_covers(const struct allowedips_node *n, const uint32_t *bits)
{
	return common_bits(n->bits, bits, n->cidr) == n->cidr;
}

/**
 * node_alloc() - memory for a node
 * @family:	IP_V4 or IP_V6
 *
 * Return: the node; NULL.
 */
static struct allowedips_node *node_alloc(enum ip_family family)
{
	return malloc(sizeof(struct allowedips_node) +
		      family_words(family) * sizeof(uint32_t));
}

/**
 * node_get() - a node from those set aside, or from the heap
 * @table:	table
 * @family:	IP_V4 or IP_V6
 *
 * Return: the node; NULL.
 */
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

/**
 * node_set_aside() - keep a node for an insertion to come
 * @table:	table
 * @family:	IP_V4 or IP_V6
 * @n:		node
 */
static void node_set_aside(struct allowedips *table, enum ip_family family,
			   struct allowedips_node *n)
{
	size_t i = family_slot(family);

	n->child[0] = table->spare[i];
	table->spare[i] = n;
	table->n_spare[i]++;
}

/**
 * node_fill() - make a node without owner and children
 * @n:		node
 * @family:	IP_V4 or IP_V6
 * @key:	address
 * @cidr:	how many bits of it count
 */
static void node_fill(struct allowedips_node *n, enum ip_family family,
		      const struct key *key, unsigned int cidr)
{
	unsigned int i;

	n->child[0] = NULL;
	n->child[1] = NULL;
	n->owner = NULL;
	list_init(&n->of_owner);
	n->cidr = (uint8_t)cidr;
	n->family = (uint8_t)family;
	for (i = 0; i < family_words(family); i++)
		n->bits[i] = key->bits[i] & word_mask(i, cidr);
}

/**
 * node_release() - free a node that no reader can be on
 * @head:	embedded in it
 */
static void node_release(struct rcu_head *head)
{
	free(container_of(head, struct allowedips_node, rcu));
}

/**
 * node_retire() - free a node after the readers
 * @n:		node
 */
static void node_retire(struct allowedips_node *n)
{
	rcu_free_later(&n->rcu, node_release);
}

/**
 * node_disown() - take a node from its owner; a reader may still be told the
 *	old one
 * @table:	table
 * @n:		node
 */
static void node_disown(struct allowedips *table, struct allowedips_node *n)
{
	if (!n->owner)
		return;
	n->owner->n_prefixes--;
	table->n_prefixes--;
	list_remove(&n->of_owner);
}

/**
 * node_own() - give a node to an owner
 * @table:	table
 * @n:		node
 * @owner:	owner
 */
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

/**
 * find_place() - walk down to the node of a prefix, or to where it would hang
 * @table:	table
 * @family:	IP_V4 or IP_V6
 * @key:	address
 * @cidr:	how many bits of it count
 * @place:	filled
 *
 * Afterwards *@place->slot is that node, or NULL, or the first node on the way
 * that does not cover the prefix.
 */
static void find_place(struct allowedips *table, enum ip_family family,
		       const struct key *key, unsigned int cidr,
		       struct place *place)
{
	struct allowedips_node *n;

	place->slot = &table->roots[family_slot(family)];
	place->parent = NULL;
	place->parent_slot = NULL;
	while ((n = *place->slot) && n->cidr < cidr &&
	       node_covers(n, key->bits)) {
		place->parent_slot = place->slot;
		place->parent = n;
		place->slot = &n->child[bit_at(key->bits, n->cidr)];
	}
}

/**
 * node_is() - does a node stand for this very prefix?
 * @n:		node
 * @key:	address
 * @cidr:	how many bits of it count
 *
 * Return: true if so; false if not, or if @n is NULL.
 */
static bool node_is(const struct allowedips_node *n, const struct key *key,
		    unsigned int cidr)
{
	return n && n->cidr == cidr && node_covers(n, key->bits);
}

/**
 * hang_above() - hang a new node above one that does not cover it
 * @slot:	the pointer to it
 * @fresh:	new node
 * @below:	node that hangs there now
 * @glue:	new fork, or NULL: @fresh covers @below
 * @n_common:	bits that all below share
 *
 * If neither covers the other, @glue forks to both; readers see all three at
 * once.
 */
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

/**
 * insert_fresh() - make the one or two nodes for a prefix the trie does not
 *	have
 * @table:	table
 * @prefix:	prefix
 * @key:	address
 * @owner:	owner
 * @place:	from find_place()
 *
 * Return: 0; -ENOMEM.
 */
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

int allowedips_insert(struct allowedips *table, const struct ip_prefix *prefix,
		      struct allowedips_owner *owner)
{
	struct key key = key_of_prefix(prefix);
	struct place place;

	INVARIANT(ip_prefix_is_valid(prefix));
	find_place(table, prefix->family, &key, prefix->cidr, &place);
	if (node_is(*place.slot, &key, prefix->cidr) &&
	    ((*place.slot)->owner ||
	     table->n_prefixes < ALLOWEDIPS_MAX_PREFIXES)) {
		node_own(table, *place.slot, owner);
		return 0;
	}
	if (table->n_prefixes >= ALLOWEDIPS_MAX_PREFIXES)
		return -ENOSPC;
	return insert_fresh(table, prefix, &key, owner, &place);
}

/**
 * remove_at() - take a prefix out of the trie
 * @table:	table
 * @place:	from find_place()
 *
 * A node with two children stays as glue; one with one child is replaced by it;
 * and where a leaf goes from below glue, the glue has one child left and is
 * replaced by that.
 */
static void remove_at(struct allowedips *table, const struct place *place)
{
	struct allowedips_node *n = *place->slot;
	struct allowedips_node *parent = place->parent;
	struct allowedips_node *child;

	node_disown(table, n);
	if (n->child[0] && n->child[1]) {
		rcu_store(n->owner, NULL);
		return;
	}
	child = n->child[0] ? n->child[0] : n->child[1];
	rcu_store(*place->slot, child);
	node_retire(n);
	if (child || !parent || parent->owner)
		return;
	child = parent->child[0] ? parent->child[0] : parent->child[1];
	rcu_store(*place->parent_slot, child);
	node_retire(parent);
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
	struct key key = { { 0 } };
	unsigned int i;

	while (!list_is_empty(&owner->prefixes)) {
		n = container_of(owner->prefixes.next, struct allowedips_node,
				 of_owner);
		for (i = 0; i < family_words(n->family); i++)
			key.bits[i] = n->bits[i];
		find_place(table, n->family, &key, n->cidr, &place);
		INVARIANT(*place.slot == n);
		remove_at(table, &place);
	}
}

/**
 * lookup() - walk down and remember the last owner
 * @n:		root
 * @bits:	address
 * @family:	IP_V4 or IP_V6
 *
 * @family is a constant at each call, so each becomes a loop of its own.
 *
 * Return: the owner; NULL.
 */
static inline __attribute__((always_inline)) struct allowedips_owner *
lookup(const struct allowedips_node *n, const uint32_t *bits,
       enum ip_family family)
{
	struct allowedips_owner *best = NULL;
	struct allowedips_owner *owner;

	while (n && common_bits(n->bits, bits, n->cidr) == n->cidr) {
		owner = rcu_load(n->owner);
		if (owner)
			best = owner;
		if (n->cidr == family_bits(family))
			break;
		n = rcu_load(n->child[bit_at(bits, n->cidr)]);
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
		return lookup(rcu_load(table->roots[0]), key.bits, IP_V4);
	return lookup(rcu_load(table->roots[1]), key.bits, IP_V6);
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
