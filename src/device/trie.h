/* SPDX-License-Identifier: MIT */
/*
 * A node of the trie, and the bits of addresses that it compares. For the two
 * files that walk the trie: allowedips.c, which keeps it, and shortcut.c, which
 * makes it faster to walk.
 */
#ifndef DEVICE_TRIE_H
#define DEVICE_TRIE_H

#include "base/bytes.h"
#include "device/allowedips.h"

struct shortcut;

enum {
	WORD_BITS = 32,
	MAX_WORDS = 4,
};

/*
 * @child:	[r] nodes of longer prefixes, whose next bit is 0 or 1. In a spare
 *		node, child[0] is the next spare node.
 * @owner:	[r] owner of the prefix; NULL: the node is glue
 * @shortcut:	[r] shortcut of the node (shortcut.h); NULL: none
 * @of_owner:	[w] link of the owner's list, if there is an owner
 * @rcu:	used after the node has left the trie and the list
 * @cidr:	[I] length of the prefix
 * @family:	[I] enum ip_family
 * @n_plan:	[w] bits of the planned shortcut, inside shortcut_tune()
 * @bits:	[I] the prefix: one word (IPv4) or four (IPv6) in host order, the
 *		most significant first; bits behind the prefix are 0
 */
struct allowedips_node {
	struct allowedips_node *child[2];
	struct allowedips_owner *owner;
	struct shortcut *shortcut;
	union {
		struct list of_owner;
		struct rcu_head rcu;
	};
	uint8_t cidr;
	uint8_t family;
	uint8_t n_plan;
	uint32_t bits[];
};

/* An address as the trie compares it, in host order. The word at the end is 0:
 * key_window() reads one word more than it needs. */
struct key {
	uint32_t bits[MAX_WORDS + 1];
};

/**
 * family_words() - how many words an address has
 * @family:	IP_V4 or IP_V6
 *
 * Return: 1 or 4.
 */
static inline unsigned int family_words(enum ip_family family)
{
	return family == IP_V4 ? 1 : MAX_WORDS;
}

/**
 * family_bits() - how many bits an address has
 * @family:	IP_V4 or IP_V6
 *
 * Return: 32 or 128.
 */
static inline unsigned int family_bits(enum ip_family family)
{
	return family_words(family) * WORD_BITS;
}

/**
 * word_mask() - the mask of a prefix in one word
 * @i:		number of the word
 * @cidr:	length of the prefix
 *
 * Return: a word with ones for those of the first @cidr bits that lie in word
 * @i.
 */
static inline uint32_t word_mask(unsigned int i, unsigned int cidr)
{
	if (cidr <= i * WORD_BITS)
		return 0;
	if (cidr >= (i + 1) * WORD_BITS)
		return UINT32_MAX;
	return ~(UINT32_MAX >> (cidr - i * WORD_BITS));
}

/**
 * bit_at() - one bit of an address
 * @bits:	address
 * @i:		number of the bit; 0 is the most significant
 *
 * Return: 0 or 1.
 */
static inline unsigned int bit_at(const uint32_t *bits, unsigned int i)
{
	return bits[i / WORD_BITS] >> (WORD_BITS - 1 - i % WORD_BITS) & 1;
}

/**
 * common_bits() - how many leading bits two addresses share
 * @a:		the one
 * @b:		the other
 * @max:	number of bits to compare
 *
 * Return: the number, at most @max.
 */
static inline unsigned int common_bits(const uint32_t *a, const uint32_t *b,
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
 * node_covers() - is the node's prefix a prefix of this address?
 * @n:		node
 * @bits:	address
 *
 * Return: true if it is.
 */
static inline bool node_covers(const struct allowedips_node *n,
			       const uint32_t *bits)
{
	return common_bits(n->bits, bits, n->cidr) == n->cidr;
}

/**
 * key_window() - a range of bits of an address
 * @key:	address
 * @from:	first bit of the range
 * @n:		how many bits, 1 to 32; @from + @n is at most 128
 *
 * Return: the bits, as a number.
 */
static inline size_t key_window(const struct key *key, unsigned int from,
				unsigned int n)
{
	const uint32_t *word = &key->bits[from / WORD_BITS];
	uint64_t bits = (uint64_t)word[0] << WORD_BITS | word[1];

	return (size_t)(bits << from % WORD_BITS >> (2 * WORD_BITS - n));
}

/**
 * key_of_node() - the prefix that a node stands for
 * @n:		node
 *
 * Return: its bits.
 */
static inline struct key key_of_node(const struct allowedips_node *n)
{
	struct key key = { { 0 } };

	for (unsigned int i = 0; i < family_words((enum ip_family)n->family);
	     i++)
		key.bits[i] = n->bits[i];
	return key;
}

#endif /* DEVICE_TRIE_H */
