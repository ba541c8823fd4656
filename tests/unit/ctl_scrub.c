/* SPDX-License-Identifier: MIT */
/*
 * Keys are found in a text by their form, and other words stay. The key of all tests
 * has the bytes 0 to 31.
 */
#include "ctl/scrub.h"

#include <string.h>

#include "base/bytes.h"
#include "tests/lib/check.h"

#define BASE64 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define HEX    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define UPPER  "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"
/* Without a digit and without a capital letter. */
#define SMALL "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopq="

enum {
	TEXT_CAP = 1024,
	KEY_LEN = 32,
	ROUNDS = 2000,
};

static void check(struct ctl_scrub *s, const char *text, const char *wanted)
{
	char copy[TEXT_CAP];
	size_t len = strlen(text);

	memcpy(copy, text, len);
	len = ctl_scrub_text(s, copy, len);
	copy[len] = 0;
	assert_string_equal(copy, wanted);
}

static void forms(void **state)
{
	static const struct {
		const char *text, *wanted;
	} cases[] = {
		{ "", "" },
		{ BASE64, "<key>" },
		{ "PrivateKey = " BASE64 "\n", "PrivateKey = <key>\n" },
		{ "PrivateKey=" BASE64 "\n", "PrivateKey=<key>\n" },
		{ "private_key=" HEX "\nx", "private_key=<key>\nx" },
		{ UPPER " " HEX, "<key> <key>" },
		{ "(" BASE64 ")'" BASE64 "'", "(<key>)'<key>'" },
		{ "/run/" BASE64, "<key>" },
		{ "xyz" BASE64, "<key>" },
		{ HEX "00", "<key>" },
		{ SMALL, "<key>" },
		/* Without its "=" a key has letters of both kinds, and digits. */
		{ "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8", "<key>" },
		/* The form for URLs. */
		{ "-_ECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "<key>" },
		{ BASE64 "=", "<key>" },
	};
	struct ctl_scrub s = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		check(&s, cases[i].text, cases[i].wanted);
	assert_true(s.n_others > ARRAY_LEN(cases));
}

static void others_stay(void **state)
{
	static const char *const texts[] = {
		"wg0: up, port 51820 (IPv4, IPv6), MTU 1420\n",
		"fd09::1/128 dev wga proto kernel metric 256 pref medium\n",
		"handshakes_dropped_needs_cookie=0\n",
		"/usr/share/doc/wiregather/examples/a-file-with-a-long-name.json",
		"3f786850e387550fdab836ed7e6dc881de23001b\n",
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1\n",
		"voluntary_ctxt_switches:\t12\n",
	};
	struct ctl_scrub s = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		check(&s, texts[i], texts[i]);
	assert_int_equal(s.n_others, 0);
	check(&s, "a\x01\xff\rz\x7f", "a???z?");
}

static void peers(void **state)
{
	struct ctl_scrub s = { 0 };

	(void)state;
	assert_int_equal(ctl_scrub_add(&s, SMALL), 1);
	assert_int_equal(ctl_scrub_add(&s, BASE64), 2);
	assert_int_equal(ctl_scrub_add(&s, SMALL), 1);
	check(&s, "public_key=" HEX "\n" BASE64 "\n" UPPER,
	      "public_key=<peer 2>\n<peer 2>\n<peer 2>");
	check(&s, SMALL " /" SMALL, "<peer 1> <key>");
	assert_int_equal(s.n_others, 1);
	ctl_scrub_free(&s);
	check(&s, BASE64, "<key>");
}

/* A key between any bytes is found in each of its forms. */
static void anywhere(void **state)
{
	struct ctl_scrub s = { 0 };
	struct random r;

	(void)state;
	random_init(&r, 1);
	for (int i = 0; i < ROUNDS; i++) {
		char hex[2 * KEY_LEN + 1] = "", key[CTL_KEY_CAP];
		char text[TEXT_CAP + 1];
		size_t before = random_below(&r, 100), len = before;
		const char *planted = i % 2 ? hex : key;

		for (int k = 0; k < KEY_LEN; k++)
			snprintf(hex + 2 * k, 3, "%02x",
				 (unsigned int)random_below(&r, 256));
		assert_true(ctl_key_from_hex(key, hex));
		for (size_t k = 0; k < before; k++)
			text[k] = (char)(1 + random_below(&r, 255));
		len += (size_t)snprintf(text + len, TEXT_CAP - len, "%s",
					planted);
		for (size_t k = random_below(&r, 100); k; k--)
			text[len++] = (char)(1 + random_below(&r, 255));
		len = ctl_scrub_text(&s, text, len);
		text[len] = 0;
		if (strstr(text, planted) || !strstr(text, "<key>"))
			fail_msg("%s is in %s", planted, text);
		for (size_t k = 0; k < len; k++)
			assert_true((text[k] >= ' ' && text[k] <= '~') ||
				    text[k] == '\n' || text[k] == '\t');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forms),
		cmocka_unit_test(others_stay),
		cmocka_unit_test(peers),
		cmocka_unit_test(anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
