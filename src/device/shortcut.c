/* SPDX-License-Identifier: MIT */
/*
 * Builds the shortcuts of a trie: plan() decides from the leaves up how long a
 * shortcut each node could have, carry_out() builds them from the root down.
 * fill_slots() writes slots, for a new shortcut and for one that is made exact
 * again.
 */
#include "device/shortcut.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/bytes.h"

enum {
	/* An array of this many bytes or more is a mapping of its own, with
	 * huge pages if the kernel has them. A huge page has 2 MiB on x86-64
	 * and usually on arm64. */
	MAPPING_LEN = 2 << 20,
};

/*
 * The slots that are to be written.
 * @shortcut:	shortcut that has them
 * @base:	length of the prefix of the shortcut's node
 * @first:	first slot to write
 * @end:	slot behind the last one to write
 */
struct filling {
	struct shortcut *shortcut;
	unsigned int base;
	size_t first;
	size_t end;
};

/* How many slots of a shortcut would have a node, if it had n bits. */
struct census {
	uint32_t n[SHORTCUT_MAX_BITS + 1];
};

static size_t shortcut_len(unsigned int n_bits)
{
	return sizeof(struct shortcut) +
	       (sizeof(struct shortcut_slot) << n_bits);
}

/* Returns a shortcut whose slots are empty, or NULL. */
static struct shortcut *shortcut_new(unsigned int n_bits)
{
	size_t len = shortcut_len(n_bits);
	struct shortcut *s;

	if (len < MAPPING_LEN) {
		s = calloc(1, len);
	} else {
		/* Memory of a mapping goes back to the kernel when it is freed. */
		s = mmap(NULL, len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (s == MAP_FAILED)
			return NULL;
		/* Huge pages save misses of the TLB. */
		madvise(s, len, MADV_HUGEPAGE);
	}
	if (s)
		s->n_bits = n_bits;
	return s;
}

static void shortcut_release(struct rcu_head *head)
{
	struct shortcut *s = container_of(head, struct shortcut, rcu);
	size_t len = shortcut_len(s->n_bits);

	if (len < MAPPING_LEN)
		free(s);
	else
		munmap(s, len);
}

/* @s may be NULL. The old shortcut is freed after the readers. */
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

/* Writes the slots from @first up to @end, as far as @f covers them. */
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
		/* A store would take the slot out of the readers' caches: write
		 * only what changes. */
		if (slot->owner != owner)
			rcu_store(slot->owner, owner);
		if (slot->node != node)
			rcu_store(slot->node, node);
	}
}

static bool is_leaf(const struct allowedips_node *n)
{
	return !n->child[0] && !n->child[1];
}

/* Writes the slots from @first up to @end, which are all slots on one side of a
 * node. @n is the node's child on that side, or NULL. @owner is the last owner
 * on the way to @n, or NULL. */
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
	/* A leaf whose prefix ends with the bits of the slot: its owner is all
	 * that a look-up would find there. */
	if (n->cidr == depth) {
		set_slots(f, from, from + 1, owner, NULL);
		return;
	}
	half = from + n_covered / 2;
	fill_slots(f, from, half, owner, n->child[0]);
	fill_slots(f, half, from + n_covered, owner, n->child[1]);
}

static void fill_below(const struct allowedips_node *n, const struct filling *f)
{
	size_t n_slots = (size_t)1 << f->shortcut->n_bits;

	fill_slots(f, 0, n_slots / 2, NULL, n->child[0]);
	fill_slots(f, n_slots / 2, n_slots, NULL, n->child[1]);
}

/* Returns the next node on the way to the prefix, or NULL. */
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

/* The most bits for which the shortcut is not too sparse; 0: no shortcut. */
static unsigned int best_bits(const struct census *census)
{
	unsigned int bits = SHORTCUT_MAX_BITS;

	while (bits >= SHORTCUT_MIN_BITS &&
	       census->n[bits] < (1U << bits) / SHORTCUT_SPARSENESS)
		bits--;
	return bits >= SHORTCUT_MIN_BITS ? bits : 0;
}

/* Sets n_plan of the node and of all below; fills @census for the node. */
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

/* Drops the shortcuts of nodes that a shortcut above leaps over. */
static void clear_between(struct allowedips_node *n, unsigned int depth)
{
	if (!n || n->cidr >= depth)
		return;
	shortcut_drop(n);
	clear_between(n->child[0], depth);
	clear_between(n->child[1], depth);
}

/* Returns true if the node has the shortcut that was planned for it. */
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

/* A node with fewer bits than @depth is leapt over and gets no shortcut. */
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
