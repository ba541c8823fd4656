/* SPDX-License-Identifier: MIT */
/* Endpoints: text, order, hash, source. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/lib/check.h"
#include "udpgather/endpoint.h"

static struct ug_endpoint parsed(const char *text)
{
	struct ug_endpoint ep;

	memset(&ep, 0xff, sizeof(ep));
	assert_int_equal(ug_endpoint_parse(&ep, text), 0);
	return ep;
}

static void good_text(void **state)
{
	static const struct {
		const char *in, *out;
	} table[] = {
		{ "1.2.3.4:51820", NULL },
		{ "0.0.0.0:1", NULL },
		{ "255.255.255.255:65535", NULL },
		{ "[::1]:51820", NULL },
		{ "[fe80::1%lo]:51820", NULL },
		{ "[fe80::1%1]:51820", "[fe80::1%lo]:51820" },
		{ "[fe80::1%4000000000]:5", NULL },
		{ "[2001:DB8:0:0:0:0:0:1]:9", "[2001:db8::1]:9" },
		{ "[::ffff:1.2.3.4]:7", "1.2.3.4:7" },
		{ "[::ffff:0102:0304]:7", "1.2.3.4:7" },
		{ "1.2.3.4:00080", "1.2.3.4:80" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct ug_endpoint ep = parsed(table[i].in);
		const char *out = table[i].out ? table[i].out : table[i].in;
		char text[UG_ENDPOINT_TEXT];

		assert_int_equal(ug_endpoint_print(&ep, text, sizeof(text)),
				 strlen(out));
		assert_string_equal(text, out);
		assert_int_equal(ep.source.state, UG_SOURCE_NONE);
		struct ug_endpoint again = parsed(text);

		assert_memory_equal(&ep, &again, sizeof(ep));
	}
}

static void bad_text(void **state)
{
	static const char *const table[] = {
		"",
		"1.2.3.4",
		"1.2.3.4:",
		"1.2.3.4:0",
		"1.2.3.4:65536",
		"1.2.3.4:+5",
		"1.2.3.4: 5",
		"1.2.3.4:5 ",
		"1.2.3.4:5x",
		"1.2.3.4:99999999999999999999",
		"1.2.3.4:00000000005",
		" 1.2.3.4:5",
		"1.2.3:5",
		"1.2.3.400:5",
		"host:5",
		":5",
		"::1:5",
		"[::1]",
		"[::1]5",
		"[::1]:",
		"[::1]:0",
		"[::1:5",
		"[]:5",
		"[1.2.3.4]:5",
		"[fe80::1%]:5",
		"[fe80::1%0]:5",
		"[fe80::1%4294967296]:5",
		"[fe80::1%an-interface-name-that-is-too-long]:5",
		"[fe80::1%lo]x:5",
		"[::ffff:1.2.3.4%lo:5",
		"1.2.3.4:5                                                                         ",
	};
	struct ug_endpoint ep;

	(void)state;
	memset(&ep, 0x5a, sizeof(ep));
	struct ug_endpoint before = ep;

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (ug_endpoint_parse(&ep, table[i]) != -EINVAL)
			fail_msg("accepted: %s", table[i]);
	assert_int_equal(ug_endpoint_parse(&ep, "[fe80::1%nosuch0]:5"),
			 -ENODEV);
	assert_memory_equal(&ep, &before, sizeof(ep));
}

static void print_limits(void **state)
{
	struct ug_endpoint ep = parsed("1.2.3.4:5"), none = { 0 };
	char text[UG_ENDPOINT_TEXT];

	(void)state;
	assert_int_equal(ug_endpoint_print(&ep, text, 9), -ENOSPC);
	assert_int_equal(ug_endpoint_print(&ep, text, 0), -ENOSPC);
	assert_int_equal(ug_endpoint_print(&ep, text, 10), 9);
	assert_int_equal(ug_endpoint_print(&none, text, sizeof(text)),
			 -EAFNOSUPPORT);
	/* The longest possible text fits. */
	inet_pton(AF_INET6, "fe80:1111:2222:3333:4444:5555:6666:7777",
		  &ep.addr.v6.sin6_addr);
	ep.addr.v6.sin6_family = AF_INET6;
	ep.addr.v6.sin6_port = htons(65535);
	ep.addr.v6.sin6_scope_id = UINT32_MAX;
	assert_true(ug_endpoint_print(&ep, text, sizeof(text)) > 0);
	assert_true(strlen(text) + IF_NAMESIZE - 10 < UG_ENDPOINT_TEXT);
}

/* A numeric text does not have the interface's name, and reads the same. */
static void numeric_text(void **state)
{
	static const char *const table[] = {
		"1.2.3.4:51820",
		"[2001:db8::1]:9",
		"[fe80::1%1]:51820",
		"[fe80::1%4000000000]:5",
	};
	struct ug_endpoint none = { 0 };
	char text[UG_ENDPOINT_TEXT];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		struct ug_endpoint ep = parsed(table[i]);
		size_t len = strlen(table[i]);

		assert_int_equal(
			ug_endpoint_print_numeric(&ep, text, sizeof(text)),
			len);
		assert_string_equal(text, table[i]);
		assert_int_equal(ug_endpoint_print_numeric(&ep, text, len),
				 -ENOSPC);
		struct ug_endpoint again = parsed(text);

		assert_memory_equal(&ep, &again, sizeof(ep));
	}
	assert_int_equal(ug_endpoint_print_numeric(&none, text, sizeof(text)),
			 -EAFNOSUPPORT);
}

static void from_sockaddr(void **state)
{
	struct ug_endpoint four = parsed("1.2.3.4:5");
	struct ug_endpoint six = parsed("[fe80::1%7]:5"), ep;
	struct sockaddr_in6 mapped = {
		.sin6_family = AF_INET6,
		.sin6_port = htons(5),
	};
	struct sockaddr unix_sa = { .sa_family = AF_UNIX };

	(void)state;
	inet_pton(AF_INET6, "::ffff:1.2.3.4", &mapped.sin6_addr);
	assert_int_equal(
		ug_endpoint_set(&ep, &four.addr.any, sizeof(four.addr.v4)), 0);
	assert_memory_equal(&ep, &four, sizeof(ep));
	assert_int_equal(
		ug_endpoint_set(&ep, &six.addr.any, sizeof(six.addr.v6)), 0);
	assert_memory_equal(&ep, &six, sizeof(ep));
	assert_int_equal(ug_endpoint_set(&ep, (void *)&mapped, sizeof(mapped)),
			 0);
	assert_memory_equal(&ep, &four, sizeof(ep));
	assert_int_equal(ug_endpoint_set(&ep, &unix_sa, sizeof(unix_sa)),
			 -EAFNOSUPPORT);
	assert_int_equal(
		ug_endpoint_set(&ep, &six.addr.any, sizeof(six.addr.v6) - 1),
		-EINVAL);
	assert_int_equal(
		ug_endpoint_set(&ep, &four.addr.any, sizeof(four.addr.v4) - 1),
		-EINVAL);
	assert_int_equal(ug_endpoint_set(&ep, &four.addr.any, 1), -EINVAL);
	assert_int_equal(ug_endpoint_set(&ep, &four.addr.any, 0), -EINVAL);
}

/* The endpoints are in ascending order. All have different hashes. */
static void order_and_hash(void **state)
{
	static const char *const sorted[] = {
		"1.2.3.4:1",	   "1.2.3.4:256",     "1.2.3.5:1",
		"200.2.3.4:1",	   "[::1]:1",	      "[fe80::1%1]:1",
		"[fe80::1%1]:300", "[fe80::1%300]:1", "[fe80::2]:1",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sorted); i++) {
		for (size_t k = 0; k < ARRAY_LEN(sorted); k++) {
			struct ug_endpoint a = parsed(sorted[i]);
			struct ug_endpoint c = parsed(sorted[k]);
			int order = ug_endpoint_compare(&a, &c);

			/* Neither the source nor padding changes the order. */
			a.source.state = UG_SOURCE_PINNED;
			if (i < 4)
				a.addr.v4.sin_zero[3] = 1;
			assert_int_equal(order, ug_endpoint_compare(&a, &c));
			assert_int_equal((order > 0) - (order < 0),
					 (i > k) - (i < k));
			assert_int_equal(ug_endpoint_hash(&a, 5) ==
						 ug_endpoint_hash(&c, 5),
					 i == k);
			assert_true(ug_endpoint_hash(&a, 5) !=
				    ug_endpoint_hash(&a, 6));
		}
	}
}

/* Neighbouring addresses and ports spread over the low bits. */
static void hash_spreads(void **state)
{
	unsigned int buckets[256] = { 0 };

	(void)state;
	for (unsigned int i = 0; i < 65536; i++) {
		struct ug_endpoint ep = parsed("10.0.0.0:1");

		ep.addr.v4.sin_addr.s_addr = htonl(0x0a000000 + i / 16);
		ep.addr.v4.sin_port = htons((uint16_t)(1000 + i % 16));
		buckets[ug_endpoint_hash(&ep, 1) % 256]++;
	}
	/* Each bucket has 256 on average. Six standard deviations are 96. */
	for (size_t i = 0; i < 256; i++)
		assert_in_range(buckets[i], 160, 352);
}

/* The hash is the same with and without 128-bit products. */
static void folding(void **state)
{
	static const struct {
		uint64_t a, b, expected;
	} table[] = {
		{ 0x0, 0x0, 0x0 },
		{ 0x1, 0xffffffffffffffff, 0xffffffffffffffff },
		{ 0xffffffffffffffff, 0xffffffffffffffff, 0xffffffffffffffff },
		{ 0xffffffff, 0xffffffff, 0xfffffffe00000001 },
		{ 0x100000000, 0x100000000, 0x1 },
		{ 0x123456789abcdef0, 0xd6e8feb86659fd93, 0x9ec210fe9d601dbb },
		{ 0xffffffffffffffff, 0xd6e8feb86659fd93, 0xffffffffffffffff },
	};
	struct random r;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(table); i++) {
		assert_true(ug_endpoint_fold(table[i].a, table[i].b) ==
			    table[i].expected);
		assert_true(ENDPOINT_FOLD(table[i].a, table[i].b) ==
			    table[i].expected);
	}
	random_init(&r, 0x5eed0005);
	for (int i = 0; i < 100000; i++) {
		uint64_t a = random_next(&r), b = random_next(&r);

		assert_true(ug_endpoint_fold(a, b) == ENDPOINT_FOLD(a, b));
	}
}

static void sources(void **state)
{
	struct ug_endpoint ep = parsed("1.2.3.4:5"), from = parsed("9.9.9.9:1");
	struct ug_endpoint six = parsed("[::1]:1"), plain = ep;

	(void)state;
	from.source = (struct ug_source){
		.addr = { 10, 0, 0, 1 },
		.ifindex = 4,
		.state = 2,
	};
	assert_int_equal(ug_endpoint_set_source(&six, &from), -EAFNOSUPPORT);
	assert_int_equal(ug_endpoint_set_source(&ep, &from), 0);
	assert_memory_equal(&ep.source, &from.source, sizeof(ep.source));
	assert_int_equal(ep.addr.v4.sin_port, htons(5));
	ug_endpoint_clear_source(&ep);
	assert_memory_equal(&ep, &plain, sizeof(ep));
}

/* An address of a sockaddr becomes the source, and can be read again. */
static void pinned_sockaddrs(void **state)
{
	struct ug_endpoint four = parsed("1.2.3.4:5"), six = parsed("[::1]:5");
	struct ug_endpoint at4 = parsed("10.0.0.1:99"), before = four;
	struct ug_endpoint at6 = parsed("[fd00::1]:99");
	struct ug_endpoint local = parsed("[fe80::1%7]:99");
	struct sockaddr_in6 mapped = { .sin6_family = AF_INET6 };
	struct sockaddr unix_sa = { .sa_family = AF_UNIX };
	struct ug_endpoint out = { 0 };
	socklen_t len = sizeof(out.addr);

	(void)state;
	assert_int_equal(ug_endpoint_pin_source(&four, &at4.addr.any,
						sizeof(at4.addr.v4), 3),
			 0);
	assert_memory_equal(four.source.addr, "\x0a\0\0\1\0\0\0\0", 8);
	assert_int_equal(four.source.ifindex, 3);
	assert_int_equal(four.source.state, UG_SOURCE_PINNED);
	assert_memory_equal(&four.addr, &before.addr, sizeof(four.addr));
	assert_int_equal(ug_endpoint_get_source(&four, 99, &out.addr.any, &len),
			 0);
	assert_int_equal(len, sizeof(out.addr.v4));
	assert_int_equal(ug_endpoint_compare(&out, &at4), 0);
	/* In the mapped form. */
	inet_pton(AF_INET6, "::ffff:10.0.0.2", &mapped.sin6_addr);
	assert_int_equal(ug_endpoint_pin_source(&four, (void *)&mapped,
						sizeof(mapped), 0),
			 0);
	assert_memory_equal(four.source.addr, "\x0a\0\0\2\0\0\0\0", 8);
	assert_int_equal(four.source.ifindex, 0);

	assert_int_equal(ug_endpoint_pin_source(&six, &at6.addr.any,
						sizeof(at6.addr.v6), 3),
			 0);
	assert_memory_equal(six.source.addr, &at6.addr.v6.sin6_addr, 16);
	assert_int_equal(six.source.ifindex, 3);
	len = sizeof(out.addr);
	assert_int_equal(ug_endpoint_get_source(&six, 99, &out.addr.any, &len),
			 0);
	assert_int_equal(len, sizeof(out.addr.v6));
	assert_int_equal(ug_endpoint_compare(&out, &at6), 0);
	/* The zone is the interface, unless one is named. */
	assert_int_equal(ug_endpoint_pin_source(&six, &local.addr.any,
						sizeof(local.addr.v6), 0),
			 0);
	assert_int_equal(six.source.ifindex, 7);
	assert_int_equal(ug_endpoint_get_source(&six, 99, &out.addr.any, &len),
			 0);
	assert_int_equal(ug_endpoint_compare(&out, &local), 0);
	assert_int_equal(ug_endpoint_pin_source(&six, &local.addr.any,
						sizeof(local.addr.v6), 8),
			 0);
	assert_int_equal(six.source.ifindex, 8);

	/* A failure changes nothing. */
	before = four;
	assert_int_equal(ug_endpoint_pin_source(&four, &at6.addr.any,
						sizeof(at6.addr.v6), 0),
			 -EAFNOSUPPORT);
	assert_int_equal(
		ug_endpoint_pin_source(&four, &unix_sa, sizeof(unix_sa), 0),
		-EAFNOSUPPORT);
	assert_int_equal(ug_endpoint_pin_source(&four, &at4.addr.any,
						sizeof(at4.addr.v4) - 1, 0),
			 -EINVAL);
	assert_memory_equal(&four, &before, sizeof(four));
}

/* An address without a family becomes the source. */
static void pinned_addresses(void **state)
{
	struct ug_endpoint four = parsed("1.2.3.4:5"), six = parsed("[::1]:5");
	struct ug_endpoint none = { 0 }, out = { 0 };
	struct sockaddr_in6 sa6;
	struct in6_addr any6 = { 0 };
	socklen_t len = sizeof(sa6);

	(void)state;
	/* What was there before leaves no bytes behind. */
	memset(&four.source, 0xff, sizeof(four.source));
	assert_int_equal(ug_endpoint_pin_address(&four, "\x0a\0\0\1", 0), 0);
	assert_memory_equal(four.source.addr,
			    "\x0a\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	assert_int_equal(four.source.ifindex, 0);
	assert_int_equal(four.source.state, UG_SOURCE_PINNED);
	/* Only an interface. */
	assert_int_equal(ug_endpoint_pin_address(&six, &any6, 9), 0);
	assert_int_equal(six.source.ifindex, 9);
	memset(&sa6, 0xff, sizeof(sa6));
	assert_int_equal(ug_endpoint_get_source(&six, 0, (void *)&sa6, &len),
			 0);
	assert_true(IN6_IS_ADDR_UNSPECIFIED(&sa6.sin6_addr));
	assert_int_equal(sa6.sin6_scope_id, 0);
	assert_int_equal(sa6.sin6_port, 0);
	assert_int_equal(sa6.sin6_flowinfo, 0);

	assert_int_equal(ug_endpoint_pin_address(&none, &any6, 1),
			 -EAFNOSUPPORT);
	assert_int_equal(ug_endpoint_get_source(&none, 1, &out.addr.any, &len),
			 -EAFNOSUPPORT);
	/* A buffer that is too short is not written to, nor is its length. */
	len = sizeof(sa6) - 1;
	memset(&sa6, 0xff, sizeof(sa6));
	assert_int_equal(ug_endpoint_get_source(&six, 5, (void *)&sa6, &len),
			 -ENOSPC);
	assert_int_equal(len, sizeof(sa6) - 1);
	assert_int_equal(sa6.sin6_port, 0xffff);
	len = sizeof(struct sockaddr_in) - 1;
	assert_int_equal(ug_endpoint_get_source(&four, 5, (void *)&sa6, &len),
			 -ENOSPC);
	/* One that was learned can be read, too. */
	four.source.state = 77;
	len = sizeof(out.addr);
	assert_int_equal(ug_endpoint_get_source(&four, 5, &out.addr.any, &len),
			 0);
	ug_endpoint_clear_source(&four);
	assert_int_equal(ug_endpoint_get_source(&four, 5, &out.addr.any, &len),
			 -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_text),
		cmocka_unit_test(bad_text),
		cmocka_unit_test(print_limits),
		cmocka_unit_test(numeric_text),
		cmocka_unit_test(from_sockaddr),
		cmocka_unit_test(order_and_hash),
		cmocka_unit_test(hash_spreads),
		cmocka_unit_test(folding),
		cmocka_unit_test(sources),
		cmocka_unit_test(pinned_sockaddrs),
		cmocka_unit_test(pinned_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
