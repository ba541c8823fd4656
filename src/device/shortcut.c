/* SPDX-License-Identifier: MIT */
#include "device/shortcut.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/bytes.h"

enum {
	/* From here on an array is a mapping, of large pages if there are. */
	MAPPING_LEN = 2 << 20,
};

/*
 * Slots being written.
 * @shortcut:	their array
 * @base:	length of the prefix of its node
 * @first:	slots before it are left alone
 * @end:	slots from it on are left alone
 */
struct filling {
	struct shortcut *shortcut;
	unsigned int base;
	size_t first;
	size_t end;
};

/* How many nodes would be in slots, by the number of bits of a shortcut. */
struct census {
	uint32_t n[SHORTCUT_MAX_BITS + 1];
};

/**
 * shortcut_len() - memory of a shortcut
 * @n_bits:	of the address
 *
 * Return: bytes.
 */
static size_t shortcut_len(unsigned int n_bits)
{
	return sizeof(struct shortcut) +
	       (sizeof(struct shortcut_slot) << n_bits);
}

/**
 * shortcut_new() - a shortcut whose slots are empty
 * @n_bits:	of the address
 *
 * Return: the shortcut; NULL.
 */
static struct shortcut *shortcut_new(unsigned int n_bits)
{
	size_t len = shortcut_len(n_bits);
	struct shortcut *s;

	if (len < MAPPING_LEN) {
		s = calloc(1, len);
	} else {
		/* A mapping goes back to the kernel as a whole. */
		s = mmap(NULL, len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (s == MAP_FAILED)
			return NULL;
		/* Fewer misses of the TLB, if the kernel can do it. */
		madvise(s, len, MADV_HUGEPAGE);
	}
	if (s)
		s->n_bits = n_bits;
	return s;
}

/**
 * shortcut_release() - free a shortcut that no reader has
 * @head:	embedded in it
 */
static void shortcut_release(struct rcu_head *head)
{
	struct shortcut *s = container_of(head, struct shortcut, rcu);
	size_t len = shortcut_len(s->n_bits);

	if (len < MAPPING_LEN)
		free(s);
	else
		munmap(s, len);
}

/**
 * set_shortcut() - give a node another shortcut
 * @n:		node
 * @s:		shortcut, or NULL
 */
static void set_shortcut(struct allowedips_node *n, struct shortcut *s)
{
	struct shortcut *old = n->shortcut;

	if (s == old)
		return;
	rcu_store(n->shortcut, s);
	if (old)
		rcu_free_later(&old->rcu, shortcut_release);
}

void shortcut_drop(struct allowedips_node *n)
{
	set_shortcut(n, NULL);
}

/**
 * set_slots() - write slots that lead to no node, or one that does
 * @f:		what is being written
 * @first:	first slot
 * @end:	end of the slots
 * @owner:	owner
 * @node:	node
 */
static void set_slots(const struct filling *f, size_t first, size_t end,
		      struct allowedips_owner *owner,
		      struct allowedips_node *node)
{
	struct shortcut_slot *slot;

	if (first < f->first)
		first = f->first;
	if (end > f->end)
		end = f->end;
	for (; first < end; first++) {
		slot = &f->shortcut->slots[first];
		/* What is right already stays in the readers' caches. */
		if (slot->owner != owner)
			rcu_store(slot->owner, owner);
		if (slot->node != node)
			rcu_store(slot->node, node);
	}
}

/**
 * is_leaf() - does a node end the walk?
 * @n:		node
 *
 * Return: true if so.
 */
static bool is_leaf(const struct allowedips_node *n)
{
	return !n->child[0] && !n->child[1];
}

/**
 * fill_slots() - write the slots that an edge of the trie is about
 * @f:		what is being written
 * @first:	first slot whose bits lead along the edge
 * @end:	end of these slots
 * @owner:	last owner above the edge
 * @n:		node at the edge's end; NULL: there is no edge
 *
 * A leaf for which all of its bits lead into one slot is not visited by a
 * look-up: the slot says all that it would.
 */
static void fill_slots(const struct filling *f, size_t first, size_t end,
		       struct allowedips_owner *owner,
		       struct allowedips_node *n)
{
	unsigned int depth = f->base + f->shortcut->n_bits;
	size_t n_covered, from, half;
	struct key key;

	if (end <= f->first || first >= f->end)
		return;
	if (!n) {
		set_slots(f, first, end, owner, NULL);
		return;
	}
	key = key_of_node(n);
	from = key_window(&key, f->base, f->shortcut->n_bits);
	n_covered = n->cidr < depth ? (size_t)1 << (depth - n->cidr) : 1;
	set_slots(f, first, from, owner, NULL);
	set_slots(f, from + n_covered, end, owner, NULL);
	if (n->cidr > depth || (n->cidr == depth && !is_leaf(n))) {
		set_slots(f, from, from + 1, owner, n);
		return;
	}
	if (n->owner)
		owner = n->owner;
	if (n->cidr == depth) {
		set_slots(f, from, from + 1, owner, NULL);
		return;
	}
	half = from + n_covered / 2;
	fill_slots(f, from, half, owner, n->child[0]);
	fill_slots(f, half, from + n_covered, owner, n->child[1]);
}

/**
 * fill_below() - write slots of a node's shortcut
 * @n:		node
 * @f:		what is being written
 */
static void fill_below(const struct allowedips_node *n, const struct filling *f)
{
	size_t n_slots = (size_t)1 << f->shortcut->n_bits;

	fill_slots(f, 0, n_slots / 2, NULL, n->child[0]);
	fill_slots(f, n_slots / 2, n_slots, NULL, n->child[1]);
}

/**
 * refresh_one() - make the slots exact that a prefix is about
 * @n:		node with a shortcut, above the prefix
 * @key:	prefix
 * @cidr:	its length
 *
 * Return: the node that follows on the way to the prefix; NULL.
 */
static struct allowedips_node *refresh_one(const struct allowedips_node *n,
					   const struct key *key,
					   unsigned int cidr)
{
	struct shortcut *s = n->shortcut;
	unsigned int depth = n->cidr + s->n_bits;
	size_t at = key_window(key, n->cidr, s->n_bits);
	struct filling f = { s, n->cidr, at, at + 1 };

	if (cidr < depth)
		f.end = at + ((size_t)1 << (depth - cidr));
	fill_below(n, &f);
	return s->slots[at].node;
}

void shortcut_refresh(struct allowedips_node *root, const struct key *key,
		      unsigned int cidr)
{
	struct allowedips_node *n = root;

	while (n && n->cidr < cidr && node_covers(n, key->bits))
		n = n->shortcut ? refresh_one(n, key, cidr)
				: n->child[bit_at(key->bits, n->cidr)];
}

/**
 * best_bits() - the longest shortcut that is not too sparse
 * @census:	what is below
 *
 * Return: bits; 0: none.
 */
static unsigned int best_bits(const struct census *census)
{
	unsigned int bits = SHORTCUT_MAX_BITS;

	while (bits >= SHORTCUT_MIN_BITS &&
	       census->n[bits] < (1U << bits) / SHORTCUT_SPARSENESS)
		bits--;
	return bits >= SHORTCUT_MIN_BITS ? bits : 0;
}

/**
 * plan() - find out how long a shortcut each node could have
 * @n:		node; its n_plan, and those below, are set
 * @census:	what is below it
 */
static void plan(struct allowedips_node *n, struct census *census)
{
	struct census below;
	unsigned int gap, bits;

	memset(census, 0, sizeof(*census));
	for (unsigned int side = 0; side < 2; side++) {
		if (!n->child[side])
			continue;
		plan(n->child[side], &below);
		gap = (unsigned int)n->child[side]->cidr - n->cidr;
		for (bits = 1; bits <= SHORTCUT_MAX_BITS; bits++)
			census->n[bits] +=
				bits <= gap ? 1 : below.n[bits - gap];
	}
	n->n_plan = (uint8_t)best_bits(census);
}

/**
 * clear_between() - drop the shortcuts that another one leaps over
 * @n:		node; NULL is ok
 * @depth:	where the other one ends
 */
static void clear_between(struct allowedips_node *n, unsigned int depth)
{
	if (!n || n->cidr >= depth)
		return;
	shortcut_drop(n);
	clear_between(n->child[0], depth);
	clear_between(n->child[1], depth);
}

/**
 * build() - give a node the shortcut that was planned for it
 * @n:		node
 *
 * Return: true if it has one.
 */
static bool build(struct allowedips_node *n)
{
	struct filling f = { .base = n->cidr };

	if (n->n_plan)
		f.shortcut = shortcut_new(n->n_plan);
	if (f.shortcut) {
		f.end = (size_t)1 << n->n_plan;
		fill_below(n, &f);
	}
	set_shortcut(n, f.shortcut);
	return f.shortcut;
}

/**
 * carry_out() - build the shortcuts below a node as planned
 * @n:		node; NULL is ok
 * @depth:	nodes above this are leapt over
 */
static void carry_out(struct allowedips_node *n, unsigned int depth)
{
	if (!n)
		return;
	if (n->cidr >= depth && build(n)) {
		depth = n->cidr + n->shortcut->n_bits;
		clear_between(n->child[0], depth);
		clear_between(n->child[1], depth);
	}
	carry_out(n->child[0], depth);
	carry_out(n->child[1], depth);
}

void shortcut_tune(struct allowedips_node *root)
{
	struct census census;

	if (!root)
		return;
	plan(root, &census);
	carry_out(root, 0);
}
