/* SPDX-License-Identifier: MIT */
/*
 * Sequences of changes of allowed IPs, compared with a list that is searched
 * from end to end. Input: operations. Each is a byte for the operation and the
 * owner, the length of a prefix, and an address. Few bytes of an address vary,
 * so that prefixes overlap.
 */
#include "fuzz/fuzz.h"

#include "device/allowedips.h"
#include "fuzz/input.h"

enum {
	/* Few owners, so that prefixes often change their owner. A choice. */
	OWNERS = 4,
	/* Bound of the model, which is searched from end to end. A choice. */
	PREFIXES_MAX = 256,
	/* The lowest of the eight values of each operation: half of all
	 * operations insert. */
	OP_INSERT = 0,
	OP_REMOVE = 4,
	OP_REMOVE_OWNER = 6,
	OP_LOOKUP = 7,
};

/* Entries of the model, in the order of their insertion. */
struct entry {
	struct ip_prefix prefix;
	struct allowedips_owner *owner;
};

static struct allowedips table;
static struct allowedips_owner owners[OWNERS];
static struct entry entries[PREFIXES_MAX];
static size_t n_entries;

static size_t addr_len(const struct ip_prefix *p)
{
	return p->family == IP_V4 ? 4 : 16;
}

static bool covers(const struct ip_prefix *p, const uint8_t *addr)
{
	unsigned int whole = p->cidr / 8, rest = p->cidr % 8;

	return memcmp(p->addr, addr, whole) == 0 &&
	       (!rest || (p->addr[whole] ^ addr[whole]) >> (8 - rest) == 0);
}

static void drop_entry(size_t i)
{
	n_entries--;
	memmove(&entries[i], &entries[i + 1],
		(n_entries - i) * sizeof(entries[0]));
}

/* Return: the entry of exactly this prefix, or PREFIXES_MAX. */
static size_t find_entry(const struct ip_prefix *p)
{
	for (size_t i = 0; i < n_entries; i++)
		if (entries[i].prefix.family == p->family &&
		    entries[i].prefix.cidr == p->cidr &&
		    covers(p, entries[i].prefix.addr))
			return i;
	return PREFIXES_MAX;
}

static struct ip_prefix take_prefix(struct input *in)
{
	struct ip_prefix p = { 0 };
	uint8_t cidr = input_byte(in), where = input_byte(in);

	p.family = cidr & 0x80 ? IP_V6 : IP_V4;
	p.cidr = (uint8_t)(cidr & 0x7f);
	if (p.family == IP_V4)
		p.cidr %= 33;
	else if (where & 0x80)
		p.cidr++;
	/* The input chooses two bytes; the others are mostly zero. */
	p.addr[where % addr_len(&p)] = input_byte(in);
	p.addr[where / 16 % addr_len(&p)] ^= input_byte(in);
	require(ip_prefix_is_valid(&p));
	return p;
}

static void insert(const struct ip_prefix *p, struct allowedips_owner *owner)
{
	size_t i = find_entry(p);

	if (i == PREFIXES_MAX && n_entries == PREFIXES_MAX)
		return;
	require(allowedips_insert(&table, p, owner) == 0);
	if (i != PREFIXES_MAX)
		drop_entry(i);
	entries[n_entries++] = (struct entry){ *p, owner };
}

static void take_away(const struct ip_prefix *p, struct allowedips_owner *owner)
{
	size_t i = find_entry(p);
	bool is_there = i != PREFIXES_MAX && entries[i].owner == owner;

	require(allowedips_remove(&table, p, owner) == is_there);
	if (is_there)
		drop_entry(i);
}

static void remove_owner(struct allowedips_owner *owner)
{
	allowedips_remove_owner(&table, owner);
	for (size_t i = n_entries; i-- > 0;)
		if (entries[i].owner == owner)
			drop_entry(i);
}

static void look_up(const struct ip_prefix *at)
{
	const struct entry *best = NULL;
	/* The copy is not aligned, and ends with the address, so that a
	 * sanitizer sees a read past its end. */
	uint8_t *addr = malloc(addr_len(at) + 1);

	require(addr != NULL);
	memcpy(addr + 1, at->addr, addr_len(at));
	for (size_t i = 0; i < n_entries; i++)
		if (entries[i].prefix.family == at->family &&
		    covers(&entries[i].prefix, at->addr) &&
		    (!best || entries[i].prefix.cidr > best->prefix.cidr))
			best = &entries[i];
	rcu_enter();
	require(allowedips_lookup(&table, at->family, addr + 1) ==
		(best ? best->owner : NULL));
	rcu_leave();
	free(addr);
}

/* Each owner's list has its prefixes, oldest first, without host bits. */
static void check_lists(void)
{
	for (int o = 0; o < OWNERS; o++) {
		const struct allowedips_node *pos = NULL;
		struct ip_prefix p;
		size_t at = 0, n = 0;

		while (allowedips_next(&owners[o], &pos, &p)) {
			while (at < n_entries &&
			       entries[at].owner != &owners[o])
				at++;
			require(at < n_entries);
			require(p.family == entries[at].prefix.family &&
				p.cidr == entries[at].prefix.cidr &&
				covers(&p, entries[at].prefix.addr));
			for (unsigned int i = p.cidr; i < addr_len(&p) * 8; i++)
				require(!(p.addr[i / 8] >> (7 - i % 8) & 1));
			at++;
			n++;
		}
		for (; at < n_entries; at++)
			require(entries[at].owner != &owners[o]);
		require(n == owners[o].n_prefixes);
	}
	require(table.n_prefixes == n_entries);
}

static void step(struct input *in)
{
	uint8_t what = input_byte(in);
	struct allowedips_owner *owner = &owners[what / 8 % OWNERS];
	struct ip_prefix p = take_prefix(in);

	if (what % 8 < OP_REMOVE)
		insert(&p, owner);
	else if (what % 8 < OP_REMOVE_OWNER)
		take_away(&p, owner);
	else if (what % 8 == OP_REMOVE_OWNER)
		remove_owner(owner);
	look_up(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static unsigned int n_runs;
	struct input in = { data, len };

	if (!n_runs++)
		rcu_register();
	/* Let the RCU thread keep up with freeing. */
	if (n_runs % 64 == 0)
		rcu_drain();
	allowedips_init(&table);
	for (int o = 0; o < OWNERS; o++)
		allowedips_owner_init(&owners[o]);
	n_entries = 0;
	while (in.left)
		step(&in);
	check_lists();
	for (int o = 0; o < OWNERS; o++)
		remove_owner(&owners[o]);
	require(n_entries == 0 && table.n_prefixes == 0);
	allowedips_deinit(&table);
	return 0;
}
