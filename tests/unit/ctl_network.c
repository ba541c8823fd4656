/* SPDX-License-Identifier: MIT */
/* Addresses and endpoints in words, and which prefix an address is in. */
#include "ctl/network.h"

#include <arpa/inet.h>
#include <string.h>

#include "tests/lib/check.h"

static union ctl_address address(const char *text)
{
	union ctl_address a = { 0 };

	if (!ctl_address_parse(&a, text))
		fail_msg("no address: %s", text);
	return a;
}

static void addresses(void **state)
{
	static const char *const good[] = { "10.0.0.1", "0.0.0.0",
					    "::", "fd00::1", "2001:db8::ffff" };
	static const char *const bad[] = { "",	    "10.0.0",	  "10.0.0.1/32",
					   "phone", "10.0.0.256", "fd00:::1",
					   "1:2",   "[::1]" };
	union ctl_address a = address("10.0.0.9"), same;
	char text[CTL_ADDRESS_CAP];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		same = address(good[i]);
		assert_string_equal(ctl_address_print(text, &same), good[i]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (ctl_address_parse(&a, bad[i]))
			fail_msg("taken for an address: %s", bad[i]);
	assert_string_equal(ctl_address_print(text, &a), "10.0.0.9");
}

static void endpoints(void **state)
{
	static const char *const bad[] = {
		"",	  "192.0.2.1", "192.0.2.1:",   "192.0.2.1:65536",
		"host:1", "[::1]",     "192.0.2.1:1x", ":1",
	};
	union ctl_address a = { 0 };
	char text[CTL_ADDRESS_CAP];

	(void)state;
	assert_true(ctl_endpoint_parse(&a, "192.0.2.1:51820"));
	assert_int_equal(ctl_address_port(&a), 51820);
	assert_int_equal(ctl_address_len(&a), sizeof(struct sockaddr_in));
	assert_string_equal(ctl_address_print(text, &a), "192.0.2.1");
	assert_true(ctl_endpoint_parse(&a, "[2001:db8::1]:65535"));
	assert_int_equal(ctl_address_port(&a), 65535);
	assert_int_equal(ctl_address_len(&a), sizeof(struct sockaddr_in6));
	assert_string_equal(ctl_address_print(text, &a), "2001:db8::1");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (ctl_endpoint_parse(&a, bad[i]))
			fail_msg("taken for an endpoint: %s", bad[i]);
}

static void comparison(void **state)
{
	union ctl_address a, b;

	(void)state;
	assert_true(ctl_endpoint_parse(&a, "192.0.2.1:1"));
	assert_true(ctl_endpoint_parse(&b, "192.0.2.1:2"));
	assert_true(ctl_address_is_same(&a, &b));
	b = address("192.0.2.2");
	assert_false(ctl_address_is_same(&a, &b));
	b = address("::192.0.2.1");
	assert_false(ctl_address_is_same(&a, &b));
}

static void prefixes(void **state)
{
	static const struct {
		const char *address, *prefix;
		int bits; /* -1: not in it */
	} table[] = {
		{ "10.9.0.2", "10.9.0.2/32", 32 },
		{ "10.9.0.2", "10.9.0.3/32", -1 },
		{ "10.9.0.2", "10.9.0.0/31", -1 },
		{ "10.9.0.3", "10.9.0.2/31", 31 },
		{ "10.9.0.2", "10.8.0.0/15", 15 },
		{ "10.10.0.2", "10.8.0.0/15", -1 },
		{ "10.9.0.2", "0.0.0.0/0", 0 },
		{ "10.9.0.2", "::/0", -1 },
		{ "fd09::2", "fd09::2/128", 128 },
		{ "fd09::2", "fd09::3/128", -1 },
		{ "fd09::2", "fd00::/8", 8 },
		{ "fd09::2", "fd08::/15", 15 },
		{ "fd0a::2", "fd08::/15", -1 },
		{ "fd09::2", "0.0.0.0/0", -1 },
		{ "10.9.0.2", "10.9.0.2", -1 },
		{ "10.9.0.2", "10.9.0.2/33", -1 },
		{ "10.9.0.2", "words/8", -1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		union ctl_address a = address(table[i].address);
		unsigned int bits = 999;
		bool is_in = ctl_address_is_in(&a, table[i].prefix, &bits);

		if (is_in != (table[i].bits >= 0) ||
		    bits != (is_in ? (unsigned int)table[i].bits : 999))
			fail_msg("%s in %s: %d, %u bits", table[i].address,
				 table[i].prefix, is_in, bits);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses),
		cmocka_unit_test(endpoints),
		cmocka_unit_test(comparison),
		cmocka_unit_test(prefixes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
