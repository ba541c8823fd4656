/* SPDX-License-Identifier: MIT */
/*
 * What a node of the trie is, for those who walk it: allowedips.c, which keeps
 * it, and shortcut.c, which makes it quicker to walk.
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
 * @child:	[r] longer prefixes whose next bit is 0 or 1; as long as the
 *		node is spare, child[0] chains it
 * @owner:	[r] NULL: glue
 * @of_owner:	[w] in the owner's list, if there is an owner
 * @shortcut:	[r] see shortcut.h; NULL: none
 * @rcu:	once the node has left trie and list
 * @cidr:	[I]
 * @family:	[I]
 * @n_plan:	[w] used by shortcut_tune() alone
 * @bits:	[I] one word (IPv4) or four, most significant first, host order;
 *		those behind the first cidr bits are zero
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

/* An address as the trie compares it; a word more for key_window(). */
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
 * word_mask() - which bits of a word belong to a prefix
 * @i:		which
 * @cidr:	how many bits of it count
 *
 * Return: ones for the first @cidr bits, as far as they are in word @i.
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
 * @i:		which
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
 * @max:	most that counts
 *
 * Return: the number, @max at most.
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
 * node_covers() - does a node stand for a prefix of an address?
 * @n:		node
 * @bits:	address
 *
 * Return: true if so.
 */
static inline bool node_covers(const struct allowedips_node *n,
			       const uint32_t *bits)
{
	return common_bits(n->bits, bits, n->cidr) == n->cidr;
}

/**
 * key_window() - some bits of an address
 * @key:	address
 * @from:	number of bits before them
 * @n:		how many, 1 to 32; @from + @n at most 128
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
