/* SPDX-License-Identifier: MIT */
#include "device/allowedips.h"

#include <arpa/inet.h>
#include <errno.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/bytes.h"
#include "random.h"
#include "tests/lib/sanitized.h"

/* Sanitizers are slow, and so is the heap of musl. Neither can tell how much of the heap
 * is used. */
#if defined(IS_SANITIZED) || !defined(__GLIBC__)
enum {
	TELLS_HEAP = 0
};
#else
enum {
	TELLS_HEAP = 1
};
#endif

enum {
	/* Enough prefixes for shortcuts, and changes while there are some. The
	 * counts here are choices, not measured. */
	N_NEIGHBOURS = 20000,
	N_CHANGES = 30000,
	N_OWNERS = 8,
	N_STEPS = 300000,
	/* The model is slow, so it holds few prefixes. */
	N_MODEL = 200,
	/* A choice, below ALLOWEDIPS_MAX_PREFIXES. */
	N_MANY = TELLS_HEAP ? 200000 : 50000,
	/* Two nodes of 64 or 80 bytes of heap, and 8 bytes to spare. */
	MANY_BYTES_PER_PREFIX = 168,
};

static struct ip_prefix parse(const char *text)
{
	struct ip_prefix p = { .family = strchr(text, ':') ? IP_V6 : IP_V4 };
	char addr[64];
	const char *slash = strchr(text, '/');
	size_t len = slash ? (size_t)(slash - text) : strlen(text);

	memcpy(addr, text, len);
	addr[len] = 0;
	p.cidr = p.family == IP_V4 ? 32 : 128;
	if (slash)
		p.cidr = (uint8_t)strtoul(slash + 1, NULL, 10);
	assert_int_equal(
		inet_pton(p.family == IP_V4 ? AF_INET : AF_INET6, addr, p.addr),
		1);
	return p;
}

static struct allowedips_owner *whose(const struct allowedips *table,
				      const char *text)
{
	struct ip_prefix p = parse(text);
	struct allowedips_owner *owner;

	rcu_enter();
	owner = allowedips_lookup(table, p.family, p.addr);
	rcu_leave();
	return owner;
}

static void owners_init(struct allowedips_owner owners[N_OWNERS])
{
	for (size_t i = 0; i < N_OWNERS; i++)
		allowedips_owner_init(&owners[i]);
}

static void owners_remove(struct allowedips *table,
			  struct allowedips_owner owners[N_OWNERS])
{
	for (size_t i = 0; i < N_OWNERS; i++)
		allowedips_remove_owner(table, &owners[i]);
	allowedips_deinit(table);
	rcu_drain();
}

static const struct {
	const char *prefix;
	unsigned int owner;
} inserts[] = {
	{ "192.168.4.0/24", 0 },
	{ "192.168.4.4/32", 1 },
	{ "192.168.0.0/16", 2 },
	{ "192.95.5.64/27", 3 },
	{ "192.95.5.65/27", 2 }, /* the same prefix, another owner */
	{ "0.0.0.0/0", 4 },
	{ "10.1.0.16/29", 5 },
	{ "10.1.0.20/30", 6 },
	{ "2607:5300:6006:6b00::c05f:543/128", 0 },
	{ "2607:5300:6006:6b00::/64", 1 },
	{ "::/0", 4 },
	{ "2404:6800::/32", 2 },
	{ "2404:6800:4004:806::1006/119", 3 },
	{ "8000::/1", 5 },
};

static const struct {
	const char *addr;
	int owner;
} answers[] = {
	{ "192.168.4.20", 0 },
	{ "192.168.4.4", 1 },
	{ "192.168.200.182", 2 },
	{ "192.95.5.68", 2 },
	{ "192.95.5.96", 4 },
	{ "255.255.255.255", 4 },
	{ "0.0.0.0", 4 },
	{ "10.1.0.16", 5 },
	{ "10.1.0.20", 6 },
	{ "10.1.0.24", 4 },
	{ "2607:5300:6006:6b00::c05f:543", 0 },
	{ "2607:5300:6006:6b00::c02e:1ee", 1 },
	{ "2607:5300:6006:6b01::", 4 },
	{ "2404:6800:4004:806::1006", 3 },
	{ "2404:6800:4004:806:0:1:0:1234", 2 },
	{ "2404:67ff::", 4 },
	{ "ffff::1", 5 },
};

static void test_fixed_table(void **state)
{
	struct allowedips_owner owners[N_OWNERS];
	struct allowedips table;
	struct ip_prefix p;

	(void)state;
	allowedips_init(&table);
	owners_init(owners);
	assert_null(whose(&table, "1.2.3.4"));
	for (size_t i = 0; i < ARRAY_LEN(inserts); i++) {
		p = parse(inserts[i].prefix);
		assert_int_equal(allowedips_insert(&table, &p,
						   &owners[inserts[i].owner]),
				 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(answers); i++)
		assert_ptr_equal(whose(&table, answers[i].addr),
				 &owners[answers[i].owner]);
	assert_int_equal(owners[3].n_prefixes, 1);
	p = parse("10.1.0.20/30");
	assert_false(allowedips_remove(&table, &p, &owners[5]));
	assert_true(allowedips_remove(&table, &p, &owners[6]));
	assert_false(allowedips_remove(&table, &p, &owners[6]));
	assert_ptr_equal(whose(&table, "10.1.0.20"), &owners[5]);
	allowedips_remove_owner(&table, &owners[4]);
	assert_null(whose(&table, "255.255.255.255"));
	assert_null(whose(&table, "1::"));
	owners_remove(&table, owners);
}

static void test_list_keeps_order_and_masks(void **state)
{
	static const char *const given[] = { "10.9.8.7/8", "fd00::1/64",
					     "1.2.3.4/32", "::1/0" };
	static const char *const listed[] = { "1.2.3.4/32", "::/0",
					      "10.0.0.0/8", "fd00::/64" };
	struct allowedips_owner owners[N_OWNERS];
	const struct allowedips_node *pos = NULL;
	struct ip_prefix want;
	struct ip_prefix got;
	struct allowedips table;

	(void)state;
	allowedips_init(&table);
	owners_init(owners);
	for (size_t i = 0; i < ARRAY_LEN(given); i++) {
		got = parse(given[i]);
		allowedips_insert(&table, &got, &owners[0]);
	}
	/* A prefix that is set again goes to the end of the list. */
	for (size_t i = 0; i < 2; i++) {
		got = parse(given[i]);
		allowedips_insert(&table, &got, &owners[0]);
	}
	for (size_t i = 0; i < ARRAY_LEN(listed); i++) {
		want = parse(listed[i]);
		assert_true(allowedips_next(&owners[0], &pos, &got));
		assert_memory_equal(&got, &want, sizeof(got));
	}
	assert_false(allowedips_next(&owners[0], &pos, &got));
	owners_remove(&table, owners);
}

/* The model: an array of prefixes, searched from end to end. */
struct model {
	struct ip_prefix prefix;
	int owner;
};

static void mask(struct ip_prefix *p)
{
	unsigned int len = p->family == IP_V4 ? 4 : 16;

	for (unsigned int i = 0; i < len; i++) {
		if (p->cidr <= i * 8)
			p->addr[i] = 0;
		else if (p->cidr < i * 8 + 8)
			p->addr[i] &= (uint8_t)(0xff00 >> (p->cidr - i * 8));
	}
}

static int model_lookup(const struct model *m, size_t n,
			const struct ip_prefix *addr)
{
	struct ip_prefix a;
	int best = -1;
	int best_cidr = -1;

	for (size_t i = 0; i < n; i++) {
		if (m[i].prefix.family != addr->family ||
		    m[i].prefix.cidr <= best_cidr)
			continue;
		a = *addr;
		a.cidr = m[i].prefix.cidr;
		mask(&a);
		if (memcmp(a.addr, m[i].prefix.addr, sizeof(a.addr)))
			continue;
		best = m[i].owner;
		best_cidr = m[i].prefix.cidr;
	}
	return best;
}

static size_t model_find(const struct model *m, size_t n,
			 const struct ip_prefix *prefix)
{
	size_t i = 0;

	while (i < n && memcmp(&m[i].prefix, prefix, sizeof(*prefix)))
		i++;
	return i;
}

/* Few distinct bytes are used, so that prefixes often nest or are equal. */
static struct ip_prefix random_prefix(void)
{
	struct ip_prefix p = { .family = random_below(2) ? IP_V4 : IP_V6 };
	unsigned int len = p.family == IP_V4 ? 4 : 16;

	for (unsigned int i = 0; i < len; i++)
		p.addr[i] = (uint8_t)(random_below(3) << random_below(8));
	p.cidr = (uint8_t)random_below(len * 8 + 1);
	return p;
}

static size_t model_step(struct model *m, size_t n, struct allowedips *table,
			 struct allowedips_owner *owners)
{
	struct ip_prefix p = random_prefix();
	uint32_t owner = random_below(N_OWNERS);
	struct ip_prefix masked = p;
	size_t i;

	mask(&masked);
	i = model_find(m, n, &masked);
	if (random_below(2) && n < N_MODEL) {
		assert_int_equal(allowedips_insert(table, &p, &owners[owner]),
				 0);
		m[i].prefix = masked;
		m[i].owner = (int)owner;
		return i == n ? n + 1 : n;
	}
	if (n && random_below(2)) {
		i = random_below((uint32_t)n);
		masked = m[i].prefix;
	}
	assert_int_equal(allowedips_remove(table, &masked, &owners[owner]),
			 i < n && m[i].owner == (int)owner);
	if (i < n && m[i].owner == (int)owner)
		m[i] = m[--n];
	return n;
}

static size_t model_remove_owner(struct model *m, size_t n, int owner)
{
	for (size_t i = 0; i < n;) {
		if (m[i].owner == owner)
			m[i] = m[--n];
		else
			i++;
	}
	return n;
}

static void test_random_against_model(void **state)
{
	static struct model m[N_MODEL + 1];
	struct allowedips_owner owners[N_OWNERS];
	struct allowedips_owner *got;
	struct allowedips table;
	struct ip_prefix addr;
	size_t n = 0;
	int want;

	(void)state;
	allowedips_init(&table);
	owners_init(owners);
	for (size_t step = 0; step < N_STEPS; step++) {
		n = model_step(m, n, &table, owners);
		if (random_below(2000) == 0) {
			want = (int)random_below(N_OWNERS);
			allowedips_remove_owner(&table, &owners[want]);
			n = model_remove_owner(m, n, want);
		}
		if (random_below(100) == 0)
			allowedips_settle(&table);
		assert_int_equal(table.n_prefixes, n);
		addr = random_prefix();
		want = model_lookup(m, n, &addr);
		rcu_enter();
		got = allowedips_lookup(&table, addr.family, addr.addr);
		rcu_leave();
		assert_ptr_equal(got, want < 0 ? NULL : &owners[want]);
	}
	owners_remove(&table, owners);
}

/* A prefix as in large tables of real networks: few prefixes lie within others,
 * and most are neighbours. */
static struct ip_prefix random_neighbour(void)
{
	struct ip_prefix p = { .family = random_below(2) ? IP_V4 : IP_V6 };
	unsigned int len = p.family == IP_V4 ? 4 : 16;
	uint32_t host = random_below(1 << 16);

	p.addr[0] = p.family == IP_V4 ? 10 : 0xfd;
	p.addr[len - 3] = (uint8_t)random_below(2);
	p.addr[len - 2] = (uint8_t)(host >> 8);
	p.addr[len - 1] = (uint8_t)host;
	p.cidr = (uint8_t)(len * 8);
	if (random_below(4) == 0)
		p.cidr -= (uint8_t)random_below(20);
	if (random_below(500) == 0)
		p.cidr = (uint8_t)random_below(len * 8);
	return p;
}

static void change_both(struct allowedips tables[2],
			struct allowedips_owner owners[2][N_OWNERS],
			const struct ip_prefix *p, uint32_t owner,
			bool is_insertion)
{
	for (size_t i = 0; i < 2; i++) {
		if (is_insertion)
			assert_int_equal(allowedips_insert(&tables[i], p,
							   &owners[i][owner]),
					 0);
		else
			allowedips_remove(&tables[i], p, &owners[i][owner]);
	}
}

static void compare_lookups(const struct allowedips tables[2],
			    struct allowedips_owner owners[2][N_OWNERS])
{
	struct ip_prefix addr = random_neighbour();
	struct allowedips_owner *a, *b;

	rcu_enter();
	a = allowedips_lookup(&tables[0], addr.family, addr.addr);
	b = allowedips_lookup(&tables[1], addr.family, addr.addr);
	rcu_leave();
	assert_int_equal(a ? a - owners[0] : -1, b ? b - owners[1] : -1);
}

/* Two tables have the same prefixes. allowedips_settle(), which makes the
 * shortcuts, is called for one of them only. */
static void test_shortcuts_change_no_answer(void **state)
{
	struct allowedips_owner owners[2][N_OWNERS];
	struct allowedips tables[2];
	struct ip_prefix p;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		allowedips_init(&tables[i]);
		owners_init(owners[i]);
	}
	for (size_t step = 0; step < N_NEIGHBOURS + N_CHANGES; step++) {
		p = random_neighbour();
		change_both(tables, owners, &p, random_below(N_OWNERS),
			    step < N_NEIGHBOURS || random_below(2));
		if (step == N_NEIGHBOURS || random_below(10000) == 0) {
			allowedips_settle(&tables[0]);
			/* The first allowedips_settle() has looked at all
			 * changes, and so made the shortcuts. */
			assert_true(step > N_NEIGHBOURS ||
				    tables[0].n_changes == 0);
		}
		if (step >= N_NEIGHBOURS)
			compare_lookups(tables, owners);
	}
	/* Remove most prefixes, and so the shortcuts. */
	for (size_t i = 0; i < N_OWNERS; i++) {
		allowedips_remove_owner(&tables[0], &owners[0][i]);
		allowedips_remove_owner(&tables[1], &owners[1][i]);
		compare_lookups(tables, owners);
		allowedips_settle(&tables[0]);
		compare_lookups(tables, owners);
	}
	owners_remove(&tables[0], owners[0]);
	owners_remove(&tables[1], owners[1]);
}

static void test_reserved_insert_needs_no_memory(void **state)
{
	struct allowedips_owner owners[N_OWNERS];
	struct allowedips table;
	struct ip_prefix p;

	(void)state;
	allowedips_init(&table);
	owners_init(owners);
	assert_int_equal(allowedips_reserve(&table, IP_V4, 1000), 0);
	for (size_t i = 0; i < 1000; i++) {
		p = random_prefix();
		p.family = IP_V4;
		p.cidr %= 33;
		assert_int_equal(allowedips_insert(&table, &p, &owners[0]), 0);
	}
	assert_true(table.n_spare[0] < 2000);
	assert_int_equal(
		allowedips_reserve(&table, IP_V4, ALLOWEDIPS_MAX_PREFIXES),
		-ENOSPC);
	owners_remove(&table, owners);
}

/* The heap in use, in bytes. 0 under sanitizers, which have a heap of their
 * own, and with musl, which does not report it. */
static size_t heap_used(void)
{
#if defined(IS_SANITIZED) || !defined(__GLIBC__)
	return 0;
#else
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
#endif
}

static void many(enum ip_family family)
{
	struct allowedips_owner owners[N_OWNERS];
	struct allowedips table;
	struct ip_prefix p = { .family = (uint8_t)family };
	size_t before = heap_used();
	size_t per_prefix;

	allowedips_init(&table);
	owners_init(owners);
	for (size_t i = 0; i < N_MANY; i++) {
		uint64_t r[2] = { random_next(), random_next() };

		memcpy(p.addr, r, sizeof(r));
		p.cidr = family == IP_V4 ? 32 : 64;
		allowedips_insert(&table, &p, &owners[i % N_OWNERS]);
	}
	per_prefix = (heap_used() - before) / N_MANY;
	print_message("# IPv%d: %zu bytes of heap a prefix\n", (int)family,
		      per_prefix);
	assert_true(table.n_prefixes > N_MANY - N_MANY / 500);
	assert_true(per_prefix <= MANY_BYTES_PER_PREFIX);
	owners_remove(&table, owners);
}

static void test_many_prefixes(void **state)
{
	(void)state;
	many(IP_V4);
	many(IP_V6);
}

static void test_prefix_validity(void **state)
{
	static const struct {
		struct ip_prefix prefix;
		bool is_valid;
	} table[] = {
		{ { .family = IP_V4, .cidr = 32 }, true },
		{ { .family = IP_V4, .cidr = 33 }, false },
		{ { .family = IP_V6, .cidr = 128 }, true },
		{ { .family = IP_V6, .cidr = 129 }, false },
		{ { .family = 5, .cidr = 1 }, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		assert_int_equal(ip_prefix_is_valid(&table[i].prefix),
				 table[i].is_valid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefix_validity),
		cmocka_unit_test(test_fixed_table),
		cmocka_unit_test(test_list_keeps_order_and_masks),
		cmocka_unit_test(test_random_against_model),
		cmocka_unit_test(test_shortcuts_change_no_answer),
		cmocka_unit_test(test_reserved_insert_needs_no_memory),
		cmocka_unit_test(test_many_prefixes),
	};
	random_seed();
	rcu_register();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
