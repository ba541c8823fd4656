/* SPDX-License-Identifier: MIT */
/* Lines of answers, each in a buffer that has exactly room for it. */
#include "uapi/text.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/bytes.h"
#include "device_fake.h"
#include "tests/lib/check.h"

enum {
	/* A choice: longer than each line here. */
	CAP = 256,
	/* Bytes of a hexadecimal key. */
	HEX = 2 * NOISE_PUBLIC_KEY_LEN,
};

/* A text that ends where the memory ends. */
struct line {
	char *memory;
	struct text text;
};

static struct line line_of(size_t len)
{
	char *memory = malloc(len);

	assert_non_null(memory);
	return (struct line){ memory, { memory, len, 0 } };
}

static void check_line(struct line *line, const char *expected)
{
	assert_int_equal(line->text.len, strlen(expected));
	assert_memory_equal(line->memory, expected, line->text.len);
	free(line->memory);
}

static void words_and_numbers(void **state)
{
	struct line line = line_of(strlen("rx_bytes=") + DIGITS_MAX + 1);

	(void)state;
	text_put_number_line(&line.text, "rx_bytes=", UINT64_MAX);
	check_line(&line, "rx_bytes=18446744073709551615\n");
	line = line_of(3);
	text_put_word(&line.text, "");
	text_put_word(&line.text, "ab");
	text_put_bytes(&line.text, "cd", 1);
	check_line(&line, "abc");
}

/* Each byte at each place, as printf(3) would print it. */
static void keys(void **state)
{
	uint8_t key[NOISE_PUBLIC_KEY_LEN];
	char expected[CAP];

	(void)state;
	for (unsigned int first = 0; first < 256; first++) {
		struct line line = line_of(HEX + 6);
		size_t len = 0;

		len += (size_t)sprintf(expected, "name=");
		for (size_t i = 0; i < sizeof(key); i++) {
			key[i] = (uint8_t)(first + 7 * i);
			len += (size_t)sprintf(expected + len, "%02x", key[i]);
		}
		sprintf(expected + len, "\n");
		text_put_key(&line.text, "name=", key);
		check_line(&line, expected);
	}
}

static void check_prefix(enum ip_family family, const char *addr,
			 unsigned int cidr)
{
	struct ip_prefix prefix = { .family = (uint8_t)family,
				    .cidr = (uint8_t)cidr };
	struct line line = line_of(CAP);
	char expected[CAP];

	assert_int_equal(inet_pton(family == IP_V4 ? AF_INET : AF_INET6, addr,
				   prefix.addr),
			 1);
	text_put_prefix(&line.text, &prefix);
	snprintf(expected, sizeof(expected), "allowed_ip=%s/%u\n", addr, cidr);
	check_line(&line, expected);
}

static void prefixes(void **state)
{
	(void)state;
	check_prefix(IP_V4, "0.0.0.0", 0);
	check_prefix(IP_V4, "10.9.0.255", 32);
	check_prefix(IP_V4, "192.168.100.0", 24);
	check_prefix(IP_V6, "::", 0);
	check_prefix(IP_V6, "2001:db8::1", 128);
	check_prefix(IP_V6, "fe80::ffff:0:1", 64);
}

static void endpoints(void **state)
{
	struct line line = line_of(CAP);
	struct endpoint_cell cell;
	struct device_endpoint ep;

	(void)state;
	endpoint_cell_init(&cell);
	text_put_endpoint(&line.text, "endpoint=", &cell, &device_fake_codec);
	check_line(&line, "");
	assert_int_equal(device_fake_codec.parse(&ep, "192.0.2.1:5"), 0);
	endpoint_cell_set(&cell, &ep);
	line = line_of(strlen("endpoint=192.0.2.1:5\n"));
	text_put_endpoint(&line.text, "endpoint=", &cell, &device_fake_codec);
	check_line(&line, "endpoint=192.0.2.1:5\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_and_numbers),
		cmocka_unit_test(keys),
		cmocka_unit_test(prefixes),
		cmocka_unit_test(endpoints),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
