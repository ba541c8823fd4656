/* SPDX-License-Identifier: MIT */
/*
 * Allowed IPs: the time of a look-up, an insertion and a removal, and the
 * memory of a prefix, for 10 to 1,000,000 prefixes.
 *
 * Two sets of prefixes: "wide", of random length (IPv4: /16 to /32, IPv6: /32
 * to /128) and random address, and "dense", the addresses of one network
 * (10.0.0.0/8 from its start, fd00::/64 from its start) with a default route
 * beside it, as an administrator would hand them out. Every address that is
 * looked up lies in a randomly drawn prefix. Look-ups are measured in four
 * ways:
 *
 *  active	256 addresses again and again, like a few hosts with traffic
 *  uniform	a million draws, one after the other
 *  packets	64 KiB of packets (out of 4 MiB) are written before each
 *		look-up, which is timed alone; 256 addresses
 *  packets-all	the same with a million draws
 *
 * The last two are like look-ups in the data path: between two of them, payload
 * fills the cache. "active" and "uniform" are CPU time divided by the number of
 * look-ups, so the processor may overlap them; the others are latencies, the
 * cost of reading the clock subtracted. Each is the median of several rounds.
 *
 * usage: bench-allowedips [--quick] [--csv FILE]
 */
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "device/allowedips.h"
#include "measure.h"
#include "report.h"

enum {
	/* Peers that the prefixes are spread over. A choice. */
	N_OWNERS = 1000,
	/* The largest table. A choice: near the size of the Internet's. */
	N_MAX = 1000000,
	/* Addresses of the hosts with traffic. A choice. */
	N_ACTIVE = 256,
	/* Look-ups of a round: with a million different addresses the cache
	 * does not hold their paths in the trie. */
	N_DRAWS = 1 << 20,
	/* Look-ups that are timed alone, for a median. A choice. */
	N_TIMED = 3000,
	/* An odd number has a middle. A choice. */
	ROUNDS = 5,
	/* More than the second-level cache of most processors. A choice. */
	PACKETS_LEN = 4 << 20,
	/* One super-packet. */
	TOUCH_LEN = 64 << 10,
	/* Bytes of a line of the cache. */
	LINE = 64,
};

struct address {
	uint8_t bytes[16];
};

struct set {
	enum ip_family family;
	bool is_dense;
	const char *name;
};

static struct allowedips table;
static struct allowedips_owner owners[N_OWNERS];
static struct ip_prefix prefixes[N_MAX];
static struct address draws[N_DRAWS];
static uint8_t packets[PACKETS_LEN];
static size_t n_prefixes;

static size_t heap_used(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

static struct ip_prefix make_prefix(const struct set *set, size_t i)
{
	struct ip_prefix p = { .family = (uint8_t)set->family };
	uint64_t r[2] = { bench_random(), bench_random() };
	size_t len = set->family == IP_V4 ? 4 : 16;
	unsigned int least = set->family == IP_V4 ? 16 : 32;

	if (!set->is_dense) {
		memcpy(p.addr, r, len);
		p.cidr = (uint8_t)(least +
				   bench_random() % (len * 8 + 1 - least));
		return p;
	}
	p.cidr = (uint8_t)(i ? len * 8 : 0);
	p.addr[0] = i ? (set->family == IP_V4 ? 10 : 0xfd) : 0;
	p.addr[len - 1] = (uint8_t)i;
	p.addr[len - 2] = (uint8_t)(i >> 8);
	p.addr[len - 3] = (uint8_t)(i >> 16);
	return p;
}

/* A random address inside of a prefix. */
static struct address make_address(const struct ip_prefix *p)
{
	struct address a;
	uint64_t r[2] = { bench_random(), bench_random() };

	memcpy(a.bytes, r, sizeof(a.bytes));
	for (unsigned int i = 0; i < p->cidr; i++) {
		uint8_t bit = (uint8_t)(0x80 >> i % 8);

		a.bytes[i / 8] = (uint8_t)((a.bytes[i / 8] & ~bit) |
					   (p->addr[i / 8] & bit));
	}
	return a;
}

/* Return: CPU time of an insertion in ns. */
static double fill(const struct set *set, size_t n)
{
	uint64_t begun;
	size_t i = 0;

	n_prefixes = n;
	for (size_t j = 0; j < n; j++)
		prefixes[j] = make_prefix(set, j);
	begun = bench_cpu_ns();
	while (table.n_prefixes < n) {
		struct ip_prefix *p = &prefixes[i % n];

		/* Draw a prefix again if it is in the set already. */
		if (i >= n)
			*p = make_prefix(set, i);
		if (allowedips_insert(&table, p, &owners[i++ % N_OWNERS]))
			abort();
	}
	allowedips_settle(&table);
	return (double)(bench_cpu_ns() - begun) / (double)n;
}

/* Return: CPU time of a removal in ns. */
static double empty(size_t n)
{
	uint64_t begun = bench_cpu_ns();

	for (size_t i = 0; i < N_OWNERS; i++)
		allowedips_remove_owner(&table, &owners[i]);
	rcu_drain();
	return (double)(bench_cpu_ns() - begun) / (double)n;
}

static void draw(size_t n_different)
{
	for (size_t i = 0; i < N_DRAWS; i++)
		draws[i] = i < n_different
				   ? make_address(&prefixes[bench_random() %
							    n_prefixes])
				   : draws[bench_random() % n_different];
}

static uintptr_t look_up(enum ip_family family, size_t i)
{
	return (uintptr_t)allowedips_lookup(&table, family, draws[i].bytes);
}

static double time_in_a_row(enum ip_family family)
{
	uint64_t begun = bench_cpu_ns();
	uintptr_t sum = 0;

	rcu_enter();
	for (size_t i = 0; i < N_DRAWS; i++)
		sum += look_up(family, i);
	rcu_leave();
	__asm__ volatile("" ::"r"(sum));
	return (double)(bench_cpu_ns() - begun) / N_DRAWS;
}

/* Write the next packets to the cache, as the kernel and the cipher do. */
static void touch_packets(void)
{
	static size_t off;

	memset(packets + off, (int)off, TOUCH_LEN);
	off = (off + TOUCH_LEN) % PACKETS_LEN;
	__asm__ volatile("" ::: "memory");
}

static double time_alone(enum ip_family family)
{
	static double with[N_TIMED], without[N_TIMED];

	for (size_t i = 0; i < N_TIMED; i++) {
		size_t at = bench_random() % N_DRAWS;
		uintptr_t owner;
		uint64_t t[3];

		touch_packets();
		/* The address is read from memory, as from a packet. */
		__asm__ volatile("" ::"r"(*(volatile uint8_t *)&draws[at]));
		t[0] = bench_now_ns();
		__asm__ volatile("" ::: "memory");
		t[1] = bench_now_ns();
		rcu_enter();
		owner = look_up(family, at);
		rcu_leave();
		__asm__ volatile("" ::"r"(owner) : "memory");
		t[2] = bench_now_ns();
		without[i] = (double)(t[1] - t[0]);
		with[i] = (double)(t[2] - t[1]);
	}
	return bench_median(with, N_TIMED) - bench_median(without, N_TIMED);
}

static double measure(enum ip_family family, double (*way)(enum ip_family),
		      size_t n_different, unsigned int rounds)
{
	double values[ROUNDS];

	draw(n_different);
	for (unsigned int i = 0; i < rounds; i++)
		values[i] = way(family);
	return bench_median(values, rounds);
}

static void run(struct report *report, const struct set *set, size_t n)
{
	unsigned int rounds = report->is_quick ? 1 : ROUNDS;
	size_t before = heap_used();
	enum ip_family family = set->family;
	double insert = fill(set, n);
	double bytes = (double)(heap_used() - before) / (double)n;
	double active = measure(family, time_in_a_row, N_ACTIVE, rounds);
	double uniform = measure(family, time_in_a_row, N_DRAWS, rounds);
	double packet = measure(family, time_alone, N_ACTIVE, 1);
	double packet_all = measure(family, time_alone, N_DRAWS, 1);
	double removal = empty(n);

	report_row(report, "%s,%zu,%.1f,%.1f,%.1f,%.1f,%.0f,%.0f,%.0f",
		   set->name, n, active, uniform, packet, packet_all, bytes,
		   insert, removal);
}

int main(int argc, char **argv)
{
	static const struct set sets[] = {
		{ IP_V4, false, "IPv4 wide" },
		{ IP_V4, true, "IPv4 dense" },
		{ IP_V6, false, "IPv6 wide" },
		{ IP_V6, true, "IPv6 dense" },
	};
	struct report report;

	if (report_open(&report, argc, argv,
			"set,prefixes,active_ns,uniform_ns,packets_ns,"
			"packets_all_ns,bytes_per_prefix,insert_ns,remove_ns"))
		return 2;
	rcu_register();
	allowedips_init(&table);
	for (size_t i = 0; i < N_OWNERS; i++)
		allowedips_owner_init(&owners[i]);
	for (size_t i = 0; i < ARRAY_LEN(sets); i++)
		for (size_t n = 10; n <= N_MAX; n *= 10)
			run(&report, &sets[i], n);
	allowedips_deinit(&table);
	rcu_unregister();
	return report_close(&report) ? 1 : 0;
}
