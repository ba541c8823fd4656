/* SPDX-License-Identifier: MIT */
/*
 * Limits on ICMP errors for a socket, for a source and for all together. A
 * sender at its own limit must not use up the errors of others.
 */
#include <string.h>

#include "base/clock.h"
#include "engine/quota.h"
#include "tests/lib/check.h"

enum {
	UDP = 17,
	ICMP = 1,
	GRE = 47,
	/* An IPv6 header, and room for the ports behind it. */
	LEN = 60,
};

static const uint8_t key[SIPHASH_KEY_LEN] = { 1, 2, 3 };
static struct quota quota;
static uint64_t now;

static void begin(void)
{
	quota_init(&quota, key);
	now = 1000 * NSEC_PER_SEC;
}

/* Ask whether a packet of this socket may be answered. */
static bool ask(int version, uint32_t source, uint8_t proto, uint16_t port)
{
	uint8_t p[LEN] = { 0 };
	size_t off = version == 4 ? 20 : 40;

	p[0] = version == 4 ? 0x45 : 0x60;
	p[version == 4 ? 9 : 6] = proto;
	memcpy(p + (version == 4 ? 12 : 8), &source, 4);
	if (proto == ICMP)
		off += 4;
	memcpy(p + off, &port, 2);
	return quota_allow(&quota, p, LEN, now);
}

static unsigned int ask_often(unsigned int n, int version, uint32_t source,
			      uint8_t proto, uint16_t port)
{
	unsigned int n_allowed = 0;

	for (unsigned int i = 0; i < n; i++)
		n_allowed += ask(version, source, proto, port);
	return n_allowed;
}

static void one_socket(void **state)
{
	static const uint8_t protos[] = { UDP, ICMP, GRE };

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		int version = i % 2 ? 6 : 4;
		uint8_t proto = protos[i / 2];
		unsigned int n = 0;

		begin();
		assert_int_equal(ask_often(1000, version, 1, proto, 1),
				 QUOTA_SOCKET);
		/* Then there are QUOTA_SOCKET errors a second. */
		for (int ms = 0; ms < 4000; ms++) {
			now += NSEC_PER_MSEC;
			n += ask(version, 1, proto, 1);
		}
		assert_in_range(n, 4 * QUOTA_SOCKET - 1, 4 * QUOTA_SOCKET + 1);
		now += 10 * NSEC_PER_SEC;
		assert_int_equal(ask_often(1000, version, 1, proto, 1),
				 QUOTA_SOCKET);
	}
}

/*
 * One socket sends to an unreachable address as fast as possible. Other sockets
 * still get errors.
 */
static void another_socket(void **state)
{
	(void)state;
	begin();
	for (int ms = 0; ms < 3000; ms++) {
		now += NSEC_PER_MSEC;
		ask_often(100, 4, 1, UDP, 1);
		/* Another port, protocol, host and family. */
		if (ms % 100 == 0) {
			assert_true(ask(4, 1, UDP, 2));
			assert_true(ask(4, 1, ICMP, 1));
			assert_true(ask(4, 2, UDP, 1));
			assert_true(ask(6, 1, UDP, 1));
		}
	}
}

/* One host uses many sockets. Another host still gets errors. */
static void another_source(void **state)
{
	unsigned int n = 0;

	(void)state;
	for (int version = 4; version <= 6; version += 2) {
		begin();
		n = 0;
		for (unsigned int ms = 0; ms < 3000; ms++) {
			now += NSEC_PER_MSEC;
			for (uint16_t port = 0; port < 100; port++)
				n += ask(version, 1, UDP, port);
			if (ms % 100 == 0)
				assert_true(ask(version, 2, UDP, 1));
		}
		assert_in_range(n, 3 * QUOTA_SOURCE, 4 * QUOTA_SOURCE);
	}
}

/* Packets with random sources and ports get QUOTA_ALL errors together. */
static void all(void **state)
{
	struct random rnd;
	unsigned int n = 0;

	(void)state;
	random_init(&rnd, 7);
	begin();
	for (unsigned int ms = 0; ms < 5000; ms++) {
		now += NSEC_PER_MSEC;
		for (int i = 0; i < 50; i++)
			n += ask(i % 2 ? 4 : 6, (uint32_t)random_next(&rnd),
				 UDP, (uint16_t)random_next(&rnd));
	}
	assert_in_range(n, 5 * QUOTA_ALL, 6 * QUOTA_ALL);
}

/* Packets too short to have a port are not read beyond their ends. */
static void short_packets(void **state)
{
	static const uint8_t protos[] = { UDP, ICMP, GRE };

	(void)state;
	begin();
	for (size_t i = 0; i < sizeof(protos); i++)
		for (size_t len = 40; len < LEN; len++) {
			uint8_t *p = calloc(1, len);

			assert_non_null(p);
			p[0] = 0x60;
			p[6] = protos[i];
			quota_allow(&quota, p, len, now);
			p[0] = 0x4f;
			p[9] = protos[i];
			quota_allow(&quota, p, len, now);
			free(p);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_socket),
		cmocka_unit_test(another_socket),
		cmocka_unit_test(another_source),
		cmocka_unit_test(all),
		cmocka_unit_test(short_packets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
